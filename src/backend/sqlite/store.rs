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
    pub(crate) fn version(self, connection: &mut Connection) -> Result<Option<StoreVersion>> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred).map_err(store_fault)?;
        self.version_in(&transaction)
    }

    /// The version of the store that the transaction sees, or `None` where the database has none.
    pub(crate) fn version_in(self, transaction: &Transaction<'_>) -> Result<Option<StoreVersion>> {
        let numbers = |row: &Row<'_>| -> std::result::Result<_, StatementFault> {
            Ok(StoreVersion { major: small_number(row, 0)?, minor: small_number(row, 1)? })
        };
        let read = |sql: &str| {
            let mut statement = transaction.prepare_cached(sql)?;
            statement.query_row([], |row| Ok(numbers(row))).optional()
        };
        let found = match read(self.version_query()) {
            Err(error) if is_missing_table(&error) || is_missing_column(&error) => {
                // What cannot be prepared begins no look at one moment, and another client may be installing or upgrading.
                let begin = "SELECT count(*) FROM sqlite_schema";
                transaction.query_row(begin, [], |_| Ok(())).map_err(store_fault)?;
                read(self.version_query())
            }
            found => found,
        };
        let found = match found {
            Err(error) if is_missing_column(&error) => read(self.old_version_query()),
            found => found,
        };
        match found {
            Ok(Some(version)) => Ok(Some(version?)),
            Ok(None) => Err(self.no_version()),
            Err(error) if is_missing_column(&error) => Err(self.no_version()),
            Err(error) if is_missing_table(&error) => {
                let tables = self.missing_tables(transaction)?;
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
    fn check(self, transaction: &Transaction<'_>) -> Result<()> {
        match self.version_in(transaction)? {
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

    use super::*;
    use crate::backend::sqlite::layout::DatabaseName;
    use crate::backend::sqlite::options::SqliteOptions;
    use crate::backend::sqlite::setup::configure;

    fn open(file: &Path) -> Connection {
        let mut connection = Connection::open(file).unwrap();
        configure(&mut connection, &DatabaseName::Global, &SqliteOptions::default()).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection
    }

    /// The version that a client finds while another one changes the store, right when the first begins to read.
    fn found_while(
        kind: StoreKind,
        file: &Path,
        change: impl FnOnce(&mut Connection) + Send + 'static,
    ) -> Result<Option<StoreVersion>> {
        let (mut client, mut other) = (open(file), open(file));
        let mut change = Some(change);
        let watch = move |context: AuthContext<'_>| {
            if let AuthAction::Read { .. } = context.action
                && let Some(change) = change.take()
            {
                change(&mut other);
            }
            Authorization::Allow
        };
        client.authorizer(Some(watch)).unwrap();
        kind.version(&mut client)
    }

    fn install(kind: StoreKind, connection: &mut Connection) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        kind.install(&transaction).unwrap();
        transaction.commit().unwrap();
    }

    #[test]
    fn a_store_that_is_installed_meanwhile_is_there_or_not() {
        for kind in [StoreKind::Global, StoreKind::Local] {
            let directory = tempfile::tempdir().unwrap();
            let found =
                found_while(kind, &directory.path().join("store.db"), move |other| install(kind, other)).unwrap();
            assert_eq!(found, Some(StoreVersion::CURRENT), "{kind:?}");
        }
    }

    #[test]
    fn a_store_that_is_upgraded_meanwhile_is_of_one_version() {
        for kind in [StoreKind::Global, StoreKind::Local] {
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("store.db");
            let mut old = open(&file);
            install(kind, &mut old);
            let table = format!("__ShardManagement.{}", kind.tables()[0]);
            old.execute_batch(&format!(
                r#"DROP TABLE "{table}";
                   CREATE TABLE "{table}" ("StoreVersion" INTEGER NOT NULL PRIMARY KEY) STRICT;
                   INSERT INTO "{table}" VALUES (1)"#
            ))
            .unwrap();
            let found = found_while(kind, &file, move |other| {
                let _ = kind.upgrade(other).unwrap();
            })
            .unwrap();
            assert_eq!(found, Some(StoreVersion::CURRENT), "{kind:?}");
        }
    }
}
