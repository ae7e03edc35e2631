//! What a backend's login may do at a store.

use std::fmt;

/// What the login of a backend may do at one store, asked before something fails. Nothing is tried: this is what the rights
/// say. Whether the store's version can be used and nothing of it is missing is another question.
///
/// Where no store is installed, or this library's procedures are not, `reads` and `changes` are what the login could do once it
/// had installed them itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct StoreRights {
    /// It may read shard maps, shards and mappings: all that an application needs that only routes.
    ///
    /// On SQL Server this is what `sql/sql_server/permissions.sql` gives to the role `shardlet_access` at a global store, but for
    /// descriptions of shards and schema information, and of what it gives to `shardlet_management` at a shard's the part that
    /// reads; on Babelfish with it SELECT on the tables. On SQLite the file can be read, and files can be made beside it.
    pub reads: bool,
    /// It may change them, undo unfinished operations, and read and change descriptions of shards and schema information.
    ///
    /// On SQL Server the role `shardlet_management`; on Babelfish with it SELECT, INSERT, UPDATE and DELETE on the tables. On
    /// SQLite file and directory can be written, and locks can be made.
    pub changes: bool,
    /// It may install a store, and upgrade one: make the schema, tables and procedures.
    ///
    /// On SQL Server CREATE TABLE and CREATE PROCEDURE in the database, and CREATE SCHEMA where the schema is not there, ALTER,
    /// REFERENCES, SELECT, INSERT and UPDATE on it where it is. On SQLite as for changes, locks aside.
    pub installs: bool,
    /// It may end sessions when a mapping goes offline. Without it that takes
    /// [`SessionPolicy::Leave`](crate::SessionPolicy::Leave).
    ///
    /// On SQL Server VIEW SERVER STATE and ALTER ANY CONNECTION, on Azure SQL Database VIEW DATABASE STATE and KILL DATABASE
    /// CONNECTION (on its small and pooled tiers also `##MS_ServerStateReader##`, which is not looked at), on Babelfish the role
    /// `sysadmin`; at a shard also this library's two procedures for it. On SQLite always. At a global store no sessions are ended:
    /// there it says what the login could do to those of that server.
    pub ends_sessions: bool,
}

impl StoreRights {
    /// Every right.
    pub const ALL: Self = Self { reads: true, changes: true, installs: true, ends_sessions: true };

    /// No right.
    pub const NONE: Self = Self { reads: false, changes: false, installs: false, ends_sessions: false };

    /// What the login may not do, each in some words that go on from "may not".
    pub fn missing(&self) -> impl Iterator<Item = &'static str> {
        [
            (self.reads, "read shard maps, shards and mappings"),
            (self.changes, "change shard maps, shards and mappings"),
            (self.installs, "install or upgrade a store"),
            (self.ends_sessions, "end sessions when a mapping goes offline"),
        ]
        .into_iter()
        .filter_map(|(may, what)| (!may).then_some(what))
    }
}

impl fmt::Display for StoreRights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing: Vec<_> = self.missing().collect();
        if missing.is_empty() {
            return f.write_str("nothing is missing");
        }
        write!(f, "may not {}", missing.join(", may not "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_in_words() {
        assert_eq!(StoreRights::ALL.to_string(), "nothing is missing");
        assert_eq!(StoreRights::NONE.missing().count(), 4);
        let routing = StoreRights { reads: true, ends_sessions: true, ..StoreRights::NONE };
        assert_eq!(
            routing.to_string(),
            "may not change shard maps, shards and mappings, may not install or upgrade a store"
        );
    }
}
