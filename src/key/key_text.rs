//! Keys as people read them, where only the number of their type is known.

use std::fmt;

use bytes::Bytes;
use uuid::Uuid;

use super::{EncodedKey, KeyType, ShardKey};

/// Shows a stored key. Not for logs or messages, which must hold no key.
pub(crate) struct KeyText<'k>(pub(crate) KeyType, pub(crate) &'k EncodedKey);

impl fmt::Display for KeyText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(key_type, key) = self;
        match key_type {
            KeyType::Int32 => i32::decode(key).write(f),
            KeyType::Int64 => i64::decode(key).write(f),
            KeyType::Guid => Uuid::decode(key).write(f),
            KeyType::Binary => Bytes::decode(key).write(f),
            KeyType::DateTime => chrono::NaiveDateTime::decode(key).write(f),
            KeyType::TimeSpan => chrono::TimeDelta::decode(key).write(f),
            KeyType::DateTimeOffset => chrono::DateTime::<chrono::FixedOffset>::decode(key).write(f),
        }
    }
}
