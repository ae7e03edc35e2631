//! Names of shard maps that are hard to quote, to write and to compare, on any backend: each goes the whole way and reads
//! back as it was given, or is refused and nothing is sent.

use shardlet::{
    Error, ErrorCode, ErrorKind, ListShardMap, Options, ShardLocation, ShardMapInfo, ShardMapManager, Stores,
    Validation,
};

/// Names that are allowed.
fn allowed() -> Vec<String> {
    let names = [
        "it's \"quoted\" and `ticked`",
        "[brackets]] and ]] and [",
        "'; DROP TABLE __ShardManagement.ShardMapsGlobal;--",
        "N'x' + CHAR(39) + @name",
        "100%_; /* */ {fn} $(x) ?1 :a",
        "{\"n\":1,\"kind\":\"\\u0000\"}",
        "<a b=\"c\">&amp;]]><![CDATA[",
        "&#13;&#0;",
        "..\\..//C:",
        "\u{202e}right to left\u{202c}",
        "שלום مرحبا",
        "e\u{301}\u{323}\u{308} combining",
        "\u{200b}\u{200d}\u{feff}invisible",
        "tab\tand\nline",
        " blank before",
        "NULL",
    ];
    let longest = ["n".repeat(50), "表".repeat(50)];
    names.into_iter().map(ToOwned::to_owned).chain(longest).collect()
}

/// Names that are not.
fn refused() -> Vec<String> {
    let names = ["", " ", "\t\n", "\u{3000}", "nul\0", "\0", "a\rb", "bell\u{7}", "\u{1b}[0m", "\u{ffff}", "\u{fffe}"];
    let long = [
        "n".repeat(51),
        "😀".repeat(26),
        "n".repeat(4_000),
        "表".repeat(4_000),
        "'".repeat(4_000),
        "]".repeat(4_000),
        "x".repeat(1 << 20),
    ];
    names.into_iter().map(ToOwned::to_owned).chain(long).collect()
}

async fn all_maps<B: Stores>(manager: &ShardMapManager<B>) -> Vec<ShardMapInfo> {
    manager.shard_maps().await.unwrap()
}

/// Every call that takes a name of a map, on names that are allowed and on others.
pub async fn names_of_shard_maps<B: Stores>(backend: B, credentials: &B::Credentials, place: &ShardLocation) {
    let manager = ShardMapManager::open_or_create(backend, Options::default()).await.unwrap();
    let _ = manager.create_range_shard_map::<i32>("other").await.unwrap();
    for name in allowed() {
        let others = all_maps(&manager).await;
        let map =
            manager.create_list_shard_map::<i32>(&name).await.unwrap_or_else(|error| panic!("{name:?}: {error:?}"));
        assert_eq!(map.name(), name);
        for spelt in [name.clone(), format!("{name}  ").chars().take(50).collect()] {
            assert_eq!(manager.shard_map(&spelt).await.unwrap(), *map.info(), "{spelt:?}");
            assert_eq!(manager.shard_map(&spelt).await.unwrap().name(), name, "{spelt:?}");
            let twice = manager.create_list_shard_map::<i32>(&spelt).await.unwrap_err();
            assert_eq!(twice.kind(), ErrorKind::AlreadyExists, "{spelt:?}: {twice:?}");
            assert_eq!(manager.list_shard_map_or_create::<i32>(&spelt).await.unwrap().id(), map.id(), "{spelt:?}");
        }
        assert_eq!(all_maps(&manager).await.len(), others.len() + 1, "{name:?}");
        goes_the_whole_way(&map, credentials, place).await.unwrap_or_else(|error| panic!("{name:?}: {error:?}"));
        manager.delete_shard_map(&name).await.unwrap_or_else(|error| panic!("{name:?}: {error:?}"));
        assert!(manager.find_shard_map(&name).await.unwrap().is_none(), "{name:?}");
        assert_eq!(all_maps(&manager).await, others, "{name:?}");
    }

    let before = all_maps(&manager).await;
    for name in refused() {
        for (call, error) in [
            ("create list", manager.create_list_shard_map::<i32>(&name).await.err()),
            ("create range", manager.create_range_shard_map::<i32>(&name).await.err()),
            ("find", manager.find_shard_map(&name).await.err()),
            ("get", manager.list_shard_map::<i32>(&name).await.err()),
            ("or create", manager.list_shard_map_or_create::<i32>(&name).await.err()),
            ("delete", manager.delete_shard_map(&name).await.err()),
        ] {
            let error = error.unwrap_or_else(|| panic!("{call} {:?}: succeeded", &name[..name.len().min(60)]));
            let told = (error.kind(), error.code());
            assert_eq!(told, (ErrorKind::InvalidInput, ErrorCode::InvalidArgument), "{call}: {error:?}");
            assert!(error.to_string().len() < 500, "{call}: the message quotes the whole name");
        }
    }
    assert_eq!(all_maps(&manager).await, before);
}

/// A shard and a mapping of the map, and a route by it, each taken away again. The name is in every log record.
async fn goes_the_whole_way<B: Stores>(
    map: &ListShardMap<i32, B>,
    credentials: &B::Credentials,
    place: &ShardLocation,
) -> Result<(), Error> {
    let shard = map.create_shard(place).await?;
    let mapping = map.create_mapping(1, &shard).await?;
    drop(map.open_connection_for_key(&1, credentials, Validation::Validate).await?);
    let local = map.manager().backend().local_shards(place).await?;
    assert!(local.iter().any(|(info, _)| info == map.info() && info.name() == map.name()), "{local:?}");
    let mapping = map.mark_mapping_offline(mapping).await?;
    let refused = map.open_connection_for_key(&1, credentials, Validation::Validate).await.unwrap_err();
    assert_eq!((refused.kind(), refused.shard_map()), (ErrorKind::Offline, Some(map.name())));
    map.delete_mapping(mapping).await?;
    let shard = map.shard(place).await?;
    map.delete_shard(shard).await
}

/// Names of servers and databases that no store can hold are refused before anything is sent.
pub async fn names_of_places<B: Stores>(backend: B) {
    let manager = ShardMapManager::open_or_create(backend, Options::default()).await.unwrap();
    let map = manager.list_shard_map_or_create::<i32>("places").await.unwrap();
    let before = map.shards().await.unwrap();
    for name in refused().into_iter().filter(|name| name.encode_utf16().count() > 128 || name.len() < 20) {
        for place in [ShardLocation::new("server", name.as_str()), ShardLocation::new(name.as_str(), "database")] {
            for (call, error) in [
                ("create", map.create_shard(&place).await.err()),
                ("or create", map.shard_or_create(&place).await.err()),
                ("plan", map.create_shard(&place).plan().err()),
            ] {
                let error = error.unwrap_or_else(|| panic!("{call}: succeeded"));
                assert_eq!(error.kind(), ErrorKind::InvalidInput, "{call}: {error:?}");
            }
            assert!(map.find_shard(&place).await.unwrap().is_none());
        }
    }
    assert_eq!(map.shards().await.unwrap(), before);
    assert_eq!(manager.undo_pending_operations().await.unwrap(), 0);
}
