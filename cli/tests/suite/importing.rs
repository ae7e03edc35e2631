//! Imports that are done, in whole or for what is missing.

use std::fmt::Write;

use crate::support::{Running, World};

/// Ranges of ten keys from `first` on, in turn on both shards.
fn csv(first: i64, count: i64) -> String {
    let mut text = "low,high,shard\n".to_owned();
    for number in 0..count {
        let low = first + number * 10;
        writeln!(text, "{low},{},s/{}", low + 10, if number % 2 == 0 { "a" } else { "b" }).unwrap();
    }
    text
}

fn mappings(world: &World) -> usize {
    world.rows("ShardMappingsGlobal")
}

#[test]
fn thousands_of_rows_of_csv() {
    let world = World::with_map("range", "int64");
    let file = world.write("rows.csv", &csv(-30_000, 6_000));
    let ran = world.run(&["mapping", "import", "m", &file, "-o", "json"]).ok();
    assert_eq!(ran.json(), serde_json::json!({"created": 6000, "skipped": 0, "left": 0, "total": 6000}));
    assert_eq!(mappings(&world), 6_000);
    let found = world.run_words("mapping lookup m -1 -o json").ok().json();
    assert_eq!((&found["low"], &found["shard"]), (&"-10".into(), &"s/b".into()));
    world.agrees();
}

#[test]
fn thousands_of_rows_of_json() {
    let world = World::with_map("list", "int32");
    // Numbers and texts, in no order.
    let rows: Vec<_> = (0..5_500)
        .rev()
        .map(|key| {
            let shard = if key % 3 == 0 { "s/a" } else { "s/b" };
            let key = key - 2_000;
            if key % 2 == 0 {
                serde_json::json!({"key": key, "shard": shard, "status": null})
            } else {
                serde_json::json!({"shard": shard, "status": "online", "key": key.to_string()})
            }
        })
        .collect();
    let file = world.write("rows.JSON", &serde_json::to_string(&rows).unwrap());
    let _ = world.run(&["mapping", "import", "m", &file]).ok();
    assert_eq!(mappings(&world), 5_500);
    assert_eq!(world.run_words("mapping lookup m -2000 -o json").ok().json()["shard"], "s/a");
    world.agrees();
}

/// What spreadsheets and people make of CSV.
#[test]
fn forms_of_csv() {
    let forms = [
        "low,high,shard,status\n-5,7,s/a,\n7,,s/b,offline\n",
        "\u{feff}low,high,shard,status\r\n-5,7,s/a,online\r\n7,,s/b,offline\r\n",
        "\"low\",\"high\",\"shard\",\"status\"\n\"-5\",\"7\",\"s/a\",\"online\"\n\"7\",\"\",\"s/b\",\"offline\"",
        " shard , status , high , low \n s/b , offline , , 7 \n s/a , online , 7 , -5 \n\n",
        "low,high,shard,status,lock_owner,id\n-5,7,s/a,online,,x\n7,,s/b,offline,y,\n",
        "low,high,shard,status\n-5,7,S/A,\n7,,tcp:s/b,offline\n",
    ];
    for (number, form) in forms.iter().enumerate() {
        let world = World::with_map("range", "int64");
        let file = world.write("rows.csv", form);
        let ran = world.run(&["mapping", "import", "m", &file]);
        if number == 5 {
            // Another protocol is another shard; names are compared without regard to case.
            let _ = ran.exits(5).says("row 2, column shard").says("has 1 faults");
            continue;
        }
        let _ = ran.ok();
        let list = world.run_words("mapping list m -o csv").ok().out;
        let rows: Vec<_> = list.lines().skip(1).map(|row| row.rsplit_once(',').unwrap().0).collect();
        assert_eq!(rows, ["-5,7,s/a,online,", "7,,s/b,offline,"], "{form}");
    }
}

/// What a quoted field holds is kept: here a server with a comma, which is its port.
#[test]
fn quoted_fields_with_commas() {
    let world = World::with_map("list", "datetimeoffset");
    world.add_shard("m", "s2,1433/d,\"e\"");
    let file = world.write("rows.csv", "key,shard\n\"2026-11-21 08:30:00 +01:00\",\"s2,1433/d,\"\"e\"\"\"\n");
    let _ = world.run(&["mapping", "import", "m", &file]).ok();
    let found = world.run(&["mapping", "lookup", "m", "2026-11-21 08:30:00 +01:00", "-o", "json"]).ok().json();
    assert_eq!(found["shard"], "s2,1433/d,\"e\"");
}

#[test]
fn standard_input_and_a_form_that_is_named() {
    let world = World::with_map("range", "int64");
    let run = |arguments: &[&str], input: &str| Running::start(world.command(arguments), Some(input)).wait();
    let _ = run(&["mapping", "import", "m", "-"], "low,high,shard\n0,5,s/a\n").ok();
    let json = "[{\"low\": 5, \"high\": 9, \"shard\": \"s/a\"}]";
    let _ = run(&["mapping", "import", "m", "-", "--format", "json"], json).ok();
    let file = world.write("rows.json", "low,high,shard\n9,10,s/a\n");
    let _ = world.run(&["mapping", "import", "m", &file, "--format", "csv"]).ok();
    assert_eq!(mappings(&world), 3);
}

#[test]
fn what_is_there_is_passed_over_when_asked() {
    let world = World::with_map("range", "int64");
    let some = world.write("some.csv", &csv(0, 700));
    let all = world.write("all.csv", &csv(-100, 1_000));
    let _ = world.run(&["mapping", "import", "m", &some]).ok();
    let before = world.content();
    let ran = world.run(&["mapping", "import", "m", &all]).exits(5);
    let _ = ran.says("row 11: it is there already").says("and 680 more").says("nothing was changed");
    assert_eq!(world.content(), before);
    let skipping = ["mapping", "import", "m", &all, "--skip-existing", "-o", "json"];
    let ran = world.run(&skipping).ok();
    assert_eq!(ran.json(), serde_json::json!({"created": 300, "skipped": 700, "left": 0, "total": 1000}));
    assert_eq!(mappings(&world), 1_000);
    let before = world.content();
    let _ = world.run(&skipping).exits(17);
    assert_eq!(world.content(), before);
    // Only what is the same is passed over.
    for (row, text) in [("0,10,s/b", "shares keys"), ("0,5,s/a", "shares keys"), ("-7,3,s/a", "shares keys")] {
        let file = world.write("other.csv", &format!("low,high,shard\n{row}\n"));
        let ran = world.run(&["mapping", "import", "m", &file, "--skip-existing"]).exits(5);
        let _ = ran.says("row 1: ").says(text);
    }
    assert_eq!(world.content(), before);
    world.agrees();
}

/// Batches of one do the same, one by one.
#[test]
fn small_batches() {
    let world = World::with_map("range", "int64");
    let file = world.write("rows.csv", &csv(0, 40));
    let _ = world.run(&["mapping", "import", "m", &file, "--batch", "1"]).ok();
    assert_eq!(mappings(&world), 40);
    world.agrees();
}

#[test]
fn the_plan_counts_by_shard() {
    let world = World::with_map("range", "int64");
    let file = world.write("rows.csv", &csv(0, 601));
    let plan = world.run(&["mapping", "import", "m", &file, "--dry-run", "-o", "json"]).ok().json();
    assert_eq!(plan[0]["action"], "create 301 mappings, 500 at a time");
    assert_eq!((&plan[1]["place"], &plan[1]["action"]), (&"s/b".into(), &"create 300 mappings, 500 at a time".into()));
    assert_eq!(mappings(&world), 0);
}
