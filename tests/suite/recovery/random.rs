//! Random mappings in all stores, and random choices, against a naive model that goes key by key.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::{Strategy, prop_oneof};
use proptest::strategy::{Just, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use shardlet::model::MappingRecord;
use shardlet::{KeyRange, MappingId, MappingStatus, Resolution};

use super::fixture::{INF, OFF, ON, World, brief};
use crate::conformance::Environment;

/// Keys are below this; the last one stands for all that follow.
const KEYS: usize = 12;
const SHARDS: usize = 3;

/// Which mapping a key has, by number, and whether that is online.
type Cell = Option<(u8, bool)>;

/// The cells of all keys; neighbouring keys of one number are one mapping.
type Layout = Vec<Cell>;

#[derive(Clone, Debug)]
struct Stores {
    /// Who has each key by the global store, and a layout of its mappings.
    owners: Vec<usize>,
    global: Layout,
    /// What each shard's own store says; `None` for what the global store says of the shard.
    locals: Vec<Vec<Option<Cell>>>,
    /// Whether a local mapping takes the id of a global one that begins where it begins.
    same_ids: bool,
    shard: usize,
    choices: Vec<Resolution>,
}

fn layout_cell() -> impl Strategy<Value = Cell> {
    prop_oneof![2 => Just(None), 5 => (0..3_u8, prop_oneof![3 => Just(true), 1 => Just(false)]).prop_map(Some)]
}

fn stores() -> impl Strategy<Value = Stores> {
    let local = || vec(prop_oneof![3 => Just(None), 2 => layout_cell().prop_map(Some)], KEYS);
    let choice = prop_oneof![Just(Resolution::KeepGlobal), Just(Resolution::KeepLocal), Just(Resolution::Leave)];
    (
        vec(0..SHARDS, KEYS),
        vec(layout_cell(), KEYS),
        vec(local(), SHARDS),
        proptest::bool::ANY,
        0..SHARDS,
        vec(choice, 4),
    )
        .prop_map(|(owners, global, locals, same_ids, shard, choices)| {
            // Runs of one owner, so that there are ranges.
            let owners = (0..KEYS).map(|key| owners[key / 3]).collect();
            Stores { owners, global, locals, same_ids, shard, choices }
        })
}

/// What a store says of one key: status and the mapping, as an index into what was written.
type Cells = Vec<Option<(usize, MappingRecord)>>;

fn key_of(index: usize) -> i64 {
    i64::try_from(index).unwrap() * 10
}

/// The ranges of a layout: from, to, status. One that reaches the last key has no end.
fn ranges(layout: &[Cell]) -> Vec<(i64, i64, MappingStatus)> {
    let mut found: Vec<(i64, i64, MappingStatus, u8)> = Vec::new();
    for (index, cell) in layout.iter().enumerate() {
        let Some((number, online)) = *cell else { continue };
        let status = if online { ON } else { OFF };
        let (low, high) = (key_of(index), if index + 1 == KEYS { INF } else { key_of(index + 1) });
        match found.last_mut() {
            Some(last) if last.1 == low && (last.2, last.3) == (status, number) => last.1 = high,
            _ => found.push((low, high, status, number)),
        }
    }
    found.into_iter().map(|(low, high, status, _)| (low, high, status)).collect()
}

/// Key by key, which mapping holds it.
fn cells(owner: impl Fn(&MappingRecord) -> usize, mappings: &[MappingRecord]) -> Cells {
    let mut cells: Cells = vec![None; KEYS];
    for mapping in mappings {
        let (low, high, _) = brief(mapping);
        for (index, cell) in cells.iter_mut().enumerate() {
            if low <= key_of(index) && key_of(index) < high {
                assert!(cell.is_none(), "two mappings hold key {}", key_of(index));
                *cell = Some((owner(mapping), mapping.clone()));
            }
        }
    }
    cells
}

struct Seen {
    global: Cells,
    locals: Vec<Cells>,
}

impl Seen {
    async fn of<E: Environment>(world: &World<E>) -> Self {
        let mut all = Vec::new();
        let mut locals = Vec::new();
        let mut ids = HashMap::new();
        for number in 0..SHARDS {
            let global = world.global(number).await;
            ids.extend(global.iter().map(|mapping| (mapping.id, number)));
            all.extend(global);
            locals.push(cells(|_| number, &world.local(number).await));
        }
        Self { global: cells(|mapping| ids[&mapping.id], &all), locals }
    }

    /// Whether both stores say the same of a key, as far as the shard is concerned.
    fn differs(&self, shard: usize, key: usize) -> bool {
        match (&self.global[key], &self.locals[shard][key]) {
            (Some((owner, global)), Some((_, local))) => {
                (*owner, global.id, brief(global)) != (shard, local.id, brief(local))
            }
            (Some((owner, _)), None) => *owner == shard,
            (None, Some(_)) => true,
            (None, None) => false,
        }
    }

    fn says(cell: &Option<(usize, MappingRecord)>) -> Option<(usize, MappingStatus)> {
        cell.as_ref().map(|(owner, mapping)| (*owner, mapping.status))
    }
}

async fn write<E: Environment>(world: &World<E>, stores: &Stores) {
    world.clear().await;
    for shard in 0..SHARDS {
        let of_shard = |key: usize| stores.global[key].filter(|_| stores.owners[key] == shard);
        let global = world.records(shard, &ranges(&(0..KEYS).map(of_shard).collect::<Vec<_>>())).await;
        world.set_global(shard, global.clone()).await;
        let layout: Vec<_> = (0..KEYS).map(|key| stores.locals[shard][key].unwrap_or(of_shard(key))).collect();
        let mut local = world.records(shard, &ranges(&layout)).await;
        for mapping in &mut local {
            let twin =
                global.iter().find(|it| brief(it) == brief(mapping) || (stores.same_ids && it.low == mapping.low));
            if let Some(twin) = twin {
                mapping.id = twin.id;
            }
        }
        world.set_local(shard, local).await;
    }
}

/// One case: what is resolved is as chosen, and nothing else has changed.
async fn resolves_as_chosen<E: Environment>(world: &World<E>, stores: &Stores) {
    write(world, stores).await;
    let before = Seen::of(world).await;
    let shard = stores.shard;
    let differences = world.look(shard).await;

    // What differs is found, all of it and nothing else.
    let mut choices: Vec<Option<Resolution>> = vec![None; KEYS];
    let choose = |difference: &shardlet::MappingDifference| {
        let low = *difference.range::<i64>().unwrap().low();
        stores.choices[usize::try_from(low / 10).unwrap() % stores.choices.len()]
    };
    for difference in differences.of_mappings() {
        let range: KeyRange<i64> = difference.range().unwrap();
        for (key, choice) in choices.iter_mut().enumerate().filter(|(key, _)| range.contains(&key_of(*key))) {
            assert_eq!(*choice, None, "key {} is in two differences", key_of(key));
            *choice = Some(choose(difference));
        }
    }
    for (key, choice) in choices.iter().enumerate() {
        assert_eq!(choice.is_some(), before.differs(shard, key), "key {}: {differences}", key_of(key));
    }

    world.recovery().resolve_each(&differences, choose).await.unwrap();
    let after = Seen::of(world).await;
    for key in 0..KEYS {
        let says = Seen::says;
        let (global, local) = (says(&before.global[key]), says(&before.locals[shard][key]));
        let mut expected = (global, before.locals.iter().map(|cells| says(&cells[key])).collect::<Vec<_>>());
        match choices[key] {
            Some(Resolution::KeepGlobal) => expected.1[shard] = global.filter(|(owner, _)| *owner == shard),
            Some(Resolution::KeepLocal) => match (local, global) {
                (Some(_), other) => {
                    expected.0 = local;
                    if let Some((other, _)) = other.filter(|(other, _)| *other != shard) {
                        expected.1[other] = None;
                    }
                }
                (None, _) => expected.0 = global.filter(|(owner, _)| *owner != shard),
            },
            Some(Resolution::Leave) | None => {}
        }
        let found = (says(&after.global[key]), after.locals.iter().map(|cells| says(&cells[key])).collect::<Vec<_>>());
        assert_eq!(found, expected, "key {}, {:?}", key_of(key), choices[key]);
        // Who was asked to make them agree, has; who was not, has not.
        let left = choices[key] == Some(Resolution::Leave);
        assert_eq!(after.differs(shard, key), left, "key {}, {:?}", key_of(key), choices[key]);
    }
    ids_are_honest(&before, &after);
    let again = world.look(shard).await;
    assert!(again.of_shard().is_empty() || choices.iter().flatten().all(|it| *it == Resolution::Leave), "{again}");
}

/// An id that was known has bounds that it had.
fn ids_are_honest(before: &Seen, after: &Seen) {
    let all = |seen: &Seen| -> Vec<MappingRecord> {
        let cells = seen.global.iter().chain(seen.locals.iter().flatten()).flatten();
        cells.map(|(_, mapping)| mapping.clone()).collect()
    };
    let mut known: HashMap<MappingId, Vec<_>> = HashMap::new();
    for mapping in all(before) {
        known.entry(mapping.id).or_default().push(mapping.range());
    }
    for mapping in all(after) {
        if let Some(bounds) = known.get(&mapping.id) {
            assert!(bounds.contains(&mapping.range()), "an id has got other bounds");
        }
    }
}

fn runner(cases: u32) -> TestRunner {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 500, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

/// A few cases as they are drawn, for stores of any speed.
pub async fn random_stores_are_resolved_as_chosen<E: Environment>() {
    let world = World::<E>::new().await;
    let mut runner = runner(6);
    for _ in 0..6 {
        let stores = stores().new_tree(&mut runner).unwrap().current();
        resolves_as_chosen(&world, &stores).await;
    }
}

/// Many cases; a failing one is printed, made as small as it still fails.
#[allow(dead_code, reason = "for stores that are fast")]
pub fn many_random_stores_are_resolved_as_chosen<E: Environment>() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = runtime.block_on(World::<E>::new());
    let outcome = runner(150).run(&stores(), |stores| {
        runtime.block_on(resolves_as_chosen(&world, &stores));
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}
