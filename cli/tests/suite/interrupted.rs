//! Ctrl-C in the middle of an import: what is done stays and is counted, the stores agree, and the import goes on later.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Stdio;

use serde_json::Value;

use crate::support::{Ran, Running, World, signal};

/// A map with a mapping on `s/a`, beside which others are created in whole batches.
fn begun() -> World {
    let world = World::with_map("list", "int32");
    let _ = world.run_words("mapping add m -1 --shard s/a").ok();
    world
}

/// A file with so many other points, all on `s/a`.
fn points(world: &World, count: usize) -> String {
    let mut text = "key,shard\n".to_owned();
    for key in 0..count {
        writeln!(text, "{key},s/a").unwrap();
    }
    world.write("rows.csv", &text)
}

fn created(world: &World) -> usize {
    world.rows("ShardMappingsGlobal") - 1
}

/// Asserts that the row of an import adds up to what is there.
fn adds_up(world: &World, ran: &Ran, total: usize) -> Value {
    let row = ran.json();
    let count = |name: &str| usize::try_from(row[name].as_u64().unwrap()).unwrap();
    assert_eq!(count("total"), total, "{row}");
    assert_eq!(count("created") + count("left"), total, "{row}");
    assert_eq!(count("created"), created(world), "{row}");
    row
}

/// Goes on with an import of which so many are there, to its end.
fn finishes(world: &World, file: &str, before: usize, total: usize) {
    let ran = world.run(&["mapping", "import", "m", file, "--skip-existing", "-o", "json"]).ok();
    let row = ran.json();
    assert_eq!(row["skipped"], before, "{row}");
    assert_eq!(row["created"], total - before, "{row}");
    assert_eq!(created(world), total);
    world.agrees();
}

#[test]
fn an_import_of_many_stops_between_batches() {
    let total = 100_000;
    let world = begun();
    let file = points(&world, total);
    let mut run = world.start(&["mapping", "import", "m", &file, "-o", "json"]);
    run.until(|| created(&world) > 0);
    run.interrupt();
    let ran = run.wait().exits(130);
    let error = ran.error();
    assert_eq!((&error["kind"], &error["exit_code"]), (&"interrupted".into(), &130.into()));
    assert!(ran.err.contains("--skip-existing"), "{ran:?}");
    let row = adds_up(&world, &ran, total);
    assert!(row["left"].as_u64().unwrap() > 0, "{row}");
    world.agrees();
    finishes(&world, &file, created(&world), total);
}

/// A change that is under way is done before the end, however long that takes.
#[test]
fn the_change_under_way_is_waited_for() {
    for name in ["INT", "TERM"] {
        let world = begun();
        let file = points(&world, 1_000);
        let held = world.hold("a");
        let mut run = world.start(&["mapping", "import", "m", &file, "--batch", "100", "-o", "json"]);
        run.until(|| world.rows("OperationsLogGlobal") > 0);
        signal(run.id(), name);
        run.until_it_says("stopping when the change under way is done");
        drop(held);
        let ran = run.wait().exits(130);
        let row = adds_up(&world, &ran, 1_000);
        assert_eq!(row["created"], 100, "{row}");
        finishes(&world, &file, 100, 1_000);
    }
}

/// The second time the change is abandoned; the next client undoes it.
#[test]
fn twice_abandons_the_change_under_way() {
    let world = begun();
    let file = points(&world, 1_000);
    let held = world.hold("a");
    let mut run = world.start(&["mapping", "import", "m", &file, "--batch", "100", "-o", "json"]);
    run.until(|| world.rows("OperationsLogGlobal") > 0);
    run.interrupt();
    run.until_it_says("once more to abandon it");
    run.interrupt();
    let ran = run.wait().exits(130);
    assert!(ran.error()["message"].as_str().unwrap().contains("shardlet operation list"), "{ran:?}");
    assert!(ran.err.contains("0 of 1000 mappings were there before it"), "{ran:?}");
    drop(held);
    let left = world.run_words("operation list -o json").ok().json();
    assert_eq!(left.as_array().unwrap().len(), 1, "{left}");
    // It undoes what it meets.
    finishes(&world, &file, 0, 1_000);
}

/// Whoever has closed standard error is not told, and the change is waited for and abandoned as ever.
#[test]
fn nobody_there_to_be_told_is_no_fault() {
    let world = World::filled();
    let _held = world.hold("b");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = world.command(&["mapping", "add", "orders", "200..300", "--shard", "s/b"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(writer).spawn().unwrap();
    while world.rows("OperationsLogGlobal") == 0 {
        assert!(child.try_wait().unwrap().is_none());
    }
    // Two that come at once are one.
    let ended = loop {
        signal(child.id(), "INT");
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
    };
    assert_eq!(ended.code(), Some(130));
}

/// With `--quiet` nothing is said of the change that is waited for.
#[test]
fn quiet_waits_without_a_word() {
    let world = World::filled();
    let _held = world.hold("b");
    let mut run = world.start(&["mapping", "add", "orders", "200..300", "--shard", "s/b", "--quiet"]);
    run.until(|| world.rows("OperationsLogGlobal") > 0);
    run.interrupt_until_it_ends();
    let ran = run.wait().exits(130);
    assert!(ran.err.starts_with("error: interrupted in the middle of an operation"), "{ran:?}");
}

/// A single change is the same: one signal waits for it, and it is done.
#[test]
fn a_single_change_is_done() {
    let world = World::filled();
    let held = world.hold("b");
    let mut run = world.start(&["mapping", "add", "orders", "200..300", "--shard", "s/b", "-o", "json"]);
    run.until(|| world.rows("OperationsLogGlobal") > 0);
    run.interrupt();
    run.until_it_says("stopping when the change under way is done");
    drop(held);
    let ran = run.wait().ok();
    assert_eq!(ran.json()["low"], "200");
    let _ = world.run_words("mapping lookup orders 250").ok();
    world.agrees();
}

/// Who writes the other end of a pipe may never end; the user may.
#[test]
fn reading_what_does_not_end_is_interrupted() {
    let world = World::filled();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let command = world.command(&["mapping", "import", "orders", "-", "-o", "json"]);
    let run = Running::start_on(command, reader.into());
    // More than a pipe holds: when all of it is written, it is being read.
    writer.write_all(format!("low,high,shard\n{}", "200,300,s/b\n".repeat(100_000)).as_bytes()).unwrap();
    run.interrupt();
    let error = run.wait().exits(130).error();
    assert!(error["message"].as_str().unwrap().contains("nothing was being changed"), "{error}");
    drop(writer);
}
