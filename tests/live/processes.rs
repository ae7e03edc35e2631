//! Several real processes on one store: this test program, started again as a child, some of them killed.
//!
//! A child is told by environment variables what to do. Parent and child keep step by lines on the child's output, which
//! begin with a mark, and by the end of its input.

use std::process::Stdio;

use shardlet::gsm::GlobalStore;
use shardlet::{
    ErrorKind, MappingStatus, Options, RangeShardMap, Result, ShardLocation, ShardMapManager, SqlServer,
    SqlServerOptions, Stores, Validation,
};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::conformance::Environment;
use crate::environment::Live;
use crate::server::{credentials, place_of, store_of};
use crate::support::consistency::assert_consistent;
use crate::support::probe::{Call, Fault, Probe};

trials! { processes {
    what_a_killed_process_left_is_undone_by_the_next_one,
    processes_that_change_one_map_leave_stores_that_agree,
} }

const MARK: &str = "@@ ";
const ROLE: &str = "SHARDLET_TEST_ROLE";
/// What the databases' names begin with.
const PREFIX: &str = "SHARDLET_TEST_DATABASES";
const DETAIL: &str = "SHARDLET_TEST_DETAIL";

type Ranges<B = SqlServer> = RangeShardMap<i64, B>;

/// A child, seen from its parent. It is killed when this is dropped.
struct Process {
    child: Child,
    output: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(role: &str, env: &Live, detail: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(ROLE, role)
            .env(PREFIX, env.databases.prefix())
            .env(DETAIL, detail)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, output }
    }

    /// The next line that the child says to its parent.
    async fn says(&mut self) -> String {
        while let Some(line) = self.output.next_line().await.unwrap() {
            if let Some((_, said)) = line.split_once(MARK) {
                return said.to_owned();
            }
        }
        panic!("the child ended without a word: {:?}", self.child.wait().await);
    }

    async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    async fn ends_well(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().await.unwrap().success());
    }
}

fn say(line: &str) {
    println!("\n{MARK}{line}");
}

/// Does what a child is told to do, if this process is one.
pub fn child() -> bool {
    let Ok(role) = std::env::var(ROLE) else { return false };
    let (prefix, detail) = (std::env::var(PREFIX).unwrap(), std::env::var(DETAIL).unwrap());
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = store_of(&prefix, SqlServerOptions::default());
            match role.as_str() {
                "hold" => hold(store, &prefix, &detail).await,
                "change" => change_at_random(store, &detail).await,
                _ => panic!("no such role: {role}"),
            }
        });
    };
    std::thread::Builder::new().stack_size(crate::trials::STACK).spawn(work).unwrap().join().unwrap();
    true
}

async fn ranges<B: Stores>(store: B, name: &str) -> Ranges<B> {
    let manager = ShardMapManager::open_or_create(store, Options::default()).await.unwrap();
    manager.range_shard_map_or_create(name).await.unwrap()
}

/// `[0, 10)` and `[10, 20)` online and `[20, 30)` offline, all on shard 0 of two.
async fn set_up(env: &Live, name: &str) -> Ranges {
    let map = ranges(env.backend().clone(), name).await;
    let shard = env.shards(&map, 2).await.remove(0);
    let _ = map.create_mapping(0..10, &shard).await.unwrap();
    let _ = map.create_mapping(10..20, &shard).await.unwrap();
    let _ = map.create_mapping_with(20..30, &shard, MappingStatus::Offline).await.unwrap();
    map
}

async fn operate<B: Stores>(map: &Ranges<B>, operation: &str, place: impl Fn(usize) -> ShardLocation) -> Result<()> {
    let of = async |key: i64| map.mapping_for_key(&key).await;
    match operation {
        "add shard" => map.create_shard(&place(2)).await.map(drop),
        "delete shard" => map.delete_shard(map.shard(&place(1)).await?).await,
        "create" => map.create_mapping(30..40, &map.shard(&place(1)).await?).await.map(drop),
        "split" => map.split_mapping(of(0).await?, 5).await.map(drop),
        "merge" => map.merge_mappings(of(0).await?, of(10).await?).await.map(drop),
        "take offline" => map.mark_mapping_offline(of(0).await?).await.map(drop),
        "move" => map.move_mapping(of(20).await?, &map.shard(&place(1)).await?).await.map(drop),
        "delete" => map.delete_mapping(of(20).await?).await,
        _ => panic!("no such operation: {operation}"),
    }
}

/// Shards and mappings as people read them, without what is random.
async fn picture<B: Stores>(map: &Ranges<B>) -> Vec<String> {
    let mappings = map.mappings().await.unwrap();
    let mut picture: Vec<_> =
        mappings.iter().map(|it| format!("{} {} on {}", it.range(), it.status(), it.shard())).collect();
    picture.extend(map.shards().await.unwrap().iter().map(ToString::to_string));
    picture.sort();
    picture
}

/// Begins an operation and stops in a phase of it, with its lock held, until it is killed.
async fn hold(store: SqlServer, prefix: &str, detail: &str) {
    let [map, operation, phase] = detail.split('/').collect::<Vec<_>>()[..] else { panic!("{detail}") };
    let probe = Probe::new(store);
    let map = ranges(probe.clone(), map).await;
    let place = |number| place_of(prefix, number);
    let source = match operation {
        "add shard" => 2,
        "delete shard" | "create" => 1,
        _ => 0,
    };
    let (call, fault) = match phase {
        "begun" => (Call::Begin, Fault::HoldAfter),
        "source done" => (Call::ChangeLocal { at: place(source), undoing: false }, Fault::HoldAfter),
        "target done" => (Call::ChangeLocal { at: place(1), undoing: false }, Fault::HoldAfter),
        "end unsent" => (Call::EndDo, Fault::HoldBefore),
        "ended" => (Call::EndDo, Fault::HoldAfter),
        _ => panic!("no such phase: {phase}"),
    };
    probe.inject(call, 1, fault);
    let mut running = std::pin::pin!(operate(&map, operation, place));
    tokio::select! {
        done = &mut running => panic!("{detail}: not held: {done:?}"),
        () = probe.held() => say("held"),
    }
    let done = running.await;
    panic!("{detail}: not held: {done:?}");
}

async fn what_a_killed_process_left_is_undone_by_the_next_one() {
    let env = Live::new().await;
    let cases = [
        ("create", "begun"),
        ("create", "source done"),
        ("split", "begun"),
        ("split", "end unsent"),
        ("merge", "source done"),
        ("take offline", "source done"),
        ("move", "source done"),
        ("move", "target done"),
        ("move", "ended"),
        ("delete", "end unsent"),
        ("add shard", "source done"),
        ("delete shard", "source done"),
    ];
    for (number, (operation, phase)) in cases.into_iter().enumerate() {
        let case = format!("{operation}/{phase}");
        let map = set_up(&env, &format!("map {number}")).await;
        let before = picture(&map).await;
        let mut child = Process::start("hold", &env, &format!("map {number}/{case}"));
        assert_eq!(child.says().await, "held", "{case}");
        let pending = env.backend().pending_operations().await.unwrap();
        assert_eq!(pending.len(), usize::from(phase != "ended"), "{case}");
        child.kill().await;

        let place = |number| env.location(number);
        let next = ranges(env.backend().clone(), map.name()).await;
        if phase != "ended" {
            assert_eq!(picture(&next).await, before, "{case}: readers see the old state");
            operate(&next, operation, place).await.unwrap_or_else(|error| panic!("{case}: {error:?}"));
        }
        assert_consistent(env.backend(), &env.places(), &case).await;
        let expected = set_up(&env, &format!("expected {number}")).await;
        operate(&expected, operation, place).await.unwrap();
        assert_eq!(picture(&next).await, picture(&expected).await, "{case}: the new state");
    }
}

/// Small numbers from a seed, so that a run can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

async fn one_change(map: &Ranges, dice: &mut Dice) -> Result<()> {
    let (mappings, shards) = (map.mappings().await?, map.shards().await?);
    let shard = &shards[dice.roll(shards.len())];
    let chosen = (!mappings.is_empty()).then(|| dice.roll(mappings.len()));
    let Some(chosen) = chosen.filter(|_| dice.roll(5) > 0) else {
        let low = i64::try_from(dice.roll(60)).unwrap();
        return map.create_mapping(low..low + 4, shard).await.map(drop);
    };
    let mapping = mappings[chosen].clone();
    let (low, high) = (*mapping.range().low(), *mapping.range().high().unwrap());
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

/// Changes the map until its input ends, and says each change that is made.
async fn change_at_random(store: SqlServer, detail: &str) {
    let seed = detail.parse().unwrap();
    let map = ranges(store, "ranges").await;
    let mut dice = Dice(seed);
    let over = std::thread::spawn(|| std::io::stdin().read_line(&mut String::new()));
    while !over.is_finished() {
        match one_change(&map, &mut dice).await {
            Ok(()) => say("changed"),
            // Others were faster.
            Err(error) => assert!(
                matches!(
                    error.kind(),
                    ErrorKind::Stale | ErrorKind::Overlaps | ErrorKind::NotOffline | ErrorKind::PendingOperation
                ),
                "seed {seed}: {error:?}"
            ),
        }
    }
}

async fn processes_that_change_one_map_leave_stores_that_agree() {
    let env = Live::new().await;
    let map = ranges(env.backend().clone(), "ranges").await;
    let shards = env.shards(&map, 2).await;
    for low in 0..8 {
        let _ = map.create_mapping(low * 8..low * 8 + 8, &shards[usize::from(low % 2 == 0)]).await.unwrap();
    }
    let mut changers: Vec<_> = (1..=4).map(|seed| Process::start("change", &env, &seed.to_string())).collect();
    for changer in &mut changers {
        for _ in 0..6 {
            assert_eq!(changer.says().await, "changed");
        }
    }
    // Two die in the middle of whatever they do, the others go on over what they left.
    for _ in 0..2 {
        changers.remove(0).kill().await;
    }
    for changer in &mut changers {
        for _ in 0..6 {
            assert_eq!(changer.says().await, "changed");
        }
    }
    for changer in changers {
        changer.ends_well().await;
    }
    let _ = map.manager().undo_pending_operations().await.unwrap();
    assert_consistent(env.backend(), &env.places(), "after all").await;
    for key in (0..64).step_by(3) {
        let expected = match map.find_mapping_for_key(&key).await.unwrap() {
            None => Err(ErrorKind::NotFound),
            Some(mapping) if mapping.status() == MappingStatus::Offline => Err(ErrorKind::Offline),
            Some(mapping) => Ok(mapping.shard().location().clone()),
        };
        let opened = map.open_connection_for_key(&key, &credentials(), Validation::Validate).await;
        assert_eq!(opened.map(|open| open.location().clone()).map_err(|error| error.kind()), expected, "key {key}");
    }
}
