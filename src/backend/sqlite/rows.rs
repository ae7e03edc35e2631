//! SQLite's rows as rows of a store.

use rusqlite::Row;
use rusqlite::types::ValueRef;
use uuid::Uuid;

use super::fault::StatementFault;
use crate::backend::stored::{StoredRow, damaged};

type Result<T> = std::result::Result<T, StatementFault>;

/// A value that is not NULL, by the reader of its type.
fn value<'r, T>(
    row: &'r Row<'_>,
    column: usize,
    what: &str,
    read: impl FnOnce(ValueRef<'r>) -> Option<T>,
) -> Result<Option<T>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        value => read(value).map(Some).ok_or_else(|| damaged(row, column, format_args!("holds no {what}"))),
    }
}

impl StoredRow for Row<'_> {
    type Fault = StatementFault;

    fn name(&self, column: usize) -> String {
        let columns = self.as_ref().columns_with_metadata();
        let Some(column) = columns.into_iter().nth(column) else { return "?".to_owned() };
        match column.table_name().and_then(|table| table.strip_prefix("__ShardManagement.")) {
            Some(table) => format!("{} of {table}", column.name()),
            None => column.name().to_owned(),
        }
    }

    fn number(&self, column: usize) -> Result<Option<i64>> {
        value(self, column, "number", |value| value.as_i64().ok())
    }

    fn text(&self, column: usize) -> Result<Option<&str>> {
        value(self, column, "text", |value| value.as_str().ok())
    }

    fn uuid(&self, column: usize) -> Result<Option<Uuid>> {
        value(self, column, "GUID", |value| Uuid::try_parse(value.as_str().ok()?).ok())
    }

    fn bytes(&self, column: usize) -> Result<Option<&[u8]>> {
        value(self, column, "bytes", |value| value.as_blob().ok())
    }
}
