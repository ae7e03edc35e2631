//! Bringing the global store and the stores of all shards to the current version.

use std::fmt;

use super::{ShardMapManager, about, in_category};
use crate::error::{Error, ErrorCategory, ErrorKind, Result};
use crate::model::{ShardLocation, StoreUpgrade};
use crate::operation::Stores;

const GLOBAL: &str = "UpgradeGlobalStore";
const LOCAL: &str = "UpgradeLocalStore";

/// What became of the store of a shard.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ShardUpgrade {
    /// It is at the current version, and was before or is now.
    Done(StoreUpgrade),
    /// The database is there and holds no store: it is not a shard any more, or another one has taken its place. An upgrade
    /// installs none.
    Absent,
    /// It was not upgraded, for example because it cannot be reached.
    Failed(Error),
}

/// What an upgrade did at each place. Its text is one line for each.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UpgradeReport {
    /// The global store.
    pub global: StoreUpgrade,
    /// The stores of the shards, in the order of their locations.
    pub shards: Vec<(ShardLocation, ShardUpgrade)>,
}

impl UpgradeReport {
    /// True if every store is at the current version. Otherwise run the upgrade again when the causes are gone.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.shards.iter().all(|(_, outcome)| matches!(outcome, ShardUpgrade::Done(_)))
    }

    /// True if any store was older before.
    #[must_use]
    pub fn is_change(&self) -> bool {
        let changed = |outcome: &ShardUpgrade| matches!(outcome, ShardUpgrade::Done(done) if done.is_change());
        self.global.is_change() || self.shards.iter().any(|(_, outcome)| changed(outcome))
    }
}

impl<B: Stores> ShardMapManager<B> {
    /// Brings the global store, and then the store of each shard, to the version that this library uses. A manager cannot be
    /// opened on a store of version 1.0; at 1.1 everything works without an upgrade.
    ///
    /// **Where clients of the reference library for .NET share the stores, upgrade with that library instead.** On SQL Server
    /// this drops those of its procedures that do not fit the new version, which would do something else than its clients
    /// expect, and has none to put in their place: after an upgrade from 1.0 its clients cannot use the stores at all, after
    /// one from 1.1 they cannot unlock mappings or change shards. Its own upgrade does not bring them back.
    ///
    /// A shard that fails keeps none of the others: the report has a result for each. Running it again goes on where it
    /// stopped, and where there is nothing to do it changes nothing. Clients may work while it goes on: they wait a moment
    /// for the store that is at work, and then go on.
    ///
    /// Two requests to the global store and one to each shard, one shard after another. On SQL Server each is two round trips,
    /// and for an older store some fifty more. Cancel safe: a store has its old version or a later one, never a mixture.
    ///
    /// # Errors
    /// Those of the global store, when no shard was looked at: `NotFound` if there is none; `VersionMismatch` if its major
    /// version is not ours; `Credentials` if the login may not install; `TimedOut` if another client is installing or keeps the
    /// version table locked; `StoreDamaged` if a table is missing; `OutcomeUnknown` if the answer to a commit was lost.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> shardlet::Result<()> {
    /// use shardlet::{Options, ShardMapManager, Sqlite};
    ///
    /// let backend = Sqlite::in_memory();
    /// let _ = ShardMapManager::open_or_create(backend.clone(), Options::default()).await?;
    /// let report = ShardMapManager::upgrade(&backend).await?;
    /// assert_eq!(report.to_string(), "global store: at 1.2, nothing to do\n");
    /// # Ok(()) }
    /// ```
    pub async fn upgrade(backend: &B) -> Result<UpgradeReport> {
        Self::upgrade_with(backend, |_, _| ()).await
    }

    /// As [`upgrade`](Self::upgrade), and tells of each shard when it is done.
    ///
    /// # Errors
    /// As [`upgrade`](Self::upgrade).
    pub async fn upgrade_with(
        backend: &B,
        mut each: impl FnMut(&ShardLocation, &ShardUpgrade) + Send,
    ) -> Result<UpgradeReport> {
        let failed = |error: Error| in_category(error, GLOBAL, ErrorCategory::ShardMapManagerFactory);
        let global = backend.upgrade_global().await.map_err(failed)?;
        let mut locations = backend.shard_locations().await.map_err(failed)?;
        locations.sort();
        let mut shards = Vec::with_capacity(locations.len());
        for location in locations {
            let outcome = match upgrade_local(backend, &location).await {
                Ok(done) => ShardUpgrade::Done(done),
                Err(error) if error.kind() == ErrorKind::NotFound => ShardUpgrade::Absent,
                Err(error) => ShardUpgrade::Failed(error),
            };
            each(&location, &outcome);
            shards.push((location, outcome));
        }
        Ok(UpgradeReport { global, shards })
    }

    /// Brings the store of one shard to the version that this library uses, under the rules of [`upgrade`](Self::upgrade), which
    /// are not all harmless to clients of the reference library. For a shard that an upgrade could not reach.
    ///
    /// One request to the shard, and no other. Cancel safe.
    ///
    /// # Errors
    /// `NotFound` if the database holds no local store; otherwise those of [`upgrade`](Self::upgrade), with the shard as the
    /// place.
    pub async fn upgrade_shard(&self, location: &ShardLocation) -> Result<StoreUpgrade> {
        upgrade_local(&self.shared.stores, location).await
    }
}

async fn upgrade_local<B: Stores>(backend: &B, location: &ShardLocation) -> Result<StoreUpgrade> {
    backend.upgrade_local(location).await.map_err(|error| about(error, LOCAL))
}

impl fmt::Display for ShardUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(done) => done.fmt(f),
            Self::Absent => f.write_str("the database holds no local store"),
            Self::Failed(error) => write!(f, "failed: {error}"),
        }
    }
}

impl fmt::Display for UpgradeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "global store: {}", self.global)?;
        self.shards.iter().try_for_each(|(location, outcome)| writeln!(f, "{location}: {outcome}"))
    }
}
