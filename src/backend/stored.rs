//! Columns of the stores, read with a check of every value.
//!
//! What a value may be is the same on every backend and is decided here; how a column is read is the driver's affair.
//! Invariant: a value that no client writes is an error that names the column, never a panic or another value. Only descriptions,
//! which people write and nothing depends on, are shown as far as they can be.

use uuid::Uuid;

use crate::error::{Error, Result};
use crate::key::{EncodedKey, KeyType};
use crate::model::{
    MappingStatus, Protocol, Shard, ShardLocation, ShardMapInfo, ShardMapKind, ShardMapName, ShardStatus, check_text,
    readable_description,
};

/// A row of a store. `Err` of the readers is a value of another type than the column's; `None` is NULL.
pub(crate) trait StoredRow {
    /// What goes wrong when a column is read.
    type Fault: From<Error>;

    /// The name of a column, and of its table where that is known: `Status of ShardsGlobal`.
    fn name(&self, column: usize) -> String;

    /// A number.
    fn number(&self, column: usize) -> std::result::Result<Option<i64>, Self::Fault>;

    /// A text.
    fn text(&self, column: usize) -> std::result::Result<Option<&str>, Self::Fault>;

    /// A GUID.
    fn uuid(&self, column: usize) -> std::result::Result<Option<Uuid>, Self::Fault>;

    /// Bytes.
    fn bytes(&self, column: usize) -> std::result::Result<Option<&[u8]>, Self::Fault>;
}

type Read<R, T> = std::result::Result<T, <R as StoredRow>::Fault>;

/// The error of a column that holds what no client writes.
pub(crate) fn damaged<R: StoredRow + ?Sized>(row: &R, column: usize, why: impl std::fmt::Display) -> R::Fault {
    Error::damaged(format!("column {} {why}", row.name(column))).into()
}

fn present<R: StoredRow + ?Sized, T>(row: &R, column: usize, value: Option<T>) -> Read<R, T> {
    value.ok_or_else(|| damaged(row, column, "is NULL"))
}

fn integer<R: StoredRow + ?Sized>(row: &R, column: usize) -> Read<R, i64> {
    present(row, column, row.number(column)?)
}

fn text<R: StoredRow + ?Sized>(row: &R, column: usize) -> Read<R, &str> {
    present(row, column, row.text(column)?)
}

/// A number of 32 bits.
pub(crate) fn small_number<R: StoredRow + ?Sized>(row: &R, column: usize) -> Read<R, i32> {
    i32::try_from(integer(row, column)?).map_err(|_| damaged(row, column, "holds a number that no client writes"))
}

/// A text of any length.
pub(crate) fn document<R: StoredRow + ?Sized>(row: &R, column: usize) -> Read<R, String> {
    text(row, column).map(ToOwned::to_owned)
}

/// The description of a shard.
pub(crate) fn description<R: StoredRow + ?Sized>(row: &R, column: usize) -> Read<R, String> {
    text(row, column).map(readable_description)
}

/// The name of a server or database. One that no log record can hold would leave an operation that nobody can undo.
fn place_name<'r, R: StoredRow + ?Sized>(row: &'r R, column: usize, what: &str) -> Read<R, &'r str> {
    let name = text(row, column)?;
    match check_text(what, name, ShardLocation::MAX_NAME_LENGTH) {
        Ok(()) => Ok(name),
        Err(error) => Err(damaged(row, column, format_args!("holds no name: {error}"))),
    }
}

/// A GUID.
pub(crate) fn guid<T: From<Uuid>, R: StoredRow + ?Sized>(row: &R, column: usize) -> Read<R, T> {
    present(row, column, row.uuid(column)?).map(T::from)
}

/// A GUID or NULL.
pub(crate) fn optional_guid<T: From<Uuid>, R: StoredRow + ?Sized>(row: &R, column: usize) -> Read<R, Option<T>> {
    Ok(row.uuid(column)?.map(T::from))
}

/// A key of the given type, or NULL for +infinity.
fn key<R: StoredRow + ?Sized>(row: &R, column: usize, key_type: KeyType) -> Read<R, Option<EncodedKey>> {
    match row.bytes(column)? {
        None => Ok(None),
        Some(bytes) => match EncodedKey::from_stored(key_type, bytes) {
            Ok(key) => Ok(Some(key)),
            Err(error) => Err(damaged(row, column, format_args!("holds no key: {error}"))),
        },
    }
}

/// A key that must not be NULL.
pub(crate) fn opaque_key<R: StoredRow + ?Sized>(row: &R, column: usize, key_type: KeyType) -> Read<R, EncodedKey> {
    present(row, column, key(row, column, key_type)?)
}

/// The high bound of a mapping that begins at `low`, or NULL for +infinity.
pub(crate) fn mapping_end<R: StoredRow + ?Sized>(
    row: &R,
    column: usize,
    (kind, key_type): (ShardMapKind, KeyType),
    low: &EncodedKey,
) -> Read<R, Option<EncodedKey>> {
    // The reference library's recovery writes an upper bound for points, which nobody reads.
    if kind == ShardMapKind::List {
        return Ok(None);
    }
    match key(row, column, key_type)? {
        Some(high) if high <= *low => Err(damaged(row, column, "is not above the low bound of its range")),
        high => Ok(high),
    }
}

/// The status of a mapping.
pub(crate) fn mapping_status<R: StoredRow + ?Sized>(row: &R, column: usize) -> Read<R, MappingStatus> {
    let code = integer(row, column)?;
    MappingStatus::from_code(code).ok_or_else(|| damaged(row, column, format_args!("holds the unknown status {code}")))
}

/// The kind of a shard map.
pub(crate) fn kind<R: StoredRow + ?Sized>(row: &R, column: usize) -> Read<R, ShardMapKind> {
    let code = integer(row, column)?;
    ShardMapKind::from_code(code).ok_or_else(|| damaged(row, column, format_args!("holds the unknown kind {code}")))
}

/// The key type of a shard map.
fn key_type<R: StoredRow + ?Sized>(row: &R, column: usize) -> Read<R, KeyType> {
    let code = integer(row, column)?;
    KeyType::from_code(code).ok_or_else(|| damaged(row, column, format_args!("holds the unknown key type {code}")))
}

/// A shard map: id, name, kind and key type in the first four columns.
pub(crate) fn shard_map<R: StoredRow + ?Sized>(row: &R) -> Read<R, ShardMapInfo> {
    let name: Result<_> = ShardMapName::new(text(row, 1)?);
    let name = name.map_err(|error| damaged(row, 1, format_args!("holds no name: {error}")))?;
    Ok(ShardMapInfo::new(guid(row, 0)?, name, kind(row, 2)?, key_type(row, 3)?))
}

/// A location: protocol, server, port, database, in four columns from `column` on.
pub(crate) fn location<R: StoredRow + ?Sized>(row: &R, column: usize) -> Read<R, ShardLocation> {
    let protocol = integer(row, column)?;
    let protocol = Protocol::from_code(protocol)
        .ok_or_else(|| damaged(row, column, format_args!("holds the unknown protocol {protocol}")))?;
    let port = u16::try_from(integer(row, column + 2)?).map_err(|_| damaged(row, column + 2, "holds no port"))?;
    let location = ShardLocation::new(place_name(row, column + 1, "server")?, place_name(row, column + 3, "database")?);
    Ok(location.with_protocol(protocol).with_port(port))
}

/// A shard: id, version, map, the four columns of the location, and status, from `column` on.
pub(crate) fn shard<R: StoredRow + ?Sized>(row: &R, column: usize) -> Read<R, Shard> {
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
