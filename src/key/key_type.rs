//! The types of keys that a shard map can have.

use std::fmt;

use super::{EncodedKey, KeyText, key_text};
use crate::error::Result;

/// The type of the keys of a shard map. The numbers are the stored ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyType {
    /// `i32`.
    Int32 = 1,
    /// `i64`.
    Int64 = 2,
    /// `uuid::Uuid`, in SQL Server's order of GUIDs.
    Guid = 3,
    /// `Vec<u8>` or `bytes::Bytes`, up to 128 bytes; trailing zero bytes do not count.
    Binary = 4,
    /// `chrono::NaiveDateTime`, in whole ticks of 100 ns from year 1 to 9999.
    DateTime = 5,
    /// `chrono::TimeDelta`, in whole ticks of 100 ns.
    TimeSpan = 6,
    /// `chrono::DateTime<FixedOffset>` or `DateTime<Utc>`, in whole ticks of 100 ns from year 1 to 9999.
    DateTimeOffset = 7,
}

impl KeyType {
    /// All key types, in the order of their numbers.
    pub const ALL: [Self; 7] =
        [Self::Int32, Self::Int64, Self::Guid, Self::Binary, Self::DateTime, Self::TimeSpan, Self::DateTimeOffset];

    /// The key type of a stored number, or `None` for a number that no client writes.
    #[must_use]
    pub fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|key_type| *key_type as i64 == code)
    }

    /// The stored form of a key of this type that a person wrote, blanks around it aside: `-7`; a GUID with or without dashes;
    /// `0x00ff`; `2026-11-21`, `2026-11-21 08:30:00.5`; `1.02:03:04.5` (days, hours, minutes, seconds) or `PT93784.5S`;
    /// `2026-11-21 08:30:00.5 +01:00`. What [`show`](Self::show) writes is read.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it is none, or outside the range of the type. The text is not quoted.
    ///
    /// ```
    /// use shardlet::{KeyType, ShardKey};
    /// assert_eq!(KeyType::Int32.parse("42")?, 42_i32.encode()?);
    /// assert_eq!(KeyType::Int32.show(&42_i32.encode()?).to_string(), "42");
    /// # Ok::<(), shardlet::Error>(())
    /// ```
    pub fn parse(self, text: &str) -> Result<EncodedKey> {
        key_text::parse(self, text)
    }

    /// Shows a stored key of this type as people read it. Not for logs or errors, which must hold no key.
    #[must_use]
    pub fn show(self, key: &EncodedKey) -> KeyText<'_> {
        KeyText(self, key)
    }

    /// The stored length of every key but the least one, in bytes; `None` where it varies.
    #[must_use]
    pub(crate) fn width(self) -> Option<usize> {
        match self {
            Self::Int32 => Some(4),
            Self::Int64 | Self::DateTime | Self::TimeSpan => Some(8),
            Self::Guid | Self::DateTimeOffset => Some(16),
            Self::Binary => None,
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Int32 => "Int32",
            Self::Int64 => "Int64",
            Self::Guid => "Guid",
            Self::Binary => "Binary",
            Self::DateTime => "DateTime",
            Self::TimeSpan => "TimeSpan",
            Self::DateTimeOffset => "DateTimeOffset",
        })
    }
}
