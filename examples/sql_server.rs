//! The quickstart on SQL Server: three shards, 10,000 orders of 300 customers, and a range moved with its rows.
//!
//! ```sh
//! SHARDLET_SERVER=localhost,1433 SHARDLET_ADMIN_USER=sa SHARDLET_ADMIN_PASSWORD=... SHARDLET_TRUST_CERTIFICATE=true \
//!     cargo run --release --example sql_server
//! ```
//!
//! It makes four databases, `shardlet_sample_map` and `shardlet_sample_0` to `_2`, unless they are there. The administrator has
//! to be allowed that, and to end sessions. `SHARDLET_APP_USER` and `SHARDLET_APP_PASSWORD` are another login for the routed
//! connections; it has to exist, and gets the rights that it needs. (On Babelfish it also needs SELECT on the schema
//! `__ShardManagement` of each shard.) Run it as often as you like, also after it was killed: it first puts right what the last
//! run left, and its orders are always the same, so that each run replaces the rows of the one before.

use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::process::ExitCode;

use shardlet::tiberius::{AuthMethod, Client, Config, EncryptionLevel, IntoRow, Row};
use shardlet::{
    ErrorKind, KeyRange, MappingFilter, MappingStatus, Options, RangeMapping, RangeShardMap, Shard, ShardLocation,
    ShardMapManager, SqlCredentials, SqlServer, SqlServerConnection, SqlServerOptions, Validation,
};
use tokio::net::TcpStream;
use tokio_util::compat::TokioAsyncWriteCompatExt;

/// The database of the global store.
const MAP: &str = "shardlet_sample_map";
const SHARDS: [&str; 3] = ["shardlet_sample_0", "shardlet_sample_1", "shardlet_sample_2"];
/// The ranges of the sample: low bound, high bound, database.
const LAYOUT: [(i64, i64, &str); 5] = [
    (0, 50, "shardlet_sample_0"),
    (50, 100, "shardlet_sample_1"),
    (100, 150, "shardlet_sample_0"),
    (150, 200, "shardlet_sample_1"),
    (200, 300, "shardlet_sample_0"),
];
const CUSTOMERS: i64 = 300;
const ORDERS: i64 = 10_000;

type Orders = RangeShardMap<i64, SqlServer>;
type Outcome<T> = Result<T, Box<dyn Error>>;

/// A row of the application's own table. shardlet knows nothing of it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Order {
    customer: i64,
    id: i64,
    cents: i64,
}

/// The server, and who connects to it.
struct Server {
    host: String,
    port: u16,
    trust_certificate: bool,
    /// User and password of the administrator.
    admin: (String, String),
    /// Those of the application, where it has a login of its own.
    application: Option<(String, String)>,
}

/// The shard map and the two sets of credentials that connections to shards are opened with.
struct Sample {
    orders: Orders,
    server: Server,
    /// For work on a shard as a whole.
    admin: SqlCredentials,
    /// For routed connections.
    application: SqlCredentials,
}

#[tokio::main]
async fn main() -> Outcome<ExitCode> {
    let server = match Server::from_environment() {
        Ok(server) => server,
        Err(why) => {
            eprintln!("{why}");
            return Ok(ExitCode::from(2));
        }
    };
    println!("The databases are on {},{}", server.host, server.port);
    create_databases(&server).await?;

    let login = |(user, password): &(String, String)| SqlCredentials::login(user, password);
    let admin = login(&server.admin);
    let backend = SqlServer::open_as(&server.connection_string(), &admin, SqlServerOptions::default())?;
    let manager = ShardMapManager::open_or_create(backend, Options::default()).await?;
    let sample = Sample {
        orders: manager.range_shard_map_or_create("orders").await?,
        application: server.application.as_ref().map_or_else(|| admin.clone(), login),
        admin,
        server,
    };
    sample.find_or_create_shards().await?;
    if let Some((user, _)) = &sample.server.application {
        sample.grant_to_application(user).await?;
    }
    sample.find_or_create_mappings().await?;
    sample.put_right_what_the_last_run_left().await?;
    sample.list_shards_and_mappings().await?;

    sample.insert_orders().await?;
    sample.read_back_each_customer().await?;

    sample.split_and_merge().await?;
    sample.split_and_move().await?;
    sample.show_refusals().await?;

    sample.read_back_each_customer().await?;
    sample.check_and_print_table().await?;
    Ok(ExitCode::SUCCESS)
}

// ---- The server ----------------------------------------------------------------------------------------------------

impl Server {
    fn from_environment() -> Result<Self, String> {
        let given = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let (Some(server), Some(user), Some(password)) =
            (given("SHARDLET_SERVER"), given("SHARDLET_ADMIN_USER"), given("SHARDLET_ADMIN_PASSWORD"))
        else {
            return Err("This example needs a SQL Server. Set\n  \
                 SHARDLET_SERVER             its host, or host,port\n  \
                 SHARDLET_ADMIN_USER         a login that may create databases and end sessions\n  \
                 SHARDLET_ADMIN_PASSWORD     its password\n\
                 and if you like\n  \
                 SHARDLET_APP_USER           another login for the routed connections\n  \
                 SHARDLET_APP_PASSWORD       its password\n  \
                 SHARDLET_TRUST_CERTIFICATE  true for a server with a certificate of its own making"
                .to_owned());
        };
        let (host, port) = server.split_once(',').unwrap_or((&server, "1433"));
        Ok(Self {
            host: host.trim().to_owned(),
            port: port.trim().parse().map_err(|_| "SHARDLET_SERVER is not host,port".to_owned())?,
            trust_certificate: given("SHARDLET_TRUST_CERTIFICATE").is_some_and(|value| value == "true"),
            admin: (user, password),
            application: given("SHARDLET_APP_USER").zip(given("SHARDLET_APP_PASSWORD")),
        })
    }

    /// The place of the global store and the settings of all connections. Logins are given beside it, so that passwords may
    /// hold any characters.
    fn connection_string(&self) -> String {
        let Self { host, port, trust_certificate, .. } = self;
        format!(
            "Server=tcp:{host},{port};Database={MAP};Encrypt=true;TrustServerCertificate={trust_certificate};\
             Application Name=shardlet sample"
        )
    }

    fn location(&self, database: &str) -> ShardLocation {
        ShardLocation::new(self.host.as_str(), database).with_port(self.port)
    }
}

/// Creates the databases that are missing. shardlet does not: how large and how dear they are is for you to say.
async fn create_databases(server: &Server) -> Outcome<()> {
    let mut config = Config::new();
    config.host(&server.host);
    config.port(server.port);
    config.database("master");
    config.authentication(AuthMethod::sql_server(&server.admin.0, &server.admin.1));
    config.encryption(EncryptionLevel::Required);
    if server.trust_certificate {
        config.trust_cert();
    }
    let socket = TcpStream::connect(config.get_addr()).await?;
    let mut client = Client::connect(config, socket.compat_write()).await?;
    for database in [MAP].into_iter().chain(SHARDS) {
        let found = client.query("SELECT 1 FROM sys.databases WHERE name = @P1", &[&database]).await?;
        if found.into_first_result().await?.is_empty() {
            let _ = client.simple_query(format!("CREATE DATABASE [{database}]")).await?.into_results().await?;
            println!("Created the database {database}");
        }
    }
    Ok(client.close().await?)
}

// ---- The shard map -------------------------------------------------------------------------------------------------

impl Sample {
    /// Registers the three databases as shards, unless they are, and sees to it that each has the application's table.
    async fn find_or_create_shards(&self) -> Outcome<()> {
        for database in SHARDS {
            let shard = self.orders.shard_or_create(&self.server.location(database)).await?;
            let schema = "IF OBJECT_ID(N'dbo.orders', N'U') IS NULL
                          CREATE TABLE dbo.orders (
                              customer_id bigint NOT NULL, order_id bigint NOT NULL, cents bigint NOT NULL,
                              PRIMARY KEY (customer_id, order_id));";
            let _ = self.connect_to(&shard).await?.simple_query(schema).await?.into_results().await?;
        }
        Ok(())
    }

    /// Makes the login of the application a user of each shard, with the right to validate its routes and to use its table.
    async fn grant_to_application(&self, user: &str) -> Outcome<()> {
        // The server puts the name in quotes: it can be no parameter of these statements, and is never pasted into text.
        let grant = "DECLARE @user nvarchar(258) = QUOTENAME(@P1), @sql nvarchar(max);
             IF DATABASE_PRINCIPAL_ID(@P1) IS NULL
             BEGIN
                 SET @sql = N'CREATE USER ' + @user + N' FOR LOGIN ' + @user;
                 EXEC (@sql);
             END
             SET @sql = N'ALTER ROLE shardlet_connection ADD MEMBER ' + @user;
             EXEC (@sql);
             SET @sql = N'GRANT SELECT, INSERT, UPDATE, DELETE ON dbo.orders TO ' + @user;
             EXEC (@sql);";
        // Batches end with a line GO; a checkout may have changed the ends of lines.
        let roles = include_str!("../sql/sql_server/permissions.sql").replace('\r', "");
        for shard in self.orders.shards().await? {
            let mut connection = self.connect_to(&shard).await?;
            for batch in roles.split("\nGO\n").filter(|batch| !batch.trim().is_empty()) {
                let _ = connection.simple_query(batch).await?.into_results().await?;
            }
            let _ = connection.execute(grant, &[&user]).await?;
        }
        println!("Routed connections log in as {user}");
        Ok(())
    }

    /// Maps the ranges of the sample, unless their keys are mapped already.
    async fn find_or_create_mappings(&self) -> Outcome<()> {
        for (low, high, database) in LAYOUT {
            if self.orders.find_mapping_for_key(&low).await?.is_none() {
                let created = self.orders.create_mapping(low..high, &self.shard(database).await?).await?;
                println!("Created the mapping of {}", created.range());
            }
        }
        Ok(())
    }

    /// Brings the map and the rows back to the layout above, whatever the last run did and wherever it was killed.
    ///
    /// It relies on one rule that `move_with_rows` keeps: the shard that the map names for a range always has all of the
    /// range's rows. Rows elsewhere are leftovers of a move that was cut short, and then the range is still offline.
    async fn put_right_what_the_last_run_left(&self) -> Outcome<()> {
        let undone = self.orders.manager().undo_pending_operations().await?;
        if undone > 0 {
            println!("Undid {undone} operation that the last run left unfinished");
        }
        let shards = self.orders.shards().await?;
        for mapping in self.orders.mappings().await? {
            if mapping.status() == MappingStatus::Offline {
                println!("The last run left {} offline; putting it back online", mapping.range());
                for other in shards.iter().filter(|shard| shard.id() != mapping.shard().id()) {
                    let deleted = delete_rows(&mut self.connect_to(other).await?, &mapping.range()).await?;
                    println!("Deleted {deleted} rows that it left on {}", other.location());
                }
                let _ = self.orders.mark_mapping_online(mapping).await?;
            }
        }
        for (low, high, database) in LAYOUT {
            let home = self.shard(database).await?;
            let mut whole: Option<RangeMapping<i64>> = None;
            for mut piece in self.orders.mappings_matching(&MappingFilter::all().in_range(low..high)).await? {
                if piece.shard().id() != home.id() {
                    piece = self.move_with_rows(piece, &home).await?;
                }
                whole = match whole {
                    Some(left) => Some(self.orders.merge_mappings(left, piece).await?),
                    None => Some(piece),
                };
            }
        }
        Ok(())
    }

    async fn list_shards_and_mappings(&self) -> Outcome<()> {
        for shard in self.orders.shards().await? {
            println!("shard: {}", shard.location());
        }
        for mapping in self.orders.mappings().await? {
            println!("range: {}  ==>{}", mapping.range(), mapping.shard().location());
        }
        Ok(())
    }

    async fn shard(&self, database: &str) -> Outcome<Shard> {
        Ok(self.orders.shard(&self.server.location(database)).await?)
    }

    // ---- Routing ---------------------------------------------------------------------------------------------------

    /// A connection to the shard of a customer, validated by the shard.
    async fn open(&self, customer: i64) -> shardlet::Result<SqlServerConnection> {
        self.orders.open_connection_for_key(&customer, &self.application, Validation::Validate).await
    }

    /// A connection to a shard as a whole, for work that does not belong to one key.
    async fn connect_to(&self, shard: &Shard) -> Outcome<SqlServerConnection> {
        Ok(self.orders.open_connection_to_shard(shard, &self.admin, Validation::None).await?)
    }

    /// Inserts the orders of each customer on the customer's shard, in one transaction per customer.
    async fn insert_orders(&self) -> Outcome<()> {
        let mut written = 0;
        for customer in 0..CUSTOMERS {
            let mut connection = self.open(customer).await?;
            written += put_rows(&mut connection, &only(customer), &orders_of(customer)).await?;
        }
        println!("Routed {written} orders of {CUSTOMERS} customers to their shards");
        Ok(())
    }

    /// Reads each customer's orders from the customer's shard.
    async fn read_back_each_customer(&self) -> Outcome<()> {
        for customer in 0..CUSTOMERS {
            let mut connection = self.open(customer).await?;
            if read_rows(&mut connection, &only(customer)).await? != orders_of(customer) {
                return Err(format!("customer {customer} is not complete on {}", connection.location()).into());
            }
        }
        println!("Read back all orders of each customer from the right shard");
        Ok(())
    }

    // ---- Changing the map ------------------------------------------------------------------------------------------

    /// Splits a range and merges it again. Both halves stay on their shard, so no rows move and connections live on.
    async fn split_and_merge(&self) -> Outcome<()> {
        let whole = self.orders.mapping_for_key(&0).await?;
        let (low, high) = self.orders.split_mapping(whole, 25).await?;
        println!("Split: {} and {}", low.range(), high.range());
        let whole = self.orders.merge_mappings(low, high).await?;
        println!("Merged: {}", whole.range());
        Ok(())
    }

    /// Splits a range and moves its upper half to the third shard.
    async fn split_and_move(&self) -> Outcome<()> {
        let target = self.shard("shardlet_sample_2").await?;
        let (_, upper) = self.orders.split_mapping(self.orders.mapping_for_key(&250).await?, 250).await?;
        let moved = self.move_with_rows(upper, &target).await?;
        println!("{} is now served by {}", moved.range(), moved.shard().location());
        Ok(())
    }

    /// Moves a range to another shard together with its rows. The library changes the map only: the rows are ours to move.
    ///
    /// The order of the steps makes it safe to die after any of them: while the range is offline nobody reads or changes its
    /// rows, and the shard that the map names for it always has all of them.
    async fn move_with_rows(&self, mapping: RangeMapping<i64>, target: &Shard) -> Outcome<RangeMapping<i64>> {
        let range = mapping.range();
        let mut from = self.connect_to(mapping.shard()).await?;
        let mut to = self.connect_to(target).await?;

        let offline = self.orders.mark_mapping_offline(mapping).await?;
        // A real range may be too large to copy in one go; copy it in batches then.
        let rows = read_rows(&mut from, &range).await?;
        println!("Copying {} rows of {range} from {} to {}", rows.len(), from.location(), to.location());
        let written = put_rows(&mut to, &range, &rows).await?;
        if read_rows(&mut to, &range).await? != rows {
            return Err(format!("the {written} rows of {range} written to {} are not those read", to.location()).into());
        }
        let moved = self.orders.move_mapping(offline, target).await?;
        let deleted = delete_rows(&mut from, &range).await?;
        println!("Deleted {deleted} rows of {range} from {}", from.location());
        Ok(self.orders.mark_mapping_online(moved).await?)
    }

    /// Shows what is refused, and that the kind of the error tells the program why.
    async fn show_refusals(&self) -> Outcome<()> {
        let old = self.orders.mapping_for_key(&120).await?;
        let offline = self.orders.mark_mapping_offline(old.clone()).await?;
        expect_refusal("a stale handle", ErrorKind::Stale, self.orders.delete_mapping(old).await)?;
        expect_refusal("an offline key", ErrorKind::Offline, self.open(120).await)?;
        let _ = self.orders.mark_mapping_online(offline).await?;
        expect_refusal("an unmapped key", ErrorKind::NotFound, self.open(CUSTOMERS).await)
    }

    // ---- The check at the end --------------------------------------------------------------------------------------

    /// Prints shards, ranges and row counts, and fails if an order is missing, altered or on the wrong shard.
    async fn check_and_print_table(&self) -> Outcome<()> {
        let mappings = self.orders.mappings().await?;
        let mut missing: HashMap<i64, Order> = (0..CUSTOMERS).flat_map(orders_of).map(|row| (row.id, row)).collect();
        let (mut misplaced, mut total) = (0, 0);

        println!("{:<18} {:<10} {:>6}", "shard", "range", "rows");
        for shard in self.orders.shards().await? {
            let mut connection = self.connect_to(&shard).await?;
            let name = shard.location().database();
            for mapping in mappings.iter().filter(|mapping| mapping.shard().id() == shard.id()) {
                let rows = read_rows(&mut connection, &mapping.range()).await?.len();
                println!("{name:<18} {:<10} {rows:>6}", mapping.range().to_string());
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
        println!("{:<18} {:<10} {total:>6}", "all", "");

        if !missing.is_empty() || misplaced > 0 {
            return Err(format!("{} orders are missing, {misplaced} are misplaced or altered", missing.len()).into());
        }
        println!("All {ORDERS} orders are where they belong");
        Ok(())
    }
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
    numbers.map(|id| Order { customer, id, cents: 100 + id * 37 % 9_900 }).collect()
}

/// The range of one customer.
fn only(customer: i64) -> KeyRange<i64> {
    (customer..customer + 1).into()
}

const IN_RANGE: &str = "FROM dbo.orders WHERE customer_id >= @P1 AND (@P2 IS NULL OR customer_id < @P2)";

/// Writes the rows of a range of customers in place of those that are there, in one transaction.
async fn put_rows(connection: &mut SqlServerConnection, customers: &KeyRange<i64>, rows: &[Order]) -> Outcome<u64> {
    let mut transaction = connection.begin().await?;
    let _ = delete_rows(&mut transaction, customers).await?;
    let mut insert = transaction.bulk_insert("dbo.orders", &["customer_id", "order_id", "cents"]).await?;
    for row in rows {
        insert.send((row.customer, row.id, row.cents).into_row()).await?;
    }
    let written = insert.finish().await?;
    transaction.commit().await?;
    Ok(written)
}

/// The rows of a range of customers, by customer and number.
async fn read_rows(connection: &mut SqlServerConnection, customers: &KeyRange<i64>) -> Outcome<Vec<Order>> {
    let sql = format!("SELECT customer_id, order_id, cents {IN_RANGE} ORDER BY customer_id, order_id");
    let (low, high) = (*customers.low(), customers.high().copied());
    let rows = connection.query(sql, &[&low, &high]).await?.into_first_result().await?;
    let column = |row: &Row, at| -> Outcome<i64> { Ok(row.try_get(at)?.ok_or("a column is NULL")?) };
    let read = |row| Ok(Order { customer: column(row, 0)?, id: column(row, 1)?, cents: column(row, 2)? });
    rows.iter().map(read).collect()
}

/// Deletes the rows of a range of customers and says how many they were.
async fn delete_rows(connection: &mut SqlServerConnection, customers: &KeyRange<i64>) -> Outcome<u64> {
    let (low, high) = (*customers.low(), customers.high().copied());
    Ok(connection.execute(format!("DELETE {IN_RANGE}"), &[&low, &high]).await?)
}
