//! How many files and connections may be open at once: a command may look at a thousand shards.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What macOS allows at most where it says that there is no limit.
const WITHOUT_LIMIT: u64 = 10_240;

/// Asks for as many as this user may have: a shell often allows 256 or 1024 until a program asks. Without success it stays as it is.
pub(crate) fn allow_many() {
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit { current: limit.maximum, ..limit };
    if setrlimit(Resource::Nofile, all).is_err() && limit.current.is_some_and(|current| current < WITHOUT_LIMIT) {
        let many = limit.maximum.map_or(WITHOUT_LIMIT, |maximum| maximum.min(WITHOUT_LIMIT));
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(many), ..limit });
    }
}
