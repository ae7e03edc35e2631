//! `shardlet`: administers shard maps from a terminal, over the library of the same name.
//!
//! A command is a file of `commands/`: its arguments and what it does. `store` finds the store that it works on and `login` how to
//! log in to it, `map` makes maps of any key type one type, `keys` and `location` read what people write, `checks` tells early what a
//! store would refuse, `output` prints, `confirm`, `stop` and `progress` are what a
//! terminal needs, `failure` says what an exit code means.

mod blocking;
mod checks;
mod commands;
mod confirm;
mod connection_string;
mod failure;
#[cfg(unix)]
mod files;
mod keys;
mod location;
mod login;
mod map;
mod output;
mod picture;
mod places;
mod progress;
mod prompt;
mod session;
mod stop;
mod store;

use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser};
use shardlet::NoCredentials;

use crate::commands::Command;
use crate::failure::{EXIT_CODES, Failure, Result};
use crate::output::{Format, Output};
use crate::session::Session;
use crate::stop::Stop;
use crate::store::{Store, StoreArgs};

/// Administers shard maps: which database holds which keys
///
/// A store (--store) holds shard maps; a shard map has shards, and mappings of keys to them. A list map maps single keys, a range map
/// ranges LOW..HIGH, the high bound exclusive. Shards are written SERVER/DATABASE, with a port SERVER,1433/DATABASE. A mapping is named
/// by any key that it holds, or in a range map by exactly its range.
///
/// Only what says which database holds which keys is changed, never the rows of applications.
#[derive(Parser)]
#[command(name = "shardlet", version, arg_required_else_help = true, propagate_version = true, max_term_width = 120)]
struct Cli {
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    printing: Printing,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
#[command(next_help_heading = "What is printed")]
struct Printing {
    /// The form of what is printed on standard output
    #[arg(long, short = 'o', global = true, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    /// Prints results and errors, and no other words
    #[arg(long, short = 'q', global = true)]
    quiet: bool,
}

/// The arguments, with what help says at its end.
fn command() -> clap::Command {
    let width = 3;
    let codes = EXIT_CODES.iter().map(|(code, meaning)| format!("  {code:>width$}  {meaning}"));
    let codes = codes.collect::<Vec<_>>().join("\n");
    Cli::command().after_long_help(format!("Exit codes:\n{codes}"))
}

fn main() -> ExitCode {
    let matches = command().get_matches();
    let mut cli = match <Cli as clap::FromArgMatches>::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let output = Output { format: cli.printing.output, quiet: cli.printing.quiet };
    #[cfg(unix)]
    files::allow_many();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let failure = Failure::Start(error);
            output.fail(&failure);
            return ExitCode::from(failure.exit_code());
        }
    };
    let done = cli.store.settle(&matches).and_then(|()| runtime.block_on(run(cli, output)));
    // A thread may still wait for the user, or for a server that was given up.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.fail(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

async fn run(cli: Cli, output: Output) -> Result<()> {
    let command = match cli.command {
        // These need no store.
        Command::Completions(what) => return what.run(&mut command()),
        Command::Man(what) => return what.run(&command(), output),
        Command::Markdown => return commands::manual::markdown(),
        command => command,
    };
    let stop = Stop::default();
    let guarded = stop.clone();
    let work = async move {
        match cli.store.open().await? {
            Store::Sqlite(backend, directory) => {
                // Which directory it is must not depend on where one stands.
                let directory = std::path::absolute(&directory).unwrap_or(directory);
                let place = format!("SQLite, {}", directory.display());
                command.run(&Session { backend, place, credentials: NoCredentials, output, stop }).await
            }
            Store::SqlServer(backend, credentials, place) => {
                command.run(&Session { backend, place, credentials, output, stop }).await
            }
        }
    };
    guarded.guard(output, work).await
}
