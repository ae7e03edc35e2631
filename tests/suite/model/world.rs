//! The model, and the world of one run: two managers on one store, beside the model that predicts them.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use proptest::test_runner::TestCaseError;
use shardlet::lsm::{LocalStore, Route, RouteTarget};
use shardlet::{
    BulkOptions, ErrorKind, LockToken, MappingId, MappingStatus, Result, Shard, ShardId, ShardKey, ShardLocation,
    ShardMap, Validation,
};

use super::{Ground, KEYS, Kind, Pick, SHARDS, Step, token};

/// A mapping as the model has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    low: i64,
    high: Option<i64>,
    shard: ShardId,
    number: usize,
    online: bool,
    owner: u8,
}

impl Entry {
    fn holds(&self, key: i64) -> bool {
        key >= self.low && self.high.is_none_or(|high| key < high)
    }

    fn meets(&self, low: i64, high: Option<i64>) -> bool {
        self.high.is_none_or(|end| low < end) && high.is_none_or(|end| self.low < end)
    }
}

#[derive(Default)]
pub struct Model {
    mappings: HashMap<MappingId, Entry>,
    /// The shard at each location, and whether an operation has given it a new version since it was created.
    shards: [Option<(ShardId, bool)>; SHARDS],
}

impl Model {
    fn has_shard(&self, shard: ShardId) -> bool {
        self.shards.iter().flatten().any(|(id, _)| *id == shard)
    }

    fn touch(&mut self, shard: ShardId) {
        for known in self.shards.iter_mut().flatten() {
            known.1 |= known.0 == shard;
        }
    }

    fn at(&self, key: i64) -> Option<(MappingId, &Entry)> {
        self.mappings.iter().find(|(_, entry)| entry.holds(key)).map(|(id, entry)| (*id, entry))
    }

    /// What a change through a handle is refused with, as far as all changes are alike.
    fn refusal<M: Kind>(&self, handle: &M, presented: u8) -> std::result::Result<Entry, ErrorKind> {
        if !self.has_shard(handle.record().shard.id()) {
            return Err(ErrorKind::NotFound);
        }
        self.refusal_of_mapping(handle, presented)
    }

    fn refusal_of_mapping<M: Kind>(&self, handle: &M, presented: u8) -> std::result::Result<Entry, ErrorKind> {
        match self.mappings.get(&handle.record().id) {
            None => Err(ErrorKind::Stale),
            Some(entry) if entry.owner != presented => Err(ErrorKind::Locked),
            Some(entry) => Ok(entry.clone()),
        }
    }
}

pub struct World<'e, M: Kind, E: Ground> {
    env: &'e E,
    maps: [ShardMap<M, E::Backend>; 2],
    model: Model,
    /// Every handle there ever was, oldest first.
    pub handles: Vec<M>,
    /// What the step has made stale.
    pub removed: Vec<M>,
    /// Every shard there ever was, as it was created, by its place.
    created: [Vec<Shard>; SHARDS],
}

pub type Verdict = std::result::Result<(), TestCaseError>;

fn check(holds: bool, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(TestCaseError::fail(what())) }
}

/// Both succeed, or both fail with the same kind.
fn same<T, U: Debug>(actual: &Result<T>, expected: &std::result::Result<U, ErrorKind>) -> Verdict {
    match (actual, expected) {
        (Ok(_), Ok(_)) => Ok(()),
        (Err(error), Err(kind)) => check(error.kind() == *kind, || format!("expected {kind:?}, got {error:?}")),
        (Ok(_), Err(kind)) => Err(TestCaseError::fail(format!("expected {kind:?}, and it succeeded"))),
        (Err(error), Ok(_)) => Err(TestCaseError::fail(format!("expected success, got {error:?}"))),
    }
}

impl<'e, M: Kind, E: Ground> World<'e, M, E> {
    pub fn new(env: &'e E, maps: [ShardMap<M, E::Backend>; 2]) -> Self {
        let created = std::array::from_fn(|_| Vec::new());
        Self { env, maps, model: Model::default(), handles: Vec::new(), removed: Vec::new(), created }
    }

    fn location(&self, number: usize) -> ShardLocation {
        self.env.location(number)
    }

    /// A handle that presents a token, and the number of that token.
    fn handle(&self, pick: &Pick) -> Option<(M, u8)> {
        let chosen: Vec<_> = self
            .handles
            .iter()
            .filter(|handle| !pick.current || self.model.mappings.contains_key(&handle.record().id))
            .collect();
        let handle = *chosen.get(pick.number % chosen.len().max(1))?;
        Some(self.presenting(handle, pick.token))
    }

    fn presenting(&self, handle: &M, wanted: Option<u8>) -> (M, u8) {
        let owner = self.model.mappings.get(&handle.record().id).map_or(0, |entry| entry.owner);
        let number = wanted.unwrap_or(owner);
        (handle.clone().with_token(token(number)), number)
    }

    /// The mapping that begins where another one ends.
    fn neighbour(&self, left: &M) -> Option<(M, u8)> {
        let is_next =
            |it: &&M| self.model.mappings.contains_key(&it.record().id) && left.bounds().1 == Some(it.bounds().0);
        self.handles.iter().find(is_next).map(|next| self.presenting(next, None))
    }

    fn forget(&mut self, handle: &M) {
        let _ = self.model.mappings.remove(&handle.record().id);
        self.removed.push(handle.clone());
    }

    /// The newest shard there was at a place; it may be deleted.
    fn shard(&self, number: usize) -> Option<Shard> {
        self.created[number].last().cloned()
    }

    fn learn(&mut self, handle: M, entry: Entry) {
        let _ = self.model.mappings.insert(handle.record().id, entry);
        self.handles.push(handle);
    }

    pub async fn take(&mut self, actor: usize, step: &Step) -> Verdict {
        let map = self.maps[actor].clone();
        match step {
            Step::CreateShard(number) => {
                let expected =
                    if self.model.shards[*number].is_some() { Err(ErrorKind::AlreadyExists) } else { Ok(()) };
                let actual = map.create_shard(&self.location(*number)).await;
                same(&actual, &expected)?;
                if let Ok(shard) = actual {
                    self.model.shards[*number] = Some((shard.id(), false));
                    self.created[*number].push(shard);
                }
            }
            Step::DeleteShard(number) => {
                let found = map.find_shard(&self.location(*number)).await;
                let found = found.map_err(|error| TestCaseError::fail(format!("{error:?}")))?;
                let known = self.model.shards[*number].map(|(id, _)| id);
                check(found.as_ref().map(Shard::id) == known, || format!("shard {number}: {found:?}, not {known:?}"))?;
                if let Some(shard) = found {
                    self.delete_shard(&map, *number, shard, true).await?;
                }
            }
            Step::DeleteShardAsCreated(number) => {
                if let Some(shard) = self.shard(*number) {
                    self.delete_shard(&map, *number, shard, false).await?;
                }
            }
            Step::Create { low, high, shard, online } => {
                let Some(shard_value) = self.shard(*shard) else { return Ok(()) };
                let (low, high) = M::covered(*low, *high);
                let expected = if high.is_some_and(|high| high <= low) {
                    Err(ErrorKind::InvalidInput)
                } else if !self.model.has_shard(shard_value.id()) {
                    Err(ErrorKind::NotFound)
                } else if self.model.mappings.values().any(|entry| entry.meets(low, high)) {
                    Err(M::TAKEN)
                } else {
                    Ok(())
                };
                let status = if *online { MappingStatus::Online } else { MappingStatus::Offline };
                let actual = M::create(&map, low, high, &shard_value, status).await;
                same(&actual, &expected)?;
                if let Ok(mapping) = actual {
                    let (id, number, online) = (shard_value.id(), *shard, *online);
                    self.model.touch(id);
                    self.learn(mapping, Entry { low, high, shard: id, number, online, owner: 0 });
                }
            }
            Step::CreateMany { low, length, count, shard, online, beside } => {
                let Some(on) = self.shard(*shard) else { return Ok(()) };
                let at = |number: i64| low + number * length;
                let wanted: Vec<_> = (0..*count).map(|number| M::covered(at(number), Some(at(number + 1)))).collect();
                let status = if *online { MappingStatus::Online } else { MappingStatus::Offline };
                let bounds = wanted.iter().map(|bounds| (*bounds, &on));
                let mut creation = M::create_many(&map, bounds, &BulkOptions::default().status(status)).unwrap();
                let mut together = false;
                if let Some((beside, _)) = self.handle(beside) {
                    let entry = self.model.mappings.get(&beside.record().id);
                    together = entry.is_some_and(|entry| entry.shard == on.id());
                    creation = creation.beside(&beside);
                }
                let made = if together { &wanted[..] } else { &wanted[..1] };
                let taken = |(low, high)| self.model.mappings.values().any(|entry| entry.meets(low, high));
                let expected = if !self.model.has_shard(on.id()) {
                    Err(ErrorKind::NotFound)
                } else if made.iter().copied().any(taken) {
                    Err(M::TAKEN)
                } else {
                    Ok(())
                };
                let actual = creation.next_batch().unwrap().await;
                same(&actual, &expected)?;
                let created = actual.as_ref().map_or(0, Vec::len);
                check(creation.progress().created() == created, || format!("{created}: {creation:?}"))?;
                if let Ok(mappings) = actual {
                    let bounds: Vec<_> = mappings.iter().map(Kind::bounds).collect();
                    check(bounds == made, || format!("{bounds:?} were created, not {made:?}"))?;
                    let (id, number, online) = (on.id(), *shard, *online);
                    self.model.touch(id);
                    for (mapping, (low, high)) in mappings.into_iter().zip(made.to_vec()) {
                        self.learn(mapping, Entry { low, high, shard: id, number, online, owner: 0 });
                    }
                }
            }
            Step::Delete(pick) => {
                let Some((handle, presented)) = self.handle(pick) else { return Ok(()) };
                let expected = self.model.refusal(&handle, presented);
                let expected = expected.and_then(|it| if it.online { Err(ErrorKind::NotOffline) } else { Ok(it) });
                same(&map.delete_mapping(handle.clone()).await, &expected)?;
                if let Ok(entry) = expected {
                    self.model.touch(entry.shard);
                    self.forget(&handle);
                }
            }
            Step::Offline(pick) => {
                let Some((handle, presented)) = self.handle(pick) else { return Ok(()) };
                let expected = self.model.refusal(&handle, presented).map(|it| Entry { online: false, ..it });
                let actual = map.mark_mapping_offline(handle.clone()).await;
                self.replace(&handle, actual, expected)?;
            }
            Step::Online(pick) => {
                let Some((handle, presented)) = self.handle(pick) else { return Ok(()) };
                let expected = self.model.refusal(&handle, presented).map(|it| Entry { online: true, ..it });
                let actual = map.mark_mapping_online(handle.clone()).await;
                self.replace(&handle, actual, expected)?;
            }
            Step::Move(pick, number) => {
                let (Some((handle, presented)), Some(target)) = (self.handle(pick), self.shard(*number)) else {
                    return Ok(());
                };
                let expected = if self.model.has_shard(handle.record().shard.id()) && !self.model.has_shard(target.id())
                {
                    Err(ErrorKind::NotFound)
                } else {
                    self.model.refusal(&handle, presented)
                };
                let expected = expected.and_then(|it| {
                    let stays_online = it.online && handle.record().status == MappingStatus::Online;
                    if stays_online && it.shard != target.id() {
                        return Err(ErrorKind::NotOffline);
                    }
                    Ok(Entry { shard: target.id(), number: *number, ..it })
                });
                let actual = map.move_mapping(handle.clone(), &target).await;
                self.replace(&handle, actual, expected)?;
            }
            Step::Split(pick, at) => {
                let Some((handle, presented)) = self.handle(pick) else { return Ok(()) };
                let (low, high) = handle.bounds();
                let at = low + at;
                let expected = if at <= low || high.is_some_and(|high| at >= high) {
                    Err(ErrorKind::InvalidInput)
                } else {
                    self.model.refusal(&handle, presented)
                };
                let Some(split) = M::split(&map, handle.clone(), at) else { return Ok(()) };
                let actual = split.await;
                same(&actual, &expected)?;
                if let (Ok((left, right)), Ok(entry)) = (actual, expected) {
                    self.model.touch(entry.shard);
                    self.forget(&handle);
                    self.learn(left, Entry { high: Some(at), ..entry.clone() });
                    self.learn(right, Entry { low: at, ..entry });
                }
            }
            Step::Merge(left, right) => {
                let Some((a, first)) = self.handle(left) else { return Ok(()) };
                let b = right.as_ref().map_or_else(|| self.neighbour(&a), |right| self.handle(right));
                let Some((b, second)) = b else { return Ok(()) };
                let fit = a.record().shard.id() == b.record().shard.id()
                    && a.bounds().1 == Some(b.bounds().0)
                    && a.record().status == b.record().status;
                let expected = if fit {
                    self.model
                        .refusal(&a, first)
                        .and_then(|low| self.model.refusal_of_mapping(&b, second).map(|high| (low, high)))
                } else {
                    Err(ErrorKind::InvalidInput)
                };
                let Some(merge) = M::merge(&map, a.clone(), b.clone()) else { return Ok(()) };
                let actual = merge.await;
                same(&actual, &expected)?;
                if let (Ok(merged), Ok((low, high))) = (actual, expected) {
                    self.model.touch(low.shard);
                    self.forget(&a);
                    self.forget(&b);
                    self.learn(merged, Entry { high: high.high, ..low });
                }
            }
            Step::Lock(pick, owner) => {
                let Some((handle, _)) = self.handle(pick) else { return Ok(()) };
                let expected = match self.model.mappings.get_mut(&handle.record().id) {
                    None => Err(ErrorKind::Stale),
                    Some(entry) if entry.owner != 0 => Err(ErrorKind::Locked),
                    Some(entry) => {
                        entry.owner = *owner;
                        Ok(())
                    }
                };
                same(&map.lock_mapping(handle, token(*owner)).await, &expected)?;
            }
            Step::Unlock(pick, owner) => {
                let Some((handle, _)) = self.handle(pick) else { return Ok(()) };
                let expected = match self.model.mappings.get_mut(&handle.record().id) {
                    None => Err(ErrorKind::Stale),
                    Some(entry) if *owner != 3 && entry.owner != *owner => Err(ErrorKind::Locked),
                    Some(entry) => {
                        entry.owner = 0;
                        Ok(())
                    }
                };
                same(&map.unlock_mapping(handle, token(*owner)).await, &expected)?;
            }
            Step::UnlockAll(owner) => {
                let owned = self.model.mappings.values_mut().filter(|entry| entry.owner == *owner);
                let owned = owned.map(|entry| entry.owner = 0).count();
                let unlocked = map.unlock_mappings(token(*owner)).await;
                check(unlocked.as_ref().ok() == Some(&owned), || {
                    format!("expected {owned} unlocked, got {unlocked:?}")
                })?;
            }
            Step::Lookup(key) => {
                // It may be as old as the cache, but not about another key.
                match map.lookup_mapping(key).await {
                    Ok(found) => check(holds(&found, *key), || format!("{found:?} for key {key}"))?,
                    Err(error) => {
                        check(error.kind() == ErrorKind::NotFound, || format!("{error:?}"))?;
                        check(self.model.at(*key).is_none(), || format!("key {key} was not found"))?;
                    }
                }
            }
            Step::LookupNow(key) => {
                let found = map.find_mapping_for_key(key).await;
                let found = found.map_err(|error| TestCaseError::fail(format!("{error:?}")))?;
                let (found, expected) = (found.map(|it| it.record().id), self.model.at(*key).map(|(id, _)| id));
                check(found == expected, || format!("key {key}: {found:?}, not {expected:?}"))?;
                let cached = map.cached_mapping(key).map(|it| it.record().id);
                check(cached == expected, || format!("key {key}: cached {cached:?}, not {expected:?}"))?;
            }
            Step::Open(key) => {
                let expected = match self.model.at(*key) {
                    None => Err(ErrorKind::NotFound),
                    Some((_, entry)) if !entry.online => Err(ErrorKind::Offline),
                    Some((_, entry)) => Ok(self.location(entry.number)),
                };
                let opened = map.open_connection_for_key(key, &self.env.credentials(), Validation::Validate).await;
                same(&opened, &expected)?;
                let place = opened.map(|open| E::place(&open)).ok();
                check(place == expected.clone().ok(), || format!("key {key}: {place:?}, not {expected:?}"))?;
            }
            Step::OpenUnvalidated(key) => {
                let cached = map.cached_mapping(key);
                let opened = map.open_connection_for_key(key, &self.env.credentials(), Validation::None).await;
                match (opened, cached) {
                    (Ok(open), Some(cached)) if cached.record().status == MappingStatus::Online => {
                        check(E::place(&open) == *cached.record().shard.location(), || format!("key {key}: {open:?}"))?;
                    }
                    (opened, _) => {
                        // Not in the cache, or offline there: the global store was asked.
                        let expected = match self.model.at(*key) {
                            None => Err(ErrorKind::NotFound),
                            Some((_, entry)) if !entry.online => Err(ErrorKind::Offline),
                            Some(_) => Ok(()),
                        };
                        same(&opened, &expected)?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn delete_shard(
        &mut self,
        map: &ShardMap<M, E::Backend>,
        number: usize,
        shard: Shard,
        fresh: bool,
    ) -> Verdict {
        let expected = match self.model.shards[number] {
            Some((id, touched)) if id == shard.id() => {
                if touched && !fresh {
                    Err(ErrorKind::Stale)
                } else if self.model.mappings.values().any(|entry| entry.shard == id) {
                    Err(ErrorKind::InUse)
                } else {
                    Ok(())
                }
            }
            _ => Err(ErrorKind::NotFound),
        };
        same(&map.delete_shard(shard).await, &expected)?;
        if expected.is_ok() {
            self.model.shards[number] = None;
        }
        Ok(())
    }

    /// After an operation that makes one mapping of one.
    fn replace(&mut self, old: &M, actual: Result<M>, expected: std::result::Result<Entry, ErrorKind>) -> Verdict {
        same(&actual, &expected)?;
        if let (Ok(new), Ok(entry)) = (actual, expected) {
            self.model.touch(old.record().shard.id());
            self.model.touch(entry.shard);
            self.forget(old);
            self.learn(new, entry);
        }
        Ok(())
    }

    /// Global store, local stores and caches against the model.
    pub async fn agree(&self) -> Verdict {
        let failed = |error: shardlet::Error| TestCaseError::fail(format!("{error:?}"));
        let map = &self.maps[0];
        let mut global = HashMap::new();
        for mapping in map.mappings().await.map_err(failed)? {
            let owner = map.mapping_lock_owner(&mapping).await.map_err(failed)?;
            let owner = (0..3).find(|number| token(*number) == owner);
            let Some((entry, owner)) = self.entry_of(&mapping).zip(owner) else {
                return Err(TestCaseError::fail(format!("the global store has {mapping}")));
            };
            let _ = global.insert(mapping.record().id, Entry { owner, ..entry });
        }
        check(global == self.model.mappings, || format!("global {global:?}\n model {:?}", self.model.mappings))?;

        for number in 0..SHARDS {
            let known = self.model.shards[number].map(|(id, _)| id);
            let local = match self.env.backend().local_mappings(&self.location(number), map.id()).await {
                Ok(records) => records,
                Err(error) => {
                    let kind = error.kind();
                    let absent = matches!(kind, ErrorKind::NotFound | ErrorKind::Unavailable);
                    check(absent && known.is_none(), || format!("shard {number}: {error:?}"))?;
                    continue;
                }
            };
            let local: HashMap<_, _> = local
                .into_iter()
                .map(|record| M::from_record(Arc::new(record), LockToken::NONE))
                .map(|mapping| (mapping.record().id, self.entry_of(&mapping)))
                .collect();
            let model = self.model.mappings.iter().filter(|(_, entry)| Some(entry.shard) == known);
            let model: HashMap<_, _> =
                model.map(|(id, entry)| (*id, Some(Entry { owner: 0, ..entry.clone() }))).collect();
            check(local == model, || format!("shard {number}: local {local:?}\n model {model:?}"))?;
        }

        for (client, map) in self.maps.iter().enumerate() {
            for key in 0..KEYS {
                let Some(cached) = map.cached_mapping(&key) else { continue };
                check(holds(&cached, key), || format!("client {client} has {cached:?} for key {key}"))?;
                match self.model.mappings.get(&cached.record().id) {
                    Some(entry) => {
                        let same = self.entry_of(&cached) == Some(Entry { owner: 0, ..entry.clone() });
                        check(same, || format!("client {client}, key {key}: {cached}, not {entry:?}"))?;
                    }
                    None => {
                        let key = key.encode().map_err(failed)?;
                        let target = RouteTarget::Mapping { mapping: cached.record().id, kind: M::KIND, key };
                        let route = Route { location: cached.record().shard.location().clone(), map: map.id(), target };
                        let opened =
                            self.env.backend().open_routed(&route, &self.env.credentials(), Validation::Validate).await;
                        check(opened.is_err(), || format!("client {client}: the stale {cached} was opened"))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// A mapping as the model has it, without the owner of its lock; `None` if its shard is at no place of the test.
    fn entry_of(&self, mapping: &M) -> Option<Entry> {
        let (low, high) = mapping.bounds();
        let number = (0..SHARDS).find(|number| self.location(*number) == *mapping.record().shard.location())?;
        let online = mapping.record().status == MappingStatus::Online;
        Some(Entry { low, high, shard: mapping.record().shard.id(), number, online, owner: 0 })
    }

    /// After a change of its own, what a client has in its cache is the truth for the keys of that change.
    pub fn own_changes_are_cached(&self, actor: usize, before: usize) -> Verdict {
        let keys = |handle: &M| handle.bounds().0..handle.bounds().1.unwrap_or(KEYS).min(KEYS);
        for handle in &self.removed {
            for key in keys(handle) {
                let cached = self.maps[actor].cached_mapping(&key).map(|it| it.record().id);
                check(cached != Some(handle.record().id), || format!("key {key}: the stale {handle} is still cached"))?;
            }
        }
        for handle in &self.handles[before..] {
            for key in keys(handle) {
                let cached = self.maps[actor].cached_mapping(&key).map(|it| it.record().id);
                check(cached == Some(handle.record().id), || format!("key {key}: {cached:?}, not {handle:?}"))?;
            }
        }
        Ok(())
    }
}

fn holds<M: Kind>(mapping: &M, key: i64) -> bool {
    let (low, high) = mapping.bounds();
    key >= low && high.is_none_or(|high| key < high)
}
