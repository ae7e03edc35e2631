//! The server that is given, and databases on it of a test's own.

use std::time::Duration;

use shardlet::tiberius::{Client, Config, Row, ToSql};
use shardlet::{ShardLocation, SqlCredentials, SqlServer, SqlServerOptions};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};

/// An ADO-style connection string with the right to create and drop databases and logins.
const VARIABLE: &str = "SHARDLET_TEST_SQLSERVER";

/// Why the tests are ignored.
pub const NEEDED: &str = "needs a server in SHARDLET_TEST_SQLSERVER";

/// The connection string that is given.
pub fn address() -> Option<String> {
    std::env::var(VARIABLE).ok().filter(|address| !address.trim().is_empty())
}

/// A part of the connection string.
fn part(names: &[&str]) -> Option<String> {
    let address = address()?;
    address.split(';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        names.contains(&key.trim().to_ascii_lowercase().as_str()).then(|| value.trim().to_owned())
    })
}

/// The connection string with another database and what is said of it.
pub fn connection_string(database: &str) -> String {
    let address = address().unwrap();
    let others = address.split(';').filter(|pair| {
        let key = pair.split('=').next().unwrap_or_default().trim().to_ascii_lowercase();
        !["database", "initial catalog"].contains(&key.as_str())
    });
    format!("{};Database={database}", others.collect::<Vec<_>>().join(";"))
}

/// Everything of the connection string but the place.
pub fn login() -> String {
    let address = address().unwrap();
    let place = ["server", "data source", "database", "initial catalog"];
    let others = address.split(';').filter(|pair| {
        !place.contains(&pair.split('=').next().unwrap_or_default().trim().to_ascii_lowercase().as_str())
    });
    others.collect::<Vec<_>>().join(";")
}

/// What applications connect with.
pub fn credentials() -> SqlCredentials {
    SqlCredentials::parse(&login()).unwrap()
}

/// Host and port of the server.
pub fn host() -> (String, u16) {
    let server = part(&["server", "data source"]).unwrap();
    let server = server.strip_prefix("tcp:").unwrap_or(&server);
    match server.split_once(',') {
        Some((host, port)) => (host.to_owned(), port.trim().parse().unwrap()),
        None => (server.to_owned(), 1433),
    }
}

/// The place of a database on the server.
pub fn location(database: &str) -> ShardLocation {
    let (host, port) = host();
    ShardLocation::new(host, database).with_port(port)
}

/// A connection of the test's own, past the library.
pub struct Direct(Client<Compat<TcpStream>>);

impl Direct {
    pub async fn to(database: &str) -> Self {
        Self::connect(&connection_string(database)).await
    }

    pub async fn connect(address: &str) -> Self {
        let config = Config::from_ado_string(address).unwrap();
        let socket = TcpStream::connect(host()).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Self(Client::connect(config, socket.compat_write()).await.unwrap())
    }

    pub async fn rows(&mut self, sql: &str, parameters: &[&dyn ToSql]) -> Vec<Row> {
        self.0.query(sql, parameters).await.unwrap().into_first_result().await.unwrap()
    }

    pub async fn run(&mut self, sql: &str) {
        let _ = self.0.simple_query(sql).await.unwrap().into_results().await.unwrap();
    }

    pub async fn try_run(&mut self, sql: &str) -> Result<(), shardlet::tiberius::error::Error> {
        self.0.simple_query(sql).await?.into_results().await.map(drop)
    }

    pub async fn execute(&mut self, sql: &str, parameters: &[&dyn ToSql]) -> u64 {
        self.0.execute(sql, parameters).await.unwrap().total()
    }
}

/// True on Babelfish, which cannot do all that SQL Server does.
pub async fn is_babelfish() -> bool {
    static KNOWN: tokio::sync::OnceCell<bool> = tokio::sync::OnceCell::const_new();
    let ask = async || {
        let rows = Direct::to("master").await.rows("SELECT CONVERT(int, SERVERPROPERTY('babelfish'))", &[]).await;
        rows[0].get::<i32, _>(0).is_some()
    };
    *KNOWN.get_or_init(ask).await
}

/// Held while a database is made or dropped.
static CREATING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A client of the store whose databases' names begin so.
pub fn store_of(prefix: &str, options: SqlServerOptions) -> SqlServer {
    SqlServer::open_with(&connection_string(&format!("{prefix}_gsm")), options).unwrap()
}

/// The place of a shard whose database's name begins so.
pub fn place_of(prefix: &str, number: usize) -> ShardLocation {
    location(&format!("{prefix}_s{number}"))
}

/// Databases of a test's own: one for the global store and some for shards. They are dropped with this.
pub struct Databases {
    prefix: String,
    names: Vec<String>,
}

impl Databases {
    /// `shards` databases for shards.
    pub async fn create(shards: usize) -> Self {
        // Lower case, as some engines fold names.
        let prefix = format!("shardlet_{}", &uuid::Uuid::new_v4().simple().to_string()[..12]);
        let mut names = vec![format!("{prefix}_gsm")];
        names.extend((0..shards).map(|number| format!("{prefix}_s{number}")));
        let mut direct = Direct::to("master").await;
        for name in &names {
            // Babelfish cannot make two at the same time.
            let _one = CREATING.lock().await;
            let mut tries = 0;
            while let Err(error) = direct.try_run(&format!("CREATE DATABASE [{name}]")).await {
                tries += 1;
                assert!(tries < 20, "{name} could not be made: {error}");
            }
        }
        Self { prefix, names }
    }

    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    pub fn global(&self) -> String {
        format!("{}_gsm", self.prefix)
    }

    pub fn shard(&self, number: usize) -> String {
        format!("{}_s{number}", self.prefix)
    }

    pub fn location(&self, number: usize) -> ShardLocation {
        place_of(&self.prefix, number)
    }

    /// Drops the database of a shard before its time.
    pub async fn drop_shard(&self, number: usize) {
        drop_databases(&[self.shard(number)]).await;
    }

    /// A client with pools of its own.
    pub fn backend(&self, options: SqlServerOptions) -> SqlServer {
        store_of(&self.prefix, options)
    }
}

impl Drop for Databases {
    fn drop(&mut self) {
        let names = std::mem::take(&mut self.names);
        // There is no awaiting here, and the test's runtime cannot be entered again.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(drop_databases(&names));
        });
        let dropped = dropping.join();
        if !std::thread::panicking() {
            dropped.unwrap();
        }
    }
}

async fn drop_databases(names: &[String]) {
    let mut direct = Direct::to("master").await;
    for name in names {
        // Connections that the test has left may take a moment to end.
        let mut last = None;
        for _ in 0..50 {
            let left = "SELECT CONVERT(int, session_id) FROM sys.dm_exec_sessions \
                        WHERE database_id = DB_ID(@P1) AND session_id <> @@SPID";
            for row in direct.rows(left, &[name]).await {
                let _ = direct.try_run(&format!("KILL {}", row.get::<i32, _>(0).unwrap())).await;
            }
            let _one = CREATING.lock().await;
            match direct.try_run(&format!("DROP DATABASE IF EXISTS [{name}]")).await {
                Ok(()) => {
                    last = None;
                    break;
                }
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(last.is_none(), "{name} could not be dropped: {last:?}");
    }
}
