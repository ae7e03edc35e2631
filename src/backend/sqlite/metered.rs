//! Tells tests what each statement on a connection costs. Only with the feature `fault-points`, and only where a test asks.

use std::collections::HashMap;

use rusqlite::trace::{TraceEvent, TraceEventCodes};
use rusqlite::{Connection, StatementStatus};

use crate::fault_point;

/// Watches the statements of a connection, if somebody wants to know.
pub(super) fn watch(connection: &mut Connection) -> rusqlite::Result<()> {
    let Some(meter) = fault_point::meter() else { return Ok(()) };
    // SQLite counts the steps of a statement over all its executions.
    let mut begun = HashMap::new();
    let watch = move |event: TraceEvent<'_>| match event {
        TraceEvent::Stmt(statement, _) => {
            // A second time for each of its triggers.
            let _ = begun.entry(statement.sql().into_owned()).or_insert(statement.get_status(StatementStatus::VmStep));
        }
        TraceEvent::Profile(statement, _) => {
            let sql = statement.sql();
            let before = begun.remove(&*sql).unwrap_or_default();
            meter(&sql, i64::from(statement.get_status(StatementStatus::VmStep)) - i64::from(before));
        }
        _ => {}
    };
    connection.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT | TraceEventCodes::SQLITE_TRACE_PROFILE, Some(watch))
}
