//! What the tests stand on: a directory of a test's own, and the binary run in it.

mod content;
mod golden;
mod running;
mod world;

pub use golden::{compare, compare_file, normal, root};
pub use running::{Ran, Running};
pub use world::{GUID, World, block_on};
