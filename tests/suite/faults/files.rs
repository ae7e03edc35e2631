//! Databases that cannot be used from one moment of an operation to its end: their files are taken away, or have no room.

use std::cell::RefCell;
use std::fs;
use std::path::Path;

use shardlet::{ErrorKind, Sqlite, fault_point};

use super::case::Case;
use super::directories::{assert_clean, copy, runtime, stores};
use super::places;
use super::world::{Expected, Next, World};
use crate::support::contents::{global_file, parts, shard_file};
use crate::support::{directory, quick};

/// An operation that adds, one that replaces, one with two shards, and one that installs a store.
const CASES: [Case; 4] = [Case::AddRange, Case::Split, Case::MoveRange, Case::CreateShard];

type Action = Box<dyn FnOnce()>;

thread_local! {
    /// What is done at which point of the operation, which runs on the test's own thread.
    static AT: RefCell<Option<(&'static str, Action)>> = const { RefCell::new(None) };
}

fn at(point: &'static str, action: impl FnOnce() + 'static) {
    // Every test calls it; one of them is the first.
    let _ = fault_point::observe(|reached| {
        let due = AT.with_borrow_mut(|at| at.take_if(|(point, _)| *point == reached));
        if let Some((_, action)) = due {
            action();
        }
    });
    AT.set(Some((point, Box::new(action))));
}

/// Moves a database; what is there in its place is gone.
fn shift(from: &Path, to: &Path) {
    for (from, to) in parts(from).iter().zip(parts(to)) {
        let _ = fs::remove_file(&to);
        let _ = fs::rename(from, to);
    }
}

/// What a client is told whose operation failed has to be true.
fn assert_told(result: &shardlet::Result<()>, done: bool, about: &str) {
    match result {
        Ok(()) => assert!(done, "{about}: not done"),
        Err(error) if error.kind() == ErrorKind::OutcomeUnknown => {}
        Err(error) => assert!(!done, "{about}: done, and told as {error:?}"),
    }
}

/// Does an operation on a copy of a directory by a client of its own, and settles what it left when all is well again.
async fn faulty(
    expected: &Expected,
    prepared: &Path,
    about: &str,
    client: impl FnOnce(&Path) -> Sqlite,
    arm: impl FnOnce(&Path),
    repair: impl FnOnce(&Path),
    next: Next,
) -> shardlet::Result<()> {
    let copied = directory();
    copy(prepared, copied.path());
    let world = World::read(client(copied.path()), stores(copied.path()), places(), expected.case).await;
    let before = world.facts().await;
    let step = world.step(expected.case);
    arm(copied.path());
    let result = step.run.await;
    repair(copied.path());
    let case = expected.case;
    let done = expected.outcome(&world, &before, &format!("{about}: {result:?}")).await;
    assert_told(&result, done, &format!("{case:?}, {about}"));
    expected.settle(&world, &before, &[step.id], done, next, about).await;
    assert_clean(copied.path(), &format!("{case:?}, {about}"));
    result
}

/// A directory as it is before the operation; nobody has it open.
fn prepared(case: Case) -> tempfile::TempDir {
    let directory = directory();
    runtime().block_on(async {
        let stores = stores(directory.path());
        drop(World::fill(stores.clone(), stores, places(), case).await);
    });
    directory
}

#[test]
fn a_database_is_taken_away_at_a_point_of_an_operation_and_comes_back() {
    let (mut failed, mut number) = (0, 0);
    for case in CASES {
        let prepared = prepared(case);
        runtime().block_on(async {
            let expected = Expected::of(case).await;
            for point in ["do: all locked", "do: begun", "do: source done", "do: target done", "do: sessions ended"] {
                let shards = std::iter::once(case.source()).chain(case.target()).map(Some);
                for shard in std::iter::once(None).chain(shards) {
                    let file = move |directory: &Path| match shard {
                        Some(shard) => shard_file(directory, shard),
                        None => global_file(directory),
                    };
                    let away = |file: &Path| file.with_extension("away");
                    let arm = |directory: &Path| {
                        let file = file(directory);
                        at(point, move || shift(&file, &away(&file)));
                    };
                    let repair = |directory: &Path| {
                        AT.set(None);
                        let file = file(directory);
                        if away(&file).exists() {
                            shift(&away(&file), &file);
                        }
                    };
                    let about = format!("{shard:?} taken away at {point}");
                    number += 1;
                    let next = Next::numbered(number);
                    let result = faulty(&expected, prepared.path(), &about, stores, arm, repair, next).await;
                    failed += usize::from(result.is_err());
                }
            }
        });
    }
    println!("{number} databases taken away, {failed} operations failed");
    assert!(failed > number / 2, "{failed} of {number} operations failed");
}

/// The store that is installed needs room; the others keep the pages that they have.
#[test]
fn a_database_has_no_room_for_a_store() {
    let case = Case::CreateShard;
    let prepared = prepared(case);
    let mut failed = 0;
    runtime().block_on(async {
        let expected = Expected::of(case).await;
        for pages in 1.. {
            let small = |directory: &Path| Sqlite::open_with(directory, quick().max_pages(pages)).unwrap();
            let (about, next) = (format!("{pages} pages"), Next::numbered(failed));
            let result = faulty(&expected, prepared.path(), &about, small, |_| (), |_| (), next).await;
            if result.is_ok() {
                break;
            }
            failed += 1;
        }
    });
    println!("{failed} databases too small");
    assert!(failed > 5, "{failed} databases were too small");
}
