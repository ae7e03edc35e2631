//! `shardlet recovery rebuild`: all of a store from the other side.

use clap::Args;
use serde::Serialize;
use shardlet::operation::Stores;
use shardlet::{ShardDifferences, ShardLocation, ShardMapName};

use super::detect::{is_of, look, of_map, say};
use crate::confirm::Change;
use crate::failure::{Failure, Result};
use crate::location;
use crate::session::{Session, steps_of};
use crate::stop;

/// How many shards are looked at at once before the question.
const PARALLEL: usize = 8;

#[derive(Args)]
pub(crate) struct Rebuild {
    /// The shards whose own stores are rebuilt; with --map those that the global store is rebuilt from
    #[arg(value_parser = location::parse, required_unless_present = "all")]
    shards: Vec<ShardLocation>,
    /// Rebuilds this shard map in the global store, from what the shards say
    #[arg(long, value_name = "NAME")]
    map: Option<String>,
    /// With --map: from all shards that the global store has of it
    #[arg(long, requires = "map", conflicts_with = "shards")]
    all: bool,
    #[command(flatten)]
    change: Change,
}

#[derive(Serialize)]
struct RebuiltRow {
    rebuilt: String,
    map: String,
}

impl Rebuild {
    pub(super) async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        match &self.map {
            Some(map) => self.global(session, map).await,
            None => self.local(session).await,
        }
    }

    /// The stores of shards, from the global store.
    async fn local<B: Stores>(&self, session: &Session<B>) -> Result<()> {
        let recovery = session.manager().await?.recovery();
        let (mut wanted, mut steps, mut count) = (Vec::new(), Vec::new(), 0);
        for place in &self.shards {
            let found = recovery.detect(place).await?;
            let here: Vec<_> = found.iter().filter(|it| it.shard().is_some_and(|it| it.location() == place)).collect();
            if here.is_empty() {
                return Err(Failure::NotFound(format!("no shard map has a shard at {}", location::show(place))));
            }
            if !here.iter().any(|found| differs(found)) {
                continue;
            }
            for found in here {
                say(session, found);
                count += found.of_mappings().len() + found.of_shard().len();
                let map = found.shard_map().name();
                steps.push((
                    location::show(place),
                    format!("hold of {map:?} what the global store says, and nothing else"),
                ));
            }
            wanted.push(place);
        }
        if wanted.is_empty() {
            return Err(Failure::NoChange("their own stores hold what the global store says".to_owned()));
        }
        let question = format!(
            "make the own stores of {} shards hold what the global store says, which settles {count} differences?",
            wanted.len()
        );
        let mut rows = Vec::new();
        let mut done = 0;
        let work = async {
            for place in &wanted {
                if session.stop.is_requested() {
                    break;
                }
                let maps = recovery.rebuild_shard(place).await?;
                let rebuilt =
                    maps.iter().map(|map| RebuiltRow { rebuilt: location::show(place), map: map.name().to_owned() });
                rows.extend(rebuilt);
                done += 1;
            }
            Ok(())
        };
        let ended = session.decide(self.change, steps_of(steps), Some(question), work).await;
        if !rows.is_empty() {
            session.output.list(&rows)?;
        }
        if ended?.is_some() && done < wanted.len() {
            let text = format!("stopped after {done} of {} shards; run it again to go on", wanted.len());
            return Err(Failure::Interrupted(text));
        }
        Ok(())
    }

    /// A map in the global store, from the stores of shards.
    async fn global<B: Stores>(&self, session: &Session<B>, map: &str) -> Result<()> {
        let manager = session.manager().await?;
        let (info, name) = (manager.shard_map(map).await?, ShardMapName::new(map)?);
        let shards = if self.all { of_map(session, &info).await? } else { self.shards.clone() };
        let recovery = manager.recovery();
        let seen = look(session, &recovery, shards.clone(), PARALLEL).await?;
        if seen.is_partial() {
            return Err(Failure::Interrupted(stop::NOTHING.to_owned()));
        }
        let (mut steps, mut count) = (Vec::new(), 0);
        for (place, found) in seen.rows {
            for found in found?.iter().filter(|found| is_of(found, Some(&name)) && differs(found)) {
                say(session, found);
                count += found.of_mappings().len() + found.of_shard().len();
                let words = format!("hold of {:?} what {} says", info.name(), location::show(&place));
                steps.push(("global store", words));
            }
        }
        if steps.is_empty() {
            return Err(Failure::NoChange("the global store holds what the shards say".to_owned()));
        }
        let question = format!(
            "make the global store hold of {:?} what {} shards say, which settles {count} differences?",
            info.name(),
            shards.len()
        );
        let work = recovery.rebuild_shard_map(map, &shards);
        if session.decide(self.change, steps_of(steps), Some(question), work).await?.is_some() {
            session.output.list(&[RebuiltRow { rebuilt: "global store".to_owned(), map: info.name().to_owned() }])?;
        }
        Ok(())
    }
}

/// Whether there is something to do, or to undo.
fn differs(found: &ShardDifferences) -> bool {
    !found.is_empty() || !found.unfinished_operations().is_empty()
}
