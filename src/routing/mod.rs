//! Routing: from a key to the mapping that holds it, and to a connection to its shard.
//!
//! `router` is the way from a key to a connection. Below it are the cache of a shard map's mappings and the loads that
//! fill it: `cache` puts together an index that lookups read (`point_index`, or `range_index` over `tree`) and `bounds`, which
//! limit how many mappings it holds and for how long; `loads` sees to it that callers who miss the same key share one load.
//! What a lookup finds it marks as used, in the index; the writer looks at the marks when something has to go.
//!
//! Invariant: a lookup that finds its mapping does no I/O, takes no lock that another lookup can hold, and allocates
//! nothing.
//! Invariant: a mapping in the cache is never replaced by an older state of it that this process has seen go.
//! Invariant: nothing here writes to a store.

mod bounds;
mod cache;
#[cfg(test)]
mod cache_growth;
#[cfg(test)]
mod cache_memory;
#[cfg(test)]
mod cache_model;
#[cfg(test)]
mod cache_recency;
#[cfg(test)]
mod cache_tests;
#[cfg(test)]
mod cache_threads;
mod entry;
mod hasher;
mod index;
mod loads;
mod missing;
mod options;
mod point_index;
mod range_index;
mod retired;
mod router;
mod statistics;
#[cfg(test)]
mod testing;
mod tree;

pub(crate) use cache::MappingCache;
use loads::Loads;
pub use options::CacheOptions;
pub(crate) use router::{RoutedKey, Router, open};
pub use statistics::CacheStatistics;
