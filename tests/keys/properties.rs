//! Properties that hold for every key of every type, and for any bytes that a store may hold.

use bytes::Bytes;
use chrono::{DateTime, FixedOffset, NaiveDateTime, TimeDelta, Utc};
use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::BoxedStrategy;
use shardlet::{EncodedKey, ErrorKind, KeyRange, KeyType, Result, ShardKey};
use uuid::Uuid;

use crate::subject::{LAST_TICK, Subject, date, span, stored_ticks};

macro_rules! properties {
    ($($name:ident, $key:ty;)*) => {
        $(mod $name {
            use super::*;

            proptest! {
                #[test]
                fn decoding_gives_the_key_back(key in <$key>::keys()) {
                    let encoded = key.encode()?;
                    prop_assert_eq!(<$key>::decode(&encoded).identity(), key.identity());
                    prop_assert_eq!(EncodedKey::from_stored(<$key>::KEY_TYPE, encoded.as_bytes())?, encoded);
                }

                #[test]
                fn encodings_are_ordered_as_the_keys(a in <$key>::keys(), b in <$key>::keys()) {
                    prop_assert_eq!(a.encode()?.cmp(&b.encode()?), a.identity().cmp(&b.identity()));
                }

                #[test]
                fn a_range_holds_the_keys_from_low_to_below_high(
                    low in <$key>::keys(),
                    high in <$key>::keys(),
                    key in <$key>::keys(),
                ) {
                    let from_low = low.identity() <= key.identity();
                    let below_high = key.identity() < high.identity();
                    prop_assert!(KeyRange::from(..).contains(&key));
                    prop_assert_eq!(KeyRange::from(low.clone()..).contains(&key), from_low);
                    prop_assert_eq!(KeyRange::from(..high.clone()).contains(&key), below_high);
                    let range = KeyRange::from(low.clone()..high.clone());
                    prop_assert_eq!(range.contains(&key), from_low && below_high);
                    if low.identity() < high.identity() {
                        let decoded = KeyRange::<$key>::decode(&range.encode()?);
                        prop_assert_eq!(decoded.low().identity(), low.identity());
                        prop_assert_eq!(decoded.high().map(Subject::identity), Some(high.identity()));
                    } else {
                        let refused = range.encode().map_err(|error| error.kind());
                        prop_assert_eq!(refused, Err(ErrorKind::InvalidInput));
                    }
                }
            }
        })*
    };
}

properties! {
    int32, i32;
    int64, i64;
    guid, Uuid;
    binary, Vec<u8>;
    binary_bytes, Bytes;
    date_time, NaiveDateTime;
    time_span, TimeDelta;
    date_time_offset, DateTime<FixedOffset>;
    date_time_utc, DateTime<Utc>;
}

/// Bytes as a store might hold them: keys of some type, keys that are almost right, and noise.
fn stored_bytes() -> BoxedStrategy<Vec<u8>> {
    let instant = prop_oneof![
        Just(i64::MIN),
        -2..3_i64,
        LAST_TICK - 2..LAST_TICK + 3,
        0..1_000_000_000_000_i64,
        LAST_TICK - 1_000_000_000_000..LAST_TICK,
        0..=LAST_TICK,
        any::<i64>()
    ];
    let offset = prop_oneof![
        Just(i64::MIN),
        Just(0_i64),
        (-850..850_i64).prop_map(|minutes| minutes * 600_000_000),
        (-60_000..60_000_i64).prop_map(|seconds| seconds * 10_000_000),
        any::<i64>()
    ];
    let instant = instant.prop_map(|instant| stored_ticks(instant).to_vec()).boxed();
    let instant_and_offset =
        (instant.clone(), offset).prop_map(|(instant, offset)| [instant, stored_ticks(offset).to_vec()].concat());
    let of_width = prop::sample::select(vec![4_usize, 8, 16, 128, 129]);
    prop_oneof![
        instant,
        instant_and_offset,
        of_width.prop_flat_map(|width| prop::collection::vec(prop_oneof![Just(0), any::<u8>()], width)),
        prop::collection::vec(0..2_u8, 0..20),
        prop::collection::vec(any::<u8>(), 0..200),
    ]
    .boxed()
}

/// Reads a key as one of the given type and writes it again.
fn rewritten(key_type: KeyType, key: &EncodedKey) -> Result<EncodedKey> {
    match key_type {
        KeyType::Int32 => i32::decode(key).encode(),
        KeyType::Int64 => i64::decode(key).encode(),
        KeyType::Guid => Uuid::decode(key).encode(),
        KeyType::Binary => Vec::decode(key).encode(),
        KeyType::DateTime => NaiveDateTime::decode(key).encode(),
        KeyType::TimeSpan => TimeDelta::decode(key).encode(),
        KeyType::DateTimeOffset => DateTime::<FixedOffset>::decode(key).encode(),
        other => panic!("{other} is not known to this test"),
    }
}

/// The text of a key read as some Rust type, whatever its own type. What is read is a key of that type.
fn read_as<K: Subject>(key: &EncodedKey) -> Result<String> {
    let read = K::decode(key);
    let again = K::decode(&read.encode()?);
    assert_eq!(again.identity(), read.identity(), "{key}");
    Ok(KeyRange::from(read..).to_string())
}

proptest! {
    #[test]
    fn what_a_store_gives_has_one_form(bytes in stored_bytes()) {
        for key_type in KeyType::ALL {
            let Ok(key) = EncodedKey::from_stored(key_type, &bytes) else { continue };
            // SQL Server compares as if the shorter were padded with zeros.
            let (form, zeros) = bytes.split_at(key.as_bytes().len());
            prop_assert_eq!(key.as_bytes(), form, "{}", key_type);
            prop_assert!(zeros.iter().all(|byte| *byte == 0), "{}", key_type);
            prop_assert_eq!(&EncodedKey::from_stored(key_type, key.as_bytes())?, &key, "{}", key_type);
            prop_assert_eq!(&rewritten(key_type, &key)?, &key, "{}", key_type);
        }
    }

    #[test]
    fn a_stored_key_can_be_read_as_any_type(bytes in stored_bytes()) {
        for key in KeyType::ALL.into_iter().filter_map(|key_type| EncodedKey::from_stored(key_type, &bytes).ok()) {
            let texts = [
                read_as::<i32>(&key)?,
                read_as::<i64>(&key)?,
                read_as::<Uuid>(&key)?,
                read_as::<Vec<u8>>(&key)?,
                read_as::<Bytes>(&key)?,
                read_as::<NaiveDateTime>(&key)?,
                read_as::<TimeDelta>(&key)?,
                read_as::<DateTime<FixedOffset>>(&key)?,
                read_as::<DateTime<Utc>>(&key)?,
            ];
            prop_assert!(texts.iter().all(|text| text.ends_with(":+inf)")), "{texts:?}");
        }
    }

    #[test]
    fn a_date_read_in_utc_keeps_its_instant(key in DateTime::<FixedOffset>::keys()) {
        let read = DateTime::<Utc>::decode(&key.encode()?);
        prop_assert_eq!(read.naive_utc(), key.naive_utc());
        prop_assert_eq!(read.encode()?, key.to_utc().fixed_offset().encode()?);
    }

    #[test]
    fn a_date_finer_than_a_tick_is_refused(ticks in 0..=LAST_TICK, nanos in 1..100_i64) {
        let date = date(ticks) + TimeDelta::nanoseconds(nanos);
        prop_assert_eq!(date.encode().map_err(|error| error.kind()), Err(ErrorKind::InvalidInput));
        prop_assert_eq!(date.and_utc().encode().map_err(|error| error.kind()), Err(ErrorKind::InvalidInput));
    }

    #[test]
    fn a_span_finer_than_a_tick_is_refused(ticks in any::<i64>(), nanos in 1..100_i64) {
        let span = span(ticks) + TimeDelta::nanoseconds(nanos);
        prop_assert_eq!(span.encode().map_err(|error| error.kind()), Err(ErrorKind::InvalidInput));
    }
}
