//! `shardlet doctor`: the global store and every shard.

use clap::Args;
use serde::Serialize;
use shardlet::operation::Stores;
use shardlet::{Detector, ShardDifferences, ShardLocation, ShardMapManager, StoreRights, StoreVersion};

use super::check::{Checked, Verdict, check, of_rights, of_version, show_rights, told, was_reached};
use crate::failure::{Failure, Result};
use crate::location;
use crate::places;
use crate::session::Session;

/// How often a shard with differences and unfinished operations is looked at: the differences of an operation that is at work are
/// gone with it.
const LOOKS: usize = 3;

#[derive(Args)]
pub(crate) struct Doctor {
    /// How many shards are looked at at once
    #[arg(long, value_name = "COUNT", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=places::MOST))]
    parallel: u64,
    /// Shows only what is not as it has to be
    #[arg(long)]
    unhealthy: bool,
}

#[derive(Serialize)]
struct PlaceRow {
    place: String,
    healthy: bool,
    reachable: bool,
    version: Option<String>,
    /// Whether the shard's own store says what the global store says; nothing where that could not be found out.
    agrees: Option<bool>,
    unfinished_operations: usize,
    /// What the login may do there: `all`, `none`, or some of `reads changes installs ends_sessions`.
    rights: Option<String>,
    message: Option<String>,
}

/// What was found out about a shard.
struct Health {
    reachable: bool,
    version: Option<StoreVersion>,
    agrees: Option<bool>,
    rights: Option<StoreRights>,
    faults: Vec<String>,
    notes: Vec<String>,
}

impl Doctor {
    pub(super) async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        let _looking = session.stop.looking();
        let interrupted = || Failure::Interrupted("stopped before all places were looked at".to_owned());
        let checked = tokio::select! {
            checked = check(session) => checked,
            () = session.stop.requested() => return Err(interrupted()),
        };
        let mut rows = vec![of_global(&checked)];
        let mut partial = false;
        if let Some(manager) = &checked.manager {
            match at_shards(session, manager, usize::try_from(self.parallel).unwrap_or(1)).await {
                Ok(seen) => {
                    partial = seen.is_partial();
                    rows.extend(seen.rows.into_iter().map(|(place, health)| of_shard(&checked, &place, health)));
                }
                Err(error) => add(&mut rows, told(error)),
            }
        }
        let (all, healthy) = (rows.len(), rows.iter().filter(|row| row.healthy).count());
        if self.unhealthy {
            rows.retain(|row| !row.healthy);
        }
        session.output.list(&rows)?;
        session.output.say(&format!("{all} places looked at: {healthy} healthy, {} not", all - healthy));
        if partial {
            return Err(interrupted());
        }
        if healthy == all { Ok(()) } else { Err(Failure::Unhealthy) }
    }
}

/// Looks at all shards.
async fn at_shards<B: Stores>(
    session: &Session<B>,
    manager: &ShardMapManager<B>,
    parallel: usize,
) -> shardlet::Result<places::Seen<ShardLocation, Health>> {
    let detector = manager.recovery().detector().await?;
    let locations = manager.shard_locations().await?;
    let at = |place: ShardLocation| {
        let (backend, detector) = (session.backend.clone(), detector.clone());
        async move { examine(&backend, &detector, &place).await }
    };
    Ok(places::look(session, locations, parallel, "looking at shards", at).await)
}

/// Adds a fault to the row of the global store.
fn add(rows: &mut [PlaceRow], fault: String) {
    if let Some(row) = rows.first_mut() {
        row.healthy = false;
        row.message = Some(row.message.take().map_or_else(|| fault.clone(), |before| format!("{before}; {fault}")));
    }
}

fn of_global<B: Stores>(checked: &Checked<B>) -> PlaceRow {
    let said = checked.rows.iter().filter(|row| row.result != Verdict::Ok);
    PlaceRow {
        place: "global store".to_owned(),
        healthy: checked.rows.iter().all(|row| row.result != Verdict::Failed),
        reachable: checked.reachable,
        version: checked.version.map(|version| version.to_string()),
        agrees: None,
        unfinished_operations: checked.operations.len(),
        rights: checked.rights.map(show_rights),
        message: joined(said.map(|row| row.message.clone()).collect()),
    }
}

fn of_shard<B: Stores>(checked: &Checked<B>, place: &ShardLocation, mut health: Health) -> PlaceRow {
    let here = checked.operations.iter().filter(|operation| operation.locations.contains(place));
    let (mut count, mut left_over) = (0, 0);
    for operation in here {
        count += 1;
        left_over += usize::from(checked.left_over.contains(&operation.id));
    }
    if left_over > 0 {
        health.faults.push(format!("{left_over} operations were left unfinished: shardlet operation undo --all"));
    }
    let healthy = health.faults.is_empty();
    health.faults.append(&mut health.notes);
    PlaceRow {
        place: location::show(place),
        healthy,
        reachable: health.reachable,
        version: health.version.map(|version| version.to_string()),
        agrees: health.agrees,
        unfinished_operations: count,
        rights: health.rights.map(show_rights),
        message: joined(health.faults),
    }
}

fn joined(words: Vec<String>) -> Option<String> {
    Some(words.join("; ")).filter(|words| !words.is_empty())
}

/// Looks at a shard.
async fn examine<B: Stores>(backend: &B, detector: &Detector<B>, place: &ShardLocation) -> Health {
    let mut health =
        Health { reachable: true, version: None, agrees: None, rights: None, faults: Vec::new(), notes: Vec::new() };
    match backend.local_version(place).await {
        Err(error) if !was_reached(&error) => {
            health.reachable = false;
            health.faults.push(told(error));
            return health;
        }
        // What is damaged or missing is among the differences.
        Err(_) | Ok(None) => {}
        Ok(Some(version)) => {
            health.version = Some(version);
            match of_version(version) {
                (Verdict::Failed, words) => {
                    health.faults.extend(words);
                    return health;
                }
                (_, words) => health.notes.extend(words),
            }
        }
    }
    match backend.local_rights(place).await {
        Ok(rights) => {
            health.rights = Some(rights);
            match of_rights(rights) {
                (Verdict::Failed, words) => health.faults.extend(words),
                (_, words) => health.notes.extend(words),
            }
        }
        Err(error) => health.faults.push(told(error)),
    }
    for look in 1..=LOOKS {
        let found = match detector.detect(place).await {
            Ok(found) => found,
            Err(error) => {
                health.faults.push(told(error));
                return health;
            }
        };
        let differing: Vec<_> = found.iter().filter(|found| !found.is_empty()).collect();
        let at_work = differing.iter().any(|found| !found.unfinished_operations().is_empty());
        if differing.is_empty() || !at_work || look == LOOKS {
            health.agrees = Some(differing.is_empty());
            health.faults.extend(differing.into_iter().map(differs));
            return health;
        }
    }
    health
}

/// Differences in some words.
fn differs(found: &ShardDifferences) -> String {
    let map = found.shard_map().name();
    let of_shard: Vec<_> = found.of_shard().iter().map(ToString::to_string).collect();
    let mappings = match found.of_mappings().len() {
        0 => None,
        count => Some(format!("{count} differences of mappings")),
    };
    let all: Vec<_> = of_shard.into_iter().chain(mappings).collect();
    format!("in {map:?}: {}; see shardlet recovery detect", all.join(", "))
}
