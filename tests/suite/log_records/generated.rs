//! Operations of all kinds, with names and keys that are hard to write, come back from their documents as they were.

use std::sync::Arc;

use chrono::{DateTime, Duration, FixedOffset, NaiveDateTime, TimeDelta};
use proptest::prelude::*;
use shardlet::gsm::{GlobalOperation, LogEntry, MappingStep, OperationCode, OperationSteps, ShardStep};
use shardlet::model::MappingRecord;
use shardlet::operation::LogRecord;
use shardlet::{
    EncodedKey, KeyType, LockToken, MappingId, MappingStatus, OperationId, Protocol, Shard, ShardId, ShardKey,
    ShardLocation, ShardMapId, ShardMapInfo, ShardMapKind, ShardMapName, ShardStatus, ShardVersion,
};
use uuid::Uuid;

use super::describe;

fn id<T: From<Uuid> + std::fmt::Debug>() -> impl Strategy<Value = T> + Clone {
    any::<u128>().prop_map(|bits| T::from(Uuid::from_u128(bits)))
}

/// Text of at most so many UTF-16 code units, often with what XML and SQL treat in their own ways.
fn text(longest: usize) -> impl Strategy<Value = String> + Clone {
    let part = prop_oneof![
        prop::sample::select(vec![
            "'",
            "\"",
            "<",
            ">",
            "&",
            "]]>",
            "<!--",
            "&amp;",
            "&#13;",
            "[",
            "]",
            "{",
            "%",
            ";",
            "--",
            " ",
            "  ",
            "\t",
            "\n",
            "表",
            "ß",
            "İ",
            "😀",
            "👩‍👩‍👧",
            "\u{202e}",
            "مرحبا",
            "שלום",
            "e\u{301}",
            "\u{feff}",
            "\u{85}",
            "\u{2028}",
            "\u{7f}",
            "\u{10ffff}",
            "ShardMap",
            "</Name>",
            "1",
        ])
        .prop_map(ToOwned::to_owned),
        any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(part, 1..12).prop_map(move |parts| {
        let mut text = String::new();
        for part in parts {
            if text.encode_utf16().count() + part.encode_utf16().count() <= longest {
                text.push_str(&part);
            }
        }
        text
    })
}

fn name() -> impl Strategy<Value = ShardMapName> {
    text(ShardMapName::MAX_LENGTH).prop_filter_map("a name that is refused", |name| ShardMapName::new(&name).ok())
}

fn location() -> impl Strategy<Value = ShardLocation> + Clone {
    let protocol =
        prop::sample::select(vec![Protocol::Default, Protocol::Tcp, Protocol::NamedPipes, Protocol::SharedMemory]);
    let names = (text(ShardLocation::MAX_NAME_LENGTH), text(ShardLocation::MAX_NAME_LENGTH));
    (names, protocol, any::<u16>()).prop_filter_map(
        "a location that is refused",
        |((server, database), protocol, port)| {
            let location = ShardLocation::new(server, database).with_protocol(protocol).with_port(port);
            location.check().ok().map(|()| location)
        },
    )
}

fn shard(map: ShardMapId) -> impl Strategy<Value = Shard> + Clone {
    let status = prop::sample::select(vec![ShardStatus::Online, ShardStatus::Offline]);
    (id::<ShardId>(), id::<ShardVersion>(), location(), status)
        .prop_map(move |(id, version, location, status)| Shard::new(id, version, map, location, status))
}

fn key(key_type: KeyType) -> BoxedStrategy<EncodedKey> {
    fn of<K: ShardKey>(keys: impl Strategy<Value = K> + 'static) -> BoxedStrategy<EncodedKey> {
        keys.prop_filter_map("a key out of range", |key| key.encode().ok()).boxed()
    }
    let date = |ticks: i64| NaiveDateTime::default() + Duration::microseconds(ticks);
    let years = -50_000_000_000_000_000..200_000_000_000_000_000_i64;
    match key_type {
        KeyType::Int32 => of(any::<i32>()),
        KeyType::Int64 => of(any::<i64>()),
        KeyType::Guid => of(any::<u128>().prop_map(Uuid::from_u128)),
        KeyType::Binary => of(prop::collection::vec(any::<u8>(), 0..=128)),
        KeyType::DateTime => of(years.prop_map(date)),
        KeyType::TimeSpan => of(any::<i64>().prop_map(|microseconds| TimeDelta::microseconds(microseconds / 10))),
        KeyType::DateTimeOffset => of((years, -14 * 60..=14 * 60).prop_map(move |(ticks, minutes)| {
            let offset = FixedOffset::east_opt(minutes * 60).unwrap();
            DateTime::<FixedOffset>::from_naive_utc_and_offset(date(ticks), offset)
        })),
        _ => panic!("a key type that this test does not know"),
    }
}

fn mapping(map: &ShardMapInfo, shard: &Shard) -> impl Strategy<Value = MappingRecord> + use<> {
    let (map_id, kind, shard) = (map.id(), map.kind(), Arc::new(shard.clone()));
    let status = prop::sample::select(vec![MappingStatus::Online, MappingStatus::Offline]);
    let bounds = (key(map.key_type()), prop::option::of(key(map.key_type())));
    (id::<MappingId>(), bounds, status, id::<LockToken>()).prop_map(move |(id, (low, high), status, lock_owner)| {
        let high = high.filter(|_| kind == ShardMapKind::Range);
        MappingRecord { id, map: map_id, shard: Arc::clone(&shard), low, high, status, lock_owner }
    })
}

/// Steps of a kind that operations of the code have.
fn step(code: OperationCode, map: &ShardMapInfo, removes: &Shard, adds: &Shard) -> BoxedStrategy<MappingStep> {
    use OperationCode as Code;
    let (removed, added) = (mapping(map, removes), mapping(map, adds));
    let remove = (mapping(map, removes), id::<LockToken>())
        .prop_map(|(mapping, lock)| MappingStep::Remove { mapping, lock })
        .boxed();
    let add = (mapping(map, adds), any::<bool>())
        .prop_map(|(mapping, validate)| MappingStep::Add { mapping, validate })
        .boxed();
    match code {
        Code::AddPointMapping | Code::AddRangeMapping => add,
        Code::RemovePointMapping | Code::RemoveRangeMapping => remove,
        Code::SplitMapping => {
            let keep = mapping(map, removes).prop_map(|mapping| MappingStep::Keep { mapping });
            prop_oneof![remove, add, keep].boxed()
        }
        Code::MergeMappings => prop_oneof![remove, add].boxed(),
        _ => (removed, added, id::<LockToken>())
            .prop_map(|(old, new, lock)| MappingStep::Update { old, new, lock })
            .boxed(),
    }
}

fn map(code: OperationCode) -> impl Strategy<Value = ShardMapInfo> {
    use OperationCode as Code;
    let kinds = match code {
        Code::AddPointMapping
        | Code::RemovePointMapping
        | Code::UpdatePointMapping
        | Code::UpdatePointMappingWithOffline => vec![ShardMapKind::List],
        Code::AddShard | Code::RemoveShard | Code::UpdateShard | Code::AttachShard => {
            vec![ShardMapKind::List, ShardMapKind::Range]
        }
        // Of points where it adds many.
        Code::SplitMapping => vec![ShardMapKind::List, ShardMapKind::Range],
        _ => vec![ShardMapKind::Range],
    };
    let facts = (id::<ShardMapId>(), name(), prop::sample::select(kinds), prop::sample::select(KeyType::ALL.to_vec()));
    facts.prop_map(|(id, name, kind, key_type)| ShardMapInfo::new(id, name, kind, key_type))
}

fn steps(code: OperationCode, map: &ShardMapInfo) -> BoxedStrategy<OperationSteps> {
    use OperationCode as Code;
    let shard = shard(map.id());
    match code {
        Code::AddShard | Code::AttachShard => shard.prop_map(ShardStep::Add).prop_map(OperationSteps::Shard).boxed(),
        Code::RemoveShard => shard.prop_map(ShardStep::Remove).prop_map(OperationSteps::Shard).boxed(),
        Code::UpdateShard => {
            (shard.clone(), shard).prop_map(|(old, new)| OperationSteps::Shard(ShardStep::Update(old, new))).boxed()
        }
        _ => {
            let map = map.clone();
            let updates = !matches!(
                code,
                Code::AddPointMapping
                    | Code::AddRangeMapping
                    | Code::RemovePointMapping
                    | Code::RemoveRangeMapping
                    | Code::SplitMapping
                    | Code::MergeMappings
            );
            (shard.clone(), shard, any::<bool>())
                .prop_flat_map(move |(removes, adds, ends)| {
                    let steps = prop::collection::vec(step(code, &map, &removes, &adds), 1..5);
                    steps.prop_map(move |steps| OperationSteps::Mappings {
                        removes: removes.clone(),
                        adds: adds.clone(),
                        steps,
                        ends_sessions: updates.then_some(ends),
                    })
                })
                .boxed()
        }
    }
}

fn operation() -> impl Strategy<Value = GlobalOperation> {
    prop::sample::select(OperationCode::ALL.to_vec())
        .prop_flat_map(|code| (Just(code), map(code)))
        .prop_flat_map(|(code, map)| (Just(code), steps(code, &map), Just(map), id::<OperationId>()))
        .prop_map(|(code, steps, map, id)| GlobalOperation { id, code, map, steps })
}

/// A mapping that is kept comes back as one that is removed, by its owner.
fn as_read(mut operation: GlobalOperation) -> GlobalOperation {
    if let OperationSteps::Mappings { steps, .. } = &mut operation.steps {
        for step in steps {
            if let MappingStep::Keep { mapping } = step {
                *step = MappingStep::Remove { lock: mapping.lock_owner, mapping: mapping.clone() };
            }
        }
    }
    operation
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_operation_comes_back_from_its_document(operation in operation()) {
        let entry = LogEntry {
            id: operation.id,
            code: operation.code as i32,
            data: LogRecord::write(&operation),
            undo_start: 100,
            version_removes: None,
            version_adds: None,
        };
        let read = LogRecord::read(&entry).unwrap();
        prop_assert_eq!(describe(&read), describe(&as_read(operation)), "{}", entry.data);
    }
}
