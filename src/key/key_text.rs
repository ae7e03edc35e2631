//! Keys as people read and write them, where only the number of their type is known.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};
use uuid::Uuid;

use super::{EncodedKey, KeyType, ShardKey};
use crate::error::{Error, Result};

/// A stored key as people read it, by its `Display`: see [`KeyType::show`]. Not for logs, which must hold no key.
pub struct KeyText<'k>(pub(super) KeyType, pub(super) &'k EncodedKey);

impl fmt::Display for KeyText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(key_type, key) = self;
        match key_type {
            KeyType::Int32 => i32::decode(key).write(f),
            KeyType::Int64 => i64::decode(key).write(f),
            KeyType::Guid => Uuid::decode(key).write(f),
            KeyType::Binary => Bytes::decode(key).write(f),
            KeyType::DateTime => NaiveDateTime::decode(key).write(f),
            KeyType::TimeSpan => TimeDelta::decode(key).write(f),
            KeyType::DateTimeOffset => DateTime::<FixedOffset>::decode(key).write(f),
        }
    }
}

impl fmt::Debug for KeyText<'_> {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyText({}, {:?})", self.0, self.1)
    }
}

/// The stored form of a key that a person wrote.
pub(super) fn parse(key_type: KeyType, text: &str) -> Result<EncodedKey> {
    let text = text.trim();
    let key = match key_type {
        KeyType::Int32 => i32::from_str(text).ok().map(|key| key.encode()),
        KeyType::Int64 => i64::from_str(text).ok().map(|key| key.encode()),
        KeyType::Guid => Uuid::try_parse(text).ok().map(|key| key.encode()),
        KeyType::Binary => bytes_of_hex(text).map(|key| key.encode()),
        KeyType::DateTime => date_time(text).map(|key| key.encode()),
        KeyType::TimeSpan => time_span(text).map(|key| key.encode()),
        KeyType::DateTimeOffset => DateTime::<FixedOffset>::from_str(text).ok().map(|key| key.encode()),
    };
    // The text is not quoted: messages hold no key.
    key.unwrap_or_else(|| Err(Error::invalid_input(format!("the text is no {key_type} key: {}", wanted(key_type)))))
}

fn wanted(key_type: KeyType) -> &'static str {
    match key_type {
        KeyType::Int32 => "a whole number from -2147483648 to 2147483647 is wanted",
        KeyType::Int64 => "a whole number from -9223372036854775808 to 9223372036854775807 is wanted",
        KeyType::Guid => "a GUID as 6f9619ff-8b86-d011-b42d-00c04fc964ff is wanted",
        KeyType::Binary => "bytes as 0x00ff are wanted",
        KeyType::DateTime => "a date and time as 2026-11-21 08:30:00.5 is wanted, or a date alone",
        KeyType::TimeSpan => "a time span as 1.02:03:04.5 (days, hours, minutes, seconds) or PT93784.5S is wanted",
        KeyType::DateTimeOffset => "a date and time with its offset as 2026-11-21 08:30:00.5 +01:00 is wanted",
    }
}

fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))?.as_bytes();
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    digits.chunks(2).map(byte).collect()
}

fn date_time(text: &str) -> Option<NaiveDateTime> {
    let day = || NaiveDate::from_str(text).ok().map(|day| day.and_time(NaiveTime::MIN));
    NaiveDateTime::parse_from_str(&text.replacen('T', " ", 1), "%Y-%m-%d %H:%M:%S%.f").ok().or_else(day)
}

/// `[-][days.]hours:minutes:seconds[.fraction]` as .NET writes it, or ISO 8601 seconds as `chrono` does.
fn time_span(text: &str) -> Option<TimeDelta> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let iso = text.strip_prefix("PT").and_then(|text| text.strip_suffix('S'));
    let (whole, rest) = match iso {
        Some(seconds) => (0, seconds),
        None if text == "P0D" => (0, "0"),
        None => {
            let (before, seconds) = text.rsplit_once(':')?;
            let (hours, minutes) = before.rsplit_once(':')?;
            let (days, hours) = hours.split_once('.').unwrap_or(("0", hours));
            let below = |text: &str, limit: u64| number(text).filter(|number| *number < limit);
            let (hours, minutes) = (below(hours, 24)?, below(minutes, 60)?);
            let _ = below(seconds.split_once('.').map_or(seconds, |(seconds, _)| seconds), 60)?;
            (number(days)?.checked_mul(86_400)?.checked_add(hours * 3_600 + minutes * 60)?, seconds)
        }
    };
    let (seconds, fraction) = rest.split_once('.').unwrap_or((rest, "0"));
    if fraction.len() > 9 {
        return None;
    }
    let nanos = number(&format!("{fraction:0<9}"))?;
    let seconds = i128::from(whole.checked_add(number(seconds)?)?);
    let nanos = (seconds * 1_000_000_000 + i128::from(nanos)) * if negative { -1 } else { 1 };
    let seconds = i64::try_from(nanos.div_euclid(1_000_000_000)).ok()?;
    TimeDelta::new(seconds, u32::try_from(nanos.rem_euclid(1_000_000_000)).ok()?)
}

/// A number of digits alone.
fn number(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn people_write_keys_in_these_ways() {
        let same = |key_type: KeyType, texts: &[&str]| {
            let first = key_type.parse(texts[0]).unwrap();
            for text in texts {
                assert_eq!(key_type.parse(text).unwrap(), first, "{key_type}: {text}");
            }
        };
        same(KeyType::Int32, &["-7", " -7 "]);
        same(KeyType::Int64, &["7", "+7", "007"]);
        same(
            KeyType::Guid,
            &[
                "6f9619ff-8b86-d011-b42d-00c04fc964ff",
                "6F9619FF8B86D011B42D00C04FC964FF",
                "{6f9619ff-8b86-d011-b42d-00c04fc964ff}",
            ],
        );
        same(KeyType::Binary, &["0x01ff", "0X01FF", "0x01ff00"]);
        same(KeyType::DateTime, &["2026-11-21", "2026-11-21 00:00:00", "2026-11-21T00:00:00.000"]);
        same(KeyType::TimeSpan, &["1.02:03:04.5", "PT93784.5S", "1.2:3:4.5000000"]);
        same(KeyType::TimeSpan, &["-00:00:01", "-PT1S"]);
        same(KeyType::TimeSpan, &["0:0:0", "P0D", "PT0S"]);
        same(KeyType::DateTimeOffset, &["2026-11-21 08:30:00 +01:00", "2026-11-21T08:30:00+01:00"]);
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_quoted() {
        for (key_type, texts) in [
            (KeyType::Int32, &["", "x", "2147483648", "1.0", "1 2"][..]),
            (KeyType::Int64, &["9223372036854775808", "0x1"][..]),
            (KeyType::Guid, &["6f9619ff", "-"][..]),
            (KeyType::Binary, &["01", "0x0", "0xgg", "0x+1"][..]),
            (KeyType::DateTime, &["2026-13-01", "21.11.2026", "10000-01-01", "2026-11-21 08:30:00 +01:00"][..]),
            (
                KeyType::TimeSpan,
                &["1", "24:00:00", "0:60:0", "0:0:60", "PT+1S", "PT1.0000000001S", "PT99999999999999999999S"][..],
            ),
            (KeyType::DateTimeOffset, &["2026-11-21 08:30:00", "2026-11-21"][..]),
        ] {
            for text in texts {
                let error = key_type.parse(text).unwrap_err();
                assert_eq!(error.kind(), crate::ErrorKind::InvalidInput, "{key_type}: {text}");
                // The same words whatever was written.
                let other = key_type.parse("?").unwrap_err();
                assert_eq!(error.to_string(), other.to_string(), "{text}");
            }
        }
        let long = format!("0x{}", "01".repeat(129));
        assert!(KeyType::Binary.parse(&long).is_err());
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_read_back(bytes in proptest::collection::vec(any::<u8>(), 0..=16)) {
            for key_type in KeyType::ALL {
                if let Ok(key) = EncodedKey::from_stored(key_type, &bytes) {
                    prop_assert_eq!(key_type.parse(&key_type.show(&key).to_string()).unwrap(), key);
                }
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}") {
            for key_type in KeyType::ALL {
                let _ = key_type.parse(&text);
            }
        }
    }
}
