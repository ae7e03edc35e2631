//! What the bytes of an encoded key mean: the only file that knows.
//!
//! The rules are those of the reference library, byte for byte. Numbers are big-endian with the top bit inverted; GUIDs
//! are permuted into SQL Server's order; binary keys lose their trailing zeros; dates count ticks of 100 ns since
//! 0001-01-01; the least value of each type is the empty string.
//!
//! Encoding checks ranges. Decoding is total: [`check_stored`] has refused whatever no client writes before a key gets
//! here, so a value that cannot be is clamped and not reported a second time.

use chrono::{DateTime, FixedOffset, NaiveDateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{EncodedKey, KeyType};
use crate::error::{Error, Result};

/// Ticks in a second: a tick is 100 ns.
const TICKS_PER_SECOND: i64 = 10_000_000;
/// Nanoseconds in a tick.
const NANOS_PER_TICK: i32 = 100;
/// The last tick of 9999-12-31, the greatest date and time of .NET and SQL Server.
const MAX_TICKS: i64 = 3_155_378_975_999_999_999;
/// Seconds from 0001-01-01 to 1970-01-01.
const UNIX_EPOCH_SECONDS: i64 = 62_135_596_800;
/// The farthest offset from UTC, in seconds: 14 hours.
const MAX_OFFSET_SECONDS: i32 = 14 * 3600;

/// `i32` as an order-preserving unsigned number.
pub(super) fn word_of_i32(value: i32) -> u32 {
    value.cast_unsigned() ^ (1 << 31)
}

/// `i64` as an order-preserving unsigned number.
pub(super) fn word_of_i64(value: i64) -> u64 {
    value.cast_unsigned() ^ (1 << 63)
}

fn i64_of_word(word: u64) -> i64 {
    (word ^ (1 << 63)).cast_signed()
}

/// Zero is the least value of every fixed-width type, and the least value is the empty string.
fn canonical(bytes: &[u8]) -> EncodedKey {
    if bytes.iter().all(|byte| *byte == 0) { EncodedKey::minimum() } else { EncodedKey::from_canonical(bytes) }
}

/// The bytes as a big-endian number, padded with zeros on the right as SQL Server compares them.
pub(super) fn left_aligned<const N: usize>(key: &EncodedKey) -> [u8; N] {
    let mut padded = [0; N];
    for (to, from) in padded.iter_mut().zip(key.as_bytes()) {
        *to = *from;
    }
    padded
}

pub(super) fn encode_i32(value: i32) -> EncodedKey {
    canonical(&word_of_i32(value).to_be_bytes())
}

pub(super) fn decode_i32(key: &EncodedKey) -> i32 {
    (u32::from_be_bytes(left_aligned(key)) ^ (1 << 31)).cast_signed()
}

pub(super) fn encode_i64(value: i64) -> EncodedKey {
    canonical(&word_of_i64(value).to_be_bytes())
}

pub(super) fn decode_i64(key: &EncodedKey) -> i64 {
    i64_of_word(u64::from_be_bytes(left_aligned(key)))
}

/// A GUID in SQL Server's order, as a number: the last six bytes, the two before them, and then the first three fields
/// from the last to the first, each in the little-endian layout.
pub(super) fn word_of_uuid(value: &Uuid) -> u128 {
    let (fields, tail) = value.as_u64_pair();
    u128::from(tail.rotate_left(16)) << 64 | u128::from(fields.swap_bytes())
}

pub(super) fn encode_uuid(value: &Uuid) -> EncodedKey {
    canonical(&word_of_uuid(value).to_be_bytes())
}

pub(super) fn decode_uuid(key: &EncodedKey) -> Uuid {
    let (tail, fields) = Uuid::from_bytes(left_aligned(key)).as_u64_pair();
    Uuid::from_u64_pair(fields.swap_bytes(), tail.rotate_right(16))
}

/// The bytes of a binary key that count.
pub(super) fn significant(value: &[u8]) -> Result<&[u8]> {
    let length = value.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    if length > EncodedKey::MAX_LENGTH {
        return Err(Error::invalid_input(format!(
            "a binary key has {length} bytes without its trailing zeros; {} are allowed",
            EncodedKey::MAX_LENGTH
        )));
    }
    Ok(value.get(..length).unwrap_or_default())
}

pub(super) fn encode_binary(value: &[u8]) -> Result<EncodedKey> {
    Ok(EncodedKey::from_canonical(significant(value)?))
}

/// Ticks of a date and time: 0 to [`MAX_TICKS`].
pub(super) fn ticks_of_date_time(value: NaiveDateTime) -> Result<i64> {
    let utc = value.and_utc();
    let nanos = utc.timestamp_subsec_nanos();
    if nanos >= 1_000_000_000 {
        return Err(Error::invalid_input("a date and time key lies in a leap second, which has no encoding"));
    }
    let ticks = whole_ticks(utc.timestamp().checked_add(UNIX_EPOCH_SECONDS), i64::from(nanos))?;
    match ticks {
        Some(ticks) if (0..=MAX_TICKS).contains(&ticks) => Ok(ticks),
        _ => Err(Error::invalid_input("a date and time key lies outside the years 1 to 9999")),
    }
}

fn date_time_of_ticks(ticks: i64) -> NaiveDateTime {
    let ticks = ticks.clamp(0, MAX_TICKS);
    let seconds = ticks.div_euclid(TICKS_PER_SECOND) - UNIX_EPOCH_SECONDS;
    let nanos = u32::try_from(ticks.rem_euclid(TICKS_PER_SECOND)).unwrap_or_default() * NANOS_PER_TICK.cast_unsigned();
    DateTime::<Utc>::from_timestamp(seconds, nanos).unwrap_or_default().naive_utc()
}

pub(super) fn encode_date_time(value: NaiveDateTime) -> Result<EncodedKey> {
    let ticks = ticks_of_date_time(value)?;
    Ok(if ticks == 0 { EncodedKey::minimum() } else { encode_i64(ticks) })
}

pub(super) fn decode_date_time(key: &EncodedKey) -> NaiveDateTime {
    // The reference library encodes the earliest date as the empty string and then cannot decode it; we can.
    date_time_of_ticks(if key.as_bytes().is_empty() { 0 } else { decode_i64(key) })
}

/// Ticks of a span of time.
pub(super) fn ticks_of_time_delta(value: TimeDelta) -> Result<i64> {
    whole_ticks(Some(value.num_seconds()), i64::from(value.subsec_nanos()))?
        .ok_or_else(|| Error::invalid_input("a time span key does not fit into 64 bits of ticks of 100 ns"))
}

pub(super) fn time_delta_of_ticks(ticks: i64) -> TimeDelta {
    let nanos = u32::try_from(ticks.rem_euclid(TICKS_PER_SECOND)).unwrap_or_default() * NANOS_PER_TICK.cast_unsigned();
    TimeDelta::new(ticks.div_euclid(TICKS_PER_SECOND), nanos).unwrap_or_default()
}

pub(super) fn encode_time_delta(value: TimeDelta) -> Result<EncodedKey> {
    Ok(encode_i64(ticks_of_time_delta(value)?))
}

pub(super) fn decode_time_delta(key: &EncodedKey) -> TimeDelta {
    time_delta_of_ticks(decode_i64(key))
}

/// The instant's ticks and the offset's ticks.
pub(super) fn ticks_of_date_time_offset(value: &DateTime<FixedOffset>) -> Result<(i64, i64)> {
    let offset = value.offset().local_minus_utc();
    if offset % 60 != 0 || offset.abs() > MAX_OFFSET_SECONDS {
        return Err(Error::invalid_input(
            "the offset of a date and time key is not a whole number of minutes within 14 hours of UTC",
        ));
    }
    let instant = ticks_of_date_time(value.naive_utc())?;
    let offset = i64::from(offset) * TICKS_PER_SECOND;
    if !(0..=MAX_TICKS).contains(&(instant + offset)) {
        return Err(Error::invalid_input("the local time of a date and time key lies outside the years 1 to 9999"));
    }
    Ok((instant, offset))
}

/// The number whose order is that of the encodings: instant first, then offset; 0 for the earliest instant.
pub(super) fn word_of_date_time_offset(value: &DateTime<FixedOffset>) -> Result<u128> {
    let (instant, offset) = ticks_of_date_time_offset(value)?;
    Ok(if instant == 0 { 0 } else { u128::from(word_of_i64(instant)) << 64 | u128::from(word_of_i64(offset)) })
}

pub(super) fn encode_date_time_offset(value: &DateTime<FixedOffset>) -> Result<EncodedKey> {
    Ok(canonical(&word_of_date_time_offset(value)?.to_be_bytes()))
}

pub(super) fn decode_date_time_offset(key: &EncodedKey) -> DateTime<FixedOffset> {
    if key.as_bytes().is_empty() {
        return date_time_of_ticks(0).and_utc().fixed_offset();
    }
    let word = u128::from_be_bytes(left_aligned(key));
    let half = |bits: u128| i64_of_word(u64::try_from(bits & u128::from(u64::MAX)).unwrap_or_default());
    let instant = date_time_of_ticks(half(word >> 64));
    // An offset that no key has counts as none.
    i32::try_from(half(word) / TICKS_PER_SECOND)
        .ok()
        .and_then(FixedOffset::east_opt)
        .map(|offset| DateTime::from_naive_utc_and_offset(instant, offset))
        .filter(|date| ticks_of_date_time_offset(date).is_ok())
        .unwrap_or_else(|| instant.and_utc().fixed_offset())
}

/// Seconds and nanoseconds as ticks: `None` if there are too many, an error if a fraction would be lost.
fn whole_ticks(seconds: Option<i64>, nanos: i64) -> Result<Option<i64>> {
    let per_tick = i64::from(NANOS_PER_TICK);
    if nanos % per_tick != 0 {
        return Err(Error::invalid_input(
            "a date or time key is finer than a tick of 100 ns; round it first, for example with trunc_subsecs(7)",
        ));
    }
    let ticks = |seconds: i64| seconds.checked_mul(TICKS_PER_SECOND)?.checked_add(nanos / per_tick);
    Ok(seconds.and_then(ticks))
}

/// See [`EncodedKey::from_stored`].
pub(super) fn check_stored(key_type: KeyType, bytes: &[u8]) -> Result<EncodedKey> {
    let damaged = |why: &str| Err(Error::damaged(format!("a stored {key_type} key of {} bytes {why}", bytes.len())));
    let Some(width) = key_type.width() else {
        return encode_binary(bytes).or_else(|_| damaged("is longer than 128 bytes"));
    };
    if bytes.is_empty() {
        return Ok(EncodedKey::minimum());
    }
    if bytes.len() != width {
        return damaged("has the wrong length");
    }
    let key = canonical(bytes);
    // A date in another form than encoding gives it would be read as a key that no lookup in the store finds.
    let possible = match key_type {
        KeyType::DateTime => encode_date_time(decode_date_time(&key)).is_ok_and(|again| again == key),
        KeyType::DateTimeOffset => {
            encode_date_time_offset(&decode_date_time_offset(&key)).is_ok_and(|again| again == key)
        }
        KeyType::Int32 | KeyType::Int64 | KeyType::Guid | KeyType::Binary | KeyType::TimeSpan => true,
    };
    if possible { Ok(key) } else { damaged("is not how a date and time between the years 1 and 9999 is encoded") }
}
