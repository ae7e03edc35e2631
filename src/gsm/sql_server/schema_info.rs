//! Schema information in the global store on SQL Server: the calls and the rows that they answer with.

use tiberius::Row;

use super::SchemaInfoEntry;
use crate::backend::sql_server::Call;
use crate::backend::stored::document;
use crate::error::Result;

pub(super) fn entry(row: &Row) -> Result<SchemaInfoEntry> {
    Ok(SchemaInfoEntry {
        name: document(row, 0)?,
        // Babelfish keeps the byte order mark that drivers put before an XML value.
        document: document(row, 1)?.trim_start_matches('\u{feff}').to_owned(),
    })
}

pub(super) fn list<'c>() -> Call<'c> {
    Call::global("ListSchemaInfos")
}

pub(super) fn find(name: &str) -> Call<'_> {
    Call::global("FindSchemaInfo").with("@name", name)
}

pub(super) fn add<'c>(name: &'c str, document: &'c str) -> Call<'c> {
    Call::global("AddSchemaInfo").with("@name", name).with("@document", document)
}

pub(super) fn update<'c>(name: &'c str, document: &'c str) -> Call<'c> {
    Call::global("UpdateSchemaInfo").with("@name", name).with("@document", document)
}

pub(super) fn remove(name: &str) -> Call<'_> {
    Call::global("RemoveSchemaInfo").with("@name", name)
}
