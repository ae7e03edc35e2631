//! The steps of operations on the global store: begin, end, and the log.

use rusqlite::{Row, Transaction, params};

use super::collisions::{self, Collision};
use super::{Answer, STORE, SqliteGlobalSession, map_kind};
use crate::backend::sqlite::StatementFault;
use crate::backend::stored::{document, guid, mapping_status, optional_guid, small_number};
use crate::error::{Error, Refusal, Result};
use crate::gsm::{
    Begin, Detaching, Direction, GlobalOperation, GlobalSession, LogEntry, MappingStep, OperationSteps, ShardMending,
    ShardStep,
};
use crate::key::EncodedKey;
use crate::model::{
    LockToken, MappingRecord, MappingStatus, OperationId, Shard, ShardId, ShardMapId, ShardMapKind, ShardVersion,
};

pub(super) const LOG: &str = r#"SELECT "OperationId", "OperationCode", "Data", "UndoStartState", "ShardVersionRemoves",
    "ShardVersionAdds" FROM "__ShardManagement.OperationsLogGlobal""#;

pub(super) fn entry_of_row(row: &Row<'_>) -> Answer<LogEntry> {
    Ok(LogEntry {
        id: guid(row, 0)?,
        code: small_number(row, 1)?,
        data: document(row, 2)?,
        undo_start: small_number(row, 3)?,
        version_removes: optional_guid(row, 4)?,
        version_adds: optional_guid(row, 5)?,
    })
}

fn find_entry(transaction: &Transaction<'_>, id: OperationId) -> Answer<Option<LogEntry>> {
    let mut statement = transaction.prepare_cached(&format!(r#"{LOG} WHERE "OperationId" = ?1"#))?;
    let mut rows = statement.query([id.to_string()])?;
    rows.next()?.map(entry_of_row).transpose()
}

/// The log row of the operation that has stamped a row.
pub(super) fn entry(transaction: &Transaction<'_>, id: OperationId) -> Answer<LogEntry> {
    find_entry(transaction, id)?.ok_or_else(|| {
        let message = format!(
            "column OperationId of ShardsGlobal or ShardMappingsGlobal names operation {id}, which OperationsLogGlobal \
             does not hold"
        );
        Error::damaged(message).into()
    })
}

/// Why a begin step stops before its end.
enum Stop {
    /// Another operation holds a row.
    Pending(OperationId),
    /// The operation has begun before.
    Begun,
    /// It cannot be done.
    Fault(StatementFault),
}

impl<T: Into<StatementFault>> From<T> for Stop {
    fn from(fault: T) -> Self {
        Self::Fault(fault.into())
    }
}

type Step<T> = std::result::Result<T, Stop>;

impl GlobalSession for SqliteGlobalSession {
    async fn begin(&mut self, operation: &GlobalOperation, data: &str) -> Result<Begin> {
        let (lock, operation, data) = (self.lock.clone(), operation.clone(), data.to_owned());
        let request = move |transaction: &Transaction<'_>| match begin(transaction, &operation, &data) {
            Ok(()) | Err(Stop::Begun) => Ok((Begin::Begun, true)),
            Err(Stop::Pending(holder)) => Ok((Begin::Pending(Box::new(entry(transaction, holder)?)), false)),
            Err(Stop::Fault(fault)) => Err(fault),
        };
        self.database
            .run(move |connection| {
                let _held = lock;
                STORE.write_if(connection, request)
            })
            .await
    }

    async fn end(&mut self, operation: &GlobalOperation, direction: Direction) -> Result<()> {
        let (lock, operation) = (self.lock.clone(), operation.clone());
        self.database
            .run(move |connection| {
                let _held = lock;
                STORE.write(connection, |transaction| end(transaction, &operation, direction))
            })
            .await
    }

    async fn find_operation(&mut self, id: OperationId, undo_start: i32) -> Result<Option<LogEntry>> {
        let lock = self.lock.clone();
        let request = move |transaction: &Transaction<'_>| {
            let _ = transaction
                .prepare_cached(
                    r#"UPDATE "__ShardManagement.OperationsLogGlobal" SET "UndoStartState" = ?2
                       WHERE "OperationId" = ?1"#,
                )?
                .execute(params![id.to_string(), undo_start])?;
            find_entry(transaction, id)
        };
        self.database
            .run(move |connection| {
                let _held = lock;
                STORE.write(connection, request)
            })
            .await
    }
}

fn begin(transaction: &Transaction<'_>, operation: &GlobalOperation, data: &str) -> Step<()> {
    let kind = map_kind(transaction, operation.map.id())?;
    match &operation.steps {
        OperationSteps::Shard(step) => {
            begin_shard(transaction, operation, step)?;
            log(transaction, operation, data, None, None)
        }
        OperationSteps::Mappings { removes, adds, steps, .. } => {
            let source = stamp_shard(transaction, operation, removes)?;
            let moves = adds.id() != removes.id();
            let target = if moves { stamp_shard(transaction, operation, adds)? } else { source };
            if target.marked_offline && (moves || MappingStep::only_add(steps)) {
                return Err(Refusal::ShardIsDisabled.into());
            }
            log(transaction, operation, data, Some(source.version), Some(target.version))?;
            let mut held = None;
            for step in steps {
                match begin_mapping(transaction, operation, kind, (removes, adds), step) {
                    // What another step meets may be in the way for good, which decides.
                    Err(Stop::Pending(holder)) => held = held.or(Some(holder)),
                    begun => begun?,
                }
            }
            held.map_or(Ok(()), |holder| Err(Stop::Pending(holder)))?;
            // Not before all are checked: each would look at those before it, and many would take for ever.
            let added = steps.iter().filter_map(|step| match step {
                MappingStep::Add { mapping, .. } => Some(mapping),
                MappingStep::Remove { .. } | MappingStep::Update { .. } | MappingStep::Keep { .. } => None,
            });
            added.into_iter().try_for_each(|mapping| insert_mapping(transaction, operation, adds, mapping))
        }
    }
}

fn log(
    transaction: &Transaction<'_>,
    operation: &GlobalOperation,
    data: &str,
    removes: Option<ShardVersion>,
    adds: Option<ShardVersion>,
) -> Step<()> {
    let _ = transaction
        .prepare_cached(
            r#"INSERT INTO "__ShardManagement.OperationsLogGlobal"
                   ("OperationId", "OperationCode", "Data", "ShardVersionRemoves", "ShardVersionAdds")
               VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING"#,
        )?
        .execute(params![
            operation.id.to_string(),
            operation.code as i64,
            data,
            removes.map(|version| version.to_string()),
            adds.map(|version| version.to_string())
        ])?;
    Ok(())
}

/// Goes on only if a row is free: it is not stamped, or else by whom.
fn free(holder: Option<OperationId>, operation: &GlobalOperation) -> Step<()> {
    match holder {
        None => Ok(()),
        Some(holder) if holder == operation.id => Err(Stop::Begun),
        Some(holder) => Err(Stop::Pending(holder)),
    }
}

/// What decides about an operation on a shard.
#[derive(Clone, Copy)]
struct ShardState {
    version: ShardVersion,
    holder: Option<OperationId>,
    marked_offline: bool,
}

/// The state of a readable shard.
fn shard_state(transaction: &Transaction<'_>, shard: &Shard) -> Answer<ShardState> {
    let mut statement = transaction.prepare_cached(
        r#"SELECT "Version", "OperationId", "Status" IS 0 FROM "__ShardManagement.ShardsGlobal"
           WHERE "ShardMapId" = ?1 AND "ShardId" = ?2 AND "Readable" = 1"#,
    )?;
    let mut rows = statement.query([shard.shard_map_id().to_string(), shard.id().to_string()])?;
    match rows.next()? {
        Some(row) => Ok(ShardState {
            version: guid(row, 0)?,
            holder: optional_guid(row, 1)?,
            marked_offline: small_number(row, 2)? != 0,
        }),
        None => Err(Refusal::ShardDoesNotExist.into()),
    }
}

fn set_shard_stamp(transaction: &Transaction<'_>, operation: &GlobalOperation, shard: &Shard) -> Answer<()> {
    let _ = transaction
        .prepare_cached(
            r#"UPDATE "__ShardManagement.ShardsGlobal" SET "OperationId" = ?3
               WHERE "ShardMapId" = ?1 AND "ShardId" = ?2"#,
        )?
        .execute([shard.shard_map_id().to_string(), shard.id().to_string(), operation.id.to_string()])?;
    Ok(())
}

/// Stamps a shard for an operation on its mappings and gives its state before.
fn stamp_shard(transaction: &Transaction<'_>, operation: &GlobalOperation, shard: &Shard) -> Step<ShardState> {
    let state = shard_state(transaction, shard)?;
    free(state.holder, operation)?;
    set_shard_stamp(transaction, operation, shard)?;
    Ok(state)
}

fn begin_shard(transaction: &Transaction<'_>, operation: &GlobalOperation, step: &ShardStep) -> Step<()> {
    if let ShardStep::Add(shard) = step {
        return add_shard(transaction, operation, shard);
    }
    let shard = step.shard();
    let state = shard_state(transaction, shard)?;
    free(state.holder, operation)?;
    if state.version != shard.version() {
        return Err(Refusal::ShardVersionMismatch.into());
    }
    if matches!(step, ShardStep::Remove(_)) {
        let in_use = transaction
            .prepare_cached(r#"SELECT 1 FROM "__ShardManagement.ShardMappingsGlobal" WHERE "ShardId" = ?1 LIMIT 1"#)?
            .exists([shard.id().to_string()])?;
        if in_use {
            return Err(Refusal::ShardHasMappings.into());
        }
    }
    Ok(set_shard_stamp(transaction, operation, shard)?)
}

fn add_shard(transaction: &Transaction<'_>, operation: &GlobalOperation, shard: &Shard) -> Step<()> {
    let location = shard.location();
    let holders = |sql: &str, parameters: &[&dyn rusqlite::ToSql]| -> Answer<Option<Option<OperationId>>> {
        let mut statement = transaction.prepare_cached(sql)?;
        let mut rows = statement.query(parameters)?;
        rows.next()?.map(|row| optional_guid(row, 0)).transpose()
    };
    let by_id = holders(
        r#"SELECT "OperationId" FROM "__ShardManagement.ShardsGlobal" WHERE "ShardId" = ?1"#,
        &[&shard.id().to_string()],
    )?;
    if let Some(holder) = by_id {
        free(holder, operation)?;
        return Err(Refusal::ShardExists.into());
    }
    let by_location = holders(
        r#"SELECT "OperationId" FROM "__ShardManagement.ShardsGlobal"
           WHERE "ShardMapId" = ?1 AND "Protocol" = ?2 AND "ServerName" = ?3 AND "Port" = ?4 AND "DatabaseName" = ?5"#,
        &[
            &shard.shard_map_id().to_string(),
            &(location.protocol() as i64),
            &location.server(),
            &location.port().unwrap_or(0),
            &location.database(),
        ],
    )?;
    if let Some(holder) = by_location {
        free(holder, operation)?;
        return Err(Refusal::ShardLocationExists.into());
    }
    let _ = transaction
        .prepare_cached(
            r#"INSERT INTO "__ShardManagement.ShardsGlobal" ("ShardId", "Readable", "Version", "ShardMapId",
                   "OperationId", "Protocol", "ServerName", "Port", "DatabaseName", "Status")
               VALUES (?1, 0, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"#,
        )?
        .execute(params![
            shard.id().to_string(),
            shard.version().to_string(),
            shard.shard_map_id().to_string(),
            operation.id.to_string(),
            location.protocol() as i64,
            location.server(),
            location.port().unwrap_or(0),
            location.database(),
            shard.status() as i64
        ])?;
    Ok(())
}

/// Checks a step, and stamps what it removes or updates.
fn begin_mapping(
    transaction: &Transaction<'_>,
    operation: &GlobalOperation,
    kind: ShardMapKind,
    (removes, adds): (&Shard, &Shard),
    step: &MappingStep,
) -> Step<()> {
    match step {
        MappingStep::Remove { mapping, lock } => {
            let status = locked_state(transaction, mapping, *lock)?;
            if status == MappingStatus::Online && operation.code.removes_offline_only() {
                return Err(Refusal::MappingIsNotOffline.into());
            }
            stamp_mapping(transaction, operation, mapping)
        }
        MappingStep::Update { old, new, lock } => {
            let status = locked_state(transaction, old, *lock)?;
            let stays_online = status == MappingStatus::Online && new.status == MappingStatus::Online;
            if stays_online && removes.id() != adds.id() {
                return Err(Refusal::MappingIsNotOffline.into());
            }
            stamp_mapping(transaction, operation, old)
        }
        MappingStep::Add { mapping, validate: true } => check_collisions(transaction, operation, kind, mapping),
        MappingStep::Add { .. } => Ok(()),
        MappingStep::Keep { mapping } => {
            let kept = transaction
                .prepare_cached(
                    r#"SELECT 1 FROM "__ShardManagement.ShardMappingsGlobal"
                       WHERE "ShardMapId" = ?1 AND "MappingId" = ?2 AND "ShardId" = ?3 AND "Readable" = 1"#,
                )?
                .exists([mapping.map.to_string(), mapping.id.to_string(), adds.id().to_string()])?;
            if kept { Ok(()) } else { Err(Refusal::MappingDoesNotExist.into()) }
        }
    }
}

/// The status of a readable mapping whose lock the token opens.
fn locked_state(transaction: &Transaction<'_>, mapping: &MappingRecord, token: LockToken) -> Answer<MappingStatus> {
    let mut statement = transaction.prepare_cached(
        r#"SELECT "LockOwnerId", "Status" FROM "__ShardManagement.ShardMappingsGlobal"
           WHERE "ShardMapId" = ?1 AND "MappingId" = ?2 AND "Readable" = 1"#,
    )?;
    let mut rows = statement.query([mapping.map.to_string(), mapping.id.to_string()])?;
    let row = rows.next()?.ok_or(Refusal::MappingDoesNotExist)?;
    if guid::<LockToken, _>(row, 0)? != token {
        return Err(Refusal::MappingLockOwnerIdDoesNotMatch.into());
    }
    mapping_status(row, 1)
}

fn stamp_mapping(transaction: &Transaction<'_>, operation: &GlobalOperation, mapping: &MappingRecord) -> Step<()> {
    let _ = transaction
        .prepare_cached(
            r#"UPDATE "__ShardManagement.ShardMappingsGlobal" SET "OperationId" = ?3
               WHERE "ShardMapId" = ?1 AND "MappingId" = ?2"#,
        )?
        .execute([mapping.map.to_string(), mapping.id.to_string(), operation.id.to_string()])?;
    Ok(())
}

/// Fails if a row shares keys with the mapping, whether it is readable or not.
fn check_collisions(
    transaction: &Transaction<'_>,
    operation: &GlobalOperation,
    kind: ShardMapKind,
    mapping: &MappingRecord,
) -> Step<()> {
    match collisions::find(transaction, operation, kind, mapping)? {
        Collision::None => Ok(()),
        Collision::Pending(holder) => Err(Stop::Pending(holder)),
        Collision::Mapped => Err(match kind {
            ShardMapKind::List => Refusal::MappingPointAlreadyMapped.into(),
            ShardMapKind::Range => Refusal::MappingRangeAlreadyMapped.into(),
        }),
    }
}

fn insert_mapping(
    transaction: &Transaction<'_>,
    operation: &GlobalOperation,
    shard: &Shard,
    mapping: &MappingRecord,
) -> Step<()> {
    let _ = transaction
        .prepare_cached(
            r#"INSERT INTO "__ShardManagement.ShardMappingsGlobal" ("MappingId", "Readable", "ShardId", "ShardMapId",
                   "OperationId", "MinValue", "MaxValue", "Status", "LockOwnerId")
               VALUES (?1, 0, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"#,
        )?
        .execute(params![
            mapping.id.to_string(),
            shard.id().to_string(),
            mapping.map.to_string(),
            operation.id.to_string(),
            mapping.low.as_bytes(),
            mapping.high.as_ref().map(EncodedKey::as_bytes),
            mapping.status as i64,
            mapping.lock_owner.to_string()
        ])?;
    Ok(())
}

/// Every statement asks for the stamp, so that repeating the end of an operation changes nothing.
fn end(transaction: &Transaction<'_>, operation: &GlobalOperation, direction: Direction) -> Answer<()> {
    let map = operation.map.id();
    let _ = map_kind(transaction, map)?;
    match &operation.steps {
        OperationSteps::Shard(step) => end_shard(transaction, operation, step, direction)?,
        OperationSteps::Mappings { removes, adds, steps, .. } => {
            for step in steps {
                end_mapping(transaction, operation, adds, step, direction)?;
            }
            for shard in [removes, adds] {
                let version = (direction == Direction::Do).then(|| shard.version().to_string());
                let _ = transaction
                    .prepare_cached(
                        r#"UPDATE "__ShardManagement.ShardsGlobal"
                           SET "Version" = coalesce(?4, "Version"), "OperationId" = NULL
                           WHERE "ShardMapId" = ?1 AND "ShardId" = ?2 AND "OperationId" = ?3"#,
                    )?
                    .execute(params![map.to_string(), shard.id().to_string(), operation.id.to_string(), version])?;
            }
        }
    }
    let _ = transaction
        .prepare_cached(r#"DELETE FROM "__ShardManagement.OperationsLogGlobal" WHERE "OperationId" = ?1"#)?
        .execute([operation.id.to_string()])?;
    Ok(())
}

const DELETE_SHARD: &str = r#"DELETE FROM "__ShardManagement.ShardsGlobal"
    WHERE "ShardMapId" = ?1 AND "ShardId" = ?2 AND "OperationId" = ?3"#;
const FREE_SHARD: &str = r#"UPDATE "__ShardManagement.ShardsGlobal" SET "OperationId" = NULL
    WHERE "ShardMapId" = ?1 AND "ShardId" = ?2 AND "OperationId" = ?3"#;
const SHOW_SHARD: &str = r#"UPDATE "__ShardManagement.ShardsGlobal" SET "OperationId" = NULL, "Readable" = 1
    WHERE "ShardMapId" = ?1 AND "ShardId" = ?2 AND "OperationId" = ?3"#;
const DELETE_MAPPING: &str = r#"DELETE FROM "__ShardManagement.ShardMappingsGlobal"
    WHERE "ShardMapId" = ?1 AND "MappingId" = ?2 AND "OperationId" = ?3"#;
const FREE_MAPPING: &str = r#"UPDATE "__ShardManagement.ShardMappingsGlobal" SET "OperationId" = NULL
    WHERE "ShardMapId" = ?1 AND "MappingId" = ?2 AND "OperationId" = ?3"#;
const SHOW_MAPPING: &str = r#"UPDATE "__ShardManagement.ShardMappingsGlobal" SET "OperationId" = NULL, "Readable" = 1
    WHERE "ShardMapId" = ?1 AND "MappingId" = ?2 AND "OperationId" = ?3"#;

/// Does one of the statements above.
fn finish(
    transaction: &Transaction<'_>,
    sql: &str,
    map: ShardMapId,
    row: impl std::fmt::Display,
    id: OperationId,
) -> Answer<()> {
    let _ = transaction.prepare_cached(sql)?.execute([map.to_string(), row.to_string(), id.to_string()])?;
    Ok(())
}

fn end_shard(
    transaction: &Transaction<'_>,
    operation: &GlobalOperation,
    step: &ShardStep,
    direction: Direction,
) -> Answer<()> {
    let (map, id) = (operation.map.id(), operation.id);
    let shard = step.shard().id();
    match (step, direction) {
        (ShardStep::Remove(_), Direction::Do) | (ShardStep::Add(_), Direction::Undo) => {
            finish(transaction, DELETE_SHARD, map, shard, id)
        }
        (ShardStep::Remove(_) | ShardStep::Update(..) | ShardStep::Mend(_), Direction::Undo) => {
            finish(transaction, FREE_SHARD, map, shard, id)
        }
        (ShardStep::Mend(mending), Direction::Do) => end_mending(transaction, operation, mending),
        (ShardStep::Add(_), Direction::Do) => finish(transaction, SHOW_SHARD, map, shard, id),
        (ShardStep::Update(_, new), Direction::Do) => {
            let _ = transaction
                .prepare_cached(
                    r#"UPDATE "__ShardManagement.ShardsGlobal"
                       SET "Version" = ?4, "Status" = ?5, "OperationId" = NULL
                       WHERE "ShardMapId" = ?1 AND "ShardId" = ?2 AND "OperationId" = ?3"#,
                )?
                .execute(params![
                    map.to_string(),
                    shard.to_string(),
                    id.to_string(),
                    new.version().to_string(),
                    new.status() as i64
                ])?;
            Ok(())
        }
    }
}

fn end_mapping(
    transaction: &Transaction<'_>,
    operation: &GlobalOperation,
    adds: &Shard,
    step: &MappingStep,
    direction: Direction,
) -> Answer<()> {
    let (map, id) = (operation.map.id(), operation.id);
    match (step, direction) {
        (MappingStep::Remove { mapping, .. }, Direction::Do) | (MappingStep::Add { mapping, .. }, Direction::Undo) => {
            finish(transaction, DELETE_MAPPING, map, mapping.id, id)
        }
        (MappingStep::Remove { mapping, .. } | MappingStep::Update { old: mapping, .. }, Direction::Undo) => {
            finish(transaction, FREE_MAPPING, map, mapping.id, id)
        }
        (MappingStep::Add { mapping, .. }, Direction::Do) => finish(transaction, SHOW_MAPPING, map, mapping.id, id),
        (MappingStep::Keep { .. }, _) => Ok(()),
        (MappingStep::Update { old, new, .. }, Direction::Do) => {
            let _ = transaction
                .prepare_cached(
                    r#"UPDATE "__ShardManagement.ShardMappingsGlobal"
                       SET "MappingId" = ?4, "ShardId" = ?5, "Status" = ?6, "OperationId" = NULL
                       WHERE "ShardMapId" = ?1 AND "MappingId" = ?2 AND "OperationId" = ?3"#,
                )?
                .execute(params![
                    map.to_string(),
                    old.id.to_string(),
                    id.to_string(),
                    new.id.to_string(),
                    adds.id().to_string(),
                    new.status as i64
                ])?;
            Ok(())
        }
    }
}

/// Puts the rows of a shard right. Where its stamp is gone this was done before.
fn end_mending(transaction: &Transaction<'_>, operation: &GlobalOperation, mending: &ShardMending) -> Answer<()> {
    let (map, shard, id) = (operation.map.id().to_string(), &mending.after, operation.id.to_string());
    let location = shard.location();
    let stamped = transaction
        .prepare_cached(
            r#"SELECT 1 FROM "__ShardManagement.ShardsGlobal"
               WHERE "ShardMapId" = ?1 AND "ShardId" = ?2 AND "OperationId" = ?3"#,
        )?
        .exists([&map, &shard.id().to_string(), &id])?;
    if !stamped {
        return Ok(());
    }
    let place = params![
        map,
        shard.id().to_string(),
        location.protocol() as i64,
        location.server(),
        location.port().unwrap_or(0),
        location.database(),
        shard.version().to_string(),
        shard.status() as i64
    ];
    let moved = transaction
        .prepare_cached(
            r#"UPDATE OR IGNORE "__ShardManagement.ShardsGlobal"
               SET "Protocol" = ?3, "ServerName" = ?4, "Port" = ?5, "DatabaseName" = ?6, "Version" = ?7, "Status" = ?8,
                   "OperationId" = NULL
               WHERE "ShardMapId" = ?1 AND "ShardId" = ?2"#,
        )?
        .execute(place)?;
    if moved == 0 {
        return Err(Refusal::ShardLocationExists.into());
    }
    for removed in &mending.removed {
        let _ = transaction
            .prepare_cached(
                r#"DELETE FROM "__ShardManagement.ShardMappingsGlobal"
                   WHERE "ShardMapId" = ?1 AND "MappingId" = ?2 AND "ShardId" = ?3"#,
            )?
            .execute([&map, &removed.to_string(), &shard.id().to_string()])?;
    }
    for mapping in &mending.added {
        let added = check_collisions(transaction, operation, operation.map.kind(), mapping)
            .and_then(|()| insert_mapping(transaction, operation, shard, mapping));
        match added {
            Ok(()) | Err(Stop::Begun) => {
                finish(transaction, SHOW_MAPPING, operation.map.id(), mapping.id, operation.id)?
            }
            Err(Stop::Fault(fault)) => return Err(fault),
            Err(Stop::Pending(_)) => return Err(Refusal::PendingOperation.into()),
        }
    }
    Ok(())
}

/// Takes a shard out of a map with its mappings.
pub(super) fn detach(transaction: &Transaction<'_>, map: ShardMapId, shard: ShardId) -> Answer<Detaching> {
    let (map, shard) = (map.to_string(), shard.to_string());
    let holder = {
        let mut statement = transaction.prepare_cached(
            r#"SELECT "OperationId" FROM "__ShardManagement.ShardsGlobal" WHERE "ShardMapId" = ?1 AND "ShardId" = ?2"#,
        )?;
        let mut rows = statement.query([&map, &shard])?;
        let row = rows.next()?.ok_or(Refusal::ShardDoesNotExist)?;
        optional_guid::<OperationId, _>(row, 0)?
    };
    if let Some(holder) = holder {
        return Ok(Detaching::Pending(Box::new(entry(transaction, holder)?)));
    }
    let mappings = transaction
        .prepare_cached(
            r#"DELETE FROM "__ShardManagement.ShardMappingsGlobal" WHERE "ShardMapId" = ?1 AND "ShardId" = ?2"#,
        )?
        .execute([&map, &shard])?;
    let _ = transaction
        .prepare_cached(r#"DELETE FROM "__ShardManagement.ShardsGlobal" WHERE "ShardMapId" = ?1 AND "ShardId" = ?2"#)?
        .execute([&map, &shard])?;
    Ok(Detaching::Detached(mappings))
}
