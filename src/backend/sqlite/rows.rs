//! Columns that the global and the local stores have in common, read with a check of every value.

use rusqlite::Row;
use uuid::Uuid;

use super::fault::StatementFault;
use crate::error::Error;
use crate::key::{EncodedKey, KeyType};
use crate::model::{MappingStatus, Protocol, Shard, ShardLocation, ShardMapKind, ShardStatus};

type Result<T> = std::result::Result<T, StatementFault>;

fn damaged(row: &Row<'_>, column: usize, why: impl std::fmt::Display) -> StatementFault {
    let name = row.as_ref().column_name(column).unwrap_or("?");
    Error::damaged(format!("column {name} {why}")).into()
}

fn integer(row: &Row<'_>, column: usize) -> Result<i64> {
    row.get_ref(column)?.as_i64().map_err(|_| damaged(row, column, "holds no number"))
}

fn text<'r>(row: &'r Row<'_>, column: usize) -> Result<&'r str> {
    row.get_ref(column)?.as_str().map_err(|_| damaged(row, column, "holds no text"))
}

/// A number of 32 bits.
pub(crate) fn small_number(row: &Row<'_>, column: usize) -> Result<i32> {
    i32::try_from(integer(row, column)?).map_err(|_| damaged(row, column, "holds a number that no client writes"))
}

/// The name of a server or database.
fn place_name<'r>(row: &'r Row<'_>, column: usize) -> Result<&'r str> {
    let name = text(row, column)?;
    match name.encode_utf16().count() {
        1..=ShardLocation::MAX_NAME_LENGTH => Ok(name),
        length => Err(damaged(row, column, format_args!("holds a name of {length} UTF-16 code units"))),
    }
}

/// A GUID.
pub(crate) fn guid<T: From<Uuid>>(row: &Row<'_>, column: usize) -> Result<T> {
    let id = Uuid::try_parse(text(row, column)?).map_err(|_| damaged(row, column, "holds no GUID"))?;
    Ok(T::from(id))
}

/// A GUID or NULL.
pub(crate) fn optional_guid<T: From<Uuid>>(row: &Row<'_>, column: usize) -> Result<Option<T>> {
    match row.get_ref(column)? {
        rusqlite::types::ValueRef::Null => Ok(None),
        _ => guid(row, column).map(Some),
    }
}

/// A key of the given type, or NULL for +infinity.
fn key(row: &Row<'_>, column: usize, key_type: KeyType) -> Result<Option<EncodedKey>> {
    match row.get_ref(column)?.as_bytes_or_null().map_err(|_| damaged(row, column, "holds no bytes"))? {
        None => Ok(None),
        Some(bytes) => match EncodedKey::from_stored(key_type, bytes) {
            Ok(key) => Ok(Some(key)),
            Err(error) => Err(damaged(row, column, format_args!("holds no key: {error}"))),
        },
    }
}

/// A key that must not be NULL.
pub(crate) fn opaque_key(row: &Row<'_>, column: usize, key_type: KeyType) -> Result<EncodedKey> {
    key(row, column, key_type)?.ok_or_else(|| damaged(row, column, "is NULL"))
}

/// The high bound of a range that begins at `low`, or NULL for +infinity.
pub(crate) fn range_end(
    row: &Row<'_>,
    column: usize,
    key_type: KeyType,
    low: &EncodedKey,
) -> Result<Option<EncodedKey>> {
    match key(row, column, key_type)? {
        Some(high) if high <= *low => Err(damaged(row, column, "is not above the low bound of its range")),
        high => Ok(high),
    }
}

/// The status of a mapping.
pub(crate) fn mapping_status(row: &Row<'_>, column: usize) -> Result<MappingStatus> {
    let code = integer(row, column)?;
    MappingStatus::from_code(code).ok_or_else(|| damaged(row, column, format_args!("holds the unknown status {code}")))
}

/// The kind of a shard map.
pub(crate) fn kind(row: &Row<'_>, column: usize) -> Result<ShardMapKind> {
    let code = integer(row, column)?;
    ShardMapKind::from_code(code).ok_or_else(|| damaged(row, column, format_args!("holds the unknown kind {code}")))
}

/// The key type of a shard map.
pub(crate) fn key_type(row: &Row<'_>, column: usize) -> Result<KeyType> {
    let code = integer(row, column)?;
    KeyType::from_code(code).ok_or_else(|| damaged(row, column, format_args!("holds the unknown key type {code}")))
}

/// A location: protocol, server, port, database, in four columns from `column` on.
pub(crate) fn location(row: &Row<'_>, column: usize) -> Result<ShardLocation> {
    let protocol = integer(row, column)?;
    let protocol = Protocol::from_code(protocol)
        .ok_or_else(|| damaged(row, column, format_args!("holds the unknown protocol {protocol}")))?;
    let port = u16::try_from(integer(row, column + 2)?).map_err(|_| damaged(row, column + 2, "holds no port"))?;
    let location = ShardLocation::new(place_name(row, column + 1)?, place_name(row, column + 3)?);
    Ok(location.with_protocol(protocol).with_port(port))
}

/// A shard: id, version, map, the four columns of the location, and status, from `column` on.
pub(crate) fn shard(row: &Row<'_>, column: usize) -> Result<Shard> {
    let status = integer(row, column + 7)?;
    let status = ShardStatus::from_code(status)
        .ok_or_else(|| damaged(row, column + 7, format_args!("holds the unknown status {status}")))?;
    Ok(Shard::new(
        guid(row, column)?,
        guid(row, column + 1)?,
        guid(row, column + 2)?,
        location(row, column + 3)?,
        status,
    ))
}
