//! Places where no store can be made, read or written: paths that are something else, and missing rights.

use std::path::{Path, PathBuf};
use std::process::Command;

use shardlet::{
    CreateMode, Error, ErrorCode, ErrorKind, LoadPolicy, NoCredentials, Options, Place, ShardLocation, ShardMapManager,
    Sqlite, Validation,
};

use super::refused;
use crate::support::contents::{global_file, rows, shard_file};
use crate::support::{directory, location, quick, shards, sqlite};

async fn every_way_to_open(place: &Path) -> Vec<(&'static str, Option<Error>)> {
    let backend = || Sqlite::open_with(place, quick()).unwrap();
    let eager = Options::default().load_policy(LoadPolicy::Eager);
    let lazy = Options::default;
    vec![
        ("try_open", ShardMapManager::try_open(backend(), lazy()).await.err()),
        ("open", ShardMapManager::open(backend(), lazy()).await.err()),
        ("open eager", ShardMapManager::open(backend(), eager).await.err()),
        ("open_or_create", ShardMapManager::open_or_create(backend(), lazy()).await.err()),
        ("create", ShardMapManager::create(backend(), CreateMode::Keep, lazy()).await.err()),
        ("replace", ShardMapManager::create(backend(), CreateMode::Replace, lazy()).await.err()),
    ]
}

#[track_caller]
fn unavailable(error: &Error, place: &Place, case: &str) {
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{case}: {error:?}");
    assert_eq!(error.place(), Some(place), "{case}: {error:?}");
}

#[tokio::test]
async fn a_path_that_is_a_file() {
    let directory = directory();
    let file = directory.path().join("a file");
    std::fs::write(&file, "text").unwrap();
    for place in [file.clone(), file.join("below")] {
        for (way, error) in every_way_to_open(&place).await {
            let case = format!("{way} {}", place.display());
            unavailable(&error.unwrap_or_else(|| panic!("{case} succeeded")), &Place::Global, &case);
        }
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"text");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_directory_in_the_place_of_a_database() {
    let directory = directory();
    std::fs::create_dir(global_file(directory.path())).unwrap();
    for (way, error) in every_way_to_open(directory.path()).await {
        unavailable(&error.unwrap_or_else(|| panic!("{way} succeeded")), &Place::Global, way);
    }
    std::fs::remove_dir(global_file(directory.path())).unwrap();
    let manager = ShardMapManager::open_or_create(sqlite(&directory), Options::default()).await.unwrap();
    let map = manager.create_list_shard_map::<i32>("m").await.unwrap();
    std::fs::create_dir_all(shard_file(directory.path(), 0)).unwrap();
    let before = rows_but(&directory, 0);
    let error = map.create_shard(&location(0)).await.unwrap_err();
    unavailable(&error, &Place::Shard(location(0)), "a shard");
    assert_eq!(rows_but(&directory, 0), before);
    std::fs::remove_dir(shard_file(directory.path(), 0)).unwrap();
    let _ = map.create_shard(&location(0)).await.unwrap();
}

/// The rows of the global store; the numbered shard's file cannot be read.
fn rows_but(directory: &tempfile::TempDir, number: usize) -> Vec<(PathBuf, Vec<String>)> {
    let left_out = shard_file(directory.path(), number);
    let hidden = left_out.with_extension("hidden");
    let exists = left_out.exists();
    if exists {
        std::fs::rename(&left_out, &hidden).unwrap();
    }
    let read = rows(directory.path()).into_iter().collect();
    if exists {
        std::fs::rename(&hidden, &left_out).unwrap();
    }
    read
}

#[tokio::test]
async fn a_server_directory_that_is_a_file() {
    let directory = directory();
    let manager = ShardMapManager::open_or_create(sqlite(&directory), Options::default()).await.unwrap();
    let map = manager.create_list_shard_map::<i32>("m").await.unwrap();
    std::fs::create_dir_all(directory.path().join("shards")).unwrap();
    std::fs::write(directory.path().join("shards/server"), "text").unwrap();
    let before = rows(directory.path());
    let error = map.create_shard(&location(0)).await.unwrap_err();
    unavailable(&error, &Place::Shard(location(0)), "a server");
    assert_eq!(rows(directory.path()), before, "nothing is left in the global store");
    let _ = map.create_shard(&ShardLocation::new("another", "d")).await.expect("other servers are not concerned");
}

#[tokio::test]
async fn a_missing_directory_is_made_only_for_a_store() {
    let parent = directory();
    let place = parent.path().join("a/b/c");
    let backend = || Sqlite::open_with(&place, quick()).unwrap();
    assert!(ShardMapManager::try_open(backend(), Options::default()).await.unwrap().is_none());
    let opened = ShardMapManager::open(backend(), Options::default()).await;
    let _ = refused(opened, ErrorKind::NotFound, ErrorCode::ShardMapManagerStoreDoesNotExist, "open");
    assert!(!parent.path().join("a").exists());
    let _ = ShardMapManager::create(backend(), CreateMode::Keep, Options::default()).await.unwrap();
    assert!(global_file(&place).is_file());
    let empty = Sqlite::open("").map(|_| ());
    let _ = refused(empty, ErrorKind::InvalidInput, ErrorCode::InvalidArgument, "an empty path");
}

#[tokio::test]
async fn a_store_that_vanishes() {
    let directory = directory();
    let manager = ShardMapManager::open_or_create(sqlite(&directory), Options::default()).await.unwrap();
    let map = manager.create_list_shard_map::<i32>("m").await.unwrap();
    let on = shards(&map, 2).await;
    for (key, shard) in [(1, 0), (2, 1)] {
        let _ = map.create_mapping(key, &on[shard]).await.unwrap();
    }
    let open = |key| {
        let map = map.clone();
        async move { map.open_connection_for_key(&key, &NoCredentials, Validation::Validate).await.map(drop) }
    };
    open(1).await.unwrap();
    open(2).await.unwrap();
    // A shard first: its own keys fail, others do not, and the global store does not change.
    std::fs::remove_file(shard_file(directory.path(), 0)).unwrap();
    let before = rows(directory.path());
    let lost = Place::Shard(location(0));
    unavailable(&open(1).await.unwrap_err(), &lost, "open");
    let mapping = map.mapping_for_key(&1).await.unwrap();
    unavailable(&map.mark_mapping_offline(mapping).await.unwrap_err(), &lost, "offline");
    let shard = map.shard(&location(0)).await.unwrap();
    unavailable(&map.create_mapping(3, &shard).await.unwrap_err(), &lost, "create");
    open(2).await.unwrap();
    assert_eq!(rows(directory.path()), before);
    assert!(!shard_file(directory.path(), 0).exists(), "a lost shard is not made anew without its data");
    // Then the global store: what is cached is routed all the same.
    std::fs::remove_file(global_file(directory.path())).unwrap();
    open(2).await.expect("routed from the cache");
    unavailable(&map.mapping_for_key(&2).await.unwrap_err(), &Place::Global, "find");
    unavailable(&manager.shard_maps().await.unwrap_err(), &Place::Global, "maps");
    assert!(!global_file(directory.path()).exists());
}

/// Names the place to the child process that has no rights there.
#[cfg(unix)]
const WITHOUT_RIGHTS: &str = "SHARDLET_TEST_WITHOUT_RIGHTS";

/// Runs itself again in a child, as the user `nobody` if this is root, whom no permission bit stops.
#[cfg(unix)]
#[test]
fn a_place_that_may_not_be_written() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;

    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    if let Some(place) = std::env::var_os(WITHOUT_RIGHTS) {
        runtime().block_on(use_without_rights(Path::new(&place)));
        return;
    }
    let parent = directory();
    let allow = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    runtime().block_on(async {
        let manager = ShardMapManager::open_or_create(sqlite(&parent), Options::default()).await.unwrap();
        let map = manager.create_list_shard_map::<i32>("m").await.unwrap();
        let on = shards(&map, 1).await;
        let _ = map.create_mapping(1, &on[0]).await.unwrap();
        let _ = manager.create_list_shard_map::<i32>("empty").await.unwrap();
    });
    for file in [global_file(parent.path()), shard_file(parent.path(), 0)] {
        crate::support::contents::raw(&file).execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    }
    let store = std::fs::read(global_file(parent.path())).unwrap();
    // (directory, rights on it, rights on the store in it)
    let places = [
        ("empty", 0o555, None),
        ("read_only_directory", 0o555, Some(0o444)),
        ("read_only_file", 0o777, Some(0o444)),
        ("unreadable_file", 0o777, Some(0o000)),
    ];
    for (name, directory_mode, file_mode) in places {
        let place = parent.path().join(name);
        std::fs::create_dir(&place).unwrap();
        if let Some(mode) = file_mode {
            std::fs::write(global_file(&place), &store).unwrap();
            allow(&global_file(&place), mode);
        }
        allow(&place, directory_mode);
    }
    allow(parent.path(), 0o755);

    let program = if cfg!(target_os = "linux") { "/proc/self/exe".into() } else { std::env::current_exe().unwrap() };
    let mut child = Command::new(program);
    let test = "scenarios::unusable_places::a_place_that_may_not_be_written";
    let _ = child.args(["--exact", test]).env(WITHOUT_RIGHTS, parent.path());
    if parent.path().metadata().unwrap().uid() == 0 {
        let _ = child.uid(65534).gid(65534);
    }
    let output = child.output().unwrap();
    for (name, _, _) in places {
        allow(&parent.path().join(name), 0o755);
    }
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for (name, _, mode) in places {
        let file = global_file(&parent.path().join(name));
        assert_eq!(file.exists(), mode.is_some(), "{name}");
        if mode.is_some() {
            allow(&file, 0o644);
            assert_eq!(std::fs::read(&file).unwrap(), store, "{name}: changed");
        }
    }
}

#[cfg(unix)]
async fn use_without_rights(parent: &Path) {
    let empty = parent.join("empty");
    let backend = || Sqlite::open_with(&empty, quick()).unwrap();
    assert!(ShardMapManager::try_open(backend(), Options::default()).await.unwrap().is_none());
    for mode in [CreateMode::Keep, CreateMode::Replace] {
        let error = ShardMapManager::create(backend(), mode, Options::default()).await.unwrap_err();
        unavailable(&error, &Place::Global, &format!("{mode:?} in an empty directory"));
    }
    for place in ["read_only_directory", "unreadable_file"] {
        for (way, error) in every_way_to_open(&parent.join(place)).await {
            let case = format!("{way} {place}");
            unavailable(&error.unwrap_or_else(|| panic!("{case} succeeded")), &Place::Global, &case);
        }
    }
    // A store that can be read: all but changes work.
    let backend = Sqlite::open_with(parent.join("read_only_file"), quick()).unwrap();
    let manager = ShardMapManager::open(backend.clone(), Options::default()).await.unwrap();
    let map = manager.list_shard_map::<i32>("m").await.unwrap();
    let mapping = map.mapping_for_key(&1).await.unwrap();
    let shard = map.shard(&location(0)).await.unwrap();
    for (case, error) in [
        ("create map", manager.create_list_shard_map::<i32>("n").await.err()),
        ("delete map", manager.delete_shard_map("empty").await.err()),
        ("create mapping", map.create_mapping(2, &shard).await.err()),
        ("offline", map.mark_mapping_offline(mapping.clone()).await.err()),
        ("lock", map.lock_mapping(mapping, shardlet::LockToken::random()).await.err()),
        ("create shard", map.create_shard(&location(1)).await.err()),
        ("update shard", map.update_shard(shard, shardlet::ShardStatus::Offline).await.err()),
        ("replace", ShardMapManager::create(backend, CreateMode::Replace, Options::default()).await.err()),
    ] {
        unavailable(&error.unwrap_or_else(|| panic!("{case} succeeded")), &Place::Global, case);
    }
    assert_eq!(map.mappings().await.unwrap().len(), 1);
}
