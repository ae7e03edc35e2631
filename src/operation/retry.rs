//! How often and how patiently a fault is met with another try.

use std::time::Duration;

use crate::model::OperationId;

/// Bounds on the repetitions of an operation. Only errors of kind [`Transient`](crate::ErrorKind::Transient) are met with
/// another try; waits for locks have limits of their own ([`Timeouts`](crate::backend::Timeouts)).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// Tries in all. 5 unless set; at least 1.
    pub attempts: u32,
    /// The pause before the second try; it doubles from try to try, and between half of it and all of it is waited. 100 ms
    /// unless set.
    pub first_pause: Duration,
    /// The longest pause. 5 s unless set.
    pub longest_pause: Duration,
    /// How many unfinished operations of other clients are undone before giving up with kind
    /// [`PendingOperation`](crate::ErrorKind::PendingOperation). 16 unless set.
    pub undone_operations: u32,
    /// How long, in all, operations of live clients on the same shard are waited for, one after another, before giving up with
    /// kind [`PendingOperation`](crate::ErrorKind::PendingOperation). 60 s unless set. It begins with the first that is met,
    /// which is always waited for; the wait that is under way at its end ends within its own limit.
    pub queue_time: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 5,
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(5),
            undone_operations: 16,
            queue_time: Duration::from_secs(60),
        }
    }
}

impl RetryPolicy {
    /// Sets [`RetryPolicy::attempts`].
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// Sets the first and the longest pause.
    #[must_use]
    pub fn pauses(mut self, first: Duration, longest: Duration) -> Self {
        self.first_pause = first;
        self.longest_pause = longest;
        self
    }

    /// Sets [`RetryPolicy::undone_operations`].
    #[must_use]
    pub fn undone_operations(mut self, operations: u32) -> Self {
        self.undone_operations = operations;
        self
    }

    /// Sets [`RetryPolicy::queue_time`].
    #[must_use]
    pub fn queue_time(mut self, time: Duration) -> Self {
        self.queue_time = time;
        self
    }

    /// The pause after the given number of failed tries. The id of the operation is random, so that clients that failed
    /// together do not try together again.
    pub(super) fn pause(&self, failed: u32, id: OperationId) -> Duration {
        let doubled = 2_u32.saturating_pow(failed.saturating_sub(1));
        let pause = self.first_pause.saturating_mul(doubled).min(self.longest_pause);
        let [.., low] = id.as_uuid().into_bytes();
        pause / 2 + pause / 510 * u32::from(low.rotate_left(failed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_are_spread_over_their_upper_half() {
        let policy = RetryPolicy::default().pauses(Duration::from_millis(100), Duration::from_millis(300));
        for _ in 0..100 {
            let id = OperationId::random();
            for (failed, whole) in [(1, 100), (2, 200), (3, 300), (4, 300), (40, 300)] {
                let pause = policy.pause(failed, id);
                let whole = Duration::from_millis(whole);
                assert!(pause >= whole / 2 && pause <= whole, "{failed}: {pause:?}");
            }
        }
        let longest = RetryPolicy::default().pauses(Duration::MAX, Duration::MAX);
        for byte in 0..=u8::MAX {
            let id = OperationId::from(uuid::Uuid::from_bytes([byte; 16]));
            assert!(longest.pause(8, id) >= Duration::MAX / 2);
        }
    }
}
