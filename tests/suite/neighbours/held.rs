//! A client that is held while it takes a mapping offline and moves it from one shard to another, at each phase of that, and
//! another one that meanwhile does everything at the shards beside them, in the same map and in others at the same databases.

use std::time::Duration;

use shardlet::{
    ErrorKind, Limit, ListShardMap, LockToken, Mapping, MappingFilter, MappingStatus, MappingUpdate, Options,
    RangeShardMap, Result, Shard, ShardLocation, ShardMap, ShardMapManager, ShardStatus, Stores, Timeouts, Validation,
};

use crate::conformance::Environment;
use crate::support::consistency::assert_consistent;
use crate::support::probe::{Call, Fault, Probe};

/// Shards by number: those of the held operation, two beside them, and one that comes and goes.
const SOURCE: usize = 0;
const TARGET: usize = 1;
const BESIDE: [usize; 2] = [2, 3];
const NEW: usize = 4;

/// Keys of mappings: of the one that is held, of another one on its shard, and of one beside it.
const HELD: i64 = 0;
const SAME_SHARD: i64 = 100;
const OTHER_SHARD: i64 = 200;
/// Keys that are mapped for a while.
const FREE: i64 = 300;

async fn manager<B: Stores>(store: B) -> ShardMapManager<B> {
    ShardMapManager::open_or_create(store, Options::default()).await.unwrap()
}

/// Where the operation is held: before a request, and whether it has begun by then.
fn phases(at: impl Fn(usize) -> ShardLocation) -> [(Call, bool); 8] {
    let change = |number| Call::ChangeLocal { at: at(number), undoing: false };
    [
        (Call::LockOperation, false),
        (Call::LockOperationAt(at(SOURCE)), false),
        (Call::LockOperationAt(at(TARGET)), false),
        (Call::Begin, false),
        (change(SOURCE), true),
        (change(TARGET), true),
        (Call::EndSessions, true),
        (Call::EndDo, true),
    ]
}

/// What is different for points and ranges.
trait Kind: Mapping<Key = i64> + PartialEq {
    async fn map<B: Stores>(manager: &ShardMapManager<B>, name: &str) -> ShardMap<Self, B>;

    async fn create<B: Stores>(map: &ShardMap<Self, B>, key: i64, shard: &Shard) -> Self;

    /// What points have no such operation for.
    async fn reshape<B: Stores>(map: &ShardMap<Self, B>, mapping: Self) -> Self;
}

impl Kind for shardlet::RangeMapping<i64> {
    async fn map<B: Stores>(manager: &ShardMapManager<B>, name: &str) -> RangeShardMap<i64, B> {
        manager.range_shard_map_or_create(name).await.unwrap()
    }

    async fn create<B: Stores>(map: &RangeShardMap<i64, B>, key: i64, shard: &Shard) -> Self {
        map.create_mapping(key..key + 100, shard).await.unwrap()
    }

    async fn reshape<B: Stores>(map: &RangeShardMap<i64, B>, mapping: Self) -> Self {
        let middle = mapping.range().low() + 50;
        let (low, high) = map.split_mapping(mapping, middle).await.unwrap();
        map.merge_mappings(low, high).await.unwrap()
    }
}

impl Kind for shardlet::PointMapping<i64> {
    async fn map<B: Stores>(manager: &ShardMapManager<B>, name: &str) -> ListShardMap<i64, B> {
        manager.list_shard_map_or_create(name).await.unwrap()
    }

    async fn create<B: Stores>(map: &ListShardMap<i64, B>, key: i64, shard: &Shard) -> Self {
        map.create_mapping(key, shard).await.unwrap()
    }

    async fn reshape<B: Stores>(_: &ListShardMap<i64, B>, mapping: Self) -> Self {
        mapping
    }
}

/// Every operation on a mapping and two shards, and then on a shard that is not there yet.
async fn every_operation<M: Kind, B: Stores>(map: &ShardMap<M, B>, on: [&ShardLocation; 2], new: &ShardLocation) {
    let on = [map.shard(on[0]).await.unwrap(), map.shard(on[1]).await.unwrap()];
    let mapping = M::create(map, FREE, &on[0]).await;
    let mapping = M::reshape(map, mapping).await;
    let token = LockToken::random();
    let mapping = map.lock_mapping(mapping, token).await.unwrap();
    let mapping = map.unlock_mapping(mapping, token).await.unwrap();
    let mapping = map.mark_mapping_offline(mapping).await.unwrap();
    let mapping = map.move_mapping(mapping, &on[1]).await.unwrap();
    let mapping = map.mark_mapping_online(mapping).await.unwrap();
    let away = MappingUpdate::new().status(MappingStatus::Offline).shard(&on[0]);
    let mapping = map.update_mapping(mapping, &away).await.unwrap();
    map.delete_mapping(mapping).await.unwrap();

    let shard = map.create_shard(new).await.unwrap();
    let offline = map.update_shard(shard, ShardStatus::Offline).await.unwrap();
    map.delete_shard(offline).await.unwrap();
}

/// Reads of everything, from a client that has nothing in its cache.
async fn every_read<M: Kind, B: Stores>(map: &ShardMap<M, B>) {
    let mappings = map.mappings().await.unwrap();
    assert_eq!(mappings.len(), 3);
    let shards = map.shards().await.unwrap();
    assert_eq!(shards.len(), 4);
    for key in [HELD, SAME_SHARD, OTHER_SHARD] {
        assert!(mappings.contains(&map.mapping_for_key(&key).await.unwrap()), "{key}");
        assert!(mappings.contains(&map.lookup_mapping(&key).await.unwrap()), "{key}");
    }
    for shard in &shards {
        let _ = map.mappings_matching(&MappingFilter::all().on_shard(shard)).await.unwrap();
        assert_eq!(map.find_shard(shard.location()).await.unwrap().as_ref(), Some(shard));
    }
    assert_eq!(map.mapping_lock_owner(&mappings[0]).await.unwrap(), LockToken::NONE);
    assert_eq!(map.manager().shard_locations().await.unwrap().len(), 4);
    assert_eq!(map.manager().shard_maps().await.unwrap().len(), 2);
}

async fn route<M: Kind, B: Stores>(
    map: &ShardMap<M, B>,
    key: i64,
    credentials: &B::Credentials,
    validation: Validation,
) -> Result<()> {
    map.open_connection_for_key(&key, credentials, validation).await.map(drop)
}

/// Routing by both shards and beside them.
async fn every_route<M: Kind, B: Stores>(
    map: &ShardMap<M, B>,
    credentials: &B::Credentials,
    changing: [&ShardLocation; 2],
) {
    for validation in [Validation::Validate, Validation::None, Validation::Validate] {
        for key in [SAME_SHARD, OTHER_SHARD] {
            let routed = route(map, key, credentials, validation).await;
            assert!(routed.is_ok(), "{key}: {routed:?}");
        }
        // Between its states, but never without an answer; stale where the cache is older than both of them.
        if let Err(error) = route(map, HELD, credentials, validation).await {
            let known = matches!(error.kind(), ErrorKind::Offline | ErrorKind::PendingOperation | ErrorKind::Stale);
            assert!(known, "{error:?}");
        }
    }
    for shard in map.shards().await.unwrap() {
        let opened = map.open_connection_to_shard(&shard, credentials, Validation::Validate).await;
        // A shard has its new version in its own store first.
        let between = changing.contains(&shard.location());
        let refused = opened.as_ref().err().map(|error| error.kind());
        assert!(refused.is_none_or(|kind| between && kind == ErrorKind::Stale), "{shard}: {opened:?}");
    }
}

async fn client_in_the_way<E: Environment, M: Kind>() {
    // The time of a command is ample: only the lock of the held one is not waited for.
    let environment = E::fresh(Timeouts::default().operation_lock(Duration::from_millis(1))).await;
    let at = |number| environment.location(number);
    let credentials = environment.credentials();
    let probe = Probe::new(environment.backend().clone());
    let own = M::map(&manager(probe.clone()).await, "the map").await;
    let other = M::map(&manager(environment.backend().clone()).await, "another map").await;
    for number in [SOURCE, TARGET, BESIDE[0], BESIDE[1]] {
        let _ = own.shard_or_create(&at(number)).await.unwrap();
        let _ = other.shard_or_create(&at(number)).await.unwrap();
    }
    for (key, number) in [(HELD, SOURCE), (SAME_SHARD, SOURCE), (OTHER_SHARD, BESIDE[0])] {
        let _ = M::create(&own, key, &own.shard(&at(number)).await.unwrap()).await;
    }
    let warm = M::map(&manager(environment.backend().clone()).await, "the map").await;
    let changing = [at(SOURCE), at(TARGET)];
    let changing = changing.each_ref();
    every_route(&warm, &credentials, changing).await;

    for (call, begun) in phases(at) {
        let case = format!("held before {call:?}");
        let mapping = own.mapping_for_key(&HELD).await.unwrap();
        let away = MappingUpdate::new().status(MappingStatus::Offline).shard(&own.shard(&at(TARGET)).await.unwrap());
        probe.inject(call, 1, Fault::SendOnRelease);
        let mut running = own.update_mapping(mapping, &away);
        tokio::select! {
            done = &mut running => panic!("{case}: it was not held: {done:?}"),
            () = probe.held() => {}
        }

        let map = M::map(&manager(environment.backend().clone()).await, "the map").await;
        every_read(&map).await;
        every_route(&map, &credentials, changing).await;
        every_route(&warm, &credentials, changing).await;
        every_operation(&map, [&at(BESIDE[0]), &at(BESIDE[1])], &at(NEW)).await;
        let beside = M::map(map.manager(), "another map").await;
        every_operation(&beside, [&at(SOURCE), &at(TARGET)], &at(NEW)).await;
        // The lock of a mapping concerns no shard.
        let token = LockToken::random();
        let neighbour = map.lock_mapping(map.mapping_for_key(&SAME_SHARD).await.unwrap(), token).await.unwrap();
        let neighbour = map.unlock_mapping(neighbour, token).await.unwrap();
        if begun {
            // Operations on one shard take turns.
            let waited = map.mark_mapping_offline(neighbour).await.unwrap_err();
            assert_eq!(
                (waited.kind(), waited.limit()),
                (ErrorKind::TimedOut, Some(Limit::OperationLock)),
                "{case}: {waited:?}"
            );
        }

        probe.release();
        let moved = running.await.unwrap_or_else(|error| panic!("{case}: it is let go: {error:?}"));
        assert_eq!(map.mapping_for_key(&HELD).await.unwrap(), moved, "{case}");
        assert_consistent(environment.backend(), &[at(NEW)], &case).await;
        let back = map.move_mapping(moved, &map.shard(&at(SOURCE)).await.unwrap()).await.unwrap();
        let _ = map.mark_mapping_online(back).await.unwrap();
    }
}

pub async fn a_client_of_ranges_is_in_the_way_of_its_own_shards_only<E: Environment>() {
    Box::pin(client_in_the_way::<E, shardlet::RangeMapping<i64>>()).await;
}

pub async fn a_client_of_points_is_in_the_way_of_its_own_shards_only<E: Environment>() {
    Box::pin(client_in_the_way::<E, shardlet::PointMapping<i64>>()).await;
}
