//! Operations: changes that touch the global store and one or two local stores, and lose nothing.
//!
//! `coordinator` does an operation, and undoes one that somebody left unfinished; `local` derives from a request what each
//! shard's store is asked to do, forwards and backwards; `log_record` writes and reads the document in the operations log; one
//! file per operation makes the request from what the caller gave; `plan` shows the steps; `retry` bounds the repetitions.
//!
//! Invariants: everything an operation does follows from its request, which the log row holds, so that any client can
//! undo it; nothing here knows the cache: what changed is returned, and the facade applies it.

pub(crate) mod add_mapping;
pub(crate) mod add_mappings;
pub(crate) mod add_shard;
pub(crate) mod attach_shard;
mod coordinator;
mod local;
mod log_record;
pub(crate) mod mend_shard;
pub(crate) mod merge_mappings;
mod plan;
pub(crate) mod remove_mapping;
pub(crate) mod remove_shard;
mod request;
mod retry;
pub(crate) mod split_mapping;
pub(crate) mod update_mapping;
pub(crate) mod update_shard;

pub(crate) use coordinator::{Absent, Coordinator, Instead, Others};
pub use log_record::LogRecord;
pub use plan::{Plan, PlanAction, PlanStep};
pub(crate) use request::{Changed, Request};
pub use retry::RetryPolicy;

use crate::gsm::GlobalStore;
use crate::lsm::LocalStore;

/// A backend with both stores: what a shard map manager works on. Implemented for every backend that has them.
pub trait Stores: GlobalStore + LocalStore {}

impl<B: GlobalStore + LocalStore> Stores for B {}
