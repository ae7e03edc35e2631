//! From a key to a connection: the cache, the one load on a miss, validation at the shard, one refresh and one more try.
//!
//! Invariants: a key that the cache holds is routed without the global store; a stale mapping is refreshed once and
//! tried once more, never in a loop; a shard that cannot be reached makes the global store be asked again only now and then.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{CacheOptions, CacheStatistics, Loads, MappingCache};
use crate::error::{Error, ErrorCategory, ErrorCode, ErrorKind, Refusal, Result};
use crate::gsm::GlobalStore;
use crate::key::{EncodedKey, Word};
use crate::lsm::{LocalStore, Route, RouteTarget, Validation};
use crate::model::{MappingId, MappingRecord, MappingStatus, Place, ShardId, ShardMapInfo};
use crate::telemetry;

/// How long the global store is left alone after a shard could not be reached: at first, and at most.
const REFRESH_PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(30));

/// What this process knows of the mappings of one shard map, and how it learns more.
#[derive(Debug)]
pub(crate) struct Router<W: Word> {
    info: ShardMapInfo,
    cache: MappingCache<W>,
    /// By key, epoch, and the mapping that is doubted, so that who doubts one does not get it back from who does not.
    loads: Loads<(W, u64, Option<MappingId>), Option<Arc<MappingRecord>>>,
    load_deadline: Duration,
    unreachable: Unreachable,
}

/// A key in both of its forms.
#[derive(Clone, Debug)]
pub(crate) struct RoutedKey<W> {
    pub(crate) word: W,
    pub(crate) encoded: EncodedKey,
}

impl<W: Word> Router<W> {
    pub(crate) fn new(info: ShardMapInfo, options: &CacheOptions, load_deadline: Duration) -> Self {
        let cache = MappingCache::new(info.kind(), options);
        Self { info, cache, loads: Loads::new(), load_deadline, unreachable: Unreachable::default() }
    }

    pub(crate) fn cache(&self) -> &MappingCache<W> {
        &self.cache
    }

    pub(crate) fn statistics(&self) -> CacheStatistics {
        self.cache.statistics()
    }

    /// The mapping of a key from the cache. No I/O, no lock, no allocation.
    pub(crate) fn cached(&self, word: &W) -> Option<Arc<MappingRecord>> {
        self.cache.peek(word)
    }

    /// The mapping of a key: from the cache, else by one read of the global store that all callers of the moment share.
    pub(crate) async fn find<B: GlobalStore>(
        self: &Arc<Self>,
        stores: &B,
        key: &RoutedKey<W>,
    ) -> Result<Option<Arc<MappingRecord>>> {
        if let Some(found) = self.cache.get(&key.word) {
            return Ok(Some(found));
        }
        telemetry::lookup_missed();
        if self.cache.is_missing(&key.word) {
            return Ok(None);
        }
        self.load(stores, key).await
    }

    async fn load<B: GlobalStore>(
        self: &Arc<Self>,
        stores: &B,
        key: &RoutedKey<W>,
    ) -> Result<Option<Arc<MappingRecord>>> {
        let epoch = self.cache.epoch();
        let (this, stores, wanted) = (Arc::clone(self), stores.clone(), key.clone());
        let load = move || async move {
            // Another load may have brought it between our look and our turn.
            if let Some(found) = this.cache.peek(&wanted.word) {
                return Ok(Some(found));
            }
            this.read(&stores, &wanted, epoch).await
        };
        self.loads.load((key.word, epoch, None), self.load_deadline, load).await
    }

    /// Reads the mapping of a key from the global store and caches what it says.
    pub(crate) async fn read<B: GlobalStore>(
        &self,
        stores: &B,
        key: &RoutedKey<W>,
        epoch: u64,
    ) -> Result<Option<Arc<MappingRecord>>> {
        let read = stores.find_mapping_by_key(&self.info, &key.encoded).await;
        telemetry::mapping_loaded(read.as_ref().err().map(Error::kind));
        match read {
            Ok(Some(record)) => {
                let record = Arc::new(record);
                let _ = self.cache.insert_loaded(&record, epoch);
                Ok(Some(record))
            }
            Ok(None) => {
                self.cache.remember_missing(key.word, epoch);
                Ok(None)
            }
            Err(error) => {
                self.forget_if_gone(&error);
                Err(error)
            }
        }
    }

    /// Forgets the mappings of a map that does not exist any more. A shard that does not know the map says nothing of the
    /// rest.
    pub(crate) fn forget_if_gone(&self, error: &Error) {
        if error.code() == ErrorCode::ShardMapDoesNotExist && !matches!(error.place(), Some(Place::Shard(_))) {
            self.cache.clear();
        }
    }

    /// The mapping of a key after its shard denied it or could not be reached, by one read of the global store that all who
    /// doubt the same mapping share. The cache keeps what it has until the store has been read: with that down too, the key
    /// is routed again when the shard is back.
    async fn find_again<B: GlobalStore>(
        self: &Arc<Self>,
        stores: &B,
        key: &RoutedKey<W>,
        doubted: &Arc<MappingRecord>,
    ) -> Result<Option<Arc<MappingRecord>>> {
        if let Some(newer) = self.cached_but(key, doubted) {
            return Ok(Some(newer));
        }
        let epoch = self.cache.epoch();
        let (this, stores, wanted, old) = (Arc::clone(self), stores.clone(), key.clone(), Arc::clone(doubted));
        let load = move || async move {
            // Another load may have brought it between our look and our turn.
            if let Some(newer) = this.cached_but(&wanted, &old) {
                return Ok(Some(newer));
            }
            let found = this.read(&stores, &wanted, epoch).await?;
            match &found {
                None => {
                    let _ = this.cache.invalidate(&old);
                }
                // The doubted state is over: a load that read it before must not bring it back.
                Some(newer) if newer.id != old.id => {
                    this.cache.apply(std::slice::from_ref(&old), std::slice::from_ref(newer));
                }
                Some(_) => {}
            }
            Ok(found)
        };
        self.loads.load((key.word, epoch, Some(doubted.id)), self.load_deadline, load).await
    }

    /// The mapping of a key from the cache, unless it is the one that is doubted.
    fn cached_but(&self, key: &RoutedKey<W>, doubted: &MappingRecord) -> Option<Arc<MappingRecord>> {
        self.cache.peek(&key.word).filter(|cached| cached.id != doubted.id)
    }

    /// Opens a connection to the shard that holds the key.
    pub(crate) async fn open<B: GlobalStore + LocalStore>(
        self: &Arc<Self>,
        stores: &B,
        key: &RoutedKey<W>,
        credentials: &B::Credentials,
        validation: Validation,
    ) -> Result<B::Connection> {
        let from_cache = self.cache.peek(&key.word);
        let was_cached = from_cache.is_some();
        let record = match from_cache {
            Some(record) => Some(record),
            None => self.find(stores, key).await?,
        };
        let record = record.ok_or_else(not_mapped)?;
        let first = self.open_as(stores, &record, key, credentials, validation).await;
        let error = match first {
            Ok(connection) => {
                self.unreachable.reached(record.shard.id());
                return Ok(connection);
            }
            Err(error) => error,
        };
        let offline_by_hearsay = validation == Validation::None && error.kind() == ErrorKind::Offline;
        let again = is_stale(&error)
            || (was_cached && offline_by_hearsay)
            || (was_cached && is_lost(&error) && self.unreachable.may_ask(record.shard.id()));
        if !again {
            return Err(error);
        }
        if is_stale(&error) {
            telemetry::stale_mapping();
        }
        tracing::debug!(mapping = %record.id, kind = ?error.kind(), "the mapping is refreshed after a failed open");
        // With the global store down the first error is what the caller should know.
        let fresh = match self.find_again(stores, key, &record).await {
            Ok(fresh) => fresh.ok_or_else(not_mapped)?,
            Err(unread) if is_stale(&error) => {
                let _ = self.cache.invalidate(&record);
                return Err(unread);
            }
            Err(_) => return Err(error),
        };
        let second = self.open_as(stores, &fresh, key, credentials, validation).await;
        match second {
            Ok(connection) => {
                self.unreachable.reached(fresh.shard.id());
                Ok(connection)
            }
            Err(error) if is_stale(&error) && fresh.id == record.id => {
                Err(disagreement(error).at_shard(fresh.shard.location()))
            }
            Err(error) if is_stale(&error) => {
                // Changed again since it was read: the cache must not keep what the shard has just denied.
                let _ = self.cache.invalidate(&fresh);
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    async fn open_as<B: LocalStore>(
        &self,
        stores: &B,
        record: &MappingRecord,
        key: &RoutedKey<W>,
        credentials: &B::Credentials,
        validation: Validation,
    ) -> Result<B::Connection> {
        if validation == Validation::None && record.status == MappingStatus::Offline {
            // Nobody will ask the shard, so what we know decides.
            return Err(Refusal::MappingIsOffline.into_error().at_shard(record.shard.location()));
        }
        let route = Route {
            location: record.shard.location().clone(),
            map: record.map,
            target: RouteTarget::Mapping { mapping: record.id, kind: self.info.kind(), key: key.encoded.clone() },
        };
        open(stores, &route, credentials, validation).await
    }
}

/// Opens a connection by a route.
pub(crate) async fn open<B: LocalStore>(
    stores: &B,
    route: &Route,
    credentials: &B::Credentials,
    validation: Validation,
) -> Result<B::Connection> {
    let begun = Instant::now();
    let opened = stores.open_routed(route, credentials, validation).await;
    let validated = validation == Validation::Validate;
    telemetry::opened(validated, opened.as_ref().err().map(Error::kind), begun.elapsed());
    opened.map_err(|error| error.at_shard(&route.location).or_category(ErrorCategory::Validation))
}

/// The shard does not know the mapping, or nothing of its map: what routed us there is old.
fn is_stale(error: &Error) -> bool {
    matches!(error.code(), ErrorCode::MappingDoesNotExist | ErrorCode::ShardMapDoesNotExist)
}

/// The shard is gone: the mapping may have moved.
fn is_lost(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::StoreDamaged)
}

fn not_mapped() -> Error {
    Refusal::MappingNotFoundForKey.into_error()
}

/// The error where the global store, asked again, still maps the key to a shard that denies it.
fn disagreement(error: Error) -> Error {
    let (kind, message) = if error.code() == ErrorCode::ShardMapDoesNotExist {
        // No operation takes the map out of a shard that has mappings.
        (
            ErrorKind::StoreDamaged,
            "the shard's database knows nothing of the map: it is not the one that was registered",
        )
    } else {
        let message = "the shard and the global shard map disagree about the mapping: a change of it is under way, or \
                       was left unfinished";
        (ErrorKind::PendingOperation, message)
    };
    Error::new(kind, error.code(), message).with_category(ErrorCategory::Validation).with_source(error)
}

/// Shards that could not be reached, and when the global store may next be asked about them.
#[derive(Debug, Default)]
struct Unreachable {
    shards: Mutex<HashMap<ShardId, Pause>>,
    /// How many there are, so that the usual open takes no lock.
    count: AtomicUsize,
}

#[derive(Debug)]
struct Pause {
    until: Instant,
    length: Duration,
}

impl Unreachable {
    /// True if the global store may be asked whether the shard's mappings moved. Then it may not be for a while.
    fn may_ask(&self, shard: ShardId) -> bool {
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let length = match shards.get(&shard) {
            Some(pause) if now < pause.until => return false,
            Some(pause) => (pause.length * 2).min(REFRESH_PAUSES.1),
            None => REFRESH_PAUSES.0,
        };
        // A shard that nobody asks for any more is forgotten, and with the last one opens take no lock again.
        shards.retain(|_, pause| now < pause.until + REFRESH_PAUSES.1);
        let _ = shards.insert(shard, Pause { until: now + length, length });
        self.count.store(shards.len(), Ordering::Relaxed);
        true
    }

    fn reached(&self, shard: ShardId) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = shards.remove(&shard);
        let now = Instant::now();
        shards.retain(|_, pause| now < pause.until + REFRESH_PAUSES.1);
        self.count.store(shards.len(), Ordering::Relaxed);
    }
}
