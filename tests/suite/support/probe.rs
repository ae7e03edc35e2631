//! A backend around another one: it counts the requests to the stores, and fails or holds those that a test names.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use shardlet::backend::Backend;
use shardlet::gsm::{
    Begin, Detaching, Direction, GlobalOperation, GlobalSession, GlobalStore, LockChange, LockOutcome, LogEntry,
    RecordFilter, SchemaInfoEntry,
};
use shardlet::lsm::{
    LocalContent, LocalMappingChange, LocalSession, LocalShardChange, LocalStore, Route, SessionEnding, Validation,
};
use shardlet::model::MappingRecord;
use shardlet::{
    CreateMode, EncodedKey, Error, MappingId, OperationId, Result, SessionsEnded, Shard, ShardId, ShardLocation,
    ShardMapId, ShardMapInfo, ShardMapName, StoreRights, StoreUpgrade, StoreVersion,
};
use tokio::sync::Notify;

/// A request to a store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    GlobalVersion,
    GlobalRights,
    UpgradeGlobal,
    CreateGlobal,
    DropGlobal,
    ShardMaps,
    FindShardMap,
    AddShardMap,
    RemoveShardMap,
    Shards,
    FindShard,
    ShardLocations,
    Mappings,
    FindMappingByKey,
    FindMappingById,
    LoadAll,
    ChangeLock,
    DetachShard,
    DescribeShard,
    ShardDescriptions,
    SchemaInfos,
    FindSchemaInfo,
    AddSchemaInfo,
    UpdateSchemaInfo,
    RemoveSchemaInfo,
    PendingOperations,
    LockOperation,
    Begin,
    EndDo,
    EndUndo,
    FindOperation,
    LocalVersion,
    LocalRights,
    UpgradeLocal(ShardLocation),
    LocalShards,
    LocalMappings,
    LockOperationAt(ShardLocation),
    ChangeLocal { at: ShardLocation, undoing: bool },
    EndSessions,
    OpenRouted,
}

/// What happens to a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Nothing: to let a number of requests pass before the fault that is injected next.
    Pass,
    /// It is not sent, and fails.
    FailBefore(Error),
    /// It is sent, and its answer is lost.
    FailAfter(Error),
    /// It is not sent, and fails when the test [releases](Probe::release) it.
    FailOnRelease(Error),
    /// It is sent when the test [releases](Probe::release) it.
    SendOnRelease,
    /// It is not sent, and never answers.
    HoldBefore,
    /// It is sent, and its answer never comes.
    HoldAfter,
}

#[derive(Debug)]
struct Rule {
    call: Call,
    times: usize,
    fault: Fault,
}

#[derive(Debug, Default)]
struct State {
    counts: Mutex<HashMap<Call, usize>>,
    rules: Mutex<Vec<Rule>>,
    held: Notify,
    released: Notify,
}

/// The backend. Clones share counts and rules.
#[derive(Clone, Debug)]
pub struct Probe<B> {
    inner: B,
    state: Arc<State>,
}

#[derive(Debug)]
pub struct ProbeSession<S> {
    inner: S,
    at: Option<ShardLocation>,
    state: Arc<State>,
}

impl<B> Probe<B> {
    pub fn new(inner: B) -> Self {
        Self { inner, state: Arc::default() }
    }

    pub fn inner(&self) -> &B {
        &self.inner
    }

    /// How often a request was made since the last [`reset`](Self::reset).
    pub fn count(&self, call: &Call) -> usize {
        self.state.counts.lock().unwrap().get(call).copied().unwrap_or(0)
    }

    /// How many requests were made since the last [`reset`](Self::reset).
    pub fn total(&self) -> usize {
        self.state.counts.lock().unwrap().values().sum()
    }

    /// The requests that were made since the last [`reset`](Self::reset), and how often.
    #[allow(dead_code, reason = "not every suite asks")]
    pub fn calls(&self) -> Vec<(Call, usize)> {
        let mut calls: Vec<_> = self.state.counts.lock().unwrap().clone().into_iter().collect();
        calls.sort_by_key(|(call, _)| format!("{call:?}"));
        calls
    }

    /// Counts from zero, and forgets all rules.
    pub fn reset(&self) {
        self.state.counts.lock().unwrap().clear();
        self.state.rules.lock().unwrap().clear();
    }

    /// Lets the fault happen to the next so many such requests.
    pub fn inject(&self, call: Call, times: usize, fault: Fault) {
        self.state.rules.lock().unwrap().push(Rule { call, times, fault });
    }

    /// Lets one request that is held by [`Fault::FailOnRelease`] or [`Fault::SendOnRelease`] go on.
    pub fn release(&self) {
        self.state.released.notify_one();
    }

    /// Waits until a request is held.
    pub async fn held(&self) {
        self.state.held.notified().await;
    }
}

impl State {
    fn fault(&self, call: &Call) -> Option<Fault> {
        *self.counts.lock().unwrap().entry(call.clone()).or_default() += 1;
        let mut rules = self.rules.lock().unwrap();
        let rule = rules.iter_mut().find(|rule| rule.call == *call && rule.times > 0)?;
        rule.times -= 1;
        Some(rule.fault.clone())
    }

    async fn around<T>(&self, call: Call, request: impl Future<Output = Result<T>>) -> Result<T> {
        match self.fault(&call) {
            None | Some(Fault::Pass) => request.await,
            Some(Fault::FailBefore(error)) => Err(error),
            Some(Fault::FailAfter(error)) => request.await.and(Err(error)),
            Some(Fault::FailOnRelease(error)) => {
                self.held.notify_one();
                self.released.notified().await;
                Err(error)
            }
            Some(Fault::SendOnRelease) => {
                self.held.notify_one();
                self.released.notified().await;
                request.await
            }
            Some(Fault::HoldBefore) => self.hold().await,
            Some(Fault::HoldAfter) => {
                let _ = request.await;
                self.hold().await
            }
        }
    }

    async fn hold<T>(&self) -> T {
        self.held.notify_one();
        std::future::pending().await
    }
}

impl<B: Backend> Backend for Probe<B> {
    type Credentials = B::Credentials;
    type Connection = B::Connection;

    fn forget_shard(&self, location: &ShardLocation) {
        self.inner.forget_shard(location);
    }
}

impl<B: GlobalStore> GlobalStore for Probe<B> {
    type Session = ProbeSession<<B as GlobalStore>::Session>;

    async fn global_version(&self) -> Result<Option<StoreVersion>> {
        self.state.around(Call::GlobalVersion, self.inner.global_version()).await
    }

    async fn global_rights(&self) -> Result<StoreRights> {
        self.state.around(Call::GlobalRights, self.inner.global_rights()).await
    }

    async fn upgrade_global(&self) -> Result<StoreUpgrade> {
        self.state.around(Call::UpgradeGlobal, self.inner.upgrade_global()).await
    }

    async fn create_global(&self, mode: CreateMode) -> Result<()> {
        self.state.around(Call::CreateGlobal, self.inner.create_global(mode)).await
    }

    async fn drop_global(&self) -> Result<bool> {
        self.state.around(Call::DropGlobal, self.inner.drop_global()).await
    }

    async fn shard_maps(&self) -> Result<Vec<ShardMapInfo>> {
        self.state.around(Call::ShardMaps, self.inner.shard_maps()).await
    }

    async fn find_shard_map(&self, name: &ShardMapName) -> Result<Option<ShardMapInfo>> {
        self.state.around(Call::FindShardMap, self.inner.find_shard_map(name)).await
    }

    async fn add_shard_map(&self, map: &ShardMapInfo) -> Result<()> {
        self.state.around(Call::AddShardMap, self.inner.add_shard_map(map)).await
    }

    async fn remove_shard_map(&self, id: ShardMapId) -> Result<()> {
        self.state.around(Call::RemoveShardMap, self.inner.remove_shard_map(id)).await
    }

    async fn shards(&self, map: ShardMapId) -> Result<Vec<Shard>> {
        self.state.around(Call::Shards, self.inner.shards(map)).await
    }

    async fn find_shard(&self, map: ShardMapId, location: &ShardLocation) -> Result<Option<Shard>> {
        self.state.around(Call::FindShard, self.inner.find_shard(map, location)).await
    }

    async fn shard_locations(&self) -> Result<Vec<ShardLocation>> {
        self.state.around(Call::ShardLocations, self.inner.shard_locations()).await
    }

    async fn mappings(&self, map: &ShardMapInfo, filter: &RecordFilter) -> Result<Vec<MappingRecord>> {
        self.state.around(Call::Mappings, self.inner.mappings(map, filter)).await
    }

    async fn find_mapping_by_key(&self, map: &ShardMapInfo, key: &EncodedKey) -> Result<Option<MappingRecord>> {
        self.state.around(Call::FindMappingByKey, self.inner.find_mapping_by_key(map, key)).await
    }

    async fn find_mapping_by_id(&self, map: &ShardMapInfo, id: MappingId) -> Result<Option<MappingRecord>> {
        self.state.around(Call::FindMappingById, self.inner.find_mapping_by_id(map, id)).await
    }

    async fn load_all(&self) -> Result<Vec<(ShardMapInfo, Vec<MappingRecord>)>> {
        self.state.around(Call::LoadAll, self.inner.load_all()).await
    }

    async fn change_lock(&self, map: ShardMapId, change: &LockChange) -> Result<LockOutcome> {
        self.state.around(Call::ChangeLock, self.inner.change_lock(map, change)).await
    }

    async fn detach_shard(&self, map: ShardMapId, shard: ShardId) -> Result<Detaching> {
        self.state.around(Call::DetachShard, self.inner.detach_shard(map, shard)).await
    }

    async fn describe_shard(&self, map: ShardMapId, shard: ShardId, description: &str) -> Result<()> {
        self.state.around(Call::DescribeShard, self.inner.describe_shard(map, shard, description)).await
    }

    async fn shard_descriptions(&self, map: ShardMapId) -> Result<Vec<(ShardId, String)>> {
        self.state.around(Call::ShardDescriptions, self.inner.shard_descriptions(map)).await
    }

    async fn schema_infos(&self) -> Result<Vec<SchemaInfoEntry>> {
        self.state.around(Call::SchemaInfos, self.inner.schema_infos()).await
    }

    async fn find_schema_info(&self, name: &str) -> Result<Option<SchemaInfoEntry>> {
        self.state.around(Call::FindSchemaInfo, self.inner.find_schema_info(name)).await
    }

    async fn add_schema_info(&self, name: &str, document: &str) -> Result<()> {
        self.state.around(Call::AddSchemaInfo, self.inner.add_schema_info(name, document)).await
    }

    async fn update_schema_info(&self, name: &str, document: &str) -> Result<()> {
        self.state.around(Call::UpdateSchemaInfo, self.inner.update_schema_info(name, document)).await
    }

    async fn remove_schema_info(&self, name: &str) -> Result<()> {
        self.state.around(Call::RemoveSchemaInfo, self.inner.remove_schema_info(name)).await
    }

    async fn pending_operations(&self) -> Result<Vec<LogEntry>> {
        self.state.around(Call::PendingOperations, self.inner.pending_operations()).await
    }

    async fn lock_operation(&self, id: OperationId) -> Result<<Self as GlobalStore>::Session> {
        let inner = self.state.around(Call::LockOperation, self.inner.lock_operation(id)).await?;
        Ok(ProbeSession { inner, at: None, state: Arc::clone(&self.state) })
    }
}

impl<S: GlobalSession> GlobalSession for ProbeSession<S> {
    async fn begin(&mut self, operation: &GlobalOperation, data: &str) -> Result<Begin> {
        self.state.around(Call::Begin, self.inner.begin(operation, data)).await
    }

    async fn end(&mut self, operation: &GlobalOperation, direction: Direction) -> Result<()> {
        let call = match direction {
            Direction::Do => Call::EndDo,
            Direction::Undo => Call::EndUndo,
        };
        self.state.around(call, self.inner.end(operation, direction)).await
    }

    async fn find_operation(&mut self, id: OperationId, undo_start: i32) -> Result<Option<LogEntry>> {
        self.state.around(Call::FindOperation, self.inner.find_operation(id, undo_start)).await
    }
}

impl<B: LocalStore> LocalStore for Probe<B> {
    type Session = ProbeSession<<B as LocalStore>::Session>;

    async fn local_version(&self, location: &ShardLocation) -> Result<Option<StoreVersion>> {
        self.state.around(Call::LocalVersion, self.inner.local_version(location)).await
    }

    async fn local_rights(&self, location: &ShardLocation) -> Result<StoreRights> {
        self.state.around(Call::LocalRights, self.inner.local_rights(location)).await
    }

    async fn upgrade_local(&self, location: &ShardLocation) -> Result<StoreUpgrade> {
        self.state.around(Call::UpgradeLocal(location.clone()), self.inner.upgrade_local(location)).await
    }

    async fn local_shards(&self, location: &ShardLocation) -> Result<Vec<(ShardMapInfo, Shard)>> {
        self.state.around(Call::LocalShards, self.inner.local_shards(location)).await
    }

    async fn local_mappings(&self, location: &ShardLocation, map: ShardMapId) -> Result<Vec<MappingRecord>> {
        self.state.around(Call::LocalMappings, self.inner.local_mappings(location, map)).await
    }

    async fn lock_operation_at(
        &self,
        location: &ShardLocation,
        id: OperationId,
    ) -> Result<<Self as LocalStore>::Session> {
        let call = Call::LockOperationAt(location.clone());
        let inner = self.state.around(call, self.inner.lock_operation_at(location, id)).await?;
        Ok(ProbeSession { inner, at: Some(location.clone()), state: Arc::clone(&self.state) })
    }

    async fn open_routed(
        &self,
        route: &Route,
        credentials: &Self::Credentials,
        validation: Validation,
    ) -> Result<Self::Connection> {
        self.state.around(Call::OpenRouted, self.inner.open_routed(route, credentials, validation)).await
    }
}

impl<S: LocalSession> LocalSession for ProbeSession<S> {
    async fn change_shard(&mut self, change: &LocalShardChange) -> Result<()> {
        let call = Call::ChangeLocal { at: self.at.clone().unwrap(), undoing: change.undoing };
        self.state.around(call, self.inner.change_shard(change)).await
    }

    async fn change_mappings(&mut self, change: &LocalMappingChange) -> Result<()> {
        let call = Call::ChangeLocal { at: self.at.clone().unwrap(), undoing: change.undoing };
        self.state.around(call, self.inner.change_mappings(change)).await
    }

    async fn replace(&mut self, content: &LocalContent) -> Result<()> {
        let call = Call::ChangeLocal { at: self.at.clone().unwrap(), undoing: false };
        self.state.around(call, self.inner.replace(content)).await
    }

    async fn end_sessions(&mut self, ending: &SessionEnding) -> Result<SessionsEnded> {
        self.state.around(Call::EndSessions, self.inner.end_sessions(ending)).await
    }
}
