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

mod client;
mod endpoint;
mod endpoint_tests;
mod gate;
mod listener;
mod proxy;
mod proxy_tests;
