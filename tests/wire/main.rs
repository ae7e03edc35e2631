//! Tests over the wire protocol, without a server: a scripted endpoint stands in for it, and a proxy for a bad network.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "a test fails by panicking, and its helpers need no documentation"
)]

mod abandoned;
mod backend;
mod client;
mod connecting;
#[cfg(feature = "metrics")]
mod counters;
mod cuts;
mod damaged;
mod dropped;
mod endpoint;
mod endpoint_tests;
mod faults;
mod gate;
mod limits;
mod lingering;
mod listener;
#[path = "../suite/support/polled.rs"]
mod polled;
mod pooling;
mod proxy;
mod proxy_tests;
mod round_trips;
mod secrets;
mod sessions;
mod store;
mod storm;
mod transactions;
mod upgrade;
