//! The recovery tests on SQLite.

use crate::recovery::recovery_tests;

recovery_tests!(in_memory, crate::conformance_on_sqlite::SqliteInMemory);
