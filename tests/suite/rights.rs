//! What a process may do at stores in files, and that it is so.

use std::path::Path;

use shardlet::gsm::GlobalStore;
use shardlet::lsm::LocalStore;
use shardlet::{Options, ShardMapManager, Sqlite, StoreRights};

use crate::support::{directory, location};

#[tokio::test]
async fn everything_is_allowed_in_memory_and_in_a_directory_of_ones_own() {
    let directory = directory();
    let below = directory.path().join("not").join("there");
    for store in [Sqlite::in_memory(), Sqlite::open(&below).unwrap()] {
        assert_eq!(store.global_rights().await.unwrap(), StoreRights::ALL);
        assert_eq!(store.local_rights(&location(0)).await.unwrap(), StoreRights::ALL);
        assert!(!directory.path().join("not").exists(), "nothing was made");
        let manager = ShardMapManager::open_or_create(store.clone(), Options::default()).await.unwrap();
        let map = manager.create_range_shard_map::<i64>("orders").await.unwrap();
        let _ = map.create_shard(&location(0)).await.unwrap();
        assert_eq!(store.global_rights().await.unwrap(), StoreRights::ALL);
        assert_eq!(store.local_rights(&location(0)).await.unwrap(), StoreRights::ALL);
        drop((map, manager));
        let _ = std::fs::remove_dir_all(directory.path().join("not"));
    }
}

#[tokio::test]
async fn what_is_in_the_place_of_a_file_or_a_directory_allows_nothing() {
    let mut nothing = StoreRights::NONE;
    nothing.ends_sessions = true;
    let directory = directory();
    std::fs::create_dir(directory.path().join("gsm.db")).unwrap();
    std::fs::write(directory.path().join("shards"), "").unwrap();
    let store = Sqlite::open(directory.path()).unwrap();
    assert_eq!(store.global_rights().await.unwrap(), nothing);
    assert_eq!(store.local_rights(&location(0)).await.unwrap(), nothing);
    let in_a_file = Sqlite::open(directory.path().join("shards")).unwrap();
    assert_eq!(in_a_file.global_rights().await.unwrap(), nothing);
}

/// Permissions of files mean nothing to root, so a child asks, and then tries, which is somebody else where we are root.
#[cfg(unix)]
mod by_permissions {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;
    use std::path::PathBuf;
    use std::process::Command;

    use super::*;
    use crate::support::contents::closed;

    const DIRECTORY: &str = "SHARDLET_TEST_RIGHTS_OF";
    /// The user `nobody` of most systems; any but root does.
    const SOMEBODY: u32 = 65_534;

    fn set(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// This program. Where there is such a link it is used, because the child may not be allowed to go where the program is.
    fn program() -> PathBuf {
        let link = PathBuf::from("/proc/self/exe");
        if link.exists() { link } else { std::env::current_exe().unwrap() }
    }

    /// What the child says of a directory: what it is told, and what works.
    fn asked(directory: &Path) -> String {
        let mut child = Command::new(program());
        let _ = child
            .args(["--ignored", "--exact", "rights::by_permissions::child", "--nocapture"])
            .env(DIRECTORY, directory)
            .current_dir("/");
        if std::fs::metadata(directory).unwrap().uid() == 0 {
            let _ = child.uid(SOMEBODY).gid(SOMEBODY);
        }
        let output = child.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let output = String::from_utf8(output.stdout).unwrap();
        let said = output.lines().find_map(|line| line.split_once("@@ ")).unwrap_or_else(|| panic!("{output}"));
        said.1.to_owned()
    }

    #[tokio::test]
    #[ignore = "child process of the other test in this file"]
    async fn child() {
        let Ok(directory) = std::env::var(DIRECTORY) else { return };
        let store = Sqlite::open(directory).unwrap();
        let rights = store.global_rights().await.unwrap();
        let told = [rights.reads, rights.changes, rights.installs];
        let there = store.global_version().await.is_ok_and(|version| version.is_some());
        let manager = match there {
            true => ShardMapManager::open(store, Options::default()).await,
            false => ShardMapManager::open_or_create(store, Options::default()).await,
        };
        let works = match manager {
            Err(_) => [false; 2],
            Ok(manager) => {
                [manager.shard_maps().await.is_ok(), manager.create_list_shard_map::<i32>("mine").await.is_ok()]
            }
        };
        println!("\n@@ {told:?} {works:?}");
    }

    #[tokio::test]
    async fn what_is_told_is_what_works() {
        for (of_directory, of_file, told, works) in [
            (0o777, None, [true; 3], [true; 2]),
            (0o555, None, [false; 3], [false; 2]),
            (0o777, Some(0o666), [true; 3], [true; 2]),
            (0o777, Some(0o444), [true, false, false], [true, false]),
            (0o777, Some(0o000), [false; 3], [false; 2]),
            (0o555, Some(0o666), [false; 3], [false; 2]),
        ] {
            let directory = directory();
            if let Some(mode) = of_file {
                let store = Sqlite::open(directory.path()).unwrap();
                drop(ShardMapManager::open_or_create(store, Options::default()).await.unwrap());
                let file = directory.path().join("gsm.db");
                closed(&file).await;
                set(&file, mode);
            }
            set(directory.path(), of_directory);
            let said = asked(directory.path());
            set(directory.path(), 0o777);
            assert_eq!(said, format!("{told:?} {works:?}"), "{of_directory:o}, {of_file:?}");
        }
    }
}
