//! The rows of a statement, as they come.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tiberius::{QueryStream, Row};

use super::fault::{Doing, fault};
use super::link::Condition;
use super::target::Target;
use crate::error::{Error, Result};

/// What a statement answers: rows, and the columns of each result before its first row.
///
/// It is a [`Stream`] of rows; [`into_first_result`](Self::into_first_result) and its like gather them. Read it to its end:
/// one that is dropped before leaves the connection of no more use.
pub struct SqlServerRows<'c> {
    stream: QueryStream<'c>,
    condition: &'c mut Condition,
    doing: Doing,
    target: &'c Target,
    over: bool,
}

/// A row, or the beginning of a result.
enum Item {
    Row(Row),
    Result,
}

impl<'c> SqlServerRows<'c> {
    pub(super) fn new(stream: QueryStream<'c>, condition: &'c mut Condition, doing: Doing, target: &'c Target) -> Self {
        Self { stream, condition, doing, target, over: false }
    }

    /// The next row of any result, or `None` at the end.
    ///
    /// # Errors
    /// As [`SqlServerConnection::query`](super::SqlServerConnection::query).
    ///
    /// # Cancel safety
    /// Dropping the future loses no row.
    pub async fn next(&mut self) -> Result<Option<Row>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await.transpose()
    }

    /// The rows of every result, in order. A result without rows is there, too.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn into_results(mut self) -> Result<Vec<Vec<Row>>> {
        let mut results: Vec<Vec<Row>> = Vec::new();
        while let Some(item) = std::future::poll_fn(|context| self.poll_item(context)).await {
            match item? {
                Item::Result => results.push(Vec::new()),
                Item::Row(row) => match results.last_mut() {
                    Some(rows) => rows.push(row),
                    None => results.push(vec![row]),
                },
            }
        }
        Ok(results)
    }

    /// The rows of the first result. The others are read and dropped.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn into_first_result(self) -> Result<Vec<Row>> {
        Ok(self.into_results().await?.into_iter().next().unwrap_or_default())
    }

    /// The first row of the first result. The others are read and dropped.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn into_row(self) -> Result<Option<Row>> {
        Ok(self.into_first_result().await?.into_iter().next())
    }

    fn poll_item(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Item>>> {
        if self.over {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(Pin::new(&mut self.stream).poll_next(context)) {
            Some(Ok(item)) => Some(Ok(item.into_row().map_or(Item::Result, Item::Row))),
            Some(Err(error)) => {
                self.over = true;
                self.condition.failed(&error);
                let blamed: Error = self.target.blame(fault(error, self.doing));
                Some(Err(blamed))
            }
            None => {
                self.over = true;
                self.condition.answered();
                None
            }
        })
    }
}

impl Stream for SqlServerRows<'_> {
    type Item = Result<Row>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match ready!(self.poll_item(context)) {
                Some(Ok(Item::Row(row))) => return Poll::Ready(Some(Ok(row))),
                Some(Ok(Item::Result)) => {}
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl std::fmt::Debug for SqlServerRows<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SqlServerRows")
    }
}
