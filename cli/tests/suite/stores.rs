//! Which store a command works on: what is given on the command line, in the environment, in a file of profiles.

use std::process::Command;

use crate::exit_codes::closed;
use crate::support::{Ran, Running, World};

/// Stores `one` and `two`, each with a map of its own name.
fn two_stores() -> World {
    let world = World::empty();
    for name in ["one", "two"] {
        let store = format!("sqlite:{}", world.path().join(name).display());
        let _ = world.run_bare(&["--store", &store, "store", "create"]).ok();
        let _ =
            world.run_bare(&["--store", &store, "map", "create", name, "--kind", "list", "--key-type", "guid"]).ok();
    }
    world
}

const CONFIG: &str = r#"
default = "first"

[profiles.first]
store = "sqlite:../../one"

[profiles.second]
store = "sqlite:../../two"
"#;

fn configured() -> World {
    let world = two_stores();
    let _ = world.write("config/shardlet/config.toml", CONFIG);
    world
}

fn run(mut command: Command) -> Ran {
    let _ = command.args(["map", "list", "-o", "csv"]);
    Running::start(command, None).wait()
}

/// The name of the one map of the store that a command found.
#[track_caller]
fn found(world: &World, variables: &[(&str, &str)], arguments: &[&str]) -> String {
    let ran = run(prepared(world, variables, arguments)).ok();
    let row = ran.out.lines().nth(1).unwrap();
    row.split(',').next().unwrap().to_owned()
}

fn prepared(world: &World, variables: &[(&str, &str)], arguments: &[&str]) -> Command {
    let mut command = world.bare();
    let _ = command.envs(variables.iter().copied()).args(arguments);
    command
}

#[test]
fn by_argument_or_environment() {
    let world = two_stores();
    assert_eq!(found(&world, &[], &["--store", "sqlite:one"]), "one");
    assert_eq!(found(&world, &[("SHARDLET_STORE", "sqlite:./one")], &[]), "one");
    assert_eq!(found(&world, &[("SHARDLET_STORE", "sqlite:one")], &["--store", "sqlite:two"]), "two");
    // Behind the verb as well.
    let ran = world.run_bare(&["map", "list", "--store", "sqlite:two", "-o", "csv"]).ok();
    assert!(ran.out.contains("\ntwo,"), "{ran:?}");
}

#[test]
fn by_profile() {
    let world = configured();
    assert_eq!(found(&world, &[], &[]), "one");
    assert_eq!(found(&world, &[], &["--profile", "second"]), "two");
    assert_eq!(found(&world, &[("SHARDLET_PROFILE", "second")], &[]), "two");
    assert_eq!(found(&world, &[("SHARDLET_PROFILE", "second")], &["--profile", "first"]), "one");
    let other = world.write("other/place.toml", "default = \"x\"\n[profiles.x]\nstore = \"sqlite:../two\"\n");
    assert_eq!(found(&world, &[], &["--config", &other]), "two");
    assert_eq!(found(&world, &[("SHARDLET_CONFIG", &other)], &[]), "two");
    assert_eq!(found(&world, &[("SHARDLET_CONFIG", &other)], &["--profile", "x"]), "two");
}

/// The command line counts more than the environment, and a profile that is named more than a store in the environment.
#[test]
fn what_counts_more() {
    let world = configured();
    assert_eq!(found(&world, &[("SHARDLET_STORE", "sqlite:two")], &[]), "two");
    assert_eq!(found(&world, &[("SHARDLET_STORE", "sqlite:one")], &["--profile", "second"]), "two");
    assert_eq!(found(&world, &[("SHARDLET_PROFILE", "first")], &["--store", "sqlite:two"]), "two");
    let both = [("SHARDLET_STORE", "sqlite:one"), ("SHARDLET_PROFILE", "second")];
    assert_eq!(found(&world, &both, &[]), "two");
    // A configuration file that is named, too: who names one means its store, and not another.
    let other = world.write("other.toml", "default = \"x\"\n[profiles.x]\nstore = \"sqlite:two\"\n");
    assert_eq!(found(&world, &[("SHARDLET_STORE", "sqlite:one")], &["--config", &other]), "two");
    let variables = [("SHARDLET_STORE", "sqlite:two"), ("SHARDLET_CONFIG", "nowhere.toml")];
    assert_eq!(found(&world, &variables, &[]), "two");
    assert_eq!(found(&world, &[("SHARDLET_CONFIG", &other)], &["--store", "sqlite:one"]), "one");
    // Behind the verb as well.
    let mut command = prepared(&world, &[("SHARDLET_STORE", "sqlite:one")], &["map", "list", "-o", "csv"]);
    let _ = command.args(["--config", &other]);
    assert!(Running::start(command, None).wait().ok().out.contains("\ntwo,"));
    let mut command = prepared(&world, &[("SHARDLET_PROFILE", "first")], &["map", "list", "-o", "csv"]);
    let _ = command.args(["--store", "sqlite:two"]);
    assert!(Running::start(command, None).wait().ok().out.contains("\ntwo,"));
    let ran = run(prepared(&world, &[], &["--store", "sqlite:two", "--profile", "first"])).exits(2);
    assert!(ran.err.contains("--profile"), "{ran:?}");
}

/// An empty variable is one that is not set.
#[test]
fn what_is_empty_is_not_set() {
    let world = configured();
    let empty = |name| (name, "");
    assert_eq!(found(&world, &[empty("SHARDLET_PROFILE"), ("SHARDLET_STORE", "sqlite:two")], &[]), "two");
    assert_eq!(found(&world, &[empty("SHARDLET_STORE"), empty("SHARDLET_CONFIG")], &[]), "one");
    assert_eq!(found(&world, &[empty("SHARDLET_STORE"), empty("SHARDLET_PROFILE")], &["--profile", "second"]), "two");
    // An empty argument is a mistake, and no default store.
    for (arguments, code) in [(["--store", ""], 2), (["--config", ""], 2), (["--profile", ""], 3)] {
        let _ = run(prepared(&world, &[], &arguments)).exits(code);
    }
}

#[test]
fn none_is_named() {
    let ran = run(World::empty().bare()).exits(2);
    assert!(ran.err.contains("SHARDLET_STORE") && ran.err.contains("--store sqlite:DIRECTORY"), "{ran:?}");
    // A file without a default.
    let world = World::empty();
    let _ = world.write("config/shardlet/config.toml", "[profiles.a]\nstore = \"sqlite:x\"\n");
    let _ = run(world.bare()).exits(2);
}

#[test]
fn stores_that_cannot_be() {
    let world = configured();
    let refused = |variables: &[(&str, &str)], arguments: &[&str], code: i32, text: &str| {
        let ran = run(prepared(&world, variables, arguments)).exits(code);
        assert!(ran.err.contains(text), "{arguments:?}: {ran:?}");
    };
    refused(&[], &["--store", "data"], 2, "sqlite: or sqlserver:");
    refused(&[], &["--store", "mysql:x"], 2, "sqlite: or sqlserver:");
    refused(&[("SHARDLET_STORE", "data")], &[], 2, "sqlite: or sqlserver:");
    refused(&[], &["--store", "sqlserver:"], 5, "");
    refused(&[], &["--store", "sqlserver:Server"], 5, "");
    refused(&[], &["--profile", "third"], 3, "it has: first, second");
    refused(&[], &["--config", "nowhere.toml"], 5, "nowhere.toml");
    let server = "sqlserver:Server=tcp:127.0.0.1,1;Database=d;Encrypt=true";
    refused(&[], &["--store", server, "--user", "u"], 2, "--password-env");
    refused(&[], &["--store", server, "--password-env", "X"], 2, "--user NAME");
    refused(&[], &["--store", server, "--user", "u", "--password-env", "NOT_SET"], 2, "NOT_SET");
    refused(&[], &["--store", server, "--user", "u", "--password-file", "nowhere.txt"], 5, "nowhere.txt");
    // There is nobody to ask.
    if cfg!(unix) {
        let mut command = Command::new("setsid");
        let _ = command.arg(env!("CARGO_BIN_EXE_shardlet"));
        let _ = command.args(["--store", server, "--user", "u", "--password-prompt", "map", "list"]);
        if let Ok(ended) = command.stdin(std::process::Stdio::null()).output() {
            assert_eq!(ended.status.code(), Some(5), "{ended:?}");
        }
    }
    let without = World::empty();
    let ran = run(prepared(&without, &[], &["--profile", "first"])).exits(3);
    assert!(ran.err.contains("there is no profile \"first\"") && ran.err.contains("config.toml"), "{ran:?}");
}

/// A login that is not whole, or of no use.
#[test]
fn logins() {
    let world = World::empty();
    let address = closed();
    let store = |login: &str| format!("sqlserver:Server=tcp:{address};Database=d;{login}");
    let (bare, named) = (store(""), store("User ID=admin"));
    let file = world.write("secret.txt", "hush\n");
    let ended = |store: &str, words: &str, code: i32| {
        let mut arguments = vec!["--store", store];
        arguments.extend(words.split_whitespace());
        let variables = [("HUSH", "hush"), ("NOTHING", "")];
        let ran = run(prepared(&world, &variables, &arguments)).exits(code);
        assert!(!ran.err.contains("hush"), "{ran:?}");
        ran
    };
    // Those that reach for the server, which is not there.
    for words in ["--password-env HUSH", "--user u --password-env HUSH", "--token-env HUSH"] {
        let _ = ended(&named, words, 11);
    }
    for words in ["--password-file", "--user u --password-file", "--token-file"] {
        let _ = ended(&named, &format!("{words} {file}"), 11);
    }
    let _ = ended(&bare, "--token-env HUSH", 11);
    for words in ["--token-env NOTHING", "--user u --password-env NOTHING"] {
        let _ = ended(&bare, words, 2).says("NOTHING");
    }
    let _ = ended(&bare, "--password-env HUSH", 2).says("--user NAME");
    let _ = ended(&bare, "--token-file nowhere.txt", 5).says("nowhere.txt");
    let _ = ended(&store("User ID=admin;Password=hush"), "--password-env HUSH", 2).says("has a password already");
    for words in
        ["--user u --token-env HUSH", "--token-env HUSH --password-env HUSH", "--token-env HUSH --token-file x"]
    {
        let _ = ended(&bare, words, 2);
    }
    for words in ["--user u", "--password-env HUSH", "--password-prompt", "--token-env HUSH", "--token-file x"] {
        let _ = ended("sqlite:data", words, 2).says("sqlite:");
    }
    // In a profile.
    for (login, code) in [
        ("token-env = \"HUSH\"", 11),
        ("token-file = \"secret.txt\"", 11),
        ("token-file = \"nowhere.txt\"", 5),
        ("user = \"u\"\npassword-file = \"secret.txt\"", 11),
        ("user = \"u\"\ntoken-file = \"secret.txt\"", 5),
        ("token-env = \"HUSH\"\npassword-env = \"HUSH\"", 5),
    ] {
        let config =
            world.write("config.toml", &format!("default = \"a\"\n[profiles.a]\nstore = \"{bare}\"\n{login}\n"));
        let _ = run(prepared(&world, &[("HUSH", "hush")], &["--config", &config])).exits(code);
    }
    // The command line counts more: a login in place of a token, and a token in place of a login.
    let config = |login: &str| {
        world.write("config.toml", &format!("default = \"a\"\n[profiles.a]\nstore = \"{bare}\"\n{login}\n"))
    };
    let token = config("token-env = \"NOT_SET\"");
    let arguments = ["--config", &token, "--user", "u", "--password-file", &file];
    let _ = run(prepared(&world, &[], &arguments)).exits(11);
    let password = config("user = \"u\"\npassword-env = \"NOT_SET\"");
    let _ = run(prepared(&world, &[], &["--config", &password, "--token-file", &file])).exits(11);
}

/// A line that is not understood is told by its place.
#[test]
fn files_that_cannot_be_understood() {
    for (text, line) in [
        ("default = \n", 1),
        ("[profiles.a]\nstor = \"sqlite:x\"\n", 2),
        ("default = \"a\"\n[profiles.a]\nuser = \"u\"\n", 2),
        ("default = \"a\"\n\nmore = 1\n", 3),
        ("[profiles.a]\nstore = \"sqlite:x\"\npassword = \"hunter2\"\n", 3),
        ("[profiles.a]\nstore = 5\n", 2),
    ] {
        let world = World::empty();
        let file = world.write("config.toml", text);
        let ran = run(prepared(&world, &[], &["--config", &file, "--profile", "a"])).exits(5);
        assert!(ran.err.contains(&format!("config.toml, line {line}: ")), "{text}: {ran:?}");
        assert!(!ran.err.contains("hunter2"), "{ran:?}");
    }
}
