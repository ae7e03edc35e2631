//! Why a store refuses a request, and which error that is to a caller.

use super::{Error, ErrorCode, ErrorKind};

/// Why a store refused a request: the result codes that procedures of the store answer with.
///
/// The numbers are those of the reference library's store (its `StoreResult`); those from 1000 on are ours. A backend turns its
/// own answers into these in one place, and [`Refusal::into_error`] is the one place where they become errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "into_error spells out each")]
pub enum Refusal {
    MissingParameters = 50,
    StoreVersionMismatch = 51,
    PendingOperation = 52,
    ShardMapExists = 101,
    ShardMapDoesNotExist = 102,
    ShardMapHasShards = 103,
    ShardExists = 201,
    ShardDoesNotExist = 202,
    ShardHasMappings = 203,
    ShardVersionMismatch = 204,
    ShardLocationExists = 205,
    MappingDoesNotExist = 301,
    MappingRangeAlreadyMapped = 302,
    MappingPointAlreadyMapped = 303,
    MappingNotFoundForKey = 304,
    UnableToKillSessions = 305,
    MappingIsNotOffline = 306,
    MappingLockOwnerIdDoesNotMatch = 307,
    MappingIsAlreadyLocked = 308,
    MappingIsOffline = 309,
    SchemaInfoNameDoesNotExist = 401,
    SchemaInfoNameConflict = 402,
    ShardIsDisabled = 1201,
}

impl Refusal {
    /// Every refusal.
    const ALL: [Self; 23] = [
        Self::MissingParameters,
        Self::StoreVersionMismatch,
        Self::PendingOperation,
        Self::ShardMapExists,
        Self::ShardMapDoesNotExist,
        Self::ShardMapHasShards,
        Self::ShardExists,
        Self::ShardDoesNotExist,
        Self::ShardHasMappings,
        Self::ShardVersionMismatch,
        Self::ShardLocationExists,
        Self::MappingDoesNotExist,
        Self::MappingRangeAlreadyMapped,
        Self::MappingPointAlreadyMapped,
        Self::MappingNotFoundForKey,
        Self::UnableToKillSessions,
        Self::MappingIsNotOffline,
        Self::MappingLockOwnerIdDoesNotMatch,
        Self::MappingIsAlreadyLocked,
        Self::MappingIsOffline,
        Self::SchemaInfoNameDoesNotExist,
        Self::SchemaInfoNameConflict,
        Self::ShardIsDisabled,
    ];

    /// The refusal of a stored result code, or `None` for a code that refuses nothing or is unknown.
    #[must_use]
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|known| *known as u32 == code)
    }

    /// The error that this refusal is to a caller.
    #[must_use]
    pub fn into_error(self) -> Error {
        use ErrorCode as Code;
        use ErrorKind as Kind;
        let (kind, code, message) = match self {
            Self::MissingParameters => (
                Kind::Internal,
                Code::GlobalStoreOperationInsufficientParameters,
                "the store missed a parameter of the request",
            ),
            Self::StoreVersionMismatch => (
                Kind::VersionMismatch,
                Code::GlobalStoreVersionMismatch,
                "the store is of a version that this library cannot use",
            ),
            Self::PendingOperation => (
                Kind::PendingOperation,
                Code::OperationPending,
                "an unfinished operation of another client is in the way",
            ),
            Self::ShardMapExists => {
                (Kind::AlreadyExists, Code::ShardMapAlreadyExists, "a shard map of this name exists already")
            }
            Self::ShardMapDoesNotExist => (Kind::NotFound, Code::ShardMapDoesNotExist, "the shard map does not exist"),
            Self::ShardMapHasShards => (Kind::InUse, Code::ShardMapHasShards, "the shard map still has shards"),
            Self::ShardExists => (Kind::AlreadyExists, Code::ShardAlreadyExists, "a shard of this id exists already"),
            Self::ShardDoesNotExist => (Kind::NotFound, Code::ShardDoesNotExist, "the shard does not exist"),
            Self::ShardHasMappings => (Kind::InUse, Code::ShardHasMappings, "the shard still has mappings"),
            Self::ShardVersionMismatch => {
                (Kind::Stale, Code::ShardVersionMismatch, "the shard has changed since this handle was read")
            }
            Self::ShardLocationExists => {
                (Kind::AlreadyExists, Code::ShardLocationAlreadyExists, "the location is a shard of this map already")
            }
            Self::MappingDoesNotExist => (
                Kind::Stale,
                Code::MappingDoesNotExist,
                "the mapping was changed or deleted since this handle was read",
            ),
            Self::MappingRangeAlreadyMapped => {
                (Kind::Overlaps, Code::MappingRangeAlreadyMapped, "the range overlaps one that is mapped already")
            }
            Self::MappingPointAlreadyMapped => {
                (Kind::AlreadyExists, Code::MappingPointAlreadyMapped, "the key is mapped already")
            }
            Self::MappingNotFoundForKey => (Kind::NotFound, Code::MappingNotFoundForKey, "no mapping holds the key"),
            Self::UnableToKillSessions => (
                Kind::Unavailable,
                Code::MappingsKillConnectionFailure,
                "the sessions of the mapping could not be ended",
            ),
            Self::MappingIsNotOffline => {
                (Kind::NotOffline, Code::MappingIsNotOffline, "the mapping has to be taken offline first")
            }
            Self::MappingLockOwnerIdDoesNotMatch => (
                Kind::Locked,
                Code::MappingLockOwnerIdDoesNotMatch,
                "the lock token presented is not the owner of the mapping's lock",
            ),
            Self::MappingIsAlreadyLocked => {
                (Kind::Locked, Code::MappingIsAlreadyLocked, "the mapping is locked already")
            }
            Self::MappingIsOffline => (Kind::Offline, Code::MappingIsOffline, "the mapping is offline"),
            Self::SchemaInfoNameDoesNotExist => {
                (Kind::NotFound, Code::SchemaInfoNameDoesNotExist, "there is no schema information of this name")
            }
            Self::SchemaInfoNameConflict => {
                (Kind::AlreadyExists, Code::SchemaInfoNameConflict, "there is schema information of this name already")
            }
            Self::ShardIsDisabled => {
                (Kind::Disabled, Code::ShardIsDisabled, "the shard is marked offline and takes no new mappings")
            }
        };
        Error::new(kind, code, message)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        refusal.into_error()
    }
}
