//! What tests wait for instead of time: gates that they open, and conditions that come true.

use std::sync::Arc;

use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::watch;

/// Holds whoever comes to it until the test opens it. Clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate {
    open: Arc<watch::Sender<bool>>,
    reached: Arc<watch::Sender<usize>>,
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Gate {
        Gate { open: Arc::new(watch::Sender::new(false)), reached: Arc::new(watch::Sender::new(0)) }
    }

    /// Lets everybody through, now and later.
    pub fn open(&self) {
        let _ = self.open.send_replace(true);
    }

    /// Waits until the gate is open.
    pub async fn pass(&self) {
        self.reached.send_modify(|reached| *reached += 1);
        let _ = self.open.subscribe().wait_for(|open| *open).await.unwrap();
    }

    /// Waits until somebody has come to the gate.
    pub async fn reached(&self) {
        self.reached_by(1).await;
    }

    /// Waits until that many have come to the gate.
    pub async fn reached_by(&self, count: usize) {
        let _ = self.reached.subscribe().wait_for(|reached| *reached >= count).await.unwrap();
    }
}

/// Tells those who wait for a condition when to look again.
#[derive(Debug)]
pub struct Changes(watch::Sender<()>);

impl Changes {
    pub fn new() -> Changes {
        Changes(watch::Sender::new(()))
    }

    /// Something changed that a condition may read.
    pub fn raise(&self) {
        self.0.send_modify(|()| ());
    }

    /// Waits until the condition holds.
    pub async fn until(&self, mut condition: impl FnMut() -> bool) {
        let mut changes = self.0.subscribe();
        while !condition() {
            changes.changed().await.unwrap();
        }
    }
}

/// How a connection ends when a test ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order: the other side reads the end of the stream.
    Close,
    /// By a reset: the other side's next read fails.
    Reset,
}

/// Ends a stream, whose other half has to be dropped already.
pub fn end_stream(half: OwnedWriteHalf, end: End) {
    if end == End::Reset {
        half.as_ref().set_zero_linger().unwrap();
        // Dropped, it would say in order that the stream ends, before the reset.
        half.forget();
    }
}
