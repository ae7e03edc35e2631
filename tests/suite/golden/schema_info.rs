//! Documents of schema information, `tests/data/schema-info.json`: read and written by us as by the reference library, and left
//! alone by our operations.

use std::collections::BTreeSet;

use serde_json::Value;
use shardlet::{
    Error, ErrorCode, MappingStatus, Options, RangeShardMap, ReferenceTable, SchemaInfo, ShardMapManager, ShardedTable,
};

use crate::support::consistency::assert_consistent;
use crate::support::golden_files::{DATABASES, golden_file, rows, text};
use crate::support::raw_stores::{RawStores, assert_rows, golden_rows, lines, load_state, places, stored_rows};

const TABLE: &str = "ShardedDatabaseSchemaInfosGlobal";

pub async fn schema_information_is_left_alone<E: RawStores>() {
    let file = golden_file("schema-info.json");
    let env = E::empty_stores(&DATABASES).await;
    load_state(&env, &file).await;
    let golden = lines(&golden_rows(&env, &file));
    assert_rows(&env, &golden, "as loaded").await;
    let documents: BTreeSet<_> = golden.iter().filter(|line| line.contains(TABLE)).cloned().collect();
    assert_eq!(documents.len(), 4);

    let manager = ShardMapManager::open_or_create(env.backend(), Options::default()).await.unwrap();
    let map: RangeShardMap<i32, _> = manager.range_shard_map("orders").await.unwrap();
    let first = map.create_shard(&env.location("gold_s0")).await.unwrap();
    let second = map.create_shard(&env.location("gold_s1")).await.unwrap();
    let mapping = map.create_mapping_with(0..100, &first, MappingStatus::Offline).await.unwrap();
    let (low, high) = map.split_mapping(mapping, 50).await.unwrap();
    let moved = map.move_mapping(high, &second).await.unwrap();
    assert_consistent(manager.backend(), &places(&env), "in use").await;
    let with_use: BTreeSet<_> =
        lines(&stored_rows(&env).await).into_iter().filter(|line| line.contains(TABLE)).collect();
    assert_eq!(with_use, documents);

    for mapping in [low, moved] {
        map.delete_mapping(mapping).await.unwrap();
    }
    for shard in map.shards().await.unwrap() {
        map.delete_shard(shard).await.unwrap();
    }
    // The documents of a map outlive it, as in the reference library.
    assert_rows(&env, &golden, "after use").await;
    manager.delete_shard_map("orders").await.unwrap();
    let golden = golden.into_iter().filter(|line| !line.contains(" ShardMapsGlobal:")).collect();
    assert_rows(&env, &golden, "without the map").await;
}

/// What the reference library read, by name.
fn read_there(file: &Value) -> Vec<(String, SchemaInfo)> {
    let read = |entry: &Value| {
        let mut info = SchemaInfo::new();
        for table in rows(entry, "sharded") {
            let (schema, name, key) = (text(table, "schema"), text(table, "table"), text(table, "key"));
            info.add_sharded_table(ShardedTable::in_schema(schema, name, key).unwrap()).unwrap();
        }
        for table in rows(entry, "reference") {
            let table = ReferenceTable::in_schema(text(table, "schema"), text(table, "table")).unwrap();
            info.add_reference_table(table).unwrap();
        }
        (text(entry, "name").to_owned(), info)
    };
    rows(&file["client_view"], "collection").iter().map(read).collect()
}

pub async fn schema_information_is_read_as_the_reference_library_reads_it<E: RawStores>() {
    let file = golden_file("schema-info.json");
    let env = E::empty_stores(&DATABASES).await;
    load_state(&env, &file).await;
    let manager = ShardMapManager::open(env.backend(), Options::default()).await.unwrap();
    let there = read_there(&file);
    assert_eq!(there.len(), 4);
    assert_eq!(manager.schema_infos().await.unwrap(), there);
    for (name, info) in there {
        assert_eq!(manager.schema_info(&name).await.unwrap(), info, "{name}");
        assert_eq!(manager.schema_info(&name.to_uppercase()).await.unwrap(), info, "{name}");
        assert_eq!(manager.find_schema_info(&name).await.unwrap(), Some(info), "{name}");
    }
}

pub async fn the_calls_of_the_reference_library_leave_its_documents_when_we_make_them<E: RawStores>() {
    let file = golden_file("schema-info.json");
    let env = E::empty_stores(&DATABASES).await;
    load_state(&env, &file).await;
    let golden = lines(&golden_rows(&env, &file));
    let manager = ShardMapManager::open(env.backend(), Options::default()).await.unwrap();
    let there = read_there(&file);
    for (name, info) in &there {
        manager.update_schema_info(name, info).await.unwrap();
    }
    assert_rows(&env, &golden, "each replaced by itself").await;
    for (name, _) in &there {
        manager.delete_schema_info(name).await.unwrap();
    }
    assert_rows(&env, &golden.iter().filter(|line| !line.contains(TABLE)).cloned().collect(), "all deleted").await;

    let info = |name: &str| &there.iter().find(|(known, _)| known == name).unwrap().1;
    let none = SchemaInfo::new();
    for call in rows(&file["client_view"], "calls") {
        let (call, result) = (text(call, "call"), text(call, "result"));
        let mut words = call.split_whitespace();
        let outcome = match (words.next().unwrap(), words.next().unwrap()) {
            ("Add", "sharded" | "reference") => {
                let table = || ShardedTable::new("t1", "k").unwrap();
                let mut info = SchemaInfo::new();
                info.add_sharded_table(table()).unwrap();
                match call {
                    "Add sharded table twice" => info.add_sharded_table(table()),
                    _ => info.add_reference_table(ReferenceTable::new("t1").unwrap()),
                }
            }
            ("Add", "ORDERS") => manager.create_schema_info("ORDERS", &none).await,
            // Its last documents were those that replaced these.
            ("Add", name @ ("only_sharded" | "to_remove")) => manager.create_schema_info(name, &none).await,
            ("Add", name) => manager.create_schema_info(name, info(name)).await,
            ("Replace", "missing") => manager.update_schema_info("missing", &none).await,
            ("Replace", name) => manager.update_schema_info(name, info(name)).await,
            ("Remove", name) => manager.delete_schema_info(name).await,
            ("Get", name) => manager.schema_info(name).await.map(drop),
            _ => panic!("an unknown call: {call}"),
        };
        assert_eq!(outcome.as_ref().err().map_or("ok", reference_code), code(result), "{call}: {outcome:?}");
    }
    assert_rows(&env, &golden, "after its calls").await;
    assert_eq!(manager.schema_infos().await.unwrap(), there);
}

/// The code in a result of the reference library, or `ok`.
fn code(result: &str) -> &str {
    result.strip_prefix("SchemaInfoException ").map_or(result, |rest| rest.split(':').next().unwrap())
}

fn reference_code(error: &Error) -> &'static str {
    match error.code() {
        ErrorCode::SchemaInfoNameDoesNotExist => "SchemaInfoNameDoesNotExist",
        ErrorCode::SchemaInfoNameConflict => "SchemaInfoNameConflict",
        ErrorCode::TableInfoAlreadyPresent => "TableInfoAlreadyPresent",
        _ => "another",
    }
}
