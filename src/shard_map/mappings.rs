//! Mappings: finding, listing, and the changes that list and range maps share.

use std::sync::Arc;

use super::{Operation, ShardMap};
use crate::error::{Error, Refusal, Result};
use crate::gsm::{OperationCode, RecordFilter};
use crate::key::{EncodedKey, ShardKey};
use crate::model::{
    LockToken, Mapping, MappingFilter, MappingRecord, MappingStatus, SessionPolicy, SessionsEnded, Shard, ShardMapKind,
};
use crate::operation::{Request, Stores, add_mapping, remove_mapping, update_mapping};
use crate::routing::RoutedKey;

/// What to change of a mapping. Start from the default and set what changes; with nothing set nothing happens.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> shardlet::Result<()> {
/// # use shardlet::{MappingStatus, MappingUpdate, Options, RangeShardMap, ShardLocation, ShardMapManager, Sqlite};
/// # let manager = ShardMapManager::open_or_create(Sqlite::in_memory(), Options::default()).await?;
/// # let orders: RangeShardMap<i64, _> = manager.create_range_shard_map("orders").await?;
/// # let first = orders.create_shard(&ShardLocation::new("server-a", "sample_shard_0")).await?;
/// # let second = orders.create_shard(&ShardLocation::new("server-a", "sample_shard_1")).await?;
/// # let mapping = orders.create_mapping(0..50, &first).await?;
/// // Offline and to another shard in one operation.
/// let update = MappingUpdate::new().status(MappingStatus::Offline).shard(&second);
/// let moved = orders.update_mapping(mapping, &update).await?;
/// assert_eq!(moved.shard().location(), second.location());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct MappingUpdate {
    status: Option<MappingStatus>,
    shard: Option<Shard>,
    sessions: SessionPolicy,
}

impl MappingUpdate {
    /// Changes nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts the mapping online or offline.
    #[must_use]
    pub fn status(mut self, status: MappingStatus) -> Self {
        self.status = Some(status);
        self
    }

    /// Moves the mapping to another shard. Rows are not moved; that is for the application to do while it is offline.
    #[must_use]
    pub fn shard(mut self, shard: &Shard) -> Self {
        self.shard = Some(shard.clone());
        self
    }

    /// What becomes of open sessions if the mapping goes offline. [`SessionPolicy::EndNow`] unless set.
    #[must_use]
    pub fn sessions(mut self, policy: SessionPolicy) -> Self {
        self.sessions = policy;
        self
    }
}

impl<M: Mapping, B: Stores> ShardMap<M, B> {
    /// The mapping that holds a key, as the global store has it now. One read of the global store, which also refreshes the
    /// cache. For routing, and wherever the cache will do, see [`lookup_mapping`](Self::lookup_mapping).
    ///
    /// # Errors
    /// `NotFound` if no mapping holds the key, or the map is gone; `InvalidInput` if the key is outside its type's range.
    pub async fn mapping_for_key(&self, key: &M::Key) -> Result<M> {
        self.find_mapping_for_key(key).await?.ok_or_else(|| self.not_mapped("GetMappingForKey"))
    }

    /// The mapping that holds a key, if there is one, as the global store has it now. One read, as for
    /// [`mapping_for_key`](Self::mapping_for_key).
    ///
    /// # Errors
    /// `InvalidInput` if the key is outside its type's range; `NotFound` if the map is gone.
    pub async fn find_mapping_for_key(&self, key: &M::Key) -> Result<Option<M>> {
        let about = |error: Error| self.about(error.with_operation("TryGetMappingForKey"));
        let key = Self::routed(key).map_err(about)?;
        let cache = self.router().cache();
        let epoch = cache.epoch();
        let found = self.router().read(self.stores(), &key, epoch).await.map_err(about)?;
        if found.is_none()
            && let Some(stale) = cache.peek(&key.word)
        {
            let _ = cache.invalidate(&stale);
        }
        Ok(found.map(handle))
    }

    /// All mappings, in the order of their keys, as the global store has them now. One read of the global store; the cache is
    /// left alone.
    ///
    /// # Errors
    /// `NotFound` if the map is gone.
    pub async fn mappings(&self) -> Result<Vec<M>> {
        self.mappings_matching(&MappingFilter::all()).await
    }

    /// The mappings in a range of keys, or on a shard, or both, in the order of their keys. One read of the global store.
    ///
    /// # Errors
    /// `InvalidInput` for an empty range or a shard of another map; `NotFound` if the shard or the map is gone.
    pub async fn mappings_matching(&self, filter: &MappingFilter<M::Key>) -> Result<Vec<M>> {
        let about = |error: Error| self.about(error.with_operation("GetMappings"));
        if let Some(shard) = &filter.shard {
            self.own_shard(shard).map_err(about)?;
        }
        let filter = RecordFilter {
            range: filter.range.as_ref().map(crate::KeyRange::encode).transpose().map_err(about)?,
            shard: filter.shard.as_ref().map(Shard::id),
        };
        let found = self.stores().mappings(self.info(), &filter).await.map_err(about)?;
        Ok(found.into_iter().map(|record| handle(Arc::new(record))).collect())
    }

    /// Deletes a mapping, which has to be offline. Rows of its keys stay where they are.
    ///
    /// # Errors
    /// `NotOffline`; `Stale` if it was changed since it was read; `Locked`; `InvalidInput` if it belongs to another map.
    pub fn delete_mapping(&self, mapping: M) -> Operation<()> {
        let name = match M::KIND {
            ShardMapKind::List => OperationCode::RemovePointMapping.name(),
            ShardMapKind::Range => OperationCode::RemoveRangeMapping.name(),
        };
        if let Err(error) = self.own(mapping.record().map, "mapping") {
            return Operation::refused(name, error);
        }
        let request = remove_mapping::request(self.info(), mapping.record(), mapping.presented());
        let (map, todo) = (self.clone(), request.clone());
        Operation::new(request, async move { map.run(&todo).await.map(|_| ()) })
    }

    /// Changes status or shard of a mapping, or both at once.
    ///
    /// An online mapping moves only if it is taken offline before or by the same update.
    ///
    /// # Errors
    /// `NotOffline` for moving one that is online and stays so; `Stale`; `Locked`; `NotFound` if the new shard is gone;
    /// `Disabled` if the new shard is [marked offline](Self::update_shard) and is not the one that it is on; `InvalidInput` if the mapping or the shard belongs to another map.
    pub fn update_mapping(&self, mapping: M, update: &MappingUpdate) -> Operation<M> {
        self.update(mapping, update, |mapping, _| mapping)
    }

    /// Changes a mapping, and says what became of open sessions where it goes offline.
    ///
    /// # Errors
    /// As [`update_mapping`](Self::update_mapping).
    pub fn update_mapping_with(&self, mapping: M, update: &MappingUpdate) -> Operation<(M, SessionsEnded)> {
        self.update(mapping, update, |mapping, ended| (mapping, ended))
    }

    /// Takes a mapping offline: from now on opening a connection for one of its keys fails with kind `Offline`, and sessions
    /// that are open are ended, also when the mapping that routed them has been split or merged since.
    ///
    /// # Errors
    /// As [`update_mapping`](Self::update_mapping).
    pub fn mark_mapping_offline(&self, mapping: M) -> Operation<M> {
        self.update_mapping(mapping, &MappingUpdate::new().status(MappingStatus::Offline))
    }

    /// Takes a mapping offline with a choice of what becomes of open sessions, and says what became of them.
    ///
    /// # Errors
    /// As [`update_mapping`](Self::update_mapping).
    pub fn mark_mapping_offline_with(&self, mapping: M, sessions: SessionPolicy) -> Operation<(M, SessionsEnded)> {
        self.update_mapping_with(mapping, &MappingUpdate::new().status(MappingStatus::Offline).sessions(sessions))
    }

    /// Puts a mapping online.
    ///
    /// # Errors
    /// As [`update_mapping`](Self::update_mapping).
    pub fn mark_mapping_online(&self, mapping: M) -> Operation<M> {
        self.update_mapping(mapping, &MappingUpdate::new().status(MappingStatus::Online))
    }

    /// Moves a mapping, which has to be offline, to another shard. Rows are not moved; that is for the application to do
    /// before it goes online again.
    ///
    /// # Errors
    /// As [`update_mapping`](Self::update_mapping).
    pub fn move_mapping(&self, mapping: M, shard: &Shard) -> Operation<M> {
        self.update_mapping(mapping, &MappingUpdate::new().shard(shard))
    }

    /// Adds a mapping of a key, or of a range.
    pub(crate) fn add(
        &self,
        bounds: Result<(EncodedKey, Option<EncodedKey>)>,
        shard: &Shard,
        status: MappingStatus,
    ) -> Operation<M> {
        let name = match M::KIND {
            ShardMapKind::List => OperationCode::AddPointMapping.name(),
            ShardMapKind::Range => OperationCode::AddRangeMapping.name(),
        };
        match bounds.and_then(|bounds| self.own_shard(shard).map(|()| bounds)) {
            Ok((low, high)) => {
                let request = add_mapping::request(self.info(), low, high, shard, status);
                self.mapping_operation(request, LockToken::NONE, |mapping, _| mapping)
            }
            Err(error) => Operation::refused(name, self.about(error)),
        }
    }

    fn update<T: Send + 'static>(
        &self,
        mapping: M,
        update: &MappingUpdate,
        result: impl FnOnce(M, SessionsEnded) -> T + Send + 'static,
    ) -> Operation<T> {
        let name = match M::KIND {
            ShardMapKind::List => OperationCode::UpdatePointMapping.name(),
            ShardMapKind::Range => OperationCode::UpdateRangeMapping.name(),
        };
        let owned = self
            .own(mapping.record().map, "mapping")
            .and_then(|()| update.shard.as_ref().map_or(Ok(()), |shard| self.own_shard(shard)));
        if let Err(error) = owned {
            return Operation::refused(name, error);
        }
        if update.status.is_none() && update.shard.is_none() {
            return Operation::nothing(name, result(mapping, SessionsEnded::default()));
        }
        let token = mapping.presented();
        let request = update_mapping::request(
            self.info(),
            mapping.record(),
            token,
            update.shard.as_ref().unwrap_or(&mapping.record().shard),
            update.status.unwrap_or(mapping.record().status),
            update.sessions,
        );
        self.mapping_operation(request, token, result)
    }

    /// An operation that returns the mapping it made.
    pub(crate) fn mapping_operation<T: Send + 'static>(
        &self,
        request: Request,
        token: LockToken,
        result: impl FnOnce(M, SessionsEnded) -> T + Send + 'static,
    ) -> Operation<T> {
        let (map, todo) = (self.clone(), request.clone());
        Operation::new(request, async move {
            let changed = map.run(&todo).await?;
            let ended = changed.ended;
            match <[_; 1]>::try_from(changed.added) {
                Ok([record]) => Ok(result(M::from_record(record, token), ended)),
                Err(_) => Err(Error::internal("an operation made another number of mappings than one")),
            }
        })
    }

    /// Does an operation whose result the caller takes from what changed. For list and range maps' own calls.
    pub(crate) async fn run_request(&self, request: &Request) -> Result<Vec<Arc<MappingRecord>>> {
        self.run(request).await.map(|changed| changed.added)
    }

    /// Refuses a mapping of another map.
    pub(crate) fn own_mapping(&self, mapping: &M) -> Result<()> {
        self.own(mapping.record().map, "mapping")
    }

    /// Adds the map to an error.
    pub(crate) fn blame(&self, error: Error) -> Error {
        self.about(error)
    }

    pub(super) fn routed(key: &M::Key) -> Result<RoutedKey<super::Word<M>>> {
        Ok(RoutedKey { word: key.word()?, encoded: key.encode()? })
    }

    pub(super) fn not_mapped(&self, operation: &'static str) -> Error {
        self.about(Refusal::MappingNotFoundForKey.into_error().with_operation(operation))
    }
}

/// A handle of a record that presents no token.
pub(super) fn handle<M: Mapping>(record: Arc<MappingRecord>) -> M {
    M::from_record(record, LockToken::NONE)
}
