//! What clients say that they did, to be held against what the stores saw, and to be counted.

use std::collections::BTreeMap;
use std::fmt;

use shardlet::{EncodedKey, Error, ErrorKind, MappingId, OperationId, Result, ShardLocation, ShardMapId};

#[derive(Clone, Debug)]
pub enum Report {
    /// A public call begins.
    Calls(&'static str),
    /// An operation has returned.
    Operated { name: &'static str, id: Option<OperationId>, error: Option<Error> },
    /// A connection was opened for a key, or not.
    Opened {
        map: ShardMapId,
        key: EncodedKey,
        validated: bool,
        outcome: Result<ShardLocation>,
        /// By which number the client knows the connection.
        session: usize,
        /// What the cache holds for the key just after.
        cached: Option<MappingId>,
    },
    /// A statement on a connection has read the name that the database carries.
    Stated { session: usize, outcome: Result<String> },
    /// Anything else has returned.
    Returned { name: &'static str, error: Option<Error> },
}

impl Report {
    /// How what it tells of has failed.
    pub fn error(&self) -> Option<&Error> {
        match self {
            Self::Calls(_) => None,
            Self::Operated { error, .. } | Self::Returned { error, .. } => error.as_ref(),
            Self::Opened { outcome, .. } => outcome.as_ref().err(),
            Self::Stated { outcome, .. } => outcome.as_ref().err(),
        }
    }

    /// What it tells the end of.
    pub fn name(&self) -> Option<&'static str> {
        match self {
            Self::Calls(_) => None,
            Self::Operated { name, .. } | Self::Returned { name, .. } => Some(name),
            Self::Opened { validated: true, .. } => Some("open"),
            Self::Opened { .. } => Some("open unvalidated"),
            Self::Stated { .. } => Some("statement"),
        }
    }
}

/// Counts operations by kind and outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<(String, String), usize>);

impl Tally {
    pub fn count(&mut self, name: &str, outcome: &str) {
        self.add(name, outcome, 1);
    }

    pub fn add(&mut self, name: &str, outcome: &str, times: usize) {
        *self.0.entry((name.to_owned(), outcome.to_owned())).or_default() += times;
    }

    pub fn total(&self) -> usize {
        self.0.values().sum()
    }

    /// How often something had an outcome.
    pub fn of(&self, name: &str, outcome: &str) -> usize {
        self.0.get(&(name.to_owned(), outcome.to_owned())).copied().unwrap_or(0)
    }

    pub fn join(&mut self, other: &Self) {
        for ((name, outcome), times) in &other.0 {
            self.add(name, outcome, *times);
        }
    }
}

/// How a call ended, in a word.
pub fn outcome_of(error: Option<&Error>) -> String {
    error.map_or_else(|| "Ok".to_owned(), |error| format!("{:?}", error.kind()))
}

/// What may happen at all.
pub fn is_possible(error: &Error) -> bool {
    let injected = [ErrorKind::Transient, ErrorKind::Unavailable, ErrorKind::OutcomeUnknown, ErrorKind::TimedOut];
    is_ordinary(error) || injected.contains(&error.kind())
}

/// What may happen to anybody where many clients change one map, without any fault.
pub fn is_ordinary(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound
            | ErrorKind::AlreadyExists
            | ErrorKind::Overlaps
            | ErrorKind::Offline
            | ErrorKind::NotOffline
            | ErrorKind::InUse
            | ErrorKind::Disabled
            | ErrorKind::Stale
            | ErrorKind::Locked
            | ErrorKind::InvalidInput
            | ErrorKind::PendingOperation
    )
}

impl fmt::Display for Tally {
    /// A line for each kind of operation, with its outcomes, the most frequent first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut by_name: BTreeMap<&str, Vec<(usize, &str)>> = BTreeMap::new();
        for ((name, outcome), times) in &self.0 {
            by_name.entry(name).or_default().push((*times, outcome));
        }
        for (name, mut outcomes) in by_name {
            outcomes.sort_by(|a, b| b.cmp(a));
            let outcomes: Vec<_> = outcomes.iter().map(|(times, outcome)| format!("{outcome} {times}")).collect();
            writeln!(f, "  {name:<22} {}", outcomes.join(", "))?;
        }
        Ok(())
    }
}
