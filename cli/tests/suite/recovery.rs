//! `shardlet recovery`, `store check` and `doctor`: shards that are broken as databases break, and what is printed about them.

use std::path::{Path, PathBuf};

use serde_json::Value;
use shardlet::rusqlite::Connection;

use crate::support::{self, Ran, Running, compare};

/// A store in a directory of its own, with the range map `orders`, `0..50` on `s/a` and `50..` on `s/b`.
struct World {
    inner: support::World,
}

/// A field of each row.
fn column(rows: &[Value], name: &str) -> Vec<Value> {
    rows.iter().map(|row| row[name].clone()).collect()
}

impl World {
    fn new() -> Self {
        let world = Self { inner: support::World::new() };
        world.inner.add_map("orders", "range", "int64");
        let _ = world.run("mapping add orders 0..50 --shard s/a").ok();
        let _ = world.run("mapping add orders 50.. --shard s/b").ok();
        world
    }

    /// An empty one.
    fn make_database(&self, shard: &str) {
        let _ = std::fs::File::create(self.shard(shard)).unwrap();
    }

    fn global(&self) -> PathBuf {
        self.inner.file(None)
    }

    fn shard(&self, shard: &str) -> PathBuf {
        self.inner.file(shard.strip_prefix("s/"))
    }

    fn copy(&self) -> PathBuf {
        self.inner.path().join("copy.db")
    }

    fn run(&self, words: &str) -> Ran {
        self.inner.run_words(&format!("{words} --output json"))
    }

    /// Runs it, after seeing that it asks, and that it shows steps and changes nothing when it is told to.
    #[track_caller]
    fn run_asked(&self, words: &str) -> Ran {
        let before = self.run("recovery detect").out;
        let steps = self.run(&format!("{words} --dry-run")).ok().rows();
        assert!(!steps.is_empty());
        assert!(column(&steps, "action").iter().all(Value::is_string), "{steps:?}");
        let _ = self.run(words).exits(16);
        assert_eq!(self.run("recovery detect").out, before);
        self.run(&format!("{words} --yes")).ok()
    }

    /// What is printed in each form, and said beside a table.
    #[track_caller]
    fn prints(&self, name: &str, words: &str, code: i32) {
        for (form, extension) in [("table", "txt"), ("json", "json"), ("csv", "csv")] {
            let ran = self.inner.run_words(&format!("{words} --output {form}")).exits(code);
            let said = if form == "table" { format!("--- standard error\n{}", ran.err) } else { String::new() };
            compare(&format!("{name}.{extension}"), &format!("{}{said}", ran.out));
        }
    }

    #[track_caller]
    fn differs(&self) -> Vec<Value> {
        let rows = self.run("recovery detect").exits(1).rows();
        assert!(!rows.is_empty());
        let _ = self.run("doctor").exits(1);
        rows
    }

    #[track_caller]
    fn is_healthy(&self) {
        let _ = self.run("recovery detect").exits(0);
        let rows = self.run("doctor").exits(0).rows();
        assert!(column(&rows, "healthy").iter().all(|healthy| *healthy == true), "{rows:?}");
        let _ = self.run("store check").exits(0);
    }

    /// Which shard holds a key, where the global store and the shard agree about it.
    #[track_caller]
    fn route(&self, key: &str) -> String {
        let rows = self.run(&format!("route orders {key}")).exits(0).rows();
        rows[0]["shard"].as_str().unwrap().to_owned()
    }

    /// The result of a check of the store.
    #[track_caller]
    fn check(&self, name: &str, code: i32) -> String {
        let rows = self.run("store check").exits(code).rows();
        let row = rows.iter().find(|row| row["check"] == name && row["result"] != "ok");
        row.map_or_else(|| panic!("{rows:?}"), |row| row["result"].as_str().unwrap().to_owned())
    }

    /// A client that has begun a change in the global store, and waits at a shard for as long as the connection lives.
    fn client_at_work(&self, words: &str, shard: &str) -> (Running, Connection) {
        let blocker = Connection::open(self.shard(shard)).unwrap();
        blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut client = self.inner.start(&words.split_whitespace().collect::<Vec<_>>());
        client.until(|| !self.run("operation list").ok().rows().is_empty());
        (client, blocker)
    }
}

/// Copies a database that nobody is at work on.
fn back_up(database: &Path, into: &Path) {
    let connection = Connection::open(database).unwrap();
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(connection);
    let _ = std::fs::copy(database, into).unwrap();
}

/// Takes a database away.
fn lose(database: &Path) {
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", database.display()));
    }
}

fn restore(database: &Path, from: &Path) {
    lose(database);
    let _ = std::fs::copy(from, database).unwrap();
}

/// What is printed, of a world where a shard has an older state and another is gone.
#[test]
fn what_is_printed() {
    let world = World::new();
    world.inner.add_shard("orders", "s/c");
    world.prints("recovery_detect_none", "recovery detect", 0);
    world.prints("doctor", "doctor", 0);
    world.prints("store_check", "store check", 0);
    back_up(&world.shard("s/b"), &world.copy());
    let _ = world.run("mapping split orders 60").ok();
    let _ = world.run("mapping offline orders 50..60 --yes").ok();
    restore(&world.shard("s/b"), &world.copy());
    lose(&world.shard("s/c"));
    world.prints("recovery_detect", "recovery detect", 1);
    world.prints("doctor_unhealthy", "doctor --unhealthy", 1);
    world.prints("recovery_resolve_plan", "recovery resolve s/b --keep global --dry-run", 0);
    world.prints("recovery_detach_plan", "recovery detach orders s/c --dry-run", 0);
    let resolve = world.run("recovery resolve s/b --keep global --yes").ok();
    compare("recovery_resolve.json", &resolve.out);
    let _ = world.run("recovery detach orders s/c --yes").ok();
    restore(&world.shard("s/c"), &world.copy());
    let renamed = world.run("recovery rename s/b s/c --yes").ok().says("STILL ANSWERS");
    compare("recovery_rename.json", &renamed.out);
    let _ = world.run("recovery detach orders s/c --yes").ok();
    compare("recovery_attach.json", &world.run("recovery attach orders s/c").ok().out);
    lose(&world.shard("s/a"));
    world.make_database("s/a");
    compare("recovery_rebuild.json", &world.run("recovery rebuild s/a --yes").ok().out);
}

/// Who detaches a shard that lives is told so.
#[test]
fn a_shard_that_lives_is_not_detached_without_a_word() {
    let world = World::new();
    let asked = world.run("recovery detach orders s/b --dry-run").ok();
    assert!(asked.rows().iter().any(|row| row["action"].as_str().unwrap().contains("STILL ANSWERS")), "{asked:#?}");
    // Of a shard that could not be asked nothing is claimed.
    lose(&world.shard("s/b"));
    let asked = world.run("recovery detach orders s/b --dry-run").ok();
    assert!(asked.out.contains("could not be asked"), "{asked:#?}");
    world.make_database("s/b");
    let asked = world.run("recovery detach orders s/b --dry-run").ok();
    assert!(asked.out.contains("does not answer as this shard"), "{asked:#?}");
    let _ = world.run("recovery detach orders s/a --yes").ok().says("warning: s/a STILL ANSWERS");
}

/// A name that is misspelt is not taken for health.
#[test]
fn a_map_that_is_not_there_is_no_agreement() {
    let world = World::new();
    let _ = world.run("recovery detect s/a --map ordres").exits(3);
    assert_eq!(
        column(&world.run("recovery detect s/a s/b --map ordres").exits(1).rows(), "what"),
        ["failed", "failed"]
    );
    let _ = world.run("recovery resolve s/a --map ordres --keep global --yes").exits(3);
}

/// What attaching refuses, its dry run refuses.
#[test]
fn a_dry_run_of_attach_looks_where_the_shard_is() {
    let world = World::new();
    back_up(&world.shard("s/b"), &world.shard("s/copy"));
    for words in ["recovery attach orders s/copy --dry-run", "recovery attach orders s/copy"] {
        let _ = world.run(words).exits(4).says("recovery rename");
    }
    let _ = world.run("shard add orders s/x --yes").ok();
    back_up(&world.global(), &world.copy());
    let other = World::new();
    for words in ["recovery attach orders s/y --dry-run", "recovery attach orders s/y"] {
        back_up(&world.shard("s/x"), &other.shard("s/y"));
        let _ = other.run(words).exits(3);
    }
}

/// What one map needs is not hidden by what is settled of another.
#[test]
fn a_map_that_is_left_as_it_is_is_told() {
    let world = World::new();
    world.inner.add_map("others", "list", "int32");
    back_up(&world.shard("s/b"), &world.copy());
    let _ = world.run("mapping split orders 60").ok();
    restore(&world.shard("s/b"), &world.copy());
    let _ = world.run("recovery detach others s/b --yes").ok();
    let resolved = world.run("recovery resolve s/b --keep global --yes").exits(3).says("recovery attach");
    assert_eq!(column(&resolved.rows(), "map"), ["orders"]);
}

#[test]
fn a_shard_of_an_older_state_is_resolved_by_the_global_store() {
    let world = World::new();
    world.is_healthy();
    back_up(&world.shard("s/b"), &world.copy());
    let _ = world.run("mapping split orders 60").exits(0);
    let _ = world.run("mapping offline orders 50..60 --yes").exits(0);
    restore(&world.shard("s/b"), &world.copy());

    let rows = world.differs();
    assert!(rows.iter().all(|row| row["shard"] == "s/b" && row["map"] == "orders"), "{rows:?}");
    let mappings: Vec<_> = rows.iter().filter(|row| row["what"] == "mapping").collect();
    assert_eq!(mappings.len(), 2);
    assert_eq!(mappings[0]["keys"], "50..60");
    assert_eq!(mappings[0]["global"], "offline on s/b");
    assert_eq!(mappings[0]["local"], "online on s/b with 50..");
    assert_eq!(mappings[1]["keys"], "60..");
    assert_eq!(mappings[1]["message"], "the mappings have other bounds");
    // Only where it was asked for.
    let _ = world.run("recovery detect s/a").exits(0);
    let _ = world.run("recovery detect s/a s/b --map ORDERS").exits(1);
    let _ = world.run("recovery detect --map orders --parallel 1").exits(1);
    let _ = world.run("recovery detect --map others").exits(3);
    let _ = world.run("recovery detect s/c").exits(11);

    let _ = world.run("recovery resolve s/a --keep global --yes").exits(17);
    let resolved = world.run_asked("recovery resolve s/b --keep global").rows();
    assert_eq!((&resolved[0]["kept"], &resolved[0]["mappings"]), (&Value::from("global"), &Value::from(2)));
    world.is_healthy();
    let _ = world.run("recovery resolve s/b --keep global --yes").exits(17);
    let _ = world.run("route orders 55").exits(1);
    assert_eq!(world.route("60"), "s/b");
}

#[test]
fn a_global_store_of_an_older_state_is_resolved_by_shards() {
    let world = World::new();
    back_up(&world.global(), &world.copy());
    let _ = world.run("mapping move orders 0..50 --to s/b --yes").exits(0);
    let _ = world.run("mapping online orders 0..50").exits(0);
    let _ = world.run("mapping add orders ..-10 --shard s/a").exits(0);
    restore(&world.global(), &world.copy());

    let rows = world.differs();
    let claimed = rows.iter().find(|row| row["shard"] == "s/b" && row["keys"] == "0..50").unwrap();
    assert_eq!(claimed["message"], "the global store maps the keys to another shard");
    // One difference of the shard by its keys; the other is left.
    let _ = world.run("recovery resolve s/a --map orders --keep local --keys -20..-15 --yes").exits(5);
    let _ = world.run("recovery resolve s/a --map orders --keep local --keys 700 --yes").exits(17);
    let _ = world.run("recovery resolve s/a --keep local --keys -15 --yes").exits(2);
    let resolved = world.run_asked("recovery resolve s/a --map orders --keep local --keys -15").rows();
    assert_eq!(resolved[0]["mappings"], 1);
    assert_eq!(world.route("-15"), "s/a");
    let _ = world.run("route orders 25").exits(1);

    let steps = world.run("recovery resolve s/b --keep local --dry-run").exits(0).rows();
    assert_eq!(steps[0]["place"], "s/a");
    let _ = world.run_asked("recovery resolve s/b --keep local");
    world.is_healthy();
    assert_eq!(world.route("25"), "s/b");
}

#[test]
fn a_shard_is_detached_and_attached_again() {
    let world = World::new();
    let _ = world.run("recovery detach others s/b --yes").exits(3);
    let _ = world.run("recovery detach orders s/c --yes").exits(3);
    let steps = world.run("recovery detach orders s/b --dry-run").exits(0).rows();
    assert!(steps[1]["action"].as_str().unwrap().contains("its 1 mappings"), "{steps:?}");
    let _ = world.run_asked("recovery detach orders s/b").says("1 mappings deleted");
    world.is_healthy();
    let _ = world.run("route orders 77").exits(1);

    // Nobody but the shard knows of it any more.
    let rows = world.run("recovery detect s/b").exits(1).rows();
    assert_eq!(rows[0]["message"], "the global store does not have the shard");
    let _ = world.run("recovery resolve s/b --keep local --yes").exits(3).says("shardlet recovery attach");
    let _ = world.run("recovery attach orders s/c").exits(11);
    let _ = world.run("recovery attach others s/b").exits(3);
    let steps = world.run("recovery attach orders s/b --dry-run").exits(0).rows();
    assert_eq!(column(&steps, "place"), ["global store", "s/b"]);
    let attached = world.run("recovery attach orders s/b").exits(0);
    assert!(attached.out.contains("\"shard\": \"s/b\""), "{}", attached.out);
    let _ = world.run("recovery attach orders s/b").exits(4);
    let _ = world.differs();
    let _ = world.run("recovery resolve s/b --keep local --yes").exits(0);
    world.is_healthy();
    assert_eq!(world.route("77"), "s/b");
}

#[test]
fn a_lost_global_store_is_made_again_from_the_shards() {
    let world = World::new();
    lose(&world.global());
    let _ = world.run("doctor").exits(1);
    assert_eq!(world.check("version", 1), "failed");
    let _ = world.run("store create").exits(0);
    let _ = world.run("recovery attach orders s/a").exits(3).says("--restore-map");
    let steps = world.run("recovery attach orders s/a --restore-map --dry-run").exits(0).rows();
    assert_eq!(steps.len(), 3);
    let _ = world.run("map show orders").exits(3);
    for shard in ["s/a", "s/b"] {
        let _ = world.run(&format!("recovery attach orders {shard} --restore-map")).exits(0);
    }
    let _ = world.differs();
    let _ = world.run_asked("recovery rebuild --map orders --all");
    world.is_healthy();
    assert_eq!((world.route("7"), world.route("77")), ("s/a".to_owned(), "s/b".to_owned()));
    let _ = world.run("recovery rebuild --map orders --all --yes").exits(17);
    let _ = world.run("recovery rebuild --map others --all --yes").exits(3);
}

#[test]
fn a_renamed_database_is_found_again() {
    let world = World::new();
    back_up(&world.shard("s/b"), &world.copy());
    lose(&world.shard("s/b"));
    restore(&world.shard("s/c"), &world.copy());
    let _ = world.run("doctor").exits(1);
    let _ = world.run("recovery rename s/b s/b --yes").exits(17);
    let _ = world.run("recovery rename s/x s/c --yes").exits(3);
    let _ = world.run("recovery rename s/b s/a --yes").exits(3).says("another one's");
    let _ = world.run("recovery rename s/b s/x --yes").exits(11);
    let steps = world.run("recovery rename s/b s/c --dry-run").exits(0).rows();
    assert_eq!(column(&steps, "place"), ["s/b", "global store", "s/c"]);
    let _ = world.run("recovery rename s/b s/c").exits(16);
    let renamed = world.run("recovery rename s/b s/c --yes").exits(0);
    assert_eq!(renamed.rows()[0]["shard"], "s/c");
    assert!(!renamed.err.contains("STILL ANSWERS"), "{}", renamed.err);
    world.is_healthy();
    assert_eq!(world.route("77"), "s/c");
    // A copy that stays behind.
    back_up(&world.shard("s/c"), &world.shard("s/d"));
    let plan = world.run("recovery rename s/c s/d --dry-run").ok().rows();
    assert!(plan[0]["action"].as_str().unwrap().contains("STILL ANSWERS"), "{plan:?}");
    let _ = world.run("recovery rename s/c s/d --yes").exits(0).says("STILL ANSWERS");
}

#[test]
fn a_local_store_that_is_missing_is_rebuilt() {
    let world = World::new();
    let _ = world.run("recovery rebuild s/b --yes").exits(17);
    let _ = world.run("recovery rebuild s/c --yes").exits(11);
    let _ = world.run("recovery rebuild --yes").exits(2);
    let _ = world.run("recovery rebuild --all --yes").exits(2);
    lose(&world.shard("s/b"));
    world.make_database("s/b");
    let rows = world.differs();
    assert_eq!(rows[0]["message"], "the database has no local store");
    let _ = world.run("recovery resolve s/b --keep local --yes").exits(3).says("nothing to keep");
    let rebuilt = world.run_asked("recovery rebuild s/a s/b").rows();
    assert_eq!(column(&rebuilt, "rebuilt"), ["s/b"]);
    world.is_healthy();
    assert_eq!(world.route("77"), "s/b");
}

#[test]
fn the_doctor_tells_which_shard_cannot_be_reached() {
    let world = World::new();
    lose(&world.shard("s/b"));
    let rows = world.run("doctor").exits(1).says("3 places looked at: 2 healthy, 1 not").rows();
    assert_eq!(column(&rows, "place"), ["global store", "s/a", "s/b"]);
    assert_eq!(column(&rows, "healthy"), [true, true, false]);
    assert_eq!(column(&rows, "reachable"), [true, true, false]);
    assert_eq!(rows[1]["agrees"], true);
    assert!(rows[2]["agrees"].is_null());
    assert_eq!((&rows[0]["rights"], &rows[1]["rights"]), (&Value::from("all"), &Value::from("all")));
    let rows = world.run("doctor --unhealthy --parallel 1").exits(1).rows();
    assert_eq!(column(&rows, "place"), ["s/b"]);
    // It is a fault of the shard alone.
    let _ = world.run("store check").exits(0);
    let rows = world.run("recovery detect").exits(1).rows();
    assert_eq!((rows.len(), &rows[0]["what"]), (1, &Value::from("failed")));
}

#[test]
fn an_operation_is_no_fault_while_its_client_is_at_work_and_one_when_it_is_gone() {
    let world = World::new();
    let (client, blocker) = world.client_at_work("mapping add orders ..-10 --shard s/b", "s/b");
    let rows = world.run("doctor").exits(0).rows();
    assert_eq!(column(&rows, "unfinished_operations"), [1, 0, 1]);
    assert_eq!(world.check("operations", 0), "warning");

    let _ = client.kill();
    drop(blocker);
    let rows = world.run("doctor").exits(1).rows();
    assert_eq!(column(&rows, "healthy"), [false, true, false]);
    assert_eq!(world.check("operations", 1), "failed");
    let rows = world.run("recovery detect").exits(1).rows();
    assert_eq!(column(&rows, "what"), ["unfinished_operation"]);
    let _ = world.run("operation undo --all --yes").exits(0);
    world.is_healthy();
}

#[test]
fn an_operation_on_a_shard_that_is_gone_is_undone_by_detaching() {
    let world = World::new();
    world.make_database("s/c");
    let (client, blocker) = world.client_at_work("shard add orders s/c --yes", "s/c");
    let _ = client.kill();
    drop(blocker);
    lose(&world.shard("s/c"));
    let _ = world.run_asked("recovery detach orders s/c").says("unfinished operations undone");
    world.is_healthy();
}

#[test]
fn the_check_of_the_store_tells_what_cannot_be_read() {
    let world = World::new();
    let _ = world.run("schema set orders --sharded orders=id").exits(0);
    let change = |sql: &str| {
        let global = Connection::open(world.global()).unwrap();
        global.execute_batch(&format!("PRAGMA foreign_keys = OFF; {sql}")).unwrap();
    };
    let fails = |check: &str| {
        assert_eq!(world.check(check, 1), "failed");
        let rows = world.run("doctor").exits(1).rows();
        assert_eq!(rows[0]["healthy"], false, "{rows:?}");
    };
    world.is_healthy();
    change(r#"UPDATE "__ShardManagement.ShardedDatabaseSchemaInfosGlobal" SET "SchemaInfo" = '<no'"#);
    fails("schema_information");
    change(r#"DELETE FROM "__ShardManagement.ShardedDatabaseSchemaInfosGlobal""#);
    world.is_healthy();
    change(
        r#"INSERT INTO "__ShardManagement.OperationsLogGlobal" ("OperationId", "OperationCode", "Data")
           VALUES ('6f9619ff-8b86-d011-b42d-00c04fc964ff', 1, '<no')"#,
    );
    fails("operations");
    change(r#"DELETE FROM "__ShardManagement.OperationsLogGlobal""#);
    world.is_healthy();
    let mappings = r#"UPDATE "__ShardManagement.ShardMappingsGlobal""#;
    // 50.. becomes 20.., which 0..50 overlaps.
    change(&format!(r#"{mappings} SET "MinValue" = x'8000000000000014' WHERE "MaxValue" IS NULL"#));
    fails("shard_map");
    // No key.
    change(&format!(r#"{mappings} SET "MinValue" = x'80' WHERE "MaxValue" IS NULL"#));
    fails("shard_map");
    change(&format!(r#"{mappings} SET "MinValue" = x'8000000000000032' WHERE "MaxValue" IS NULL"#));
    world.is_healthy();
    change(r#"UPDATE "__ShardManagement.ShardMapManagerGlobal" SET "StoreVersionMinor" = 1"#);
    assert_eq!(world.check("version", 0), "warning");
    change(r#"UPDATE "__ShardManagement.ShardMapManagerGlobal" SET "StoreVersionMajor" = 2"#);
    fails("version");
}
