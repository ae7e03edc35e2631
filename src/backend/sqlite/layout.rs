//! Where the databases are: files below a directory, or names in memory.
//!
//! Invariant: no server or database name, whatever its characters, leads out of the directory, and two locations have
//! the same file if and only if their server and database are equal (without regard to case).

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags};
use uuid::Uuid;

use super::fault::open_fault;
use crate::error::{Error, ErrorCode, ErrorKind, Result};
use crate::model::{Place, ShardLocation, folded};

/// The longest file name made from a name as it is; longer ones are cut and told apart by a hash.
const MAX_FILE_NAME: usize = 120;

/// Which database.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum DatabaseName {
    /// The global store's.
    Global,
    /// A shard's, by folded server and database.
    Shard {
        /// As the application gave it, for messages.
        location: ShardKeyed,
    },
}

/// A location compared by server and database alone: protocol and port do not make another file.
#[derive(Clone, Debug)]
pub(crate) struct ShardKeyed {
    location: ShardLocation,
    server: String,
    database: String,
}

impl PartialEq for ShardKeyed {
    fn eq(&self, other: &Self) -> bool {
        (&self.server, &self.database) == (&other.server, &other.database)
    }
}

impl Eq for ShardKeyed {}

impl std::hash::Hash for ShardKeyed {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (&self.server, &self.database).hash(state);
    }
}

impl DatabaseName {
    pub(crate) fn shard(location: &ShardLocation) -> Self {
        let location = ShardKeyed {
            location: location.clone(),
            server: folded(location.server()),
            database: folded(location.database()),
        };
        Self::Shard { location }
    }

    /// Names this database in an error.
    pub(crate) fn place(&self) -> Place {
        match self {
            Self::Global => Place::Global,
            Self::Shard { location } => Place::Shard(location.location.clone()),
        }
    }

    fn relative_path(&self) -> PathBuf {
        match self {
            Self::Global => PathBuf::from("gsm.db"),
            Self::Shard { location } => {
                let mut path = PathBuf::from("shards");
                path.push(file_name(&location.server));
                path.push(format!("{}.db", file_name(&location.database)));
                path
            }
        }
    }
}

/// A name as a file name: what is not a letter, digit, `-`, `_` or `.` is escaped, and so is a dot at either end.
fn file_name(folded: &str) -> String {
    let mut name = String::with_capacity(folded.len());
    let last = folded.len().saturating_sub(1);
    for (index, byte) in folded.bytes().enumerate() {
        match byte {
            // Some systems have devices of these names, with any ending.
            _ if index == 0 && is_device(folded) => name.push_str(&format!("%{byte:02x}")),
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            b'.' if index > 0 && index < last => name.push('.'),
            _ => name.push_str(&format!("%{byte:02x}")),
        }
    }
    if name.len() > MAX_FILE_NAME {
        // Escapes are ASCII, so every index is a character boundary.
        name.truncate(MAX_FILE_NAME - 40);
        name.push('~');
        name.push_str(&Uuid::new_v5(&Uuid::NAMESPACE_OID, folded.as_bytes()).to_string());
    }
    name
}

fn is_device(folded: &str) -> bool {
    let stem = folded.split('.').next().unwrap_or_default();
    let numbered =
        |kind: &str| stem.strip_prefix(kind).is_some_and(|rest| rest.len() == 1 && rest.as_bytes().is_ascii());
    matches!(stem, "con" | "prn" | "aux" | "nul") || numbered("com") || numbered("lpt")
}

/// The place of all databases of a backend.
pub(super) enum Storage {
    /// Files below a directory.
    Directory(PathBuf),
    /// Names in memory. A database lives as long as one connection to it, so each has one here.
    Memory {
        /// Tells this backend's names from those of others in the process.
        id: Uuid,
        /// The connections that keep the databases alive.
        anchors: Mutex<HashMap<DatabaseName, Connection>>,
    },
}

impl Storage {
    pub(super) fn directory(directory: &Path) -> Result<Self> {
        std::path::absolute(directory)
            .map(Self::Directory)
            .map_err(|error| Error::invalid_input("the directory of the store has no absolute path").with_source(error))
    }

    pub(super) fn memory() -> Self {
        Self::Memory { id: Uuid::new_v4(), anchors: Mutex::default() }
    }

    /// The file of a database, for those that have one.
    pub(super) fn file(&self, name: &DatabaseName) -> Option<PathBuf> {
        match self {
            Self::Directory(directory) => Some(directory.join(name.relative_path())),
            Self::Memory { .. } => None,
        }
    }

    /// The directory of operation locks, for storage that several processes can share.
    pub(super) fn lock_directory(&self) -> Option<PathBuf> {
        match self {
            Self::Directory(directory) => Some(directory.join("locks")),
            Self::Memory { .. } => None,
        }
    }

    /// True if the database is there. Blocking.
    pub(super) fn exists(&self, name: &DatabaseName) -> Result<bool> {
        match self {
            Self::Directory(directory) => directory.join(name.relative_path()).try_exists().map_err(|error| {
                Error::new(
                    ErrorKind::Unavailable,
                    ErrorCode::StorageOperationFailure,
                    "the directory of the store cannot be read",
                )
                .with_source(error)
            }),
            Self::Memory { anchors, .. } => {
                Ok(anchors.lock().unwrap_or_else(PoisonError::into_inner).contains_key(name))
            }
        }
    }

    /// Opens a database that is there. Never makes one: an empty file in place of a lost shard would look like one without
    /// data. Blocking.
    pub(super) fn open(&self, name: &DatabaseName) -> Result<Connection> {
        if !self.exists(name)? {
            let code = match name {
                DatabaseName::Global => ErrorCode::ShardMapManagerStoreDoesNotExist,
                DatabaseName::Shard { .. } => ErrorCode::StorageOperationFailure,
            };
            return Err(Error::new(ErrorKind::Unavailable, code, "there is no such database file"));
        }
        self.connect(name, false)
    }

    /// Makes a database if there is none. Blocking.
    pub(super) fn create(&self, name: &DatabaseName) -> Result<Connection> {
        match self {
            Self::Directory(_) => {
                if let Some(parent) = self.file(name).as_deref().and_then(Path::parent) {
                    std::fs::create_dir_all(parent).map_err(|error| {
                        Error::new(
                            ErrorKind::Unavailable,
                            ErrorCode::StorageOperationFailure,
                            "the directory of the database cannot be made",
                        )
                        .with_source(error)
                    })?;
                }
            }
            Self::Memory { anchors, .. } => {
                let mut anchors = anchors.lock().unwrap_or_else(PoisonError::into_inner);
                if !anchors.contains_key(name) {
                    let anchor = self.connect(name, true)?;
                    drop(anchors.insert(name.clone(), anchor));
                }
            }
        }
        self.connect(name, true)
    }

    fn connect(&self, name: &DatabaseName, create: bool) -> Result<Connection> {
        let mut flags =
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE;
        if create {
            flags |= OpenFlags::SQLITE_OPEN_CREATE;
        }
        match self {
            Self::Directory(directory) => Connection::open_with_flags(directory.join(name.relative_path()), flags),
            Self::Memory { id, .. } => {
                // A slash at the start makes the name one that all connections of the process share.
                let path = name.relative_path();
                let escaped = path.to_string_lossy().replace('%', "%25");
                let uri = format!("file:/shardlet-{id}/{escaped}?vfs=memdb");
                Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)
            }
        }
        .map_err(open_fault)
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(directory) => directory.display().fmt(f),
            Self::Memory { .. } => f.write_str("in memory"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Component;

    use super::*;

    #[test]
    fn no_name_leads_out_of_the_directory() {
        let long = "表".repeat(128);
        let long2 = format!("{}x", "表".repeat(127));
        let names = [
            "..",
            ".",
            "../../etc/passwd",
            "a/b",
            "C:\\x",
            "a\u{0}b",
            "%2e%2e",
            "~",
            "con",
            "nul.x",
            "com1",
            "a.",
            "a",
            &long,
            &long2,
        ];
        let mut seen = std::collections::HashSet::new();
        for name in names {
            let path = DatabaseName::shard(&ShardLocation::new(name, name)).relative_path();
            assert_eq!(path.components().count(), 3, "{path:?}");
            assert!(path.components().all(|part| matches!(part, Component::Normal(_))), "{path:?}");
            assert!(path.iter().all(|part| part.len() < 200), "{path:?}");
            let first = path.iter().nth(1).and_then(|part| part.to_str()).unwrap();
            assert!(!first.starts_with('.') && !first.ends_with('.') && !is_device(first), "{path:?}");
            assert!(seen.insert(path.clone()), "{path:?} twice");
        }
    }

    #[test]
    fn a_database_is_named_by_server_and_database_without_regard_to_case() {
        let name = |server: &str, database: &str| DatabaseName::shard(&ShardLocation::new(server, database));
        assert_eq!(name("Ä", "B"), name("ä", "b "));
        assert_eq!(name("Ä", "B").relative_path(), name("ä", "b").relative_path());
        let with_port = DatabaseName::shard(&ShardLocation::new("a", "b").with_port(1433));
        assert_eq!(name("a", "b"), with_port);
        assert_ne!(name("a", "b").relative_path(), name("b", "a").relative_path());
    }
}
