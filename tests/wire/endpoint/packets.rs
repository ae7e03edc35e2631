//! Messages cut into packets and put together again.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tds_protocol::{PACKET_HEADER_SIZE, PacketHeader, PacketStatus, PacketType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// The messages of a client.
#[derive(Debug)]
pub struct Incoming {
    half: OwnedReadHalf,
    wire: BytesMut,
    body: BytesMut,
}

impl Incoming {
    pub fn new(half: OwnedReadHalf) -> Incoming {
        Incoming { half, wire: BytesMut::new(), body: BytesMut::new() }
    }

    /// The next message, or nothing at the end of the stream. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> io::Result<Option<(PacketType, Bytes)>> {
        loop {
            if let Some(message) = self.take() {
                return Ok(Some(message));
            }
            if self.half.read_buf(&mut self.wire).await? == 0 {
                return Ok(None);
            }
        }
    }

    fn take(&mut self) -> Option<(PacketType, Bytes)> {
        loop {
            let header = PacketHeader::decode(&mut &self.wire[..PACKET_HEADER_SIZE.min(self.wire.len())]);
            let length = usize::from(self.wire.get(2..4)?.get_u16());
            if self.wire.len() < length.max(PACKET_HEADER_SIZE) {
                return None;
            }
            let header = header.unwrap_or_else(|error| panic!("the client sent no packet: {error}"));
            let mut packet = self.wire.split_to(length);
            packet.advance(PACKET_HEADER_SIZE);
            self.body.put(packet);
            if header.is_end_of_message() {
                let body = self.body.split().freeze();
                // A client that gives up a message in the middle says so in its last packet.
                if !header.status.contains(PacketStatus::IGNORE_EVENT) {
                    return Some((header.packet_type, body));
                }
            }
        }
    }
}

/// The answers to a client.
#[derive(Debug)]
pub struct Outgoing {
    half: OwnedWriteHalf,
    session: u16,
    packet: u8,
    packet_size: usize,
}

impl Outgoing {
    pub fn new(half: OwnedWriteHalf, session: u16) -> Outgoing {
        Outgoing { half, session, packet: 0, packet_size: 4096 }
    }

    /// The size that the login agreed on.
    pub fn set_packet_size(&mut self, size: u32) {
        self.packet_size = size.try_into().unwrap();
    }

    /// Sends a part of a message, or the last one.
    pub async fn send(&mut self, mut part: &[u8], last: bool) -> io::Result<()> {
        let mut wire = BytesMut::new();
        while !part.is_empty() || (last && wire.is_empty()) {
            let (body, rest) = part.split_at(part.len().min(self.packet_size - PACKET_HEADER_SIZE));
            part = rest;
            let ends = last && rest.is_empty();
            let status = if ends { PacketStatus::END_OF_MESSAGE } else { PacketStatus::NORMAL };
            let length = (body.len() + PACKET_HEADER_SIZE).try_into().unwrap();
            self.packet = self.packet.wrapping_add(1);
            PacketHeader::new(PacketType::TabularResult, status, length)
                .with_packet_id(self.packet)
                .with_spid(self.session)
                .encode(&mut wire);
            wire.put_slice(body);
        }
        self.half.write_all(&wire).await
    }

    pub fn into_half(self) -> OwnedWriteHalf {
        self.half
    }
}
