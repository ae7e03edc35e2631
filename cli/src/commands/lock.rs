//! `shardlet mapping lock` and `unlock`: locks by which administrators keep each other off.

use clap::Args;
use serde::Serialize;
use shardlet::LockToken;
use shardlet::model::MappingRecord;
use shardlet::operation::Stores;
use uuid::Uuid;

use super::mapping::{of_shard, show};
use crate::checks;
use crate::confirm::Change;
use crate::failure::{Failure, Result};
use crate::keys;
use crate::map::AnyMap;
use crate::session::{Session, steps_of};
use crate::stop;

#[derive(Args)]
pub(crate) struct Lock {
    /// The shard map
    map: String,
    /// The mapping: a key that it holds, or in a range map exactly its range LOW..HIGH
    #[arg(allow_hyphen_values = true)]
    mapping: String,
    /// The token, a GUID; a new one is made and shown without it
    #[arg(long, value_parser = parse_token)]
    token: Option<LockToken>,
    #[command(flatten)]
    change: Change,
}

#[derive(Args)]
pub(crate) struct Unlock {
    /// The shard map
    map: String,
    /// The mapping; without one all mappings of the token
    #[arg(allow_hyphen_values = true)]
    mapping: Option<String>,
    /// The token that owns the lock
    #[arg(long, required_unless_present = "force", value_parser = parse_token)]
    token: Option<LockToken>,
    /// Unlocks it whoever owns the lock
    #[arg(long, conflicts_with = "token", requires = "mapping")]
    force: bool,
    #[command(flatten)]
    change: Change,
}

#[derive(Serialize)]
struct UnlockedRow {
    unlocked: usize,
}

/// A token that can own a lock. For `clap`.
///
/// The two that cannot own one say to the library "none" and "whoever owns it"; the latter is what `--force` is for, which asks.
pub(super) fn parse_token(text: &str) -> std::result::Result<LockToken, String> {
    let token = LockToken::from(text.parse::<Uuid>().map_err(|error| error.to_string())?);
    if token == LockToken::NONE || token == LockToken::FORCE_UNLOCK {
        return Err("this token cannot own a lock".to_owned());
    }
    Ok(token)
}

impl Lock {
    pub(super) async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        let map = session.map(&self.map).await?;
        let mapping = keys::mapping(&*map, &self.mapping).await?;
        checks::is_unlocked(&mapping)?;
        let steps = steps_of([("global store", format!("lock the mapping of {}", of_shard(&*map, &mapping)))]);
        if !session.is_agreed(self.change, &steps, None).await? {
            return Ok(());
        }
        let token = self.token.unwrap_or_else(LockToken::random);
        let owner = format!("if the mapping is locked now, its lock owner is {token}");
        let locking = async {
            // Nobody has seen the token yet.
            let _changing = session.stop.changing(format!("{}; {owner}", stop::NOT_KNOWN));
            map.lock(&mapping, token).await?;
            // As it was read, but for the lock: reading it again might fail, and the token would be lost.
            show(session, &*map, &MappingRecord { lock_owner: token, ..(*mapping).clone() })
        };
        let locked: Result<()> = locking.await;
        locked.map_err(|failure| {
            let advice = failure.advice().map_or_else(|| owner.clone(), |advice| format!("{advice}; {owner}"));
            failure.next(advice)
        })?;
        session.output.say("locked; whoever changes it gives this lock owner as --lock-token");
        Ok(())
    }
}

impl Unlock {
    pub(super) async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        let map = session.map(&self.map).await?;
        let token = if self.force { LockToken::FORCE_UNLOCK } else { self.token.unwrap_or(LockToken::NONE) };
        let Some(text) = &self.mapping else { return self.all(session, &*map, token).await };
        let mapping = keys::mapping(&*map, text).await?;
        if mapping.lock_owner == LockToken::NONE {
            return Err(Failure::NoChange("the mapping is not locked".to_owned()));
        }
        if !self.force {
            checks::is_owner(&mapping, token).map_err(|failure| {
                failure.next("see who owns the lock: shardlet mapping lookup MAP KEY; --force takes it from its owner")
            })?;
        }
        let shown = of_shard(&*map, &mapping);
        let question = self.force.then(|| format!("take the lock of {shown} from its owner?"));
        let steps = steps_of([("global store", format!("unlock the mapping of {shown}"))]);
        if session.decide(self.change, steps, question, map.unlock(&mapping, token)).await?.is_some() {
            show(session, &*map, &MappingRecord { lock_owner: LockToken::NONE, ..(*mapping).clone() })?;
        }
        Ok(())
    }

    /// All that the token owns.
    async fn all<B: Stores>(&self, session: &Session<B>, map: &dyn AnyMap<B>, token: LockToken) -> Result<()> {
        let nothing = || Failure::NoChange("the token owns no lock".to_owned());
        let mut steps = Vec::new();
        if self.change.dry_run {
            let owned = map.mappings(None, None).await?;
            let owned = owned.iter().filter(|mapping| mapping.lock_owner == token);
            steps = steps_of(owned.map(|it| ("global store", format!("unlock the mapping of {}", of_shard(map, it)))));
            if steps.is_empty() {
                return Err(nothing());
            }
        }
        match session.decide(self.change, steps, None, map.unlock_all(token)).await? {
            Some(0) => Err(nothing()),
            Some(unlocked) => {
                session.output.show(&UnlockedRow { unlocked })?;
                session.output.say(&format!("{unlocked} mappings unlocked"));
                Ok(())
            }
            None => Ok(()),
        }
    }
}
