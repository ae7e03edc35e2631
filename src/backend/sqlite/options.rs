//! What can be set on the embedded backend.

use std::time::Duration;

use crate::backend::Timeouts;

/// Options of the embedded backend. Start from the default and set what differs.
///
/// ```
/// use shardlet::SqliteOptions;
/// let options = SqliteOptions::default().max_connections(64);
/// # let _ = options;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SqliteOptions {
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// Whether a commit waits for the disk. [`Durability::Full`] unless set.
    pub durability: Durability,
    /// The most connections to one database, in use or idle. 8 unless set; at least 1.
    pub max_connections_per_database: usize,
    /// The most connections to shards in all, in use or idle; each holds up to three open files. 256 unless set; at least 4.
    pub max_connections: usize,
    /// An idle connection is closed after this long. 5 minutes unless set.
    pub idle_time: Duration,
    /// A connection is not used again past this age. 1 hour unless set.
    pub max_age: Duration,
    /// The largest size of each database, in pages of 4 KiB; writes beyond it fail as on a full disk. No bound unless set.
    pub max_pages: Option<u32>,
}

/// Whether a commit waits until it is on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// It waits: a power failure loses nothing that was committed.
    #[default]
    Full,
    /// It does not: a power failure may lose the last commits, and then global and local stores may disagree. A crash of the
    /// process loses nothing. For tests and data that can be made again.
    Process,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            timeouts: Timeouts::default(),
            durability: Durability::default(),
            max_connections_per_database: 8,
            max_connections: 256,
            idle_time: Duration::from_secs(5 * 60),
            max_age: Duration::from_secs(60 * 60),
            max_pages: None,
        }
    }
}

impl SqliteOptions {
    /// Sets [`SqliteOptions::timeouts`].
    #[must_use]
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Sets [`SqliteOptions::durability`].
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets [`SqliteOptions::max_connections_per_database`].
    #[must_use]
    pub fn max_connections_per_database(mut self, connections: usize) -> Self {
        self.max_connections_per_database = connections.max(1);
        self
    }

    /// Sets [`SqliteOptions::max_connections`].
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections.max(4);
        self
    }

    /// Sets [`SqliteOptions::idle_time`].
    #[must_use]
    pub fn idle_time(mut self, time: Duration) -> Self {
        self.idle_time = time;
        self
    }

    /// Sets [`SqliteOptions::max_age`].
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }

    /// Sets [`SqliteOptions::max_pages`].
    #[must_use]
    pub fn max_pages(mut self, pages: u32) -> Self {
        self.max_pages = Some(pages);
        self
    }
}
