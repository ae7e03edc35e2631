//! A shard's database is lost and restored from a backup of this morning, on another server: what an operator then does.
//!
//! `cargo run --release --example recover_after_restore` works in a directory of its own, which it removes.

use std::error::Error;
use std::path::Path;

use shardlet::{
    ErrorKind, NoCredentials, Options, RangeShardMap, Resolution, ShardLocation, ShardMapManager, Sqlite, Validation,
};

type Orders = RangeShardMap<i64, Sqlite>;
type Outcome<T> = Result<T, Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let manager = ShardMapManager::open_or_create(Sqlite::open(directory.path())?, Options::default()).await?;
    let orders: Orders = manager.create_range_shard_map("orders").await?;

    println!("# Morning: customers 0 to 99 are on shard a, 100 to 199 on shard b");
    let (here, there) = (ShardLocation::new("server-1", "shard_a"), ShardLocation::new("server-1", "shard_b"));
    let first = orders.create_shard(&here).await?;
    let second = orders.create_shard(&there).await?;
    let low = orders.create_mapping(0..100, &first).await?;
    let high = orders.create_mapping(100..200, &second).await?;
    for customer in [5, 70, 150] {
        write_order(&orders, customer, "of the morning").await?;
    }
    let backup = directory.path().join("shard_a.backup");
    back_up(&orders, &here, &backup).await?;

    println!("# Noon: customers 50 to 99 move to shard b, with their rows; customers 100 to 119 are split off");
    let (_, upper) = orders.split_mapping(low, 50).await?;
    let upper = orders.mark_mapping_offline(upper).await?;
    let upper = orders.move_mapping(upper, &orders.shard(&there).await?).await?;
    let _ = orders.mark_mapping_online(upper).await?;
    write_order(&orders, 70, "copied, and more of the noon").await?;
    let _ = orders.split_mapping(high, 120).await?;

    println!("# Afternoon: server 1 loses shard a; the backup of the morning is restored on server 2");
    std::fs::remove_file(directory.path().join("shards/server-1/shard_a.db"))?;
    let restored = ShardLocation::new("server-2", "shard_a_restored");
    std::fs::create_dir_all(directory.path().join("shards/server-2"))?;
    let _ = std::fs::copy(&backup, directory.path().join("shards/server-2/shard_a_restored.db"))?;
    let refused = read_orders(&orders, 5).await.err().ok_or("a lost shard answered")?;
    println!("customer 5: {refused}");

    println!("# 1. The global store is told where the shard is now");
    let recovery = manager.recovery();
    for shard in recovery.relocate(&here, &restored).await? {
        println!("relocated: {shard}");
    }

    println!("# 2. What does the restored database say differently?");
    let differences = recovery.detect(&restored).await?;
    for of_map in &differences {
        println!("{of_map}");
    }

    println!("# 3. The global store is right: the metadata of the restored database is made to follow it");
    for of_map in &differences {
        recovery.resolve(of_map, Resolution::KeepGlobal).await?;
    }
    for of_map in recovery.detect(&restored).await? {
        println!("{of_map}");
        assert!(of_map.is_empty());
    }

    println!("# 4. Everybody is served by the right shard again");
    for customer in [5, 70, 150] {
        println!("customer {customer}: {}", read_orders(&orders, customer).await?);
    }
    println!(
        "Orders that shard a took between the backup and the loss are not in it: that is for the database's own log."
    );
    println!(
        "The rows of customers 50 to 99 that came back with the backup are stale copies, which nobody is routed to."
    );
    let nobody = orders.open_connection_for_key(&250, &NoCredentials, Validation::Validate).await;
    assert_eq!(nobody.err().map(|error| error.kind()), Some(ErrorKind::NotFound));
    Ok(())
}

async fn write_order(orders: &Orders, customer: i64, item: &str) -> Outcome<()> {
    let mut connection = orders.open_connection_for_key(&customer, &NoCredentials, Validation::Validate).await?;
    connection.execute_batch("CREATE TABLE IF NOT EXISTS orders (customer INTEGER, item TEXT)").await?;
    let _ = connection.execute("INSERT INTO orders VALUES (?1, ?2)", (customer, item.to_owned())).await?;
    Ok(())
}

async fn read_orders(orders: &Orders, customer: i64) -> Outcome<String> {
    let mut connection = orders.open_connection_for_key(&customer, &NoCredentials, Validation::Validate).await?;
    let sql = "SELECT coalesce(group_concat(item, ', '), 'no orders') FROM orders WHERE customer = ?1";
    let items: String =
        connection.read(move |transaction| transaction.query_row(sql, [customer], |row| row.get(0))).await?;
    Ok(format!("{items} (on {})", connection.location()))
}

/// A copy of a shard's database as of now.
async fn back_up(orders: &Orders, place: &ShardLocation, file: &Path) -> Outcome<()> {
    let shard = orders.shard(place).await?;
    let connection = orders.open_connection_to_shard(&shard, &NoCredentials, Validation::Validate).await?;
    let raw = connection.into_raw().await?;
    let _ = raw.execute("VACUUM INTO ?1", [file.to_string_lossy()])?;
    Ok(())
}
