//! Physical connections: name, socket, TLS, login, at most one redirect, all within one limit.
//!
//! Invariant: no more than `max_connects_per_server` are being made to one server at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tiberius::error::Error as DriverError;
use tiberius::{Config, SqlBrowser};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};

use super::credentials::SqlCredentials;
use super::fault::{Doing, fault};
use super::options::SqlServerOptions;
use super::target::Target;
use crate::error::{Error, ErrorCode, ErrorKind, Limit, Result};

/// The driver's connection.
pub(crate) type Client = tiberius::Client<Compat<TcpStream>>;

/// Names longer than this are cut by the server.
const LONGEST_APPLICATION_NAME: usize = 128;

/// Opens connections.
pub(super) struct Opener {
    management: SqlCredentials,
    options: SqlServerOptions,
    /// How many connects may begin, by host and port.
    gates: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Opener {
    pub(super) fn new(management: SqlCredentials, options: SqlServerOptions) -> Self {
        Self { management, options, gates: Mutex::default() }
    }

    pub(super) fn management(&self) -> &SqlCredentials {
        &self.management
    }

    /// Opens a connection. `suffix` is what the reference library puts at the end of the application's name.
    #[tracing::instrument(level = "debug", skip_all, fields(target = ?target))]
    pub(super) async fn open(&self, target: &Target, credentials: &SqlCredentials, suffix: &str) -> Result<Client> {
        let names_instance = credentials.names_instance(&self.management);
        let mut config = credentials.settings(&self.management);
        target.put_into(&mut config, names_instance)?;
        config.application_name(application_name(&config, suffix));
        let gate = self.gate(config.get_addr());
        let limit = self.options.timeouts.connect;
        let waited = tokio::time::timeout(self.options.timeouts.pool_wait, gate.acquire_owned());
        let Ok(Ok(_turn)) = waited.await else {
            let message = format!("other connects to the server went on for {:?}", self.options.timeouts.pool_wait);
            return Err(Error::timed_out(Limit::PoolWait, message));
        };
        match tokio::time::timeout(
            limit,
            Box::pin(self.open_now(config, target.needs_browser(names_instance) || !names_instance, credentials)),
        )
        .await
        {
            Ok(opened) => opened,
            Err(_) => Err(Error::timed_out(
                Limit::Connect,
                format!("no connection to the server within {limit:?}: it did not answer, or was slow to log in"),
            )),
        }
    }

    fn gate(&self, server: String) -> Arc<Semaphore> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        let gate = gates.entry(server).or_insert_with(|| {
            Arc::new(Semaphore::new(self.options.max_connects_per_server.min(Semaphore::MAX_PERMITS)))
        });
        Arc::clone(gate)
    }

    async fn open_now(&self, mut config: Config, browse: bool, credentials: &SqlCredentials) -> Result<Client> {
        // Both limits are ours: this one is around the whole, and requests to stores have their own.
        config.handshake_timeout(None);
        config.command_timeout(None);
        if let Some(token) = credentials.fresh_token().await? {
            config.authentication(token);
        }
        match log_in(config.clone(), browse).await {
            Err(DriverError::Routing { host, port }) => {
                config.host(host);
                config.port(port);
                log_in(config, false).await
            }
            first => first,
        }
        .map_err(|error| match error {
            // Nobody listens, or the name is unknown.
            error @ DriverError::Io { .. } => {
                Error::new(ErrorKind::Unavailable, ErrorCode::StorageOperationFailure, "the server cannot be reached")
                    .with_source(error)
            }
            error => fault(error, Doing::Connecting),
        })
    }
}

/// `browse`: by the driver's way, which asks for the port of an instance and tries all addresses at once if that is wished.
async fn log_in(config: Config, browse: bool) -> std::result::Result<Client, DriverError> {
    let socket = if browse {
        TcpStream::connect_named(&config).await?
    } else {
        let socket = TcpStream::connect(config.get_addr()).await?;
        socket.set_nodelay(true)?;
        socket
    };
    Client::connect(config, socket.compat_write()).await
}

/// The application's name with a suffix, cut so that the suffix stays whole: clients of the reference library find sessions by
/// it.
fn application_name(config: &Config, suffix: &str) -> String {
    // There is no getter; the settings print the name between two others.
    let text = format!("{config:?}");
    let named =
        text.split_once(", application_name: Some(\"").and_then(|(_, rest)| rest.split_once("\"), encryption: "));
    let base = named.map_or("shardlet", |(name, _)| name);
    let room = LONGEST_APPLICATION_NAME.saturating_sub(suffix.len());
    let base: String = base.chars().take(room).collect();
    base + suffix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suffix_of_the_application_name_is_never_cut() {
        let named = |name: &str| Config::from_ado_string(&format!("Server=s;User ID=u;Password=p{name}")).unwrap();
        assert_eq!(application_name(&named(""), "_X"), "shardlet_X");
        assert_eq!(application_name(&named(";Application Name=shop"), "_X"), "shop_X");
        let long = application_name(&named(&format!(";Application Name={}", "a".repeat(200))), "_X");
        assert_eq!(long, "a".repeat(126) + "_X");
    }
}
