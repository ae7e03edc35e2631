//! Maps of each key type, `tests/data/keys-*.json`: listed, looked up, and used through the API.
//!
//! What the calls that made them had for an outcome, and how keys are encoded, is in `tests/keys/golden.rs`.

use bytes::Bytes;
use chrono::{DateTime, FixedOffset, NaiveDateTime};
use serde_json::Value;
use shardlet::{
    EncodedKey, ErrorKind, ListShardMap, LockToken, MappingStatus, Options, RangeShardMap, ShardKey, ShardMap,
    ShardMapManager, Stores, Validation,
};
use uuid::Uuid;

use super::view::{Handle, assert_found, assert_info, assert_lists, key, toggled, token};
use crate::support::consistency::{assert_consistent, mapping_shape};
use crate::support::golden_files::{DATABASES, golden_file, rows, text};
use crate::support::raw_stores::{RawStores, assert_rows, golden_rows, lines, load_state, places};

/// Stores with the rows of a file.
async fn loaded<E: RawStores>(file: &Value) -> (E, ShardMapManager<E::Backend>) {
    let env = E::empty_stores(&DATABASES).await;
    load_state(&env, file).await;
    let manager = ShardMapManager::open(env.backend(), Options::default()).await.unwrap();
    (env, manager)
}

/// Reads and uses the three maps of a file.
async fn maps<K: ShardKey, E: RawStores>(name: &str) {
    let file = golden_file(name);
    let view = &file["client_view"];
    let (env, manager) = loaded::<E>(&file).await;

    let mut listed = manager.shard_maps().await.unwrap();
    listed.sort_by(|a, b| a.name().cmp(b.name()));
    assert_eq!(listed.len(), 3);
    let by_name = [&view["full_range"], &view["list"], &view["range"]];
    listed.iter().zip(by_name).for_each(|(info, view)| assert_info(info, view));

    let list: ListShardMap<K, _> = manager.list_shard_map(text(&view["list"], "name")).await.unwrap();
    let range: RangeShardMap<K, _> = manager.range_shard_map(text(&view["range"], "name")).await.unwrap();
    let full: RangeShardMap<K, _> = manager.range_shard_map(text(&view["full_range"], "name")).await.unwrap();
    assert_lists(&env, &list, &view["list"]).await;
    assert_lists(&env, &range, &view["range"]).await;
    assert_lists(&env, &full, &view["full_range"]).await;
    look_up(&list, rows(view, "list_lookups_in_store")).await;
    look_up(&range, rows(view, "range_lookups_in_store")).await;
    assert_rows(&env, &lines(&golden_rows(&env, &file)), "reading changes nothing").await;

    use_map(&env, &list, Some(token(text(view, "list_lock_token")))).await;
    use_map(&env, &range, Some(token(text(view, "range_lock_token")))).await;
    if full.mappings().await.unwrap().is_empty() {
        // DIFFERENCE: the reference library refuses the least date, with which this range begins.
        let shards = full.shards().await.unwrap();
        let _ = full.create_mapping(.., &shards[0]).await.unwrap();
    }
    use_map(&env, &full, None).await;
}

async fn look_up<M: Handle, B: Stores>(map: &ShardMap<M, B>, lookups: &[Value]) {
    assert!(!lookups.is_empty());
    for lookup in lookups {
        let raw = text(lookup, "raw");
        if raw.len() <= 2 * EncodedKey::MAX_LENGTH {
            assert_found(map, &key(raw), lookup["found"].as_str()).await;
        }
        // DIFFERENCE: longer keys, which the reference library cuts, are refused.
    }
}

/// Routes every key by every mapping, takes mappings offline and online, with and without their lock.
async fn use_map<M: Handle, E: RawStores>(env: &E, map: &ShardMap<M, E::Backend>, lock: Option<LockToken>) {
    let case = map.name().to_owned();
    let before = map.shards().await.unwrap();
    let mappings = map.mappings().await.unwrap();
    for mapping in &mappings {
        assert_routed(env, map, mapping).await;
    }

    let free = mappings.iter().find(|mapping| {
        (mapping.record().lock_owner, mapping.record().status) == (LockToken::NONE, MappingStatus::Online)
    });
    let free = free.unwrap().clone();
    let offline = map.mark_mapping_offline(free.clone()).await.unwrap();
    assert_routed(env, map, &offline).await;
    let online = map.mark_mapping_online(offline).await.unwrap();
    assert_routed(env, map, &online).await;
    assert_eq!(mapping_shape(online.record()), mapping_shape(free.record()));

    let locked: Vec<_> =
        mappings.iter().filter(|mapping| mapping.record().lock_owner != LockToken::NONE).cloned().collect();
    assert_eq!(locked.len(), usize::from(lock.is_some()), "{case}: locked mappings");
    for (mapping, lock) in locked.into_iter().zip(lock) {
        assert_eq!(toggled(map, mapping.clone()).await.unwrap_err().kind(), ErrorKind::Locked, "{case}");
        let other = toggled(map, mapping.clone().presenting(lock)).await.unwrap();
        assert_routed(env, map, &other).await;
        let same = toggled(map, other).await.unwrap();
        assert_routed(env, map, &same).await;
        assert_eq!(mapping_shape(same.record()), mapping_shape(mapping.record()));
        assert_eq!(map.mapping_lock_owner(&same).await.unwrap(), lock, "{case}");
        let _ = map.unlock_mapping(same, lock).await.unwrap();
    }

    let credentials = env.credentials();
    let changed = before.iter().find(|shard| shard.id() == free.record().shard.id()).unwrap();
    let open = map.open_connection_to_shard(changed, &credentials, Validation::Validate).await;
    assert_eq!(open.unwrap_err().kind(), ErrorKind::Stale, "{case}: {changed} as it was before");
    for shard in map.shards().await.unwrap() {
        let open = map.open_connection_to_shard(&shard, &credentials, Validation::Validate).await;
        assert!(open.is_ok(), "{case}: {shard}: {open:?}");
    }
    assert_consistent(&env.backend(), &places(env), &case).await;
}

/// Opens a validated connection for the least key of a mapping; fails unless that is as its status says.
async fn assert_routed<M: Handle, E: RawStores>(env: &E, map: &ShardMap<M, E::Backend>, mapping: &M) {
    let key = M::Key::decode(&mapping.record().low);
    let opened = map.open_connection_for_key(&key, &env.credentials(), Validation::Validate).await;
    let refusal = match mapping.record().status {
        MappingStatus::Online => None,
        MappingStatus::Offline => Some(ErrorKind::Offline),
    };
    assert_eq!(opened.as_ref().err().map(|error| error.kind()), refusal, "{mapping}: {opened:?}");
}

pub async fn int32<E: RawStores>() {
    maps::<i32, E>("keys-int32.json").await;
}

pub async fn int64<E: RawStores>() {
    maps::<i64, E>("keys-int64.json").await;
}

pub async fn guid<E: RawStores>() {
    maps::<Uuid, E>("keys-guid.json").await;
}

pub async fn binary<E: RawStores>() {
    maps::<Bytes, E>("keys-binary.json").await;
}

pub async fn date_time<E: RawStores>() {
    maps::<NaiveDateTime, E>("keys-datetime.json").await;
}

pub async fn date_time_offset<E: RawStores>() {
    maps::<DateTime<FixedOffset>, E>("keys-datetimeoffset.json").await;
}

/// DIFFERENCE: the reference library refuses the least date, which it has made maps for here.
pub async fn the_earliest_instant_is_a_key<E: RawStores>() {
    let file = golden_file("keys-datetimeoffset-min.json");
    let (env, manager) = loaded::<E>(&file).await;
    let earliest: DateTime<FixedOffset> = key("");
    let list: ListShardMap<DateTime<FixedOffset>, _> = manager.list_shard_map("list_dto_min").await.unwrap();
    let shard = list.shard(&env.location("gold_s0")).await.unwrap();
    assert_found(&list, &earliest, None).await;
    let point = list.create_mapping(earliest, &shard).await.unwrap();
    assert_found(&list, &earliest, Some(&point.id().to_string())).await;
    use_map(&env, &list, None).await;

    let range: RangeShardMap<DateTime<FixedOffset>, _> = manager.range_shard_map("range_dto_min").await.unwrap();
    let shard = range.shard(&env.location("gold_s0")).await.unwrap();
    let whole = range.create_mapping(earliest.., &shard).await.unwrap();
    assert_found(&range, &earliest, Some(&whole.id().to_string())).await;
    use_map(&env, &range, None).await;
}
