//! Stores that faults happen to, with a client that meets them and one that does not; and what has to hold afterwards.

use shardlet::backend::Backend;
use shardlet::{
    Error, ErrorKind, MappingStatus, OperationId, Result, ShardLocation, ShardMapManager, Stores, Validation,
};

use super::case::{Case, Content, Maps, Points, Ranges, Step};
use crate::support::consistency::{Facts, assert_consistent, facts};
use crate::support::probe::Probe;

/// Tries of the client that meets faults.
pub const ATTEMPTS: usize = 2;

/// Where the stores and the client's connections are.
pub trait Ground: Stores {
    fn credentials() -> Self::Credentials;

    /// Where a connection leads.
    fn place(connection: &Self::Connection) -> ShardLocation;
}

impl<B: Ground> Ground for Probe<B> {
    fn credentials() -> B::Credentials {
        B::credentials()
    }

    fn place(connection: &<Self as Backend>::Connection) -> ShardLocation {
        B::place(connection)
    }
}

/// Stores with a client that meets faults and one that does not.
pub struct World<B: Ground> {
    pub probe: Probe<B>,
    pub faulty: Maps<Probe<B>>,
    pub sound: Maps<B>,
    /// Of four shards; there is nothing yet at the last one.
    pub places: Vec<ShardLocation>,
    content: Content,
}

impl<B: Ground> World<B> {
    /// On stores that are made and filled for the case. The clients' handles to them may be the same.
    pub async fn fill(faulty: B, sound: B, places: Vec<ShardLocation>, case: Case) -> Self {
        let sound = Maps::open(sound, 1).await;
        let content = if case.is_about_ranges() {
            Content::Ranges(Ranges::fill(&sound.ranges, &places).await)
        } else {
            Content::Points(Points::fill(&sound.points, &places).await)
        };
        Self::with(faulty, sound, places, content).await
    }

    /// On stores that were filled for the case.
    pub async fn read(faulty: B, sound: B, places: Vec<ShardLocation>, case: Case) -> Self {
        let sound = Maps::open(sound, 1).await;
        let content = if case.is_about_ranges() {
            Content::Ranges(Ranges::read(&sound.ranges, &places).await)
        } else {
            Content::Points(Points::read(&sound.points, &places).await)
        };
        Self::with(faulty, sound, places, content).await
    }

    async fn with(faulty: B, sound: Maps<B>, places: Vec<ShardLocation>, content: Content) -> Self {
        let probe = Probe::new(faulty);
        let faulty = Maps::open(probe.clone(), ATTEMPTS).await;
        probe.reset();
        Self { probe, faulty, sound, places, content }
    }

    /// The operation, by the client that meets faults.
    pub fn step(&self, case: Case) -> Step {
        case.step(&self.places, &self.content, &self.faulty)
    }

    /// The operation, by the client that meets none.
    pub fn sound_step(&self, case: Case) -> Step {
        case.step(&self.places, &self.content, &self.sound)
    }

    /// The manager of the client that meets no faults.
    pub fn manager(&self) -> &ShardMapManager<B> {
        self.sound.points.manager()
    }

    /// The stores, as the client has them that meets no faults.
    pub fn stores(&self) -> &B {
        self.manager().backend()
    }

    pub async fn facts(&self) -> Facts {
        facts(self.stores()).await
    }

    /// From where undos of the pending operations start.
    pub async fn pending(&self) -> Vec<i32> {
        let entries = self.stores().pending_operations().await.unwrap();
        entries.iter().map(|entry| entry.undo_start).collect()
    }

    /// Opens a connection for every mapping through the client that met faults: its cache must not lead astray.
    pub async fn assert_routes(&self, case: &str) {
        self.probe.reset();
        let about = |result: Result<B::Connection>, online: bool, at: &ShardLocation| match result {
            Ok(connection) => assert!(online && B::place(&connection) == *at, "{case}: routed to {at}"),
            Err(error) => assert!(!online && error.kind() == ErrorKind::Offline, "{case}: {error}"),
        };
        let credentials = B::credentials();
        for mapping in self.sound.points.mappings().await.unwrap() {
            let key = mapping.key();
            let opened = self.faulty.points.open_connection_for_key(&key, &credentials, Validation::Validate);
            about(opened.await, mapping.status() == MappingStatus::Online, mapping.shard().location());
        }
        for mapping in self.sound.ranges.mappings().await.unwrap() {
            let range = mapping.range();
            let opened = self.faulty.ranges.open_connection_for_key(range.low(), &credentials, Validation::Validate);
            about(opened.await, mapping.status() == MappingStatus::Online, mapping.shard().location());
        }
    }

    /// Fails unless nobody holds the lock of the operation at any store that it changes.
    pub async fn assert_unlocked(&self, case: Case, id: OperationId, about: &str) {
        let stores = self.stores();
        let _global = stores
            .lock_operation(id)
            .await
            .unwrap_or_else(|error| panic!("{about}: the lock of the operation is still held: {error}"));
        for shard in std::iter::once(case.source()).chain(case.target()) {
            let lock = stores.lock_operation_at(&self.places[shard], id).await;
            assert!(lock.is_ok(), "{about}: the lock of the operation at shard {shard} is still held: {lock:?}");
        }
    }
}

/// What an operation leads to.
pub struct Expected {
    pub case: Case,
    pub new_shape: Vec<String>,
}

/// Who comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The same operation with the same handles.
    Repeats,
    /// Another one that meets the same rows.
    Neighbour,
    /// The call that undoes what is pending, and then the operation again.
    Undoes,
}

impl Next {
    /// One after the other.
    pub fn numbered(number: usize) -> Self {
        [Self::Repeats, Self::Undoes, Self::Neighbour][number % 3]
    }
}

impl Expected {
    /// Whether the operation was done. Fails if readers see neither the old state nor the new one, or if one that is pending is
    /// seen already.
    pub async fn outcome<B: Ground>(&self, world: &World<B>, before: &Facts, about: &str) -> bool {
        let Self { case, new_shape } = self;
        let pending = world.pending().await;
        let now = world.facts().await;
        let done = now.shape == *new_shape;
        assert!(done || now == *before, "{case:?}, {about}: neither the old state nor the new one: {now:#?}");
        assert!(pending.len() <= usize::from(!done), "{case:?}, {about}: done: {done}, pending: {pending:?}");
        done
    }

    /// Lets the next client do what it does, which depends on whether the operation was done; then all has to be in order.
    pub async fn settle<B: Ground>(
        &self,
        world: &World<B>,
        before: &Facts,
        ids: &[OperationId],
        done: bool,
        next: Next,
        about: &str,
    ) {
        let Self { case, new_shape } = self;
        let about = format!("{case:?}, {about}, then {next:?}");
        if next == Next::Undoes {
            let pending = world.pending().await.len();
            assert_eq!(world.manager().undo_pending_operations().await.unwrap(), pending, "{about}");
            let now = world.facts().await;
            assert!(if done { now.shape == *new_shape } else { now == *before }, "{about}: {now:#?}");
            assert_consistent(world.stores(), &world.places, &about).await;
        }
        let Step { id: next_id, run } = match next {
            Next::Repeats | Next::Undoes => world.sound_step(*case),
            Next::Neighbour => case.neighbour(&world.places, &world.content, &world.sound),
        };
        let refusal = match next {
            Next::Repeats | Next::Undoes => done.then(|| case.refusal_of_repetition()),
            Next::Neighbour => done.then(|| case.refusal_of_neighbour()).flatten(),
        };
        let result = run.await;
        assert_eq!(result.as_ref().err().map(Error::kind), refusal, "{about}: {result:?}");
        let now = world.facts().await;
        match next {
            Next::Repeats | Next::Undoes => assert_eq!(&now.shape, new_shape, "{about}"),
            Next::Neighbour => {
                let expected = if done { new_shape } else { &before.shape };
                let lost: Vec<_> = expected.iter().filter(|line| !now.shape.contains(line)).collect();
                assert!(lost.is_empty(), "{about}: lost {lost:?}");
                assert_eq!(now.shape.len(), expected.len() + usize::from(refusal.is_none()), "{about}: {now:?}");
            }
        }
        assert_consistent(world.stores(), &world.places, &about).await;
        for id in ids.iter().chain([&next_id]) {
            world.assert_unlocked(*case, *id, &about).await;
        }
        world.assert_routes(&about).await;
    }
}
