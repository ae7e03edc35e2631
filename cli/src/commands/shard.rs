//! `shardlet shard`: the databases of a shard map.

use std::collections::HashMap;

use clap::{ArgGroup, Args, Subcommand};
use serde::Serialize;
use shardlet::operation::Stores;
use shardlet::{Shard, ShardId, ShardLocation, ShardStatus};

use crate::confirm::Change;
use crate::failure::{Failure, Result};
use crate::location;
use crate::map;
use crate::session::{Session, steps};

#[derive(Subcommand)]
pub(crate) enum ShardCommand {
    /// Lists the shards of a map
    List(List),
    /// Adds a database to a map, after looking at it and asking
    ///
    /// What the shard needs is installed in it where it is missing. On SQL Server the database has to be there already.
    Add(Add),
    /// Shows a shard and what is on it
    Show(Show),
    /// Disables or enables a shard
    Update(Update),
    /// Takes a shard that has no mappings out of a map; its database stays
    Delete(Delete),
}

#[derive(Args)]
pub(crate) struct List {
    /// The shard map
    map: String,
}

#[derive(Args)]
pub(crate) struct Add {
    /// The shard map
    map: String,
    /// The database: SERVER/DATABASE or SERVER,PORT/DATABASE
    #[arg(value_parser = location::parse)]
    shard: ShardLocation,
    #[command(flatten)]
    change: Change,
}

#[derive(Args)]
pub(crate) struct Show {
    /// The shard map
    map: String,
    /// The shard
    #[arg(value_parser = location::parse)]
    shard: ShardLocation,
}

#[derive(Args)]
#[command(group = ArgGroup::new("what").required(true).multiple(true))]
pub(crate) struct Update {
    /// The shard map
    map: String,
    /// The shard
    #[arg(value_parser = location::parse)]
    shard: ShardLocation,
    /// Gives it no new mappings from now on; those that it has stay, and are served
    #[arg(long, group = "what", conflicts_with = "enable")]
    disable: bool,
    /// Lets it have new mappings again
    #[arg(long, group = "what")]
    enable: bool,
    #[command(flatten)]
    change: Change,
}

#[derive(Args)]
pub(crate) struct Delete {
    /// The shard map
    map: String,
    /// The shard
    #[arg(value_parser = location::parse)]
    shard: ShardLocation,
    #[command(flatten)]
    change: Change,
}

#[derive(Serialize)]
struct ShardRow {
    shard: String,
    status: &'static str,
    mappings: usize,
    id: String,
}

impl ShardCommand {
    pub(crate) async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        match self {
            Self::List(list) => list.run(session).await,
            Self::Add(add) => add.run(session).await,
            Self::Show(show) => show.run(session).await,
            Self::Update(update) => update.run(session).await,
            Self::Delete(delete) => delete.run(session).await,
        }
    }
}

impl List {
    async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        let map = session.map(&self.map).await?;
        let mut counts: HashMap<ShardId, usize> = HashMap::new();
        for mapping in map.mappings(None, None).await? {
            *counts.entry(mapping.shard.id()).or_default() += 1;
        }
        let shards = map.shards().await?;
        let rows = shards.iter().map(|shard| row(shard, counts.get(&shard.id()).copied().unwrap_or_default()));
        session.output.list(&rows.collect::<Vec<_>>())
    }
}

impl Add {
    async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        let map = session.map(&self.map).await?;
        let place = location::show(&self.shard);
        if map.find_shard(&self.shard).await?.is_some() {
            return Err(Failure::Exists(format!("{place} is a shard of the map already")));
        }
        // Connects.
        match session.backend.local_version(&self.shard).await? {
            None => session.output.say(&format!("{place}: reached; has no local store, one is installed")),
            Some(version) if !version.is_usable() => {
                let text = format!("{place} has a local store of version {version}: upgrade it first");
                return Err(Failure::Version(text));
            }
            Some(version) => {
                let others = session.backend.local_shards(&self.shard).await?;
                let maps: Vec<_> = others.iter().map(|(map, _)| format!("{:?}", map.name())).collect();
                let maps = if maps.is_empty() { "no map".to_owned() } else { maps.join(", ") };
                session.output.say(&format!("{place}: reached; has a local store of version {version}, with {maps}"));
            }
        }
        let change = map::Change::of(map.create_shard(&self.shard), |shard| shard);
        let question = format!("add {place} to the shard map {:?}?", map.info().name());
        if let (false, Ok(plan)) = (self.change.dry_run, &change.plan) {
            for step in steps(plan) {
                session.output.say(&format!("{}. {}: {}", step.step, step.place, step.action));
            }
        }
        if let Some(shard) = session.carry_out(self.change, change, Some(question)).await? {
            session.output.show(&row(&shard, 0))?;
        }
        Ok(())
    }
}

impl Show {
    async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        let map = session.map(&self.map).await?;
        let shard = map.shard(&self.shard).await?;
        let mappings = map.mappings(None, Some(&shard)).await?.len();
        session.output.show(&row(&shard, mappings))
    }
}

impl Update {
    async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        let map = session.map(&self.map).await?;
        let shard = map.shard(&self.shard).await?;
        let status = if self.disable { ShardStatus::Offline } else { ShardStatus::Online };
        if shard.status() == status {
            return Err(Failure::NoChange(format!("the shard is {} already", status_word(status))));
        }
        let change = map::Change::of(map.update_shard(shard, status), |shard| shard);
        let _ = session.carry_out(self.change, change, None).await?;
        Ok(())
    }
}

impl Delete {
    async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        let map = session.map(&self.map).await?;
        let shard = map.shard(&self.shard).await?;
        let question = format!("take {} out of the shard map {:?}?", location::show(&self.shard), map.info().name());
        let change = map::Change::of(map.delete_shard(shard), |()| ());
        if session.carry_out(self.change, change, Some(question)).await?.is_some() {
            session.output.say("shard deleted; its database stays");
        }
        Ok(())
    }
}

/// The status as rows say it.
pub(crate) fn status_word(status: ShardStatus) -> &'static str {
    match status {
        ShardStatus::Online => "enabled",
        ShardStatus::Offline => "disabled",
    }
}

fn row(shard: &Shard, mappings: usize) -> ShardRow {
    let shard_text = location::show(shard.location());
    ShardRow { shard: shard_text, status: status_word(shard.status()), mappings, id: shard.id().to_string() }
}
