//! `shardlet route`: where a key is routed to, as an application would.

use clap::Args;
use serde::Serialize;
use shardlet::ErrorKind;
use shardlet::operation::Stores;

use crate::failure::{Failure, Result};
use crate::keys;
use crate::location;
use crate::map::AnyMap;
use crate::session::Session;

#[derive(Args)]
pub(crate) struct Route {
    /// The shard map
    map: String,
    /// The keys; what begins with - and is no number, such as a negative time span, comes after --
    // With `allow_hyphen_values` options behind the first key would be taken for keys.
    #[arg(required = true, allow_negative_numbers = true)]
    keys: Vec<String>,
}

#[derive(Serialize)]
struct RouteRow {
    key: String,
    shard: Option<String>,
    /// The mapping as people write it.
    mapping: Option<String>,
    /// Where the mapping was found: in the cache, which earlier keys of the same command filled, or in the global store.
    source: Option<&'static str>,
    /// Whether the shard agrees, which is asked as for an application's connection.
    valid: bool,
    /// Why it is not: a word as in errors.
    fault: Option<String>,
    message: Option<String>,
}

impl Route {
    pub(crate) async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        let map = session.map(&self.map).await?;
        let mut rows = Vec::with_capacity(self.keys.len());
        for text in &self.keys {
            rows.push(route(session, &*map, text).await?);
        }
        session.output.list(&rows)?;
        if rows.iter().all(|row| row.valid) { Ok(()) } else { Err(Failure::Unhealthy) }
    }
}

async fn route<B: Stores>(session: &Session<B>, map: &dyn AnyMap<B>, text: &str) -> Result<RouteRow> {
    let key = keys::key(map.info(), text)?;
    let mut row = RouteRow {
        key: keys::show(map.info(), &key),
        shard: None,
        mapping: None,
        source: None,
        valid: false,
        fault: None,
        message: None,
    };
    let (source, found) = match map.cached(&key) {
        Some(found) => ("cache", Ok(found)),
        None => ("global store", map.lookup(&key).await),
    };
    let failed = match found {
        Ok(mapping) => {
            row.source = Some(source);
            row.shard = Some(location::show(mapping.shard.location()));
            row.mapping = Some(keys::show_keys(map.info(), &mapping));
            map.try_open(&key, &session.credentials).await.err()
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Some(error),
        Err(error) => return Err(error.into()),
    };
    row.valid = failed.is_none();
    if let Some(error) = failed {
        let failure = Failure::from(error);
        row.fault = Some(failure.kind());
        row.message = failure.message();
    }
    Ok(row)
}
