//! What an operation asks of the shards' own stores, forwards and backwards.
//!
//! Invariant: both follow from the request in the log row and the shard versions noted beside it, so that what one client
//! began another can undo.

use crate::gsm::{GlobalOperation, MappingStep, OperationCode, OperationSteps, ShardMending, ShardStep};
use crate::lsm::{
    LocalContent, LocalMappingChange, LocalSession, LocalShardChange, LocalStep, SessionEnding, ShardAction,
};
use crate::model::{MappingRecord, MappingStatus, SessionPolicy, Shard, ShardLocation, ShardVersion};

/// A request to the store of one shard.
#[derive(Clone, Debug)]
pub(super) enum LocalChange {
    /// To its own rows.
    Shard(LocalShardChange),
    /// To its mappings.
    Mappings(LocalMappingChange),
    /// To all that it holds of the map.
    Content(LocalContent),
}

impl LocalChange {
    /// The shard.
    pub(super) fn shard(&self) -> &Shard {
        match self {
            Self::Shard(change) => &change.shard,
            Self::Mappings(change) => &change.shard,
            Self::Content(content) => &content.shard,
        }
    }

    /// The versions of the shard that an undo knows.
    pub(super) fn known(&self) -> Option<[ShardVersion; 2]> {
        match self {
            Self::Shard(change) => change.known,
            Self::Mappings(change) => change.known,
            Self::Content(_) => None,
        }
    }

    /// The shard's place.
    pub(super) fn location(&self) -> &ShardLocation {
        self.shard().location()
    }

    /// The same at another place.
    pub(super) fn at(mut self, place: &ShardLocation) -> Self {
        let shard = match &mut self {
            Self::Shard(change) => &mut change.shard,
            Self::Mappings(change) => &mut change.shard,
            Self::Content(content) => &mut content.shard,
        };
        shard.location = place.clone();
        self
    }

    /// Whose sessions end with it.
    pub(super) fn ending(&self) -> Option<&SessionEnding> {
        match self {
            Self::Shard(_) => None,
            Self::Mappings(change) => change.ending.as_ref(),
            Self::Content(content) => content.ending.as_ref(),
        }
    }

    /// Sends it.
    pub(super) async fn apply<S: LocalSession>(&self, session: &mut S) -> crate::Result<()> {
        match self {
            Self::Shard(change) => session.change_shard(change).await,
            Self::Mappings(change) => session.change_mappings(change).await,
            Self::Content(content) => session.replace(content).await,
        }
    }
}

/// Towards the new state: the source, and the target if mappings go to another shard.
pub(super) fn forward(operation: &GlobalOperation, policy: SessionPolicy) -> (LocalChange, Option<LocalChange>) {
    match &operation.steps {
        OperationSteps::Shard(step) => {
            let (shard, action) = match step {
                ShardStep::Remove(shard) => (shard, ShardAction::Remove),
                ShardStep::Add(shard) if operation.code == OperationCode::AttachShard => (shard, ShardAction::Update),
                ShardStep::Add(shard) => (shard, ShardAction::Add),
                ShardStep::Update(_, shard) => (shard, ShardAction::Update),
                ShardStep::Mend(mending) => (&mending.after, ShardAction::Update),
            };
            (shard_change(operation, shard, action, None), None)
        }
        OperationSteps::Mappings { removes, adds, steps, .. } => {
            let ends = operation.code.takes_offline() || stays_offline(removes, adds, steps);
            let ending = ends.then(|| ending(operation, steps, policy)).flatten();
            let (removing, adding) = split(steps, |step| match step {
                MappingStep::Remove { mapping, .. } => (vec![remove(mapping)], vec![]),
                MappingStep::Update { old, new, .. } => (vec![remove(old)], vec![add(new)]),
                MappingStep::Add { mapping, .. } => (vec![], vec![add(mapping)]),
                MappingStep::Keep { .. } => (vec![], vec![]),
            });
            let change = |shard: &Shard, steps, ending| mapping_change(operation, shard.clone(), steps, None, ending);
            if removes.id() == adds.id() {
                (change(adds, [removing, adding].concat(), ending), None)
            } else {
                (change(removes, removing, ending), Some(change(adds, adding, None)))
            }
        }
    }
}

/// Back to the old state. An attached shard has nothing to undo in its own store.
pub(super) fn backward(
    operation: &GlobalOperation,
    version_removes: Option<ShardVersion>,
    version_adds: Option<ShardVersion>,
) -> (Option<LocalChange>, Option<LocalChange>) {
    match &operation.steps {
        OperationSteps::Shard(step) => {
            let (shard, action, known) = match step {
                ShardStep::Add(_) if operation.code == OperationCode::AttachShard => return (None, None),
                ShardStep::Add(shard) => (shard, ShardAction::Remove, Some([shard.version(); 2])),
                ShardStep::Remove(shard) => (shard, ShardAction::Add, None),
                ShardStep::Update(shard, new) => (shard, ShardAction::Update, Some([shard.version(), new.version()])),
                ShardStep::Mend(mending) => {
                    let ShardMending { before, after, .. } = &**mending;
                    (before, ShardAction::Update, Some([before.version(), after.version()]))
                }
            };
            (Some(shard_change(operation, shard, action, Some(Undo { known }))), None)
        }
        OperationSteps::Mappings { removes, adds, steps, .. } => {
            let (restoring, removing) = split(steps, |step| match step {
                MappingStep::Remove { mapping, .. } => (vec![add(mapping)], vec![]),
                MappingStep::Update { old, new, .. } => (vec![add(old)], vec![remove(new)]),
                MappingStep::Add { mapping, .. } => (vec![], vec![remove(mapping)]),
                MappingStep::Keep { .. } => (vec![], vec![]),
            });
            // A version that was not noted must not be that of the operation, or its undo would seem done already.
            let at = |shard: &Shard, version: Option<ShardVersion>| {
                shard.at_version(version.unwrap_or_else(ShardVersion::random))
            };
            let change = |shard: &Shard, before: Option<ShardVersion>, steps| {
                let known = before.map(|before| [before, shard.version()]);
                mapping_change(operation, at(shard, before), steps, Some(Undo { known }), None)
            };
            if removes.id() == adds.id() {
                // What was added goes first: it may have the low bound of what is put back.
                (Some(change(adds, version_adds, [removing, restoring].concat())), None)
            } else {
                (Some(change(removes, version_removes, restoring)), Some(change(adds, version_adds, removing)))
            }
        }
    }
}

fn remove(mapping: &MappingRecord) -> LocalStep {
    LocalStep::Remove(mapping.id)
}

fn add(mapping: &MappingRecord) -> LocalStep {
    LocalStep::Add(mapping.clone())
}

/// The parts of all steps, gathered by side.
fn split(
    steps: &[MappingStep],
    sides: impl Fn(&MappingStep) -> (Vec<LocalStep>, Vec<LocalStep>),
) -> (Vec<LocalStep>, Vec<LocalStep>) {
    let (left, right): (Vec<_>, Vec<_>) = steps.iter().map(sides).unzip();
    (left.concat(), right.concat())
}

/// An undo, with the versions of the shard before the operation and after it.
struct Undo {
    known: Option<[ShardVersion; 2]>,
}

fn shard_change(operation: &GlobalOperation, shard: &Shard, action: ShardAction, undo: Option<Undo>) -> LocalChange {
    LocalChange::Shard(LocalShardChange {
        operation: operation.id,
        map: operation.map.clone(),
        shard: shard.clone(),
        action,
        undoing: undo.is_some(),
        known: undo.and_then(|undo| undo.known),
    })
}

fn mapping_change(
    operation: &GlobalOperation,
    shard: Shard,
    steps: Vec<LocalStep>,
    undo: Option<Undo>,
    ending: Option<SessionEnding>,
) -> LocalChange {
    LocalChange::Mappings(LocalMappingChange {
        operation: operation.id,
        map: operation.map.id(),
        shard,
        steps,
        undoing: undo.is_some(),
        known: undo.and_then(|undo| undo.known),
        ending,
    })
}

/// True if a mapping that is offline is marked offline again: for the sessions that were left when it went.
fn stays_offline(removes: &Shard, adds: &Shard, steps: &[MappingStep]) -> bool {
    let offline = |mapping: &MappingRecord| mapping.status == MappingStatus::Offline;
    removes.id() == adds.id()
        && steps.iter().any(|step| matches!(step, MappingStep::Update { old, new, .. } if offline(old) && offline(new)))
}

/// The mapping that an operation takes offline.
fn ending(operation: &GlobalOperation, steps: &[MappingStep], policy: SessionPolicy) -> Option<SessionEnding> {
    steps.iter().find_map(|step| match step {
        MappingStep::Update { old, .. } => Some(SessionEnding {
            map: operation.map.id(),
            kind: operation.map.kind(),
            mappings: vec![(old.id, old.range())],
            policy,
        }),
        MappingStep::Remove { .. } | MappingStep::Add { .. } | MappingStep::Keep { .. } => None,
    })
}
