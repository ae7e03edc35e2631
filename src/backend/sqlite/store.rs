//! What global and local stores have in common as SQLite schemas: version, installation, transactions.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior};

use super::fault::{StatementFault, commit_fault, is_missing_column, is_missing_table, store_fault};
use crate::backend::stored::small_number;
use crate::error::{Error, ErrorCode, ErrorKind, Refusal, Result};
use crate::fault_point;
use crate::model::StoreVersion;

/// A kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreKind {
    /// The global store.
    Global,
    /// The store of a shard.
    Local,
}

/// Makes the table of the descriptions of shards, which older global stores lack.
pub(crate) const SHARD_DESCRIPTIONS: &str = include_str!("../../../sql/sqlite/gsm/descriptions.sql");

impl StoreKind {
    /// The columns are qualified, because a quoted name that is no column would be a text to SQLite.
    fn version_query(self) -> &'static str {
        match self {
            Self::Global => {
                r#"SELECT v."StoreVersionMajor", v."StoreVersionMinor" FROM "__ShardManagement.ShardMapManagerGlobal" AS v"#
            }
            Self::Local => {
                r#"SELECT v."StoreVersionMajor", v."StoreVersionMinor" FROM "__ShardManagement.ShardMapManagerLocal" AS v"#
            }
        }
    }

    /// The same at version 1.0.
    fn old_version_query(self) -> &'static str {
        match self {
            Self::Global => r#"SELECT v."StoreVersion", 0 FROM "__ShardManagement.ShardMapManagerGlobal" AS v"#,
            Self::Local => r#"SELECT v."StoreVersion", 0 FROM "__ShardManagement.ShardMapManagerLocal" AS v"#,
        }
    }

    fn scripts(self) -> &'static [&'static str] {
        match self {
            Self::Global => &[include_str!("../../../sql/sqlite/gsm/0102.sql"), SHARD_DESCRIPTIONS],
            Self::Local => &[include_str!("../../../sql/sqlite/lsm/0102.sql")],
        }
    }

    /// The tables of the reference library that a store consists of, that of its version first.
    pub(super) fn tables(self) -> &'static [&'static str] {
        match self {
            Self::Global => &[
                "ShardMapManagerGlobal",
                "ShardMapsGlobal",
                "ShardsGlobal",
                "ShardMappingsGlobal",
                "OperationsLogGlobal",
                "ShardedDatabaseSchemaInfosGlobal",
            ],
            Self::Local => &["ShardMapManagerLocal", "ShardMapsLocal", "ShardsLocal", "ShardMappingsLocal"],
        }
    }

    /// The version of the store, or `None` where the database has none.
    pub(crate) fn version(self, connection: &Connection) -> Result<Option<StoreVersion>> {
        let numbers = |row: &Row<'_>| -> std::result::Result<_, StatementFault> {
            Ok(StoreVersion { major: small_number(row, 0)?, minor: small_number(row, 1)? })
        };
        let read = |sql: &str| {
            let mut statement = connection.prepare_cached(sql)?;
            statement.query_row([], |row| Ok(numbers(row))).optional()
        };
        let found = match read(self.version_query()) {
            Err(error) if is_missing_column(&error) => read(self.old_version_query()),
            found => found,
        };
        match found {
            Ok(Some(version)) => Ok(Some(version?)),
            Ok(None) => Err(self.no_version()),
            Err(error) if is_missing_column(&error) => Err(self.no_version()),
            Err(error) if is_missing_table(&error) => {
                let tables = self.missing_tables(connection)?;
                if tables.len() == self.tables().len() { Ok(None) } else { Err(missing(&tables)) }
            }
            Err(error) => Err(store_fault(error)),
        }
    }

    /// True if anything of a store is there.
    pub(crate) fn is_there(self, connection: &Connection) -> Result<bool> {
        Ok(self.missing_tables(connection)?.len() < self.tables().len())
    }

    /// The error where the version table is empty.
    fn no_version(self) -> Error {
        let table = self.tables().first().copied().unwrap_or_default();
        Error::damaged(format!(
            "the store's version table {table} is empty or has other columns: it is only half installed"
        ))
    }

    /// Fails with the names of the tables that are missing.
    pub(super) fn complete(self, connection: &Connection) -> Result<()> {
        let tables = self.missing_tables(connection)?;
        if tables.is_empty() { Ok(()) } else { Err(missing(&tables)) }
    }

    fn missing_tables(self, connection: &Connection) -> Result<Vec<&'static str>> {
        let find = || {
            let mut statement = connection
                .prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = '__ShardManagement.' || ?1")?;
            let mut tables = Vec::new();
            for table in self.tables() {
                if !statement.exists([table])? {
                    tables.push(*table);
                }
            }
            Ok(tables)
        };
        find().map_err(store_fault)
    }

    /// The error where a database holds no store.
    pub(super) fn absent(self) -> Error {
        match self {
            Self::Global => Error::new(
                ErrorKind::NotFound,
                ErrorCode::ShardMapManagerStoreDoesNotExist,
                "the database holds no shard map manager store",
            ),
            // To routing this is what a shard without the map is.
            Self::Local => Refusal::ShardMapDoesNotExist
                .into_error()
                .with_message("the database holds no local store, so it is not a shard of the map"),
        }
    }

    /// The error where the store has a version that cannot be used.
    pub(super) fn mismatch(self, version: StoreVersion) -> Error {
        version.mismatch(match self {
            Self::Global => ErrorCode::GlobalStoreVersionMismatch,
            Self::Local => ErrorCode::LocalStoreVersionMismatch,
        })
    }

    /// Refuses a store of a version that cannot be used, and a database without one.
    fn check(self, connection: &Connection) -> Result<()> {
        match self.version(connection)? {
            Some(version) if version.is_usable() => Ok(()),
            Some(version) => Err(self.mismatch(version)),
            None => Err(self.absent()),
        }
    }

    /// Installs the tables, or what is missing of them, in the caller's transaction.
    pub(crate) fn install(self, transaction: &Connection) -> Result<()> {
        self.scripts().iter().try_for_each(|script| transaction.execute_batch(script)).map_err(store_fault)
    }

    /// Commits what was written.
    pub(crate) fn commit(self, transaction: Transaction<'_>) -> Result<()> {
        let (written, committed) = match self {
            Self::Global => ("global store: written", "global store: committed"),
            Self::Local => ("local store: written", "local store: committed"),
        };
        fault_point::reached(written);
        transaction.commit().map_err(commit_fault)?;
        fault_point::reached(committed);
        Ok(())
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
            self.commit(transaction)?;
        } else {
            transaction.rollback().map_err(store_fault)?;
        }
        Ok(value)
    }
}

/// The error where tables of a store are missing.
fn missing(tables: &[&str]) -> Error {
    let (word, verb) = if tables.len() == 1 { ("table", "is") } else { ("tables", "are") };
    Error::damaged(format!("{word} {} of the store {verb} missing: it is only half installed", tables.join(", ")))
}
