//! Bringing stores to the current version: a numbered script for each step, all in one transaction.

use rusqlite::{Connection, TransactionBehavior};

use super::fault::{commit_fault, store_fault};
use super::store::StoreKind;
use crate::error::Result;
use crate::model::{StoreUpgrade, StoreVersion};

/// The scripts in their order, each with the version that it leads to.
fn steps(kind: StoreKind) -> [(StoreVersion, &'static str); 2] {
    let (to_1_1, to_1_2) = match kind {
        StoreKind::Global => (
            include_str!("../../../sql/sqlite/gsm/0100_to_0101.sql"),
            include_str!("../../../sql/sqlite/gsm/0101_to_0102.sql"),
        ),
        StoreKind::Local => (
            include_str!("../../../sql/sqlite/lsm/0100_to_0101.sql"),
            include_str!("../../../sql/sqlite/lsm/0101_to_0102.sql"),
        ),
    };
    [(StoreVersion { major: 1, minor: 1 }, to_1_1), (StoreVersion { major: 1, minor: 2 }, to_1_2)]
}

impl StoreKind {
    /// True if an upgrade in the manner of the reference library was interrupted: it locks the version table by a column.
    fn has_upgrade_lock(self, connection: &Connection) -> Result<bool> {
        let column = match self {
            Self::Global => {
                "SELECT 1 FROM pragma_table_info('__ShardManagement.ShardMapManagerGlobal') WHERE name = 'UpgradeLock'"
            }
            Self::Local => {
                "SELECT 1 FROM pragma_table_info('__ShardManagement.ShardMapManagerLocal') WHERE name = 'UpgradeLock'"
            }
        };
        connection.prepare(column).and_then(|mut statement| statement.exists([])).map_err(store_fault)
    }

    fn drop_upgrade_lock(self) -> &'static str {
        match self {
            Self::Global => r#"ALTER TABLE "__ShardManagement.ShardMapManagerGlobal" DROP COLUMN "UpgradeLock""#,
            Self::Local => r#"ALTER TABLE "__ShardManagement.ShardMapManagerLocal" DROP COLUMN "UpgradeLock""#,
        }
    }

    /// See [`GlobalStore::upgrade_global`](crate::gsm::GlobalStore::upgrade_global).
    pub(crate) fn upgrade(self, connection: &mut Connection) -> Result<StoreUpgrade> {
        // The only writer from here on: what is read stays so.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(store_fault)?;
        let from = self.version_in(&transaction)?.ok_or_else(|| self.absent())?;
        if !from.is_known() {
            return Err(self.mismatch(from));
        }
        self.complete(&transaction)?;
        // In a newer store the column is not ours to judge.
        let interrupted = from <= StoreVersion::CURRENT && self.has_upgrade_lock(&transaction)?;
        if from >= StoreVersion::CURRENT && !interrupted {
            return Ok(StoreUpgrade::new(from, from));
        }
        tracing::info!(kind = ?self, %from, "upgrading a store");
        if interrupted {
            transaction.execute_batch(self.drop_upgrade_lock()).map_err(store_fault)?;
        }
        for (to, script) in steps(self) {
            if from < to {
                transaction.execute_batch(script).map_err(store_fault)?;
            }
        }
        // Our indexes, and the table of ended sessions.
        self.install(&transaction)?;
        transaction.commit().map_err(commit_fault)?;
        Ok(StoreUpgrade::new(from, StoreVersion::CURRENT))
    }
}
