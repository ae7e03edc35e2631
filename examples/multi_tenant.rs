//! A list map of tenants, one database each, that grows while requests run.
//!
//! `cargo run --release --example multi_tenant` keeps its databases in `data/multi_tenant` below the current directory; an
//! argument names another directory. It can be run again on the same directory, also after it was killed.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use shardlet::{
    ErrorKind, ListShardMap, MappingStatus, NoCredentials, Options, ShardLocation, ShardMapManager, Sqlite,
    SqliteConnection, Validation,
};
use tokio::task::JoinSet;
use uuid::Uuid;

const TENANTS: usize = 12;
/// How many different requests each tenant makes; each writes a row of its own.
const REQUESTS: i64 = 20;

type Tenants = ListShardMap<Uuid, Sqlite>;
/// An error that a task can hand to the one that joins it.
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[derive(Clone)]
struct Tenant {
    name: String,
    id: Uuid,
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let directory = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("data/multi_tenant"), PathBuf::from);
    println!("The databases are in {}", std::path::absolute(&directory)?.display());

    let manager = ShardMapManager::open_or_create(Sqlite::open(&directory)?, Options::default()).await?;
    let tenants: Tenants = manager.list_shard_map_or_create("tenants").await?;
    put_online_what_the_last_run_left(&tenants).await?;

    let all: Vec<Tenant> = (0..TENANTS).map(tenant).collect();
    serve_while_tenants_are_added(&tenants, &all).await?;
    take_one_offline(&tenants, &all).await?;
    check(&tenants, &all).await
}

/// Undoes what a killed run left unfinished, and puts every tenant online.
async fn put_online_what_the_last_run_left(tenants: &Tenants) -> Outcome<()> {
    let _ = tenants.manager().undo_pending_operations().await?;
    for mapping in tenants.mappings().await? {
        if mapping.status() == MappingStatus::Offline {
            let _ = tenants.mark_mapping_online(mapping).await?;
        }
    }
    Ok(())
}

/// What the tasks that serve requests share.
#[derive(Default)]
struct Load {
    all_added: AtomicBool,
    served: AtomicI64,
}

/// Adds tenants one after the other. Each is served by a task of its own as soon as it is there, while others are added.
async fn serve_while_tenants_are_added(tenants: &Tenants, all: &[Tenant]) -> Outcome<()> {
    let load = Arc::new(Load::default());
    let mut tasks = JoinSet::new();
    for tenant in all {
        let before = load.served.load(Ordering::Relaxed);
        add_tenant(tenants, tenant).await?;
        let meanwhile = load.served.load(Ordering::Relaxed) - before;
        println!("{} is there; {meanwhile} requests of others were served meanwhile", tenant.name);
        let _ = tasks.spawn(serve_under_load(tenants.clone(), tenant.clone(), Arc::clone(&load)));
    }
    load.all_added.store(true, Ordering::Relaxed);
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    println!("Served {} requests", load.served.load(Ordering::Relaxed));
    Ok(())
}

/// Makes a database for a tenant and maps the tenant to it, unless that was done. The mapping comes last: a tenant that
/// can be routed has a database that is ready.
async fn add_tenant(tenants: &Tenants, tenant: &Tenant) -> Outcome<()> {
    let shard = tenants.shard_or_create(&location(tenant)).await?;
    let schema = "CREATE TABLE IF NOT EXISTS requests (
                      tenant_id TEXT NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (tenant_id, number))";
    let mut connection = tenants.open_connection_to_shard(&shard, &NoCredentials, Validation::None).await?;
    connection.execute_batch(schema).await?;
    if tenants.find_mapping_for_key(&tenant.id).await?.is_none() {
        let _ = tenants.create_mapping(tenant.id, &shard).await?;
    }
    Ok(())
}

/// Makes each request of a tenant at least once, and goes on until all tenants are there.
async fn serve_under_load(tenants: Tenants, tenant: Tenant, load: Arc<Load>) -> Outcome<()> {
    let mut made = 0;
    while made < REQUESTS || !load.all_added.load(Ordering::Relaxed) {
        serve(&tenants, &tenant, made % REQUESTS).await?;
        made += 1;
        let _ = load.served.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// One request: it knows its tenant and nothing of databases. Its row replaces the one of the last time.
async fn serve(tenants: &Tenants, tenant: &Tenant, number: i64) -> shardlet::Result<()> {
    let mut connection = connect(tenants, tenant).await?;
    let sql = "INSERT OR REPLACE INTO requests (tenant_id, number) VALUES (?1, ?2)";
    connection.execute(sql, (tenant.id.to_string(), number)).await.map(|_| ())
}

async fn connect(tenants: &Tenants, tenant: &Tenant) -> shardlet::Result<SqliteConnection> {
    tenants.open_connection_for_key(&tenant.id, &NoCredentials, Validation::Validate).await
}

/// Takes one tenant offline and shows that its requests fail, and no others.
async fn take_one_offline(tenants: &Tenants, all: &[Tenant]) -> Outcome<()> {
    let resting = tenant(2);
    let offline = tenants.mark_mapping_offline(tenants.mapping_for_key(&resting.id).await?).await?;
    println!("{} is offline", resting.name);
    let mut tasks = JoinSet::new();
    for tenant in all.iter().cloned() {
        let tenants = tenants.clone();
        let _ = tasks.spawn(async move { (serve(&tenants, &tenant, 0).await, tenant) });
    }
    let mut served = 0;
    while let Some(ended) = tasks.join_next().await {
        match ended? {
            (Ok(()), tenant) if tenant.id != resting.id => served += 1,
            (Err(error), tenant) if tenant.id == resting.id && error.kind() == ErrorKind::Offline => {
                println!("Refused, a request of {}: {error}", tenant.name);
            }
            (Ok(()), tenant) => return Err(format!("a request of {} was served", tenant.name).into()),
            (Err(error), tenant) => return Err(format!("a request of {} failed: {error}", tenant.name).into()),
        }
    }
    println!("Served a request of each of the {served} others");
    let _ = tenants.mark_mapping_online(offline).await?;
    serve(tenants, &resting, 0).await?;
    println!("{} is online and served again", resting.name);
    Ok(())
}

/// Fails unless each tenant's database holds all of its rows and nobody else's.
async fn check(tenants: &Tenants, all: &[Tenant]) -> Outcome<()> {
    let sql = "SELECT tenant_id, count(*) FROM requests GROUP BY tenant_id";
    println!("{:<12} {:<38} {:>4}", "database", "tenant", "rows");
    for tenant in all {
        let mut connection = connect(tenants, tenant).await?;
        let database = connection.location().clone();
        let counts: Vec<(String, i64)> = connection
            .read(move |transaction| transaction.query_all(sql, [], |row| Ok((row.get(0)?, row.get(1)?))))
            .await?;
        for (id, rows) in &counts {
            println!("{:<12} {id:<38} {rows:>4}", database.database());
        }
        if database != location(tenant) || counts != [(tenant.id.to_string(), REQUESTS)] {
            return Err(format!("the rows of {} are not all, or not alone, in its database", tenant.name).into());
        }
    }
    if tenants.shards().await?.len() != all.len() || tenants.mappings().await?.len() != all.len() {
        return Err("there are other shards or tenants than the expected ones".into());
    }
    println!("Each of the {} tenants has its own database with all of its rows and no others", all.len());
    Ok(())
}

/// The numbered tenant, the same in each run.
fn tenant(number: usize) -> Tenant {
    let name = format!("tenant_{number}");
    Tenant { id: Uuid::new_v5(&Uuid::NAMESPACE_DNS, name.as_bytes()), name }
}

fn location(tenant: &Tenant) -> ShardLocation {
    ShardLocation::new("localhost", tenant.name.as_str())
}
