//! What the login may do at a store, asked of the server by one fixed statement.

use std::time::Duration;

use tiberius::Row;

use super::install::StoreKind;
use super::link::Pooled;
use crate::error::{Error, Result};
use crate::model::StoreRights;

const QUERY: &str = include_str!("../../../sql/sql_server/rights.sql");

/// The rights at a store, whether it is installed or not.
pub(super) async fn look(pooled: &mut Pooled, kind: StoreKind, limit: Duration) -> Result<StoreRights> {
    let store = match kind {
        StoreKind::Global => 0_i32,
        StoreKind::Local => 1,
    };
    let rows = pooled.ask(QUERY, &[&store], limit).await?;
    rows.first().and_then(rights).ok_or_else(|| Error::internal("the server did not say what the login may do"))
}

fn rights(row: &Row) -> Option<StoreRights> {
    let may = |column: usize| row.try_get::<i32, _>(column).ok().flatten().map(|may| may == 1);
    let mut rights = StoreRights::NONE;
    rights.reads = may(0)?;
    rights.changes = may(1)?;
    rights.installs = may(2)?;
    rights.ends_sessions = may(3)?;
    Some(rights)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const PERMISSIONS: &str = include_str!("../../../sql/sql_server/permissions.sql");

    /// What a script of permissions grants to a role: name and permission.
    fn granted(role: &str) -> BTreeSet<(String, String)> {
        let grants = PERMISSIONS.lines().map(str::trim).filter(|line| line.starts_with("GRANT "));
        let of_role = grants.filter(|line| line.contains(role)).map(|line| {
            let words: Vec<_> = line.split([' ', '.', ';']).collect();
            (words[4].to_owned(), words[1].to_owned())
        });
        of_role.collect()
    }

    /// What is looked at: store, purpose, whether it is for Babelfish only, name and permission.
    fn listed() -> Vec<(u8, u8, bool, String, String)> {
        let rows = QUERY.lines().map(str::trim).filter(|line| line.starts_with("(0, ") || line.starts_with("(1, "));
        let row = |line: &str| {
            let parts: Vec<_> = line.trim_matches(['(', ')', ',']).split(", ").collect();
            let [store, purpose, unchained] = [0, 1, 2].map(|part| parts[part].parse::<u8>().unwrap());
            let [name, permission] =
                [3, 4].map(|part| parts[part].trim_start_matches('N').trim_matches('\'').to_owned());
            (store, purpose, unchained == 1, name, permission)
        };
        rows.map(row).collect()
    }

    #[test]
    fn what_is_looked_at_is_what_the_roles_are_granted() {
        let rights = |wanted: &dyn Fn(u8, u8) -> bool| -> BTreeSet<(String, String)> {
            let rows =
                listed().into_iter().filter(|(store, purpose, unchained, ..)| !unchained && wanted(*store, *purpose));
            rows.map(|(.., name, permission)| (name, permission)).collect()
        };
        assert_eq!(rights(&|_, _| true), granted("shardlet_management"));
        // Who routes may read more than routing takes, and is not told that it cannot read where that is missing.
        let extras = ["shardlet1_ListShardDescriptions", "shardlet1_ListSchemaInfos", "shardlet1_FindSchemaInfo"];
        let extras: BTreeSet<_> = extras.map(|name| (name.to_owned(), "EXECUTE".to_owned())).into();
        let routes = rights(&|store, purpose| (store, purpose) == (0, 0));
        assert!(routes.is_disjoint(&extras), "{routes:?}");
        assert_eq!(&routes | &extras, granted("shardlet_access"));
    }

    #[test]
    fn what_an_installation_and_an_upgrade_take_on_the_schema_is_asked_for() {
        for right in ["ALTER", "REFERENCES", "SELECT", "INSERT", "UPDATE"] {
            assert!(QUERY.contains(&format!("HAS_PERMS_BY_NAME(@schema, N'SCHEMA', N'{right}') = 1")), "{right}");
            let head = PERMISSIONS.split("\n\n").next().unwrap();
            assert!(head.contains(right), "{right} is not named");
        }
    }
}
