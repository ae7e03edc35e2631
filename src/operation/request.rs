//! The request of an operation: what it changes, ready to be done.

use std::sync::Arc;

use super::local::{self, LocalChange};
use super::plan::Plan;
use crate::error::{Error, ErrorCategory};
use crate::gsm::{GlobalOperation, MappingStep, OperationCode, OperationSteps, ShardStep};
use crate::lsm::LocalContent;
use crate::model::{
    MappingRecord, OperationId, SessionPolicy, SessionsEnded, Shard, ShardMapInfo, ShardMapKind, ShardVersion,
};

/// An operation that has not been done yet.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) operation: GlobalOperation,
    /// The public call, by the reference library's name for it.
    pub(crate) name: &'static str,
    /// What becomes of sessions, where a mapping goes offline.
    pub(crate) policy: SessionPolicy,
    /// What the shard's own store is to hold of the map, for a mending that replaces it.
    pub(super) content: Option<LocalContent>,
}

/// What an operation changed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changed {
    /// Mappings that are not the truth any more.
    pub(crate) removed: Vec<Arc<MappingRecord>>,
    /// Mappings that are the truth now, in the order of the request.
    pub(crate) added: Vec<Arc<MappingRecord>>,
    /// The shard after an operation on a shard.
    pub(crate) shard: Option<Shard>,
    /// What became of sessions.
    pub(crate) ended: SessionsEnded,
}

impl Request {
    /// An operation on a shard.
    pub(super) fn on_shard(code: OperationCode, map: &ShardMapInfo, step: ShardStep) -> Self {
        Self::new(code, map, OperationSteps::Shard(step), SessionPolicy::Leave)
    }

    /// An operation on mappings of one or two shards, both given at their versions before it.
    pub(super) fn on_mappings(
        code: OperationCode,
        map: &ShardMapInfo,
        (removes, adds): (&Shard, &Shard),
        steps: impl FnOnce(&Arc<Shard>) -> Vec<MappingStep>,
        sessions: Option<SessionPolicy>,
    ) -> Self {
        let removed_from = removes.at_version(ShardVersion::random());
        let added_to = if removes.id() == adds.id() {
            Arc::new(removed_from.clone())
        } else {
            Arc::new(adds.at_version(ShardVersion::random()))
        };
        let steps = OperationSteps::Mappings {
            removes: removed_from,
            steps: steps(&added_to),
            adds: Shard::clone(&added_to),
            ends_sessions: sessions.map(|policy| policy != SessionPolicy::Leave),
        };
        Self::new(code, map, steps, sessions.unwrap_or(SessionPolicy::Leave))
    }

    fn new(code: OperationCode, map: &ShardMapInfo, steps: OperationSteps, policy: SessionPolicy) -> Self {
        let operation = GlobalOperation { id: OperationId::random(), code, map: map.clone(), steps };
        Self { operation, name: code.name(), policy, content: None }
    }

    /// What each shard is asked to do: the source, and the target if there is a second shard.
    pub(super) fn local_changes(&self) -> (LocalChange, Option<LocalChange>) {
        match &self.content {
            Some(content) => (LocalChange::Content(content.clone()), None),
            None => local::forward(&self.operation, self.policy),
        }
    }

    /// The steps, in order.
    pub(crate) fn plan(&self) -> Plan {
        Plan::of(self)
    }

    /// Adds what is known about the operation to an error.
    pub(crate) fn blame(&self, error: Error) -> Error {
        let operation = &self.operation;
        error
            .with_operation(self.name)
            .with_map(operation.map.shared_name(), operation.map.key_type())
            .or_category(category_of(operation))
    }

    /// What the operation has changed once it is done.
    pub(crate) fn changed(&self, ended: SessionsEnded) -> Changed {
        let mut changed = Changed { ended, ..Changed::default() };
        match &self.operation.steps {
            OperationSteps::Shard(ShardStep::Add(shard) | ShardStep::Update(_, shard)) => {
                changed.shard = Some(shard.clone());
            }
            OperationSteps::Shard(ShardStep::Mend(mending)) => changed.shard = Some(mending.after.clone()),
            OperationSteps::Shard(ShardStep::Remove(_)) => {}
            OperationSteps::Mappings { steps, .. } => {
                for step in steps {
                    match step {
                        MappingStep::Remove { mapping, .. } => changed.removed.push(Arc::new(mapping.clone())),
                        MappingStep::Add { mapping, .. } => changed.added.push(Arc::new(mapping.clone())),
                        MappingStep::Keep { .. } => {}
                        MappingStep::Update { old, new, .. } => {
                            changed.removed.push(Arc::new(old.clone()));
                            changed.added.push(Arc::new(new.clone()));
                        }
                    }
                }
            }
        }
        changed
    }

    /// The mappings that the operation removes or changes, or that have to be there.
    pub(crate) fn sources(&self) -> Vec<Arc<MappingRecord>> {
        let mut sources = self.changed(SessionsEnded::default()).removed;
        if let OperationSteps::Mappings { steps, .. } = &self.operation.steps {
            sources.extend(steps.iter().filter_map(|step| match step {
                MappingStep::Keep { mapping } => Some(Arc::new(mapping.clone())),
                MappingStep::Remove { .. } | MappingStep::Update { .. } | MappingStep::Add { .. } => None,
            }));
        }
        sources
    }
}

/// The category that the reference library gives to errors of an operation.
fn category_of(operation: &GlobalOperation) -> ErrorCategory {
    match (&operation.steps, operation.map.kind()) {
        (OperationSteps::Shard(_), _) => ErrorCategory::ShardMap,
        (OperationSteps::Mappings { .. }, ShardMapKind::List) => ErrorCategory::ListShardMap,
        (OperationSteps::Mappings { .. }, ShardMapKind::Range) => ErrorCategory::RangeShardMap,
    }
}
