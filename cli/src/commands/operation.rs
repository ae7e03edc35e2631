//! `shardlet operation`: operations that a client left unfinished.

use clap::{Args, Subcommand};
use serde::Serialize;
use shardlet::operation::Stores;
use shardlet::{OperationId, PendingOperation};
use uuid::Uuid;

use crate::confirm::Change;
use crate::failure::{Failure, Result};
use crate::location;
use crate::progress;
use crate::session::{Session, steps_of};
use crate::stop;

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
    /// Where it is at work; the first place of two.
    shard: Option<String>,
    /// The second, which mappings move to or a shard moves to.
    to: Option<String>,
    /// Its own client failed, and began to undo it.
    undo_started: bool,
    /// Why its record cannot be read.
    unreadable: Option<String>,
}

/// What became of an operation that was to be undone.
#[derive(Serialize)]
struct UndoRow {
    id: String,
    operation: String,
    outcome: &'static str,
    message: Option<String>,
}

impl OperationRow {
    fn of(operation: &PendingOperation) -> Self {
        let mut shards = operation.locations.iter().map(location::show);
        Self {
            id: operation.id.to_string(),
            operation: operation.name.to_string(),
            map: operation.shard_map.as_ref().map(|map| map.name().to_owned()),
            shard: shards.next(),
            to: shards.next(),
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
        if !session.is_agreed(self.change, &steps, Some(question)).await? {
            return Ok(());
        }
        let bar = progress::bar(wanted.len(), "undoing", session.output.quiet);
        let (mut rows, mut failed, mut undone) = (Vec::new(), None, 0);
        for operation in &wanted {
            if session.stop.is_requested() {
                break;
            }
            let _changing = session.stop.changing(stop::UNDONE);
            let (outcome, message) = match manager.undo_operation(operation.id).await {
                Ok(true) => ("undone", None),
                Ok(false) => ("gone", Some("its own client, or another, has ended it meanwhile".to_owned())),
                // One that cannot be undone must not keep the others.
                Err(error) => {
                    let failure = Failure::from(error);
                    let message = failure.message();
                    failed = failed.or(Some(failure));
                    ("failed", message)
                }
            };
            undone += usize::from(outcome == "undone");
            rows.push(UndoRow {
                id: operation.id.to_string(),
                operation: operation.name.to_string(),
                outcome,
                message,
            });
            bar.inc(1);
        }
        bar.finish_and_clear();
        session.output.list(&rows)?;
        if let Some(failure) = failed {
            return Err(failure);
        }
        if rows.len() < wanted.len() {
            let text = format!("stopped after {} of {} operations; run it again to go on", rows.len(), wanted.len());
            return Err(Failure::Interrupted(text));
        }
        if undone == 0 {
            return Err(Failure::NoChange("others have ended what was to be undone".to_owned()));
        }
        session.output.say(&format!("{undone} operations undone"));
        Ok(())
    }
}

fn find(operations: &[PendingOperation], id: Uuid) -> Result<&PendingOperation> {
    let found = operations.iter().find(|operation| operation.id == OperationId::from(id));
    let none = || Failure::NotFound("no operation of this id is unfinished".to_owned());
    found.ok_or_else(|| none().next("see which there are: shardlet operation list"))
}
