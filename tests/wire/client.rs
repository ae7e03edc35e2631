//! The plain driver as a client of the endpoint.

use tiberius::Config;
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};

pub type Client = tiberius::Client<Compat<TcpStream>>;

/// Connects as a connection string says.
pub async fn connect(connection_string: &str) -> tiberius::Result<Client> {
    connect_with(Config::from_ado_string(connection_string).unwrap()).await
}

pub async fn connect_with(config: Config) -> tiberius::Result<Client> {
    let stream = TcpStream::connect(config.get_addr()).await?;
    stream.set_nodelay(true)?;
    Client::connect(config, stream.compat_write()).await
}
