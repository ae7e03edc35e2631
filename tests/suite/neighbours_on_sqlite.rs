//! The neighbours on SQLite.

use crate::neighbours::neighbour_tests;

neighbour_tests!(in_memory, crate::conformance_on_sqlite::SqliteInMemory);
neighbour_tests!(in_a_directory, crate::conformance_on_sqlite::SqliteInDirectory);
