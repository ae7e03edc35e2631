//! The recovery tests on SQLite, with those that need fast stores.

use shardlet::Place;

use crate::conformance_on_sqlite::{SqliteInDirectory, SqliteInMemory};
use crate::recovery::abandoned::{Verb, a_client_gone_after_any_number_of_polls, at_every_request};
use crate::recovery::random::many_random_stores_are_resolved_as_chosen;
use crate::recovery::rebuilding::Damage;
use crate::recovery::{recovery_tests, recovery_tests_with_damage};
use crate::support::contents;

recovery_tests!(in_memory, crate::conformance_on_sqlite::SqliteInMemory);
recovery_tests_with_damage!(in_a_directory, crate::conformance_on_sqlite::SqliteInDirectory);

impl Damage for SqliteInDirectory {
    async fn run(&self, place: &Place, sql: &str) {
        let sql = sql.replace('{', "\"__ShardManagement.").replace('}', "\"");
        let file = self.file(place);
        if sql.starts_with("DROP") {
            contents::raw(&file).execute_batch(&sql).unwrap();
        } else {
            contents::spoil(&file, &sql);
        }
    }
}

#[test]
fn random_stores() {
    many_random_stores_are_resolved_as_chosen::<SqliteInMemory>();
}

#[tokio::test]
async fn a_client_is_gone_after_any_number_of_polls() {
    a_client_gone_after_any_number_of_polls::<SqliteInMemory>().await;
}

macro_rules! at_every_request {
    ($($name:ident: $verb:ident,)*) => {
        mod abandoned_at_every_request {
            use super::{SqliteInMemory, Verb, at_every_request};

            $(#[tokio::test]
            async fn $name() {
                at_every_request::<SqliteInMemory>(Verb::$verb).await;
            })*

            #[test]
            fn every_verb_is_listed() {
                assert_eq!([$(Verb::$verb),*], Verb::ALL);
            }
        }
    };
}

at_every_request! {
    keeping_the_global_store: KeepGlobal,
    keeping_the_local_store: KeepLocal,
    rebuilding_a_shard: Rebuild,
    rebuilding_a_map: RebuildMap,
    attaching: Attach,
    detaching: Detach,
    relocating: Relocate,
}
