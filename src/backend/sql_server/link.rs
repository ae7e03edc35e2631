//! Connections in pools: the state of each, and which ones may serve again.
//!
//! Invariants: a connection is *dirty* from the moment a request is sent until its answer has been read to the end, and a dirty
//! one is closed, never pooled. One on which something of its user may be left (a transaction, a temporary table, a setting, a
//! lock) is reset by the server before it goes back, and closed if that fails. A stamp that nobody needs any more is taken
//! away soon after.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use deadpool::managed::{self, Metrics as Usage, RecycleError, RecycleResult};
use tiberius::Command;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::connect::Client;
use super::fault::{Doing, is_answer, lost};
use super::pool::{Database, Shared};
use super::stamp::Stamp;
use super::target::Target;
use crate::backend::pools;
use crate::error::{Error, Result};
use crate::fault_point;
use crate::model::folded;
use crate::telemetry;

/// What a user may have left on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Traces {
    /// Nothing.
    None,
    /// A stamp, which the next user replaces.
    Stamp,
    /// What a reset by the server takes away.
    Session,
}

/// A connection with its state.
pub(super) struct Link {
    pub(super) client: Client,
    /// The shard's database.
    database: Option<String>,
    /// Whether it may be used.
    pub(super) condition: Condition,
    pub(super) traces: Traces,
    /// A statement may have begun a transaction.
    pub(super) transacts: bool,
    /// A statement has named the session context, which Babelfish does not reset.
    pub(super) context: bool,
    /// The application lock that the session holds.
    pub(super) lock: Option<String>,
    /// The transaction that the application has begun.
    pub(super) transaction: TransactionState,
    born: Instant,
    /// When it was last given back; `None` before its first user is done.
    given_back: Option<Instant>,
    _permit: Option<OwnedSemaphorePermit>,
}

/// Whether a connection may be used.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Condition {
    /// A request is under way, or was abandoned.
    pub(super) dirty: bool,
    /// The server has refused a statement since it was last asked whether the transaction is still open.
    pub(super) doubtful: bool,
}

impl Condition {
    /// A request is sent.
    pub(super) fn sent(&mut self) {
        fault_point::reached("server: sending");
        self.dirty = true;
    }

    /// It was answered to the end.
    pub(super) fn answered(&mut self) {
        self.dirty = false;
        fault_point::reached("server: answered");
    }

    /// It failed: the connection can be used again if the server said so itself.
    pub(super) fn failed(&mut self, error: &tiberius::error::Error) {
        self.dirty = !is_answer(error);
        self.doubtful = true;
        fault_point::reached("server: failed");
    }

    /// Notes how a request ended.
    pub(super) fn ended<T>(&mut self, result: &std::result::Result<T, tiberius::error::Error>) {
        match result {
            Ok(_) => self.answered(),
            Err(error) => self.failed(error),
        }
    }
}

/// Where a connection is with its user's transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TransactionState {
    /// There is none.
    None,
    /// It is open.
    Open,
    /// The server has rolled it back by itself; until its guard is gone nothing may be done, or it would be committed alone.
    RolledBack,
    /// Its guard was dropped; it has to be rolled back before anything else.
    Abandoned,
}

impl Link {
    fn new(client: Client, target: &Target, permit: Option<OwnedSemaphorePermit>) -> Self {
        let database = match target {
            Target::Global => None,
            Target::Shard(location) => Some(location.database().to_owned()),
        };
        Self {
            client,
            database,
            condition: Condition::default(),
            traces: Traces::None,
            transacts: false,
            context: false,
            lock: None,
            transaction: TransactionState::None,
            born: Instant::now(),
            given_back: None,
            _permit: permit,
        }
    }

    /// Notes what the text of the next request may leave beyond that.
    pub(super) fn reads(&mut self, text: &str) {
        let names =
            |word: &str| text.as_bytes().windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()));
        self.context |= names("session_context");
        // Where it begins a transaction, the driver has to see its end.
        self.transacts |= names("tran");
    }

    /// Notes what the next request may leave.
    pub(super) fn leaves(&mut self, traces: Traces) {
        self.traces = self.traces.max(traces);
    }

    /// Takes away what this user may have left.
    pub(super) async fn clean(&mut self) -> std::result::Result<(), tiberius::error::Error> {
        if self.traces >= Traces::Session {
            if self.transaction != TransactionState::None || self.condition.doubtful || self.transacts {
                // The driver has to see the end of the transaction.
                let _ =
                    self.client.simple_query("IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION").await?.into_results().await?;
            }
            // Transactions, temporary objects, settings, locks, session context.
            let done = Command::new("sys.sp_reset_connection").exec(&mut self.client).await?;
            let _ = done.into_command_result().await?;
            // What that does not do everywhere: older servers keep the isolation level, and Babelfish the stamp. And Babelfish
            // takes long for the first statement after a reset, which had better not be the next user's.
            let batch = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; \
                         DECLARE @none varbinary(128); SET @none = 0x; SET CONTEXT_INFO @none; SELECT DB_NAME()";
            let row = self.client.simple_query(batch).await?.into_row().await?;
            let led = row.as_ref().and_then(|row| row.try_get::<&str, _>(0).ok().flatten());
            if self.database.as_ref().is_some_and(|own| led.map(folded) != Some(folded(own))) {
                return Err(tiberius::error::Error::Protocol("the reset has not led back to the database".into()));
            }
            if std::mem::take(&mut self.context) {
                let engine = "SELECT CASE WHEN SERVERPROPERTY('babelfish') IS NULL THEN 0 ELSE 1 END";
                let row = self.client.simple_query(engine).await?.into_row().await?;
                if row.and_then(|row| row.try_get::<i32, _>(0).ok().flatten()) != Some(0) {
                    return Err(tiberius::error::Error::Protocol("the session context cannot be reset here".into()));
                }
            }
        } else {
            if let Some(lock) = &self.lock {
                let release = "EXEC sp_releaseapplock @Resource = @P1, @LockOwner = N'Session'";
                let _ = self.client.execute(release, &[lock]).await?;
            }
            if self.traces == Traces::Stamp {
                self.stamp(&Stamp::none()).await?;
            }
        }
        self.condition.doubtful = false;
        self.transacts = false;
        self.traces = Traces::None;
        self.lock = None;
        self.transaction = TransactionState::None;
        Ok(())
    }

    /// For how long it has been idle, or had been when it was taken.
    fn idle_for(&self) -> Duration {
        self.given_back.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// True if nobody else may have it as it is.
    fn needs_cleaning(&self) -> bool {
        self.traces >= Traces::Session || self.lock.is_some()
    }

    /// Sets the stamp outside of a validation.
    pub(super) async fn stamp(&mut self, stamp: &Stamp) -> std::result::Result<(), tiberius::error::Error> {
        let set = "DECLARE @stamp varbinary(128) = @P1; SET CONTEXT_INFO @stamp";
        let stamp = stamp.as_bytes();
        self.client.execute(set, &[&stamp]).await.map(drop)
    }
}

/// What a pool holds.
pub(super) struct Slot {
    pub(super) link: Option<Link>,
}

impl pools::Slot for Slot {
    fn is_open(&self) -> bool {
        self.link.is_some()
    }

    fn idle_for(&self, _: &Usage) -> Duration {
        self.link.as_ref().map_or(Duration::ZERO, Link::idle_for)
    }
}

/// Opens connections for one pool and judges those that come back.
pub(super) struct Connector {
    database: Database,
    shared: Weak<Shared>,
}

impl Connector {
    pub(super) fn new(database: Database, shared: &Arc<Shared>) -> Self {
        Self { database, shared: Arc::downgrade(shared) }
    }
}

impl managed::Manager for Connector {
    type Type = Slot;
    type Error = Error;

    async fn create(&self) -> Result<Slot> {
        let shared = self.shared.upgrade().ok_or_else(|| Error::internal("the backend is gone"))?;
        let permit = shared.pools.permit(&self.database).await?;
        let client = shared.open(&self.database).await?;
        Ok(Slot { link: Some(Link::new(client, &self.database.target, permit)) })
    }

    async fn recycle(&self, slot: &mut Slot, _: &Usage) -> RecycleResult<Error> {
        let shared = self.shared.upgrade().ok_or(RecycleError::Message("the backend is gone".into()))?;
        let refuse = |why: &'static str| {
            tracing::debug!(why, "a pooled connection is closed instead of used again");
            telemetry::connection_discarded(why);
            Err(RecycleError::Message(why.into()))
        };
        match &slot.link {
            None => refuse("abandoned"),
            Some(link) if link.condition.dirty || link.needs_cleaning() => refuse("changed"),
            Some(link) if link.born.elapsed() > shared.options.max_age => refuse("old"),
            Some(link) if link.idle_for() > shared.options.idle_time => refuse("idle"),
            Some(_) => Ok(()),
        }
    }
}

/// A connection taken from its pool. It goes back when this is dropped, if it is in a known state.
pub(crate) struct Pooled {
    object: Option<managed::Object<Connector>>,
    shared: Arc<Shared>,
    database: Database,
}

impl Pooled {
    pub(super) fn new(object: managed::Object<Connector>, shared: Arc<Shared>, database: Database) -> Self {
        Self { object: Some(object), shared, database }
    }

    /// The connection, if it is in a state to be used.
    pub(super) fn link(&mut self) -> Result<&mut Link> {
        let link = self.object.as_mut().and_then(|object| object.link.as_mut());
        match link {
            Some(link) if !link.condition.dirty => Ok(link),
            Some(_) | None => Err(lost(Doing::Reading).with_message(
                "an earlier request on this connection was abandoned or broke it; open another connection",
            )),
        }
    }

    /// True if it has served before, so that it may have been lost meanwhile.
    pub(super) fn served_before(&self) -> bool {
        self.object.as_ref().and_then(|object| object.link.as_ref()).is_some_and(|link| link.given_back.is_some())
    }

    /// For how long it had been idle before it was taken.
    pub(super) fn was_idle(&self) -> Duration {
        let link = self.object.as_ref().and_then(|object| object.link.as_ref());
        link.map_or(Duration::ZERO, Link::idle_for)
    }

    /// Takes the connection out of the pool for good.
    pub(super) fn into_client(mut self) -> Result<Client> {
        let link = self.object.take().and_then(|object| managed::Object::take(object).link.take());
        self.shared.pools.tell_returned();
        link.map(|link| link.client).ok_or_else(|| Error::internal("the connection is gone"))
    }

    /// Closes the connection.
    pub(super) fn close(mut self) {
        self.give_up();
    }

    /// Closes the connection, and makes room in its pool for another one.
    pub(super) fn give_up(&mut self) {
        if let Some(mut object) = self.object.take() {
            object.link = None;
            drop(object);
            self.shared.pools.tell_returned();
        }
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let Some(mut object) = self.object.take() else { return };
        let runtime = tokio::runtime::Handle::try_current();
        if let Some(link) = &mut object.link {
            link.given_back = Some(Instant::now());
            match runtime {
                _ if link.condition.dirty => object.link = None,
                Ok(runtime) if link.needs_cleaning() => {
                    drop(runtime.spawn(give_back(object, Arc::clone(&self.shared))));
                    return;
                }
                Err(_) if link.traces != Traces::None || link.lock.is_some() => object.link = None,
                Ok(runtime) if link.traces == Traces::Stamp => {
                    if let Some(object) = linger(&self.shared, &self.database, object, &runtime) {
                        drop(object);
                        self.shared.pools.tell_returned();
                    }
                    return;
                }
                Ok(_) | Err(_) => {}
            }
        }
        drop(object);
        self.shared.pools.tell_returned();
    }
}

/// Cleans a connection and gives it back, or closes it.
async fn give_back(mut object: managed::Object<Connector>, shared: Arc<Shared>) {
    if let Some(link) = &mut object.link {
        // Until the server has answered; if this future is dropped, too.
        link.condition.dirty = true;
        match tokio::time::timeout(shared.options.timeouts.command, link.clean()).await {
            Ok(Ok(())) => link.condition.dirty = false,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a connection could not be reset and is closed");
                object.link = None;
            }
            Err(_) => object.link = None,
        }
    }
    drop(object);
    shared.pools.tell_returned();
}

/// Connections that were given back unused but for their stamp. Whoever needs one next puts another stamp on it, so they are
/// kept aside for a moment; only where nobody comes is a round trip spent on taking the stamp away, for those who wait until
/// the sessions of a mapping are closed.
#[derive(Default)]
pub(super) struct Lingering {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    links: HashMap<Database, Vec<managed::Object<Connector>>>,
    /// The task that takes their stamps away, while there is one. It is over before its time where its runtime ended.
    watch: Option<AbortHandle>,
}

/// For how long a connection is kept aside.
const LINGER: Duration = Duration::from_millis(100);

impl Lingering {
    /// One that is kept aside, if there is any.
    pub(super) fn take(&self, database: &Database) -> Option<managed::Object<Connector>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let list = kept.links.get_mut(database)?;
        let object = list.pop();
        if list.is_empty() {
            drop(kept.links.remove(database));
        }
        object
    }

    /// Gives up those of some databases.
    pub(super) fn forget(&self, forgotten: impl Fn(&Database) -> bool) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let given_up: Vec<_> = kept.links.extract_if(|database, _| forgotten(database)).collect();
        // Closing them needs the locks of the pools.
        drop(kept);
        drop(given_up);
    }

    /// Those that have been here long enough, and whether any are left. If not, the next one has to be watched anew.
    fn due(&self) -> (Vec<managed::Object<Connector>>, bool) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut due = Vec::new();
        kept.links.retain(|_, list| {
            let since = |object: &managed::Object<Connector>| object.link.as_ref().and_then(|link| link.given_back);
            due.extend(list.extract_if(.., |object| since(object).is_none_or(|since| since.elapsed() >= LINGER)));
            !list.is_empty()
        });
        let more = !kept.links.is_empty();
        if !more {
            kept.watch = None;
        }
        (due, more)
    }
}

/// Keeps a connection aside, or gives it back where somebody may be waiting for one or it has served long enough.
fn linger(
    shared: &Arc<Shared>,
    database: &Database,
    mut object: managed::Object<Connector>,
    runtime: &tokio::runtime::Handle,
) -> Option<managed::Object<Connector>> {
    if object.link.as_ref().is_none_or(|link| link.born.elapsed() > shared.options.max_age) {
        object.link = None;
        return Some(object);
    }
    // Who waits puts a stamp of its own on it.
    if managed::Object::pool(&object).is_none_or(|pool| pool.is_closed() || pool.status().waiting > 0) {
        return Some(object);
    }
    if shared.pools.is_exhausted() {
        drop(runtime.spawn(give_back(object, Arc::clone(shared))));
        return None;
    }
    let mut kept = shared.lingering.kept.lock().unwrap_or_else(PoisonError::into_inner);
    kept.links.entry(database.clone()).or_default().push(object);
    if kept.watch.as_ref().is_none_or(AbortHandle::is_finished) {
        kept.watch = Some(runtime.spawn(take_stamps_away(Arc::downgrade(shared))).abort_handle());
    }
    None
}

/// Runs while connections are kept aside.
async fn take_stamps_away(shared: Weak<Shared>) {
    loop {
        tokio::time::sleep(LINGER).await;
        let Some(shared) = shared.upgrade() else { return };
        let (due, more) = shared.lingering.due();
        for object in due {
            drop(tokio::spawn(give_back(object, Arc::clone(&shared))));
        }
        if !more {
            return;
        }
    }
}

impl std::fmt::Debug for Pooled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pooled")
    }
}
