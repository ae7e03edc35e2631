//! A shard of a shard map.

use std::fmt;

use super::{ShardId, ShardLocation, ShardMapId, ShardStatus, ShardVersion};
use crate::error::Result;

/// A database that is registered in a shard map, as it was when it was read.
///
/// An immutable value. Every change of the shard and every operation on one of its mappings gives the shard a new version,
/// so that deleting or updating it through an older value is refused as stale. Two values are equal if id and version are.
#[derive(Clone, Debug)]
pub struct Shard {
    pub(crate) id: ShardId,
    pub(crate) version: ShardVersion,
    pub(crate) map: ShardMapId,
    pub(crate) location: ShardLocation,
    pub(crate) status: ShardStatus,
}

impl Shard {
    /// The longest description, in UTF-16 code units (the column is `nvarchar(1000)`).
    pub const MAX_DESCRIPTION_LENGTH: usize = 1_000;

    /// Whether a text can be the description of a shard, as `describe_shard` of a shard map checks it. Sends nothing to a store.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if it is longer than
    /// [`MAX_DESCRIPTION_LENGTH`](Self::MAX_DESCRIPTION_LENGTH) or holds control characters other than tabs and line feeds.
    pub fn check_description(description: &str) -> Result<()> {
        super::description::check_description(description)
    }

    /// A shard as a store holds it. For backends; applications get theirs from a shard map.
    #[must_use]
    pub fn new(
        id: ShardId,
        version: ShardVersion,
        map: ShardMapId,
        location: ShardLocation,
        status: ShardStatus,
    ) -> Self {
        Self { id, version, map, location, status }
    }

    /// The id of the shard in its map.
    #[must_use]
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// The version that this value was read at.
    #[must_use]
    pub fn version(&self) -> ShardVersion {
        self.version
    }

    /// The map that the shard belongs to.
    #[must_use]
    pub fn shard_map_id(&self) -> ShardMapId {
        self.map
    }

    /// Where it is.
    #[must_use]
    pub fn location(&self) -> &ShardLocation {
        &self.location
    }

    /// Whether it takes new mappings.
    #[must_use]
    pub fn status(&self) -> ShardStatus {
        self.status
    }

    /// The same shard at another version.
    pub(crate) fn at_version(&self, version: ShardVersion) -> Self {
        Self { version, ..self.clone() }
    }
}

impl PartialEq for Shard {
    fn eq(&self, other: &Self) -> bool {
        (self.id, self.version) == (other.id, other.version)
    }
}

impl Eq for Shard {}

impl std::hash::Hash for Shard {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.id, self.version).hash(state);
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.location)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_has_1000_characters_at_most_and_no_control_characters() {
        for good in ["", "a\tb\nc", "表".repeat(1_000).as_str()] {
            assert!(Shard::check_description(good).is_ok(), "{good:?}");
        }
        for bad in ["a".repeat(1_001).as_str(), "😀".repeat(501).as_str(), "a\u{7}", "a\rb"] {
            assert!(Shard::check_description(bad).is_err(), "{bad:?}");
        }
    }
}
