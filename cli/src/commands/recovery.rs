//! `shardlet recovery`: what an operator does after a database was restored, renamed, moved or lost.

mod detect;
mod membership;
mod rebuild;
mod resolve;

use clap::Subcommand;
use shardlet::operation::Stores;

use crate::failure::Result;
use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum RecoveryCommand {
    /// Shows where the global store and the shards' own stores differ
    ///
    /// After a database was restored, moved or copied, and before applications can reach it. Exits with 1 if anything differs, an
    /// operation is unfinished, or a shard cannot be looked at. Nothing is changed.
    Detect(detect::Detect),
    /// Makes the global store or a shard's own store right about what differs
    ///
    /// After a shard was restored to an older state: --keep global, before applications can reach it; its rows are as old as the
    /// backup, so bring them up to date first. After the global store was restored: --keep local, or rebuild --map for many shards.
    /// Differences that an unfinished operation leaves go away with shardlet operation undo; they need no resolve.
    Resolve(resolve::Resolve),
    /// Puts a shard into a map that its own store says it belongs to
    ///
    /// For a shard that was detached and came back, or that a restored or new global store does not have. Its mappings are not taken
    /// along: detect shows them, resolve decides. Keep it from applications until then. A database that was no shard of the map yet
    /// is added by shardlet shard add.
    Attach(membership::Attach),
    /// Takes a shard that is gone for ever out of a map, with all its mappings; it is not asked
    ///
    /// Its keys are not mapped then. Never for a shard that applications can still reach: they would be served by it while its keys
    /// are mapped elsewhere. Out of a map for a living one: move its mappings, then shardlet shard delete.
    Detach(membership::Detach),
    /// Tells all maps that the shard at one place is at another now
    ///
    /// After its database was renamed, restored under another name, or moved to another server. The old place must not answer any
    /// more, or be the same database. Then look with detect whether the new one has an older state.
    Rename(membership::Rename),
    /// Writes stores anew: a shard's own store from the global store, or with --map the global store from shards
    ///
    /// Without --map: for a shard whose own store is missing, half installed or damaged. With --map: after the global store was
    /// restored to an older state or lost, when its shards are attached. Never while the side that is kept may be the wrong one:
    /// what the other side has alone is gone afterwards. For single differences there is resolve.
    Rebuild(rebuild::Rebuild),
}

impl RecoveryCommand {
    pub(crate) async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        match self {
            Self::Detect(detect) => detect.run(session).await,
            Self::Resolve(resolve) => resolve.run(session).await,
            Self::Attach(attach) => attach.run(session).await,
            Self::Detach(detach) => detach.run(session).await,
            Self::Rename(rename) => rename.run(session).await,
            Self::Rebuild(rebuild) => rebuild.run(session).await,
        }
    }
}
