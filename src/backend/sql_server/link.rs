//! Connections in pools: the state of each, and which ones may serve again.
//!
//! Invariants: a connection is *dirty* from the moment a request is sent until its answer has been read to the end, and a dirty
//! one is closed, never pooled. One on which something of its user may be left (a transaction, a temporary table, a setting, a
//! lock, a stamp) is reset by the server before it goes back, and closed if that fails.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use deadpool::managed::{self, Metrics as Usage, RecycleError, RecycleResult};
use tiberius::Command;
use tokio::sync::OwnedSemaphorePermit;

use super::connect::Client;
use super::fault::{Doing, fault, lost};
use super::pool::{Database, Shared};
use super::stamp::Stamp;
use crate::backend::pools;
use crate::error::{Error, Result};
use crate::telemetry;

/// What a user may have left on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Traces {
    /// Nothing.
    None,
    /// What a reset by the server takes away.
    Session,
    /// The isolation level as well, which older servers do not reset.
    Isolation,
}

/// A connection with its state.
pub(super) struct Link {
    pub(super) client: Client,
    /// A request is under way, or was abandoned.
    pub(super) dirty: bool,
    pub(super) traces: Traces,
    /// The transaction that the application has begun.
    pub(super) transaction: TransactionState,
    born: Instant,
    _permit: Option<OwnedSemaphorePermit>,
}

/// Where a connection is with its user's transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TransactionState {
    /// There is none.
    None,
    /// It is open.
    Open,
    /// Its guard was dropped; it has to be rolled back before anything else.
    Abandoned,
}

impl Link {
    pub(super) fn new(client: Client, permit: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            client,
            dirty: false,
            traces: Traces::None,
            transaction: TransactionState::None,
            born: Instant::now(),
            _permit: permit,
        }
    }

    /// Notes what the next request may leave.
    pub(super) fn leaves(&mut self, traces: Traces) {
        self.traces = self.traces.max(traces);
    }

    /// Lets the server forget this user, and with it open transactions, temporary objects, settings, locks and the stamp.
    async fn reset(&mut self) -> std::result::Result<(), tiberius::error::Error> {
        let done = Command::new("sys.sp_reset_connection").exec(&mut self.client).await?;
        let _ = done.into_command_result().await?;
        if self.traces >= Traces::Isolation {
            let set = self.client.simple_query("SET TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
            let _ = set.into_results().await?;
        }
        Ok(())
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
        Ok(Slot { link: Some(Link::new(client, permit)) })
    }

    async fn recycle(&self, slot: &mut Slot, usage: &Usage) -> RecycleResult<Error> {
        let shared = self.shared.upgrade().ok_or(RecycleError::Message("the backend is gone".into()))?;
        let refuse = |why: &'static str| {
            tracing::debug!(why, "a pooled connection is closed instead of used again");
            telemetry::connection_discarded(why);
            Err(RecycleError::Message(why.into()))
        };
        match &slot.link {
            None => refuse("abandoned"),
            Some(link) if link.dirty || link.traces != Traces::None => refuse("changed"),
            Some(link) if link.born.elapsed() > shared.options.max_age => refuse("old"),
            Some(_) if usage.last_used() > shared.options.idle_time => refuse("idle"),
            Some(_) => Ok(()),
        }
    }
}

/// A connection taken from its pool. It goes back when this is dropped, if it is in a known state.
pub(crate) struct Pooled {
    object: Option<managed::Object<Connector>>,
    shared: Arc<Shared>,
}

impl Pooled {
    pub(super) fn new(object: managed::Object<Connector>, shared: Arc<Shared>) -> Self {
        Self { object: Some(object), shared }
    }

    /// The connection, if it is in a state to be used.
    pub(super) fn link(&mut self) -> Result<&mut Link> {
        let link = self.object.as_mut().and_then(|object| object.link.as_mut());
        match link {
            Some(link) if !link.dirty => Ok(link),
            Some(_) | None => Err(lost(Doing::Reading).with_message(
                "an earlier request on this connection was abandoned or broke it; open another connection",
            )),
        }
    }

    /// True if it has served before, so that it may have been lost meanwhile.
    pub(super) fn served_before(&self) -> bool {
        self.object.as_ref().is_some_and(|object| managed::Object::metrics(object).recycle_count > 0)
    }

    /// For how long it had been idle before it was taken.
    pub(super) fn was_idle(&self) -> Duration {
        self.object.as_ref().map_or(Duration::ZERO, |object| managed::Object::metrics(object).last_used())
    }

    /// Takes the connection out of the pool for good.
    pub(super) fn into_client(mut self) -> Result<Client> {
        let link = self.object.take().and_then(|object| managed::Object::take(object).link.take());
        self.shared.pools.tell_returned();
        link.map(|link| link.client).ok_or_else(|| Error::internal("the connection is gone"))
    }

    /// Closes the connection.
    pub(super) fn close(mut self) {
        if let Some(object) = &mut self.object {
            object.link = None;
        }
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let Some(mut object) = self.object.take() else { return };
        match &object.link {
            Some(link) if link.dirty => object.link = None,
            Some(link) if link.traces != Traces::None => {
                if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                    drop(runtime.spawn(give_back(object, Arc::clone(&self.shared))));
                    return;
                }
                object.link = None;
            }
            Some(_) | None => {}
        }
        drop(object);
        self.shared.pools.tell_returned();
    }
}

/// Resets a connection and gives it back, or closes it.
async fn give_back(mut object: managed::Object<Connector>, shared: Arc<Shared>) {
    if let Some(link) = &mut object.link {
        // Until the server has answered; if this future is dropped, too.
        link.dirty = true;
        match tokio::time::timeout(shared.options.timeouts.command, link.reset()).await {
            Ok(Ok(())) => {
                link.dirty = false;
                link.traces = Traces::None;
                link.transaction = TransactionState::None;
            }
            Ok(Err(error)) => {
                tracing::debug!(error = %fault(error, Doing::Reading), "a connection could not be reset and is closed");
                object.link = None;
            }
            Err(_) => object.link = None,
        }
    }
    drop(object);
    shared.pools.tell_returned();
}

impl std::fmt::Debug for Pooled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pooled")
    }
}
