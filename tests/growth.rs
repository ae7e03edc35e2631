//! What a call costs does not grow with the number of mappings or shards: counted in steps of SQLite's machine, not timed. A
//! program of its own, because the count is one for all connections of a process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "a test fails by panicking, and its helpers need no documentation"
)]

use std::collections::BTreeMap;
use std::sync::Mutex;

use shardlet::{
    BulkOptions, Durability, Error, ErrorCode, ErrorKind, LockToken, MappingFilter, NoCredentials, Options,
    PointMapping, RangeMapping, Shard, ShardKey, ShardLocation, ShardMap, ShardMapManager, ShardStatus, Sqlite,
    SqliteOptions, Validation, fault_point,
};

#[path = "suite/support/create_many.rs"]
mod create_many;
#[path = "suite/support/filled.rs"]
mod filled;
#[path = "suite/support/probe.rs"]
#[allow(dead_code, reason = "the suites use the rest")]
mod probe;

use create_many::CreateMany;
use probe::{Call, Fault, Probe};

type Backend = Probe<Sqlite>;

/// How many steps a call on a large store may take beyond those on a small one. It would be thousands where a step is made
/// for each mapping, and 200 where one is made for each shard.
const ALLOWED: i64 = 100;
const SMALL: Size = Size { mappings: 200, shards: 2 };
const LARGE: [Size; 2] = [Size { mappings: 20_000, shards: 2 }, Size { mappings: 1_000, shards: 200 }];

#[derive(Clone, Copy, Debug)]
struct Size {
    mappings: i64,
    shards: usize,
}

/// The statements since the last look, with their steps.
static STATEMENTS: Mutex<Vec<(String, i64)>> = Mutex::new(Vec::new());

/// The steps of each call, by statement.
type Costs = BTreeMap<&'static str, Vec<(String, i64)>>;

fn total(statements: &[(String, i64)]) -> i64 {
    statements.iter().map(|(_, steps)| steps).sum()
}

#[derive(Default)]
struct Meter(Costs);

impl Meter {
    async fn of<F: IntoFuture>(&mut self, call: &'static str, future: F) -> F::Output {
        STATEMENTS.lock().unwrap().clear();
        let output = future.await;
        let _ = self.0.insert(call, std::mem::take(&mut *STATEMENTS.lock().unwrap()));
        output
    }
}

/// Each mapping begins at a multiple of this; a range has the first half of the keys up to the next one.
const WIDTH: i64 = 10;

/// The kinds of maps: how their mappings are made and taken apart.
trait Kind: CreateMany {
    async fn map(manager: &ShardMapManager<Backend>) -> ShardMap<Self, Backend>;
    fn high(low: i64) -> Option<i64>;
    async fn create(map: &ShardMap<Self, Backend>, low: i64, shard: &Shard) -> shardlet::Result<Self>;
    /// Splits and merges, where mappings can be.
    async fn reshape(map: &ShardMap<Self, Backend>, mapping: Self, meter: &mut Meter) -> Self;
}

impl Kind for PointMapping<i64> {
    async fn map(manager: &ShardMapManager<Backend>) -> ShardMap<Self, Backend> {
        manager.list_shard_map_or_create("map").await.unwrap()
    }

    fn high(_: i64) -> Option<i64> {
        None
    }

    async fn create(map: &ShardMap<Self, Backend>, low: i64, shard: &Shard) -> shardlet::Result<Self> {
        map.create_mapping(low, shard).await
    }

    async fn reshape(_: &ShardMap<Self, Backend>, mapping: Self, _: &mut Meter) -> Self {
        mapping
    }
}

impl Kind for RangeMapping<i64> {
    async fn map(manager: &ShardMapManager<Backend>) -> ShardMap<Self, Backend> {
        manager.range_shard_map_or_create("map").await.unwrap()
    }

    fn high(low: i64) -> Option<i64> {
        Some(low + WIDTH / 2)
    }

    async fn create(map: &ShardMap<Self, Backend>, low: i64, shard: &Shard) -> shardlet::Result<Self> {
        map.create_mapping(low..low + WIDTH / 2, shard).await
    }

    async fn reshape(map: &ShardMap<Self, Backend>, mapping: Self, meter: &mut Meter) -> Self {
        let middle = mapping.range().low() + 2;
        let (low, high) = meter.of("split", map.split_mapping(mapping, middle)).await.unwrap();
        meter.of("merge", map.merge_mappings(low, high)).await.unwrap()
    }
}

fn location(number: usize) -> ShardLocation {
    ShardLocation::new("server", format!("shard_{number}"))
}

fn lost() -> Error {
    Error::new(ErrorKind::Unavailable, ErrorCode::StorageOperationFailure, "lost")
}

/// The costs of all calls on stores of a size.
async fn costs<M: Kind>(size: Size) -> Costs {
    let directory = tempfile::tempdir().unwrap();
    let options = SqliteOptions::default().durability(Durability::Process);
    let probe = Probe::new(Sqlite::open_with(directory.path(), options).unwrap());
    let manager = ShardMapManager::open_or_create(probe.clone(), Options::default()).await.unwrap();
    let map = M::map(&manager).await;
    let mut shards = Vec::new();
    for number in 0..size.shards {
        shards.push(map.create_shard(&location(number)).await.unwrap());
    }
    let rows = |of: Option<usize>| {
        let shards = &shards;
        let numbers = (0..size.mappings).zip((0..shards.len()).cycle());
        numbers.filter(move |(_, shard)| of.is_none_or(|of| of == *shard)).map(move |(number, shard)| filled::Row {
            id: u128::try_from(number).unwrap() + 1,
            shard: shards[shard].id(),
            low: (number * WIDTH).encode().unwrap(),
            high: M::high(number * WIDTH).map(|high| high.encode().unwrap()),
        })
    };
    filled::fill_global(&directory.path().join("gsm.db"), map.id(), rows(None));
    for number in 0..shards.len() {
        let file = directory.path().join(format!("shards/server/shard_{number}.db"));
        filled::fill_local(&file, map.id(), rows(Some(number)));
    }
    // The first time connections are opened, too. The shards of all keys are the first and the second.
    let middle = size.mappings / 2 / i64::try_from(size.shards).unwrap() * i64::try_from(size.shards).unwrap();
    let _ = calls(&probe, &manager, &map, middle * WIDTH, 0).await;
    calls(&probe, &manager, &map, (middle + i64::try_from(size.shards).unwrap()) * WIDTH, 1).await
}

/// How many mappings are created at once.
const BATCH: i64 = 100;

/// What each call costs around a mapping that is on the first shard; of the keys above each mapping some are free.
async fn calls<M: Kind>(
    probe: &Backend,
    manager: &ShardMapManager<Backend>,
    map: &ShardMap<M, Backend>,
    key: i64,
    round: i64,
) -> Costs {
    let mut meter = Meter::default();
    let open = |validation| map.open_connection_for_key(&key, &NoCredentials, validation);

    let opening = ShardMapManager::open(probe.clone(), Options::default());
    let elsewhere = meter.of("open the manager", opening).await.unwrap();
    let other = meter.of("find the map", M::map(&elsewhere)).await;
    map.clear_cache();
    let _ = meter.of("cold lookup", map.lookup_mapping(&key)).await.unwrap();
    let _ = meter.of("warm lookup", map.lookup_mapping(&key)).await.unwrap();
    assert_eq!(meter.0["warm lookup"], []);
    let _ = meter.of("lookup in the store", map.mapping_for_key(&key)).await.unwrap();
    let _ = meter.of("lookup of a free key", map.find_mapping_for_key(&(key + 7))).await.unwrap();
    drop(meter.of("open, not validated", open(Validation::None)).await.unwrap());
    let mut connection = meter.of("open, validated", open(Validation::Validate)).await.unwrap();
    assert!(total(&meter.0["open, validated"]) > 0, "the statements of pooled connections are counted");
    meter.of("use of a connection", connection.execute_batch("")).await.unwrap();
    drop(connection);
    let shard = meter.of("find a shard", map.shard(&location(0))).await.unwrap();
    let next = map.shard(&location(1)).await.unwrap();
    drop(
        meter
            .of("open to a shard", map.open_connection_to_shard(&shard, &NoCredentials, Validation::Validate))
            .await
            .unwrap(),
    );

    let offline = other.mark_mapping_offline(other.mapping_for_key(&key).await.unwrap()).await.unwrap();
    let _ = other.mark_mapping_online(offline).await.unwrap();
    drop(meter.of("open, stale", open(Validation::Validate)).await.unwrap());

    let mapping = meter.of("create", M::create(map, key + WIDTH / 2, &shard)).await.unwrap();
    let token = LockToken::random();
    let mapping = meter.of("lock", map.lock_mapping(mapping, token)).await.unwrap();
    let _ = meter.of("lock owner", map.mapping_lock_owner(&mapping)).await.unwrap();
    let mapping = meter.of("unlock", map.unlock_mapping(mapping, token)).await.unwrap();
    let _ = map.lock_mapping(mapping, token).await.unwrap();
    let _ = meter.of("unlock all", map.unlock_mappings(token)).await.unwrap();
    let mapping = map.mapping_for_key(&(key + WIDTH / 2)).await.unwrap();
    let mapping = M::reshape(map, mapping, &mut meter).await;
    let mapping = meter.of("offline", map.mark_mapping_offline(mapping)).await.unwrap();
    let mapping = meter.of("move", map.move_mapping(mapping, &next)).await.unwrap();
    let mapping = meter.of("online", map.mark_mapping_online(mapping)).await.unwrap();

    probe.inject(Call::EndDo, 1, Fault::FailBefore(lost()));
    probe.inject(Call::FindOperation, 1, Fault::FailBefore(lost()));
    let _ = map.mark_mapping_offline(mapping).await.unwrap_err();
    let undone = meter.of("undo", manager.undo_pending_operations()).await.unwrap();
    assert_eq!(undone, 1);
    let _ = meter.of("undo, nothing pending", manager.undo_pending_operations()).await.unwrap();
    let mapping = map.mapping_for_key(&(key + WIDTH / 2)).await.unwrap();
    let mapping = map.mark_mapping_offline(mapping).await.unwrap();
    meter.of("delete", map.delete_mapping(mapping)).await.unwrap();

    // Each above a mapping of its own, and above what the round before has made there.
    let bounds = (1..=BATCH).map(|number| key - WIDTH * number + WIDTH / 2 + 1 + round).map(|low| (low, Some(low + 1)));
    let batch = M::create_many(map, bounds.map(|bounds| (bounds, &shard)), &BulkOptions::default()).unwrap();
    let batch = batch.beside(&map.mapping_for_key(&key).await.unwrap());
    let made = meter.of("create many", batch.next_batch().unwrap()).await.unwrap();
    assert_eq!(made.len(), usize::try_from(BATCH).unwrap());

    let new_shard = location(1_000 + usize::try_from(round).unwrap());
    let shard = meter.of("create a shard", map.create_shard(&new_shard)).await.unwrap();
    let of_shard = MappingFilter::all().on_shard(&shard);
    let found = meter.of("mappings of a shard that has none", map.mappings_matching(&of_shard)).await.unwrap();
    assert!(found.is_empty());
    let shard = meter.of("update a shard", map.update_shard(shard, ShardStatus::Offline)).await.unwrap();
    meter.of("delete a shard", map.delete_shard(shard)).await.unwrap();
    meter.0
}

/// What costs more on large stores.
async fn grown<M: Kind>() -> Vec<String> {
    let small = costs::<M>(SMALL).await;
    let mut grown = Vec::new();
    for size in LARGE {
        for (call, mut statements) in costs::<M>(size).await {
            let (before, after) = (total(&small[call]), total(&statements));
            if after > before + ALLOWED {
                statements.sort_by_key(|(_, steps)| -steps);
                let most = statements.first();
                grown.push(format!("{:?}, {size:?}, {call}: {before} steps became {after}, of {most:#?}", M::KIND));
            }
        }
    }
    grown
}

/// One test for both kinds: they would count each other's statements.
#[tokio::test]
async fn no_call_costs_more_on_large_stores() {
    assert!(fault_point::meter_statements(|sql, steps| STATEMENTS.lock().unwrap().push((sql.to_owned(), steps))));
    let grown = [grown::<PointMapping<i64>>().await, grown::<RangeMapping<i64>>().await].concat();
    assert!(grown.is_empty(), "{}", grown.join("\n"));
}
