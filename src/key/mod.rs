//! Sharding keys: the Rust types that can be keys, their encoding, and ranges of them.
//!
//! [`ShardKey`] is the sealed trait of the key types, [`EncodedKey`] the stored form of a key, [`KeyRange`] a range
//! `[low, high)`. Only `encoding` knows what the bytes mean.
//!
//! Invariant: the unsigned bytewise order of encodings is the order of keys, and a key has exactly one encoding. Where a
//! Rust type compares more loosely (two [`chrono::DateTime`] of one instant with different offsets are equal), the
//! encoding decides: they are different keys, as they are to the stores.

mod encoded;
mod encoding;
mod key_range;
mod key_text;
mod key_type;
mod shard_key;
mod word;

pub use encoded::EncodedKey;
pub use key_range::{EncodedRange, KeyRange};
pub use key_text::KeyText;
pub use key_type::KeyType;
pub use shard_key::ShardKey;
pub(crate) use word::{BinaryWord, Word, WordSize};
