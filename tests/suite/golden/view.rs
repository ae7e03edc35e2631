//! A shard map seen through our API, beside what the reference library's API reported of the same rows (`client_view`).

use serde_json::Value;
use shardlet::{
    EncodedKey, ErrorCode, KeyType, KeyedMapping, LockToken, Mapping, MappingFilter, MappingStatus, PointMapping,
    RangeMapping, ShardKey, ShardLocation, ShardMap, ShardMapInfo, ShardMapKind, Stores,
};
use uuid::Uuid;

use crate::support::golden_files::{golden_location, rows, text, unhex};
use crate::support::raw_stores::RawStores;

/// Point and range mappings, as far as these tests use them alike.
pub trait Handle: Mapping {
    /// The mappings that have a key in common with this one.
    fn overlapping(&self) -> MappingFilter<Self::Key>;

    fn presenting(self, token: LockToken) -> Self;
}

impl<K: ShardKey> Handle for PointMapping<K> {
    fn overlapping(&self) -> MappingFilter<K> {
        // The least range that holds the key and has a high bound would need the next key.
        MappingFilter::all().in_range(self.key()..)
    }

    fn presenting(self, token: LockToken) -> Self {
        KeyedMapping::holding(self, token)
    }
}

impl<K: ShardKey> Handle for RangeMapping<K> {
    fn overlapping(&self) -> MappingFilter<K> {
        MappingFilter::all().in_range(self.range())
    }

    fn presenting(self, token: LockToken) -> Self {
        KeyedMapping::holding(self, token)
    }
}

/// The key of an encoding.
pub fn key<K: ShardKey>(raw: &str) -> K {
    K::decode(&EncodedKey::from_stored(K::KEY_TYPE, &unhex(raw)).unwrap())
}

/// A token that a file names.
pub fn token(text: &str) -> LockToken {
    LockToken::from(Uuid::parse_str(text).unwrap())
}

/// The place of a shard in the view, after a look at what it says of it.
fn place<E: RawStores>(env: &E, shard: &Value) -> ShardLocation {
    let database = text(shard, "database");
    let there = golden_location(database);
    assert_eq!(there.to_string(), text(shard, "location"));
    assert_eq!(there.data_source(), text(shard, "data_source"));
    env.location(database)
}

/// The low and high bound of a mapping in the view; `None` is +infinity, and what points have.
fn bounds(mapping: &Value) -> (&str, Option<&str>) {
    match mapping.get("raw") {
        Some(raw) => (raw.as_str().unwrap(), None),
        None => (text(mapping, "raw_low"), mapping["raw_high"].as_str()),
    }
}

/// A mapping of the view, as [`seen`] has ours.
fn expected<E: RawStores>(env: &E, mapping: &Value) -> String {
    let (low, high) = bounds(mapping);
    format!(
        "{} 0x{low} {:?} {} on {} at {} locked by {}",
        text(mapping, "id"),
        high.map(|high| format!("0x{high}")),
        text(mapping, "status"),
        env.location(text(mapping, "database")),
        text(mapping, "shard_version"),
        text(mapping, "lock_owner")
    )
}

fn seen<M: Mapping>(mapping: &M) -> String {
    let record = mapping.record();
    format!(
        "{} {} {:?} {} on {} at {} locked by {}",
        record.id,
        record.low,
        record.high.as_ref().map(ToString::to_string),
        record.status,
        record.shard.location(),
        record.shard.version(),
        record.lock_owner
    )
}

/// Fails unless a map that is listed is the one of the view.
pub fn assert_info(info: &ShardMapInfo, view: &Value) {
    let kind = match info.kind() {
        ShardMapKind::List => "List",
        ShardMapKind::Range => "Range",
    };
    assert_eq!(
        [info.name(), kind, &info.key_type().to_string(), &info.id().to_string()],
        ["name", "type", "key_type", "id"].map(|name| text(view, name))
    );
}

/// Fails unless shards and mappings of a map are those of the view, listed in every way.
pub async fn assert_lists<M: Handle, E: RawStores>(env: &E, map: &ShardMap<M, E::Backend>, view: &Value) {
    assert_info(map.info(), view);
    let shards = map.shards().await.unwrap();
    let mut seen_shards: Vec<_> = shards
        .iter()
        .map(|shard| format!("{} {} {} {}", shard.location(), shard.id(), shard.version(), shard.status()))
        .collect();
    let mut expected_shards: Vec<_> = rows(view, "shards")
        .iter()
        .map(|shard| {
            let [id, version, status] = ["id", "version", "status"].map(|name| text(shard, name));
            format!("{} {id} {version} {status}", place(env, shard))
        })
        .collect();
    seen_shards.sort();
    expected_shards.sort();
    assert_eq!(seen_shards, expected_shards, "{}", map.name());

    let mappings = map.mappings().await.unwrap();
    let in_view = rows(view, "mappings");
    let all: Vec<_> = in_view.iter().map(|mapping| expected(env, mapping)).collect();
    assert_eq!(mappings.iter().map(seen).collect::<Vec<_>>(), all, "{}", map.name());
    for shard in &shards {
        let on_shard = map.mappings_matching(&MappingFilter::all().on_shard(shard)).await.unwrap();
        let of_shard: Vec<_> = in_view
            .iter()
            .filter(|mapping| env.location(text(mapping, "database")) == *shard.location())
            .map(|mapping| expected(env, mapping))
            .collect();
        assert_eq!(on_shard.iter().map(seen).collect::<Vec<_>>(), of_shard, "{} on {shard}", map.name());
    }

    for (index, mapping) in mappings.iter().enumerate() {
        // The text of dates depends on the culture, that of the others does not.
        if matches!(M::Key::KEY_TYPE, KeyType::Int32 | KeyType::Int64 | KeyType::Guid | KeyType::Binary) {
            assert_eq!(mapping.to_string(), text(&in_view[index], "text"));
        }
        let owner = map.mapping_lock_owner(mapping).await.unwrap();
        assert_eq!(owner.to_string(), text(&in_view[index], "lock_owner"), "{mapping}");
        let overlapping = map.mappings_matching(&mapping.overlapping()).await.unwrap();
        let overlapping: Vec<_> = overlapping.iter().map(seen).collect();
        match M::KIND {
            ShardMapKind::List => assert_eq!(overlapping, all[index..], "{mapping}"),
            ShardMapKind::Range => assert_eq!(overlapping, all[index..=index], "{mapping}"),
        }
        assert_found(map, &M::Key::decode(&mapping.record().low), Some(text(&in_view[index], "id"))).await;
    }
}

/// Fails unless a key is found in this mapping, or in none: in the store, and through the cache.
pub async fn assert_found<M: Mapping, B: Stores>(map: &ShardMap<M, B>, key: &M::Key, mapping: Option<&str>) {
    let id = |found: &M| found.record().id.to_string();
    map.clear_cache();
    assert!(map.cached_mapping(key).is_none(), "{key:?}");
    match map.lookup_mapping(key).await {
        Ok(found) => assert_eq!(Some(id(&found).as_str()), mapping, "{key:?}"),
        Err(error) => assert_eq!((error.code(), mapping), (ErrorCode::MappingNotFoundForKey, None), "{key:?}: {error}"),
    }
    assert_eq!(map.cached_mapping(key).as_ref().map(id).as_deref(), mapping, "{key:?}");
    let stored = map.find_mapping_for_key(key).await.unwrap();
    assert_eq!(stored.as_ref().map(id).as_deref(), mapping, "{key:?}");
}

/// A mapping as it is now, marked the other way.
pub async fn toggled<M: Handle, B: Stores>(map: &ShardMap<M, B>, mapping: M) -> shardlet::Result<M> {
    match mapping.record().status {
        MappingStatus::Online => map.mark_mapping_offline(mapping).await,
        MappingStatus::Offline => map.mark_mapping_online(mapping).await,
    }
}
