//! A backend whose every request waits until the scheduler lets it through, and its answer too, if the scheduler says so.
//!
//! Each client has a gate of its own to the same stores; all report to one [`Hub`]. A request is done at once and alone when it
//! is let through, so that the order of requests is the scheduler's choice and nothing else.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shardlet::backend::Backend;
use shardlet::gsm::{
    Begin, Detaching, Direction, GlobalOperation, GlobalSession, GlobalStore, LockChange, LockOutcome, LogEntry,
    RecordFilter, SchemaInfoEntry,
};
use shardlet::lsm::{
    LocalContent, LocalMappingChange, LocalSession, LocalShardChange, LocalStore, Route, RouteTarget, SessionEnding,
    Validation,
};
use shardlet::model::MappingRecord;
use shardlet::{
    CreateMode, EncodedKey, Error, ErrorCode, ErrorKind, MappingId, OperationId, Result, SessionsEnded, Shard, ShardId,
    ShardLocation, ShardMapId, ShardMapInfo, ShardMapName, StoreRights, StoreUpgrade, StoreVersion,
};
use tokio::sync::oneshot;

use super::report::Report;

/// What a request is to the scheduler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nature {
    /// It changes nothing.
    Reads,
    /// It may change something.
    Writes,
    /// It takes the lock of an operation.
    Locks(OperationId),
    /// It takes a lock that its operation holds already.
    LocksAgain,
    /// A statement of an application.
    States,
}

/// A request as it stands at the gate.
#[derive(Clone, Debug)]
pub struct Request {
    pub name: &'static str,
    pub about: String,
    pub nature: Nature,
}

/// What a request has done, as far as anybody has to know.
#[derive(Clone, Debug)]
pub enum Deed {
    Begun(GlobalOperation),
    Ended(GlobalOperation, Direction),
    LocksChanged(ShardMapId, LockChange),
    ShardChanged(LocalShardChange),
    /// And whether it was done.
    MappingsChanged(LocalMappingChange, bool),
    SessionsEnded(ShardLocation, SessionEnding),
    KeyRead {
        map: ShardMapId,
        key: EncodedKey,
        found: Option<MappingId>,
    },
    Opened {
        route: Route,
        validated: bool,
        outcome: std::result::Result<(), ErrorCode>,
    },
    /// By the number of the session.
    Stated(usize),
    /// Something that changes nothing, or failed.
    Nothing,
}

/// What the scheduler does with a request that waits to be sent, or with an answer that waits to be given.
#[derive(Debug)]
pub enum Verdict {
    /// It is sent, and its answer given at once.
    Pass,
    /// It is sent, and its answer waits.
    PassAndWait,
    /// It is not sent and fails, or its answer is replaced by the error.
    Fail(Error),
}

#[derive(Debug)]
pub struct Waiting {
    pub client: usize,
    pub request: Request,
    /// The request has been sent; what waits is its answer.
    pub answered: bool,
    verdict: oneshot::Sender<Verdict>,
}

#[derive(Debug)]
pub struct Done {
    pub client: usize,
    pub deed: Deed,
    /// How it failed.
    pub error: Option<Error>,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Waiting>,
    done: Vec<Done>,
    reports: Vec<(usize, Report)>,
    under_way: usize,
    /// Nobody schedules: everything passes, and only reports are kept.
    open: bool,
    locks: HashMap<OperationId, usize>,
    /// Operations in the order in which they began, those that ended included.
    begun: Vec<OperationId>,
    gone: HashSet<usize>,
}

/// Where all clients wait.
#[derive(Clone, Debug, Default)]
pub struct Hub(Arc<Mutex<State>>);

impl Hub {
    /// One that lets everything through.
    pub fn open() -> Self {
        Self(Arc::new(Mutex::new(State { open: true, ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Locks are let go of while a failed test unwinds.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What waits, by client and in the order of arrival: a client, the request, and whether it waits for its answer only.
    pub fn waiting(&self) -> Vec<(usize, Request, bool)> {
        let mut state = self.state();
        state.waiting.retain(|waiting| !waiting.verdict.is_closed());
        state.waiting.sort_by_key(|waiting| waiting.client);
        state.waiting.iter().map(|it| (it.client, it.request.clone(), it.answered)).collect()
    }

    /// Decides about what stands at a place of [`waiting`](Self::waiting).
    pub fn decide(&self, place: usize, verdict: Verdict) {
        let waiting = self.state().waiting.remove(place);
        waiting.verdict.send(verdict).expect("whoever was listed still waits");
    }

    /// A request has been let through and is not done yet.
    pub fn is_busy(&self) -> bool {
        self.state().under_way > 0
    }

    /// What was done since the last call. With requests decided one by one it is one at most.
    pub fn take_done(&self) -> Vec<Done> {
        std::mem::take(&mut self.state().done)
    }

    /// What clients reported since the last call.
    pub fn take_reports(&self) -> Vec<(usize, Report)> {
        std::mem::take(&mut self.state().reports)
    }

    pub fn report(&self, client: usize, report: Report) {
        self.state().reports.push((client, report));
    }

    pub fn is_locked(&self, id: OperationId) -> bool {
        self.state().locks.contains_key(&id)
    }

    pub fn locked(&self) -> usize {
        self.state().locks.len()
    }

    /// The client is dead: whatever of it still waits fails, now and later.
    pub fn bury(&self, client: usize) {
        let mut state = self.state();
        let _ = state.gone.insert(client);
        state.waiting.retain(|waiting| waiting.client != client);
    }

    async fn verdict(&self, client: usize, request: &Request, answered: bool) -> Result<Verdict> {
        let (verdict, decided) = oneshot::channel();
        {
            let mut state = self.state();
            if !state.gone.contains(&client) {
                state.waiting.push(Waiting { client, request: request.clone(), answered, verdict });
            }
        }
        decided.await.map_err(|_| Error::internal("the client is dead"))
    }

    /// A request of a client, with what it does.
    pub async fn through<T>(
        &self,
        client: usize,
        request: Request,
        work: impl Future<Output = Result<T>>,
        deed: impl FnOnce(&Result<T>) -> Deed,
    ) -> Result<T> {
        if self.state().open {
            return work.await;
        }
        let waits = match self.verdict(client, &request, false).await? {
            Verdict::Pass => false,
            Verdict::PassAndWait => true,
            Verdict::Fail(error) => return Err(error),
        };
        self.state().under_way += 1;
        let result = work.await;
        {
            let mut state = self.state();
            state.under_way -= 1;
            let deed = deed(&result);
            if let Deed::Begun(operation) = &deed {
                state.begun.push(operation.id);
            }
            state.done.push(Done { client, deed, error: result.as_ref().err().cloned() });
        }
        if !waits {
            return result;
        }
        match self.verdict(client, &request, true).await? {
            Verdict::Fail(error) => Err(error),
            Verdict::Pass | Verdict::PassAndWait => result,
        }
    }
}

/// The way of one client to the stores.
#[derive(Clone, Debug)]
pub struct Gate<B> {
    inner: B,
    client: usize,
    hub: Hub,
}

impl<B> Gate<B> {
    pub fn new(inner: B, client: usize, hub: Hub) -> Self {
        Self { inner, client, hub }
    }

    /// The gate without what is behind it.
    fn alone(&self) -> Gate<()> {
        Gate { inner: (), client: self.client, hub: self.hub.clone() }
    }

    pub fn client(&self) -> usize {
        self.client
    }

    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    async fn reads<T>(
        &self,
        name: &'static str,
        about: impl ToString,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let request = Request { name, about: about.to_string(), nature: Nature::Reads };
        self.hub.through(self.client, request, work, |_| Deed::Nothing).await
    }

    async fn writes<T>(
        &self,
        name: &'static str,
        about: impl ToString,
        work: impl Future<Output = Result<T>>,
        deed: impl FnOnce(&Result<T>) -> Deed,
    ) -> Result<T> {
        let request = Request { name, about: about.to_string(), nature: Nature::Writes };
        self.hub.through(self.client, request, work, deed).await
    }

    /// A statement of an application on a connection.
    pub async fn states<T>(&self, session: usize, work: impl Future<Output = Result<T>>) -> Result<T> {
        let request = Request { name: "statement", about: format!("session {session}"), nature: Nature::States };
        self.hub.through(self.client, request, work, |_| Deed::Stated(session)).await
    }
}

fn if_done<T>(result: &Result<T>, deed: impl FnOnce() -> Deed) -> Deed {
    if result.is_ok() { deed() } else { Deed::Nothing }
}

impl<B: Backend> Backend for Gate<B> {
    type Credentials = B::Credentials;
    type Connection = B::Connection;

    fn forget_shard(&self, location: &ShardLocation) {
        self.inner.forget_shard(location);
    }
}

impl<B: GlobalStore> GlobalStore for Gate<B> {
    type Session = GateSession<<B as GlobalStore>::Session>;

    async fn global_version(&self) -> Result<Option<StoreVersion>> {
        self.reads("global version", "", self.inner.global_version()).await
    }

    async fn create_global(&self, mode: CreateMode) -> Result<()> {
        self.writes("create the global store", "", self.inner.create_global(mode), |_| Deed::Nothing).await
    }

    async fn shard_maps(&self) -> Result<Vec<ShardMapInfo>> {
        self.reads("shard maps", "", self.inner.shard_maps()).await
    }

    async fn find_shard_map(&self, name: &ShardMapName) -> Result<Option<ShardMapInfo>> {
        self.reads("find shard map", name, self.inner.find_shard_map(name)).await
    }

    async fn add_shard_map(&self, map: &ShardMapInfo) -> Result<()> {
        self.writes("add shard map", map.name(), self.inner.add_shard_map(map), |_| Deed::Nothing).await
    }

    async fn remove_shard_map(&self, id: ShardMapId) -> Result<()> {
        self.writes("remove shard map", id, self.inner.remove_shard_map(id), |_| Deed::Nothing).await
    }

    async fn shards(&self, map: ShardMapId) -> Result<Vec<Shard>> {
        self.reads("shards", map, self.inner.shards(map)).await
    }

    async fn find_shard(&self, map: ShardMapId, location: &ShardLocation) -> Result<Option<Shard>> {
        self.reads("find shard", location, self.inner.find_shard(map, location)).await
    }

    async fn shard_locations(&self) -> Result<Vec<ShardLocation>> {
        self.reads("shard locations", "", self.inner.shard_locations()).await
    }

    async fn mappings(&self, map: &ShardMapInfo, filter: &RecordFilter) -> Result<Vec<MappingRecord>> {
        self.reads("mappings", map.name(), self.inner.mappings(map, filter)).await
    }

    async fn find_mapping_by_key(&self, map: &ShardMapInfo, key: &EncodedKey) -> Result<Option<MappingRecord>> {
        let request = Request { name: "find by key", about: format!("{} {key}", map.name()), nature: Nature::Reads };
        let deed = |result: &Result<Option<MappingRecord>>| match result {
            Ok(found) => Deed::KeyRead { map: map.id(), key: key.clone(), found: found.as_ref().map(|found| found.id) },
            Err(_) => Deed::Nothing,
        };
        self.hub.through(self.client, request, self.inner.find_mapping_by_key(map, key), deed).await
    }

    async fn find_mapping_by_id(&self, map: &ShardMapInfo, id: MappingId) -> Result<Option<MappingRecord>> {
        self.reads("find by id", id, self.inner.find_mapping_by_id(map, id)).await
    }

    async fn load_all(&self) -> Result<Vec<(ShardMapInfo, Vec<MappingRecord>)>> {
        self.reads("load all", "", self.inner.load_all()).await
    }

    async fn change_lock(&self, map: ShardMapId, change: &LockChange) -> Result<LockOutcome> {
        let deed = |result: &Result<LockOutcome>| match result {
            Ok(LockOutcome::Changed(_)) => Deed::LocksChanged(map, *change),
            Ok(_) | Err(_) => Deed::Nothing,
        };
        self.writes("change locks", format!("{change:?}"), self.inner.change_lock(map, change), deed).await
    }

    async fn drop_global(&self) -> Result<bool> {
        self.writes("drop", "", self.inner.drop_global(), |_| Deed::Nothing).await
    }

    async fn global_rights(&self) -> Result<StoreRights> {
        self.reads("global rights", "", self.inner.global_rights()).await
    }

    async fn upgrade_global(&self) -> Result<StoreUpgrade> {
        self.writes("upgrade", "", self.inner.upgrade_global(), |_| Deed::Nothing).await
    }

    async fn detach_shard(&self, map: ShardMapId, shard: ShardId) -> Result<Detaching> {
        self.writes("detach shard", "", self.inner.detach_shard(map, shard), |_| Deed::Nothing).await
    }

    async fn describe_shard(&self, map: ShardMapId, shard: ShardId, description: &str) -> Result<()> {
        self.writes("describe shard", "", self.inner.describe_shard(map, shard, description), |_| Deed::Nothing).await
    }

    async fn shard_descriptions(&self, map: ShardMapId) -> Result<Vec<(ShardId, String)>> {
        self.reads("shard descriptions", "", self.inner.shard_descriptions(map)).await
    }

    async fn schema_infos(&self) -> Result<Vec<SchemaInfoEntry>> {
        self.reads("schema infos", "", self.inner.schema_infos()).await
    }

    async fn find_schema_info(&self, name: &str) -> Result<Option<SchemaInfoEntry>> {
        self.reads("find schema info", "", self.inner.find_schema_info(name)).await
    }

    async fn add_schema_info(&self, name: &str, document: &str) -> Result<()> {
        self.writes("add schema info", "", self.inner.add_schema_info(name, document), |_| Deed::Nothing).await
    }

    async fn update_schema_info(&self, name: &str, document: &str) -> Result<()> {
        self.writes("update schema info", "", self.inner.update_schema_info(name, document), |_| Deed::Nothing).await
    }

    async fn remove_schema_info(&self, name: &str) -> Result<()> {
        self.writes("remove schema info", "", self.inner.remove_schema_info(name), |_| Deed::Nothing).await
    }

    async fn pending_operations(&self) -> Result<Vec<LogEntry>> {
        let mut pending = self.reads("pending operations", "", self.inner.pending_operations()).await?;
        // In an order that does not hang on random ids.
        let state = self.hub.state();
        pending.sort_by_key(|entry| state.begun.iter().position(|begun| *begun == entry.id));
        Ok(pending)
    }

    async fn lock_operation(&self, id: OperationId) -> Result<<Self as GlobalStore>::Session> {
        let request = Request { name: "lock", about: id.to_string(), nature: Nature::Locks(id) };
        let hub = self.hub.clone();
        // Counted before the answer is given: the lock is held while it waits.
        let work = async {
            let inner = self.inner.lock_operation(id).await?;
            Ok(GateSession { inner, gate: self.alone(), at: None, lock: Held::new(hub, id) })
        };
        self.hub.through(self.client, request, work, |_| Deed::Nothing).await
    }
}

/// A lock as the scheduler counts it.
#[derive(Debug)]
struct Held {
    hub: Hub,
    id: OperationId,
}

impl Held {
    fn new(hub: Hub, id: OperationId) -> Self {
        *hub.state().locks.entry(id).or_default() += 1;
        Self { hub, id }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.hub.state();
        if let Entry::Occupied(mut held) = state.locks.entry(self.id) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                let _ = held.remove();
            }
        }
    }
}

#[derive(Debug)]
pub struct GateSession<S> {
    inner: S,
    gate: Gate<()>,
    at: Option<ShardLocation>,
    // After the session, so that whoever finds it free can have it.
    lock: Held,
}

impl<S> GateSession<S> {
    fn about(&self, what: impl std::fmt::Display) -> String {
        match &self.at {
            Some(at) => format!("{} at {at}: {what}", self.lock.id),
            None => format!("{}: {what}", self.lock.id),
        }
    }
}

impl<S: GlobalSession> GlobalSession for GateSession<S> {
    async fn begin(&mut self, operation: &GlobalOperation, data: &str) -> Result<Begin> {
        let about = self.about(operation.code.name());
        let deed = |result: &Result<Begin>| match result {
            Ok(Begin::Begun) => Deed::Begun(operation.clone()),
            Ok(_) | Err(_) => Deed::Nothing,
        };
        self.gate.writes("begin", about, self.inner.begin(operation, data), deed).await
    }

    async fn end(&mut self, operation: &GlobalOperation, direction: Direction) -> Result<()> {
        let about = self.about(format_args!("{direction:?} {}", operation.code.name()));
        let deed = |result: &Result<()>| if_done(result, || Deed::Ended(operation.clone(), direction));
        self.gate.writes("end", about, self.inner.end(operation, direction), deed).await
    }

    async fn find_operation(&mut self, id: OperationId, undo_start: i32) -> Result<Option<LogEntry>> {
        let about = self.about(undo_start);
        self.gate.writes("find operation", about, self.inner.find_operation(id, undo_start), |_| Deed::Nothing).await
    }
}

impl<B: LocalStore> LocalStore for Gate<B> {
    type Session = GateSession<<B as LocalStore>::Session>;

    async fn local_version(&self, location: &ShardLocation) -> Result<Option<StoreVersion>> {
        self.reads("local version", location, self.inner.local_version(location)).await
    }

    async fn local_rights(&self, location: &ShardLocation) -> Result<StoreRights> {
        self.reads("local rights", location, self.inner.local_rights(location)).await
    }

    async fn upgrade_local(&self, location: &ShardLocation) -> Result<StoreUpgrade> {
        self.writes("upgrade", "", self.inner.upgrade_local(location), |_| Deed::Nothing).await
    }

    async fn local_shards(&self, location: &ShardLocation) -> Result<Vec<(ShardMapInfo, Shard)>> {
        self.reads("local shards", location, self.inner.local_shards(location)).await
    }

    async fn local_mappings(&self, location: &ShardLocation, map: ShardMapId) -> Result<Vec<MappingRecord>> {
        self.reads("local mappings", location, self.inner.local_mappings(location, map)).await
    }

    async fn lock_operation_at(
        &self,
        location: &ShardLocation,
        id: OperationId,
    ) -> Result<<Self as LocalStore>::Session> {
        let request = Request { name: "lock", about: format!("{id} at {location}"), nature: Nature::LocksAgain };
        let hub = self.hub.clone();
        let work = async {
            let inner = self.inner.lock_operation_at(location, id).await?;
            Ok(GateSession { inner, gate: self.alone(), at: Some(location.clone()), lock: Held::new(hub, id) })
        };
        self.hub.through(self.client, request, work, |_| Deed::Nothing).await
    }

    async fn open_routed(
        &self,
        route: &Route,
        credentials: &B::Credentials,
        validation: Validation,
    ) -> Result<B::Connection> {
        let validated = validation == Validation::Validate;
        let target = match &route.target {
            RouteTarget::Mapping { mapping, key, .. } => format!("{mapping} for {key}"),
            _ => "as a whole".to_owned(),
        };
        let name = if validated { "open" } else { "open unasked" };
        let request = Request { name, about: format!("{} {target}", route.location), nature: Nature::Reads };
        let deed = |result: &Result<B::Connection>| Deed::Opened {
            route: route.clone(),
            validated,
            outcome: result.as_ref().map(|_| ()).map_err(Error::code),
        };
        let work = self.inner.open_routed(route, credentials, validation);
        self.hub.through(self.client, request, work, deed).await
    }
}

impl<S: LocalSession> LocalSession for GateSession<S> {
    async fn change_shard(&mut self, change: &LocalShardChange) -> Result<()> {
        let way = if change.undoing { "undoing" } else { "doing" };
        let about = self.about(format_args!("{way} {:?} shard", change.action));
        let deed = |result: &Result<()>| if_done(result, || Deed::ShardChanged(change.clone()));
        self.gate.writes("change", about, self.inner.change_shard(change), deed).await
    }

    async fn change_mappings(&mut self, change: &LocalMappingChange) -> Result<()> {
        let way = if change.undoing { "undoing" } else { "doing" };
        let about = self.about(format_args!("{way} mappings"));
        let deed = |result: &Result<()>| Deed::MappingsChanged(change.clone(), result.is_ok());
        self.gate.writes("change", about, self.inner.change_mappings(change), deed).await
    }

    async fn replace(&mut self, content: &LocalContent) -> Result<()> {
        let about = self.about(format_args!("replacing all"));
        self.gate.writes("replace", about, self.inner.replace(content), |_| Deed::Nothing).await
    }

    async fn end_sessions(&mut self, ending: &SessionEnding) -> Result<SessionsEnded> {
        let about = self.about(format_args!("{:?}", ending.policy));
        let at = self.at.clone().expect("sessions end at a shard");
        let deed = |result: &Result<SessionsEnded>| if_done(result, || Deed::SessionsEnded(at, ending.clone()));
        self.gate.writes("end sessions", about, self.inner.end_sessions(ending), deed).await
    }
}

/// An error as a store would give it.
pub fn injected(kind: ErrorKind) -> Error {
    let code = match kind {
        ErrorKind::OutcomeUnknown => ErrorCode::CommitInDoubt,
        _ => ErrorCode::StorageOperationFailure,
    };
    Error::new(kind, code, "injected")
}
