//! Whether shards and mappings are online.

use std::fmt;

/// Whether keys of a mapping are served. The numbers are the stored ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MappingStatus {
    /// Opening a connection for a key of the mapping fails.
    Offline = 0,
    /// Keys of the mapping are routed.
    #[default]
    Online = 1,
}

/// A mark on a shard for the application's own use; routing does not look at it. The numbers are the stored ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ShardStatus {
    /// Marked offline.
    Offline = 0,
    /// Marked online.
    #[default]
    Online = 1,
}

impl MappingStatus {
    /// The status of a stored number, or `None` for a number that no client writes.
    #[must_use]
    pub fn from_code(code: i64) -> Option<Self> {
        match code {
            0 => Some(Self::Offline),
            1 => Some(Self::Online),
            _ => None,
        }
    }
}

impl ShardStatus {
    /// The status of a stored number, or `None` for a number that no client writes.
    #[must_use]
    pub fn from_code(code: i64) -> Option<Self> {
        match code {
            0 => Some(Self::Offline),
            1 => Some(Self::Online),
            _ => None,
        }
    }
}

impl fmt::Display for MappingStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Offline => "Offline",
            Self::Online => "Online",
        })
    }
}

impl fmt::Display for ShardStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Offline => "Offline",
            Self::Online => "Online",
        })
    }
}
