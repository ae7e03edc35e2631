//! Who connects: connection strings, logins and tokens.
//!
//! Invariants: no secret is in a `Debug`, an error or a log; credentials for routing name no server and no database.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;

use tiberius::{AuthMethod, Config};

use crate::error::{Error, ErrorCode, ErrorKind, Result};

type TokenResult = std::result::Result<String, Box<dyn StdError + Send + Sync>>;
type TokenProvider = dyn Fn() -> Pin<Box<dyn Future<Output = TokenResult> + Send>> + Send + Sync;

/// Who connects, for one of the three purposes of the field: *management* and *access* credentials are given to
/// [`SqlServer`](crate::SqlServer), *connection* credentials to each open.
///
/// Two values with the same content share pooled connections; a token provider is the same as its clones only. Cloning costs
/// a reference count.
///
/// ```
/// use shardlet::{ErrorCode, SqlCredentials};
/// let application = SqlCredentials::login("app", "secret");
/// let same = SqlCredentials::parse("User ID=app;Password=secret;Encrypt=true;Application Name=shop")?;
/// let refused = SqlCredentials::parse("Server=elsewhere;User ID=app;Password=secret").unwrap_err();
/// assert_eq!(refused.code(), ErrorCode::CredentialsNameAPlace);
/// assert!(!format!("{application:?} {same:?}").contains("secret"));
/// # Ok::<(), shardlet::Error>(())
/// ```
#[derive(Clone)]
pub struct SqlCredentials(Arc<Inner>);

struct Inner {
    /// Settings of its own; without, those of the backend's connection string.
    settings: Option<Config>,
    login: Login,
    /// Tells apart what must not share connections.
    identity: Box<str>,
}

#[derive(Clone)]
enum Login {
    /// The one in the settings.
    Settings,
    User(Box<str>, Box<str>),
    Token(Arc<TokenProvider>),
}

impl SqlCredentials {
    /// A SQL login, with the other settings of the backend's connection string.
    #[must_use]
    pub fn login(user: &str, password: &str) -> Self {
        let identity = format!("{}:{user}:{password}", user.len());
        Self::new(None, Login::User(user.into(), password.into()), identity)
    }

    /// An Entra ID access token, with the other settings of the backend's connection string. The provider is called at each
    /// physical connect, so it should cache a token until shortly before its end; its time counts as connecting.
    ///
    /// ```
    /// use shardlet::SqlCredentials;
    /// let credentials = SqlCredentials::token(|| async { Ok("token from the identity service".to_owned()) });
    /// # let _ = credentials;
    /// ```
    #[must_use]
    pub fn token<F, T>(provider: F) -> Self
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = std::result::Result<String, Box<dyn StdError + Send + Sync>>> + Send + 'static,
    {
        Self::new(None, Login::Token(Arc::new(move || Box::pin(provider()))), String::new())
    }

    /// An ADO-style connection string without server and database: user, password, encryption, application name. All its
    /// settings stand in place of those of the backend's string, encryption and trust included.
    ///
    /// # Errors
    /// `Credentials` with [`ErrorCode::CredentialsNameAPlace`] if it names a server or a database, which the shard map decides;
    /// `InvalidInput` if it cannot be parsed. Neither quotes the string.
    pub fn parse(connection_string: &str) -> Result<Self> {
        let config = parse(connection_string)?;
        if Named::by(&config) != Named::default() {
            return Err(Error::new(
                ErrorKind::Credentials,
                ErrorCode::CredentialsNameAPlace,
                "credentials for routing name a server or a database, which the shard map decides",
            ));
        }
        Ok(Self::new(Some(config), Login::Settings, connection_string.to_owned()))
    }

    /// The whole connection string of the backend, the place of the global store included.
    pub(super) fn of_backend(connection_string: &str) -> Result<Self> {
        let config = parse(connection_string)?;
        let named = Named::by(&config);
        if !(named.server && named.database) {
            return Err(Error::invalid_input(
                "the connection string has to name the server and the database of the global store",
            ));
        }
        Ok(Self::new(Some(config), Login::Settings, connection_string.to_owned()))
    }

    fn new(settings: Option<Config>, login: Login, identity: String) -> Self {
        Self(Arc::new(Inner { settings, login, identity: identity.into() }))
    }

    /// The same settings with another login.
    pub(super) fn with_login_of(&self, other: &Self) -> Self {
        let identity = format!("{}:{}{}", self.0.identity.len(), self.0.identity, other.0.identity);
        Self::new(self.0.settings.clone(), other.0.login.clone(), identity)
    }

    /// The settings to connect with, but for place and token. `backend` are those of the backend's connection string.
    pub(super) fn settings(&self, backend: &Self) -> Config {
        let mut config = self.0.settings.clone().or_else(|| backend.0.settings.clone()).unwrap_or_default();
        if let Login::User(user, password) = &self.0.login {
            config.authentication(AuthMethod::sql_server(user, password));
        }
        config
    }

    /// True if the settings name an instance, which then has to be overridden for places that have none.
    pub(super) fn names_instance(&self, backend: &Self) -> bool {
        Named::by(&self.settings(backend)).instance
    }

    /// A new token, where the login is by token.
    pub(super) async fn fresh_token(&self) -> Result<Option<AuthMethod>> {
        let Login::Token(provider) = &self.0.login else { return Ok(None) };
        match provider().await {
            Ok(token) => Ok(Some(AuthMethod::aad_token(token))),
            // What the provider says may quote what it was given.
            Err(_) => Err(Error::new(
                ErrorKind::Credentials,
                ErrorCode::StorageOperationFailure,
                "the token provider gave no token",
            )),
        }
    }
}

impl PartialEq for SqlCredentials {
    fn eq(&self, other: &Self) -> bool {
        let same_login = match (&self.0.login, &other.0.login) {
            (Login::Token(one), Login::Token(two)) => Arc::ptr_eq(one, two),
            (Login::Settings, Login::Settings) => true,
            (Login::User(one, _), Login::User(two, _)) => one == two,
            _ => false,
        };
        same_login && self.0.identity == other.0.identity
    }
}

impl Eq for SqlCredentials {}

impl Hash for SqlCredentials {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.identity.hash(state);
    }
}

impl fmt::Debug for SqlCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.login {
            Login::Settings => f.write_str("SqlCredentials(connection string)"),
            Login::User(user, _) => write!(f, "SqlCredentials(login {user})"),
            Login::Token(_) => f.write_str("SqlCredentials(token)"),
        }
    }
}

/// Which parts of a place the settings name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Named {
    server: bool,
    database: bool,
    instance: bool,
}

impl Named {
    /// The driver has no getters for these, but its settings print them first. What does not look as expected counts as a
    /// place, so that a change there refuses too much rather than too little.
    fn by(config: &Config) -> Self {
        let text = format!("{config:?}");
        let everything = Self { server: true, database: true, instance: true };
        let Some(rest) = text.strip_prefix("Config { host: ") else { return everything };
        let (server, rest) = match rest.strip_prefix("None, port: ") {
            Some(rest) => (false, rest),
            None => match rest.split_once("\"), port: ") {
                Some((_, rest)) => (true, rest),
                None => return everything,
            },
        };
        let Some((port, rest)) = rest.split_once(", database: ") else { return everything };
        let (database, rest) = match rest.strip_prefix("None, instance_name: ") {
            Some(rest) => (false, rest),
            None => match rest.split_once("\"), instance_name: ") {
                Some((_, rest)) => (true, rest),
                None => return everything,
            },
        };
        Self { server: server || port != "None", database, instance: !rest.starts_with("None, ") }
    }
}

/// What the driver says of a string that it cannot parse may quote it.
fn parse(connection_string: &str) -> Result<Config> {
    Config::from_ado_string(connection_string).map_err(|_| {
        Error::invalid_input(
            "the connection string cannot be parsed: it has to be ASCII, pairs joined by '=' and separated by ';', and \
             values that hold ';' or quotes in quotes",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_credentials_for_routing_is_refused() {
        for place in [
            "Server=s",
            "Data Source=tcp:s,1433",
            "server=localhost",
            "Server=.\\SQLEXPRESS",
            "Database=d",
            "Initial Catalog=d",
            "Server=s;Database=d",
            "server=\"None port: None database: None\"",
        ] {
            let error = SqlCredentials::parse(&format!("{place};User ID=u;Password=hush")).unwrap_err();
            assert_eq!(error.code(), ErrorCode::CredentialsNameAPlace, "{place}");
            assert!(!format!("{error:?}").contains("hush"), "{place}");
        }
        assert!(SqlCredentials::parse("User ID=u;Password=hush;Encrypt=true;TrustServerCertificate=true").is_ok());
        assert!(SqlCredentials::parse("Application Name=database: x;User ID=u;Password=p").is_ok());
    }

    #[test]
    fn the_backends_string_names_server_and_database() {
        assert!(SqlCredentials::of_backend("Server=s;Database=d;User ID=u;Password=p").is_ok());
        let instance = SqlCredentials::of_backend("Server=s\\i;Database=d;User ID=u;Password=p").unwrap();
        assert!(instance.names_instance(&instance));
        for incomplete in ["Server=s;User ID=u;Password=p", "Database=d;User ID=u;Password=p", ""] {
            let error = SqlCredentials::of_backend(incomplete).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{incomplete}");
        }
    }

    #[test]
    fn equal_content_is_equal_and_a_provider_is_its_clones_only() {
        let login = |user, password| SqlCredentials::login(user, password);
        assert_eq!(login("a", "b"), login("a", "b"));
        assert_ne!(login("a", "b"), login("a", "c"));
        assert_ne!(login("a:b", "c"), login("a", "b:c"));
        let provider = || SqlCredentials::token(|| async { Ok(String::new()) });
        let (one, two) = (provider(), provider());
        assert_eq!(one, one.clone());
        assert_ne!(one, two);
        assert_ne!(one, login("", ""));
    }

    #[test]
    fn nothing_prints_a_secret() {
        let secret = "Pa55-w0rd";
        let all = [
            format!("{:?}", SqlCredentials::login("u", secret)),
            format!("{:?}", SqlCredentials::parse(&format!("User ID=u;Password={secret}")).unwrap()),
            format!("{:?}", SqlCredentials::parse(&format!("User ID=u;Password='{secret}")).unwrap_err()),
            format!("{:?}", SqlCredentials::parse(secret).unwrap_err()),
        ];
        assert!(all.iter().all(|text| !text.contains(secret)), "{all:?}");
    }
}
