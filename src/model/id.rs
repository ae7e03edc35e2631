//! Ids and lock tokens: each a GUID, and each a type of its own so that one cannot stand for another.

use std::fmt;

use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        id! { $(#[$doc])* $name, Uuid::new_v4, "A new random one." }
    };
    ($(#[$doc:meta])* $name:ident, $new:path, $about:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            #[doc = $about]
            #[must_use]
            pub fn random() -> Self {
                Self($new())
            }

            /// The GUID.
            #[must_use]
            pub const fn as_uuid(&self) -> &Uuid {
                &self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

id! {
    /// Names a shard map for its whole life; a map created again under an old name has a new id.
    ShardMapId
}
id! {
    /// Names a shard within one shard map; the same database in two maps has two ids.
    ShardId
}
id! {
    /// Changes with every change of a shard and with every operation on one of its mappings.
    ShardVersion
}
id! {
    /// Names one state of a mapping: an update, split or merge gives new ids, locking does not.
    MappingId,
    // On SQLite an index of ids that come in order grows at its end, where random ones would touch a page for each mapping. SQL
    // Server orders them otherwise, and does not mind.
    Uuid::now_v7,
    "A new one: random, after the time of its making."
}
id! {
    /// Names an operation; also the name of the lock that keeps two clients off it.
    OperationId
}
id! {
    /// Names the owner of a lock on mappings.
    ///
    /// A locked mapping can be changed only through a handle that presents the owner's token
    /// ([`KeyedMapping::holding`](crate::KeyedMapping::holding)). Locks live in the global store only: they keep
    /// administrators apart and do not touch routing. They have no lifetime; an owner that is gone is dealt with by
    /// [`LockToken::FORCE_UNLOCK`]. A token can be kept as its GUID.
    LockToken
}

impl LockToken {
    /// The token of a mapping that nobody has locked: the all-zero GUID.
    pub const NONE: Self = Self(Uuid::nil());

    /// Unlocks a mapping whoever owns the lock: the all-ones GUID. It cannot lock.
    pub const FORCE_UNLOCK: Self = Self(Uuid::max());
}
