//! The driver's rows as rows of a store.

use tiberius::{FromSql, Row};
use uuid::Uuid;

use crate::backend::stored::{StoredRow, damaged};
use crate::error::{Error, Result};

fn value<'r, T: FromSql<'r>>(row: &'r Row, column: usize, what: &str) -> Result<Option<T>> {
    if column >= row.len() {
        return Err(Error::damaged("a procedure of the store answered with fewer columns than it should"));
    }
    row.try_get(column).map_err(|_| damaged(row, column, format_args!("holds no {what}")))
}

impl StoredRow for Row {
    type Fault = Error;

    fn name(&self, column: usize) -> String {
        self.columns().get(column).map_or_else(|| "?".to_owned(), |column| column.name().to_owned())
    }

    fn number(&self, column: usize) -> Result<Option<i64>> {
        Ok(value::<i32>(self, column, "number")?.map(i64::from))
    }

    fn text(&self, column: usize) -> Result<Option<&str>> {
        value(self, column, "text")
    }

    fn uuid(&self, column: usize) -> Result<Option<Uuid>> {
        value(self, column, "GUID")
    }

    fn bytes(&self, column: usize) -> Result<Option<&[u8]>> {
        value(self, column, "bytes")
    }
}
