//! What a client says of itself before its first request.

use bytes::{Buf, Bytes, BytesMut};
use tds_protocol::{EncryptionLevel, PreLogin, codec};

/// A login as the client sent it, the password in the clear.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    pub host: String,
    pub user: String,
    pub password: String,
    pub application: String,
    /// The server that the client means to reach.
    pub server: String,
    pub database: String,
    /// The access token of a client that logs in with one.
    pub token: Option<String>,
    pub read_only: bool,
    pub packet_size: u32,
}

impl Login {
    /// Reads the body of a LOGIN7 message.
    pub fn read(body: &[u8]) -> Login {
        const READ_ONLY_INTENT: u8 = 1 << 5;
        const EXTENSION_USED: u8 = 1 << 4;
        let text = |field: usize| {
            let (offset, length) = place(body, field);
            codec::read_utf16_string(&mut &body[offset..], length).unwrap()
        };
        let (offset, length) = place(body, 2);
        let password: BytesMut =
            body[offset..offset + 2 * length].iter().map(|byte| (byte ^ 0xA5).rotate_left(4)).collect();
        Login {
            packet_size: (&body[8..]).get_u32_le(),
            host: text(0),
            user: text(1),
            password: codec::read_utf16_string(&mut &password[..], length).unwrap(),
            application: text(3),
            server: text(4),
            database: text(8),
            token: if body[27] & EXTENSION_USED == 0 { None } else { token(body) },
            read_only: body[26] & READ_ONLY_INTENT != 0,
        }
    }
}

/// Offset and length of a field of variable length.
fn place(body: &[u8], field: usize) -> (usize, usize) {
    const FIXED: usize = 36;
    let mut place = &body[FIXED + 4 * field..];
    (place.get_u16_le().into(), place.get_u16_le().into())
}

/// The access token among the feature extensions.
fn token(body: &[u8]) -> Option<String> {
    const FEDERATED_AUTHENTICATION: u8 = 2;
    const END: u8 = 0xFF;
    let (offset, _) = place(body, 5);
    let offset: usize = (&body[offset..]).get_u32_le().try_into().unwrap();
    let mut features = &body[offset..];
    loop {
        match features.get_u8() {
            END => return None,
            FEDERATED_AUTHENTICATION => {
                features.advance(4 + 1);
                let length: usize = features.get_u32_le().try_into().unwrap();
                return codec::read_utf16_string(&mut features, length / 2);
            }
            _ => {
                let length: usize = features.get_u32_le().try_into().unwrap();
                features.advance(length);
            }
        }
    }
}

/// The encryption that a client asks for in its first message.
pub fn encryption(body: Bytes) -> EncryptionLevel {
    PreLogin::decode(body).unwrap().encryption
}
