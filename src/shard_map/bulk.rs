//! Creating many mappings.
//!
//! The work is cut into batches, each of them one operation on one shard: it happens as a whole or not at all. The first
//! mapping of a shard that no mapping is known of is an operation of its own, which the batches after it stand beside.
//!
//! Invariant: what is left to do changes only after an operation has succeeded, so that a batch that failed, or was dropped, comes
//! again.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Operation, ShardMap};
use crate::backend::{Backend, blocking};
use crate::error::{Error, ErrorCode, Result};
use crate::gsm::RecordFilter;
use crate::key::EncodedRange;
use crate::model::{Mapping, MappingRecord, MappingStatus, Shard, ShardId, ShardMapKind};
use crate::operation::{Request, Stores, add_mapping, add_mappings};

/// How many mappings are created at once. Start from the default and set what differs.
///
/// ```
/// use shardlet::{BulkOptions, MappingStatus};
/// let options = BulkOptions::default().batch_size(100).status(MappingStatus::Offline);
/// # let _ = options;
/// ```
#[derive(Clone, Debug)]
pub struct BulkOptions {
    batch_size: usize,
    status: MappingStatus,
}

impl BulkOptions {
    /// The largest batch. A server locks each row that an operation writes, and whole tables from some thousands of rows on.
    pub const MAX_BATCH_SIZE: usize = 1_000;

    /// The batch unless it is set.
    pub const DEFAULT_BATCH_SIZE: usize = 500;

    /// How many mappings one operation creates at most: 1 to 1,000, and what is outside is the nearest of these. 500 unless set.
    ///
    /// Larger ones are faster; smaller ones hold the shard for a shorter time, and are undone sooner if a client dies.
    #[must_use]
    pub fn batch_size(mut self, mappings: usize) -> Self {
        self.batch_size = mappings.clamp(1, Self::MAX_BATCH_SIZE);
        self
    }

    /// The status that the mappings get. [`MappingStatus::Online`] unless set.
    #[must_use]
    pub fn status(mut self, status: MappingStatus) -> Self {
        self.status = status;
        self
    }
}

impl Default for BulkOptions {
    fn default() -> Self {
        Self { batch_size: Self::DEFAULT_BATCH_SIZE, status: MappingStatus::Online }
    }
}

/// How far a creation of many mappings has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkProgress {
    created: usize,
    skipped: usize,
    total: usize,
}

impl BulkProgress {
    /// How many mappings have been created.
    #[must_use]
    pub fn created(&self) -> usize {
        self.created
    }

    /// How many were there already when [`BulkCreation::skip_existing`] looked.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// How many are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.total - self.created - self.skipped
    }

    /// How many were asked for.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total
    }
}

impl fmt::Display for BulkProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} created", self.created, self.total)?;
        if self.skipped > 0 {
            write!(f, ", {} were there", self.skipped)?;
        }
        Ok(())
    }
}

/// Many mappings that are to be created, batch by batch. Made by `create_mappings` of a shard map.
///
/// Each batch is one operation on one shard, with all promises of one: after a crash its mappings are in the global store and in
/// the shard's, or in neither. Stop asking for the next batch to stop in between. To go on after a crash, ask for the same mappings
/// again and [skip](Self::skip_existing) what is there.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> shardlet::Result<()> {
/// # use shardlet::{BulkOptions, ListShardMap, Options, ShardLocation, ShardMapManager, Sqlite};
/// # let manager = ShardMapManager::open_or_create(Sqlite::in_memory(), Options::default()).await?;
/// # let tenants: ListShardMap<i64, _> = manager.create_list_shard_map("tenants").await?;
/// # let a = tenants.create_shard(&ShardLocation::new("server", "a")).await?;
/// # let b = tenants.create_shard(&ShardLocation::new("server", "b")).await?;
/// let shards = [&a, &b];
/// let keys = (0..2_000_i64).zip(shards.into_iter().cycle());
/// let creation = tenants.create_mappings(keys, &BulkOptions::default())?;
/// while let Some(batch) = creation.next_batch() {
///     let mappings = batch.await?;
///     println!("{} more: {}", mappings.len(), creation.progress());
/// }
/// assert_eq!(creation.progress().left(), 0);
/// # Ok(()) }
/// ```
pub struct BulkCreation<M: Mapping, B: Backend> {
    map: ShardMap<M, B>,
    options: BulkOptions,
    work: Arc<Mutex<Work>>,
}

/// What is left to do.
struct Work {
    /// In the order in which they were named, backwards.
    shards: Vec<ShardWork>,
    progress: BulkProgress,
}

/// What is left to do on a shard.
struct ShardWork {
    shard: Shard,
    /// A mapping that the shard has, once one is known.
    kept: Option<Arc<MappingRecord>>,
    /// In the order of the keys, backwards.
    left: Vec<EncodedRange>,
}

/// A batch to be done.
struct Batch {
    shard: Shard,
    kept: Option<Arc<MappingRecord>>,
    first: EncodedRange,
    others: Vec<EncodedRange>,
}

impl<M: Mapping, B: Stores> ShardMap<M, B> {
    /// Prepares the creation of many mappings. For list and range maps' own calls.
    pub(crate) fn create_all<S: Borrow<Shard>>(
        &self,
        mappings: impl Iterator<Item = (Result<EncodedRange>, S)>,
        options: &BulkOptions,
    ) -> Result<BulkCreation<M, B>> {
        let about = |error: Error| self.blame(error.with_operation(add_mappings::NAME));
        let mut shards: Vec<ShardWork> = Vec::new();
        let mut numbers: HashMap<ShardId, usize> = HashMap::new();
        let mut all: Vec<(EncodedRange, usize, usize)> = Vec::new();
        for (place, (keys, shard)) in mappings.enumerate() {
            let shard = shard.borrow();
            let keys = keys.and_then(|keys| self.own_shard(shard).map(|()| keys)).map_err(|error| {
                let message = format!("number {place}, from 0: {}", error.message());
                about(error.with_message(message))
            })?;
            let number = *numbers.entry(shard.id()).or_insert_with(|| {
                shards.push(ShardWork { shard: shard.clone(), kept: None, left: Vec::new() });
                shards.len() - 1
            });
            all.push((keys, number, place));
        }
        all.sort_unstable_by(|(a, ..), (b, ..)| a.low.cmp(&b.low));
        for pair in all.windows(2) {
            if let [(before, _, first), (after, _, second)] = pair
                && share_keys(M::KIND, before, after)
            {
                let message = format!("numbers {} and {}, from 0, share a key", first.min(second), first.max(second));
                return Err(about(Error::invalid_input(message)));
            }
        }
        let progress = BulkProgress { created: 0, skipped: 0, total: all.len() };
        for (keys, number, _) in all.into_iter().rev() {
            if let Some(work) = shards.get_mut(number) {
                work.left.push(keys);
            }
        }
        shards.reverse();
        let work = Arc::new(Mutex::new(Work { shards, progress }));
        Ok(BulkCreation { map: self.clone(), options: options.clone(), work })
    }
}

/// Whether of two mappings, the first of which begins no later, both have a key.
fn share_keys(kind: ShardMapKind, before: &EncodedRange, after: &EncodedRange) -> bool {
    match kind {
        ShardMapKind::List => before.low == after.low,
        ShardMapKind::Range => before.intersects(after),
    }
}

impl<M: Mapping, B: Stores> BulkCreation<M, B> {
    /// Tells of a mapping that is there, as [`skip_existing`](Self::skip_existing) finds them: it spares its shard the operation
    /// that creates the first mapping alone. One of another shard, or one that is gone, does no harm.
    #[must_use]
    pub fn beside(self, mapping: &M) -> Self {
        {
            let mut work = lock(&self.work);
            let record = mapping.record();
            if let Some(shard) = work.shards.iter_mut().find(|work| work.shard.id() == record.shard.id()) {
                shard.kept = Some(Arc::clone(record));
            }
        }
        self
    }

    /// How far it has come. No request.
    #[must_use]
    pub fn progress(&self) -> BulkProgress {
        lock(&self.work).progress
    }

    /// Takes out of what is left the mappings that are there already, with the same keys on the same shard, online or offline; says
    /// how many. What is mapped otherwise stays, and is refused in its turn. One read of the global store, of all mappings of
    /// the map, or of the shard if only one is left.
    ///
    /// # Errors
    /// `NotFound` if the map is gone, or the only shard that is left.
    ///
    /// # Cancel safety
    /// Dropping the future skips them or does not.
    pub async fn skip_existing(&self) -> Result<usize> {
        let only = {
            let work = lock(&self.work);
            match work.shards.as_slice() {
                [only] => Some(only.shard.id()),
                _ => None,
            }
        };
        let about = |error: Error| self.map.blame(error.with_operation(add_mappings::NAME));
        let filter = RecordFilter { range: None, shard: only };
        let there = self.map.stores().mappings(self.map.info(), &filter).await.map_err(about)?;
        let work = Arc::clone(&self.work);
        // Many are compared: not on a thread that others wait for.
        blocking(move || lock(&work).skip(&there)).await
    }

    /// The operation that creates the next batch, and gives its mappings in the order of their keys; `None` when nothing is left.
    ///
    /// It does nothing until it is awaited, and can show its plan. A batch is written beside a mapping that the shard has already. If
    /// that is gone by then, or is not what it was, the first mapping of the batch is created alone, in another operation than the one
    /// that was planned, and the rest is the next batch. If it fails, or is dropped, none of its mappings is there once
    /// the next client has come by, except where the outcome is unknown, and it is the next batch again. Where it was dropped after
    /// its last step it has happened all the same: then it is refused with kind `AlreadyExists` or `Overlaps`, or
    /// `Disabled` if the shard was marked offline meanwhile, and [`skip_existing`](Self::skip_existing) helps. The same goes for one
    /// that failed with kind `OutcomeUnknown` and has happened.
    ///
    /// # Errors
    /// Of the operation: `AlreadyExists` or `Overlaps` if a key is mapped; `NotFound` if the shard is gone; `Disabled` if it is
    /// [marked offline](ShardMap::update_shard); and those named at [`Operation`].
    #[must_use]
    pub fn next_batch(&self) -> Option<Operation<Vec<M>>> {
        let batch = lock(&self.work).next(self.options.batch_size)?;
        let (map, status, shared) = (self.map.clone(), self.options.status, Arc::clone(&self.work));
        let request = batch.request(&map, status);
        let todo = request.clone();
        Some(Operation::new(request, async move {
            let (added, alone) = match map.run_request(&todo).await {
                // The one beside which the others were to be created is gone: then the first of them is created alone.
                Err(error) if batch.kept.is_some() && error.code() == ErrorCode::MappingDoesNotExist => {
                    (map.run_request(&batch.alone(&map, status)).await?, true)
                }
                added => (added?, batch.kept.is_none()),
            };
            lock(&shared).done(&batch.shard, &added, alone);
            Ok(added.into_iter().map(super::mappings::handle).collect())
        }))
    }

    /// Creates all that is left, and tells of its progress after each batch.
    ///
    /// # Errors
    /// As [`next_batch`](Self::next_batch): the batches before the one that failed stay.
    ///
    /// # Cancel safety
    /// As an [`Operation`], for the batch under way.
    pub async fn run(&self, mut progress: impl FnMut(BulkProgress) + Send) -> Result<BulkProgress> {
        while let Some(batch) = self.next_batch() {
            let _ = batch.await?;
            progress(self.progress());
        }
        Ok(self.progress())
    }
}

impl Work {
    fn next(&mut self, size: usize) -> Option<Batch> {
        while self.shards.last().is_some_and(|work| work.left.is_empty()) {
            let _ = self.shards.pop();
        }
        let work = self.shards.last()?;
        let others = if work.kept.is_some() { size - 1 } else { 0 };
        let mut left = work.left.iter().rev().cloned();
        Some(Batch {
            shard: work.shard.clone(),
            kept: work.kept.clone(),
            first: left.next()?,
            others: left.take(others).collect(),
        })
    }

    /// Takes out of what is left what is there; says how much.
    fn skip(&mut self, there: &[MappingRecord]) -> usize {
        let mut one_of: HashMap<ShardId, &MappingRecord> = HashMap::new();
        for mapping in there {
            let _ = one_of.entry(mapping.shard.id()).or_insert(mapping);
        }
        let mut skipped = 0;
        for work in &mut self.shards {
            let id = work.shard.id();
            work.kept = one_of.get(&id).map(|mapping| Arc::new(MappingRecord::clone(mapping)));
            let before = work.left.len();
            work.left.retain(|keys| {
                let found = there.binary_search_by(|mapping| mapping.low.cmp(&keys.low)).ok();
                !found.and_then(|found| there.get(found)).is_some_and(|it| it.shard.id() == id && it.high == keys.high)
            });
            skipped += before - work.left.len();
        }
        self.progress.skipped += skipped;
        skipped
    }

    /// Takes out of what is left what an operation has created, alone or beside others. Some of it may be out already: of two
    /// operations for one batch, or where others were skipped meanwhile.
    fn done(&mut self, shard: &Shard, added: &[Arc<MappingRecord>], alone: bool) {
        let Some(work) = self.shards.iter_mut().find(|work| work.shard.id() == shard.id()) else { return };
        for mapping in added {
            let found = work.left.binary_search_by(|keys| mapping.low.cmp(&keys.low)).ok();
            let same = |at: &usize| work.left.get(*at).is_some_and(|keys| keys.high == mapping.high);
            if let Some(at) = found.filter(same) {
                // Near the end, so that little is moved.
                let _ = work.left.remove(at);
                self.progress.created += 1;
            }
        }
        if alone {
            work.kept = added.first().cloned();
        }
    }
}

impl Batch {
    fn request<M: Mapping, B: Stores>(&self, map: &ShardMap<M, B>, status: MappingStatus) -> Request {
        match &self.kept {
            Some(kept) => {
                let keys = std::iter::once(&self.first).chain(&self.others);
                add_mappings::request(map.info(), kept, keys, &self.shard, status)
            }
            None => self.alone(map, status),
        }
    }

    /// Its first mapping in an operation of its own.
    fn alone<M: Mapping, B: Stores>(&self, map: &ShardMap<M, B>, status: MappingStatus) -> Request {
        let EncodedRange { low, high } = self.first.clone();
        let mut request = add_mapping::request(map.info(), low, high, &self.shard, status);
        request.name = add_mappings::NAME;
        request
    }
}

/// What is left is whole at any time, so a panic elsewhere does not make it unusable.
fn lock(work: &Mutex<Work>) -> MutexGuard<'_, Work> {
    work.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<M: Mapping, B: Backend> fmt::Debug for BulkCreation<M, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkCreation").field("progress", &lock(&self.work).progress).finish_non_exhaustive()
    }
}
