//! Files that are no stores, full disks, hostile names, and arguments outside what is allowed.

use std::path::Path;

use shardlet::rusqlite::Connection;
use shardlet::{
    CreateMode, EncodedKey, Error, ErrorCode, ErrorKind, KeyRange, LoadPolicy, MappingFilter, NoCredentials, Options,
    Place, ShardLocation, ShardMapManager, Sqlite, Validation,
};

use super::refused;
use crate::support::contents::{contents, global_file, raw, remove, rows, shard_file};
use crate::support::{directory, location, manager, quick, shards, sqlite};

/// Bytes that are no database: some text, nothing but zeros, and a database's first bytes before nonsense.
fn garbage() -> [(&'static str, Vec<u8>); 4] {
    let noise: Vec<u8> = (0..20_000_u32).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    [
        ("text", b"this is not a database, but long enough to be looked at as one ".repeat(100)),
        ("zeros", vec![0; 8192]),
        ("noise", noise.clone()),
        ("a header, then noise", [b"SQLite format 3\0".as_slice(), &noise].concat()),
    ]
}

fn damaged(error: Option<Error>, place: &Place, case: &str) {
    let error = error.unwrap_or_else(|| panic!("{case}: succeeded"));
    let told = (error.kind(), error.code(), error.place());
    assert_eq!(told, (ErrorKind::StoreDamaged, ErrorCode::DamagedStore, Some(place)), "{case}: {error:?}");
}

#[tokio::test]
async fn a_global_store_of_garbage() {
    for (case, bytes) in garbage() {
        let directory = directory();
        let file = global_file(directory.path());
        std::fs::write(&file, &bytes).unwrap();
        let lazy = Options::default;
        for (way, error) in [
            ("try_open", ShardMapManager::try_open(sqlite(&directory), lazy()).await.err()),
            ("open", ShardMapManager::open(sqlite(&directory), lazy()).await.err()),
            ("open_or_create", ShardMapManager::open_or_create(sqlite(&directory), lazy()).await.err()),
            ("create", ShardMapManager::create(sqlite(&directory), CreateMode::Keep, lazy()).await.err()),
            ("replace", ShardMapManager::create(sqlite(&directory), CreateMode::Replace, lazy()).await.err()),
        ] {
            damaged(error, &Place::Global, &format!("{case}: {way}"));
            assert!(std::fs::read(&file).unwrap() == bytes, "{case}: {way} changed the file");
        }
    }
}

#[tokio::test]
async fn a_shard_of_garbage() {
    for (case, bytes) in garbage() {
        let directory = directory();
        let manager = ShardMapManager::open_or_create(sqlite(&directory), Options::default()).await.unwrap();
        let map = manager.create_list_shard_map::<i32>("m").await.unwrap();
        let on = shards(&map, 2).await;
        let mapping = map.create_mapping(1, &on[0]).await.unwrap();
        let _ = map.create_mapping(2, &on[1]).await.unwrap();
        let shard = map.shard(&location(0)).await.unwrap();
        let file = shard_file(directory.path(), 0);
        replace(&file, &bytes);
        let unused = shard_file(directory.path(), 7);
        std::fs::write(&unused, &bytes).unwrap();

        let before = global_contents(&manager).await;
        let (at, other) = (Place::Shard(location(0)), Place::Shard(location(7)));
        let validate = Validation::Validate;
        let open = map.open_connection_for_key(&1, &NoCredentials, validate).await.err();
        damaged(open, &at, &format!("{case}: open"));
        let open = map.open_connection_to_shard(&shard, &NoCredentials, validate).await.err();
        damaged(open, &at, &format!("{case}: open shard"));
        damaged(map.mark_mapping_offline(mapping).await.err(), &at, &format!("{case}: offline"));
        damaged(map.create_mapping(3, &shard).await.err(), &at, &format!("{case}: create mapping"));
        damaged(map.create_shard(&location(7)).await.err(), &other, &format!("{case}: create shard"));
        assert_eq!(global_contents(&manager).await, before, "{case}");
        for file in [file, unused] {
            assert!(std::fs::read(file).unwrap() == bytes, "{case}: the file changed");
        }
        let _ =
            map.open_connection_for_key(&2, &NoCredentials, validate).await.expect("other shards are not concerned");
    }
}

/// Puts other bytes in the place of a database.
fn replace(file: &Path, bytes: &[u8]) {
    let new = file.with_extension("new");
    std::fs::write(&new, bytes).unwrap();
    remove(file);
    std::fs::rename(new, file).unwrap();
}

/// What the global store holds, for when a shard cannot tell.
async fn global_contents(manager: &ShardMapManager<Sqlite>) -> String {
    use shardlet::gsm::{GlobalStore, RecordFilter};
    let mut text = String::new();
    for map in manager.shard_maps().await.unwrap() {
        text += &format!("{:?}\n", manager.backend().shards(map.id()).await.unwrap());
        text += &format!("{:?}\n", manager.backend().mappings(&map, &RecordFilter::default()).await.unwrap());
    }
    text + &format!("{:?}", manager.backend().pending_operations().await.unwrap())
}

#[tokio::test]
async fn a_global_store_cut_short() {
    let whole = {
        let directory = directory();
        let manager = ShardMapManager::open_or_create(sqlite(&directory), Options::default()).await.unwrap();
        let map = manager.create_list_shard_map::<i32>("m").await.unwrap();
        let on = shards(&map, 1).await;
        for key in 0..100 {
            let _ = map.create_mapping(key, &on[0]).await.unwrap();
        }
        let file = global_file(directory.path());
        raw(&file).execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        std::fs::read(file).unwrap()
    };
    let pages = whole.len() / 4096;
    assert!(pages > 10, "{pages}");
    let lengths = [15, 16, 50, 99, 100, 511, 512, 4095];
    for length in lengths.into_iter().chain((1..pages).map(|page| page * 4096)).chain([whole.len() - 1]) {
        let directory = directory();
        let file = global_file(directory.path());
        std::fs::write(&file, &whole[..length]).unwrap();
        let eager = Options::default().load_policy(LoadPolicy::Eager);
        let opened = ShardMapManager::open(sqlite(&directory), eager.clone()).await;
        damaged(opened.err(), &Place::Global, &format!("{length} bytes: open"));
        let opened = ShardMapManager::open_or_create(sqlite(&directory), eager).await;
        damaged(opened.err(), &Place::Global, &format!("{length} bytes: open or create"));
        assert!(std::fs::read(&file).unwrap() == whole[..length], "{length} bytes: the file changed");
    }
    // A file of no bytes is what SQLite makes before it writes: a database without a store.
    let directory = directory();
    std::fs::write(global_file(directory.path()), []).unwrap();
    assert!(ShardMapManager::try_open(sqlite(&directory), Options::default()).await.unwrap().is_none());
    let _ = ShardMapManager::open_or_create(sqlite(&directory), Options::default()).await.unwrap();
}

/// A database of somebody else.
fn foreign(file: &Path) -> Vec<u8> {
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let connection = Connection::open(file).unwrap();
    connection.execute_batch("CREATE TABLE theirs (x); INSERT INTO theirs VALUES ('kept')").unwrap();
    drop(connection);
    std::fs::read(file).unwrap()
}

#[tokio::test]
async fn a_foreign_database_in_place_of_the_global_store() {
    let directory = directory();
    let file = global_file(directory.path());
    let bytes = foreign(&file);
    assert!(ShardMapManager::try_open(sqlite(&directory), Options::default()).await.unwrap().is_none());
    let opened = ShardMapManager::open(sqlite(&directory), Options::default()).await;
    let _ = refused(opened, ErrorKind::NotFound, ErrorCode::ShardMapManagerStoreDoesNotExist, "open");
    assert!(std::fs::read(&file).unwrap() == bytes, "opening changed the file");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "opening left files");
    // Asked to, a store is made beside what is there, as on a server.
    let manager = ShardMapManager::open_or_create(sqlite(&directory), Options::default()).await.unwrap();
    let _ = manager.create_list_shard_map::<i32>("m").await.unwrap();
    let kept: String = raw(&file).query_row("SELECT x FROM theirs", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, "kept");
}

#[tokio::test]
async fn a_foreign_database_in_place_of_a_shard() {
    let directory = directory();
    let manager = ShardMapManager::open_or_create(sqlite(&directory), Options::default()).await.unwrap();
    let map = manager.create_list_shard_map::<i32>("m").await.unwrap();
    // Registering a database with an application's tables is the usual case.
    let file = shard_file(directory.path(), 0);
    let bytes = foreign(&file);
    let shard = map.create_shard(&location(0)).await.unwrap();
    let mapping = map.create_mapping(1, &shard).await.unwrap();
    let mut connection = map.open_connection_for_key(&1, &NoCredentials, Validation::Validate).await.unwrap();
    let kept = connection.read(|tx| tx.query_row("SELECT x FROM theirs", [], |row| row.get::<_, String>(0))).await;
    assert_eq!(kept.unwrap(), "kept");
    drop(connection);

    // One that takes the place of a registered shard is not taken for it.
    replace(&file, &bytes);
    let before = global_contents(&manager).await;
    let opened = map.open_connection_for_key(&1, &NoCredentials, Validation::Validate).await;
    let _ = refused(opened, ErrorKind::StoreDamaged, ErrorCode::ShardMapDoesNotExist, "open");
    let shard = map.shard(&location(0)).await.unwrap();
    let opened = map.open_connection_to_shard(&shard, &NoCredentials, Validation::Validate).await;
    let _ = refused(opened, ErrorKind::NotFound, ErrorCode::ShardMapDoesNotExist, "open shard");
    let changed = map.mark_mapping_offline(mapping).await;
    let error = refused(changed, ErrorKind::NotFound, ErrorCode::ShardMapDoesNotExist, "offline");
    assert_eq!(error.place(), Some(&Place::Shard(location(0))));
    assert_eq!(global_contents(&manager).await, before);
    assert!(std::fs::read(&file).unwrap() == bytes, "the foreign file changed");
}

/// Leaves free pages in a database, so that it does not grow for a while.
fn make_room(file: &Path) {
    raw(file)
        .execute_batch("CREATE TABLE room (x); INSERT INTO room VALUES (zeroblob(4000000)); DROP TABLE room")
        .unwrap();
}

#[tokio::test]
async fn a_full_disk_under_either_store() {
    for (case, roomy, full) in [
        ("global", shard_file as fn(&Path, usize) -> _, Place::Global),
        ("shard", |directory: &Path, _| global_file(directory), Place::Shard(location(0))),
    ] {
        let directory = directory();
        let manager = ShardMapManager::open_or_create(sqlite(&directory), Options::default()).await.unwrap();
        let map = manager.create_list_shard_map::<Vec<u8>>("m").await.unwrap();
        let _ = shards(&map, 1).await;
        drop((map, manager));
        make_room(&roomy(directory.path(), 0));

        // A bound below the present size lets nothing grow.
        let bounded = Sqlite::open_with(directory.path(), quick().max_pages(1)).unwrap();
        let manager = ShardMapManager::open(bounded, Options::default()).await.unwrap();
        let map = manager.list_shard_map::<Vec<u8>>("m").await.unwrap();
        let shard = map.shard(&location(0)).await.unwrap();
        let key = |number: usize| format!("{number:0128}").into_bytes();
        let mut made = 0;
        let error = loop {
            assert!(made < 1000, "{case}: the disk does not fill");
            let before = contents(&manager).await;
            match map.create_mapping(key(made), &shard).await {
                Ok(_) => made += 1,
                Err(error) => {
                    assert_eq!(contents(&manager).await, before, "{case}");
                    break error;
                }
            }
        };
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::Unavailable, ErrorCode::StorageOperationFailure),
            "{case}: {error:?}"
        );
        assert_eq!(error.place(), Some(&full), "{case}: {error:?}");
        let before = rows(directory.path());
        let again = map.create_mapping(key(made), &shard).await;
        let _ = refused(again, ErrorKind::Unavailable, ErrorCode::StorageOperationFailure, case);
        assert_eq!(rows(directory.path()), before, "{case}");
        // What needs no room works.
        assert_eq!(map.mappings().await.unwrap().len(), made, "{case}");
        let _ = map.open_connection_for_key(&key(0), &NoCredentials, Validation::Validate).await.unwrap();
        drop((map, manager));

        let manager = ShardMapManager::open(sqlite(&directory), Options::default()).await.unwrap();
        let map = manager.list_shard_map::<Vec<u8>>("m").await.unwrap();
        let _ =
            map.create_mapping(key(made), &shard).await.unwrap_or_else(|error| panic!("{case}: with room: {error}"));
        assert_eq!(map.mappings().await.unwrap().len(), made + 1, "{case}");
    }
}

#[tokio::test]
async fn a_disk_too_small_for_a_store() {
    let directory = directory();
    let small = || Sqlite::open_with(directory.path(), quick().max_pages(3)).unwrap();
    let made = ShardMapManager::open_or_create(small(), Options::default()).await;
    let error = refused(made, ErrorKind::Unavailable, ErrorCode::StorageOperationFailure, "global");
    assert_eq!(error.place(), Some(&Place::Global));
    assert!(ShardMapManager::try_open(sqlite(&directory), Options::default()).await.unwrap().is_none());

    let manager = ShardMapManager::open_or_create(sqlite(&directory), Options::default()).await.unwrap();
    let _ = manager.create_list_shard_map::<i32>("m").await.unwrap();
    make_room(&global_file(directory.path()));
    let bounded = ShardMapManager::open(small(), Options::default()).await.unwrap();
    let map = bounded.list_shard_map::<i32>("m").await.unwrap();
    let before = contents(&manager).await;
    let error = refused(
        map.create_shard(&location(0)).await,
        ErrorKind::Unavailable,
        ErrorCode::StorageOperationFailure,
        "shard",
    );
    assert_eq!(error.place(), Some(&Place::Shard(location(0))));
    assert_eq!(contents(&manager).await, before);
    let map = manager.list_shard_map::<i32>("m").await.unwrap();
    let shard = map.create_shard(&location(0)).await.unwrap();
    let _ = map.create_mapping(1, &shard).await.unwrap();
}

#[tokio::test]
async fn hostile_names_of_servers_and_databases_stay_in_the_directory() {
    let parent = directory();
    let place = parent.path().join("store");
    let backend = Sqlite::open_with(&place, quick()).unwrap();
    let manager = ShardMapManager::open_or_create(backend, Options::default()).await.unwrap();
    let map = manager.create_list_shard_map::<i32>("m").await.unwrap();
    let names = [
        "..",
        ".",
        "../../escaped",
        "/etc/escaped",
        "a/b",
        "a\\b",
        "C:\\x",
        "file:x?mode=memory",
        ":memory:",
        "%2e%2e",
        "'; DROP TABLE x; --",
        "\"quoted\" [brackets]]",
        "<a>&amp;]]>",
        "😀",
        "\u{202e}right to left",
        "con",
        "~root",
        "gsm.db",
        "-journal",
        "$(x)`x`",
    ];
    let mut keys = 0;
    for name in names {
        for at in [ShardLocation::new("plain", name), ShardLocation::new(name, "plain"), ShardLocation::new(name, name)]
        {
            let shard = map.create_shard(&at).await.unwrap_or_else(|error| panic!("{at}: {error:?}"));
            assert_eq!(map.shard(&at).await.unwrap(), shard, "{at}");
            assert_eq!((shard.location().server(), shard.location().database()), (at.server(), at.database()));
            let _ = map.create_mapping(keys, &shard).await.unwrap();
            let mut open = map.open_connection_for_key(&keys, &NoCredentials, Validation::Validate).await.unwrap();
            // Each has a database of its own.
            open.execute_batch("CREATE TABLE own (x)").await.unwrap_or_else(|error| panic!("{at}: {error:?}"));
            keys += 1;
        }
    }
    assert_eq!(map.shards().await.unwrap().len(), names.len() * 3);
    assert_eq!(rows(&place).len(), names.len() * 3 + 1, "a file for each and one for the global store");
    let beside: Vec<_> = std::fs::read_dir(parent.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(beside, ["store"]);

    let before = contents(&manager).await;
    for (server, database) in [("a\0b", "d"), ("s", "\0"), ("s", "x\u{7}"), ("\u{ffff}", "d")] {
        let made = map.create_shard(&ShardLocation::new(server, database)).await;
        let _ = refused(made, ErrorKind::InvalidInput, ErrorCode::InvalidArgument, &format!("{server:?} {database:?}"));
        let found = map.find_shard(&ShardLocation::new(server, database)).await.unwrap();
        assert!(found.is_none(), "{server:?} {database:?}: a name that none has");
    }
    assert_eq!(contents(&manager).await, before);
}

#[tokio::test]
async fn empty_and_inverted_ranges() {
    let map = manager().await.create_range_shard_map::<i32>("m").await.unwrap();
    let on = shards(&map, 1).await;
    let before = contents(map.manager()).await;
    for (low, high) in [(0, 0), (10, 0), (i32::MIN, i32::MIN), (i32::MAX, i32::MIN), (i32::MAX, i32::MAX)] {
        let range = KeyRange::new(Some(low), Some(high));
        let operation = map.create_mapping(range.clone(), &on[0]);
        let case = range.to_string();
        let _ = refused(operation.plan(), ErrorKind::InvalidInput, ErrorCode::InvalidArgument, &case);
        let error = refused(operation.await, ErrorKind::InvalidInput, ErrorCode::InvalidArgument, &case);
        assert_eq!(error.operation(), Some("AddRangeMapping"), "{case}");
        assert!(!range.contains(&low), "{case}");
    }
    // No key is below the least one.
    let _ = refused(
        map.create_mapping(..i32::MIN, &on[0]).await,
        ErrorKind::InvalidInput,
        ErrorCode::InvalidArgument,
        "..MIN",
    );
    assert_eq!(contents(map.manager()).await, before);
}

#[tokio::test]
async fn binary_keys_of_more_than_128_bytes() {
    let manager = manager().await;
    let list = manager.create_list_shard_map::<Vec<u8>>("list").await.unwrap();
    let range = manager.create_range_shard_map::<bytes::Bytes>("range").await.unwrap();
    let (point_shards, range_shards) = (shards(&list, 1).await, shards(&range, 1).await);
    let longest = vec![0xff; EncodedKey::MAX_LENGTH];
    let point = list.create_mapping(longest.clone(), &point_shards[0]).await.unwrap();
    let padded = [longest.clone(), vec![0; 50]].concat();
    assert_eq!(list.mapping_for_key(&padded).await.unwrap(), point, "trailing zeros do not count");
    let whole = range.create_mapping(.., &range_shards[0]).await.unwrap();
    let before = contents(&manager).await;
    let too_long: Vec<u8> = [longest, vec![1]].concat();
    let bytes = bytes::Bytes::from(too_long.clone());
    for (case, outcome) in [
        ("create", list.create_mapping(too_long.clone(), &point_shards[0]).await.map(|_| ())),
        ("find", list.find_mapping_for_key(&too_long).await.map(|_| ())),
        ("look up", list.lookup_mapping(&too_long).await.map(|_| ())),
        ("range from", range.create_mapping(bytes.clone().., &range_shards[0]).await.map(|_| ())),
        ("range to", range.create_mapping(..bytes.clone(), &range_shards[0]).await.map(|_| ())),
        ("split", range.split_mapping(whole, bytes.clone()).await.map(|_| ())),
        ("filter", range.mappings_matching(&MappingFilter::all().in_range(..bytes.clone())).await.map(|_| ())),
        ("open", range.open_connection_for_key(&bytes, &NoCredentials, Validation::Validate).await.map(|_| ())),
    ] {
        let error = refused(outcome, ErrorKind::InvalidInput, ErrorCode::InvalidArgument, case);
        assert!(
            !error.to_string().contains("ffff") && !error.to_string().contains("255"),
            "{case} tells the key: {error}"
        );
    }
    assert!(list.cached_mapping(&too_long).is_none());
    assert_eq!(contents(&manager).await, before);
}

/// Limits are numbers like any other input: the largest ones mean "no limit", and nothing panics.
#[tokio::test]
async fn limits_beyond_all_bounds_are_taken() {
    use std::time::Duration;
    let set: [fn(&mut shardlet::SqliteOptions); 6] = [
        |options| options.timeouts.command = Duration::MAX,
        |options| options.timeouts.operation_lock = Duration::MAX,
        |options| options.timeouts.pool_wait = Duration::MAX,
        |options| options.timeouts.connect = Duration::MAX,
        |options| options.max_connections = usize::MAX,
        |options| options.max_connections_per_database = usize::MAX,
    ];
    for set in set {
        let directory = crate::support::directory();
        let mut options = crate::support::quick();
        set(&mut options);
        let store = shardlet::Sqlite::open_with(directory.path(), options).unwrap();
        let manager = shardlet::ShardMapManager::open_or_create(store, shardlet::Options::default()).await.unwrap();
        let map: shardlet::ListShardMap<i64, _> = manager.create_list_shard_map("points").await.unwrap();
        let shard = crate::support::shards(&map, 1).await.remove(0);
        let _ = map.create_mapping(1, &shard).await.unwrap();
    }
}

#[tokio::test]
async fn hostile_names_of_shard_maps() {
    use super::hostile_names::names_of_shard_maps;
    names_of_shard_maps(Sqlite::in_memory(), &NoCredentials, &location(0)).await;
}

#[tokio::test]
async fn hostile_names_of_places() {
    super::hostile_names::names_of_places(Sqlite::in_memory()).await;
}

/// Names that differ only in case or in blanks at the end name one database.
#[tokio::test]
async fn names_of_places_that_differ_in_case_or_blanks() {
    let directory = directory();
    let manager = ShardMapManager::open_or_create(sqlite(&directory), Options::default()).await.unwrap();
    let map = manager.create_list_shard_map::<i32>("m").await.unwrap();
    let given = ShardLocation::new("Sérver", "Dätabase😀");
    let shard = map.create_shard(&given).await.unwrap();
    for (server, database) in [("SÉRVER", "dÄTABASE😀"), ("sérver ", "dätabase😀   ")] {
        let spelt = ShardLocation::new(server, database);
        let found = map.shard(&spelt).await.unwrap();
        assert_eq!(found, shard, "{spelt}");
        assert_eq!((found.location().server(), found.location().database()), (given.server(), given.database()));
        let twice = map.create_shard(&spelt).await;
        let _ = refused(twice, ErrorKind::AlreadyExists, ErrorCode::ShardLocationAlreadyExists, "created twice");
        assert_eq!(map.shard_or_create(&spelt).await.unwrap(), shard);
    }
    let other = map.create_shard(&ShardLocation::new("Server", "Dätabase😀")).await.unwrap();
    assert_ne!(other.id(), shard.id());
    assert_eq!(rows(directory.path()).len(), 3, "accents tell databases apart");
}
