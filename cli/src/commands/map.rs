//! `shardlet map`: shard maps.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use shardlet::error::Refusal;
use shardlet::operation::Stores;
use shardlet::{
    KeyType, LockToken, MappingStatus, PendingOperation, Shard, ShardId, ShardMapInfo, ShardMapKind, ShardStatus,
};

use crate::blocking::blocking;
use crate::confirm::Change;
use crate::failure::{Failure, Result};
use crate::location;
use crate::map::{self, AnyMap, Record};
use crate::picture::{self, Picture, PictureMapping, PictureOperation, PictureShard};
use crate::session::{Session, steps_of};

#[derive(Subcommand)]
pub(crate) enum MapCommand {
    /// Lists the shard maps
    List,
    /// Creates an empty shard map
    Create(Create),
    /// Shows a shard map and what is in it
    Show(Show),
    /// Deletes a shard map that has no shards
    Delete(Delete),
}

/// Points or ranges.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// Maps single keys
    List,
    /// Maps ranges of keys
    Range,
}

/// What keys are.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Key {
    /// 32 bits: -7
    Int32,
    /// 64 bits: -7
    Int64,
    /// 6f9619ff-8b86-d011-b42d-00c04fc964ff
    Guid,
    /// Up to 128 bytes: 0x00ff
    Binary,
    /// 2026-11-21 08:30:00.5
    Datetime,
    /// 1.02:03:04.5: days, hours, minutes, seconds
    Timespan,
    /// 2026-11-21 08:30:00.5 +01:00
    Datetimeoffset,
}

#[derive(Args)]
pub(crate) struct Create {
    /// The name: 1 to 50 characters, compared without regard to case
    name: String,
    /// What it maps
    #[arg(long, value_enum, ignore_case = true)]
    kind: Kind,
    /// The type of its keys, which cannot be changed later
    #[arg(long, value_enum, ignore_case = true, value_name = "TYPE")]
    key_type: Key,
    #[command(flatten)]
    change: Change,
}

#[derive(Args)]
pub(crate) struct Show {
    /// The shard map
    name: String,
    /// Writes a page that draws the map: shards, mappings, what is offline, locked or unfinished, with a search for keys
    ///
    /// The page needs nothing else, and no network. It holds every key that bounds a mapping, and the descriptions of shards.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Delete {
    /// The shard map
    name: String,
    #[command(flatten)]
    change: Change,
}

#[derive(Serialize)]
struct MapRow {
    name: String,
    kind: String,
    key_type: String,
    id: String,
}

#[derive(Serialize)]
struct MapDetails {
    name: String,
    kind: String,
    key_type: String,
    id: String,
    shards: usize,
    shards_disabled: usize,
    mappings: usize,
    mappings_offline: usize,
    mappings_locked: usize,
}

impl MapCommand {
    pub(crate) async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        match self {
            Self::List => {
                let maps = session.manager().await?.shard_maps().await?;
                session.output.list(&maps.iter().map(row).collect::<Vec<_>>())
            }
            Self::Create(create) => create.run(session).await,
            Self::Show(show) => show.run(session).await,
            Self::Delete(delete) => delete.run(session).await,
        }
    }
}

impl Create {
    async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        let manager = session.manager().await?;
        let kind = match self.kind {
            Kind::List => ShardMapKind::List,
            Kind::Range => ShardMapKind::Range,
        };
        let key_type = match self.key_type {
            Key::Int32 => KeyType::Int32,
            Key::Int64 => KeyType::Int64,
            Key::Guid => KeyType::Guid,
            Key::Binary => KeyType::Binary,
            Key::Datetime => KeyType::DateTime,
            Key::Timespan => KeyType::TimeSpan,
            Key::Datetimeoffset => KeyType::DateTimeOffset,
        };
        if manager.find_shard_map(&self.name).await?.is_some() {
            let error = Refusal::ShardMapExists.into_error();
            let text = format!("a shard map of the name {:?} exists already", self.name);
            return Err(Failure::Library(error.with_message(text)));
        }
        let steps = steps_of([("global store", format!("create the {kind} map {:?} of {key_type} keys", self.name))]);
        let created = map::create(&manager, &self.name, kind, key_type);
        if let Some(map) = session.decide(self.change, steps, None, created).await? {
            session.output.show(&row(map.info()))?;
        }
        Ok(())
    }
}

impl Show {
    async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        let map = session.map(&self.name).await?;
        let (shards, mappings) = (map.shards().await?, map.mappings(None, None).await?);
        if let Some(path) = &self.html {
            let picture = picture(session, &*map, &shards, &mappings).await?;
            let page = picture::page(&picture).map_err(|error| Failure::Output(error.into()))?;
            let file = path.clone();
            blocking(move || replace(&file, &page)).await.map_err(|error| Failure::file(path, error))?;
            session.output.say(&format!("written: {}", path.display()));
            return Ok(());
        }
        let MapRow { name, kind, key_type, id } = row(map.info());
        session.output.show(&MapDetails {
            name,
            kind,
            key_type,
            id,
            shards: shards.len(),
            shards_disabled: shards.iter().filter(|shard| shard.status() == ShardStatus::Offline).count(),
            mappings: mappings.len(),
            mappings_offline: mappings.iter().filter(|it| it.status == MappingStatus::Offline).count(),
            mappings_locked: mappings.iter().filter(|it| it.lock_owner != LockToken::NONE).count(),
        })
    }
}

/// Writes a file, or replaces one: whoever reads it meanwhile has all of the old one or of the new one.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    // Through a link; and what is no file, such as a pipe, cannot be replaced.
    let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if path.exists() && !path.is_file() {
        return std::fs::write(path, text);
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let beside = path.with_file_name(name);
    let written = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written
}

/// What is drawn of a map.
async fn picture<B: Stores>(
    session: &Session<B>,
    map: &dyn AnyMap<B>,
    shards: &[Shard],
    mappings: &[Record],
) -> Result<Picture> {
    let info = map.info();
    let mut descriptions = map.descriptions().await?;
    let operations = session.manager().await?.pending_operations().await?;
    let places: HashMap<ShardId, usize> = shards.iter().map(Shard::id).zip(0..).collect();
    let mapping = |mapping: &Record| {
        Some(PictureMapping {
            // A shard that was added since the shards were read is not drawn.
            shard: *places.get(&mapping.shard.id())?,
            low: mapping.low.clone(),
            high: mapping.high.clone(),
            status: mapping.status,
            locked: mapping.lock_owner != LockToken::NONE,
        })
    };
    let of_map = |operation: &PendingOperation| operation.shard_map.as_ref().is_some_and(|map| map.id() == info.id());
    Ok(Picture {
        map: info.name().to_owned(),
        kind: info.kind(),
        key_type: info.key_type(),
        store: session.place.clone(),
        taken: DateTime::<Utc>::from(SystemTime::now()).format("%Y-%m-%d %H:%M:%S UTC").to_string(),
        shards: shards
            .iter()
            .map(|shard| PictureShard {
                location: location::show(shard.location()),
                status: shard.status(),
                description: descriptions.remove(&shard.id()).unwrap_or_default(),
            })
            .collect(),
        mappings: mappings.iter().filter_map(mapping).collect(),
        operations: operations
            .into_iter()
            .filter(of_map)
            .map(|operation| PictureOperation {
                id: operation.id.to_string(),
                name: operation.name.to_string(),
                shards: operation.locations.iter().map(location::show).collect(),
                undo: operation.undo_started,
            })
            .collect(),
    })
}

impl Delete {
    async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        let manager = session.manager().await?;
        let info = manager.shard_map(&self.name).await?;
        let shards = session.backend.shards(info.id()).await?.len();
        if shards > 0 {
            let error = Refusal::ShardMapHasShards.into_error();
            return Err(Failure::Library(error.with_message(format!("the shard map has {shards} shards"))));
        }
        let steps = steps_of([("global store", format!("delete the shard map {:?}", info.name()))]);
        let question = format!("delete the shard map {:?}?", info.name());
        let deleted = manager.delete_shard_map(&self.name);
        if session.decide(self.change, steps, Some(question), deleted).await?.is_some() {
            session.output.say("shard map deleted");
        }
        Ok(())
    }
}

fn row(info: &ShardMapInfo) -> MapRow {
    MapRow {
        name: info.name().to_owned(),
        kind: info.kind().to_string(),
        key_type: info.key_type().to_string(),
        id: info.id().to_string(),
    }
}
