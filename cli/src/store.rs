//! Which store: from the command line, the environment, or a profile in a file; and the password, from where it is no secret to
//! others.
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
use shardlet::{SqlCredentials, SqlServer, Sqlite};

use crate::failure::{Failure, Result};
use crate::prompt;

/// The options that say which store. One of the first two is needed, or a default profile.
#[derive(Args, Default)]
#[command(next_help_heading = "Which store")]
pub(crate) struct StoreArgs {
    /// The store: sqlite:DIRECTORY, or sqlserver:CONNECTION STRING, as in
    /// 'sqlserver:Server=tcp:db-1,1433;Database=shard_map;User ID=admin;Encrypt=true'
    #[arg(long, global = true, env = "SHARDLET_STORE", hide_env_values = true, value_name = "STORE")]
    store: Option<String>,
    /// A profile of the configuration file, in place of --store
    #[arg(long, global = true, env = "SHARDLET_PROFILE", value_name = "NAME")]
    profile: Option<String>,
    /// The configuration file [default: shardlet/config.toml in the user's configuration directory]
    #[arg(long, global = true, env = "SHARDLET_CONFIG", value_name = "FILE", value_parser = OsStringValueParser::new())]
    config: Option<OsString>,
    /// The login, if the connection string names none; a password is then needed
    #[arg(long, global = true, value_name = "NAME")]
    user: Option<String>,
    /// The environment variable that holds the password of --user
    #[arg(long, global = true, value_name = "VARIABLE", group = "password")]
    password_env: Option<String>,
    /// The file whose first line is the password of --user
    #[arg(long, global = true, value_name = "FILE", group = "password")]
    password_file: Option<PathBuf>,
    /// Asks for the password of --user
    #[arg(long, global = true, group = "password")]
    password_prompt: bool,
}

/// A store, and how to log in to it.
pub(crate) enum Store {
    Sqlite(Sqlite, PathBuf),
    SqlServer(SqlServer, SqlCredentials),
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Profile {
    store: String,
    user: Option<String>,
    password_env: Option<String>,
    password_file: Option<PathBuf>,
    #[serde(default)]
    password_prompt: bool,
}

/// Where a password comes from.
enum Password {
    Variable(String),
    File(PathBuf),
    Prompt,
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
        let given = match (&self.password_env, &self.password_file, self.password_prompt) {
            (Some(name), ..) => Some(Password::Variable(name.clone())),
            (_, Some(path), _) => Some(Password::File(path.clone())),
            (.., true) => Some(Password::Prompt),
            _ => None,
        };
        if let Some(store) = &self.store {
            return open(store, Path::new(""), self.user.as_deref(), given).await;
        }
        let (profile, directory) = self.profile()?;
        let theirs = match (profile.password_env, profile.password_file) {
            (Some(name), _) => Some(Password::Variable(name)),
            (_, Some(path)) => Some(Password::File(directory.join(path))),
            _ => profile.password_prompt.then_some(Password::Prompt),
        };
        let user = self.user.as_deref().or(profile.user.as_deref());
        open(&profile.store, &directory, user, given.or(theirs)).await
    }

    /// The profile that was asked for, or the default one, and the directory that its paths start from.
    fn profile(&self) -> Result<(Profile, PathBuf)> {
        let needed = "no store is named: give --store sqlite:DIRECTORY or --store 'sqlserver:CONNECTION STRING', or set \
                      SHARDLET_STORE, or write a profile into the configuration file";
        let none = || Failure::Usage(needed.to_owned());
        let path = match &self.config {
            Some(path) => PathBuf::from(path),
            None => default_config().ok_or_else(none)?,
        };
        let text = match std::fs::read_to_string(&path) {
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
         one of password-env, password-file, password-prompt = true; a password itself is not allowed"
    ))
}

fn default_config() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let windows = if cfg!(windows) { set("APPDATA") } else { None };
    let base = set("XDG_CONFIG_HOME").or(windows).or_else(|| Some(std::env::home_dir()?.join(".config")))?;
    Some(base.join("shardlet").join("config.toml"))
}

async fn open(store: &str, directory: &Path, user: Option<&str>, password: Option<Password>) -> Result<Store> {
    if let Some(path) = store.strip_prefix("sqlite:") {
        let directory = directory.join(path);
        return Ok(Store::Sqlite(Sqlite::open(&directory)?, directory));
    }
    let Some(string) = store.strip_prefix("sqlserver:") else {
        let text = "a store begins with sqlite: or sqlserver:, as in sqlite:./data";
        return Err(Failure::Usage(text.to_owned()));
    };
    match (user, password) {
        (None, None) => {
            let server = SqlServer::open(string)?;
            let login = server.credentials();
            Ok(Store::SqlServer(server, login))
        }
        (Some(user), Some(password)) => {
            let login = SqlCredentials::login(user, &password.read(user).await?);
            Ok(Store::SqlServer(SqlServer::open_as(string, &login, shardlet::SqlServerOptions::default())?, login))
        }
        (Some(_), None) => {
            let text = "a user needs a password: --password-env, --password-file or --password-prompt";
            Err(Failure::Usage(text.to_owned()))
        }
        (None, Some(_)) => Err(Failure::Usage("a password needs a user: --user NAME".to_owned())),
    }
}

impl Password {
    async fn read(self, user: &str) -> Result<String> {
        match self {
            Self::Variable(name) => std::env::var(&name)
                .map_err(|_| Failure::Usage(format!("the environment variable {name} is not set, or is no text"))),
            Self::File(path) => {
                // It may be a pipe, which may have nothing in it yet.
                let file = path.clone();
                let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(file)).await;
                let text = read.map_err(std::io::Error::from).flatten().map_err(|error| Failure::file(&path, error))?;
                Ok(text.lines().next().unwrap_or_default().to_owned())
            }
            Self::Prompt => {
                let asked = prompt::password(format!("password of {user}: ")).await;
                asked.map_err(|error| Failure::file(Path::new("terminal"), error))
            }
        }
    }
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
            let refused = open(store, Path::new("."), None, None).await.map(drop).unwrap_err();
            assert!(!refused.message().unwrap().contains("hunter2"), "{store}");
        }
    }
}
