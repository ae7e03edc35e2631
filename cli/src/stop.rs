//! Ctrl-C: the first ends a command between two changes, the second where it stands.
//!
//! Invariant: a change that has been sent to a store is waited for, unless the user asks a second time; the library bears that,
//! too: the next client undoes an operation, and what is one transaction was done or was not.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::failure::{Failure, Result};
use crate::output::Output;

/// What is said of an operation that was abandoned.
pub(crate) const UNDONE: &str =
    "interrupted in the middle of an operation: the next client undoes it; see shardlet operation list";

/// What is said of any other change that was abandoned.
pub(crate) const NOT_KNOWN: &str =
    "interrupted in the middle of a change: it may have been done or not; look before doing it again";

/// What is said where nothing had begun.
pub(crate) const NOTHING: &str = "interrupted; nothing was being changed";

/// Whether the user wants to stop. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    requested: AtomicBool,
    asked: Notify,
    /// How many changes are under way.
    changes: AtomicUsize,
    /// How many looks are under way that show what they have seen when they are stopped.
    looks: AtomicUsize,
    /// What to say if the change that began last is abandoned.
    abandoned: Mutex<String>,
}

/// A look that shows what it has seen when it is stopped is under way for as long as this lives.
#[derive(Debug)]
pub(crate) struct Looking {
    stop: Stop,
}

/// A change is under way for as long as this lives.
#[derive(Debug)]
pub(crate) struct Changing {
    stop: Stop,
}

impl Stop {
    /// True once the user has asked.
    pub(crate) fn is_requested(&self) -> bool {
        self.shared.requested.load(Ordering::Acquire)
    }

    /// Asks to stop; true if that was asked for before.
    pub(crate) fn ask(&self) -> bool {
        let again = self.shared.requested.swap(true, Ordering::AcqRel);
        self.shared.asked.notify_waiters();
        again
    }

    /// Waits until the user has asked.
    pub(crate) async fn requested(&self) {
        let asked = self.shared.asked.notified();
        if !self.is_requested() {
            asked.await;
        }
    }

    /// Marks what follows as a look that ends by itself when the user asks.
    pub(crate) fn looking(&self) -> Looking {
        let _ = self.shared.looks.fetch_add(1, Ordering::AcqRel);
        Looking { stop: self.clone() }
    }

    /// Marks what follows as a change, with what to say if it is abandoned.
    pub(crate) fn changing(&self, abandoned: impl Into<String>) -> Changing {
        *self.shared.abandoned.lock().unwrap_or_else(PoisonError::into_inner) = abandoned.into();
        let _ = self.shared.changes.fetch_add(1, Ordering::AcqRel);
        Changing { stop: self.clone() }
    }

    /// The user has asked once more: how the command ends, unless it has to go on for now.
    fn hear(&self, output: Output) -> Option<Failure> {
        let again = self.ask();
        let changing = self.shared.changes.load(Ordering::Acquire) > 0;
        let looking = self.shared.looks.load(Ordering::Acquire) > 0;
        if looking && !changing && !again {
            return None;
        }
        if !changing {
            return Some(Failure::Interrupted(NOTHING.to_owned()));
        }
        if again {
            let abandoned = self.shared.abandoned.lock().unwrap_or_else(PoisonError::into_inner);
            return Some(Failure::Interrupted(abandoned.clone()));
        }
        output.say("stopping when the change under way is done; once more to abandon it");
        None
    }

    /// Does the work of a command, until it is done or the user has asked twice, or once while nothing is being changed.
    pub(crate) async fn guard<T>(&self, output: Output, work: impl Future<Output = Result<T>>) -> Result<T> {
        let mut work = std::pin::pin!(work);
        let mut signals = Signals::new();
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = signals.next() => {
                    if let Some(ended) = self.hear(output) {
                        return Err(ended);
                    }
                }
            }
        }
    }
}

impl Drop for Changing {
    fn drop(&mut self) {
        let _ = self.stop.shared.changes.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        let _ = self.stop.shared.looks.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What asks a program to stop.
struct Signals {
    #[cfg(unix)]
    terminate: Option<tokio::signal::unix::Signal>,
    #[cfg(unix)]
    interrupt: Option<tokio::signal::unix::Signal>,
}

impl Signals {
    /// Listens from now on, so that none is missed between two waits.
    fn new() -> Self {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            Self { terminate: signal(SignalKind::terminate()).ok(), interrupt: signal(SignalKind::interrupt()).ok() }
        }
        #[cfg(not(unix))]
        Self {}
    }

    #[cfg(unix)]
    async fn next(&mut self) {
        async fn one(signal: &mut Option<tokio::signal::unix::Signal>) {
            let heard = match signal {
                Some(signal) => signal.recv().await.is_some(),
                None => false,
            };
            if !heard {
                // It cannot be listened to: then the system's own way of ending a program stays.
                std::future::pending().await
            }
        }
        tokio::select! {
            () = one(&mut self.terminate) => {}
            () = one(&mut self.interrupt) => {}
        }
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;

    const OUTPUT: Output = Output { format: Format::Table, quiet: true };

    /// What is one transaction is undone by nobody, and nobody is promised that.
    #[test]
    fn what_is_said_of_a_change_that_is_abandoned_is_true_of_it() {
        let stop = Stop::default();
        drop(stop.changing(UNDONE));
        let _changing = stop.changing(NOT_KNOWN);
        assert!(stop.hear(OUTPUT).is_none());
        let ended = stop.hear(OUTPUT).unwrap();
        assert_eq!((ended.exit_code(), ended.message().unwrap().as_str()), (130, NOT_KNOWN));
    }

    #[test]
    fn without_a_change_the_first_ends_it() {
        let stop = Stop::default();
        drop(stop.changing(UNDONE));
        assert!(stop.hear(OUTPUT).unwrap().message().unwrap().contains("nothing was being changed"));
    }
}
