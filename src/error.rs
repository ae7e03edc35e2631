//! The one error of the library.
//!
//! [`Error`] is cheap to clone and one word wide. [`Error::kind`] says what a caller can do about it, [`Error::code`] and
//! [`Error::category`] let people who know the reference library find its error, and the source chain keeps what the
//! driver said. Which result of a store becomes which error is decided in [`Refusal`], so that every
//! backend answers alike.
//!
//! Invariant: no message holds a secret or the value of a key.

mod refusal;

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

pub use self::refusal::Refusal;
use crate::key::KeyType;
use crate::model::{Place, ShardLocation};

/// What went wrong, shared by all clones of the error.
#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    code: ErrorCode,
    category: ErrorCategory,
    message: Cow<'static, str>,
    operation: Option<&'static str>,
    map: Option<Arc<str>>,
    key_type: Option<KeyType>,
    place: Option<Place>,
    limit: Option<Limit>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// An error of this library: what happened, where, and what can be done about it.
///
/// Cloning costs a reference count. Two clones describe the same failure. The message says what is known of operation, map and
/// place; what the driver said is in [`source`](std::error::Error::source), which may quote the application's own SQL.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> shardlet::Result<()> {
/// use shardlet::{
///     ErrorKind, ListShardMap, NoCredentials, Options, ShardMapManager, Sqlite, Validation,
/// };
/// let manager = ShardMapManager::open_or_create(Sqlite::in_memory(), Options::default()).await?;
/// let tenants: ListShardMap<i32, _> = manager.create_list_shard_map("tenants").await?;
/// match tenants.open_connection_for_key(&7, &NoCredentials, Validation::Validate).await {
///     Ok(_) => println!("connected"),
///     Err(error) if error.kind() == ErrorKind::NotFound => println!("no such tenant"),
///     Err(error) if error.kind() == ErrorKind::Offline => println!("being moved, come back later"),
///     Err(error) if error.is_transient() => println!("try again: {error}"),
///     Err(error) => return Err(error),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

/// The result of every fallible call of this library.
pub type Result<T> = std::result::Result<T, Error>;

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no such store, shard map, shard, mapping, schema information, or mapping for this key. Create it, or ask for
    /// another.
    NotFound,
    /// A store, shard map, shard, point mapping, schema information or table in it of this name, location or key is there already.
    AlreadyExists,
    /// The range shares keys with a range that is mapped already.
    Overlaps,
    /// The mapping of this key is offline, or a session that was routed by it has been ended. Try later.
    Offline,
    /// The mapping has to be taken offline before this can be done.
    NotOffline,
    /// The shard still has mappings, or the shard map still has shards. Remove them first.
    InUse,
    /// The shard is marked offline and takes no new mappings. Choose another, or mark it online.
    Disabled,
    /// The mapping or shard was changed since this handle was read. Read it again and decide anew.
    Stale,
    /// The mapping is locked by an owner whose token was not presented, or is locked already.
    Locked,
    /// The shard map is of another kind, or its keys are of another type.
    WrongKeyType,
    /// The store is of a version that this library cannot use. Upgrade the one that the message names.
    VersionMismatch,
    /// Another client's unfinished operation holds these rows and could not be undone now. Try again.
    PendingOperation,
    /// An argument is outside what the documentation allows. Nothing was sent to a store.
    InvalidInput,
    /// The credentials were refused, or hold what they must not hold.
    Credentials,
    /// A passing fault. The same call may succeed when it is repeated.
    Transient,
    /// The global store or the shard that [`Error::place`] names cannot be reached or written.
    Unavailable,
    /// The last commit may or may not have happened. Read the state before deciding.
    OutcomeUnknown,
    /// A limit ran out; [`Error::limit`] says which.
    TimedOut,
    /// A store holds something that no client writes, or is not a store. It needs a person.
    StoreDamaged,
    /// The database refused the application's own statement; the source is the driver's error.
    Statement,
    /// A fault of this library. Please report it.
    Internal,
}

/// A limit on time, named in errors of kind [`ErrorKind::TimedOut`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// Waiting for a free connection.
    PoolWait,
    /// Opening a connection.
    Connect,
    /// Waiting for a store to answer, its own locks included.
    Command,
    /// Waiting for another client's lock on an operation.
    OperationLock,
    /// Waiting for a load of a mapping that several callers share.
    Load,
}

/// The reference library's error category: the part of the library that an error belongs to.
///
/// The numbers are those of its `ShardManagementErrorCategory`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names are the reference library's and say it all")]
pub enum ErrorCategory {
    ShardMapManagerFactory = 0,
    ShardMapManager = 1,
    ShardMap = 2,
    ListShardMap = 3,
    RangeShardMap = 4,
    Validation = 5,
    Recovery = 6,
    SchemaInfoCollection = 7,
    General = 8,
}

/// A stable number for each way to fail.
///
/// 1 to 30 are the numbers of the reference library's `ShardManagementErrorCode`; those from 1000 on are ours. `code as u32` is
/// the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names up to 30 are the reference library's; ours say it all")]
pub enum ErrorCode {
    ShardMapManagerStoreAlreadyExists = 1,
    ShardMapManagerStoreDoesNotExist = 2,
    ShardMapAlreadyExists = 3,
    ShardMapLookupFailure = 4,
    ShardMapHasShards = 5,
    GlobalStoreVersionMismatch = 6,
    LocalStoreVersionMismatch = 7,
    GlobalStoreOperationInsufficientParameters = 8,
    LocalStoreOperationInsufficientParameters = 9,
    ShardMapTypeConversionError = 10,
    ShardHasMappings = 11,
    ShardAlreadyExists = 12,
    ShardLocationAlreadyExists = 13,
    ShardVersionMismatch = 14,
    MappingPointAlreadyMapped = 15,
    MappingRangeAlreadyMapped = 16,
    StorageOperationFailure = 17,
    ShardMapDoesNotExist = 18,
    ShardDoesNotExist = 19,
    LockNotAcquired = 20,
    LockNotReleased = 21,
    UnexpectedError = 22,
    MappingDoesNotExist = 23,
    MappingNotFoundForKey = 24,
    MappingIsOffline = 25,
    MappingsKillConnectionFailure = 26,
    MappingIsNotOffline = 27,
    MappingLockOwnerIdDoesNotMatch = 28,
    MappingIsAlreadyLocked = 29,
    ShardNotValid = 30,
    /// An argument outside its documented range.
    InvalidArgument = 1000,
    /// A handle of another shard map.
    ForeignObject = 1001,
    /// Credentials that name what routing decides.
    CredentialsNameAPlace = 1002,
    /// A row, document or file that cannot be what a client wrote.
    DamagedStore = 1003,
    /// A commit whose outcome is not known.
    CommitInDoubt = 1004,
    /// A limit on time ran out.
    LimitReached = 1005,
    /// An unfinished operation of another client that could not be undone.
    OperationPending = 1006,
    /// The session was ended because its mapping went offline.
    SessionEnded = 1007,
    /// The application's own statement was refused.
    StatementFailed = 1008,
    /// No schema information of this name. This and the next two are 0, 1 and 2 of the reference's `SchemaInfoErrorCode`.
    SchemaInfoNameDoesNotExist = 1009,
    /// The name of schema information is taken.
    SchemaInfoNameConflict = 1010,
    /// Schema information holds a table of this schema and name.
    TableInfoAlreadyPresent = 1011,
    /// The shard is marked offline and takes no new mappings.
    ShardIsDisabled = 1012,
}

impl Error {
    /// Makes an error; what is known about where it happened is added with the `with_` calls.
    ///
    /// For backends: the layers above it add the operation, map and category.
    #[must_use]
    pub fn new(kind: ErrorKind, code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Inner {
            kind,
            code,
            category: ErrorCategory::General,
            message: message.into(),
            operation: None,
            map: None,
            key_type: None,
            place: None,
            limit: None,
            source: None,
        }))
    }

    /// An argument outside what the documentation allows.
    #[must_use]
    pub fn invalid_input(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidInput, ErrorCode::InvalidArgument, message)
    }

    /// A store that holds what no client writes; `what` names the table and column.
    #[must_use]
    pub fn damaged(what: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::StoreDamaged, ErrorCode::DamagedStore, what)
    }

    /// A limit on time that ran out; `message` says what was waited for and for how long.
    #[must_use]
    pub fn timed_out(limit: Limit, message: impl Into<Cow<'static, str>>) -> Self {
        let code = match limit {
            Limit::OperationLock => ErrorCode::LockNotAcquired,
            Limit::PoolWait | Limit::Connect | Limit::Command | Limit::Load => ErrorCode::LimitReached,
        };
        let mut error = Self::new(ErrorKind::TimedOut, code, message);
        error.change().limit = Some(limit);
        error
    }

    /// A fault of this library.
    #[must_use]
    pub fn internal(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Internal, ErrorCode::UnexpectedError, message)
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The stable code: the reference library's number, or one of ours from 1000 on.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        self.0.code
    }

    /// The reference library's category.
    #[must_use]
    pub fn category(&self) -> ErrorCategory {
        self.0.category
    }

    /// The store or shard that the failure belongs to, where there is one.
    #[must_use]
    pub fn place(&self) -> Option<&Place> {
        self.0.place.as_ref()
    }

    /// The limit that ran out, for errors of kind [`ErrorKind::TimedOut`].
    #[must_use]
    pub fn limit(&self) -> Option<Limit> {
        self.0.limit
    }

    /// The public operation that failed, by the reference library's name for it.
    #[must_use]
    pub fn operation(&self) -> Option<&'static str> {
        self.0.operation
    }

    /// The name of the shard map concerned.
    #[must_use]
    pub fn shard_map(&self) -> Option<&str> {
        self.0.map.as_deref()
    }

    /// The message alone, without what [`Display`](fmt::Display) adds of operation, map and place.
    pub(crate) fn message(&self) -> &str {
        &self.0.message
    }

    /// True if the same call may succeed when it is repeated as it is.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self.0.kind {
            ErrorKind::Transient | ErrorKind::TimedOut | ErrorKind::PendingOperation => true,
            ErrorKind::NotFound
            | ErrorKind::AlreadyExists
            | ErrorKind::Overlaps
            | ErrorKind::Offline
            | ErrorKind::NotOffline
            | ErrorKind::InUse
            | ErrorKind::Disabled
            | ErrorKind::Stale
            | ErrorKind::Locked
            | ErrorKind::WrongKeyType
            | ErrorKind::VersionMismatch
            | ErrorKind::InvalidInput
            | ErrorKind::Credentials
            | ErrorKind::Unavailable
            | ErrorKind::OutcomeUnknown
            | ErrorKind::StoreDamaged
            | ErrorKind::Statement
            | ErrorKind::Internal => false,
        }
    }

    /// Keeps `source` as the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.change().source = Some(Arc::new(source));
        self
    }

    /// Sets the category.
    #[must_use]
    pub fn with_category(mut self, category: ErrorCategory) -> Self {
        self.change().category = category;
        self
    }

    /// Sets the category, unless an inner layer did, or the reference library gives the code one wherever it is met.
    pub(crate) fn or_category(self, category: ErrorCategory) -> Self {
        use ErrorCode as Code;
        match (self.category(), self.code()) {
            (
                ErrorCategory::General,
                Code::GlobalStoreVersionMismatch
                | Code::LocalStoreVersionMismatch
                | Code::GlobalStoreOperationInsufficientParameters
                | Code::LocalStoreOperationInsufficientParameters,
            ) => self.with_category(ErrorCategory::Validation),
            (ErrorCategory::General, Code::LockNotAcquired | Code::LockNotReleased | Code::UnexpectedError) => self,
            (ErrorCategory::General, _) => self.with_category(category),
            _ => self,
        }
    }

    /// Sets the message, keeping everything else.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<Cow<'static, str>>) -> Self {
        self.change().message = message.into();
        self
    }

    /// Sets the code, keeping everything else.
    #[must_use]
    pub fn with_code(mut self, code: ErrorCode) -> Self {
        self.change().code = code;
        self
    }

    /// Names the operation, unless an inner layer named one already.
    #[must_use]
    pub fn with_operation(mut self, operation: &'static str) -> Self {
        let inner = self.change();
        inner.operation = inner.operation.or(Some(operation));
        self
    }

    /// Names the shard map and its key type, unless an inner layer did already.
    #[must_use]
    pub fn with_map(mut self, name: &Arc<str>, key_type: KeyType) -> Self {
        let inner = self.change();
        if inner.map.is_none() {
            inner.map = Some(Arc::clone(name));
            inner.key_type = Some(key_type);
        }
        self
    }

    /// Names the global store as the place, unless an inner layer named one already.
    #[must_use]
    pub fn at_global(mut self) -> Self {
        let inner = self.change();
        if inner.place.is_none() {
            inner.place = Some(Place::Global);
        }
        self
    }

    /// Names a shard as the place, unless an inner layer named one already.
    #[must_use]
    pub fn at_shard(mut self, location: &ShardLocation) -> Self {
        let inner = self.change();
        if inner.place.is_none() {
            inner.place = Some(Place::Shard(location.clone()));
        }
        self
    }

    fn change(&mut self) -> &mut Inner {
        Arc::make_mut(&mut self.0)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        if let Some(operation) = inner.operation {
            write!(f, "{operation}: ")?;
        }
        f.write_str(&inner.message)?;
        let mut separator = " (";
        if let Some(map) = &inner.map {
            write!(f, "{separator}shard map {map:?}")?;
            separator = ", ";
        }
        if let Some(key_type) = inner.key_type {
            write!(f, "{separator}key type {key_type}")?;
            separator = ", ";
        }
        if let Some(place) = &inner.place {
            write!(f, "{separator}at {place}")?;
            separator = ", ";
        }
        if separator == ", " {
            f.write_str(")")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        write!(f, "Error({:?}, {:?}/{:?}: {self}", inner.kind, inner.category, inner.code)?;
        if let Some(source) = &inner.source {
            write!(f, "; caused by: {source}")?;
        }
        f.write_str(")")
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_wide_and_shareable() {
        fn shareable<T: Send + Sync + Clone + 'static>() {}
        shareable::<Error>();
        assert_eq!(size_of::<Error>(), size_of::<usize>());
        assert_eq!(size_of::<Result<()>>(), size_of::<usize>());
    }

    #[test]
    fn the_message_names_what_is_known_and_an_inner_layer_wins() {
        let map: Arc<str> = Arc::from("orders");
        let error = Refusal::ShardHasMappings
            .into_error()
            .with_operation("DeleteShard")
            .with_operation("Outer")
            .with_map(&map, KeyType::Int64)
            .at_shard(&ShardLocation::new("a", "b"))
            .at_global();
        assert_eq!(
            error.to_string(),
            "DeleteShard: the shard still has mappings (shard map \"orders\", key type Int64, at \
             [DataSource=a Database=b])"
        );
        assert_eq!(error.kind(), ErrorKind::InUse);
        assert_eq!(error.code() as u32, 11);
    }

    #[test]
    fn the_source_is_kept() {
        let error = Error::internal("x").with_source(std::io::Error::other("disk"));
        assert_eq!(error.clone().source().map(ToString::to_string), Some("disk".to_owned()));
    }
}
