//! The local store of a shard on SQLite: its rows, its mappings, and opening connections that it vouches for.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use tokio::time::Instant;

use super::{
    LocalContent, LocalMappingChange, LocalSession, LocalShardChange, LocalStep, LocalStore, Route, RouteTarget,
    SessionEnding, ShardAction, Validation,
};
use crate::backend::sqlite::{
    Database, NoCredentials, OperationLock, SessionKey, Sqlite, SqliteConnection, StatementFault, StoreKind,
    record_ending, store_fault,
};
use crate::backend::stored::{guid, mapping_end, mapping_status, opaque_key, shard, shard_map};
use crate::error::{Error, Refusal, Result};
use crate::fault_point;
use crate::key::EncodedKey;
use crate::model::{
    LockToken, MappingRecord, MappingStatus, OperationId, SessionPolicy, SessionsEnded, Shard, ShardId, ShardLocation,
    ShardMapId, ShardMapInfo, ShardVersion, StoreRights, StoreUpgrade, StoreVersion,
};

type Answer<T> = std::result::Result<T, StatementFault>;

const STORE: StoreKind = StoreKind::Local;

impl LocalStore for Sqlite {
    type Session = SqliteLocalSession;

    async fn local_version(&self, location: &ShardLocation) -> Result<Option<StoreVersion>> {
        self.shard(location).run(|connection| STORE.version(connection)).await
    }

    async fn local_rights(&self, location: &ShardLocation) -> Result<StoreRights> {
        self.shard(location).rights().await
    }

    async fn upgrade_local(&self, location: &ShardLocation) -> Result<StoreUpgrade> {
        self.shard(location).run(|connection| STORE.upgrade(connection)).await
    }

    async fn local_shards(&self, location: &ShardLocation) -> Result<Vec<(ShardMapInfo, Shard)>> {
        self.shard(location).run(|connection| STORE.read(connection, local_shards)).await
    }

    async fn local_mappings(&self, location: &ShardLocation, map: ShardMapId) -> Result<Vec<MappingRecord>> {
        self.shard(location)
            .run(move |connection| STORE.read(connection, |transaction| local_mappings(transaction, map)))
            .await
    }

    async fn lock_operation_at(&self, location: &ShardLocation, id: OperationId) -> Result<SqliteLocalSession> {
        let lock = self.shared_lock(id).await.map_err(|error| error.at_shard(location))?;
        Ok(SqliteLocalSession { backend: self.clone(), database: self.shard(location), lock, ended: 0 })
    }

    async fn open_routed(
        &self,
        route: &Route,
        _credentials: &NoCredentials,
        validation: Validation,
    ) -> Result<SqliteConnection> {
        let database = self.shard(&route.location);
        let mut connection = database.connection().await?;
        let born = match validation {
            Validation::None => None,
            Validation::Validate => {
                let route = route.clone();
                connection
                    .run(move |connection| STORE.read(connection, |transaction| validate(transaction, &route)))
                    .await?
            }
        };
        let session = match &route.target {
            RouteTarget::Shard { .. } => None,
            RouteTarget::Mapping { kind, key, .. } => {
                let key = SessionKey { map: route.map, kind: *kind, key: key.clone() };
                Some(self.enter_session(database.name(), key, connection.interrupt_handle()))
            }
        };
        Ok(SqliteConnection::new(session, connection, route.location.clone(), born))
    }
}

/// Fails unless the route is the truth, and gives the number of the newest ending of sessions.
fn validate(transaction: &Transaction<'_>, route: &Route) -> Answer<Option<i64>> {
    let map = route.map.to_string();
    let known = transaction
        .prepare_cached(r#"SELECT 1 FROM "__ShardManagement.ShardMapsLocal" WHERE "ShardMapId" = ?1"#)?
        .exists([&map])?;
    if !known {
        return Err(Refusal::ShardMapDoesNotExist.into());
    }
    match &route.target {
        RouteTarget::Mapping { mapping, .. } => {
            let mut statement = transaction.prepare_cached(
                r#"SELECT "Status" FROM "__ShardManagement.ShardMappingsLocal"
                   WHERE "ShardMapId" = ?1 AND "MappingId" = ?2"#,
            )?;
            let mut rows = statement.query([map, mapping.to_string()])?;
            let row = rows.next()?.ok_or(Refusal::MappingDoesNotExist)?;
            if mapping_status(row, 0)? != MappingStatus::Online {
                return Err(Refusal::MappingIsOffline.into());
            }
        }
        RouteTarget::Shard { shard, version } => {
            let mut statement = transaction.prepare_cached(
                r#"SELECT "Version" FROM "__ShardManagement.ShardsLocal" WHERE "ShardMapId" = ?1 AND "ShardId" = ?2"#,
            )?;
            let mut rows = statement.query([map, shard.to_string()])?;
            let row = rows.next()?.ok_or(Refusal::ShardDoesNotExist)?;
            if guid::<ShardVersion, _>(row, 0)? != *version {
                return Err(Refusal::ShardVersionMismatch.into());
            }
        }
    }
    Ok(SessionKey::newest_ending(transaction)?)
}

fn local_shards(transaction: &Transaction<'_>) -> Answer<Vec<(ShardMapInfo, Shard)>> {
    let mut statement = transaction.prepare_cached(
        r#"SELECT m."ShardMapId", m."Name", m."MapType", m."KeyType", s."ShardId", s."Version", s."ShardMapId",
                  s."Protocol", s."ServerName", s."Port", s."DatabaseName", s."Status"
           FROM "__ShardManagement.ShardsLocal" AS s
           JOIN "__ShardManagement.ShardMapsLocal" AS m ON m."ShardMapId" = s."ShardMapId""#,
    )?;
    let mut rows = statement.query([])?;
    let mut shards = Vec::new();
    while let Some(row) = rows.next()? {
        shards.push((shard_map(row)?, shard(row, 4)?));
    }
    Ok(shards)
}

fn local_mappings(transaction: &Transaction<'_>, map: ShardMapId) -> Answer<Vec<MappingRecord>> {
    let shards: Vec<_> = local_shards(transaction)?.into_iter().filter(|(info, _)| info.id() == map).collect();
    let Some((info, _)) = shards.first().cloned() else { return Err(Refusal::ShardMapDoesNotExist.into()) };
    let shards: HashMap<ShardId, Arc<Shard>> =
        shards.into_iter().map(|(_, shard)| (shard.id(), Arc::new(shard))).collect();
    let mut statement = transaction.prepare_cached(
        r#"SELECT "MappingId", "ShardId", "MinValue", "MaxValue", "Status" FROM "__ShardManagement.ShardMappingsLocal"
           WHERE "ShardMapId" = ?1 ORDER BY "MinValue""#,
    )?;
    let mut rows = statement.query([map.to_string()])?;
    let mut mappings = Vec::new();
    while let Some(row) = rows.next()? {
        let shard = shards.get(&guid(row, 1)?).ok_or_else(|| {
            Error::damaged("column ShardId of ShardMappingsLocal names a shard that ShardsLocal does not hold")
        })?;
        let low = opaque_key(row, 2, info.key_type())?;
        mappings.push(MappingRecord {
            id: guid(row, 0)?,
            map,
            shard: Arc::clone(shard),
            high: mapping_end(row, 3, (info.kind(), info.key_type()), &low)?,
            low,
            status: mapping_status(row, 4)?,
            lock_owner: LockToken::NONE,
        });
    }
    Ok(mappings)
}

/// Works on a shard's store under the lock of an operation, which the session of the global store holds.
#[derive(Debug)]
pub struct SqliteLocalSession {
    backend: Sqlite,
    database: Database,
    lock: OperationLock,
    /// Sessions that were ended before the change, so that they would not hold it up.
    ended: usize,
}

impl SqliteLocalSession {
    /// A session that writes would hold up a change, so they end before it. Those that open in between find the ending that is
    /// written with the change.
    fn end_before(&mut self, ending: Option<&SessionEnding>) {
        let Some(ending) = ending.filter(|ending| ending.policy == SessionPolicy::EndNow) else { return };
        for keys in ending.keys() {
            self.ended += self.backend.sessions().end(self.database.name(), ending.map, keys);
        }
    }

    /// A request that keeps the lock even if it is abandoned.
    async fn locked<T: Send + 'static>(
        &self,
        request: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let lock = self.lock.clone();
        let request = move |connection: &mut Connection| {
            let _held = lock;
            request(connection)
        };
        self.database.run(request).await
    }
}

impl LocalSession for SqliteLocalSession {
    async fn change_shard(&mut self, change: &LocalShardChange) -> Result<()> {
        let change = change.clone();
        if change.action == ShardAction::Add && !change.undoing {
            let lock = self.lock.clone();
            let request = move |connection: &mut Connection| {
                let _held = lock;
                install(connection)?;
                change_shard(connection, &change)
            };
            return self.database.create(request).await;
        }
        if change.undoing && !self.database.exists().await? {
            return Ok(());
        }
        self.locked(move |connection| change_shard(connection, &change)).await
    }

    async fn change_mappings(&mut self, change: &LocalMappingChange) -> Result<()> {
        self.end_before(change.ending.as_ref());
        let change = change.clone();
        self.locked(move |connection| STORE.write(connection, |transaction| change_mappings(transaction, &change)))
            .await
    }

    async fn replace(&mut self, content: &LocalContent) -> Result<()> {
        self.end_before(content.ending.as_ref());
        let (lock, content) = (self.lock.clone(), content.clone());
        self.database
            .run(move |connection| {
                let _held = lock;
                install_rest(connection)?;
                STORE.write(connection, |transaction| replace(transaction, &content))
            })
            .await
    }

    async fn end_sessions(&mut self, ending: &SessionEnding) -> Result<SessionsEnded> {
        let sessions = self.backend.sessions();
        match ending.policy {
            SessionPolicy::Leave => return Ok(SessionsEnded::default()),
            SessionPolicy::EndNow => {}
            SessionPolicy::Drain(patience) => {
                let begun = Instant::now();
                for keys in ending.keys() {
                    let left = patience.saturating_sub(begun.elapsed());
                    sessions.drained(self.database.name(), ending.map, keys, left).await;
                }
                let ending = ending.clone();
                let record = move |transaction: &Transaction<'_>| record_endings(transaction, &ending);
                self.locked(move |connection| STORE.write(connection, record)).await?;
            }
        }
        let end = |keys| sessions.end(self.database.name(), ending.map, keys);
        Ok(SessionsEnded::new(self.ended + ending.keys().map(end).sum::<usize>()))
    }
}

/// Installs the store where there is none.
fn install(connection: &mut Connection) -> Result<()> {
    fault_point::reached("local store: database made");
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(store_fault)?;
    if STORE.version_in(&transaction)?.is_none() {
        STORE.install(&transaction)?;
    }
    STORE.commit(transaction)
}

/// Installs the store, or what is missing of one that was only half installed.
fn install_rest(connection: &mut Connection) -> Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(store_fault)?;
    STORE.install(&transaction)?;
    STORE.commit(transaction)
}

/// True if the shard's row has a version that is none of those which an undo knows.
fn has_moved_on(
    transaction: &Transaction<'_>,
    (map, shard): (ShardMapId, ShardId),
    known: Option<[ShardVersion; 2]>,
) -> Answer<bool> {
    let Some(known) = known else { return Ok(false) };
    let version = shard_version(transaction, map, shard)?;
    Ok(version.is_some_and(|(version, _)| !known.contains(&version)))
}

/// Version and last operation of a shard's row.
fn shard_version(
    transaction: &Transaction<'_>,
    map: ShardMapId,
    shard: ShardId,
) -> Answer<Option<(ShardVersion, OperationId)>> {
    let mut statement = transaction.prepare_cached(
        r#"SELECT "Version", "LastOperationId" FROM "__ShardManagement.ShardsLocal"
           WHERE "ShardMapId" = ?1 AND "ShardId" = ?2"#,
    )?;
    let mut rows = statement.query([map.to_string(), shard.to_string()])?;
    rows.next()?.map(|row| Ok((guid(row, 0)?, guid(row, 1)?))).transpose()
}

/// Makes the rows of a map exactly what they are to be.
fn replace(transaction: &Transaction<'_>, content: &LocalContent) -> Answer<()> {
    let (map, shard) = (content.map.id(), &content.shard);
    // What is not expected to be anything may be damaged.
    let found = match shard_version(transaction, map, shard.id()) {
        Err(_) if content.expected.is_none() => None,
        found => found?,
    };
    if found == Some((shard.version(), content.operation)) {
        return Ok(());
    }
    if content.expected.is_some_and(|expected| found.map(|(version, _)| version) != Some(expected)) {
        return Err(Refusal::ShardVersionMismatch.into());
    }
    let id = map.to_string();
    let kept: Vec<String> = content.neighbours.iter().map(|shard| format!("\"{shard}\"")).collect();
    let kept = format!("[{}]", kept.join(","));
    // Mappings by their own column: those of a shard whose row is missing go too.
    for sql in [
        r#"DELETE FROM "__ShardManagement.ShardMappingsLocal"
           WHERE "ShardMapId" = ?1 AND "ShardId" NOT IN (SELECT value FROM json_each(?2))"#,
        r#"DELETE FROM "__ShardManagement.ShardsLocal"
           WHERE "ShardMapId" = ?1 AND "ShardId" NOT IN (SELECT value FROM json_each(?2))"#,
    ] {
        let _ = transaction.prepare_cached(sql)?.execute([&id, &kept])?;
    }
    let _ = transaction
        .prepare_cached(
            r#"INSERT INTO "__ShardManagement.ShardMapsLocal" ("ShardMapId", "Name", "MapType", "KeyType", "LastOperationId")
               VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT ("ShardMapId") DO UPDATE
               SET "Name" = excluded."Name", "MapType" = excluded."MapType", "KeyType" = excluded."KeyType""#,
        )?
        .execute(params![
            id,
            content.map.name(),
            content.map.kind() as i64,
            content.map.key_type() as i64,
            content.operation.to_string()
        ])?;
    if insert_shard(transaction, map, shard, content.operation)? == 0 {
        // A neighbour has the place.
        return Err(Refusal::ShardLocationExists.into());
    }
    for mapping in &content.mappings {
        insert_mapping(transaction, ADD_MAPPING, (map, shard.id()), mapping, content.operation)?;
    }
    if let Some(ending) = content.ending.as_ref().filter(|ending| ending.policy == SessionPolicy::EndNow) {
        record_endings(transaction, ending)?;
    }
    Ok(())
}

/// Adds a shard's row unless it is there, and says how many rows that made.
fn insert_shard(
    transaction: &Transaction<'_>,
    map: ShardMapId,
    shard: &Shard,
    operation: OperationId,
) -> Answer<usize> {
    let location = shard.location();
    Ok(transaction
        .prepare_cached(
            r#"INSERT INTO "__ShardManagement.ShardsLocal" ("ShardId", "Version", "ShardMapId", "Protocol", "ServerName",
                   "Port", "DatabaseName", "Status", "LastOperationId")
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING"#,
        )?
        .execute(params![
            shard.id().to_string(),
            shard.version().to_string(),
            map.to_string(),
            location.protocol() as i64,
            location.server(),
            location.port().unwrap_or(0),
            location.database(),
            shard.status() as i64,
            operation.to_string()
        ])?)
}

fn insert_mapping(
    transaction: &Transaction<'_>,
    sql: &str,
    (map, shard): (ShardMapId, ShardId),
    mapping: &MappingRecord,
    operation: OperationId,
) -> Answer<()> {
    let added = transaction.prepare_cached(sql)?.execute(params![
        mapping.id.to_string(),
        shard.to_string(),
        map.to_string(),
        mapping.low.as_bytes(),
        mapping.high.as_ref().map(EncodedKey::as_bytes),
        mapping.status as i64,
        operation.to_string()
    ]);
    added.map(drop).map_err(|error| contradiction(transaction, map, error))
}

fn record_endings(transaction: &Transaction<'_>, ending: &SessionEnding) -> Answer<()> {
    for keys in ending.keys() {
        record_ending(transaction, ending.map, ending.kind, keys)?;
    }
    Ok(())
}

fn change_shard(connection: &mut Connection, change: &LocalShardChange) -> Result<()> {
    if change.undoing && STORE.version(connection)?.is_none() {
        return Ok(());
    }
    STORE.write(connection, |transaction| match change.action {
        _ if change.undoing && has_moved_on(transaction, (change.map.id(), change.shard.id()), change.known)? => Ok(()),
        ShardAction::Add => add_shard(transaction, change),
        ShardAction::Remove => remove_shard(transaction, change),
        ShardAction::Update => update_shard(transaction, change),
    })
}

fn add_shard(transaction: &Transaction<'_>, change: &LocalShardChange) -> Answer<()> {
    let (map, shard) = (&change.map, &change.shard);
    let _ = transaction
        .prepare_cached(
            r#"INSERT INTO "__ShardManagement.ShardMapsLocal" ("ShardMapId", "Name", "MapType", "KeyType", "LastOperationId")
               VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING"#,
        )?
        .execute(params![
            map.id().to_string(),
            map.name(),
            map.kind() as i64,
            map.key_type() as i64,
            change.operation.to_string()
        ])?;
    let added = insert_shard(transaction, map.id(), shard, change.operation)?;
    if added == 0 && !change.undoing {
        let ours = transaction
            .prepare_cached(r#"SELECT 1 FROM "__ShardManagement.ShardsLocal" WHERE "ShardId" = ?1"#)?
            .exists([shard.id().to_string()])?;
        if !ours {
            return Err(Refusal::ShardLocationExists
                .into_error()
                .with_message("the database still holds the rows of an earlier shard of this map at this location")
                .into());
        }
    }
    Ok(())
}

fn remove_shard(transaction: &Transaction<'_>, change: &LocalShardChange) -> Answer<()> {
    let map = change.map.id().to_string();
    let _ = transaction
        .prepare_cached(r#"DELETE FROM "__ShardManagement.ShardsLocal" WHERE "ShardMapId" = ?1 AND "ShardId" = ?2"#)?
        .execute([&map, &change.shard.id().to_string()])?;
    let _ = transaction
        .prepare_cached(
            r#"DELETE FROM "__ShardManagement.ShardMapsLocal" WHERE "ShardMapId" = ?1
                 AND NOT EXISTS (SELECT 1 FROM "__ShardManagement.ShardsLocal" WHERE "ShardMapId" = ?1)"#,
        )?
        .execute([&map])?;
    Ok(())
}

fn update_shard(transaction: &Transaction<'_>, change: &LocalShardChange) -> Answer<()> {
    let (shard, location) = (&change.shard, change.shard.location());
    let updated = transaction
        .prepare_cached(
            r#"UPDATE "__ShardManagement.ShardsLocal"
               SET "Version" = ?3, "Status" = ?4, "Protocol" = ?5, "ServerName" = ?6, "Port" = ?7, "DatabaseName" = ?8,
                   "LastOperationId" = ?9
               WHERE "ShardMapId" = ?1 AND "ShardId" = ?2"#,
        )?
        .execute(params![
            change.map.id().to_string(),
            shard.id().to_string(),
            shard.version().to_string(),
            shard.status() as i64,
            location.protocol() as i64,
            location.server(),
            location.port().unwrap_or(0),
            location.database(),
            change.operation.to_string()
        ])?;
    if updated == 0 && !change.undoing { Err(Refusal::ShardDoesNotExist.into()) } else { Ok(()) }
}

fn change_mappings(transaction: &Transaction<'_>, change: &LocalMappingChange) -> Answer<()> {
    if change.undoing && has_moved_on(transaction, (change.map, change.shard.id()), change.known)? {
        return Ok(());
    }
    let (map, shard) = (change.map.to_string(), change.shard.id().to_string());
    let (version, operation) = (change.shard.version().to_string(), change.operation.to_string());
    let done = transaction
        .prepare_cached(
            r#"SELECT 1 FROM "__ShardManagement.ShardsLocal"
               WHERE "ShardMapId" = ?1 AND "ShardId" = ?2 AND "Version" = ?3 AND "LastOperationId" = ?4"#,
        )?
        .exists([&map, &shard, &version, &operation])?;
    if done {
        return Ok(());
    }
    let known = transaction
        .prepare_cached(
            r#"UPDATE "__ShardManagement.ShardsLocal" SET "Version" = ?3, "LastOperationId" = ?4
               WHERE "ShardMapId" = ?1 AND "ShardId" = ?2"#,
        )?
        .execute([&map, &shard, &version, &operation])?;
    if known == 0 {
        if change.undoing {
            return Ok(());
        }
        return Err(Refusal::ShardDoesNotExist
            .into_error()
            .with_message("the local store does not know the shard: it is not that of the global store any more")
            .into());
    }
    for step in &change.steps {
        match step {
            LocalStep::Remove(mapping) => {
                let _ = transaction
                    .prepare_cached(
                        r#"DELETE FROM "__ShardManagement.ShardMappingsLocal"
                           WHERE "ShardMapId" = ?1 AND "MappingId" = ?2"#,
                    )?
                    .execute([&map, &mapping.to_string()])?;
            }
            LocalStep::Add(mapping) => {
                let sql = if change.undoing { ADD_MAPPING_IF_MISSING } else { ADD_MAPPING };
                insert_mapping(transaction, sql, (change.map, change.shard.id()), mapping, change.operation)?;
            }
        }
    }
    if let Some(ending) = &change.ending
        && ending.policy == SessionPolicy::EndNow
    {
        record_endings(transaction, ending)?;
    }
    Ok(())
}

/// Why a mapping does not fit into a store: either the map has no row, or the keys have one of another mapping.
fn contradiction(transaction: &Transaction<'_>, map: ShardMapId, error: rusqlite::Error) -> StatementFault {
    if error.sqlite_error_code() != Some(rusqlite::ErrorCode::ConstraintViolation) {
        return error.into();
    }
    let map_is_known = transaction
        .prepare_cached(r#"SELECT 1 FROM "__ShardManagement.ShardMapsLocal" WHERE "ShardMapId" = ?1"#)
        .and_then(|mut statement| statement.exists([map.to_string()]));
    let what = match map_is_known {
        Ok(true) => "column MappingId of ShardMappingsLocal names another mapping where there should be none or ours",
        Ok(false) => "column ShardMapId of ShardMapsLocal does not hold the map of a shard that ShardsLocal holds",
        Err(fault) => return fault.into(),
    };
    Error::damaged(what).with_source(error).into()
}

const ADD_MAPPING: &str = r#"INSERT INTO "__ShardManagement.ShardMappingsLocal"
    ("MappingId", "ShardId", "ShardMapId", "MinValue", "MaxValue", "Status", "LastOperationId")
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"#;
const ADD_MAPPING_IF_MISSING: &str = r#"INSERT OR IGNORE INTO "__ShardManagement.ShardMappingsLocal"
    ("MappingId", "ShardId", "ShardMapId", "MinValue", "MaxValue", "Status", "LastOperationId")
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"#;
