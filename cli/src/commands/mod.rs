//! The commands, a file for each noun: its arguments and what it does.

mod check;
mod doctor;
mod import;
mod lock;
pub(crate) mod manual;
mod map;
mod mapping;
mod operation;
mod recovery;
mod route;
mod schema;
mod shard;
mod store;

use clap::Subcommand;
use shardlet::operation::Stores;

use self::manual::{Completions, Man};
use crate::failure::Result;
use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// The global store: which shard maps there are
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Shard maps
    #[command(subcommand)]
    Map(map::MapCommand),
    /// Shards: the databases of a shard map
    #[command(subcommand)]
    Shard(shard::ShardCommand),
    /// Mappings: which keys are on which shard
    #[command(subcommand)]
    Mapping(mapping::MappingCommand),
    /// Operations that a client left unfinished
    #[command(subcommand)]
    Operation(operation::OperationCommand),
    /// Mends what a restored, renamed, moved or lost database leaves behind
    #[command(subcommand)]
    Recovery(recovery::RecoveryCommand),
    /// Looks at the global store and at every shard, and says what is not as it has to be
    ///
    /// Exits with 0 if everything is, and with 1 if not. Nothing is changed. Operations that their clients are at work on are no
    /// fault; those whose clients are gone are.
    Doctor(doctor::Doctor),
    /// Which tables of the shards are sharded, and which are on every shard
    #[command(subcommand)]
    Schema(schema::SchemaCommand),
    /// Shows where keys are routed to, and whether their shards agree
    Route(route::Route),
    /// Prints a script that completes the arguments in a shell
    Completions(Completions),
    /// Prints the manual page, or writes those of all commands
    Man(Man),
    /// Prints the help of all commands as Markdown
    #[command(hide = true)]
    Markdown,
}

impl Command {
    pub(crate) async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        match self {
            Self::Store(command) => command.run(session).await,
            Self::Map(command) => command.run(session).await,
            Self::Shard(command) => command.run(session).await,
            Self::Mapping(command) => command.run(session).await,
            Self::Operation(command) => command.run(session).await,
            Self::Recovery(command) => command.run(session).await,
            Self::Doctor(doctor) => doctor.run(session).await,
            Self::Schema(command) => command.run(session).await,
            Self::Route(route) => route.run(session).await,
            // Done before a store was opened.
            Self::Completions(_) | Self::Man(_) | Self::Markdown => Ok(()),
        }
    }
}
