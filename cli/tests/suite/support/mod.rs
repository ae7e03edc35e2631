//! What the tests stand on: a directory of a test's own, and the binary run in it.

mod content;
mod golden;
mod running;
mod world;

pub use golden::{compare, compare_file, root};
pub use running::{Ran, Running, signal};
pub use world::{GUID, World};
