//! The worked values of the encoding, `tests/data/key-vectors.json`.

use bytes::Bytes;
use chrono::{DateTime, FixedOffset, NaiveDateTime, TimeDelta, Utc};
use serde_json::Value;
use shardlet::{EncodedKey, KeyRange, ShardKey};
use uuid::Uuid;

use crate::subject::{Subject, Text, date, date_offset, span};
use crate::{data, rows, stored, text, unhex};

/// Checks every row of a key type, and that the rows ascend.
fn check<K: Subject>(key_of: impl Fn(&Value) -> K) {
    let file = data("key-vectors.json");
    let mut last: Option<(EncodedKey, Vec<u8>)> = None;
    for row in rows(&file, &K::KEY_TYPE.to_string()) {
        let case = format!("{} {}", K::KEY_TYPE, text(row, "value"));
        let Some(raw) = row["raw"].as_str().map(unhex) else {
            assert_eq!(KeyRange::<K>::from(..).encode().unwrap().high, None, "{case}");
            continue;
        };
        let key = key_of(row);
        let encoded = key.encode().unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(encoded.as_bytes(), raw, "{case}");
        assert_eq!(encoded.to_string(), format!("0x{}", text(row, "raw")), "{case}");
        assert_eq!(stored(K::KEY_TYPE, &raw), encoded, "{case}");
        assert_eq!(K::decode(&encoded).identity(), key.identity(), "{case}");
        if let Some((below, below_raw)) = last {
            assert_eq!(below < encoded, below_raw != raw, "{case}: the order");
            assert!(below <= encoded, "{case}: the order");
        }
        last = Some((encoded, raw));
    }
    assert!(last.is_some(), "{} has no rows", K::KEY_TYPE);
}

/// The ticks in a row.
fn ticks(row: &Value, name: &str) -> i64 {
    row[name].as_i64().unwrap_or_else(|| panic!("{name} of {row} is no number"))
}

#[test]
fn int32() {
    check(|row| i32::parse(text(row, "value")));
}

#[test]
fn int64() {
    check(|row| i64::parse(text(row, "value")));
}

#[test]
fn guid() {
    check(|row| Uuid::parse(text(row, "value")));
}

#[test]
fn binary() {
    check(|row| Vec::parse(text(row, "value")));
    check(|row| Bytes::from(Vec::parse(text(row, "value"))));
}

#[test]
fn date_time() {
    check(|row| NaiveDateTime::parse(text(row, "value")));
    check(|row| date(ticks(row, "ticks")));
}

#[test]
fn time_span() {
    check(|row| span(ticks(row, "ticks")));
    let extremes = [TimeDelta::decode(&EncodedKey::minimum()), span(i64::MIN)];
    assert_eq!(extremes[0], extremes[1]);
}

#[test]
fn date_time_offset() {
    check(|row| DateTime::<FixedOffset>::parse(text(row, "value")));
    check(|row| date_offset(ticks(row, "utc_ticks"), i32::try_from(ticks(row, "offset_ticks") / 10_000_000).unwrap()));
}

#[test]
fn date_time_offset_in_utc() {
    let file = data("key-vectors.json");
    for row in rows(&file, "DateTimeOffset").iter().filter(|row| row["offset_ticks"] == 0) {
        let case = text(row, "value");
        let key: DateTime<Utc> = case.parse().unwrap();
        assert_eq!(key.encode().unwrap().as_bytes(), unhex(text(row, "raw")), "{case}");
    }
}

#[test]
fn guids_ascend_in_the_order_of_sql_server() {
    let file = data("key-vectors.json");
    let guids: Vec<EncodedKey> = rows(&file, "GuidsAscending")
        .iter()
        .map(|guid| Uuid::parse(guid.as_str().unwrap()).encode().unwrap())
        .collect();
    assert!(guids.len() > 1 && guids.is_sorted_by(|below, above| below < above), "{guids:?}");
}
