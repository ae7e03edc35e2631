//! Every verb, failing or abandoned at each request that it makes: each store then holds what it held before or what it was to
//! hold, the next client brings everything to rest, and calling the verb again does it.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use shardlet::lsm::LocalStore;
use shardlet::{Error, ErrorCode, ErrorKind, RecoveryManager, Resolution, Result, Stores};

use super::fixture::{Brief, Client, OFF, ON, World, brief, put_local};
use crate::conformance::Environment;
use crate::support::polled::poll_times;
use crate::support::probe::{Call, Fault};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    KeepGlobal,
    KeepLocal,
    Rebuild,
    RebuildMap,
    Attach,
    Detach,
    Relocate,
}

/// How a request goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    TransientBefore,
    UnavailableBefore,
    UnknownBefore,
    UnknownAfter,
    DroppedBefore,
    DroppedAfter,
}

impl Way {
    fn of(call: &Call) -> &'static [Self] {
        use Way::{DroppedAfter, DroppedBefore, TransientBefore, UnavailableBefore, UnknownAfter, UnknownBefore};
        match call {
            Call::Begin | Call::ChangeLocal { .. } | Call::EndDo | Call::DetachShard => {
                &[TransientBefore, UnavailableBefore, UnknownBefore, UnknownAfter, DroppedBefore, DroppedAfter]
            }
            Call::LockOperation | Call::LockOperationAt(_) | Call::EndSessions => {
                &[TransientBefore, UnavailableBefore, DroppedBefore, DroppedAfter]
            }
            _ => &[UnavailableBefore, DroppedBefore],
        }
    }

    fn fault(self) -> (usize, Fault) {
        let error = |kind, code| Error::new(kind, code, "injected by the test");
        match self {
            Self::TransientBefore => {
                (2, Fault::FailBefore(error(ErrorKind::Transient, ErrorCode::StorageOperationFailure)))
            }
            Self::UnavailableBefore => {
                (1, Fault::FailBefore(error(ErrorKind::Unavailable, ErrorCode::StorageOperationFailure)))
            }
            Self::UnknownBefore => (1, Fault::FailBefore(error(ErrorKind::OutcomeUnknown, ErrorCode::CommitInDoubt))),
            Self::UnknownAfter => (1, Fault::FailAfter(error(ErrorKind::OutcomeUnknown, ErrorCode::CommitInDoubt))),
            Self::DroppedBefore => (1, Fault::HoldBefore),
            Self::DroppedAfter => (1, Fault::HoldAfter),
        }
    }
}

/// The mappings of each place, in the global store and in its own; `None` where there is no shard, or no row of one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shape(BTreeMap<(&'static str, usize), Option<Vec<Brief>>>);

/// Places of shards, and the one that [`Verb::Relocate`] goes to.
const PLACES: usize = 4;
const NEW: usize = 3;

impl Shape {
    async fn of<E: Environment>(world: &World<E>) -> Self {
        let mut shape = BTreeMap::new();
        for number in 0..PLACES {
            let place = world.place(number);
            let in_global = match world.map.find_shard(&place).await.unwrap() {
                Some(_) => Some(world.brief(number).await),
                None => None,
            };
            let rows = world.backend().local_shards(&place).await.unwrap();
            let in_local = match rows.is_empty() {
                true => None,
                false => Some(world.local(number).await.iter().map(brief).collect()),
            };
            drop(shape.insert(("global", number), in_global));
            drop(shape.insert(("local", number), in_local));
        }
        Self(shape)
    }

    /// True if each store is as in one of two shapes.
    fn is_between(&self, old: &Self, new: &Self) -> bool {
        self.0.iter().all(|(at, found)| [&old.0[at], &new.0[at]].contains(&found))
    }
}

impl Verb {
    #[allow(dead_code, reason = "for stores that are fast")]
    pub const ALL: [Self; 7] = [
        Self::KeepGlobal,
        Self::KeepLocal,
        Self::Rebuild,
        Self::RebuildMap,
        Self::Attach,
        Self::Detach,
        Self::Relocate,
    ];

    /// Brings the stores into the state in which the verb is called, whatever it has done before.
    async fn prepare<E: Environment>(self, world: &World<E>) {
        let recovery = world.recovery();
        if world.map.find_shard(&world.place(NEW)).await.unwrap().is_some() {
            let _ = recovery.relocate(&world.place(NEW), &world.place(0)).await.unwrap();
        }
        if world.map.find_shard(&world.place(0)).await.unwrap().is_none() {
            let _ = recovery.attach(&world.place(0), "ranges").await.unwrap();
        }
        world.clear().await;
        world.fill(0, &[(0, 100, ON)]).await;
        world.fill(1, &[(100, 200, ON)]).await;
        world.fill(2, &[]).await;
        world.copy_store(0, NEW).await;
        match self {
            Self::KeepGlobal | Self::KeepLocal => {
                let claims = world.records(0, &[(0, 50, ON), (100, 120, ON), (300, 310, OFF)]).await;
                world.set_local(0, claims).await;
            }
            Self::Rebuild => {
                let stranger = world.shard(1).await;
                let mappings = world.local(1).await;
                put_local(world.backend(), world.map.info(), &stranger, &world.place(0), mappings).await;
            }
            Self::RebuildMap => {
                world.set_global(1, Vec::new()).await;
                world.set_global(0, world.records(0, &[(0, 150, ON)]).await).await;
            }
            Self::Attach => assert_eq!(recovery.detach(&world.place(0), "ranges").await.unwrap(), 1),
            Self::Detach | Self::Relocate => {}
        }
    }

    fn run<E: Environment, B: Stores>(
        self,
        world: &World<E>,
        recovery: RecoveryManager<B>,
    ) -> BoxFuture<'static, Result<()>> {
        let places = world.places();
        let new = world.place(NEW);
        Box::pin(async move {
            let place = &places[0];
            match self {
                Self::KeepGlobal | Self::KeepLocal => {
                    let resolution =
                        if self == Self::KeepLocal { Resolution::KeepLocal } else { Resolution::KeepGlobal };
                    for differences in recovery.detect(place).await? {
                        recovery.resolve(&differences, resolution).await?;
                    }
                    Ok(())
                }
                Self::Rebuild => recovery.rebuild_shard(place).await.map(drop),
                Self::RebuildMap => recovery.rebuild_shard_map("ranges", &places).await,
                Self::Attach => recovery.attach(place, "ranges").await.map(drop),
                Self::Detach => recovery.detach(place, "ranges").await.map(drop),
                Self::Relocate => recovery.relocate(place, &new).await.map(drop),
            }
        })
    }

    /// Fails unless the verb has been done.
    async fn assert_done<E: Environment>(self, world: &World<E>, about: &str) {
        match self {
            Self::Attach => {
                assert_eq!(world.brief(0).await, [], "{about}");
                assert!(world.look(0).await.of_shard().is_empty(), "{about}");
            }
            Self::Detach => assert!(world.map.find_shard(&world.place(0)).await.unwrap().is_none(), "{about}"),
            Self::Relocate => {
                assert!(super::fixture::look(&world.recovery(), &world.place(NEW)).await.is_empty(), "{about}");
            }
            _ => world.assert_agree(about).await,
        }
    }
}

struct Ground<E: Environment> {
    world: World<E>,
    client: Client<E::Backend>,
    verb: Verb,
    old: Shape,
    new: Shape,
    calls: Vec<(Call, usize)>,
}

impl<E: Environment> Ground<E> {
    /// Does the verb once without a fault.
    async fn of(world: World<E>, verb: Verb) -> Self {
        let client = world.client().await;
        verb.prepare(&world).await;
        let old = Shape::of(&world).await;
        client.probe.reset();
        verb.run(&world, client.recovery()).await.unwrap();
        let calls = client.probe.calls();
        verb.assert_done(&world, "without a fault").await;
        let new = Shape::of(&world).await;
        assert_ne!(old, new, "{verb:?} changes something");
        Self { world, client, verb, old, new, calls }
    }

    /// The verb with one request that goes wrong, then the next client.
    async fn once(&self, call: &Call, nth: usize, way: Way) {
        let Self { world, client, verb, old, new, .. } = self;
        let about = format!("{verb:?}: {way:?} at request {nth} of {call:?}");
        verb.prepare(world).await;
        assert_eq!(&Shape::of(world).await, old, "{about}");
        client.probe.reset();
        let (times, fault) = way.fault();
        client.probe.inject(call.clone(), nth, Fault::Pass);
        client.probe.inject(call.clone(), times, fault);
        let mut running = verb.run(world, client.recovery());
        let result = tokio::select! {
            result = &mut running => Some(result),
            () = client.probe.held() => None,
        };
        drop(running);
        assert!(client.probe.count(call) > nth, "{about}: the request was not made");
        match result {
            Some(Ok(())) => assert_eq!(&Shape::of(world).await, new, "{about}: it said that it was done"),
            Some(Err(error)) => {
                let told = [
                    ErrorKind::Transient,
                    ErrorKind::Unavailable,
                    ErrorKind::OutcomeUnknown,
                    ErrorKind::PendingOperation,
                ];
                assert!(told.contains(&error.kind()), "{about}: {error:?}");
            }
            None => {}
        }
        client.probe.reset();
        let _ = world.map.manager().undo_pending_operations().await.unwrap_or_else(|error| panic!("{about}: {error}"));
        assert!(world.is_at_rest().await, "{about}");
        let now = Shape::of(world).await;
        assert!(now.is_between(old, new), "{about}: {now:#?}\nwas {old:#?}");
        world.recovery_is_free(&about).await;

        let done = &now == new;
        let again = verb.run(world, world.recovery()).await;
        assert!(again.is_ok() || done, "{about}: {again:?}");
        assert_eq!(&Shape::of(world).await, new, "{about}: again");
        verb.assert_done(world, &about).await;
    }
}

impl<E: Environment> World<E> {
    /// Fails unless an operation can begin on every shard.
    async fn recovery_is_free(&self, about: &str) {
        for shard in self.map.shards().await.unwrap() {
            let differs =
                !self.recovery().detect(shard.location()).await.unwrap().iter().all(|it| it.of_shard().is_empty());
            // A shard that its own store does not know can only be changed by recovery.
            if !differs {
                let same = shard.status();
                let updated = self.map.update_shard(shard, same).await;
                assert!(updated.is_ok(), "{about}: {updated:?}");
            }
        }
    }
}

async fn world<E: Environment>() -> World<E> {
    let world = World::<E>::new().await;
    world.make_store(NEW).await;
    world
}

/// All requests, all ways. For stores that are fast.
#[allow(dead_code, reason = "for stores that are fast")]
pub async fn at_every_request<E: Environment>(verb: Verb) {
    let ground = Ground::of(world::<E>().await, verb).await;
    for (call, count) in &ground.calls {
        for nth in 0..*count {
            for way in Way::of(call) {
                ground.once(call, nth, *way).await;
            }
        }
    }
}

fn writes(call: &Call) -> bool {
    matches!(call, Call::Begin | Call::ChangeLocal { .. } | Call::EndDo | Call::DetachShard)
}

async fn at_the_last_writes<E: Environment>(verb: Verb) {
    let ground = Ground::of(world::<E>().await, verb).await;
    let calls: Vec<_> = ground.calls.iter().filter(|(call, _)| writes(call)).collect();
    assert!(!calls.is_empty());
    for (call, count) in calls {
        for way in [Way::UnknownAfter, Way::DroppedAfter, Way::DroppedBefore] {
            ground.once(call, count - 1, way).await;
        }
    }
}

macro_rules! last_writes {
    ($($name:ident: $verb:ident,)*) => {
        $(pub async fn $name<E: Environment>() {
            at_the_last_writes::<E>(Verb::$verb).await;
        })*
    };
}

last_writes! {
    keeping_the_global_store: KeepGlobal,
    keeping_the_local_store: KeepLocal,
    rebuilding_a_shard: Rebuild,
    rebuilding_a_map: RebuildMap,
    attaching: Attach,
    detaching: Detach,
    relocating: Relocate,
}

/// A future that is dropped after any number of polls, wherever that is. For stores that are fast.
#[allow(dead_code, reason = "for stores that are fast")]
pub async fn a_client_gone_after_any_number_of_polls<E: Environment>() {
    let world = World::<E>::new().await;
    world.make_store(NEW).await;
    let verb = Verb::KeepLocal;
    let mut polls = 1;
    loop {
        verb.prepare(&world).await;
        let finished = poll_times(verb.run(&world, world.recovery()), polls).await;
        let _ = world.map.manager().undo_pending_operations().await.unwrap();
        // The request that was under way when the client went may end in the middle of this.
        let mut again = verb.run(&world, world.recovery()).await;
        for _ in 0..5 {
            if again.as_ref().is_err_and(|error| error.kind() == ErrorKind::Stale) {
                again = verb.run(&world, world.recovery()).await;
            }
        }
        again.unwrap();
        verb.assert_done(&world, &format!("dropped after {polls} polls")).await;
        if let Some(result) = finished {
            result.unwrap();
            assert!(polls > 10, "it was dropped {polls} times");
            return;
        }
        // Every third poll, and so in another phase each time.
        polls += 3;
    }
}
