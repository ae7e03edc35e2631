//! The key types as the tests see them: what tells two keys of a type apart, how to make some, and how to read one.

use std::fmt::Debug;

use bytes::Bytes;
use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, TimeDelta, Utc};
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof};
use proptest::strategy::BoxedStrategy;
use shardlet::ShardKey;
use uuid::Uuid;

use crate::unhex;

/// The last tick of year 9999.
pub(crate) const LAST_TICK: i64 = 3_155_378_975_999_999_999;

/// The tick of 1970-01-01.
const UNIX_EPOCH: i64 = 621_355_968_000_000_000;

/// A key type under test.
pub(crate) trait Subject: ShardKey {
    /// What the stores tell keys apart by; its order is theirs. Made without the encoding.
    type Identity: Ord + Debug;

    fn identity(&self) -> Self::Identity;

    /// Keys that can be encoded: the whole range, and often the same few at its edges.
    fn keys() -> BoxedStrategy<Self>;
}

/// A key type whose values the golden files write as text.
pub(crate) trait Text {
    fn parse(text: &str) -> Self;
}

/// A time so many ticks of 100 ns after another.
pub(crate) fn span(ticks: i64) -> TimeDelta {
    TimeDelta::seconds(ticks / 10_000_000) + TimeDelta::nanoseconds(ticks % 10_000_000 * 100)
}

/// Ticks as the stores hold them: big-endian, the top bit inverted.
pub(crate) fn stored_ticks(ticks: i64) -> [u8; 8] {
    (ticks.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

/// Midnight, when year 1 begins.
pub(crate) fn first_instant() -> NaiveDateTime {
    NaiveDate::from_ymd_opt(1, 1, 1).unwrap().and_hms_opt(0, 0, 0).unwrap()
}

/// The date and time so many ticks after [`first_instant`].
pub(crate) fn date(ticks: i64) -> NaiveDateTime {
    first_instant() + span(ticks)
}

/// An offset from UTC.
pub(crate) fn offset(seconds: i32) -> FixedOffset {
    FixedOffset::east_opt(seconds).unwrap()
}

/// The instant so many ticks after [`first_instant`], as seen with an offset.
pub(crate) fn date_offset(utc_ticks: i64, offset_seconds: i32) -> DateTime<FixedOffset> {
    DateTime::from_naive_utc_and_offset(date(utc_ticks), offset(offset_seconds))
}

/// Ticks of dates.
fn date_ticks() -> BoxedStrategy<i64> {
    prop_oneof![
        0..3_i64,
        LAST_TICK - 2..=LAST_TICK,
        Just(UNIX_EPOCH),
        UNIX_EPOCH - 300..UNIX_EPOCH + 300,
        0..=LAST_TICK
    ]
    .boxed()
}

impl Subject for i32 {
    type Identity = Self;

    fn identity(&self) -> Self {
        *self
    }

    fn keys() -> BoxedStrategy<Self> {
        prop_oneof![Just(Self::MIN), Just(Self::MAX), -300..300, any::<Self>()].boxed()
    }
}

impl Subject for i64 {
    type Identity = Self;

    fn identity(&self) -> Self {
        *self
    }

    fn keys() -> BoxedStrategy<Self> {
        prop_oneof![Just(Self::MIN), Just(Self::MAX), -300..300_i64, any::<Self>()].boxed()
    }
}

impl Subject for Uuid {
    /// The groups from the last to the first; the bytes of the first three from right to left, as they are printed.
    type Identity = ([u8; 6], [u8; 2], u16, u16, u32);

    fn identity(&self) -> Self::Identity {
        let (first, second, third, rest) = self.as_fields();
        let [a, b, c, d, e, f, g, h] = *rest;
        ([c, d, e, f, g, h], [a, b], third.swap_bytes(), second.swap_bytes(), first.swap_bytes())
    }

    fn keys() -> BoxedStrategy<Self> {
        prop_oneof![
            Just(Self::nil()),
            Just(Self::max()),
            (0..128_u32).prop_map(|bit| Self::from_u128(1 << bit)),
            any::<u128>().prop_map(Self::from_u128)
        ]
        .boxed()
    }
}

impl Subject for Vec<u8> {
    /// Without its trailing zeros.
    type Identity = Self;

    fn identity(&self) -> Self {
        let zeros = self.iter().rev().take_while(|byte| **byte == 0).count();
        self[..self.len() - zeros].to_vec()
    }

    fn keys() -> BoxedStrategy<Self> {
        let few = prop::collection::vec(0..2_u8, 0..5);
        let full = prop::collection::vec(any::<u8>(), 127..=128);
        (prop_oneof![few, full, prop::collection::vec(any::<u8>(), 0..128)], 0..200_usize)
            .prop_map(|(mut key, zeros)| {
                key.resize(key.len() + zeros, 0);
                key
            })
            .boxed()
    }
}

impl Subject for Bytes {
    type Identity = Vec<u8>;

    fn identity(&self) -> Vec<u8> {
        self.to_vec().identity()
    }

    fn keys() -> BoxedStrategy<Self> {
        Vec::keys().prop_map(Self::from).boxed()
    }
}

impl Subject for NaiveDateTime {
    type Identity = Self;

    fn identity(&self) -> Self {
        *self
    }

    fn keys() -> BoxedStrategy<Self> {
        date_ticks().prop_map(date).boxed()
    }
}

impl Subject for TimeDelta {
    type Identity = Self;

    fn identity(&self) -> Self {
        *self
    }

    fn keys() -> BoxedStrategy<Self> {
        i64::keys().prop_map(span).boxed()
    }
}

impl Subject for DateTime<FixedOffset> {
    /// The instant and the offset; at the first instant there is no offset.
    type Identity = (NaiveDateTime, i32);

    fn identity(&self) -> Self::Identity {
        let instant = self.naive_utc();
        (instant, if instant == first_instant() { 0 } else { self.offset().local_minus_utc() })
    }

    fn keys() -> BoxedStrategy<Self> {
        let minutes = prop_oneof![Just(-840), Just(0), Just(840), -840..=840];
        (date_ticks(), minutes)
            .prop_map(|(ticks, minutes)| {
                let local = ticks + i64::from(minutes) * 600_000_000;
                // Near the ends of the calendar only one direction leads to a date that exists.
                date_offset(ticks, if (0..=LAST_TICK).contains(&local) { minutes * 60 } else { minutes * -60 })
            })
            .boxed()
    }
}

impl Subject for DateTime<Utc> {
    type Identity = NaiveDateTime;

    fn identity(&self) -> NaiveDateTime {
        self.naive_utc()
    }

    fn keys() -> BoxedStrategy<Self> {
        date_ticks().prop_map(|ticks| date(ticks).and_utc()).boxed()
    }
}

impl Text for i32 {
    fn parse(text: &str) -> Self {
        text.parse().unwrap()
    }
}

impl Text for i64 {
    fn parse(text: &str) -> Self {
        text.parse().unwrap()
    }
}

impl Text for Uuid {
    fn parse(text: &str) -> Self {
        text.parse().unwrap()
    }
}

impl Text for Vec<u8> {
    fn parse(text: &str) -> Self {
        unhex(text.strip_prefix("0x").unwrap())
    }
}

/// The golden files add the ticks to a date, in parentheses.
fn without_remark(text: &str) -> &str {
    text.split_once(" (").map_or(text, |(date, _)| date)
}

impl Text for NaiveDateTime {
    /// The clock's reading. What follows it is the `Kind` of .NET, which is no part of the key.
    fn parse(text: &str) -> Self {
        let date = without_remark(text);
        date.strip_suffix("+00:00").unwrap_or(date).trim_end_matches('Z').parse().unwrap()
    }
}

impl Text for DateTime<FixedOffset> {
    fn parse(text: &str) -> Self {
        Self::parse_from_rfc3339(without_remark(text)).unwrap()
    }
}
