//! The rows of half-done operations, edited as the reference library's procedures would have left them.

use serde_json::{Value, json};
use shardlet::gsm::{GlobalOperation, MappingStep, OperationCode, OperationSteps, ShardStep};
use shardlet::model::MappingRecord;
use shardlet::operation::LogRecord;
use shardlet::{EncodedKey, LockToken, Shard};

use super::{Base, FIRST, SECOND, UNUSED};
use crate::support::raw_stores::{Row, Rows, Store};

/// The rows of the stores while an operation is under way.
pub struct Edited {
    pub rows: Rows,
    id: String,
}

impl Edited {
    pub fn new(rows: Rows, operation: &GlobalOperation) -> Self {
        Self { rows, id: operation.id.to_string() }
    }

    fn table(&mut self, store: Store, table: &'static str) -> &mut Vec<Row> {
        self.rows.get_mut(&(store, table)).unwrap()
    }

    fn row(&mut self, store: Store, table: &'static str, column: &str, id: &str) -> &mut Row {
        self.table(store, table).iter_mut().find(|row| row[column] == id).unwrap()
    }

    fn set(row: &mut Row, column: &str, value: impl Into<Value>) {
        assert!(row.contains_key(column), "no column {column}");
        drop(row.insert(column.to_owned(), value.into()));
    }

    fn remove(&mut self, store: Store, table: &'static str, column: &str, id: &str) {
        let rows = self.table(store, table);
        let before = rows.len();
        rows.retain(|row| row[column] != id);
        assert_eq!(rows.len(), before - 1, "{table} {id}");
    }

    fn stamp(&mut self, table: &'static str, column: &str, id: &str) {
        let stamp = self.id.clone();
        Self::set(self.row(Store::Global, table, column, id), "OperationId", stamp);
    }

    /// What the begin procedures write.
    pub fn begin(&mut self, base: &Base, operation: &GlobalOperation, start: i32) {
        let (removes, adds) = match &operation.steps {
            OperationSteps::Shard(ShardStep::Add(shard)) => {
                let mut row = shard_row(shard);
                Self::put(&mut row, "Readable", false);
                Self::put(&mut row, "OperationId", &*self.id);
                self.table(Store::Global, "ShardsGlobal").push(row);
                (Value::Null, Value::Null)
            }
            OperationSteps::Shard(step) => {
                self.stamp("ShardsGlobal", "ShardId", &step.shard().id().to_string());
                (Value::Null, Value::Null)
            }
            OperationSteps::Mappings { removes, adds, steps, .. } => {
                let mut versions = Vec::new();
                for shard in [removes, adds] {
                    let id = shard.id().to_string();
                    self.stamp("ShardsGlobal", "ShardId", &id);
                    versions.push(self.row(Store::Global, "ShardsGlobal", "ShardId", &id)["Version"].clone());
                }
                for step in steps {
                    match step {
                        MappingStep::Remove { mapping, .. } | MappingStep::Update { old: mapping, .. } => {
                            self.stamp("ShardMappingsGlobal", "MappingId", &mapping.id.to_string());
                        }
                        MappingStep::Add { mapping, .. } => {
                            let mut row = mapping_row(mapping, adds);
                            Self::put(&mut row, "Readable", false);
                            Self::put(&mut row, "OperationId", &*self.id);
                            Self::put(&mut row, "LockOwnerId", mapping.lock_owner.to_string());
                            self.table(Store::Global, "ShardMappingsGlobal").push(row);
                        }
                        other => panic!("a step that this test does not know: {other:?}"),
                    }
                }
                (versions[0].clone(), versions[1].clone())
            }
            other => panic!("steps that this test does not know: {other:?}"),
        };
        assert!(base.rows[&(Store::Global, "OperationsLogGlobal")].is_empty());
        let row = json!({
            "OperationId": self.id,
            "OperationCode": operation.code as i32,
            "Data": LogRecord::write(operation),
            "UndoStartState": start,
            "ShardVersionRemoves": removes,
            "ShardVersionAdds": adds,
        });
        self.table(Store::Global, "OperationsLogGlobal").push(row.as_object().unwrap().clone());
    }

    fn put(row: &mut Row, column: &str, value: impl Into<Value>) {
        drop(row.insert(column.to_owned(), value.into()));
    }

    /// What the procedures of the local stores write.
    pub fn local(&mut self, base: &Base, operation: &GlobalOperation, is_target: bool) {
        let id = self.id.clone();
        match &operation.steps {
            OperationSteps::Shard(step) => {
                let (store, shard) = (local_store(base, step.shard()), step.shard().id().to_string());
                match step {
                    ShardStep::Add(_) if operation.code == OperationCode::AttachShard => {
                        Self::set(self.row(store, "ShardsLocal", "ShardId", &shard), "LastOperationId", id);
                    }
                    ShardStep::Add(added) => {
                        let map = &operation.map;
                        let row = json!({
                            "ShardMapId": map.id().to_string(), "Name": map.name(), "MapType": map.kind() as i32,
                            "KeyType": map.key_type() as i32, "LastOperationId": id,
                        });
                        self.table(store, "ShardMapsLocal").push(row.as_object().unwrap().clone());
                        let mut row = shard_row(added);
                        Self::put(&mut row, "LastOperationId", id);
                        self.table(store, "ShardsLocal").push(row);
                    }
                    ShardStep::Remove(_) => {
                        self.remove(store, "ShardsLocal", "ShardId", &shard);
                        self.remove(store, "ShardMapsLocal", "ShardMapId", &operation.map.id().to_string());
                    }
                    ShardStep::Update(_, new) => {
                        let row = self.row(store, "ShardsLocal", "ShardId", &shard);
                        Self::set(row, "Version", new.version().to_string());
                        Self::set(row, "Status", new.status() as i32);
                        Self::set(row, "LastOperationId", id);
                    }
                    other => panic!("a step that this test does not know: {other:?}"),
                }
            }
            OperationSteps::Mappings { removes, adds, steps, .. } => {
                let moves = removes.id() != adds.id();
                let shard = if is_target { adds } else { removes };
                let store = local_store(base, shard);
                let row = self.row(store, "ShardsLocal", "ShardId", &shard.id().to_string());
                Self::set(row, "Version", shard.version().to_string());
                Self::set(row, "LastOperationId", &*id);
                for step in steps {
                    let (old, new) = match step {
                        MappingStep::Remove { mapping, .. } => (Some(mapping), None),
                        MappingStep::Update { old, new, .. } => (Some(old), Some(new)),
                        MappingStep::Add { mapping, .. } => (None, Some(mapping)),
                        other => panic!("a step that this test does not know: {other:?}"),
                    };
                    if let Some(old) = old.filter(|_| !is_target) {
                        self.remove(store, "ShardMappingsLocal", "MappingId", &old.id.to_string());
                    }
                    if let Some(new) = new.filter(|_| is_target || !moves) {
                        let mut row = mapping_row(new, shard);
                        Self::put(&mut row, "LastOperationId", &*id);
                        Self::put(&mut row, "LockOwnerId", LockToken::NONE.to_string());
                        self.table(store, "ShardMappingsLocal").push(row);
                    }
                }
            }
            other => panic!("steps that this test does not know: {other:?}"),
        }
    }

    /// What the procedures of the local stores write when they undo: all as it was, but for who was last.
    pub fn undone(&mut self, base: &Base, operation: &GlobalOperation, is_target: bool) {
        let shard = match &operation.steps {
            OperationSteps::Mappings { adds, .. } if is_target => adds,
            OperationSteps::Mappings { removes, .. } => removes,
            OperationSteps::Shard(step) => step.shard(),
            other => panic!("steps that this test does not know: {other:?}"),
        };
        let (store, id) = (local_store(base, shard), self.id.clone());
        for row in self.table(store, "ShardsLocal") {
            Self::set(row, "LastOperationId", &*id);
        }
    }
}

fn local_store(base: &Base, shard: &Shard) -> Store {
    let database = if shard.id() == base.first.id() {
        FIRST
    } else if shard.id() == base.second.id() {
        SECOND
    } else {
        UNUSED
    };
    Store::Local(database)
}

fn object(value: Value) -> Row {
    value.as_object().unwrap().clone()
}

/// What both stores hold of a shard.
fn shard_row(shard: &Shard) -> Row {
    let place = shard.location();
    object(json!({
        "ShardId": shard.id().to_string(), "Version": shard.version().to_string(),
        "ShardMapId": shard.shard_map_id().to_string(), "Protocol": place.protocol() as i32,
        "ServerName": place.server(), "Port": place.port().unwrap_or(0), "DatabaseName": place.database(),
        "Status": shard.status() as i32,
    }))
}

/// What both stores hold of a mapping.
fn mapping_row(mapping: &MappingRecord, shard: &Shard) -> Row {
    let hex = |key: &EncodedKey| key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    object(json!({
        "MappingId": mapping.id.to_string(), "ShardId": shard.id().to_string(), "ShardMapId": mapping.map.to_string(),
        "MinValue": hex(&mapping.low), "MaxValue": mapping.high.as_ref().map(hex), "Status": mapping.status as i32,
    }))
}
