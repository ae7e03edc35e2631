//! What the driver's errors mean to a caller.

use rusqlite::{Error as DriverError, ErrorCode as DriverCode};

use crate::error::{Error, ErrorCode, ErrorKind, Limit};

/// The error of a request to a store.
pub(crate) fn store_fault(error: DriverError) -> Error {
    let storage = |kind, message: &'static str| Error::new(kind, ErrorCode::StorageOperationFailure, message);
    let fault = match error.sqlite_error_code() {
        Some(DriverCode::DatabaseBusy | DriverCode::DatabaseLocked | DriverCode::FileLockingProtocolFailed) => {
            Error::timed_out(Limit::Command, "the database stayed locked by others for longer than a command may take")
        }
        Some(DriverCode::NotADatabase) => Error::damaged("the file is not a SQLite database"),
        Some(DriverCode::DatabaseCorrupt) => Error::damaged("the SQLite database is damaged"),
        Some(DriverCode::DiskFull) => storage(ErrorKind::Unavailable, "the disk or the database's bound is full"),
        Some(DriverCode::ReadOnly | DriverCode::PermissionDenied | DriverCode::AuthorizationForStatementDenied) => {
            storage(ErrorKind::Unavailable, "the database cannot be written")
        }
        Some(DriverCode::CannotOpen) => storage(ErrorKind::Unavailable, "the database cannot be opened"),
        Some(DriverCode::SystemIoFailure) => storage(ErrorKind::Unavailable, "the database cannot be read or written"),
        Some(DriverCode::OutOfMemory | DriverCode::OperationInterrupted | DriverCode::SchemaChanged) => {
            storage(ErrorKind::Transient, "the request was interrupted")
        }
        Some(DriverCode::ConstraintViolation) => {
            Error::damaged("a row of the store contradicts another: a constraint refused a change that should fit")
        }
        Some(_) | None => match missing_table(&error) {
            Some(table) => Error::damaged(format!("table {table} of the store is missing: it is only half installed")),
            // An unknown column, or a value of the wrong type: not what we installed.
            None => Error::damaged("the tables of the store are not as this library installs them"),
        },
    };
    fault.with_source(error)
}

/// The error of a commit. After a failure of the disk it is not known whether the commit is on it.
pub(crate) fn commit_fault(error: DriverError) -> Error {
    match error.sqlite_error_code() {
        Some(DriverCode::SystemIoFailure) => {
            Error::new(ErrorKind::OutcomeUnknown, ErrorCode::CommitInDoubt, "the disk failed during the commit")
                .with_source(error)
        }
        _ => store_fault(error),
    }
}

/// What SQLite says of an error.
fn message(error: &DriverError) -> Option<&str> {
    match error {
        DriverError::SqliteFailure(_, Some(message)) | DriverError::SqlInputError { msg: message, .. } => Some(message),
        _ => None,
    }
}

/// The table that a statement names and the database does not have.
fn missing_table(error: &DriverError) -> Option<&str> {
    let table = message(error)?.strip_prefix("no such table: ")?;
    Some(table.strip_prefix("main.").unwrap_or(table).trim_start_matches("__ShardManagement."))
}

/// True if a statement names a table that the database does not have.
pub(super) fn is_missing_table(error: &DriverError) -> bool {
    missing_table(error).is_some()
}

/// True if a statement names a column that its table does not have.
pub(super) fn is_missing_column(error: &DriverError) -> bool {
    message(error).is_some_and(|message| message.starts_with("no such column"))
}

/// The error of opening a database.
pub(super) fn open_fault(error: DriverError) -> Error {
    store_fault(error)
}

/// Either an error of the driver or one of ours, inside a transaction.
#[derive(Debug)]
pub(crate) enum StatementFault {
    /// The driver's.
    Driver(DriverError),
    /// Ours.
    Ours(Error),
}

impl From<DriverError> for StatementFault {
    fn from(error: DriverError) -> Self {
        Self::Driver(error)
    }
}

impl From<Error> for StatementFault {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

impl From<crate::error::Refusal> for StatementFault {
    fn from(refusal: crate::error::Refusal) -> Self {
        Self::Ours(refusal.into_error())
    }
}

impl From<StatementFault> for Error {
    fn from(fault: StatementFault) -> Self {
        match fault {
            StatementFault::Driver(error) => store_fault(error),
            StatementFault::Ours(error) => error,
        }
    }
}
