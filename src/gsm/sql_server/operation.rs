//! The steps of operations on the global store: begin, end, and the log.

use serde_json::{Value, json};
use tiberius::Row;

use crate::backend::sql_server::{Call, Doing, LockedSession, Reply};
use crate::backend::stored::{document, guid, optional_guid, small_number};
use crate::error::{Error, Result};
use crate::gsm::{
    Begin, Direction, GlobalOperation, GlobalSession, LogEntry, MappingStep, OperationSteps, ShardMending, ShardStep,
};
use crate::model::{MappingRecord, OperationId, Shard};

/// The result code where another operation holds a row: its log row follows.
const PENDING: u32 = 52;

pub(super) fn entry(row: &Row) -> Result<LogEntry> {
    Ok(LogEntry {
        id: guid(row, 0)?,
        code: small_number(row, 1)?,
        // Babelfish keeps the byte order mark that drivers put before an XML value.
        data: document(row, 2)?.trim_start_matches('\u{feff}').to_owned(),
        undo_start: small_number(row, 3)?,
        version_removes: optional_guid(row, 4)?,
        version_adds: optional_guid(row, 5)?,
    })
}

/// The operation that is in the way, if one is.
pub(super) fn pending_entry(reply: &Reply) -> Result<Option<LogEntry>> {
    if reply.code != PENDING {
        return Ok(None);
    }
    let row = reply.rows(0).first().ok_or_else(|| {
        let what = "column OperationId of ShardsGlobal or ShardMappingsGlobal names an operation that OperationsLogGlobal \
                    does not hold";
        Error::damaged(what).at_global()
    })?;
    entry(row).map(Some).map_err(Error::at_global)
}

/// Works on the global store under the lock of an operation.
#[derive(Debug)]
pub struct SqlServerGlobalSession(LockedSession);

impl SqlServerGlobalSession {
    pub(super) fn new(session: LockedSession) -> Self {
        Self(session)
    }
}

impl GlobalSession for SqlServerGlobalSession {
    async fn begin(&mut self, operation: &GlobalOperation, data: &str) -> Result<Begin> {
        let reply = match &operation.steps {
            OperationSteps::Shard(step) => {
                self.0.request(Doing::Writing, || begin_shard(operation, data, step)).await?
            }
            OperationSteps::Mappings { removes, adds, steps, .. } => {
                let kept = steps.iter().find_map(|step| match step {
                    MappingStep::Keep { mapping } => Some(*mapping.id.as_uuid()),
                    _ => None,
                });
                let (adding, steps) = (MappingStep::only_add(steps), steps_as_json(steps));
                let call = || {
                    Call::global("BeginMappings")
                        .with("@operation", *operation.id.as_uuid())
                        .with("@code", operation.code as i32)
                        .with("@data", data)
                        .with("@map", *operation.map.id().as_uuid())
                        .with("@removes", *removes.id().as_uuid())
                        .with("@adds", *adds.id().as_uuid())
                        .with("@kept", kept)
                        .with("@adding", adding)
                        .with("@steps", steps.as_str())
                };
                self.0.request(Doing::Writing, call).await?
            }
        };
        match pending_entry(&reply)? {
            Some(entry) => Ok(Begin::Pending(Box::new(entry))),
            None => reply.accepted().map(|_| Begin::Begun).map_err(Error::at_global),
        }
    }

    async fn end(&mut self, operation: &GlobalOperation, direction: Direction) -> Result<()> {
        let undo = direction == Direction::Undo;
        let lock = self.0.lock().to_owned();
        let reply = match &operation.steps {
            OperationSteps::Shard(ShardStep::Mend(mending)) if !undo => {
                let steps = mending_text(mending);
                let call = || end_mending(operation, mending, &steps).with("@lock", lock.as_str());
                self.0.request(Doing::Writing, call).await?
            }
            OperationSteps::Shard(step) => {
                let call = || end_shard(operation, undo, step).with("@lock", lock.as_str());
                self.0.request(Doing::Writing, call).await?
            }
            OperationSteps::Mappings { removes, adds, steps, .. } => {
                let adding = MappingStep::only_add(steps);
                // Which of its rows an operation has added they say themselves.
                let steps = if adding || undo { String::from("[]") } else { steps_as_json(steps) };
                let call = || {
                    Call::global("EndMappings")
                        .with("@operation", *operation.id.as_uuid())
                        .with("@undo", undo)
                        .with("@map", *operation.map.id().as_uuid())
                        .with("@removes", *removes.id().as_uuid())
                        .with("@removesVersion", *removes.version().as_uuid())
                        .with("@adds", *adds.id().as_uuid())
                        .with("@addsVersion", *adds.version().as_uuid())
                        .with("@adding", adding)
                        .with("@steps", steps.as_str())
                        .with("@lock", lock.as_str())
                };
                self.0.request(Doing::Writing, call).await?
            }
        };
        let reply = reply.accepted().map_err(Error::at_global)?;
        if reply.rows(0).first().is_some_and(|row| small_number(row, 0).is_ok_and(|released| released >= 0)) {
            self.0.released();
        }
        Ok(())
    }

    async fn find_operation(&mut self, id: OperationId, undo_start: i32) -> Result<Option<LogEntry>> {
        let call = || Call::global("FindOperation").with("@operation", *id.as_uuid()).with("@undoStart", undo_start);
        // Noting the same start again changes nothing, so a broken connection leaves nothing in doubt.
        let reply = self.0.request(Doing::Reading, call).await?.accepted().map_err(Error::at_global)?;
        reply.rows(0).first().map(entry).transpose().map_err(Error::at_global)
    }
}

fn kind_of(step: &ShardStep) -> i32 {
    match step {
        ShardStep::Remove(_) => 1,
        ShardStep::Update(..) | ShardStep::Mend(_) => 2,
        ShardStep::Add(_) => 3,
    }
}

fn begin_shard<'c>(operation: &GlobalOperation, data: &'c str, step: &'c ShardStep) -> Call<'c> {
    let shard = step.shard();
    let location = shard.location();
    Call::global("BeginShard")
        .with("@operation", *operation.id.as_uuid())
        .with("@code", operation.code as i32)
        .with("@data", data)
        .with("@map", *operation.map.id().as_uuid())
        .with("@kind", kind_of(step))
        .with("@shard", *shard.id().as_uuid())
        .with("@version", *shard.version().as_uuid())
        .with("@protocol", location.protocol() as i32)
        .with("@server", location.server())
        .with("@port", i32::from(location.port().unwrap_or_default()))
        .with("@database", location.database())
        .with("@status", shard.status() as i32)
}

fn end_shard<'c>(operation: &GlobalOperation, undo: bool, step: &ShardStep) -> Call<'c> {
    let new: &Shard = match step {
        ShardStep::Remove(shard) | ShardStep::Add(shard) | ShardStep::Update(_, shard) => shard,
        ShardStep::Mend(mending) => &mending.after,
    };
    Call::global("EndShard")
        .with("@operation", *operation.id.as_uuid())
        .with("@undo", undo)
        .with("@map", *operation.map.id().as_uuid())
        .with("@kind", kind_of(step))
        .with("@shard", *new.id().as_uuid())
        .with("@version", *new.version().as_uuid())
        .with("@status", new.status() as i32)
}

fn end_mending<'c>(operation: &GlobalOperation, mending: &'c ShardMending, steps: &'c str) -> Call<'c> {
    let (shard, location) = (&mending.after, mending.after.location());
    Call::global("EndMending")
        .with("@operation", *operation.id.as_uuid())
        .with("@map", *operation.map.id().as_uuid())
        .with("@shard", *shard.id().as_uuid())
        .with("@version", *shard.version().as_uuid())
        .with("@protocol", location.protocol() as i32)
        .with("@server", location.server())
        .with("@port", i32::from(location.port().unwrap_or_default()))
        .with("@database", location.database())
        .with("@status", shard.status() as i32)
        .with("@steps", steps)
}

/// What leaves and what comes, as the procedure takes it.
fn mending_text(mending: &ShardMending) -> String {
    let removed = mending.removed.iter().map(|id| json!({ "kind": 1, "id": id.to_string() }));
    let added = mending.added.iter().map(|mapping| {
        json!({
            "kind": 3, "id": mapping.id.to_string(), "lock": mapping.lock_owner.to_string(),
            "status": mapping.status as i32, "min": mapping.low.to_string(),
            "max": mapping.high.as_ref().map(ToString::to_string),
        })
    });
    Value::Array(removed.chain(added).collect()).to_string()
}

/// The steps as the procedures take them, but for what is kept. Public for the fuzz target only.
#[must_use]
pub fn steps_as_json(steps: &[MappingStep]) -> String {
    let keys = |mapping: &MappingRecord| (mapping.low.to_string(), mapping.high.as_ref().map(ToString::to_string));
    let text = |(place, step): (usize, &MappingStep)| match step {
        MappingStep::Keep { .. } => None,
        MappingStep::Remove { mapping, lock } => {
            Some(json!({ "n": place, "kind": 1, "id": mapping.id.as_uuid().to_string(), "lock": lock.to_string() }))
        }
        MappingStep::Update { old, new, lock } => Some(json!({
            "n": place, "kind": 2, "id": old.id.to_string(), "lock": lock.to_string(),
            "newId": new.id.to_string(), "newStatus": new.status as i32,
        })),
        MappingStep::Add { mapping, validate } => {
            let (low, high) = keys(mapping);
            Some(json!({
                "n": place, "kind": 3, "id": mapping.id.to_string(), "lock": mapping.lock_owner.to_string(),
                "status": mapping.status as i32, "min": low, "max": high, "validate": validate,
            }))
        }
    };
    Value::Array(steps.iter().enumerate().filter_map(text).collect()).to_string()
}
