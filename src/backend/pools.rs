//! Pools of connections: one per name, all under one bound. What a connection is and how it is opened is the backend's affair.
//!
//! Invariants: of the connections that count, no more than the overall bound are open, whether they are in use, idle or still
//! busy with an abandoned request, and nobody waits for one while another is idle.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::hash::Hash;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use deadpool::Runtime;
use deadpool::managed::{self, Manager, Metrics, Object, PoolError, TimeoutType, Timeouts};
use tokio::sync::{AcquireError, Notify, OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Limit, Result};

/// Idle connections are looked for at most this often.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The most connections of one name, whatever is asked for: a pool sets aside room for all that it may hold.
const LARGEST_POOL: usize = 4_096;

/// What names a pool.
pub(super) trait PoolName: Clone + Eq + Hash + Send + Sync + 'static {
    /// True if the connections count in the overall bound.
    fn counts(&self) -> bool;
}

/// What a pool holds: a connection, or nothing where a request took it and did not bring it back.
pub(super) trait Slot: Send {
    /// True if it holds a connection.
    fn is_open(&self) -> bool;

    /// For how long it has been idle. The pool itself knows when a connection was taken, not when it came back.
    fn idle_for(&self, usage: &Metrics) -> Duration {
        usage.last_used()
    }
}

/// The bounds of all pools of a backend.
#[derive(Clone, Debug)]
pub(super) struct PoolLimits {
    /// The most connections of one name.
    pub(super) per_name: usize,
    /// The most connections that count.
    pub(super) overall: usize,
    /// An idle connection is closed after this long.
    pub(super) idle_time: Duration,
    /// The longest wait for a free connection.
    pub(super) wait: Duration,
    /// The longest time that opening one may take.
    pub(super) connect: Duration,
}

/// All pools of a backend.
pub(super) struct Pools<N, M: Manager> {
    limits: PoolLimits,
    permits: Arc<Semaphore>,
    /// Told when a connection has gone back to its pool, where whoever waits for a permit may close it.
    returned: Notify,
    pools: Mutex<HashMap<N, Entry<M>>>,
    swept: Mutex<Instant>,
}

struct Entry<M: Manager> {
    pool: managed::Pool<M>,
    used: Instant,
}

impl<N, M> Pools<N, M>
where
    N: PoolName,
    M: Manager<Error = Error>,
    M::Type: Slot,
{
    pub(super) fn new(limits: PoolLimits) -> Self {
        let permits = Arc::new(Semaphore::new(limits.overall.min(Semaphore::MAX_PERMITS)));
        Self { limits, permits, returned: Notify::new(), pools: Mutex::default(), swept: Mutex::new(Instant::now()) }
    }

    /// A connection of a pool, which is made with the given manager if there is none. Waits for a free one at most as long as
    /// the limits say.
    pub(super) async fn checkout(&self, name: &N, manager: impl Fn() -> M) -> Result<Object<M>> {
        self.sweep();
        loop {
            return match self.pool(name, &manager)?.get().await {
                Ok(object) => Ok(object),
                // The name was forgotten in between; the next round makes a new pool.
                Err(PoolError::Closed) => continue,
                Err(PoolError::Backend(error)) => Err(error),
                Err(PoolError::Timeout(TimeoutType::Wait)) => Err(Error::timed_out(
                    Limit::PoolWait,
                    format!(
                        "all {} connections to the database stayed in use for {:?}",
                        self.limits.per_name, self.limits.wait
                    ),
                )),
                Err(PoolError::Timeout(_)) => Err(Error::timed_out(
                    Limit::Connect,
                    format!("the database could not be opened within {:?}", self.limits.connect),
                )),
                Err(PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_)) => {
                    Err(Error::internal("the connection pool is not set up"))
                }
            };
        }
    }

    /// The pool of a name, made if there is none.
    fn pool(&self, name: &N, manager: impl Fn() -> M) -> Result<managed::Pool<M>> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = pools.get_mut(name) {
            entry.used = Instant::now();
            return Ok(entry.pool.clone());
        }
        let pool = managed::Pool::builder(manager())
            .max_size(self.limits.per_name.min(LARGEST_POOL))
            .timeouts(Timeouts {
                wait: Some(self.limits.wait),
                create: Some(self.limits.wait.saturating_add(self.limits.connect)),
                recycle: None,
            })
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| Error::internal("a connection pool could not be built").with_source(error))?;
        drop(pools.insert(name.clone(), Entry { pool: pool.clone(), used: Instant::now() }));
        Ok(pool)
    }

    /// Closes connections that have been idle for long. Called when one is asked for, so that no task of ours has to run.
    fn sweep(&self) {
        {
            let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
            if swept.elapsed() < SWEEP_INTERVAL {
                return;
            }
            *swept = Instant::now();
        }
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|_, entry| {
            drop(entry.pool.retain(|slot, usage| slot.idle_for(&usage) < self.limits.idle_time));
            // A name may never come again: credentials change, shards leave.
            entry.pool.status().size > 0 || entry.used.elapsed() < self.limits.idle_time
        });
    }

    /// A permit for one more connection, taken from idle ones of other names if need be; `None` where it does not count.
    pub(super) async fn permit(&self, name: &N) -> Result<Option<OwnedSemaphorePermit>> {
        if !name.counts() {
            return Ok(None);
        }
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(Some(permit));
        }
        let wait = self.limits.wait;
        match tokio::time::timeout(wait, self.permit_of_idle()).await {
            Ok(Ok(permit)) => Ok(Some(permit)),
            Ok(Err(_)) => Err(Error::internal("the bound on connections was closed")),
            Err(_) => Err(Error::timed_out(
                Limit::PoolWait,
                format!("all {} connections stayed in use for {wait:?}", self.limits.overall),
            )),
        }
    }

    /// Waits for a permit, and closes idle connections for it whenever there are some.
    async fn permit_of_idle(&self) -> std::result::Result<OwnedSemaphorePermit, AcquireError> {
        let mut permit = pin!(Arc::clone(&self.permits).acquire_owned());
        loop {
            let mut returned = pin!(self.returned.notified());
            // Before the look at the idle ones, so that none goes back unseen in between.
            let _ = returned.as_mut().enable();
            self.close_least_used();
            let acquired = poll_fn(|context| match permit.as_mut().poll(context) {
                Poll::Ready(acquired) => Poll::Ready(Some(acquired)),
                Poll::Pending => returned.as_mut().poll(context).map(|()| None),
            });
            if let Some(acquired) = acquired.await {
                return acquired;
            }
        }
    }

    /// Closes the idle connections of the name that was used longest ago. What only looks idle frees nothing: a place in a
    /// pool whose connection went with an abandoned request.
    fn close_least_used(&self) {
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        // Whether some are idle cannot be told by the pool's status, which takes those who wait for a permit to have one each.
        let mut counting: Vec<_> = pools.iter().filter(|(name, _)| name.counts()).map(|(_, entry)| entry).collect();
        counting.sort_by_key(|entry| entry.used);
        for entry in counting {
            let closed = entry.pool.retain(|_, _| false).removed;
            if closed.iter().any(Slot::is_open) {
                return;
            }
        }
    }

    /// Tells those who wait for a permit that a connection has gone back.
    pub(super) fn tell_returned(&self) {
        self.returned.notify_waiters();
    }

    /// True if no more connections that count can be opened, so that somebody may be waiting for one.
    #[cfg(feature = "sql-server")]
    pub(super) fn is_exhausted(&self) -> bool {
        self.permits.available_permits() == 0
    }

    /// Closes the idle connections of a name.
    #[cfg(feature = "sql-server")]
    pub(super) fn close_idle(&self, name: &N) {
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = pools.get(name) {
            drop(entry.pool.retain(|_, _| false));
        }
    }

    /// Closes the pools of some names and their idle connections. Those in use are closed when they come back.
    pub(super) fn forget(&self, forgotten: impl Fn(&N) -> bool) {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|name, entry| {
            let forgotten = forgotten(name);
            if forgotten {
                entry.pool.close();
            }
            !forgotten
        });
    }
}
