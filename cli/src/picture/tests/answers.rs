//! The search in the page answers as the library does.

use shardlet::{EncodedKey, KeyType, ShardMapKind};

use super::browser::{between, encoded, open, text_of};
use super::sample::{Numbers, empty, key, large, mapping, shard};
use crate::picture::Picture;

/// The mapping that holds a key, by looking at each of them.
fn holder(picture: &Picture, key: &EncodedKey) -> Option<usize> {
    let is_range = picture.kind == ShardMapKind::Range;
    let holds = |i: &usize| {
        let mapping = &picture.mappings[*i];
        let below = mapping.high.as_ref().is_none_or(|high| key < high);
        if is_range { mapping.low <= *key && below } else { mapping.low == *key }
    };
    (0..picture.mappings.len()).find(holds)
}

/// Texts of keys and of what is none: as people write them, at the ends of the type, beside bounds.
fn texts(picture: &Picture, numbers: &mut Numbers) -> Vec<String> {
    let written: &[&str] = match picture.key_type {
        KeyType::Int32 => &[
            "0",
            "+7",
            "-7",
            " 42 ",
            "007",
            "-0",
            "2147483647",
            "-2147483648",
            "2147483648",
            "-2147483649",
            "",
            "+",
            "1.0",
            "0x1",
        ],
        KeyType::Int64 => &[
            "0",
            "+7",
            "-1",
            "\u{2003}5\u{85}",
            "9223372036854775807",
            "-9223372036854775808",
            "9223372036854775808",
            "1e3",
            "\u{661}",
            "--1",
        ],
        KeyType::Guid => &[
            "6f9619ff-8b86-d011-b42d-00c04fc964ff",
            "6F9619FF8B86D011B42D00C04FC964FF",
            "{6f9619ff-8b86-d011-b42d-00c04fc964ff}",
            "urn:uuid:6f9619ff-8b86-d011-b42d-00c04fc964ff",
            "URN:UUID:6f9619ff-8b86-d011-b42d-00c04fc964ff",
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "{6f9619ff8b86d011b42d00c04fc964ff}",
            "6f9619ff-8b86-d011-b42d-00c04fc964f",
            "6f9619ff8-b86-d011-b42d-00c04fc964ff",
            "6g9619ff-8b86-d011-b42d-00c04fc964ff",
        ],
        KeyType::Binary => {
            &["0x", "0X00", "0x00ff", "0xFF00", "0x100000", "0x0001000", "0x010", "01", "0xgg", "0x+1", "0x 1", "x"]
        }
        KeyType::DateTime => &[
            "2026-11-21",
            "2026-11-21 08:30:00",
            "2026-11-21T08:30:00.5",
            "2026-11-21 08:30:00.1234567",
            "2026-11-21 08:30:00.12345678",
            "2026-11-21 08:30:00.123456700999",
            "0001-01-01",
            "0001-01-01 00:00:00.0000001",
            "9999-12-31 23:59:59.9999999",
            "10000-01-01",
            "+2026-1-2",
            "+10000-01-01",
            "-0001-01-01",
            "0000-12-31",
            "2024-02-29",
            "2023-02-29",
            "1900-02-29",
            "2000-02-29",
            "2026-11-2108:30:00",
            "2026-1-12:30:00",
            "2026- 11- 21  8: 3: 0",
            "2026 - 11 - 21",
            "2026-11-21 24:00:00",
            "2026-11-21 23:59:60",
            "2026-11-21 08:30",
            "2026-11-21 08:30:00.",
            "2026-11-21 08:30:00 +01:00",
            "21.11.2026",
        ],
        KeyType::TimeSpan => &[
            "1.02:03:04.5",
            "PT93784.5S",
            "1.2:3:4.5000000",
            "-00:00:01",
            "-PT1S",
            "0:0:0",
            "P0D",
            "-P0D",
            "PT0S",
            "PTS",
            "PT",
            "1:2:3.",
            "PT1.S",
            "PT.5S",
            "24:00:00",
            "0:60:0",
            "0:0:60",
            "1",
            "PT+1S",
            "0:0:0.0000001",
            "0:0:0.00000001",
            "PT1.0000000001S",
            "PT922337203685.4775807S",
            "PT922337203685.4775808S",
            "-PT922337203685.4775808S",
            "-PT922337203685.4775809S",
            "PT99999999999999999999S",
            "1.2.3:4:5",
        ],
        KeyType::DateTimeOffset => &[
            "2026-11-21 08:30:00 +01:00",
            "2026-11-21T08:30:00+01:00",
            "2026-11-21t08:30:00.5-0130",
            "2026-11-21 08:30:00Z",
            "2026-11-21 08:30:00 z",
            "2026-11-21 08:30:00 UTC",
            "2026-11-21 08:30:00utc",
            "2026-11-21 08:30:00 \u{2212}05 : 30",
            "2026-11-21 08:30:00 +14:00",
            "2026-11-21 08:30:00 +14:01",
            "2026-11-21 08:30:00 -14:00",
            "2026-11-21 08:30:00 +01",
            "2026-11-21 08:30:00 +01:60",
            "2026-11-21 08:30:00 +1:00",
            "2026-11-21 08:30:00",
            "2026-11-21",
            "0001-01-01 00:00:00 +00:00",
            "0001-01-01 01:00:00 +01:00",
            "0001-01-01 00:00:00 +01:00",
            "0001-01-01 00:00:00 -01:00",
            "9999-12-31 23:59:59.9999999 +00:00",
            "9999-12-31 23:59:59.9999999 -00:01",
            "9999-12-31 23:59:59.9999999 +05:00",
            "2026 - 11 - 21 08 : 30 : 00 + 01:00",
            "2026 - 11 - 21  08 : 30 : 00.25 +01:00",
            "2026-11-21 08:30:60 +01:00",
        ],
        other => panic!("{other} is new"),
    };
    let mut texts: Vec<_> = written.iter().map(|text| (*text).to_owned()).collect();
    let bounds = picture.mappings.iter().flat_map(|m| [Some(&m.low), m.high.as_ref()]).flatten();
    texts.extend(bounds.map(|bound| picture.key_type.show(bound).to_string()));
    texts.extend((0..60).map(|_| picture.key_type.show(&any_key(picture.key_type, numbers)).to_string()));
    texts
}

/// Some key of a type: in a part of the space where others are as well.
fn any_key(key_type: KeyType, numbers: &mut Numbers) -> EncodedKey {
    let near = numbers.next().is_multiple_of(2);
    loop {
        let mut bytes = [numbers.next().to_be_bytes(), numbers.next().to_be_bytes()].concat();
        let length = match key_type {
            KeyType::Int32 => 4,
            KeyType::Int64 | KeyType::TimeSpan => 8,
            KeyType::Guid => 16,
            KeyType::Binary => numbers.below(17),
            KeyType::DateTime | KeyType::DateTimeOffset => {
                let ticks = (1 << 63) | (numbers.next() % 3_155_378_975_999_999_999);
                let minutes = i64::try_from(numbers.below(28 * 60)).unwrap() - 14 * 60;
                let offset = (minutes * 600_000_000).cast_unsigned() ^ (1 << 63);
                bytes = [ticks.to_be_bytes(), offset.to_be_bytes()].concat();
                if key_type == KeyType::DateTime { 8 } else { 16 }
            }
            other => panic!("{other} is new"),
        };
        bytes.truncate(length);
        if near && key_type != KeyType::DateTime && key_type != KeyType::DateTimeOffset {
            for byte in bytes.iter_mut().take(2) {
                *byte = 0x80;
            }
        }
        // Some local times lie outside of the calendar.
        if let Ok(key) = EncodedKey::from_stored(key_type, &bytes) {
            return key;
        }
    }
}

/// A map of some mappings with gaps between them, from the least key to no bound.
fn some_map(kind: ShardMapKind, key_type: KeyType, numbers: &mut Numbers) -> Picture {
    let mut picture = empty(kind, key_type);
    picture.shards = (0..5).map(|i| shard(format!("server/{key_type}_{i}"))).collect();
    let mut bounds: Vec<_> = (0..40).map(|_| any_key(key_type, numbers)).chain([EncodedKey::minimum()]).collect();
    bounds.sort();
    bounds.dedup();
    for (i, low) in bounds.iter().enumerate() {
        // Every fifth is left out.
        if i % 5 == 3 {
            continue;
        }
        let high = if kind == ShardMapKind::Range { bounds.get(i + 1).cloned() } else { None };
        picture.mappings.push(mapping(numbers.below(5), low.clone(), high));
    }
    picture
}

fn fragment<'t>(texts: impl IntoIterator<Item = &'t String>) -> String {
    let keys: Vec<_> = texts.into_iter().map(|text| format!("key={}", encoded(text))).collect();
    format!("#{}", keys.join("&"))
}

/// What the page says about each key that it was asked for.
fn answers(dom: &str) -> Vec<String> {
    let list = between(dom, "<ol id=\"answer\" aria-live=\"polite\">", "</ol>");
    list.split("</li>").filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

#[test]
#[ignore = "needs a Chromium browser; .ci/run installs one and runs this"]
fn keys_of_every_type_are_found_as_the_library_finds_them() {
    let mut numbers = Numbers(2026);
    for kind in [ShardMapKind::List, ShardMapKind::Range] {
        for key_type in KeyType::ALL {
            let picture = some_map(kind, key_type, &mut numbers);
            let texts = texts(&picture, &mut numbers);
            let seen = open(&picture, &fragment(&texts), "");
            assert_eq!(seen.console, [""; 0], "{kind} of {key_type}");
            let answers = answers(&seen.dom);
            assert_eq!(answers.len(), texts.len(), "{kind} of {key_type}");
            let (mut found, mut refused) = (0, 0);
            for (text, answer) in texts.iter().zip(&answers) {
                let case = format!("{kind} of {key_type}: {text:?} -> {answer}");
                let Ok(key) = key_type.parse(text) else {
                    assert!(answer.contains("data-state=\"invalid\""), "{case}");
                    refused += 1;
                    continue;
                };
                assert!(answer.contains(&format!(">{key}</span>")), "{case}");
                assert!(text_of(answer).starts_with(&key_type.show(&key).to_string()), "{case}");
                match holder(&picture, &key) {
                    None => assert!(answer.contains("data-state=\"unmapped\""), "{case}"),
                    Some(index) => {
                        found += 1;
                        assert!(answer.contains(&format!("data-mapping=\"{index}\"")), "{case}");
                        let place = &picture.shards[picture.mappings[index].shard].location;
                        assert!(text_of(answer).contains(place), "{case}");
                    }
                }
            }
            assert!(found > 20 && refused > 2, "{kind} of {key_type}: {found} found, {refused} refused");
        }
    }
}

#[test]
#[ignore = "needs a Chromium browser; .ci/run installs one and runs this"]
fn a_map_of_100_000_mappings_is_drawn_and_answers() {
    let picture = large();
    let last = picture.mappings.last().unwrap();
    let show = |key: &EncodedKey| KeyType::Int64.show(key).to_string();
    let texts = [show(&last.low), show(last.high.as_ref().unwrap()), "-1".to_owned()];
    let seen = open(&picture, &fragment(&texts), "");
    assert_eq!(seen.console, [""; 0]);
    let answers = answers(&seen.dom);
    assert!(answers[0].contains("data-mapping=\"99999\""), "{answers:?}");
    assert!(answers[1].contains("data-state=\"unmapped\""), "{answers:?}");
    assert!(answers[2].contains("data-state=\"unmapped\""), "{answers:?}");
    let figures = text_of(between(&seen.dom, "<dl id=\"figures\">", "</dl>"));
    assert!(figures.starts_with("1,000shards100,000mappings"), "{figures}");
}

#[test]
#[ignore = "needs a Chromium browser; .ci/run installs one and runs this"]
fn an_answer_says_what_keeps_a_key_from_being_served() {
    let mut picture = super::sample::usual();
    picture.mappings[7].locked = true;
    let at = |i: usize| KeyType::Int64.show(&picture.mappings[i].low).to_string();
    let seen = open(&picture, &fragment(&[at(0), at(10), at(7)]), "");
    let answers: Vec<_> = answers(&seen.dom).iter().map(|answer| text_of(answer)).collect();
    let rest = |answer: &str| answer.rsplit_once(". ").unwrap().1.rsplit_once(" 0x").unwrap().0.to_owned();
    assert_eq!(rest(&answers[0]), "online");
    assert_eq!(rest(&answers[1]), "offline locked");
    assert_eq!(rest(&answers[2]), "online locked shard disabled operation pending on the shard");
    let gap = picture.mappings[21].high.as_ref().unwrap();
    let seen = open(&picture, &fragment(&[KeyType::Int64.show(gap).to_string()]), "");
    let after = KeyType::Int64.show(&picture.mappings[22].low).to_string();
    let gap = KeyType::Int64.show(gap).to_string();
    let said = format!("{gap} is not mapped: what is before it ends at {gap}, what is after it begins at {after}.");
    assert!(text_of(&super::answers::answers(&seen.dom)[0]).starts_with(&said));
    assert_eq!(key(0), picture.mappings[0].low);
}
