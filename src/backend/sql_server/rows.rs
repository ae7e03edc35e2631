//! The driver's rows as rows of a store.

use tiberius::{Column, FromSql, Row};
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
        let Some(name) = self.columns().get(column).map(Column::name) else { return "?".to_owned() };
        let first = self.columns().first().map_or("", Column::name);
        // The results of our procedures are told apart by their first column and their width: answers name no tables.
        let table = match (first, self.len(), column) {
            ("ShardMapId", 4, _) => "ShardMapsGlobal",
            ("ShardMapId", 12, ..4) => "ShardMapsLocal",
            ("ShardMapId", 12, _) => "ShardsLocal",
            ("ShardId", 8, _) | ("Protocol", 4, _) | ("MappingId", 14, 6..) => "ShardsGlobal",
            ("MappingId", 14, _) => "ShardMappingsGlobal",
            ("MappingId", 5, _) => "ShardMappingsLocal",
            ("OperationId", 6, _) => "OperationsLogGlobal",
            _ => return name.to_owned(),
        };
        format!("{name} of {table}")
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
