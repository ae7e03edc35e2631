//! `shardlet operation`: operations that a client left unfinished.

use clap::{Args, Subcommand};
use serde::Serialize;
use shardlet::operation::Stores;
use shardlet::{OperationId, PendingOperation};
use uuid::Uuid;

use crate::confirm::Change;
use crate::failure::{Failure, Result};
use crate::location;
use crate::session::{Session, steps_of};

#[derive(Subcommand)]
pub(crate) enum OperationCommand {
    /// Lists the operations that have begun and not ended; some may be at work
    List,
    /// Shows one of them
    Show(Show),
    /// Undoes what clients left unfinished when they died
    ///
    /// Operations do this by themselves where they meet one another. An operation that another client is at work on is waited for.
    Undo(Undo),
}

#[derive(Args)]
pub(crate) struct Show {
    /// The operation
    id: Uuid,
}

#[derive(Args)]
pub(crate) struct Undo {
    /// The operation
    #[arg(required_unless_present = "all")]
    id: Option<Uuid>,
    /// Undoes all of them
    #[arg(long, conflicts_with = "id")]
    all: bool,
    #[command(flatten)]
    change: Change,
}

#[derive(Serialize)]
struct OperationRow {
    id: String,
    operation: String,
    map: Option<String>,
    /// One or two shards.
    shards: String,
    /// Its own client failed, and began to undo it.
    undo_started: bool,
    /// Why its record cannot be read.
    unreadable: Option<String>,
}

impl OperationRow {
    fn of(operation: &PendingOperation) -> Self {
        let shards: Vec<_> = operation.locations.iter().map(location::show).collect();
        Self {
            id: operation.id.to_string(),
            operation: operation.name.to_string(),
            map: operation.shard_map.as_ref().map(|map| map.name().to_owned()),
            shards: shards.join(" "),
            undo_started: operation.undo_started,
            unreadable: operation.unreadable.as_ref().map(ToString::to_string),
        }
    }
}

impl OperationCommand {
    pub(crate) async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        match self {
            Self::List => {
                let operations = session.manager().await?.pending_operations().await?;
                session.output.list(&operations.iter().map(OperationRow::of).collect::<Vec<_>>())
            }
            Self::Show(show) => {
                let operations = session.manager().await?.pending_operations().await?;
                session.output.show(&OperationRow::of(find(&operations, show.id)?))
            }
            Self::Undo(undo) => undo.run(session).await,
        }
    }
}

impl Undo {
    async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        let manager = session.manager().await?;
        let operations = manager.pending_operations().await?;
        let wanted: Vec<&PendingOperation> = match self.id {
            Some(id) => vec![find(&operations, id)?],
            None => operations.iter().collect(),
        };
        if wanted.is_empty() {
            return Err(Failure::NoChange("no operation is unfinished".to_owned()));
        }
        let steps = wanted.iter().flat_map(|operation| {
            let places = operation.locations.iter().rev().map(location::show);
            let words = format!("undo {} {}", operation.name, operation.id);
            places.chain(["global store".to_owned()]).map(move |place| (place, words.clone()))
        });
        let steps = steps_of(steps);
        let question = format!("undo {} unfinished operations?", wanted.len());
        let work = async {
            match self.id {
                Some(id) => manager.undo_operation(OperationId::from(id)).await.map(usize::from),
                None => manager.undo_pending_operations().await,
            }
        };
        match session.decide(self.change, steps, Some(question), work).await? {
            Some(0) => Err(Failure::NoChange("its own client has ended it meanwhile".to_owned())),
            Some(undone) => {
                session.output.say(&format!("{undone} operations undone"));
                Ok(())
            }
            None => Ok(()),
        }
    }
}

fn find(operations: &[PendingOperation], id: Uuid) -> Result<&PendingOperation> {
    let found = operations.iter().find(|operation| operation.id == OperationId::from(id));
    let none = || Failure::NotFound("no operation of this id is unfinished: see shardlet operation list".to_owned());
    found.ok_or_else(none)
}
