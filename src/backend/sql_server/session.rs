//! Locks of operations, and what is done under them.
//!
//! The lock is an application lock of the server, owned by the session and named by the operation's id as in the reference
//! library, so that its clients and ours keep off each other. It ends with the session: where a request is abandoned the
//! connection is closed, and the server keeps the lock until it has stopped working on the request.

use std::sync::Arc;
use std::time::Duration;

use super::call::{Call, Reply, Unanswered};
use super::fault::Doing;
use super::install::{self, StoreKind};
use super::link::Pooled;
use super::pool::{Database, Shared};
use crate::error::{Error, Limit, Result};
use crate::model::OperationId;

/// Locks on Babelfish are those of the whole server, and the lock of the global store must not keep out that of a shard: there
/// the database is part of the name.
const LOCK: &str = "DECLARE @resource nvarchar(255), @got int; \
    SET @resource = @P1 + CASE WHEN SERVERPROPERTY('babelfish') IS NULL THEN N'' ELSE N'@' + DB_NAME() END; \
    EXEC @got = sp_getapplock @Resource = @resource, @LockMode = N'Exclusive', @LockOwner = N'Session', @LockTimeout = @P2; \
    SELECT @got, @resource;";

/// A connection to a store that holds the lock of one operation.
pub(crate) struct LockedSession {
    pooled: Pooled,
    shared: Arc<Shared>,
    database: Database,
    kind: StoreKind,
    /// The name of the lock.
    lock: String,
}

impl LockedSession {
    pub(super) async fn take(
        shared: &Arc<Shared>,
        database: Database,
        kind: StoreKind,
        id: OperationId,
    ) -> Result<Self> {
        let blame = |error: Error| database.target.blame(error);
        let patience = shared.options.timeouts.operation_lock;
        let name = id.to_string();
        let not_acquired = || {
            let message = format!("another client held the lock of operation {id} for {patience:?}");
            blame(Error::timed_out(Limit::OperationLock, message))
        };
        let turn = shared.turns.next(&database, id, patience).await.ok_or_else(not_acquired)?;
        let milliseconds = i32::try_from(turn.left.as_millis()).unwrap_or(i32::MAX);
        let mut lost_one = false;
        loop {
            let mut pooled = shared.checkout(&database).await?;
            let reused = pooled.served_before();
            let limit = turn.left.saturating_add(shared.options.timeouts.command);
            let rows = match pooled.ask(LOCK, &[&name, &milliseconds], limit).await {
                Err(error) if reused && !lost_one && error.kind() == crate::ErrorKind::Transient => {
                    lost_one = true;
                    shared.close_idle(&database);
                    continue;
                }
                rows => rows.map_err(blame)?,
            };
            let answer = rows.first().and_then(|row| {
                let got: i32 = row.try_get(0).ok().flatten()?;
                let lock: &str = row.try_get(1).ok().flatten()?;
                Some((got, lock.to_owned()))
            });
            return match answer {
                Some((0.., lock)) => {
                    pooled.link()?.lock = Some(lock.clone());
                    Ok(Self { pooled, shared: Arc::clone(shared), database, kind, lock })
                }
                Some(_) => {
                    // What a wait that ran out leaves on a session is not the same on all engines.
                    pooled.close();
                    Err(not_acquired())
                }
                None => {
                    // It may have given it, and nobody knows its name.
                    pooled.close();
                    Err(blame(Error::internal("the server did not say whether it gave the lock")))
                }
            };
        }
    }

    /// The name of the lock, for procedures that release it.
    pub(crate) fn lock(&self) -> &str {
        &self.lock
    }

    /// Notes that a procedure has released the lock, so that the connection goes back as it is.
    pub(crate) fn released(&mut self) {
        if let Ok(link) = self.pooled.link() {
            link.lock = None;
        }
    }

    /// A request under the lock. Missing procedures are installed once.
    pub(crate) async fn request<'c>(&mut self, doing: Doing, call: impl Fn() -> Call<'c>) -> Result<Reply> {
        let limit = self.limit();
        let answer = match self.pooled.call(call(), doing, limit).await {
            Err(Unanswered { missing_procedure: true, .. }) => {
                self.install_procedures().await?;
                self.pooled.call(call(), doing, limit).await
            }
            answer => answer,
        };
        let error = match answer {
            Ok(reply) => return Ok(reply),
            Err(Unanswered { other_structure: true, error, .. }) => {
                install::explain(&mut self.pooled, self.kind, limit, error).await
            }
            Err(unanswered) => unanswered.error,
        };
        Err(self.database.target.blame(error))
    }

    async fn install_procedures(&mut self) -> Result<()> {
        let limit = self.limit();
        let installed = install::procedures(&mut self.pooled, self.kind, limit).await;
        installed.map_err(|error| self.database.target.blame(error))
    }

    /// True if the database holds the store.
    pub(crate) async fn has_store(&mut self) -> Result<bool> {
        let limit = self.limit();
        let version = install::version(&mut self.pooled, self.kind, limit).await;
        Ok(version.map_err(|error| self.database.target.blame(error))?.is_some())
    }

    /// Installs the store, or what is missing of it.
    pub(crate) async fn install(&mut self) -> Result<()> {
        let limit = self.limit();
        let created = install::create(&mut self.pooled, self.kind, install::Creation::Complete, limit).await;
        created.map_err(|error| self.database.target.blame(error))
    }

    pub(crate) fn blame(&self, error: Error) -> Error {
        self.database.target.blame(error)
    }

    /// How long a request may take.
    pub(crate) fn limit(&self) -> Duration {
        self.shared.options.timeouts.command
    }

    /// Whether sessions of the reference library end, too.
    pub(crate) fn ends_reference_sessions(&self) -> bool {
        self.shared.options.ends_reference_sessions
    }
}

impl std::fmt::Debug for LockedSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LockedSession({:?})", self.database.target)
    }
}
