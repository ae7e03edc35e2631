//! `shardlet store check`: the global store alone. `shardlet doctor` begins with the same.

use std::collections::HashSet;
use std::time::Duration;

use serde::Serialize;
use shardlet::model::MappingRecord;
use shardlet::operation::Stores;
use shardlet::{
    ErrorKind, Limit, OperationId, Options, PendingOperation, ShardMapInfo, ShardMapKind, ShardMapManager, StoreRights,
    StoreVersion,
};

use crate::failure::{Failure, Result};
use crate::keys;
use crate::places;
use crate::session::Session;

/// How long the lock of an operation is waited for before its client is taken to be at work.
const LOCK: Duration = Duration::from_secs(2);

/// How many operations are asked at most whether their clients are at work, and how many at once.
const OPERATIONS: (usize, usize) = (40, 8);

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Ok,
    Warning,
    Failed,
}

/// A thing that was looked at.
#[derive(Serialize)]
pub(super) struct CheckRow {
    /// `version`, `rights`, `shard_maps`, `shard_map`, `schema_information` or `operations`.
    check: &'static str,
    /// Which shard map or schema information.
    subject: Option<String>,
    pub(super) result: Verdict,
    pub(super) message: String,
}

/// What was found out about the global store.
pub(super) struct Checked<B: Stores> {
    pub(super) rows: Vec<CheckRow>,
    pub(super) reachable: bool,
    pub(super) version: Option<StoreVersion>,
    pub(super) rights: Option<StoreRights>,
    /// None if the store cannot be used.
    pub(super) manager: Option<ShardMapManager<B>>,
    pub(super) operations: Vec<PendingOperation>,
    /// Those of them whose clients are gone.
    pub(super) left_over: HashSet<OperationId>,
}

pub(super) async fn run<B: Stores>(session: &Session<B>) -> Result<()> {
    let checked = check(session).await;
    session.output.list(&checked.rows)?;
    let failed = checked.rows.iter().filter(|row| row.result == Verdict::Failed).count();
    let warnings = checked.rows.iter().filter(|row| row.result == Verdict::Warning).count();
    session.output.say(&format!("{} checks: {failed} failed, {warnings} warnings", checked.rows.len()));
    if session.stop.is_requested() {
        return Err(Failure::Interrupted("stopped before all was looked at".to_owned()));
    }
    if failed == 0 { Ok(()) } else { Err(Failure::Unhealthy) }
}

/// The text of an error in a row, with what to do, if that is not what is being done.
pub(super) fn told(error: shardlet::Error) -> String {
    let failure = Failure::from(error);
    let message = failure.message().unwrap_or_default();
    failure
        .advice()
        .filter(|advice| !advice.contains("doctor"))
        .map_or_else(|| message.clone(), |advice| format!("{message}; {advice}"))
}

/// Whether a store that gave this error was reached.
pub(super) fn was_reached(error: &shardlet::Error) -> bool {
    use ErrorKind::{Credentials, TimedOut, Transient, Unavailable};
    // Waiting for a turn of our own says nothing of the store.
    error.limit() == Some(Limit::PoolWait) || !matches!(error.kind(), Credentials | TimedOut | Transient | Unavailable)
}

/// How a version is, with words about it where there are some.
pub(super) fn of_version(version: StoreVersion) -> (Verdict, Option<String>) {
    let ours = StoreVersion::CURRENT;
    if version == ours {
        return (Verdict::Ok, None);
    }
    let words = match (version.is_usable(), version < ours) {
        (true, true) => format!("the store has version {version}; shardlet store upgrade brings it to {ours}"),
        (true, false) => format!("the store has version {version}, this command uses {ours}: it is older"),
        (false, true) if version.major == ours.major => {
            format!("the store has version {version} and has to be upgraded: shardlet store upgrade")
        }
        (false, _) => format!("the store has version {version}, which this command cannot use: it uses {ours}"),
    };
    (if version.is_usable() { Verdict::Warning } else { Verdict::Failed }, Some(words))
}

/// Rights as words for scripts.
pub(super) fn show_rights(rights: StoreRights) -> String {
    if rights == StoreRights::ALL {
        return "all".to_owned();
    }
    let words = [
        (rights.reads, "reads"),
        (rights.changes, "changes"),
        (rights.installs, "installs"),
        (rights.ends_sessions, "ends_sessions"),
    ];
    let words: Vec<_> = words.into_iter().filter_map(|(may, word)| may.then_some(word)).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(" ") }
}

/// How rights are, with words about them where there are some. A login may be one that only looks, or only routes.
pub(super) fn of_rights(rights: StoreRights) -> (Verdict, Option<String>) {
    let words = || Some(format!("the login {rights}"));
    match (rights.reads, rights.changes) {
        (false, _) => (Verdict::Failed, words()),
        (true, false) => (Verdict::Warning, words()),
        (true, true) => (Verdict::Ok, None),
    }
}

/// Looks at the global store.
pub(super) async fn check<B: Stores>(session: &Session<B>) -> Checked<B> {
    let mut checked = Checked {
        rows: Vec::new(),
        reachable: true,
        version: None,
        rights: None,
        manager: None,
        operations: Vec::new(),
        left_over: HashSet::new(),
    };
    match session.backend.global_version().await {
        Err(error) => {
            checked.reachable = was_reached(&error);
            checked.add("version", None, Verdict::Failed, told(error));
            return checked;
        }
        Ok(None) => {
            let text = "there is no shard map manager store; create it: shardlet store create";
            checked.add("version", None, Verdict::Failed, text.to_owned());
            return checked;
        }
        Ok(Some(version)) => {
            checked.version = Some(version);
            let (verdict, words) = of_version(version);
            checked.add("version", None, verdict, words.unwrap_or_else(|| version.to_string()));
            if verdict == Verdict::Failed {
                return checked;
            }
        }
    }
    match session.backend.global_rights().await {
        Ok(rights) => {
            checked.rights = Some(rights);
            let (verdict, words) = of_rights(rights);
            checked.add("rights", None, verdict, words.unwrap_or_else(|| show_rights(rights)));
        }
        Err(error) => checked.add("rights", None, Verdict::Failed, told(error)),
    }
    let manager = match ShardMapManager::open(session.backend.clone(), Options::default()).await {
        Ok(manager) => manager,
        Err(error) => {
            checked.add("version", None, Verdict::Failed, told(error));
            return checked;
        }
    };
    checked.maps(session).await;
    checked.schema_informations(session, &manager).await;
    checked.operations(session, &manager).await;
    checked.manager = Some(manager);
    checked
}

impl<B: Stores> Checked<B> {
    fn add(&mut self, check: &'static str, subject: Option<&str>, result: Verdict, message: String) {
        self.rows.push(CheckRow { check, subject: subject.map(str::to_owned), result, message });
    }

    async fn maps(&mut self, session: &Session<B>) {
        let mut maps = match session.backend.shard_maps().await {
            Ok(maps) => maps,
            Err(error) => return self.add("shard_maps", None, Verdict::Failed, told(error)),
        };
        maps.sort_by(|a, b| a.name().cmp(b.name()));
        self.add("shard_maps", None, Verdict::Ok, format!("{} shard maps", maps.len()));
        for map in maps {
            let all = shardlet::gsm::RecordFilter { range: None, shard: None };
            let read = async {
                let shards = session.backend.shards(map.id()).await?;
                Ok::<_, shardlet::Error>((shards.len(), session.backend.mappings(&map, &all).await?))
            };
            let (verdict, message) = match read.await {
                Ok((shards, mappings)) => match oddness(&map, &mappings) {
                    Some(odd) => (Verdict::Failed, odd),
                    None => (Verdict::Ok, format!("{shards} shards, {} mappings", mappings.len())),
                },
                // It was deleted since it was listed.
                Err(error) if error.code() == shardlet::ErrorCode::ShardMapDoesNotExist => continue,
                Err(error) => (Verdict::Failed, told(error)),
            };
            self.add("shard_map", Some(map.name()), verdict, message);
        }
    }

    async fn schema_informations(&mut self, session: &Session<B>, manager: &ShardMapManager<B>) {
        let entries = match session.backend.schema_infos().await {
            Ok(entries) => entries,
            Err(error) => return self.add("schema_information", None, Verdict::Failed, told(error)),
        };
        let mut readable = 0;
        for entry in entries {
            match manager.find_schema_info(&entry.name).await {
                Ok(_) => readable += 1,
                Err(error) => self.add("schema_information", Some(&entry.name), Verdict::Failed, told(error)),
            }
        }
        self.add("schema_information", None, Verdict::Ok, format!("{readable} can be read"));
    }

    async fn operations(&mut self, session: &Session<B>, manager: &ShardMapManager<B>) {
        self.operations = match manager.pending_operations().await {
            Ok(operations) => operations,
            Err(error) => return self.add("operations", None, Verdict::Failed, told(error)),
        };
        match left_over(session, manager, &self.operations).await {
            Ok(left_over) => self.left_over = left_over,
            Err(error) => return self.add("operations", None, Verdict::Failed, told(error)),
        }
        let unreadable = self.operations.iter().filter(|operation| operation.unreadable.is_some()).count();
        let (all, left) = (self.operations.len(), self.left_over.len());
        let (verdict, message) = match (all, left, unreadable) {
            (0, ..) => (Verdict::Ok, "none is unfinished".to_owned()),
            (_, 0, 0) => (Verdict::Warning, format!("{all} unfinished; their clients seem to be at work")),
            (.., 0) => {
                let words = format!("{all} unfinished, {left} of them left over by clients that are gone");
                (Verdict::Failed, format!("{words}: shardlet operation undo --all"))
            }
            _ => {
                let words = format!("{all} unfinished, {unreadable} of them with a record that cannot be read");
                (Verdict::Failed, format!("{words}: shardlet operation list"))
            }
        };
        self.add("operations", None, verdict, message);
    }
}

/// Which operations nobody is at work on: their locks are free, and they are there still. Of very many only some are asked.
async fn left_over<B: Stores>(
    session: &Session<B>,
    manager: &ShardMapManager<B>,
    operations: &[PendingOperation],
) -> shardlet::Result<HashSet<OperationId>> {
    let asked: Vec<_> = operations.iter().map(|operation| operation.id).take(OPERATIONS.0).collect();
    if asked.is_empty() {
        return Ok(HashSet::new());
    }
    let at = |id: OperationId| {
        let backend = session.backend.clone();
        // The lock is given back at once.
        async move { matches!(tokio::time::timeout(LOCK, backend.lock_operation(id)).await, Ok(Ok(_))) }
    };
    let seen = places::look(session, asked, OPERATIONS.1, "looking at operations", at).await;
    let free: HashSet<_> = seen.rows.into_iter().filter_map(|(id, free)| free.then_some(id)).collect();
    // A client that was at the end of its work has ended it.
    let now = manager.pending_operations().await?;
    Ok(now.into_iter().map(|operation| operation.id).filter(|id| free.contains(id)).collect())
}

/// What is wrong with the mappings of a map, which are in the order of their keys.
fn oddness(map: &ShardMapInfo, mappings: &[MappingRecord]) -> Option<String> {
    let empty = |mapping: &&MappingRecord| map.kind() == ShardMapKind::Range && mapping.range().is_empty();
    if let Some(mapping) = mappings.iter().find(empty) {
        return Some(format!("a mapping has no keys: {}", keys::show_range(map, &mapping.range())));
    }
    let mut furthest: Option<&MappingRecord> = None;
    for mapping in mappings {
        if let Some(before) = furthest
            && match map.kind() {
                ShardMapKind::List => before.low == mapping.low,
                ShardMapKind::Range => before.range().intersects(&mapping.range()),
            }
        {
            let (a, b) = (keys::show_range(map, &before.range()), keys::show_range(map, &mapping.range()));
            return Some(format!("two mappings share keys: {a} and {b}"));
        }
        let further = |before: &MappingRecord| match (&before.high, &mapping.high) {
            (Some(before), Some(high)) => high > before,
            (None, _) => map.kind() == ShardMapKind::List,
            (Some(_), None) => true,
        };
        if furthest.is_none_or(further) {
            furthest = Some(mapping);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use shardlet::{
        KeyType, LockToken, MappingId, MappingStatus, Shard, ShardId, ShardLocation, ShardMapId, ShardMapName,
        ShardStatus, ShardVersion,
    };

    fn map(kind: ShardMapKind) -> ShardMapInfo {
        ShardMapInfo::new(ShardMapId::random(), ShardMapName::new("orders").unwrap(), kind, KeyType::Int64)
    }

    fn mappings(map: &ShardMapInfo, keys: &[(i64, Option<i64>)]) -> Vec<MappingRecord> {
        let place = ShardLocation::new("s", "d");
        let shard = Shard::new(ShardId::random(), ShardVersion::random(), map.id(), place, ShardStatus::Online);
        let shard = Arc::new(shard);
        let key = |key: i64| KeyType::Int64.parse(&key.to_string()).unwrap();
        let mapping = |(low, high): &(i64, Option<i64>)| MappingRecord {
            id: MappingId::random(),
            map: map.id(),
            shard: Arc::clone(&shard),
            low: key(*low),
            high: high.map(key),
            status: MappingStatus::Online,
            lock_owner: LockToken::NONE,
        };
        keys.iter().map(mapping).collect()
    }

    #[test]
    fn mappings_that_share_keys_or_have_none_are_odd() {
        let range = map(ShardMapKind::Range);
        let odd = |keys: &[(i64, Option<i64>)]| oddness(&range, &mappings(&range, keys));
        assert_eq!(odd(&[]), None);
        assert_eq!(odd(&[(0, Some(5)), (5, Some(9)), (9, None)]), None);
        assert_eq!(odd(&[(0, Some(5)), (4, Some(9))]).unwrap(), "two mappings share keys: 0..5 and 4..9");
        assert_eq!(odd(&[(0, None), (1, Some(2)), (3, Some(4))]).unwrap(), "two mappings share keys: 0.. and 1..2");
        assert_eq!(odd(&[(3, Some(3))]).unwrap(), "a mapping has no keys: 3..3");
        let list = map(ShardMapKind::List);
        let odd = |keys: &[(i64, Option<i64>)]| oddness(&list, &mappings(&list, keys));
        assert_eq!(odd(&[(0, None), (1, None), (2, None)]), None);
        assert_eq!(odd(&[(0, None), (1, None), (1, None)]).unwrap(), "two mappings share keys: 1 and 1");
    }

    #[test]
    fn a_login_that_only_looks_is_no_failure() {
        let mut rights = StoreRights::ALL;
        assert_eq!((show_rights(rights).as_str(), of_rights(rights)), ("all", (Verdict::Ok, None)));
        rights.ends_sessions = false;
        rights.installs = false;
        assert_eq!((show_rights(rights).as_str(), of_rights(rights)), ("reads changes", (Verdict::Ok, None)));
        rights.changes = false;
        assert_eq!((show_rights(rights).as_str(), of_rights(rights).0), ("reads", Verdict::Warning));
        assert_eq!(
            (show_rights(StoreRights::NONE).as_str(), of_rights(StoreRights::NONE).0),
            ("none", Verdict::Failed)
        );
    }

    #[test]
    fn versions_that_can_be_used_are_no_failure() {
        let verdict = |major, minor| of_version(StoreVersion { major, minor }).0;
        assert_eq!(verdict(1, 2), Verdict::Ok);
        assert_eq!(verdict(1, 1), Verdict::Warning);
        assert_eq!(verdict(1, 9), Verdict::Warning);
        assert_eq!(verdict(1, 0), Verdict::Failed);
        assert_eq!(verdict(2, 0), Verdict::Failed);
    }
}
