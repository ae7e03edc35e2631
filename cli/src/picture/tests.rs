//! The page as a text, and as a browser shows it.
//!
//! What needs a browser is ignored by default, so that `cargo test` passes where there is none. With one:
//! `cargo test -p shardlet-cli picture -- --include-ignored`. `SHARDLET_SCREENSHOT=FILE` keeps what `a_screenshot_is_drawn` sees.

mod answers;
mod browser;
mod look;
mod sample;
mod text;
