//! Differences are found, shown and resolved.

use shardlet::{DifferenceKind, ErrorKind, Resolution, Stores};

use super::fixture::{OFF, ON, World, brief};
use crate::conformance::Environment;

pub async fn nothing_differs_in_a_sound_store<E: Environment>() {
    let world = World::<E>::new().await;
    world.assert_agree("as made").await;
    let differences = world.look(0).await;
    assert!(differences.is_empty() && differences.of_shard().is_empty());
    world.recovery().resolve(&differences, Resolution::KeepLocal).await.unwrap();
}

/// The store of shard 0 has lost `[50, 100)`, has `[100, 120)` of shard 1 and `[300, 310)` of nobody.
async fn disagreeing<E: Environment>() -> World<E> {
    let world = World::<E>::new().await;
    let mut local = Vec::new();
    for part in [(0, 50, ON), (100, 120, ON), (300, 310, OFF)] {
        local.push(world.record(0, part).await);
    }
    world.set_local(0, local).await;
    world
}

pub async fn each_kind_of_difference_is_found<E: Environment>() {
    let world = disagreeing::<E>().await;
    let differences = world.look(0).await;
    let found: Vec<_> = differences
        .of_mappings()
        .iter()
        .map(|difference| {
            let range = difference.range::<i64>().unwrap();
            (*range.low(), *range.high().unwrap(), difference.kind())
        })
        .collect();
    use DifferenceKind::{InBoth, InGlobalOnly, InLocalOnly};
    assert_eq!(found, [(0, 50, InBoth), (50, 100, InGlobalOnly), (100, 120, InBoth), (300, 310, InLocalOnly)]);
    let text = differences.to_string();
    assert!(text.contains("[50:100): Online on") && text.contains("not known to the local store"), "{text}");
}

pub async fn the_global_store_is_kept<E: Environment>() {
    let world = disagreeing::<E>().await;
    let before = world.global(0).await;
    world.recovery().resolve(&world.look(0).await, Resolution::KeepGlobal).await.unwrap();
    assert_eq!(
        world.global(0).await.iter().map(brief).collect::<Vec<_>>(),
        before.iter().map(brief).collect::<Vec<_>>()
    );
    world.assert_agree("kept global").await;
    assert!(world.route(70).await.is_ok() && world.route(110).await.is_ok());
}

pub async fn the_local_store_is_kept<E: Environment>() {
    let world = disagreeing::<E>().await;
    world.recovery().resolve(&world.look(0).await, Resolution::KeepLocal).await.unwrap();
    assert_eq!(world.brief(0).await, [(0, 50, ON), (100, 120, ON), (300, 310, OFF)]);
    assert_eq!(world.brief(1).await, [(120, 200, ON)]);
    world.assert_agree("kept local").await;
    assert_eq!(world.route(110).await.unwrap().shard().location(), &world.place(0));
    assert_eq!(world.route(150).await.unwrap().shard().location(), &world.place(1));
    assert_eq!(world.route(70).await.unwrap_err(), ErrorKind::NotFound);
    assert_eq!(world.route(305).await.unwrap_err(), ErrorKind::Offline);
}

pub async fn stale_differences_change_nothing<E: Environment>() {
    let world = disagreeing::<E>().await;
    let old = world.look(0).await;
    world.recovery().resolve(&old, Resolution::KeepGlobal).await.unwrap();
    let error = world.recovery().resolve(&old, Resolution::KeepLocal).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stale, "{error:?}");
    assert!(world.env.backend().pending_operations_are_none().await);
    world.assert_agree("after a stale choice").await;
}

trait Pending {
    async fn pending_operations_are_none(&self) -> bool;
}

impl<B: Stores> Pending for B {
    async fn pending_operations_are_none(&self) -> bool {
        self.pending_operations().await.unwrap().is_empty()
    }
}
