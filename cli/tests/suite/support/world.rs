//! A directory of a test's own, with stores in it as a test wants them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use shardlet::rusqlite::Connection;
use shardlet::{Options, ShardMapManager, Sqlite};
use tempfile::TempDir;

use super::content::content;
use super::{Ran, Running};

/// A key, and other GUIDs that tests need.
pub const GUID: &str = "6f9619ff-8b86-d011-b42d-00c04fc964ff";

/// The variables that change what the binary does.
const VARIABLES: [&str; 3] = ["SHARDLET_STORE", "SHARDLET_PROFILE", "SHARDLET_CONFIG"];

/// A directory with a store `data` in it, or none.
pub struct World {
    directory: TempDir,
}

/// Waits for a future of the library.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

impl World {
    /// Without a store.
    pub fn empty() -> Self {
        Self { directory: TempDir::new().unwrap() }
    }

    /// With an empty store.
    pub fn new() -> Self {
        let world = Self::empty();
        let _ = world.run(&["store", "create"]).ok();
        world
    }

    /// With a map of this kind and type of keys, and two shards `s/a` and `s/b`.
    pub fn with_map(kind: &str, key_type: &str) -> Self {
        let world = Self::new();
        world.add_map("m", kind, key_type);
        world
    }

    /// With what the goldens show: the range map `orders` with four mappings, one of them offline and one locked, the list map
    /// `tenants` with two, shards `s/a` and `s/b` of both and a disabled one `s/c` of `orders`, and schema information.
    pub fn filled() -> Self {
        static TEMPLATE: OnceLock<World> = OnceLock::new();
        let template = TEMPLATE.get_or_init(|| {
            let world = Self::new();
            world.add_map("orders", "range", "int64");
            world.add_map("tenants", "list", "guid");
            world.add_shard("orders", "s/c");
            let runs = [
                "shard update orders s/c --disable",
                "mapping add orders ..-100 --shard s/b --offline",
                "mapping add orders 0..100 --shard s/a",
                "mapping add orders 100..200 --shard s/a",
                "mapping add orders 300.. --shard s/b",
                "mapping lock orders 300.. --token 11111111-2222-3333-4444-555555555555",
                "mapping add tenants 6f9619ff-8b86-d011-b42d-00c04fc964ff --shard s/a",
                "mapping add tenants 00000000-0000-0000-0000-000000000001 --shard s/b --offline",
                "schema set orders --sharded orders=id --sharded sales.lines=order_id --reference countries",
            ];
            for run in runs {
                let _ = world.run_words(run).ok();
            }
            world
        });
        let copy = Self::empty();
        copy_directory(&template.store(), &copy.store());
        copy
    }

    /// Adds a map with shards `s/a` and `s/b`.
    pub fn add_map(&self, name: &str, kind: &str, key_type: &str) {
        let _ = self.run(&["map", "create", name, "--kind", kind, "--key-type", key_type]).ok();
        self.add_shard(name, "s/a");
        self.add_shard(name, "s/b");
    }

    /// Adds a shard, whose database is made where there is none.
    pub fn add_shard(&self, map: &str, shard: &str) {
        let _ = self.run(&["shard", "add", map, shard, "--yes"]).ok();
    }

    /// Where everything is that a test writes.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The directory of the store.
    pub fn store(&self) -> PathBuf {
        self.path().join("data")
    }

    /// Writes a file, and says where.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The binary, without a store.
    pub fn bare(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shardlet"));
        for variable in VARIABLES {
            let _ = command.env_remove(variable);
        }
        let _ = command.env("HOME", self.path()).env("XDG_CONFIG_HOME", self.path().join("config"));
        let _ = command.env("APPDATA", self.path().join("config")).env("COLUMNS", "120").current_dir(self.path());
        command
    }

    /// The binary on the store.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.bare();
        let _ = command.env("SHARDLET_STORE", format!("sqlite:{}", self.store().display())).args(arguments);
        command
    }

    pub fn start(&self, arguments: &[&str]) -> Running {
        Running::start(self.command(arguments), None)
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.start(arguments).wait()
    }

    /// Runs arguments that hold no spaces.
    pub fn run_words(&self, arguments: &str) -> Ran {
        self.run(&arguments.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs without a store.
    pub fn run_bare(&self, arguments: &[&str]) -> Ran {
        let mut command = self.bare();
        let _ = command.args(arguments);
        Running::start(command, None).wait()
    }

    /// All that is stored.
    pub fn content(&self) -> BTreeMap<String, Vec<String>> {
        content(&self.store())
    }

    /// How many rows a table of the global store has.
    pub fn rows(&self, table: &str) -> usize {
        let count = format!("SELECT count(*) FROM \"__ShardManagement.{table}\"");
        let count: i64 = self.raw(None).query_row(&count, [], |row| row.get(0)).unwrap();
        usize::try_from(count).unwrap()
    }

    /// Makes the store of a shard `s/NAME`, or the global store, one of version 1.1.
    pub fn make_older(&self, shard: Option<&str>) {
        let kind = if shard.is_some() { "Local" } else { "Global" };
        let older = format!("UPDATE \"__ShardManagement.ShardMapManager{kind}\" SET \"StoreVersionMinor\" = 1");
        self.raw(shard).execute_batch(&older).unwrap();
    }

    /// Keeps others from writing to the database of a shard `s/NAME`, until the connection is closed.
    pub fn hold(&self, shard: &str) -> Connection {
        let connection = self.raw(Some(shard));
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        connection
    }

    /// Asserts that global store and shards agree, and that nothing is unfinished.
    #[track_caller]
    pub fn agrees(&self) {
        block_on(async {
            let manager = self.manager().await;
            assert!(manager.pending_operations().await.unwrap().is_empty());
            for location in manager.shard_locations().await.unwrap() {
                for found in manager.recovery().detect(&location).await.unwrap() {
                    assert!(found.is_empty(), "{location}: {found:?}");
                }
            }
        });
    }

    /// The library on the store.
    async fn manager(&self) -> ShardMapManager<Sqlite> {
        ShardMapManager::open(Sqlite::open(self.store()).unwrap(), Options::default()).await.unwrap()
    }

    /// A connection past the library to the database of a shard `s/NAME`, or the global store without one.
    pub fn raw(&self, shard: Option<&str>) -> Connection {
        let connection = Connection::open(self.file(shard)).unwrap();
        let compare = |a: &str, b: &str| a.to_lowercase().cmp(&b.to_lowercase());
        connection.create_collation("SQL_Latin1_General_CP1_CI_AS", compare).unwrap();
        connection
    }

    /// The file of the database of a shard `s/NAME`, or of the global store.
    pub fn file(&self, shard: Option<&str>) -> PathBuf {
        self.store().join(shard.map_or_else(|| "gsm.db".to_owned(), |name| format!("shards/s/{name}.db")))
    }
}

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            let _ = std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
