//! Our stores, beside the declarations of the reference library's at version 1.2, `tests/data/store-versions.json`.

use crate::support::declared::{assert_declared, golden_tables};
use crate::support::golden_files::{DATABASES, golden_file, rows};
use crate::support::raw_stores::{RawStores, Store};

/// Every table that it has is there with the same columns, keys and constraints, and the same version. Tables of our own may
/// be beside them.
pub async fn our_stores_are_declared_as_the_reference_librarys<E: RawStores>() {
    let file = golden_file("store-versions.json");
    let env = E::empty_stores(&DATABASES[..1]).await;
    for (store, name) in [(Store::Global, "gsm"), (Store::Local(DATABASES[0]), "lsm")] {
        let golden = golden_tables(&env, &file, store, "1.2");
        let mut tables = store.tables().to_vec();
        tables.sort_unstable();
        assert_eq!(golden.keys().collect::<Vec<_>>(), tables);
        for (table, golden) in &golden {
            assert_declared(&env.declared(store, table).await, golden, table);
        }
        let version = env.rows(store, store.tables()[0]).await;
        let golden: Vec<_> =
            rows(&file[name]["1.2"], "rows").iter().map(|row| row.as_object().unwrap().clone()).collect();
        assert_eq!(version, golden);
    }
}
