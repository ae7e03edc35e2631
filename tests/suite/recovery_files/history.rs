//! The global store was restored to a moment in the middle of an operation, and the shards went on since: undoing that operation
//! must leave their stores as they are, and the differences are shown.

use futures::future::BoxFuture;
use shardlet::{ErrorKind, MappingUpdate, Options, RangeShardMap, Resolution, ShardMapManager, ShardStatus, Sqlite};

use super::{Files, assert_agree, look, restore};
use crate::support::contents;
use crate::support::location;
use crate::support::probe::{Call, Fault, Probe};

type Map = RangeShardMap<i64, Probe<Sqlite>>;

/// What was under way at the moment of the backup.
#[derive(Clone, Copy, Debug)]
enum Under {
    Create,
    Offline,
    Split,
    Move,
    AddShard,
    UpdateShard,
    Mend,
}

impl Under {
    const ALL: [Self; 7] =
        [Self::Create, Self::Offline, Self::Split, Self::Move, Self::AddShard, Self::UpdateShard, Self::Mend];

    async fn doing(self, map: &Map) -> BoxFuture<'static, shardlet::Result<()>> {
        let (first, second) = (map.shard(&location(0)).await.unwrap(), map.shard(&location(1)).await.unwrap());
        let mapping = map.mapping_for_key(&7).await.unwrap();
        match self {
            Self::Create => done(map.create_mapping(200..300, &first)),
            Self::Offline => done(map.mark_mapping_offline(mapping)),
            Self::Split => done(map.split_mapping(mapping, 50)),
            Self::Move => done(map.update_mapping(
                mapping,
                &MappingUpdate::new().status(shardlet::MappingStatus::Offline).shard(&second),
            )),
            Self::AddShard => done(map.create_shard(&location(3))),
            Self::UpdateShard => done(map.update_shard(first, ShardStatus::Offline)),
            Self::Mend => {
                let recovery = map.manager().recovery();
                Box::pin(async move { recovery.relocate(&location(0), &location(0)).await.map(drop) })
            }
        }
    }

    /// The shards that it is about.
    fn shards(self) -> &'static [usize] {
        match self {
            Self::Move => &[0, 1],
            Self::AddShard => &[3],
            _ => &[0],
        }
    }
}

fn done<T: Send + 'static>(operation: shardlet::Operation<T>) -> BoxFuture<'static, shardlet::Result<()>> {
    Box::pin(async { operation.await.map(drop) })
}

/// Lets an operation stop at a request, keeps the global store of that moment, lets it go on, and some shards go on from there;
/// then puts the old global store back.
async fn restored(files: &Files, under: Under, at: Call, going_on: &[usize]) {
    let backup = {
        let probe = Probe::new(files.backend());
        let manager = ShardMapManager::open(probe.clone(), Options::default()).await.unwrap();
        let map: Map = manager.range_shard_map("orders").await.unwrap();
        let mut doing = under.doing(&map).await;
        probe.inject(at, 1, Fault::SendOnRelease);
        tokio::select! {
            result = &mut doing => panic!("{under:?} was not held: {result:?}"),
            () = probe.held() => {}
        }
        let backup = files.backup(&files.global());
        probe.release();
        doing.await.unwrap();
        backup
    };
    {
        let map = files.process().await;
        for number in going_on {
            let low = 1_000 * (i64::try_from(*number).unwrap() + 1);
            let mut shard = map.shard(&location(*number)).await.unwrap();
            if shard.status() == ShardStatus::Offline {
                shard = map.update_shard(shard, ShardStatus::Online).await.unwrap();
            }
            let _ = map.create_mapping(low..low + 10, &shard).await.unwrap();
        }
    }
    restore(&backup, &files.global()).await;
}

#[tokio::test]
async fn undoing_leaves_the_shards_that_went_on_as_they_are() {
    for under in Under::ALL {
        let first_local = Call::ChangeLocal { at: location(under.shards()[0]), undoing: false };
        for at in [first_local, Call::EndDo] {
            let about = format!("{under:?}, backup before {at:?}");
            let files = Files::new().await;
            restored(&files, under, at, under.shards()).await;
            let rows = async || {
                let all = contents::rows(files.path());
                all.into_iter().filter(|(file, _)| file.starts_with(files.path().join("shards"))).collect::<Vec<_>>()
            };
            let before = rows().await;
            let map = files.process().await;
            assert_eq!(map.manager().undo_pending_operations().await.unwrap(), 1, "{about}");
            assert_eq!(rows().await, before, "{about}: a shard's own store was changed");

            // What differs is shown, and the shards are believed.
            let recovery = map.manager().recovery();
            if matches!(under, Under::AddShard) {
                let _ = recovery.attach(&location(3), "orders").await.unwrap();
            }
            let mut places = Vec::new();
            for number in under.shards() {
                let differences = look(&map, &location(*number)).await;
                assert!(!differences.is_empty(), "{about}: nothing differs at shard {number}");
                assert_eq!(differences.unfinished_operations(), [], "{about}");
                places.push(location(*number));
            }
            recovery.rebuild_shard_map("orders", &places).await.unwrap();
            assert_agree(&map, &about).await;
            let low = 1_000 * (i64::try_from(under.shards()[0]).unwrap() + 1);
            assert!(map.mapping_for_key(&low).await.is_ok(), "{about}");
        }
    }
}

/// Whoever meets the stamps undoes in the same way.
#[tokio::test]
async fn the_next_operation_and_recovery_itself_leave_them_too() {
    for resolves in [false, true] {
        let files = Files::new().await;
        restored(&files, Under::Split, Call::EndDo, &[0]).await;
        let map = files.process().await;
        if resolves {
            let differences = look(&map, &location(0)).await;
            assert_eq!(differences.unfinished_operations().len(), 1);
            let error = map.manager().recovery().resolve(&differences, Resolution::KeepLocal).await;
            // The undo leaves the shard's store, and changes nothing that readers of the global one see.
            assert!(error.is_ok() || error.is_err_and(|error| error.kind() == ErrorKind::Stale));
        } else {
            let _ = map.create_mapping(700..710, &map.shard(&location(0)).await.unwrap()).await.unwrap();
        }
        let differences = look(&map, &location(0)).await;
        assert_eq!(differences.unfinished_operations(), []);
        map.manager().recovery().resolve(&differences, Resolution::KeepLocal).await.unwrap();
        assert_agree(&map, &format!("resolves: {resolves}")).await;
        let mappings = map.mappings().await.unwrap();
        let lows: Vec<_> = mappings.iter().map(|mapping| *mapping.range().low()).collect();
        let expected = if resolves { vec![0, 50, 100, 1_000] } else { vec![0, 50, 100, 700, 1_000] };
        assert_eq!(lows, expected, "the split is that of the shard");
    }
}

/// What was moved is where it was moved to, whichever of the two shards has changed since.
#[tokio::test]
async fn a_move_is_left_in_both_shards_if_one_of_them_went_on() {
    for going_on in [0, 1] {
        let files = Files::new().await;
        restored(&files, Under::Move, Call::EndDo, &[going_on]).await;
        let rows = async || {
            let all = contents::rows(files.path());
            all.into_iter().filter(|(file, _)| file.starts_with(files.path().join("shards"))).collect::<Vec<_>>()
        };
        let before = rows().await;
        let map = files.process().await;
        assert_eq!(map.manager().undo_pending_operations().await.unwrap(), 1, "{going_on}");
        assert_eq!(rows().await, before, "{going_on}: a shard's own store was changed");
        map.manager().recovery().rebuild_shard_map("orders", &[location(0), location(1)]).await.unwrap();
        assert_agree(&map, &format!("{going_on} went on")).await;
        assert_eq!(map.mapping_for_key(&7).await.unwrap().shard().location(), &location(1));
    }
}

/// An operation that was finished after the backup, and was the last on its shards, is what these say.
#[tokio::test]
async fn who_believes_the_shards_keeps_what_was_done_in_all_of_them() {
    for under in [Under::Create, Under::Split, Under::Move] {
        let files = Files::new().await;
        restored(&files, under, Call::EndDo, &[]).await;
        let map = files.process().await;
        let places: Vec<_> = under.shards().iter().map(|number| location(*number)).collect();
        map.manager().recovery().rebuild_shard_map("orders", &places).await.unwrap();
        assert_agree(&map, &format!("{under:?}")).await;
        match under {
            Under::Create => assert!(map.mapping_for_key(&250).await.is_ok()),
            Under::Move => assert_eq!(map.mapping_for_key(&7).await.unwrap().shard().location(), &location(1)),
            _ => assert_eq!(map.mapping_for_key(&7).await.unwrap().range().high(), Some(&50)),
        }
    }
}
