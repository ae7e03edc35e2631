//! Pooled connections: how a request runs on one, and which ones may serve again.
//!
//! Invariant: a connection is in its pool only while nothing runs on it. One that has an open transaction, a temporary
//! table, an attached database or a changed setting is closed instead; so is one whose request was abandoned, and one
//! whose file was replaced under it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use deadpool::managed::{self, Metrics as Usage, RecycleError, RecycleResult};
use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use tokio::sync::OwnedSemaphorePermit;

use super::fault::store_fault;
use super::file_identity::FileIdentity;
use super::layout::DatabaseName;
use super::pool::{Database, Shared};
use super::sessions::{EndedFlag, InterruptHandle};
use super::setup::configure;
use crate::backend::{blocking, off_thread};
use crate::error::{Error, ErrorKind, Limit, Result};
use crate::telemetry;

/// Prepared statements run this many steps of SQLite's machine between two looks whether they should run on.
const STEPS_BETWEEN_LOOKS: i32 = 1_000;

/// A connection taken from its pool. It goes back when this is dropped, if it is in a known state.
pub(crate) struct PooledConnection {
    database: Database,
    /// `None` only while another connection is being taken in place of one that was lost.
    object: Option<managed::Object<Connector>>,
    /// True until the first request since it was taken.
    fresh: bool,
    /// Dropped after the object has gone back.
    _returned: TellReturned,
}

/// Wakes those who wait for a permit.
struct TellReturned(Arc<Shared>);

impl Drop for TellReturned {
    fn drop(&mut self) {
        self.0.pools.tell_returned();
    }
}

impl PooledConnection {
    pub(super) fn new(database: Database, object: managed::Object<Connector>) -> Self {
        let returned = TellReturned(Arc::clone(database.shared()));
        Self { database, object: Some(object), fresh: true, _returned: returned }
    }

    /// Runs a request to a store on a blocking thread, for as long as a command may take.
    ///
    /// If the returned future is dropped, the request is interrupted and the connection is closed when it has ended.
    pub(crate) async fn run<T, F>(&mut self, request: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    {
        let limit = self.database.shared().options.timeouts.command;
        self.run_within(Some(limit), None, |connection, _| request(connection)).await
    }

    /// Runs the application's request, however long it takes, in a session: when that is ended, no statement of it runs on,
    /// also none that begins only then, which an interrupt alone would not reach. While the switch that the request is given
    /// is on, no statement begins or ends a transaction, and nothing is committed.
    pub(super) async fn run_in<T, F>(&mut self, session: Option<EndedFlag>, request: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection, &AtomicBool) -> Result<T> + Send + 'static,
    {
        self.run_within(None, session, request).await
    }

    async fn run_within<T, F>(&mut self, limit: Option<Duration>, session: Option<EndedFlag>, request: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection, &AtomicBool) -> Result<T> + Send + 'static,
    {
        let command = self.database.shared().options.timeouts.command;
        let mut request = request;
        loop {
            let Some(mut open) = self.object.as_mut().and_then(|object| object.open.take()) else {
                // A request before this one was abandoned or panicked, or found its file replaced. Its place in the pool is
                // given back first: it may be the only one.
                self.object = None;
                self.object = Some(self.database.checkout().await.map_err(|error| self.database.blame(error))?);
                self.fresh = true;
                continue;
            };
            let fresh = std::mem::replace(&mut self.fresh, false);
            let dropped = Arc::new(AtomicBool::new(false));
            let mut abandoned = InterruptOnDrop(Some((open.interrupt.clone(), Arc::clone(&dropped))));
            let session = session.clone();
            let file = self.database.shared().storage.file(self.database.name());
            let done = blocking(move || {
                if fresh && open.identity != FileIdentity::of(file.as_deref()) {
                    return Err(request);
                }
                let begun = Instant::now();
                let is_late = move || limit.is_some_and(|limit| begun.elapsed() > limit);
                let is_over = move || {
                    dropped.load(Ordering::Relaxed) || session.as_ref().is_some_and(EndedFlag::is_set) || is_late()
                };
                let watched = open.connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(is_over));
                let result = watched.map_err(store_fault).and_then(|()| request(&mut open.connection, &open.guarded));
                let _ = open.connection.progress_handler(0, None::<fn() -> bool>);
                let result = result.map_err(|error| match error.kind() {
                    // Interrupted, by ourselves.
                    ErrorKind::Transient if is_late() => {
                        let message = format!("the request took longer than a command may, which is {command:?}");
                        Error::timed_out(Limit::Command, message).with_source(error)
                    }
                    ErrorKind::TimedOut if error.limit() == Some(Limit::Command) => error.with_message(format!(
                        "the database stayed locked by others for as long as a command may take, which is {command:?}"
                    )),
                    _ => error,
                });
                if !open.connection.is_autocommit() {
                    open.tainted.store(true, Ordering::Relaxed);
                }
                Ok((open, result))
            })
            .await;
            abandoned.0 = None;
            match done? {
                Ok((open, result)) => {
                    if let Some(object) = &mut self.object {
                        object.open = Some(open);
                    }
                    return result.map_err(|error| self.database.blame(error));
                }
                Err(unused) => request = unused,
            }
        }
    }

    /// Takes the connection out of the pool for good.
    pub(super) fn into_raw(mut self) -> Result<Connection> {
        let open = self.object.take().and_then(|object| managed::Object::take(object).open.take());
        open.map(|open| open.connection).ok_or_else(|| Error::internal("the connection is gone"))
    }

    /// Interrupts whatever runs on this connection.
    pub(crate) fn interrupt_handle(&self) -> Option<InterruptHandle> {
        self.object.as_ref()?.open.as_ref().map(|open| open.interrupt.clone())
    }
}

struct InterruptOnDrop(Option<(InterruptHandle, Arc<AtomicBool>)>);

impl Drop for InterruptOnDrop {
    fn drop(&mut self) {
        if let Some((handle, dropped)) = &self.0 {
            dropped.store(true, Ordering::Relaxed);
            handle.interrupt();
        }
    }
}

/// Opens connections for one pool and judges those that come back.
pub(super) struct Connector {
    name: DatabaseName,
    shared: Weak<Shared>,
}

/// What a pool holds: a connection, or nothing where a request took it and did not bring it back.
pub(super) struct Slot {
    open: Option<Open>,
}

struct Open {
    connection: Connection,
    interrupt: InterruptHandle,
    /// Set when a statement has been prepared that leaves traces on the connection.
    tainted: Arc<AtomicBool>,
    /// On while an application's code runs in a transaction of ours, which it must not end, nor go on without: SQLite rolls a
    /// transaction back by itself when a write in it is interrupted, and each later statement would be committed alone.
    guarded: Arc<AtomicBool>,
    identity: FileIdentity,
    born: Instant,
    /// Counts this connection until it is closed.
    _permit: Option<OwnedSemaphorePermit>,
}

impl crate::backend::pools::Slot for Slot {
    fn is_open(&self) -> bool {
        self.open.is_some()
    }
}

impl Slot {
    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            // Closing the last connection to a file copies its WAL back.
            off_thread(move || drop(open));
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.close();
    }
}

impl Connector {
    pub(super) fn new(name: DatabaseName, shared: &Arc<Shared>) -> Self {
        Self { name, shared: Arc::downgrade(shared) }
    }
}

impl managed::Manager for Connector {
    type Type = Slot;
    type Error = Error;

    async fn create(&self) -> Result<Slot> {
        let shared = self.shared.upgrade().ok_or_else(|| Error::internal("the backend is gone"))?;
        let permit = shared.permit(&self.name).await?;
        let name = self.name.clone();
        let open = blocking(move || open(&shared, &name, permit)).await??;
        Ok(Slot { open: Some(open) })
    }

    async fn recycle(&self, slot: &mut Slot, metrics: &Usage) -> RecycleResult<Error> {
        let shared = self.shared.upgrade().ok_or(RecycleError::Message("the backend is gone".into()))?;
        let refuse = |why: &'static str| {
            tracing::debug!(why, "a pooled connection is closed instead of used again");
            telemetry::connection_discarded(why);
            Err(RecycleError::Message(why.into()))
        };
        match &slot.open {
            None => refuse("abandoned"),
            Some(open) if open.tainted.load(Ordering::Relaxed) => refuse("changed"),
            Some(open) if open.born.elapsed() > shared.options.max_age => refuse("old"),
            Some(_) if metrics.last_used() > shared.options.idle_time => refuse("idle"),
            Some(_) => Ok(()),
        }
    }
}

/// Opens a connection. Blocking.
fn open(shared: &Shared, name: &DatabaseName, permit: Option<OwnedSemaphorePermit>) -> Result<Open> {
    let identity = FileIdentity::of(shared.storage.file(name).as_deref());
    let mut connection = shared.storage.open(name)?;
    configure(&mut connection, name, &shared.options)?;
    let tainted = Arc::new(AtomicBool::new(false));
    let watch = Arc::clone(&tainted);
    let guarded = Arc::new(AtomicBool::new(false));
    let (on_statement, on_commit) = (Arc::clone(&guarded), Arc::clone(&guarded));
    connection
        .authorizer(Some(move |context: AuthContext<'_>| {
            if leaves_traces(&context) {
                watch.store(true, Ordering::Relaxed);
            }
            match context.action {
                AuthAction::Transaction { .. } if on_statement.load(Ordering::Relaxed) => Authorization::Deny,
                _ => Authorization::Allow,
            }
        }))
        .map_err(store_fault)?;
    connection.commit_hook(Some(move || on_commit.load(Ordering::Relaxed))).map_err(store_fault)?;
    let interrupt = InterruptHandle::of(&connection);
    Ok(Open { connection, interrupt, tainted, guarded, identity, born: Instant::now(), _permit: permit })
}

/// True for statements whose effect on the connection outlives their transaction.
fn leaves_traces(context: &AuthContext<'_>) -> bool {
    // Not every way to make a temporary object has an action of its own (`CREATE TABLE temp.t`, virtual tables), but all
    // of them touch that database.
    context.database_name == Some("temp")
        || matches!(context.action, AuthAction::Pragma { .. } | AuthAction::Attach { .. } | AuthAction::Detach { .. })
}
