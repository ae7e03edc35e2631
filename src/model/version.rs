//! The version of a store.

use std::fmt;

/// The version that a global or local store carries. Stores of another major version cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreVersion {
    /// The part that has to be equal.
    pub major: i32,
    /// The part that may differ.
    pub minor: i32,
}

impl StoreVersion {
    /// The version that this library makes and uses: 1.2, the newest of the reference library.
    pub const CURRENT: Self = Self { major: 1, minor: 2 };
}

impl fmt::Display for StoreVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}
