//! Schema information: which tables of the shards are sharded, by which column, and which are copied to every shard.
//!
//! Inert values; the manager stores them under names. `document` is the form in which they are stored.
//!
//! Invariants: no two tables have the same schema and name, and every name can be that of a table and be held by a document.

mod document;

use std::collections::BTreeMap;
use std::fmt;

pub(crate) use document::{read, write};

use crate::error::{Error, ErrorCategory, ErrorCode, ErrorKind, Result};
use crate::model::check_text;

/// The schema of tables that are named without one.
const DEFAULT_SCHEMA: &str = "dbo";

/// The longest name of a schema, table or column, in UTF-16 code units: that of SQL Server.
const LONGEST: usize = 128;

/// The tables that applications of a shard map have on its shards, for tools that move or copy their rows.
///
/// Nothing here looks at a database: it holds what it was told. Two of them are equal if they hold the same tables.
/// [`create_schema_info`](crate::ShardMapManager::create_schema_info) stores it.
///
/// ```
/// use shardlet::{ReferenceTable, SchemaInfo, ShardedTable};
///
/// # fn main() -> shardlet::Result<()> {
/// let mut info = SchemaInfo::new();
/// info.add_sharded_table(ShardedTable::new("customer", "customer_id")?)?;
/// info.add_sharded_table(ShardedTable::in_schema("sales", "order", "customer_id")?)?;
/// info.add_reference_table(ReferenceTable::new("region")?)?;
/// assert!(info.add_reference_table(ReferenceTable::in_schema("Sales", "Order")?).is_err());
/// assert_eq!(
///     info.to_string(),
///     "sharded: [dbo].[customer] by [customer_id], [sales].[order] by [customer_id]; reference: [dbo].[region]"
/// );
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaInfo {
    tables: BTreeMap<Key, Table>,
}

/// Schema and name of a table as they compare.
type Key = (String, String);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Table {
    Sharded(ShardedTable),
    Reference(ReferenceTable),
}

/// A table whose rows are spread over the shards by the value of one column, the sharding key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ShardedTable {
    schema: String,
    table: String,
    key_column: String,
}

/// A table that every shard has a whole copy of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReferenceTable {
    schema: String,
    table: String,
}

impl SchemaInfo {
    /// The longest name that it can be stored under, in UTF-16 code units (the column is `nvarchar(128)`).
    pub const MAX_NAME_LENGTH: usize = 128;

    /// Without any table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The sharded tables, ordered by schema and table.
    pub fn sharded_tables(&self) -> impl Iterator<Item = &ShardedTable> {
        self.tables.values().filter_map(|table| match table {
            Table::Sharded(table) => Some(table),
            Table::Reference(_) => None,
        })
    }

    /// The reference tables, ordered by schema and table.
    pub fn reference_tables(&self) -> impl Iterator<Item = &ReferenceTable> {
        self.tables.values().filter_map(|table| match table {
            Table::Reference(table) => Some(table),
            Table::Sharded(_) => None,
        })
    }

    /// Adds a sharded table.
    ///
    /// # Errors
    /// `AlreadyExists` if a table of this schema and name is there, of either kind; names compare without regard to case.
    pub fn add_sharded_table(&mut self, table: ShardedTable) -> Result<()> {
        self.add(key(&table.schema, &table.table), Table::Sharded(table))
    }

    /// Adds a reference table.
    ///
    /// # Errors
    /// As [`add_sharded_table`](Self::add_sharded_table).
    pub fn add_reference_table(&mut self, table: ReferenceTable) -> Result<()> {
        self.add(key(&table.schema, &table.table), Table::Reference(table))
    }

    /// Removes a sharded table, and says whether it was there: with exactly these names.
    pub fn remove_sharded_table(&mut self, table: &ShardedTable) -> bool {
        let key = key(&table.schema, &table.table);
        let there = matches!(self.tables.get(&key), Some(Table::Sharded(known)) if known == table);
        there && self.tables.remove(&key).is_some()
    }

    /// Removes a reference table, and says whether it was there: with exactly these names.
    pub fn remove_reference_table(&mut self, table: &ReferenceTable) -> bool {
        let key = key(&table.schema, &table.table);
        let there = matches!(self.tables.get(&key), Some(Table::Reference(known)) if known == table);
        there && self.tables.remove(&key).is_some()
    }

    fn add(&mut self, key: Key, table: Table) -> Result<()> {
        match self.tables.get(&key) {
            Some(known) => {
                let message = format!("the schema information holds the {known} already");
                Err(Error::new(ErrorKind::AlreadyExists, ErrorCode::TableInfoAlreadyPresent, message)
                    .with_category(ErrorCategory::SchemaInfoCollection)
                    .with_operation("SchemaInfo.Add"))
            }
            None => {
                let _ = self.tables.insert(key, table);
                Ok(())
            }
        }
    }
}

impl ShardedTable {
    /// A table in the schema `dbo`, which is sharded by this column.
    ///
    /// # Errors
    /// `InvalidInput` for a name that is blank, longer than 128 UTF-16 code units, or holds a control character that XML
    /// cannot or a carriage return.
    pub fn new(table: impl Into<String>, key_column: impl Into<String>) -> Result<Self> {
        Self::in_schema(DEFAULT_SCHEMA, table, key_column)
    }

    /// A table in a schema.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn in_schema(
        schema: impl Into<String>,
        table: impl Into<String>,
        key_column: impl Into<String>,
    ) -> Result<Self> {
        let (schema, table, key_column) = (schema.into(), table.into(), key_column.into());
        check_text("schema", &schema, LONGEST)?;
        check_text("table", &table, LONGEST)?;
        check_text("key column", &key_column, LONGEST)?;
        Ok(Self { schema, table, key_column })
    }

    /// The schema.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// The name of the table.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.table
    }

    /// The name of the column that holds the sharding key.
    #[must_use]
    pub fn key_column(&self) -> &str {
        &self.key_column
    }
}

impl ReferenceTable {
    /// A table in the schema `dbo`.
    ///
    /// # Errors
    /// As [`ShardedTable::new`].
    pub fn new(table: impl Into<String>) -> Result<Self> {
        Self::in_schema(DEFAULT_SCHEMA, table)
    }

    /// A table in a schema.
    ///
    /// # Errors
    /// As [`ShardedTable::new`].
    pub fn in_schema(schema: impl Into<String>, table: impl Into<String>) -> Result<Self> {
        let (schema, table) = (schema.into(), table.into());
        check_text("schema", &schema, LONGEST)?;
        check_text("table", &table, LONGEST)?;
        Ok(Self { schema, table })
    }

    /// The schema.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// The name of the table.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.table
    }
}

fn key(schema: &str, table: &str) -> Key {
    (folded(schema), folded(table))
}

/// A name as the reference library compares it, by .NET's ordinal rule: each character alone in upper case, where that is one
/// character and does not make an ASCII letter of another. So we find the same tables twice that it does, and no others.
fn folded(name: &str) -> String {
    let fold = |c: char| {
        let mut upper = c.to_uppercase();
        match (upper.next(), upper.next()) {
            (Some(upper), None) if c.is_ascii() || !upper.is_ascii() => upper,
            _ => c,
        }
    };
    name.chars().map(fold).collect()
}

/// In brackets, as SQL Server quotes names.
fn quoted(name: &str) -> String {
    format!("[{}]", name.replace(']', "]]"))
}

/// `[schema].[table] by [column]`
impl fmt::Display for ShardedTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} by {}", quoted(&self.schema), quoted(&self.table), quoted(&self.key_column))
    }
}

/// `[schema].[table]`
impl fmt::Display for ReferenceTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", quoted(&self.schema), quoted(&self.table))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sharded(table) => write!(f, "sharded table {table}"),
            Self::Reference(table) => write!(f, "reference table {table}"),
        }
    }
}

/// All tables in one line, or `no tables`.
impl fmt::Display for SchemaInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sharded: Vec<_> = self.sharded_tables().map(ToString::to_string).collect();
        let reference: Vec<_> = self.reference_tables().map(ToString::to_string).collect();
        let kinds = [("sharded", sharded), ("reference", reference)];
        let kinds = kinds.iter().filter(|(_, tables)| !tables.is_empty());
        let kinds: Vec<_> = kinds.map(|(kind, tables)| format!("{kind}: {}", tables.join(", "))).collect();
        if kinds.is_empty() { f.write_str("no tables") } else { f.write_str(&kinds.join("; ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sharded(schema: &str, table: &str, key_column: &str) -> ShardedTable {
        ShardedTable::in_schema(schema, table, key_column).unwrap()
    }

    fn reference(schema: &str, table: &str) -> ReferenceTable {
        ReferenceTable::in_schema(schema, table).unwrap()
    }

    #[test]
    fn tables_are_in_dbo_unless_told_otherwise() {
        assert_eq!(ShardedTable::new("t", "k").unwrap(), sharded("dbo", "t", "k"));
        assert_eq!(ReferenceTable::new("t").unwrap(), reference("dbo", "t"));
        let table = sharded("s", "t", "k");
        assert_eq!((table.schema(), table.table(), table.key_column()), ("s", "t", "k"));
        let table = reference("s", "t");
        assert_eq!((table.schema(), table.table()), ("s", "t"));
    }

    #[test]
    fn a_table_is_held_once_as_either_kind() {
        let mut info = SchemaInfo::new();
        info.add_sharded_table(sharded("dbo", "Straße", "k")).unwrap();
        info.add_reference_table(reference("dbo", "r")).unwrap();
        let before = info.clone();
        for outcome in [
            info.add_sharded_table(sharded("dbo", "Straße", "k")),
            info.add_sharded_table(sharded("DBO", "STRAßE", "another")),
            info.add_reference_table(reference("dbo", "straße")),
            info.add_reference_table(reference("Dbo", "R")),
            info.add_sharded_table(sharded("dbo", "R", "k")),
        ] {
            let error = outcome.unwrap_err();
            assert_eq!((error.kind(), error.code() as u32), (ErrorKind::AlreadyExists, 1011));
            assert_eq!(error.category(), ErrorCategory::SchemaInfoCollection);
            let named = ["[dbo].[Straße] by [k]", "[dbo].[r]"].iter().any(|name| error.to_string().contains(name));
            assert!(named, "{error}");
        }
        assert_eq!(info, before);
        // To the reference library these are other tables.
        for (schema, table) in [("d", "Straße"), ("dbo", "Strasse"), ("dbo", "Straße "), ("dbo", "ſ"), ("dbo", "s")]
        {
            info.add_reference_table(reference(schema, table)).unwrap();
        }
        assert_eq!(info.reference_tables().count(), 6);
    }

    #[test]
    fn a_table_is_removed_by_exactly_its_names() {
        let mut info = SchemaInfo::new();
        info.add_sharded_table(sharded("dbo", "t", "k")).unwrap();
        info.add_reference_table(reference("dbo", "r")).unwrap();
        assert!(!info.remove_sharded_table(&sharded("dbo", "T", "k")));
        assert!(!info.remove_sharded_table(&sharded("dbo", "t", "other")));
        assert!(!info.remove_sharded_table(&sharded("dbo", "r", "k")));
        assert!(!info.remove_reference_table(&reference("dbo", "t")));
        assert!(!info.remove_reference_table(&reference("dbo", "R")));
        assert_eq!((info.sharded_tables().count(), info.reference_tables().count()), (1, 1));
        assert!(info.remove_sharded_table(&sharded("dbo", "t", "k")));
        assert!(!info.remove_sharded_table(&sharded("dbo", "t", "k")));
        info.add_reference_table(reference("dbo", "t")).unwrap();
        assert!(info.remove_reference_table(&reference("dbo", "t")));
        assert!(info.remove_reference_table(&reference("dbo", "r")));
        assert_eq!(info, SchemaInfo::new());
    }

    #[test]
    fn equal_by_the_tables_and_not_by_the_order_in_which_they_came() {
        let (mut one, mut other) = (SchemaInfo::new(), SchemaInfo::new());
        for table in ["a", "b"] {
            one.add_sharded_table(sharded("dbo", table, "k")).unwrap();
        }
        for table in ["b", "a"] {
            other.add_sharded_table(sharded("dbo", table, "k")).unwrap();
        }
        assert_eq!(one, other);
        let tables: Vec<_> = other.sharded_tables().map(ShardedTable::table).collect();
        assert_eq!(tables, ["a", "b"]);
        assert!(other.remove_sharded_table(&sharded("dbo", "a", "k")));
        other.add_sharded_table(sharded("dbo", "A", "k")).unwrap();
        assert_ne!(one, other);
    }

    #[test]
    fn names_that_no_table_has_or_no_document_holds_are_refused() {
        let longest = "表".repeat(128);
        assert!(ShardedTable::in_schema(&longest, &longest, &longest).is_ok());
        let too_long = "a".repeat(129);
        for bad in ["", " ", "\t\n", too_long.as_str(), "😀".repeat(65).as_str(), "a\0", "a\rb", "\u{ffff}"] {
            for outcome in [
                ShardedTable::in_schema(bad, "t", "k").map(drop),
                ShardedTable::in_schema("s", bad, "k").map(drop),
                ShardedTable::in_schema("s", "t", bad).map(drop),
                ReferenceTable::in_schema(bad, "t").map(drop),
                ReferenceTable::in_schema("s", bad).map(drop),
            ] {
                assert_eq!(outcome.unwrap_err().kind(), ErrorKind::InvalidInput, "{bad:?}");
            }
        }
    }

    #[test]
    fn shown_to_people() {
        let mut info = SchemaInfo::new();
        assert_eq!(info.to_string(), "no tables");
        info.add_reference_table(reference("dbo", "a]b")).unwrap();
        assert_eq!(info.to_string(), "reference: [dbo].[a]]b]");
        info.add_sharded_table(sharded("s", "t", "k")).unwrap();
        assert_eq!(info.to_string(), "sharded: [s].[t] by [k]; reference: [dbo].[a]]b]");
    }
}
