//! Keys of every type to run scenarios with.

use bytes::Bytes;
use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, TimeDelta, Utc};
use shardlet::{EncodedKey, KeyType, ShardKey};
use uuid::Uuid;

/// A key type with keys at its edges and between them.
pub trait Sample: ShardKey {
    /// The least key, the one after it, some others, the one before the greatest, and the greatest; in their order.
    fn ascending() -> Vec<Self>;
}

/// Runs a generic test function for each Rust type that can be a key.
macro_rules! for_each_key_type {
    ($function:ident $(, $argument:expr)*) => {
        $function::<i32>($($argument),*).await;
        $function::<i64>($($argument),*).await;
        $function::<uuid::Uuid>($($argument),*).await;
        $function::<Vec<u8>>($($argument),*).await;
        $function::<bytes::Bytes>($($argument),*).await;
        $function::<chrono::NaiveDateTime>($($argument),*).await;
        $function::<chrono::TimeDelta>($($argument),*).await;
        $function::<chrono::DateTime<chrono::FixedOffset>>($($argument),*).await;
        $function::<chrono::DateTime<chrono::Utc>>($($argument),*).await;
    };
}
pub(crate) use for_each_key_type;

/// The first instant of year 1.
pub fn first() -> NaiveDateTime {
    NaiveDate::from_ymd_opt(1, 1, 1).unwrap().and_hms_opt(0, 0, 0).unwrap()
}

/// The last tick of year 9999.
pub fn last() -> NaiveDateTime {
    NaiveDate::from_ymd_opt(9999, 12, 31).unwrap().and_hms_nano_opt(23, 59, 59, 999_999_900).unwrap()
}

/// A moment of an ordinary day.
pub fn noon() -> NaiveDateTime {
    NaiveDate::from_ymd_opt(2024, 2, 29).unwrap().and_hms_opt(12, 0, 0).unwrap()
}

/// The shortest span that a key can tell.
pub fn tick() -> TimeDelta {
    TimeDelta::nanoseconds(100)
}

/// So many ticks.
pub fn ticks(count: i64) -> TimeDelta {
    TimeDelta::new(count.div_euclid(10_000_000), u32::try_from(count.rem_euclid(10_000_000)).unwrap() * 100).unwrap()
}

/// An instant as seen so many hours east of Greenwich.
pub fn at(instant: NaiveDateTime, hours: i32) -> DateTime<FixedOffset> {
    DateTime::from_naive_utc_and_offset(instant, FixedOffset::east_opt(hours * 3600).unwrap())
}

impl Sample for i32 {
    fn ascending() -> Vec<Self> {
        vec![Self::MIN, Self::MIN + 1, -1, 0, 1, Self::MAX - 1, Self::MAX]
    }
}

impl Sample for i64 {
    fn ascending() -> Vec<Self> {
        vec![Self::MIN, Self::MIN + 1, -1, 0, 1, Self::MAX - 1, Self::MAX]
    }
}

impl Sample for Uuid {
    /// In SQL Server's order, where the last group decides first and the first group last.
    fn ascending() -> Vec<Self> {
        let stored = |bytes: [u8; 16]| Self::decode(&EncodedKey::from_stored(KeyType::Guid, &bytes).unwrap());
        let ends_in = |rest: u8, last: u8| stored(std::array::from_fn(|at| if at == 15 { last } else { rest }));
        vec![
            Self::nil(),
            ends_in(0, 1),
            Self::parse_str("ffffffff-ffff-ffff-0000-000000000000").unwrap(),
            Self::parse_str("00000000-0000-0000-0001-000000000000").unwrap(),
            Self::parse_str("00000000-0000-0000-0000-000000000001").unwrap(),
            ends_in(0xff, 0xfe),
            Self::max(),
        ]
    }
}

impl Sample for Vec<u8> {
    fn ascending() -> Vec<Self> {
        let end = |rest: u8, last: u8| [[rest; 127].as_slice(), &[last]].concat();
        vec![
            vec![],
            end(0, 1),
            vec![0, 1],
            vec![1],
            b"tenant".to_vec(),
            vec![0xff; 127],
            end(0xff, 0xfe),
            vec![0xff; 128],
        ]
    }
}

impl Sample for Bytes {
    fn ascending() -> Vec<Self> {
        <Vec<u8> as Sample>::ascending().into_iter().map(Self::from).collect()
    }
}

impl Sample for NaiveDateTime {
    fn ascending() -> Vec<Self> {
        vec![first(), first() + tick(), noon(), noon() + tick(), last() - tick(), last()]
    }
}

impl Sample for TimeDelta {
    fn ascending() -> Vec<Self> {
        [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1, i64::MAX].into_iter().map(ticks).collect()
    }
}

impl Sample for DateTime<FixedOffset> {
    /// By instant, then by offset. Near the ends of the calendar only some offsets lead to a local time that exists.
    fn ascending() -> Vec<Self> {
        vec![
            at(first(), 0),
            at(first() + tick(), 0),
            at(noon(), -14),
            at(noon(), 0),
            at(noon(), 14),
            at(noon() + tick(), -14),
            at(last() - tick(), 0),
            at(last(), 0),
        ]
    }
}

impl Sample for DateTime<Utc> {
    fn ascending() -> Vec<Self> {
        NaiveDateTime::ascending().into_iter().map(|date| date.and_utc()).collect()
    }
}
