//! What is in the way of a new mapping.
//!
//! Invariant: what it costs does not grow with the number of mappings; only where rows of unfinished operations are right below
//! or in the new keys, all of them below are looked at.

use rusqlite::{ToSql, Transaction};

use super::Answer;
use crate::backend::stored::{mapping_end, opaque_key, optional_guid};
use crate::gsm::GlobalOperation;
use crate::key::EncodedKey;
use crate::model::{MappingRecord, OperationId, ShardMapKind};

/// Above every key. A bound that may be missing is given as this: with `?2 IS NULL OR` before it, no index is used for it.
const BEYOND: &[u8] = &[0xff; EncodedKey::MAX_LENGTH + 1];

/// Whether keys are free.
pub(super) enum Collision {
    /// They are.
    None,
    /// A row that no unfinished operation can take away has one of them.
    Mapped,
    /// Rows of this unfinished operation do.
    Pending(OperationId),
}

// `IS 1`: what is neither readable nor not is looked at closely.
const POINT: &str = r#"SELECT "OperationId", "MinValue", "MaxValue", "Readable" IS 1
    FROM "__ShardManagement.ShardMappingsGlobal" WHERE "ShardMapId" = ?1 AND "MinValue" = ?2"#;
const LAST: &str = r#"SELECT "OperationId", "MinValue", "MaxValue", "Readable" IS 1
    FROM "__ShardManagement.ShardMappingsGlobal" WHERE "ShardMapId" = ?1 AND "MinValue" < ?2
    ORDER BY "MinValue" DESC LIMIT 1"#;
const LAST_READABLE: &str = r#"SELECT "OperationId", "MinValue", "MaxValue", "Readable" IS 1
    FROM "__ShardManagement.ShardMappingsGlobal" WHERE "ShardMapId" = ?1 AND "MinValue" < ?2 AND "Readable" = 1
    ORDER BY "MinValue" DESC LIMIT 1"#;
const ADDED: &str = r#"SELECT "OperationId", "MinValue", "MaxValue", "Readable" IS 1
    FROM "__ShardManagement.ShardMappingsGlobal" WHERE "ShardMapId" = ?1 AND "OperationId" IS NOT NULL AND "MinValue" < ?2
      AND "Readable" = 0"#;

/// A row that may be in the way.
struct Row {
    holder: Option<OperationId>,
    readable: bool,
    /// It has a key at or above the least of the new mapping.
    reaches: bool,
}

/// Whether the keys of a new mapping are free in its map. A row that no unfinished operation can take away decides over others.
pub(super) fn find(
    transaction: &Transaction<'_>,
    operation: &GlobalOperation,
    kind: ShardMapKind,
    mapping: &MappingRecord,
) -> Answer<Collision> {
    let rows = |sql: &str, bound: &[u8]| -> Answer<Vec<Row>> {
        let parameters: [&dyn ToSql; 2] = [&mapping.map.to_string(), &bound];
        let mut statement = transaction.prepare_cached(sql)?;
        let mut rows = statement.query(&parameters[..])?;
        let (mut found, key_type) = (Vec::new(), operation.map.key_type());
        while let Some(row) = rows.next()? {
            // Not left to SQL: a bound that is none would be below every key, and ranges that overlap would get in.
            let begins = opaque_key(row, 1, key_type)?;
            let end = mapping_end(row, 2, (kind, key_type), &begins)?;
            found.push(Row {
                holder: optional_guid(row, 0)?,
                readable: row.get(3)?,
                reaches: kind == ShardMapKind::List || end.is_none_or(|end| end > mapping.low),
            });
        }
        Ok(found)
    };
    let in_the_way = match kind {
        ShardMapKind::List => rows(POINT, mapping.low.as_bytes())?,
        ShardMapKind::Range => {
            let below = mapping.high.as_ref().map_or(BEYOND, EncodedKey::as_bytes);
            // Readable ranges do not overlap. What a split or a merge adds covers the same keys as readable ranges, and what else is
            // added is beside them. So the last row that begins below the high bound tells, if it is readable.
            match rows(LAST, below)?.first() {
                None => return Ok(Collision::None),
                Some(last) if last.readable && !last.reaches => return Ok(Collision::None),
                Some(_) => {}
            }
            let mut all = rows(LAST_READABLE, below)?;
            all.extend(rows(ADDED, below)?);
            all
        }
    };
    let mut pending = Collision::None;
    for row in in_the_way.into_iter().filter(|row| row.reaches) {
        match row.holder {
            Some(holder) if holder != operation.id => pending = Collision::Pending(holder),
            _ => return Ok(Collision::Mapped),
        }
    }
    Ok(pending)
}
