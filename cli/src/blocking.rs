//! Work that blocks, such as files: on a thread of its own, because a pipe may have nothing in it yet, and Ctrl-C is to end the wait.

use std::io;

/// Does the work beside the wait for Ctrl-C.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other).flatten()
}
