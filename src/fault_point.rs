//! Named points that tests stop at: between the steps of an operation, and around what its stores commit. And what each
//! statement to the embedded stores has cost, for the test that it does not grow with them.
//!
//! Only with the feature `fault-points`, which tests alone enable; without it a point is nothing.

/// Says that a point has been reached.
#[cfg(not(feature = "fault-points"))]
#[inline(always)]
pub(crate) fn reached(_: &'static str) {}

/// Says that a point has been reached.
#[cfg(feature = "fault-points")]
pub(crate) fn reached(point: &'static str) {
    if let Some(observer) = OBSERVER.get() {
        observer(point);
    }
}

#[cfg(feature = "fault-points")]
type Observer = Box<dyn Fn(&'static str) + Send + Sync>;

#[cfg(feature = "fault-points")]
static OBSERVER: std::sync::OnceLock<Observer> = std::sync::OnceLock::new();

/// Calls `observer` at every point from now on, on the thread that reaches it, which goes on when the call returns. False if
/// the process has another observer already.
#[cfg(feature = "fault-points")]
pub fn observe(observer: impl Fn(&'static str) + Send + Sync + 'static) -> bool {
    OBSERVER.set(Box::new(observer)).is_ok()
}

#[cfg(feature = "fault-points")]
pub(crate) type Meter = Box<dyn Fn(&str, i64) + Send + Sync>;

#[cfg(feature = "fault-points")]
static METER: std::sync::OnceLock<Meter> = std::sync::OnceLock::new();

/// Calls `meter` after every statement on connections to SQLite that are opened from now on, with its text and the steps that
/// SQLite's machine took for it. False if the process has another meter already.
#[cfg(feature = "fault-points")]
pub fn meter_statements(meter: impl Fn(&str, i64) + Send + Sync + 'static) -> bool {
    METER.set(Box::new(meter)).is_ok()
}

/// Who is told what statements cost.
#[cfg(all(feature = "fault-points", feature = "sqlite"))]
pub(crate) fn meter() -> Option<&'static Meter> {
    METER.get()
}
