//! The record of a shard map.

use std::fmt;
use std::sync::Arc;

use super::{ShardMapId, ShardMapName};
use crate::key::KeyType;

/// Whether a shard map holds points or ranges. The numbers are the stored ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ShardMapKind {
    /// Single keys.
    List = 1,
    /// Ranges of keys.
    Range = 2,
}

impl ShardMapKind {
    /// The kind of a stored number, or `None` for a number that no client writes.
    #[must_use]
    pub fn from_code(code: i64) -> Option<Self> {
        match code {
            1 => Some(Self::List),
            2 => Some(Self::Range),
            _ => None,
        }
    }
}

impl fmt::Display for ShardMapKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::List => "list",
            Self::Range => "range",
        })
    }
}

/// What the global store knows of a shard map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardMapInfo {
    pub(crate) id: ShardMapId,
    pub(crate) name: ShardMapName,
    pub(crate) kind: ShardMapKind,
    pub(crate) key_type: KeyType,
}

impl ShardMapInfo {
    /// A record as a store holds it. For backends; applications get theirs from the manager.
    #[must_use]
    pub fn new(id: ShardMapId, name: ShardMapName, kind: ShardMapKind, key_type: KeyType) -> Self {
        Self { id, name, kind, key_type }
    }

    /// The id.
    #[must_use]
    pub fn id(&self) -> ShardMapId {
        self.id
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Points or ranges.
    #[must_use]
    pub fn kind(&self) -> ShardMapKind {
        self.kind
    }

    /// The type of its keys.
    #[must_use]
    pub fn key_type(&self) -> KeyType {
        self.key_type
    }

    pub(crate) fn shared_name(&self) -> &Arc<str> {
        self.name.shared()
    }
}
