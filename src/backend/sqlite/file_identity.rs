//! Which file a path leads to.

use std::fs::{File, Metadata};
use std::path::Path;

/// Tells a file from another that took its path. Never opens the file: closing it again would drop the locks that
/// SQLite holds on it in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileIdentity(Option<(u64, u64)>);

impl FileIdentity {
    pub(super) fn of(file: Option<&Path>) -> Self {
        file.and_then(|file| std::fs::metadata(file).ok()).map_or(Self(None), |data| Self::from(&data))
    }
}

impl From<&Metadata> for FileIdentity {
    #[cfg(unix)]
    fn from(data: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self(Some((data.dev(), data.ino())))
    }

    /// Elsewhere a file that is open cannot be replaced, so that all are the same.
    #[cfg(not(unix))]
    fn from(_: &Metadata) -> Self {
        Self(None)
    }
}

/// True if an open file is still the one of its path.
pub(super) fn is_current(open: &File, path: &Path) -> bool {
    open.metadata().is_ok_and(|data| FileIdentity::from(&data) == FileIdentity::of(Some(path)))
}
