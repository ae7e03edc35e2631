//! What this process may do with the file of a store, or where it would be made. Nothing is opened or made to find out.

use std::path::{Path, PathBuf};

use super::layout::{DatabaseName, Storage};
use crate::model::StoreRights;

/// What is at a path, and what may be done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    directory: bool,
    reads: bool,
    /// Of a directory: entries can be made in it.
    writes: bool,
}

/// The rights at a store. Blocking.
pub(super) fn of(storage: &Storage, name: &DatabaseName) -> StoreRights {
    match (storage.file(name), storage.lock_directory()) {
        (Some(file), Some(locks)) => decide(&file, &locks, entry),
        _ => StoreRights::ALL,
    }
}

fn decide(file: &Path, locks: &Path, entry: impl Fn(&Path) -> Option<Entry>) -> StoreRights {
    // Where nothing is, what is nearest above has to let it be made.
    let makes = |directory: Option<&Path>| {
        let nearest = directory.into_iter().flat_map(Path::ancestors).find_map(&entry);
        nearest.is_some_and(|nearest| nearest.directory && nearest.writes)
    };
    // A database in WAL mode is read through two more files, which have to be there or be made.
    let beside = makes(file.parent());
    let logs = || ["-wal", "-shm"].into_iter().all(|end| entry(&with_end(file, end)).is_some_and(|log| log.reads));
    let (reads, writes) = match entry(file) {
        None => (beside, beside),
        Some(found) if found.directory => (false, false),
        Some(found) => {
            let reads = found.reads && (beside || logs());
            (reads, reads && found.writes && beside)
        }
    };
    StoreRights { reads, changes: writes && makes(Some(locks)), installs: writes, ends_sessions: true }
}

fn with_end(file: &Path, end: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

/// `None` where nothing is.
fn entry(path: &Path) -> Option<Entry> {
    use std::io::ErrorKind;
    let data = match std::fs::metadata(path) {
        Ok(data) => data,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return None,
        // It may be there, out of reach.
        Err(_) => return Some(Entry { directory: false, reads: false, writes: false }),
    };
    let (reads, writes) = access(path, &data);
    Some(Entry { directory: data.is_dir(), reads, writes })
}

#[cfg(unix)]
fn access(path: &Path, data: &std::fs::Metadata) -> (bool, bool) {
    use rustix::fs::{Access, CWD, accessat};
    let may = |wish| is_allowed(is_one_user(), |flags| accessat(CWD, path, wish, flags));
    let write = if data.is_dir() { Access::WRITE_OK | Access::EXEC_OK } else { Access::WRITE_OK };
    (may(Access::READ_OK), may(write))
}

/// Asks for the effective user. Old sandboxes refuse every request with flags as forbidden, which says nothing of the file: without
/// flags it is the real user who is asked for, often the same.
#[cfg(unix)]
fn is_allowed(one_user: bool, ask: impl Fn(rustix::fs::AtFlags) -> rustix::io::Result<()>) -> bool {
    use rustix::fs::AtFlags;
    match ask(AtFlags::EACCESS) {
        Err(rustix::io::Errno::PERM) if one_user => ask(AtFlags::empty()).is_ok(),
        answer => answer.is_ok(),
    }
}

/// True if the process works as who has started it.
#[cfg(unix)]
fn is_one_user() -> bool {
    use rustix::process::{getegid, geteuid, getgid, getuid};
    getuid() == geteuid() && getgid() == getegid()
}

/// Elsewhere a file says whether it may be written, and a directory does not.
#[cfg(not(unix))]
fn access(_: &Path, data: &std::fs::Metadata) -> (bool, bool) {
    (true, data.is_dir() || !data.permissions().readonly())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIRECTORY: Entry = Entry { directory: true, reads: true, writes: true };
    const READ_ONLY_DIRECTORY: Entry = Entry { writes: false, ..DIRECTORY };
    const FILE: Entry = Entry { directory: false, reads: true, writes: true };
    const READ_ONLY: Entry = Entry { writes: false, ..FILE };
    const SECRET: Entry = Entry { reads: false, writes: false, ..FILE };

    /// Reads, changes, installs.
    fn may(entries: &[(&str, Entry)]) -> [bool; 3] {
        let entry = |path: &Path| entries.iter().find(|(at, _)| Path::new(at) == path).map(|(_, entry)| *entry);
        let rights = decide(Path::new("/data/gsm.db"), Path::new("/data/locks"), entry);
        assert!(rights.ends_sessions);
        [rights.reads, rights.changes, rights.installs]
    }

    #[cfg(unix)]
    #[test]
    fn who_may_not_ask_for_the_effective_user_asks_for_the_real_one_if_it_is_the_same() {
        use rustix::fs::AtFlags;
        use rustix::io::Errno;
        for (with_flags, without, one_user, allowed) in [
            (Ok(()), Err(Errno::ACCESS), true, true),
            (Err(Errno::ACCESS), Ok(()), true, false),
            (Err(Errno::PERM), Ok(()), true, true),
            (Err(Errno::PERM), Err(Errno::PERM), true, false),
            (Err(Errno::PERM), Ok(()), false, false),
        ] {
            let ask = |flags| if flags == AtFlags::EACCESS { with_flags } else { without };
            assert_eq!(is_allowed(one_user, ask), allowed, "{with_flags:?}, {without:?}, {one_user}");
        }
    }

    #[test]
    fn a_store_that_is_not_there_is_made_in_what_is_nearest() {
        assert_eq!(may(&[("/", DIRECTORY)]), [true; 3]);
        assert_eq!(may(&[("/", READ_ONLY_DIRECTORY), ("/data", DIRECTORY)]), [true; 3]);
        assert_eq!(may(&[("/", DIRECTORY), ("/data", READ_ONLY_DIRECTORY)]), [false; 3]);
        assert_eq!(may(&[("/", DIRECTORY), ("/data", FILE)]), [false; 3], "a file in place of the directory");
        assert_eq!(may(&[]), [false; 3]);
    }

    #[test]
    fn a_store_that_is_there_takes_its_file_and_what_is_made_beside_it() {
        let with = |file, more: &[(&str, Entry)]| {
            may(&[&[("/", DIRECTORY), ("/data", DIRECTORY), ("/data/gsm.db", file)], more].concat())
        };
        assert_eq!(with(FILE, &[]), [true; 3]);
        assert_eq!(with(READ_ONLY, &[]), [true, false, false]);
        assert_eq!(with(SECRET, &[]), [false; 3]);
        assert_eq!(with(DIRECTORY, &[]), [false; 3], "a directory in place of the file");
        assert_eq!(with(FILE, &[("/data/locks", READ_ONLY_DIRECTORY)]), [true, false, true]);
        assert_eq!(with(FILE, &[("/data/locks", FILE)]), [true, false, true], "a file in place of the locks");

        let still = |more: &[(&str, Entry)]| {
            may(&[&[("/", DIRECTORY), ("/data", READ_ONLY_DIRECTORY), ("/data/gsm.db", FILE)], more].concat())
        };
        assert_eq!(still(&[]), [false; 3], "a database in WAL mode has files beside it");
        assert_eq!(still(&[("/data/gsm.db-wal", FILE)]), [false; 3]);
        assert_eq!(still(&[("/data/gsm.db-wal", FILE), ("/data/gsm.db-shm", READ_ONLY)]), [true, false, false]);
    }
}
