//! Several real processes on one directory. Those that are killed at every point of every operation are in `faults`.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::Path;

use shardlet::gsm::GlobalStore;
use shardlet::model::MappingRecord;
use shardlet::{
    ErrorKind, Mapping, MappingStatus, NoCredentials, Options, RangeShardMap, Result, ShardMapManager, Sqlite,
    SqliteConnection, Stores, Validation,
};
use tempfile::TempDir;

use crate::support::child::{Process, hear, say, told};
use crate::support::consistency::facts;
use crate::support::probe::{Call, Fault, Probe};
use crate::support::{directory, location, quick, shards, sqlite};

const ROLE: &str = "SHARDLET_TEST_ROLE";
const DIRECTORY: &str = "SHARDLET_TEST_DIRECTORY";
const DETAIL: &str = "SHARDLET_TEST_DETAIL";

pub type Ranges<B = Sqlite> = RangeShardMap<i64, B>;

pub fn start(role: &str, directory: &TempDir, detail: &str) -> Process {
    let directory = directory.path().to_str().unwrap();
    let variables = [(ROLE, role), (DIRECTORY, directory), (DETAIL, detail)];
    Process::start(&["--ignored", "--exact", "processes::child", "--nocapture"], &variables)
}

#[tokio::test]
#[ignore = "child process of the other tests in this file"]
async fn child() {
    // Without a role it was not started by one of them.
    let Some(role) = told(ROLE) else { return };
    let (path, detail) = (told(DIRECTORY).unwrap(), told(DETAIL).unwrap());
    let store = Sqlite::open_with(path, quick()).unwrap();
    match role.as_str() {
        "create" => create_and_tell(store).await,
        "change" => change_at_random(store, detail.parse().unwrap()).await,
        "route" => route_until_told(store).await,
        "hold" => hold(store, &detail).await,
        "operate" => operate_and_tell(store, &detail).await,
        "session" => use_session(store).await,
        "upgrade" => upgrade_and_tell(store).await,
        #[cfg(unix)]
        "pause" => crate::stopped::pause(store, &detail).await,
        #[cfg(unix)]
        "write" => crate::stopped::write(&detail).await,
        _ => panic!("no such role: {role}"),
    }
}

pub async fn ranges<B: Stores>(store: B) -> Ranges<B> {
    let manager = ShardMapManager::open_or_create(store, Options::default()).await.unwrap();
    manager.range_shard_map_or_create("ranges").await.unwrap()
}

pub async fn open<B>(map: &Ranges<B>, key: i64) -> Result<SqliteConnection>
where
    B: Stores<Credentials = NoCredentials, Connection = SqliteConnection>,
{
    map.open_connection_for_key(&key, &NoCredentials, Validation::Validate).await
}

/// Fails unless global and local stores agree, nothing is pending, and no operation is locked.
pub async fn assert_settled<B: Stores>(map: &Ranges<B>, directory: &Path, case: &str) {
    let stores = map.manager().backend();
    assert_eq!(stores.pending_operations().await.unwrap(), [], "{case}: the log");
    let by_id = |records: Vec<MappingRecord>| -> HashMap<_, _> {
        records.into_iter().map(|it| (it.id, (it.low, it.high, it.status, it.shard.id()))).collect()
    };
    let mut local = HashMap::new();
    for shard in map.shards().await.unwrap() {
        let records = stores.local_mappings(shard.location(), map.id()).await.unwrap();
        assert!(records.iter().all(|record| record.shard.id() == shard.id()), "{case}: {shard}");
        local.extend(by_id(records));
        let known = stores.local_shards(shard.location()).await.unwrap();
        let known: Vec<_> = known.into_iter().filter(|(info, _)| info.id() == map.id()).map(|(_, at)| at).collect();
        assert_eq!(known, [shard], "{case}: version and id of the shard");
    }
    let global = map.mappings().await.unwrap().iter().map(|mapping| mapping.record().as_ref().clone()).collect();
    assert_eq!(by_id(global), local, "{case}: global and local mappings");
    // A client removes the lock's file in the background; a file that is left must not be locked.
    for file in fs::read_dir(directory.join("locks")).into_iter().flatten() {
        match File::open(file.unwrap().path()) {
            Ok(file) => file.lock().unwrap(),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{case}"),
        }
    }
}

// Several processes create one store.

async fn create_and_tell(store: Sqlite) {
    say("ready");
    let _ = hear().await;
    let map = ranges(store).await;
    let shard = map.shard_or_create(&location(0)).await.unwrap();
    say(&format!("{} {}", map.id(), shard.id()));
}

#[tokio::test]
async fn processes_that_create_the_store_at_once_share_one() {
    for round in 0..3 {
        let directory = directory();
        let mut children: Vec<_> = (0..3).map(|_| start("create", &directory, "")).collect();
        for child in &mut children {
            child.expect("ready").await;
        }
        for child in &mut children {
            child.tell("go").await;
        }
        let mut said = Vec::new();
        for mut child in children {
            said.push(child.says().await);
            child.ends_well().await;
        }
        said.dedup();
        assert_eq!(said.len(), 1, "round {round}: one map and one shard: {said:?}");
        let map = ranges(sqlite(&directory)).await;
        assert_eq!(said[0], format!("{} {}", map.id(), map.shard(&location(0)).await.unwrap().id()), "round {round}");
        assert_settled(&map, directory.path(), "created at once").await;
    }
}

// Several processes upgrade one store.

async fn upgrade_and_tell(store: Sqlite) {
    say("ready");
    let _ = hear().await;
    let report = ShardMapManager::upgrade(&store).await.unwrap();
    say(&format!("{} {}", report.global.to, report.is_complete()));
}

#[tokio::test]
async fn processes_that_upgrade_the_store_at_once_all_succeed() {
    let directory = directory();
    let map = set_up(&directory).await;
    let before = facts(map.manager().backend()).await;
    let places = map.manager().shard_locations().await.unwrap();
    let mut files = vec![(directory.path().join("gsm.db"), "Global")];
    files.extend(
        places.iter().map(|place| {
            (directory.path().join(format!("shards/{}/{}.db", place.server(), place.database())), "Local")
        }),
    );
    for (file, kind) in files {
        let table = format!("\"__ShardManagement.ShardMapManager{kind}\"");
        let sql = format!(
            "DROP TABLE {table}; CREATE TABLE {table} (\"StoreVersion\" INTEGER NOT NULL PRIMARY KEY) STRICT; \
             INSERT INTO {table} VALUES (1)"
        );
        crate::support::contents::raw(&file).execute_batch(&sql).unwrap();
    }
    let mut children: Vec<_> = (0..3).map(|_| start("upgrade", &directory, "")).collect();
    for child in &mut children {
        child.expect("ready").await;
    }
    for child in &mut children {
        child.tell("go").await;
    }
    for mut child in children {
        child.expect("1.2 true").await;
        child.ends_well().await;
    }
    assert_eq!(facts(map.manager().backend()).await, before);
    assert_settled(&map, directory.path(), "upgraded at once").await;
}

// Several processes change one map.

/// Small numbers from a seed, so that a run can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

const KEYS: i64 = 64;

async fn one_change(map: &Ranges, dice: &mut Dice) -> Result<()> {
    let mappings = map.mappings().await?;
    let shards = map.shards().await?;
    let shard = &shards[dice.roll(shards.len())];
    let chosen = (!mappings.is_empty()).then(|| dice.roll(mappings.len()));
    let Some(chosen) = chosen.filter(|_| dice.roll(5) > 0) else {
        let low = i64::try_from(dice.roll(60)).unwrap();
        return map.create_mapping(low..low + 4, shard).await.map(drop);
    };
    let mapping = mappings[chosen].clone();
    let range = mapping.range();
    let (low, high) = (*range.low(), *range.high().unwrap());
    match dice.roll(4) {
        0 if high - low > 1 => map.split_mapping(mapping, low + (high - low) / 2).await.map(drop),
        1 => {
            let right = mappings.get(chosen + 1).filter(|right| {
                *right.range().low() == high
                    && right.shard().id() == mapping.shard().id()
                    && right.status() == mapping.status()
            });
            match right {
                Some(right) => map.merge_mappings(mapping, right.clone()).await.map(drop),
                None => Ok(()),
            }
        }
        2 => {
            let moved = map.move_mapping(map.mark_mapping_offline(mapping).await?, shard).await?;
            map.mark_mapping_online(moved).await.map(drop)
        }
        _ => map.delete_mapping(map.mark_mapping_offline(mapping).await?).await,
    }
}

async fn change_at_random(store: Sqlite, seed: u64) {
    let map = ranges(store).await;
    let mut dice = Dice(seed);
    let mut done = 0;
    for number in 0..40 {
        match one_change(&map, &mut dice).await {
            Ok(()) => done += 1,
            // Others were faster.
            Err(error) => assert!(
                matches!(
                    error.kind(),
                    ErrorKind::Stale | ErrorKind::Overlaps | ErrorKind::NotOffline | ErrorKind::PendingOperation
                ),
                "seed {seed}, change {number}: {error:?}"
            ),
        }
    }
    say(&format!("{done}"));
}

async fn route_until_told(store: Sqlite) {
    let map = ranges(store).await;
    say("ready");
    let mut told = std::pin::pin!(hear());
    let mut dice = Dice(99);
    let mut opened = 0;
    while futures::poll!(&mut told).is_pending() {
        let key = i64::try_from(dice.roll(64)).unwrap();
        match open(&map, key).await {
            Ok(mut connection) => {
                match connection.read(|transaction| transaction.query_row("SELECT 1", [], |_| Ok(()))).await {
                    Ok(()) => opened += 1,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Offline, "{key}: {error:?}"),
                }
            }
            Err(error) => assert!(
                matches!(
                    error.kind(),
                    // The second time that the mapping is changed between its read and the open.
                    ErrorKind::NotFound | ErrorKind::Offline | ErrorKind::PendingOperation | ErrorKind::Stale
                ),
                "{key}: {error:?}"
            ),
        }
    }
    say(&format!("{opened}"));
}

#[tokio::test]
async fn processes_that_change_one_map_leave_stores_that_agree() {
    let directory = directory();
    let map = ranges(sqlite(&directory)).await;
    let shards = shards(&map, 2).await;
    for low in 0..8 {
        let shard = &shards[usize::from(low % 2 == 0)];
        let _ = map.create_mapping(low * 8..low * 8 + 8, shard).await.unwrap();
    }
    let mut router = start("route", &directory, "");
    router.expect("ready").await;
    let changers: Vec<_> = (1..=4).map(|seed| start("change", &directory, &seed.to_string())).collect();
    let mut done = 0;
    for mut changer in changers {
        done += changer.says().await.parse::<usize>().unwrap();
        changer.ends_well().await;
    }
    router.tell("enough").await;
    let opened: usize = router.says().await.parse().unwrap();
    router.ends_well().await;
    assert!(done > 40 && opened > 0, "{done} changes and {opened} opens are no test");
    assert_settled(&map, directory.path(), "after all").await;
    for key in 0..KEYS {
        let expected = map.find_mapping_for_key(&key).await.unwrap();
        let expected = match &expected {
            None => Err(ErrorKind::NotFound),
            Some(mapping) if mapping.status() == MappingStatus::Offline => Err(ErrorKind::Offline),
            Some(mapping) => Ok(mapping.shard().location().clone()),
        };
        let routed = open(&map, key).await.map(|open| open.location().clone()).map_err(|error| error.kind());
        assert_eq!(routed, expected, "key {key}");
    }
}

// Processes wait for the owner of an operation.

/// `[0, 10)` and `[10, 20)` online and `[20, 30)` offline, all on shard 0 of two.
pub async fn set_up(directory: &TempDir) -> Ranges {
    let map = ranges(sqlite(directory)).await;
    let shard = shards(&map, 2).await.remove(0);
    let _ = map.create_mapping(0..10, &shard).await.unwrap();
    let _ = map.create_mapping(10..20, &shard).await.unwrap();
    let _ = map.create_mapping_with(20..30, &shard, MappingStatus::Offline).await.unwrap();
    map
}

pub async fn operate<B: Stores>(map: &Ranges<B>, operation: &str) -> Result<()> {
    let of = async |key: i64| map.mapping_for_key(&key).await;
    match operation {
        "create" => map.create_mapping(30..40, &map.shard(&location(1)).await?).await.map(drop),
        "split" => map.split_mapping(of(0).await?, 5).await.map(drop),
        "take offline" => map.mark_mapping_offline(of(0).await?).await.map(drop),
        "move" => map.move_mapping(of(20).await?, &map.shard(&location(1)).await?).await.map(drop),
        _ => panic!("no such operation: {operation}"),
    }
}

/// Begins an operation, and stops there with its lock held until it is told to let go.
async fn hold(store: Sqlite, operation: &str) {
    let probe = Probe::new(store);
    let map = ranges(probe.clone()).await;
    probe.inject(Call::Begin, 1, Fault::HoldAfter);
    {
        let mut running = Box::pin(operate(&map, operation));
        tokio::select! {
            () = probe.held() => {}
            done = &mut running => panic!("{operation}: not held: {done:?}"),
        }
        say("held");
        let _ = hear().await;
    }
    say("dropped");
}

/// Does an operation whose rows another process holds, and says when it waits and when it is done.
async fn operate_and_tell(store: Sqlite, operation: &str) {
    let probe = Probe::new(store);
    let map = ranges(probe.clone()).await;
    let mut running = Box::pin(operate(&map, operation));
    // The first lock is that of its own operation, the second one that of the operation it has met.
    while probe.count(&Call::LockOperation) < 2 {
        assert!(futures::poll!(&mut running).is_pending(), "done without waiting");
        tokio::task::yield_now().await;
    }
    say("waiting");
    running.await.unwrap();
    say("done");
}

#[tokio::test]
async fn a_process_waits_for_the_owner_of_an_operation_and_no_longer() {
    for ending in ["killed", "told to let go"] {
        let directory = directory();
        let map = set_up(&directory).await;
        let mut owner = start("hold", &directory, "split");
        owner.expect("held").await;
        let mut waiters = [start("operate", &directory, "take offline"), start("operate", &directory, "move")];
        for waiter in &mut waiters {
            waiter.expect("waiting").await;
        }
        // As long as the owner lives its operation is nobody else's.
        assert_eq!(map.manager().backend().pending_operations().await.unwrap().len(), 1, "{ending}");
        if ending == "killed" {
            owner.kill().await;
        } else {
            owner.tell("let go").await;
            owner.expect("dropped").await;
        }
        for mut waiter in waiters {
            waiter.expect("done").await;
            waiter.ends_well().await;
        }
        assert_settled(&map, directory.path(), ending).await;
        assert_eq!(map.mapping_for_key(&5).await.unwrap().range(), (0..10).into(), "{ending}: the split is undone");
        assert_eq!(map.mapping_for_key(&5).await.unwrap().status(), MappingStatus::Offline, "{ending}");
        assert_eq!(map.mapping_for_key(&20).await.unwrap().shard().location(), &location(1), "{ending}");
    }
}

// A process has sessions open.

async fn use_session(store: Sqlite) {
    let map = ranges(store).await;
    let (mut session, mut neighbour) = (open(&map, 5).await.unwrap(), open(&map, 15).await.unwrap());
    say("open");
    let _ = hear().await;
    for connection in [&mut session, &mut neighbour] {
        match connection.execute("INSERT INTO item DEFAULT VALUES", []).await {
            Ok(written) => say(&format!("wrote {written}")),
            Err(error) => say(&format!("{:?} {:?}", error.kind(), error.code())),
        }
    }
    let _ = hear().await;
    let opened = open(&map, 5).await;
    say(&opened.map_or_else(|error| format!("{:?}", error.kind()), |open| open.location().to_string()));
}

#[tokio::test]
async fn a_session_in_another_process_is_refused_after_its_mapping_went_offline() {
    let directory = directory();
    let map = set_up(&directory).await;
    open(&map, 5).await.unwrap().execute_batch("CREATE TABLE item (id INTEGER PRIMARY KEY)").await.unwrap();
    let mut child = start("session", &directory, "");
    child.expect("open").await;
    let offline = map.mark_mapping_offline(map.mapping_for_key(&5).await.unwrap()).await.unwrap();
    child.tell("write").await;
    child.expect("Offline SessionEnded").await;
    child.expect("wrote 1").await;
    let moved = map.move_mapping(offline, &map.shard(&location(1)).await.unwrap()).await.unwrap();
    let online = map.mark_mapping_online(moved).await.unwrap();
    child.tell("open").await;
    child.expect(&online.shard().location().to_string()).await;
    child.ends_well().await;
}
