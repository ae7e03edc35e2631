//! `shardlet recovery detect`, and differences in words.

use clap::Args;
use serde::Serialize;
use shardlet::model::MappingRecord;
use shardlet::operation::Stores;
use shardlet::{
    MappingDifference, RecoveryManager, ShardDifference, ShardDifferences, ShardLocation, ShardMapInfo, ShardMapName,
};

use crate::commands::mapping::status_word as mapping_word;
use crate::commands::shard::status_word;
use crate::failure::{Failure, Result};
use crate::keys;
use crate::location;
use crate::places;
use crate::session::Session;

#[derive(Args)]
pub(crate) struct Detect {
    /// The shards [default: all, or all of --map]
    #[arg(value_parser = location::parse)]
    shards: Vec<ShardLocation>,
    /// Only this shard map
    #[arg(long, value_name = "NAME")]
    map: Option<String>,
    /// How many shards are looked at at once
    #[arg(long, value_name = "COUNT", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=places::MOST))]
    parallel: u64,
}

/// A difference.
#[derive(Debug, Serialize)]
pub(super) struct DifferenceRow {
    pub(super) shard: String,
    pub(super) map: Option<String>,
    /// `shard`, `mapping`, `unfinished_operation`, or `failed` where the shard could not be looked at.
    pub(super) what: &'static str,
    pub(super) keys: Option<String>,
    pub(super) global: Option<String>,
    pub(super) local: Option<String>,
    pub(super) message: Option<String>,
}

impl Detect {
    pub(super) async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        let manager = session.manager().await?;
        let map = self.map.as_deref().map(ShardMapName::new).transpose()?;
        let named = !self.shards.is_empty();
        let shards = match (named, &self.map) {
            (true, _) => self.shards,
            (false, Some(map)) => of_map(session, &manager.shard_map(map).await?).await?,
            (false, None) => manager.shard_locations().await?,
        };
        let recovery = manager.recovery();
        let parallel = usize::try_from(self.parallel).unwrap_or(1);
        let seen = look(session, &recovery, shards, parallel).await?;
        let (mut rows, mut differ, mut failed) = (Vec::new(), 0, 0);
        for (place, found) in &seen.rows {
            let found = match found {
                // One that was asked for by name.
                Err(error) if named && seen.places == 1 => return Err(error.clone().into()),
                Err(error) => {
                    failed += 1;
                    rows.push(failed_row(place, Failure::from(error.clone()).message()));
                    continue;
                }
                Ok(found) if named && found.is_empty() => {
                    let text = "neither the global store nor the database's own store has a shard here";
                    if seen.places == 1 {
                        return Err(Failure::NotFound(text.to_owned()));
                    }
                    failed += 1;
                    rows.push(failed_row(place, Some(text.to_owned())));
                    continue;
                }
                Ok(found) => found,
            };
            if named && !found.iter().any(|found| is_of(found, map.as_ref())) {
                let text = "neither the global store nor the database's own store has a shard of this map here";
                if seen.places == 1 {
                    return Err(Failure::NotFound(text.to_owned()));
                }
                failed += 1;
                rows.push(failed_row(place, Some(text.to_owned())));
                continue;
            }
            let wanted = found.iter().filter(|found| is_of(found, map.as_ref()));
            let before = rows.len();
            rows.extend(wanted.flat_map(rows_of));
            differ += usize::from(rows.len() > before);
        }
        session.output.list(&rows)?;
        session.output.say(&format!(
            "{} of {} shards looked at: {differ} differ or have unfinished operations, {failed} could not be looked at",
            seen.rows.len(),
            seen.places
        ));
        if seen.is_partial() {
            return Err(Failure::Interrupted("stopped before all shards were looked at".to_owned()));
        }
        if rows.is_empty() { Ok(()) } else { Err(Failure::Unhealthy) }
    }
}

/// Where the shards of a map are.
pub(super) async fn of_map<B: Stores>(session: &Session<B>, map: &ShardMapInfo) -> Result<Vec<ShardLocation>> {
    let shards = session.backend.shards(map.id()).await?;
    let mut places: Vec<_> = shards.iter().map(|shard| shard.location().clone()).collect();
    places.sort();
    Ok(places)
}

/// Looks for differences at many places.
pub(super) async fn look<B: Stores>(
    session: &Session<B>,
    recovery: &RecoveryManager<B>,
    shards: Vec<ShardLocation>,
    parallel: usize,
) -> Result<places::Seen<ShardLocation, shardlet::Result<Vec<ShardDifferences>>>> {
    let detector = recovery.detector().await?;
    let at = |place: ShardLocation| {
        let detector = detector.clone();
        async move { detector.detect(&place).await }
    };
    Ok(places::look(session, shards, parallel, "comparing", at).await)
}

/// Whether differences are of the map that was asked for, if one was.
pub(super) fn is_of(found: &ShardDifferences, map: Option<&ShardMapName>) -> bool {
    let name = || ShardMapName::new(found.shard_map().name());
    map.is_none_or(|map| name().is_ok_and(|name| name == *map))
}

fn failed_row(place: &ShardLocation, message: Option<String>) -> DifferenceRow {
    let shard = location::show(place);
    DifferenceRow { shard, map: None, what: "failed", keys: None, global: None, local: None, message }
}

/// A row for each difference.
pub(super) fn rows_of(found: &ShardDifferences) -> Vec<DifferenceRow> {
    let row = |what| DifferenceRow {
        shard: location::show(found.location()),
        map: Some(found.shard_map().name().to_owned()),
        what,
        keys: None,
        global: None,
        local: None,
        message: None,
    };
    let of_shard = found.of_shard().iter().map(|difference| {
        let (global, local) = sides(found, difference);
        DifferenceRow { global, local, message: Some(difference.to_string()), ..row("shard") }
    });
    let of_mappings = found.of_mappings().iter().map(|difference| DifferenceRow {
        keys: Some(keys::show_range(found.shard_map(), difference.keys())),
        global: difference.global().map(|mapping| show_mapping(found.shard_map(), difference, mapping)),
        local: difference.local().map(|mapping| show_mapping(found.shard_map(), difference, mapping)),
        message: Some(why(found, difference).to_owned()),
        ..row("mapping")
    });
    let of_operations = found.unfinished_operations().iter().map(|id| DifferenceRow {
        message: Some(format!(
            "operation {id} is unfinished: it may be at work, or be undone by shardlet operation undo"
        )),
        ..row("unfinished_operation")
    });
    of_shard.chain(of_mappings).chain(of_operations).collect()
}

/// What each side says of the row of a shard.
fn sides(found: &ShardDifferences, difference: &ShardDifference) -> (Option<String>, Option<String>) {
    let here = || Some(location::show(found.location()));
    match difference {
        ShardDifference::MapNotInGlobal => (None, Some(format!("shard map {:?}", found.shard_map().name()))),
        ShardDifference::MapName(local) => {
            (Some(format!("shard map {:?}", found.shard_map().name())), Some(format!("shard map {local:?}")))
        }
        ShardDifference::NotInGlobal => (None, here()),
        ShardDifference::NotInLocal | ShardDifference::NoLocalStore => (here(), None),
        ShardDifference::Elsewhere(place) => (Some(location::show(place)), here()),
        ShardDifference::Location(place) => (here(), Some(location::show(place))),
        ShardDifference::Status(global, local) => {
            (Some(status_word(*global).to_owned()), Some(status_word(*local).to_owned()))
        }
        ShardDifference::OtherShard(id) => (None, Some(format!("shard {id}"))),
        _ => (None, None),
    }
}

fn show_mapping(map: &ShardMapInfo, difference: &MappingDifference, mapping: &MappingRecord) -> String {
    let status = mapping_word(mapping.status);
    let place = location::show(mapping.shard.location());
    // Bounds are told where they are others than those of the keys.
    if mapping.range() == *difference.keys() {
        format!("{status} on {place}")
    } else {
        format!("{status} on {place} with {}", keys::show_range(map, &mapping.range()))
    }
}

/// What a mapping differs in, the weightiest first.
fn why(found: &ShardDifferences, difference: &MappingDifference) -> &'static str {
    let own = found.shard().map(shardlet::Shard::id);
    match (difference.global(), difference.local()) {
        (Some(_), None) => "only the global store maps the keys to the shard",
        (None, _) => "only the shard's own store has a mapping of the keys",
        (Some(global), Some(_)) if Some(global.shard.id()) != own => "the global store maps the keys to another shard",
        (_, Some(local)) if Some(local.shard.id()) != own => "the shard's own store has the keys for another shard",
        (Some(global), Some(local)) if global.range() != local.range() => "the mappings have other bounds",
        (Some(global), Some(local)) if global.status != local.status => "one is online, the other offline",
        _ => "the mappings have other ids: one of the stores is older",
    }
}

/// The same for people, before they are asked what is to become of it.
pub(super) fn say<B: Stores>(session: &Session<B>, found: &ShardDifferences) {
    for row in rows_of(found) {
        let keys = row.keys.map(|keys| format!(" {keys}")).unwrap_or_default();
        let side = |name: &str, text: Option<String>| text.map(|text| format!("; {name}: {text}")).unwrap_or_default();
        let (global, local) = (side("global", row.global), side("local", row.local));
        let (map, what, message) = (found.shard_map().name(), row.what, row.message.unwrap_or_default());
        session.output.say(&format!("{} in {map:?}: {what}{keys}: {message}{global}{local}", row.shard));
    }
}
