//! The conformance suite of the store contracts: every documented outcome and refusal of every call of `GlobalStore`,
//! `GlobalSession`, `LocalStore` and `LocalSession`, for every backend.
//!
//! A backend takes part by an [`Environment`], of which [`conformance`] makes tests. `fixture` makes maps, shards and
//! mappings; the other files hold the cases by subject, each a function over any environment.

pub mod begin_mappings;
pub mod begin_shards;
pub mod descriptions;
pub mod end;
mod fixture;
pub mod global_reads;
pub mod half_installed;
pub mod local_changes;
pub mod local_reads;
pub mod locks;
pub mod mending;
pub mod replacing;
pub mod schema_infos;
pub mod shard_maps;
pub mod upgrades;
pub mod versions;

use shardlet::backend::Backend;
use shardlet::{Place, ShardLocation, Stores, Timeouts};

/// Where stores of a backend can be made.
pub trait Environment: Sized {
    type Backend: Stores;

    /// A place of its own, without a store, and a client of it.
    async fn fresh(timeouts: Timeouts) -> Self;

    fn backend(&self) -> &Self::Backend;

    fn credentials(&self) -> <Self::Backend as Backend>::Credentials;

    /// Where the numbered shard can be. The database exists if the backend does not make it.
    fn location(&self, number: usize) -> ShardLocation;
}

/// What some cases do behind the contract's back.
pub trait Access: Environment {
    /// Makes an empty database at a location.
    async fn make_database(&self, location: &ShardLocation);

    /// Writes another version into the version table of a store that no request is working on.
    async fn set_version(&self, place: &Place, major: i32, minor: i32);

    /// Gives a store that no request is working on the version table that it had at 1.0.
    async fn set_version_1_0(&self, place: &Place);

    /// Empties a table of a store.
    async fn empty_table(&self, place: &Place, table: &str);

    /// Drops a table of a store, to which no other refers.
    async fn drop_table(&self, place: &Place, table: &str);
}

/// The suite for an environment.
macro_rules! conformance {
    ($name:ident, $environment:ty) => {
        mod $name {
            cases! { conformance, $environment:
                shard_maps {
                    a_global_store_is_made_once_and_replaced_on_demand,
                    one_of_many_clients_makes_the_global_store,
                    a_global_store_is_dropped_with_everything_in_it,
                    one_of_many_clients_drops_the_global_store,
                    requests_to_a_missing_global_store_fail,
                    shard_maps_are_added_found_and_listed,
                    names_of_shard_maps_compare_without_case_and_trailing_blanks,
                    a_shard_map_is_refused_if_its_name_or_id_is_taken,
                    a_shard_map_is_removed_unless_it_has_shards,
                }
                global_reads {
                    shards_are_listed_and_found_by_their_exact_location,
                    shard_locations_are_distinct_over_all_maps,
                    reads_of_a_missing_map_are_refused,
                    mappings_of_a_list_map_are_filtered_by_keys_in_the_range,
                    mappings_of_a_range_map_are_filtered_by_intersection,
                    mappings_are_filtered_by_shard,
                    mappings_are_found_by_key,
                    mappings_are_found_by_id,
                    records_are_read_as_they_were_written,
                    everything_is_loaded_at_once,
                    reads_do_not_see_what_an_unfinished_operation_adds,
                }
                begin_shards {
                    adding_a_shard,
                    removing_a_shard,
                    updating_a_shard,
                    attaching_a_shard,
                }
                begin_mappings {
                    a_missing_map_or_shard_is_refused,
                    adding_a_point,
                    adding_a_range,
                    ranges_beside_a_replacement,
                    ranges_beside_additions,
                    removing_a_mapping,
                    updating_a_mapping,
                    moving_a_mapping,
                    splitting_and_merging,
                    adding_many_beside_one_that_is_kept,
                    one_of_many_that_collides_refuses_all,
                    a_refused_step_takes_back_those_before_it,
                    rows_of_another_operation_are_pending,
                    a_shard_that_is_marked_offline_takes_no_new_mappings,
                    a_mark_and_an_addition_wait_for_each_other,
                }
                end {
                    operations_on_shards_are_done_and_undone,
                    adding_and_removing_mappings_is_done_and_undone,
                    updating_mappings_is_done_and_undone,
                    splitting_and_merging_is_done_and_undone,
                    adding_many_is_done_and_undone,
                    ending_what_was_never_begun_changes_nothing,
                    ending_in_a_missing_map_is_refused,
                    the_log_row_is_kept_until_the_end,
                }
                mending {
                    a_shards_rows_are_written_anew_or_left,
                    a_mending_is_undone_as_an_update,
                    a_mending_is_refused,
                    the_end_of_a_mending_is_refused_where_it_collides,
                    a_shard_is_taken_out_with_its_mappings,
                    a_shard_with_an_unfinished_operation_is_not_taken_out,
                }
                descriptions {
                    shards_are_described_and_descriptions_listed,
                    what_is_not_there_is_not_described,
                    an_operation_on_a_shard_and_its_description_do_not_mind_each_other,
                    descriptions_of_shards_that_are_gone_are_forgotten_with_the_next,
                    descriptions_of_a_map_that_is_gone_are_forgotten_with_the_next_of_any,
                    many_clients_describe_shards_at_once,
                    a_store_that_is_replaced_has_no_descriptions,
                }
                schema_infos {
                    schema_information_is_added_found_and_listed,
                    a_document_says_the_same_when_it_comes_back,
                    names_compare_without_case_and_trailing_blanks,
                    a_name_that_is_taken_is_refused,
                    one_of_many_clients_adds_a_name,
                    schema_information_is_updated_and_removed,
                    a_store_that_is_replaced_has_none,
                }
                locks {
                    mappings_are_locked_and_unlocked,
                    wrong_changes_of_locks_are_refused,
                    all_mappings_of_a_token_are_unlocked,
                    an_unfinished_operation_holds_the_lock_of_its_mappings,
                    the_lock_of_an_operation_keeps_others_off,
                    the_lock_of_an_operation_is_waited_for_within_a_bound,
                }
                local_reads {
                    a_shard_that_cannot_be_reached_is_an_error,
                    a_local_store_knows_the_maps_that_it_is_part_of,
                    local_mappings_are_listed_in_the_order_of_their_keys,
                    a_route_to_a_mapping_is_validated,
                    a_route_to_a_shard_is_validated,
                }
                local_changes {
                    shards_are_added_removed_and_updated,
                    adding_a_shard_is_refused_where_another_one_is,
                    undoing_leaves_alone_what_is_there,
                    undoing_many_additions_leaves_the_kept_mapping,
                    undoing_installs_no_store,
                    mappings_are_changed_in_the_order_of_the_steps,
                    changing_mappings_again_changes_nothing,
                    mappings_of_a_missing_shard_are_refused,
                    sessions_of_a_mapping_end_and_others_live,
                    sessions_are_left_alone_on_demand,
                }
                replacing {
                    a_store_holds_exactly_what_it_is_given,
                    the_map_is_called_what_it_is_called,
                    neighbours_keep_what_they_have,
                    a_place_that_a_neighbour_has_is_refused,
                    another_version_than_the_expected_is_refused,
                    sessions_end_with_what_is_replaced,
                    an_undo_leaves_another_history_alone,
                }
            }
        }
    };
}
pub(crate) use conformance;

/// The cases that need access to the databases, for an environment that has it.
macro_rules! conformance_with_access {
    ($name:ident, $environment:ty) => {
        mod $name {
            cases! { conformance, $environment:
                versions {
                    a_database_without_a_store_has_no_version,
                    adding_a_shard_installs_the_store_in_its_database,
                    a_global_store_of_another_major_version_is_refused,
                    a_local_store_of_another_major_version_is_refused,
                    another_minor_version_does_not_matter,
                    stores_of_version_1_0_are_refused_by_all_but_an_upgrade,
                }
                upgrades {
                    older_stores_get_the_current_version_and_keep_their_rows,
                    stores_that_are_not_older_are_left_alone,
                    stores_of_another_major_version_are_not_upgraded,
                    where_there_is_no_store_there_is_no_upgrade,
                    many_clients_at_once_succeed,
                }
                half_installed {
                    a_store_without_a_version_is_damaged,
                    a_global_store_with_tables_missing_is_damaged,
                    a_local_store_with_tables_missing_is_damaged,
                    a_global_store_of_any_version_and_what_is_left_of_one_is_dropped,
                }
                replacing {
                    a_missing_store_is_installed,
                }
            }
        }
    };
}
pub(crate) use conformance_with_access;
