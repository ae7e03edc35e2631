//! Where a database is, as the driver takes it.

use tiberius::Config;

use crate::error::{Error, Result};
use crate::model::{Protocol, ShardLocation};

/// The port of a server that names none.
const DEFAULT_PORT: u16 = 1433;
/// The port where a server tells the ports of its instances.
const BROWSER_PORT: u16 = 1434;
/// The name of the instance that has none.
const DEFAULT_INSTANCE: &str = "MSSQLSERVER";

/// The place of a database.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// That of the connection string.
    Global,
    /// A shard's.
    Shard(ShardLocation),
}

impl Target {
    /// Puts the place into the settings, which name an instance or do not.
    pub(super) fn put_into(&self, config: &mut Config, names_instance: bool) -> Result<()> {
        let Self::Shard(location) = self else { return Ok(()) };
        if !matches!(location.protocol(), Protocol::Default | Protocol::Tcp) {
            return Err(Error::invalid_input(
                "this backend connects by TCP only; the location asks for another protocol",
            ));
        }
        let (host, instance) = match location.server().split_once('\\') {
            Some((host, instance)) => (host, Some(instance)),
            None => (location.server(), None),
        };
        config.host(if host.eq_ignore_ascii_case("(local)") { "localhost" } else { host });
        config.database(location.database());
        match (location.port(), instance) {
            (None, Some(instance)) => {
                config.port(BROWSER_PORT);
                config.instance_name(instance);
            }
            (port, _) => {
                config.port(port.unwrap_or(DEFAULT_PORT));
                if names_instance {
                    config.instance_name(DEFAULT_INSTANCE);
                }
            }
        }
        Ok(())
    }

    /// True if the port has to be asked for.
    pub(super) fn needs_browser(&self, names_instance: bool) -> bool {
        match self {
            Self::Global => names_instance,
            Self::Shard(location) => location.port().is_none() && location.server().contains('\\'),
        }
    }

    /// Names this place in an error.
    pub(crate) fn blame(&self, error: Error) -> Error {
        match self {
            Self::Global => error.at_global(),
            Self::Shard(location) => error.at_shard(location),
        }
    }
}
