//! The steps that an operation would take.

use std::fmt;

use super::Request;
use super::local::LocalChange;
use crate::lsm::{LocalStep, ShardAction};
use crate::model::{MappingId, OperationId, Place, SessionPolicy, ShardId};

/// The steps that an operation would take, in order. Each but the ending of sessions is one transaction at one place; what
/// stands between begin and end is undone in reverse order if a step fails or the client dies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    operation: &'static str,
    id: OperationId,
    steps: Vec<PlanStep>,
}

/// One step of a [`Plan`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanStep {
    place: Place,
    actions: Vec<PlanAction>,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanAction {
    /// Writes the log row and stamps the rows concerned.
    BeginOperation,
    /// Installs the local store if there is none and adds the shard's rows to it.
    AddShard(ShardId),
    /// Removes the shard's rows from its local store.
    RemoveShard(ShardId),
    /// Writes the shard's new status and version.
    UpdateShard(ShardId),
    /// Installs the local store, or what is missing of it, and replaces all that it holds of the shard.
    ReplaceShard(ShardId),
    /// Removes a mapping.
    RemoveMapping(MappingId),
    /// Adds a mapping.
    AddMapping(MappingId),
    /// Deals with the sessions of a mapping that goes offline.
    EndSessions(MappingId, SessionPolicy),
    /// Makes the new rows readable, removes the old ones, the stamps and the log row.
    EndOperation,
}

impl Plan {
    pub(super) fn of(request: &Request) -> Self {
        let global = |action| PlanStep { place: Place::Global, actions: vec![action] };
        let (source, target) = request.local_changes();
        let mut steps = vec![global(PlanAction::BeginOperation)];
        for change in std::iter::once(&source).chain(&target) {
            steps.push(PlanStep { place: Place::Shard(change.location().clone()), actions: actions(change) });
        }
        if let Some(ending) = source.ending() {
            steps.push(PlanStep {
                place: Place::Shard(source.location().clone()),
                actions: ending.mappings.iter().map(|(id, _)| PlanAction::EndSessions(*id, ending.policy)).collect(),
            });
        }
        steps.push(global(PlanAction::EndOperation));
        Self { operation: request.name, id: request.operation.id, steps }
    }

    /// A plan that takes no steps, because nothing would change.
    pub(crate) fn nothing(operation: &'static str) -> Self {
        Self { operation, id: OperationId::from(uuid::Uuid::nil()), steps: Vec::new() }
    }

    /// The operation, by the reference library's name.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// The id that the operation will have.
    #[must_use]
    pub fn id(&self) -> OperationId {
        self.id
    }

    /// The steps, in order; none if nothing would change.
    #[must_use]
    pub fn steps(&self) -> &[PlanStep] {
        &self.steps
    }
}

impl PlanStep {
    /// Where it happens.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// What happens, in one transaction.
    #[must_use]
    pub fn actions(&self) -> &[PlanAction] {
        &self.actions
    }
}

fn actions(change: &LocalChange) -> Vec<PlanAction> {
    match change {
        LocalChange::Shard(change) => {
            let id = change.shard.id();
            vec![match change.action {
                ShardAction::Add => PlanAction::AddShard(id),
                ShardAction::Remove => PlanAction::RemoveShard(id),
                ShardAction::Update => PlanAction::UpdateShard(id),
            }]
        }
        LocalChange::Content(content) => {
            let rows = content.mappings.iter().map(|mapping| PlanAction::AddMapping(mapping.id));
            std::iter::once(PlanAction::ReplaceShard(content.shard.id())).chain(rows).collect()
        }
        LocalChange::Mappings(change) => change
            .steps
            .iter()
            .map(|step| match step {
                LocalStep::Remove(mapping) => PlanAction::RemoveMapping(*mapping),
                LocalStep::Add(mapping) => PlanAction::AddMapping(mapping.id),
            })
            .collect(),
    }
}

impl fmt::Display for PlanAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BeginOperation => f.write_str("begin the operation"),
            Self::AddShard(id) => write!(f, "add shard {id}"),
            Self::RemoveShard(id) => write!(f, "remove shard {id}"),
            Self::UpdateShard(id) => write!(f, "update shard {id}"),
            Self::ReplaceShard(id) => write!(f, "replace all rows of shard {id}"),
            Self::RemoveMapping(id) => write!(f, "remove mapping {id}"),
            Self::AddMapping(id) => write!(f, "add mapping {id}"),
            Self::EndSessions(id, SessionPolicy::EndNow) => write!(f, "end the sessions of mapping {id}"),
            Self::EndSessions(id, SessionPolicy::Drain(patience)) => {
                write!(f, "wait up to {patience:?} for the sessions of mapping {id} to close, then end them")
            }
            Self::EndSessions(id, SessionPolicy::Leave) => write!(f, "leave the sessions of mapping {id} open"),
            Self::EndOperation => f.write_str("end the operation"),
        }
    }
}

impl fmt::Display for Plan {
    /// A line for the operation, then one for each step.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.operation)?;
        if self.steps.is_empty() {
            return f.write_str(": nothing to do");
        }
        for (number, step) in (1..).zip(&self.steps) {
            write!(f, "\n{number}. {}: ", step.place)?;
            for (index, action) in step.actions.iter().enumerate() {
                write!(f, "{}{action}", if index > 0 { ", " } else { "" })?;
            }
        }
        Ok(())
    }
}
