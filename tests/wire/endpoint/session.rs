//! The endpoint's side of one connection: reads its requests, has them answered, and sends the answers.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use tds_protocol::PacketType;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::Shared;
use super::answer::{Answer, Stop, Written};
use super::connection::{Call, Connection};
use super::packets::{Incoming, Outgoing};
use super::request::Request;
use crate::gate::{End, end_stream};

/// Serves the connection until it ends.
pub(super) async fn serve(shared: Arc<Shared>, connection: Connection, stream: TcpStream) {
    let (read, write) = stream.into_split();
    // A server numbers its own sessions up to 50.
    let number = u16::try_from(connection.number() + 50).unwrap();
    let mut session = Session {
        shared: Arc::clone(&shared),
        connection: connection.clone(),
        ending: connection.ending(),
        incoming: Incoming::new(read),
        outgoing: Outgoing::new(write, number),
        waiting: VecDeque::new(),
        transaction: 0,
    };
    let ended = AssertUnwindSafe(session.run()).catch_unwind().await;
    let end = ended.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        shared.fault(&connection, &text.unwrap_or_default());
        End::Close
    });
    let Session { incoming, outgoing, .. } = session;
    drop(incoming);
    end_stream(outgoing.into_half(), end);
    connection.ended();
    shared.changes.raise();
}

struct Session {
    shared: Arc<Shared>,
    connection: Connection,
    ending: watch::Receiver<Option<End>>,
    incoming: Incoming,
    outgoing: Outgoing,
    /// Messages that came before the one under way was answered.
    waiting: VecDeque<(PacketType, Bytes)>,
    /// The transaction that the connection is in, 0 for none.
    transaction: u64,
}

/// Why an answer was not finished.
enum Interrupt {
    Attention,
    Ended(End),
}

impl Session {
    async fn run(&mut self) -> End {
        loop {
            let (kind, body) = match self.waiting.pop_front() {
                Some(message) => message,
                None => match self.next().await {
                    Ok(message) => message,
                    Err(end) => return end,
                },
            };
            let (mut request, mut transaction) = Request::read(kind, body);
            // An attention ends the answer under way and is answered in its place.
            loop {
                match self.answer(request, transaction).await {
                    Ok(()) => break,
                    Err(Interrupt::Attention) => (request, transaction) = (Request::Attention, 0),
                    Err(Interrupt::Ended(end)) => return end,
                }
            }
        }
    }

    /// The next message, unless the connection ends first.
    async fn next(&mut self) -> Result<(PacketType, Bytes), End> {
        tokio::select! {
            message = self.incoming.next() => message.ok().flatten().ok_or(End::Close),
            end = self.ending.wait_for(Option::is_some) => Err(end.unwrap().unwrap()),
        }
    }

    /// Waits for something, unless the client interrupts or the connection ends first.
    async fn wait<T>(&mut self, waited: impl Future<Output = T>) -> Result<T, Interrupt> {
        let mut waited = std::pin::pin!(waited);
        loop {
            let message = tokio::select! {
                output = &mut waited => return Ok(output),
                message = self.next() => message.map_err(Interrupt::Ended)?,
            };
            if message.0 == PacketType::Attention {
                return Err(Interrupt::Attention);
            }
            self.waiting.push_back(message);
        }
    }

    async fn answer(&mut self, request: Request, transaction: u64) -> Result<(), Interrupt> {
        let call = Call { connection: self.connection.clone(), request: Arc::new(request), transaction };
        if let Request::Login(login) = call.request() {
            self.connection.logged_in(login);
        }
        let answer = self.shared.received(&call);
        let answer = match answer {
            Some(handler) => self.wait(async { handler(call.clone()).await }).await?,
            None => call.find_usual().unwrap_or_else(|| {
                let text = format!("no answer is scripted for {:?}", call.request());
                self.shared.fault(&self.connection, &text);
                Answer::failed(50000, &text)
            }),
        };
        let written = answer.write(call.request(), &mut self.transaction, self.shared.next_transaction());
        let failed = written.failed;
        self.send(written).await?;
        if let Request::Login(login) = call.request() {
            if failed {
                return Err(Interrupt::Ended(End::Close));
            }
            self.outgoing.set_packet_size(login.packet_size);
        }
        Ok(())
    }

    async fn send(&mut self, written: Written) -> Result<(), Interrupt> {
        let Written { bytes, ends, stops, .. } = written;
        let mut sent = 0;
        for (at, stop) in stops {
            assert!(at <= bytes.len(), "the answer stops after {at} bytes, and has only {}", bytes.len());
            self.send_part(&bytes[sent..at], false).await?;
            sent = at;
            match stop {
                Stop::End(end) => return Err(Interrupt::Ended(end)),
                Stop::Hold(gate) => {
                    if let Err(interrupt) = self.wait(gate.pass()).await {
                        // The acknowledgement of an attention can only follow a whole token.
                        let end = ends.into_iter().find(|end| *end >= sent).unwrap_or(sent);
                        if matches!(interrupt, Interrupt::Attention) && sent > 0 {
                            self.send_part(&bytes[sent..end], false).await?;
                        }
                        return Err(interrupt);
                    }
                }
            }
        }
        self.send_part(&bytes[sent..], true).await
    }

    async fn send_part(&mut self, part: &[u8], last: bool) -> Result<(), Interrupt> {
        let sent = tokio::select! {
            sent = self.outgoing.send(part, last) => sent,
            end = self.ending.wait_for(Option::is_some) => return Err(Interrupt::Ended(end.unwrap().unwrap())),
        };
        // A client that reads no more is gone.
        sent.map_err(|_| Interrupt::Ended(End::Close))
    }
}
