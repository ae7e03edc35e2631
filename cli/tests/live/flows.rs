//! What administrators do from beginning to end, with a login that the connection string does not hold.

use std::fmt::Write;
use std::process::Command;

use tempfile::TempDir;

use crate::running::{Ran, Running};
use crate::server::{Databases, address, connection_string, host};

trials! {
    flows {
        from_the_first_store_to_none,
        an_import,
        ways_to_log_in,
        logins_that_are_refused,
        databases_that_are_not_there,
    }
}

/// Databases of a test's own, and a directory.
struct World {
    databases: Databases,
    directory: TempDir,
}

/// The value of the first of these keys in the connection string that is given.
fn part(names: &[&str]) -> String {
    let address = address().unwrap();
    let value = address.split(';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        names.contains(&key.trim().to_lowercase().as_str()).then(|| value.trim().to_owned())
    });
    value.unwrap_or_else(|| panic!("SHARDLET_TEST_SQLSERVER has none of {names:?}"))
}

fn user() -> String {
    part(&["user id", "uid", "user"])
}

fn password() -> String {
    part(&["password", "pwd"])
}

/// The store of a database, without a login.
fn store(database: &str) -> String {
    let whole = connection_string(database);
    let login = ["user id", "uid", "user", "password", "pwd"];
    let others = whole.split(';').filter(|pair| {
        let key = pair.split('=').next().unwrap_or_default().trim().to_lowercase();
        !key.is_empty() && !login.contains(&key.as_str())
    });
    format!("sqlserver:{}", others.collect::<Vec<_>>().join(";"))
}

impl World {
    async fn new(shards: usize) -> Self {
        Self { databases: Databases::create(shards).await, directory: TempDir::new().unwrap() }
    }

    /// The place of a shard as people write it.
    fn shard(&self, number: usize) -> String {
        let (host, port) = host();
        format!("{host},{port}/{}", self.databases.shard(number))
    }

    /// The binary, without a store and a login.
    fn bare(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shardlet"));
        for variable in ["SHARDLET_STORE", "SHARDLET_PROFILE", "SHARDLET_CONFIG"] {
            let _ = command.env_remove(variable);
        }
        let _ = command.env("HOME", self.directory.path()).env("XDG_CONFIG_HOME", self.directory.path());
        command
    }

    /// Runs words, of which `A` and `B` are the first two shards.
    fn run(&self, words: &str) -> Ran {
        let mut command = self.bare();
        let _ = command.env("THE_PASSWORD", password()).env("SHARDLET_STORE", store(&self.databases.global()));
        let _ = command.args(["--user", &user(), "--password-env", "THE_PASSWORD"]);
        let _ = command.args(words.split_whitespace().map(|word| match word {
            "A" => self.shard(0),
            "B" => self.shard(1),
            word => word.to_owned(),
        }));
        finish(command)
    }
}

/// Runs it to its end, and asserts that the password was not printed.
fn finish(command: Command) -> Ran {
    let ran = Running::start(command, None).wait();
    let password = password();
    assert!(!ran.out.contains(&password) && !ran.err.contains(&password), "{ran:?}");
    ran
}

async fn from_the_first_store_to_none() {
    let world = World::new(2).await;
    let _ = world.run("map list").exits(3);
    let _ = world.run("store create").ok();
    let _ = world.run("store create").exits(4);
    let _ = world.run("map create orders --kind range --key-type int64").ok();
    for shard in ["A", "B"] {
        let _ = world.run(&format!("shard add orders {shard}")).exits(16);
        let _ = world.run(&format!("shard add orders {shard} --yes")).ok().says("reached");
    }
    let _ = world.run("mapping add orders 0..100 --shard A").ok();
    let _ = world.run("mapping add orders 50..60 --shard B").exits(4);
    let halves = world.run("mapping split orders 50 -o json").ok().json();
    assert_eq!(halves.as_array().unwrap().len(), 2);
    let plan = world.run("mapping move orders 50..100 --to B --dry-run -o json").ok().json();
    assert!(plan.as_array().unwrap().len() > 2, "{plan}");
    let moved = world.run("mapping move orders 50..100 --to B --yes -o json").ok().json();
    assert_eq!((&moved["shard"], &moved["status"]), (&world.shard(1).into(), &"offline".into()));
    let routes = world.run("route orders 5 75 -o json").exits(1).json();
    assert_eq!((&routes[0]["valid"], &routes[1]["fault"]), (&true.into(), &"offline".into()), "{routes}");
    let _ = world.run("mapping online orders 75").ok();
    let routes = world.run("route orders 5 75 6 -o json").ok().json();
    assert_eq!((&routes[1]["shard"], &routes[2]["source"]), (&world.shard(1).into(), &"cache".into()), "{routes}");
    let _ = world.run("mapping offline orders 75 --drain 1 --yes").ok();
    let _ = world.run("mapping delete orders 75 --yes").ok();
    let _ = world.run("mapping lookup orders 75").exits(3);
    let locked = world.run("mapping lock orders 5 -o json").ok().json();
    let token = locked["lock_owner"].as_str().unwrap();
    let _ = world.run("mapping offline orders 5 --yes").exits(7);
    let _ = world.run(&format!("mapping offline orders 5 --yes --lock-token {token}")).ok();
    let _ = world.run(&format!("mapping unlock orders --token {token}")).ok();
    let _ = world.run("schema set orders --sharded orders=id --reference countries").ok();
    assert_eq!(world.run("schema show orders -o json").ok().json()[0]["table"], "orders");
    let shown = world.run("store show -o json").ok().json();
    assert_eq!((&shown["maps"], &shown["shards"], &shown["mappings"]), (&1.into(), &2.into(), &1.into()));
    assert_eq!(shown["unfinished_operations"], 0);
    let place = shown["store"].as_str().unwrap();
    assert!(place.starts_with("SQL Server, ") && place.ends_with(&format!("/{}", world.databases.global())), "{place}");
    let _ = world.run("store upgrade --yes").exits(17);
    let _ = world.run("store check").ok();
    let _ = world.run("recovery detect").ok();
    let health = world.run("doctor -o json").ok().json();
    assert!(health.as_array().unwrap().iter().all(|row| row["healthy"] == true && row["rights"] == "all"), "{health}");
    // A shard that the global store forgets, and gets back from its own store.
    let _ = world.run("recovery detach orders A --yes").ok().says("STILL ANSWERS");
    let _ = world.run("recovery detect A").exits(1);
    let _ = world.run("recovery attach orders A").ok();
    let _ = world.run("recovery resolve A --keep local --yes").ok();
    let _ = world.run("doctor").ok();
    let _ = world.run("shard delete orders A --yes").exits(6);
    let _ = world.run("shard update orders B --disable").ok();
    let _ = world.run("mapping add orders 200..300 --shard B").exits(6);
    let _ = world.run("shard delete orders B --yes").ok();
    let _ = world.run("mapping delete orders 5 --yes").ok();
    let _ = world.run("shard delete orders A --yes").ok();
    let _ = world.run("map delete orders --yes").ok();
    let _ = world.run("store drop --yes").ok();
    let _ = world.run("store drop --yes").exits(17);
    let _ = world.run("map list").exits(3);
}

async fn an_import() {
    let world = World::new(2).await;
    let _ = world.run("store create").ok();
    let _ = world.run("map create m --kind list --key-type guid").ok();
    let _ = world.run("shard add m A --yes").ok();
    let _ = world.run("shard add m B --yes").ok();
    let mut text = "key,shard,status\n".to_owned();
    for number in 0..1_200 {
        let (shard, status) = (world.shard(number % 2), if number % 7 == 0 { "offline" } else { "online" });
        writeln!(text, "00000000-0000-0000-0000-{number:012},\"{shard}\",{status}").unwrap();
    }
    let file = world.directory.path().join("rows.csv");
    std::fs::write(&file, &text).unwrap();
    let import = format!("mapping import m {} -o json", file.display());
    assert_eq!(world.run(&import).ok().json()["created"], 1_200);
    let _ = world.run(&import).exits(5);
    let _ = world.run(&format!("{import} --skip-existing")).exits(17);
    assert_eq!(world.run("mapping list m --offline -o json").ok().json().as_array().unwrap().len(), 172);
    assert_eq!(world.run("mapping list m --shard A -o json").ok().json().as_array().unwrap().len(), 600);
}

async fn ways_to_log_in() {
    let world = World::new(0).await;
    let _ = world.run("store create").ok();
    let list = |command: &mut Command| finish(std::mem::replace(command.args(["map", "list"]), Command::new("")));
    // In the connection string.
    let whole = format!("sqlserver:{}", connection_string(&world.databases.global()));
    let _ = list(world.bare().args(["--store", &whole])).ok();
    let _ = list(world.bare().env("SHARDLET_STORE", &whole)).ok();
    // In a file.
    let file = world.directory.path().join("password");
    std::fs::write(&file, format!("{}\n", password())).unwrap();
    let path = file.to_str().unwrap();
    let store = store(&world.databases.global());
    let _ = list(world.bare().args(["--store", &store, "--user", &user(), "--password-file", path])).ok();
    // In a profile, with the file beside it.
    let config = world.directory.path().join("shardlet/config.toml");
    std::fs::create_dir_all(config.parent().unwrap()).unwrap();
    let user = user();
    let profile = format!("[profiles.p]\nstore = \"{store}\"\nuser = \"{user}\"\npassword-file = \"../password\"\n");
    std::fs::write(&config, profile).unwrap();
    let _ = list(world.bare().args(["--profile", "p"])).ok();
}

async fn logins_that_are_refused() {
    let world = World::new(0).await;
    let _ = world.run("store create").ok();
    let mut command = world.bare();
    let _ = command.env("THE_PASSWORD", "Not-the-passw0rd").args(["--store", &store(&world.databases.global())]);
    let _ = command.args(["--user", &user(), "--password-env", "THE_PASSWORD", "map", "list", "-o", "json"]);
    let ran = finish(command).exits(12);
    assert_eq!(ran.error()["kind"], "credentials");
    assert!(!ran.err.contains("Not-the-passw0rd"), "{ran:?}");
}

async fn databases_that_are_not_there() {
    let world = World::new(1).await;
    let _ = world.run("store create").ok();
    let _ = world.run("map create m --kind list --key-type int32").ok();
    let (host, port) = host();
    // The server does not always tell one that is not there from one that may not be opened.
    let ran = world.run(&format!("shard add m {host},{port}/shardlet_not_there --yes"));
    assert!(matches!(ran.code, Some(11 | 12)), "{ran:?}");
    let ran = world.run(&format!("shard add m {host},1/{} --yes", world.databases.shard(0))).exits(11);
    assert!(ran.err.contains("error: "), "{ran:?}");
    assert_eq!(world.run("shard list m -o json").ok().json(), serde_json::json!([]));
}
