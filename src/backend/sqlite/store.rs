//! What global and local stores have in common as SQLite schemas: version, installation, transactions.

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::fault::{StatementFault, commit_fault, is_missing_table, store_fault};
use crate::error::{Error, ErrorCode, ErrorKind, Refusal, Result};
use crate::model::StoreVersion;

/// A kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreKind {
    /// The global store.
    Global,
    /// The store of a shard.
    Local,
}

impl StoreKind {
    fn version_query(self) -> &'static str {
        match self {
            Self::Global => {
                r#"SELECT "StoreVersionMajor", "StoreVersionMinor" FROM "__ShardManagement.ShardMapManagerGlobal""#
            }
            Self::Local => {
                r#"SELECT "StoreVersionMajor", "StoreVersionMinor" FROM "__ShardManagement.ShardMapManagerLocal""#
            }
        }
    }

    fn script(self) -> &'static str {
        match self {
            Self::Global => include_str!("../../../sql/sqlite/gsm/0102.sql"),
            Self::Local => include_str!("../../../sql/sqlite/lsm/0102.sql"),
        }
    }

    /// The version of the store, or `None` where the database has none.
    pub(crate) fn version(self, connection: &Connection) -> Result<Option<StoreVersion>> {
        let mut statement = match connection.prepare_cached(self.version_query()) {
            Ok(statement) => statement,
            Err(error) if is_missing_table(&error) => return Ok(None),
            Err(error) => return Err(store_fault(error)),
        };
        statement
            .query_row([], |row| Ok(StoreVersion { major: row.get(0)?, minor: row.get(1)? }))
            .optional()
            .map_err(store_fault)?
            .map(Some)
            .ok_or_else(|| Error::damaged("the store's version table is empty: it is only half installed"))
    }

    /// Refuses a store of another major version, and a database without one.
    fn check(self, connection: &Connection) -> Result<()> {
        let code = match self {
            Self::Global => ErrorCode::GlobalStoreVersionMismatch,
            Self::Local => ErrorCode::LocalStoreVersionMismatch,
        };
        match self.version(connection)? {
            Some(version) => check_version(version, code),
            None => Err(match self {
                Self::Global => Error::new(
                    ErrorKind::NotFound,
                    ErrorCode::ShardMapManagerStoreDoesNotExist,
                    "the database holds no shard map manager store",
                ),
                // To routing this is what a shard without the map is.
                Self::Local => Refusal::ShardMapDoesNotExist
                    .into_error()
                    .with_message("the database holds no local store, so it is not a shard of the map"),
            }),
        }
    }

    /// Installs the tables, or what is missing of them, in the caller's transaction.
    pub(crate) fn install(self, transaction: &Connection) -> Result<()> {
        transaction.execute_batch(self.script()).map_err(store_fault)
    }

    /// Runs a reading request in one transaction, after a check of the version.
    pub(crate) fn read<T>(
        self,
        connection: &mut Connection,
        request: impl FnOnce(&Transaction<'_>) -> std::result::Result<T, StatementFault>,
    ) -> Result<T> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred).map_err(store_fault)?;
        self.check(&transaction)?;
        let value = request(&transaction)?;
        transaction.commit().map_err(store_fault)?;
        Ok(value)
    }

    /// Runs a writing request in one transaction, after a check of the version. It is rolled back if the request fails.
    pub(crate) fn write<T>(
        self,
        connection: &mut Connection,
        request: impl FnOnce(&Transaction<'_>) -> std::result::Result<T, StatementFault>,
    ) -> Result<T> {
        self.write_if(connection, |transaction| request(transaction).map(|value| (value, true)))
    }

    /// As [`write`](Self::write); rolled back too where the request says `false`.
    pub(crate) fn write_if<T>(
        self,
        connection: &mut Connection,
        request: impl FnOnce(&Transaction<'_>) -> std::result::Result<(T, bool), StatementFault>,
    ) -> Result<T> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(store_fault)?;
        self.check(&transaction)?;
        let (value, keep) = request(&transaction)?;
        if keep {
            transaction.commit().map_err(commit_fault)?;
        } else {
            transaction.rollback().map_err(store_fault)?;
        }
        Ok(value)
    }
}

/// Refuses a store of another major version, saying which side is the older one.
fn check_version(version: StoreVersion, code: ErrorCode) -> Result<()> {
    let ours = StoreVersion::CURRENT;
    if version.major == ours.major {
        return Ok(());
    }
    let older = if version < ours { "the store is older and has to be upgraded" } else { "this library is older" };
    let message = format!("the store has version {version}, this library uses {ours}: {older}");
    Err(Error::new(ErrorKind::VersionMismatch, code, message))
}
