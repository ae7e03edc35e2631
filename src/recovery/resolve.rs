//! Doing what is decided about differences.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::compare::concerning;
use super::settle::{Settlement, settle, without};
use super::{MappingDifference, RecoveryManager, Resolution, ShardDifference, ShardDifferences, about};
use crate::error::{Error, ErrorCode, ErrorKind, Result};
use crate::gsm::RecordFilter;
use crate::key::EncodedRange;
use crate::model::{
    MappingRecord, Shard, ShardId, ShardLocation, ShardMapInfo, ShardMapKind, ShardStatus, ShardVersion,
};
use crate::operation::mend_shard::{self, Content};
use crate::operation::{Absent, Instead, Stores};

impl<B: Stores> RecoveryManager<B> {
    /// Makes one of the stores right about everything that differs, the rows of the shard included.
    ///
    /// The stores are looked at again first: if they are not what they were when `differences` was made, nothing is changed.
    /// With [`Resolution::KeepLocal`], other shards that hold the keys give them up one after another, each in an operation of
    /// its own, before the shard gets them: a client that dies in between leaves keys unmapped, never mapped twice, and the
    /// next look shows them. Sessions of keys that a shard loses are ended. Mappings that change get new ids.
    ///
    /// Cost: a [`detect`](Self::detect) of the map, then an operation on the shard: two requests to the global store and one to
    /// the shard (two where sessions end), and the same for each other shard that gives up keys, after reading its mappings in
    /// both stores.
    ///
    /// # Errors
    /// `Stale` if the stores have changed since, or an operation on the shard was faster; `NotFound` if the global store does
    /// not have the shard at that place, or with `KeepLocal` its own store does not know it; `Overlaps` or `AlreadyExists` if
    /// the keys were mapped to another shard at that moment; `Unavailable` also for a shard that has to give up keys.
    pub async fn resolve(&self, differences: &ShardDifferences, resolution: Resolution) -> Result<()> {
        let choices = vec![resolution; differences.of_mappings().len()];
        self.resolve_with(differences, &choices, resolution).await
    }

    /// As [`resolve`](Self::resolve), with a choice for each difference of the mappings. The row of the shard is made what the
    /// global store says, unless every mapping is left.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub async fn resolve_each(
        &self,
        differences: &ShardDifferences,
        mut choose: impl FnMut(&MappingDifference) -> Resolution,
    ) -> Result<()> {
        let choices: Vec<Resolution> = differences.of_mappings().iter().map(&mut choose).collect();
        let leaves_all = !choices.is_empty() && choices.iter().all(|choice| *choice == Resolution::Leave);
        let row = if leaves_all { Resolution::Leave } else { Resolution::KeepGlobal };
        self.resolve_with(differences, &choices, row).await
    }

    async fn resolve_with(&self, seen: &ShardDifferences, choices: &[Resolution], row: Resolution) -> Result<()> {
        self.resolve_chosen(seen, choices, row).await.map_err(|error| {
            about(error, "ResolveMappingDifferences").with_map(seen.map.shared_name(), seen.map.key_type())
        })
    }

    /// `choices` are about the differences of the mappings, in their order, and `row` is about the shard's row.
    async fn resolve_chosen(&self, seen: &ShardDifferences, choices: &[Resolution], row: Resolution) -> Result<()> {
        let (map, location) = (&seen.map, &seen.location);
        if seen.is_empty() || choices.iter().chain([&row]).all(|choice| *choice == Resolution::Leave) {
            return Ok(());
        }
        let stale = || {
            let message = "the stores have changed since the differences were read; look again";
            Error::new(ErrorKind::Stale, ErrorCode::ShardVersionMismatch, message).at_shard(location)
        };
        self.settle_operations(map, location).await?;
        let in_global = !seen.shard.contains(&ShardDifference::MapNotInGlobal);
        let now = self.look(map, location, in_global).await?;
        self.carry_out(now.filter(|now| now.same(seen)).ok_or_else(stale)?, choices, row).await
    }

    /// Does what was decided about what has just been looked at.
    async fn carry_out(&self, now: ShardDifferences, choices: &[Resolution], row: Resolution) -> Result<()> {
        if now.is_empty() {
            return Ok(());
        }
        let (map, location) = (&now.map, &now.location);
        let shard = now.global.clone().filter(|shard| shard.location() == location);
        let shard = shard.ok_or_else(|| not_registered(location))?;
        let keeps_local = choices.contains(&Resolution::KeepLocal) || row == Resolution::KeepLocal;
        if keeps_local && now.local.as_ref().is_none_or(|local| local.id() != shard.id()) {
            let message = "the local store does not know the shard, so there is nothing to keep";
            return Err(Error::new(ErrorKind::NotFound, ErrorCode::ShardNotValid, message).at_shard(location));
        }
        let after = Arc::new(shard.clone());
        let all = concerning(map.kind(), Some(shard.id()), &now.global_mappings, &now.local_mappings);
        // The differences are the pieces that do not agree, in this order.
        let mut chosen = choices.iter();
        let settlement = settle(map.kind(), &after, &now.global_mappings, &all, |_| {
            chosen.next().copied().unwrap_or(Resolution::Leave)
        });
        for (other, keys) in &settlement.given_up {
            self.give_up(map, *other, keys).await?;
        }
        let expected =
            now.local.as_ref().filter(|_| keeps_local || choices.contains(&Resolution::Leave)).map(Shard::version);
        // The place is where we are; of the rest of a row only the mark can differ.
        let status = match (&now.local, row) {
            (Some(local), Resolution::KeepLocal) => local.status(),
            _ => shard.status(),
        };
        self.mend(map, (&shard, status), settlement, now.neighbours, expected).await
    }

    async fn mend(
        &self,
        map: &ShardMapInfo,
        (shard, status): (&Shard, ShardStatus),
        settlement: Settlement,
        neighbours: Vec<ShardId>,
        expected: Option<ShardVersion>,
    ) -> Result<()> {
        let Settlement { removed, added, local, lost, .. } = settlement;
        let content = Content { mappings: local, neighbours, expected, lost };
        let request = mend_shard::request(
            "ResolveMappingDifferences",
            map,
            shard,
            (shard.location(), status),
            (removed, added),
            Some(content),
        );
        self.run(&request).await
    }

    /// Takes keys away from a shard, in both stores.
    async fn give_up(&self, map: &ShardMapInfo, id: ShardId, keys: &[EncodedRange]) -> Result<()> {
        let shards = self.stores().shards(map.id()).await?;
        let Some(shard) = shards.iter().find(|shard| shard.id() == id) else { return Ok(()) };
        self.settle_operations(map, shard.location()).await?;
        let filter = RecordFilter { range: None, shard: Some(id) };
        let global = self.stores().mappings(map, &filter).await?;
        let view = self.local_view(map, shard.location(), &shards).await?.map_err(|difference| {
            let message = format!("this shard has to give up keys, and {difference}: rebuild it first");
            Error::new(ErrorKind::StoreDamaged, ErrorCode::ShardNotValid, message).at_shard(shard.location())
        })?;
        let (left, taken) = without(map.kind(), &global, keys);
        let (mut local, lost) = without(map.kind(), &view.mappings, keys);
        let removed: Vec<_> = taken.iter().map(|(id, _)| *id).collect();
        let unchanged: HashSet<_> = global.iter().map(|mapping| mapping.id).collect();
        let added: Vec<_> = left.into_iter().filter(|mapping| !unchanged.contains(&mapping.id)).collect();
        // A part that both stores keep has one id: also where its own store has it already, because this was begun before.
        let state = |mapping: &MappingRecord| (mapping.low.clone(), mapping.high.clone(), mapping.status as i32);
        let parts: HashMap<_, _> = added.iter().map(|part| (state(part), part.id)).collect();
        for mapping in &mut local {
            mapping.id = parts.get(&state(mapping)).copied().unwrap_or(mapping.id);
        }
        let settlement = Settlement { removed, added, local, lost, ..Settlement::default() };
        let expected = view.shard.as_ref().map(Shard::version);
        self.mend(map, (shard, shard.status()), settlement, view.neighbours, expected).await
    }

    /// Makes the store of the database at a location hold what the global store says, for every shard map that has a shard
    /// there: one that is missing, half installed, damaged or of another state is then as it has to be, but for rows of maps
    /// that have no shard there. One map after another. Gives the maps.
    ///
    /// Unfinished operations on the shard are undone first, without asking it, once what was sent to it has ended.
    ///
    /// Cost: for each map a [`detect`](Self::detect) and an operation on the shard; on SQL Server also an installation, where
    /// something of the store is missing.
    ///
    /// # Errors
    /// `NotFound` if no map has a shard there; `Unavailable` if the database cannot be reached; `TimedOut` if the client of an
    /// unfinished operation is alive; `VersionMismatch` if its store has to be upgraded first, or is newer; `StoreDamaged` where tables of that name have other columns.
    pub async fn rebuild_shard(&self, location: &ShardLocation) -> Result<Vec<ShardMapInfo>> {
        self.rebuild(location).await.map_err(|error| about(error, "RebuildMappingsOnShard"))
    }

    async fn rebuild(&self, location: &ShardLocation) -> Result<Vec<ShardMapInfo>> {
        location.check()?;
        let mut rebuilt = Vec::new();
        for map in self.stores().shard_maps().await? {
            let anew = Absent { place: Some(location), shard: None, instead: Instead::Wait };
            for entry in self.unfinished(&map, |shard| anew.is(shard)).await? {
                let _ = self.coordinator().undo_around(&entry, anew).await?;
            }
            let shards = self.stores().shards(map.id()).await?;
            let Some(shard) = shards.iter().find(|shard| shard.location() == location) else { continue };
            match self.look(&map, location, true).await? {
                Some(found) if found.local.is_some() => {
                    let choices = vec![Resolution::KeepGlobal; found.mappings.len()];
                    self.carry_out(found, &choices, Resolution::KeepGlobal).await?;
                }
                _ => self.rewrite(&map, shard, &shards).await?,
            }
            rebuilt.push(map);
        }
        if rebuilt.is_empty() {
            let message = "no shard map has a shard at this place";
            return Err(Error::new(ErrorKind::NotFound, ErrorCode::ShardDoesNotExist, message).at_shard(location));
        }
        Ok(rebuilt)
    }

    /// Writes a store anew that cannot be read, or does not know the shard.
    async fn rewrite(&self, map: &ShardMapInfo, shard: &Shard, shards: &[Shard]) -> Result<()> {
        let filter = RecordFilter { range: None, shard: Some(shard.id()) };
        let local = self.stores().mappings(map, &filter).await?;
        let neighbours = super::detect::neighbours(shards, shard.location(), Some(shard.id()));
        let settlement = Settlement { local, ..Settlement::default() };
        self.mend(map, (shard, shard.status()), settlement, neighbours, None).await
    }

    /// Makes the global store hold what the stores of these shards say of a shard map: after it was restored to an older state,
    /// or made anew. One shard after another, in the given order, each as [`resolve`](Self::resolve) with
    /// [`Resolution::KeepLocal`]. Shards of the map that are not named stay as they are, but for keys that these claim.
    ///
    /// Cost: a [`detect`](Self::detect) of the map at each shard, twice, and an operation on each that differs.
    ///
    /// # Errors
    /// `Overlaps` if two of the shards claim the same keys: nothing is changed then; [resolve](Self::resolve) one of them
    /// first. `NotFound` if the map or one of the shards is not in the global store: [attach](Self::attach) it first, nothing
    /// is changed then either; else as [`resolve`](Self::resolve).
    pub async fn rebuild_shard_map(&self, name: &str, locations: &[ShardLocation]) -> Result<()> {
        self.rebuild_map(name, locations)
            .await
            .map_err(|error| about(error, "RebuildMappingsOnShardMapManagerFromShards"))
    }

    async fn rebuild_map(&self, name: &str, locations: &[ShardLocation]) -> Result<()> {
        let map = self.map(name).await?;
        // What an operation has done in all shards that it concerns is what they say.
        for entry in self.unfinished(&map, |shard| locations.contains(shard.location())).await? {
            self.coordinator().undo_unless_done(&entry).await?;
        }
        let mut claims: Vec<(MappingRecord, &ShardLocation)> = Vec::new();
        for location in locations {
            let found = self.look(&map, location, true).await?.filter(|found| found.local.is_some());
            let found = found.ok_or_else(|| {
                let message = "the local store does not know the shard";
                Error::new(ErrorKind::NotFound, ErrorCode::ShardNotValid, message).at_shard(location)
            })?;
            if found.global.as_ref().is_none_or(|shard| shard.location() != location) {
                return Err(not_registered(location));
            }
            let own = found.global.as_ref().map(Shard::id);
            let claimed = found.local_mappings.into_iter().filter(|mapping| Some(mapping.shard.id()) == own);
            claims.extend(claimed.map(|mapping| (mapping, location)));
        }
        claims.sort_by(|(a, _), (b, _)| a.low.cmp(&b.low));
        let mut reach: Option<&(MappingRecord, &ShardLocation)> = None;
        for claim in &claims {
            if let Some(before) = reach
                && before.1 != claim.1
                && overlap(map.kind(), &before.0, &claim.0)
            {
                let message = format!("the shards {} and {} both claim the same keys", before.1, claim.1);
                return Err(Error::new(ErrorKind::Overlaps, ErrorCode::MappingRangeAlreadyMapped, message));
            }
            let further = |before: &&(MappingRecord, &ShardLocation)| match (&before.0.high, &claim.0.high) {
                (None, _) if map.kind() == ShardMapKind::Range => false,
                (Some(before), Some(now)) => now > before,
                _ => true,
            };
            if reach.as_ref().is_none_or(further) {
                reach = Some(claim);
            }
        }
        for location in locations {
            if let Some(found) = self.look(&map, location, true).await? {
                let choices = vec![Resolution::KeepLocal; found.mappings.len()];
                self.carry_out(found, &choices, Resolution::KeepLocal).await?;
            }
        }
        Ok(())
    }
}

fn not_registered(location: &ShardLocation) -> Error {
    let message = "the global store does not have the shard at this place: attach or relocate it first";
    Error::new(ErrorKind::NotFound, ErrorCode::ShardDoesNotExist, message).at_shard(location)
}

fn overlap(kind: ShardMapKind, a: &MappingRecord, b: &MappingRecord) -> bool {
    match kind {
        ShardMapKind::List => a.low == b.low,
        ShardMapKind::Range => a.range().intersects(&b.range()),
    }
}
