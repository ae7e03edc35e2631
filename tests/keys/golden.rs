//! Stores that the reference library wrote, `tests/data/keys-*.json`: their keys, the calls that made them, lookups.

use std::marker::PhantomData;

use chrono::{DateTime, FixedOffset, NaiveDateTime};
use serde_json::Value;
use shardlet::{EncodedKey, EncodedRange, ErrorKind, KeyRange, KeyType, Result, ShardKey};
use uuid::Uuid;

use crate::subject::{Subject, Text};
use crate::{data, rows, stored, text, unhex};

/// How the reference library answered a call that creates a mapping.
enum Answer {
    Created,
    AlreadyMapped,
    InvalidInput,
    /// Its own fault with the first instant of year 1.
    CannotReadEarliest,
}

impl Answer {
    fn of(call: &Value) -> Self {
        let result = text(call, "result");
        let is = |what: &str| result.contains(what);
        if result == "created" {
            Self::Created
        } else if is("MappingPointAlreadyMapped") || is("MappingRangeAlreadyMapped") {
            Self::AlreadyMapped
        } else if is("The length of raw value") || is("is greater than or equal to the high value") {
            Self::InvalidInput
        } else if is("Ticks must be between DateTime.MinValue.Ticks") || is("Offset and length were out of bounds") {
            Self::CannotReadEarliest
        } else {
            panic!("{call}: an answer that this test does not know")
        }
    }
}

/// A store of the reference library with keys of one type.
struct Golden<K> {
    file: Value,
    key: PhantomData<K>,
}

impl<K: Subject + Text> Golden<K> {
    fn open(file: &str) -> Self {
        Self { file: data(file), key: PhantomData }
    }

    fn view(&self) -> &Value {
        &self.file["client_view"]
    }

    /// The mappings of a map as the global store holds them: id and bounds. `map` is a part of the client's view.
    fn mappings_in_store(&self, map: &str) -> Vec<(&str, EncodedRange)> {
        rows(&self.file["gsm"], "ShardMappingsGlobal")
            .iter()
            .filter(|row| row["ShardMapId"] == self.view()[map]["id"] && row["Readable"] == true)
            .map(|row| (text(row, "MappingId"), bounds::<K>(row, "MinValue", "MaxValue")))
            .collect()
    }

    fn check_point_mappings(&self) {
        let in_store = self.mappings_in_store("list");
        let mappings = rows(&self.view()["list"], "mappings");
        assert_eq!(mappings.len(), in_store.len());
        for mapping in mappings {
            let case = mapping.to_string();
            let raw = unhex(text(mapping, "raw"));
            let key = K::parse(text(mapping, "value"));
            let encoded = stored(K::KEY_TYPE, &raw);
            assert_eq!(encoded.as_bytes(), raw, "{case}");
            assert_eq!(key.encode().unwrap(), encoded, "{case}");
            assert_eq!(K::decode(&encoded).identity(), key.identity(), "{case}");
            assert!(in_store.contains(&(text(mapping, "id"), EncodedRange { low: encoded, high: None })), "{case}");
        }
    }

    fn check_range_mappings(&self, map: &str) {
        // The text of dates depends on the culture, that of the others does not.
        let same_text = matches!(K::KEY_TYPE, KeyType::Int32 | KeyType::Int64 | KeyType::Guid | KeyType::Binary);
        let in_store = self.mappings_in_store(map);
        let mappings = rows(&self.view()[map], "mappings");
        assert_eq!(mappings.len(), in_store.len());
        for mapping in mappings {
            let case = mapping.to_string();
            let encoded = bounds::<K>(mapping, "raw_low", "raw_high");
            let range = range_of::<K>(mapping);
            assert_eq!(range.encode().unwrap(), encoded, "{case}");
            assert_eq!(encoded.high.is_none(), mapping["high_is_max"] == true, "{case}");
            let decoded = KeyRange::<K>::decode(&encoded);
            assert_eq!(decoded.low().identity(), range.low().identity(), "{case}");
            assert_eq!(decoded.high().map(K::identity), range.high().map(K::identity), "{case}");
            if same_text {
                assert_eq!(format!("R[{}:{decoded}]", text(mapping, "id")), text(mapping, "text"), "{case}");
            }
            assert!(in_store.contains(&(text(mapping, "id"), encoded)), "{case}");
        }
    }

    /// Repeats the calls on a model of a map, and expects the same answers and in the end the same rows.
    fn check_created(
        &self,
        calls: &[Value],
        map: &str,
        encode: impl Fn(&Value) -> Result<EncodedRange>,
        clash: impl Fn(&EncodedRange, &EncodedRange) -> bool,
    ) {
        let mut model: Vec<EncodedRange> = Vec::new();
        for call in calls {
            let encoded = encode(call);
            let clashes = encoded.as_ref().is_ok_and(|new| model.iter().any(|old| clash(old, new)));
            match Answer::of(call) {
                Answer::Created => {
                    assert!(!clashes, "{call}");
                    model.push(encoded.unwrap_or_else(|error| panic!("{call}: {error}")));
                }
                Answer::AlreadyMapped => assert!(clashes, "{call}: {encoded:?}"),
                Answer::InvalidInput => assert_eq!(encoded.unwrap_err().kind(), ErrorKind::InvalidInput, "{call}"),
                // DIFFERENCE: the reference library cannot read the least date that it encodes and rejects the call;
                // it is a key like any other here.
                Answer::CannotReadEarliest => assert_eq!(encoded.unwrap().low, EncodedKey::minimum(), "{call}"),
            }
        }
        let in_store: Vec<EncodedRange> = self.mappings_in_store(map).into_iter().map(|(_, range)| range).collect();
        model.sort_by(|a, b| a.low.cmp(&b.low));
        assert_eq!(model, in_store, "{map}");
    }

    fn check_created_points(&self) {
        let encode = |call: &Value| Ok(EncodedRange { low: K::parse(text(call, "value")).encode()?, high: None });
        self.check_created(rows(self.view(), "created_list"), "list", encode, |old, new| old.low == new.low);
    }

    fn check_created_ranges(&self) {
        let encode = |call: &Value| range_of::<K>(call).encode();
        self.check_created(rows(self.view(), "created_range"), "range", encode, EncodedRange::intersects);
        let full = std::slice::from_ref(&self.view()["created_full_range"]);
        self.check_created(full, "full_range", encode, EncodedRange::intersects);
    }

    fn check_lookups(&self, lookups: &str, map: &str, holds: impl Fn(&EncodedRange, &EncodedKey) -> bool) {
        let in_store = self.mappings_in_store(map);
        for lookup in rows(self.view(), lookups) {
            let raw = unhex(text(lookup, "raw"));
            let encoded = K::parse(text(lookup, "key")).encode();
            if raw.len() > EncodedKey::MAX_LENGTH {
                // DIFFERENCE: the reference library cuts the key to 128 bytes and finds the mapping of another key.
                assert!(lookup["found"].is_string(), "{lookup}");
                assert_eq!(encoded.unwrap_err().kind(), ErrorKind::InvalidInput, "{lookup}");
                continue;
            }
            let encoded = encoded.unwrap_or_else(|error| panic!("{lookup}: {error}"));
            assert_eq!(encoded.as_bytes(), raw, "{lookup}");
            let found: Vec<&str> =
                in_store.iter().filter(|(_, range)| holds(range, &encoded)).map(|(id, _)| *id).collect();
            assert_eq!(found, lookup["found"].as_str().into_iter().collect::<Vec<_>>(), "{lookup}");
        }
    }
}

/// The bounds in two columns of a row; no high bound is +infinity.
fn bounds<K: ShardKey>(row: &Value, low: &str, high: &str) -> EncodedRange {
    EncodedRange {
        low: stored(K::KEY_TYPE, &unhex(text(row, low))),
        high: row[high].as_str().map(|digits| stored(K::KEY_TYPE, &unhex(digits))),
    }
}

/// The range that the texts `low` and `high` name.
fn range_of<K: ShardKey + Text>(row: &Value) -> KeyRange<K> {
    let high = text(row, "high");
    KeyRange::new(Some(K::parse(text(row, "low"))), (high != "+inf").then(|| K::parse(high)))
}

macro_rules! golden {
    ($($name:ident, $key:ty, $file:literal;)*) => {
        $(mod $name {
            use super::*;

            #[test]
            fn mappings_read_as_the_reference_library_reads_them() {
                let golden = Golden::<$key>::open($file);
                golden.check_point_mappings();
                golden.check_range_mappings("range");
                golden.check_range_mappings("full_range");
            }

            #[test]
            fn calls_that_create_mappings_have_the_same_outcome() {
                let golden = Golden::<$key>::open($file);
                golden.check_created_points();
                golden.check_created_ranges();
            }

            #[test]
            fn lookups_find_the_same_mappings() {
                let golden = Golden::<$key>::open($file);
                golden.check_lookups("list_lookups_in_store", "list", |point, key| point.low == *key);
                golden.check_lookups("range_lookups_in_store", "range", EncodedRange::contains);
            }
        })*
    };
}

golden! {
    int32, i32, "keys-int32.json";
    int64, i64, "keys-int64.json";
    guid, Uuid, "keys-guid.json";
    binary, Vec<u8>, "keys-binary.json";
    date_time, NaiveDateTime, "keys-datetime.json";
    date_time_offset, DateTime<FixedOffset>, "keys-datetimeoffset.json";
}

#[test]
fn the_earliest_instant_is_a_key() {
    let file = data("keys-datetimeoffset-min.json");
    let date = DateTime::<FixedOffset>::parse;
    let earliest = || date("0001-01-01T00:00:00+00:00");
    let mut creations = 0;
    for call in rows(&file["client_view"], "calls") {
        let encoded = match text(call, "call") {
            "CreatePointMapping(DateTimeOffset.MinValue)"
            | "CreatePointMapping(DateTimeOffset.MinValue with offset +00:00 via UTC ticks 0)" => earliest().encode(),
            "CreateRangeMapping(DateTimeOffset.MinValue, 1970-01-01T00:00:00Z)" => {
                KeyRange::from(earliest()..date("1970-01-01T00:00:00+00:00")).encode().map(|range| range.low)
            }
            "CreateRangeMapping(DateTimeOffset.MinValue, +inf)" => {
                KeyRange::from(earliest()..).encode().map(|range| range.low)
            }
            _ => continue,
        };
        // DIFFERENCE: the reference library rejects each of these.
        assert!(matches!(Answer::of(call), Answer::CannotReadEarliest), "{call}");
        let encoded = encoded.unwrap_or_else(|error| panic!("{call}: {error}"));
        assert_eq!(encoded, EncodedKey::minimum(), "{call}");
        assert_eq!(DateTime::<FixedOffset>::decode(&encoded).identity(), earliest().identity(), "{call}");
        creations += 1;
    }
    assert_eq!(creations, 4);
}
