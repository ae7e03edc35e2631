//! Keys and ranges: against what the reference library wrote, against a naive model, and at the edges of each type.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail the test that calls them"
)]

mod golden;
mod properties;
mod ranges;
mod refusals;
mod subject;
mod vectors;

use serde_json::Value;
use shardlet::{EncodedKey, KeyType};

/// A file of `tests/data`.
fn data(file: &str) -> Value {
    let path = format!("{}/tests/data/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The elements of an array in a data file.
fn rows<'a>(parent: &'a Value, name: &str) -> &'a [Value] {
    parent[name].as_array().unwrap_or_else(|| panic!("{name} is no array"))
}

/// A text in a data file.
fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name].as_str().unwrap_or_else(|| panic!("{name} of {row} is no text"))
}

/// Hexadecimal digits as bytes.
fn unhex(digits: &str) -> Vec<u8> {
    assert!(digits.len().is_multiple_of(2), "{digits}: an odd number of digits");
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// A key from a store that the store is expected to be right about.
fn stored(key_type: KeyType, bytes: &[u8]) -> EncodedKey {
    EncodedKey::from_stored(key_type, bytes).unwrap_or_else(|error| panic!("{key_type} {bytes:02x?}: {error}"))
}
