//! Where a shard is: server, database, and optionally protocol and port.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::name::folded;
use crate::error::Result;

/// The network protocol that a location asks for. The numbers are the stored ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Protocol {
    /// What the driver chooses.
    #[default]
    Default = 0,
    /// TCP/IP.
    Tcp = 1,
    /// Named pipes.
    NamedPipes = 2,
    /// Shared memory.
    SharedMemory = 3,
}

impl Protocol {
    /// The protocol of a stored number, or `None` for a number that none has.
    #[must_use]
    pub fn from_code(code: i64) -> Option<Self> {
        match code {
            0 => Some(Self::Default),
            1 => Some(Self::Tcp),
            2 => Some(Self::NamedPipes),
            3 => Some(Self::SharedMemory),
            _ => None,
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Self::Default => "",
            Self::Tcp => "tcp:",
            Self::NamedPipes => "np:",
            Self::SharedMemory => "lpc:",
        }
    }
}

/// The place of a shard: a server and a database, optionally with protocol and port.
///
/// Two locations are equal if all parts are, names compared without regard to case and trailing blanks. Two
/// that differ only in protocol or port are different shards, as in the reference library. How a server and database
/// are found is the backend's affair: SQL Server connects to them, SQLite keeps a file for each pair.
///
/// ```
/// use shardlet::ShardLocation;
/// let location = ShardLocation::new("server-a", "sample_shard_0").with_port(1433);
/// assert_eq!(location.to_string(), "[DataSource=server-a,1433 Database=sample_shard_0]");
/// ```
#[derive(Clone)]
pub struct ShardLocation {
    server: Arc<str>,
    database: Arc<str>,
    protocol: Protocol,
    port: u16,
}

impl ShardLocation {
    /// The longest server or database name, in UTF-16 code units (the columns are `nvarchar(128)`).
    pub const MAX_NAME_LENGTH: usize = 128;

    /// A location with the default protocol and no port. Names are checked where a shard is created: see
    /// [`ShardLocation::check`].
    #[must_use]
    pub fn new(server: impl Into<Arc<str>>, database: impl Into<Arc<str>>) -> Self {
        Self { server: server.into(), database: database.into(), protocol: Protocol::Default, port: 0 }
    }

    /// The same place by a certain protocol.
    #[must_use]
    pub fn with_protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// The same place by a certain port, 1 to 65535; 0 means that no port is given.
    #[must_use]
    pub fn with_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The server's name.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The database's name.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The protocol.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The port, if one is given.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        (self.port != 0).then_some(self.port)
    }

    /// The server with protocol and port, in the form that drivers of SQL Server take.
    #[must_use]
    pub fn data_source(&self) -> String {
        match self.port {
            0 => format!("{}{}", self.protocol.prefix(), self.server),
            port => format!("{}{},{port}", self.protocol.prefix(), self.server),
        }
    }

    /// Checks both names: 1 to 128 UTF-16 code units, not only blanks, and no character that a log record cannot hold.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) says which name and why.
    pub fn check(&self) -> Result<()> {
        for (what, name) in [("server", &self.server), ("database", &self.database)] {
            super::name::check_text(what, name, Self::MAX_NAME_LENGTH)?;
        }
        Ok(())
    }

    fn parts(&self) -> (Protocol, String, u16, String) {
        (self.protocol, folded(&self.server), self.port, folded(&self.database))
    }
}

impl PartialEq for ShardLocation {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for ShardLocation {}

impl Hash for ShardLocation {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl PartialOrd for ShardLocation {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ShardLocation {
    /// By server, then database, then protocol and port.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let key = |location: &Self| {
            let (protocol, server, port, database) = location.parts();
            (server, database, protocol, port)
        };
        key(self).cmp(&key(other))
    }
}

impl fmt::Display for ShardLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[DataSource={} Database={}]", self.data_source(), self.database)
    }
}

impl fmt::Debug for ShardLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShardLocation{self}")
    }
}

/// A store: the global one, or that of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Place {
    /// The global shard map.
    Global,
    /// A shard.
    Shard(ShardLocation),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Global => f.write_str("the global shard map"),
            Self::Shard(location) => location.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equality_ignores_case_and_trailing_blanks_but_not_protocol_or_port() {
        let base = ShardLocation::new("Server", "Straße");
        assert_eq!(base, ShardLocation::new("SERVER ", "straße"));
        assert_ne!(base, base.clone().with_port(1433));
        assert_ne!(base, base.clone().with_protocol(Protocol::Tcp));
        assert_ne!(base, ShardLocation::new("Server", "Strasse"));
    }

    #[test]
    fn the_text_is_the_reference_librarys() {
        let location = ShardLocation::new("s", "d").with_protocol(Protocol::Tcp).with_port(1433);
        assert_eq!(location.to_string(), "[DataSource=tcp:s,1433 Database=d]");
        assert_eq!(location.clone().with_port(0).with_protocol(Protocol::NamedPipes).data_source(), "np:s");
    }

    #[test]
    fn names_are_checked() {
        let long = "x".repeat(128);
        assert!(ShardLocation::new(long.clone(), long.clone()).check().is_ok());
        for (server, database) in [("", "d"), ("s", ""), ("  ", "d"), ("s", "a\u{0}b")] {
            assert!(ShardLocation::new(server, database).check().is_err(), "{server:?} {database:?}");
        }
        assert!(ShardLocation::new(format!("{long}x"), "d").check().is_err());
    }
}
