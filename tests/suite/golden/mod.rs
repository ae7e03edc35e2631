//! Stores that the reference library wrote, read and used by us, on any backend.
//!
//! Each file holds tests over an environment, a [`RawStores`](crate::support::raw_stores::RawStores); [`golden_tests`] makes
//! them of one. They need `consistency`, `declared`, `golden_files`, `probe` and `raw_stores` of `support`, and nothing of a
//! backend. What is looked at without stores (encodings of keys, documents of the log) is in `tests/keys` and `log_records`.

pub mod half_done;
pub mod keys;
pub mod pending;
pub mod redone;
pub mod scenario;
pub mod schema_info;
pub mod store_versions;
mod view;

/// The tests for an environment.
macro_rules! golden_tests {
    ($name:ident, $environment:ty) => {
        mod $name {
            cases! { golden, $environment:
                keys {
                    int32,
                    int64,
                    guid,
                    binary,
                    date_time,
                    date_time_offset,
                    the_earliest_instant_is_a_key,
                }
                scenario {
                    each_state_is_read_as_the_reference_library_reads_it,
                    each_step_done_by_us_leaves_the_rows_that_it_left,
                }
                schema_info {
                    schema_information_is_left_alone,
                    schema_information_is_read_as_the_reference_library_reads_it,
                    the_calls_of_the_reference_library_leave_its_documents_when_we_make_them,
                }
                store_versions {
                    our_stores_are_declared_as_the_reference_librarys,
                    older_stores_become_as_those_of_1_2,
                    an_upgrade_that_was_interrupted_is_finished,
                }
                pending {
                    shards,
                    a_pending_attach_is_undone_where_the_reference_library_fails,
                    point_mappings,
                    range_mappings,
                    splits,
                }
                redone {
                    shards,
                    point_mappings,
                    range_mappings,
                    splits,
                }
            }
        }
    };
}
pub(crate) use golden_tests;

/// The tests of half-done states for an environment; whatever the names of the databases are, once is enough.
macro_rules! half_done_tests {
    ($name:ident, $environment:ty) => {
        mod $name {
            cases! { golden, $environment:
                half_done {
                    shards,
                    shards_that_were_detached_since,
                    point_mappings,
                    range_mappings,
                    splits_and_merges,
                }
            }
        }
    };
}
pub(crate) use half_done_tests;
