//! Looking at many places at once, or other things.

use std::future::Future;

use shardlet::operation::Stores;
use tokio::task::JoinSet;

use crate::progress;
use crate::session::Session;

/// How many places are looked at at once, at most.
pub(crate) const MOST: u64 = 256;

/// What was seen at places.
pub(crate) struct Seen<P, T> {
    /// By place, in the order that they were given in.
    pub(crate) rows: Vec<(P, T)>,
    /// How many places there were; more than rows if the user did not want to wait.
    pub(crate) places: usize,
}

impl<P, T> Seen<P, T> {
    /// True if some places were not looked at.
    pub(crate) fn is_partial(&self) -> bool {
        self.rows.len() < self.places
    }
}

/// Looks at places, so many at a time, until all are done or the user wants to stop. What is under way then is given up, so it has
/// to change nothing.
pub(crate) async fn look<B, P, T, F>(
    session: &Session<B>,
    places: Vec<P>,
    parallel: usize,
    what: &'static str,
    at: impl Fn(P) -> F,
) -> Seen<P, T>
where
    B: Stores,
    P: Clone + Send + 'static,
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let _looking = session.stop.looking();
    let bar = progress::bar(places.len(), what, session.output.quiet);
    let count = places.len();
    let mut left = places.into_iter().enumerate();
    let mut tasks = JoinSet::new();
    let mut rows = Vec::with_capacity(count);
    loop {
        while tasks.len() < parallel.max(1)
            && let Some((number, place)) = left.next()
        {
            let work = at(place.clone());
            let _ = tasks.spawn(async move { (number, place, work.await) });
        }
        let done = tokio::select! {
            done = tasks.join_next() => done,
            () = session.stop.requested() => None,
        };
        match done {
            Some(Ok(row)) => rows.push(row),
            Some(Err(error)) => {
                if let Ok(panic) = error.try_into_panic() {
                    std::panic::resume_unwind(panic);
                }
            }
            None => break,
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    rows.sort_by_key(|(number, ..)| *number);
    Seen { rows: rows.into_iter().map(|(_, place, seen)| (place, seen)).collect(), places: count }
}
