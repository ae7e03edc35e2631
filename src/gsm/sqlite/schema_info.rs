//! Schema information in the global store on SQLite.
//!
//! The column of names has no collation, as it has none of its own in the reference library's store. There the database's
//! decides, which ignores case unless somebody chose otherwise; here each statement names the collation of the other names.

use rusqlite::{Row, Transaction};

use super::{Answer, SchemaInfoEntry, collect};
use crate::backend::stored::document;
use crate::error::Refusal;

fn entry(row: &Row<'_>) -> Answer<SchemaInfoEntry> {
    Ok(SchemaInfoEntry { name: document(row, 0)?, document: document(row, 1)? })
}

pub(super) fn list(transaction: &Transaction<'_>) -> Answer<Vec<SchemaInfoEntry>> {
    let mut statement = transaction
        .prepare_cached(r#"SELECT "Name", "SchemaInfo" FROM "__ShardManagement.ShardedDatabaseSchemaInfosGlobal""#)?;
    collect(&mut statement, [], entry)
}

pub(super) fn find(transaction: &Transaction<'_>, name: &str) -> Answer<Option<SchemaInfoEntry>> {
    let mut statement = transaction.prepare_cached(
        r#"SELECT "Name", "SchemaInfo" FROM "__ShardManagement.ShardedDatabaseSchemaInfosGlobal"
           WHERE "Name" = ?1 COLLATE SQL_Latin1_General_CP1_CI_AS"#,
    )?;
    let mut rows = statement.query([name])?;
    rows.next()?.map(entry).transpose()
}

pub(super) fn add(transaction: &Transaction<'_>, name: &str, document: &str) -> Answer<()> {
    let added = transaction
        .prepare_cached(
            r#"INSERT INTO "__ShardManagement.ShardedDatabaseSchemaInfosGlobal" ("Name", "SchemaInfo")
               SELECT ?1, ?2 WHERE NOT EXISTS (
                   SELECT 1 FROM "__ShardManagement.ShardedDatabaseSchemaInfosGlobal"
                   WHERE "Name" = ?1 COLLATE SQL_Latin1_General_CP1_CI_AS)"#,
        )?
        .execute([name, document])?;
    if added == 0 { Err(Refusal::SchemaInfoNameConflict.into()) } else { Ok(()) }
}

pub(super) fn update(transaction: &Transaction<'_>, name: &str, document: &str) -> Answer<()> {
    let changed = transaction
        .prepare_cached(
            r#"UPDATE "__ShardManagement.ShardedDatabaseSchemaInfosGlobal" SET "SchemaInfo" = ?2
               WHERE "Name" = ?1 COLLATE SQL_Latin1_General_CP1_CI_AS"#,
        )?
        .execute([name, document])?;
    if changed == 0 { Err(Refusal::SchemaInfoNameDoesNotExist.into()) } else { Ok(()) }
}

pub(super) fn remove(transaction: &Transaction<'_>, name: &str) -> Answer<()> {
    let removed = transaction
        .prepare_cached(
            r#"DELETE FROM "__ShardManagement.ShardedDatabaseSchemaInfosGlobal"
               WHERE "Name" = ?1 COLLATE SQL_Latin1_General_CP1_CI_AS"#,
        )?
        .execute([name])?;
    if removed == 0 { Err(Refusal::SchemaInfoNameDoesNotExist.into()) } else { Ok(()) }
}
