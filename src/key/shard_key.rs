//! The Rust types that can be keys.

use std::fmt;

use bytes::Bytes;
use chrono::{DateTime, FixedOffset, NaiveDateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::word::{BinaryWord, Word};
use super::{EncodedKey, KeyType, encoding};
use crate::error::Result;

mod sealed {
    #[expect(unnameable_types, reason = "sealed: users call the trait's methods and cannot implement it")]
    pub trait Sealed {}
}

/// A type that can be the key of a shard map.
///
/// | Rust type | [`KeyType`] | Range |
/// | --- | --- | --- |
/// | `i32`, `i64` | `Int32`, `Int64` | all |
/// | `uuid::Uuid` | `Guid` | all, in SQL Server's order |
/// | `Vec<u8>`, `bytes::Bytes` | `Binary` | up to 128 bytes; trailing zeros do not count |
/// | `chrono::NaiveDateTime` | `DateTime` | years 1 to 9999, whole ticks of 100 ns |
/// | `chrono::TimeDelta` | `TimeSpan` | 64 bits of ticks of 100 ns |
/// | `chrono::DateTime<FixedOffset>`, `DateTime<Utc>` | `DateTimeOffset` | years 1 to 9999 in UTC and local time, whole ticks, offsets of whole minutes within 14 hours |
///
/// The trait is sealed. A key outside the range of its type is an error of kind
/// [`InvalidInput`](crate::ErrorKind::InvalidInput), never a panic and never cut off. Two dates of one instant with
/// different offsets are different keys (the stores compare the whole encoding), except at the first instant of year 1,
/// whose encoding holds no offset.
///
/// ```
/// use shardlet::ShardKey;
/// assert_eq!(42_i32.encode()?.to_string(), "0x8000002a");
/// assert_eq!(i64::decode(&(-7_i64).encode()?), -7);
/// # Ok::<(), shardlet::Error>(())
/// ```
pub trait ShardKey: sealed::Sealed + Clone + fmt::Debug + Send + Sync + 'static {
    /// The type of key that a map of these has.
    const KEY_TYPE: KeyType;

    /// The form compared in memory.
    #[doc(hidden)]
    type Word: Word;

    /// The stored form.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the key is outside the range of its type.
    fn encode(&self) -> Result<EncodedKey>;

    /// The key of a stored form. Total: an encoding of another type gives some key of this one.
    fn decode(key: &EncodedKey) -> Self;

    /// The form compared in memory; allocates nothing.
    #[doc(hidden)]
    fn word(&self) -> Result<Self::Word>;

    /// Writes the key as people read it.
    #[doc(hidden)]
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

impl sealed::Sealed for i32 {}
impl ShardKey for i32 {
    const KEY_TYPE: KeyType = KeyType::Int32;
    type Word = u64;

    fn encode(&self) -> Result<EncodedKey> {
        Ok(encoding::encode_i32(*self))
    }

    fn decode(key: &EncodedKey) -> Self {
        encoding::decode_i32(key)
    }

    fn word(&self) -> Result<u64> {
        Ok(u64::from(encoding::word_of_i32(*self)) << 32)
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl sealed::Sealed for i64 {}
impl ShardKey for i64 {
    const KEY_TYPE: KeyType = KeyType::Int64;
    type Word = u64;

    fn encode(&self) -> Result<EncodedKey> {
        Ok(encoding::encode_i64(*self))
    }

    fn decode(key: &EncodedKey) -> Self {
        encoding::decode_i64(key)
    }

    fn word(&self) -> Result<u64> {
        Ok(encoding::word_of_i64(*self))
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl sealed::Sealed for Uuid {}
impl ShardKey for Uuid {
    const KEY_TYPE: KeyType = KeyType::Guid;
    type Word = u128;

    fn encode(&self) -> Result<EncodedKey> {
        Ok(encoding::encode_uuid(self))
    }

    fn decode(key: &EncodedKey) -> Self {
        encoding::decode_uuid(key)
    }

    fn word(&self) -> Result<u128> {
        Ok(encoding::word_of_uuid(self))
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl sealed::Sealed for Vec<u8> {}
impl ShardKey for Vec<u8> {
    const KEY_TYPE: KeyType = KeyType::Binary;
    type Word = BinaryWord;

    fn encode(&self) -> Result<EncodedKey> {
        encoding::encode_binary(self)
    }

    fn decode(key: &EncodedKey) -> Self {
        key.as_bytes().to_vec()
    }

    fn word(&self) -> Result<BinaryWord> {
        Ok(BinaryWord::new(encoding::significant(self)?))
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(self, f)
    }
}

impl sealed::Sealed for Bytes {}
impl ShardKey for Bytes {
    const KEY_TYPE: KeyType = KeyType::Binary;
    type Word = BinaryWord;

    fn encode(&self) -> Result<EncodedKey> {
        encoding::encode_binary(self)
    }

    fn decode(key: &EncodedKey) -> Self {
        Self::copy_from_slice(key.as_bytes())
    }

    fn word(&self) -> Result<BinaryWord> {
        Ok(BinaryWord::new(encoding::significant(self)?))
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(self, f)
    }
}

impl sealed::Sealed for NaiveDateTime {}
impl ShardKey for NaiveDateTime {
    const KEY_TYPE: KeyType = KeyType::DateTime;
    type Word = u64;

    fn encode(&self) -> Result<EncodedKey> {
        encoding::encode_date_time(*self)
    }

    fn decode(key: &EncodedKey) -> Self {
        encoding::decode_date_time(key)
    }

    fn word(&self) -> Result<u64> {
        let ticks = encoding::ticks_of_date_time(*self)?;
        Ok(if ticks == 0 { 0 } else { encoding::word_of_i64(ticks) })
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl sealed::Sealed for TimeDelta {}
impl ShardKey for TimeDelta {
    const KEY_TYPE: KeyType = KeyType::TimeSpan;
    type Word = u64;

    fn encode(&self) -> Result<EncodedKey> {
        encoding::encode_time_delta(*self)
    }

    fn decode(key: &EncodedKey) -> Self {
        encoding::decode_time_delta(key)
    }

    fn word(&self) -> Result<u64> {
        Ok(encoding::word_of_i64(encoding::ticks_of_time_delta(*self)?))
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl sealed::Sealed for DateTime<FixedOffset> {}
impl ShardKey for DateTime<FixedOffset> {
    const KEY_TYPE: KeyType = KeyType::DateTimeOffset;
    type Word = u128;

    fn encode(&self) -> Result<EncodedKey> {
        encoding::encode_date_time_offset(self)
    }

    fn decode(key: &EncodedKey) -> Self {
        encoding::decode_date_time_offset(key)
    }

    fn word(&self) -> Result<u128> {
        encoding::word_of_date_time_offset(self)
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl sealed::Sealed for DateTime<Utc> {}
impl ShardKey for DateTime<Utc> {
    const KEY_TYPE: KeyType = KeyType::DateTimeOffset;
    type Word = u128;

    fn encode(&self) -> Result<EncodedKey> {
        self.fixed_offset().encode()
    }

    /// The instant; an offset that another client stored is not kept.
    fn decode(key: &EncodedKey) -> Self {
        encoding::decode_date_time_offset(key).to_utc()
    }

    fn word(&self) -> Result<u128> {
        encoding::word_of_date_time_offset(&self.fixed_offset())
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("0x")?;
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}
