//! `shardlet recovery resolve`.

use std::collections::BTreeSet;

use clap::{Args, ValueEnum};
use serde::Serialize;
use shardlet::model::MappingRecord;
use shardlet::operation::Stores;
use shardlet::{
    EncodedRange, MappingDifference, Resolution, ShardDifference, ShardDifferences, ShardLocation, ShardMapKind,
    ShardMapName,
};

use super::detect::{is_of, say};
use crate::confirm::Change;
use crate::failure::{Failure, Result};
use crate::keys;
use crate::location;
use crate::session::{Session, steps_of};

/// Which store is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Keep {
    /// The shard's own store is made to hold what the global store says
    Global,
    /// The global store is made to hold what the shard says; other shards give up its keys
    Local,
}

#[derive(Args)]
pub(crate) struct Resolve {
    /// The shard
    #[arg(value_parser = location::parse)]
    shard: ShardLocation,
    /// Which store is right
    #[arg(long, value_enum)]
    keep: Keep,
    /// Only this shard map [default: all that differ]
    #[arg(long, value_name = "NAME")]
    map: Option<String>,
    /// Only differences of these keys: those that lie in LOW..HIGH, or the one that holds KEY; the rest is left as it is, but the
    /// row of the shard is made what the global store says
    #[arg(long, value_name = "KEYS", requires = "map", allow_hyphen_values = true)]
    keys: Option<String>,
    #[command(flatten)]
    change: Change,
}

#[derive(Serialize)]
struct ResolvedRow {
    shard: String,
    map: String,
    kept: &'static str,
    mappings: usize,
}

/// The differences of a map, and what becomes of those of its mappings.
struct Decided {
    found: ShardDifferences,
    /// `None` decides all alike.
    choices: Option<Vec<bool>>,
}

impl Decided {
    fn mappings(&self) -> impl Iterator<Item = &MappingDifference> {
        let chosen = |index: usize| self.choices.as_ref().is_none_or(|it| it.get(index) == Some(&true));
        self.found.of_mappings().iter().enumerate().filter(move |(index, _)| chosen(*index)).map(|(_, it)| it)
    }

    /// Whether a mapping is one of the shard.
    fn is_own(&self, mapping: Option<&MappingRecord>) -> bool {
        mapping.is_some_and(|mapping| self.found.shard().is_some_and(|shard| shard.id() == mapping.shard.id()))
    }

    /// Of how many differences the shard has the keys on the other side only.
    fn lost(&self, keep: Keep) -> usize {
        let lost = |difference: &&MappingDifference| {
            let (global, local) = (self.is_own(difference.global()), self.is_own(difference.local()));
            match keep {
                Keep::Global => local && !global,
                Keep::Local => global && !local,
            }
        };
        self.mappings().filter(lost).count()
    }

    /// Of how many differences another shard has the keys in the global store, and this one claims them.
    fn taken(&self) -> usize {
        self.mappings().filter(|it| self.claims(it)).count()
    }

    fn claims(&self, difference: &MappingDifference) -> bool {
        let (global, local) = (difference.global(), difference.local());
        global.is_some() && !self.is_own(global) && self.is_own(local)
    }
}

impl Resolve {
    pub(super) async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        let recovery = session.manager().await?.recovery();
        let map = self.map.as_deref().map(ShardMapName::new).transpose()?;
        let mut found = recovery.detect(&self.shard).await?;
        if found.is_empty() {
            let text = "neither the global store nor the database's own store has a shard here";
            return Err(Failure::NotFound(text.to_owned()));
        }
        found.retain(|found| is_of(found, map.as_ref()));
        if found.is_empty() {
            let text = "neither the global store nor the database's own store has a shard of this map here";
            return Err(Failure::NotFound(text.to_owned()));
        }
        found.retain(|found| !found.is_empty());
        let mut decided = Vec::new();
        let mut refused = None;
        for found in found {
            say(session, &found);
            match self.refusal(&found) {
                None => decided.push(Decided { choices: self.choices(&found)?, found }),
                Some(text) => {
                    let text = format!("{:?} is left as it is: {text}", found.shard_map().name());
                    session.output.say(&text);
                    refused = refused.or(Some(text));
                }
            }
        }
        if decided.is_empty() {
            let agree = || Failure::NoChange("the global store and the shard's own store agree".to_owned());
            return Err(refused.map_or_else(agree, Failure::NotFound));
        }
        let kept = match self.keep {
            Keep::Global => "global",
            Keep::Local => "local",
        };
        let steps = steps_of(decided.iter().flat_map(|decided| self.steps(decided)));
        let mappings: usize = decided.iter().map(|decided| decided.mappings().count()).sum();
        let of_shard: usize = decided.iter().map(|decided| decided.found.of_shard().len()).sum();
        let (right, given_up) = match self.keep {
            Keep::Global => ("global store", String::new()),
            Keep::Local => {
                let taken: usize = decided.iter().map(Decided::taken).sum();
                ("shard's own store", format!(", and other shards those of {taken}"))
            }
        };
        let lost: usize = decided.iter().map(|decided| decided.lost(self.keep)).sum();
        let question = format!(
            "settle {mappings} differences of mappings and {of_shard} of the shard as the {right} says? the shard gives up the keys \
             of {lost}{given_up}"
        );
        let mut rows = Vec::new();
        let all = decided.len();
        let work = async {
            for Decided { found, choices } in &decided {
                if session.stop.is_requested() {
                    break;
                }
                match choices {
                    None => recovery.resolve(found, self.keep.resolution()).await?,
                    Some(choices) => {
                        let mut choices = choices.iter();
                        let choose = |_: &MappingDifference| match choices.next() {
                            Some(true) => self.keep.resolution(),
                            _ => Resolution::Leave,
                        };
                        recovery.resolve_each(found, choose).await?;
                    }
                }
                rows.push(ResolvedRow {
                    shard: location::show(&self.shard),
                    map: found.shard_map().name().to_owned(),
                    kept,
                    mappings: choices
                        .as_ref()
                        .map_or(found.of_mappings().len(), |it| it.iter().filter(|it| **it).count()),
                });
            }
            Ok(())
        };
        let done = session.decide(self.change, steps, Some(question), work).await;
        if !rows.is_empty() {
            session.output.list(&rows)?;
        }
        if done?.is_some() && rows.len() < all {
            return Err(Failure::Interrupted("stopped between two shard maps; run it again to go on".to_owned()));
        }
        // The others are settled.
        refused.map_or(Ok(()), |text| Err(Failure::NotFound(text)))
    }

    /// Why the differences cannot be settled by this.
    fn refusal(&self, found: &ShardDifferences) -> Option<String> {
        found.of_shard().iter().find_map(|difference| {
            let next = match difference {
                ShardDifference::MapNotInGlobal => "shardlet recovery attach --restore-map",
                ShardDifference::NotInGlobal => "shardlet recovery attach",
                ShardDifference::Elsewhere(_) => "shardlet recovery rename",
                ShardDifference::NoLocalStore | ShardDifference::LocalStoreDamaged(_) | ShardDifference::NotInLocal
                    if self.keep == Keep::Local =>
                {
                    "there is nothing to keep; shardlet recovery rebuild"
                }
                _ => return None,
            };
            Some(format!("{difference}: {next}"))
        })
    }

    /// Which differences of mappings the keys choose.
    fn choices(&self, found: &ShardDifferences) -> Result<Option<Vec<bool>>> {
        let Some(text) = &self.keys else { return Ok(None) };
        let map = found.shard_map();
        let range = if text.contains("..") { Some(keys::bounds(map, text)?) } else { None };
        let key = if range.is_none() { Some(keys::key(map, text)?) } else { None };
        let mut choices = Vec::new();
        for difference in found.of_mappings() {
            let held = difference.keys();
            let chosen = match (&range, &key) {
                (Some(range), _) => match map.kind() {
                    ShardMapKind::List => range.contains(&held.low),
                    ShardMapKind::Range if !range.intersects(held) => false,
                    ShardMapKind::Range if covers(range, held) => true,
                    ShardMapKind::Range => {
                        let all = keys::show_range(map, held);
                        let text = format!("{all} differs as a whole: give --keys that hold all or nothing of it");
                        return Err(Failure::Input(text));
                    }
                },
                (None, Some(key)) => match map.kind() {
                    ShardMapKind::List => held.low == *key,
                    ShardMapKind::Range => held.contains(key),
                },
                (None, None) => true,
            };
            choices.push(chosen);
        }
        if choices.contains(&true) {
            return Ok(Some(choices));
        }
        Err(Failure::NoChange("the stores agree about these keys".to_owned()))
    }

    fn steps(&self, decided: &Decided) -> Vec<(String, String)> {
        let name = decided.found.shard_map().name();
        let shard = location::show(&self.shard);
        let count = decided.mappings().count();
        match self.keep {
            Keep::Global => vec![(
                shard,
                format!(
                    "hold of {name:?} what the global store says: {count} differences of mappings, and the shard's row"
                ),
            )],
            Keep::Local => {
                let others = decided.mappings().filter(|difference| decided.claims(difference));
                let others = others.filter_map(MappingDifference::global);
                let others: BTreeSet<_> = others.map(|mapping| location::show(mapping.shard.location())).collect();
                let gives =
                    others.into_iter().map(|other| (other, format!("give up keys of {name:?} that {shard} claims")));
                let global = format!("hold of {name:?} what {shard} says: {count} differences of mappings");
                let local = format!("write its own store of {name:?} with the new ids of mappings that change");
                let both = [("global store".to_owned(), global), (shard.clone(), local)];
                gives.chain(both).collect()
            }
        }
    }
}

impl Keep {
    fn resolution(self) -> Resolution {
        match self {
            Self::Global => Resolution::KeepGlobal,
            Self::Local => Resolution::KeepLocal,
        }
    }
}

/// Whether one range holds all of another.
fn covers(range: &EncodedRange, other: &EncodedRange) -> bool {
    let to_the_end = match (&range.high, &other.high) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(high), Some(other)) => other <= high,
    };
    range.low <= other.low && to_the_end
}

#[cfg(test)]
mod tests {
    use super::*;
    use shardlet::KeyType;

    fn range(low: i64, high: Option<i64>) -> EncodedRange {
        let key = |key: i64| KeyType::Int64.parse(&key.to_string()).unwrap();
        EncodedRange { low: key(low), high: high.map(key) }
    }

    #[test]
    fn a_range_covers_what_lies_in_it() {
        let ten = range(0, Some(10));
        for (other, covered) in [
            (range(0, Some(10)), true),
            (range(3, Some(4)), true),
            (range(-1, Some(4)), false),
            (range(3, Some(11)), false),
            (range(3, None), false),
        ] {
            assert_eq!(covers(&ten, &other), covered, "{other:?}");
        }
        assert!(covers(&range(0, None), &range(5, None)));
    }
}
