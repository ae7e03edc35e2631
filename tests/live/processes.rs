//! Several real processes on one store: this test program, started again as a child, some of them killed.

use shardlet::{
    ErrorKind, MappingStatus, OperationId, Options, RangeShardMap, Result, ShardMapManager, SqlServer,
    SqlServerOptions, Validation,
};
use uuid::Uuid;

use crate::conformance::Environment;
use crate::environment::Live;
use crate::faults::case::Case;
use crate::faults::world::{Expected, Next, World};
use crate::restored::{Restored, backend_of, places_of};
use crate::server::{credentials, host, store_of};
use crate::support::child::{Process, say, stop_at, told};
use crate::support::consistency::assert_consistent;
use crate::support::probe::{Call, Fault};

trials! { processes {
    what_a_killed_process_left_is_undone_by_the_next_one,
    what_a_killed_process_was_undoing_is_undone_by_the_next_one,
    processes_that_change_one_map_leave_stores_that_agree,
} }

const ROLE: &str = "SHARDLET_TEST_ROLE";
/// What the databases' names begin with.
const PREFIX: &str = "SHARDLET_TEST_DATABASES";
const DETAIL: &str = "SHARDLET_TEST_DETAIL";

pub type Ranges<B = SqlServer> = RangeShardMap<i64, B>;

pub fn start(role: &str, prefix: &str, detail: &str) -> Process {
    Process::start(&[], &[(ROLE, role), (PREFIX, prefix), (DETAIL, detail)])
}

/// Does what a child is told to do, if this process is one.
pub fn child() -> bool {
    let Some(role) = told(ROLE) else { return false };
    let (prefix, detail) = (told(PREFIX).unwrap(), told(DETAIL).unwrap());
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            match role.as_str() {
                "do" | "undo" => stop(&role, &prefix, &detail).await,
                "change" => change_at_random(store_of(&prefix, SqlServerOptions::default()), &detail).await,
                #[cfg(unix)]
                "pause" => {
                    let store = store_of(&prefix, SqlServerOptions::default());
                    crate::stopped::pause(store, &prefix, &detail).await;
                }
                _ => panic!("no such role: {role}"),
            }
        });
    };
    std::thread::Builder::new().stack_size(crate::trials::STACK).spawn(work).unwrap().join().unwrap();
    true
}

// A process dies in the middle of an operation, or of the undo of one.

/// Does or undoes an operation and stops at a point of it, with its lock held, until it is killed.
async fn stop(role: &str, prefix: &str, detail: &str) {
    let (case, point) = detail.split_once('/').unwrap();
    let (case, point) = (Case::named(case), point.parse().unwrap());
    let (stores, places) = (backend_of(&host(), prefix), places_of(&host(), prefix));
    let world = World::read(stores.clone(), stores, places, case).await;
    let step = world.step(case);
    say(&step.id.to_string());
    if role == "do" {
        stop_at(point, "do: ");
        step.run.await.unwrap();
    } else {
        stop_at(point, "undo: ");
        assert_eq!(world.manager().undo_pending_operations().await.unwrap(), 1);
    }
    say("done");
}

/// Kills a process at every point of an operation. The number of points.
async fn kill(role: &str, case: Case, restored: &mut Restored, world: &World<SqlServer>) -> usize {
    restored.restore().await;
    world.sound_step(case).run.await.unwrap();
    let expected = Expected { case, new_shape: world.facts().await.shape };
    for point in 1.. {
        restored.restore().await;
        let before = world.facts().await;
        let mut ids = Vec::new();
        if role == "undo" {
            world.probe.inject(Call::EndDo, 1, Fault::HoldBefore);
            let step = world.step(case);
            ids.push(step.id);
            tokio::select! {
                result = step.run => panic!("{case:?}: not held: {result:?}"),
                () = world.probe.held() => {}
            }
        }
        let mut child = start(role, restored.prefix(), &format!("{case:?}/{point}"));
        ids.push(OperationId::from(Uuid::parse_str(&child.says().await).unwrap()));
        let said = child.says().await;
        let through = said == "done";
        let about = format!("{role}, killed at point {point}, {said}");
        if through {
            child.ends_well().await;
        } else {
            child.kill().await;
        }
        let done = expected.outcome(world, &before, &about).await;
        assert!(!through || done == (role == "do"), "{case:?}, {about}: done: {done}");
        expected.settle(world, &before, &ids, done, Next::numbered(point), &about).await;
        restored.assert_no_stamps(&format!("{case:?}, {about}")).await;
        if through {
            println!("{role} {case:?}: {} processes killed", point - 1);
            return point - 1;
        }
    }
    unreachable!("it is through at some point")
}

async fn what_a_killed_process_left_is_undone_by_the_next_one() {
    for (cases, points) in
        [([Case::CreateShard, Case::MovePointOffline], 7 + 8), ([Case::MoveRange, Case::Merge], 8 + 7)]
    {
        let (mut restored, world) = Restored::fill(host(), cases[0]).await;
        let mut killed = 0;
        for case in cases {
            killed += kill("do", case, &mut restored, &world).await;
        }
        assert_eq!(killed, points);
    }
}

async fn what_a_killed_process_was_undoing_is_undone_by_the_next_one() {
    let (mut restored, world) = Restored::fill(host(), Case::MoveRange).await;
    assert_eq!(kill("undo", Case::MoveRange, &mut restored, &world).await, 7);
}

// Several processes change one map.

async fn ranges(store: SqlServer) -> Ranges {
    let manager = ShardMapManager::open_or_create(store, Options::default()).await.unwrap();
    manager.range_shard_map_or_create("ranges").await.unwrap()
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
    let map = ranges(store).await;
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
    let map = ranges(env.backend().clone()).await;
    let shards = env.shards(&map, 2).await;
    for low in 0..8 {
        let _ = map.create_mapping(low * 8..low * 8 + 8, &shards[usize::from(low % 2 == 0)]).await.unwrap();
    }
    let mut changers: Vec<_> = (1..=4).map(|seed| start("change", env.databases.prefix(), &seed.to_string())).collect();
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
