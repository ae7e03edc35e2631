//! The token that owns a lock on a mapping.

use std::fmt;

use uuid::Uuid;

/// Names the owner of a lock on mappings.
///
/// A locked mapping can be changed only through a handle that presents the owner's token
/// ([`PointMapping::holding`](crate::PointMapping::holding), [`RangeMapping::holding`](crate::RangeMapping::holding)).
/// Locks live in the global store only: they keep administrators apart and do not touch routing. They have no
/// lifetime; an owner that is gone is dealt with by [`LockToken::FORCE_UNLOCK`]. A token can be kept as its GUID.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LockToken(Uuid);

impl LockToken {
    /// The token of a mapping that nobody has locked: the all-zero GUID.
    pub const NONE: Self = Self(Uuid::nil());

    /// Unlocks a mapping whoever owns the lock: the all-ones GUID. It cannot lock.
    pub const FORCE_UNLOCK: Self = Self(Uuid::max());

    /// A new owner.
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// The token as a GUID.
    #[must_use]
    pub const fn as_uuid(&self) -> &Uuid {
        &self.0
    }
}

impl From<Uuid> for LockToken {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl fmt::Display for LockToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for LockToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LockToken({})", self.0)
    }
}
