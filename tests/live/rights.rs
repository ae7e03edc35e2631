//! What a login may do at stores, and that it is so: an owner, and the roles of `sql/sql_server/permissions.sql`.

use shardlet::gsm::GlobalStore;
use shardlet::lsm::LocalStore;
use shardlet::{
    ErrorKind, ListShardMap, Options, ShardLocation, ShardMapId, ShardMapInfo, ShardMapKind, ShardMapManager,
    ShardMapName, SqlServer, SqlServerOptions, StoreRights,
};

use crate::permissions::{Logins, ROLES, backend};
use crate::server::{Databases, Direct, is_babelfish};

const GLOBAL_TABLES: [&str; 7] = [
    "ShardMapManagerGlobal",
    "ShardMapsGlobal",
    "ShardsGlobal",
    "ShardMappingsGlobal",
    "OperationsLogGlobal",
    "ShardedDatabaseSchemaInfosGlobal",
    "ShardDescriptionsGlobal",
];

const LOCAL_TABLES: [&str; 4] = ["ShardMapManagerLocal", "ShardMapsLocal", "ShardsLocal", "ShardMappingsLocal"];

trials! { rights { what_is_told_is_what_works, } }

/// What a login is told at the global store and at a shard's, after a look that as much works.
async fn told(store: &SqlServer, shard: &ShardLocation, about: &str) -> [StoreRights; 2] {
    let rights = [store.global_rights().await.unwrap(), store.local_rights(shard).await.unwrap()];
    let name = ShardMapName::new(&format!("of {about}")).unwrap();
    let map = ShardMapInfo::new(ShardMapId::random(), name, ShardMapKind::List, shardlet::KeyType::Int64);
    let read = store.shard_maps().await;
    assert_eq!(read.is_ok(), rights[0].reads, "{about}: {read:?}");
    let changed = store.add_shard_map(&map).await;
    assert_eq!(changed.is_ok(), rights[0].changes, "{about}: {changed:?}");
    let read = store.local_shards(shard).await;
    assert_eq!(read.is_ok(), rights[1].reads, "{about}: {read:?}");
    rights
}

async fn what_is_told_is_what_works() {
    let databases = Databases::create(1).await;
    let owner = databases.backend(SqlServerOptions::default());
    let (shard, places) = (databases.location(0), [databases.global(), databases.shard(0)]);
    assert_eq!(owner.global_rights().await.unwrap(), StoreRights::ALL, "where no store is");
    assert_eq!(owner.local_rights(&shard).await.unwrap(), StoreRights::ALL, "where no store is");
    assert_eq!(owner.global_version().await.unwrap(), None, "nothing was made");
    assert_eq!(owner.local_version(&shard).await.unwrap(), None, "nothing was made");

    let logins = Logins::create(&databases, &places).await;
    let stores = [0, 1, 2].map(|role| backend(&databases, &logins.credentials(role)));
    let mut ends = StoreRights::NONE;
    ends.ends_sessions = !is_babelfish().await;
    let nothing = [StoreRights::NONE; 2];
    for (store, expected) in stores.iter().zip([ends, StoreRights::NONE, StoreRights::NONE]) {
        assert_eq!(store.global_rights().await.unwrap(), expected, "where no store is");
    }

    let manager = ShardMapManager::open_or_create(owner.clone(), Options::default()).await.unwrap();
    let map: ListShardMap<i64, _> = manager.create_list_shard_map("tenants").await.unwrap();
    let _ = map.create_shard(&shard).await.unwrap();
    assert_eq!(told(&owner, &shard, "the owner").await, [StoreRights::ALL; 2]);
    for (store, role) in stores.iter().zip(ROLES) {
        let mut expected = nothing;
        // Its rights of the server alone; those to end sessions at a shard are granted there.
        expected[0].ends_sessions = role == ROLES[0] && ends.ends_sessions;
        assert_eq!(told(store, &shard, role).await, expected, "{role}, before anything is granted");
    }

    Logins::grant(&places).await;
    if is_babelfish().await {
        for (store, role) in stores.iter().zip(ROLES) {
            assert_eq!(told(store, &shard, role).await, nothing, "{role}, without rights on the tables");
        }
        for (place, tables) in places.iter().zip([GLOBAL_TABLES.as_slice(), &LOCAL_TABLES]) {
            let mut direct = Direct::to(place).await;
            for (table, right) in
                tables.iter().flat_map(|table| ["SELECT", "INSERT", "UPDATE", "DELETE"].map(|right| (table, right)))
            {
                direct.run(&format!("GRANT {right} ON OBJECT::__ShardManagement.{table} TO shardlet_management")).await;
                if right == "SELECT" {
                    direct.run(&format!("GRANT {right} ON OBJECT::__ShardManagement.{table} TO shardlet_access")).await;
                }
            }
        }
    }
    let mut routes = StoreRights::NONE;
    routes.reads = true;
    let mut manages = ends;
    (manages.reads, manages.changes) = (true, true);
    let expected = [[manages; 2], [routes, StoreRights::NONE], nothing];
    for ((store, role), expected) in stores.iter().zip(ROLES).zip(expected) {
        assert_eq!(told(store, &shard, role).await, expected, "{role}");
    }
    // To read more than routing takes is part of what administrators do.
    let mut direct = Direct::to(&databases.global()).await;
    for extra in ["ListShardDescriptions", "ListSchemaInfos", "FindSchemaInfo"] {
        for role in ["shardlet_management", "shardlet_access"] {
            direct.run(&format!("REVOKE EXECUTE ON OBJECT::__ShardManagement.shardlet1_{extra} FROM {role}")).await;
        }
    }
    assert_eq!(told(&stores[1], &shard, "one that routes").await, [routes, StoreRights::NONE]);
    let mut no_extras = manages;
    no_extras.changes = false;
    assert_eq!(stores[0].global_rights().await.unwrap(), no_extras);
    let refused = stores[0].drop_global().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Credentials, "who may not install may not drop: {refused:?}");
    let created = stores[0].create_global(shardlet::CreateMode::Replace).await.unwrap_err();
    assert_eq!(created.kind(), ErrorKind::Credentials, "nor replace: {created:?}");
    assert_eq!(told(&owner, &shard, "the owner again").await, [StoreRights::ALL; 2]);
    drop((stores, map, manager));
    logins.drop_all().await;
}
