//! Which store: from the command line, the environment, or a profile in a file.
//!
//! Invariant: neither a connection string nor a password is printed, also where it cannot be read.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::builder::OsStringValueParser;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args};
use serde::Deserialize;
use shardlet::{SqlCredentials, SqlServer, SqlServerOptions, Sqlite};

use crate::blocking::blocking;
use crate::connection_string::Named;
use crate::failure::{Failure, Result};
use crate::login::{Login, LoginArgs, Profile};

/// The options that say which store. One of the first two is needed, or a default profile.
#[derive(Args, Default)]
#[command(next_help_heading = "Which store")]
pub(crate) struct StoreArgs {
    /// The store: sqlite:DIRECTORY, or sqlserver:CONNECTION STRING, as in
    /// 'sqlserver:Server=tcp:db-1,1433;Database=shard_map;User ID=admin;Encrypt=true', which asks for no password by itself: see
    /// --password-env and the others
    #[arg(long, global = true, env = "SHARDLET_STORE", hide_env_values = true, value_name = "STORE")]
    store: Option<String>,
    /// A profile of the configuration file, in place of --store
    #[arg(long, global = true, env = "SHARDLET_PROFILE", value_name = "NAME")]
    profile: Option<String>,
    /// The configuration file, in place of SHARDLET_STORE [default: shardlet/config.toml in the user's configuration directory]
    #[arg(long, global = true, env = "SHARDLET_CONFIG", value_name = "FILE", value_parser = OsStringValueParser::new())]
    config: Option<OsString>,
    #[command(flatten)]
    login: LoginArgs,
}

/// A store, and how to log in to it.
pub(crate) enum Store {
    Sqlite(Sqlite, PathBuf),
    /// The text says where it is.
    SqlServer(SqlServer, SqlCredentials, String),
}

impl fmt::Debug for StoreArgs {
    /// Without the connection string.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreArgs").field("profile", &self.profile).finish_non_exhaustive()
    }
}

/// The file of profiles.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    default: Option<String>,
    #[serde(default)]
    profiles: BTreeMap<String, Profile>,
}

impl StoreArgs {
    /// Takes out what counts less: the command line counts more than the environment, and in the environment a profile more than a
    /// store. A variable that is empty is one that is not set.
    ///
    /// # Errors
    /// `Usage` if the command line has both, or an empty name of a file.
    pub(crate) fn settle(&mut self, matches: &ArgMatches) -> Result<()> {
        let given = |name: &str| matches.value_source(name) == Some(ValueSource::CommandLine);
        let unset = |name: &str, is_empty: bool| is_empty && !given(name);
        let _ = self.store.take_if(|store| unset("store", store.is_empty()));
        let _ = self.profile.take_if(|profile| unset("profile", profile.is_empty()));
        let _ = self.config.take_if(|config| unset("config", config.is_empty()));
        if self.config.as_ref().is_some_and(|config| config.is_empty()) {
            return Err(Failure::Usage("--config names no file".to_owned()));
        }
        match (given("store"), given("profile")) {
            (true, true) => return Err(Failure::Usage("--store and --profile exclude each other".to_owned())),
            (true, false) => self.profile = None,
            _ if self.profile.is_some() || given("config") => self.store = None,
            _ => {}
        }
        Ok(())
    }

    /// The store that the arguments name, once they are [settled](Self::settle). Asks for a password where that was asked for.
    ///
    /// # Errors
    /// `Usage` if none is named; `Input` for a configuration file that cannot be understood; `File`.
    pub(crate) async fn open(&self) -> Result<Store> {
        let login = self.login.login();
        if let Some(store) = &self.store {
            return open(store, Path::new(""), login).await;
        }
        let (profile, directory) = self.profile().await?;
        let store = profile.store.clone();
        open(&store, &directory, login.or(profile, &directory)?).await
    }

    /// The profile that was asked for, or the default one, and the directory that its paths start from.
    async fn profile(&self) -> Result<(Profile, PathBuf)> {
        let needed = "no store is named: give --store sqlite:DIRECTORY or --store 'sqlserver:CONNECTION STRING', or set \
                      SHARDLET_STORE, or write a profile into the configuration file";
        let none = || Failure::Usage(needed.to_owned());
        let path = match &self.config {
            Some(path) => PathBuf::from(path),
            None => default_config().ok_or_else(none)?,
        };
        let file = path.clone();
        let text = match blocking(move || std::fs::read_to_string(file)).await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && self.config.is_none() => {
                return Err(match &self.profile {
                    Some(name) => {
                        let file = path.display();
                        Failure::NotFound(format!("there is no profile {name:?}, because there is no {file}"))
                    }
                    None => none(),
                });
            }
            read => read.map_err(|error| Failure::file(&path, error))?,
        };
        let mut config: Config = toml::from_str(&text).map_err(|error| unreadable(&path, &text, &error))?;
        let name = self.profile.clone().or(config.default).ok_or_else(none)?;
        let profile = config.profiles.remove(&name).ok_or_else(|| {
            let known: Vec<_> = config.profiles.keys().map(String::as_str).collect();
            let file = path.display();
            Failure::NotFound(format!("{file} has no profile {name:?}; it has: {}", known.join(", ")))
        })?;
        let directory = path.parent().map_or_else(PathBuf::new, Path::to_owned);
        Ok((profile, directory))
    }
}

/// What the parser says may quote the line, which may hold a secret, so only its place is told.
fn unreadable(path: &Path, text: &str, error: &toml::de::Error) -> Failure {
    let start = error.span().map_or(0, |span| span.start);
    let line = text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1;
    let file = path.display();
    Failure::Input(format!(
        "{file}, line {line}: not understood. A file has a default = \"NAME\" and tables [profiles.NAME] with store, user, and \
         one of password-env, password-file, password-prompt = true, token-env, token-file; a password itself is not allowed"
    ))
}

fn default_config() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let windows = if cfg!(windows) { set("APPDATA") } else { None };
    let base = set("XDG_CONFIG_HOME").or(windows).or_else(|| Some(std::env::home_dir()?.join(".config")))?;
    Some(base.join("shardlet").join("config.toml"))
}

async fn open(store: &str, directory: &Path, login: Login) -> Result<Store> {
    if let Some(path) = store.strip_prefix("sqlite:") {
        if !login.is_empty() {
            let text = "a store that begins with sqlite: has no login: --user, passwords and tokens are for a server";
            return Err(Failure::Usage(text.to_owned()));
        }
        let directory = directory.join(path);
        return Ok(Store::Sqlite(Sqlite::open(&directory)?, directory));
    }
    let Some(string) = store.strip_prefix("sqlserver:") else {
        let text = "a store begins with sqlite: or sqlserver:, as in sqlite:./data";
        return Err(Failure::Usage(text.to_owned()));
    };
    let named = Named::by(string);
    let (server, login) = match login.credentials(&named).await? {
        Some(login) => (SqlServer::open_as(string, &login, SqlServerOptions::default())?, login),
        None => {
            let server = SqlServer::open(string)?;
            let login = server.credentials();
            (server, login)
        }
    };
    Ok(Store::SqlServer(server, login, named.place()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        let error = toml::from_str::<Config>(text).map(drop).unwrap_err();
        unreadable(Path::new("config.toml"), text, &error).message().unwrap()
    }

    #[test]
    fn a_password_in_the_file_is_refused_and_not_shown() {
        for line in
            ["password = \"hunter2\"", "password-prompt = \"hunter2\"", "store = hunter2", "user = [\"hunter2\""]
        {
            let said = told(&format!("[profiles.a]\nuser = \"u\"\n{line}\n"));
            assert!(!said.contains("hunter2"), "{said}");
            assert!(said.contains("line"), "{said}");
        }
    }

    #[tokio::test]
    async fn a_store_that_is_none_is_not_shown() {
        for store in ["Server=a;Password=hunter2", "sqlserver:Password=hunter2", "sqlserver:;;=hunter2"] {
            let refused = open(store, Path::new("."), Login::default()).await.map(drop).unwrap_err();
            assert!(!refused.message().unwrap().contains("hunter2"), "{store}");
        }
    }
}
