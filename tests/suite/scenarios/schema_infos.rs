//! Schema information by name, through the manager.

use shardlet::{
    CreateMode, Error, ErrorCode, ErrorKind, Options, Place, ReferenceTable, SchemaInfo, ShardMapManager, ShardedTable,
    Sqlite,
};

use super::refused;
use crate::support::contents::contents;
use crate::support::probe::{Call, Fault, Probe};
use crate::support::{directory, manager, sqlite};

fn info(sharded: &[(&str, &str, &str)], reference: &[(&str, &str)]) -> SchemaInfo {
    let mut info = SchemaInfo::new();
    for (schema, table, column) in sharded {
        info.add_sharded_table(ShardedTable::in_schema(*schema, *table, *column).unwrap()).unwrap();
    }
    for (schema, table) in reference {
        info.add_reference_table(ReferenceTable::in_schema(*schema, *table).unwrap()).unwrap();
    }
    info
}

#[tokio::test]
async fn stored_found_replaced_and_deleted() {
    let directory = directory();
    let manager = ShardMapManager::open_or_create(sqlite(&directory), Options::default()).await.unwrap();
    assert_eq!(manager.schema_infos().await.unwrap(), []);
    assert_eq!(manager.find_schema_info("orders").await.unwrap(), None);
    let first = info(&[("dbo", "customer", "id"), ("sales", "order", "customer")], &[("dbo", "region")]);
    let second = info(&[("dbo", "customer", "id")], &[]);
    manager.create_schema_info("orders", &first).await.unwrap();
    manager.create_schema_info("Another", &SchemaInfo::new()).await.unwrap();

    // Another process sees it at once, and after a restart it is there.
    let other = ShardMapManager::open(sqlite(&directory), Options::default()).await.unwrap();
    assert_eq!(other.schema_info("orders").await.unwrap(), first);
    assert_eq!(other.find_schema_info("ORDERS ").await.unwrap(), Some(first.clone()));
    let all = other.schema_infos().await.unwrap();
    assert_eq!(all, [("Another".to_owned(), SchemaInfo::new()), ("orders".to_owned(), first.clone())]);

    other.update_schema_info("Orders", &second).await.unwrap();
    assert_eq!(manager.schema_info("orders").await.unwrap(), second);
    manager.delete_schema_info("ORDERS").await.unwrap();
    assert_eq!(other.schema_infos().await.unwrap(), [("Another".to_owned(), SchemaInfo::new())]);
    other.create_schema_info("orders", &first).await.unwrap();
    assert_eq!(manager.schema_info("orders").await.unwrap(), first);
}

#[tokio::test]
async fn what_is_missing_or_taken_is_refused() {
    let manager = manager().await;
    let (first, other) = (info(&[("dbo", "t", "k")], &[]), SchemaInfo::new());
    manager.create_schema_info("orders", &first).await.unwrap();
    let missing = (ErrorKind::NotFound, ErrorCode::SchemaInfoNameDoesNotExist);
    let taken = (ErrorKind::AlreadyExists, ErrorCode::SchemaInfoNameConflict);
    let errors: [(&str, shardlet::Result<()>, _, _); 4] = [
        ("SchemaInfoCollection.Get", manager.schema_info("none").await.map(drop), missing, "none"),
        ("SchemaInfoCollection.Replace", manager.update_schema_info("none", &other).await, missing, "none"),
        ("SchemaInfoCollection.Remove", manager.delete_schema_info("none").await, missing, "none"),
        ("SchemaInfoCollection.Add", manager.create_schema_info("ORDERS", &other).await, taken, "ORDERS"),
    ];
    for (operation, outcome, (kind, code), name) in errors {
        let error = refused(outcome, kind, code, operation);
        assert_eq!(error.operation(), Some(operation));
        assert_eq!(error.place(), Some(&Place::Global), "{error}");
        assert!(error.to_string().contains(&format!("{name:?}")), "{error}");
    }
    assert_eq!(manager.schema_infos().await.unwrap(), [("orders".to_owned(), first)]);
}

#[tokio::test]
async fn names_that_cannot_be_are_refused_before_the_store_is_asked() {
    let probe = Probe::new(Sqlite::in_memory());
    let manager = ShardMapManager::create(probe.clone(), CreateMode::Keep, Options::default()).await.unwrap();
    let info = SchemaInfo::new();
    probe.reset();
    let too_long = ["x".repeat(129), "😀".repeat(65)];
    for name in ["", "  ", "\t", "a\0b", "a\rb", &too_long[0], &too_long[1]] {
        for outcome in [
            manager.find_schema_info(name).await.map(drop),
            manager.schema_info(name).await.map(drop),
            manager.create_schema_info(name, &info).await,
            manager.update_schema_info(name, &info).await,
            manager.delete_schema_info(name).await,
        ] {
            let _ = refused(outcome, ErrorKind::InvalidInput, ErrorCode::InvalidArgument, name);
        }
    }
    assert_eq!(probe.total(), 0);
    for name in ["x".repeat(128), "😀".repeat(64)] {
        manager.create_schema_info(&name, &info).await.unwrap();
        assert_eq!(manager.schema_info(&name).await.unwrap(), info);
    }
}

#[tokio::test]
async fn every_character_that_matters_to_xml_or_sql_comes_back() {
    let manager = manager().await;
    let names = [
        "<a>&amp;",
        "]]>",
        "'\"--;[x]",
        "%_",
        "tab\tand\nline",
        " blanks ",
        "Zürich 東京 😀",
        "\u{85}\u{2028}\u{fffd}",
    ];
    let mut info = SchemaInfo::new();
    for name in names {
        info.add_sharded_table(ShardedTable::in_schema(name, name, name).unwrap()).unwrap();
        info.add_reference_table(ReferenceTable::in_schema("other", name).unwrap()).unwrap();
    }
    for name in names {
        manager.create_schema_info(name, &info).await.unwrap();
        assert_eq!(manager.schema_info(name).await.unwrap(), info, "{name:?}");
    }
    assert_eq!(manager.schema_infos().await.unwrap().len(), names.len());
}

#[tokio::test]
async fn it_belongs_to_no_map_and_changes_none() {
    let manager = manager().await;
    let map = manager.create_range_shard_map::<i32>("orders").await.unwrap();
    let before = contents(&manager).await;
    let tables = info(&[("dbo", "t", "k")], &[]);
    manager.create_schema_info("orders", &tables).await.unwrap();
    manager.create_schema_info("no map", &tables).await.unwrap();
    assert_eq!(contents(&manager).await, before);
    drop(map);
    manager.delete_shard_map("orders").await.unwrap();
    assert_eq!(manager.schema_info("orders").await.unwrap(), tables);
}

#[tokio::test]
async fn a_lost_answer_is_told_and_nothing_is_repeated() {
    let probe = Probe::new(Sqlite::in_memory());
    let manager = ShardMapManager::create(probe.clone(), CreateMode::Keep, Options::default()).await.unwrap();
    let tables = info(&[("dbo", "t", "k")], &[]);
    let lost = || Fault::FailAfter(Error::new(ErrorKind::OutcomeUnknown, ErrorCode::CommitInDoubt, "lost"));
    for call in [Call::AddSchemaInfo, Call::UpdateSchemaInfo, Call::RemoveSchemaInfo] {
        probe.reset();
        probe.inject(call.clone(), 1, lost());
        let outcome = match call {
            Call::AddSchemaInfo => manager.create_schema_info("orders", &SchemaInfo::new()).await,
            Call::UpdateSchemaInfo => manager.update_schema_info("orders", &tables).await,
            _ => manager.delete_schema_info("orders").await,
        };
        let _ = refused(outcome, ErrorKind::OutcomeUnknown, ErrorCode::CommitInDoubt, "lost");
        assert_eq!((probe.count(&call), probe.total()), (1, 1));
        // It had happened.
        let found = manager.find_schema_info("orders").await.unwrap();
        match call {
            Call::AddSchemaInfo => assert_eq!(found, Some(SchemaInfo::new())),
            Call::UpdateSchemaInfo => assert_eq!(found, Some(tables.clone())),
            _ => assert_eq!(found, None),
        }
    }
}

#[tokio::test]
async fn one_damaged_document_does_not_hide_the_others() {
    let manager = manager().await;
    let tables = info(&[("dbo", "t", "k")], &[]);
    manager.create_schema_info("good", &tables).await.unwrap();
    let stores = manager.backend();
    shardlet::gsm::GlobalStore::add_schema_info(stores, "bad", "<Schema><ReferenceTableSet>x").await.unwrap();
    let all = manager.schema_infos().await;
    let error = refused(all, ErrorKind::StoreDamaged, ErrorCode::DamagedStore, "all");
    for part in ["SchemaInfo", "ShardedDatabaseSchemaInfosGlobal", "\"bad\""] {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert!(std::error::Error::source(&error).is_some(), "the cause is kept");
    assert_eq!(manager.schema_info("good").await.unwrap(), tables);
    manager.update_schema_info("bad", &tables).await.unwrap();
    assert_eq!(manager.schema_infos().await.unwrap().len(), 2);
}
