//! Operations that clients of the reference library left pending are undone by ours, to the same rows.
//!
//! The rows of each file in `tests/data/pending` are put into stores. Then a client of ours meets the stamped rows; it is
//! dropped right after it has undone the pending operation, and the stores are compared, row by row, with what the
//! reference library's undo left. Then the operation that met them is done to its end. That the operation which was left
//! pending is then done anew is in `redone`.
//!
//! Every column is compared, `LastOperationId` too, which an undo sets as the reference library's does. A pending attach
//! (code 16) blocks clients of the reference library; we undo it, so the stores have to be as they were before it.

use std::collections::BTreeSet;

use serde_json::Value;
use shardlet::gsm::GlobalStore;
use shardlet::{
    ErrorKind, ListShardMap, LockToken, Mapping, Operation, Options, RangeShardMap, Result, Shard, ShardId,
    ShardLocation, ShardMap, ShardMapManager, ShardStatus, ShardVersion, Stores,
};
use uuid::Uuid;

use crate::support::consistency::assert_consistent;
use crate::support::golden_files::{DATABASES, pending_files, rows, text};
use crate::support::probe::{Call, Fault, Probe};
use crate::support::raw_stores::{RawStores, Store, assert_rows, golden_line, golden_rows, lines, load_state, places};

/// What the stores have to hold once the operation is undone.
fn rows_after_undo<E: RawStores>(env: &E, file: &Value) -> BTreeSet<String> {
    let mut rows = lines(&golden_rows(env, &file["after_undo"]));
    if file["operation_code"] != 16 {
        return rows;
    }
    // The reference library undoes nothing here; it says how its stores differ from those before the operation.
    let pending = rows.len();
    let difference = file["difference_of_after_undo_to_state_before_operation"].as_object().unwrap();
    for (table, difference) in difference {
        // The local store's row differs in its LastOperationId only, which attaching sets and an undo leaves.
        let Some(table) = table.strip_prefix("gsm/") else { continue };
        assert_eq!(difference["only_before"], Value::Array(vec![]));
        for row in difference["only_after"].as_array().unwrap() {
            assert!(rows.remove(&golden_line(env, Store::Global, table, row)), "{table}");
        }
    }
    assert!(rows.len() < pending);
    rows
}

/// What a client does that meets the pending operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Touch {
    /// Updates a stamped shard, presenting an old version, so that after the undo it is refused.
    StaleShard,
    /// Creates a shard where one is being added.
    CreateShard,
    /// Locks a stamped mapping.
    LockMapping,
}

/// How the touching client has to fare in the end.
async fn touch<M: Mapping, B: Stores>(map: ShardMap<M, B>, touch: Touch, stamped: Stamped) -> Result<()> {
    match touch {
        Touch::StaleShard => {
            let old =
                Shard::new(stamped.shard, ShardVersion::random(), map.id(), stamped.location, ShardStatus::Online);
            let update: Operation<Shard> = map.update_shard(old, ShardStatus::Online);
            update.await.map(drop)
        }
        Touch::CreateShard => map.create_shard(&stamped.location).await.map(drop),
        Touch::LockMapping => {
            let mappings = map.mappings().await?;
            let mapping =
                mappings.into_iter().find(|mapping| Some(mapping.record().id.to_string()) == stamped.mapping).unwrap();
            map.lock_mapping(mapping, LockToken::random()).await.map(drop)
        }
    }
}

/// What the pending operation has stamped.
#[derive(Clone)]
struct Stamped {
    shard: ShardId,
    location: ShardLocation,
    /// A mapping that is readable, and whether it is locked.
    mapping: Option<String>,
    locked: bool,
}

impl Stamped {
    fn of<E: RawStores>(env: &E, file: &Value) -> Self {
        let operation = text(&file["gsm"]["OperationsLogGlobal"][0], "OperationId");
        let stamped = |row: &&Value| row["OperationId"] == operation;
        let shard = rows(&file["gsm"], "ShardsGlobal").iter().find(stamped).unwrap();
        let mapping =
            rows(&file["gsm"], "ShardMappingsGlobal").iter().filter(stamped).find(|row| row["Readable"] == true);
        Self {
            shard: ShardId::from(Uuid::parse_str(text(shard, "ShardId")).unwrap()),
            location: env.location(text(shard, "DatabaseName")),
            locked: mapping.is_some_and(|row| row["LockOwnerId"] != LockToken::NONE.to_string().as_str()),
            mapping: mapping.map(|row| text(row, "MappingId").to_owned()),
        }
    }
}

async fn run<B: Stores>(backend: B, file: &Value, how: Touch, stamped: Stamped) -> Result<()> {
    let manager = ShardMapManager::open(backend, Options::default()).await?;
    if file["client_view"]["type"] == "List" {
        let map: ListShardMap<i32, _> = manager.list_shard_map("map").await?;
        touch(map, how, stamped).await
    } else {
        let map: RangeShardMap<i32, _> = manager.range_shard_map("map").await?;
        touch(map, how, stamped).await
    }
}

async fn undo<E: RawStores>(env: &E, name: &str, file: &Value, how: Touch) {
    let about = format!("{name}, {how:?}");
    load_state(env, file).await;
    assert_rows(env, &lines(&golden_rows(env, file)), &format!("{about}: rows as loaded")).await;
    let stamped = Stamped::of(env, file);

    // The client goes away between the undo and its own operation.
    let probe = Probe::new(env.backend());
    probe.inject(Call::EndUndo, 1, Fault::HoldAfter);
    tokio::select! {
        result = run(probe.clone(), file, how, stamped.clone()) => panic!("{about}: nothing was undone: {result:?}"),
        () = probe.held() => {}
    }
    assert_rows(env, &rows_after_undo(env, file), &about).await;
    assert!(probe.inner().pending_operations().await.unwrap().is_empty(), "{about}");

    let result = run(probe.inner().clone(), file, how, stamped.clone()).await;
    let attach = file["operation_code"] == 16;
    let refusal = match how {
        Touch::StaleShard => Some(ErrorKind::Stale),
        Touch::LockMapping => stamped.locked.then_some(ErrorKind::Locked),
        // The local store still knows the shard that was to be attached, with its mappings.
        Touch::CreateShard => attach.then_some(ErrorKind::AlreadyExists),
    };
    assert_eq!(result.as_ref().err().map(|error| error.kind()), refusal, "{about}: {result:?}");
    if !attach {
        assert_consistent(probe.inner(), &places(env), &about).await;
    }
}

/// Undoes what was left pending with one of the codes, met in every way in which it can be met.
async fn undo_all<E: RawStores>(codes: &[i64]) {
    let env = E::empty_stores(&DATABASES).await;
    let mut count = 0;
    for (name, file) in pending_files() {
        let code = file["operation_code"].as_i64().unwrap();
        if !codes.contains(&code) {
            continue;
        }
        let adds_shard = [1, 16].contains(&code);
        undo(&env, &name, &file, if adds_shard { Touch::CreateShard } else { Touch::StaleShard }).await;
        if Stamped::of(&env, &file).mapping.is_some() {
            undo(&env, &name, &file, Touch::LockMapping).await;
        }
        count += 1;
    }
    assert!(count > 0, "no files of {codes:?}");
}

pub async fn shards<E: RawStores>() {
    undo_all::<E>(&[1, 2, 3]).await;
}

pub async fn a_pending_attach_is_undone_where_the_reference_library_fails<E: RawStores>() {
    undo_all::<E>(&[16]).await;
}

pub async fn point_mappings<E: RawStores>() {
    undo_all::<E>(&[4, 6, 7]).await;
}

pub async fn range_mappings<E: RawStores>() {
    undo_all::<E>(&[8, 9, 10]).await;
}

pub async fn splits<E: RawStores>() {
    undo_all::<E>(&[14]).await;
}
