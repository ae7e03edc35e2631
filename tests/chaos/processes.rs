//! Real processes on one directory: this test program, started again as a child. Some change both maps at random, one routes
//! on many threads; all are killed now and then, in the middle of whatever they do, and replaced.
//!
//! A child is told by environment variables what to do, says each operation that it has done in a line, and ends when its input
//! ends. When a child dies is drawn as a number of such lines.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use shardlet::rusqlite::OptionalExtension;
use shardlet::{
    ErrorKind, ListShardMap, MappingStatus, NoCredentials, Options, RangeShardMap, Result, RetryPolicy, ShardKey,
    ShardMap, ShardMapKind, ShardMapManager, Sqlite, SqliteConnection, SqliteTransaction, Validation,
};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::client::{Client, Manner, POINTS, RANGES};
use crate::dice::Dice;
use crate::gate::{Gate, Hub};
use crate::ground::{Ground, places};
use crate::keys::{KEYS, Keyed};
use crate::report::{Report, Tally, is_ordinary, outcome_of};
use crate::support::consistency::assert_consistent;
use crate::support::{directory, open};

const MARK: &str = "@@ ";
const ROLE: &str = "SHARDLET_TEST_ROLE";
const DIRECTORY: &str = "SHARDLET_TEST_DIRECTORY";
const SEED: &str = "SHARDLET_TEST_SEED";
/// What a child says that comes upon something nobody can explain.
const PANICKED: &str = "panicked";

/// Processes that change maps, at a time.
const CHANGERS: usize = 3;
/// Clients in each of them, and routes in the process that routes.
const CLIENTS: usize = 2;
const ROUTES: usize = 4;

fn say(name: &str, outcome: &str) {
    println!("\n{MARK}{name}: {outcome}");
}

/// Does what a child is told to do, if this process is one.
pub fn child() -> bool {
    let Ok(role) = std::env::var(ROLE) else { return false };
    let (path, seed) = (std::env::var(DIRECTORY).unwrap(), std::env::var(SEED).unwrap().parse().unwrap());
    // Said at once: while a trace is written, the process may be killed in its turn.
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        say(PANICKED, &panic.to_string().replace('\n', " "));
        usual(panic);
    }));
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).thread_stack_size(crate::STACK).enable_all().build().unwrap();
    let over = Arc::new(std::thread::spawn(|| std::io::stdin().read_line(&mut String::new())));
    let tasks = async {
        let mut dice = Dice::new(seed);
        let store = open(Path::new(&path));
        let mut tasks = Vec::new();
        match role.as_str() {
            "change" => {
                for client in 0..CLIENTS {
                    let (store, over) = (store.clone(), Arc::clone(&over));
                    tasks.push(tokio::spawn(change(store, client, dice.any(), move || over.is_finished())));
                }
            }
            "route" => {
                let manager = ShardMapManager::open(store, Options::default()).await.unwrap();
                let points: ListShardMap<i64, _> = manager.list_shard_map(POINTS).await.unwrap();
                let ranges: RangeShardMap<i64, _> = manager.range_shard_map(RANGES).await.unwrap();
                for number in 0..ROUTES {
                    let (seed, over) = (dice.any(), Arc::clone(&over));
                    let over = move || over.is_finished();
                    tasks.push(if number % 2 == 0 {
                        tokio::spawn(route(points.clone(), seed, over))
                    } else {
                        tokio::spawn(route(ranges.clone(), seed, over))
                    });
                }
            }
            _ => panic!("no such role: {role}"),
        }
        // One that panics ends the process.
        drop(try_join_all(tasks).await.unwrap());
    };
    runtime.block_on(tasks);
    true
}

/// Operations at random until it is over; some futures are dropped in the middle.
async fn change(store: Sqlite, number: usize, seed: u64, over: impl Fn() -> bool) {
    let mut dice = Dice::new(seed);
    let hub = Hub::open();
    let retry = RetryPolicy::default().pauses(Duration::from_millis(1), Duration::from_millis(20));
    let manner = Manner { options: Options::default().retry(retry), ends_sessions: true };
    let client = Arc::new(Client::new(Gate::new(store, number, hub.clone()), places(), manner));
    while !over() {
        let mut acts = Box::pin(Arc::clone(&client).act(dice.any()));
        if dice.in_thousand(60) {
            let mut dropped = true;
            for _ in 0..dice.below(200) {
                if futures::poll!(&mut acts).is_ready() {
                    dropped = false;
                    break;
                }
                tokio::task::yield_now().await;
            }
            drop(acts);
            if dropped {
                say("anything", "dropped");
            }
        } else {
            acts.await;
        }
        for (_, report) in hub.take_reports() {
            tell(&report, seed);
        }
    }
}

/// Says what was done, and panics if it failed in a way that nobody can explain by what the others do.
fn tell(report: &Report, seed: u64) {
    let Some(name) = report.name() else { return };
    let error = report.error();
    assert!(error.is_none_or(is_ordinary), "seed {seed}: {name}: {error:?}");
    say(name, &outcome_of(error));
}

/// Opens validated connections at random until it is over, keeps some open, and fails unless each leads to a database that
/// owns the key in the very transaction that uses it.
async fn route<M: Keyed>(map: ShardMap<M, Sqlite>, seed: u64, over: impl Fn() -> bool) {
    let mut dice = Dice::new(seed);
    let mut kept: Vec<(i64, SqliteConnection)> = Vec::new();
    while !over() {
        let (name, key, opened) = if !kept.is_empty() && dice.in_thousand(500) {
            let (key, connection) = kept.swap_remove(dice.below(kept.len()));
            ("visit again", key, Ok(connection))
        } else {
            let key = dice.key(KEYS);
            ("visit", key, map.open_connection_for_key(&key, &NoCredentials, Validation::Validate).await)
        };
        let outcome = match opened {
            Ok(mut connection) => {
                let visited = visit(&map, key, &mut connection, dice.in_thousand(300)).await;
                if visited.is_ok() && kept.len() < 2 {
                    kept.push((key, connection));
                }
                visited
            }
            Err(error) => Err(error),
        };
        let error = outcome.as_ref().err();
        let ordinary = error.is_none_or(|error| {
            matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::Offline | ErrorKind::PendingOperation | ErrorKind::Stale
            )
        });
        assert!(ordinary, "seed {seed}: key {key}: {error:?}");
        say(name, &outcome_of(error));
    }
}

async fn visit<M: Keyed>(
    map: &ShardMap<M, Sqlite>,
    key: i64,
    connection: &mut SqliteConnection,
    writes: bool,
) -> Result<()> {
    let expected = connection.location().database().to_owned();
    let (id, encoded) = (map.id().to_string(), key.encode().unwrap().as_bytes().to_vec());
    let look = move |transaction: &SqliteTransaction<'_>| {
        if writes {
            let _ = transaction.execute("UPDATE place SET visits = visits + 1", [])?;
        }
        let place: String = transaction.query_row("SELECT name FROM place", [], |row| row.get(0))?;
        let owner = transaction.query_row(
            r#"SELECT "Status", "MinValue" = ?2 OR ("MaxValue" IS NULL AND ?3) OR "MaxValue" > ?2
               FROM "__ShardManagement.ShardMappingsLocal"
               WHERE "ShardMapId" = ?1 AND "MinValue" <= ?2 ORDER BY "MinValue" DESC LIMIT 1"#,
            (id, encoded, M::KIND == ShardMapKind::Range),
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<bool>>(1)?)),
        );
        Ok((place, owner.optional()?))
    };
    let seen = if writes { connection.write(look).await? } else { connection.read(look).await? };
    // What takes a key away from a shard takes it offline first, which ends this session: so it is owned, here and now.
    assert_eq!(seen, (expected, Some((1, Some(true)))), "key {key} of the {} map", M::KIND);
    Ok(())
}

/// A child, seen from its parent. It is killed when this is dropped.
struct Process {
    child: Child,
    output: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(role: &str, directory: &Path, seed: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(ROLE, role)
            .env(DIRECTORY, directory)
            .env(SEED, seed.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, output }
    }

    /// Counts the next operation that the child has done; false when it has ended.
    async fn counts(&mut self, tally: &mut Tally) -> bool {
        while let Some(line) = self.output.next_line().await.unwrap() {
            let said = line.split_once(MARK).and_then(|(_, said)| said.split_once(": "));
            if let Some((name, outcome)) = said {
                assert_ne!(name, PANICKED, "{outcome}");
                tally.count(name, outcome);
                return true;
            }
        }
        false
    }
}

/// Keeps a process going, another one for each that is killed, until enough was done by all; then lets it end.
async fn keep(role: &str, directory: &Path, mut dice: Dice, longest: usize, enough: &AtomicUsize) -> Tally {
    let mut tally = Tally::default();
    loop {
        let seed = dice.any();
        let mut process = Process::start(role, directory, seed);
        let life = 1 + dice.below(longest);
        for _ in 0..life {
            assert!(
                process.counts(&mut tally).await,
                "{role} with seed {seed} has ended: {:?}",
                process.child.wait().await
            );
            let before = if role == "change" {
                enough.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| Some(left.saturating_sub(1))).unwrap()
            } else {
                enough.load(Ordering::SeqCst)
            };
            if before == 0 {
                drop(process.child.stdin.take());
                while process.counts(&mut tally).await {}
                assert!(process.child.wait().await.unwrap().success(), "{role} with seed {seed}");
                return tally;
            }
        }
        process.child.kill().await.unwrap();
        tally.count("process", "killed");
    }
}

/// So many operations by processes that change the maps, beside one that routes.
pub fn run(seed: u64, operations: usize) -> Tally {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let begun = std::time::Instant::now();
        let ground = Ground::Directory(directory());
        ground.set_up().await;
        let Ground::Directory(path) = &ground else { unreachable!("it was made as one") };
        let mut dice = Dice::new(seed);
        let left = AtomicUsize::new(operations);
        let mut kept: Vec<_> =
            (0..CHANGERS).map(|_| keep("change", path.path(), Dice::new(dice.any()), 400, &left)).collect();
        kept.push(keep("route", path.path(), Dice::new(dice.any()), 3_000, &left));
        let mut tally = Tally::default();
        for kept in join_all(kept).await {
            tally.join(&kept);
        }
        println!("processes, seed {seed}: {} operations in {:?}\n{tally}", tally.total(), begun.elapsed());
        settled(&ground, path.path()).await;
        tally
    })
}

/// After all have ended: what is pending is undone, everything agrees, and nothing is locked.
async fn settled(ground: &Ground, directory: &Path) {
    let manager = ShardMapManager::open(ground.store(), Options::default()).await.unwrap();
    let _ = manager.undo_pending_operations().await.unwrap();
    assert_consistent(manager.backend(), &places(), "after all").await;
    ground.nothing_is_left().unwrap();
    // A file that a killed process has left must not be locked.
    for file in std::fs::read_dir(directory.join("locks")).into_iter().flatten() {
        match File::open(file.unwrap().path()) {
            Ok(file) => file.try_lock().unwrap(),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
        }
    }
    let points: ListShardMap<i64, _> = manager.list_shard_map(POINTS).await.unwrap();
    let ranges: RangeShardMap<i64, _> = manager.range_shard_map(RANGES).await.unwrap();
    for key in 0..KEYS {
        opens_as_mapped(&points, key).await;
        opens_as_mapped(&ranges, key).await;
    }
}

async fn opens_as_mapped<M: Keyed>(map: &ShardMap<M, Sqlite>, key: i64) {
    let expected = match map.find_mapping_for_key(&key).await.unwrap() {
        None => Err(ErrorKind::NotFound),
        Some(mapping) if mapping.record().status == MappingStatus::Offline => Err(ErrorKind::Offline),
        Some(_) => Ok(()),
    };
    let visited = match map.open_connection_for_key(&key, &NoCredentials, Validation::Validate).await {
        Ok(mut connection) => visit(map, key, &mut connection, false).await,
        Err(error) => Err(error),
    };
    assert_eq!(visited.map_err(|error| error.kind()), expected, "key {key} of the {} map", M::KIND);
}
