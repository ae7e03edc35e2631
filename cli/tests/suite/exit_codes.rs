//! Every exit code, each from situations that people get into. Codes 12 and 14 need a server; `tests/live.rs` has the former.

use std::process::Stdio;

use crate::support::{GUID, Ran, Running, World};

const TOKEN: &str = "11111111-2222-3333-4444-555555555555";

/// What is refused on [`World::filled`]: the words, the exit code, the kind in JSON, and something that the message has.
#[rustfmt::skip]
const REFUSED: [(&str, i32, &str, &str); 58] = [
    ("map show nope", 3, "not_found", "\"nope\""),
    ("shard list nope", 3, "not_found", "\"nope\""),
    ("mapping list nope", 3, "not_found", "\"nope\""),
    ("route nope 5", 3, "not_found", "\"nope\""),
    ("shard show orders s/nope", 3, "not_found", "not a shard"),
    ("mapping list orders --shard s/nope", 3, "not_found", "not a shard"),
    ("mapping add orders 200..300 --shard s/nope", 3, "not_found", "not a shard"),
    ("mapping move orders 0..100 --to s/nope --yes", 3, "not_found", "not a shard"),
    ("mapping lookup orders 250", 3, "not_found", "no mapping holds the key"),
    ("mapping split orders 250", 3, "not_found", "no mapping holds the key"),
    ("mapping offline orders 0..50 --yes", 3, "not_found", "exactly this range"),
    ("mapping merge orders 300 --lock-token 11111111-2222-3333-4444-555555555555", 3, "not_found", "no range ends"),
    ("mapping show orders 6f9619ff-8b86-d011-b42d-00c04fc964ff", 3, "not_found", "no mapping has this id"),
    ("operation show 6f9619ff-8b86-d011-b42d-00c04fc964ff", 3, "not_found", "no operation"),
    ("operation undo 6f9619ff-8b86-d011-b42d-00c04fc964ff --yes", 3, "not_found", "no operation"),
    ("schema show nope", 3, "not_found", "schema"),
    ("schema delete nope --yes", 3, "not_found", "schema"),
    ("map delete nope --yes", 3, "not_found", "\"nope\""),
    ("store create", 4, "already_exists", "store"),
    ("map create orders --kind list --key-type guid", 4, "already_exists", "orders"),
    ("map create ORDERS --kind list --key-type guid", 4, "already_exists", "ORDERS"),
    ("shard add orders s/a --yes", 4, "already_exists", "s/a"),
    ("mapping add orders 50..60 --shard s/b", 4, "overlaps", ""),
    ("mapping add orders .. --shard s/b", 4, "overlaps", ""),
    ("mapping add tenants 6f9619ff-8b86-d011-b42d-00c04fc964ff --shard s/b", 4, "already_exists", ""),
    ("mapping lookup orders five", 5, "invalid_input", "Int64"),
    ("mapping lookup orders 9223372036854775808", 5, "invalid_input", "Int64"),
    ("mapping lookup tenants 5", 5, "invalid_input", "Guid"),
    ("mapping add orders 200 --shard s/b", 5, "invalid_input", "LOW..HIGH"),
    ("mapping add orders 300..200 --shard s/b", 5, "invalid_input", "empty or inverted"),
    ("mapping add orders 200..200 --shard s/b", 5, "invalid_input", "empty or inverted"),
    ("mapping list orders --keys 5", 5, "invalid_input", "LOW..HIGH"),
    ("mapping split tenants 6f9619ff-8b86-d011-b42d-00c04fc964ff", 5, "invalid_input", "single keys"),
    ("map create a-name-that-is-longer-than-the-fifty-characters-allowed --kind list --key-type guid", 5, "invalid_input", "50"),
    ("mapping import orders nowhere.csv", 5, "file", "nowhere.csv"),
    ("schema set orders --file nowhere.json", 5, "file", "nowhere.json"),
    ("schema set orders --sharded orders", 5, "invalid_input", "TABLE=COLUMN"),
    ("route orders five", 5, "invalid_input", "Int64"),
    ("mapping delete orders 0..100 --yes", 6, "not_offline", "online"),
    ("shard delete orders s/a --yes", 6, "in_use", "mappings"),
    ("map delete orders --yes", 6, "in_use", "3 shards"),
    ("mapping add orders 200..300 --shard s/c", 6, "disabled", "no new mappings"),
    ("mapping move orders 0..100 --to s/c --yes", 6, "disabled", "no new mappings"),
    ("mapping offline orders 300.. --yes", 7, "locked", "lock"),
    ("mapping split orders 400", 7, "locked", "lock"),
    ("mapping move orders 300.. --to s/a --yes --lock-token 6f9619ff-8b86-d011-b42d-00c04fc964ff", 7, "locked", "lock"),
    ("mapping lock orders 300..", 7, "locked", "lock"),
    ("mapping unlock orders 300.. --token 6f9619ff-8b86-d011-b42d-00c04fc964ff", 7, "locked", "lock"),
    ("mapping online orders 0..100", 17, "no_change", "online already"),
    ("mapping offline orders ..-100 --yes", 17, "no_change", "offline already"),
    ("mapping move orders 0..100 --to s/a --yes", 17, "no_change", "on this shard already"),
    ("mapping split orders 100", 17, "no_change", "begins at this key"),
    ("mapping merge orders 150", 17, "no_change", "inside of one"),
    ("mapping unlock orders 0..100 --token 6f9619ff-8b86-d011-b42d-00c04fc964ff", 17, "no_change", "not locked"),
    ("mapping unlock orders --token 6f9619ff-8b86-d011-b42d-00c04fc964ff", 17, "no_change", "owns no lock"),
    ("shard update orders s/a --enable", 17, "no_change", "like this already"),
    ("operation undo --all --yes", 17, "no_change", "no operation"),
    ("schema set tenants --reference dbo.x --sharded x=y", 4, "already_exists", ""),
];

#[test]
fn what_is_refused_says_why_and_changes_nothing() {
    let world = World::filled();
    let before = world.content();
    for (words, code, kind, text) in REFUSED {
        let ran = world.run_words(&format!("{words} --output json")).exits(code);
        assert_eq!(ran.out, "", "{words}");
        let error = ran.error();
        assert_eq!(error["kind"], kind, "{words}: {error}");
        assert_eq!(error["exit_code"], code, "{words}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(text), "{words}: {message}");
        assert_eq!(world.content(), before, "{words}");
    }
}

/// A failure of nearly every kind says what to do next.
#[test]
fn what_is_refused_says_what_to_do_next() {
    let world = World::filled();
    for (words, _, kind, _) in REFUSED {
        let error = world.run_words(&format!("{words} --output json")).error();
        let next = error["next"].as_str();
        // What is wrong with an argument is the message; without a change there is nothing to do.
        let without = matches!(kind, "invalid_input" | "no_change" | "file") || words.starts_with("schema set");
        assert!(without || next.is_some(), "{words}: {error}");
        assert!(!error["message"].as_str().unwrap().contains("shardlet "), "{words}: {error}");
    }
}

/// What is said next fits what was asked for: a lock is not taken with a token of another.
#[test]
fn what_to_do_about_a_lock() {
    let world = World::filled();
    for (words, with, without) in [
        ("mapping lock orders 300..", "shardlet mapping unlock", "--lock-token"),
        ("mapping split orders 400", "--lock-token", "--force"),
        ("mapping unlock orders 300.. --token 6f9619ff-8b86-d011-b42d-00c04fc964ff", "--force", "--lock-token"),
    ] {
        let error = world.run_words(&format!("{words} -o json")).exits(7).error();
        let next = error["next"].as_str().unwrap();
        assert!(next.contains("mapping lookup") && next.contains(with) && !next.contains(without), "{words}: {next}");
    }
}

/// People read the same message after `error:`, and what to do next.
#[test]
fn errors_for_people_are_lines() {
    let world = World::filled();
    let ran = world.run_words("mapping delete orders 0..100 --yes").exits(6);
    let next = "take it offline first: shardlet mapping offline MAP MAPPING";
    assert_eq!(ran.err, format!("error: the mapping is online\nnext:  {next}\n"));
    let ran = world.run_words("map show nope").exits(3);
    assert_eq!(
        ran.err,
        "error: GetShardMap: there is no shard map of the name \"nope\"\nnext:  see which there are: shardlet map list\n"
    );
    assert_eq!((ran.out.as_str(), ran.code), ("", Some(3)));
}

#[test]
fn words_that_are_no_command_exit_with_2() {
    let world = World::filled();
    let wrong = [
        "",
        "nope",
        "map",
        "map nope",
        "map create new",
        "map create new --kind tree --key-type guid",
        "map create new --kind list --key-type text",
        "shard add orders nowhere",
        "shard add orders s,70000/a",
        "shard update orders s/a",
        "shard update orders s/a --enable --disable",
        "mapping add orders 1..2",
        "mapping lock orders 5 --token five",
        "mapping lock orders 0..100 --token ffffffff-ffff-ffff-ffff-ffffffffffff",
        "mapping lock orders 0..100 --token 00000000-0000-0000-0000-000000000000",
        "mapping unlock orders",
        // Force has a word of its own, and asks.
        "mapping unlock orders 300.. --token ffffffff-ffff-ffff-ffff-ffffffffffff",
        "mapping unlock orders --token 00000000-0000-0000-0000-000000000000",
        "mapping split orders 400 --lock-token ffffffff-ffff-ffff-ffff-ffffffffffff",
        "mapping merge orders 100 --lock-token 00000000-0000-0000-0000-000000000000",
        "mapping offline orders 300.. --yes --lock-token ffffffff-ffff-ffff-ffff-ffffffffffff",
        "mapping unlock orders --force",
        "mapping unlock orders 5 --force --token 6f9619ff-8b86-d011-b42d-00c04fc964ff",
        "mapping move orders 5",
        "mapping offline orders 5 --drain 1 --leave-sessions",
        "mapping import orders x.csv --batch 0",
        "mapping import orders x.csv --batch 1001",
        "mapping show orders five",
        "operation undo",
        "operation undo 6f9619ff-8b86-d011-b42d-00c04fc964ff --all",
        "schema set orders",
        "schema set orders --file x --reference y",
        "route orders",
        "route orders 5 --nope",
        "store show --output xml",
        "store show --password-prompt --password-env X",
        "completions nosuchshell",
    ];
    let before = world.content();
    for words in wrong {
        let ran = world.run_words(words).exits(2);
        assert_eq!(ran.out, "", "{words}");
        assert!(!ran.err.is_empty(), "{words}");
    }
    assert_eq!(world.content(), before);
}

/// Every verb that needs a store says that there is none.
#[test]
fn without_a_store_there_is_nothing_to_work_on() {
    let world = World::empty();
    let file = world.write("rows.csv", "low,high,shard\n");
    let verbs = [
        "store show",
        "store upgrade --yes",
        "map list",
        "map create m --kind list --key-type guid",
        "map show m",
        "map delete m --yes",
        "shard list m",
        "shard add m s/a --yes",
        "shard show m s/a",
        "shard update m s/a --disable",
        "shard delete m s/a --yes",
        "mapping list m",
        "mapping add m 1 --shard s/a",
        &format!("mapping import m {file}"),
        &format!("mapping show m {GUID}"),
        "mapping lookup m 1",
        "mapping split m 1",
        "mapping merge m 1",
        "mapping move m 1 --to s/a --yes",
        "mapping offline m 1 --yes",
        "mapping online m 1",
        "mapping delete m 1 --yes",
        "mapping lock m 1",
        &format!("mapping unlock m 1 --token {TOKEN}"),
        "operation list",
        &format!("operation show {GUID}"),
        "operation undo --all --yes",
        "schema list",
        "schema show m",
        "schema set m --reference t",
        "schema delete m --yes",
        "route m 1",
    ];
    for words in verbs {
        let ran = world.run_words(&format!("{words} -o json")).exits(3);
        let error = ran.error();
        assert_eq!(error["kind"], "not_found", "{words}");
        assert!(error.to_string().contains("shardlet store create"), "{words}: {error}");
        // Looking for a store makes none.
        assert!(!world.store().exists(), "{words}");
    }
    let _ = world.run_words("store drop --yes").exits(17);
    assert!(!world.store().exists());
}

/// With the owner's token, what is locked can be changed; by force the lock goes.
#[test]
fn who_has_the_token_changes_what_is_locked() {
    let world = World::filled();
    let _ = world.run(&["mapping", "split", "orders", "400", "--lock-token", TOKEN]).ok();
    let halves = world.run_words("mapping list orders --locked -o json").ok().json();
    assert_eq!(halves.as_array().unwrap().len(), 2);
    let merged = world.run(&["mapping", "merge", "orders", "400", "--lock-token", TOKEN, "-o", "json"]).ok().json();
    assert_eq!((&merged["low"], &merged["lock_owner"]), (&"300".into(), &TOKEN.into()));
    let _ = world.run_words("mapping unlock orders 300.. --force").exits(16);
    let _ = world.run_words("mapping unlock orders 300.. --force --yes").ok();
    assert_eq!(world.run_words("mapping list orders --locked -o json").ok().json().as_array().unwrap().len(), 0);
}

#[test]
fn a_shard_whose_database_is_gone_is_unavailable() {
    let world = World::filled();
    std::fs::remove_file(world.file(Some("b"))).unwrap();
    let error = world.run_words("mapping online orders ..-100 -o json").exits(11).error();
    assert_eq!(error["kind"], "unavailable");
    // It was undone where it had begun.
    let there = world.run_words("mapping lookup orders -500 -o json").ok().json();
    assert_eq!(there["status"], "offline");
    // A route says so of its key, and goes on.
    let rows = world.run_words("route orders 9000 5 -o json").exits(1).json();
    assert_eq!((&rows[0]["valid"], &rows[0]["fault"]), (&false.into(), &"unavailable".into()), "{rows}");
    assert_eq!(rows[1]["valid"], true, "{rows}");
    // An upgrade says so of its place, and goes on.
    let upgraded = world.run_words("store upgrade --yes -o json").exits(1);
    assert_eq!(upgraded.err, "");
    let rows = upgraded.json();
    let outcome = |place: &str| {
        let row = rows.as_array().unwrap().iter().find(|row| row["place"] == place);
        row.unwrap_or_else(|| panic!("{rows}"))["outcome"].clone()
    };
    assert_eq!(["s/a", "s/b", "s/c"].map(outcome), ["unchanged", "failed", "unchanged"]);
}

#[test]
fn a_server_that_cannot_be_reached_is_unavailable() {
    let ran = on_server(&World::empty(), &closed(), "map list -o json").exits(11);
    assert_eq!(ran.error()["kind"], "unavailable");
}

/// A server that takes the connection and says nothing.
#[test]
fn a_limit_that_runs_out_can_be_tried_again() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("127.0.0.1,{}", silent.local_addr().unwrap().port());
    let ran = on_server(&World::empty(), &address, "map list -o json").exits(10);
    let error = ran.error();
    assert_eq!((&error["kind"], &error["next"]), (&"timed_out".into(), &"try again".into()));
}

/// An address of this machine where nobody listens.
pub fn closed() -> String {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    format!("127.0.0.1,{port}")
}

fn on_server(world: &World, address: &str, words: &str) -> Ran {
    let mut command = world.bare();
    let store = format!("sqlserver:Server=tcp:{address};Database=d;User ID=u;Password=p;Encrypt=true");
    let _ = command.args(["--store", &store]).args(words.split_whitespace());
    Running::start(command, None).wait()
}

#[test]
fn a_store_of_another_version_is_refused() {
    let world = World::filled();
    let newer = "UPDATE \"__ShardManagement.ShardMapManagerGlobal\" SET \"StoreVersionMajor\" = 9";
    world.raw(None).execute_batch(newer).unwrap();
    for words in ["map list", "store show", "store upgrade --yes", "mapping add orders 200..300 --shard s/b"] {
        let error = world.run_words(&format!("{words} -o json")).exits(13).error();
        assert_eq!(error["kind"], "version_mismatch", "{words}");
    }
}

#[test]
fn a_shard_of_another_version_is_refused() {
    let world = World::filled();
    let newer = "UPDATE \"__ShardManagement.ShardMapManagerLocal\" SET \"StoreVersionMajor\" = 9";
    world.raw(Some("c")).execute_batch(newer).unwrap();
    let error = world.run_words("shard add tenants s/c --yes -o json").exits(13).error();
    assert_eq!(error["kind"], "version_mismatch");
    let error = world.run_words("shard update orders s/c --enable -o json").exits(13).error();
    assert_eq!(error["kind"], "version_mismatch");
}

#[test]
fn a_damaged_store_is_told_from_others() {
    let world = World::filled();
    let damage = "UPDATE \"__ShardManagement.ShardMapsGlobal\" SET \"KeyType\" = 77 WHERE \"Name\" = 'orders'";
    world.raw(None).execute_batch(damage).unwrap();
    let error = world.run_words("mapping list orders -o json").exits(15).error();
    assert_eq!(error["kind"], "store_damaged");
    // A file that is no database.
    let world = World::filled();
    std::fs::write(world.file(None), "no database at all, and long enough to be read as one".repeat(40)).unwrap();
    let error = world.run_words("map list -o json").exits(15).error();
    assert_eq!(error["kind"], "store_damaged");
}

/// Whoever reads the beginning of a list and closes the pipe has not made the command fail.
#[test]
fn a_reader_that_has_seen_enough_is_no_fault() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let world = World::filled();
    let ended = world.command(&["mapping", "list", "orders"]).stdin(Stdio::null()).stdout(writer).output().unwrap();
    assert_eq!((ended.status.code(), String::from_utf8(ended.stderr).unwrap().as_str()), (Some(0), ""));
}

/// A token that was made and not shown is in what is said of the failure.
#[cfg(target_os = "linux")]
#[test]
fn a_token_that_cannot_be_shown_is_not_lost() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let world = World::filled();
    let mut command = world.command(&["mapping", "lock", "orders", "0..100"]);
    let ended = command.stdin(Stdio::null()).stdout(full).output().unwrap();
    assert_eq!(ended.status.code(), Some(5));
    let owner = world.run_words("mapping lookup orders 5 -o json").ok().json()["lock_owner"].clone();
    let told = String::from_utf8(ended.stderr).unwrap();
    assert!(told.contains(owner.as_str().unwrap()), "{told}");
}

/// What is in the way is named.
#[test]
fn keys_that_are_mapped_already() {
    let world = World::filled();
    for (words, held) in [
        ("mapping add orders 50..250 --shard s/b", "0..100 on s/a"),
        ("mapping add orders 500.. --shard s/a", "300.. on s/b"),
        (&format!("mapping add tenants {GUID} --shard s/b"), &format!("{GUID} on s/a")),
    ] {
        let error = world.run_words(&format!("{words} -o json")).exits(4).error();
        assert!(error["next"].as_str().unwrap().starts_with(&format!("{held} is in the way")), "{words}: {error}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_a_fault() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let world = World::filled();
    let ended = world.command(&["mapping", "list", "orders"]).stdin(Stdio::null()).stdout(full).output().unwrap();
    assert_eq!(ended.status.code(), Some(5));
    assert!(String::from_utf8(ended.stderr).unwrap().starts_with("error: cannot write the output: "));
}

/// A shell that allows few open files until a program asks for more makes no shard unreachable.
#[cfg(unix)]
#[test]
fn few_open_files_make_no_shard_unreachable() {
    let world = World::new();
    let _ = world.run_words("map create m --kind list --key-type int32").ok();
    for number in 0..40 {
        world.add_shard("m", &format!("s/{number}"));
    }
    let inner = world.command(&[]);
    let mut command = std::process::Command::new("sh");
    let _ = command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let script = "ulimit -Sn 64 && exec \"$0\" doctor -o json";
    let _ = command.args(["-c", script, env!("CARGO_BIN_EXE_shardlet")]).current_dir(world.path());
    let ran = Running::start(command, None).wait().ok();
    assert_eq!(ran.json().as_array().unwrap().len(), 41);
}
