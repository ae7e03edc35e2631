//! What the fuzz targets do with their input. Each panics where a promise about hostile input is broken.
//!
//! The targets in `fuzz_targets/` run them without end under libFuzzer, `tests/fuzz_bodies.rs` for a few seconds.

use std::collections::hash_map::DefaultHasher;
use std::error::Error as _;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, FixedOffset, NaiveDateTime, TimeDelta, Utc};
use serde_json::Value;
use shardlet::gsm::{GlobalOperation, LogEntry, MappingStep, OperationCode, OperationSteps, ShardStep};
use shardlet::lsm::LocalStep;
use shardlet::model::MappingRecord;
use shardlet::operation::LogRecord;
use shardlet::{
    EncodedKey, ErrorKind, KeyRange, KeyType, LockToken, MappingId, MappingStatus, OperationId, Shard, ShardId,
    ShardKey, ShardLocation, ShardMapId, ShardMapInfo, ShardMapKind, ShardMapName, ShardStatus, ShardVersion,
    SqlCredentials, SqlServer,
};
use uuid::Uuid;

/// A key as a store holds it: the first byte chooses the type.
pub fn key(data: &[u8]) {
    let Some((first, stored)) = data.split_first() else { return };
    let key_type = KeyType::ALL[usize::from(*first) % KeyType::ALL.len()];
    let key = match EncodedKey::from_stored(key_type, stored) {
        Ok(key) => key,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::StoreDamaged, "{error:?}");
            return;
        }
    };
    // Canonical, and the same key: only zeros at the end are gone.
    let (kept, cut) = stored.split_at(key.as_bytes().len());
    assert_eq!(kept, key.as_bytes());
    assert!(cut.iter().all(|byte| *byte == 0), "{stored:02x?} became {key}");
    assert_eq!(EncodedKey::from_stored(key_type, key.as_bytes()).unwrap(), key);
    let digits: String = key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(key.to_string(), format!("0x{digits}"));

    let again = |key_type: KeyType| match key_type {
        KeyType::Int32 => i32::decode(&key).encode(),
        KeyType::Int64 => i64::decode(&key).encode(),
        KeyType::Guid => Uuid::decode(&key).encode(),
        KeyType::Binary => {
            assert_eq!(Bytes::decode(&key).encode().ok(), Vec::<u8>::decode(&key).encode().ok());
            Vec::<u8>::decode(&key).encode()
        }
        KeyType::DateTime => NaiveDateTime::decode(&key).encode(),
        KeyType::TimeSpan => TimeDelta::decode(&key).encode(),
        KeyType::DateTimeOffset => {
            let instant = DateTime::<FixedOffset>::decode(&key);
            assert_eq!(DateTime::<Utc>::decode(&key), instant);
            instant.encode()
        }
        other => panic!("a key type that this does not know: {other}"),
    };
    assert_eq!(again(key_type).unwrap(), key, "{key_type} {key}");
    // A key of another type is some key of this one, too.
    for other in KeyType::ALL {
        let _ = again(other).unwrap();
    }
    let range = KeyRange::<i64>::new(Some(i64::decode(&key)), None);
    assert!(range.contains(&i64::decode(&key)), "{range}");
}

/// The row that a document says it is of, without a parser.
fn entry(document: &str) -> LogEntry {
    let attribute = |name: &str| {
        let (_, rest) = document.split_once(&format!(" {name}=\""))?;
        rest.split_once('"').map(|(value, _)| value)
    };
    LogEntry {
        id: OperationId::from(attribute("OperationId").and_then(|id| id.parse::<Uuid>().ok()).unwrap_or_default()),
        code: attribute("OperationCode").and_then(|code| code.parse().ok()).unwrap_or(4),
        data: document.to_owned(),
        undo_start: 100,
        version_removes: None,
        version_adds: None,
    }
}

/// What of a mapping goes through a document: of one that is taken away, the lock is that of the step.
fn as_logged(operation: &GlobalOperation) -> GlobalOperation {
    let mut operation = operation.clone();
    if let OperationSteps::Mappings { steps, .. } = &mut operation.steps {
        for step in steps {
            match step {
                MappingStep::Remove { mapping, lock } => mapping.lock_owner = *lock,
                MappingStep::Update { old, new, lock } => (old.lock_owner, new.lock_owner) = (*lock, *lock),
                _ => {}
            }
        }
    }
    operation
}

/// Writes an operation and reads it again: nothing changes, and writing it once more gives the same document.
fn survives_its_document(operation: &GlobalOperation) {
    let document = LogRecord::write(operation);
    let row = LogEntry { id: operation.id, code: operation.code as i32, ..entry(&document) };
    let again = LogRecord::read(&row).unwrap_or_else(|error| panic!("{error:?}: {document}"));
    assert_eq!(LogRecord::write(&again), document);
    // Debug shows what equality passes over, and the documents compare the keys that it hides.
    assert_eq!(format!("{again:?}"), format!("{:?}", as_logged(operation)), "{document}");
}

/// A document of the operations log.
pub fn log_record(data: &[u8]) {
    let document = String::from_utf8_lossy(data);
    match LogRecord::read(&entry(&document)) {
        Ok(operation) => survives_its_document(&operation),
        Err(error) => assert_eq!(error.kind(), ErrorKind::StoreDamaged, "{error:?}"),
    }
}

/// What stands in connection strings and must never be told.
pub const SECRET: &str = "Pa55-w0rd";

/// A connection string, of credentials and of a backend.
pub fn connection_string(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let keep_secret = |told: String| assert!(!told.contains(SECRET), "{text:?} told its secret: {told}");
    let refused = |error: &shardlet::Error| {
        let expected = [ErrorKind::InvalidInput, ErrorKind::Credentials];
        assert!(expected.contains(&error.kind()), "{text:?}: {error:?}");
        keep_secret(format!("{error:?} {error} {:?}", error.source()));
    };
    match SqlCredentials::parse(&text) {
        Ok(credentials) => {
            keep_secret(format!("{credentials:?} {credentials:#?}"));
            assert_eq!(SqlCredentials::parse(&text).unwrap(), credentials);
            for place in ["Server=elsewhere", "Data Source=tcp:elsewhere,1433", "Database=elsewhere"] {
                let error = SqlCredentials::parse(&format!("{text};{place}")).unwrap_err();
                refused(&error);
            }
        }
        Err(error) => refused(&error),
    }
    match SqlServer::open(&text) {
        Ok(backend) => {
            keep_secret(format!("{backend:?} {backend:#?}"));
            // A place that the backend needs is one that credentials must not name.
            assert_eq!(SqlCredentials::parse(&text).unwrap_err().kind(), ErrorKind::Credentials, "{text:?}");
        }
        Err(error) => refused(&error),
    }
    let login = SqlCredentials::login("user", &text);
    if text.len() > 9 {
        assert!(!format!("{login:?}").contains(&*text), "{text:?}");
    }
}

/// Takes values from the input, and zeros after its end.
struct Input<'d>(&'d [u8]);

impl Input<'_> {
    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn bit(&mut self) -> bool {
        self.byte() & 1 == 0
    }

    fn id<T: From<Uuid>>(&mut self) -> T {
        T::from(Uuid::from_bytes(self.bytes()))
    }

    fn text(&mut self) -> String {
        let length = usize::from(self.byte());
        let (text, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        String::from_utf8_lossy(text).into_owned()
    }

    /// A key of the type: bytes cut to a width that it has, or the least one.
    fn key(&mut self, key_type: KeyType) -> EncodedKey {
        let length = usize::from(self.byte()) % (EncodedKey::MAX_LENGTH + 1);
        let bytes: Vec<u8> = (0..length.max(16)).map(|_| self.byte()).collect();
        let width = [4, 8, 16].into_iter().chain([length]);
        // The whole length first, so that binary keys of every length are met.
        width.rev().find_map(|width| EncodedKey::from_stored(key_type, &bytes[..width]).ok()).unwrap_or_default()
    }

    fn shard(&mut self, map: ShardMapId) -> Shard {
        let location = ShardLocation::new(self.text(), self.text()).with_port(u16::from_be_bytes(self.bytes()));
        let location = if location.check().is_ok() { location } else { ShardLocation::new("server", "database") };
        let status = if self.bit() { ShardStatus::Online } else { ShardStatus::Offline };
        Shard::new(self.id::<ShardId>(), self.id::<ShardVersion>(), map, location, status)
    }

    fn mapping(&mut self, map: &ShardMapInfo, shard: &Arc<Shard>) -> MappingRecord {
        let high = match (map.kind(), self.byte() % 4) {
            (ShardMapKind::List, _) | (_, 0) => None,
            (ShardMapKind::Range, _) => Some(self.key(map.key_type())),
        };
        MappingRecord {
            id: self.id::<MappingId>(),
            map: map.id(),
            shard: Arc::clone(shard),
            low: self.key(map.key_type()),
            high,
            status: if self.bit() { MappingStatus::Online } else { MappingStatus::Offline },
            lock_owner: self.id::<LockToken>(),
        }
    }

    fn operation(&mut self) -> GlobalOperation {
        let key_type = KeyType::ALL[usize::from(self.byte()) % KeyType::ALL.len()];
        let code = OperationCode::ALL[usize::from(self.byte()) % OperationCode::ALL.len()];
        let kind = if code.name().contains("Point") { ShardMapKind::List } else { ShardMapKind::Range };
        let name = ShardMapName::new(&self.text()).unwrap_or_else(|_| ShardMapName::new("map").unwrap());
        let map = ShardMapInfo::new(self.id(), name, kind, key_type);
        let (removes, adds) = (self.shard(map.id()), self.shard(map.id()));
        let shard_step = match code {
            OperationCode::AddShard | OperationCode::AttachShard => Some(ShardStep::Add(adds.clone())),
            OperationCode::RemoveShard => Some(ShardStep::Remove(removes.clone())),
            OperationCode::UpdateShard => Some(ShardStep::Update(removes.clone(), adds.clone())),
            _ => None,
        };
        let steps = match shard_step {
            Some(step) => OperationSteps::Shard(step),
            None => {
                let (from, to) = (Arc::new(removes.clone()), Arc::new(adds.clone()));
                let steps = (0..=self.byte() % 4).map(|_| match self.byte() % 3 {
                    0 => MappingStep::Remove { mapping: self.mapping(&map, &from), lock: self.id() },
                    1 => MappingStep::Update {
                        old: self.mapping(&map, &from),
                        new: self.mapping(&map, &to),
                        lock: self.id(),
                    },
                    _ => MappingStep::Add { mapping: self.mapping(&map, &to), validate: self.bit() },
                });
                let steps = steps.collect();
                let ends_sessions = code.name().starts_with("Update").then(|| self.bit());
                OperationSteps::Mappings { removes, adds, steps, ends_sessions }
            }
        };
        GlobalOperation { id: self.id(), code, map, steps }
    }
}

/// An operation made of the input: it survives its document, and its steps reach the procedures as they are.
pub fn steps(data: &[u8]) {
    let operation = Input(data).operation();
    survives_its_document(&operation);
    let OperationSteps::Mappings { steps, .. } = &operation.steps else { return };

    let key = |value: &Value, key: Option<&EncodedKey>| {
        let text = key.map(ToString::to_string);
        assert_eq!(value.as_str(), text.as_deref());
        // The procedures take it as `varchar(260)`.
        assert!(text.is_none_or(|text| text.is_ascii() && text.len() <= 260));
    };
    let global: Value = serde_json::from_str(&shardlet::gsm::steps_as_json(steps)).unwrap();
    assert_eq!(global.as_array().unwrap().len(), steps.len());
    for (place, (step, sent)) in steps.iter().zip(global.as_array().unwrap()).enumerate() {
        assert_eq!(sent["n"], place);
        match step {
            MappingStep::Remove { mapping, lock } => {
                assert_eq!(sent["kind"], 1);
                assert_eq!((&sent["id"], &sent["lock"]), (&id(mapping.id), &id(*lock)));
            }
            MappingStep::Update { old, new, lock } => {
                assert_eq!(sent["kind"], 2);
                assert_eq!((&sent["id"], &sent["lock"], &sent["newId"]), (&id(old.id), &id(*lock), &id(new.id)));
                assert_eq!(sent["newStatus"], new.status as i32);
            }
            MappingStep::Add { mapping, validate } => {
                assert_eq!(sent["kind"], 3);
                assert_eq!((&sent["id"], &sent["lock"]), (&id(mapping.id), &id(mapping.lock_owner)));
                assert_eq!(
                    (&sent["status"], &sent["validate"]),
                    (&(mapping.status as i32).into(), &(*validate).into())
                );
                key(&sent["min"], Some(&mapping.low));
                key(&sent["max"], mapping.high.as_ref());
            }
            other => panic!("a step that this does not know: {other:?}"),
        }
    }

    let local: Vec<LocalStep> = steps
        .iter()
        .flat_map(|step| match step {
            MappingStep::Remove { mapping, .. } => vec![LocalStep::Remove(mapping.id)],
            MappingStep::Update { old, new, .. } => vec![LocalStep::Remove(old.id), LocalStep::Add(new.clone())],
            MappingStep::Add { mapping, .. } => vec![LocalStep::Add(mapping.clone())],
            other => panic!("a step that this does not know: {other:?}"),
        })
        .collect();
    let sent: Value = serde_json::from_str(&shardlet::lsm::steps_as_json(&local)).unwrap();
    assert_eq!(sent.as_array().unwrap().len(), local.len());
    for (step, sent) in local.iter().zip(sent.as_array().unwrap()) {
        match step {
            LocalStep::Remove(mapping) => assert_eq!((&sent["kind"], &sent["id"]), (&1.into(), &id(*mapping))),
            LocalStep::Add(mapping) => {
                assert_eq!((&sent["kind"], &sent["id"]), (&3.into(), &id(mapping.id)));
                assert_eq!(sent["status"], mapping.status as i32);
                key(&sent["min"], Some(&mapping.low));
                key(&sent["max"], mapping.high.as_ref());
            }
            other => panic!("a step that this does not know: {other:?}"),
        }
    }
}

fn id(id: impl ToString) -> Value {
    id.to_string().into()
}

/// True for a name that a column and an XML document can hold.
fn is_name(name: &str, longest: usize) -> bool {
    let of_xml = |c: char| matches!(c, '\t' | '\n' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    !name.trim().is_empty() && name.encode_utf16().count() <= longest && name.chars().all(of_xml)
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// A name of a shard map, and two of which a location is made: the whole text, and its halves.
pub fn names(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let name = match ShardMapName::new(&text) {
        Ok(name) => {
            assert!(is_name(&text, 50), "{text:?}");
            assert_eq!((name.as_str(), name.to_string().as_str()), (&*text, &*text));
            assert_eq!(name, ShardMapName::new(&text).unwrap());
            name
        }
        Err(error) => {
            assert!(!is_name(&text, 50), "{text:?}: {error}");
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            ShardMapName::new("map").unwrap()
        }
    };

    let middle = (text.len() / 2..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    let (server, database) = text.split_at(middle);
    let location = ShardLocation::new(server, database);
    let turned = ShardLocation::new(database, server);
    assert_eq!((location.server(), location.database()), (server, database));
    assert!(location.to_string().contains(server));
    assert_eq!(location == turned, location.cmp(&turned).is_eq());
    assert_eq!(location.cmp(&turned), turned.cmp(&location).reverse());
    for same in [ShardLocation::new(format!("{server} "), database), location.clone()] {
        assert_eq!((&same, hash(&same)), (&location, hash(&location)));
    }
    let good = is_name(server, 128) && is_name(database, 128);
    match location.check() {
        Ok(()) => assert!(good, "{location:?}"),
        Err(error) => {
            assert!(!good, "{location:?}: {error}");
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            return;
        }
    }
    let map = ShardMapInfo::new(ShardMapId::from(Uuid::nil()), name, ShardMapKind::List, KeyType::Guid);
    let (shard, version) = (ShardId::from(Uuid::nil()), ShardVersion::from(Uuid::max()));
    let shard = Shard::new(shard, version, map.id(), location, ShardStatus::Online);
    let steps = OperationSteps::Shard(ShardStep::Add(shard));
    let id = OperationId::from(Uuid::nil());
    survives_its_document(&GlobalOperation { id, code: OperationCode::AddShard, map, steps });
}
