//! The operations that faults happen to, and the stores that they work on.

use std::time::Duration;

use futures::future::BoxFuture;
use shardlet::backend::Backend;
use shardlet::gsm::GlobalStore;
use shardlet::{
    ErrorKind, ListShardMap, LockToken, MappingStatus, MappingUpdate, NoCredentials, Operation, OperationId, Options,
    PointMapping, RangeMapping, RangeShardMap, Result, RetryPolicy, Shard, ShardLocation, ShardMapManager, ShardStatus,
    Sqlite, SqliteOptions, Stores, Timeouts, Validation,
};

use crate::support::location;
use crate::support::probe::{Call, Probe};

/// An operation, on the stores that [`World::new`] makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    CreateShard,
    DeleteShard,
    UpdateShard,
    AddPoint,
    DeletePoint,
    PointOffline,
    PointOnline,
    MovePoint,
    MovePointOffline,
    AddRange,
    DeleteRange,
    RangeOffline,
    RangeOnline,
    MoveRange,
    MoveLockedRangeOnline,
    Split,
    Merge,
    MergeLocked,
}

/// The handles of a client.
pub struct Maps<B: Backend> {
    pub points: ListShardMap<i32, B>,
    pub ranges: RangeShardMap<i32, B>,
}

/// Stores in memory with a client that meets faults and one that does not.
pub struct World {
    pub probe: Probe<Sqlite>,
    pub faulty: Maps<Probe<Sqlite>>,
    pub sound: Maps<Sqlite>,
    content: Content,
}

/// What is in the map that an operation works on; the other one is empty.
enum Content {
    Points(Points),
    Ranges(Ranges),
}

struct Points {
    /// Shards 0 to 2, the last one without mappings.
    shards: Vec<Shard>,
    /// Of key 1, on shard 0.
    online: PointMapping<i32>,
    /// Of key 2, on shard 0.
    offline: PointMapping<i32>,
}

struct Ranges {
    /// Shards 0 and 1.
    shards: Vec<Shard>,
    /// 0 to 10 and 10 to 20 online, 20 to 30 offline, on shard 0.
    free: [RangeMapping<i32>; 3],
    /// 30 to 40 and 40 to 50, offline and locked, on shard 0.
    locked: [RangeMapping<i32>; 2],
}

/// An operation with its result left out.
pub struct Step {
    pub id: OperationId,
    pub run: BoxFuture<'static, Result<()>>,
}

impl<T: Send + 'static> From<Operation<T>> for Step {
    fn from(operation: Operation<T>) -> Self {
        let id = operation.plan().unwrap().id();
        Self { id, run: Box::pin(async { operation.await.map(drop) }) }
    }
}

/// Tries of the client that meets faults.
pub const ATTEMPTS: usize = 2;

/// Where the shard is that [`Case::CreateShard`] makes.
pub fn new_location() -> ShardLocation {
    location(3)
}

impl<B: Stores> Maps<B> {
    async fn open(backend: B, attempts: usize) -> Self {
        let retry =
            RetryPolicy::default().attempts(u32::try_from(attempts).unwrap()).pauses(Duration::ZERO, Duration::ZERO);
        let manager = ShardMapManager::open_or_create(backend, Options::default().retry(retry)).await.unwrap();
        Self {
            points: manager.list_shard_map_or_create("points").await.unwrap(),
            ranges: manager.range_shard_map_or_create("ranges").await.unwrap(),
        }
    }
}

impl Points {
    async fn fill<B: Stores>(map: &ListShardMap<i32, B>) -> Self {
        let mut shards = crate::support::shards(map, 3).await;
        let online = map.create_mapping(1, &shards[0]).await.unwrap();
        let offline = map.create_mapping_with(2, &shards[0], MappingStatus::Offline).await.unwrap();
        // Its version has changed with its mappings.
        shards[0] = map.shard(&location(0)).await.unwrap();
        Self { shards, online, offline }
    }
}

impl Ranges {
    async fn fill<B: Stores>(map: &RangeShardMap<i32, B>) -> Self {
        let shards = crate::support::shards(map, 2).await;
        let create = async |low: i32, status| map.create_mapping_with(low..low + 10, &shards[0], status).await.unwrap();
        let lock = async |mapping| map.lock_mapping(mapping, LockToken::random()).await.unwrap();
        let free = [
            create(0, MappingStatus::Online).await,
            create(10, MappingStatus::Online).await,
            create(20, MappingStatus::Offline).await,
        ];
        let locked = [
            lock(create(30, MappingStatus::Offline).await).await,
            lock(create(40, MappingStatus::Offline).await).await,
        ];
        Self { shards, free, locked }
    }
}

impl World {
    pub async fn new(case: Case) -> Self {
        // A lock that is left behind fails the test in seconds.
        let mut timeouts = Timeouts::default();
        timeouts.operation_lock = Duration::from_secs(5);
        let probe = Probe::new(Sqlite::in_memory_with(SqliteOptions::default().timeouts(timeouts)));
        let faulty = Maps::open(probe.clone(), ATTEMPTS).await;
        let sound = Maps::open(probe.inner().clone(), 1).await;
        let content = if case.is_about_ranges() {
            Content::Ranges(Ranges::fill(&faulty.ranges).await)
        } else {
            Content::Points(Points::fill(&faulty.points).await)
        };
        probe.reset();
        Self { probe, faulty, sound, content }
    }

    /// Opens a connection for every mapping through the client that met faults: its cache must not lead astray.
    pub async fn assert_routes(&self, case: &str) {
        self.probe.reset();
        let about = |result: Result<shardlet::SqliteConnection>, online: bool, at: &ShardLocation| match result {
            Ok(connection) => assert!(online && connection.location() == at, "{case}: routed to {at}"),
            Err(error) => assert!(!online && error.kind() == ErrorKind::Offline, "{case}: {error}"),
        };
        for mapping in self.sound.points.mappings().await.unwrap() {
            let key = mapping.key();
            let opened = self.faulty.points.open_connection_for_key(&key, &NoCredentials, Validation::Validate);
            about(opened.await, mapping.status() == MappingStatus::Online, mapping.shard().location());
        }
        for mapping in self.sound.ranges.mappings().await.unwrap() {
            let range = mapping.range();
            let opened = self.faulty.ranges.open_connection_for_key(range.low(), &NoCredentials, Validation::Validate);
            about(opened.await, mapping.status() == MappingStatus::Online, mapping.shard().location());
        }
    }

    /// Fails unless nobody holds the lock of the operation.
    pub async fn assert_unlocked(&self, id: OperationId, case: &str) {
        let lock = self.probe.inner().lock_operation(id).await;
        assert!(lock.is_ok(), "{case}: the lock of the operation is still held: {lock:?}");
    }
}

impl Case {
    pub const ALL: [Self; 18] = [
        Self::CreateShard,
        Self::DeleteShard,
        Self::UpdateShard,
        Self::AddPoint,
        Self::DeletePoint,
        Self::PointOffline,
        Self::PointOnline,
        Self::MovePoint,
        Self::MovePointOffline,
        Self::AddRange,
        Self::DeleteRange,
        Self::RangeOffline,
        Self::RangeOnline,
        Self::MoveRange,
        Self::MoveLockedRangeOnline,
        Self::Split,
        Self::Merge,
        Self::MergeLocked,
    ];

    fn is_about_ranges(self) -> bool {
        use Case::{AddRange, DeleteRange, Merge, MergeLocked, MoveLockedRangeOnline, MoveRange};
        use Case::{RangeOffline, RangeOnline, Split};
        matches!(
            self,
            AddRange
                | DeleteRange
                | RangeOffline
                | RangeOnline
                | MoveRange
                | MoveLockedRangeOnline
                | Split
                | Merge
                | MergeLocked
        )
    }

    /// The shard whose store is changed first.
    pub fn source(self) -> ShardLocation {
        match self {
            Self::CreateShard => new_location(),
            Self::DeleteShard => location(2),
            _ => location(0),
        }
    }

    /// The shard whose store is changed second.
    pub fn target(self) -> Option<ShardLocation> {
        let moves =
            [Self::MovePoint, Self::MovePointOffline, Self::MoveRange, Self::MoveLockedRangeOnline].contains(&self);
        moves.then(|| location(1))
    }

    pub fn ends_sessions(self) -> bool {
        matches!(self, Self::PointOffline | Self::MovePointOffline | Self::RangeOffline)
    }

    /// The requests of the operation, in order.
    pub fn calls(self) -> Vec<Call> {
        let mut calls = vec![Call::LockOperation, Call::LockOperationAt(self.source())];
        calls.extend(self.target().map(Call::LockOperationAt));
        calls.push(Call::Begin);
        calls.push(Call::ChangeLocal { at: self.source(), undoing: false });
        calls.extend(self.target().map(|at| Call::ChangeLocal { at, undoing: false }));
        calls.extend(self.ends_sessions().then_some(Call::EndSessions));
        calls.push(Call::EndDo);
        calls
    }

    /// The requests of undoing all of it, in order; the lock on the global store is the first, and is not among them.
    pub fn undo_calls(self) -> Vec<Call> {
        let mut calls = vec![Call::FindOperation];
        calls.extend(self.target().map(|at| Call::ChangeLocal { at, undoing: true }));
        calls.push(Call::ChangeLocal { at: self.source(), undoing: true });
        calls.push(Call::EndUndo);
        calls
    }

    /// The operation, through a client's handles.
    pub fn step<B: Stores>(self, world: &World, maps: &Maps<B>) -> Step {
        match &world.content {
            Content::Points(content) => self.point_step(content, &maps.points),
            Content::Ranges(content) => self.range_step(content, &maps.ranges),
        }
    }

    fn point_step<B: Stores>(self, content: &Points, map: &ListShardMap<i32, B>) -> Step {
        let Points { shards, online, offline } = content;
        match self {
            Self::CreateShard => map.create_shard(&new_location()).into(),
            Self::DeleteShard => map.delete_shard(shards[2].clone()).into(),
            Self::UpdateShard => map.update_shard(shards[0].clone(), ShardStatus::Offline).into(),
            Self::AddPoint => map.create_mapping(5, &shards[0]).into(),
            Self::DeletePoint => map.delete_mapping(offline.clone()).into(),
            Self::PointOffline => map.mark_mapping_offline(online.clone()).into(),
            Self::PointOnline => map.mark_mapping_online(offline.clone()).into(),
            Self::MovePoint => map.move_mapping(offline.clone(), &shards[1]).into(),
            Self::MovePointOffline => {
                let update = MappingUpdate::new().status(MappingStatus::Offline).shard(&shards[1]);
                map.update_mapping(online.clone(), &update).into()
            }
            _ => panic!("{self:?} is not about points"),
        }
    }

    fn range_step<B: Stores>(self, content: &Ranges, map: &RangeShardMap<i32, B>) -> Step {
        let Ranges { shards, free: [first, second, third], locked: [locked, locked_next] } = content;
        match self {
            Self::AddRange => map.create_mapping(50..60, &shards[0]).into(),
            Self::DeleteRange => map.delete_mapping(third.clone()).into(),
            Self::RangeOffline => map.mark_mapping_offline(first.clone()).into(),
            Self::RangeOnline => map.mark_mapping_online(third.clone()).into(),
            Self::MoveRange => map.move_mapping(third.clone(), &shards[1]).into(),
            Self::MoveLockedRangeOnline => {
                let update = MappingUpdate::new().status(MappingStatus::Online).shard(&shards[1]);
                map.update_mapping(locked.clone(), &update).into()
            }
            Self::Split => map.split_mapping(first.clone(), 5).into(),
            Self::Merge => map.merge_mappings(first.clone(), second.clone()).into(),
            Self::MergeLocked => map.merge_mappings(locked.clone(), locked_next.clone()).into(),
            _ => panic!("{self:?} is not about ranges"),
        }
    }

    /// How the same operation is refused once it has been done.
    pub fn refusal_of_repetition(self) -> ErrorKind {
        match self {
            Self::CreateShard | Self::AddPoint => ErrorKind::AlreadyExists,
            Self::DeleteShard => ErrorKind::NotFound,
            Self::AddRange => ErrorKind::Overlaps,
            _ => ErrorKind::Stale,
        }
    }

    /// Another operation that meets a row of this one.
    pub fn neighbour<B: Stores>(self, world: &World, maps: &Maps<B>) -> Step {
        let Maps { points, ranges } = maps;
        match (&world.content, self) {
            (Content::Points(_), Self::CreateShard) => {
                points.create_shard(&ShardLocation::new("SERVER", new_location().database())).into()
            }
            (Content::Points(content), Self::DeleteShard) => points.create_mapping(90, &content.shards[2]).into(),
            (Content::Points(content), Self::AddPoint) => points.create_mapping(5, &content.shards[1]).into(),
            (Content::Points(content), _) => {
                points.create_mapping(90, &content.shards[usize::from(self.target().is_some())]).into()
            }
            (Content::Ranges(content), Self::AddRange) => ranges.create_mapping(55..65, &content.shards[1]).into(),
            (Content::Ranges(content), _) => {
                ranges.create_mapping(90..99, &content.shards[usize::from(self.target().is_some())]).into()
            }
        }
    }

    /// How the neighbour is refused once the operation has been done, if it is.
    pub fn refusal_of_neighbour(self) -> Option<ErrorKind> {
        match self {
            Self::CreateShard | Self::AddPoint => Some(ErrorKind::AlreadyExists),
            Self::DeleteShard => Some(ErrorKind::NotFound),
            Self::AddRange => Some(ErrorKind::Overlaps),
            _ => None,
        }
    }
}
