//! Our stores, beside the declarations of the reference library's at its versions, `tests/data/store-versions.json`: a new one
//! is as its 1.2, and its older ones are upgraded to that.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use shardlet::gsm::GlobalStore;
use shardlet::lsm::LocalStore;
use shardlet::{Options, RangeShardMap, ShardMapManager, ShardUpgrade, StoreUpgrade, StoreVersion};

use crate::support::consistency::assert_consistent;
use crate::support::declared::{assert_declared, golden_tables};
use crate::support::golden_files::{DATABASES, golden_file, rows, text};
use crate::support::raw_stores::{RawStores, Rows, Store, assert_rows, golden_rows, lines, places, stored_rows};

fn kind(store: Store) -> &'static str {
    match store {
        Store::Global => "gsm",
        Store::Local(_) => "lsm",
    }
}

/// Fails unless all tables of a store are declared as at a version.
async fn assert_tables<E: RawStores>(env: &E, file: &Value, store: Store, version: &str) {
    let golden = golden_tables(env, file, store, version);
    let mut tables = store.tables().to_vec();
    tables.sort_unstable();
    assert_eq!(golden.keys().collect::<Vec<_>>(), tables);
    for (table, golden) in &golden {
        assert_declared(&env.declared(store, table).await, golden, table);
    }
}

/// Every table that it has is there with the same columns, keys and constraints, and the same version. Tables of our own may
/// be beside them.
pub async fn our_stores_are_declared_as_the_reference_librarys<E: RawStores>() {
    let file = golden_file("store-versions.json");
    let env = E::empty_stores(&DATABASES[..1]).await;
    for (store, name) in [(Store::Global, "gsm"), (Store::Local(DATABASES[0]), "lsm")] {
        assert_tables(&env, &file, store, "1.2").await;
        let version = env.rows(store, store.tables()[0]).await;
        let golden: Vec<_> =
            rows(&file[name]["1.2"], "rows").iter().map(|row| row.as_object().unwrap().clone()).collect();
        assert_eq!(version, golden);
    }
}

/// Makes a store as the reference library left it at a version, with rows.
async fn make<E: RawStores>(env: &E, file: &Value, store: Store, version: &str, rows: &Rows) {
    let golden = &file[kind(store)][version];
    let routines: Vec<_> = golden["routines"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    env.declare(store, &golden_tables(env, file, store, version), &routines).await;
    let version_table = store.tables()[0];
    let mut tables = Map::new();
    for table in &store.tables()[1..] {
        let rows = rows[&(store, *table)].iter().cloned().map(Value::Object).collect();
        let _ = tables.insert((*table).to_owned(), Value::Array(rows));
    }
    env.load(store, &tables).await;
    for row in golden["rows"].as_array().unwrap() {
        let (columns, values): (Vec<_>, Vec<_>) =
            row.as_object().unwrap().iter().map(|(column, value)| (column.clone(), value.to_string())).unzip();
        let sql = format!("INSERT INTO {{table}} ({}) VALUES ({})", columns.join(", "), values.join(", "));
        env.run(store, &sql, version_table).await;
    }
}

/// A state with three shards and some mappings.
fn state(steps: &[Value]) -> &Value {
    steps.iter().find(|step| text(step, "step").starts_with("mark [150,200) offline with")).unwrap()
}

/// The reference library's routines that a store has left, after an upgrade from a version: none from 1.0, and from 1.1 all that
/// are the same at 1.2.
fn routines_left(file: &Value, store: Store, version: &str) -> BTreeSet<String> {
    let changed: &[&str] = match store {
        Store::Global => &["spLockOrUnlockShardMappingsGlobal"],
        Store::Local(_) => &["spAddShardLocal", "spBulkOperationShardMappingsLocal", "spUpdateShardLocal"],
    };
    let all = file[kind(store)][version]["routines"].as_array().unwrap();
    let names = all.iter().map(|routine| routine.as_str().unwrap().split(' ').next_back().unwrap());
    names.filter(|name| version != "1.0" && !changed.contains(name)).map(str::to_lowercase).collect()
}

pub async fn older_stores_become_as_those_of_1_2<E: RawStores>() {
    let file = golden_file("store-versions.json");
    let scenario = golden_file("scenario-basic.json");
    let state = state(rows(&scenario, "steps"));
    let env = E::empty_stores(&DATABASES).await;
    for (version, minor) in [("1.0", 0), ("1.1", 1)] {
        let expected = golden_rows(&env, state);
        for store in Store::all() {
            make(&env, &file, store, version, &expected).await;
            assert_tables(&env, &file, store, version).await;
        }
        let from = StoreVersion { major: 1, minor };
        let done = StoreUpgrade::new(from, StoreVersion::CURRENT);
        let (backend, mut told) = (env.backend(), Vec::new());
        let report = ShardMapManager::upgrade_with(&backend, |at, outcome| told.push(format!("{at}: {outcome}\n")));
        let report = report.await.unwrap();
        assert_eq!(report.global, done);
        assert_eq!(report.shards.len(), DATABASES.len());
        for (at, outcome) in &report.shards {
            assert!(matches!(outcome, ShardUpgrade::Done(one) if *one == done), "{at}: {outcome}");
        }
        assert!(report.is_complete() && report.is_change());
        let text = format!("global store: upgraded from {from} to 1.2\n{}", told.concat());
        assert_eq!(report.to_string(), text, "what was told on the way is what the report tells");

        for store in Store::all() {
            assert_tables(&env, &file, store, "1.2").await;
            let Some(routines) = env.routines(store).await else { continue };
            let (ours, theirs): (BTreeSet<_>, BTreeSet<_>) =
                routines.into_iter().partition(|name| name.starts_with("shardlet1_"));
            assert!(ours.len() >= 8, "our procedures are there: {ours:?}");
            assert_eq!(theirs, routines_left(&file, store, version), "{store:?} from {version}");
        }
        assert_rows(&env, &lines(&expected), &format!("upgraded from {version}")).await;

        let report = ShardMapManager::upgrade(&env.backend()).await.unwrap();
        assert!(report.is_complete() && !report.is_change(), "{report}");
        assert_rows(&env, &lines(&expected), "upgraded again").await;

        let manager = ShardMapManager::open(env.backend(), Options::default()).await.unwrap();
        let map: RangeShardMap<i64, _> = manager.range_shard_map("CustomerIDShardMap").await.unwrap();
        let mapping = map.mapping_for_key(&5).await.unwrap();
        let (left, right) = map.split_mapping(mapping, 20).await.unwrap();
        let _ = map.merge_mappings(left, right).await.unwrap();
        let opened = map.open_connection_for_key(&5, &env.credentials(), shardlet::Validation::Validate).await;
        drop(opened.unwrap());
        assert_consistent(&env.backend(), &places(&env), "in use").await;
    }
}

pub async fn an_upgrade_that_was_interrupted_is_finished<E: RawStores>() {
    let file = golden_file("store-versions.json");
    let scenario = golden_file("scenario-basic.json");
    let state = state(rows(&scenario, "steps"));
    let env = E::empty_stores(&DATABASES).await;
    let expected = golden_rows(&env, state);
    let at = env.location(DATABASES[0]);
    for version in ["1.0", "1.1", "1.2"] {
        for store in [Store::Global, Store::Local(DATABASES[0])] {
            make(&env, &file, store, version, &expected).await;
            // What the reference library's upgrade begins with, and takes away in the end.
            let sql = format!("ALTER TABLE {{table}} ADD \"UpgradeLock\" {}", env.type_here("int"));
            env.run(store, &sql, store.tables()[0]).await;
        }
        let minor = version.split('.').next_back().unwrap().parse().unwrap();
        let (backend, from) = (env.backend(), StoreVersion { major: 1, minor });
        assert_eq!(backend.global_version().await.unwrap(), Some(from), "the column is tolerated");
        assert_eq!(backend.local_version(&at).await.unwrap(), Some(from), "the column is tolerated");
        if from.is_usable() {
            assert_eq!(backend.shard_maps().await.unwrap().len(), 1);
            assert_eq!(backend.local_shards(&at).await.unwrap().len(), 1);
        }
        let done = StoreUpgrade::new(from, StoreVersion::CURRENT);
        assert_eq!(backend.upgrade_global().await.unwrap(), done);
        assert_eq!(backend.upgrade_local(&at).await.unwrap(), done);
        for store in [Store::Global, Store::Local(DATABASES[0])] {
            assert_tables(&env, &file, store, "1.2").await;
            let version = stored_rows(&env).await.remove(&(store, store.tables()[0])).unwrap();
            let golden = json!({"StoreVersionMajor": 1, "StoreVersionMinor": 2});
            assert_eq!(version.into_iter().map(Value::Object).collect::<Vec<_>>(), [golden]);
        }
    }
}
