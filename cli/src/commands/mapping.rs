//! `shardlet mapping`: which keys are on which shard. `import` is in a file of its own, and so are `lock` and `unlock`.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;
use shardlet::error::Refusal;
use shardlet::model::MappingRecord;
use shardlet::operation::Stores;
use shardlet::{
    EncodedRange, LockToken, MappingId, MappingStatus, MappingUpdate, SessionPolicy, SessionsEnded, ShardLocation,
    ShardMapInfo, ShardMapKind,
};
use uuid::Uuid;

use super::import::Import;
use super::lock::{Lock, Unlock, parse_token};
use crate::checks;
use crate::confirm::Change;
use crate::failure::{Failure, Result};
use crate::keys;
use crate::location;
use crate::map::{AnyMap, Record};
use crate::session::{Session, Words};

#[derive(Subcommand)]
pub(crate) enum MappingCommand {
    /// Lists mappings, in the order of their keys
    List(List),
    /// Maps a key or a range of keys to a shard
    Add(Add),
    /// Maps many keys or ranges, from a file
    Import(Import),
    /// Shows the mapping of an id
    Show(Show),
    /// Shows the mapping that holds a key
    Lookup(Lookup),
    /// Cuts a range into two, both on its shard
    Split(At),
    /// Joins the two ranges that meet at a key, which have to be on one shard
    Merge(At),
    /// Moves a mapping to another shard; the rows of its keys are for you to move
    ///
    /// Keys are offline from then on: copy their rows, then put the mapping online. A mapping that is online is taken offline in the
    /// same step.
    Move(Move),
    /// Takes a mapping offline: opening connections for its keys fails from now on, and open ones are ended
    Offline(Offline),
    /// Puts a mapping online
    Online(Online),
    /// Deletes a mapping, which has to be offline; the rows of its keys stay where they are
    Delete(Delete),
    /// Locks a mapping: only who gives the token can change it; routing goes on
    Lock(Lock),
    /// Unlocks a mapping, or all of a token
    Unlock(Unlock),
}

/// Which mapping, and in whose name.
#[derive(Args)]
pub(crate) struct Which {
    /// The shard map
    map: String,
    /// The mapping: a key that it holds, or in a range map exactly its range LOW..HIGH
    #[arg(allow_hyphen_values = true)]
    mapping: String,
    /// The token that owns the lock of the mapping
    #[arg(long, value_name = "TOKEN", value_parser = parse_token)]
    lock_token: Option<LockToken>,
}

#[derive(Args)]
pub(crate) struct List {
    /// The shard map
    map: String,
    /// Only those on this shard
    #[arg(long, value_parser = location::parse)]
    shard: Option<ShardLocation>,
    /// Only those with a key in this range LOW..HIGH
    #[arg(long, value_name = "RANGE", allow_hyphen_values = true)]
    keys: Option<String>,
    /// Only those that are offline
    #[arg(long)]
    offline: bool,
    /// Only those that are locked
    #[arg(long)]
    locked: bool,
}

#[derive(Args)]
pub(crate) struct Add {
    /// The shard map
    map: String,
    /// A key; in a range map LOW..HIGH, LOW.. to +infinity, ..HIGH from the least key, or .. for all keys
    #[arg(allow_hyphen_values = true)]
    keys: String,
    /// The shard
    #[arg(long, value_parser = location::parse)]
    shard: ShardLocation,
    /// Adds it offline
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    change: Change,
}

#[derive(Args)]
pub(crate) struct Show {
    /// The shard map
    map: String,
    /// The id of the mapping, as lists show it; every change but a lock gives it another one
    id: Uuid,
}

#[derive(Args)]
pub(crate) struct Lookup {
    /// The shard map
    map: String,
    /// The key
    #[arg(allow_hyphen_values = true)]
    key: String,
}

/// Where a range is cut, or two are joined.
#[derive(Args)]
pub(crate) struct At {
    /// The shard map
    map: String,
    /// The key where the second range begins
    #[arg(allow_hyphen_values = true)]
    at: String,
    /// The token that owns the lock of what is changed
    #[arg(long, value_name = "TOKEN", value_parser = parse_token)]
    lock_token: Option<LockToken>,
    #[command(flatten)]
    change: Change,
}

#[derive(Args)]
pub(crate) struct Move {
    #[command(flatten)]
    which: Which,
    /// The shard that it goes to
    #[arg(long, value_parser = location::parse, value_name = "SHARD")]
    to: ShardLocation,
    #[command(flatten)]
    sessions: Sessions,
    #[command(flatten)]
    change: Change,
}

#[derive(Args)]
pub(crate) struct Offline {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    sessions: Sessions,
    #[command(flatten)]
    change: Change,
}

/// What becomes of open connections.
#[derive(Args)]
pub(crate) struct Sessions {
    /// Waits up to so many seconds for open connections to close, then ends those that are left
    #[arg(long, value_name = "SECONDS")]
    drain: Option<u64>,
    /// Leaves open connections alone: they may read and write keys that are being moved
    #[arg(long, conflicts_with = "drain")]
    leave_sessions: bool,
}

#[derive(Args)]
pub(crate) struct Online {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    change: Change,
}

#[derive(Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    change: Change,
}

/// A mapping. A list of them, as CSV or JSON, can be imported.
#[derive(Serialize)]
pub(crate) struct MappingRow {
    /// In list maps.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// In range maps.
    #[serde(skip_serializing_if = "Option::is_none")]
    low: Option<String>,
    /// In range maps; nothing is +infinity.
    #[serde(skip_serializing_if = "Option::is_none")]
    high: Option<Option<String>>,
    shard: String,
    status: &'static str,
    /// The token that owns its lock.
    lock_owner: Option<String>,
    id: String,
    /// How many open connections were ended, where that was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    sessions_ended: Option<usize>,
}

impl MappingRow {
    pub(crate) fn of(info: &ShardMapInfo, mapping: &MappingRecord) -> Self {
        let low = Some(keys::show(info, &mapping.low));
        let (key, low, high) = match info.kind() {
            ShardMapKind::List => (low, None, None),
            ShardMapKind::Range => (None, low, Some(mapping.high.as_ref().map(|high| keys::show(info, high)))),
        };
        Self {
            key,
            low,
            high,
            shard: location::show(mapping.shard.location()),
            status: status_word(mapping.status),
            lock_owner: (mapping.lock_owner != LockToken::NONE).then(|| mapping.lock_owner.to_string()),
            id: mapping.id.to_string(),
            sessions_ended: None,
        }
    }

    fn with(self, sessions: SessionsEnded) -> Self {
        Self { sessions_ended: Some(sessions.ended), ..self }
    }
}

/// The status as rows say it, and imports read it.
pub(crate) fn status_word(status: MappingStatus) -> &'static str {
    match status {
        MappingStatus::Online => "online",
        MappingStatus::Offline => "offline",
    }
}

impl MappingCommand {
    pub(crate) async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        match self {
            Self::List(list) => list.run(session).await,
            Self::Add(add) => add.run(session).await,
            Self::Import(import) => import.run(session).await,
            Self::Show(show) => show.run(session).await,
            Self::Lookup(lookup) => lookup.run(session).await,
            Self::Split(at) => at.split(session).await,
            Self::Merge(at) => at.merge(session).await,
            Self::Move(moving) => moving.run(session).await,
            Self::Offline(offline) => offline.run(session).await,
            Self::Online(online) => online.run(session).await,
            Self::Delete(delete) => delete.run(session).await,
            Self::Lock(lock) => lock.run(session).await,
            Self::Unlock(unlock) => unlock.run(session).await,
        }
    }
}

impl Which {
    async fn find<B: Stores>(&self, session: &Session<B>) -> Result<(Box<dyn AnyMap<B>>, Record, LockToken)> {
        let map = session.map(&self.map).await?;
        let mapping = keys::mapping(&*map, &self.mapping).await?;
        Ok((map, mapping, self.lock_token.unwrap_or(LockToken::NONE)))
    }
}

impl Sessions {
    fn policy(&self) -> SessionPolicy {
        match self.drain {
            Some(seconds) => SessionPolicy::Drain(Duration::from_secs(seconds)),
            None if self.leave_sessions => SessionPolicy::Leave,
            None => SessionPolicy::EndNow,
        }
    }

    /// What happens to open connections, in words.
    fn words(&self) -> String {
        match self.policy() {
            SessionPolicy::Drain(patience) => format!("open connections have {} s to close", patience.as_secs()),
            SessionPolicy::Leave => "open connections are left alone".to_owned(),
            _ => "open connections are ended".to_owned(),
        }
    }
}

/// Shows mappings that were changed.
pub(super) fn show<B: Stores>(session: &Session<B>, map: &dyn AnyMap<B>, mapping: &MappingRecord) -> Result<()> {
    session.output.show(&MappingRow::of(map.info(), mapping))
}

impl List {
    async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        let map = session.map(&self.map).await?;
        let range = match &self.keys {
            // Of a list map as well: points in a range.
            Some(text) => Some(keys::bounds(map.info(), text)?),
            None => None,
        };
        let shard = match &self.shard {
            Some(location) => Some(map.shard(location).await?),
            None => None,
        };
        let mappings = map.mappings(range.as_ref(), shard.as_ref()).await?;
        let wanted = mappings.iter().filter(|mapping| {
            (!self.offline || mapping.status == MappingStatus::Offline)
                && (!self.locked || mapping.lock_owner != LockToken::NONE)
        });
        let rows: Vec<_> = wanted.map(|mapping| MappingRow::of(map.info(), mapping)).collect();
        session.output.list(&rows)
    }
}

impl Add {
    async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        let map = session.map(&self.map).await?;
        let keys = keys::keys(map.info(), &self.keys)?;
        let shard = map.shard(&self.shard).await?;
        checks::takes_mappings(&shard)?;
        checks::are_free(&*map, &keys).await?;
        let status = if self.offline { MappingStatus::Offline } else { MappingStatus::Online };
        let change = map.create(&keys, &shard, status);
        let offline = if self.offline { ", offline" } else { "" };
        let (shown, place) = (keys::show_range(map.info(), &keys), location::show(&self.shard));
        let words = Words::Told(format!("map {shown} to {place}{offline}"));
        if let Some(created) = session.carry_out(self.change, change, words).await? {
            show(session, &*map, &created)?;
        }
        Ok(())
    }
}

impl Show {
    async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        let map = session.map(&self.map).await?;
        let found = session.backend.find_mapping_by_id(map.info(), MappingId::from(self.id)).await?;
        let none = || Failure::NotFound("no mapping has this id; a change may have given it another".to_owned());
        let mapping = found.ok_or_else(|| none().next("see which there are: shardlet mapping list MAP"))?;
        show(session, &*map, &mapping)
    }
}

impl Lookup {
    async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        let map = session.map(&self.map).await?;
        let key = keys::key(map.info(), &self.key)?;
        let mapping = map.holder(&key).await?;
        show(session, &*map, &mapping)
    }
}

impl At {
    async fn split<B: Stores>(self, session: &Session<B>) -> Result<()> {
        let map = session.map(&self.map).await?;
        let at = keys::key(map.info(), &self.at)?;
        let mapping = map.holder(&at).await?;
        let token = self.lock_token.unwrap_or(LockToken::NONE);
        if map.info().kind() == ShardMapKind::Range {
            if mapping.low == at {
                return Err(Failure::NoChange("a range begins at this key already".to_owned()));
            }
            checks::is_owner(&mapping, token)?;
        }
        let change = map.split(&mapping, token, &at);
        let low = EncodedRange { low: mapping.low.clone(), high: Some(at.clone()) };
        let high = EncodedRange { low: at, high: mapping.high.clone() };
        let [low, high] = [low, high].map(|part| keys::show_range(map.info(), &part));
        let words = Words::Told(format!("cut {} into {low} and {high}", of_shard(&*map, &mapping)));
        if let Some(parts) = session.carry_out(self.change, change, words).await? {
            session.output.list(&parts.iter().map(|part| MappingRow::of(map.info(), part)).collect::<Vec<_>>())?;
        }
        Ok(())
    }

    async fn merge<B: Stores>(self, session: &Session<B>) -> Result<()> {
        let map = session.map(&self.map).await?;
        let at = keys::key(map.info(), &self.at)?;
        let right = map.holder(&at).await?;
        if map.info().kind() == ShardMapKind::Range && right.low != at {
            return Err(Failure::NoChange("no range begins at this key: it lies inside of one".to_owned()));
        }
        // Of all ranges below the key, only one that ends at it holds the key just before it.
        let low = keys::before(map.info(), &at).unwrap_or_default();
        let below = EncodedRange { low, high: Some(at.clone()) };
        let left = if below.is_empty() { Vec::new() } else { map.mappings(Some(&below), None).await? };
        let left = left.last().filter(|left| left.high.as_ref() == Some(&at));
        let left = left.ok_or_else(|| {
            let none = Failure::NotFound("no range ends at this key, so there are no two to join".to_owned());
            none.next("see where ranges meet: shardlet mapping list MAP")
        })?;
        let token = self.lock_token.unwrap_or(LockToken::NONE);
        checks::is_owner(left, token)?;
        checks::is_owner(&right, token)?;
        let change = map.merge(left, &right, token);
        let [first, second] = [left, &right].map(|part| of_shard(&*map, part));
        let words = Words::Told(format!("join {first} and {second}"));
        if let Some(merged) = session.carry_out(self.change, change, words).await? {
            show(session, &*map, &merged)?;
        }
        Ok(())
    }
}

impl Move {
    async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        let (map, mapping, token) = self.which.find(session).await?;
        let target = map.shard(&self.to).await?;
        if target.id() == mapping.shard.id() {
            return Err(Failure::NoChange("the mapping is on this shard already".to_owned()));
        }
        checks::takes_mappings(&target)?;
        checks::is_owner(&mapping, token)?;
        let mut update = MappingUpdate::new().shard(&target);
        let (shown, from) = (keys::show_keys(map.info(), &mapping), location::show(mapping.shard.location()));
        let mut words = format!("move {shown} from {from} to {}", location::show(&self.to));
        if mapping.status == MappingStatus::Online {
            update = update.status(MappingStatus::Offline).sessions(self.sessions.policy());
            words = format!("{words}, taking it offline; {}", self.sessions.words());
        } else {
            words = format!("{words}; it stays offline");
        }
        let change = map.update(&mapping, token, &update);
        if let Some((moved, sessions)) = session.carry_out(self.change, change, Words::Asked(words)).await? {
            session.output.show(&MappingRow::of(map.info(), &moved).with(sessions))?;
            session
                .output
                .say("moved, and offline; rows were not moved. When they are in place: shardlet mapping online");
        }
        Ok(())
    }
}

impl Offline {
    async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        let (map, mapping, token) = self.which.find(session).await?;
        if mapping.status == MappingStatus::Offline {
            return Err(Failure::NoChange("the mapping is offline already".to_owned()));
        }
        checks::is_owner(&mapping, token)?;
        let words = format!("take {} offline; {}", of_shard(&*map, &mapping), self.sessions.words());
        let update = MappingUpdate::new().status(MappingStatus::Offline).sessions(self.sessions.policy());
        let change = map.update(&mapping, token, &update);
        if let Some((mapping, sessions)) = session.carry_out(self.change, change, Words::Asked(words)).await? {
            session.output.show(&MappingRow::of(map.info(), &mapping).with(sessions))?;
            session.output.say(&format!("offline; {} open connections were ended", sessions.ended));
        }
        Ok(())
    }
}

impl Online {
    async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        let (map, mapping, token) = self.which.find(session).await?;
        if mapping.status == MappingStatus::Online {
            return Err(Failure::NoChange("the mapping is online already".to_owned()));
        }
        checks::is_owner(&mapping, token)?;
        let words = Words::Told(format!("put {} online", of_shard(&*map, &mapping)));
        let change = map.update(&mapping, token, &MappingUpdate::new().status(MappingStatus::Online));
        if let Some((mapping, _)) = session.carry_out(self.change, change, words).await? {
            show(session, &*map, &mapping)?;
        }
        Ok(())
    }
}

impl Delete {
    async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        let (map, mapping, token) = self.which.find(session).await?;
        if mapping.status == MappingStatus::Online {
            let failure =
                Failure::from(Refusal::MappingIsNotOffline.into_error().with_message("the mapping is online"));
            return Err(failure.next("take it offline first: shardlet mapping offline MAP MAPPING"));
        }
        checks::is_owner(&mapping, token)?;
        let words = Words::Asked(format!("delete the mapping of {}", of_shard(&*map, &mapping)));
        let change = map.delete(&mapping, token);
        if session.carry_out(self.change, change, words).await?.is_some() {
            session.output.say("mapping deleted");
        }
        Ok(())
    }
}

/// A mapping as sentences name it: its keys, and the shard that they are on.
pub(super) fn of_shard<B: Stores>(map: &dyn AnyMap<B>, mapping: &Record) -> String {
    format!("{} on {}", keys::show_keys(map.info(), mapping), location::show(mapping.shard.location()))
}
