//! Transactions of the application on a routed connection.

use std::ops::{Deref, DerefMut};

use super::connection::SqlServerConnection;
use crate::error::Result;

/// An open transaction; the connection's calls are available on it. Dropped without [`commit`](Self::commit), it is rolled
/// back before anything else happens on the connection.
///
/// A server may roll a transaction back with a statement that it refuses. So the statement after a refused one costs one round
/// trip more, to ask; where the transaction is gone, it and all others fail with kind `Statement` and nothing is sent.
#[derive(Debug)]
pub struct SqlServerTransaction<'c> {
    connection: &'c mut SqlServerConnection,
}

impl<'c> SqlServerTransaction<'c> {
    pub(super) fn new(connection: &'c mut SqlServerConnection) -> Self {
        Self { connection }
    }

    /// Commits. One round trip, two after a refused statement. Dropping the future leaves it unknown whether it is committed.
    ///
    /// # Errors
    /// `OutcomeUnknown` if the connection broke before the server answered; `Statement` if the server had rolled the transaction
    /// back already, so that nothing was changed.
    pub async fn commit(self) -> Result<()> {
        self.connection.end_transaction(true).await
    }

    /// Rolls back. One round trip, two after a refused statement, none if the server is known to have done it already.
    ///
    /// # Errors
    /// `Transient` if the connection broke, which rolls back as well.
    pub async fn rollback(self) -> Result<()> {
        self.connection.end_transaction(false).await
    }
}

impl Drop for SqlServerTransaction<'_> {
    fn drop(&mut self) {
        self.connection.abandon_transaction();
    }
}

impl Deref for SqlServerTransaction<'_> {
    type Target = SqlServerConnection;

    fn deref(&self) -> &SqlServerConnection {
        self.connection
    }
}

impl DerefMut for SqlServerTransaction<'_> {
    fn deref_mut(&mut self) -> &mut SqlServerConnection {
        self.connection
    }
}
