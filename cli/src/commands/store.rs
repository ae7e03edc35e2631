//! `shardlet store`: the global store.

use std::fmt;

use clap::{Args, Subcommand};
use serde::Serialize;
use shardlet::operation::Stores;
use shardlet::{
    CreateMode, Error, ErrorCode, ErrorKind, Options, ShardLocation, ShardMapManager, ShardUpgrade, StoreVersion,
};
use tokio::task::JoinSet;

use super::check::was_reached;
use crate::confirm::Change;
use crate::failure::{Failure, Result};
use crate::location;
use crate::places;
use crate::progress;
use crate::session::{Session, steps_of};
use crate::stop;

/// How many shards are looked at or upgraded at once.
const AT_ONCE: usize = 16;

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
    /// Which it is: kind, and directory or server and database.
    store: String,
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
        let mut steps = vec![("global store", format!("create the store ({})", session.place))];
        let mut question = None;
        if self.replace {
            let content = content(session, self.change).await?;
            let what = match &content {
                Content::None => ", if there is one by then".to_owned(),
                content => format!(" with {content}"),
            };
            steps.insert(0, ("global store", format!("drop the store ({}){what}", session.place)));
            question = Some(format!("drop the store ({}){what}, and create an empty one?", session.place));
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

/// What a store holds, for who decides about it.
enum Content {
    None,
    Counted {
        maps: usize,
        shards: usize,
        mappings: usize,
    },
    /// It cannot be read, or nobody asks.
    NotKnown,
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let many = |count: usize, one: &str| if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") };
        match self {
            Self::None => f.write_str("nothing in it"),
            Self::Counted { maps, shards, mappings } => {
                write!(f, "{}, {} and {}", many(*maps, "shard map"), many(*shards, "shard"), many(*mappings, "mapping"))
            }
            Self::NotKnown => f.write_str("all that is in it"),
        }
    }
}

/// Counts what is in the store, where that is shown or asked about. What cannot be read can be dropped all the same.
async fn content<B: Stores>(session: &Session<B>, how: Change) -> Result<Content> {
    if how.yes && !how.dry_run {
        return Ok(Content::NotKnown);
    }
    let counted = async {
        if session.backend.global_version().await?.is_none() {
            return Ok(Content::None);
        }
        let maps = session.backend.load_all().await?;
        let shards = session.backend.shard_locations().await?.len();
        Ok(Content::Counted {
            maps: maps.len(),
            shards,
            mappings: maps.iter().map(|(_, mappings)| mappings.len()).sum(),
        })
    };
    match counted.await {
        Ok(content) => Ok(content),
        Err(error) if was_reached(&error) => Ok(Content::NotKnown),
        Err(error) => Err(error.into()),
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
        store: session.place.clone(),
    };
    session.output.show(&row)
}

/// What was found where an upgrade may have something to do.
enum Found {
    Older(StoreVersion),
    Current,
    /// No store, or one that could not be looked at: the upgrade tells of it.
    NotKnown,
}

impl Found {
    fn by(looked: shardlet::Result<Option<StoreVersion>>) -> Self {
        match looked {
            Ok(Some(version)) if version < StoreVersion::CURRENT => Self::Older(version),
            Ok(Some(version)) if version.is_usable() => Self::Current,
            _ => Self::NotKnown,
        }
    }

    fn step(&self) -> Option<String> {
        match self {
            Self::Older(version) => Some(format!("upgrade from {version} to {}", StoreVersion::CURRENT)),
            Self::Current => None,
            Self::NotKnown => Some("try to upgrade what could not be looked at".to_owned()),
        }
    }
}

async fn upgrade<B: Stores>(session: &Session<B>, how: Change) -> Result<()> {
    let Some(version) = session.backend.global_version().await? else {
        let failure = Failure::NotFound("there is no shard map manager store".to_owned());
        return Err(failure.next("create the store: shardlet store create"));
    };
    let found = Found::by(Ok(Some(version)));
    if matches!(found, Found::NotKnown) {
        // It says why.
        let _ = session.manager().await?;
    }
    let locations = match session.backend.shard_locations().await {
        Ok(locations) => Some(locations),
        // So old that it has to be upgraded before it can be read.
        Err(error) if error.kind() == ErrorKind::VersionMismatch && matches!(found, Found::Older(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let readable = locations.is_some();
    let at = |place: ShardLocation| {
        let backend = session.backend.clone();
        async move { Found::by(backend.local_version(&place).await) }
    };
    let seen = places::look(session, locations.unwrap_or_default(), AT_ONCE, "looking at shards", at).await;
    if seen.is_partial() {
        return Err(Failure::Interrupted(stop::NOTHING.to_owned()));
    }
    let of_shards = seen.rows.iter().map(|(place, found)| (location::show(place), found));
    let all = std::iter::once(("global store".to_owned(), &found)).chain(of_shards);
    let mut steps: Vec<_> = all.filter_map(|(place, found)| Some((place, found.step()?))).collect();
    if !readable {
        steps.push(("each shard".to_owned(), "upgrade what is older".to_owned()));
    }
    if steps.is_empty() {
        let text = format!(
            "{}: the global store and all {} shards have version {version} already",
            session.place, seen.places
        );
        return Err(Failure::NoChange(text));
    }
    let older = seen.rows.iter().filter(|(_, found)| matches!(found, Found::Older(_))).count();
    let not_known = seen.rows.iter().filter(|(_, found)| matches!(found, Found::NotKnown)).count();
    let unseen =
        if not_known > 0 { format!(", and try {not_known} that could not be looked at") } else { String::new() };
    let shards = match readable {
        true => format!("{older} of its {} shards", seen.places),
        false => "then its shards".to_owned(),
    };
    let question = format!("upgrade the store ({}) of version {version}, and {shards}{unseen}?", session.place);
    let global = session.backend.upgrade_global();
    let Some(global) = session.decide(how, steps_of(steps), Some(question), global).await? else { return Ok(()) };
    let mut rows = vec![upgrade_row("global store".to_owned(), &ShardUpgrade::Done(global))];
    let (upgraded, all) = match upgrade_shards(session).await {
        Ok(upgraded) => upgraded,
        Err(failure) => {
            // What was done is told.
            session.output.list(&rows)?;
            return Err(failure);
        }
    };
    rows.extend(upgraded.iter().map(|(place, outcome)| upgrade_row(location::show(place), outcome)));
    let healthy = rows.iter().all(|row| matches!(row.outcome, "upgraded" | "unchanged"));
    session.output.list(&rows)?;
    if upgraded.len() < all {
        let done = upgraded.len();
        return Err(Failure::Interrupted(format!("stopped after {done} of {all} shards; run it again to go on")));
    }
    if healthy { Ok(()) } else { Err(Failure::Unhealthy) }
}

/// Upgrades all shards, some at a time, until the user wants to stop; what is under way then is waited for. Also says how many shards
/// there are.
async fn upgrade_shards<B: Stores>(session: &Session<B>) -> Result<(Vec<(ShardLocation, ShardUpgrade)>, usize)> {
    // The store of each shard is upgraded as a whole or not at all; the global one was before.
    let _changing = session.stop.changing(stop::NOT_KNOWN);
    let manager = session.manager().await?;
    let mut locations = manager.shard_locations().await?;
    locations.sort();
    let all = locations.len();
    let bar = progress::bar(all, "upgrading", session.output.quiet);
    let mut left = locations.into_iter();
    let mut tasks = JoinSet::new();
    let mut rows = Vec::with_capacity(all);
    loop {
        while tasks.len() < AT_ONCE
            && !session.stop.is_requested()
            && let Some(place) = left.next()
        {
            let manager = manager.clone();
            let _ = tasks.spawn(async move {
                let outcome = match manager.upgrade_shard(&place).await {
                    Ok(done) => ShardUpgrade::Done(done),
                    Err(error) if error.kind() == ErrorKind::NotFound => ShardUpgrade::Absent,
                    Err(error) => ShardUpgrade::Failed(error),
                };
                (place, outcome)
            });
        }
        match tasks.join_next().await {
            Some(Ok(row)) => rows.push(row),
            Some(Err(error)) => {
                if let Ok(panic) = error.try_into_panic() {
                    std::panic::resume_unwind(panic);
                }
            }
            None => break,
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    rows.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok((rows, all))
}

async fn drop_store<B: Stores>(session: &Session<B>, how: Change) -> Result<()> {
    let content = content(session, how).await?;
    if matches!(content, Content::None) {
        return Err(Failure::NoChange("there is no store".to_owned()));
    }
    let steps = steps_of([("global store", format!("drop the store ({}) with {content}", session.place))]);
    let question = format!("drop the global store ({}) with {content}?", session.place);
    let dropped = ShardMapManager::drop_store(&session.backend);
    match session.decide(how, steps, Some(question), dropped).await? {
        Some(true) => session.output.say("store dropped; the shards keep their local stores"),
        Some(false) => return Err(Failure::NoChange("there is no store".to_owned())),
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
