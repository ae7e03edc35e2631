//! What can be set on a shard map manager.

use std::time::Duration;

use crate::operation::RetryPolicy;
use crate::routing::CacheOptions;

/// Options of a [`ShardMapManager`](crate::ShardMapManager). Start from the default and set what differs. What belongs to
/// connections (timeouts, pools) is set on the backend.
///
/// ```
/// use shardlet::{LoadPolicy, Options};
/// let options = Options::default().load_policy(LoadPolicy::Eager);
/// # let _ = options;
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Whether mappings are read at once or when they are asked for. [`LoadPolicy::Lazy`] unless set.
    pub load_policy: LoadPolicy,
    /// Bounds of the cache of each map.
    pub cache: CacheOptions,
    /// Bounds on the repetitions of operations.
    pub retry: RetryPolicy,
    /// The longest that a lookup waits for a mapping to be read. 30 s unless set.
    pub load_timeout: Duration,
}

/// When mappings are read into the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoadPolicy {
    /// Each when its key is first asked for.
    #[default]
    Lazy,
    /// All mappings of all maps in one read when the manager is opened; what changes later, when it is asked for.
    Eager,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            load_policy: LoadPolicy::default(),
            cache: CacheOptions::default(),
            retry: RetryPolicy::default(),
            load_timeout: Duration::from_secs(30),
        }
    }
}

impl Options {
    /// Sets [`Options::load_policy`].
    #[must_use]
    pub fn load_policy(mut self, policy: LoadPolicy) -> Self {
        self.load_policy = policy;
        self
    }

    /// Sets [`Options::cache`].
    #[must_use]
    pub fn cache(mut self, cache: CacheOptions) -> Self {
        self.cache = cache;
        self
    }

    /// Sets [`Options::retry`].
    #[must_use]
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// Sets [`Options::load_timeout`].
    #[must_use]
    pub fn load_timeout(mut self, timeout: Duration) -> Self {
        self.load_timeout = timeout;
        self
    }
}
