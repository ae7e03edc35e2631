//! Doing an operation, and undoing one that was left unfinished.
//!
//! Do: lock, begin on the global store, source, target, sessions, end on the global store; each step in a transaction of
//! its own. A failure is undone from the furthest step that may have happened. A client that dies leaves the log row
//! and the stamps; whoever meets a stamped row undoes the operation in the same way.
//!
//! Invariants: nothing is sent to a store except under the lock of the operation; dropping the future at any await leaves
//! either the old state, the new state, or an operation that the next client undoes. What cannot be undone now is left for
//! later with everything it takes, never forgotten.

use std::borrow::Cow;

use tokio::time::Instant;

use super::local::{self, LocalChange};
use super::log_record::LogRecord;
use super::{Changed, Request, RetryPolicy, Stores};
use crate::error::{Error, ErrorCode, ErrorKind, Result};
use crate::fault_point;
use crate::gsm::{Begin, Direction, GlobalSession, LogEntry};
use crate::lsm::LocalSession;
use crate::model::{OperationId, Place, SessionsEnded, Shard, ShardId, ShardLocation, ShardVersion};
use crate::telemetry;

/// From where an undo starts, as the log row notes it. Smaller is more; the numbers are the reference library's states.
mod undo_start {
    /// Everything: nothing is known of how far the operation came.
    pub(super) const ALL: i32 = crate::gsm::LogEntry::UNDO_ALL;
    /// The target's store, the source's and the global one.
    pub(super) const TARGET: i32 = 107;
    /// The source's store and the global one.
    pub(super) const SOURCE: i32 = 110;
    /// The global store only.
    pub(super) const GLOBAL: i32 = 113;
}

/// Does operations on the stores of a backend.
pub(crate) struct Coordinator<'s, B> {
    stores: &'s B,
    retry: &'s RetryPolicy,
}

/// How a try ended that met no error.
enum Attempt {
    Done(SessionsEnded),
    Pending(Box<LogEntry>),
}

/// A shard that an undo cannot ask at its place, which is another one where it was being moved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Absent<'l> {
    /// Where it was; `None` is every shard.
    pub(crate) place: Option<&'l ShardLocation>,
    /// Which shard it is, if the global store knows it.
    pub(crate) shard: Option<ShardId>,
    /// What is done instead.
    pub(crate) instead: Instead<'l>,
}

/// What an undo does instead of asking a shard at its place.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Instead<'l> {
    /// It asks it where it is now.
    Elsewhere(&'l ShardLocation),
    /// It waits until what was sent there has ended, and changes nothing: the rows are about to be written anew.
    Wait,
    /// Nothing: the shard is gone, or right.
    Nothing,
}

impl Absent<'_> {
    /// True for the shard that this is about.
    pub(crate) fn is(&self, shard: &Shard) -> bool {
        self.place.is_none_or(|place| shard.location() == place) || Some(shard.id()) == self.shard
    }

    /// What is asked instead.
    fn redirect(self, change: LocalChange) -> Option<LocalChange> {
        match self.instead {
            _ if !self.is(change.shard()) => Some(change),
            Instead::Elsewhere(now) => Some(change.at(now)),
            Instead::Wait | Instead::Nothing => None,
        }
    }

    /// Where what was sent has to have ended.
    fn awaited(&self) -> Option<&ShardLocation> {
        self.place.filter(|_| matches!(self.instead, Instead::Wait))
    }
}

/// What an undo found.
#[derive(PartialEq, Eq)]
enum Undone {
    /// The operation, and it is undone now.
    Yes,
    /// No such operation: it was finished, or undone by another client.
    NothingPending,
}

impl<'s, B: Stores> Coordinator<'s, B> {
    pub(crate) fn new(stores: &'s B, retry: &'s RetryPolicy) -> Self {
        Self { stores, retry }
    }

    /// Does an operation and says what changed.
    #[tracing::instrument(
        level = "debug",
        skip_all,
        fields(operation = request.name, id = %request.operation.id, map = request.operation.map.name())
    )]
    pub(crate) async fn run(&self, request: &Request) -> Result<Changed> {
        let outcome = self.run_to_end(request).await;
        telemetry::operation(request.name, outcome.as_ref().err().map(Error::kind));
        match outcome {
            Ok(ended) => {
                tracing::debug!("done");
                Ok(request.changed(ended))
            }
            Err(error) => {
                tracing::debug!(kind = ?error.kind(), "failed");
                Err(request.blame(error))
            }
        }
    }

    async fn run_to_end(&self, request: &Request) -> Result<SessionsEnded> {
        let id = request.operation.id;
        let data = LogRecord::write(&request.operation);
        let mut others = Others::new(self.retry);
        let mut tries = Tries::new(self.retry, id);
        // From where an undo would have to start, over all tries; nothing has happened before the first begin.
        let mut reached = None;
        loop {
            // Boxed, like the phases below: in a debug build their frames would fill a thread's stack.
            let error = match Box::pin(self.attempt(request, &data, &mut reached)).await {
                Ok(Attempt::Done(ended)) => return Ok(ended),
                Ok(Attempt::Pending(entry)) => {
                    others.meet(self, &entry).await?;
                    continue;
                }
                Err(error) => error,
            };
            match tries.after(error).await {
                Ok(()) => {}
                Err(error) => return Err(Box::pin(self.give_up(request, error, reached)).await),
            }
        }
    }

    /// Undoes our own operation after a failure. What cannot be undone now, the next client undoes.
    async fn give_up(&self, request: &Request, error: Error, reached: Option<i32>) -> Error {
        let Some(start) = reached else { return error };
        let entry = LogEntry {
            id: request.operation.id,
            code: request.operation.code as i32,
            data: LogRecord::write(&request.operation),
            undo_start: start,
            version_removes: None,
            version_adds: None,
        };
        match self.undo(&entry).await {
            Ok(Undone::NothingPending) if start <= undo_start::TARGET => {
                // The end step failed, and yet its log row is gone: it happened after all, or somebody undid it.
                let message = "the last step failed and the operation is not pending any more: it was completed, or \
                               undone by another client";
                caused_by(ErrorKind::OutcomeUnknown, ErrorCode::CommitInDoubt, message, error)
            }
            Ok(_) if error.kind() == ErrorKind::OutcomeUnknown => {
                let message = "a commit failed; the operation was undone";
                caused_by(ErrorKind::Transient, ErrorCode::StorageOperationFailure, message, error)
            }
            Ok(_) => error,
            Err(undo) => {
                tracing::warn!(id = %request.operation.id, %undo, "left pending for the next client");
                error
            }
        }
    }

    /// One try. `reached` tells from where an undo would have to start, and is right at every moment.
    async fn attempt(&self, request: &Request, data: &str, reached: &mut Option<i32>) -> Result<Attempt> {
        let operation = &request.operation;
        let (source_change, target_change) = request.local_changes();
        let mut global = self.stores.lock_operation(operation.id).await?;
        fault_point::reached("do: locked");
        let mut source = self.stores.lock_operation_at(source_change.location(), operation.id).await?;
        fault_point::reached("do: locked at the source");
        let mut target = match &target_change {
            Some(change) => Some((self.stores.lock_operation_at(change.location(), operation.id).await?, change)),
            None => None,
        };
        fault_point::reached("do: all locked");

        let begun = note(reached, undo_start::GLOBAL, global.begin(operation, data).await)?;
        if let Begin::Pending(entry) = begun {
            // Nothing of ours is in the store: a try of ours that had begun would have been recognised.
            *reached = None;
            return Ok(Attempt::Pending(entry));
        }
        fault_point::reached("do: begun");
        note(reached, undo_start::SOURCE, source_change.apply(&mut source).await)?;
        fault_point::reached("do: source done");
        if let Some((session, change)) = &mut target {
            note(reached, undo_start::TARGET, change.apply(session).await)?;
            fault_point::reached("do: target done");
        }
        *reached = Some(undo_start::TARGET);
        let ended = match source_change.ending() {
            Some(ending) => source.end_sessions(ending).await?,
            None => SessionsEnded::default(),
        };
        fault_point::reached("do: sessions ended");
        global.end(operation, Direction::Do).await?;
        fault_point::reached("do: ended");
        Ok(Attempt::Done(ended))
    }

    /// Undoes an operation that another client left, or fails with kind `PendingOperation`. False if it was not pending any
    /// more once its lock was free.
    pub(crate) async fn undo_pending(&self, entry: &LogEntry) -> Result<bool> {
        self.undo_of_other(entry, None).await
    }

    /// As [`undo_pending`](Self::undo_pending), for an operation on a shard that is not where it was.
    pub(crate) async fn undo_around(&self, entry: &LogEntry, absent: Absent<'_>) -> Result<bool> {
        self.undo_of_other(entry, Some(absent)).await
    }

    /// Undoes an operation, in the global store alone if it is done in every shard that it concerns: for who believes the shards.
    pub(crate) async fn undo_unless_done(&self, entry: &LogEntry) -> Result<()> {
        let operation = LogRecord::read(entry).map_err(Error::at_global)?;
        let (source, target) = local::backward(&operation, entry.version_removes, entry.version_adds);
        let changes: Vec<_> = source.into_iter().chain(target).collect();
        let mut done = !changes.is_empty();
        for change in &changes {
            done &= self.version_at(change).await?.zip(change.known()).is_some_and(|(now, [_, after])| now == after);
        }
        if done {
            let _ = self.undo_around(entry, Absent { place: None, shard: None, instead: Instead::Nothing }).await?;
        } else {
            let _ = self.undo_pending(entry).await?;
        }
        Ok(())
    }

    #[tracing::instrument(level = "debug", skip_all, fields(id = %entry.id))]
    async fn undo_of_other(&self, entry: &LogEntry, absent: Option<Absent<'_>>) -> Result<bool> {
        let id = entry.id;
        tracing::info!(%id, code = entry.code, ?absent, "undoing an operation that another client left unfinished");
        let undone = self.undo_with(entry, absent).await;
        telemetry::undo(undone.is_ok());
        match undone {
            Ok(undone) => Ok(undone == Undone::Yes),
            // What is damaged will not be undone by trying again.
            Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::StoreDamaged) => Err(error),
            Err(error) => {
                let message = unfinished(id, &format!("and could not be undone: {}", error.message()));
                Err(caused_by(ErrorKind::PendingOperation, ErrorCode::OperationPending, message, error))
            }
        }
    }

    async fn undo(&self, entry: &LogEntry) -> Result<Undone> {
        self.undo_with(entry, None).await
    }

    async fn undo_with(&self, entry: &LogEntry, absent: Option<Absent<'_>>) -> Result<Undone> {
        let mut tries = Tries::new(self.retry, entry.id);
        loop {
            match Box::pin(self.attempt_undo(entry, absent)).await {
                Ok(undone) => return Ok(undone),
                Err(error) => tries.after(error).await?,
            }
        }
    }

    async fn attempt_undo(&self, entry: &LogEntry, absent: Option<Absent<'_>>) -> Result<Undone> {
        let mut global = self.stores.lock_operation(entry.id).await?;
        fault_point::reached("undo: locked");
        let Some(entry) = global.find_operation(entry.id, entry.undo_start.max(undo_start::ALL)).await? else {
            return Ok(Undone::NothingPending);
        };
        fault_point::reached("undo: found");
        if let Some(place) = absent.as_ref().and_then(Absent::awaited) {
            drop(self.stores.lock_operation_at(place, entry.id).await?);
            fault_point::reached("undo: waited for a shard");
        }
        let operation = LogRecord::read(&entry).map_err(Error::at_global)?;
        let (source, target) = local::backward(&operation, entry.version_removes, entry.version_adds);
        let there = |change: Option<LocalChange>| match absent {
            Some(absent) => change.and_then(|change| absent.redirect(change)),
            None => change,
        };
        let (mut source, mut target) = (there(source), there(target));
        // A start that no client writes must not skip a step; undoing what never happened does no harm.
        let start = if entry.undo_start > undo_start::GLOBAL { undo_start::ALL } else { entry.undo_start };
        if start <= undo_start::TARGET
            && let (Some(from), Some(to)) = (&source, &target)
            && (self.has_moved_on(from).await? || self.has_moved_on(to).await?)
        {
            // If one of them has gone on since, so has what was moved: the other must not lose it or get it back.
            tracing::warn!(id = %entry.id, "one of the shards has gone on since: undone in the global store only");
            (source, target) = (None, None);
        }
        if start <= undo_start::TARGET {
            self.apply_at(operation.id, target).await?;
            fault_point::reached("undo: target undone");
        }
        if start <= undo_start::SOURCE {
            self.apply_at(operation.id, source).await?;
            fault_point::reached("undo: source undone");
        }
        global.end(&operation, Direction::Undo).await?;
        fault_point::reached("undo: ended");
        Ok(Undone::Yes)
    }

    /// True if a shard's own store has a version of the shard that is neither that before the operation nor that after it.
    async fn has_moved_on(&self, change: &LocalChange) -> Result<bool> {
        let Some(known) = change.known() else { return Ok(false) };
        Ok(self.version_at(change).await?.is_some_and(|version| !known.contains(&version)))
    }

    /// The version of the shard in its own store, if that knows it.
    async fn version_at(&self, change: &LocalChange) -> Result<Option<ShardVersion>> {
        let rows = match self.stores.local_shards(change.location()).await {
            Err(error) if error.code() == ErrorCode::ShardMapDoesNotExist => return Ok(None),
            rows => rows?,
        };
        Ok(rows.iter().find(|(_, shard)| shard.id() == change.shard().id()).map(|(_, shard)| shard.version()))
    }

    async fn apply_at(&self, id: OperationId, change: Option<LocalChange>) -> Result<()> {
        let Some(change) = change else { return Ok(()) };
        let mut session = self.stores.lock_operation_at(change.location(), id).await?;
        fault_point::reached("undo: locked at a shard");
        change.apply(&mut session).await
    }
}

/// Notes that a step has happened, or may have: a call that fails has changed nothing unless it says that it does not know.
fn note<T>(reached: &mut Option<i32>, start: i32, result: Result<T>) -> Result<T> {
    let happened = match &result {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::OutcomeUnknown,
    };
    if happened {
        *reached = Some(reached.map_or(start, |before| before.min(start)));
    }
    result
}

fn unfinished(id: OperationId, why: &str) -> String {
    format!("operation {id} of another client is unfinished, {why}")
}

fn pending(id: OperationId, why: &str) -> Error {
    Error::new(ErrorKind::PendingOperation, ErrorCode::OperationPending, unfinished(id, why))
}

/// An error at the place of another one, which it has for its source.
fn caused_by(kind: ErrorKind, code: ErrorCode, message: impl Into<Cow<'static, str>>, source: Error) -> Error {
    let error = Error::new(kind, code, message);
    let placed = match source.place() {
        Some(Place::Global) => error.at_global(),
        Some(Place::Shard(location)) => error.at_shard(location),
        None => error,
    };
    placed.with_source(source)
}

/// The operations of others that stood in the way of one.
pub(crate) struct Others<'r> {
    retry: &'r RetryPolicy,
    undone: u32,
    waited_for: u32,
    /// When the first one was met.
    since: Option<Instant>,
}

impl<'r> Others<'r> {
    pub(crate) fn new(retry: &'r RetryPolicy) -> Self {
        Self { retry, undone: 0, waited_for: 0, since: None }
    }

    /// Gets one out of the way. One that its client, alive, has finished while we waited for its lock does not count as
    /// undone: where many clients change one shard, all of them wait their turn, and only time bounds that. The time begins
    /// with the first that is met, so that one is met however short it is: nobody knows before whether its client lives.
    pub(crate) async fn meet<B: Stores>(&mut self, coordinator: &Coordinator<'_, B>, entry: &LogEntry) -> Result<()> {
        if self.undone >= self.retry.undone_operations {
            return Err(pending(entry.id, &format!("after {} others had been undone", self.undone)));
        }
        let waited = self.since.map(|since| since.elapsed());
        if let Some(waited) = waited.filter(|waited| *waited >= self.retry.queue_time) {
            let (lived, undone) = (self.waited_for, self.undone);
            let why = format!(
                "after others had been met, one after another, for {waited:?}: {lived} were waited for, {undone} undone"
            );
            return Err(pending(entry.id, &why));
        }
        let _ = self.since.get_or_insert_with(Instant::now);
        let undone = coordinator.undo_pending(entry).await?;
        self.undone += u32::from(undone);
        self.waited_for = self.waited_for.saturating_add(u32::from(!undone));
        Ok(())
    }
}

/// Counts tries and waits between them.
struct Tries<'r> {
    retry: &'r RetryPolicy,
    id: OperationId,
    failed: u32,
    begun: Instant,
}

impl<'r> Tries<'r> {
    fn new(retry: &'r RetryPolicy, id: OperationId) -> Self {
        Self { retry, id, failed: 0, begun: Instant::now() }
    }

    /// Waits for the next try, or gives the error back if there is none.
    async fn after(&mut self, error: Error) -> Result<()> {
        self.failed += 1;
        if error.kind() != ErrorKind::Transient {
            return Err(error);
        }
        if self.failed >= self.retry.attempts {
            let tries = if self.failed == 1 { "try" } else { "tries" };
            let took = self.begun.elapsed();
            let message = format!("gave up after {} {tries} in {took:?}: {}", self.failed, error.message());
            return Err(caused_by(error.kind(), error.code(), message, error));
        }
        tokio::time::sleep(self.retry.pause(self.failed, self.id)).await;
        Ok(())
    }
}
