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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use shardlet::{NoCredentials, Sqlite};

    use super::*;
    use crate::output::{Format, Output};
    use crate::stop::Stop;

    fn session() -> Session<Sqlite> {
        let output = Output { format: Format::Table, quiet: true };
        let (backend, place) = (Sqlite::in_memory(), "SQLite".to_owned());
        Session { backend, place, credentials: NoCredentials, output, stop: Stop::default() }
    }

    #[tokio::test]
    async fn every_place_is_looked_at_and_not_too_many_at_once() {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let at = |number: usize| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            async move {
                let _ = most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                // Those that come first end last.
                for _ in number..20 {
                    tokio::task::yield_now().await;
                }
                let _ = now.fetch_sub(1, Ordering::SeqCst);
                number * 2
            }
        };
        let seen = look(&session(), (0..20).collect(), 3, "", at).await;
        assert_eq!(seen.rows, (0..20).map(|number| (number, number * 2)).collect::<Vec<_>>());
        assert!(!seen.is_partial());
        assert_eq!(most.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn what_was_seen_before_the_user_stopped_it_is_kept() {
        let session = session();
        let at = |number: usize| {
            let stop = session.stop.clone();
            async move {
                if number == 1 {
                    assert!(!stop.ask());
                    std::future::pending::<()>().await;
                }
                number
            }
        };
        let seen = look(&session, vec![0, 1, 2], 1, "", at).await;
        assert_eq!(seen.rows, [(0, 0)]);
        assert!(seen.is_partial());
    }
}
