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

impl StoreKind {
    /// All columns, because version 1.0 had others.
    fn version_query(self) -> &'static str {
        match self {
            Self::Global => {
                "IF OBJECT_ID(N'__ShardManagement.ShardMapManagerGlobal', N'U') IS NOT NULL \
                 SELECT * FROM __ShardManagement.ShardMapManagerGlobal"
            }
            Self::Local => {
                "IF OBJECT_ID(N'__ShardManagement.ShardMapManagerLocal', N'U') IS NOT NULL \
                 SELECT * FROM __ShardManagement.ShardMapManagerLocal"
            }
        }
    }

    fn tables(self) -> &'static str {
        match self {
            Self::Global => include_str!("../../../sql/sql_server/gsm/0102.sql"),
            Self::Local => include_str!("../../../sql/sql_server/lsm/0102.sql"),
        }
    }

    fn procedures(self) -> &'static str {
        match self {
            Self::Global => include_str!("../../../sql/sql_server/gsm/procedures.sql"),
            Self::Local => include_str!("../../../sql/sql_server/lsm/procedures.sql"),
        }
    }

    /// The error where the store has another version than ours; it says which side is the older one.
    pub(super) fn mismatch(self, major: i32, minor: i32) -> Error {
        let (store, ours) = (StoreVersion { major, minor }, StoreVersion::CURRENT);
        let older = if store < ours { "the store is older and has to be upgraded" } else { "this library is older" };
        let code = match self {
            Self::Global => ErrorCode::GlobalStoreVersionMismatch,
            Self::Local => ErrorCode::LocalStoreVersionMismatch,
        };
        let message = format!("the store has version {store}, this library uses {ours}: {older}");
        Error::new(ErrorKind::VersionMismatch, code, message)
    }
}

/// The version of a store, or `None` where the database has none.
pub(crate) async fn version(pooled: &mut Pooled, kind: StoreKind, limit: Duration) -> Result<Option<StoreVersion>> {
    let link = pooled.link()?;
    link.condition.sent();
    let exchange = async { link.client.query(kind.version_query(), &[]).await?.into_results().await };
    let Ok(answer) = tokio::time::timeout(limit, exchange).await else { return Err(late(Doing::Reading)) };
    match answer {
        Ok(results) => {
            link.condition.answered();
            results.first().map(|rows| version_of(rows, kind)).transpose()
        }
        Err(error) => {
            link.condition.failed(&error);
            Err(fault(error, Doing::Reading))
        }
    }
}

/// Version 1.0 is too old for every request, and its version table has one column.
fn version_of(rows: &[Row], kind: StoreKind) -> Result<StoreVersion> {
    let half = || Error::damaged("the store's version table is empty or has other columns: it is only half installed");
    let row = rows.first().ok_or_else(half)?;
    let column = |name: &str| {
        let at = row.columns().iter().position(|column| column.name().eq_ignore_ascii_case(name))?;
        row.try_get::<i32, _>(at).ok().flatten()
    };
    match (column("StoreVersionMajor"), column("StoreVersionMinor"), column("StoreVersion")) {
        (Some(major), Some(minor), _) => Ok(StoreVersion { major, minor }),
        (_, _, Some(major)) => Err(kind.mismatch(major, 0)),
        _ => Err(half()),
    }
}

/// Installs the procedures for a store that is there.
pub(crate) async fn procedures(pooled: &mut Pooled, kind: StoreKind, limit: Duration) -> Result<()> {
    match version(pooled, kind, limit).await? {
        None => Err(absent(kind)),
        Some(found) if found.major != StoreVersion::CURRENT.major || found.minor == 0 => {
            Err(kind.mismatch(found.major, found.minor))
        }
        Some(_) => {
            tracing::info!(?kind, "installing the store's procedures");
            run(pooled, &[kind.procedures()], limit).await
        }
    }
}

/// The error where a database holds no store.
fn absent(kind: StoreKind) -> Error {
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
            if version(pooled, kind, limit).await?.is_some() {
                batch(pooled, "ROLLBACK TRANSACTION", limit).await?;
                return Err(Error::new(
                    ErrorKind::AlreadyExists,
                    ErrorCode::ShardMapManagerStoreAlreadyExists,
                    "a shard map manager store exists already",
                ));
            }
        }
        Creation::Replace => {
            for drop in batches(include_str!("../../../sql/sql_server/gsm/drop.sql")) {
                batch(pooled, drop, limit).await?;
            }
        }
        Creation::Complete => {}
    }
    for text in tables {
        batch(pooled, text, limit).await?;
    }
    run(pooled, &[kind.procedures()], limit).await
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

async fn run(pooled: &mut Pooled, scripts: &[&'static str], limit: Duration) -> Result<()> {
    for script in scripts {
        let mut texts = batches(script);
        if let Some(first) = texts.next() {
            begin(pooled, first, limit).await?;
        }
        for text in texts {
            batch(pooled, text, limit).await?;
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
        Err(_) => Err(late(doing)),
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
            for script in [kind.tables(), kind.procedures()] {
                let all: Vec<_> = batches(script).collect();
                assert!(all[0].contains("BEGIN TRANSACTION") && all[0].contains("sp_getapplock"), "{}", all[0]);
                assert_eq!(all.last().unwrap().trim(), "COMMIT TRANSACTION;");
                assert!(all.len() > 5);
            }
        }
    }
}
