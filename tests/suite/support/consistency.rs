//! Whether the stores agree, and what they hold in a form that can be compared.

use shardlet::model::MappingRecord;
use shardlet::{ErrorKind, Shard, ShardLocation, ShardMapInfo, Stores};

/// Fails unless the global store and every local store say the same of all maps: shards by id, version, status and
/// location, mappings by id, bounds, status and shard; and unless no operation is pending. `elsewhere` names places that
/// may have been shards before; what they still hold has to be known to the global store too.
pub async fn assert_consistent<B: Stores>(backend: &B, elsewhere: &[ShardLocation], case: &str) {
    let pending = backend.pending_operations().await.unwrap();
    assert!(pending.is_empty(), "{case}: still pending: {pending:?}");
    let mut registered = Vec::new();
    for (map, mappings) in backend.load_all().await.unwrap() {
        let shards = backend.shards(map.id()).await.unwrap();
        for mapping in &mappings {
            let shard = shards.iter().find(|shard| shard.id() == mapping.shard.id());
            assert_eq!(shard.map(shard_facts), Some(shard_facts(&mapping.shard)), "{case}: shard of a mapping");
        }
        for shard in shards {
            let local = backend.local_shards(shard.location()).await.unwrap();
            let local: Vec<_> = local.iter().filter(|(_, local)| local.id() == shard.id()).collect();
            let [(local_map, local_shard)] = local[..] else {
                panic!("{case}: the store of {shard} holds {} rows of it", local.len())
            };
            assert_eq!(local_map, &map, "{case}: map at {shard}");
            assert_eq!(shard_facts(local_shard), shard_facts(&shard), "{case}: shard at {shard}");
            let of_shard = |mappings: &[MappingRecord]| -> Vec<_> {
                mappings.iter().filter(|mapping| mapping.shard.id() == shard.id()).map(mapping_facts).collect()
            };
            let local = backend.local_mappings(shard.location(), map.id()).await.unwrap();
            assert_eq!(of_shard(&local), of_shard(&mappings), "{case}: mappings at {shard}, then in the global store");
            registered.push((map.id(), shard));
        }
    }
    let places = registered.iter().map(|(_, shard)| shard.location()).chain(elsewhere);
    for place in places {
        for (map, local) in local_rows(backend, place).await {
            let known = registered.iter().any(|(id, shard)| (*id, shard.id()) == (map.id(), local.id()));
            assert!(known, "{case}: the store at {place} holds a shard that the global store does not know");
        }
    }
}

/// The rows of a place, or none where there is no store.
async fn local_rows<B: Stores>(backend: &B, place: &ShardLocation) -> Vec<(ShardMapInfo, Shard)> {
    match backend.local_version(place).await {
        Ok(Some(_)) => backend.local_shards(place).await.unwrap(),
        Ok(None) => Vec::new(),
        Err(error) if error.kind() == ErrorKind::Unavailable => Vec::new(),
        Err(error) => panic!("{place}: {error}"),
    }
}

/// Everything that a shard is.
pub fn shard_facts(shard: &Shard) -> String {
    format!("{} {} at version {} in {}", shard_shape(shard), shard.id(), shard.version(), shard.shard_map_id())
}

/// What a shard is, without what is random.
pub fn shard_shape(shard: &Shard) -> String {
    format!("shard {} {}", shard.location(), shard.status())
}

/// Everything that both stores know of a mapping.
pub fn mapping_facts(mapping: &MappingRecord) -> String {
    format!("{} {} in {} on {}", mapping_shape(mapping), mapping.id, mapping.map, mapping.shard.id())
}

/// What both stores know of a mapping, without what is random.
pub fn mapping_shape(mapping: &MappingRecord) -> String {
    let high = mapping.high.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
    format!("mapping {} to {high} {} at {}", mapping.low, mapping.status, mapping.shard.location())
}

/// What the global store holds, line by line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// With ids, versions and locks.
    pub exact: Vec<String>,
    /// Without what is random.
    pub shape: Vec<String>,
}

/// What readers of the global store see.
pub async fn facts<B: Stores>(backend: &B) -> Facts {
    let (mut exact, mut shape) = (Vec::new(), Vec::new());
    for (map, mappings) in backend.load_all().await.unwrap() {
        for shard in backend.shards(map.id()).await.unwrap() {
            exact.push(format!("{}: {}", map.name(), shard_facts(&shard)));
            shape.push(format!("{}: {}", map.name(), shard_shape(&shard)));
        }
        for mapping in mappings {
            exact.push(format!("{}: {} locked by {}", map.name(), mapping_facts(&mapping), mapping.lock_owner));
            let locked = mapping.lock_owner != shardlet::LockToken::NONE;
            shape.push(format!("{}: {} locked: {locked}", map.name(), mapping_shape(&mapping)));
        }
    }
    exact.sort();
    shape.sort();
    Facts { exact, shape }
}
