//! A bar with rate and time left, on standard error, where that is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Below this many steps there is no bar: it would be gone before it is read.
const FEW: u64 = 20;

/// A bar of so many steps of `what`; hidden where standard error is no terminal, or `quiet`.
pub(crate) fn bar(total: usize, what: &'static str, quiet: bool) -> ProgressBar {
    let total = u64::try_from(total).unwrap_or(u64::MAX);
    // `stderr` draws nothing where it is no terminal.
    let target = if quiet || total < FEW { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(total), target);
    let template = "{msg} [{bar:30}] {human_pos} of {human_len}, {per_sec}, {eta} left";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars("=> "));
    bar.set_message(what);
    bar
}
