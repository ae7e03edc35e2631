//! The operations that faults happen to, and what they work on. Of no backend.

use std::time::Duration;

use futures::future::BoxFuture;
use shardlet::backend::Backend;
use shardlet::{
    BulkOptions, ErrorKind, ListShardMap, LockToken, Mapping, MappingStatus, MappingUpdate, Operation, OperationId,
    Options, PointMapping, RangeMapping, RangeShardMap, Result, RetryPolicy, Shard, ShardLocation, ShardMap,
    ShardMapManager, ShardStatus, Stores,
};

/// An operation, on the stores that [`World::new`] makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    CreateShard,
    DeleteShard,
    UpdateShard,
    AddPoint,
    AddPoints,
    DeletePoint,
    PointOffline,
    PointOnline,
    MovePoint,
    MovePointOffline,
    AddRange,
    AddRanges,
    DeleteRange,
    RangeOffline,
    RangeOnline,
    MoveRange,
    MoveLockedRangeOnline,
    Split,
    Merge,
    MergeLocked,
}

/// The number of the shard that [`Case::CreateShard`] makes.
pub const NEW_SHARD: usize = 3;

/// The handles of a client.
pub struct Maps<B: Backend> {
    pub points: ListShardMap<i32, B>,
    pub ranges: RangeShardMap<i32, B>,
}

/// What is in the map that an operation works on; the other one is empty.
pub enum Content {
    Points(Points),
    Ranges(Ranges),
}

pub struct Points {
    /// Shards 0 to 2, the last one without mappings.
    shards: Vec<Shard>,
    /// Of key 1, on shard 0.
    online: PointMapping<i32>,
    /// Of key 2, on shard 0.
    offline: PointMapping<i32>,
}

pub struct Ranges {
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

impl<B: Stores> Maps<B> {
    pub async fn open(backend: B, attempts: usize) -> Self {
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
    pub async fn fill<B: Stores>(map: &ListShardMap<i32, B>, places: &[ShardLocation]) -> Self {
        let mut shards = create_shards(map, &places[..3]).await;
        let online = map.create_mapping(1, &shards[0]).await.unwrap();
        let offline = map.create_mapping_with(2, &shards[0], MappingStatus::Offline).await.unwrap();
        // Its version has changed with its mappings.
        shards[0] = map.shard(&places[0]).await.unwrap();
        Self { shards, online, offline }
    }

    /// What [`fill`](Self::fill) made, as another client reads it.
    pub async fn read<B: Stores>(map: &ListShardMap<i32, B>, places: &[ShardLocation]) -> Self {
        Self {
            shards: read_shards(map, &places[..3]).await,
            online: map.mapping_for_key(&1).await.unwrap(),
            offline: map.mapping_for_key(&2).await.unwrap(),
        }
    }
}

impl Ranges {
    pub async fn fill<B: Stores>(map: &RangeShardMap<i32, B>, places: &[ShardLocation]) -> Self {
        let shards = create_shards(map, &places[..2]).await;
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

    /// What [`fill`](Self::fill) made, as another client reads it, who has been told the locks' tokens.
    pub async fn read<B: Stores>(map: &RangeShardMap<i32, B>, places: &[ShardLocation]) -> Self {
        let of = async |key: i32| {
            let mapping = map.mapping_for_key(&key).await.unwrap();
            let token = mapping.record().lock_owner;
            mapping.holding(token)
        };
        Self {
            shards: read_shards(map, &places[..2]).await,
            free: [of(0).await, of(10).await, of(20).await],
            locked: [of(30).await, of(40).await],
        }
    }
}

async fn create_shards<M: Mapping, B: Stores>(map: &ShardMap<M, B>, places: &[ShardLocation]) -> Vec<Shard> {
    let mut shards = Vec::new();
    for place in places {
        shards.push(map.create_shard(place).await.unwrap());
    }
    shards
}

async fn read_shards<M: Mapping, B: Stores>(map: &ShardMap<M, B>, places: &[ShardLocation]) -> Vec<Shard> {
    let mut shards = Vec::new();
    for place in places {
        shards.push(map.shard(place).await.unwrap());
    }
    shards
}

impl Case {
    pub const ALL: [Self; 20] = [
        Self::CreateShard,
        Self::DeleteShard,
        Self::UpdateShard,
        Self::AddPoint,
        Self::AddPoints,
        Self::DeletePoint,
        Self::PointOffline,
        Self::PointOnline,
        Self::MovePoint,
        Self::MovePointOffline,
        Self::AddRange,
        Self::AddRanges,
        Self::DeleteRange,
        Self::RangeOffline,
        Self::RangeOnline,
        Self::MoveRange,
        Self::MoveLockedRangeOnline,
        Self::Split,
        Self::Merge,
        Self::MergeLocked,
    ];

    /// The case that is written so for debugging.
    pub fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|case| format!("{case:?}") == name).unwrap()
    }

    pub fn is_about_ranges(self) -> bool {
        use Case::{AddRange, AddRanges, DeleteRange, Merge, MergeLocked, MoveLockedRangeOnline, MoveRange};
        use Case::{RangeOffline, RangeOnline, Split};
        matches!(
            self,
            AddRange
                | AddRanges
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

    /// The number of the shard whose store is changed first.
    pub fn source(self) -> usize {
        match self {
            Self::CreateShard => NEW_SHARD,
            Self::DeleteShard => 2,
            _ => 0,
        }
    }

    /// The number of the shard whose store is changed second.
    pub fn target(self) -> Option<usize> {
        let moves =
            [Self::MovePoint, Self::MovePointOffline, Self::MoveRange, Self::MoveLockedRangeOnline].contains(&self);
        moves.then_some(1)
    }

    pub fn ends_sessions(self) -> bool {
        matches!(self, Self::PointOffline | Self::MovePointOffline | Self::RangeOffline)
    }

    /// The operation, through a client's handles.
    pub fn step<B: Stores>(self, places: &[ShardLocation], content: &Content, maps: &Maps<B>) -> Step {
        match content {
            Content::Points(content) => self.point_step(places, content, &maps.points),
            Content::Ranges(content) => self.range_step(content, &maps.ranges),
        }
    }

    fn point_step<B: Stores>(self, places: &[ShardLocation], content: &Points, map: &ListShardMap<i32, B>) -> Step {
        let Points { shards, online, offline } = content;
        match self {
            Self::CreateShard => map.create_shard(&places[NEW_SHARD]).into(),
            Self::DeleteShard => map.delete_shard(shards[2].clone()).into(),
            Self::UpdateShard => map.update_shard(shards[0].clone(), ShardStatus::Offline).into(),
            Self::AddPoint => map.create_mapping(5, &shards[0]).into(),
            Self::AddPoints => {
                let keys = [5, 6, 7].map(|key| (key, &shards[0]));
                map.create_mappings(keys, &BulkOptions::default()).unwrap().beside(online).next_batch().unwrap().into()
            }
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
            Self::AddRanges => {
                // Beside one that is offline and locked.
                let ranges = [50..60, 60..70, 80..90].map(|range| (range, &shards[0]));
                map.create_mappings(ranges, &BulkOptions::default())
                    .unwrap()
                    .beside(locked)
                    .next_batch()
                    .unwrap()
                    .into()
            }
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
            Self::CreateShard | Self::AddPoint | Self::AddPoints => ErrorKind::AlreadyExists,
            Self::DeleteShard => ErrorKind::NotFound,
            Self::AddRange | Self::AddRanges => ErrorKind::Overlaps,
            _ => ErrorKind::Stale,
        }
    }

    /// Another operation that meets a row of this one.
    pub fn neighbour<B: Stores>(self, places: &[ShardLocation], content: &Content, maps: &Maps<B>) -> Step {
        let Maps { points, ranges } = maps;
        match (content, self) {
            (Content::Points(_), Self::CreateShard) => {
                let new = &places[NEW_SHARD];
                // The same place in other words.
                let same = ShardLocation::new(new.server().to_uppercase(), new.database());
                points.create_shard(&new.port().map_or(same.clone(), |port| same.with_port(port))).into()
            }
            (Content::Points(content), Self::DeleteShard) => points.create_mapping(90, &content.shards[2]).into(),
            (Content::Points(content), Self::AddPoint) => points.create_mapping(5, &content.shards[1]).into(),
            (Content::Points(content), Self::AddPoints) => points.create_mapping(7, &content.shards[1]).into(),
            (Content::Points(content), _) => {
                points.create_mapping(90, &content.shards[usize::from(self.target().is_some())]).into()
            }
            (Content::Ranges(content), Self::AddRange) => ranges.create_mapping(55..65, &content.shards[1]).into(),
            (Content::Ranges(content), Self::AddRanges) => ranges.create_mapping(85..95, &content.shards[1]).into(),
            (Content::Ranges(content), _) => {
                ranges.create_mapping(90..99, &content.shards[usize::from(self.target().is_some())]).into()
            }
        }
    }

    /// How the neighbour is refused once the operation has been done, if it is.
    pub fn refusal_of_neighbour(self) -> Option<ErrorKind> {
        match self {
            Self::CreateShard | Self::AddPoint | Self::AddPoints => Some(ErrorKind::AlreadyExists),
            Self::DeleteShard => Some(ErrorKind::NotFound),
            Self::AddRange | Self::AddRanges => Some(ErrorKind::Overlaps),
            // It is marked offline then, and takes no new mappings.
            Self::UpdateShard => Some(ErrorKind::Disabled),
            _ => None,
        }
    }
}
