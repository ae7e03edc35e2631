//! How tables are declared: as an engine reports it, and as the golden data has it of the reference library's stores.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::golden_files::{rows, text};
use super::raw_stores::{RawStores, Store};

/// A table as it was declared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// In their order.
    pub columns: Vec<Column>,
    /// Primary key, unique and foreign keys.
    pub constraints: BTreeSet<Constraint>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// With the length, as in `nvarchar(50)`.
    pub data_type: String,
    pub nullable: bool,
    /// Looked at only where the reference library names one.
    pub collation: Option<String>,
    /// Without parentheses around it.
    pub default: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Constraint {
    pub name: String,
    /// `primary key`, `unique` or `foreign key`.
    pub kind: String,
    /// In their order.
    pub columns: Vec<String>,
    /// For a foreign key: `Table(Column)`.
    pub references: Option<String>,
}

/// The tables of a store at a version as the golden data has them declared, in the words of an environment.
pub fn golden_tables<E: RawStores>(env: &E, file: &Value, store: Store, version: &str) -> BTreeMap<String, Table> {
    let stores = match store {
        Store::Global => "gsm",
        Store::Local(_) => "lsm",
    };
    let optional = |row: &Value, name: &str| row[name].as_str().map(ToOwned::to_owned);
    let declared = file[stores][version]["declared"].as_object().unwrap();
    let table = |declared: &Value| Table {
        columns: rows(declared, "columns")
            .iter()
            .map(|column| Column {
                name: text(column, "name").to_owned(),
                data_type: env.type_here(text(column, "type")),
                nullable: column["nullable"].as_bool().unwrap(),
                collation: optional(column, "collation"),
                default: optional(column, "default"),
            })
            .collect(),
        constraints: rows(declared, "constraints")
            .iter()
            .map(|constraint| Constraint {
                name: text(constraint, "name").to_owned(),
                kind: text(constraint, "kind").to_owned(),
                columns: rows(constraint, "columns").iter().map(|name| name.as_str().unwrap().to_owned()).collect(),
                references: optional(constraint, "references"),
            })
            .collect(),
    };
    declared.iter().map(|(name, declared)| (name.clone(), table(declared))).collect()
}

/// The statement that makes a table, a column to a line. `full` gives the full name of a table, `quoted` that of anything else.
pub fn statement(
    name: &str,
    table: &Table,
    full: impl Fn(&str) -> String,
    quoted: impl Fn(&str) -> String,
    collation_last: bool,
) -> String {
    let list = |names: &[String]| names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
    let columns = table.columns.iter().map(|column| {
        let null = if column.nullable { "" } else { " NOT NULL" };
        let collation = column.collation.as_ref().map(|name| format!(" COLLATE {name}")).unwrap_or_default();
        let default = column.default.as_ref().map(|value| format!(" DEFAULT {value}")).unwrap_or_default();
        let options = if collation_last { format!("{null}{collation}") } else { format!("{collation}{null}") };
        format!("{} {}{options}{default}", quoted(&column.name), column.data_type)
    });
    let constraints = table.constraints.iter().map(|constraint| {
        let references = constraint.references.as_ref().map(|references| {
            let (table, column) = references.trim_end_matches(')').split_once('(').unwrap();
            format!(" REFERENCES {} ({})", full(table), quoted(column))
        });
        let kind = constraint.kind.to_uppercase();
        let columns = list(&constraint.columns);
        format!("CONSTRAINT {} {kind} ({columns}){}", quoted(&constraint.name), references.unwrap_or_default())
    });
    let parts: Vec<_> = columns.chain(constraints).collect();
    format!("CREATE TABLE {} (\n{}\n)", full(name), parts.join(",\n"))
}

/// Fails unless a table is declared as the reference library declares it.
pub fn assert_declared(declared: &Table, golden: &Table, case: &str) {
    let mut declared = declared.clone();
    for column in &mut declared.columns {
        let other = golden.columns.iter().find(|golden| golden.name == column.name);
        if other.is_some_and(|other| other.collation.is_none()) {
            column.collation = None;
        }
        if let Some(default) = &mut column.default {
            *default = default.trim_start_matches('(').trim_end_matches(')').to_owned();
        }
    }
    assert_eq!(declared.columns, golden.columns, "{case}");
    assert_eq!(declared.constraints, golden.constraints, "{case}");
}
