//! What the driver's and the server's errors mean to a caller. The numbers of errors are classified here and nowhere else.

use std::time::Duration;

use tiberius::error::{Error as DriverError, IoErrorKind};

use crate::error::{Error, ErrorCode, ErrorKind, Limit};

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    /// Opening a connection.
    Connecting,
    /// A request to a store that changes nothing.
    Reading,
    /// A request to a store that changes something, in one transaction that ends with it.
    Writing,
    /// A statement of the application, which commits by itself.
    Statement,
    /// A statement of the application in a transaction that is still open.
    InTransaction,
}

/// The number under which Babelfish reports what it has no number for.
const BABELFISH_OTHER: u32 = 33_557_097;

/// A procedure that is not there.
const MISSING_PROCEDURE: u32 = 2_812;

/// A column or a table that is not there.
const MISSING_STRUCTURE: [u32; 2] = [207, 208];

/// A row that a constraint refused.
const CONSTRAINTS: [u32; 4] = [515, 547, 2_601, 2_627];

/// Numbers of errors that pass: throttling, failover, broken transport, deadlocks and their like.
const TRANSIENT: [u32; 22] = [
    20, 64, 233, 615, 926, 1_205, 3_960, 4_221, 10_053, 10_054, 10_060, 10_928, 10_929, 18_401, 40_143, 40_197, 40_501,
    40_540, 40_613, 49_918, 49_919, 49_920,
];

/// Those of them after which it is not known how far a request had come.
const BROKEN: [u32; 9] = [20, 64, 233, 10_053, 10_054, 10_060, 40_143, 40_197, 40_613];

/// From this class on the server ends the connection.
const FATAL: u8 = 20;

/// What our scripts raise.
const INSTALLATION_LOCKED: u32 = 51_000;
const OLD_DATABASE: u32 = 51_001;

/// The login was refused, or may not do this.
const CREDENTIALS: [u32; 19] = [
    229, 230, 262, 297, 300, 371, 916, 2_760, 6_102, 15_151, 15_247, 18_450, 18_452, 18_456, 18_470, 18_486, 18_487,
    18_488, 40_615,
];

/// A table that is not there, or that the login may not drop. Our scripts drop what is there only.
const NOT_DROPPED: u32 = 3_701;

/// The database is not there or cannot be written.
const UNAVAILABLE: [u32; 9] = [911, 924, 945, 976, 1_105, 3_906, 3_908, 4_060, 9_002];

/// The session was killed.
const KILLED: [u32; 2] = [596, 6_005];

/// The error of the driver.
pub(crate) fn fault(error: DriverError, doing: Doing) -> Error {
    let storage = |kind, message: &'static str| Error::new(kind, ErrorCode::StorageOperationFailure, message);
    let ours = match &error {
        DriverError::Server(token) => {
            let ours = server_fault(token.code(), token.message(), token.class(), doing);
            // What the server says of a constraint quotes keys.
            return if CONSTRAINTS.contains(&token.code()) && in_store(doing) { ours } else { ours.with_source(error) };
        }
        DriverError::Io { kind: IoErrorKind::TimedOut, .. } if doing == Doing::Connecting => {
            Error::timed_out(Limit::Connect, "the server took too long to let us in")
        }
        DriverError::Tls(_) => storage(ErrorKind::Unavailable, "no secure connection to the server could be made"),
        DriverError::Routing { .. } => {
            storage(ErrorKind::Unavailable, "the server sent us on to another that sent us on again")
        }
        DriverError::Conversion(_) | DriverError::BulkInput(_) | DriverError::Utf8 | DriverError::Utf16
            if matches!(doing, Doing::Statement | Doing::InTransaction) =>
        {
            Error::new(ErrorKind::Statement, ErrorCode::StatementFailed, "a value does not fit its column or type")
        }
        _ => lost(doing),
    };
    ours.with_source(error)
}

/// The error of a connection that broke while something was under way.
pub(crate) fn lost(doing: Doing) -> Error {
    let storage = |kind, message: &'static str| Error::new(kind, ErrorCode::StorageOperationFailure, message);
    match doing {
        Doing::Connecting => storage(ErrorKind::Unavailable, "the server cannot be reached"),
        Doing::Reading => storage(ErrorKind::Transient, "the connection broke"),
        Doing::InTransaction => storage(ErrorKind::Transient, "the connection broke, and the transaction with it"),
        Doing::Writing | Doing::Statement => Error::new(
            ErrorKind::OutcomeUnknown,
            ErrorCode::CommitInDoubt,
            "the connection broke before the server answered: it is not known whether the change was made",
        ),
    }
}

/// The error of a request to a store that was not answered in time. It goes on until the server sees that nobody waits.
pub(crate) fn late(doing: Doing, limit: Duration) -> Error {
    match doing {
        Doing::Writing => Error::new(
            ErrorKind::OutcomeUnknown,
            ErrorCode::CommitInDoubt,
            format!("the server did not answer within {limit:?}: it is not known whether the change was made"),
        ),
        _ => Error::timed_out(Limit::Command, format!("the server did not answer within {limit:?}")),
    }
}

/// True for requests to stores.
fn in_store(doing: Doing) -> bool {
    matches!(doing, Doing::Reading | Doing::Writing)
}

fn server_fault(number: u32, text: &str, class: u8, doing: Doing) -> Error {
    let storage = |kind, message: &'static str| Error::new(kind, ErrorCode::StorageOperationFailure, message);
    let other = number == BABELFISH_OTHER;
    if number == 1_222 || (other && text.contains("lock timeout")) {
        return Error::timed_out(Limit::Command, "a row stayed locked by others for longer than a command may take");
    }
    if number == INSTALLATION_LOCKED {
        return Error::timed_out(Limit::OperationLock, "another client has been installing the store for a minute");
    }
    if number == OLD_DATABASE {
        return storage(
            ErrorKind::Unavailable,
            "the database's compatibility level is below 130, that of SQL Server 2016",
        );
    }
    // A commit may have been under way.
    if matches!(doing, Doing::Writing | Doing::Statement) && (class >= FATAL || BROKEN.contains(&number)) {
        return lost(doing);
    }
    let passes = ["could not serialize", "deadlock detected", "too many clients", "is starting up", "shutting down"];
    if TRANSIENT.contains(&number) || (other && passes.iter().any(|known| text.contains(known))) {
        return storage(ErrorKind::Transient, "the server refused for now");
    }
    if is_killed(number, text) {
        return lost(if doing == Doing::Connecting { Doing::Reading } else { doing });
    }
    let not_dropped = in_store(doing) && (number == NOT_DROPPED || (other && text.contains("must be owner")));
    if CREDENTIALS.contains(&number) || not_dropped || (other && text.contains("permission denied")) {
        return storage(ErrorKind::Credentials, "the login was refused, or lacks a right that this takes");
    }
    if UNAVAILABLE.contains(&number) {
        return storage(
            ErrorKind::Unavailable,
            "the database is not there, cannot be written, or the login may not use it",
        );
    }
    match doing {
        Doing::Connecting => storage(ErrorKind::Unavailable, "the server refused the connection"),
        Doing::Statement | Doing::InTransaction => {
            Error::new(ErrorKind::Statement, ErrorCode::StatementFailed, "the server refused the statement")
        }
        Doing::Reading | Doing::Writing if CONSTRAINTS.contains(&number) => {
            Error::damaged("a row of the store contradicts another: a constraint refused a change that should fit")
        }
        Doing::Reading | Doing::Writing => Error::damaged(
            "the tables of the store are not as this library installs them, or only half of them are there",
        ),
    }
}

/// True if the server has answered in full, so that the connection can be used again.
pub(crate) fn is_answer(error: &DriverError) -> bool {
    matches!(error, DriverError::Server(token) if token.class() < FATAL && !is_killed(token.code(), token.message()))
}

/// True if the server ended the session.
fn is_killed(number: u32, text: &str) -> bool {
    KILLED.contains(&number) || (number == BABELFISH_OTHER && text.contains("terminating connection"))
}

/// True if a procedure was called that is not there.
pub(crate) fn is_missing_procedure(error: &DriverError) -> bool {
    let DriverError::Server(token) = error else { return false };
    let message = token.message();
    let missing = message.ends_with("does not exist")
        && (message.starts_with("procedure ")
            || message.starts_with("schema ") && message.contains("__shardmanagement"));
    token.code() == MISSING_PROCEDURE || (token.code() == BABELFISH_OTHER && missing)
}

/// True if a procedure was there and missed a table or a column.
pub(crate) fn is_other_structure(error: &DriverError) -> bool {
    let DriverError::Server(token) = error else { return false };
    let message = token.message();
    let missing =
        message.ends_with("does not exist") && (message.starts_with("relation ") || message.starts_with("column "));
    MISSING_STRUCTURE.contains(&token.code()) || (token.code() == BABELFISH_OTHER && missing)
}
