//! How to log in to a server: where passwords and tokens come from, so that they are no secret to the wrong people.
//!
//! Invariant: neither is printed.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;
use shardlet::SqlCredentials;

use crate::blocking::blocking;
use crate::connection_string::Named;
use crate::failure::{Failure, Result};
use crate::prompt;

/// The options that say how to log in.
#[derive(Args, Default)]
pub(crate) struct LoginArgs {
    /// The login, in place of that of the connection string; a password is then needed
    #[arg(long, global = true, value_name = "NAME")]
    user: Option<String>,
    /// The environment variable that holds the password of --user, or of the connection string's user
    #[arg(long, global = true, value_name = "VARIABLE", group = "login")]
    password_env: Option<String>,
    /// The file whose first line is that password
    #[arg(long, global = true, value_name = "FILE", group = "login")]
    password_file: Option<PathBuf>,
    /// Asks for that password
    #[arg(long, global = true, group = "login")]
    password_prompt: bool,
    /// The environment variable that holds an access token of Entra ID
    #[arg(long, global = true, value_name = "VARIABLE", group = "login", conflicts_with = "user")]
    token_env: Option<String>,
    /// The file whose first line is an access token of Entra ID; it is read anew for each connection
    #[arg(long, global = true, value_name = "FILE", group = "login", conflicts_with = "user")]
    token_file: Option<PathBuf>,
}

/// A store of the configuration file, and how to log in to it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Profile {
    pub(crate) store: String,
    user: Option<String>,
    password_env: Option<String>,
    password_file: Option<PathBuf>,
    #[serde(default)]
    password_prompt: bool,
    token_env: Option<String>,
    token_file: Option<PathBuf>,
}

/// How to log in; with nothing in it as the connection string says.
#[derive(Default)]
pub(crate) struct Login {
    user: Option<String>,
    source: Option<Source>,
}

/// Where a secret comes from.
enum Source {
    PasswordVariable(String),
    PasswordFile(PathBuf),
    PasswordPrompt,
    TokenVariable(String),
    TokenFile(PathBuf),
}

impl Source {
    fn is_token(&self) -> bool {
        matches!(self, Self::TokenVariable(_) | Self::TokenFile(_))
    }
}

impl LoginArgs {
    /// What the arguments say.
    pub(crate) fn login(&self) -> Login {
        let sources = [
            self.password_env.clone().map(Source::PasswordVariable),
            self.password_file.clone().map(Source::PasswordFile),
            self.password_prompt.then_some(Source::PasswordPrompt),
            self.token_env.clone().map(Source::TokenVariable),
            self.token_file.clone().map(Source::TokenFile),
        ];
        Login { user: self.user.clone(), source: sources.into_iter().flatten().next() }
    }
}

impl Profile {
    /// What the profile says; its paths start from `directory`.
    ///
    /// # Errors
    /// `Input` if it says more than one thing.
    fn login(self, directory: &Path) -> Result<Login> {
        let sources = [
            self.password_env.map(Source::PasswordVariable),
            self.password_file.map(|path| Source::PasswordFile(directory.join(path))),
            self.password_prompt.then_some(Source::PasswordPrompt),
            self.token_env.map(Source::TokenVariable),
            self.token_file.map(|path| Source::TokenFile(directory.join(path))),
        ];
        let mut sources = sources.into_iter().flatten();
        let source = sources.next();
        let with_user = self.user.is_some() && source.as_ref().is_some_and(Source::is_token);
        if sources.next().is_some() || with_user {
            let text = "a profile has at most one of password-env, password-file, password-prompt, token-env and token-file, \
                        and no user beside a token";
            return Err(Failure::Input(text.to_owned()));
        }
        Ok(Login { user: self.user, source })
    }
}

impl Login {
    /// This, and what it does not say as the profile does.
    ///
    /// # Errors
    /// `Input` if the profile says more than one thing.
    pub(crate) fn or(self, profile: Profile, directory: &Path) -> Result<Self> {
        let mut theirs = profile.login(directory)?;
        if self.source.as_ref().is_some_and(Source::is_token) {
            return Ok(self);
        }
        if self.user.is_some() || self.source.is_some() {
            // A user or a password in place of a token.
            let _ = theirs.source.take_if(|source| source.is_token());
        }
        Ok(Self { user: self.user.or(theirs.user), source: self.source.or(theirs.source) })
    }

    /// True if it says nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.user.is_none() && self.source.is_none()
    }

    /// The credentials in place of those of a connection string, if there are any. Asks for a password where that was asked for.
    ///
    /// # Errors
    /// `Usage` if user and password do not come together, or a variable has nothing in it; `File`.
    pub(crate) async fn credentials(self, named: &Named) -> Result<Option<SqlCredentials>> {
        let usage = |text: &str| Err(Failure::Usage(text.to_owned()));
        let Some(source) = self.source else {
            return match self.user {
                Some(_) => usage("a user needs a password: --password-env, --password-file or --password-prompt"),
                None => Ok(None),
            };
        };
        let user = match (self.user, &named.user) {
            _ if source.is_token() => None,
            (Some(user), _) => Some(user),
            (None, Some(_)) if named.has_password => {
                return usage("the connection string has a password already; with --user NAME another login counts");
            }
            (None, Some(user)) => Some(user.clone()),
            (None, None) => return usage("a password needs a user: --user NAME, or User ID in the connection string"),
        };
        let user = user.unwrap_or_default();
        Ok(Some(match source {
            Source::PasswordVariable(name) => SqlCredentials::login(&user, &variable(&name)?),
            Source::PasswordFile(path) => SqlCredentials::login(&user, &told(&path, first_line(path.clone()).await)?),
            Source::PasswordPrompt => {
                let asked = prompt::password(format!("password of {user}: ")).await;
                SqlCredentials::login(&user, &told(Path::new("terminal"), asked)?)
            }
            Source::TokenVariable(name) => {
                let token = variable(&name)?;
                SqlCredentials::token(move || std::future::ready(Ok(token.clone())))
            }
            Source::TokenFile(path) => {
                // What is wrong with it now, is told with its name; later it is the connection that fails.
                let _ = told(&path, first_line(path.clone()).await)?;
                SqlCredentials::token(move || {
                    let path = path.clone();
                    async move { Ok(first_line(path).await?) }
                })
            }
        }))
    }
}

fn variable(name: &str) -> Result<String> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    // The name is not told where it cannot be one: it may be the secret itself, given in its place.
    let is_name = |name: &str| name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    let name = if is_name(name) { name } else { "that holds the secret" };
    value.ok_or_else(|| Failure::Usage(format!("the environment variable {name} is not set, is empty, or is no text")))
}

/// The first line of a file.
async fn first_line(path: PathBuf) -> std::io::Result<String> {
    let text = blocking(move || std::fs::read_to_string(path)).await?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn told(path: &Path, read: std::io::Result<String>) -> Result<String> {
    read.map_err(|error| Failure::file(path, error))
}
