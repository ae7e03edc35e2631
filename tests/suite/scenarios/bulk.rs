//! Creating many mappings: what comes back, in how many operations, and what is refused before any of them.

use std::fmt::Debug;

use shardlet::{
    BulkCreation, BulkOptions, EncodedKey, ErrorCode, ErrorKind, KeyRange, ListShardMap, MappingStatus, NoCredentials,
    Operation, Options, PlanAction, PointMapping, RangeMapping, RangeShardMap, Result, Shard, ShardKey, ShardMap,
    ShardMapManager, Sqlite, Stores, Validation,
};

use super::{Handle, refused};
use crate::support::consistency::assert_consistent;
use crate::support::create_many::CreateMany;
use crate::support::probe::{Call, Probe};
use crate::support::{location, manager, shards};

pub type Store = Probe<Sqlite>;

/// What is different for points and ranges. A mapping of the number `n` is of key `10 n`, or of that and the nine after it.
pub trait Many: Handle + CreateMany + PartialEq + Debug {
    async fn map<B: Stores>(manager: &ShardMapManager<B>) -> ShardMap<Self, B>;

    fn many<B: Stores>(
        map: &ShardMap<Self, B>,
        numbers: impl IntoIterator<Item = (i64, Shard)>,
        options: &BulkOptions,
    ) -> Result<BulkCreation<Self, B>> {
        let bounds = |number| (10 * number, Some(10 * number + 10));
        Self::create_many(map, numbers.into_iter().map(|(number, shard)| (bounds(number), shard)), options)
    }

    fn one<B: Stores>(map: &ShardMap<Self, B>, number: i64, shard: &Shard) -> Operation<Self>;

    fn number(&self) -> i64;

    /// How a key that is mapped is refused.
    const TAKEN: (ErrorKind, ErrorCode);
}

impl Many for PointMapping<i64> {
    async fn map<B: Stores>(manager: &ShardMapManager<B>) -> ListShardMap<i64, B> {
        manager.list_shard_map_or_create("points").await.unwrap()
    }

    fn one<B: Stores>(map: &ListShardMap<i64, B>, number: i64, shard: &Shard) -> Operation<Self> {
        map.create_mapping(10 * number, shard)
    }

    fn number(&self) -> i64 {
        self.key() / 10
    }

    const TAKEN: (ErrorKind, ErrorCode) = (ErrorKind::AlreadyExists, ErrorCode::MappingPointAlreadyMapped);
}

impl Many for RangeMapping<i64> {
    async fn map<B: Stores>(manager: &ShardMapManager<B>) -> RangeShardMap<i64, B> {
        manager.range_shard_map_or_create("ranges").await.unwrap()
    }

    fn one<B: Stores>(map: &RangeShardMap<i64, B>, number: i64, shard: &Shard) -> Operation<Self> {
        map.create_mapping(10 * number..10 * number + 10, shard)
    }

    fn number(&self) -> i64 {
        let range = self.range();
        assert_eq!(range.high(), Some(&(range.low() + 10)));
        range.low() / 10
    }

    const TAKEN: (ErrorKind, ErrorCode) = (ErrorKind::Overlaps, ErrorCode::MappingRangeAlreadyMapped);
}

/// Tests of what is alike for points and ranges.
macro_rules! for_points_and_ranges {
    ($($case:ident,)*) => {
        mod points {
            $(#[tokio::test]
            async fn $case() {
                super::$case::<shardlet::PointMapping<i64>>().await;
            })*
        }

        mod ranges {
            $(#[tokio::test]
            async fn $case() {
                super::$case::<shardlet::RangeMapping<i64>>().await;
            })*
        }
    };
}
pub(super) use for_points_and_ranges;

for_points_and_ranges! {
    they_come_back_in_the_order_of_their_keys,
    each_batch_is_one_operation_of_three_requests,
    as_many_operations_as_needed,
    one_that_is_known_spares_the_first_operation,
    nothing_is_asked_of_a_store_before_a_batch_is_awaited,
    nothing_to_create,
    a_shard_of_another_map,
    progress_is_told_after_each_batch,
    a_plan_shows_what_a_batch_adds,
}

/// A client with a map of that many shards, and what counts its requests.
pub async fn counted<M: Many>(count: usize) -> (Store, ShardMap<M, Store>, Vec<Shard>) {
    let probe = Probe::new(Sqlite::in_memory());
    let manager = ShardMapManager::open_or_create(probe.clone(), Options::default()).await.unwrap();
    let map = M::map(&manager).await;
    let on = shards(&map, count).await;
    probe.reset();
    (probe, map, on)
}

pub fn batches_of(size: usize) -> BulkOptions {
    BulkOptions::default().batch_size(size)
}

pub fn all_on(shard: &Shard, numbers: impl IntoIterator<Item = i64>) -> Vec<(i64, Shard)> {
    numbers.into_iter().map(|number| (number, shard.clone())).collect()
}

pub fn numbers<M: Many>(mappings: &[M]) -> Vec<i64> {
    mappings.iter().map(Many::number).collect()
}

async fn they_come_back_in_the_order_of_their_keys<M: Many>() {
    for status in [MappingStatus::Online, MappingStatus::Offline] {
        let manager = manager().await;
        let map = M::map(&manager).await;
        let on = shards(&map, 3).await;
        // From the middle, and the last shard first.
        let shard_of = |number: i64| 2 - usize::try_from(number % 3).unwrap();
        let wanted = (0..50).map(|number| (number * 27) % 50).map(|number| (number, on[shard_of(number)].clone()));
        let creation = M::many(&map, wanted, &batches_of(7).status(status)).unwrap();
        let mut made: Vec<M> = Vec::new();
        let mut sizes = Vec::new();
        while let Some(batch) = creation.next_batch() {
            let batch = batch.await.unwrap();
            sizes.push(batch.len());
            assert!(batch.is_sorted_by_key(Many::number), "{:?}", numbers(&batch));
            for mapping in &batch {
                assert_eq!(mapping.marked(), status);
                assert_eq!(mapping.is_on().location(), &location(shard_of(mapping.number())), "{mapping:?}");
                assert_eq!(
                    map.cached_mapping(&(10 * mapping.number())).as_ref(),
                    Some(mapping),
                    "what is made is cached"
                );
            }
            made.extend(batch);
            let progress = creation.progress();
            assert_eq!((progress.created(), progress.left(), progress.skipped()), (made.len(), 50 - made.len(), 0));
        }
        assert_eq!(sizes, [1, 7, 7, 2, 1, 7, 7, 2, 1, 7, 7, 1], "17, 17 and 16 on a shard");
        let on_one: Vec<_> = made[..17].iter().map(|mapping| mapping.is_on().id()).collect();
        assert_eq!(on_one, [on[2].id(); 17], "the shard that was named first");
        made.sort_by_key(Many::number);
        assert_eq!(numbers(&made), (0..50).collect::<Vec<_>>());
        assert_eq!(map.mappings().await.unwrap(), made, "{status}: as the store has them");
        assert_consistent(manager.backend(), &[], "many created").await;

        // Another client finds its way, and each one's shard believes it.
        let other = ShardMapManager::open(manager.backend().clone(), Options::default()).await.unwrap();
        let other = M::map(&other).await;
        for client in [&map, &other] {
            for mapping in &made {
                let key = 10 * mapping.number();
                let opened = client.open_connection_for_key(&key, &NoCredentials, Validation::Validate).await;
                match status {
                    MappingStatus::Online => assert_eq!(opened.unwrap().location(), mapping.is_on().location()),
                    MappingStatus::Offline => assert_eq!(opened.unwrap_err().kind(), ErrorKind::Offline),
                }
            }
        }
        // They are mappings as any other.
        let one = made.swap_remove(30);
        let one = map.mark_mapping_offline(one).await.unwrap();
        map.delete_mapping(one).await.unwrap();
        assert_eq!(map.mappings().await.unwrap().len(), 49);
        assert_consistent(manager.backend(), &[], "one of them deleted").await;
    }
}

async fn each_batch_is_one_operation_of_three_requests<M: Many>() {
    let (probe, map, on) = counted::<M>(1).await;
    let creation = M::many(&map, all_on(&on[0], 0..100), &batches_of(40)).unwrap();
    let at = location(0);
    let expected = [
        Call::Begin,
        Call::ChangeLocal { at: at.clone(), undoing: false },
        Call::EndDo,
        Call::LockOperation,
        Call::LockOperationAt(at),
    ];
    let mut sizes = Vec::new();
    while let Some(batch) = creation.next_batch() {
        sizes.push(batch.await.unwrap().len());
        assert_eq!(expected.iter().map(|call| probe.count(call)).collect::<Vec<_>>(), [1; 5]);
        assert_eq!(probe.total(), 5, "{:?}", probe.calls());
        probe.reset();
    }
    assert_eq!(sizes, [1, 40, 40, 19]);
    assert_eq!(creation.skip_existing().await.unwrap(), 0);
    assert_eq!((probe.count(&Call::Mappings), probe.total()), (1, 1));
}

async fn as_many_operations_as_needed<M: Many>() {
    let cases =
        [(1, 1, 1), (1, 2, 2), (1, 5, 5), (0, 3, 3), (2, 1, 1), (2, 2, 2), (2, 4, 3), (2, 5, 3), (1_000, 1_001, 2)];
    let clamped = [(1_000, 1_002, 3), (5_000, 1_001, 2), (5_000, 2_002, 4), (usize::MAX, 1_002, 3)];
    for (size, count, operations) in cases.into_iter().chain(clamped) {
        let (probe, map, on) = counted::<M>(2).await;
        // As many on each.
        let wanted = (0..2 * count).map(|number| (number, on[usize::try_from(number % 2).unwrap()].clone()));
        let creation = M::many(&map, wanted, &batches_of(size)).unwrap();
        let total = usize::try_from(2 * count).unwrap();
        assert_eq!(creation.run(drop).await.unwrap().created(), total);
        assert_eq!(probe.count(&Call::Begin), 2 * operations, "{count} in batches of {size}");
        assert_eq!(map.mappings().await.unwrap().len(), total);
    }
}

async fn one_that_is_known_spares_the_first_operation<M: Many>() {
    let (probe, map, on) = counted::<M>(3).await;
    let kept = M::one(&map, 500, &on[0]).await.unwrap();
    let other = M::one(&map, 501, &on[2]).await.unwrap();
    probe.reset();
    let wanted = (0..20).map(|number| (number, on[usize::from(number >= 10)].clone()));
    // The second one is on a shard that gets none.
    let creation = M::many(&map, wanted, &batches_of(10)).unwrap().beside(&kept).beside(&other);
    let mut sizes = Vec::new();
    while let Some(batch) = creation.next_batch() {
        sizes.push(batch.await.unwrap().len());
    }
    assert_eq!(sizes, [10, 1, 9]);
    assert_eq!(probe.count(&Call::Begin), 3);
    assert_eq!(map.mapping_for_key(&5_000).await.unwrap(), kept, "it stays as it was");
    assert_consistent(probe.inner(), &[], "beside").await;
}

async fn nothing_is_asked_of_a_store_before_a_batch_is_awaited<M: Many>() {
    let (probe, map, on) = counted::<M>(1).await;
    let creation = M::many(&map, all_on(&on[0], 0..5), &batches_of(3)).unwrap();
    for _ in 0..3 {
        let batch = creation.next_batch().unwrap();
        assert!(batch.plan().is_ok());
        drop(batch);
    }
    drop(creation.run(drop));
    assert_eq!((probe.total(), creation.progress().left()), (0, 5));
    let unpolled = creation.next_batch().unwrap();
    assert_eq!(creation.run(drop).await.unwrap().left(), 0);
    let begun = probe.count(&Call::Begin);
    drop(unpolled);
    assert_eq!((probe.count(&Call::Begin), creation.progress().created()), (begun, 5));
    assert_consistent(probe.inner(), &[], "asked for and left").await;
}

async fn nothing_to_create<M: Many>() {
    let (probe, map, _) = counted::<M>(1).await;
    let creation = M::many(&map, [], &BulkOptions::default()).unwrap();
    assert!(creation.next_batch().is_none());
    let progress = creation.run(|progress| panic!("told of {progress}")).await.unwrap();
    assert_eq!((progress.total(), progress.created(), progress.left(), progress.skipped()), (0, 0, 0, 0));
    assert_eq!(probe.total(), 0);
    assert_eq!(creation.skip_existing().await.unwrap(), 0);
}

async fn a_shard_of_another_map<M: Many>() {
    let (probe, map, on) = counted::<M>(1).await;
    let other = map.manager().create_list_shard_map::<i32>("other").await.unwrap();
    let foreign = other.create_shard(&location(7)).await.unwrap();
    probe.reset();
    let wanted = [(123_456, on[0].clone()), (234_567, foreign)];
    let error = refused(
        M::many(&map, wanted, &BulkOptions::default()),
        ErrorKind::InvalidInput,
        ErrorCode::ForeignObject,
        "a shard of another map",
    );
    assert_eq!((error.operation(), error.shard_map()), (Some("CreateMappings"), Some(map.name())));
    assert!(error.to_string().contains("number 1, from 0: "), "{error}");
    assert!(!error.to_string().contains("34567"), "{error}");
    assert_eq!(probe.total(), 0);
}

async fn progress_is_told_after_each_batch<M: Many>() {
    let (probe, map, on) = counted::<M>(1).await;
    let _ = M::one(&map, 3, &on[0]).await.unwrap();
    let creation = M::many(&map, all_on(&on[0], 0..10), &batches_of(4)).unwrap();
    assert_eq!(creation.progress().to_string(), "0 of 10 created");
    assert_eq!(creation.skip_existing().await.unwrap(), 1);
    probe.reset();
    let mut told = Vec::new();
    let last =
        creation.run(|progress| told.push((progress.created(), progress.left(), progress.total()))).await.unwrap();
    // What was there already stands beside the first batch.
    assert_eq!(told, [(4, 5, 10), (8, 1, 10), (9, 0, 10)]);
    assert_eq!(last, creation.progress());
    assert_eq!(last.to_string(), "9 of 10 created, 1 were there");
    assert_eq!(probe.count(&Call::Begin), 3);
    assert!(format!("{creation:?}").contains("created: 9"), "{creation:?}");
}

async fn a_plan_shows_what_a_batch_adds<M: Many>() {
    let (probe, map, on) = counted::<M>(1).await;
    let kept = M::one(&map, 50, &on[0]).await.unwrap();
    probe.reset();
    let alone = M::many(&map, all_on(&on[0], 0..5), &batches_of(3)).unwrap();
    let beside = M::many(&map, all_on(&on[0], 0..5), &batches_of(3)).unwrap().beside(&kept);
    for (creation, count) in [(alone, 1), (beside, 3)] {
        let batch = creation.next_batch().unwrap();
        let plan = batch.plan().unwrap();
        assert_eq!(plan.operation(), "CreateMappings");
        let [begin, local, end] = plan.steps() else { panic!("{plan}") };
        assert_eq!(
            (begin.actions(), end.actions()),
            (&[PlanAction::BeginOperation][..], &[PlanAction::EndOperation][..])
        );
        let planned: Vec<_> = local.actions().to_vec();
        assert_eq!(probe.total(), 0);
        let made = batch.await.unwrap();
        let added: Vec<_> = made.iter().map(|mapping| PlanAction::AddMapping(mapping.state_id())).collect();
        assert_eq!((planned, added.len()), (added.clone(), count), "as planned, and nothing of the one beside");
        for mapping in made {
            map.delete_mapping(map.mark_mapping_offline(mapping).await.unwrap()).await.unwrap();
        }
        probe.reset();
    }
}

/// Fails unless the input is refused with the message, before any request, and without a key.
#[track_caller]
fn assert_input_refused<T: Debug>(probe: &Store, result: Result<T>, message: &str, keys: &[EncodedKey]) {
    let error = refused(result, ErrorKind::InvalidInput, ErrorCode::InvalidArgument, message);
    assert!(error.to_string().contains(message), "{message}: {error}");
    assert_eq!(error.operation(), Some("CreateMappings"), "{message}");
    assert!(error.shard_map().is_some(), "{message}");
    for key in keys {
        let hex = key.to_string();
        assert!(hex.len() > 2 && !format!("{error} {error:?}").contains(&hex[2..]), "{message}: {error:?}");
    }
    assert_eq!(probe.total(), 0, "{message}");
}

#[tokio::test]
async fn keys_that_are_there_twice_are_refused_with_their_places() {
    let (probe, map, on) = counted::<PointMapping<i64>>(2).await;
    let default = BulkOptions::default();
    for (keys, message) in [
        (vec![(77_771, 0), (77_772, 0), (77_771, 0)], "numbers 0 and 2, from 0, share a key"),
        (vec![(77_774, 0), (77_773, 0), (77_772, 1), (77_773, 1)], "numbers 1 and 3, from 0, share a key"),
        (vec![(77_771, 1), (77_771, 0)], "numbers 0 and 1, from 0, share a key"),
    ] {
        let result = map.create_mappings(keys.iter().map(|(key, shard)| (*key, &on[*shard])), &default);
        let error = result.as_ref().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("7777"), "{error:?}");
        let encoded: Vec<_> = keys.iter().map(|(key, _)| key.encode().unwrap()).collect();
        assert_input_refused(&probe, result, message, &encoded);
    }
}

#[tokio::test]
async fn bytes_that_are_one_key_are_refused() {
    let probe = Probe::new(Sqlite::in_memory());
    let manager = ShardMapManager::open_or_create(probe.clone(), Options::default()).await.unwrap();
    let map = manager.create_list_shard_map::<Vec<u8>>("bytes").await.unwrap();
    let on = shards(&map, 1).await;
    probe.reset();
    let many =
        |keys: &[Vec<u8>]| map.create_mappings(keys.iter().map(|key| (key.clone(), &on[0])), &BulkOptions::default());
    let keys = [vec![0xAB, 0xCD], vec![0xAB], vec![0xAB, 0xCD, 0, 0]];
    let encoded = [keys[0].encode().unwrap(), keys[1].encode().unwrap()];
    assert_input_refused(&probe, many(&keys), "numbers 0 and 2, from 0, share a key", &encoded[..1]);
    let long = [vec![1], vec![0xEF; 129]];
    let error = refused(many(&long), ErrorKind::InvalidInput, ErrorCode::InvalidArgument, "too long");
    assert!(error.to_string().contains("number 1, from 0: "), "{error}");
    assert!(!error.to_string().to_lowercase().contains("efef"), "{error}");
    assert_eq!((error.operation(), probe.total()), (Some("CreateMappings"), 0));
}

#[tokio::test]
async fn ranges_that_share_keys_or_hold_none_are_refused_with_their_places() {
    let (probe, map, on) = counted::<RangeMapping<i64>>(2).await;
    let range = |low: i64, high: Option<i64>| match high {
        Some(high) => KeyRange::from(low..high),
        None => KeyRange::from(low..),
    };
    let shared = "numbers 0 and 1, from 0, share a key";
    for (ranges, message) in [
        (vec![(7_770, Some(7_780), 0), (7_779, Some(7_790), 0)], shared),
        (vec![(7_770, Some(7_780), 0), (7_770, Some(7_780), 1)], shared),
        (vec![(7_770, Some(7_780), 0), (7_770, Some(7_771), 1)], shared),
        (vec![(7_770, None, 0), (8_888, Some(8_889), 0)], shared),
        (vec![(7_770, Some(7_780), 1), (8_000, Some(8_001), 0), (i64::MIN, Some(7_771), 0)], "numbers 0 and 2, from 0"),
        // The first one that is long, and one far behind.
        (vec![(8_000, Some(9_000), 0), (1, Some(2), 0), (8_500, Some(8_501), 1)], "numbers 0 and 2, from 0"),
        (vec![(1, Some(2), 0), (7_770, Some(7_770), 0)], "number 1, from 0: "),
        (vec![(7_771, Some(7_770), 0)], "number 0, from 0: "),
    ] {
        let wanted = ranges.iter().map(|(low, high, shard)| (range(*low, *high), &on[*shard]));
        let result = map.create_mappings(wanted, &BulkOptions::default());
        let error = result.as_ref().unwrap_err();
        assert!(!error.to_string().contains("777") && !error.to_string().contains("8500"), "{error}");
        assert_input_refused(&probe, result, message, &[]);
    }
    // Neighbours share none.
    let wanted = [(0..10, &on[0]), (10..20, &on[1]), (-10..0, &on[1])];
    let creation = map.create_mappings(wanted, &BulkOptions::default()).unwrap();
    assert_eq!(creation.run(drop).await.unwrap().created(), 3);
    let ends = [(range(i64::MIN, Some(-10)), &on[0]), (range(20, None), &on[1])];
    let creation = map.create_mappings(ends, &BulkOptions::default()).unwrap();
    assert_eq!(creation.run(drop).await.unwrap().created(), 2);
    assert_eq!(map.mapping_for_key(&i64::MAX).await.unwrap().shard().id(), on[1].id());
    assert_eq!(map.mapping_for_key(&i64::MIN).await.unwrap().shard().id(), on[0].id());
    assert_consistent(probe.inner(), &[], "the full range").await;
}
