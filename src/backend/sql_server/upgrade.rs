//! Bringing stores to the current version: a numbered script for each step, and after them what an installation adds.

use std::time::Duration;

use super::install::{Found, StoreKind, absent, complete, look, run};
use super::link::Pooled;
use crate::error::{Error, Result};
use crate::model::{StoreUpgrade, StoreVersion};

/// The scripts in their order, each with the version that it leads to. Each is one transaction, under the lock of
/// installations, and looks at the version again: whoever comes second changes nothing.
pub(super) fn steps(kind: StoreKind) -> [(StoreVersion, &'static str); 2] {
    let (to_1_1, to_1_2) = match kind {
        StoreKind::Global => (
            include_str!("../../../sql/sql_server/gsm/0100_to_0101.sql"),
            include_str!("../../../sql/sql_server/gsm/0101_to_0102.sql"),
        ),
        StoreKind::Local => (
            include_str!("../../../sql/sql_server/lsm/0100_to_0101.sql"),
            include_str!("../../../sql/sql_server/lsm/0101_to_0102.sql"),
        ),
    };
    [(StoreVersion { major: 1, minor: 1 }, to_1_1), (StoreVersion { major: 1, minor: 2 }, to_1_2)]
}

/// See [`GlobalStore::upgrade_global`](crate::gsm::GlobalStore::upgrade_global). `found` is what the version table says.
pub(super) async fn upgrade(
    pooled: &mut Pooled,
    kind: StoreKind,
    found: Option<Found>,
    limit: Duration,
) -> Result<StoreUpgrade> {
    let found = found.ok_or_else(|| absent(kind))?;
    let from = found.version;
    if !from.is_known() {
        return Err(kind.mismatch(from));
    }
    complete(pooled, kind, limit).await?;
    // What an interrupted upgrade has left, the last step takes away. In a newer store it is not ours to judge.
    if from > StoreVersion::CURRENT || (from == StoreVersion::CURRENT && !found.upgrade_lock) {
        return Ok(StoreUpgrade::new(from, from));
    }
    tracing::info!(?kind, %from, "upgrading a store");
    for (to, script) in steps(kind) {
        if from < to || to == StoreVersion::CURRENT {
            run(pooled, &[script], limit).await?;
        }
    }
    // Our indexes and procedures.
    run(pooled, &[kind.tables(), kind.procedures()], limit).await?;
    let to = look(pooled, kind, limit).await?.ok_or_else(|| absent(kind))?.version;
    if to < StoreVersion::CURRENT {
        return Err(Error::damaged(format!("the store has version {to} even after its upgrade from {from}")));
    }
    Ok(StoreUpgrade::new(from, to))
}
