//! A sequence of operations with the state after each, `tests/data/scenario-basic.json`: each state is read as the reference
//! library read it, and each operation, done by us on the state before it, leaves the rows that the reference library left.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use shardlet::{LockToken, Mapping, Options, RangeShardMap, Result, Shard, ShardMapManager, ShardStatus, ShardVersion};
use uuid::Uuid;

use super::view::{assert_found, assert_lists, toggled, token};
use crate::support::consistency::assert_consistent;
use crate::support::golden_files::{DATABASES, golden_file, rows, text};
use crate::support::raw_stores::{
    RawStores, Row, Rows, assert_rows, columns, golden_rows, lines, load_state, places, stored_rows,
};

const MAP: &str = "CustomerIDShardMap";

async fn open<E: RawStores>(env: &E) -> (ShardMapManager<E::Backend>, RangeShardMap<i64, E::Backend>) {
    let manager = ShardMapManager::open(env.backend(), Options::default()).await.unwrap();
    let map = manager.range_shard_map(MAP).await.unwrap();
    (manager, map)
}

pub async fn each_state_is_read_as_the_reference_library_reads_it<E: RawStores>() {
    let file = golden_file("scenario-basic.json");
    let env = E::empty_stores(&DATABASES).await;
    let mut used = 0;
    for step in rows(&file, "steps") {
        let (name, view) = (text(step, "step"), &step["client_view"]);
        load_state(&env, step).await;
        let (manager, map) = open(&env).await;
        let maps = manager.shard_maps().await.unwrap();
        assert_eq!(maps.iter().map(|map| map.name()).collect::<Vec<_>>(), [MAP], "{name}");
        assert_lists(&env, &map, view).await;

        let ranges: Vec<(i64, i64, &str)> = rows(view, "mappings")
            .iter()
            .map(|mapping| {
                let bound = |name: &str| text(mapping, name).parse().unwrap();
                (bound("low"), bound("high"), text(mapping, "id"))
            })
            .collect();
        let edges = ranges.iter().flat_map(|(low, high, _)| [low - 1, *low, high - 1, *high]);
        for key in edges.chain([i64::MIN, -1, i64::MAX]).collect::<BTreeSet<_>>() {
            let holder = ranges.iter().find(|(low, high, _)| (*low..*high).contains(&key));
            assert_found(&map, &key, holder.map(|(_, _, id)| *id)).await;
        }
        assert_consistent(&env.backend(), &places(&env), name).await;
        assert_rows(&env, &lines(&golden_rows(&env, step)), &format!("after reading: {name}")).await;

        for mapping in map.mappings().await.unwrap() {
            let owner = mapping.record().lock_owner;
            let other = toggled(&map, mapping.holding(owner)).await.unwrap();
            let _ = toggled(&map, other).await.unwrap();
            used += 1;
        }
        assert_consistent(&env.backend(), &places(&env), &format!("after use: {name}")).await;
    }
    assert!(used > 60, "{used} mappings were used");
}

pub async fn each_step_done_by_us_leaves_the_rows_that_it_left<E: RawStores>() {
    let file = golden_file("scenario-basic.json");
    let steps = rows(&file, "steps");
    let env = E::empty_stores(&DATABASES).await;
    let lock = steps.iter().find_map(|step| step["result"]["token"].as_str()).map(token).unwrap();
    // Before the first step there was no map.
    let mut before = steps[0].clone();
    before["gsm"]["ShardMapsGlobal"] = json!([]);
    for after in steps {
        let name = text(after, "step");
        load_state(&env, &before).await;
        let manager = ShardMapManager::open(env.backend(), Options::default()).await.unwrap();
        let outcome = match do_step(&env, &manager, name, lock).await {
            Ok(()) => "ok".to_owned(),
            Err(error) => format!("{:?}/{:?}", error.category(), error.code()),
        };
        assert_eq!(outcome, reported(&after["result"]), "{name}");

        let mut known = ids(&golden_rows(&env, &before));
        let _ = known.insert(lock.to_string());
        let (ours, theirs) = (stored_rows(&env).await, golden_rows(&env, after));
        assert_eq!(shape(&ours, &known), shape(&theirs, &known), "{name}");
        assert_consistent(&env.backend(), &places(&env), name).await;
        before = after.clone();
    }
}

/// The outcome of a call that the reference library reported: category and code of an error.
fn reported(result: &Value) -> String {
    match result.as_str().and_then(|result| result.strip_prefix("error: ShardManagementException ")) {
        Some(error) => error.split(':').next().unwrap().to_owned(),
        None => "ok".to_owned(),
    }
}

/// Does what a step of the file says, with handles that are up to date unless it says otherwise.
async fn do_step<E: RawStores>(
    env: &E,
    manager: &ShardMapManager<E::Backend>,
    step: &str,
    lock: LockToken,
) -> Result<()> {
    if step == "create range map of int64 'CustomerIDShardMap'" {
        return manager.create_range_shard_map::<i64>(MAP).await.map(drop);
    }
    let map: RangeShardMap<i64, _> = manager.range_shard_map(MAP).await?;
    let at = |database: &str| env.location(database);
    let map_range = async |low: i64, high: i64, database: &str| {
        let shard = map.shard(&at(database)).await?;
        map.create_mapping(low..high, &shard).await.map(drop)
    };
    let of = async |key: i64| map.mapping_for_key(&key).await;
    let locked = async |key: i64| Ok::<_, shardlet::Error>(of(key).await?.holding(lock));
    match step.split(" at [DataSource").next().unwrap() {
        "create shard gold_s0" => map.create_shard(&at("gold_s0")).await.map(drop),
        "create shard gold_s1" => map.create_shard(&at("gold_s1")).await.map(drop),
        "create shard gold_s2" => map.create_shard(&at("gold_s2")).await.map(drop),
        "create range mapping [0,50) on gold_s0" => map_range(0, 50, "gold_s0").await,
        "create range mapping [50,100) on gold_s1" => map_range(50, 100, "gold_s1").await,
        "create range mapping [100,150) on gold_s0" => map_range(100, 150, "gold_s0").await,
        "create range mapping [150,200) on gold_s1" => map_range(150, 200, "gold_s1").await,
        "create range mapping [200,300) on gold_s2" => map_range(200, 300, "gold_s2").await,
        "create overlapping range mapping [25,75) on gold_s2 (rejected)" => map_range(25, 75, "gold_s2").await,
        "split [0,50) at 25" => map.split_mapping(of(0).await?, 25).await.map(drop),
        "merge [0,25) and [25,50)" => map.merge_mappings(of(0).await?, of(25).await?).await.map(drop),
        "move [100,150) online to gold_s1 (rejected, mapping is online)" | "move [100,150) to gold_s1" => {
            let target = map.shard(&at("gold_s1")).await?;
            map.move_mapping(of(100).await?, &target).await.map(drop)
        }
        "mark [100,150) offline" => map.mark_mapping_offline(of(100).await?).await.map(drop),
        "mark [100,150) online" => map.mark_mapping_online(of(100).await?).await.map(drop),
        "lock [150,200) with a token" => map.lock_mapping(of(150).await?, lock).await.map(drop),
        "mark [150,200) offline without the token (rejected)" => {
            map.mark_mapping_offline(of(150).await?).await.map(drop)
        }
        "mark [150,200) offline with the token" => map.mark_mapping_offline(locked(150).await?).await.map(drop),
        "split [150,200) at 175 with the token" => map.split_mapping(locked(150).await?, 175).await.map(drop),
        "merge [150,175) and [175,200) with the token" => {
            map.merge_mappings(locked(150).await?, locked(175).await?).await.map(drop)
        }
        "unlock everything held by the token" => map.unlock_mappings(lock).await.map(drop),
        "delete [200,300) while online (rejected)" | "delete [200,300)" => map.delete_mapping(of(200).await?).await,
        "mark [200,300) offline" => map.mark_mapping_offline(of(200).await?).await.map(drop),
        "delete shard gold_s2 with a stale shard object (rejected, version changed)" => {
            let now = map.shard(&at("gold_s2")).await?;
            let old =
                Shard::new(now.id(), ShardVersion::random(), map.id(), now.location().clone(), ShardStatus::Online);
            map.delete_shard(old).await
        }
        "delete shard gold_s1 (rejected, has mappings)" => map.delete_shard(map.shard(&at("gold_s1")).await?).await,
        "delete shard gold_s2" => map.delete_shard(map.shard(&at("gold_s2")).await?).await,
        "set status of shard gold_s0 to offline (internal UpdateShard)" => {
            map.update_shard(map.shard(&at("gold_s0")).await?, ShardStatus::Offline).await.map(drop)
        }
        "delete the shard map (rejected, has shards)" => manager.delete_shard_map(MAP).await,
        other => panic!("a step that this test does not know: {other}"),
    }
}

fn is_id(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| text.len() == 36 && Uuid::parse_str(text).is_ok())
}

/// Every id and version in the rows, and the one that stands for none.
fn ids(rows: &Rows) -> BTreeSet<String> {
    let in_rows = rows.values().flatten().flat_map(|row| row.values()).filter_map(is_id);
    in_rows.map(ToOwned::to_owned).chain([Uuid::nil().to_string()]).collect()
}

/// The rows with a number for each id that is not known, so that two runs of an operation compare: what counts is where its
/// new ids are equal.
fn shape(rows: &Rows, known: &BTreeSet<String>) -> Vec<String> {
    let blurred = |row: &Row| -> Vec<String> {
        columns(row)
            .into_iter()
            .map(|(column, value)| match is_id(value) {
                Some(id) if !known.contains(id) => format!("{column}=new"),
                _ => format!("{column}={value}"),
            })
            .collect()
    };
    let mut numbers = BTreeMap::new();
    let mut lines = Vec::new();
    for ((store, table), rows) in rows {
        let mut rows: Vec<_> = rows.iter().collect();
        rows.sort_by_key(|row| blurred(row));
        for row in rows {
            let values: Vec<_> = columns(row)
                .into_iter()
                .map(|(column, value)| match is_id(value) {
                    Some(id) if !known.contains(id) => {
                        let next = numbers.len();
                        format!("{column}=new {}", numbers.entry(id.to_owned()).or_insert(next))
                    }
                    _ => format!("{column}={value}"),
                })
                .collect();
            lines.push(format!("{store:?} {table}: {}", values.join(" ")));
        }
    }
    lines
}
