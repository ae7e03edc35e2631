//! Recovery where the server matters.

use shardlet::{RangeShardMap, Resolution};

use crate::environment::Live;
use crate::server::Direct;

trials! {
    recovering {
        a_store_that_is_whole_is_not_installed_again,
    }
}

/// An installation would wait here, and change procedures that are in use.
async fn a_store_that_is_whole_is_not_installed_again() {
    let live = Live::new().await;
    let manager = live.manager().await;
    let map: RangeShardMap<i64, _> = manager.create_range_shard_map("ranges").await.unwrap();
    let shard = live.shards(&map, 1).await.remove(0);
    let _ = map.create_mapping(0..100, &shard).await.unwrap();
    let mut direct = Direct::to(shard.location().database()).await;
    direct.run("UPDATE __ShardManagement.ShardMappingsLocal SET Status = 0").await;
    direct
        .run(
            "EXEC sp_getapplock @Resource = N'shardlet installation', @LockMode = N'Exclusive', \
             @LockOwner = N'Session', @LockTimeout = 60000",
        )
        .await;
    let recovery = manager.recovery();
    let differences = recovery.detect(shard.location()).await.unwrap().remove(0);
    assert_eq!(differences.of_mappings().len(), 1);
    recovery.resolve(&differences, Resolution::KeepGlobal).await.unwrap();
    assert!(recovery.detect(shard.location()).await.unwrap().remove(0).is_empty());
    let released = "EXEC sp_releaseapplock @Resource = N'shardlet installation', @LockOwner = N'Session'";
    direct.run(released).await;
}
