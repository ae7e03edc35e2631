//! Files that are not imported: what is told names the row and the column, and nothing is changed.

use crate::support::World;

/// A file for the map, and what is said of it.
type Case = (&'static str, &'static [&'static str]);

const RANGES: [Case; 32] = [
    ("low,shard\n5,s/a\n", &["has 1 faults", "row 1, column high: missing"]),
    ("high,shard\n7,s/a\n", &["has 1 faults", "row 1, column low: missing"]),
    ("low,high,shard\n5,x,s/a\n", &["row 1, column high: ", "Int64"]),
    ("low,high,shard\nx,5,s/a\n", &["row 1, column low: ", "Int64"]),
    ("low,high,shard\n1,2,s/a\n2,3,s/a\n3,4.5,s/a\n", &["has 1 faults", "row 3, column high: "]),
    ("low,high,shard\n1,9223372036854775808,s/a\n", &["row 1, column high: "]),
    ("low,high,shard\n5,7,\n", &["row 1, column shard: missing"]),
    ("low,high\n5,7\n", &["row 1, column shard: missing"]),
    ("low,high,shard\n5,7,s/nope\n", &["row 1, column shard: it is not a shard of the map"]),
    ("low,high,shard\n5,7,nope\n", &["row 1, column shard: ", "SERVER/DATABASE"]),
    ("low,high,shard\n5,7,\"s,0/a\"\n", &["row 1, column shard: ", "port"]),
    ("low,high,shard\n5,7,s/c\n", &["row 1, column shard: the shard is disabled"]),
    ("low,high,shard,status\n5,7,s/a,up\n", &["row 1, column status: online or offline is wanted"]),
    ("low,high,shard\n7,5,s/a\n", &["row 1, column high: the range is empty or inverted"]),
    ("low,high,shard\n5,5,s/a\n", &["row 1, column high: the range is empty or inverted"]),
    ("low,high,shard\n5,7,s/a\n8,9\n", &["row 2: 2 columns, and 3 names"]),
    ("low,high,shard\n5,7,s/a,\n", &["row 1: 4 columns, and 3 names"]),
    ("low,high,shard,colour\n5,7,s/a,red\n", &["row 1, column colour: a range map has no such column"]),
    ("key,shard\n5,s/a\n", &["row 1, column key: a range map has no such column"]),
    ("5,7,s/a\n7,9,s/a\n", &["row 1, column 5: a range map has no such column"]),
    ("low;high;shard\n5;7;s/a\n", &["row 1, column low;high;shard: ", "row 1, column shard: missing"]),
    ("low,low,high,shard\n5,6,7,s/a\n", &["line of names: column low is there twice"]),
    ("low,high,shard\n5,\"7,s/a\n7,9,s/a\n", &["row 1"]),
    ("low,high,shard\n5,7,s/a\n1,2,s/a\n6,8,s/b\n", &["row 3: it shares keys with row 1"]),
    ("low,high,shard\n5,7,s/a\n1,2,s/a\n5,7,s/a\n", &["row 3: it shares keys with row 1"]),
    ("low,high,shard\n,7,s/a\n,3,s/b\n", &["row 2: it shares keys with row 1"]),
    ("low,high,shard\n5,,s/a\n9,10,s/b\n", &["row 2: it shares keys with row 1"]),
    ("low,high,shard\n3000,4000,s/a\n2999,3001,s/a\n", &["row 2: it shares keys with row 1"]),
    ("low,high,shard\n1050,1060,s/a\n", &["row 1: it shares keys with a mapping to s/a"]),
    ("low,high,shard\n,,s/b\n", &["row 1: it shares keys with a mapping to s/a"]),
    ("low,high,shard\n900,1000,s/b\n999,1001,s/b\n", &["row 2: it shares keys with row 1"]),
    (
        "low,high,shard\nx,y,z\n,,\n",
        &[
            "has 4 faults",
            "row 1, column low: ",
            "row 1, column high: ",
            "row 1, column shard: ",
            "row 2, column shard: ",
        ],
    ),
];

const RANGES_IN_JSON: [Case; 19] = [
    ("[{\"low\": 5, \"shard\": \"s/a\"}]", &["has 1 faults", "row 1, column high: missing"]),
    ("[{\"low\": 1e400, \"high\": null, \"shard\": \"s/a\"}]", &["line 1, column ", "out of range"]),
    ("", &["line 1, column ", "no array of objects"]),
    ("{", &["line 1, column ", "no array of objects"]),
    ("{\"low\": 1}", &["line 1, column ", "no array of objects"]),
    ("[1, 2]", &["line 1, column ", "no array of objects"]),
    (
        "[\n{\"low\": 1, \"high\": 2, \"shard\": \"s/a\"},\n{\"low\": 1,,}\n]",
        &["line 3, column 11: no array of objects"],
    ),
    ("[{\"low\": 1, \"high\": 2, \"shard\": \"s/a\"}] more", &["line 1, column 41: no array of objects"]),
    ("[{\"low\": [1], \"high\": 2, \"shard\": \"s/a\"}]", &["row 1, column low: a text or a number is wanted"]),
    ("[{\"low\": 1, \"high\": true, \"shard\": \"s/a\"}]", &["row 1, column high: a text or a number is wanted"]),
    (
        "[{\"low\": 1, \"high\": 2, \"shard\": {\"server\": \"s\"}}]",
        &["row 1, column shard: a text or a number is wanted"],
    ),
    ("[{\"low\": 1, \"high\": 2.5, \"shard\": \"s/a\"}]", &["row 1, column high: ", "Int64"]),
    ("[{\"low\": 1, \"high\": 1e3, \"shard\": \"s/a\"}]", &["row 1, column high: ", "Int64"]),
    ("[{\"low\": 1, \"high\": 9223372036854775808, \"shard\": \"s/a\"}]", &["row 1, column high: ", "Int64"]),
    ("[{\"low\": 1, \"high\": 99999999999999999999, \"shard\": \"s/a\"}]", &["row 1, column high: ", "Int64"]),
    ("[{\"low\": 1, \"high\": 2}]", &["row 1, column shard: missing"]),
    ("[{\"low\": 1, \"high\": 2, \"shard\": null}]", &["row 1, column shard: missing"]),
    (
        "[{\"low\": 1, \"high\": 2, \"shard\": \"s/a\"}, {\"colour\": 1, \"shard\": \"s/a\"}]",
        &["row 2, column colour: a range map has no such column"],
    ),
    ("[{}]", &["row 1, column shard: missing"]),
];

const POINTS: [Case; 8] = [
    ("key,shard\n,s/a\n", &["row 1, column key: missing"]),
    ("shard\ns/a\n", &["row 1, column key: missing"]),
    ("key,shard\n5,s/a\n", &["row 1, column key: ", "Guid"]),
    ("low,high,shard\n1,2,s/a\n", &["row 1, column low: a list map has no such column", "row 1, column high: a list"]),
    (
        "key,shard\n00000000-0000-0000-0000-000000000007,s/a\n00000000-0000-0000-0000-000000000007,s/a\n",
        &["row 2: it shares keys with row 1"],
    ),
    ("key,shard\n00000000-0000-0000-0000-000000000001,s/b\n", &["row 1: it is there already"]),
    ("key,shard\n00000000-0000-0000-0000-000000000001,s/a\n", &["row 1: it shares keys with a mapping to s/b"]),
    ("key,shard\n00000000-0000-0000-0000-000000000007,s/a,\n", &["row 1: 3 columns, and 2 names"]),
];

/// [`World::filled`], with a map of which only a part is mapped.
fn world() -> World {
    let world = World::filled();
    world.add_map("m", "range", "int64");
    world.add_shard("m", "s/c");
    let _ = world.run_words("shard update m s/c --disable").ok();
    let _ = world.run_words("mapping add m 1000..1100 --shard s/a").ok();
    world
}

fn refused(map: &str, name: &str, cases: &[Case]) {
    let world = world();
    let before = world.content();
    for (text, said) in cases {
        let file = world.write(name, text);
        for dry in [&[][..], &["--dry-run"]] {
            let mut arguments = vec!["mapping", "import", map, &file, "-o", "json"];
            arguments.extend(dry);
            let ran = world.run(&arguments).exits(5);
            let error = ran.error();
            let message = error["message"].as_str().unwrap();
            assert_eq!(error["kind"], "invalid_input", "{text:?}: {message}");
            for part in [&[name, "nothing was changed"], *said].concat() {
                assert!(message.contains(part), "{text:?} is said to be {message:?}, without {part:?}");
            }
            assert_eq!(ran.out, "", "{text:?}");
            assert_eq!(world.content(), before, "{text:?}");
        }
    }
}

#[test]
fn ranges_in_csv() {
    refused("m", "rows.csv", &RANGES);
}

#[test]
fn ranges_in_json() {
    refused("m", "rows.json", &RANGES_IN_JSON);
}

#[test]
fn points_in_csv() {
    refused("tenants", "rows.csv", &POINTS);
}

/// The first twenty faults are told, and how many there are.
#[test]
fn many_faults_are_counted() {
    let world = world();
    let rows: String = (0..5_000).map(|row| format!("{row},x,s/a\n")).collect();
    let file = world.write("rows.csv", &format!("low,high,shard\n{rows}"));
    let ran = world.run(&["mapping", "import", "m", &file]).exits(5);
    let ran = ran
        .says("rows.csv has 5000 faults; nothing was changed\n")
        .says("\n  row 20, column high: ")
        .says("and 4980 more");
    assert_eq!(ran.err.lines().count(), 22);
}

/// One fault at the end of a long file, and all before it stays undone.
#[test]
fn the_last_row_counts() {
    let world = world();
    let before = world.content();
    let rows: String = (2_000..7_000).map(|low| format!("{low},{},s/a\n", low + 1)).collect();
    let file = world.write("rows.csv", &format!("low,high,shard\n{rows}7000,oops,s/a\n"));
    let _ = world.run(&["mapping", "import", "m", &file]).exits(5).says("row 5001, column high");
    assert_eq!(world.content(), before);
}

#[test]
fn what_is_no_text_or_holds_nothing() {
    let world = world();
    let before = world.content();
    let (text, directory) = (world.path().join("latin.csv"), world.path().join("directory.csv"));
    std::fs::write(&text, b"low,high,shard\n1,2,s/a\n2,3,s/\xe4\n").unwrap();
    std::fs::create_dir(&directory).unwrap();
    for (file, kind, part) in [(text, "invalid_input", "latin.csv, line 3: "), (directory, "file", "directory.csv: ")] {
        let error = world.run(&["mapping", "import", "m", file.to_str().unwrap(), "-o", "json"]).exits(5).error();
        assert_eq!(error["kind"], kind, "{error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(part) && message.ends_with("; nothing was changed"), "{message}");
    }
    for (name, text) in [("rows.csv", ""), ("rows.csv", "\n\n"), ("rows.csv", "low,high,shard\n"), ("rows.json", "[]")]
    {
        let file = world.write(name, text);
        let _ = world.run(&["mapping", "import", "m", &file]).exits(17).says("holds no mappings");
    }
    assert_eq!(world.content(), before);
}

/// Files of schema information.
#[test]
fn schema_information() {
    let world = world();
    let before = world.content();
    let table = |fields: &str| {
        format!(
            "[{{\"kind\": \"reference\", \"schema\": \"dbo\", \"table\": \"a\", \"key_column\": null}}, {{{fields}}}]"
        )
    };
    let cases = [
        "".to_owned(),
        "{}".to_owned(),
        table("\"kind\": \"tree\", \"schema\": \"dbo\", \"table\": \"b\", \"key_column\": null"),
        table("\"kind\": \"reference\", \"schema\": \"dbo\", \"table\": \"b\", \"key_column\": \"c\""),
        table("\"kind\": \"sharded\", \"schema\": \"dbo\", \"table\": \"b\", \"key_column\": null"),
        table("\"kind\": \"sharded\", \"schema\": \"dbo\", \"table\": \"\", \"key_column\": \"c\""),
        table("\"kind\": \"reference\", \"schema\": \"dbo\", \"table\": \"a\", \"key_column\": null"),
        table("\"kind\": \"reference\", \"table\": \"b\", \"key_column\": null, \"schema\": \"dbo\", \"more\": 1"),
    ];
    for text in cases {
        let file = world.write("schema.json", &text);
        let error = world.run(&["schema", "set", "tenants", "--file", &file, "-o", "json"]);
        assert!(matches!(error.code, Some(4 | 5)), "{text}: {error:?}");
        assert!(error.error()["message"].as_str().unwrap().contains("schema.json"), "{text}: {error:?}");
        assert_eq!(world.content(), before, "{text}");
    }
}

/// What `schema show` prints as JSON is read again.
#[test]
fn schema_information_makes_a_round_trip() {
    let world = world();
    let shown = world.run_words("schema show orders -o json").ok().out;
    let file = world.write("schema.json", &shown);
    let _ = world.run(&["schema", "set", "copy", "--file", &file]).ok();
    assert_eq!(world.run_words("schema show copy -o json").ok().out, shown);
    let _ = world.run(&["schema", "set", "copy", "--file", &file]).exits(17);
}
