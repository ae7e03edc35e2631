//! Whether shards and mappings are online.

use std::fmt;

macro_rules! status {
    ($(#[$doc:meta])* $name:ident, $offline:literal, $online:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub enum $name {
            #[doc = $offline]
            Offline = 0,
            #[doc = $online]
            #[default]
            Online = 1,
        }

        impl $name {
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

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self {
                    Self::Offline => "Offline",
                    Self::Online => "Online",
                })
            }
        }
    };
}

status! {
    /// Whether keys of a mapping are served. The numbers are the stored ones.
    MappingStatus,
    "Opening a connection for a key of the mapping fails.",
    "Keys of the mapping are routed."
}
status! {
    /// Whether a shard takes new mappings. Routing does not look at it: keys that are mapped to the shard are served as before.
    /// The numbers are the stored ones.
    ///
    /// Only this library looks at it: clients of the reference library add mappings to any shard.
    ShardStatus,
    "Marked offline: it takes no new mappings, and those on it stay and can be changed, moved away and deleted.",
    "Marked online: it takes new mappings."
}
