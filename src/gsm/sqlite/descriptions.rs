//! Descriptions of shards in the global store on SQLite.
//!
//! Their table is not one of the reference library's. Stores that were made before there was such a table lack it until the first
//! description is written.

use rusqlite::{Row, Transaction};

use super::{Answer, collect};
use crate::backend::sqlite::SHARD_DESCRIPTIONS;
use crate::backend::stored::{description, guid};
use crate::error::Refusal;
use crate::model::{ShardId, ShardMapId};

fn has_table(transaction: &Transaction<'_>) -> Answer<bool> {
    let there = transaction
        .prepare_cached(
            "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = '__ShardManagement.ShardDescriptionsGlobal'",
        )?
        .exists([])?;
    Ok(there)
}

pub(super) fn list(transaction: &Transaction<'_>, map: ShardMapId) -> Answer<Vec<(ShardId, String)>> {
    if !has_table(transaction)? {
        return Ok(Vec::new());
    }
    let mut statement = transaction.prepare_cached(
        r#"SELECT d."ShardId", d."Description" FROM "__ShardManagement.ShardDescriptionsGlobal" AS d
           JOIN "__ShardManagement.ShardsGlobal" AS s ON s."ShardId" = d."ShardId" AND s."ShardMapId" = d."ShardMapId"
           WHERE s."ShardMapId" = ?1 AND s."Readable" = 1"#,
    )?;
    let pair = |row: &Row<'_>| -> Answer<_> { Ok((guid(row, 0)?, description(row, 1)?)) };
    collect(&mut statement, [map.to_string()], pair)
}

pub(super) fn describe(
    transaction: &Transaction<'_>,
    map: ShardMapId,
    shard: ShardId,
    description: &str,
) -> Answer<()> {
    let (map, shard) = (map.to_string(), shard.to_string());
    let known = transaction
        .prepare_cached(
            r#"SELECT 1 FROM "__ShardManagement.ShardsGlobal"
               WHERE "ShardMapId" = ?1 AND "ShardId" = ?2 AND "Readable" = 1"#,
        )?
        .exists([&map, &shard])?;
    if !known {
        return Err(Refusal::ShardDoesNotExist.into());
    }
    if !has_table(transaction)? {
        transaction.execute_batch(SHARD_DESCRIPTIONS)?;
    }
    let _ = transaction
        .prepare_cached(
            r#"DELETE FROM "__ShardManagement.ShardDescriptionsGlobal" AS d
               WHERE (d."ShardMapId" = ?1
                   OR d."ShardMapId" NOT IN (SELECT "ShardMapId" FROM "__ShardManagement.ShardMapsGlobal"))
               AND NOT EXISTS (SELECT 1 FROM "__ShardManagement.ShardsGlobal" AS s
                   WHERE s."ShardId" = d."ShardId" AND s."ShardMapId" = d."ShardMapId")"#,
        )?
        .execute([&map])?;
    let _ = if description.is_empty() {
        transaction
            .prepare_cached(r#"DELETE FROM "__ShardManagement.ShardDescriptionsGlobal" WHERE "ShardId" = ?1"#)?
            .execute([&shard])?
    } else {
        transaction
            .prepare_cached(
                r#"INSERT INTO "__ShardManagement.ShardDescriptionsGlobal" ("ShardId", "ShardMapId", "Description")
                   VALUES (?1, ?2, ?3) ON CONFLICT ("ShardId")
                   DO UPDATE SET "ShardMapId" = excluded."ShardMapId", "Description" = excluded."Description""#,
            )?
            .execute([&shard, &map, description])?
    };
    Ok(())
}
