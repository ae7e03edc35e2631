//! Looking at a shard: what the global store says of it, and what its own store says.

use std::collections::HashSet;

use super::compare::{Claims, Piece, concerning};
use super::{MappingDifference, RecoveryManager, ShardDifference, ShardDifferences, about};
use crate::error::{Error, ErrorCode, ErrorKind, Result};
use crate::gsm::{LogEntry, RecordFilter};
use crate::key::EncodedRange;
use crate::model::{MappingRecord, Shard, ShardId, ShardLocation, ShardMapInfo, ShardMapKind, folded};
use crate::operation::Stores;

/// How often a look is taken again because the shard changed while it was taken.
const LOOKS: usize = 20;

/// Mappings that the shard's own store has alone are looked up one by one in the global store if they are this few, and by one
/// list of all between the first and the last if they are more.
const FEW: usize = 32;

/// What a shard's own store says.
pub(super) enum LocalRows {
    Shards(Vec<(ShardMapInfo, Shard)>),
    Absent,
    Damaged(Error),
}

/// What a shard's own store says of one map.
#[derive(Default)]
pub(super) struct LocalView {
    /// The map, if the store knows it.
    info: Option<ShardMapInfo>,
    pub(super) shard: Option<Shard>,
    /// Mappings of the shard, and of shards that are not here.
    pub(super) mappings: Vec<MappingRecord>,
    /// Other shards of the map in the database.
    pub(super) neighbours: Vec<ShardId>,
}

/// What was found of a shard: both sides of it, and how its rows differ.
fn found(
    (map, location): (&ShardMapInfo, &ShardLocation),
    (global, global_mappings): (Option<Shard>, Vec<MappingRecord>),
    local: LocalView,
    shard: Vec<ShardDifference>,
    unfinished: &[LogEntry],
) -> ShardDifferences {
    let id = global.as_ref().map(Shard::id);
    ShardDifferences {
        map: map.clone(),
        location: location.clone(),
        mappings: of_mappings(map, id, &global_mappings, &local.mappings),
        global,
        local: local.shard,
        neighbours: local.neighbours,
        global_mappings,
        local_mappings: local.mappings,
        shard,
        unfinished: unfinished.iter().map(|entry| entry.id).collect(),
    }
}

impl<B: Stores> RecoveryManager<B> {
    /// Looks for differences between the global store and the store of the database at a location, and gives what it finds, one
    /// value for each shard map that either of them has there; nothing that differs is an [empty](ShardDifferences::is_empty)
    /// value. Changes nothing.
    ///
    /// A store that is missing, half installed or damaged is a difference, not an error. What is under way while it looks shows
    /// in [`ShardDifferences::unfinished_operations`].
    ///
    /// Cost: one read of the global store and one more for each map in it, and two reads of the shard; then, for each map that
    /// is there, four reads of the global store and five of the shard, and up to 32 more of the global store for mappings that
    /// only the shard has.
    ///
    /// # Errors
    /// `Unavailable` if the shard cannot be reached; `VersionMismatch` if its store has to be upgraded first; `Transient` if
    /// operations on the shard never paused long enough.
    pub async fn detect(&self, location: &ShardLocation) -> Result<Vec<ShardDifferences>> {
        self.detect_all(location).await.map_err(|error| about(error, "DetectMappingDifferences"))
    }

    async fn detect_all(&self, location: &ShardLocation) -> Result<Vec<ShardDifferences>> {
        location.check()?;
        let in_global = self.stores().shard_maps().await?;
        let rows = match self.local_rows(location).await? {
            LocalRows::Shards(rows) => rows,
            LocalRows::Absent | LocalRows::Damaged(_) => Vec::new(),
        };
        let mut found = Vec::new();
        for map in &in_global {
            let here = rows.iter().any(|(info, _)| info.id() == map.id())
                || self.stores().find_shard(map.id(), location).await?.is_some();
            if here {
                found.extend(self.look(map, location, true).await?);
            }
        }
        let mut seen: Vec<_> = in_global.iter().map(ShardMapInfo::id).collect();
        for (map, _) in rows {
            if !seen.contains(&map.id()) {
                seen.push(map.id());
                found.extend(self.look(&map, location, false).await?);
            }
        }
        found.sort_by_cached_key(|differences| folded(differences.map.name()));
        Ok(found)
    }

    pub(super) async fn local_rows(&self, location: &ShardLocation) -> Result<LocalRows> {
        match self.stores().local_version(location).await {
            Ok(None) => return Ok(LocalRows::Absent),
            Ok(Some(_)) => {}
            Err(error) if error.kind() == ErrorKind::StoreDamaged => return Ok(LocalRows::Damaged(error)),
            Err(error) => return Err(error),
        }
        match self.stores().local_shards(location).await {
            Ok(rows) => Ok(LocalRows::Shards(rows)),
            Err(error) if error.kind() == ErrorKind::StoreDamaged => Ok(LocalRows::Damaged(error)),
            Err(error) => Err(error),
        }
    }

    /// The differences of one map, or `None` if neither store has the map at the location.
    pub(super) async fn look(
        &self,
        map: &ShardMapInfo,
        location: &ShardLocation,
        in_global: bool,
    ) -> Result<Option<ShardDifferences>> {
        for _ in 0..LOOKS {
            let before = self.global_shards(map, in_global).await?;
            let local = self.local_view(map, location, &before).await?;
            let global = global_shard(&before, location, local.as_ref().ok().and_then(|view| view.shard.as_ref()));
            let known = local.as_ref().is_ok_and(|view| view.shard.is_some() || !view.mappings.is_empty());
            if global.is_none() && !known {
                return Ok(None);
            }
            let mut global_mappings = match &global {
                Some(shard) if in_global => self.own_mappings(map, shard).await?,
                _ => Vec::new(),
            };
            if in_global {
                let claimed = local.as_ref().map_or(&[][..], |view| &view.mappings);
                let foreign = self.foreign_mappings(map, &global_mappings, claimed).await?;
                global_mappings.extend(foreign);
            }
            // A shard that changed meanwhile has another version now.
            let after = self.global_shards(map, in_global).await?;
            let id = global.as_ref().map(Shard::id);
            let version = |shards: &[Shard]| shards.iter().find(|it| Some(it.id()) == id).map(Shard::version);
            if version(&before) != version(&after) {
                continue;
            }
            let here = |shard: &Shard| shard.location() == location;
            let unfinished = if in_global { self.unfinished(map, here).await? } else { Vec::new() };
            let mut shard = Vec::new();
            let view = match local {
                Ok(view) => {
                    of_shard(&mut shard, (map, in_global), (&global, location), &view);
                    view
                }
                Err(difference) => {
                    shard.push(difference);
                    LocalView { neighbours: neighbours(&before, location, id), ..LocalView::default() }
                }
            };
            return Ok(Some(found((map, location), (global, global_mappings), view, shard, &unfinished)));
        }
        let message = format!("the shard changed while it was looked at, {LOOKS} times");
        Err(Error::new(ErrorKind::Transient, ErrorCode::StorageOperationFailure, message).at_shard(location))
    }

    /// What [`look`](Self::look) finds of a shard that the global store had when the caller began, if both stores agree about it
    /// and it is there as it was. `None` says nothing: that is for a look to find out.
    pub(super) async fn agreement(&self, map: &ShardMapInfo, shard: &Shard) -> Result<Option<ShardDifferences>> {
        let location = shard.location();
        let Ok(view) = self.local_view(map, location, std::slice::from_ref(shard)).await? else { return Ok(None) };
        let global_mappings = self.own_mappings(map, shard).await?;
        // A shard that changed meanwhile has another version now.
        let after = self.stores().find_shard(map.id(), location).await?;
        if after.is_none_or(|after| (after.id(), after.version()) != (shard.id(), shard.version())) {
            return Ok(None);
        }
        let unfinished = self.unfinished(map, |shard| shard.location() == location).await?;
        let global = Some(shard.clone());
        let mut of_row = Vec::new();
        of_shard(&mut of_row, (map, true), (&global, location), &view);
        let found = found((map, location), (global, global_mappings), view, of_row, &unfinished);
        Ok(Some(found).filter(ShardDifferences::is_empty))
    }

    async fn global_shards(&self, map: &ShardMapInfo, in_global: bool) -> Result<Vec<Shard>> {
        if in_global { self.stores().shards(map.id()).await } else { Ok(Vec::new()) }
    }

    async fn own_mappings(&self, map: &ShardMapInfo, shard: &Shard) -> Result<Vec<MappingRecord>> {
        let filter = RecordFilter { range: None, shard: Some(shard.id()) };
        match self.stores().mappings(map, &filter).await {
            // Gone since it was listed; the next list shows it.
            Err(error) if error.code() == ErrorCode::ShardDoesNotExist => Ok(Vec::new()),
            read => read,
        }
    }

    /// What the global store maps to other shards of what the shard's own store claims.
    async fn foreign_mappings(
        &self,
        map: &ShardMapInfo,
        own: &[MappingRecord],
        local: &[MappingRecord],
    ) -> Result<Vec<MappingRecord>> {
        let agreed: HashSet<_> = own.iter().map(|mapping| (&mapping.low, &mapping.high)).collect();
        let alone: Vec<_> = local.iter().filter(|mapping| !agreed.contains(&(&mapping.low, &mapping.high))).collect();
        let mut found: Vec<MappingRecord> = Vec::new();
        if alone.len() <= FEW {
            for mapping in alone {
                match map.kind() {
                    ShardMapKind::List => {
                        found.extend(self.stores().find_mapping_by_key(map, &mapping.low).await?);
                    }
                    ShardMapKind::Range => {
                        let filter = RecordFilter { range: Some(mapping.range()), shard: None };
                        found.extend(self.stores().mappings(map, &filter).await?);
                    }
                }
            }
        } else {
            let low = alone.iter().map(|mapping| &mapping.low).min().cloned().unwrap_or_default();
            let ends = alone.iter().map(|mapping| mapping.high.as_ref()).collect::<Option<Vec<_>>>();
            let high = ends.and_then(|ends| ends.into_iter().max().cloned());
            let filter = RecordFilter { range: Some(EncodedRange { low, high }), shard: None };
            let claims = Claims::new(map.kind(), &alone);
            found = self.stores().mappings(map, &filter).await?;
            found.retain(|mapping| claims.meet(mapping));
        }
        let known: HashSet<_> = own.iter().map(|mapping| mapping.id).collect();
        let mut seen = HashSet::new();
        found.retain(|mapping| !known.contains(&mapping.id) && seen.insert(mapping.id));
        Ok(found)
    }

    /// What the shard's own store says of the map, as of one moment, or what is wrong with that store.
    pub(super) async fn local_view(
        &self,
        map: &ShardMapInfo,
        location: &ShardLocation,
        global: &[Shard],
    ) -> Result<std::result::Result<LocalView, ShardDifference>> {
        for _ in 0..LOOKS {
            let rows = match self.local_rows(location).await? {
                LocalRows::Shards(rows) => rows,
                LocalRows::Absent => return Ok(Err(ShardDifference::NoLocalStore)),
                LocalRows::Damaged(error) => return Ok(Err(ShardDifferences::damaged(&error))),
            };
            let of_map = |rows: Vec<(ShardMapInfo, Shard)>| -> Vec<(ShardMapInfo, Shard)> {
                rows.into_iter().filter(|(info, _)| info.id() == map.id()).collect()
            };
            let rows = of_map(rows);
            if rows.is_empty() {
                return Ok(Ok(LocalView::default()));
            }
            let mappings = match self.stores().local_mappings(location, map.id()).await {
                Ok(mappings) => mappings,
                Err(error) if error.kind() == ErrorKind::StoreDamaged => {
                    return Ok(Err(ShardDifferences::damaged(&error)));
                }
                Err(error) if error.code() == ErrorCode::ShardMapDoesNotExist => continue,
                Err(error) => return Err(error),
            };
            let LocalRows::Shards(again) = self.local_rows(location).await? else { continue };
            let again = of_map(again);
            let versions = |rows: &[(ShardMapInfo, Shard)]| {
                let mut versions: Vec<_> = rows.iter().map(|(_, shard)| (shard.id(), shard.version())).collect();
                versions.sort();
                versions
            };
            if versions(&rows) != versions(&again) {
                continue;
            }
            let info = rows.first().map(|(info, _)| info.clone());
            let shards: Vec<Shard> = rows.into_iter().map(|(_, shard)| shard).collect();
            let wanted = global.iter().find(|shard| shard.location() == location).map(Shard::id);
            let mut neighbours = neighbours(global, location, wanted);
            neighbours.retain(|id| shards.iter().any(|shard| shard.id() == *id));
            let mut candidates = shards.into_iter().filter(|shard| !neighbours.contains(&shard.id()));
            let shard = match wanted {
                Some(id) => candidates.find(|shard| shard.id() == id),
                None => {
                    let candidates: Vec<_> = candidates.collect();
                    let here = candidates.iter().position(|shard| shard.location() == location);
                    candidates.into_iter().nth(here.unwrap_or_default())
                }
            };
            let mappings = mappings.into_iter().filter(|mapping| !neighbours.contains(&mapping.shard.id())).collect();
            return Ok(Ok(LocalView { info, shard, mappings, neighbours }));
        }
        let message = format!("the local store changed while it was looked at, {LOOKS} times");
        Err(Error::new(ErrorKind::Transient, ErrorCode::StorageOperationFailure, message).at_shard(location))
    }
}

/// Other shards of the map in the same database: by another port, say.
pub(super) fn neighbours(global: &[Shard], location: &ShardLocation, shard: Option<ShardId>) -> Vec<ShardId> {
    let name = |location: &ShardLocation| (folded(location.server()), folded(location.database()));
    let same_database = |other: &&Shard| Some(other.id()) != shard && name(other.location()) == name(location);
    global.iter().filter(same_database).map(Shard::id).collect()
}

/// The shard that the global store has at a location, or else the one that is there by what its own store says.
fn global_shard(global: &[Shard], location: &ShardLocation, local: Option<&Shard>) -> Option<Shard> {
    let here = global.iter().find(|shard| shard.location() == location);
    here.or_else(|| global.iter().find(|shard| local.is_some_and(|local| local.id() == shard.id()))).cloned()
}

/// How the mappings differ.
fn of_mappings(
    map: &ShardMapInfo,
    shard: Option<ShardId>,
    global: &[MappingRecord],
    local: &[MappingRecord],
) -> Vec<MappingDifference> {
    let differing = concerning(map.kind(), shard, global, local).into_iter().filter(|piece| !piece.agrees(shard));
    let difference = |piece: Piece<'_>| MappingDifference {
        kind: map.kind(),
        key_type: map.key_type(),
        keys: piece.keys,
        global: piece.global.cloned(),
        local: piece.local.cloned(),
    };
    differing.map(difference).collect()
}

/// How the rows of the shard differ.
fn of_shard(
    differences: &mut Vec<ShardDifference>,
    (map, in_global): (&ShardMapInfo, bool),
    (global, location): (&Option<Shard>, &ShardLocation),
    view: &LocalView,
) {
    if !in_global {
        differences.push(ShardDifference::MapNotInGlobal);
    } else if let Some(info) = view.info.as_ref().filter(|info| info.name() != map.name()) {
        differences.push(ShardDifference::MapName(info.name().to_owned()));
    }
    match (global, &view.shard) {
        (None, _) if in_global => differences.push(ShardDifference::NotInGlobal),
        (None, _) => {}
        (Some(global), _) if global.location() != location => {
            differences.push(ShardDifference::Elsewhere(global.location().clone()));
        }
        (Some(_), None) => differences.push(ShardDifference::NotInLocal),
        (Some(global), Some(local)) => {
            let before = differences.len();
            if local.location() != location {
                differences.push(ShardDifference::Location(local.location().clone()));
            }
            if global.status() != local.status() {
                differences.push(ShardDifference::Status(global.status(), local.status()));
            }
            if differences.len() == before && global.version() != local.version() {
                differences.push(ShardDifference::Version);
            }
        }
    }
    let mut others: Vec<ShardId> = view
        .mappings
        .iter()
        .map(|mapping| mapping.shard.id())
        .filter(|id| view.shard.as_ref().is_none_or(|shard| shard.id() != *id))
        .collect();
    others.sort();
    others.dedup();
    differences.extend(others.into_iter().map(ShardDifference::OtherShard));
}
