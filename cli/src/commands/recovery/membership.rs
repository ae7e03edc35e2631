//! `shardlet recovery attach`, `detach` and `rename`: shards that came, went or moved.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use shardlet::operation::Stores;
use shardlet::{ErrorCode, ErrorKind, Shard, ShardId, ShardLocation, ShardMapInfo, ShardMapName};

use crate::commands::shard::status_word;
use crate::confirm::Change;
use crate::failure::{Failure, Result};
use crate::location;
use crate::session::{Session, steps_of};

/// How long the old place of a shard is given to answer.
const OLD_PLACE: Duration = Duration::from_secs(5);

#[derive(Args)]
pub(crate) struct Attach {
    /// The shard map, as the shard's own store calls it
    map: String,
    /// The shard
    #[arg(value_parser = location::parse)]
    shard: ShardLocation,
    /// Puts the shard map into the global store first, with its id, if that does not have it
    #[arg(long)]
    restore_map: bool,
    #[command(flatten)]
    change: Change,
}

#[derive(Args)]
pub(crate) struct Detach {
    /// The shard map
    map: String,
    /// The shard
    #[arg(value_parser = location::parse)]
    shard: ShardLocation,
    #[command(flatten)]
    change: Change,
}

#[derive(Args)]
pub(crate) struct Rename {
    /// Where the shard was
    #[arg(value_parser = location::parse)]
    from: ShardLocation,
    /// Where it is now
    #[arg(value_parser = location::parse)]
    to: ShardLocation,
    #[command(flatten)]
    change: Change,
}

#[derive(Serialize)]
struct PlaceRow {
    map: String,
    shard: String,
    status: &'static str,
    id: String,
}

impl Attach {
    pub(super) async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        let manager = session.manager().await?;
        let recovery = manager.recovery();
        let name = ShardMapName::new(&self.map)?;
        let place = location::show(&self.shard);
        let there = manager.find_shard_map(&self.map).await?;
        match &there {
            Some(map) if session.backend.find_shard(map.id(), &self.shard).await?.is_some() => {
                return Err(Failure::Exists(format!("{place} is a shard of the map already")));
            }
            None if !self.restore_map => {
                let text = format!("the global store has no shard map {:?}: --restore-map puts it there", self.map);
                return Err(Failure::NotFound(text));
            }
            _ => {}
        }
        let known = match session.backend.local_version(&self.shard).await? {
            Some(_) => session.backend.local_shards(&self.shard).await?,
            None => Vec::new(),
        };
        let of_map = |(map, _): &&(ShardMapInfo, Shard)| ShardMapName::new(map.name()).is_ok_and(|it| it == name);
        let Some((local, shard)) = known.iter().find(of_map) else {
            let text = format!(
                "{place}: its own store knows no shard map {:?}; add new shards by shardlet shard add",
                self.map
            );
            return Err(Failure::NotFound(text));
        };
        if let Some(map) = &there {
            if map.id() != local.id() {
                return Err(Failure::NotFound("the global store has another shard map of this name".to_owned()));
            }
            let known = session.backend.shards(map.id()).await?;
            if let Some(elsewhere) = known.iter().find(|known| known.id() == shard.id()) {
                let text = format!("the map has this shard at {}", location::show(elsewhere.location()));
                return Err(Failure::Exists(text).next("tell it of the new place: shardlet recovery rename"));
            }
        }
        let mut steps = Vec::new();
        if there.is_none() {
            steps.push((
                "global store".to_owned(),
                format!("add the shard map {:?}, with the id that the shard knows", self.map),
            ));
        }
        steps.push(("global store".to_owned(), format!("add the shard {place} to {:?}, without mappings", self.map)));
        steps.push((place.clone(), "write its place into its own store".to_owned()));
        let work = async {
            if there.is_none() {
                let _ = recovery.restore_shard_map(&self.shard, &self.map).await?;
            }
            recovery.attach(&self.shard, &self.map).await
        };
        if let Some(shard) = session.decide(self.change, steps_of(steps), None, work).await? {
            session.output.show(&row(&self.map, &shard))?;
            session.output.say(&format!("now its mappings: shardlet recovery detect {place}, then recovery resolve"));
        }
        Ok(())
    }
}

impl Detach {
    pub(super) async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        let map = session.map(&self.map).await?;
        let name = map.info().name().to_owned();
        let place = location::show(&self.shard);
        let recovery = session.manager().await?.recovery();
        let shard = map.find_shard(&self.shard).await?;
        let unfinished = recovery.manager().pending_operations().await?;
        let unfinished = unfinished.iter().filter(|operation| {
            operation.shard_map.as_ref().is_some_and(|of| of.id() == map.info().id())
                && operation.locations.contains(&self.shard)
        });
        let unfinished = unfinished.count();
        let mappings = match &shard {
            Some(shard) => map.mappings(None, Some(shard)).await?.len(),
            None if unfinished == 0 => {
                return Err(Failure::NotFound(format!("{place} is not a shard of the shard map {name:?}")));
            }
            None => 0,
        };
        let mut steps = Vec::new();
        let mut gone = String::new();
        if let Some(shard) = &shard {
            let answer = answers(session, &self.shard, &[shard.id()]).await;
            gone = answer.words();
            if self.change.yes && !matches!(answer, Answer::Another) {
                session.output.say(&format!("warning: {place} {gone}"));
            }
            steps.push((place.as_str(), gone.clone()));
        }
        if unfinished > 0 {
            steps.push(("global store", format!("undo {unfinished} unfinished operations, without asking {place}")));
        }
        if shard.is_some() {
            steps.push(("global store", format!("delete the shard {place} and its {mappings} mappings from {name:?}")));
        }
        let question = match &shard {
            Some(_) => format!(
                "{place} {gone}. its {mappings} mappings are deleted from {name:?}, and their keys are not mapped then; detach it?"
            ),
            None => format!("undo {unfinished} unfinished operations on {place} without asking it?"),
        };
        let work = async {
            // Who answered decided about what was seen.
            let now = map.find_shard(&self.shard).await?;
            if now != shard {
                let text = "the shard has changed since it was looked at; nothing was detached";
                return Err(shardlet::Error::new(ErrorKind::Stale, ErrorCode::ShardVersionMismatch, text));
            }
            match recovery.detach(&self.shard, &self.map).await {
                // It was only about to become one.
                Err(error) if shard.is_none() && error.kind() == ErrorKind::NotFound => Ok(0),
                detached => detached,
            }
        };
        if let Some(mappings) = session.decide(self.change, steps_of(steps), Some(question), work).await? {
            session.output.say(&match shard {
                Some(_) => format!("detached; {mappings} mappings deleted"),
                None => "unfinished operations undone".to_owned(),
            });
        }
        Ok(())
    }
}

impl Rename {
    pub(super) async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        let (from, to) = (location::show(&self.from), location::show(&self.to));
        if self.from == self.to {
            return Err(Failure::NoChange("both places are the same".to_owned()));
        }
        let recovery = session.manager().await?.recovery();
        let mut maps: Vec<(ShardMapInfo, Shard)> = Vec::new();
        for map in session.backend.shard_maps().await? {
            if let Some(shard) = session.backend.find_shard(map.id(), &self.from).await? {
                maps.push((map, shard));
            }
        }
        if maps.is_empty() {
            return Err(Failure::NotFound(format!("no shard map has a shard at {from}")));
        }
        let known = match session.backend.local_version(&self.to).await? {
            Some(_) => session.backend.local_shards(&self.to).await?,
            None => Vec::new(),
        };
        for (map, shard) in &maps {
            if !known.iter().any(|(_, known)| known.id() == shard.id()) {
                let text =
                    format!("the database at {to} does not know the shard of {:?}: it is another one's", map.name());
                return Err(Failure::NotFound(text));
            }
        }
        // The same database may have a new name of its server's port or protocol alone.
        let renamed = self.from.server() != self.to.server() || self.from.database() != self.to.database();
        let ids: Vec<_> = maps.iter().map(|(_, shard)| shard.id()).collect();
        let mut before = Vec::new();
        let mut question = format!("{from} is at {to} now, for {} shard maps?", maps.len());
        if renamed {
            let answer = answers(session, &self.from, &ids).await;
            if !matches!(answer, Answer::Another) {
                let words = answer.words();
                if self.change.yes {
                    session.output.say(&format!("warning: {from} {words}"));
                }
                question = format!("{from} {words}. {question}");
                before.push((from.clone(), words));
            }
        }
        let steps = maps.iter().flat_map(|(map, _)| {
            let name = map.name();
            let local = (to.clone(), format!("write the place into its own store, for {name:?}"));
            [("global store".to_owned(), format!("the shard of {name:?} is at {to}")), local]
        });
        let steps = before.into_iter().chain(steps);
        let work = recovery.relocate(&self.from, &self.to);
        if let Some(shards) = session.decide(self.change, steps_of(steps), Some(question), work).await? {
            let named = |shard: &Shard| {
                let map = maps.iter().find(|(map, _)| map.id() == shard.shard_map_id());
                map.map(|(map, _)| map.name().to_owned()).unwrap_or_default()
            };
            session.output.list(&shards.iter().map(|shard| row(&named(shard), shard)).collect::<Vec<_>>())?;
            session.output.say(&format!("now look whether it is as it was: shardlet recovery detect {to}"));
        }
        Ok(())
    }
}

/// What a place says that is to be no shard any more.
enum Answer {
    /// It still says that it is the shard.
    Shard,
    /// It is another database, or one without a store.
    Another,
    /// Nothing: why it could not be asked. It may be gone, or applications may reach it all the same.
    None(String),
}

impl Answer {
    /// What follows the name of the place.
    fn words(&self) -> String {
        match self {
            Self::Shard => {
                "STILL ANSWERS as this shard: applications that have its mappings in their caches go on to use it"
                    .to_owned()
            }
            Self::Another => "does not answer as this shard".to_owned(),
            Self::None(why) => {
                format!("could not be asked ({why}): applications that reach it all the same go on to use it")
            }
        }
    }
}

/// Asks a place whether it is still one of these shards.
async fn answers<B: Stores>(session: &Session<B>, place: &ShardLocation, shards: &[ShardId]) -> Answer {
    match tokio::time::timeout(OLD_PLACE, session.backend.local_shards(place)).await {
        Ok(Ok(rows)) if rows.iter().any(|(_, there)| shards.contains(&there.id())) => Answer::Shard,
        Ok(Ok(_)) => Answer::Another,
        // There is no store.
        Ok(Err(error)) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::StoreDamaged) => Answer::Another,
        Ok(Err(error)) => Answer::None(error.to_string()),
        Err(_) => Answer::None(format!("no answer in {} s", OLD_PLACE.as_secs())),
    }
}

fn row(map: &str, shard: &Shard) -> PlaceRow {
    PlaceRow {
        map: map.to_owned(),
        shard: location::show(shard.location()),
        status: status_word(shard.status()),
        id: shard.id().to_string(),
    }
}
