//! What can be set on the SQL Server backend.

use std::time::Duration;

use crate::backend::Timeouts;

/// Options of the SQL Server backend. Start from the default and set what differs.
///
/// ```
/// use std::time::Duration;
/// use shardlet::{SqlServerOptions, Timeouts};
/// let options = SqlServerOptions::default()
///     .timeouts(Timeouts::default().command(Duration::from_secs(10)))
///     .max_connections(1_000);
/// # let _ = options;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SqlServerOptions {
    /// How long to wait for what. [`Timeouts::connect`] covers the name, the socket, TLS, the token and the login together.
    pub timeouts: Timeouts,
    /// The most connections to one shard with one set of credentials and for one map, in use or idle; also to the global
    /// store. 100 unless set; at least 2, at most 4,096.
    pub max_connections_per_shard: usize,
    /// The most connections to shards in all, in use or idle. 1,000 unless set; at least 4.
    pub max_connections: usize,
    /// The most connections to one server that are being opened at a time; where it sends us on to another one, both count as
    /// the first. 8 unless set; at least 1.
    pub max_connects_per_server: usize,
    /// An idle connection is closed after this long. 5 minutes unless set.
    pub idle_time: Duration,
    /// A connection is not used again past this age. 1 hour unless set.
    pub max_age: Duration,
    /// Whether taking a mapping offline also ends the sessions that clients of the reference library have to the shard for the
    /// same map. They say nothing of their mapping, so those of the map's other mappings end, too. Off unless set.
    pub ends_reference_sessions: bool,
}

impl Default for SqlServerOptions {
    fn default() -> Self {
        Self {
            timeouts: Timeouts::default(),
            max_connections_per_shard: 100,
            max_connections: 1_000,
            max_connects_per_server: 8,
            idle_time: Duration::from_secs(5 * 60),
            max_age: Duration::from_secs(60 * 60),
            ends_reference_sessions: false,
        }
    }
}

impl SqlServerOptions {
    /// Sets [`SqlServerOptions::timeouts`].
    #[must_use]
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Sets [`SqlServerOptions::max_connections_per_shard`].
    #[must_use]
    pub fn max_connections_per_shard(mut self, connections: usize) -> Self {
        self.max_connections_per_shard = connections.max(2);
        self
    }

    /// Sets [`SqlServerOptions::max_connections`].
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections.max(4);
        self
    }

    /// Sets [`SqlServerOptions::max_connects_per_server`].
    #[must_use]
    pub fn max_connects_per_server(mut self, connects: usize) -> Self {
        self.max_connects_per_server = connects.max(1);
        self
    }

    /// Sets [`SqlServerOptions::idle_time`].
    #[must_use]
    pub fn idle_time(mut self, time: Duration) -> Self {
        self.idle_time = time;
        self
    }

    /// Sets [`SqlServerOptions::max_age`].
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }

    /// Sets [`SqlServerOptions::ends_reference_sessions`].
    #[must_use]
    pub fn ends_reference_sessions(mut self, ends: bool) -> Self {
        self.ends_reference_sessions = ends;
        self
    }
}
