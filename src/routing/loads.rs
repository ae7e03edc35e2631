//! Loads under way, shared by all who wait for the same key.
//!
//! `moka` coalesces them. What is loaded is not kept here: a call that comes when a load is over begins another. The caller
//! chooses the key so that whoever shares a load may use its result, and looks into its cache again inside the load.
//!
//! Invariant: of the calls for one key at one time, just one load runs, in a task of its own: no caller that is dropped
//! or no longer polled holds up the others.
//! Invariant: a failed load fails those who waited for it and nobody after them.

use std::fmt;
use std::future::{Future, poll_fn};
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use moka::future::Cache;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tracing::Instrument;

use super::hasher::{WordHasher, random_hasher};
use crate::error::{Error, Limit, Result};

/// The loads of one kind of value.
pub(crate) struct Loads<K, V> {
    under_way: Cache<K, V, WordHasher>,
}

impl<K, V> Loads<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(crate) fn new() -> Self {
        // With no room at all `moka` still coalesces, and nothing that was loaded can linger.
        Self { under_way: Cache::builder().max_capacity(0).build_with_hasher(random_hasher()) }
    }

    /// The result of `load`, or of the load of the same key that is under way already.
    ///
    /// The deadline bounds the wait of this call, and the load if this call is the one that begins it: a load that hangs
    /// would otherwise hold up all later calls for the key.
    ///
    /// # Errors
    /// What the load fails with; [`Limit::Load`] if a deadline passes first; an internal error if the load panics or there
    /// is no tokio runtime.
    pub(crate) async fn load<F, Fut>(&self, key: K, deadline: Duration, load: F) -> Result<V>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<V>> + Send + 'static,
    {
        let runtime = Handle::try_current()
            .map_err(|error| Error::internal("a mapping was loaded outside of a tokio runtime").with_source(error))?;
        let under_way = self.under_way.clone();
        let bounded = async move { timeout(deadline, caught(load)).await.unwrap_or_else(|_| Err(too_late(deadline))) };
        let shared = async move { under_way.try_get_with(key, bounded).await };
        let task = runtime.spawn(shared.in_current_span());
        match timeout(deadline, task).await {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(error))) => Err(Error::clone(&error)),
            Ok(Err(error)) => Err(Error::internal("the task that loads a mapping was ended").with_source(error)),
            Err(_) => Err(too_late(deadline)),
        }
    }
}

fn too_late(deadline: Duration) -> Error {
    Error::timed_out(Limit::Load, format!("the load of a mapping from the global store took longer than {deadline:?}"))
}

/// The load with a panic made an error. Otherwise each waiter would in turn run its own load into the same panic.
async fn caught<F, Fut, V>(load: F) -> Result<V>
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<V>>,
{
    let mut running = pin!(async move { load().await });
    poll_fn(|context| {
        // After a panic the load is answered for and never polled again.
        catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(context)))
            .unwrap_or_else(|_| Poll::Ready(Err(Error::internal("the load of a mapping panicked"))))
    })
    .await
}

impl<K, V> fmt::Debug for Loads<K, V> {
    /// Without the keys, which logs must not hold.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loads").finish_non_exhaustive()
    }
}
