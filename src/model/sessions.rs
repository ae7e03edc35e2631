//! What becomes of open sessions when their mapping goes offline.

use std::time::Duration;

/// What becomes of connections that were routed by a mapping when that mapping goes offline.
///
/// Whatever is chosen, later opens for its keys fail at once, and connections of other mappings live on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionPolicy {
    /// End them: a statement that runs is interrupted, the next use fails.
    #[default]
    EndNow,
    /// Wait until they are closed, at most this long, then end those that are left. The operation is under way meanwhile: other
    /// operations on the shard wait for it, and give up when their own limits run out.
    Drain(Duration),
    /// Leave them alone. They may read and write keys that are being moved.
    Leave,
}

/// What taking a mapping offline did to open sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionsEnded {
    /// How many sessions were ended, as far as the backend can see them. On SQLite these are the sessions of this process;
    /// those of other processes end at their next use without being counted.
    pub ended: usize,
}

impl SessionsEnded {
    /// That many.
    #[must_use]
    pub fn new(ended: usize) -> Self {
        Self { ended }
    }
}
