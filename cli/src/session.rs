//! What every command works with: the store, the output, Ctrl-C.

use serde::Serialize;
use shardlet::operation::Stores;
use shardlet::{Options, Plan, ShardMapManager};

use crate::confirm;
use crate::failure::{Failure, Result};
use crate::location;
use crate::map::{self, AnyMap, Change};
use crate::output::Output;
use crate::stop::{self, Stop};

/// A store that a command works on.
pub(crate) struct Session<B: Stores> {
    pub(crate) backend: B,
    /// Which store it is, for people.
    pub(crate) place: String,
    /// Of connections that routes are tried with.
    pub(crate) credentials: B::Credentials,
    pub(crate) output: Output,
    pub(crate) stop: Stop,
}

/// A step of a plan. Step 0 at no place is the whole of it in words.
#[derive(Serialize)]
pub(crate) struct Step {
    pub(crate) step: usize,
    pub(crate) place: String,
    pub(crate) action: String,
}

impl<B: Stores> Session<B> {
    /// Opens the store.
    pub(crate) async fn manager(&self) -> Result<ShardMapManager<B>> {
        Ok(ShardMapManager::open(self.backend.clone(), Options::default()).await?)
    }

    /// Opens the store and a map in it.
    pub(crate) async fn map(&self, name: &str) -> Result<Box<dyn AnyMap<B>>> {
        Ok(map::open(&self.manager().await?, name).await?)
    }

    /// Does an operation of a map, after showing its plan or asking where that was asked for; `None` if only the plan was shown.
    pub(crate) async fn carry_out<T: 'static>(
        &self,
        how: confirm::Change,
        change: Change<T>,
        words: Words,
    ) -> Result<Option<T>> {
        let plan = change.plan?;
        if plan.steps().is_empty() {
            return Err(Failure::NoChange("there is nothing to change".to_owned()));
        }
        let (text, asks) = match words {
            Words::Asked(text) => (text, true),
            Words::Told(text) => (text, false),
        };
        let question = asks.then(|| format!("{text}?"));
        self.change(how, in_words(text, steps(&plan)), question, stop::UNDONE, change.work).await
    }

    /// Does something else that can be shown in steps.
    pub(crate) async fn decide<T>(
        &self,
        how: confirm::Change,
        steps: Vec<Step>,
        question: Option<String>,
        work: impl Future<Output = shardlet::Result<T>>,
    ) -> Result<Option<T>> {
        self.change(how, steps, question, stop::NOT_KNOWN, work).await
    }

    async fn change<T>(
        &self,
        how: confirm::Change,
        steps: Vec<Step>,
        question: Option<String>,
        abandoned: &str,
        work: impl Future<Output = shardlet::Result<T>>,
    ) -> Result<Option<T>> {
        if !self.is_agreed(how, &steps, question).await? {
            return Ok(None);
        }
        let _changing = self.stop.changing(abandoned);
        Ok(Some(work.await?))
    }

    /// Shows the steps where that was asked for, or asks; false if only the steps were shown.
    pub(crate) async fn is_agreed(
        &self,
        how: confirm::Change,
        steps: &[Step],
        question: Option<String>,
    ) -> Result<bool> {
        if how.dry_run {
            self.output.list(steps)?;
            return Ok(false);
        }
        if let Some(question) = question {
            how.confirm(question).await?;
        }
        // Asked for while something was looked at, and that was done just then.
        if self.stop.is_requested() {
            return Err(Failure::Interrupted(stop::NOTHING.to_owned()));
        }
        Ok(true)
    }
}

/// What a change does, with the names of keys and shards, where its plan has their ids.
pub(crate) enum Words {
    /// It is asked before it is done: the question, without its mark.
    Asked(String),
    /// It is done without a question.
    Told(String),
}

/// Steps that have ids, below a line that has names.
pub(crate) fn in_words(text: String, steps: Vec<Step>) -> Vec<Step> {
    let whole = Step { step: 0, place: String::new(), action: text };
    std::iter::once(whole).chain(steps).collect()
}

/// The steps of a plan.
pub(crate) fn steps(plan: &Plan) -> Vec<Step> {
    let actions = plan.steps().iter().enumerate().flat_map(|(number, step)| {
        let place = location::show_place(step.place());
        step.actions().iter().map(move |action| (number + 1, place.clone(), action.to_string()))
    });
    actions.map(|(step, place, action)| Step { step, place, action }).collect()
}

/// Steps in words, each at a place.
pub(crate) fn steps_of<P: Into<String>, A: Into<String>>(steps: impl IntoIterator<Item = (P, A)>) -> Vec<Step> {
    let numbered = steps.into_iter().zip(1..);
    numbered.map(|((place, action), step)| Step { step, place: place.into(), action: action.into() }).collect()
}
