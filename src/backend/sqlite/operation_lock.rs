//! The lock that keeps two clients off one operation, between tasks and between processes.
//!
//! For databases in files it is a lock of the operating system on a file named by the operation, so that a process that
//! dies frees its locks at once. In memory it is a mutex.
//!
//! Invariant: the lock is held as long as any clone of an [`OperationLock`] lives. Requests that run on blocking threads
//! hold a clone, so that the lock is not free while an abandoned request may still write.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio::time::Instant;

use super::file_identity::is_current;
use super::layout::Storage;
use crate::backend::{blocking, off_thread};
use crate::error::{Error, ErrorCode, ErrorKind, Limit, Result};
use crate::fault_point;
use crate::model::OperationId;

/// The first and the longest pause between two tries; files have no queue to wait in.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// Where operation locks come from.
pub(super) struct OperationLocks {
    storage: Arc<Storage>,
    patience: Duration,
    in_memory: Mutex<HashMap<OperationId, Weak<AsyncMutex<()>>>>,
    /// What is held through this value, to be shared with sessions of local stores.
    held: Mutex<HashMap<OperationId, Weak<Held>>>,
}

/// A held lock. Clones hold the same lock.
#[derive(Clone)]
pub(crate) struct OperationLock {
    _held: Arc<Held>,
}

enum Held {
    File { _lock: FileLock },
    Memory { _guard: OwnedMutexGuard<()> },
}

struct FileLock {
    path: PathBuf,
    file: Option<File>,
}

impl OperationLocks {
    pub(super) fn new(storage: Arc<Storage>, patience: Duration) -> Self {
        Self { storage, patience, in_memory: Mutex::default(), held: Mutex::default() }
    }

    /// Takes the lock of an operation, or fails when it was not free within the patience of the options.
    pub(super) async fn take(&self, id: OperationId) -> Result<OperationLock> {
        let held = match self.storage.lock_directory() {
            Some(directory) => Held::File { _lock: self.take_file(id, directory).await? },
            None => Held::Memory { _guard: self.take_mutex(id).await? },
        };
        let held = Arc::new(held);
        let mut all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, held| held.strong_count() > 0);
        drop(all.insert(id, Arc::downgrade(&held)));
        Ok(OperationLock { _held: held })
    }

    /// The lock of an operation if it is held through this value. Only for whoever holds it.
    pub(super) fn shared(&self, id: OperationId) -> Option<OperationLock> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).get(&id).and_then(Weak::upgrade);
        held.map(|held| OperationLock { _held: held })
    }

    async fn take_mutex(&self, id: OperationId) -> Result<OwnedMutexGuard<()>> {
        let mutex = {
            let mut mutexes = self.in_memory.lock().unwrap_or_else(PoisonError::into_inner);
            mutexes.retain(|_, mutex| mutex.strong_count() > 0);
            let known = mutexes.get(&id).and_then(Weak::upgrade);
            let mutex = known.unwrap_or_default();
            drop(mutexes.insert(id, Arc::downgrade(&mutex)));
            mutex
        };
        tokio::time::timeout(self.patience, mutex.lock_owned()).await.map_err(|_| self.not_acquired(id))
    }

    async fn take_file(&self, id: OperationId, directory: PathBuf) -> Result<FileLock> {
        let begun = Instant::now();
        let mut pause = PAUSES.0;
        loop {
            let path = directory.join(format!("{id}.lock"));
            if let Some(lock) = blocking(move || try_file(path)).await?? {
                return Ok(lock);
            }
            // The last try is at the end of the patience, not up to a pause before it.
            let left = self.patience.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Err(self.not_acquired(id));
            }
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    fn not_acquired(&self, id: OperationId) -> Error {
        Error::timed_out(
            Limit::OperationLock,
            format!("another client held the lock of operation {id} for {:?}", self.patience),
        )
    }
}

/// One try. A file that its last holder removed meanwhile does not count: another client may hold a new one of that
/// name. Blocking.
fn try_file(path: PathBuf) -> Result<Option<FileLock>> {
    let open = || {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        OpenOptions::new().create(true).truncate(false).write(true).open(&path)
    };
    let unusable = |error| {
        Error::new(
            ErrorKind::Unavailable,
            ErrorCode::LockNotAcquired,
            "the lock file of the operation cannot be made or locked",
        )
        .with_source(error)
    };
    let file = open().map_err(unusable)?;
    fault_point::reached("lock: file made");
    match file.try_lock() {
        Ok(()) if is_current(&file, &path) => {
            fault_point::reached("lock: file locked");
            Ok(Some(FileLock { path, file: Some(file) }))
        }
        Ok(()) | Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        let path = std::mem::take(&mut self.path);
        let file = self.file.take();
        off_thread(move || {
            // Removed while it is still locked, so that nobody can lock the name and lose it. Left where an open file
            // cannot be told from another of its name; a file that is left does no harm.
            if cfg!(unix) {
                let _ = std::fs::remove_file(&path);
                fault_point::reached("lock: file removed");
            }
            drop(file);
        });
    }
}

impl std::fmt::Debug for OperationLock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OperationLock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_memory(patience: Duration) -> OperationLocks {
        OperationLocks::new(Arc::new(Storage::memory()), patience)
    }

    #[tokio::test]
    async fn a_lock_is_held_until_its_last_clone_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let in_files =
            || OperationLocks::new(Arc::new(Storage::directory(directory.path()).unwrap()), Duration::from_millis(1));
        for (case, locks, others) in
            [("memory", in_memory(Duration::from_millis(1)), None), ("files", in_files(), Some(in_files()))]
        {
            let id = OperationId::random();
            let others = others.as_ref().unwrap_or(&locks);
            let first = locks.take(id).await.unwrap();
            let clone = first.clone();
            drop(first);
            let refused = others.take(id).await.unwrap_err();
            assert_eq!(refused.limit(), Some(Limit::OperationLock), "{case}");
            assert!(others.take(OperationId::random()).await.is_ok(), "{case}: another operation's lock is free");
            drop(clone);
            let patient = OperationLocks::new(Arc::clone(&others.storage), Duration::from_secs(60));
            assert!(patient.take(id).await.is_ok(), "{case}");
        }
    }

    #[tokio::test]
    async fn many_waiters_hold_a_file_lock_one_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let id = OperationId::random();
        let inside = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let tasks: Vec<_> = (0..16)
            .map(|_| {
                let storage = Arc::new(Storage::directory(directory.path()).unwrap());
                let inside = Arc::clone(&inside);
                tokio::spawn(async move {
                    let locks = OperationLocks::new(storage, Duration::from_secs(60));
                    for _ in 0..10 {
                        let lock = locks.take(id).await.unwrap();
                        assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                        tokio::task::yield_now().await;
                        assert_eq!(inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst), 1);
                        drop(lock);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    }
}
