//! Stores in directories that are copied for each fault.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use shardlet::{Sqlite, Timeouts};
use tokio::runtime::{Builder, Runtime};

use crate::support::contents::{global_file, raw};
use crate::support::quick;

pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// A client of a directory. A lock that a dead process had kept would fail the test in seconds.
pub fn stores(directory: &Path) -> Sqlite {
    let timeouts = Timeouts::default().operation_lock(Duration::from_secs(5));
    Sqlite::open_with(directory, quick().timeouts(timeouts)).unwrap()
}

/// Copies a directory with all that is in it.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            let _ = fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Fails if a row of the global store is stamped or not readable, or a lock is held.
pub fn assert_clean(directory: &Path, about: &str) {
    let store = raw(&global_file(directory));
    for table in ["ShardsGlobal", "ShardMappingsGlobal"] {
        let stamped = format!(
            r#"SELECT COUNT(*) FROM "__ShardManagement.{table}" WHERE "OperationId" IS NOT NULL OR "Readable" <> 1"#
        );
        let stamped: i64 = store.query_row(&stamped, [], |row| row.get(0)).unwrap();
        assert_eq!(stamped, 0, "{about}: rows of {table} that are still stamped");
    }
    for file in fs::read_dir(directory.join("locks")).into_iter().flatten() {
        // Whoever has just given a lock back removes its file in the background.
        match File::open(file.unwrap().path()) {
            Ok(file) => file.lock().unwrap(),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{about}"),
        }
    }
}
