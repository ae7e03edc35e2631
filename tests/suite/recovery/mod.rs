//! Recovery: stores that disagree, in every way that can be made, and what mends them; for every backend.
//!
//! `fixture` makes stores disagree, behind the library's back; the other files hold the cases by subject, each a function over any
//! environment.

pub mod abandoned;
pub mod attaching;
pub mod detaching;
pub mod detecting;
mod fixture;
pub mod random;
pub mod rebuilding;
pub mod relocating;
pub mod resolving;

/// The suite for an environment.
macro_rules! recovery_tests {
    ($name:ident, $environment:ty) => {
        mod $name {
            cases! { recovery, $environment:
                detecting {
                    two_ranges_are_compared_in_every_relative_position,
                    mappings_of_several_shards_are_compared_in_the_order_of_their_keys,
                    points_are_compared_one_by_one,
                    one_id_with_another_status_or_shard_is_a_difference,
                    locks_are_no_difference,
                    an_unfinished_operation_is_shown_until_it_is_undone,
                    a_place_without_a_shard_has_nothing_to_show,
                    neighbours_in_one_database_are_not_mixed_up,
                    many_shards_are_looked_at_by_one_list_of_them,
                    a_detector_sees_what_came_after_it,
                    keys_of_every_type_can_be_read,
                    thousands_of_mappings_are_compared,
                    mappings_that_overlap_in_a_damaged_store_hide_nothing,
                    each_difference_of_a_shards_row_is_found,
                    a_shard_that_only_one_store_knows_is_found,
                    a_shard_that_is_elsewhere_by_the_global_store_is_found,
                    a_map_that_the_global_store_does_not_have_is_found,
                    a_shard_added_to_the_global_store_only_is_found,
                }
                resolving {
                    nothing_differs_in_a_sound_store,
                    each_kind_of_difference_is_found,
                    the_global_store_is_kept,
                    the_local_store_is_kept,
                    nothing_is_touched_on_demand,
                    each_difference_is_resolved_by_its_own_choice,
                    the_mark_of_the_shard_is_resolved_too,
                    points_are_resolved,
                    another_shard_gives_up_exactly_the_claimed_keys,
                    several_shards_give_up_keys,
                    a_shard_that_differs_itself_gives_up_keys_in_both_stores,
                    ids_never_get_other_bounds,
                    what_stays_as_it_is_keeps_its_lock,
                    warm_caches_of_others_lead_to_the_right_shard,
                    stale_differences_change_nothing,
                    differences_are_stale_after_any_change,
                    an_operation_that_was_faster_wins,
                    keys_that_others_got_in_the_meantime_are_not_taken,
                    an_unfinished_operation_of_a_dead_shard_holds_up_no_other,
                    many_additions_that_were_left_are_kept_or_undone,
                    what_cannot_be_kept_is_refused,
                }
                random {
                    random_stores_are_resolved_as_chosen,
                }
                rebuilding {
                    a_store_of_another_shard_is_replaced,
                    a_store_of_another_state_is_brought_up_to_date,
                    every_map_at_the_place_is_rebuilt,
                    a_place_that_is_no_shard_cannot_be_rebuilt,
                    unfinished_operations_are_undone_around_the_shard,
                    a_shard_map_is_rebuilt_from_its_shards,
                    shards_that_are_not_named_stay_as_they_are,
                    shards_that_claim_the_same_keys_are_refused,
                    an_unknown_shard_among_the_named_changes_nothing,
                    points_are_rebuilt_and_claimed_twice,
                    a_dead_shard_that_is_not_named_does_not_matter,
                }
                attaching {
                    a_detached_shard_is_attached_again,
                    a_shard_is_attached_at_another_place,
                    only_the_named_map_is_attached,
                    what_cannot_be_attached_is_refused,
                    a_lost_global_store_is_made_again_from_the_shards,
                    a_map_whose_name_is_taken_is_not_restored,
                    one_of_two_neighbours_is_attached,
                }
                detaching {
                    a_shard_leaves_only_the_named_map,
                    what_was_unfinished_on_the_shard_is_undone_around_it,
                    an_unfinished_deletion_of_the_shard_is_undone_and_then_done,
                    an_unfinished_addition_of_the_shard_is_taken_back,
                    an_operation_that_cannot_be_undone_keeps_the_shard,
                    a_shard_without_unfinished_operations_is_detached_at_once,
                    an_operation_that_begins_meanwhile_is_undone_too,
                }
                relocating {
                    a_shard_of_several_maps_is_at_its_new_place,
                    a_shard_whose_database_is_older_is_relocated_and_then_resolved,
                    a_database_of_another_shard_is_refused,
                    a_place_that_is_taken_in_one_map_is_refused_for_all,
                    what_was_unfinished_is_undone_at_the_new_place,
                    it_goes_on_where_it_stopped,
                    the_new_place_may_die_too,
                    an_address_is_changed,
                }
                abandoned {
                    keeping_the_global_store,
                    keeping_the_local_store,
                    rebuilding_a_shard,
                    rebuilding_a_map,
                    attaching,
                    detaching,
                    relocating,
                }
            }
        }
    };
}
pub(crate) use recovery_tests;

/// The cases that break stores, for an environment that can.
macro_rules! recovery_tests_with_damage {
    ($name:ident, $environment:ty) => {
        mod $name {
            cases! { recovery, $environment:
                rebuilding {
                    a_broken_store_is_shown_and_written_anew,
                    rows_of_nobody_are_cleared_away,
                    a_database_without_a_store_gets_one,
                }
                detaching {
                    log_rows_that_no_row_belongs_to_are_cleared_away,
                }
            }
        }
    };
}
pub(crate) use recovery_tests_with_damage;
