//! What a client that was killed leaves: shown, undone on request, or by whoever meets it.

use serde_json::Value;

use crate::support::{World, compare};

/// A store in which a client died in the middle of adding 200..300 on `s/b`.
fn after_a_death() -> World {
    let world = World::filled();
    let held = world.hold("b");
    let mut run = world.start(&["mapping", "add", "orders", "200..300", "--shard", "s/b"]);
    run.until(|| world.rows("OperationsLogGlobal") > 0);
    let _ = run.kill();
    drop(held);
    world
}

#[test]
fn it_is_shown() {
    let world = after_a_death();
    for (form, extension) in [("table", "txt"), ("json", "json"), ("csv", "csv")] {
        compare(&format!("operation_list.{extension}"), &world.run(&["operation", "list", "-o", form]).ok().out);
    }
    let list = world.run_words("operation list -o json").ok().json();
    let id = list[0]["id"].as_str().unwrap();
    for (form, extension) in [("table", "txt"), ("json", "json"), ("csv", "csv")] {
        compare(&format!("operation_show.{extension}"), &world.run(&["operation", "show", id, "-o", form]).ok().out);
    }
    assert_eq!(world.run_words("store show -o json").ok().json()["unfinished_operations"], 1);
}

#[test]
fn it_is_undone_on_request() {
    for all in [true, false] {
        let world = after_a_death();
        let before = world.content();
        let list = world.run_words("operation list -o json").ok().json();
        let which = if all { "--all" } else { list[0]["id"].as_str().unwrap() };
        let plan = world.run(&["operation", "undo", which, "--dry-run", "-o", "json"]).ok().json();
        let places: Vec<_> = plan.as_array().unwrap().iter().map(|step| step["place"].as_str().unwrap()).collect();
        assert_eq!(places, ["s/b", "global store"]);
        let _ = world.run(&["operation", "undo", which]).exits(16);
        assert_eq!(world.content(), before);
        let ran = world.run(&["operation", "undo", which, "--yes", "-o", "json"]).ok().says("1 operations undone");
        let rows = ran.json();
        assert_eq!((&rows[0]["id"], &rows[0]["operation"]), (&list[0]["id"], &list[0]["operation"]), "{rows}");
        assert_eq!((&rows[0]["outcome"], &rows[0]["message"]), (&"undone".into(), &Value::Null), "{rows}");
        let _ = world.run(&["operation", "undo", which, "--yes"]).exits(if all { 17 } else { 3 });
        let _ = world.run_words("mapping lookup orders 250").exits(3);
        world.agrees();
    }
}

#[test]
fn whoever_meets_it_undoes_it() {
    let world = after_a_death();
    let _ = world.run_words("mapping add orders 250..260 --shard s/a").ok();
    assert_eq!(world.run_words("operation list -o json").ok().json(), serde_json::json!([]));
    world.agrees();
}

/// It cannot be undone while its shard is away.
#[test]
fn what_cannot_be_undone_is_in_the_way() {
    let world = after_a_death();
    let (file, away) = (world.file(Some("b")), world.path().join("away.db"));
    std::fs::rename(&file, &away).unwrap();
    let error = world.run_words("mapping add orders 250..260 --shard s/a -o json").exits(9).error();
    assert_eq!(error["kind"], "pending_operation");
    assert!(error["next"].as_str().unwrap().contains("shardlet operation"), "{error}");
    // Another that can be undone is undone.
    let held = world.hold("a");
    let mut run = world.start(&["mapping", "add", "orders", "-50..0", "--shard", "s/a"]);
    run.until(|| world.rows("OperationsLogGlobal") > 1);
    let _ = run.kill();
    drop(held);
    let ran = world.run_words("operation undo --all --yes -o json").exits(9);
    let rows = ran.json();
    let mut outcomes: Vec<_> = rows.as_array().unwrap().iter().map(|row| row["outcome"].as_str().unwrap()).collect();
    outcomes.sort_unstable();
    assert_eq!(outcomes, ["failed", "undone"], "{rows}");
    assert_eq!(ran.error()["kind"], "pending_operation");
    std::fs::rename(&away, &file).unwrap();
    let _ = world.run_words("mapping add orders 250..260 --shard s/a").ok();
    world.agrees();
}

/// A record that cannot be read is shown, and says why.
#[test]
fn a_record_that_cannot_be_read() {
    let world = after_a_death();
    let spoilt = "UPDATE \"__ShardManagement.OperationsLogGlobal\" SET \"Data\" = '<nothing'";
    world.raw(None).execute_batch(spoilt).unwrap();
    let row = &world.run_words("operation list -o json").ok().json()[0];
    assert!(!row["unreadable"].as_str().unwrap().is_empty(), "{row}");
    let _ = world.run_words("operation undo --all --yes").exits(15);
}
