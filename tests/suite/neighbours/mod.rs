//! Clients side by side: one that is held in the middle of an operation keeps only those off who want the same rows, for every
//! backend. Nobody has any patience for the lock of an operation, so that whoever waited for the held one would fail.

pub mod held;

/// The suite for an environment.
macro_rules! neighbour_tests {
    ($name:ident, $environment:ty) => {
        mod $name {
            cases! { neighbours, $environment:
                held {
                    a_client_of_ranges_is_in_the_way_of_its_own_shards_only,
                    a_client_of_points_is_in_the_way_of_its_own_shards_only,
                }
            }
        }
    };
}
pub(crate) use neighbour_tests;
