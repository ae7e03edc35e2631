//! Sessions: which routed connections are open in this process, and which keys have had their sessions ended.
//!
//! A session knows the key that it was routed by. When the mapping of that key goes offline, a row of the table
//! `SessionsEndedLocal` in the shard's database tells every process to end the sessions that were opened before it; each
//! use of a routed connection looks for such a row in its own transaction. Sessions of this process are interrupted as
//! well. Going by the key, not by the mapping's id, this holds across splits and merges.
//!
//! Invariant: a transaction of a session whose keys went offline before it began does not commit.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode as DriverCode, OptionalExtension, named_params, params};
use tokio::sync::Notify;

use super::fault::{StatementFault, is_missing_table};
use super::layout::DatabaseName;
use crate::error::{Error, ErrorCode, ErrorKind};
use crate::key::{EncodedKey, EncodedRange};
use crate::model::{ShardMapId, ShardMapKind};

/// The key that a session was routed by.
#[derive(Clone, Debug)]
pub(crate) struct SessionKey {
    pub(crate) map: ShardMapId,
    pub(crate) kind: ShardMapKind,
    pub(crate) key: EncodedKey,
}

impl SessionKey {
    fn is_in(&self, map: ShardMapId, keys: &EncodedRange) -> bool {
        self.map == map
            && match self.kind {
                ShardMapKind::List => self.key == keys.low,
                ShardMapKind::Range => keys.contains(&self.key),
            }
    }

    /// The number of the newest ending in this database; sessions opened from now on are not concerned by it. `None` where
    /// the database has no local store and so nothing can end.
    pub(crate) fn newest_ending(connection: &Connection) -> rusqlite::Result<Option<i64>> {
        let newest = r#"SELECT coalesce(max("Id"), 0) FROM "__ShardManagement.SessionsEndedLocal""#;
        match connection.prepare_cached(newest) {
            Ok(mut statement) => statement.query_row([], |row| row.get(0)).map(Some),
            Err(error) if is_missing_table(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// True if this key's sessions were ended after the ending numbered `born`.
    pub(super) fn ended_since(&self, connection: &Connection, born: i64) -> rusqlite::Result<bool> {
        let sql = match self.kind {
            ShardMapKind::List => {
                r#"SELECT 1 FROM "__ShardManagement.SessionsEndedLocal"
                   WHERE "Id" > :born AND "ShardMapId" = :map AND "MinValue" = :key LIMIT 1"#
            }
            // By number: the index would lead through all that were ever ended below the key.
            ShardMapKind::Range => {
                r#"SELECT 1 FROM "__ShardManagement.SessionsEndedLocal" NOT INDEXED
                   WHERE "Id" > :born AND "ShardMapId" = :map AND "MinValue" <= :key
                     AND ("MaxValue" IS NULL OR "MaxValue" > :key) LIMIT 1"#
            }
        };
        let parameters = named_params! { ":born": born, ":map": self.map.to_string(), ":key": self.key.as_bytes() };
        Ok(connection.prepare_cached(sql)?.query_row(parameters, |_| Ok(())).optional()?.is_some())
    }
}

/// Writes down that the sessions of these keys are ended. Older endings of keys within them say nothing more.
pub(crate) fn record_ending(
    transaction: &Connection,
    map: ShardMapId,
    kind: ShardMapKind,
    keys: &EncodedRange,
) -> Result<(), StatementFault> {
    let map = map.to_string();
    let (low, high) = (keys.low.as_bytes(), keys.high.as_ref().map(EncodedKey::as_bytes));
    let superseded = match (kind, high) {
        (ShardMapKind::List, _) => {
            r#"DELETE FROM "__ShardManagement.SessionsEndedLocal"
               WHERE "ShardMapId" = ?1 AND "MinValue" = ?2 AND ?3 IS NULL"#
        }
        // What begins above the keys is left out by the index.
        (ShardMapKind::Range, Some(_)) => {
            r#"DELETE FROM "__ShardManagement.SessionsEndedLocal"
               WHERE "ShardMapId" = ?1 AND "MinValue" >= ?2 AND "MinValue" < ?3 AND "MaxValue" <= ?3"#
        }
        (ShardMapKind::Range, None) => {
            r#"DELETE FROM "__ShardManagement.SessionsEndedLocal"
               WHERE "ShardMapId" = ?1 AND "MinValue" >= ?2 AND ?3 IS NULL"#
        }
    };
    let _ = transaction.prepare_cached(superseded)?.execute(params![map, low, high])?;
    let recorded = transaction
        .prepare_cached(
            r#"INSERT INTO "__ShardManagement.SessionsEndedLocal" ("ShardMapId", "MinValue", "MaxValue")
               VALUES (?1, ?2, ?3)"#,
        )?
        .execute(params![map, low, high]);
    match recorded {
        // What SQLite answers where there is no greater number left, too.
        Err(error) if error.sqlite_error_code() == Some(DriverCode::DiskFull) && !has_number_left(transaction)? => {
            Err(Error::damaged("column Id of SessionsEndedLocal holds the last number that there is").into())
        }
        recorded => Ok(recorded.map(drop)?),
    }
}

fn has_number_left(connection: &Connection) -> rusqlite::Result<bool> {
    let newest = r#"SELECT max("Id") FROM "__ShardManagement.SessionsEndedLocal""#;
    Ok(connection.query_row(newest, [], |row| row.get::<_, Option<i64>>(0))? != Some(i64::MAX))
}

/// Interrupts what runs on a connection, from any thread.
#[derive(Clone)]
pub(crate) struct InterruptHandle(Arc<rusqlite::InterruptHandle>);

impl InterruptHandle {
    pub(super) fn of(connection: &Connection) -> Self {
        Self(Arc::new(connection.get_interrupt_handle()))
    }

    pub(super) fn interrupt(&self) {
        self.0.interrupt();
    }
}

/// The open sessions of this process.
#[derive(Default)]
pub(crate) struct Sessions {
    open: Mutex<HashMap<DatabaseName, Vec<Arc<Session>>>>,
    closed: Notify,
}

struct Session {
    key: SessionKey,
    ended: AtomicBool,
    interrupt: Option<InterruptHandle>,
}

/// A session's entry, until it is dropped.
pub(crate) struct OpenSession {
    session: Arc<Session>,
    database: DatabaseName,
    backend: super::Sqlite,
}

impl super::Sqlite {
    /// Enters a session that is about to be handed out.
    pub(crate) fn enter_session(
        &self,
        database: &DatabaseName,
        key: SessionKey,
        interrupt: Option<InterruptHandle>,
    ) -> OpenSession {
        let session = Arc::new(Session { key, ended: AtomicBool::new(false), interrupt });
        let mut open = self.sessions().open.lock().unwrap_or_else(PoisonError::into_inner);
        open.entry(database.clone()).or_default().push(Arc::clone(&session));
        drop(open);
        OpenSession { session, database: database.clone(), backend: self.clone() }
    }
}

impl Sessions {
    /// Ends the sessions of some keys and says how many they were.
    pub(crate) fn end(&self, database: &DatabaseName, map: ShardMapId, keys: &EncodedRange) -> usize {
        // Interrupting under the lock: a session leaves the list before its connection can serve another.
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ended = 0;
        for session in open.get(database).into_iter().flatten().filter(|session| session.key.is_in(map, keys)) {
            if !session.ended.swap(true, Ordering::Relaxed) {
                ended += 1;
            }
            if let Some(handle) = &session.interrupt {
                handle.interrupt();
            }
        }
        ended
    }

    /// Waits until no session of these keys is open, at most until the deadline has passed.
    pub(crate) async fn drained(
        &self,
        database: &DatabaseName,
        map: ShardMapId,
        keys: &EncodedRange,
        patience: Duration,
    ) {
        let wait = async {
            loop {
                let closed = self.closed.notified();
                let any = {
                    let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
                    open.get(database).into_iter().flatten().any(|session| session.key.is_in(map, keys))
                };
                if !any {
                    return;
                }
                closed.await;
            }
        };
        let _ = tokio::time::timeout(patience, wait).await;
    }
}

impl OpenSession {
    pub(super) fn key(&self) -> &SessionKey {
        &self.session.key
    }

    pub(super) fn is_ended(&self) -> bool {
        self.session.ended.load(Ordering::Relaxed)
    }

    pub(super) fn set_ended(&self) {
        self.session.ended.store(true, Ordering::Relaxed);
    }

    pub(super) fn flag(&self) -> EndedFlag {
        EndedFlag(Arc::clone(&self.session))
    }
}

/// Tells on a blocking thread whether the session was ended meanwhile.
#[derive(Clone)]
pub(super) struct EndedFlag(Arc<Session>);

impl EndedFlag {
    pub(super) fn is_set(&self) -> bool {
        self.0.ended.load(Ordering::Relaxed)
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        let sessions = self.backend.sessions();
        let mut open = sessions.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(list) = open.get_mut(&self.database) {
            list.retain(|session| !Arc::ptr_eq(session, &self.session));
            if list.is_empty() {
                let _ = open.remove(&self.database);
            }
        }
        drop(open);
        sessions.closed.notify_waiters();
    }
}

/// The error of using a session that was ended.
pub(super) fn session_ended() -> Error {
    Error::new(
        ErrorKind::Offline,
        ErrorCode::SessionEnded,
        "the mapping that routed this connection went offline and its sessions were ended; open a new connection",
    )
}
