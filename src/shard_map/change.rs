//! An operation that a caller has asked for.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::error::Result;
use crate::operation::{Plan, Request};

/// A change of a shard map that happens when it is awaited.
///
/// [`plan`](Self::plan) shows the steps without taking them.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> shardlet::Result<()> {
/// # use shardlet::{Options, RangeShardMap, ShardLocation, ShardMapManager, Sqlite};
/// # let manager = ShardMapManager::open_or_create(Sqlite::in_memory(), Options::default()).await?;
/// # let orders: RangeShardMap<i64, _> = manager.create_range_shard_map("orders").await?;
/// # let shard = orders.create_shard(&ShardLocation::new("server-a", "sample_shard_0")).await?;
/// let create = orders.create_mapping(0..50, &shard);
/// println!("{}", create.plan()?);    // nothing has been sent to a store
/// assert_eq!(create.plan()?.steps().len(), 3);
/// let mapping = create.await?;
/// # let _ = mapping;
/// # Ok(()) }
/// ```
///
/// # Cost
/// Two requests to the global store and one to each shard concerned: one shard, or two for a move. Draining sessions adds one.
/// Each unfinished operation of another client that is met on the way adds one that was refused, and its undo: two and one or
/// two. On top of the requests come the locks of the operation, on SQLite a lock file.
///
/// # Errors
/// Beside those named at each call: `Unavailable`, `TimedOut`, `StoreDamaged` and `VersionMismatch` from either store, with
/// the place; `PendingOperation` if another client's operation could not be undone; `OutcomeUnknown` if the last commit is
/// in doubt; `Transient` after the tries of [`RetryPolicy`](crate::RetryPolicy). Nothing is changed then, or what was changed
/// is undone now or by the next client, except where the outcome is unknown.
///
/// # Cancel safety
/// Dropping it before it is polled does nothing. Dropping it later leaves the old state, the new state, or an unfinished
/// operation that the next client undoes; the mapping or shard that it was given is then to be read again.
#[must_use = "an operation does nothing until it is awaited"]
pub struct Operation<T> {
    name: &'static str,
    request: Result<Option<Request>>,
    run: Pin<Box<dyn Future<Output = Result<T>> + Send>>,
}

impl<T: Send + 'static> Operation<T> {
    /// An operation with the future that does it.
    pub(crate) fn new(request: Request, run: impl Future<Output = Result<T>> + Send + 'static) -> Self {
        Self { name: request.name, request: Ok(Some(request)), run: Box::pin(run) }
    }

    /// One that would change nothing.
    pub(crate) fn nothing(name: &'static str, value: T) -> Self {
        Self { name, request: Ok(None), run: Box::pin(std::future::ready(Ok(value))) }
    }

    /// One that cannot be done with what was given.
    pub(crate) fn refused(name: &'static str, error: crate::Error) -> Self {
        let error = error.with_operation(name);
        Self { name, request: Err(error.clone()), run: Box::pin(std::future::ready(Err(error))) }
    }

    /// The steps that awaiting this would take, in order. Nothing is sent to a store, so what a store would refuse is not
    /// known yet.
    ///
    /// # Errors
    /// `InvalidInput` if the operation cannot be done with what it was given.
    pub fn plan(&self) -> Result<Plan> {
        match &self.request {
            Ok(Some(request)) => Ok(request.plan()),
            Ok(None) => Ok(Plan::nothing(self.name)),
            Err(error) => Err(error.clone()),
        }
    }
}

impl<T> Future for Operation<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.run.as_mut().poll(context)
    }
}

impl<T> fmt::Debug for Operation<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Operation({})", self.name)
    }
}
