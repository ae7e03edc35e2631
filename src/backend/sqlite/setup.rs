//! The state that a new connection is put into, on which every request may rely.

use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::fault::store_fault;
use super::layout::DatabaseName;
use super::options::{Durability, SqliteOptions};
use crate::error::Result;
use crate::model::folded;

/// Names compare by this collation, as the columns of the reference library's store do on SQL Server.
const COLLATION: &str = "SQL_Latin1_General_CP1_CI_AS";
/// The longest wait that SQLite can count, about 24 days; the driver panics beyond it.
const LONGEST_WAIT: Duration = Duration::from_millis(i32::MAX as u64);
/// Prepared statements kept per connection.
const STATEMENTS: usize = 64;

/// Puts a new connection into the state that every request may rely on.
pub(super) fn configure(connection: &mut Connection, name: &DatabaseName, options: &SqliteOptions) -> Result<()> {
    #[cfg(feature = "fault-points")]
    super::metered::watch(connection).map_err(store_fault)?;
    let settle = || -> rusqlite::Result<()> {
        if *name == DatabaseName::Global {
            // Statements with a range of keys and an order would otherwise be compiled anew for each value. Not where applications
            // run statements of their own, which may be better off with that.
            let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        }
        connection.busy_timeout(options.timeouts.command.min(LONGEST_WAIT))?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        connection.create_collation(COLLATION, |a: &str, b: &str| folded(a).cmp(&folded(b)))?;
        connection.pragma_update(None, "foreign_keys", true)?;
        let synchronous = match options.durability {
            Durability::Full => "FULL",
            Durability::Process => "NORMAL",
        };
        connection.pragma_update(None, "synchronous", synchronous)?;
        if let Some(pages) = options.max_pages {
            connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
        }
        Ok(())
    };
    settle().map_err(store_fault)
}

/// Switches a database to write-ahead logging, so that readers and a writer do not wait for each other.
///
/// SQLite does not wait for others here, so we do. Blocking.
#[expect(clippy::disallowed_methods, reason = "runs on a blocking thread, where there is no timer to await")]
pub(super) fn use_wal(connection: &Connection, patience: Duration) -> Result<()> {
    let begun = Instant::now();
    loop {
        // In memory the answer is `memory`, and no log is needed.
        match connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())) {
            Ok(()) => return Ok(()),
            Err(error)
                if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
                    && begun.elapsed() < patience =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(store_fault(error)),
        }
    }
}
