//! What went wrong, in the form that a terminal and a script need it: a message, what to do next, and an exit code.
//!
//! Invariant: no text here holds a secret.

use std::path::{Path, PathBuf};

use shardlet::{Error, ErrorCode, ErrorKind, Limit};

/// The exit codes, each with what it means: also the text of the manual.
pub(crate) const EXIT_CODES: [(u8, &str); 20] = [
    (0, "done, or healthy"),
    (1, "looked at and not as it has to be: doctor, store check, store upgrade, recovery detect, route"),
    (2, "the arguments are wrong"),
    (3, "not found: store, shard map, shard, mapping, key, operation, schema information"),
    (4, "it exists already, or overlaps what does"),
    (5, "an argument or a file is outside what is allowed, or the keys are of another type"),
    (
        6,
        "not in this state: the mapping is online or offline, the shard is disabled or has mappings, the map has shards",
    ),
    (7, "locked by another owner"),
    (8, "changed by somebody else meanwhile: look again"),
    (9, "an unfinished operation is in the way"),
    (10, "a passing fault, or a limit of time ran out: try again"),
    (11, "the store or a shard cannot be reached"),
    (12, "the credentials were refused, or lack a right"),
    (13, "the version of a store: upgrade it, or this command"),
    (14, "the outcome of the last step is not known: look before doing it again"),
    (15, "a store is damaged"),
    (16, "not confirmed, so nothing was changed"),
    (17, "there is nothing to change"),
    (70, "a fault of this command: please report it"),
    (130, "interrupted"),
];

/// The result of a command.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// Why a command ended without doing what it was to do.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The library said so.
    Library(Error),
    /// The arguments do not go together.
    Usage(String),
    /// An argument or the content of a file is not what it has to be.
    Input(String),
    /// A file cannot be read or written.
    File(PathBuf, std::io::Error),
    /// There is no such thing, though the store was reached.
    NotFound(String),
    /// There is such a thing already.
    Exists(String),
    /// A store is of a version that cannot be used.
    Version(String),
    /// The login may not do this.
    Rights(String),
    /// Something is not as it has to be; what, was shown.
    Unhealthy,
    /// A question was not answered with yes.
    Declined,
    /// Nothing would change.
    NoChange(String),
    /// Ctrl-C; the text says what was done.
    Interrupted(String),
    /// Standard output could not be written.
    Output(std::io::Error),
    /// The runtime could not be started.
    Start(std::io::Error),
    /// One of the others, with what to do next.
    Advised(Box<Failure>, String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

impl Failure {
    pub(crate) fn file(path: &Path, error: std::io::Error) -> Self {
        Self::File(path.to_owned(), error)
    }

    /// The same with what to do next, in place of what is said of all of its kind.
    pub(crate) fn next(self, advice: impl Into<String>) -> Self {
        let failure = match self {
            Self::Advised(failure, _) => failure,
            failure => Box::new(failure),
        };
        Self::Advised(failure, advice.into())
    }

    /// The error of the library, if it is one.
    pub(crate) fn error(&self) -> Option<&Error> {
        match self {
            Self::Library(error) => Some(error),
            Self::Advised(failure, _) => failure.error(),
            _ => None,
        }
    }

    /// What `shardlet` exits with.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Library(error) => of_kind(error),
            Self::Unhealthy => 1,
            Self::Usage(_) => 2,
            Self::NotFound(_) => 3,
            Self::Input(_) | Self::File(..) | Self::Output(_) => 5,
            Self::Exists(_) => 4,
            Self::Version(_) => 13,
            Self::Rights(_) => 12,
            Self::Declined => 16,
            Self::NoChange(_) => 17,
            Self::Interrupted(_) => 130,
            Self::Start(_) => 70,
            Self::Advised(failure, _) => failure.exit_code(),
        }
    }

    /// A stable word for scripts.
    pub(crate) fn kind(&self) -> String {
        match self {
            Self::Library(error) => snake(&format!("{:?}", error.kind())),
            Self::Unhealthy => "unhealthy".to_owned(),
            Self::Usage(_) => "usage".to_owned(),
            Self::NotFound(_) => "not_found".to_owned(),
            Self::Input(_) => "invalid_input".to_owned(),
            Self::File(..) => "file".to_owned(),
            Self::Output(_) => "output".to_owned(),
            Self::Exists(_) => "already_exists".to_owned(),
            Self::Version(_) => "version_mismatch".to_owned(),
            Self::Rights(_) => "credentials".to_owned(),
            Self::Declined => "declined".to_owned(),
            Self::NoChange(_) => "no_change".to_owned(),
            Self::Interrupted(_) => "interrupted".to_owned(),
            Self::Start(_) => "internal".to_owned(),
            Self::Advised(failure, _) => failure.kind(),
        }
    }

    /// What happened; `None` where it has been shown already.
    pub(crate) fn message(&self) -> Option<String> {
        Some(match self {
            Self::Library(error) => with_causes(error),
            Self::Usage(text)
            | Self::Input(text)
            | Self::NotFound(text)
            | Self::Exists(text)
            | Self::Version(text)
            | Self::Rights(text)
            | Self::NoChange(text)
            | Self::Interrupted(text) => text.clone(),
            Self::File(path, error) => format!("{}: {error}", path.display()),
            Self::Output(error) => format!("cannot write the output: {error}"),
            Self::Start(error) => format!("cannot start: {error}"),
            Self::Declined => "not confirmed; nothing was changed".to_owned(),
            Self::Unhealthy => return None,
            Self::Advised(failure, _) => return failure.message(),
        })
    }

    /// What to do next, where that can be said.
    pub(crate) fn advice(&self) -> Option<&str> {
        match self {
            Self::Advised(_, advice) => Some(advice),
            Self::Library(error) => advice(error),
            Self::Declined => Some("answer with y, or give --yes; --dry-run shows what would be done"),
            Self::Usage(_) => Some("--help shows what each command takes"),
            _ => None,
        }
    }
}

/// An error with what caused it, in one line.
fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        let said = next.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = next.source();
    }
    text
}

fn of_kind(error: &Error) -> u8 {
    match error.kind() {
        ErrorKind::NotFound => 3,
        ErrorKind::AlreadyExists | ErrorKind::Overlaps => 4,
        ErrorKind::InvalidInput | ErrorKind::WrongKeyType => 5,
        ErrorKind::Offline | ErrorKind::NotOffline | ErrorKind::InUse | ErrorKind::Disabled => 6,
        ErrorKind::Locked => 7,
        ErrorKind::Stale => 8,
        ErrorKind::PendingOperation => 9,
        ErrorKind::Transient | ErrorKind::TimedOut => 10,
        ErrorKind::Unavailable => 11,
        ErrorKind::Credentials => 12,
        ErrorKind::VersionMismatch => 13,
        ErrorKind::OutcomeUnknown => 14,
        ErrorKind::StoreDamaged => 15,
        // A fault of ours, or a kind that this command does not know yet: sysexits' EX_SOFTWARE.
        _ => 70,
    }
}

fn advice(error: &Error) -> Option<&'static str> {
    Some(match (error.kind(), error.code()) {
        (_, ErrorCode::ShardMapManagerStoreDoesNotExist) => "create the store: shardlet store create",
        (_, ErrorCode::ShardMapLookupFailure | ErrorCode::ShardMapDoesNotExist) => {
            "see which there are: shardlet map list"
        }
        (_, ErrorCode::ShardDoesNotExist | ErrorCode::ShardNotValid) => "see which there are: shardlet shard list MAP",
        (_, ErrorCode::MappingNotFoundForKey) => "see what is mapped: shardlet mapping list MAP",
        (_, ErrorCode::ShardMapManagerStoreAlreadyExists) => "use it as it is; --replace drops it and makes a new one",
        (_, ErrorCode::ShardMapHasShards) => "delete its shards first: shardlet shard delete MAP SHARD",
        (_, ErrorCode::ShardHasMappings) => "move its mappings first: shardlet mapping move MAP MAPPING --to SHARD",
        (ErrorKind::NotOffline, _) => "take it offline first: shardlet mapping offline MAP MAPPING",
        (ErrorKind::Offline, _) => "put it online when its rows are in place: shardlet mapping online MAP MAPPING",
        (ErrorKind::Disabled, _) => "choose another shard, or enable it: shardlet shard update MAP SHARD --enable",
        (_, ErrorCode::MappingIsAlreadyLocked) => {
            "see who owns the lock: shardlet mapping lookup MAP KEY; its owner unlocks it: shardlet mapping unlock"
        }
        (_, ErrorCode::ShardMapAlreadyExists) => "see which there are: shardlet map list",
        (ErrorKind::Overlaps, _) | (_, ErrorCode::MappingPointAlreadyMapped) => {
            "see what is in the way: shardlet mapping lookup MAP KEY, shardlet mapping list MAP --keys LOW..HIGH"
        }
        (_, ErrorCode::SchemaInfoNameDoesNotExist) => "see which there are: shardlet schema list",
        (ErrorKind::Locked, _) => {
            "see who owns the lock: shardlet mapping lookup MAP KEY; its owner gives the token: --lock-token TOKEN"
        }
        (ErrorKind::Stale, _) => "look again, and decide anew",
        (ErrorKind::PendingOperation, _) => {
            "see what is unfinished: shardlet operation list; undo it: shardlet operation undo --all"
        }
        (ErrorKind::OutcomeUnknown, _) => {
            "look what is there before doing it again: shardlet mapping list, shardlet operation list"
        }
        (ErrorKind::VersionMismatch, _) => "upgrade the store with shardlet store upgrade, or this command",
        (ErrorKind::Credentials, _) => {
            "check the login, its password and its rights; shardlet doctor shows what is missing"
        }
        (ErrorKind::Unavailable, _) => {
            "check that it runs and that its name is right; shardlet doctor looks at all of them"
        }
        (ErrorKind::TimedOut, _) if error.limit() == Some(Limit::OperationLock) => {
            "another client is at work on this; try again when it has ended"
        }
        (ErrorKind::Transient | ErrorKind::TimedOut, _) => "try again",
        (ErrorKind::StoreDamaged, _) => "shardlet doctor shows what is wrong where; shardlet recovery mends shards",
        (ErrorKind::Internal, _) => "this is a fault of shardlet: please report it",
        _ => return None,
    })
}

/// `NotFound` as `not_found`.
fn snake(name: &str) -> String {
    let mut text = String::new();
    for (place, letter) in name.chars().enumerate() {
        if letter.is_uppercase() && place > 0 {
            text.push('_');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_code_is_documented_once() {
        let codes: Vec<u8> = EXIT_CODES.iter().map(|(code, _)| *code).collect();
        let mut sorted = codes.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(codes, sorted);
    }

    #[test]
    fn kinds_are_words_for_scripts() {
        assert_eq!(snake("NotFound"), "not_found");
        assert_eq!(Failure::from(Error::invalid_input("x")).kind(), "invalid_input");
    }
}
