//! A range map from end to end: three shards, 10,000 orders of 300 customers, and a range moved with its rows.
//!
//! `cargo run --release --example quickstart` keeps its databases in `data/quickstart` below the current directory; an
//! argument names another directory. Run it as often as you like, also after it was killed: it first puts right what the
//! last run left, and its orders are always the same, so that each run replaces the rows of the one before.

use std::collections::HashMap;
use std::error::Error;
use std::path::PathBuf;

use shardlet::rusqlite::{self, params};
use shardlet::{
    ErrorKind, KeyRange, MappingFilter, MappingStatus, NoCredentials, Options, RangeMapping, RangeShardMap, Shard,
    ShardLocation, ShardMapManager, Sqlite, SqliteConnection, SqliteTransaction, Validation,
};

const SERVER: &str = "localhost";
const DATABASES: [&str; 3] = ["sample_shard_0", "sample_shard_1", "sample_shard_2"];
/// The ranges of the sample: low bound, high bound, database.
const LAYOUT: [(i64, i64, &str); 5] = [
    (0, 50, "sample_shard_0"),
    (50, 100, "sample_shard_1"),
    (100, 150, "sample_shard_0"),
    (150, 200, "sample_shard_1"),
    (200, 300, "sample_shard_0"),
];
const CUSTOMERS: i64 = 300;
const ORDERS: i64 = 10_000;

type Orders = RangeShardMap<i64, Sqlite>;
type Outcome<T> = Result<T, Box<dyn Error>>;

/// A row of the application's own table. shardlet knows nothing of it.
#[derive(Clone, PartialEq, Eq)]
struct Order {
    id: i64,
    customer: i64,
    cents: i64,
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let directory = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("data/quickstart"), PathBuf::from);
    println!("The databases are in {}", std::path::absolute(&directory)?.display());

    let manager = ShardMapManager::open_or_create(Sqlite::open(&directory)?, Options::default()).await?;
    let orders: Orders = manager.range_shard_map_or_create("orders").await?;
    find_or_create_shards(&orders).await?;
    find_or_create_mappings(&orders).await?;
    put_right_what_the_last_run_left(&orders).await?;
    list_shards_and_mappings(&orders).await?;

    insert_orders(&orders).await?;
    read_back_each_customer(&orders).await?;

    split_and_merge(&orders).await?;
    split_and_move(&orders).await?;
    show_refusals(&orders).await?;

    read_back_each_customer(&orders).await?;
    check_and_print_table(&orders).await
}

// ---- The shard map -------------------------------------------------------------------------------------------------

/// Registers the three databases as shards, unless they are, and sees to it that each has the application's table.
async fn find_or_create_shards(orders: &Orders) -> Outcome<()> {
    for database in DATABASES {
        let shard = orders.shard_or_create(&ShardLocation::new(SERVER, database)).await?;
        let schema = "CREATE TABLE IF NOT EXISTS orders (
                          order_id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL, cents INTEGER NOT NULL);
                      CREATE INDEX IF NOT EXISTS orders_by_customer ON orders (customer_id);";
        connect_to(orders, &shard).await?.execute_batch(schema).await?;
    }
    Ok(())
}

/// Maps the ranges of the sample, unless their keys are mapped already.
async fn find_or_create_mappings(orders: &Orders) -> Outcome<()> {
    for (low, high, database) in LAYOUT {
        if orders.find_mapping_for_key(&low).await?.is_none() {
            let shard = orders.shard(&ShardLocation::new(SERVER, database)).await?;
            let created = orders.create_mapping(low..high, &shard).await?;
            println!("Created the mapping of {}", created.range());
        }
    }
    Ok(())
}

/// Brings the map and the rows back to the layout above, whatever the last run did and wherever it was killed.
///
/// It relies on one rule that `move_with_rows` keeps: the shard that the map names for a range always has all of the
/// range's rows. Rows elsewhere are leftovers of a move that was cut short, and then the range is still offline.
async fn put_right_what_the_last_run_left(orders: &Orders) -> Outcome<()> {
    let undone = orders.manager().undo_pending_operations().await?;
    if undone > 0 {
        println!("Undid {undone} operation that the last run left unfinished");
    }
    let shards = orders.shards().await?;
    for mapping in orders.mappings().await? {
        if mapping.status() == MappingStatus::Offline {
            println!("The last run left {} offline; putting it back online", mapping.range());
            for other in shards.iter().filter(|shard| shard.id() != mapping.shard().id()) {
                let deleted = delete_rows(&mut connect_to(orders, other).await?, &mapping.range()).await?;
                println!("Deleted {deleted} rows that it left on {}", other.location());
            }
            let _ = orders.mark_mapping_online(mapping).await?;
        }
    }
    for (low, high, database) in LAYOUT {
        let home = orders.shard(&ShardLocation::new(SERVER, database)).await?;
        let mut whole: Option<RangeMapping<i64>> = None;
        for mut piece in orders.mappings_matching(&MappingFilter::all().in_range(low..high)).await? {
            if piece.shard().id() != home.id() {
                piece = move_with_rows(orders, piece, &home).await?;
            }
            whole = match whole {
                Some(left) => Some(orders.merge_mappings(left, piece).await?),
                None => Some(piece),
            };
        }
    }
    Ok(())
}

async fn list_shards_and_mappings(orders: &Orders) -> Outcome<()> {
    for shard in orders.shards().await? {
        println!("shard: {}", shard.location());
    }
    for mapping in orders.mappings().await? {
        println!("range: {}  ==>{}", mapping.range(), mapping.shard().location());
    }
    Ok(())
}

// ---- Routing -------------------------------------------------------------------------------------------------------

/// Inserts the orders of each customer on the customer's shard, in one transaction per customer.
async fn insert_orders(orders: &Orders) -> Outcome<()> {
    let mut written = 0;
    for customer in 0..CUSTOMERS {
        let mut connection = orders.open_connection_for_key(&customer, &NoCredentials, Validation::Validate).await?;
        let rows = orders_of(customer);
        written += connection.write(move |transaction| put_rows(transaction, &rows)).await?;
    }
    println!("Routed {written} orders of {CUSTOMERS} customers to their shards");
    Ok(())
}

/// Reads each customer's orders from the customer's shard.
async fn read_back_each_customer(orders: &Orders) -> Outcome<()> {
    for customer in 0..CUSTOMERS {
        let mut connection = orders.open_connection_for_key(&customer, &NoCredentials, Validation::Validate).await?;
        let found = read_rows(&mut connection, &(customer..customer + 1).into()).await?;
        if found != orders_of(customer) {
            return Err(format!("customer {customer} is not complete on {}", connection.location()).into());
        }
    }
    println!("Read back all orders of each customer from the right shard");
    Ok(())
}

// ---- Changing the map ----------------------------------------------------------------------------------------------

/// Splits a range and merges it again. Both halves stay on their shard, so no rows move and connections live on.
async fn split_and_merge(orders: &Orders) -> Outcome<()> {
    let whole = orders.mapping_for_key(&0).await?;
    let (low, high) = orders.split_mapping(whole, 25).await?;
    println!("Split: {} and {}", low.range(), high.range());
    let whole = orders.merge_mappings(low, high).await?;
    println!("Merged: {}", whole.range());
    Ok(())
}

/// Splits a range and moves its upper half to the third shard.
async fn split_and_move(orders: &Orders) -> Outcome<()> {
    let target = orders.shard(&ShardLocation::new(SERVER, "sample_shard_2")).await?;
    let (_, upper) = orders.split_mapping(orders.mapping_for_key(&250).await?, 250).await?;
    let moved = move_with_rows(orders, upper, &target).await?;
    println!("{} is now served by {}", moved.range(), moved.shard().location());
    Ok(())
}

/// Moves a range to another shard together with its rows. The library changes the map only: the rows are ours to move.
///
/// The order of the steps makes it safe to die after any of them: while the range is offline nobody reads or changes its
/// rows, and the shard that the map names for it always has all of them.
async fn move_with_rows(orders: &Orders, mapping: RangeMapping<i64>, target: &Shard) -> Outcome<RangeMapping<i64>> {
    let range = mapping.range();
    let mut from = connect_to(orders, mapping.shard()).await?;
    let mut to = connect_to(orders, target).await?;

    let offline = orders.mark_mapping_offline(mapping).await?;
    // A real range may be too large to copy in one go; copy it in batches then.
    let rows = read_rows(&mut from, &range).await?;
    println!("Copying {} rows of {range} from {} to {}", rows.len(), from.location(), to.location());
    let copied = rows.clone();
    let written = to.write(move |transaction| put_rows(transaction, &copied)).await?;
    if read_rows(&mut to, &range).await? != rows {
        return Err(format!("the {written} rows of {range} written to {} are not those read", to.location()).into());
    }
    let moved = orders.move_mapping(offline, target).await?;
    let deleted = delete_rows(&mut from, &range).await?;
    println!("Deleted {deleted} rows of {range} from {}", from.location());
    Ok(orders.mark_mapping_online(moved).await?)
}

/// Shows what is refused, and that the kind of the error tells the program why.
async fn show_refusals(orders: &Orders) -> Outcome<()> {
    let old = orders.mapping_for_key(&120).await?;
    let offline = orders.mark_mapping_offline(old.clone()).await?;
    expect_refusal("a stale handle", ErrorKind::Stale, orders.delete_mapping(old).await)?;

    let opened = orders.open_connection_for_key(&120, &NoCredentials, Validation::Validate).await;
    expect_refusal("an offline key", ErrorKind::Offline, opened)?;
    let _ = orders.mark_mapping_online(offline).await?;

    let opened = orders.open_connection_for_key(&CUSTOMERS, &NoCredentials, Validation::Validate).await;
    expect_refusal("an unmapped key", ErrorKind::NotFound, opened)
}

fn expect_refusal<T>(what: &str, kind: ErrorKind, result: shardlet::Result<T>) -> Outcome<()> {
    match result {
        Err(error) if error.kind() == kind => {
            println!("Refused, {what}: {kind:?}: {error}");
            Ok(())
        }
        Err(error) => Err(format!("{what} was refused as {:?}, not as {kind:?}: {error}", error.kind()).into()),
        Ok(_) => Err(format!("{what} was not refused").into()),
    }
}

// ---- The application's rows ----------------------------------------------------------------------------------------

/// The orders of a customer, the same in each run, in the order of their numbers.
fn orders_of(customer: i64) -> Vec<Order> {
    let numbers = (0..ORDERS).filter(|number| number % CUSTOMERS == customer);
    numbers.map(|id| Order { id, customer, cents: 100 + id * 37 % 9_900 }).collect()
}

/// Opens a connection to a shard as a whole, for work that does not belong to one key.
async fn connect_to(orders: &Orders, shard: &Shard) -> Outcome<SqliteConnection> {
    Ok(orders.open_connection_to_shard(shard, &NoCredentials, Validation::None).await?)
}

/// Writes rows, replacing those that are there.
fn put_rows(transaction: &SqliteTransaction<'_>, rows: &[Order]) -> rusqlite::Result<usize> {
    let sql = "INSERT OR REPLACE INTO orders (order_id, customer_id, cents) VALUES (?1, ?2, ?3)";
    let mut statement = transaction.prepare(sql)?;
    let mut written = 0;
    for row in rows {
        written += statement.execute(params![row.id, row.customer, row.cents])?;
    }
    Ok(written)
}

/// The rows of a range of customers, in the order of their numbers.
async fn read_rows(connection: &mut SqliteConnection, customers: &KeyRange<i64>) -> Outcome<Vec<Order>> {
    let (low, high) = (*customers.low(), customers.high().copied());
    let sql = "SELECT order_id, customer_id, cents FROM orders
               WHERE customer_id >= ?1 AND (?2 IS NULL OR customer_id < ?2) ORDER BY order_id";
    let read = |row: &rusqlite::Row<'_>| Ok(Order { id: row.get(0)?, customer: row.get(1)?, cents: row.get(2)? });
    Ok(connection.read(move |transaction| transaction.query_all(sql, params![low, high], read)).await?)
}

/// Deletes the rows of a range of customers and says how many they were.
async fn delete_rows(connection: &mut SqliteConnection, customers: &KeyRange<i64>) -> Outcome<usize> {
    let (low, high) = (*customers.low(), customers.high().copied());
    let sql = "DELETE FROM orders WHERE customer_id >= ?1 AND (?2 IS NULL OR customer_id < ?2)";
    Ok(connection.execute(sql, (low, high)).await?)
}

// ---- The check at the end ------------------------------------------------------------------------------------------

/// Prints shards, ranges and row counts, and fails if an order is missing, altered or on the wrong shard.
async fn check_and_print_table(orders: &Orders) -> Outcome<()> {
    let mappings = orders.mappings().await?;
    let mut missing: HashMap<i64, Order> = (0..CUSTOMERS).flat_map(orders_of).map(|order| (order.id, order)).collect();
    let (mut misplaced, mut total) = (0, 0);

    println!("{:<16} {:<10} {:>6}", "shard", "range", "rows");
    for shard in orders.shards().await? {
        let mut connection = connect_to(orders, &shard).await?;
        let name = shard.location().database();
        for mapping in mappings.iter().filter(|mapping| mapping.shard().id() == shard.id()) {
            let rows = read_rows(&mut connection, &mapping.range()).await?.len();
            println!("{name:<16} {:<10} {rows:>6}", mapping.range().to_string());
            total += rows;
        }
        for row in read_rows(&mut connection, &(..).into()).await? {
            let owner = mappings.iter().find(|mapping| mapping.range().contains(&row.customer));
            let belongs_here = owner.is_some_and(|mapping| mapping.shard().id() == shard.id());
            let expected = if belongs_here { missing.remove(&row.id) } else { None };
            if expected != Some(row) {
                misplaced += 1;
            }
        }
    }
    println!("{:<16} {:<10} {total:>6}", "all", "");

    if !missing.is_empty() || misplaced > 0 {
        return Err(format!("{} orders are missing, {misplaced} are misplaced or altered", missing.len()).into());
    }
    println!("All {ORDERS} orders are where they belong");
    Ok(())
}
