//! Ranges of keys.

use bytes::Bytes;
use chrono::{DateTime, FixedOffset, NaiveDateTime, TimeDelta};
use proptest::prelude::{Strategy, prop, prop_assert_eq, proptest};
use shardlet::{EncodedKey, EncodedRange, ErrorKind, KeyRange, ShardKey};
use uuid::Uuid;

use crate::subject::{Text, date, date_offset, span};

/// A range as it might come from a caller: nothing is checked.
fn unchecked(low: i32, high: Option<i32>) -> EncodedRange {
    EncodedRange { low: low.encode().unwrap(), high: high.map(|high| high.encode().unwrap()) }
}

#[test]
fn half_open_ranges_of_rust_are_ranges_of_keys() {
    let bounds = |range: KeyRange<i32>| (*range.low(), range.high().copied());
    assert_eq!(bounds((0..50).into()), (0, Some(50)));
    assert_eq!(bounds((200..).into()), (200, None));
    assert_eq!(bounds((..50).into()), (i32::MIN, Some(50)));
    assert_eq!(bounds((..).into()), (i32::MIN, None));
    assert_eq!(bounds(KeyRange::new(None, Some(5))), (i32::MIN, Some(5)));
    assert_eq!(KeyRange::from(0..50), KeyRange::new(Some(0), Some(50)));
    assert_ne!(KeyRange::from(0..50), KeyRange::from(0..));
}

#[test]
fn encoding_keeps_the_bounds() {
    assert_eq!(KeyRange::from(0..50).encode().unwrap(), unchecked(0, Some(50)));
    assert_eq!(KeyRange::from(0..).encode().unwrap(), unchecked(0, None));
    let full = KeyRange::<i32>::from(..).encode().unwrap();
    assert_eq!(full, EncodedRange { low: EncodedKey::minimum(), high: None });
    assert_eq!(KeyRange::<i32>::decode(&full), KeyRange::from(..));
}

#[test]
fn an_empty_or_inverted_range_is_refused() {
    fn check<K: ShardKey>(range: impl Into<KeyRange<K>>) {
        let range = range.into();
        assert_eq!(range.encode().map_err(|error| error.kind()), Err(ErrorKind::InvalidInput), "{range}");
        assert!(!range.contains(range.low()), "{range}");
    }
    check(5..5);
    let inverted = |low: i64, high: i64| low..high;
    check(inverted(6, 5));
    check(inverted(i64::MAX, i64::MIN));
    check(..i32::MIN);
    check(..i64::MIN);
    check(..Uuid::nil());
    // Rust orders these two the other way round.
    check(Uuid::from_u128(1)..Uuid::from_u128(1 << 127));
    check(vec![5]..vec![5, 0]);
    check(..Bytes::from_static(&[0, 0]));
    check(..date(0));
    check(..span(i64::MIN));
    // One instant, and the later offset is the greater key.
    check(date_offset(10_000_000_000, 60)..date_offset(10_000_000_000, 0));
    // The first instant is one key whatever its offset.
    check(date_offset(0, 0)..date_offset(0, 60));
}

#[test]
fn dates_of_one_instant_bound_a_range_by_their_offsets() {
    let range = KeyRange::from(date_offset(10_000_000_000, 0)..date_offset(10_000_000_000, 120));
    for (seconds, inside) in [(-60, false), (0, true), (60, true), (120, false)] {
        assert_eq!(range.contains(&date_offset(10_000_000_000, seconds)), inside, "{seconds}");
    }
}

#[test]
fn keys_at_the_bounds() {
    let table: [(KeyRange<i32>, i32, bool); 8] = [
        ((0..100).into(), 0, true),
        ((0..100).into(), 99, true),
        ((0..100).into(), 100, false),
        ((0..100).into(), -1, false),
        ((..0).into(), i32::MIN, true),
        ((0..).into(), i32::MAX, true),
        // The greatest key is only in ranges that reach to +infinity.
        ((0..i32::MAX).into(), i32::MAX, false),
        ((i32::MAX..).into(), i32::MAX, true),
    ];
    for (range, key, inside) in table {
        assert_eq!(range.contains(&key), inside, "{range} {key}");
        assert_eq!(range.encode().unwrap().contains(&key.encode().unwrap()), inside, "{range} {key}");
    }
}

#[test]
fn touching_ranges_do_not_intersect() {
    let table: [(KeyRange<i32>, KeyRange<i32>, bool); 13] = [
        ((0..100).into(), (10..20).into(), true),
        ((10..20).into(), (0..100).into(), true),
        ((0..100).into(), (-50..50).into(), true),
        ((-50..50).into(), (0..100).into(), true),
        ((0..100).into(), (0..100).into(), true),
        ((0..50).into(), (0..100).into(), true),
        ((0..100).into(), (0..50).into(), true),
        ((0..100).into(), (100..200).into(), false),
        ((100..200).into(), (0..100).into(), false),
        ((0..100).into(), (50..).into(), true),
        ((..).into(), (10..20).into(), true),
        ((..).into(), (i32::MAX..).into(), true),
        ((..0).into(), (0..).into(), false),
    ];
    for (a, b, intersect) in table {
        assert_eq!(a.encode().unwrap().intersects(&b.encode().unwrap()), intersect, "{a} {b}");
    }
}

proptest! {
    /// Bounds are drawn from -10 to 10, so all keys that could matter can be tried.
    #[test]
    fn ranges_are_the_sets_of_their_keys(
        a_low in -10..10, a_high in prop::option::of(-10..10),
        b_low in -10..10, b_high in prop::option::of(-10..10),
    ) {
        let (a, b) = (unchecked(a_low, a_high), unchecked(b_low, b_high));
        let in_a = |key: i32| a_low <= key && a_high.is_none_or(|high| key < high);
        let in_b = |key: i32| b_low <= key && b_high.is_none_or(|high| key < high);
        for key in -11..12 {
            prop_assert_eq!(a.contains(&key.encode()?), in_a(key), "{}", key);
        }
        prop_assert_eq!(a.is_empty(), !(-11..12).any(in_a));
        prop_assert_eq!(a.intersects(&b), (-11..12).any(|key| in_a(key) && in_b(key)));
    }

    /// Neither the encodings' differing lengths nor their prefixes disturb the order of binary keys.
    #[test]
    fn ranges_of_binary_keys_follow_the_bytes(
        low in prop::collection::vec(0..3_u8, 0..4),
        high in prop::collection::vec(0..3_u8, 0..4),
        key in prop::collection::vec(0..3_u8, 0..4).prop_map(Bytes::from),
    ) {
        let padded = |key: &[u8]| { let mut key = key.to_vec(); key.resize(4, 0); key };
        let inside = padded(&low) <= padded(&key) && padded(&key) < padded(&high);
        let range = KeyRange::from(Bytes::from(low)..Bytes::from(high));
        prop_assert_eq!(range.contains(&key), inside);
    }
}

#[test]
fn the_text_of_a_range() {
    assert_eq!(KeyRange::from(0..100).to_string(), "[0:100)");
    assert_eq!(KeyRange::<i32>::from(..).to_string(), "[-2147483648:+inf)");
    assert_eq!(KeyRange::from(..7_i64).to_string(), "[-9223372036854775808:7)");
    assert_eq!(KeyRange::<Vec<u8>>::from(..).to_string(), "[0x:+inf)");
    assert_eq!(KeyRange::from(Bytes::from_static(&[0, 0xAB])..).to_string(), "[0x00ab:+inf)");
    let guid = "12345678-9abc-def0-1234-56789abcdef0";
    assert_eq!(KeyRange::from(Uuid::parse(guid)..).to_string(), format!("[{guid}:+inf)"));
    let dates = KeyRange::from(NaiveDateTime::parse("2000-01-01T00:00:00")..date(1));
    assert_eq!(dates.to_string(), "[2000-01-01 00:00:00:0001-01-01 00:00:00.000000100)");
    let date = DateTime::<FixedOffset>::parse("2000-01-01T00:00:00-08:00");
    assert_eq!(KeyRange::from(date..).to_string(), "[2000-01-01 00:00:00 -08:00:+inf)");
    assert_eq!(KeyRange::from(date.to_utc()..).to_string(), "[2000-01-01 08:00:00 UTC:+inf)");
    assert_eq!(KeyRange::from(..TimeDelta::seconds(90)).high().unwrap().to_string(), "PT90S");
}
