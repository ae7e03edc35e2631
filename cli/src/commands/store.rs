//! `shardlet store`: the global store.

use clap::{Args, Subcommand};
use serde::Serialize;
use shardlet::operation::Stores;
use shardlet::{CreateMode, Error, ErrorCode, ErrorKind, Options, ShardMapManager, ShardUpgrade, StoreVersion};

use crate::confirm::Change;
use crate::failure::{Failure, Result};
use crate::location;
use crate::progress;
use crate::session::{Session, steps_of};
use crate::stop;

#[derive(Subcommand)]
pub(crate) enum StoreCommand {
    /// Creates the global store
    Create(Create),
    /// Shows its version and what is in it
    Show,
    /// Looks whether everything in it can be read and makes sense; no shard is asked
    ///
    /// Exits with 0 if it does, also with warnings, and with 1 if not. shardlet doctor looks at the shards, too.
    Check,
    /// Brings it and the stores of all shards to the version of this command
    ///
    /// Where clients of the reference library for .NET share the stores, upgrade with that library instead: this drops procedures of
    /// its older versions.
    Upgrade(Change),
    /// Drops the global store with every shard map in it
    ///
    /// Shards keep their local stores, from which shardlet recovery brings maps back into a new global store.
    Drop(Change),
}

#[derive(Args)]
pub(crate) struct Create {
    /// Drops a store that is there, with every shard map in it; shards keep what they have
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    change: Change,
}

#[derive(Serialize)]
struct StoreRow {
    version: String,
    maps: usize,
    shards: usize,
    mappings: usize,
    unfinished_operations: usize,
}

#[derive(Serialize)]
struct UpgradeRow {
    place: String,
    outcome: &'static str,
    from: Option<String>,
    to: Option<String>,
    message: Option<String>,
}

impl StoreCommand {
    pub(crate) async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        match self {
            Self::Create(create) => create.run(session).await,
            Self::Show => show(session).await,
            Self::Check => super::check::run(session).await,
            Self::Upgrade(change) => upgrade(session, change).await,
            Self::Drop(change) => drop_store(session, change).await,
        }
    }
}

impl Create {
    async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        let mode = if self.replace { CreateMode::Replace } else { CreateMode::Keep };
        let mut steps = vec![("global store", "create the store")];
        let mut question = None;
        if self.replace {
            steps.insert(0, ("global store", "drop the store with all shard maps, if there is one"));
            question = Some("drop the store that is there, with all its shard maps?".to_owned());
        }
        if !self.replace && session.backend.global_version().await?.is_some() {
            let text = "there is a shard map manager store already";
            let error = Error::new(ErrorKind::AlreadyExists, ErrorCode::ShardMapManagerStoreAlreadyExists, text);
            return Err(error.into());
        }
        let created = ShardMapManager::create(session.backend.clone(), mode, Options::default());
        if session.decide(self.change, steps_of(steps), question, created).await?.is_some() {
            session.output.say("store created");
        }
        Ok(())
    }
}

async fn show<B: Stores>(session: &Session<B>) -> Result<()> {
    let manager = session.manager().await?;
    let version = session.backend.global_version().await?.unwrap_or(StoreVersion::CURRENT);
    let maps = session.backend.load_all().await?;
    let row = StoreRow {
        version: version.to_string(),
        maps: maps.len(),
        shards: manager.shard_locations().await?.len(),
        mappings: maps.iter().map(|(_, mappings)| mappings.len()).sum(),
        unfinished_operations: session.backend.pending_operations().await?.len(),
    };
    session.output.show(&row)
}

async fn upgrade<B: Stores>(session: &Session<B>, how: Change) -> Result<()> {
    let Some(version) = session.backend.global_version().await? else {
        let failure = Failure::NotFound("there is no shard map manager store".to_owned());
        return Err(failure.next("create the store: shardlet store create"));
    };
    let upgrade_to = format!("upgrade from {version} to {}", StoreVersion::CURRENT);
    let step = if version < StoreVersion::CURRENT { upgrade_to } else { format!("at {version}, nothing to do") };
    let steps = steps_of([("global store", step), ("each shard", "upgrade what is older".to_owned())]);
    let question = "upgrade the global store, then the store of each shard?".to_owned();
    let global = session.backend.upgrade_global();
    let Some(global) = session.decide(how, steps, Some(question), global).await? else { return Ok(()) };
    let manager = session.manager().await?;
    let mut rows = vec![UpgradeRow {
        place: "global store".to_owned(),
        outcome: if global.is_change() { "upgraded" } else { "unchanged" },
        from: Some(global.from.to_string()),
        to: Some(global.to.to_string()),
        message: None,
    }];
    let locations = manager.shard_locations().await?;
    let bar = progress::bar(locations.len(), "upgrading", session.output.quiet);
    let mut stopped = false;
    for place in &locations {
        if session.stop.is_requested() {
            stopped = true;
            break;
        }
        let _changing = session.stop.changing(stop::NOT_KNOWN);
        let outcome = match manager.upgrade_shard(place).await {
            Ok(done) => ShardUpgrade::Done(done),
            Err(error) if error.kind() == ErrorKind::NotFound => ShardUpgrade::Absent,
            Err(error) => ShardUpgrade::Failed(error),
        };
        rows.push(upgrade_row(location::show(place), &outcome));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let healthy = rows.iter().all(|row| matches!(row.outcome, "upgraded" | "unchanged"));
    session.output.list(&rows)?;
    if stopped {
        let (done, all) = (rows.len() - 1, locations.len());
        return Err(Failure::Interrupted(format!("stopped after {done} of {all} shards; run it again to go on")));
    }
    if healthy { Ok(()) } else { Err(Failure::Unhealthy) }
}

async fn drop_store<B: Stores>(session: &Session<B>, how: Change) -> Result<()> {
    let none = || Failure::NoChange("there is no store".to_owned());
    // What cannot be read can be dropped.
    if matches!(session.backend.global_version().await, Ok(None)) {
        return Err(none());
    }
    let steps = steps_of([("global store", "drop the store with all shard maps")]);
    let question = "drop the global store, with all shard maps, shards and mappings in it?".to_owned();
    let dropped = ShardMapManager::drop_store(&session.backend);
    match session.decide(how, steps, Some(question), dropped).await? {
        Some(true) => session.output.say("store dropped; the shards keep their local stores"),
        Some(false) => return Err(none()),
        None => {}
    }
    Ok(())
}

fn upgrade_row(place: String, outcome: &ShardUpgrade) -> UpgradeRow {
    let (word, versions, message) = match outcome {
        ShardUpgrade::Done(done) => (if done.is_change() { "upgraded" } else { "unchanged" }, Some(done), None),
        ShardUpgrade::Absent => ("absent", None, Some("the database holds no local store".to_owned())),
        ShardUpgrade::Failed(error) => ("failed", None, Some(error.to_string())),
        _ => ("unknown", None, None),
    };
    UpgradeRow {
        place,
        outcome: word,
        from: versions.map(|done| done.from.to_string()),
        to: versions.map(|done| done.to.to_string()),
        message,
    }
}
