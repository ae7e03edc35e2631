//! What stores hold, and what operations make of it.

use std::collections::BTreeMap;

use shardlet::gsm::{GlobalOperation, GlobalStore, LockChange, MappingStep, OperationSteps, ShardStep};
use shardlet::lsm::LocalStore;
use shardlet::model::MappingRecord;
use shardlet::{
    EncodedKey, LockToken, MappingId, MappingStatus, Shard, ShardId, ShardLocation, ShardMapId, ShardMapKind,
    ShardStatus, ShardVersion, Sqlite,
};

/// A shard as a store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub location: ShardLocation,
    pub version: ShardVersion,
    pub status: ShardStatus,
}

/// A mapping as a store has it. Local stores know of no locks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    pub low: EncodedKey,
    pub high: Option<EncodedKey>,
    pub status: MappingStatus,
    pub shard: ShardId,
    pub owner: LockToken,
}

impl Mapped {
    fn of(record: &MappingRecord) -> Self {
        Self {
            low: record.low.clone(),
            high: record.high.clone(),
            status: record.status,
            shard: record.shard.id(),
            owner: record.lock_owner,
        }
    }
}

/// All that a store says to readers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    pub kinds: BTreeMap<ShardMapId, ShardMapKind>,
    pub shards: BTreeMap<(ShardMapId, ShardId), Placed>,
    pub mappings: BTreeMap<(ShardMapId, MappingId), Mapped>,
}

/// A shard with its mappings, as far as global and local stores know the same.
pub type Part = Option<(Placed, BTreeMap<MappingId, Mapped>)>;

fn placed(shard: &Shard) -> Placed {
    Placed { location: shard.location().clone(), version: shard.version(), status: shard.status() }
}

impl Picture {
    pub async fn of_global(store: &Sqlite) -> shardlet::Result<Self> {
        let mut picture = Self::default();
        for (map, mappings) in store.load_all().await? {
            let _ = picture.kinds.insert(map.id(), map.kind());
            for shard in store.shards(map.id()).await? {
                let _ = picture.shards.insert((map.id(), shard.id()), placed(&shard));
            }
            for record in mappings {
                let _ = picture.mappings.insert((map.id(), record.id), Mapped::of(&record));
            }
        }
        Ok(picture)
    }

    /// Empty where there is no store yet.
    pub async fn of_local(store: &Sqlite, location: &ShardLocation) -> shardlet::Result<Self> {
        let mut picture = Self::default();
        for (map, shard) in store.local_shards(location).await? {
            let _ = picture.kinds.insert(map.id(), map.kind());
            let _ = picture.shards.insert((map.id(), shard.id()), placed(&shard));
        }
        for map in picture.kinds.keys().copied().collect::<Vec<_>>() {
            for record in store.local_mappings(location, map).await? {
                let _ = picture.mappings.insert((map, record.id), Mapped::of(&record));
            }
        }
        Ok(picture)
    }

    /// What the picture says of one shard.
    pub fn part(&self, map: ShardMapId, shard: ShardId) -> Part {
        let placed = self.shards.get(&(map, shard))?.clone();
        let mappings = self.mappings.iter().filter(|((of, _), mapped)| *of == map && mapped.shard == shard);
        let mappings = mappings.map(|((_, id), mapped)| (*id, Mapped { owner: LockToken::NONE, ..mapped.clone() }));
        Some((placed, mappings.collect()))
    }

    /// The mapping that holds a key.
    pub fn at(&self, map: ShardMapId, key: &EncodedKey) -> Option<(MappingId, &Mapped)> {
        let kind = self.kinds.get(&map)?;
        self.mappings
            .iter()
            .find(|((of, _), mapped)| *of == map && holds(*kind, mapped, key))
            .map(|((_, id), mapped)| (*id, mapped))
    }

    /// Does what an operation does to what readers see.
    pub fn apply(&mut self, operation: &GlobalOperation) {
        let map = operation.map.id();
        match &operation.steps {
            OperationSteps::Shard(step) => match step {
                ShardStep::Remove(shard) => {
                    let _ = self.shards.remove(&(map, shard.id()));
                }
                ShardStep::Update(_, shard) | ShardStep::Add(shard) => {
                    let _ = self.shards.insert((map, shard.id()), placed(shard));
                }
                _ => panic!("a step that is new"),
            },
            OperationSteps::Mappings { removes, adds, steps, .. } => {
                for step in steps {
                    match step {
                        MappingStep::Remove { mapping, .. } => {
                            let _ = self.mappings.remove(&(map, mapping.id));
                        }
                        MappingStep::Update { old, new, .. } => {
                            if let Some(mapped) = self.mappings.remove(&(map, old.id)) {
                                let mapped = Mapped { status: new.status, shard: adds.id(), ..mapped };
                                let _ = self.mappings.insert((map, new.id), mapped);
                            }
                        }
                        MappingStep::Add { mapping, .. } => {
                            let mapped = Mapped { shard: adds.id(), ..Mapped::of(mapping) };
                            let _ = self.mappings.insert((map, mapping.id), mapped);
                        }
                        MappingStep::Keep { .. } => {}
                        _ => panic!("a step that is new"),
                    }
                }
                for shard in [removes, adds] {
                    if let Some(placed) = self.shards.get_mut(&(map, shard.id())) {
                        placed.version = shard.version();
                    }
                }
            }
            _ => panic!("steps that are new"),
        }
    }

    /// Does what a change of locks does.
    pub fn change_locks(&mut self, map: ShardMapId, change: LockChange) {
        for ((of, id), mapped) in &mut self.mappings {
            match change {
                LockChange::Lock(mapping, token) if (*of, *id) == (map, mapping) => mapped.owner = token,
                LockChange::Unlock(mapping, _) if (*of, *id) == (map, mapping) => mapped.owner = LockToken::NONE,
                LockChange::UnlockAll(token) if *of == map && mapped.owner == token => mapped.owner = LockToken::NONE,
                _ => {}
            }
        }
    }
}

fn holds(kind: ShardMapKind, mapped: &Mapped, key: &EncodedKey) -> bool {
    match kind {
        ShardMapKind::List => mapped.low == *key,
        ShardMapKind::Range => mapped.low <= *key && mapped.high.as_ref().is_none_or(|high| key < high),
    }
}

/// The shards that an operation stamps.
pub fn shards_of(operation: &GlobalOperation) -> Vec<ShardId> {
    match &operation.steps {
        OperationSteps::Shard(step) => vec![step.shard().id()],
        OperationSteps::Mappings { removes, adds, .. } => vec![removes.id(), adds.id()],
        _ => panic!("steps that are new"),
    }
}

/// Two mappings that share keys, if there are any.
pub fn overlap<'p>(
    kinds: &BTreeMap<ShardMapId, ShardMapKind>,
    mappings: impl IntoIterator<Item = (&'p (ShardMapId, MappingId), &'p Mapped)>,
) -> Option<String> {
    let mut mappings: Vec<_> = mappings.into_iter().collect();
    mappings.sort_by(|a, b| (a.0.0, &a.1.low).cmp(&(b.0.0, &b.1.low)));
    let shares = |(a, left): &(&(ShardMapId, _), &Mapped), (b, right): &(&(ShardMapId, _), &Mapped)| {
        a.0 == b.0 && kinds.get(&a.0).is_none_or(|kind| holds(*kind, left, &right.low))
    };
    let pair = mappings.windows(2).find(|pair| shares(&pair[0], &pair[1]))?;
    Some(format!("{:?} and {:?}", pair[0], pair[1]))
}
