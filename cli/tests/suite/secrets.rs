//! No password is ever printed: not by errors, not by help, not where it cannot be used.

use std::process::Command;

use crate::exit_codes::closed;
use crate::support::{Running, World};

const SECRET: &str = "hunter2";

/// A connection string with a password, to where nobody listens.
fn connection_string() -> String {
    format!("sqlserver:Server=tcp:{};Database=d;User ID=u;Password={SECRET};Encrypt=true", closed())
}

/// Runs it and asserts that the secret is nowhere. The exit code is for who knows it.
#[track_caller]
fn kept(command: Command, code: i32) {
    let ran = Running::start(command, None).wait().exits(code);
    // The arguments are the caller's own.
    assert!(!ran.out.contains(SECRET) && !ran.err.contains(SECRET), "{ran:?}");
}

fn with_store(world: &World, words: &str) -> Command {
    let mut command = world.bare();
    let _ = command.env("SHARDLET_STORE", connection_string()).args(words.split_whitespace());
    command
}

#[test]
fn by_no_verb_that_does_not_reach_the_server() {
    let world = World::empty();
    let file = world.write("rows.csv", "key,shard\n");
    for words in [
        "store create",
        "store show",
        "store upgrade --yes",
        "store drop --yes",
        "map list",
        "shard list m",
        "mapping list m",
        &format!("mapping import m {file}"),
        "operation list",
        "schema list",
        "route m 5",
    ] {
        kept(with_store(&world, words), 11);
        kept(with_store(&world, &format!("{words} -o json")), 11);
    }
}

#[test]
fn by_no_help() {
    let world = World::empty();
    for (words, code) in [
        ("--help", 0),
        ("-h", 0),
        ("help", 0),
        ("help mapping import", 0),
        ("store show --help", 0),
        ("store show -h", 0),
        ("--version", 0),
        ("markdown", 0),
        ("man", 0),
        ("completions bash", 0),
        ("", 2),
        ("nope", 2),
        ("store nope", 2),
        ("store show --nope", 2),
        ("store show --output", 2),
        ("mapping add m", 2),
        ("store show --password-prompt --password-env X", 2),
    ] {
        kept(with_store(&world, words), code);
    }
}

#[test]
fn by_no_store_that_cannot_be_used() {
    let world = World::empty();
    for (store, code) in [
        (format!("Server=a;Password={SECRET}"), 2),
        (format!("sqlserver:Password={SECRET}"), 5),
        (format!("sqlserver:Server=;Password={SECRET}"), 5),
        (format!("sqlserver:Server=tcp:a,x;Database=d;User ID=u;Password={SECRET}"), 5),
        (format!("sqlserver:Server=a;Database=d;{SECRET}"), 5),
        (format!("sqlserver:Server=tcp:127.0.0.1,1;Database=d;User ID=u;{SECRET}={SECRET}"), 11),
        (format!("sqlserver:Server=a;Database=d;Password='{SECRET}"), 5),
        (format!("sqlserver:Server=a;Database=d;Encrypt={SECRET}"), 5),
        // Without a user.
        (format!("sqlserver:Server=tcp:127.0.0.1,1;Database=d;Password={SECRET}"), 11),
    ] {
        for form in ["table", "json"] {
            let mut command = world.bare();
            let _ = command.args(["--store", &store, "map", "list", "-o", form]);
            kept(command, code);
        }
    }
}

/// Both a login of its own and one in the connection string.
#[test]
fn by_no_way_to_give_it() {
    let world = World::empty();
    let store = format!("sqlserver:Server=tcp:{};Database=d;Encrypt=true", closed());
    let file = world.write("password.txt", &format!("{SECRET}\nmore\n"));
    let mut command = world.bare();
    let _ = command.env("THE_PASSWORD", SECRET);
    let _ = command.args(["--store", &store, "--user", "u", "--password-env", "THE_PASSWORD", "map", "list"]);
    kept(command, 11);
    let mut command = world.bare();
    let _ = command.args(["--store", &store, "--user", "u", "--password-file", &file, "map", "list"]);
    kept(command, 11);
    let mut command = world.bare();
    let _ = command.args(["--store", &connection_string(), "--user", "u", "--password-file", &file, "map", "list"]);
    let ran = Running::start(command, None).wait();
    assert!(ran.code != Some(0) && !ran.err.contains(SECRET), "{ran:?}");
    let text = format!("default = \"a\"\n[profiles.a]\nstore = \"{}\"\n", connection_string());
    let config = world.write("config.toml", &text);
    let mut command = world.bare();
    let _ = command.args(["--config", &config, "map", "list"]);
    kept(command, 11);
    // The line with it is where the file breaks.
    for broken in [
        text.replace("store =", "stores ="),
        text.replace("sqlserver:", "sqlserver:\" x \""),
        text.replace("\"\n", "\n"),
    ] {
        let config = world.write("config.toml", &broken);
        let mut command = world.bare();
        let _ = command.args(["--config", &config, "map", "list"]);
        kept(command, 5);
    }
}
