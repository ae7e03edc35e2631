//! What global and local stores have in common on SQL Server: version, scripts, installation.

use std::time::Duration;

use tiberius::Row;

use super::fault::{Doing, fault, late};
use super::link::{Pooled, Traces};
use crate::error::{Error, ErrorCode, ErrorKind, Result};
use crate::model::StoreVersion;

/// A kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreKind {
    /// The global store.
    Global,
    /// The store of a shard.
    Local,
}

/// How long a script waits for the lock of installations.
const INSTALLATION_LOCK: Duration = Duration::from_secs(60);

/// Ends a batch of a script, alone on its line.
const SEPARATOR: &str = "GO";

/// One row for each table of a global store that is there, and one of NULL where the login would not see them.
const ANY_GLOBAL_TABLE: &str = "SELECT t.name FROM (VALUES (N'ShardMapManagerGlobal'), (N'ShardMapsGlobal'), \
     (N'ShardsGlobal'), (N'ShardMappingsGlobal'), (N'OperationsLogGlobal'), (N'ShardedDatabaseSchemaInfosGlobal')) AS t (name) \
     WHERE OBJECT_ID(N'__ShardManagement.' + t.name, N'U') IS NOT NULL \
     UNION ALL SELECT NULL WHERE SERVERPROPERTY('babelfish') IS NULL AND SCHEMA_ID(N'__ShardManagement') IS NOT NULL \
     AND HAS_PERMS_BY_NAME(N'__ShardManagement', N'SCHEMA', N'VIEW DEFINITION') = 0";

impl StoreKind {
    /// All columns, because version 1.0 had others; one column of another name where only the version table is missing.
    fn version_query(self) -> &'static str {
        match self {
            Self::Global => {
                "IF OBJECT_ID(N'__ShardManagement.ShardMapManagerGlobal', N'U') IS NOT NULL \
                 SELECT * FROM __ShardManagement.ShardMapManagerGlobal \
                 ELSE IF OBJECT_ID(N'__ShardManagement.ShardMapsGlobal', N'U') IS NOT NULL SELECT 1 AS NoVersionTable"
            }
            Self::Local => {
                "IF OBJECT_ID(N'__ShardManagement.ShardMapManagerLocal', N'U') IS NOT NULL \
                 SELECT * FROM __ShardManagement.ShardMapManagerLocal \
                 ELSE IF OBJECT_ID(N'__ShardManagement.ShardMapsLocal', N'U') IS NOT NULL SELECT 1 AS NoVersionTable"
            }
        }
    }

    /// The tables that a store consists of, beside its version table, and that are missing. A login that may only call procedures
    /// does not see what is there, and is told of none.
    fn missing_tables_query(self) -> &'static str {
        match self {
            Self::Global => {
                "SELECT t.name FROM (VALUES (N'ShardMapsGlobal'), (N'ShardsGlobal'), (N'ShardMappingsGlobal'), \
                 (N'OperationsLogGlobal'), (N'ShardedDatabaseSchemaInfosGlobal')) AS t (name) \
                 WHERE OBJECT_ID(N'__ShardManagement.' + t.name, N'U') IS NULL \
                 AND (SERVERPROPERTY('babelfish') IS NOT NULL \
                 OR HAS_PERMS_BY_NAME(N'__ShardManagement', N'SCHEMA', N'VIEW DEFINITION') = 1)"
            }
            Self::Local => {
                "SELECT t.name FROM (VALUES (N'ShardMapsLocal'), (N'ShardsLocal'), (N'ShardMappingsLocal')) AS t (name) \
                 WHERE OBJECT_ID(N'__ShardManagement.' + t.name, N'U') IS NULL \
                 AND (SERVERPROPERTY('babelfish') IS NOT NULL \
                 OR HAS_PERMS_BY_NAME(N'__ShardManagement', N'SCHEMA', N'VIEW DEFINITION') = 1)"
            }
        }
    }

    /// The name of the table that holds the version.
    fn version_table(self) -> &'static str {
        match self {
            Self::Global => "ShardMapManagerGlobal",
            Self::Local => "ShardMapManagerLocal",
        }
    }

    pub(super) fn tables(self) -> &'static str {
        match self {
            Self::Global => include_str!("../../../sql/sql_server/gsm/0102.sql"),
            Self::Local => include_str!("../../../sql/sql_server/lsm/0102.sql"),
        }
    }

    pub(super) fn procedures(self) -> &'static str {
        match self {
            Self::Global => include_str!("../../../sql/sql_server/gsm/procedures.sql"),
            Self::Local => include_str!("../../../sql/sql_server/lsm/procedures.sql"),
        }
    }

    /// The error where the store has a version that cannot be used.
    pub(super) fn mismatch(self, version: StoreVersion) -> Error {
        version.mismatch(match self {
            Self::Global => ErrorCode::GlobalStoreVersionMismatch,
            Self::Local => ErrorCode::LocalStoreVersionMismatch,
        })
    }

    /// The error where the version table is empty.
    pub(super) fn no_version(self) -> Error {
        Error::damaged(format!(
            "the store's version table {} is empty or has other columns: it is only half installed",
            self.version_table()
        ))
    }
}

/// What the version table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) version: StoreVersion,
    /// An upgrade by the reference library has left its column.
    pub(super) upgrade_lock: bool,
}

/// The version of a store, or `None` where the database has none.
pub(crate) async fn version(pooled: &mut Pooled, kind: StoreKind, limit: Duration) -> Result<Option<StoreVersion>> {
    Ok(look(pooled, kind, limit).await?.map(|found| found.version))
}

/// What the version table of a store says, or `None` where the database has none.
pub(super) async fn look(pooled: &mut Pooled, kind: StoreKind, limit: Duration) -> Result<Option<Found>> {
    let link = pooled.link()?;
    link.condition.sent();
    let exchange = async { link.client.query(kind.version_query(), &[]).await?.into_results().await };
    let Ok(answer) = tokio::time::timeout(limit, exchange).await else { return Err(late(Doing::Reading, limit)) };
    match answer {
        Ok(results) => {
            link.condition.answered();
            results.first().map(|rows| found_in(rows, kind)).transpose()
        }
        Err(error) => {
            link.condition.failed(&error);
            Err(fault(error, Doing::Reading))
        }
    }
}

/// The version table of 1.0 has one column for the version.
fn found_in(rows: &[Row], kind: StoreKind) -> Result<Found> {
    let row = rows.first().ok_or_else(|| kind.no_version())?;
    let at = |name: &str| row.columns().iter().position(|column| column.name().eq_ignore_ascii_case(name));
    let column = |name: &str| row.try_get::<i32, _>(at(name)?).ok().flatten();
    if at("NoVersionTable").is_some() {
        return Err(missing(&[kind.version_table()]));
    }
    let version = match (column("StoreVersionMajor"), column("StoreVersionMinor"), column("StoreVersion")) {
        (Some(major), Some(minor), _) => StoreVersion { major, minor },
        (_, _, Some(major)) => StoreVersion { major, minor: 0 },
        _ => return Err(kind.no_version()),
    };
    Ok(Found { version, upgrade_lock: at("UpgradeLock").is_some() })
}

/// The error where tables of a store are missing.
fn missing(tables: &[&str]) -> Error {
    let (word, verb) = if tables.len() == 1 { ("table", "is") } else { ("tables", "are") };
    Error::damaged(format!("{word} {} of the store {verb} missing: it is only half installed", tables.join(", ")))
}

/// Fails with the names of the tables that are missing, where the store has a version table.
pub(super) async fn complete(pooled: &mut Pooled, kind: StoreKind, limit: Duration) -> Result<()> {
    let rows = pooled.ask(kind.missing_tables_query(), &[], limit).await?;
    let tables: Vec<_> = rows.iter().filter_map(|row| row.try_get::<&str, _>(0).ok().flatten()).collect();
    if tables.is_empty() { Ok(()) } else { Err(missing(&tables)) }
}

/// The error of a request whose procedure did not find a table or a column: why that is so, if the store can tell.
pub(super) async fn explain(pooled: &mut Pooled, kind: StoreKind, limit: Duration, error: Error) -> Error {
    let why = match version(pooled, kind, limit).await {
        Ok(None) => return absent(kind),
        Ok(Some(found)) if !found.is_usable() => return kind.mismatch(found),
        Ok(Some(_)) => complete(pooled, kind, limit).await.err(),
        Err(why) => Some(why),
    };
    // What could not be asked explains nothing.
    why.filter(|why| why.kind() == ErrorKind::StoreDamaged).map_or(error.clone(), |why| why.with_source(error))
}

/// Installs the procedures for a store that is there.
pub(crate) async fn procedures(pooled: &mut Pooled, kind: StoreKind, limit: Duration) -> Result<()> {
    usable(pooled, kind, limit).await?;
    tracing::info!(?kind, "installing the store's procedures");
    run(pooled, &[kind.procedures()], limit).await
}

/// Installs the procedures again, and with them our own table, for a store that lacks no other.
pub(super) async fn own_table(pooled: &mut Pooled, kind: StoreKind, limit: Duration) -> Result<()> {
    usable(pooled, kind, limit).await?;
    complete(pooled, kind, limit).await?;
    tracing::info!(?kind, "installing the store's procedures, whose table is missing");
    run(pooled, &[kind.procedures()], limit).await
}

/// Fails where there is no store of a version that can be used.
async fn usable(pooled: &mut Pooled, kind: StoreKind, limit: Duration) -> Result<()> {
    match version(pooled, kind, limit).await? {
        None => Err(absent(kind)),
        Some(found) if !found.is_usable() => Err(kind.mismatch(found)),
        Some(_) => Ok(()),
    }
}

/// The error where a database holds no store.
pub(super) fn absent(kind: StoreKind) -> Error {
    match kind {
        StoreKind::Global => Error::new(
            ErrorKind::NotFound,
            ErrorCode::ShardMapManagerStoreDoesNotExist,
            "the database holds no shard map manager store",
        ),
        // To routing this is what a shard without the map is.
        StoreKind::Local => crate::error::Refusal::ShardMapDoesNotExist
            .into_error()
            .with_message("the database holds no local store, so it is not a shard of the map"),
    }
}

/// Installs a store, or what is missing of it. With `keep`, a store that is there is an error; `replace` drops it first.
pub(crate) async fn create(pooled: &mut Pooled, kind: StoreKind, mode: Creation, limit: Duration) -> Result<()> {
    let mut tables = batches(kind.tables());
    // The first batch begins the transaction and takes the lock of installations.
    if let Some(first) = tables.next() {
        begin(pooled, first, limit).await?;
    }
    match mode {
        Creation::Keep => {
            let found = version(pooled, kind, limit).await;
            if !matches!(found, Ok(None)) {
                // The lock goes, too. A broken connection ends by itself.
                let _ = batch(pooled, "ROLLBACK TRANSACTION", limit).await;
                return Err(found.err().unwrap_or_else(|| {
                    Error::new(
                        ErrorKind::AlreadyExists,
                        ErrorCode::ShardMapManagerStoreAlreadyExists,
                        "a shard map manager store exists already",
                    )
                }));
            }
        }
        Creation::Replace => drop_tables(pooled, limit).await?,
        Creation::Complete => {}
    }
    for text in tables {
        batch(pooled, text, limit).await?;
    }
    run(pooled, &[kind.procedures()], limit).await
}

/// Drops the global store, in the transaction that has begun.
async fn drop_tables(pooled: &mut Pooled, limit: Duration) -> Result<()> {
    for text in batches(include_str!("../../../sql/sql_server/gsm/drop.sql")) {
        send(pooled, text, limit, Doing::Reading).await?;
    }
    Ok(())
}

/// Drops the global store, whatever its version is and what is left of it, and says whether there was anything.
pub(super) async fn drop_global(pooled: &mut Pooled, limit: Duration) -> Result<bool> {
    // The first batch of every script begins the transaction and takes the lock of installations.
    if let Some(first) = batches(StoreKind::Global.tables()).next() {
        begin(pooled, first, limit).await?;
    }
    let tables = pooled.ask(ANY_GLOBAL_TABLE, &[], limit).await;
    let is_seen = |row: &Row| row.try_get::<&str, _>(0).ok().flatten().is_some();
    if !tables.as_ref().is_ok_and(|tables| tables.iter().any(is_seen)) {
        // The lock goes, too. A broken connection ends by itself.
        let _ = batch(pooled, "ROLLBACK TRANSACTION", limit).await;
        return if tables?.is_empty() { Ok(false) } else { Err(unseen()) };
    }
    tracing::info!("dropping the global store");
    drop_tables(pooled, limit).await?;
    batch(pooled, "COMMIT TRANSACTION", limit).await?;
    Ok(true)
}

/// The error where nothing tells whether there is a store.
fn unseen() -> Error {
    Error::new(
        ErrorKind::Credentials,
        ErrorCode::StorageOperationFailure,
        "the login may not see whether the database holds a shard map manager store",
    )
}

/// What to do about a store that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Creation {
    /// Fail.
    Keep,
    /// Drop it first.
    Replace,
    /// Add what is missing.
    Complete,
}

pub(super) async fn run(pooled: &mut Pooled, scripts: &[&'static str], limit: Duration) -> Result<()> {
    for script in scripts {
        let mut texts = batches(script).peekable();
        if let Some(first) = texts.next() {
            begin(pooled, first, limit).await?;
        }
        while let Some(text) = texts.next() {
            // Until the last batch commits them, nothing is left of the others if the connection is lost.
            let doing = if texts.peek().is_some() { Doing::Reading } else { Doing::Writing };
            send(pooled, text, limit, doing).await?;
        }
    }
    Ok(())
}

/// The first batch of a script, which begins its transaction and waits for the lock of installations. Nothing is changed by it.
async fn begin(pooled: &mut Pooled, text: &'static str, limit: Duration) -> Result<()> {
    send(pooled, text, limit.saturating_add(INSTALLATION_LOCK), Doing::Reading).await
}

/// One batch. If it fails, the connection is closed, and with it the script's transaction ends.
async fn batch(pooled: &mut Pooled, text: &'static str, limit: Duration) -> Result<()> {
    send(pooled, text, limit, Doing::Writing).await
}

async fn send(pooled: &mut Pooled, text: &'static str, limit: Duration, doing: Doing) -> Result<()> {
    let link = pooled.link()?;
    // The scripts set what holds for the session.
    link.leaves(Traces::Session);
    link.condition.sent();
    let exchange = async { link.client.simple_query(text).await?.into_results().await };
    match tokio::time::timeout(limit, exchange).await {
        Ok(Ok(_)) => {
            link.condition.answered();
            Ok(())
        }
        Ok(Err(error)) => Err(fault(error, doing)),
        Err(_) => Err(late(doing, limit)),
    }
}

/// The batches of a script.
fn batches(script: &'static str) -> impl Iterator<Item = &'static str> {
    let mut rest = script;
    std::iter::from_fn(move || {
        loop {
            if rest.trim().is_empty() {
                return None;
            }
            let mut end = 0;
            let mut next = rest.len();
            for line in rest.split_inclusive('\n') {
                if line.trim().eq_ignore_ascii_case(SEPARATOR) {
                    next = end + line.len();
                    break;
                }
                end += line.len();
            }
            let (text, remainder) = (rest.get(..end)?, rest.get(next..)?);
            rest = remainder;
            if !text.trim().is_empty() {
                return Some(text);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_cut_at_lines_of_go() {
        let script = "one\nGO\n\nGO\ntwo GO\n go \r\nthree\n";
        assert_eq!(batches(script).map(str::trim).collect::<Vec<_>>(), ["one", "two GO", "three"]);
    }

    #[test]
    fn every_script_is_one_transaction_under_the_lock_of_installations() {
        for kind in [StoreKind::Global, StoreKind::Local] {
            let steps = super::super::upgrade::steps(kind).into_iter().map(|(_, script)| script);
            for script in [kind.tables(), kind.procedures()].into_iter().chain(steps) {
                let all: Vec<_> = batches(script).collect();
                assert!(all[0].contains("BEGIN TRANSACTION") && all[0].contains("sp_getapplock"), "{}", all[0]);
                assert_eq!(all.last().unwrap().trim(), "COMMIT TRANSACTION;");
                assert!(all.len() > 5);
            }
        }
    }
}
