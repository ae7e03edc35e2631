//! Looking at many shards, with one list of the shards of each map for all of them.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use super::detect::LocalRows;
use super::{RecoveryManager, ShardDifferences, about};
use crate::backend::Backend;
use crate::error::{ErrorKind, Result};
use crate::model::{Shard, ShardLocation, ShardMapInfo, folded};
use crate::operation::Stores;

/// Looks for differences at many shards, as [`RecoveryManager::detect`] does at one, at a cost for each that does not grow with
/// the number of shards. From [`RecoveryManager::detector`]. Cloning costs a reference count.
///
/// It has read the lists of shards once, and believes them only where a shard agrees, and is in the global store as the list says:
/// that it had its version all the time is what tells that nothing has changed. Everywhere else it looks again, by
/// [`RecoveryManager::detect`]. So it finds what that finds, however old it is; the older, the more often it looks again.
pub struct Detector<B: Backend> {
    recovery: RecoveryManager<B>,
    maps: Arc<[Listed]>,
}

/// The shards of a map.
struct Listed {
    map: ShardMapInfo,
    shards: HashMap<ShardLocation, Shard>,
    /// Databases that are several shards of the map, by another port, say.
    crowded: HashSet<Name>,
}

/// Server and database.
type Name = (String, String);

fn name(location: &ShardLocation) -> Name {
    (folded(location.server()), folded(location.database()))
}

impl Listed {
    fn new(map: ShardMapInfo, shards: Vec<Shard>) -> Self {
        let mut names = HashSet::new();
        let crowded =
            shards.iter().map(|shard| name(shard.location())).filter(|it| !names.insert(it.clone())).collect();
        let shards = shards.into_iter().map(|shard| (shard.location().clone(), shard)).collect();
        Self { map, shards, crowded }
    }
}

impl<B: Stores> RecoveryManager<B> {
    /// Gets ready to look for differences at many shards. One read of the global store, and one more for each map.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn detector(&self) -> Result<Detector<B>> {
        let about = |error| about(error, "DetectMappingDifferences");
        let mut maps = Vec::new();
        for map in self.stores().shard_maps().await.map_err(about)? {
            match self.stores().shards(map.id()).await {
                Ok(shards) => maps.push(Listed::new(map, shards)),
                // Deleted since it was listed.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(about(error)),
            }
        }
        maps.sort_by_cached_key(|listed| folded(listed.map.name()));
        Ok(Detector { recovery: self.clone(), maps: maps.into() })
    }
}

impl<B: Stores> Detector<B> {
    /// As [`RecoveryManager::detect`].
    ///
    /// Cost, where the shard agrees: two reads of it, and for each map that is there three small ones of the global store and five
    /// of the shard. Elsewhere that of [`RecoveryManager::detect`] beside it.
    ///
    /// # Errors
    /// As [`RecoveryManager::detect`].
    pub async fn detect(&self, location: &ShardLocation) -> Result<Vec<ShardDifferences>> {
        match self.agreements(location).await {
            Ok(Some(found)) => Ok(found),
            Ok(None) => self.recovery.detect(location).await,
            // A map was deleted since the lists were read.
            Err(error) if error.kind() == ErrorKind::NotFound => self.recovery.detect(location).await,
            Err(error) => Err(about(error, "DetectMappingDifferences")),
        }
    }

    /// What there is at a place, if all of it agrees with the lists.
    async fn agreements(&self, location: &ShardLocation) -> Result<Option<Vec<ShardDifferences>>> {
        location.check()?;
        let LocalRows::Shards(rows) = self.recovery.local_rows(location).await? else { return Ok(None) };
        let here = |map: &ShardMapInfo| rows.iter().any(|(info, _)| info.id() == map.id());
        if !rows.iter().all(|(info, _)| self.maps.iter().any(|listed| listed.map.id() == info.id())) {
            return Ok(None);
        }
        let mut found = Vec::new();
        for Listed { map, shards, crowded } in &*self.maps {
            match shards.get(location) {
                Some(shard) if !crowded.contains(&name(location)) => match self.recovery.agreement(map, shard).await? {
                    Some(agreement) => found.push(agreement),
                    None => return Ok(None),
                },
                None if !here(map) => {}
                _ => return Ok(None),
            }
        }
        Ok(Some(found).filter(|found| !found.is_empty()))
    }
}

impl<B: Backend> Clone for Detector<B> {
    fn clone(&self) -> Self {
        Self { recovery: self.recovery.clone(), maps: Arc::clone(&self.maps) }
    }
}

impl<B: Backend> fmt::Debug for Detector<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shards: usize = self.maps.iter().map(|listed| listed.shards.len()).sum();
        write!(f, "Detector({} shard maps, {shards} shards)", self.maps.len())
    }
}
