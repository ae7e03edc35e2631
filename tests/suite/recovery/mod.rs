//! Recovery: stores that disagree, in every way that can be made, and what mends them; for every backend.

#[allow(dead_code)]
mod fixture;
pub mod resolving;

/// The suite for an environment.
macro_rules! recovery_tests {
    ($name:ident, $environment:ty) => {
        mod $name {
            cases! { recovery, $environment:
                resolving {
                    nothing_differs_in_a_sound_store,
                    each_kind_of_difference_is_found,
                    the_global_store_is_kept,
                    the_local_store_is_kept,
                    stale_differences_change_nothing,
                }
            }
        }
    };
}
pub(crate) use recovery_tests;
