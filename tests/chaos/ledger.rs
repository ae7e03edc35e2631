//! What was done to the stores, step by step, and what must be true after each step.
//!
//! After each request that may have changed a store, that store is read again and held against what it should hold: the state
//! before, with just what the request was to do. Global and local stores have to agree on every shard that no unfinished
//! operation concerns; on the others each local store holds the old state or the new one.

use std::collections::{BTreeMap, HashMap};

use shardlet::gsm::{Direction, GlobalOperation, GlobalStore, LockChange, MappingStep, OperationSteps};
use shardlet::lsm::{Route, RouteTarget, SessionEnding};
use shardlet::{
    EncodedKey, ErrorCode, ErrorKind, LockToken, MappingId, MappingStatus, OperationId, SessionPolicy, ShardLocation,
    ShardMapId, ShardMapKind, ShardStatus, Sqlite,
};

use crate::gate::{Deed, Done};
use crate::picture::{Picture, overlap, shards_of};
use crate::report::{Report, Tally, is_ordinary, is_possible};

/// What is wrong.
pub type Verdict = Result<(), String>;

pub fn check(holds: bool, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(what()) }
}

/// The sessions of some keys were ended, or may have been.
struct Ending {
    step: usize,
    location: ShardLocation,
    ending: SessionEnding,
    surely: bool,
}

/// A public call of a client, and what it has heard from the stores.
#[derive(Default)]
struct Call {
    begun: usize,
    heard: Vec<(usize, Deed)>,
}

/// A connection that a client holds.
#[derive(Clone)]
struct Session {
    opened: usize,
    location: ShardLocation,
    map: ShardMapId,
    key: EncodedKey,
    validated: bool,
}

pub struct Ledger {
    store: Sqlite,
    places: Vec<ShardLocation>,
    global: Picture,
    locals: BTreeMap<ShardLocation, Picture>,
    pending: Vec<GlobalOperation>,
    /// Who began an operation first.
    beginners: HashMap<OperationId, usize>,
    finished: HashMap<OperationId, Direction>,
    /// When each mapping became readable, and when it was replaced or removed.
    lives: HashMap<MappingId, (usize, Option<usize>)>,
    endings: Vec<Ending>,
    calls: HashMap<usize, Call>,
    /// By client and number.
    sessions: HashMap<(usize, usize), Session>,
    step: usize,
    /// How operations ended.
    ends: Tally,
}

/// The call that an operation is of; code 14 is that of two.
fn name_of(operation: &GlobalOperation) -> &'static str {
    match &operation.steps {
        OperationSteps::Mappings { steps, .. } if matches!(steps[..], [MappingStep::Keep { .. }, ..]) => {
            "CreateMappings"
        }
        _ => operation.code.name(),
    }
}

impl Ledger {
    pub async fn new(store: Sqlite, places: Vec<ShardLocation>) -> Self {
        let mut ledger = Self {
            store,
            places,
            global: Picture::default(),
            locals: BTreeMap::new(),
            pending: Vec::new(),
            beginners: HashMap::new(),
            finished: HashMap::new(),
            lives: HashMap::new(),
            endings: Vec::new(),
            calls: HashMap::new(),
            sessions: HashMap::new(),
            step: 0,
            ends: Tally::default(),
        };
        ledger.global = Picture::of_global(&ledger.store).await.unwrap();
        for place in ledger.places.clone() {
            ledger.read_local(&place).await.unwrap();
        }
        ledger.note_lives();
        ledger
    }

    pub fn step(&self) -> usize {
        self.step
    }

    pub fn ends(&self) -> &Tally {
        &self.ends
    }

    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// An operation that the client began is pending.
    pub fn is_in_an_operation(&self, client: usize) -> bool {
        self.pending.iter().any(|operation| self.beginners.get(&operation.id) == Some(&client))
    }

    /// Who holds a key now, and whether it is online.
    pub fn owner(&self, map: ShardMapId, key: &EncodedKey) -> Option<(ShardLocation, MappingStatus)> {
        let (_, mapped) = self.global.at(map, key)?;
        Some((self.global.shards.get(&(map, mapped.shard))?.location.clone(), mapped.status))
    }

    /// Takes a request into account that was done.
    pub async fn take(&mut self, done: &Done) -> Verdict {
        self.step += 1;
        match &done.deed {
            Deed::Begun(operation) => self.begun(operation, done.client)?,
            Deed::Ended(operation, direction) => self.ended(operation, *direction, done.client),
            Deed::LocksChanged(map, change) => self.locks_changed(*map, *change),
            Deed::ShardChanged(change) => self.read_local(change.shard.location()).await?,
            Deed::MappingsChanged(change, done) => {
                if let Some(ending) = change.ending.as_ref().filter(|ending| ending.policy == SessionPolicy::EndNow) {
                    self.sessions_end(change.shard.location(), ending, *done);
                }
                self.read_local(change.shard.location()).await?;
            }
            Deed::SessionsEnded(location, ending) => {
                let surely = matches!(ending.policy, SessionPolicy::Drain(_));
                if ending.policy != SessionPolicy::Leave {
                    self.sessions_end(location, ending, surely);
                }
            }
            Deed::KeyRead { map, key, found } => {
                let known = self.global.at(*map, key).map(|(id, _)| id);
                check(known == *found, || format!("key {key}: the global store said {found:?}, it holds {known:?}"))?;
            }
            Deed::Opened { route, validated: true, outcome } => self.judge_opened(route, *outcome)?,
            Deed::Opened { .. } | Deed::Stated(_) | Deed::Nothing => {}
        }
        match &done.deed {
            Deed::Begun(_) | Deed::Ended(..) | Deed::LocksChanged(..) => {
                self.global_is_as_expected().await?;
                self.all_agree()?;
            }
            Deed::ShardChanged(_) | Deed::MappingsChanged(..) => self.all_agree()?,
            _ => {}
        }
        self.calls.entry(done.client).or_default().heard.push((self.step, done.deed.clone()));
        Ok(())
    }

    fn begun(&mut self, operation: &GlobalOperation, client: usize) -> Verdict {
        if self.pending.iter().any(|known| known.id == operation.id) {
            return Ok(());
        }
        let shards = shards_of(operation);
        let other = self.pending.iter().find(|other| shards_of(other).iter().any(|shard| shards.contains(shard)));
        check(other.is_none(), || format!("{} has begun on a shard of {:?}", operation.id, other.map(|it| it.id)))?;
        if let OperationSteps::Mappings { removes, adds, steps, .. } = &operation.steps {
            let only_adds = steps.iter().all(|step| matches!(step, MappingStep::Add { .. } | MappingStep::Keep { .. }));
            let target = self.global.shards.get(&(operation.map.id(), adds.id()));
            let disabled = target.is_some_and(|shard| shard.status == ShardStatus::Offline);
            check(!disabled || (removes.id() == adds.id() && !only_adds), || {
                format!("{} has begun to add to a shard that is marked offline", operation.id)
            })?;
        }
        self.pending.push(operation.clone());
        let _ = self.beginners.entry(operation.id).or_insert(client);
        Ok(())
    }

    fn ended(&mut self, operation: &GlobalOperation, direction: Direction, client: usize) {
        let Some(place) = self.pending.iter().position(|known| known.id == operation.id) else {
            self.ends.count("(repeated end)", &format!("{direction:?}"));
            return;
        };
        // As it was begun, not as it was read from the log.
        let operation = self.pending.remove(place);
        if direction == Direction::Do {
            self.global.apply(&operation);
        }
        let _ = self.finished.insert(operation.id, direction);
        let by = if self.beginners.get(&operation.id) == Some(&client) { "itself" } else { "another client" };
        self.ends.count(&format!("({direction:?} by {by})"), name_of(&operation));
        self.note_lives();
    }

    fn locks_changed(&mut self, map: ShardMapId, change: LockChange) {
        self.global.change_locks(map, change);
        let LockChange::UnlockAll(token) = change else { return };
        // What is not readable yet is unlocked, too.
        for operation in self.pending.iter_mut().filter(|operation| operation.map.id() == map) {
            let OperationSteps::Mappings { steps, .. } = &mut operation.steps else { continue };
            for step in steps {
                if let MappingStep::Add { mapping, .. } = step
                    && mapping.lock_owner == token
                {
                    mapping.lock_owner = LockToken::NONE;
                }
            }
        }
    }

    fn note_lives(&mut self) {
        let step = self.step;
        for (_, id) in self.global.mappings.keys() {
            let _ = self.lives.entry(*id).or_insert((step, None));
        }
        for (id, (_, died)) in &mut self.lives {
            if died.is_none() && !self.global.mappings.keys().any(|(_, known)| known == id) {
                *died = Some(step);
            }
        }
    }

    fn sessions_end(&mut self, location: &ShardLocation, ending: &SessionEnding, surely: bool) {
        let (step, location, ending) = (self.step, location.clone(), ending.clone());
        self.endings.push(Ending { step, location, ending, surely });
    }

    async fn read_local(&mut self, place: &ShardLocation) -> Verdict {
        let picture = Picture::of_local(&self.store, place).await;
        let picture = picture.map_err(|error| format!("the store at {place}: {error:?}"))?;
        let _ = self.locals.insert(place.clone(), picture);
        Ok(())
    }

    async fn global_is_as_expected(&mut self) -> Verdict {
        let failed = |error: shardlet::Error| format!("the global store: {error:?}");
        let actual = Picture::of_global(&self.store).await.map_err(failed)?;
        check(actual == self.global, || {
            format!("the global store holds\n{actual:#?}\nand should hold\n{:#?}", self.global)
        })?;
        let mut logged: Vec<_> =
            self.store.pending_operations().await.map_err(failed)?.into_iter().map(|entry| entry.id).collect();
        let mut pending: Vec<_> = self.pending.iter().map(|operation| operation.id).collect();
        logged.sort();
        pending.sort();
        check(logged == pending, || format!("the log holds {logged:?}, pending are {pending:?}"))
    }

    /// Everything that has to be true of all stores at every moment.
    fn all_agree(&self) -> Verdict {
        let double = overlap(&self.global.kinds, &self.global.mappings);
        check(double.is_none(), || format!("overlap in the global store: {double:?}"))?;
        // Over all shards together: a key has one owner at most, also while it moves.
        let double = overlap(&self.global.kinds, self.locals.values().flat_map(|local| &local.mappings));
        check(double.is_none(), || format!("two owners: {double:?}"))?;
        let mut expected = self.global.clone();
        for operation in &self.pending {
            expected.apply(operation);
        }
        let known = self.global.shards.iter().chain(&expected.shards);
        let places: BTreeMap<_, _> = known.map(|(id, placed)| (*id, placed.location.clone())).collect();
        for (place, local) in &self.locals {
            for (map, shard) in local.shards.keys() {
                check(places.get(&(*map, *shard)) == Some(place), || {
                    format!("{place} holds the unknown shard {shard}")
                })?;
            }
        }
        for ((map, shard), place) in places {
            let concerned = |operation: &&GlobalOperation| shards_of(operation).contains(&shard);
            let pending = self.pending.iter().find(concerned);
            let local = self.locals.get(&place).and_then(|local| local.part(map, shard));
            let old = self.global.part(map, shard);
            let agrees = local == old || (pending.is_some() && local == expected.part(map, shard));
            check(agrees, || {
                let pending = pending.map(|operation| (operation.id, operation.code));
                format!(
                    "shard {shard} at {place}, pending {pending:?}, holds\n{local:#?}\nthe global store\n{old:#?}\n\
                     and would\n{:#?}",
                    expected.part(map, shard)
                )
            })?;
        }
        Ok(())
    }

    /// Reads all stores again, also those that should not have changed.
    pub async fn all_again(&mut self) -> Verdict {
        for place in self.places.clone() {
            self.read_local(&place).await?;
        }
        self.global_is_as_expected().await?;
        self.all_agree()
    }

    /// The shard's own store was asked about a route just now.
    fn judge_opened(&self, route: &Route, outcome: Result<(), ErrorCode>) -> Verdict {
        let local = self.locals.get(&route.location);
        let expected = match &route.target {
            RouteTarget::Mapping { mapping, key, kind } => match local {
                Some(local) if local.kinds.contains_key(&route.map) => {
                    match local.mappings.get(&(route.map, *mapping)) {
                        None => Err(ErrorCode::MappingDoesNotExist),
                        Some(mapped) if mapped.status == MappingStatus::Offline => Err(ErrorCode::MappingIsOffline),
                        Some(mapped) => {
                            let holds = match kind {
                                ShardMapKind::List => mapped.low == *key,
                                ShardMapKind::Range => local.at(route.map, key).is_some_and(|(id, _)| id == *mapping),
                            };
                            check(holds, || format!("{mapping} was opened for key {key}, which it does not hold"))?;
                            Ok(())
                        }
                    }
                }
                _ => Err(ErrorCode::ShardMapDoesNotExist),
            },
            RouteTarget::Shard { shard, version } => match local {
                Some(local) if local.kinds.contains_key(&route.map) => match local.shards.get(&(route.map, *shard)) {
                    None => Err(ErrorCode::ShardDoesNotExist),
                    Some(placed) if placed.version != *version => Err(ErrorCode::ShardVersionMismatch),
                    Some(_) => Ok(()),
                },
                _ => Err(ErrorCode::ShardMapDoesNotExist),
            },
            _ => return Ok(()),
        };
        check(outcome == expected, || format!("{} answered {outcome:?}, not {expected:?}", route.location))
    }

    /// Holds what a client says against what it has heard from the stores. `muddled`: faults were injected into the call, or
    /// it may have shared a load that was begun before it.
    pub fn report(&mut self, client: usize, report: &Report, muddled: bool) -> Verdict {
        let error = report.error();
        check(error.is_none_or(is_possible), || format!("a fault that nobody injected: {error:?}"))?;
        match report {
            Report::Calls(_) => {
                let _ = self.calls.insert(client, Call { begun: self.step, heard: Vec::new() });
                Ok(())
            }
            Report::Operated { name, id: Some(id), error } => self.judge_operated(name, *id, error.as_ref(), muddled),
            Report::Operated { name, error, .. } | Report::Returned { name, error } => {
                check(muddled || error.as_ref().is_none_or(is_ordinary), || format!("{name}: {error:?}"))
            }
            Report::Opened { map, key, validated, outcome, session, cached } => {
                let call = self.calls.get(&client).ok_or("an open without a call")?;
                let opened = self.judge_open(call, *map, key, (*validated, muddled), outcome, *cached)?;
                if let (Some(opened), Ok(_)) = (opened, outcome) {
                    let _ = self.sessions.insert((client, *session), opened);
                }
                Ok(())
            }
            Report::Stated { session, outcome } => self.judge_stated(client, *session, outcome, muddled),
        }
    }

    fn judge_operated(&self, name: &str, id: OperationId, error: Option<&shardlet::Error>, muddled: bool) -> Verdict {
        let finished = self.finished.get(&id);
        match error {
            None => check(finished == Some(&Direction::Do), || format!("{name} says Ok, and {id} is {finished:?}")),
            Some(error) => {
                let done = finished == Some(&Direction::Do) && error.kind() != ErrorKind::OutcomeUnknown;
                check(!done, || format!("{name} failed, and {id} was done: {error:?}"))?;
                check(muddled || is_ordinary(error), || format!("{name}: {error:?}"))
            }
        }
    }

    /// An open for a key: gives the session, where there is one.
    fn judge_open(
        &self,
        call: &Call,
        map: ShardMapId,
        key: &EncodedKey,
        (validated, muddled): (bool, bool),
        outcome: &shardlet::Result<ShardLocation>,
        cached: Option<MappingId>,
    ) -> Result<Option<Session>, String> {
        let mut opened: Option<(usize, MappingId, ShardLocation, Result<(), ErrorCode>)> = None;
        let mut asked_before = None;
        let mut read = None;
        for (step, deed) in call.heard.iter().filter(|(step, _)| *step > call.begun) {
            match deed {
                Deed::KeyRead { map: of, key: wanted, found } if (*of, wanted) == (map, key) => {
                    read = Some((*step, *found));
                }
                Deed::Opened { route, outcome, .. } if route.map == map => {
                    if let RouteTarget::Mapping { mapping, key: wanted, .. } = &route.target
                        && wanted == key
                    {
                        asked_before = opened.map(|(_, mapping, ..)| mapping);
                        opened = Some((*step, *mapping, route.location.clone(), *outcome));
                    }
                }
                _ => {}
            }
        }
        let about = || format!("key {key}, heard {:?}, cached {cached:?}", call.heard);
        let dead_at = |id: &MappingId, step: usize| {
            self.lives.get(id).is_none_or(|(_, died)| died.is_some_and(|died| died <= step))
        };
        if let Ok(location) = outcome {
            let last = opened.as_ref().filter(|(_, _, at, outcome)| at == location && outcome.is_ok());
            check(last.is_some(), || format!("a connection to {location} that no store has given: {}", about()))?;
        }
        if muddled {
            return Ok(opened.map(|(opened, _, location, _)| Session {
                opened,
                location,
                map,
                key: key.clone(),
                validated,
            }));
        }
        if let Err(error) = outcome {
            let last = opened.as_ref().map(|(_, _, _, outcome)| *outcome);
            let right = match error.kind() {
                ErrorKind::NotFound => matches!(read, Some((_, None))),
                ErrorKind::Offline => !validated || last == Some(Err(ErrorCode::MappingIsOffline)),
                ErrorKind::PendingOperation | ErrorKind::Stale => {
                    validated && last == Some(Err(ErrorCode::MappingDoesNotExist)) && read.is_some()
                }
                _ => false,
            };
            check(right, || format!("refused with {error:?}: {}", about()))?;
        }
        if validated {
            if let (Some((step, _)), Some(cached)) = (read, cached) {
                check(!dead_at(&cached, step), || {
                    format!("the cache is older than the read in step {step}: {}", about())
                })?;
            }
            // Denied twice, and named by the global store in between: then it stands against the shard, and is kept.
            if let (Some((step, asked, _, Err(code))), Some(cached)) = (&opened, cached)
                && matches!(code, ErrorCode::MappingDoesNotExist | ErrorCode::ShardMapDoesNotExist)
                && asked_before.as_ref() != Some(asked)
            {
                let older = cached == *asked && dead_at(&cached, *step);
                check(!older, || format!("the cache keeps what the shard denied in step {step}: {}", about()))?;
            }
            if let (Some((step, _, _, Ok(()))), Some(cached)) = (&opened, cached) {
                check(!dead_at(&cached, *step), || {
                    format!("the cache is older than the open in step {step}: {}", about())
                })?;
            }
        }
        Ok(opened.map(|(opened, _, location, _)| Session { opened, location, map, key: key.clone(), validated }))
    }

    /// A statement on a connection of the client.
    fn judge_stated(
        &self,
        client: usize,
        session: usize,
        outcome: &shardlet::Result<String>,
        muddled: bool,
    ) -> Verdict {
        let call = self.calls.get(&client);
        let of_session = |deed: &Deed| matches!(deed, Deed::Stated(number) if *number == session);
        let stated = call.and_then(|call| call.heard.iter().rfind(|(_, deed)| of_session(deed)));
        let stated = stated.map_or(self.step, |(step, _)| *step);
        let session = self.sessions.get(&(client, session)).ok_or("a statement without a session")?;
        let ended = |surely: bool| {
            self.endings.iter().any(|it| {
                let concerned = it.ending.mappings.iter().any(|(_, keys)| match it.ending.kind {
                    ShardMapKind::List => keys.low == session.key,
                    ShardMapKind::Range => keys.contains(&session.key),
                });
                it.surely == surely
                    && (session.opened..stated).contains(&it.step)
                    && it.location == session.location
                    && it.ending.map == session.map
                    && concerned
            })
        };
        let about = || format!("key {} on {}: {outcome:?}", session.key, session.location);
        match outcome {
            Ok(place) => {
                check(place == session.location.database(), || format!("on another database: {}", about()))?;
                check(!(session.validated && ended(true)), || format!("a session that was ended: {}", about()))
            }
            Err(_) if muddled => Ok(()),
            Err(error) => {
                check(error.kind() == ErrorKind::Offline, about)?;
                let may_be_ended = !session.validated || ended(true) || ended(false);
                check(may_be_ended, || format!("a session that nobody ended: {}", about()))
            }
        }
    }
}
