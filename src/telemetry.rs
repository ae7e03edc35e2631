//! Counters and histograms, through the `metrics` facade if the feature is on, and nothing otherwise.
//!
//! No label holds a key, a map's name or a location: their number would have no bound.

use std::time::Duration;

use crate::error::ErrorKind;

/// An operation ended.
pub(crate) fn operation(name: &'static str, failed: Option<ErrorKind>) {
    count("shardlet_operations_total", &[("operation", name), ("outcome", outcome(failed))]);
}

/// An operation that another client had left was undone, or could not be.
pub(crate) fn undo(done: bool) {
    count("shardlet_undone_operations_total", &[("outcome", if done { "ok" } else { "failed" })]);
}

/// A lookup missed the cache.
pub(crate) fn lookup_missed() {
    count("shardlet_lookup_misses_total", &[]);
}

/// A mapping was read from the global store for a lookup.
pub(crate) fn mapping_loaded(failed: Option<ErrorKind>) {
    count("shardlet_mapping_loads_total", &[("outcome", outcome(failed))]);
}

/// A mapping from the cache turned out to be stale.
pub(crate) fn stale_mapping() {
    count("shardlet_stale_mappings_total", &[]);
}

/// A connection was opened for an application.
pub(crate) fn opened(validated: bool, failed: Option<ErrorKind>, took: Duration) {
    let labels = [("validation", if validated { "validate" } else { "none" }), ("outcome", outcome(failed))];
    count("shardlet_opens_total", &labels);
    time("shardlet_open_seconds", took);
}

/// A pooled connection was closed instead of used again.
#[cfg(any(feature = "sqlite", feature = "sql-server"))]
pub(crate) fn connection_discarded(reason: &'static str) {
    count("shardlet_discarded_connections_total", &[("reason", reason)]);
}

fn outcome(failed: Option<ErrorKind>) -> &'static str {
    match failed {
        None => "ok",
        Some(ErrorKind::NotFound) => "not_found",
        Some(ErrorKind::Offline) => "offline",
        Some(ErrorKind::Stale) => "stale",
        Some(ErrorKind::Unavailable) => "unavailable",
        Some(ErrorKind::TimedOut) => "timed_out",
        Some(_) => "failed",
    }
}

#[cfg(feature = "metrics")]
fn count(name: &'static str, labels: &[(&'static str, &'static str)]) {
    let labels: Vec<metrics::Label> = labels.iter().map(metrics::Label::from).collect();
    metrics::counter!(name, labels).increment(1);
}

#[cfg(not(feature = "metrics"))]
fn count(_: &'static str, _: &[(&'static str, &'static str)]) {}

#[cfg(feature = "metrics")]
fn time(name: &'static str, took: Duration) {
    metrics::histogram!(name).record(took.as_secs_f64());
}

#[cfg(not(feature = "metrics"))]
fn time(_: &'static str, _: Duration) {}
