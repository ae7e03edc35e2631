//! The form in which keys are compared in memory.
//!
//! A word is a `Copy` value whose order and equality are those of the encoding, so that a lookup needs neither an
//! allocation nor a comparison of byte strings.

use std::fmt::Debug;
use std::hash::Hash;

use super::encoding::left_aligned;
use super::{EncodedKey, KeyType};

/// A key in memory. Invariant: `Word::from_encoded` keeps order and equality among keys of one type.
#[expect(unnameable_types, reason = "the form of keys in memory is an affair of the cache, not of users")]
pub trait Word: Copy + Ord + Hash + Debug + Send + Sync + 'static {
    /// The word of an encoded key.
    fn from_encoded(key: &EncodedKey) -> Self;
}

/// Numbers, dates and spans: the encoding, padded with zeros on the right.
impl Word for u64 {
    fn from_encoded(key: &EncodedKey) -> Self {
        Self::from_be_bytes(left_aligned(key))
    }
}

/// GUIDs and dates with an offset.
impl Word for u128 {
    fn from_encoded(key: &EncodedKey) -> Self {
        Self::from_be_bytes(left_aligned(key))
    }
}

/// A binary key: the encoding padded with zeros, which loses nothing because an encoding never ends in a zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[expect(unnameable_types, reason = "the form of keys in memory is an affair of the cache, not of users")]
pub struct BinaryWord([u8; EncodedKey::MAX_LENGTH]);

impl BinaryWord {
    /// The word of the significant bytes of a binary key.
    pub(super) fn new(significant: &[u8]) -> Self {
        let mut padded = [0; EncodedKey::MAX_LENGTH];
        for (to, from) in padded.iter_mut().zip(significant) {
            *to = *from;
        }
        Self(padded)
    }
}

impl Word for BinaryWord {
    fn from_encoded(key: &EncodedKey) -> Self {
        Self(left_aligned(key))
    }
}

/// How the words of a key type are represented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WordSize {
    /// `u64`.
    Eight,
    /// `u128`.
    Sixteen,
    /// [`BinaryWord`].
    Binary,
}

impl WordSize {
    pub(crate) fn of(key_type: KeyType) -> Self {
        match key_type.width() {
            Some(4 | 8) => Self::Eight,
            Some(_) => Self::Sixteen,
            None => Self::Binary,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use chrono::{DateTime, FixedOffset, NaiveDateTime, TimeDelta, Utc};
    use proptest::prelude::{Just, Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};
    use proptest::strategy::BoxedStrategy;
    use proptest::test_runner::TestCaseError;
    use uuid::Uuid;

    use super::*;
    use crate::key::ShardKey;

    /// Words of two keys against their encodings, for keys that may be outside what their type can encode.
    fn check<K: ShardKey>(a: &K, b: &K) -> Result<(), TestCaseError> {
        let mut both = Vec::new();
        for key in [a, b] {
            match (key.encode(), key.word()) {
                (Ok(encoded), Ok(word)) => {
                    prop_assert_eq!(K::Word::from_encoded(&encoded), word);
                    both.push((encoded, word));
                }
                (encoded, word) => {
                    let kinds = (encoded.map_err(|error| error.kind()), word.map_err(|error| error.kind()));
                    prop_assert_eq!(kinds.0.err(), kinds.1.err(), "only one of encoding and word is refused");
                }
            }
        }
        if let [(encoded_a, a), (encoded_b, b)] = both.as_slice() {
            prop_assert_eq!(a.cmp(b), encoded_a.cmp(encoded_b));
            prop_assert_eq!(a == b, encoded_a == encoded_b);
        }
        Ok(())
    }

    /// Whole ticks mostly; from before year 1 to after year 9999.
    fn dates() -> impl Strategy<Value = NaiveDateTime> {
        let (first, last) = (-62_135_596_800_i64, 253_402_300_799_i64);
        let seconds = prop_oneof![first - 1..first + 2, last - 1..last + 2, -1..2_i64, first..=last];
        let nanos = prop_oneof![0..3_u32, 9_999_997..10_000_000_u32].prop_map(|ticks| ticks * 100);
        let nanos = prop_oneof![Just(0), nanos.clone(), nanos.prop_map(|nanos| nanos + 1)];
        (seconds, nanos).prop_map(|(seconds, nanos)| DateTime::from_timestamp(seconds, nanos).unwrap().naive_utc())
    }

    /// As [`dates`], with offsets that are mostly whole minutes within 14 hours.
    fn dates_with_offset() -> impl Strategy<Value = DateTime<FixedOffset>> {
        let offsets = prop_oneof![Just(0), (-841..842).prop_map(|minutes| minutes * 60), -86_399..86_400];
        (dates(), offsets)
            .prop_map(|(utc, offset)| DateTime::from_naive_utc_and_offset(utc, FixedOffset::east_opt(offset).unwrap()))
    }

    fn binary() -> BoxedStrategy<Vec<u8>> {
        let short = prop::collection::vec(0..2_u8, 0..5);
        prop_oneof![short, prop::collection::vec(any::<u8>(), 0..140), prop::collection::vec(0..2_u8, 126..130)].boxed()
    }

    proptest! {
        #[test]
        fn int32(a in any::<i32>(), near in -2..3_i32) {
            check(&a, &a.wrapping_add(near))?;
            check(&i32::MIN.wrapping_add(near), &a)?;
        }

        #[test]
        fn int64(a in any::<i64>(), near in -2..3_i64) {
            check(&a, &a.wrapping_add(near))?;
            check(&i64::MIN.wrapping_add(near), &a)?;
        }

        #[test]
        fn guid(a in any::<u128>(), b in any::<u128>(), bit in 0..128_u32) {
            check(&Uuid::from_u128(a), &Uuid::from_u128(b))?;
            check(&Uuid::from_u128(a), &Uuid::from_u128(a ^ (1 << bit)))?;
            check(&Uuid::nil(), &Uuid::from_u128(1 << bit))?;
        }

        #[test]
        fn binary_keys(a in binary(), b in binary(), zeros in 0..200_usize) {
            check(&a, &b)?;
            check(&Bytes::from(a.clone()), &Bytes::from(b))?;
            let longer = [a.clone(), vec![0; zeros]].concat();
            check(&a, &longer)?;
        }

        #[test]
        fn date_time(a in dates(), b in dates()) {
            check(&a, &b)?;
            check(&a.and_utc(), &b.and_utc())?;
        }

        #[test]
        fn time_span(a in any::<i64>(), b in any::<i64>(), nanos in -100..=100_i64) {
            let span = |ticks: i64| TimeDelta::microseconds(ticks / 10) + TimeDelta::nanoseconds(ticks % 10 * 100);
            check(&span(a), &span(b))?;
            check(&span(a), &(span(a) + TimeDelta::nanoseconds(nanos)))?;
            for end in [i64::MIN, i64::MAX] {
                check(&span(end), &(span(end) + TimeDelta::nanoseconds(nanos)))?;
            }
        }

        #[test]
        fn date_time_offset(a in dates_with_offset(), b in dates_with_offset()) {
            check(&a, &b)?;
            check(&a, &a.naive_utc().and_utc().with_timezone(b.offset()))?;
        }
    }

    #[test]
    fn the_size_is_that_of_the_keys_word() {
        fn check<K: ShardKey>() {
            let bytes = match WordSize::of(K::KEY_TYPE) {
                WordSize::Eight => 8,
                WordSize::Sixteen => 16,
                WordSize::Binary => EncodedKey::MAX_LENGTH,
            };
            assert_eq!(size_of::<K::Word>(), bytes, "{}", K::KEY_TYPE);
        }
        check::<i32>();
        check::<i64>();
        check::<Uuid>();
        check::<Vec<u8>>();
        check::<Bytes>();
        check::<NaiveDateTime>();
        check::<TimeDelta>();
        check::<DateTime<FixedOffset>>();
        check::<DateTime<Utc>>();
    }
}
