//! The edges of each type: the last key that is accepted, and what lies beyond.

use std::fmt::Debug;

use bytes::Bytes;
use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Utc};
use shardlet::{EncodedKey, ErrorKind, KeyRange, KeyType, ShardKey};

use crate::subject::{LAST_TICK, Subject, date, date_offset, first_instant, offset, span, stored_ticks};
use crate::{stored, unhex};

/// One hour, in seconds.
const HOUR: i32 = 3600;

/// A key that can be encoded, and no range without it.
fn accepted<K: Subject>(key: &K) -> EncodedKey {
    let encoded = key.encode().unwrap_or_else(|error| panic!("{key:?}: {error}"));
    assert_eq!(K::decode(&encoded).identity(), key.identity(), "{key:?}");
    assert!(KeyRange::from(key.clone()..).contains(key), "{key:?}");
    encoded
}

/// A key that cannot be encoded, neither alone nor as a bound, and that is in no range.
fn refused<K: ShardKey>(key: &K) {
    for error in [
        key.encode().map(drop),
        KeyRange::from(key.clone()..).encode().map(drop),
        KeyRange::from(..key.clone()).encode().map(drop),
    ] {
        assert_eq!(error.map_err(|error| error.kind()), Err(ErrorKind::InvalidInput), "{key:?}");
    }
    assert!(!KeyRange::from(..).contains(key), "{key:?}");
    assert!(KeyRange::from(key.clone()..).to_string().ends_with(":+inf)"), "{key:?}");
}

fn damaged(key_type: KeyType, bytes: &[u8]) {
    let error = EncodedKey::from_stored(key_type, bytes).map_err(|error| error.kind());
    assert_eq!(error, Err(ErrorKind::StoreDamaged), "{key_type} {bytes:02x?}");
}

#[test]
fn a_binary_key_has_up_to_128_bytes() {
    for length in [0, 1, 15, 16, 17, 127, 128] {
        for zeros in [0, 1, 1000] {
            let key = [vec![0xfe; length], vec![0; zeros]].concat();
            assert_eq!(accepted(&key).as_bytes(), &key[..length], "{length} bytes and {zeros} zeros");
            assert_eq!(accepted(&Bytes::from(key)).as_bytes().len(), length);
        }
    }
    let last_counts = |length: usize| [vec![0; length - 1], vec![1]].concat();
    assert_eq!(accepted(&last_counts(128)).as_bytes().len(), 128);
    for key in [last_counts(129), vec![1; 129], vec![1; 4096], [last_counts(129), vec![0; 9]].concat()] {
        refused(&key);
        refused(&Bytes::from(key));
    }
}

#[test]
fn a_date_is_in_the_years_1_to_9999() {
    for ticks in [0, 1, LAST_TICK - 1, LAST_TICK] {
        let _: EncodedKey = accepted(&date(ticks));
        let _: EncodedKey = accepted(&date(ticks).and_utc());
        let _: EncodedKey = accepted(&date_offset(ticks, 0));
    }
    assert_eq!(date(LAST_TICK).to_string(), "9999-12-31 23:59:59.999999900");
    let midnight = |year| NaiveDate::from_ymd_opt(year, 1, 1).unwrap().and_time(NaiveTime::MIN);
    let outside = [
        date(-1),
        date(LAST_TICK + 1),
        midnight(0),
        midnight(-1),
        midnight(10_000),
        midnight(-262_000),
        midnight(262_000),
        NaiveDateTime::MIN,
        NaiveDateTime::MAX,
    ];
    for date in outside {
        refused(&date);
        refused(&date.and_utc());
        for hours in [-23, 0, 23] {
            refused(&DateTime::<FixedOffset>::from_naive_utc_and_offset(date, offset(hours * HOUR)));
        }
    }
    refused(&DateTime::<Utc>::MIN_UTC);
    refused(&DateTime::<Utc>::MAX_UTC);
}

#[test]
fn the_local_time_of_a_date_is_in_the_years_1_to_9999_too() {
    assert_eq!(accepted(&date_offset(0, 14 * HOUR)), EncodedKey::minimum());
    let _: EncodedKey = accepted(&date_offset(600_000_000, -60));
    let _: EncodedKey = accepted(&date_offset(LAST_TICK - 600_000_000, 60));
    let _: EncodedKey = accepted(&date_offset(LAST_TICK, -14 * HOUR));
    refused(&date_offset(0, -60));
    refused(&date_offset(599_999_999, -60));
    refused(&date_offset(LAST_TICK - 599_999_999, 60));
    refused(&date_offset(LAST_TICK, 14 * HOUR));
}

#[test]
fn an_offset_is_of_whole_minutes_within_14_hours() {
    let noon = 630_823_248_000_000_000;
    for seconds in [0, 60, -60, 330 * 60, 14 * HOUR - 60, 14 * HOUR, -14 * HOUR + 60, -14 * HOUR] {
        let _: EncodedKey = accepted(&date_offset(noon, seconds));
    }
    for seconds in [1, 30, 59, 61, HOUR + 1, 14 * HOUR + 1, 14 * HOUR + 60, 15 * HOUR, 24 * HOUR - 60, 24 * HOUR - 1] {
        refused(&date_offset(noon, seconds));
        refused(&date_offset(noon, -seconds));
    }
}

#[test]
fn a_date_in_a_leap_second_is_refused() {
    let day = NaiveDate::from_ymd_opt(2016, 12, 31).unwrap();
    for nanos in [1_000_000_000, 1_500_000_000, 1_999_999_900, 1_999_999_999] {
        let leap = day.and_hms_nano_opt(23, 59, 59, nanos).unwrap();
        refused(&leap);
        refused(&leap.and_utc());
        refused(&DateTime::<FixedOffset>::from_naive_utc_and_offset(leap, offset(HOUR)));
    }
}

#[test]
fn dates_and_spans_finer_than_a_tick_are_refused() {
    for nanos in [-1, 1, 50, 99, 101, 1_000_000_001] {
        let fine = TimeDelta::nanoseconds(nanos);
        refused(&fine);
        refused(&(date(10_000_000_000) + fine));
        refused(&(date_offset(10_000_000_000, 60) + fine));
    }
}

#[test]
fn a_span_has_64_bits_of_ticks() {
    let tick = TimeDelta::nanoseconds(100);
    assert_eq!(accepted(&span(i64::MIN)), EncodedKey::minimum());
    assert_eq!(accepted(&(span(i64::MIN) + tick)).as_bytes(), 1_u64.to_be_bytes());
    assert_eq!(accepted(&span(i64::MAX)).as_bytes(), u64::MAX.to_be_bytes());
    refused(&(span(i64::MIN) - tick));
    refused(&(span(i64::MAX) + tick));
    refused(&TimeDelta::MIN);
    refused(&TimeDelta::MAX);
    refused(&TimeDelta::milliseconds(i64::MAX));
}

#[test]
fn a_stored_key_has_the_width_of_its_type() {
    let widths = [
        (KeyType::Int32, 4),
        (KeyType::Int64, 8),
        (KeyType::Guid, 16),
        (KeyType::DateTime, 8),
        (KeyType::TimeSpan, 8),
        (KeyType::DateTimeOffset, 16),
    ];
    for (key_type, width) in widths {
        assert_eq!(stored(key_type, &[]), EncodedKey::minimum());
        assert_eq!(stored(key_type, &vec![0; width]), EncodedKey::minimum(), "{key_type}");
        for other in (1..20).filter(|length| *length != width).chain([128, 129]) {
            damaged(key_type, &vec![0; other]);
            damaged(key_type, &vec![0x88; other]);
        }
    }
}

#[test]
fn a_stored_binary_key_loses_its_trailing_zeros() {
    for (bytes, canonical) in [("", ""), ("00", ""), ("0100", "01"), ("010002000000", "010002"), ("0001", "0001")] {
        assert_eq!(stored(KeyType::Binary, &unhex(bytes)).as_bytes(), unhex(canonical), "{bytes}");
    }
    assert_eq!(stored(KeyType::Binary, &[1; 128]).as_bytes(), [1; 128]);
    damaged(KeyType::Binary, &[1; 129]);
}

#[test]
fn a_stored_date_is_one_that_can_be_encoded() {
    for ticks in [1, LAST_TICK] {
        assert_eq!(stored(KeyType::DateTime, &stored_ticks(ticks)), date(ticks).encode().unwrap());
    }
    // No client writes ticks for the first instant: it is the empty string.
    for ticks in [i64::MIN + 1, -1, 0, LAST_TICK + 1, i64::MAX] {
        damaged(KeyType::DateTime, &stored_ticks(ticks));
    }
}

#[test]
fn a_stored_date_with_an_offset_is_one_that_can_be_encoded() {
    const SECOND: i64 = 10_000_000;
    const MINUTE: i64 = 60 * SECOND;
    let bytes = |instant, offset| [stored_ticks(instant), stored_ticks(offset)].concat();
    let day = 630_822_816_000_000_000;
    for (instant, offset) in [(1, MINUTE), (MINUTE, -MINUTE), (day, -840 * MINUTE), (day, 0), (LAST_TICK, -MINUTE)] {
        let key = date_offset(instant, i32::try_from(offset / SECOND).unwrap());
        assert_eq!(stored(KeyType::DateTimeOffset, &bytes(instant, offset)), key.encode().unwrap(), "{key}");
    }
    for instant in [i64::MIN + 1, -1, 0, LAST_TICK + 1, i64::MAX] {
        damaged(KeyType::DateTimeOffset, &bytes(instant, 0));
    }
    for offset in [i64::MIN, -841 * MINUTE, -1, 1, SECOND, MINUTE + 1, 841 * MINUTE, 86_400 * SECOND, i64::MAX] {
        damaged(KeyType::DateTimeOffset, &bytes(day, offset));
    }
    // Neither the first instant with an offset nor a local time outside the calendar.
    for (instant, offset) in [(0, MINUTE), (1, -MINUTE), (LAST_TICK, MINUTE)] {
        damaged(KeyType::DateTimeOffset, &bytes(instant, offset));
    }
}

#[test]
fn the_least_key_of_every_type_is_the_empty_encoding() {
    fn check<K: Subject>(least: &K)
    where
        K::Identity: Debug,
    {
        assert_eq!(accepted(least), EncodedKey::minimum());
        assert_eq!(K::decode(&EncodedKey::minimum()).identity(), least.identity());
        assert_eq!(KeyRange::<K>::from(..).low().identity(), least.identity());
    }
    check(&i32::MIN);
    check(&i64::MIN);
    check(&uuid::Uuid::nil());
    check(&Vec::<u8>::new());
    check(&Bytes::new());
    check(&first_instant());
    check(&span(i64::MIN));
    check(&date_offset(0, 0));
    check(&first_instant().and_utc());
}

#[test]
fn key_types_have_the_numbers_and_names_of_the_reference_library() {
    let names = ["Int32", "Int64", "Guid", "Binary", "DateTime", "TimeSpan", "DateTimeOffset"];
    for (code, name) in (1..).zip(names) {
        assert_eq!(KeyType::from_code(code).map(|key_type| key_type.to_string()), Some(name.to_owned()));
    }
    for code in [i64::MIN, -1, 0, 8, 257, i64::MAX] {
        assert_eq!(KeyType::from_code(code), None, "{code}");
    }
}
