//! Loads under way, shared by all who wait for the same key.
//!
//! `moka` coalesces them. What is loaded is not kept here: a call that comes when a load is over begins another. The
//! caller chooses the key so that whoever shares a load may use its result, and looks into its cache again inside the
//! load.
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
    /// The deadline bounds the wait of this call, and the load if this call is the one that begins it: a load that
    /// hangs would otherwise hold up all later calls for the key.
    ///
    /// # Errors
    /// What the load fails with; [`Limit::Load`] if a deadline passes first; an internal error if the load panics or
    /// there is no tokio runtime.
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;
    use tokio::sync::Semaphore;
    use tokio::task::yield_now;

    use super::*;
    use crate::error::ErrorKind;

    const LONG: Duration = Duration::from_secs(3_600);

    /// A load that waits for a gate and then answers how many loads there have been.
    #[derive(Clone)]
    struct Store {
        gate: Arc<Semaphore>,
        begun: Arc<AtomicUsize>,
    }

    impl Store {
        fn new(open: usize) -> Self {
            Self { gate: Arc::new(Semaphore::new(open)), begun: Arc::default() }
        }

        async fn read(self) -> Result<usize> {
            let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            self.gate.acquire().await.unwrap().forget();
            Ok(number)
        }

        fn begun(&self) -> usize {
            self.begun.load(Ordering::SeqCst)
        }
    }

    /// Lets all other tasks of a single-threaded runtime run until each waits for something else.
    async fn let_others_run() {
        for _ in 0..50 {
            yield_now().await;
        }
    }

    /// As many callers of one key, each a task of its own, all waiting.
    async fn waiting(
        loads: &Arc<Loads<u64, usize>>,
        store: &Store,
        callers: usize,
    ) -> Vec<tokio::task::JoinHandle<Result<usize>>> {
        let tasks = (0..callers)
            .map(|_| {
                let (loads, store) = (Arc::clone(loads), store.clone());
                tokio::spawn(async move { loads.load(1, LONG, || store.read()).await })
            })
            .collect();
        let_others_run().await;
        tasks
    }

    #[tokio::test]
    async fn a_hundred_callers_share_one_load_and_the_next_begins_another() {
        let (loads, store) = (Arc::new(Loads::new()), Store::new(0));
        let callers = waiting(&loads, &store, 100).await;
        store.gate.add_permits(1);
        for result in join_all(callers).await {
            assert_eq!(result.unwrap().unwrap(), 1);
        }
        assert_eq!(store.begun(), 1);

        store.gate.add_permits(1);
        let again = store.clone();
        assert_eq!(loads.load(1, LONG, || again.read()).await.unwrap(), 2);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn on_several_threads_nobody_gets_what_was_loaded_before_the_call() {
        let (loads, store) = (Arc::new(Loads::new()), Store::new(10_000));
        for _ in 0..200 {
            let before = store.begun();
            let callers = (0..10).map(|_| {
                let (loads, store) = (Arc::clone(&loads), store.clone());
                tokio::spawn(async move { loads.load(1, LONG, || store.read()).await })
            });
            for result in join_all(callers).await {
                let number = result.unwrap().unwrap();
                assert!(before < number && number <= store.begun());
            }
        }
    }

    #[tokio::test]
    async fn keys_do_not_wait_for_each_other() {
        let (loads, store) = (Arc::new(Loads::new()), Store::new(0));
        let callers = waiting(&loads, &store, 1).await;
        assert_eq!(loads.load(2, LONG, || async { Ok(0) }).await.unwrap(), 0);
        store.gate.add_permits(1);
        assert_eq!(join_all(callers).await.pop().unwrap().unwrap().unwrap(), 1);
    }

    #[tokio::test]
    async fn a_failure_fails_those_who_wait_and_nobody_after() {
        let loads = Arc::new(Loads::<u64, usize>::new());
        let gate = Arc::new(Semaphore::new(0));
        let callers: Vec<_> = (0..10)
            .map(|_| {
                let (loads, gate) = (Arc::clone(&loads), Arc::clone(&gate));
                tokio::spawn(async move {
                    let load = || async move {
                        gate.acquire().await.unwrap().forget();
                        Err(Error::invalid_input("no"))
                    };
                    loads.load(1, LONG, load).await
                })
            })
            .collect();
        let_others_run().await;
        gate.add_permits(1);
        for result in join_all(callers).await {
            assert_eq!(result.unwrap().unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        assert_eq!(gate.available_permits(), 0);
        assert_eq!(loads.load(1, LONG, || async { Ok(5) }).await.unwrap(), 5);
    }

    #[tokio::test]
    async fn a_panic_is_an_internal_error_for_all_who_wait() {
        let loads = Arc::new(Loads::<u64, usize>::new());
        let begun = Arc::new(AtomicUsize::new(0));
        let callers = (0..10).map(|_| {
            let begun = Arc::clone(&begun);
            let load = || async move {
                let _ = begun.fetch_add(1, Ordering::SeqCst);
                yield_now().await;
                yield_now().await;
                panic!("in a load")
            };
            loads.load(1, LONG, load)
        });
        for result in join_all(callers).await {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Internal);
        }
        assert_eq!(begun.load(Ordering::SeqCst), 1);

        let at_once = loads.load(1, LONG, || -> std::future::Ready<Result<usize>> { panic!("before the load") });
        assert_eq!(at_once.await.unwrap_err().kind(), ErrorKind::Internal);
        assert_eq!(loads.load(1, LONG, || async { Ok(5) }).await.unwrap(), 5);
    }

    #[tokio::test]
    async fn a_dropped_caller_neither_fails_nor_holds_up_the_others() {
        let (loads, store) = (Arc::new(Loads::new()), Store::new(0));
        let mut callers = waiting(&loads, &store, 10).await;
        // The first one began the load.
        for caller in callers.drain(..5) {
            caller.abort();
            assert!(caller.await.unwrap_err().is_cancelled());
        }
        store.gate.add_permits(1);
        for result in join_all(callers).await {
            assert_eq!(result.unwrap().unwrap(), 1);
        }
        assert_eq!(store.begun(), 1);
    }

    #[tokio::test]
    async fn a_caller_that_is_no_longer_polled_does_not_hold_up_the_others() {
        let (loads, store) = (Arc::new(Loads::new()), Store::new(0));
        let first = store.clone();
        let mut idle = pin!(loads.load(1, LONG, || first.read()));
        assert!(futures::poll!(idle.as_mut()).is_pending());
        let_others_run().await;
        assert_eq!(store.begun(), 1);
        let callers = waiting(&loads, &store, 3).await;
        store.gate.add_permits(1);
        for result in join_all(callers).await {
            assert_eq!(result.unwrap().unwrap(), 1);
        }
        assert_eq!(idle.await.unwrap(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_has_a_deadline_and_so_has_a_load_that_hangs() {
        let (loads, store) = (Arc::new(Loads::new()), Store::new(0));
        let begun = tokio::time::Instant::now();
        let callers = waiting(&loads, &store, 1).await;
        let hanging = store.clone();
        let error = loads.load(1, Duration::from_secs(2), || hanging.read()).await.unwrap_err();
        assert_eq!((error.kind(), error.limit()), (ErrorKind::TimedOut, Some(Limit::Load)));
        assert_eq!(begun.elapsed(), Duration::from_secs(2));
        assert_eq!(store.begun(), 1, "it waited for the load of the first caller");

        let error = join_all(callers).await.pop().unwrap().unwrap().unwrap_err();
        assert_eq!(error.limit(), Some(Limit::Load));
        assert_eq!(begun.elapsed(), LONG);
        let_others_run().await;
        assert_eq!(loads.load(1, LONG, || async { Ok(5) }).await.unwrap(), 5, "the hanging load is gone");
    }

    #[test]
    fn without_a_runtime_it_is_an_error() {
        let loads = Loads::<u64, usize>::new();
        let error = futures::executor::block_on(loads.load(1, LONG, || async { Ok(1) })).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
    }
}
