//! Operations that clients left unfinished: seeing them, and undoing one or all.

use std::borrow::Cow;
use std::fmt;

use super::{ShardMapManager, about};
use crate::error::{Error, Result};
use crate::gsm::{LogEntry, OperationCode};
use crate::model::{OperationId, ShardLocation, ShardMapInfo};
use crate::operation::{Coordinator, LogRecord, Stores};

const LIST: &str = "GetPendingOperations";
const UNDO: &str = "UndoOperation";
const UNDO_ALL: &str = "UndoPendingOperations";

/// An operation that has begun and not ended: its client is at work on it, or has died. For people; it holds no keys, and
/// its text is one line.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PendingOperation {
    /// Its id, for [`ShardMapManager::undo_operation`].
    pub id: OperationId,
    /// What it is, by the reference library's name for it; the stored number where that is of no operation that is known.
    pub name: Cow<'static, str>,
    /// The map that it changes, as it was when the operation began. `None` where the record cannot be read.
    pub shard_map: Option<ShardMapInfo>,
    /// Where the shards are that it concerns, each once, that which mappings are taken from first. None where the record cannot be
    /// read.
    pub locations: Vec<ShardLocation>,
    /// True if its own client is known to have failed and to have begun to undo it. Where it is false, it may be at work, be
    /// dead, or another client's undo may have begun.
    pub undo_started: bool,
    /// Why the record cannot be read: such an operation cannot be undone by this library.
    pub unreadable: Option<Error>,
}

impl PendingOperation {
    fn of(entry: &LogEntry) -> Self {
        let name = OperationCode::from_code(i64::from(entry.code))
            .map_or_else(|| Cow::Owned(entry.code.to_string()), |code| Cow::Borrowed(code.name()));
        let mut operation = Self {
            id: entry.id,
            name,
            shard_map: None,
            locations: Vec::new(),
            undo_started: entry.undo_start > LogEntry::UNDO_ALL,
            unreadable: None,
        };
        match LogRecord::read(entry) {
            Ok(record) => {
                operation.locations = record.shards().map(|shard| shard.location().clone()).into();
                operation.locations.dedup();
                operation.shard_map = Some(record.map);
            }
            Err(error) => operation.unreadable = Some(error.at_global()),
        }
        operation
    }
}

/// The text with its control characters escaped: names may hold line feeds and tabs.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_debug());
        } else {
            line.push(c);
        }
    }
    line
}

impl fmt::Display for PendingOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.id, self.name)?;
        if let Some(map) = &self.shard_map {
            write!(f, ", shard map {:?}", map.name())?;
        }
        for location in &self.locations {
            write!(f, ", {}", one_line(&location.to_string()))?;
        }
        if self.undo_started {
            f.write_str(", being undone")?;
        }
        match &self.unreadable {
            Some(error) => write!(f, ", cannot be read: {}", one_line(&error.to_string())),
            None => Ok(()),
        }
    }
}

impl<B: Stores> ShardMapManager<B> {
    /// The operations that have begun and not ended, in the order of their ids. Those of clients that are at work are among
    /// them: one that is still there some minutes later is left over.
    ///
    /// One read of the global store, which brings the records of all of them.
    ///
    /// # Errors
    /// Those of the connection. A record that cannot be read is no error: its operation [says so](PendingOperation::unreadable).
    pub async fn pending_operations(&self) -> Result<Vec<PendingOperation>> {
        let entries = self.shared.stores.pending_operations().await.map_err(|error| about(error, LIST))?;
        let mut operations: Vec<_> = entries.iter().map(PendingOperation::of).collect();
        operations.sort_by_key(|operation| operation.id);
        Ok(operations)
    }

    /// Undoes one unfinished operation: true if this call undid it, false if there is no such operation any more. An operation
    /// that another client is at work on is waited for, not disturbed, and is then gone.
    ///
    /// One read of the global store, then two requests to it and one to the shard, or up to four to the two shards of a move. Cancel
    /// safe: what is not undone stays pending.
    ///
    /// # Errors
    /// `PendingOperation` if it cannot be undone now, with the cause as source; `TimedOut` if another client keeps its lock;
    /// `StoreDamaged` if its record cannot be read.
    pub async fn undo_operation(&self, id: OperationId) -> Result<bool> {
        let about = |error: Error| about(error, UNDO);
        let entries = self.shared.stores.pending_operations().await.map_err(about)?;
        match entries.iter().find(|entry| entry.id == id) {
            Some(entry) => self.coordinator().undo_pending(entry).await.map_err(about),
            None => Ok(false),
        }
    }

    /// Undoes the operations that clients left unfinished when they died, and says how many those were.
    ///
    /// Operations undo what they meet on their way; this is for what nobody meets, for example when an application starts:
    /// until an interrupted split is undone, opening a connection for its keys fails with kind `PendingOperation`. An
    /// operation that another client is at work on is waited for, not disturbed.
    ///
    /// One read of the global store, then for each operation two requests to it and one to the shard, or up to four to the two
    /// shards of a move. Cancel safe: what is not undone stays pending.
    ///
    /// # Errors
    /// `PendingOperation` if one cannot be undone now, with the cause as source; `TimedOut` if another client keeps its
    /// lock; `StoreDamaged`. All the others are undone even so; the error is that of the first that was not.
    pub async fn undo_pending_operations(&self) -> Result<usize> {
        let about = |error: Error| about(error, UNDO_ALL);
        let coordinator = self.coordinator();
        let (mut undone, mut failed) = (0, None);
        for entry in self.shared.stores.pending_operations().await.map_err(about)? {
            match coordinator.undo_pending(&entry).await {
                Ok(done) => undone += usize::from(done),
                // One that cannot be undone must not keep the others.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(undone), |error| Err(about(error)))
    }

    fn coordinator(&self) -> Coordinator<'_, B> {
        Coordinator::new(&self.shared.stores, &self.shared.options.retry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_told_in_one_line_whatever_its_names_are() {
        let operation = PendingOperation {
            id: OperationId::random(),
            name: Cow::Borrowed("AddShard"),
            shard_map: None,
            locations: vec![ShardLocation::new("serv\ner", "data\tb\u{85}a 'x' \\ ü")],
            undo_started: true,
            unreadable: Some(Error::damaged("two\r\nlines")),
        };
        let told = operation.to_string();
        assert!(!told.contains(char::is_control), "{told:?}");
        assert!(told.contains("serv\\ner") && told.contains("data\\tb\\u{85}a 'x' \\ ü"), "{told:?}");
    }
}
