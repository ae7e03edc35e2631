//! Turns in waiting for the lock of an operation.
//!
//! Whoever waits at the server holds a connection meanwhile. The owner of the lock may be stopped for long, and many here may
//! want its rows: they would take all connections of the store from those who want something else.
//!
//! Invariant: of those here who wait for one lock, one at a time waits at the server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio::time::Instant;

use super::pool::Database;
use crate::model::OperationId;

type Waiting = HashMap<(Database, OperationId), Weak<AsyncMutex<()>>>;

/// Who waits for which lock.
#[derive(Default)]
pub(super) struct Turns {
    waiting: Mutex<Waiting>,
}

/// The right to wait at the server, until it is dropped.
pub(super) struct Turn {
    _guard: OwnedMutexGuard<()>,
    /// How much of the patience is left.
    pub(super) left: Duration,
}

impl Turns {
    /// The next turn, or none within the patience.
    pub(super) async fn next(&self, database: &Database, id: OperationId, patience: Duration) -> Option<Turn> {
        let mutex = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.retain(|_, mutex| mutex.strong_count() > 0);
            let place = (database.clone(), id);
            let known = waiting.get(&place).and_then(Weak::upgrade);
            let mutex = known.unwrap_or_default();
            drop(waiting.insert(place, Arc::downgrade(&mutex)));
            mutex
        };
        let begun = match Arc::clone(&mutex).try_lock_owned() {
            Ok(guard) => return Some(Turn { _guard: guard, left: patience }),
            Err(_) => Instant::now(),
        };
        let guard = tokio::time::timeout(patience, mutex.lock_owned()).await.ok()?;
        Some(Turn { _guard: guard, left: patience.saturating_sub(begun.elapsed()) })
    }
}
