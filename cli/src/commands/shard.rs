//! `shardlet shard`: the databases of a shard map.

use std::collections::HashMap;

use clap::{ArgGroup, Args, Subcommand};
use serde::Serialize;
use shardlet::error::Refusal;
use shardlet::operation::Stores;
use shardlet::{ErrorKind, Shard, ShardId, ShardLocation, ShardStatus};

use crate::confirm::Change;
use crate::failure::{Failure, Result};
use crate::location;
use crate::map;
use crate::session::{Session, Step, Words, in_words, steps, steps_of};
use crate::stop;

#[derive(Subcommand)]
pub(crate) enum ShardCommand {
    /// Lists the shards of a map
    List(List),
    /// Adds a database to a map, after looking at it and asking
    ///
    /// What the shard needs is installed in it where it is missing. On SQL Server the database has to be there already.
    Add(Add),
    /// Shows a shard and what is on it
    Show(Show),
    /// Disables or enables a shard, or changes its description
    Update(Update),
    /// Takes a shard that has no mappings out of a map; its database stays
    Delete(Delete),
}

#[derive(Args)]
pub(crate) struct List {
    /// The shard map
    map: String,
}

#[derive(Args)]
pub(crate) struct Add {
    /// The shard map
    map: String,
    /// The database: SERVER/DATABASE or SERVER,PORT/DATABASE
    #[arg(value_parser = location::parse)]
    shard: ShardLocation,
    /// What people are to know of it: free text of up to 1000 characters
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    #[command(flatten)]
    change: Change,
}

#[derive(Args)]
pub(crate) struct Show {
    /// The shard map
    map: String,
    /// The shard
    #[arg(value_parser = location::parse)]
    shard: ShardLocation,
}

#[derive(Args)]
#[command(group = ArgGroup::new("what").required(true).multiple(true))]
pub(crate) struct Update {
    /// The shard map
    map: String,
    /// The shard
    #[arg(value_parser = location::parse)]
    shard: ShardLocation,
    /// What people are to know of it: free text of up to 1000 characters; an empty one takes it away
    #[arg(long, value_name = "TEXT", group = "what")]
    description: Option<String>,
    /// Gives it no new mappings from now on; those that it has stay, and are served
    #[arg(long, group = "what", conflicts_with = "enable")]
    disable: bool,
    /// Lets it have new mappings again
    #[arg(long, group = "what")]
    enable: bool,
    #[command(flatten)]
    change: Change,
}

#[derive(Args)]
pub(crate) struct Delete {
    /// The shard map
    map: String,
    /// The shard
    #[arg(value_parser = location::parse)]
    shard: ShardLocation,
    #[command(flatten)]
    change: Change,
}

#[derive(Serialize)]
struct ShardRow {
    shard: String,
    status: &'static str,
    mappings: usize,
    description: Option<String>,
    id: String,
}

impl ShardCommand {
    pub(crate) async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        match self {
            Self::List(list) => list.run(session).await,
            Self::Add(add) => add.run(session).await,
            Self::Show(show) => show.run(session).await,
            Self::Update(update) => update.run(session).await,
            Self::Delete(delete) => delete.run(session).await,
        }
    }
}

impl List {
    async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        let map = session.map(&self.map).await?;
        let mut counts: HashMap<ShardId, usize> = HashMap::new();
        for mapping in map.mappings(None, None).await? {
            *counts.entry(mapping.shard.id()).or_default() += 1;
        }
        let mut descriptions = map.descriptions().await?;
        let row = |shard: &Shard| {
            let count = counts.get(&shard.id()).copied().unwrap_or_default();
            row(shard, count, descriptions.remove(&shard.id()))
        };
        session.output.list(&map.shards().await?.iter().map(row).collect::<Vec<_>>())
    }
}

impl Add {
    async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        if let Some(description) = &self.description {
            Shard::check_description(description)?;
        }
        let map = session.map(&self.map).await?;
        let place = location::show(&self.shard);
        if map.find_shard(&self.shard).await?.is_some() {
            let failure = Failure::Exists(format!("{place} is a shard of the map already"));
            return Err(failure.next("see which there are: shardlet shard list MAP"));
        }
        self.examine(session, &place).await?;
        let map_name = map.info().name();
        let change = map::Change::of(map.create_shard(&self.shard), |shard| shard);
        let mut plan = steps(&change.plan?);
        if let Some(description) = &self.description {
            append(&mut plan, description_step(&self.shard, description));
        }
        let words = format!("add {place} to the shard map {map_name:?}");
        if !self.change.dry_run {
            for step in &plan {
                session.output.say(&format!("{}. {}: {}", step.step, step.place, step.action));
            }
        }
        let question = format!("{words}?");
        if !session.is_agreed(self.change, &in_words(words, plan), Some(question)).await? {
            return Ok(());
        }
        let shard = {
            let _changing = session.stop.changing(stop::UNDONE);
            change.work.await?
        };
        let _changing = session.stop.changing("interrupted; the shard was added, and is described or not");
        let described = match &self.description {
            Some(description) => map.describe_shard(&shard, description).await,
            None => Ok(()),
        };
        session.output.show(&row(&shard, 0, self.description.filter(|_| described.is_ok())))?;
        described.map_err(|error| {
            let advice = "the shard was added; describe it: shardlet shard update MAP SHARD --description TEXT";
            Failure::from(error).next(advice)
        })
    }

    /// Connects, and tells what is there; refuses what cannot become a shard.
    async fn examine<B: Stores>(&self, session: &Session<B>, place: &str) -> Result<()> {
        let rights = session.backend.local_rights(&self.shard).await?;
        let version = match session.backend.local_version(&self.shard).await {
            // Where it was reached all the same, the database is one that is made when it is needed.
            Err(error) if error.kind() == ErrorKind::Unavailable && rights.installs => {
                session.output.say(&format!("{place}: there is no database yet; it will be made"));
                return Ok(());
            }
            version => version?,
        };
        let found = match version {
            None => "no local store yet; it will be installed".to_owned(),
            Some(version) if !version.is_usable() => {
                let failure = Failure::Version(format!("{place} has a local store of version {version}"));
                return Err(
                    failure.next("upgrade it through the global store that has it as a shard, or upgrade this command")
                );
            }
            Some(version) => {
                let maps = session.backend.local_shards(&self.shard).await?;
                let maps: Vec<_> = maps.iter().map(|(map, _)| format!("{:?}", map.name())).collect();
                let maps = if maps.is_empty() { "no shard map".to_owned() } else { maps.join(", ") };
                format!("a local store of version {version}, with {maps}")
            }
        };
        session.output.say(&format!("{place}: reached; {found}"));
        if !(rights.changes || version.is_none() && rights.installs) {
            let failure = Failure::Rights(format!("the login may not change {place}: {rights}"));
            return Err(failure.next("give the login more rights; shardlet doctor shows what is missing"));
        }
        Ok(())
    }
}

impl Show {
    async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        let map = session.map(&self.map).await?;
        let shard = map.shard(&self.shard).await?;
        let mappings = map.mappings(None, Some(&shard)).await?.len();
        let description = map.descriptions().await?.remove(&shard.id());
        session.output.show(&row(&shard, mappings, description))
    }
}

impl Update {
    async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        if let Some(description) = &self.description {
            Shard::check_description(description)?;
        }
        let map = session.map(&self.map).await?;
        let mut shard = map.shard(&self.shard).await?;
        let old = map.descriptions().await?.remove(&shard.id());
        let status = if self.disable {
            ShardStatus::Offline
        } else if self.enable {
            ShardStatus::Online
        } else {
            shard.status()
        };
        let description = self.description.clone().or(old.clone()).filter(|text| !text.is_empty());
        if (shard.status(), &old) == (status, &description) {
            return Err(Failure::NoChange("the shard is like this already".to_owned()));
        }
        let place = location::show(&self.shard);
        let (mut words, mut plan) = (Vec::new(), Vec::new());
        let described = (description != old).then(|| description.as_deref().unwrap_or_default());
        if let Some(text) = described {
            words.push(format!("describe {place}"));
            append(&mut plan, description_step(&self.shard, text));
        }
        let change =
            (shard.status() != status).then(|| map::Change::of(map.update_shard(shard.clone(), status), |shard| shard));
        if let Some(change) = &change {
            words.push(match status {
                ShardStatus::Online => format!("enable {place}: it takes new mappings again"),
                ShardStatus::Offline => {
                    format!("disable {place}: it takes no new mappings, and serves those that it has")
                }
            });
            append(&mut plan, steps(change.plan.as_ref().map_err(Clone::clone)?));
        }
        if !session.is_agreed(self.change, &in_words(words.join("; "), plan), None).await? {
            return Ok(());
        }
        let mappings = map.mappings(None, Some(&shard)).await?.len();
        if let Some(text) = described {
            let _changing = session.stop.changing(stop::NOT_KNOWN);
            map.describe_shard(&shard, text).await?;
        }
        if let Some(change) = change {
            if described.is_some() && session.stop.is_requested() {
                let text = "stopped between two changes: the shard was described, and is enabled or disabled as before";
                return Err(Failure::Interrupted(text.to_owned()));
            }
            let _changing = session.stop.changing(stop::UNDONE);
            let changed = change.work.await;
            shard = match changed {
                Err(error) if described.is_some() => {
                    return Err(
                        Failure::from(error).next("the shard was described; look again, and enable or disable it anew")
                    );
                }
                changed => changed?,
            };
        }
        session.output.show(&row(&shard, mappings, description))
    }
}

impl Delete {
    async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        let map = session.map(&self.map).await?;
        let shard = map.shard(&self.shard).await?;
        let place = location::show(&self.shard);
        let count = map.mappings(None, Some(&shard)).await?.len();
        if count > 0 {
            let error = Refusal::ShardHasMappings.into_error();
            let text = format!("{place} still has {count} mappings");
            return Err(Failure::Library(error.with_message(text)));
        }
        let words = format!("take {place} out of the shard map {:?}; its database stays", map.info().name());
        let change = map::Change::of(map.delete_shard(shard), |()| ());
        if session.carry_out(self.change, change, Words::Asked(words)).await?.is_some() {
            session.output.say("shard deleted; its database stays");
        }
        Ok(())
    }
}

/// The step that describes a shard.
fn description_step(shard: &ShardLocation, text: &str) -> Vec<Step> {
    let place = location::show(shard);
    let words = if text.is_empty() {
        format!("take away the description of {place}")
    } else {
        format!("describe {place} as {text:?}")
    };
    steps_of([("global store", words)])
}

/// Puts steps behind others.
fn append(plan: &mut Vec<Step>, steps: Vec<Step>) {
    let last = plan.last().map_or(0, |step| step.step);
    plan.extend(steps.into_iter().map(|step| Step { step: last + step.step, ..step }));
}

/// The status as rows say it.
pub(crate) fn status_word(status: ShardStatus) -> &'static str {
    match status {
        ShardStatus::Online => "enabled",
        ShardStatus::Offline => "disabled",
    }
}

fn row(shard: &Shard, mappings: usize, description: Option<String>) -> ShardRow {
    ShardRow {
        shard: location::show(shard.location()),
        status: status_word(shard.status()),
        mappings,
        description,
        id: shard.id().to_string(),
    }
}
