//! The shard map manager: the shard maps of one global store, by name. Schema information is in `schema_infos`, unfinished
//! operations are in `operations`.

mod operations;
mod schema_infos;
mod upgrade;

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

pub use self::operations::PendingOperation;
pub use self::upgrade::{ShardUpgrade, UpgradeReport};
use crate::backend::{Backend, blocking};
use crate::error::{Error, ErrorCategory, ErrorCode, ErrorKind, Result};
use crate::gsm::CreateMode;
use crate::key::{BinaryWord, ShardKey, Word, WordSize};
use crate::list_map::ListShardMap;
use crate::model::{
    Mapping, MappingRecord, PointMapping, RangeMapping, ShardLocation, ShardMapId, ShardMapInfo, ShardMapKind,
    ShardMapName,
};
use crate::operation::Stores;
use crate::options::{LoadPolicy, Options};
use crate::range_map::RangeShardMap;
use crate::recovery::RecoveryManager;
use crate::routing::Router;
use crate::shard_map::ShardMap;

/// The shard maps of one global store. Use one per store and process: it holds the cache and, through its backend, the
/// pools.
///
/// Cloning costs a reference count; clones share everything. All calls may be made from any number of tasks at once.
///
/// # Errors
/// Each call names its own. Beside those any call may fail with `Unavailable`, `TimedOut`, `Transient`, `VersionMismatch` or
/// `StoreDamaged` for the global store.
///
/// # Cancel safety
/// Every future may be dropped at any await. A read then has no effect; what creates or deletes happens or does not, and which of
/// the two is seen by the next read.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> shardlet::Result<()> {
/// use shardlet::{Options, RangeShardMap, ShardMapManager, Sqlite};
///
/// let manager = ShardMapManager::open_or_create(Sqlite::in_memory(), Options::default()).await?;
/// let orders: RangeShardMap<i64, _> = manager.range_shard_map_or_create("orders").await?;
/// assert_eq!(manager.shard_maps().await?.len(), 1);
/// assert_eq!(orders.name(), "orders");
/// # Ok(()) }
/// ```
pub struct ShardMapManager<B: Backend> {
    shared: Arc<Shared<B>>,
}

struct Shared<B> {
    stores: B,
    options: Options,
    /// What is known of each map, shared by all handles of it. By id: a map that is created again under an old name
    /// inherits nothing.
    routers: Mutex<HashMap<ShardMapId, Arc<dyn Any + Send + Sync>>>,
}

impl<B: Stores> ShardMapManager<B> {
    /// Creates the store and opens it.
    ///
    /// One transaction on the global store, in which [`CreateMode::Replace`] drops an old store first, then the requests of
    /// [`open`](Self::open). Cancel safe: the store is there whole or not at all.
    ///
    /// # Errors
    /// `AlreadyExists` if there is a store and the mode is [`CreateMode::Keep`]; `Unavailable` if the database cannot be
    /// made or written; `StoreDamaged` if there is something else in its place. With [`CreateMode::Replace`] also `Transient` if it
    /// and a client at work waited for each other: nothing was changed, and it can be repeated.
    pub async fn create(backend: B, mode: CreateMode, options: Options) -> Result<Self> {
        backend.create_global(mode).await.map_err(|error| factory(error, "CreateSqlShardMapManager"))?;
        Self::open(backend, options).await
    }

    /// Opens a store that is there.
    ///
    /// One request; with [`LoadPolicy::Eager`] one more that reads every mapping.
    ///
    /// # Errors
    /// `NotFound` if there is no store; `VersionMismatch` if its version [cannot be used](crate::StoreVersion::is_usable): an
    /// older one has to be [upgraded](Self::upgrade); `Unavailable`; `StoreDamaged`.
    pub async fn open(backend: B, options: Options) -> Result<Self> {
        Self::try_open(backend, options).await?.ok_or_else(|| {
            let error = Error::new(
                ErrorKind::NotFound,
                ErrorCode::ShardMapManagerStoreDoesNotExist,
                "there is no shard map manager store",
            );
            factory(error.at_global(), "GetSqlShardMapManager")
        })
    }

    /// Opens a store if it is there. Costs what [`open`](Self::open) does.
    ///
    /// # Errors
    /// As [`open`](Self::open), but for `NotFound`.
    pub async fn try_open(backend: B, options: Options) -> Result<Option<Self>> {
        let operation = "TryGetSqlShardMapManager";
        let version = backend.global_version().await.map_err(|error| factory(error, operation))?;
        let Some(version) = version else { return Ok(None) };
        if !version.is_usable() {
            let error = version.mismatch(ErrorCode::GlobalStoreVersionMismatch);
            return Err(factory(error.at_global(), operation));
        }
        let manager = Self { shared: Arc::new(Shared { stores: backend, options, routers: Mutex::default() }) };
        if manager.shared.options.load_policy == LoadPolicy::Eager {
            manager.load_all().await.map_err(|error| factory(error, operation))?;
        }
        Ok(Some(manager))
    }

    /// Opens the store, after creating it if there is none. Two clients at once get the same store. Costs what
    /// [`open`](Self::open) does, and two requests more where there is none.
    ///
    /// # Errors
    /// As [`create`](Self::create) and [`open`](Self::open), but for `NotFound` and `AlreadyExists`.
    pub async fn open_or_create(backend: B, options: Options) -> Result<Self> {
        if let Some(manager) = Self::try_open(backend.clone(), options.clone()).await? {
            return Ok(manager);
        }
        match backend.create_global(CreateMode::Keep).await {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(factory(error, "CreateSqlShardMapManager")),
            Ok(()) | Err(_) => Self::open(backend, options).await,
        }
    }

    /// Drops the global store with everything in it: shard maps, shards, mappings, unfinished operations, schema information.
    /// It may have any version, or be damaged. `false` if there was none.
    ///
    /// Shards are not asked and not told. Each keeps its local store, and so what it knows of its maps: in a new global store
    /// [`RecoveryManager::restore_shard_map`] and [`RecoveryManager::attach`] bring maps and shards back from there, and
    /// [`RecoveryManager::rebuild_shard_map`] their mappings. Schema information and locks of mappings do not come back. To leave
    /// nothing at the shards either, delete mappings, shards and maps first.
    ///
    /// Nobody is waited for, as with [`CreateMode::Replace`]: an operation under way fails, and leaves at its shards what it had
    /// done there. Managers that are open keep routing the keys in their caches, because the shards still vouch for them.
    ///
    /// The database stays, and so do, on SQL Server, the schema and in it this library's procedures, for which other clients may
    /// look and which answer that there is no store, and its table of descriptions, which is empty. The reference library's
    /// procedures go.
    ///
    /// One transaction on the global store. Cancel safe: the store is there whole or not at all.
    ///
    /// # Errors
    /// `Credentials` if the login may not drop tables, or see whether there are any; `TimedOut` if another client is installing or
    /// keeps a table locked; `Transient` if it and a client at work waited for each other: nothing was dropped, and it can be repeated;
    /// `OutcomeUnknown` if the answer to the commit was lost; `Unavailable`; `StoreDamaged` if there is something else in its
    /// place.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> shardlet::Result<()> {
    /// use shardlet::{Options, ShardMapManager, Sqlite};
    ///
    /// let backend = Sqlite::in_memory();
    /// let _ = ShardMapManager::open_or_create(backend.clone(), Options::default()).await?;
    /// assert!(ShardMapManager::drop_store(&backend).await?);
    /// assert!(!ShardMapManager::drop_store(&backend).await?);
    /// # Ok(()) }
    /// ```
    pub async fn drop_store(backend: &B) -> Result<bool> {
        backend.drop_global().await.map_err(|error| factory(error, "DropGlobalStore"))
    }

    /// Creates an empty list map. One request to the global store.
    ///
    /// # Errors
    /// `InvalidInput` for a name that is not allowed ([`ShardMapName`]); `AlreadyExists`.
    pub async fn create_list_shard_map<K: ShardKey>(&self, name: &str) -> Result<ListShardMap<K, B>> {
        self.create_map::<PointMapping<K>>(name).await
    }

    /// Creates an empty range map. One request to the global store.
    ///
    /// # Errors
    /// As [`create_list_shard_map`](Self::create_list_shard_map).
    pub async fn create_range_shard_map<K: ShardKey>(&self, name: &str) -> Result<RangeShardMap<K, B>> {
        self.create_map::<RangeMapping<K>>(name).await
    }

    /// The list map of a name. One read of the global store.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` for the name; `WrongKeyType` if it is a range map or its keys are of another type.
    pub async fn list_shard_map<K: ShardKey>(&self, name: &str) -> Result<ListShardMap<K, B>> {
        self.handle(self.shard_map(name).await?)
    }

    /// The range map of a name. One read of the global store.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` for the name; `WrongKeyType` if it is a list map or its keys are of another type.
    pub async fn range_shard_map<K: ShardKey>(&self, name: &str) -> Result<RangeShardMap<K, B>> {
        self.handle(self.shard_map(name).await?)
    }

    /// The list map of a name, if there is one. One read of the global store.
    ///
    /// # Errors
    /// `InvalidInput` for the name; `WrongKeyType` as [`list_shard_map`](Self::list_shard_map).
    pub async fn find_list_shard_map<K: ShardKey>(&self, name: &str) -> Result<Option<ListShardMap<K, B>>> {
        self.find_shard_map(name).await?.map(|info| self.handle(info)).transpose()
    }

    /// The range map of a name, if there is one. One read of the global store.
    ///
    /// # Errors
    /// `InvalidInput` for the name; `WrongKeyType` as [`range_shard_map`](Self::range_shard_map).
    pub async fn find_range_shard_map<K: ShardKey>(&self, name: &str) -> Result<Option<RangeShardMap<K, B>>> {
        self.find_shard_map(name).await?.map(|info| self.handle(info)).transpose()
    }

    /// The list map of a name, created if there is none. Idempotent, also for two clients at once. One request to the global
    /// store, two where it creates the map.
    ///
    /// # Errors
    /// `InvalidInput` for the name; `WrongKeyType`.
    pub async fn list_shard_map_or_create<K: ShardKey>(&self, name: &str) -> Result<ListShardMap<K, B>> {
        self.map_or_create::<PointMapping<K>>(name).await
    }

    /// The range map of a name, created if there is none. Idempotent, also for two clients at once. One request to the global
    /// store, two where it creates the map.
    ///
    /// # Errors
    /// `InvalidInput` for the name; `WrongKeyType`.
    pub async fn range_shard_map_or_create<K: ShardKey>(&self, name: &str) -> Result<RangeShardMap<K, B>> {
        self.map_or_create::<RangeMapping<K>>(name).await
    }

    /// All shard maps, ordered by name. One read of the global store.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn shard_maps(&self) -> Result<Vec<ShardMapInfo>> {
        let mut maps = self.shared.stores.shard_maps().await.map_err(|error| about(error, "GetShardMaps"))?;
        maps.sort_by_cached_key(|map| crate::model::folded(map.name()));
        Ok(maps)
    }

    /// What is known of the shard map of a name, whatever its kind and key type. One read of the global store.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` for the name.
    pub async fn shard_map(&self, name: &str) -> Result<ShardMapInfo> {
        self.find_shard_map(name).await?.ok_or_else(|| {
            let error = Error::new(
                ErrorKind::NotFound,
                ErrorCode::ShardMapLookupFailure,
                format!("there is no shard map of the name {name:?}"),
            );
            about(error, "GetShardMap")
        })
    }

    /// What is known of the shard map of a name, if there is one. One read of the global store.
    ///
    /// # Errors
    /// `InvalidInput` for the name.
    pub async fn find_shard_map(&self, name: &str) -> Result<Option<ShardMapInfo>> {
        let operation = "TryGetShardMap";
        let name = ShardMapName::new(name).map_err(|error| about(error, operation))?;
        self.shared.stores.find_shard_map(&name).await.map_err(|error| about(error, operation))
    }

    /// Deletes a shard map that has no shards. Succeeds if it is gone already. Two requests to the global store; shards are not
    /// touched.
    ///
    /// # Errors
    /// `InUse` if the map has shards; `InvalidInput` for the name.
    pub async fn delete_shard_map(&self, name: &str) -> Result<()> {
        let Some(info) = self.find_shard_map(name).await? else { return Ok(()) };
        let removed = self.shared.stores.remove_shard_map(info.id()).await;
        match removed {
            Err(error) if error.code() != ErrorCode::ShardMapDoesNotExist => {
                return Err(about(error, "DeleteShardMap").with_map(info.shared_name(), info.key_type()));
            }
            Ok(()) | Err(_) => {}
        }
        drop(self.routers().remove(&info.id()));
        Ok(())
    }

    /// The distinct locations of the shards of all maps, ordered. One read of the global store.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn shard_locations(&self) -> Result<Vec<ShardLocation>> {
        let locations = self.shared.stores.shard_locations().await;
        let mut locations = locations.map_err(|error| about(error, "GetDistinctShardLocations"))?;
        locations.sort();
        Ok(locations)
    }

    /// What mends differences between the global store and the shards' own.
    #[must_use]
    pub fn recovery(&self) -> RecoveryManager<B> {
        RecoveryManager::new(self.clone())
    }

    /// The backend that the manager works on.
    #[must_use]
    pub fn backend(&self) -> &B {
        &self.shared.stores
    }

    /// The options that it was opened with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    async fn create_map<M: Mapping>(&self, name: &str) -> Result<ShardMap<M, B>> {
        let operation = match M::KIND {
            ShardMapKind::List => "CreateListShardMap",
            ShardMapKind::Range => "CreateRangeShardMap",
        };
        let name = ShardMapName::new(name).map_err(|error| about(error, operation))?;
        let info = ShardMapInfo::new(ShardMapId::random(), name, M::KIND, M::Key::KEY_TYPE);
        let added = self.shared.stores.add_shard_map(&info).await;
        added.map_err(|error| about(error, operation).with_map(info.shared_name(), info.key_type()))?;
        self.handle(info)
    }

    async fn map_or_create<M: Mapping>(&self, name: &str) -> Result<ShardMap<M, B>> {
        if let Some(info) = self.find_shard_map(name).await? {
            return self.handle(info);
        }
        match self.create_map::<M>(name).await {
            // Another client was faster.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => self.handle(self.shard_map(name).await?),
            created => created,
        }
    }

    /// A typed handle of a map.
    fn handle<M: Mapping>(&self, info: ShardMapInfo) -> Result<ShardMap<M, B>> {
        if (info.kind(), info.key_type()) != (M::KIND, M::Key::KEY_TYPE) {
            let message = format!(
                "it is a {} map of {} keys and was asked for as a {} map of {} keys",
                info.kind(),
                info.key_type(),
                M::KIND,
                M::Key::KEY_TYPE
            );
            let error = Error::new(ErrorKind::WrongKeyType, ErrorCode::ShardMapTypeConversionError, message);
            return Err(about(error, "GetShardMap").with_map(info.shared_name(), info.key_type()));
        }
        let router = self.router(&info);
        Ok(ShardMap::new(self.clone(), info, router))
    }

    /// What is known of the mappings of a map.
    fn router<W: Word>(&self, info: &ShardMapInfo) -> Arc<Router<W>> {
        let mut routers = self.routers();
        let known = routers.get(&info.id()).cloned().and_then(|router| router.downcast::<Router<W>>().ok());
        if let Some(router) = known {
            return router;
        }
        let options = &self.shared.options;
        let router = Arc::new(Router::new(info.clone(), &options.cache, options.load_timeout));
        drop(routers.insert(info.id(), Arc::clone(&router) as Arc<dyn Any + Send + Sync>));
        router
    }

    fn routers(&self) -> std::sync::MutexGuard<'_, HashMap<ShardMapId, Arc<dyn Any + Send + Sync>>> {
        self.shared.routers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fills the caches of all maps by one read.
    async fn load_all(&self) -> Result<()> {
        let maps = self.shared.stores.load_all().await?;
        let manager = self.clone();
        // Filling takes about a microsecond per mapping, too long in all for a thread that others wait for.
        blocking(move || {
            for (info, mappings) in maps {
                match WordSize::of(info.key_type()) {
                    WordSize::Eight => manager.fill::<u64>(&info, mappings),
                    WordSize::Sixteen => manager.fill::<u128>(&info, mappings),
                    WordSize::Binary => manager.fill::<BinaryWord>(&info, mappings),
                }
            }
        })
        .await
    }

    fn fill<W: Word>(&self, info: &ShardMapInfo, mappings: Vec<MappingRecord>) {
        let router = self.router::<W>(info);
        let epoch = router.cache().epoch();
        let _ = router.cache().replace_all(mappings.into_iter().map(Arc::new).collect(), epoch);
    }
}

/// Adds operation and category of the manager's own calls.
fn about(error: Error, operation: &'static str) -> Error {
    in_category(error, operation, ErrorCategory::ShardMapManager)
}

/// Adds operation and category of opening a manager.
fn factory(error: Error, operation: &'static str) -> Error {
    in_category(error, operation, ErrorCategory::ShardMapManagerFactory)
}

fn in_category(error: Error, operation: &'static str, category: ErrorCategory) -> Error {
    error.with_operation(operation).or_category(category)
}

impl<B: Backend> ShardMapManager<B> {
    /// Drops all that is cached of a map.
    pub(crate) fn forget_mappings(&self, info: &ShardMapInfo) {
        let router = self.shared.routers.lock().unwrap_or_else(PoisonError::into_inner).get(&info.id()).cloned();
        let Some(router) = router else { return };
        match WordSize::of(info.key_type()) {
            WordSize::Eight => clear::<u64>(router),
            WordSize::Sixteen => clear::<u128>(router),
            WordSize::Binary => clear::<BinaryWord>(router),
        }
    }
}

fn clear<W: Word>(router: Arc<dyn Any + Send + Sync>) {
    if let Ok(router) = router.downcast::<Router<W>>() {
        router.cache().clear();
    }
}

impl<B: Backend> Clone for ShardMapManager<B> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<B: Backend> fmt::Debug for ShardMapManager<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShardMapManager({:?})", self.shared.stores)
    }
}
