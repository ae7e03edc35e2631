//! Limits on time that are nothing, or for ever, as a server takes them.

use std::time::Duration;

use shardlet::{MappingStatus, Options, SessionPolicy, ShardMapManager, SqlServerOptions, Timeouts, Validation};

use crate::conformance::Environment;
use crate::environment::Live;
use crate::server::credentials;
use crate::support::consistency::assert_consistent;

trials! { limits {
    limits_may_be_for_ever_and_locks_waited_for_not_at_all,
} }

async fn limits_may_be_for_ever_and_locks_waited_for_not_at_all() {
    let env = Live::new().await;
    let ever = Duration::MAX;
    let forever = Timeouts::default().connect(ever).command(ever).pool_wait(ever).operation_lock(ever);
    let forever = SqlServerOptions::default().timeouts(forever).idle_time(ever).max_age(ever);
    let nothing = Timeouts::default().pool_wait(Duration::ZERO).operation_lock(Duration::ZERO);
    let nothing = SqlServerOptions::default().timeouts(nothing).idle_time(Duration::ZERO).max_age(Duration::ZERO);
    for (name, options, drains) in [("for ever", forever, ever), ("nothing", nothing, Duration::ZERO)] {
        let backend = env.databases.backend(options);
        let manager = ShardMapManager::open_or_create(backend, Options::default()).await.unwrap();
        let map = manager.create_range_shard_map::<i64>(name).await.unwrap();
        let shard = env.shards(&map, 1).await.remove(0);
        let mapping = map.create_mapping(0..10, &shard).await.unwrap();
        let opened = map.open_connection_for_key(&5, &credentials(), Validation::Validate).await;
        assert!(opened.is_ok(), "{name}: {opened:?}");
        drop(opened);
        let (offline, _) = map.mark_mapping_offline_with(mapping, SessionPolicy::Drain(drains)).await.unwrap();
        assert_eq!(offline.status(), MappingStatus::Offline, "{name}");
    }
    assert_consistent(env.backend(), &env.places(), "after all").await;
}
