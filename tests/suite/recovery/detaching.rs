//! Shards that are gone leave the global store, with all that was under way on them.

use futures::future::BoxFuture;
use shardlet::{
    Error, ErrorCode, ErrorKind, ListShardMap, LockToken, Options, Resolution, RetryPolicy, ShardMapManager,
    ShardStatus,
};

use super::fixture::{Client, OFF, ON, World, local_contents};
use super::rebuilding::Damage;
use crate::conformance::Environment;
use crate::support::probe::{Call, Fault};

pub async fn a_shard_leaves_only_the_named_map<E: Environment>() {
    let world = World::<E>::new().await;
    let points: ListShardMap<i64, _> = world.map.manager().create_list_shard_map("points").await.unwrap();
    let shard = points.create_shard(&world.place(0)).await.unwrap();
    for key in 0..3 {
        let _ = points.create_mapping(key, &shard).await.unwrap();
    }
    let mapping = points.mapping_for_key(&1).await.unwrap();
    let _ = points.lock_mapping(mapping, LockToken::random()).await.unwrap();
    let mapping = points.mapping_for_key(&2).await.unwrap();
    let _ = points.mark_mapping_offline(mapping).await.unwrap();
    let (ranges, local) = (world.brief(0).await, local_contents(world.backend(), &world.place(0)).await);

    let error = world.recovery().detach(&world.place(0), "").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert_eq!(world.recovery().detach(&world.place(0), "POINTS").await.unwrap(), 3, "locked or not, online or not");
    assert_eq!(points.shards().await.unwrap(), []);
    assert_eq!(points.mappings().await.unwrap(), []);
    assert_eq!(points.cached_mapping(&1), None);
    assert_eq!(world.brief(0).await, ranges);
    assert_eq!(local_contents(world.backend(), &world.place(0)).await, local, "the shard is not told");
    assert!(world.look_at(0, "ranges").await.is_empty());

    let error = world.recovery().detach(&world.place(0), "points").await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, ErrorCode::ShardDoesNotExist), "{error}");
    let error = world.recovery().detach(&world.place(0), "no such map").await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, ErrorCode::ShardMapDoesNotExist), "{error}");
    // Its keys are free for others.
    let other = points.create_shard(&world.place(2)).await.unwrap();
    let _ = points.create_mapping(1, &other).await.unwrap();
    assert_eq!(world.recovery().detach(&world.place(2), "points").await.unwrap(), 1);
}

/// What was unfinished when the shard was lost.
#[derive(Clone, Copy, Debug)]
enum Pending {
    Create,
    Delete,
    Offline,
    Online,
    Split,
    Merge,
    MoveOut,
    MoveIn,
    UpdateShard,
    Mend,
    MendOther,
}

const ALL: [Pending; 11] = [
    Pending::Create,
    Pending::Delete,
    Pending::Offline,
    Pending::Online,
    Pending::Split,
    Pending::Merge,
    Pending::MoveOut,
    Pending::MoveIn,
    Pending::UpdateShard,
    Pending::Mend,
    Pending::MendOther,
];

async fn fill<E: Environment>(world: &World<E>) {
    world.clear().await;
    world.fill(0, &[(0, 50, ON), (50, 100, ON), (300, 310, OFF)]).await;
    world.fill(1, &[(100, 200, ON), (400, 410, OFF)]).await;
}

impl Pending {
    async fn doing<E: Environment>(
        self,
        world: &World<E>,
        client: &Client<E::Backend>,
    ) -> BoxFuture<'static, shardlet::Result<()>> {
        let map = &client.map;
        let (shard, other) = (world.shard(0).await, world.shard(1).await);
        let of = async |key: i64| map.mapping_for_key(&key).await.unwrap();
        if matches!(self, Self::MendOther) {
            // A claim of the living shard on keys of the lost one.
            let mut local = world.local(1).await;
            local.extend(world.records(1, &[(50, 60, ON)]).await);
            world.set_local(1, local).await;
        }
        match self {
            Self::Create => done(map.create_mapping(700..800, &shard)),
            Self::Delete => done(map.delete_mapping(of(300).await)),
            Self::Offline => done(map.mark_mapping_offline(of(7).await)),
            Self::Online => done(map.mark_mapping_online(of(300).await)),
            Self::Split => done(map.split_mapping(of(7).await, 10)),
            Self::Merge => done(map.merge_mappings(of(7).await, of(70).await)),
            Self::MoveOut => done(map.move_mapping(of(300).await, &other)),
            Self::MoveIn => done(map.move_mapping(of(400).await, &shard)),
            Self::UpdateShard => done(map.update_shard(shard, ShardStatus::Offline)),
            Self::Mend | Self::MendOther => {
                let number = usize::from(matches!(self, Self::MendOther));
                if matches!(self, Self::Mend) {
                    world.set_local(0, world.records(0, &[(0, 5, ON)]).await).await;
                }
                let differences = world.look(number).await;
                let recovery = client.recovery();
                Box::pin(async move { recovery.resolve(&differences, Resolution::KeepLocal).await })
            }
        }
    }
}

fn done<T: Send + 'static>(operation: shardlet::Operation<T>) -> BoxFuture<'static, shardlet::Result<()>> {
    Box::pin(async { operation.await.map(drop) })
}

/// The shard itself is neither asked nor changed; the one that lives is put right.
pub async fn what_was_unfinished_on_the_shard_is_undone_around_it<E: Environment>() {
    let world = World::<E>::new().await;
    for pending in ALL {
        let about = format!("{pending:?}");
        fill(&world).await;
        let client = world.client().await;
        let doing = pending.doing(&world, &client).await;
        // What the living one gives up, for a claim on its keys.
        let kept =
            if matches!(pending, Pending::MendOther) { world.local_brief(1).await } else { world.brief(1).await };
        let in_global = world.brief(1).await;
        client.abandon(Call::EndDo, Fault::HoldBefore, doing).await;
        let gone = local_contents(world.backend(), &world.place(0)).await;

        let unreachable =
            Error::new(ErrorKind::Unavailable, ErrorCode::StorageOperationFailure, "injected by the test");
        client.probe.inject(Call::LockOperationAt(world.place(0)), 100, Fault::FailBefore(unreachable));
        let mappings = client.recovery().detach(&world.place(0), "ranges").await.unwrap();
        assert_eq!(mappings, 3, "{about}");
        assert_eq!(client.probe.count(&Call::LockOperationAt(world.place(0))), 0, "{about}: the shard was asked");
        assert_eq!(local_contents(world.backend(), &world.place(0)).await, gone, "{about}");
        assert!(world.is_at_rest().await, "{about}");
        assert!(world.map.find_shard(&world.place(0)).await.unwrap().is_none());
        assert_eq!(world.brief(1).await, in_global, "{about}");
        if !matches!(pending, Pending::MendOther) {
            assert_eq!(world.local_brief(1).await, kept, "{about}: the other shard is put right");
            assert!(world.look(1).await.is_empty(), "{about}");
        }
        // No stamp is left on the other, and all keys of the lost one are free.
        for (low, high) in [(0, 100), (300, 310), (700, 800)] {
            let other = world.shard(1).await;
            let _ =
                world.map.create_mapping(low..high, &other).await.unwrap_or_else(|error| panic!("{about}: {error}"));
        }
        world.set_global(1, Vec::new()).await;
        let _ = world.recovery().attach(&world.place(0), "ranges").await.unwrap();
    }
}

/// The shard that was being taken out is out.
pub async fn an_unfinished_deletion_of_the_shard_is_undone_and_then_done<E: Environment>() {
    let world = World::<E>::new().await;
    let client = world.client().await;
    let deleting = client.map.delete_shard(world.shard(2).await);
    client.abandon(Call::EndDo, Fault::HoldBefore, deleting).await;
    assert_eq!(world.recovery().detach(&world.place(2), "ranges").await.unwrap(), 0);
    assert!(world.is_at_rest().await);
    assert!(world.map.find_shard(&world.place(2)).await.unwrap().is_none());
}

/// A shard that was being added is none yet; after that the place is free. The reference library gets stuck there.
pub async fn an_unfinished_addition_of_the_shard_is_taken_back<E: Environment>() {
    for attaching in [false, true] {
        let world = World::<E>::new().await;
        let client = world.client().await;
        if attaching {
            let _ = world.recovery().detach(&world.place(2), "ranges").await.unwrap();
            let recovery = client.recovery();
            let place = world.place(2);
            client.abandon(Call::EndDo, Fault::HoldBefore, async { recovery.attach(&place, "ranges").await }).await;
        } else {
            world.map.delete_shard(world.shard(2).await).await.unwrap();
            let creating = client.map.create_shard(&world.place(2));
            client.abandon(Call::EndDo, Fault::HoldBefore, creating).await;
        }
        assert_eq!(world.unfinished().await, 1);
        let error = world.recovery().detach(&world.place(2), "ranges").await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, ErrorCode::ShardDoesNotExist), "{error}");
        assert!(world.is_at_rest().await, "attaching: {attaching}");
        // The rows that it left in its own store are those of a shard that can be attached.
        let attached = world.recovery().attach(&world.place(2), "ranges").await.unwrap();
        assert_eq!(attached, world.shard(2).await);
        world.assert_agree(&format!("attaching: {attaching}")).await;
    }
}

/// The reference library leaves the log row of a shard behind that was detached while it was being attached.
pub async fn log_rows_that_no_row_belongs_to_are_cleared_away<E: Damage>() {
    let world = World::<E>::new().await;
    let client = world.client().await;
    let _ = world.recovery().detach(&world.place(2), "ranges").await.unwrap();
    let (recovery, place) = (client.recovery(), world.place(2));
    client.abandon(Call::EndDo, Fault::HoldBefore, recovery.attach(&place, "ranges")).await;
    let sql = "DELETE FROM {ShardsGlobal} WHERE OperationId IS NOT NULL";
    world.env.run(&shardlet::Place::Global, sql).await;
    assert_eq!(world.unfinished().await, 1);
    let error = world.recovery().detach(&place, "ranges").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(world.is_at_rest().await);
    let _ = world.recovery().attach(&place, "ranges").await.unwrap();
    world.assert_agree("attached").await;
}

/// The other shard of a move cannot be reached either: nothing is lost, and who can reach it goes on.
pub async fn an_operation_that_cannot_be_undone_keeps_the_shard<E: Environment>() {
    let world = World::<E>::new().await;
    fill(&world).await;
    let client = world.client().await;
    let doing = Pending::MoveOut.doing(&world, &client).await;
    client.abandon(Call::EndDo, Fault::HoldBefore, doing).await;
    let unreachable = Error::new(ErrorKind::Unavailable, ErrorCode::StorageOperationFailure, "injected by the test");
    client.probe.inject(Call::LockOperationAt(world.place(1)), 100, Fault::FailBefore(unreachable));
    let before = world.brief(0).await;
    let error = client.recovery().detach(&world.place(0), "ranges").await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::PendingOperation, ErrorCode::OperationPending), "{error}");
    assert_eq!(world.brief(0).await, before);
    assert_eq!(world.unfinished().await, 1);
    assert_eq!(world.recovery().detach(&world.place(0), "ranges").await.unwrap(), 3);
    assert!(world.look(1).await.is_empty());
}

/// A client that undoes no operations of others detaches a shard that has none.
pub async fn a_shard_without_unfinished_operations_is_detached_at_once<E: Environment>() {
    let world = World::<E>::new().await;
    let retry = RetryPolicy::default().undone_operations(0);
    let manager = ShardMapManager::open(world.backend().clone(), Options::default().retry(retry)).await.unwrap();
    assert_eq!(manager.recovery().detach(&world.place(1), "ranges").await.unwrap(), 1);
}

/// An operation begins between the look at the log and the detaching.
pub async fn an_operation_that_begins_meanwhile_is_undone_too<E: Environment>() {
    let world = World::<E>::new().await;
    let detacher = world.client().await;
    detacher.probe.inject(Call::DetachShard, 1, Fault::SendOnRelease);
    let (recovery, place) = (detacher.recovery(), world.place(0));
    let mut detaching = Box::pin(recovery.detach(&place, "ranges"));
    tokio::select! {
        done = &mut detaching => panic!("it was not held: {done:?}"),
        () = detacher.probe.held() => {}
    }
    let client = world.client().await;
    let mapping = client.map.mapping_for_key(&7).await.unwrap();
    client.abandon(Call::EndDo, Fault::HoldBefore, client.map.split_mapping(mapping, 10)).await;
    detacher.probe.release();
    assert_eq!(detaching.await.unwrap(), 1);
    assert_eq!(detacher.probe.count(&Call::DetachShard), 2);
    assert!(world.is_at_rest().await);
    assert!(world.map.mappings().await.unwrap().iter().all(|mapping| mapping.shard().location() != &place));
}
