//! How keys are hashed: fast, and not to be foreseen.
//!
//! Keys may be chosen by strangers, so the hash is seeded at random. Foldhash's own random seed comes from addresses
//! and the clock; ours comes from the system's random numbers by way of the standard library.
//!
//! Invariant: two processes never share a seed, except by chance.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;

/// What hashes the words of a cache.
pub(super) type WordHasher = SeedableRandomState;

/// A hasher with a seed of its own.
pub(super) fn random_hasher() -> WordHasher {
    // The shared part is read through a reference, so that it is made once and not per cache.
    static SHARED: LazyLock<SharedSeed> = LazyLock::new(|| SharedSeed::from_u64(random()));
    SeedableRandomState::with_seed(random(), &SHARED)
}

fn random() -> u64 {
    // Each `RandomState` of the standard library has its own keys; hashing nothing with them gives a random number.
    RandomState::new().hash_one(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hasher_has_its_own_seed() {
        assert_ne!(random_hasher().hash_one(1_u64), random_hasher().hash_one(1_u64));
    }
}
