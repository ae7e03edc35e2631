//! Inserting many rows at once.

use tiberius::{BulkLoadRequest, TokenRow};
use tokio::net::TcpStream;
use tokio_util::compat::Compat;

use super::fault::{Doing, fault};
use super::link::{Condition, Link};
use super::target::Target;
use crate::error::Result;

/// A bulk insert that is under way. Dropped without [`finish`](Self::finish), nothing is inserted and the connection is of no
/// more use.
pub struct SqlServerBulkInsert<'c> {
    request: BulkLoadRequest<'c, Compat<TcpStream>>,
    condition: &'c mut Condition,
    doing: Doing,
    target: &'c Target,
}

impl<'c> SqlServerBulkInsert<'c> {
    pub(super) async fn begin(
        link: &'c mut Link,
        table: &'c str,
        columns: &'c [&'c str],
        doing: Doing,
        target: &'c Target,
    ) -> Result<Self> {
        let Link { client, condition, .. } = link;
        condition.sent();
        match client.bulk_insert_columns(table, columns).await {
            Ok(request) => Ok(Self { request, condition, doing, target }),
            Err(error) => {
                // The driver looks at the names before it sends anything.
                if matches!(error, tiberius::error::Error::BulkInput(_)) {
                    condition.answered();
                } else {
                    condition.failed(&error);
                }
                Err(target.blame(fault(error, doing)))
            }
        }
    }

    /// A name in brackets, so that it is a name in SQL whatever its characters. Of `schema.table` each part on its own.
    #[must_use]
    pub fn quoted(name: &str) -> String {
        format!("[{}]", name.replace(']', "]]"))
    }

    /// Adds a row, with a value for each column in the order in which they were named. Rows are sent a packet at a time, so most
    /// calls send nothing. A future that is dropped leaves the insert of no more use: nothing of it is inserted.
    ///
    /// # Errors
    /// `Statement` if a value does not fit its column, after which other rows can be added; `OutcomeUnknown`, or in a transaction
    /// `Transient`, if the connection broke.
    pub async fn send(&mut self, row: TokenRow<'c>) -> Result<()> {
        self.request.send(row).await.map_err(|error| self.target.blame(fault(error, self.doing)))
    }

    /// Inserts all rows, or none, and says how many. One round trip. Dropping the future leaves it unknown whether they are inserted.
    ///
    /// # Errors
    /// `Statement` with the driver's error as source if the server refused them; otherwise as [`send`](Self::send).
    pub async fn finish(self) -> Result<u64> {
        let done = self.request.finalize().await;
        self.condition.ended(&done);
        done.map(tiberius::ExecuteResult::total).map_err(|error| self.target.blame(fault(error, self.doing)))
    }
}

impl std::fmt::Debug for SqlServerBulkInsert<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SqlServerBulkInsert")
    }
}

#[cfg(test)]
mod tests {
    use super::SqlServerBulkInsert;

    #[test]
    fn a_name_cannot_leave_its_quotes() {
        let quoted = SqlServerBulkInsert::quoted;
        assert_eq!(quoted("items"), "[items]");
        assert_eq!(quoted("a] (x) DROP TABLE t --"), "[a]] (x) DROP TABLE t --]");
    }
}
