//! How many round trips each public call takes on the wire: the table in docs/architecture.md.

use std::cell::RefCell;
use std::future::IntoFuture;
use std::time::Duration;

use shardlet::gsm::GlobalStore;
use shardlet::lsm::LocalStore;
use shardlet::{
    BulkOptions, CreateMode, LoadPolicy, LockToken, MappingFilter, MappingStatus, Options, RangeShardMap, SchemaInfo,
    SessionPolicy, ShardMapManager, ShardStatus, SqlServer, Validation,
};

use crate::backend::{application, backend, no_maps, patient, procedure, shard_at, soon};
use crate::endpoint::{Answer, Endpoint, Request, Type, Value};
use crate::store::{Kind, kind, sessions, store};

/// No call takes more, installations aside.
const MOST: usize = 9;

/// Calls with what they took.
struct Table<'s> {
    server: &'s Endpoint,
    seen: usize,
    most: usize,
    rows: RefCell<Vec<(String, String)>>,
}

impl Table<'_> {
    /// Does a call and compares its round trips with those documented: to the global store, to shards, and those by which the
    /// traces of users are taken from connections that go back afterwards, which nobody waits for.
    async fn row<T>(
        &mut self,
        call: &str,
        expected: (usize, usize, usize),
        work: impl IntoFuture<Output = shardlet::Result<T>>,
    ) -> T {
        let output = work.await.unwrap();
        let (global, shards, behind) = expected;
        let wanted = self.seen + global + shards + behind;
        let server = self.server;
        soon(server.until(|server| server.requests().len() >= wanted)).await;
        let requests = server.requests();
        let new = &requests[self.seen..];
        let took = |of| new.iter().filter(|call| kind(call) == of).count();
        let texts: Vec<_> = new.iter().map(|call| call.text().chars().take(60).collect::<String>()).collect();
        assert_eq!((took(Kind::Global), took(Kind::Shard), took(Kind::Cleaning)), expected, "{call}: {texts:#?}");
        assert!(global + shards <= self.most, "{call}");
        self.seen = requests.len();
        let row = if behind == 0 { format!("{global} + {shards}") } else { format!("{global} + {shards} ({behind})") };
        self.rows.borrow_mut().push((call.to_owned(), row));
        output
    }

    /// The lines of the documentation.
    fn print(&self) {
        for (call, row) in self.rows.borrow().iter() {
            println!("| {call} | {row} |");
        }
    }

    /// Leaves out what a test does beside.
    fn skip(&mut self) {
        self.seen = self.server.requests().len();
    }
}

fn table(server: &Endpoint) -> Table<'_> {
    Table { server, seen: 0, most: MOST, rows: RefCell::default() }
}

async fn opened(server: &Endpoint) -> (ShardMapManager<SqlServer>, RangeShardMap<i64, SqlServer>) {
    let manager = ShardMapManager::open(backend(server, patient()), Options::default()).await.unwrap();
    let map = manager.range_shard_map("orders").await.unwrap();
    (manager, map)
}

#[tokio::test]
async fn managers_and_maps() {
    let server = store().await;
    let backend = backend(&server, patient());
    let mut table = table(&server);
    let lazy = Options::default;
    let eager = || Options::default().load_policy(LoadPolicy::Eager);
    let manager = table.row("open, lazy", (1, 0, 0), ShardMapManager::open(backend.clone(), lazy())).await;
    let _ = table.row("open, eager", (2, 0, 0), ShardMapManager::open(backend.clone(), eager())).await;
    let _ = table.row("try_open, lazy", (1, 0, 0), ShardMapManager::try_open(backend.clone(), lazy())).await;
    let _ = table.row("shard_maps", (1, 0, 0), manager.shard_maps()).await;
    let _ = table.row("shard_map", (1, 0, 0), manager.shard_map("orders")).await;
    let _ = table.row("find_shard_map", (1, 0, 0), manager.find_shard_map("x")).await;
    let _ = table.row("range_shard_map", (1, 0, 0), manager.range_shard_map::<i64>("orders")).await;
    let or_create = manager.range_shard_map_or_create::<i64>("orders");
    let _ = table.row("range_shard_map_or_create, there", (1, 0, 0), or_create).await;
    let or_create = manager.range_shard_map_or_create::<i64>("new");
    let _ = table.row("range_shard_map_or_create, created", (2, 0, 0), or_create).await;
    let _ = table.row("create_range_shard_map", (1, 0, 0), manager.create_range_shard_map::<i64>("new")).await;
    table.row("delete_shard_map", (2, 0, 0), manager.delete_shard_map("orders")).await;
    let _ = table.row("shard_locations", (1, 0, 0), manager.shard_locations()).await;
    let info = SchemaInfo::new();
    let _ = table.row("schema_infos", (1, 0, 0), manager.schema_infos()).await;
    let _ = table.row("find_schema_info", (1, 0, 0), manager.find_schema_info("orders")).await;
    table.row("create_schema_info", (1, 0, 0), manager.create_schema_info("orders", &info)).await;
    table.row("update_schema_info", (1, 0, 0), manager.update_schema_info("orders", &info)).await;
    table.row("delete_schema_info", (1, 0, 0), manager.delete_schema_info("orders")).await;
    let _ = table.row("undo_pending_operations, none", (1, 0, 0), manager.undo_pending_operations()).await;
    assert_eq!(server.connections().len(), 1);
    let report = table.row("upgrade of two shards, nothing to do", (3, 4, 0), ShardMapManager::upgrade(&backend)).await;
    assert!(report.is_complete() && !report.is_change(), "{report}");
    let shard = shard_at(&server, "shard_0");
    let _ = table.row("upgrade_shard, nothing to do", (0, 2, 0), manager.upgrade_shard(&shard)).await;
    let columns = ["reads", "changes", "installs", "ends_sessions"].map(|column| (column, Type::Int));
    let _ = server.on_statement("HAS_PERMS_BY_NAME", move |_| Answer::rows(columns, [[1, 0, 1, 0].map(Value::Int)]));
    let rights = table.row("global_rights", (1, 0, 0), backend.global_rights()).await;
    assert_eq!([rights.reads, rights.changes, rights.installs, rights.ends_sessions], [true, false, true, false]);
    let _ = table.row("local_rights", (0, 1, 0), backend.local_rights(&shard)).await;
}

#[tokio::test]
async fn reads_and_locks_of_mappings() {
    let server = store().await;
    let (_manager, map) = opened(&server).await;
    let mut table = table(&server);
    table.skip();
    let _ = table.row("cold lookup_mapping", (1, 0, 0), map.lookup_mapping(&7)).await;
    let _ = table.row("warm lookup_mapping", (0, 0, 0), map.lookup_mapping(&7)).await;
    let mapping = table.row("mapping_for_key", (1, 0, 0), map.mapping_for_key(&7)).await;
    let _ = table.row("mappings", (1, 0, 0), map.mappings()).await;
    let _ =
        table.row("mappings_matching", (1, 0, 0), map.mappings_matching(&MappingFilter::all().in_range(1..5))).await;
    let _ = table.row("shards", (1, 0, 0), map.shards()).await;
    let _ = table.row("shard", (1, 0, 0), map.shard(&shard_at(&server, "shard_1"))).await;
    let _ = table.row("find_shard", (1, 0, 0), map.find_shard(&shard_at(&server, "none"))).await;
    let _ = table.row("shard_or_create, there", (1, 0, 0), map.shard_or_create(&shard_at(&server, "shard_0"))).await;
    table.row("describe_shard", (1, 0, 0), map.describe_shard(mapping.shard(), "north")).await;
    let _ = table.row("shard_descriptions", (1, 0, 0), map.shard_descriptions()).await;
    let token = LockToken::random();
    let mapping = table.row("lock_mapping", (1, 0, 0), map.lock_mapping(mapping, token)).await;
    let _ = table.row("mapping_lock_owner", (1, 0, 0), map.mapping_lock_owner(&mapping)).await;
    let _ = table.row("unlock_mapping", (1, 0, 0), map.unlock_mapping(mapping, token)).await;
    let _ = table.row("unlock_mappings", (1, 0, 0), map.unlock_mappings(token)).await;
    assert_eq!(server.connections().len(), 1);
}

#[tokio::test]
async fn opens() {
    let server = store().await;
    let (_manager, map) = opened(&server).await;
    let mut table = table(&server);
    table.skip();
    let app = application();
    let open = |validation| map.open_connection_for_key(&7, &app, validation);
    let first = async {
        drop(open(Validation::Validate).await?);
        Ok(())
    };
    table.row("open_connection_for_key, cold, validated", (1, 1, 1), first).await;
    let connection = table.row("open_connection_for_key, warm, validated", (0, 1, 0), open(Validation::Validate)).await;
    let unvalidated =
        table.row("open_connection_for_key, warm, not validated", (0, 0, 0), open(Validation::None)).await;
    let mut unvalidated = unvalidated;
    let used = async { unvalidated.execute(crate::backend::ECHO, &[&1_i32]).await };
    let _ = table.row("its first statement", (0, 2, 0), used).await;
    let used = async { unvalidated.execute(crate::backend::ECHO, &[&1_i32]).await };
    let _ = table.row("each other statement", (0, 1, 0), used).await;
    let gone = async {
        drop((connection, unvalidated));
        Ok(())
    };
    table.row("dropping a used connection and one that was only validated", (0, 0, 3), gone).await;
    let shard = map.shard(&shard_at(&server, "shard_1")).await.unwrap();
    table.skip();
    let to_shard = map.open_connection_to_shard(&shard, &app, Validation::Validate);
    let to_shard = table.row("open_connection_to_shard, validated", (0, 1, 0), to_shard).await;
    let gone = async {
        drop(to_shard);
        Ok(())
    };
    table.row("dropping a validated connection that was not used", (0, 0, 1), gone).await;
    let to_shard = map.open_connection_to_shard(&shard, &app, Validation::None);
    let mut to_shard = table.row("open_connection_to_shard, not validated", (0, 0, 0), to_shard).await;
    let used = async { to_shard.execute(crate::backend::ECHO, &[&1_i32]).await };
    let _ = table.row("its first statement, on a connection without a stamp", (0, 1, 0), used).await;
    let gone = async {
        drop(to_shard);
        Ok(())
    };
    table.row("dropping a used connection", (0, 0, 2), gone).await;

    // A mapping that the shard does not know any more is read anew, and asked about once more. Where all places are taken no
    // connection is kept aside, so that nothing else comes in between.
    let full = ShardMapManager::open(backend(&server, patient().max_connections(4)), Options::default()).await.unwrap();
    let map = full.range_shard_map::<i64>("orders").await.unwrap();
    let _ = map.lookup_mapping(&7).await.unwrap();
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(map.open_connection_to_shard(&shard, &app, Validation::None).await.unwrap());
    }
    table.skip();
    let stale = procedure("ValidateMapping");
    server.on_procedure(&stale, |_| Answer::return_code(301)).times(1);
    let fresh = uuid::Uuid::from_u128(0xB2);
    crate::store::remapped(&server, fresh);
    let again = map.open_connection_for_key(&7, &app, Validation::Validate);
    let _ = table.row("open_connection_for_key, stale", (1, 2, 1), again).await;
    table.print();
}

#[tokio::test]
async fn operations() {
    let server = store().await;
    let (_manager, map) = opened(&server).await;
    let place = |number: usize| shard_at(&server, ["shard_0", "shard_1", "new"][number]);
    let (first, second) = (map.shard(&place(0)).await.unwrap(), map.shard(&place(1)).await.unwrap());
    let mapping = map.mapping_for_key(&7).await.unwrap();
    let mut table = table(&server);
    table.skip();
    let _ = table.row("create_shard, a database with a store", (3, 3, 1), map.create_shard(&place(2))).await;
    let _ = table.row("update_shard", (3, 2, 1), map.update_shard(first.clone(), ShardStatus::Online)).await;
    table.row("delete_shard", (3, 2, 1), map.delete_shard(second.clone())).await;
    let _ = table.row("create_mapping", (3, 2, 1), map.create_mapping(100..200, &first)).await;
    let many = (0..1_000).map(|number| (1_000 + number..1_001 + number, &first));
    let creation = map.create_mappings(many, &BulkOptions::default()).unwrap();
    let _ = table.row("create_mappings, the first one of a shard", (3, 2, 1), creation.next_batch().unwrap()).await;
    let made = table.row("create_mappings, a batch of 500", (3, 2, 1), creation.next_batch().unwrap()).await;
    assert_eq!(made.len(), 500);
    let _ = table.row("skip_existing", (1, 0, 0), creation.skip_existing()).await;
    let (low, high) = table.row("split_mapping", (3, 2, 1), map.split_mapping(mapping.clone(), 50)).await;
    let _ = table.row("merge_mappings", (3, 2, 1), map.merge_mappings(low, high)).await;
    let offline =
        table.row("mark_mapping_offline, no sessions", (3, 3, 1), map.mark_mapping_offline(mapping.clone())).await;
    let _ = table.row("mark_mapping_online", (3, 2, 1), map.mark_mapping_online(offline.clone())).await;
    let _ = table.row("move_mapping", (3, 4, 2), map.move_mapping(offline.clone(), &second)).await;
    table.row("delete_mapping", (3, 2, 1), map.delete_mapping(offline)).await;
    sessions(&server, 1);
    let ended = map.mark_mapping_offline(mapping.clone());
    let _ = table.row("mark_mapping_offline, sessions ended", (3, 5, 1), ended).await;
    let left = map.mark_mapping_offline_with(mapping.clone(), SessionPolicy::Leave);
    let _ = table.row("mark_mapping_offline_with, sessions left", (3, 2, 1), left).await;
    sessions(&server, 2);
    let drained = map.mark_mapping_offline_with(mapping.clone(), SessionPolicy::Drain(Duration::from_secs(60)));
    let _ = table.row("mark_mapping_offline_with, two looks until they are gone", (3, 5, 1), drained).await;
    let offline = map.create_mapping_with(200..300, &first, MappingStatus::Offline);
    let _ = table.row("create_mapping_with", (3, 2, 1), offline).await;
    // Where the procedure that ends an operation did not release its lock, or did not say so, that is done afterwards.
    for released in [Some(-999), None] {
        let _ = server.on_procedure(&procedure("EndMappings"), move |_| {
            Answer::rows([("", Type::Int)], released.map(|released| [released.into()])).code(1)
        });
        let created = map.create_mapping(100..200, &first);
        let _ = table.row("create_mapping, its lock not released by the store", (3, 2, 2), created).await;
    }
    table.print();
}

#[tokio::test]
async fn an_operation_that_meets_the_unfinished_one_of_another_client() {
    let server = store().await;
    let (_manager, map) = opened(&server).await;
    let (first, second) = (shard_at(&server, "shard_0"), shard_at(&server, "shard_1"));
    let (first, second) = (map.shard(&first).await.unwrap(), map.shard(&second).await.unwrap());
    let mapping = map.mapping_for_key(&7).await.unwrap();
    let offline = map.mark_mapping_offline_with(mapping.clone(), SessionPolicy::Leave).await.unwrap().0;
    let _ = map.split_mapping(mapping, 50).await.unwrap();
    let _ = map.move_mapping(offline, &second).await.unwrap();
    let begun: Vec<_> =
        server.requests().into_iter().filter(|call| call.text() == procedure("BeginMappings")).skip(1).collect();
    // A shard that knows nothing of the map has not gone on since.
    let _ = server.on_procedure(&procedure("ListLocalShards"), |_| no_maps());
    let mut table = table(&server);
    for (begun, name, expected) in [(&begun[0], "split", (8, 5, 4)), (&begun[1], "move", (8, 9, 5))] {
        soon(server.until(|server| server.requests().iter().filter(|call| kind(call) == Kind::Cleaning).count() >= 4))
            .await;
        table.skip();
        crate::store::pending(&server, begun);
        // Begin, refused: 2 + 1 (2). Undo: 3 + 2 (1), of a move 3 + 6 (2). The operation itself: 3 + 2 (1).
        table.most = expected.0 + expected.1;
        let call = format!("create_mapping, another client's {name} undone first");
        let _ = table.row(&call, expected, map.create_mapping(100..200, &first)).await;
    }
}

#[tokio::test]
async fn an_installation_takes_a_batch_for_each_part_of_its_scripts() {
    let server = store().await;
    let _ = server.on_batch("", |_| Answer::done());
    for store in ["ShardMapManagerGlobal", "ShardMapManagerLocal"] {
        server.on_statement(store, |_| Answer::done()).times(1);
    }
    let backend = backend(&server, patient());
    let batches =
        |server: &Endpoint| server.requests().iter().filter(|call| matches!(call.request(), Request::Batch(_))).count();
    let manager = ShardMapManager::create(backend, CreateMode::Keep, Options::default()).await.unwrap();
    let global = batches(&server);
    let map = manager.range_shard_map::<i64>("orders").await.unwrap();
    let _ = map.create_shard(&shard_at(&server, "new")).await.unwrap();
    let local = batches(&server) - global;
    println!("installing a global store: {global} batches, a local one: {local}");
    let tables = [("name", Type::Text)];
    let _ = server.on_statement("SELECT 1", |_| Answer::done());
    let _ = server.on_statement("N'OperationsLogGlobal'", move |_| Answer::rows(tables, [["ShardsGlobal".into()]]));
    assert!(manager.backend().drop_global().await.unwrap());
    let dropping = batches(&server) - global - local;
    println!("dropping a global store: {dropping} batches");
    assert!((30..80).contains(&global), "{global} batches make a global store");
    assert!((20..60).contains(&local), "{local} batches make a local store");
    assert!((20..60).contains(&dropping), "{dropping} batches drop a global store");
}
