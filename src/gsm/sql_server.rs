//! The global store on SQL Server: lookups and lists, shard maps, locks. The steps of operations are in `operation`.
//!
//! Each request is a call of one procedure of `sql/sql_server/gsm/procedures.sql`.

mod operation;
mod schema_info;

use std::collections::HashMap;
use std::sync::Arc;

use tiberius::Row;

pub use self::operation::{SqlServerGlobalSession, steps_as_json};
use self::operation::{entry, pending_entry};
use super::{CreateMode, Detaching, GlobalStore, LockChange, LockOutcome, LogEntry, RecordFilter, SchemaInfoEntry};
use crate::backend::sql_server::{Call, Creation, Database, Doing, Reply, SqlServer, StoreKind};
use crate::backend::stored::{
    description, guid, location, mapping_end, mapping_status, opaque_key, shard, shard_map, small_number,
};
use crate::error::{Error, Result};
use crate::key::EncodedKey;
use crate::model::{
    MappingId, MappingRecord, OperationId, Shard, ShardId, ShardLocation, ShardMapId, ShardMapInfo, ShardMapKind,
    ShardMapName, StoreRights, StoreUpgrade, StoreVersion,
};

impl SqlServer {
    async fn read_global<'c>(&self, call: impl Fn() -> Call<'c>) -> Result<Reply> {
        self.request(&Database::global(), Doing::Reading, call).await?.accepted().map_err(Error::at_global)
    }

    async fn write_global<'c>(&self, call: impl Fn() -> Call<'c>) -> Result<Reply> {
        self.request(&Database::global(), Doing::Writing, call).await
    }
}

/// Reads mappings; equal shards are shared.
struct MappingReader<'m> {
    map: &'m ShardMapInfo,
    shards: HashMap<ShardId, Arc<Shard>>,
}

impl<'m> MappingReader<'m> {
    fn new(map: &'m ShardMapInfo) -> Self {
        Self { map, shards: HashMap::new() }
    }

    fn read(&mut self, row: &Row) -> Result<MappingRecord> {
        let shard_id = guid::<ShardId, _>(row, 6)?;
        let shard = match self.shards.get(&shard_id) {
            Some(shard) => Arc::clone(shard),
            None => {
                let shard = Arc::new(shard(row, 6)?);
                drop(self.shards.insert(shard_id, Arc::clone(&shard)));
                shard
            }
        };
        let low = opaque_key(row, 2, self.map.key_type())?;
        Ok(MappingRecord {
            id: guid(row, 0)?,
            map: guid(row, 1)?,
            high: mapping_end(row, 3, (self.map.kind(), self.map.key_type()), &low)?,
            low,
            status: mapping_status(row, 4)?,
            lock_owner: guid(row, 5)?,
            shard,
        })
    }

    fn first(&mut self, reply: &Reply) -> Result<Option<MappingRecord>> {
        reply.rows(0).first().map(|row| self.read(row)).transpose().map_err(Error::at_global)
    }
}

/// All rows of the first result.
fn all<T>(reply: &Reply, read: impl FnMut(&Row) -> Result<T>) -> Result<Vec<T>> {
    reply.rows(0).iter().map(read).collect::<Result<_>>().map_err(Error::at_global)
}

impl GlobalStore for SqlServer {
    type Session = SqlServerGlobalSession;

    async fn global_version(&self) -> Result<Option<StoreVersion>> {
        self.version(&Database::global(), StoreKind::Global).await
    }

    async fn global_rights(&self) -> Result<StoreRights> {
        self.rights(&Database::global(), StoreKind::Global).await
    }

    async fn upgrade_global(&self) -> Result<StoreUpgrade> {
        self.upgrade(&Database::global(), StoreKind::Global).await
    }

    async fn create_global(&self, mode: CreateMode) -> Result<()> {
        let mode = match mode {
            CreateMode::Keep => Creation::Keep,
            CreateMode::Replace => Creation::Replace,
        };
        self.create(&Database::global(), StoreKind::Global, mode).await
    }

    async fn drop_global(&self) -> Result<bool> {
        self.drop_global_store().await
    }

    async fn shard_maps(&self) -> Result<Vec<ShardMapInfo>> {
        let reply = self.read_global(|| Call::global("ListShardMaps")).await?;
        all(&reply, shard_map)
    }

    async fn find_shard_map(&self, name: &ShardMapName) -> Result<Option<ShardMapInfo>> {
        let call = || Call::global("FindShardMap").with("@name", name.as_str());
        let reply = self.read_global(call).await?;
        reply.rows(0).first().map(shard_map).transpose().map_err(Error::at_global)
    }

    async fn add_shard_map(&self, map: &ShardMapInfo) -> Result<()> {
        let call = || {
            Call::global("AddShardMap")
                .with("@map", *map.id().as_uuid())
                .with("@name", map.name())
                .with("@kind", map.kind() as i32)
                .with("@keyType", map.key_type() as i32)
        };
        self.write_global(call).await?.accepted().map(drop).map_err(Error::at_global)
    }

    async fn remove_shard_map(&self, id: ShardMapId) -> Result<()> {
        let call = || Call::global("RemoveShardMap").with("@map", *id.as_uuid());
        self.write_global(call).await?.accepted().map(drop).map_err(Error::at_global)
    }

    async fn shards(&self, map: ShardMapId) -> Result<Vec<Shard>> {
        let call = || Call::global("ListShards").with("@map", *map.as_uuid());
        all(&self.read_global(call).await?, |row| shard(row, 0))
    }

    async fn find_shard(&self, map: ShardMapId, location: &ShardLocation) -> Result<Option<Shard>> {
        let call = || {
            Call::global("FindShard")
                .with("@map", *map.as_uuid())
                .with("@protocol", location.protocol() as i32)
                .with("@server", location.server())
                .with("@port", i32::from(location.port().unwrap_or_default()))
                .with("@database", location.database())
        };
        let reply = self.read_global(call).await?;
        reply.rows(0).first().map(|row| shard(row, 0)).transpose().map_err(Error::at_global)
    }

    async fn shard_locations(&self) -> Result<Vec<ShardLocation>> {
        let reply = self.read_global(|| Call::global("ListShardLocations")).await?;
        all(&reply, |row| location(row, 0))
    }

    async fn mappings(&self, map: &ShardMapInfo, filter: &RecordFilter) -> Result<Vec<MappingRecord>> {
        let (low, high) = match &filter.range {
            Some(range) => (range.low.as_bytes(), range.high.as_ref().map_or(&[][..], EncodedKey::as_bytes)),
            None => (&[][..], &[][..]),
        };
        let call = || {
            Call::global("ListMappings")
                .with("@map", *map.id().as_uuid())
                .with("@shard", filter.shard.map(|shard| *shard.as_uuid()))
                .with("@low", low)
                .with("@high", high)
        };
        let reply = self.read_global(call).await?;
        let mut reader = MappingReader::new(map);
        all(&reply, |row| reader.read(row))
    }

    async fn find_mapping_by_key(&self, map: &ShardMapInfo, key: &EncodedKey) -> Result<Option<MappingRecord>> {
        let call = || Call::global("FindMappingByKey").with("@map", *map.id().as_uuid()).with("@key", key.as_bytes());
        let reply = self.read_global(call).await?;
        let found = MappingReader::new(map).first(&reply)?;
        Ok(found.filter(|mapping| map.kind() == ShardMapKind::List || mapping.range().contains(key)))
    }

    async fn find_mapping_by_id(&self, map: &ShardMapInfo, id: MappingId) -> Result<Option<MappingRecord>> {
        let call = || Call::global("FindMappingById").with("@map", *map.id().as_uuid()).with("@mapping", *id.as_uuid());
        MappingReader::new(map).first(&self.read_global(call).await?)
    }

    async fn load_all(&self) -> Result<Vec<(ShardMapInfo, Vec<MappingRecord>)>> {
        let reply = self.read_global(|| Call::global("LoadAll")).await?;
        let maps = all(&reply, shard_map)?;
        let mut mappings: HashMap<ShardMapId, Vec<&Row>> = HashMap::new();
        for row in reply.rows(1) {
            mappings.entry(guid(row, 1).map_err(Error::at_global)?).or_default().push(row);
        }
        // Where the two results are of two moments, a map may have come in between: its mappings are left for the next load.
        let read = |map: ShardMapInfo| {
            let rows = mappings.remove(&map.id()).unwrap_or_default();
            let mut reader = MappingReader::new(&map);
            let records = rows.into_iter().map(|row| reader.read(row)).collect::<Result<_>>()?;
            Ok((map, records))
        };
        maps.into_iter().map(read).collect::<Result<_>>().map_err(Error::at_global)
    }

    async fn change_lock(&self, map: ShardMapId, change: &LockChange) -> Result<LockOutcome> {
        let (kind, mapping, token) = match *change {
            LockChange::Lock(mapping, token) => (0, Some(mapping), token),
            LockChange::Unlock(mapping, token) => (1, Some(mapping), token),
            LockChange::UnlockAll(token) => (2, None, token),
        };
        let call = || {
            Call::global("ChangeLock")
                .with("@map", *map.as_uuid())
                .with("@change", kind)
                .with("@mapping", mapping.map(|mapping| *mapping.as_uuid()))
                .with("@token", *token.as_uuid())
        };
        let reply = self.write_global(call).await?;
        if let Some(entry) = pending_entry(&reply)? {
            return Ok(LockOutcome::Pending(Box::new(entry)));
        }
        let reply = reply.accepted().map_err(Error::at_global)?;
        let changed = reply.rows(0).first().map_or(Ok(0), |row| small_number(row, 0)).map_err(Error::at_global)?;
        Ok(LockOutcome::Changed(usize::try_from(changed).unwrap_or_default()))
    }

    async fn detach_shard(&self, map: ShardMapId, shard: ShardId) -> Result<Detaching> {
        let call = || Call::global("DetachShard").with("@map", *map.as_uuid()).with("@shard", *shard.as_uuid());
        let reply = self.write_global(call).await?;
        if let Some(entry) = pending_entry(&reply)? {
            return Ok(Detaching::Pending(Box::new(entry)));
        }
        let reply = reply.accepted().map_err(Error::at_global)?;
        let mappings = reply.rows(0).first().map_or(Ok(0), |row| small_number(row, 0)).map_err(Error::at_global)?;
        Ok(Detaching::Detached(usize::try_from(mappings).unwrap_or_default()))
    }

    async fn describe_shard(&self, map: ShardMapId, shard: ShardId, description: &str) -> Result<()> {
        let call = || {
            Call::global("DescribeShard")
                .with("@map", *map.as_uuid())
                .with("@shard", *shard.as_uuid())
                .with("@description", description)
        };
        self.write_global(call).await?.accepted().map(drop).map_err(Error::at_global)
    }

    async fn shard_descriptions(&self, map: ShardMapId) -> Result<Vec<(ShardId, String)>> {
        let call = || Call::global("ListShardDescriptions").with("@map", *map.as_uuid());
        all(&self.read_global(call).await?, |row| Ok((guid(row, 0)?, description(row, 1)?)))
    }

    async fn schema_infos(&self) -> Result<Vec<SchemaInfoEntry>> {
        all(&self.read_global(schema_info::list).await?, schema_info::entry)
    }

    async fn find_schema_info(&self, name: &str) -> Result<Option<SchemaInfoEntry>> {
        let reply = self.read_global(|| schema_info::find(name)).await?;
        reply.rows(0).first().map(schema_info::entry).transpose().map_err(Error::at_global)
    }

    async fn add_schema_info(&self, name: &str, document: &str) -> Result<()> {
        let call = || schema_info::add(name, document);
        self.write_global(call).await?.accepted().map(drop).map_err(Error::at_global)
    }

    async fn update_schema_info(&self, name: &str, document: &str) -> Result<()> {
        let call = || schema_info::update(name, document);
        self.write_global(call).await?.accepted().map(drop).map_err(Error::at_global)
    }

    async fn remove_schema_info(&self, name: &str) -> Result<()> {
        let call = || schema_info::remove(name);
        self.write_global(call).await?.accepted().map(drop).map_err(Error::at_global)
    }

    async fn pending_operations(&self) -> Result<Vec<LogEntry>> {
        all(&self.read_global(|| Call::global("ListOperations")).await?, entry)
    }

    async fn lock_operation(&self, id: OperationId) -> Result<SqlServerGlobalSession> {
        self.lock(Database::global(), StoreKind::Global, id).await.map(SqlServerGlobalSession::new)
    }
}
