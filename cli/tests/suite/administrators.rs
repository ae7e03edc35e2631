//! Two administrators at once: both are done, or one is told; never both for one thing, and never half.

use crate::support::World;

fn rows(first: i64, count: i64, shard: &str) -> String {
    let rows: String = (first..first + count).map(|key| format!("{key},{shard}\n")).collect();
    format!("key,shard\n{rows}")
}

#[test]
fn imports_of_different_keys_are_both_done() {
    let world = World::with_map("list", "int64");
    let halves = [(0, "s/a"), (3_000, "s/b"), (6_000, "s/a")];
    let runs = halves.map(|(first, shard)| {
        let file = world.write(&format!("{first}.csv"), &rows(first, 3_000, shard));
        world.start(&["mapping", "import", "m", &file, "-o", "json"])
    });
    for run in runs {
        assert_eq!(run.wait().ok().json()["created"], 3_000);
    }
    assert_eq!(world.rows("ShardMappingsGlobal"), 9_000);
    world.agrees();
}

#[test]
fn imports_of_the_same_keys_are_done_once() {
    let world = World::with_map("list", "int64");
    let file = world.write("rows.csv", &rows(0, 3_000, "s/a"));
    let runs = [0, 1].map(|_| world.start(&["mapping", "import", "m", &file, "-o", "json"]));
    let mut ended = runs.map(|run| run.wait());
    ended.sort_by_key(|ran| ran.code);
    let [won, lost] = &ended;
    assert_eq!((won.code, won.json()["created"].as_u64()), (Some(0), Some(3_000)), "{ended:?}");
    // Met when it looked, or when it began.
    assert!(matches!(lost.code, Some(4 | 5)), "{ended:?}");
    assert_eq!(world.rows("ShardMappingsGlobal"), 3_000);
    world.agrees();
    let _ = world.run(&["mapping", "import", "m", &file, "--skip-existing"]).exits(17);
}

/// The same keys to different shards: each key has one of them.
#[test]
fn single_additions_of_the_same_key_are_done_once() {
    let world = World::with_map("list", "int64");
    for key in ["1", "2", "3"] {
        let runs = ["s/a", "s/b", "s/a"].map(|shard| world.start(&["mapping", "add", "m", key, "--shard", shard]));
        let mut codes = runs.map(|run| run.wait().code);
        codes.sort_unstable();
        assert_eq!(codes, [Some(0), Some(4), Some(4)]);
    }
    assert_eq!(world.rows("ShardMappingsGlobal"), 3);
    world.agrees();
}

/// The second move comes while the first is under way, which is held until the second runs.
#[test]
fn moves_of_one_mapping_are_done_once() {
    let world = World::filled();
    let held = world.hold("a");
    let arguments = ["mapping", "move", "orders", "0..100", "--to", "s/b", "--yes", "-o", "json"];
    let mut first = world.start(&arguments);
    first.until(|| world.rows("OperationsLogGlobal") > 0);
    let second = world.start(&arguments);
    drop(held);
    let (first, second) = (first.wait().ok(), second.wait());
    // It read the mapping before the first was done, or after.
    assert!(matches!(second.code, Some(8 | 17)), "{second:?}");
    assert_eq!(second.out, "");
    let there = world.run_words("mapping lookup orders 5 -o json").ok().json();
    let mut moved = first.json();
    assert_eq!(moved.as_object_mut().unwrap().remove("sessions_ended"), Some(0.into()));
    assert_eq!(there, moved);
    world.agrees();
}

/// Of a split and a merge that exclude each other one is refused.
#[test]
fn a_lock_keeps_others_out() {
    let world = World::filled();
    let token = "aaaaaaaa-0000-0000-0000-000000000001";
    let _ = world.run(&["mapping", "lock", "orders", "0..100", "--token", token]).ok();
    for words in ["mapping split orders 50", "mapping merge orders 100", "mapping offline orders 5 --yes"] {
        let _ = world.run_words(words).exits(7);
    }
    let _ = world.run(&["mapping", "split", "orders", "50", "--lock-token", token]).ok();
    world.agrees();
}
