//! Ranges of keys: low bound inclusive, high bound exclusive or absent.

use std::fmt;
use std::ops::{Range, RangeFrom, RangeFull, RangeTo};

use super::{EncodedKey, ShardKey};
use crate::error::{Error, Result};

/// A range `[low, high)` of keys. Without a high bound it reaches to +infinity and so holds the greatest key too.
///
/// Made from Rust's half-open ranges: `0..50`, `200..`, `..50`, `..`. An empty or inverted range can be made but is
/// refused where it is used, with an error of kind [`InvalidInput`](crate::ErrorKind::InvalidInput).
///
/// ```
/// use shardlet::KeyRange;
/// let range = KeyRange::from(0_i64..50);
/// assert_eq!(range.to_string(), "[0:50)");
/// assert_eq!(KeyRange::<i32>::from(..).to_string(), "[-2147483648:+inf)");
/// ```
#[derive(Clone, Debug)]
pub struct KeyRange<K> {
    low: K,
    high: Option<K>,
}

impl<K: ShardKey> KeyRange<K> {
    /// The range from `low` up to but not including `high`; `None` is the least key and +infinity.
    #[must_use]
    pub fn new(low: Option<K>, high: Option<K>) -> Self {
        Self { low: low.unwrap_or_else(|| K::decode(&EncodedKey::minimum())), high }
    }

    /// The least key of the range.
    #[must_use]
    pub fn low(&self) -> &K {
        &self.low
    }

    /// The first key above the range, or `None` if it reaches to +infinity.
    #[must_use]
    pub fn high(&self) -> Option<&K> {
        self.high.as_ref()
    }

    /// True if the key is in the range; false if either is outside what its type can encode.
    #[must_use]
    pub fn contains(&self, key: &K) -> bool {
        match (self.encode(), key.encode()) {
            (Ok(range), Ok(key)) => range.contains(&key),
            _ => false,
        }
    }

    /// The stored form.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the range is empty or inverted, or a bound cannot be encoded.
    pub fn encode(&self) -> Result<EncodedRange> {
        let range =
            EncodedRange { low: self.low.encode()?, high: self.high.as_ref().map(ShardKey::encode).transpose()? };
        if range.is_empty() {
            return Err(Error::invalid_input(
                "the range is empty or inverted: its low bound is not below its high bound",
            ));
        }
        Ok(range)
    }

    /// The range of a stored form.
    #[must_use]
    pub fn decode(range: &EncodedRange) -> Self {
        Self { low: K::decode(&range.low), high: range.high.as_ref().map(K::decode) }
    }
}

impl<K: ShardKey> PartialEq for KeyRange<K> {
    /// By the encoding of the bounds, which decides what a key is. A range that cannot be encoded equals no other.
    fn eq(&self, other: &Self) -> bool {
        let encoded = |key: &K| key.encode().ok();
        let bounds = |range: &Self| Some((encoded(&range.low)?, range.high.as_ref().map(encoded)));
        match (bounds(self), bounds(other)) {
            (Some(a), Some(b)) => a == b && a.1 != Some(None),
            _ => false,
        }
    }
}

impl<K: ShardKey> fmt::Display for KeyRange<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        self.low.write(f)?;
        f.write_str(":")?;
        match &self.high {
            Some(high) => high.write(f)?,
            None => f.write_str("+inf")?,
        }
        f.write_str(")")
    }
}

impl<K: ShardKey> From<Range<K>> for KeyRange<K> {
    fn from(range: Range<K>) -> Self {
        Self::new(Some(range.start), Some(range.end))
    }
}

impl<K: ShardKey> From<RangeFrom<K>> for KeyRange<K> {
    fn from(range: RangeFrom<K>) -> Self {
        Self::new(Some(range.start), None)
    }
}

impl<K: ShardKey> From<RangeTo<K>> for KeyRange<K> {
    fn from(range: RangeTo<K>) -> Self {
        Self::new(None, Some(range.end))
    }
}

impl<K: ShardKey> From<RangeFull> for KeyRange<K> {
    fn from(_: RangeFull) -> Self {
        Self::new(None, None)
    }
}

/// A range in its stored form: `[low, high)`, `None` being +infinity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedRange {
    /// The least key.
    pub low: EncodedKey,
    /// The first key above the range.
    pub high: Option<EncodedKey>,
}

impl EncodedRange {
    /// True if no key is in the range.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.high.as_ref().is_some_and(|high| *high <= self.low)
    }

    /// True if the key is in the range.
    #[must_use]
    pub fn contains(&self, key: &EncodedKey) -> bool {
        *key >= self.low && self.high.as_ref().is_none_or(|high| key < high)
    }

    /// True if some key is in both ranges.
    #[must_use]
    pub fn intersects(&self, other: &Self) -> bool {
        let low = (&self.low).max(&other.low);
        [&self.high, &other.high].into_iter().flatten().all(|high| low < high)
    }
}
