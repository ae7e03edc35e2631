//! Every type of keys in both kinds of maps: added, looked up, listed, routed, and carried to another map by a file.

use serde_json::{Value, json};

use crate::support::World;

/// A type of keys, and four keys of it in their order, as they are shown.
const TYPES: [(&str, [&str; 4]); 7] = [
    ("int32", ["-2147483648", "-7", "5", "2147483647"]),
    ("int64", ["-9223372036854775808", "-7", "5", "9223372036854775807"]),
    (
        "guid",
        [
            "00000000-0000-0000-0000-000000000001",
            "00000000-0000-0000-0000-000000000005",
            "6f9619ff-8b86-d011-b42d-00c04fc964ff",
            "00000000-0000-0000-0000-ffffffffffff",
        ],
    ),
    ("binary", ["0x01", "0x01ff", "0x7f", "0xff00ff"]),
    (
        "datetime",
        ["0001-01-01 00:00:00", "2026-11-21 08:30:00", "2026-11-21 08:30:00.500", "9999-12-31 23:59:59.999999900"],
    ),
    ("timespan", ["-PT93784.5S", "-PT1S", "P0D", "PT864000.0000001S"]),
    (
        "datetimeoffset",
        [
            "2026-11-21 08:30:00 +14:00",
            "2026-11-21 08:30:00 +00:00",
            "2026-11-21 08:30:00.500 -01:00",
            "2026-11-22 00:00:00 -14:00",
        ],
    ),
];

/// Mappings without what differs between two maps.
fn listed(world: &World, map: &str) -> Vec<Value> {
    let list = world.run(&["mapping", "list", map, "-o", "json"]).ok().json();
    let mut rows = list.as_array().unwrap().clone();
    for row in &mut rows {
        let _ = row.as_object_mut().unwrap().remove("id");
    }
    rows
}

/// Lists a map into a file in either form, and imports that into a new map of the same kind.
fn carried(world: &World, kind: &str, key_type: &str) {
    for form in ["csv", "json"] {
        let list = world.run(&["mapping", "list", "m", "-o", form]).ok().out;
        let file = world.write(&format!("list.{form}"), &list);
        let map = format!("copy_{form}");
        world.add_map(&map, kind, key_type);
        let _ = world.run(&["mapping", "import", &map, &file]).ok();
        assert_eq!(listed(world, &map), listed(world, "m"), "{key_type} {form}");
    }
}

/// Keys in other words than those that they are shown in.
#[test]
fn keys_as_people_write_them() {
    for (key_type, written, shown) in [
        ("int32", "+7", "7"),
        ("guid", "{6F9619FF-8B86-D011-B42D-00C04FC964FF}", "6f9619ff-8b86-d011-b42d-00c04fc964ff"),
        ("guid", "6F9619FF8B86D011B42D00C04FC964FF", "6f9619ff-8b86-d011-b42d-00c04fc964ff"),
        ("binary", "0X01FF00", "0x01ff"),
        ("datetime", "2026-11-21", "2026-11-21 00:00:00"),
        ("datetime", "2026-11-21T08:30:00.5", "2026-11-21 08:30:00.500"),
        ("timespan", "-1.02:03:04.5", "-PT93784.5S"),
        ("datetimeoffset", "2026-11-21T08:30:00+01:00", "2026-11-21 08:30:00 +01:00"),
    ] {
        let world = World::with_map("list", key_type);
        let _ = world.run(&["mapping", "add", "m", written, "--shard", "s/a"]).ok();
        assert_eq!(listed(&world, "m")[0]["key"], shown, "{written}");
        let found = world.run(&["mapping", "lookup", "m", written, "-o", "json"]).ok().json();
        assert_eq!(found["key"], shown, "{written}");
    }
}

fn list_map(key_type: &str, keys: [&str; 4]) {
    let world = World::with_map("list", key_type);
    let shown = world.run(&["map", "show", "m", "-o", "json"]).ok().json();
    assert_eq!(shown["key_type"].as_str().unwrap().to_lowercase(), key_type);
    for (key, shard) in keys.iter().zip(["s/a", "s/b", "s/a", "s/b"]) {
        let added = world.run(&["mapping", "add", "m", key, "--shard", shard, "-o", "json"]).ok().json();
        assert_eq!(added["key"], *key, "{key_type}");
        let found = world.run(&["mapping", "lookup", "m", key, "-o", "json"]).ok().json();
        assert_eq!(found, added, "{key_type}");
        let shown = world.run(&["mapping", "show", "m", added["id"].as_str().unwrap(), "-o", "json"]).ok().json();
        assert_eq!(shown, added, "{key_type}");
    }
    let _ = world.run(&["mapping", "offline", "m", keys[1], "--yes"]).ok();
    let rows: Vec<_> = listed(&world, "m").iter().map(|row| row["key"].clone()).collect();
    assert_eq!(rows, keys, "{key_type}");
    // Those in a range, without its high bound.
    let range = format!("{}..{}", keys[1], keys[3]);
    let some = world.run(&["mapping", "list", "m", "--keys", &range, "-o", "json"]).ok().json();
    let some: Vec<_> = some.as_array().unwrap().iter().map(|row| row["key"].clone()).collect();
    assert_eq!(some, keys[1..3], "{key_type}");
    let routes = world.run(&["route", "m", "-o", "json", "--", keys[0], keys[1], keys[2]]).exits(1).json();
    let routes: Vec<_> =
        routes.as_array().unwrap().iter().map(|row| json!([row["key"], row["valid"], row["shard"]])).collect();
    let expected = [json!([keys[0], true, "s/a"]), json!([keys[1], false, "s/b"]), json!([keys[2], true, "s/a"])];
    assert_eq!(routes, expected, "{key_type}");
    carried(&world, "list", key_type);
    let _ = world.run(&["mapping", "delete", "m", keys[1], "--yes"]).ok();
    let _ = world.run(&["mapping", "lookup", "m", keys[1]]).exits(3);
    world.agrees();
}

fn range_map(key_type: &str, keys: [&str; 4]) {
    let world = World::with_map("range", key_type);
    let [a, b, c, d] = keys;
    let ranges = [format!("..{a}"), format!("{b}..{c}"), format!("{c}..{d}"), format!("{d}..")];
    // The first may be no range at all where its bound is the least key.
    let least = matches!(key_type, "int32" | "int64" | "datetime");
    for (range, shard) in ranges.iter().zip(["s/a", "s/b", "s/b", "s/a"]).skip(usize::from(least)) {
        let _ = world.run(&["mapping", "add", "m", range, "--shard", shard]).ok();
    }
    let found = world.run(&["mapping", "lookup", "m", b, "-o", "json"]).ok().json();
    assert_eq!((&found["low"], &found["high"]), (&b.into(), &c.into()), "{key_type}");
    let _ = world.run(&["mapping", "offline", "m", &ranges[1], "--yes"]).ok();
    let routes = world.run(&["route", "m", "-o", "json", "--", b, c, d]).exits(1).json();
    let routes: Vec<_> =
        routes.as_array().unwrap().iter().map(|row| json!([row["key"], row["valid"], row["mapping"]])).collect();
    let expected = [json!([b, false, ranges[1]]), json!([c, true, ranges[2]]), json!([d, true, ranges[3]])];
    assert_eq!(routes, expected, "{key_type}");
    let last = listed(&world, "m").pop().unwrap();
    assert_eq!((&last["low"], &last["high"]), (&d.into(), &Value::Null), "{key_type}");
    carried(&world, "range", key_type);
    // Cut, joined, moved, by keys of this type.
    let _ = world.run(&["mapping", "online", "m", &ranges[1]]).ok();
    let merged = world.run(&["mapping", "merge", "m", c, "-o", "json"]).ok().json();
    assert_eq!((&merged["low"], &merged["high"]), (&b.into(), &d.into()), "{key_type}");
    let halves = world.run(&["mapping", "split", "m", c, "-o", "json"]).ok().json();
    assert_eq!((&halves[0]["high"], &halves[1]["low"]), (&c.into(), &c.into()), "{key_type}");
    let moved = world.run(&["mapping", "move", "m", c, "--to", "s/a", "--yes", "-o", "json"]).ok().json();
    assert_eq!((&moved["shard"], &moved["status"]), (&"s/a".into(), &"offline".into()), "{key_type}");
    world.agrees();
}

macro_rules! types {
    ($($name:ident,)*) => {
        mod list_maps {
            use super::*;
            $(#[test] fn $name() {
                let (name, keys) = TYPES.into_iter().find(|(name, _)| *name == stringify!($name)).unwrap();
                list_map(name, keys);
            })*
        }
        mod range_maps {
            use super::*;
            $(#[test] fn $name() {
                let (name, keys) = TYPES.into_iter().find(|(name, _)| *name == stringify!($name)).unwrap();
                range_map(name, keys);
            })*
        }
    };
}

types! {
    int32,
    int64,
    guid,
    binary,
    datetime,
    timespan,
    datetimeoffset,
}

/// Names of kinds and of types of keys are read as they are printed.
#[test]
fn kinds_and_key_types_without_regard_to_case() {
    let world = World::new();
    let made = world.run_words("map create m --kind List --key-type DateTimeOffset -o json").ok().json();
    let again = ["map", "create", "again", "--kind", "LIST", "--key-type", made["key_type"].as_str().unwrap()];
    let _ = world.run(&again).ok();
}
