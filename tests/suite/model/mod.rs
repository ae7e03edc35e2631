//! Random sequences of operations through two managers on one store, against a naive model.
//!
//! The model is a list of mappings and a set of shards; it predicts what each operation answers, by kind. After every step the
//! global store, the local stores, both caches and the model have to agree.

mod world;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use shardlet::backend::Backend;
use shardlet::{
    ErrorKind, KeyRange, ListShardMap, LockToken, MappingStatus, Operation, Options, PointMapping, RangeMapping,
    RangeShardMap, Shard, ShardLocation, ShardMap, ShardMapManager, Stores,
};
use uuid::Uuid;

pub use self::world::Verdict;
use self::world::World;
use crate::conformance::Environment;
use crate::support::create_many::CreateMany;

/// Where the model can be held against stores.
pub trait Ground: Environment {
    /// Where a connection leads.
    fn place(connection: &<Self::Backend as Backend>::Connection) -> ShardLocation;
}

/// Keys and bounds are below this; few, so that operations meet.
const KEYS: i64 = 10;
const SHARDS: usize = 3;

/// What is done. Handles and shards are chosen by numbers, modulo how many there are; a handle may be long stale.
#[derive(Clone, Debug)]
pub enum Step {
    CreateShard(usize),
    DeleteShard(usize),
    DeleteShardAsCreated(usize),
    Create {
        low: i64,
        high: Option<i64>,
        shard: usize,
        online: bool,
    },
    /// So many of a length, one after the other, in one batch; beside a mapping, if that is on the shard.
    CreateMany {
        low: i64,
        length: i64,
        count: i64,
        shard: usize,
        online: bool,
        beside: Pick,
    },
    Delete(Pick),
    Offline(Pick),
    Online(Pick),
    Move(Pick, usize),
    /// So far above the low bound.
    Split(Pick, i64),
    /// Without a second one, with the neighbour on the right.
    Merge(Pick, Option<Pick>),
    Lock(Pick, u8),
    Unlock(Pick, u8),
    UnlockAll(u8),
    Lookup(i64),
    LookupNow(i64),
    Open(i64),
    OpenUnvalidated(i64),
}

/// A handle, and the token that is presented with it.
#[derive(Clone, Debug)]
pub struct Pick {
    number: usize,
    /// Among those that are not stale. Mostly so, that most steps succeed.
    current: bool,
    /// `None` for that of the lock's owner.
    token: Option<u8>,
}

fn pick() -> impl Strategy<Value = Pick> {
    let (current, token) =
        (prop_oneof![6 => Just(true), 1 => Just(false)], prop_oneof![6 => Just(None), 1 => (0..3_u8).prop_map(Some)]);
    (0..40_usize, current, token).prop_map(|(number, current, token)| Pick { number, current, token })
}

fn step() -> impl Strategy<Value = Step> {
    let length = prop_oneof![9 => (0..7_i64).prop_map(Some), 1 => Just(None)];
    let key = || 0..KEYS;
    let token = || 1..3_u8;
    prop_oneof![
        2 => (0..SHARDS).prop_map(Step::CreateShard),
        1 => (0..SHARDS).prop_map(Step::DeleteShard),
        1 => (0..SHARDS).prop_map(Step::DeleteShardAsCreated),
        8 => (key(), length, 0..SHARDS, prop_oneof![4 => Just(true), 1 => Just(false)]).prop_map(
            |(low, length, shard, online)| Step::Create { low, high: length.map(|length| low + length), shard, online }
        ),
        5 => (key(), 1..3_i64, 2..5_i64, 0..SHARDS, prop_oneof![4 => Just(true), 1 => Just(false)], pick()).prop_map(
            |(low, length, count, shard, online, beside)| {
                Step::CreateMany { low, length, count, shard, online, beside }
            }
        ),
        3 => pick().prop_map(Step::Delete),
        5 => pick().prop_map(Step::Offline),
        4 => pick().prop_map(Step::Online),
        4 => (pick(), 0..SHARDS).prop_map(|(pick, shard)| Step::Move(pick, shard)),
        5 => (pick(), 0..5_i64).prop_map(|(pick, at)| Step::Split(pick, at)),
        5 => (pick(), prop_oneof![4 => Just(None), 1 => pick().prop_map(Some)])
            .prop_map(|(left, right)| Step::Merge(left, right)),
        2 => (pick(), token()).prop_map(|(pick, token)| Step::Lock(pick, token)),
        2 => (pick(), 0..4_u8).prop_map(|(pick, token)| Step::Unlock(pick, token)),
        1 => token().prop_map(Step::UnlockAll),
        3 => key().prop_map(Step::Lookup),
        2 => key().prop_map(Step::LookupNow),
        5 => key().prop_map(Step::Open),
        1 => key().prop_map(Step::OpenUnvalidated),
    ]
}

/// Token 0 is that of nobody, 3 the one that unlocks all.
fn token(number: u8) -> LockToken {
    match number {
        0 => LockToken::NONE,
        3 => LockToken::FORCE_UNLOCK,
        owner => LockToken::from(Uuid::from_u128(u128::from(owner))),
    }
}

/// What list and range maps do each in their own way.
trait Kind: CreateMany {
    const TAKEN: ErrorKind;

    /// The range that a mapping of these bounds covers; points ignore the high one.
    fn covered(low: i64, high: Option<i64>) -> (i64, Option<i64>);
    fn bounds(&self) -> (i64, Option<i64>);
    fn with_token(self, token: LockToken) -> Self;
    fn create<B: Stores>(
        map: &ShardMap<Self, B>,
        low: i64,
        high: Option<i64>,
        shard: &Shard,
        status: MappingStatus,
    ) -> Operation<Self>;
    /// `None` where the kind of map has no such operation.
    fn split<B: Stores>(map: &ShardMap<Self, B>, mapping: Self, at: i64) -> Option<Operation<(Self, Self)>>;
    fn merge<B: Stores>(map: &ShardMap<Self, B>, left: Self, right: Self) -> Option<Operation<Self>>;
}

impl Kind for PointMapping<i64> {
    const TAKEN: ErrorKind = ErrorKind::AlreadyExists;

    fn covered(low: i64, _: Option<i64>) -> (i64, Option<i64>) {
        (low, Some(low + 1))
    }

    fn bounds(&self) -> (i64, Option<i64>) {
        Self::covered(self.key(), None)
    }

    fn with_token(self, token: LockToken) -> Self {
        self.holding(token)
    }

    fn create<B: Stores>(
        map: &ListShardMap<i64, B>,
        low: i64,
        _: Option<i64>,
        shard: &Shard,
        status: MappingStatus,
    ) -> Operation<Self> {
        map.create_mapping_with(low, shard, status)
    }

    fn split<B: Stores>(_: &ListShardMap<i64, B>, _: Self, _: i64) -> Option<Operation<(Self, Self)>> {
        None
    }

    fn merge<B: Stores>(_: &ListShardMap<i64, B>, _: Self, _: Self) -> Option<Operation<Self>> {
        None
    }
}

impl Kind for RangeMapping<i64> {
    const TAKEN: ErrorKind = ErrorKind::Overlaps;

    fn covered(low: i64, high: Option<i64>) -> (i64, Option<i64>) {
        (low, high)
    }

    fn bounds(&self) -> (i64, Option<i64>) {
        (*self.range().low(), self.range().high().copied())
    }

    fn with_token(self, token: LockToken) -> Self {
        self.holding(token)
    }

    fn create<B: Stores>(
        map: &RangeShardMap<i64, B>,
        low: i64,
        high: Option<i64>,
        shard: &Shard,
        status: MappingStatus,
    ) -> Operation<Self> {
        map.create_mapping_with(KeyRange::new(Some(low), high), shard, status)
    }

    fn split<B: Stores>(map: &RangeShardMap<i64, B>, mapping: Self, at: i64) -> Option<Operation<(Self, Self)>> {
        Some(map.split_mapping(mapping, at))
    }

    fn merge<B: Stores>(map: &RangeShardMap<i64, B>, left: Self, right: Self) -> Option<Operation<Self>> {
        Some(map.merge_mappings(left, right))
    }
}

async fn run<M: Kind, E: Ground>(env: &E, maps: [ShardMap<M, E::Backend>; 2], steps: &[(bool, Step)]) -> Verdict {
    let mut world = World::new(env, maps);
    // Without shards most sequences would do nothing.
    for number in 0..SHARDS - 1 {
        world.take(0, &Step::CreateShard(number)).await?;
    }
    for (number, (second, step)) in steps.iter().enumerate() {
        let (actor, before) = (usize::from(*second), world.handles.len());
        let after = |error: TestCaseError| TestCaseError::fail(format!("step {number}, {step:?}: {error}"));
        world.removed.clear();
        world.take(actor, step).await.map_err(after)?;
        world.own_changes_are_cached(actor, before).map_err(after)?;
        world.agree().await.map_err(after)?;
    }
    Ok(())
}

/// Sequences of steps, each at most so long.
fn sequences(longest: usize) -> impl Strategy<Value = Vec<(bool, Step)>> {
    vec((any::<bool>(), step()), 1..longest)
}

/// Draws the same random sequences each time.
fn runner(cases: u32) -> TestRunner {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 2_000, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

/// Runs random sequences; a failing one is printed, made as short as it still fails.
#[allow(dead_code, reason = "for stores that are fast")]
pub fn against_the_model<F>(case: impl Fn(Vec<(bool, Step)>) -> F)
where
    F: Future<Output = Verdict>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runner(60).run(&sequences(90), |steps| runtime.block_on(case(steps)));
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

/// Some random sequences as they are drawn, where stores are too slow to shorten one that fails.
#[allow(dead_code, reason = "for stores that are not")]
pub fn some_sequences(count: u32, longest: usize) -> Vec<Vec<(bool, Step)>> {
    let mut runner = runner(count);
    let drawn = |_| sequences(longest).new_tree(&mut runner).unwrap().current();
    (0..count).map(drawn).collect()
}

async fn managers<B: Stores>(store: &B) -> [ShardMapManager<B>; 2] {
    let open = || ShardMapManager::open_or_create(store.clone(), Options::default());
    [open().await.unwrap(), open().await.unwrap()]
}

/// A sequence on a list map of this name.
pub async fn list_map_does_what_the_model_does<E: Ground>(env: &E, name: &str, steps: &[(bool, Step)]) -> Verdict {
    let [first, second] = managers(env.backend()).await;
    let first = first.list_shard_map_or_create::<i64>(name).await.unwrap();
    let second = second.list_shard_map_or_create::<i64>(name).await.unwrap();
    run(env, [first, second], steps).await
}

/// A sequence on a range map of this name.
pub async fn range_map_does_what_the_model_does<E: Ground>(env: &E, name: &str, steps: &[(bool, Step)]) -> Verdict {
    let [first, second] = managers(env.backend()).await;
    let first = first.range_shard_map_or_create::<i64>(name).await.unwrap();
    let second = second.range_shard_map_or_create::<i64>(name).await.unwrap();
    run(env, [first, second], steps).await
}
