//! `shardlet schema`: which tables of the shards are sharded, and which are on every shard.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use shardlet::operation::Stores;
use shardlet::{ErrorKind, ReferenceTable, SchemaInfo, ShardedTable};

use crate::blocking::blocking;
use crate::confirm::Change;
use crate::failure::{Failure, Result};
use crate::session::{Session, steps_of};

#[derive(Subcommand)]
pub(crate) enum SchemaCommand {
    /// Lists the names that schema information is stored under
    List,
    /// Shows the tables of one
    Show(Named),
    /// Stores the tables of one, in place of what there was
    Set(Set),
    /// Deletes one
    Delete(Delete),
}

#[derive(Args)]
pub(crate) struct Named {
    /// The name, by convention that of the shard map
    name: String,
}

#[derive(Args)]
pub(crate) struct Set {
    /// The name, by convention that of the shard map
    name: String,
    /// A sharded table, TABLE=COLUMN or SCHEMA.TABLE=COLUMN with the column of the key; may be given more than once
    #[arg(long, value_name = "TABLE=COLUMN")]
    sharded: Vec<String>,
    /// A table that is on every shard, TABLE or SCHEMA.TABLE; may be given more than once
    #[arg(long, value_name = "TABLE")]
    reference: Vec<String>,
    /// A file in JSON, as shardlet schema show --output json prints it
    #[arg(long, conflicts_with_all = ["sharded", "reference"], required_unless_present_any = ["sharded", "reference"])]
    file: Option<PathBuf>,
    #[command(flatten)]
    change: Change,
}

#[derive(Args)]
pub(crate) struct Delete {
    /// The name
    name: String,
    #[command(flatten)]
    change: Change,
}

#[derive(Serialize)]
struct SchemaRow {
    name: String,
    sharded_tables: usize,
    reference_tables: usize,
}

/// A table of the shards.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct TableRow {
    kind: TableKind,
    schema: String,
    table: String,
    /// Of a sharded table.
    key_column: Option<String>,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum TableKind {
    Sharded,
    Reference,
}

impl SchemaCommand {
    pub(crate) async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        match self {
            Self::List => {
                let infos = session.manager().await?.schema_infos().await?;
                let row = |(name, info): (String, SchemaInfo)| SchemaRow {
                    name,
                    sharded_tables: info.sharded_tables().count(),
                    reference_tables: info.reference_tables().count(),
                };
                session.output.list(&infos.into_iter().map(row).collect::<Vec<_>>())
            }
            Self::Show(named) => {
                let info = session.manager().await?.schema_info(&named.name).await?;
                session.output.list(&rows(&info))
            }
            Self::Set(set) => set.run(session).await,
            Self::Delete(delete) => delete.run(session).await,
        }
    }
}

fn rows(info: &SchemaInfo) -> Vec<TableRow> {
    let sharded = info.sharded_tables().map(|table| TableRow {
        kind: TableKind::Sharded,
        schema: table.schema().to_owned(),
        table: table.table().to_owned(),
        key_column: Some(table.key_column().to_owned()),
    });
    let reference = info.reference_tables().map(|table| TableRow {
        kind: TableKind::Reference,
        schema: table.schema().to_owned(),
        table: table.table().to_owned(),
        key_column: None,
    });
    sharded.chain(reference).collect()
}

impl Set {
    async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        let tables = match &self.file {
            Some(path) => read(path).await?,
            None => Vec::new(),
        };
        let info = self.info(tables)?;
        let manager = session.manager().await?;
        let replaces = match manager.find_schema_info(&self.name).await {
            Ok(Some(old)) if old == info => return Err(Failure::NoChange("this is stored already".to_owned())),
            Ok(old) => old.is_some(),
            // What cannot be read can be replaced.
            Err(error) if error.kind() == ErrorKind::StoreDamaged => true,
            Err(error) => return Err(error.into()),
        };
        let words = if replaces { "replace" } else { "store" };
        let steps = steps_of([("global store", format!("{words} schema information {:?}: {info}", self.name))]);
        let question = replaces.then(|| format!("replace the schema information {:?}?", self.name));
        let work = async {
            match replaces {
                true => manager.update_schema_info(&self.name, &info).await,
                false => manager.create_schema_info(&self.name, &info).await,
            }
        };
        if session.decide(self.change, steps, question, work).await?.is_some() {
            session.output.list(&rows(&info))?;
        }
        Ok(())
    }

    fn info(&self, tables: Vec<TableRow>) -> Result<SchemaInfo> {
        let mut info = SchemaInfo::new();
        for (row, number) in tables.into_iter().zip(1..) {
            let added = match (row.kind, row.key_column) {
                (TableKind::Sharded, Some(column)) => ShardedTable::in_schema(row.schema, row.table, column)
                    .and_then(|table| info.add_sharded_table(table)),
                (TableKind::Reference, None) => {
                    ReferenceTable::in_schema(row.schema, row.table).and_then(|table| info.add_reference_table(table))
                }
                (TableKind::Sharded, None) => Err(shardlet::Error::invalid_input("a sharded table needs a key_column")),
                (TableKind::Reference, Some(_)) => {
                    Err(shardlet::Error::invalid_input("a reference table has no key_column"))
                }
            };
            added.map_err(|error| {
                Failure::Input(format!(
                    "{}, row {number}: {error}",
                    self.file.as_deref().unwrap_or(Path::new("")).display()
                ))
            })?;
        }
        for text in &self.sharded {
            let (table, column) = text.rsplit_once('=').ok_or_else(|| {
                Failure::Input("a sharded table is written TABLE=COLUMN or SCHEMA.TABLE=COLUMN".to_owned())
            })?;
            info.add_sharded_table(match table.split_once('.') {
                Some((schema, table)) => ShardedTable::in_schema(schema, table, column)?,
                None => ShardedTable::new(table, column)?,
            })?;
        }
        for table in &self.reference {
            info.add_reference_table(match table.split_once('.') {
                Some((schema, table)) => ReferenceTable::in_schema(schema, table)?,
                None => ReferenceTable::new(table.as_str())?,
            })?;
        }
        Ok(info)
    }
}

async fn read(path: &Path) -> Result<Vec<TableRow>> {
    let file = path.to_owned();
    let text = blocking(move || std::fs::read_to_string(file)).await.map_err(|error| Failure::file(path, error))?;
    serde_json::from_str(&text).map_err(|error| Failure::Input(format!("{}: {error}", path.display())))
}

impl Delete {
    async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        let manager = session.manager().await?;
        match manager.schema_info(&self.name).await {
            // What cannot be read can be deleted.
            Err(error) if error.kind() != ErrorKind::StoreDamaged => return Err(error.into()),
            _ => {}
        }
        let steps = steps_of([("global store", format!("delete schema information {:?}", self.name))]);
        let question = format!("delete the schema information {:?}?", self.name);
        let deleted = manager.delete_schema_info(&self.name);
        if session.decide(self.change, steps, Some(question), deleted).await?.is_some() {
            session.output.say("schema information deleted");
        }
        Ok(())
    }
}
