//! The version of a store.

use std::fmt;

use crate::error::{Error, ErrorCode, ErrorKind};

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

    /// The oldest version whose stores can be used as they are: 1.1. At 1.0 the version table was another one.
    pub const OLDEST: Self = Self { major: 1, minor: 1 };

    /// True for stores that this library can use without an upgrade: those of its major version from
    /// [`OLDEST`](Self::OLDEST) on.
    #[must_use]
    pub fn is_usable(self) -> bool {
        self.major == Self::CURRENT.major && self >= Self::OLDEST
    }

    /// True for stores that this library can use, after an upgrade where they are older: those of its major version.
    pub(crate) fn is_known(self) -> bool {
        self.major == Self::CURRENT.major
    }

    /// The error where a store is not [usable](Self::is_usable). It says which side is the older one, and what to do.
    pub(crate) fn mismatch(self, code: ErrorCode) -> Error {
        let ours = Self::CURRENT;
        let advice = if self > ours {
            "this library is older"
        } else if self.is_known() {
            "the store is older and has to be upgraded, by ShardMapManager::upgrade"
        } else {
            "the store is older than any that this library can upgrade"
        };
        let message = format!("the store has version {self}, this library uses {ours}: {advice}");
        Error::new(ErrorKind::VersionMismatch, code, message)
    }
}

impl fmt::Display for StoreVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// From which version to which a store was upgraded: the same one where there was nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct StoreUpgrade {
    /// The version that was found.
    pub from: StoreVersion,
    /// The version that the store has now.
    pub to: StoreVersion,
}

impl StoreUpgrade {
    /// An upgrade; the same version twice says that there was nothing to do.
    #[must_use]
    pub fn new(from: StoreVersion, to: StoreVersion) -> Self {
        Self { from, to }
    }

    /// True if the store was older before.
    #[must_use]
    pub fn is_change(&self) -> bool {
        self.from != self.to
    }
}

impl fmt::Display for StoreUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_change() {
            write!(f, "upgraded from {} to {}", self.from, self.to)
        } else {
            write!(f, "at {}, nothing to do", self.to)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(major: i32, minor: i32) -> StoreVersion {
        StoreVersion { major, minor }
    }

    #[test]
    fn a_store_is_usable_from_the_oldest_version_on() {
        for (at, usable, known) in [
            (version(0, 9), false, false),
            (version(1, 0), false, true),
            (version(1, 1), true, true),
            (version(1, 2), true, true),
            (version(1, 3), true, true),
            (version(2, 0), false, false),
        ] {
            assert_eq!((at.is_usable(), at.is_known()), (usable, known), "{at}");
        }
    }

    #[test]
    fn a_mismatch_says_what_to_do() {
        let told = |at: StoreVersion| at.mismatch(ErrorCode::GlobalStoreVersionMismatch).to_string();
        assert!(told(version(2, 0)).ends_with("version 2.0, this library uses 1.2: this library is older"));
        assert!(told(version(1, 0)).ends_with("has to be upgraded, by ShardMapManager::upgrade"));
        assert!(told(version(0, 9)).ends_with("the store is older than any that this library can upgrade"));
    }

    #[test]
    fn an_upgrade_is_told_in_words() {
        let current = StoreVersion::CURRENT;
        assert_eq!(StoreUpgrade::new(version(1, 0), current).to_string(), "upgraded from 1.0 to 1.2");
        assert_eq!(StoreUpgrade::new(current, current).to_string(), "at 1.2, nothing to do");
    }
}
