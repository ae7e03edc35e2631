//! The global store on SQLite: lookups and lists, shard maps, locks. The steps of operations are in `operation`.

mod collisions;
mod descriptions;
mod operation;
mod schema_info;

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, named_params, params};

use self::operation::{entry, entry_of_row};
use super::{CreateMode, Detaching, GlobalStore, LockChange, LockOutcome, LogEntry, RecordFilter, SchemaInfoEntry};
use crate::backend::sqlite::{Database, OperationLock, Sqlite, StatementFault, StoreKind, store_fault};
use crate::backend::stored::{
    guid, kind, location, mapping_end, mapping_status, opaque_key, optional_guid, shard, shard_map,
};
use crate::error::{Error, ErrorCategory, ErrorCode, ErrorKind, Refusal, Result};
use crate::key::{EncodedKey, KeyType};
use crate::model::{
    LockToken, MappingId, MappingRecord, OperationId, Shard, ShardId, ShardLocation, ShardMapId, ShardMapInfo,
    ShardMapKind, ShardMapName, StoreRights, StoreUpgrade, StoreVersion,
};

type Answer<T> = std::result::Result<T, StatementFault>;

const STORE: StoreKind = StoreKind::Global;

fn map_of_row(row: &Row<'_>) -> Answer<ShardMapInfo> {
    shard_map(row)
}

/// All rows of a query, with a check of every value.
fn collect<T>(
    statement: &mut rusqlite::CachedStatement<'_>,
    parameters: impl rusqlite::Params,
    mut read: impl FnMut(&Row<'_>) -> Answer<T>,
) -> Answer<Vec<T>> {
    let mut rows = statement.query(parameters)?;
    let mut values = Vec::new();
    while let Some(row) = rows.next()? {
        values.push(read(row)?);
    }
    Ok(values)
}

/// Fails unless the map exists, and says of which kind it is.
fn map_kind(transaction: &Transaction<'_>, map: ShardMapId) -> Answer<ShardMapKind> {
    let mut statement = transaction
        .prepare_cached(r#"SELECT "ShardMapType" FROM "__ShardManagement.ShardMapsGlobal" WHERE "ShardMapId" = ?1"#)?;
    let mut rows = statement.query([map.to_string()])?;
    match rows.next()? {
        Some(row) => kind(row, 0),
        None => Err(Refusal::ShardMapDoesNotExist.into()),
    }
}

const SHARD: &str = r#"SELECT "ShardId", "Version", "ShardMapId", "Protocol", "ServerName", "Port", "DatabaseName", "Status"
                       FROM "__ShardManagement.ShardsGlobal""#;

/// A shard whether it is readable or not: a mapping that is readable may be on one that is being changed.
fn shard_by_id(transaction: &Transaction<'_>, id: ShardId) -> Answer<Shard> {
    let mut statement = transaction.prepare_cached(&format!(r#"{SHARD} WHERE "ShardId" = ?1"#))?;
    let mut rows = statement.query([id.to_string()])?;
    match rows.next()? {
        Some(row) => shard(row, 0),
        None => {
            Err(Error::damaged("column ShardId of ShardMappingsGlobal names a shard that ShardsGlobal does not hold")
                .into())
        }
    }
}

const MAPPING: &str = r#"SELECT "MappingId", "ShardMapId", "MinValue", "MaxValue", "Status", "LockOwnerId", "ShardId"
                         FROM "__ShardManagement.ShardMappingsGlobal""#;

/// Reads mappings; shards are read once each and shared.
struct MappingReader<'t> {
    transaction: &'t Transaction<'t>,
    key_type: KeyType,
    kind: ShardMapKind,
    shards: HashMap<ShardId, Arc<Shard>>,
    /// That of the last mapping, which the next one often has, too.
    last: Option<Arc<Shard>>,
}

impl<'t> MappingReader<'t> {
    fn new(transaction: &'t Transaction<'t>, map: &ShardMapInfo) -> Self {
        Self { transaction, key_type: map.key_type(), kind: map.kind(), shards: HashMap::new(), last: None }
    }

    fn shard(&mut self, id: ShardId) -> Answer<Arc<Shard>> {
        if let Some(last) = self.last.as_ref().filter(|last| last.id() == id) {
            return Ok(Arc::clone(last));
        }
        let shard = match self.shards.get(&id) {
            Some(shard) => Arc::clone(shard),
            None => {
                let shard = Arc::new(shard_by_id(self.transaction, id)?);
                drop(self.shards.insert(id, Arc::clone(&shard)));
                shard
            }
        };
        self.last = Some(Arc::clone(&shard));
        Ok(shard)
    }

    fn read(&mut self, row: &Row<'_>) -> Answer<MappingRecord> {
        let shard = self.shard(guid(row, 6)?)?;
        let low = opaque_key(row, 2, self.key_type)?;
        let high = mapping_end(row, 3, (self.kind, self.key_type), &low)?;
        Ok(MappingRecord {
            id: guid(row, 0)?,
            map: guid(row, 1)?,
            low,
            high,
            status: mapping_status(row, 4)?,
            lock_owner: guid(row, 5)?,
            shard,
        })
    }

    fn find(&mut self, sql: &str, parameters: impl rusqlite::Params) -> Answer<Option<MappingRecord>> {
        let mut statement = self.transaction.prepare_cached(sql)?;
        let mut rows = statement.query(parameters)?;
        rows.next()?.map(|row| self.read(row)).transpose()
    }
}

fn find_by_key(transaction: &Transaction<'_>, map: &ShardMapInfo, key: &EncodedKey) -> Answer<Option<MappingRecord>> {
    let sql = match map.kind() {
        ShardMapKind::List => format!(r#"{MAPPING} WHERE "ShardMapId" = ?1 AND "MinValue" = ?2 AND "Readable" = 1"#),
        // Ranges do not overlap, so the one with the greatest low bound is the only candidate.
        ShardMapKind::Range => format!(
            r#"{MAPPING} WHERE "ShardMapId" = ?1 AND "MinValue" <= ?2 AND "Readable" = 1
               ORDER BY "MinValue" DESC LIMIT 1"#
        ),
    };
    let parameters = params![map.id().to_string(), key.as_bytes()];
    let found = MappingReader::new(transaction, map).find(&sql, parameters)?;
    Ok(found.filter(|mapping| map.kind() == ShardMapKind::List || mapping.range().contains(key)))
}

fn list(transaction: &Transaction<'_>, map: &ShardMapInfo, filter: &RecordFilter) -> Answer<Vec<MappingRecord>> {
    if let Some(shard) = filter.shard {
        let known = transaction
            .prepare_cached(
                r#"SELECT 1 FROM "__ShardManagement.ShardsGlobal"
                   WHERE "ShardMapId" = ?1 AND "ShardId" = ?2 AND "Readable" = 1"#,
            )?
            .exists([map.id().to_string(), shard.to_string()])?;
        if !known {
            return Err(Refusal::ShardDoesNotExist.into());
        }
    }
    let (low, high) = match &filter.range {
        Some(range) => (Some(range.low.as_bytes()), range.high.as_ref().map(EncodedKey::as_bytes)),
        None => (None, None),
    };
    let above_low = match map.kind() {
        ShardMapKind::List => r#""MinValue" >= :low"#,
        ShardMapKind::Range => r#"("MaxValue" IS NULL OR "MaxValue" > :low)"#,
    };
    // Those of a shard by the index of shards, also where the order of keys is to be had by another one.
    let of_shard = match filter.shard {
        Some(_) => r#"+"ShardMapId" = :map AND "ShardId" = :shard"#,
        None => r#""ShardMapId" = :map AND :shard IS NULL"#,
    };
    let sql = format!(
        r#"{MAPPING} WHERE {of_shard} AND "Readable" = 1
             AND (:low IS NULL OR {above_low}) AND (:high IS NULL OR "MinValue" < :high) ORDER BY "MinValue""#
    );
    let parameters = named_params! {
        ":map": map.id().to_string(),
        ":shard": filter.shard.map(|shard| shard.to_string()),
        ":low": low,
        ":high": high,
    };
    let mut reader = MappingReader::new(transaction, map);
    collect(&mut transaction.prepare_cached(&sql)?, parameters, |row| reader.read(row))
}

/// All mappings of all maps. They are read in the order in which they lie in the file, and put in that of their keys
/// afterwards: by an index, each would be looked up on a page of its own.
fn load_all(transaction: &Transaction<'_>) -> Answer<Vec<(ShardMapInfo, Vec<MappingRecord>)>> {
    let maps = all_maps(transaction)?;
    let mut loaded: Vec<_> = maps.iter().map(|map| (MappingReader::new(transaction, map), Vec::new())).collect();
    let places: HashMap<ShardMapId, usize> = maps.iter().zip(0..).map(|(map, place)| (map.id(), place)).collect();
    let mut statement = transaction.prepare_cached(&format!(r#"{MAPPING} NOT INDEXED WHERE "Readable" = 1"#))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let place = places.get(&guid(row, 1)?);
        if let Some((reader, mappings)) = place.and_then(|place| loaded.get_mut(*place)) {
            mappings.push(reader.read(row)?);
        }
    }
    let in_order = |mut mappings: Vec<MappingRecord>| {
        mappings.sort_unstable_by(|a, b| a.low.cmp(&b.low));
        mappings
    };
    Ok(maps.into_iter().zip(loaded).map(|(map, (_, mappings))| (map, in_order(mappings))).collect())
}

impl Sqlite {
    /// A reading request to the global store.
    async fn read_global<T: Send + 'static>(
        &self,
        request: impl FnOnce(&Transaction<'_>) -> Answer<T> + Send + 'static,
    ) -> Result<T> {
        self.global().run(|connection| STORE.read(connection, request)).await
    }

    /// A writing request to the global store.
    async fn write_global<T: Send + 'static>(
        &self,
        request: impl FnOnce(&Transaction<'_>) -> Answer<T> + Send + 'static,
    ) -> Result<T> {
        self.global().run(|connection| STORE.write(connection, request)).await
    }
}

fn create(connection: &mut Connection, mode: CreateMode) -> Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(store_fault)?;
    if mode == CreateMode::Replace {
        drop_tables(&transaction)?;
    } else if STORE.version_in(&transaction)?.is_some() {
        return Err(Error::new(
            ErrorKind::AlreadyExists,
            ErrorCode::ShardMapManagerStoreAlreadyExists,
            "a shard map manager store exists already",
        )
        .with_category(ErrorCategory::ShardMapManagerFactory));
    }
    STORE.install(&transaction)?;
    STORE.commit(transaction)
}

/// Drops a store, an older or damaged one as well.
fn drop_tables(transaction: &Transaction<'_>) -> Result<()> {
    transaction.execute_batch(include_str!("../../sql/sqlite/gsm/drop.sql")).map_err(store_fault)
}

/// The database stays, for who has it open.
fn drop_store(connection: &mut Connection) -> Result<bool> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(store_fault)?;
    if !STORE.is_there(&transaction)? {
        return Ok(false);
    }
    drop_tables(&transaction)?;
    STORE.commit(transaction)?;
    Ok(true)
}

impl GlobalStore for Sqlite {
    type Session = SqliteGlobalSession;

    async fn global_version(&self) -> Result<Option<StoreVersion>> {
        let database = self.global();
        if !database.exists().await? {
            return Ok(None);
        }
        database.run(|connection| STORE.version(connection)).await
    }

    async fn global_rights(&self) -> Result<StoreRights> {
        self.global().rights().await
    }

    async fn upgrade_global(&self) -> Result<StoreUpgrade> {
        self.global().run(|connection| STORE.upgrade(connection)).await
    }

    async fn create_global(&self, mode: CreateMode) -> Result<()> {
        self.global().create(move |connection| create(connection, mode)).await
    }

    async fn drop_global(&self) -> Result<bool> {
        let database = self.global();
        if !database.exists().await? {
            return Ok(false);
        }
        database.run(drop_store).await
    }

    async fn shard_maps(&self) -> Result<Vec<ShardMapInfo>> {
        self.read_global(all_maps).await
    }

    async fn find_shard_map(&self, name: &ShardMapName) -> Result<Option<ShardMapInfo>> {
        let name = name.to_string();
        self.read_global(move |transaction| {
            let mut statement = transaction.prepare_cached(
                r#"SELECT "ShardMapId", "Name", "ShardMapType", "KeyType" FROM "__ShardManagement.ShardMapsGlobal"
                   WHERE "Name" = ?1"#,
            )?;
            let mut rows = statement.query([name])?;
            rows.next()?.map(map_of_row).transpose()
        })
        .await
    }

    async fn add_shard_map(&self, map: &ShardMapInfo) -> Result<()> {
        let map = map.clone();
        self.write_global(move |transaction| {
            let added = transaction
                .prepare_cached(
                    r#"INSERT INTO "__ShardManagement.ShardMapsGlobal" ("ShardMapId", "Name", "ShardMapType", "KeyType")
                       VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING"#,
                )?
                .execute(params![map.id().to_string(), map.name(), map.kind() as i64, map.key_type() as i64])?;
            if added == 0 { Err(Refusal::ShardMapExists.into()) } else { Ok(()) }
        })
        .await
    }

    async fn remove_shard_map(&self, id: ShardMapId) -> Result<()> {
        self.write_global(move |transaction| {
            let _ = map_kind(transaction, id)?;
            let id = id.to_string();
            let in_use = transaction
                .prepare_cached(r#"SELECT 1 FROM "__ShardManagement.ShardsGlobal" WHERE "ShardMapId" = ?1 LIMIT 1"#)?
                .exists([&id])?;
            if in_use {
                return Err(Refusal::ShardMapHasShards.into());
            }
            let _ = transaction
                .prepare_cached(r#"DELETE FROM "__ShardManagement.ShardMapsGlobal" WHERE "ShardMapId" = ?1"#)?
                .execute([&id])?;
            Ok(())
        })
        .await
    }

    async fn shards(&self, map: ShardMapId) -> Result<Vec<Shard>> {
        self.read_global(move |transaction| {
            let _ = map_kind(transaction, map)?;
            let sql = format!(r#"{SHARD} WHERE "ShardMapId" = ?1 AND "Readable" = 1"#);
            collect(&mut transaction.prepare_cached(&sql)?, [map.to_string()], |row| shard(row, 0))
        })
        .await
    }

    async fn find_shard(&self, map: ShardMapId, location: &ShardLocation) -> Result<Option<Shard>> {
        let location = location.clone();
        self.read_global(move |transaction| {
            let _ = map_kind(transaction, map)?;
            let sql = format!(
                r#"{SHARD} WHERE "ShardMapId" = ?1 AND "Protocol" = ?2 AND "ServerName" = ?3 AND "Port" = ?4
                     AND "DatabaseName" = ?5 AND "Readable" = 1"#
            );
            let mut statement = transaction.prepare_cached(&sql)?;
            let mut rows = statement.query(params![
                map.to_string(),
                location.protocol() as i64,
                location.server(),
                location.port().unwrap_or(0),
                location.database()
            ])?;
            rows.next()?.map(|row| shard(row, 0)).transpose()
        })
        .await
    }

    async fn shard_locations(&self) -> Result<Vec<ShardLocation>> {
        self.read_global(|transaction| {
            let mut statement = transaction.prepare_cached(
                r#"SELECT DISTINCT "Protocol", "ServerName", "Port", "DatabaseName"
                   FROM "__ShardManagement.ShardsGlobal" WHERE "Readable" = 1"#,
            )?;
            collect(&mut statement, [], |row| location(row, 0))
        })
        .await
    }

    async fn mappings(&self, map: &ShardMapInfo, filter: &RecordFilter) -> Result<Vec<MappingRecord>> {
        let (map, filter) = (map.clone(), filter.clone());
        self.read_global(move |transaction| {
            let _ = map_kind(transaction, map.id())?;
            list(transaction, &map, &filter)
        })
        .await
    }

    async fn find_mapping_by_key(&self, map: &ShardMapInfo, key: &EncodedKey) -> Result<Option<MappingRecord>> {
        let (map, key) = (map.clone(), key.clone());
        self.read_global(move |transaction| {
            let _ = map_kind(transaction, map.id())?;
            find_by_key(transaction, &map, &key)
        })
        .await
    }

    async fn find_mapping_by_id(&self, map: &ShardMapInfo, id: MappingId) -> Result<Option<MappingRecord>> {
        let map = map.clone();
        self.read_global(move |transaction| {
            let _ = map_kind(transaction, map.id())?;
            let sql = format!(r#"{MAPPING} WHERE "ShardMapId" = ?1 AND "MappingId" = ?2 AND "Readable" = 1"#);
            MappingReader::new(transaction, &map).find(&sql, [map.id().to_string(), id.to_string()])
        })
        .await
    }

    async fn load_all(&self) -> Result<Vec<(ShardMapInfo, Vec<MappingRecord>)>> {
        self.read_global(load_all).await
    }

    async fn change_lock(&self, map: ShardMapId, change: &LockChange) -> Result<LockOutcome> {
        let change = *change;
        self.write_global(move |transaction| {
            let _ = map_kind(transaction, map)?;
            change_lock(transaction, map, change)
        })
        .await
    }

    async fn detach_shard(&self, map: ShardMapId, shard: ShardId) -> Result<Detaching> {
        self.write_global(move |transaction| {
            let _ = map_kind(transaction, map)?;
            operation::detach(transaction, map, shard)
        })
        .await
    }

    async fn describe_shard(&self, map: ShardMapId, shard: ShardId, description: &str) -> Result<()> {
        let description = description.to_owned();
        self.write_global(move |transaction| {
            let _ = map_kind(transaction, map)?;
            descriptions::describe(transaction, map, shard, &description)
        })
        .await
    }

    async fn shard_descriptions(&self, map: ShardMapId) -> Result<Vec<(ShardId, String)>> {
        self.read_global(move |transaction| {
            let _ = map_kind(transaction, map)?;
            descriptions::list(transaction, map)
        })
        .await
    }

    async fn schema_infos(&self) -> Result<Vec<SchemaInfoEntry>> {
        self.read_global(schema_info::list).await
    }

    async fn find_schema_info(&self, name: &str) -> Result<Option<SchemaInfoEntry>> {
        let name = name.to_owned();
        self.read_global(move |transaction| schema_info::find(transaction, &name)).await
    }

    async fn add_schema_info(&self, name: &str, document: &str) -> Result<()> {
        let (name, document) = (name.to_owned(), document.to_owned());
        self.write_global(move |transaction| schema_info::add(transaction, &name, &document)).await
    }

    async fn update_schema_info(&self, name: &str, document: &str) -> Result<()> {
        let (name, document) = (name.to_owned(), document.to_owned());
        self.write_global(move |transaction| schema_info::update(transaction, &name, &document)).await
    }

    async fn remove_schema_info(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.write_global(move |transaction| schema_info::remove(transaction, &name)).await
    }

    async fn pending_operations(&self) -> Result<Vec<LogEntry>> {
        self.read_global(|transaction| {
            let mut statement = transaction.prepare_cached(operation::LOG)?;
            collect(&mut statement, [], entry_of_row)
        })
        .await
    }

    async fn lock_operation(&self, id: OperationId) -> Result<SqliteGlobalSession> {
        let lock = self.lock(id).await.map_err(Error::at_global)?;
        Ok(SqliteGlobalSession { database: self.global(), lock })
    }
}

fn all_maps(transaction: &Transaction<'_>) -> Answer<Vec<ShardMapInfo>> {
    let mut statement = transaction.prepare_cached(
        r#"SELECT "ShardMapId", "Name", "ShardMapType", "KeyType" FROM "__ShardManagement.ShardMapsGlobal""#,
    )?;
    collect(&mut statement, [], map_of_row)
}

fn change_lock(transaction: &Transaction<'_>, map: ShardMapId, change: LockChange) -> Answer<LockOutcome> {
    let (mapping, new_owner) = match change {
        LockChange::Lock(mapping, token) => (mapping, token),
        LockChange::Unlock(mapping, _) => (mapping, LockToken::NONE),
        LockChange::UnlockAll(token) => {
            // The literal is that of the index of locked mappings, which is used only if it stands here.
            let unlocked = transaction
                .prepare_cached(
                    r#"UPDATE "__ShardManagement.ShardMappingsGlobal" SET "LockOwnerId" = ?3
                       WHERE "ShardMapId" = ?1 AND "LockOwnerId" = ?2
                         AND "LockOwnerId" <> '00000000-0000-0000-0000-000000000000'"#,
                )?
                .execute([map.to_string(), token.to_string(), LockToken::NONE.to_string()])?;
            return Ok(LockOutcome::Changed(unlocked));
        }
    };
    let found = transaction
        .prepare_cached(
            r#"SELECT "OperationId", "LockOwnerId" FROM "__ShardManagement.ShardMappingsGlobal"
               WHERE "ShardMapId" = ?1 AND "MappingId" = ?2"#,
        )?
        .query_row([map.to_string(), mapping.to_string()], |row| {
            Ok((optional_guid::<OperationId, _>(row, 0), guid::<LockToken, _>(row, 1)))
        })
        .optional()?;
    let (holder, owner) = found.ok_or(Refusal::MappingDoesNotExist)?;
    if let Some(holder) = holder? {
        return Ok(LockOutcome::Pending(Box::new(entry(transaction, holder)?)));
    }
    let owner = owner?;
    match change {
        LockChange::Lock(..) if owner != LockToken::NONE => return Err(Refusal::MappingIsAlreadyLocked.into()),
        LockChange::Unlock(_, token) if token != owner && token != LockToken::FORCE_UNLOCK => {
            return Err(Refusal::MappingLockOwnerIdDoesNotMatch.into());
        }
        _ => {}
    }
    let changed = transaction
        .prepare_cached(
            r#"UPDATE "__ShardManagement.ShardMappingsGlobal" SET "LockOwnerId" = ?3
               WHERE "ShardMapId" = ?1 AND "MappingId" = ?2"#,
        )?
        .execute([map.to_string(), mapping.to_string(), new_owner.to_string()])?;
    Ok(LockOutcome::Changed(changed))
}

/// Works on the global store under the lock of an operation.
#[derive(Debug)]
pub struct SqliteGlobalSession {
    database: Database,
    lock: OperationLock,
}
