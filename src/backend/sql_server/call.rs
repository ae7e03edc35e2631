//! Calling procedures by name, with parameters, and what they answer.

use std::time::Duration;

use tiberius::{Command, CommandResult, IntoSql, Row};

use super::fault::{Doing, fault, is_missing_procedure, is_other_structure, late};
use super::install::StoreKind;
use super::link::{Link, Pooled};
use crate::error::{Error, Refusal, Result};
use crate::model::StoreVersion;

/// A call of one of our procedures.
pub(crate) struct Call<'c> {
    command: Command<'c>,
    store: StoreKind,
    name: &'static str,
}

impl<'c> Call<'c> {
    /// A procedure of the global store.
    pub(crate) fn global(name: &'static str) -> Self {
        Self::new(StoreKind::Global, name)
    }

    /// A procedure of a local store.
    pub(crate) fn local(name: &'static str) -> Self {
        Self::new(StoreKind::Local, name)
    }

    fn new(store: StoreKind, name: &'static str) -> Self {
        Self { command: Command::new(format!("__ShardManagement.shardlet1_{name}")), store, name }
    }

    /// The store whose procedure it is.
    pub(super) fn store(&self) -> StoreKind {
        self.store
    }

    /// True if it is one of those that use the table of the descriptions of shards, which is ours alone and made with the procedures.
    pub(super) fn uses_own_table(&self) -> bool {
        matches!((self.store, self.name), (StoreKind::Global, "DescribeShard" | "ListShardDescriptions"))
    }

    /// Adds a parameter.
    #[must_use]
    pub(crate) fn with(mut self, parameter: &'static str, value: impl IntoSql<'c> + 'c) -> Self {
        self.command.bind_param(parameter, value);
        self
    }
}

/// What a procedure answered.
pub(crate) struct Reply {
    /// The reference library's result code; 1 is success.
    pub(crate) code: u32,
    store: StoreKind,
    answer: CommandResult,
}

impl Reply {
    /// The rows of a result; none where there is no such result.
    pub(crate) fn rows(&self, result: usize) -> &[Row] {
        self.answer.to_query_result(result).map_or(&[], Vec::as_slice)
    }

    /// Success, or the refusal that the code stands for.
    pub(crate) fn accepted(self) -> Result<Self> {
        if self.code == 1 { Ok(self) } else { Err(self.refusal()) }
    }

    /// The error that the code stands for.
    pub(crate) fn refusal(&self) -> Error {
        let Some(refusal) = Refusal::from_code(self.code) else {
            return Error::damaged(format!("a procedure of the store answered with the unknown code {}", self.code));
        };
        match (refusal, self.rows(0).first()) {
            (Refusal::StoreVersionMismatch, Some(row)) => {
                let part = |column| row.try_get::<i32, _>(column).ok().flatten().unwrap_or_default();
                self.store.mismatch(StoreVersion { major: part(0), minor: part(1) })
            }
            (Refusal::StoreVersionMismatch, None) => self.store.no_version(),
            _ => refusal.into_error(),
        }
    }
}

/// A call that was not answered with a code.
pub(crate) struct Unanswered {
    pub(crate) error: Error,
    /// The procedure is not there.
    pub(crate) missing_procedure: bool,
    /// The procedure missed a table or a column.
    pub(crate) other_structure: bool,
}

impl From<Error> for Unanswered {
    fn from(error: Error) -> Self {
        Self { error, missing_procedure: false, other_structure: false }
    }
}

impl From<Unanswered> for Error {
    fn from(unanswered: Unanswered) -> Self {
        unanswered.error
    }
}

impl Pooled {
    /// Sends a call and reads the answer to its end, within a limit.
    #[tracing::instrument(level = "trace", skip_all, fields(procedure = call.name))]
    pub(crate) async fn call(
        &mut self,
        call: Call<'_>,
        doing: Doing,
        limit: Duration,
    ) -> std::result::Result<Reply, Unanswered> {
        let link = self.link()?;
        link.condition.sent();
        let Ok(answer) = tokio::time::timeout(limit, exchange(link, call)).await else {
            return Err(late(doing, limit).into());
        };
        match answer {
            Ok(reply) => {
                link.condition.answered();
                Ok(reply)
            }
            Err(error) => {
                link.condition.failed(&error);
                Err(Unanswered {
                    missing_procedure: is_missing_procedure(&error),
                    other_structure: is_other_structure(&error),
                    error: fault(error, doing),
                })
            }
        }
    }

    /// Sends constant text with parameters and reads all rows of its first result, within a limit.
    pub(crate) async fn ask(
        &mut self,
        text: &'static str,
        parameters: &[&dyn tiberius::ToSql],
        limit: Duration,
    ) -> Result<Vec<Row>> {
        let link = self.link()?;
        link.condition.sent();
        let exchange = async { link.client.query(text, parameters).await?.into_first_result().await };
        let Ok(answer) = tokio::time::timeout(limit, exchange).await else { return Err(late(Doing::Reading, limit)) };
        match answer {
            Ok(rows) => {
                link.condition.answered();
                Ok(rows)
            }
            Err(error) => {
                link.condition.failed(&error);
                Err(fault(error, Doing::Reading))
            }
        }
    }

    /// Finds out whether the connection still lives.
    pub(crate) async fn probe(&mut self, limit: Duration) -> Result<()> {
        self.ask("SELECT 1", &[], limit).await.map(drop)
    }
}

async fn exchange(link: &mut Link, call: Call<'_>) -> std::result::Result<Reply, tiberius::error::Error> {
    let answer = call.command.exec(&mut link.client).await?.into_command_result().await?;
    Ok(Reply { code: answer.return_code(), store: call.store, answer })
}
