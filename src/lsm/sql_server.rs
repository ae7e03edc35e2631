//! The local store of a shard on SQL Server: its rows, its mappings, opening connections that it vouches for, and ending them.
//!
//! Each request is a call of one procedure of `sql/sql_server/lsm/procedures.sql`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    LocalContent, LocalMappingChange, LocalSession, LocalShardChange, LocalStep, LocalStore, Route, RouteTarget,
    SessionEnding, ShardAction, Validation,
};
use crate::backend::sql_server::{
    Call, Database, Doing, LockedSession, Reply, SqlCredentials, SqlServer, SqlServerConnection, Stamp, StoreKind,
    is_stamped, user_suffix,
};
use crate::backend::stored::{
    StoredRow, document, guid, mapping_end, mapping_status, opaque_key, shard, shard_map, small_number,
};
use crate::error::{Error, ErrorCode, ErrorKind, Refusal, Result};
use crate::model::{
    LockToken, MappingRecord, OperationId, SessionPolicy, SessionsEnded, Shard, ShardId, ShardLocation, ShardMapId,
    ShardMapInfo, StoreRights, StoreUpgrade, StoreVersion,
};

/// Between two looks at the sessions: from, to.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));

/// How long requests that were running when a mapping went offline are waited for, where the server does not show their stamps
/// before they end. Validations take milliseconds.
const IN_FLIGHT: Duration = Duration::from_secs(5);

impl SqlServer {
    async fn read_local<'c>(&self, location: &ShardLocation, call: impl Fn() -> Call<'c>) -> Result<Reply> {
        let reply = self.request(&Database::shard(location), Doing::Reading, call).await?;
        reply.accepted().map_err(|error| error.at_shard(location))
    }
}

impl LocalStore for SqlServer {
    type Session = SqlServerLocalSession;

    async fn local_version(&self, location: &ShardLocation) -> Result<Option<StoreVersion>> {
        self.version(&Database::shard(location), StoreKind::Local).await
    }

    async fn local_rights(&self, location: &ShardLocation) -> Result<StoreRights> {
        self.rights(&Database::shard(location), StoreKind::Local).await
    }

    async fn upgrade_local(&self, location: &ShardLocation) -> Result<StoreUpgrade> {
        self.upgrade(&Database::shard(location), StoreKind::Local).await
    }

    async fn local_shards(&self, location: &ShardLocation) -> Result<Vec<(ShardMapInfo, Shard)>> {
        let reply = self.read_local(location, || Call::local("ListLocalShards")).await?;
        local_shards(&reply).map_err(|error| error.at_shard(location))
    }

    async fn local_mappings(&self, location: &ShardLocation, map: ShardMapId) -> Result<Vec<MappingRecord>> {
        let call = || Call::local("ListLocalMappings").with("@map", *map.as_uuid());
        let reply = self.read_local(location, call).await?;
        local_mappings(&reply, map).map_err(|error| error.at_shard(location))
    }

    async fn lock_operation_at(&self, location: &ShardLocation, id: OperationId) -> Result<SqlServerLocalSession> {
        let session = self.lock(Database::shard(location), StoreKind::Local, id).await?;
        Ok(SqlServerLocalSession { session })
    }

    async fn open_routed(
        &self,
        route: &Route,
        credentials: &SqlCredentials,
        validation: Validation,
    ) -> Result<SqlServerConnection> {
        let database = Database::routed(&route.location, credentials, route.map);
        let stamp = match &route.target {
            RouteTarget::Mapping { mapping, key, .. } => Stamp::new(route.map, *mapping, key),
            RouteTarget::Shard { .. } => Stamp::none(),
        };
        let validate = (validation == Validation::Validate).then_some(|| match &route.target {
            RouteTarget::Mapping { mapping, .. } => Call::local("ValidateMapping")
                .with("@map", *route.map.as_uuid())
                .with("@mapping", *mapping.as_uuid())
                .with("@stamp", stamp.as_bytes()),
            RouteTarget::Shard { shard, version } => Call::local("ValidateShard")
                .with("@map", *route.map.as_uuid())
                .with("@shard", *shard.as_uuid())
                .with("@version", *version.as_uuid()),
        });
        self.routed(&database, &route.location, &stamp, validate).await
    }
}

fn local_shards(reply: &Reply) -> Result<Vec<(ShardMapInfo, Shard)>> {
    reply.rows(0).iter().map(|row| Ok((shard_map(row)?, shard(row, 4)?))).collect()
}

fn local_mappings(reply: &Reply, map: ShardMapId) -> Result<Vec<MappingRecord>> {
    let shards = local_shards(reply)?;
    let Some((info, _)) = shards.first().cloned() else { return Err(Refusal::ShardMapDoesNotExist.into()) };
    let shards: HashMap<ShardId, Arc<Shard>> =
        shards.into_iter().map(|(_, shard)| (shard.id(), Arc::new(shard))).collect();
    let read = |row| {
        let shard = shards.get(&guid(row, 1)?).ok_or_else(|| {
            Error::damaged("column ShardId of ShardMappingsLocal names a shard that ShardsLocal does not hold")
        })?;
        let low = opaque_key(row, 2, info.key_type())?;
        Ok(MappingRecord {
            id: guid(row, 0)?,
            map,
            shard: Arc::clone(shard),
            high: mapping_end(row, 3, (info.kind(), info.key_type()), &low)?,
            low,
            status: mapping_status(row, 4)?,
            lock_owner: LockToken::NONE,
        })
    };
    reply.rows(1).iter().map(read).collect()
}

/// Works on a shard's store under the lock of an operation.
#[derive(Debug)]
pub struct SqlServerLocalSession {
    session: LockedSession,
}

impl SqlServerLocalSession {
    async fn write<'c>(&mut self, call: impl Fn() -> Call<'c>) -> Result<()> {
        let reply = self.session.request(Doing::Writing, call).await?;
        reply.accepted().map(drop).map_err(|error| self.session.blame(error))
    }

    /// The sessions of a map, and those that may be about to become one.
    async fn sessions(&mut self, ending: &SessionEnding) -> Result<Vec<Session>> {
        let prefix = Stamp::prefix(ending.map);
        let ends_reference = self.session.ends_reference_sessions();
        let program = if ends_reference { user_suffix(ending.map) } else { String::new() };
        let call = || Call::local("ListSessions").with("@prefix", prefix.as_slice()).with("@program", program.as_str());
        let reply = self.session.request(Doing::Reading, call).await?.accepted();
        let reply = reply.map_err(|error| self.session.blame(error))?;
        let mut sessions = HashMap::new();
        // Where there are two results the first is of requests that are running, and what they have stamped is newer.
        for result in (0..2).rev() {
            for row in reply.rows(result) {
                let stamp = row.bytes(2)?.unwrap_or_default();
                let session = Session {
                    id: (small_number(row, 0)?, document(row, 1)?),
                    stamp: stamp.to_vec(),
                    concern: match small_number(row, 3)? {
                        0 if ending.keys().any(|keys| is_stamped(stamp, ending.map, ending.kind, keys)) => {
                            Concern::Ends
                        }
                        0 => Concern::None,
                        1 if ends_reference => Concern::Ends,
                        _ => Concern::Unclear,
                    },
                    request: document(row, 4)?,
                };
                drop(sessions.insert(session.id.clone(), session));
            }
        }
        Ok(sessions.into_values().collect())
    }

    /// Ends sessions. Says which of them it ended, and with which error the server refused to end one, if it did.
    async fn kill(&mut self, sessions: &[Session]) -> Result<(Vec<i32>, i32)> {
        let text = |session: &Session| {
            let stamp: String = session.stamp.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({ "id": session.id.0, "login": session.id.1, "stamp": format!("0x{stamp}") })
        };
        let list = Value::Array(sessions.iter().map(text).collect()).to_string();
        let call = || Call::local("KillSessions").with("@sessions", list.as_str());
        // Killing again does no harm, so a broken connection leaves nothing in doubt.
        let reply = match self.session.request(Doing::Reading, call).await {
            // A session that has just ended by itself lets the whole call fail on Babelfish. The next look tells who is left.
            Err(error) if error.kind() == crate::ErrorKind::StoreDamaged => return Ok((Vec::new(), 0)),
            reply => reply?.accepted().map_err(|error| self.session.blame(error))?,
        };
        let Some(row) = reply.rows(0).first() else { return Ok((Vec::new(), 0)) };
        let answer = document(row, 0).and_then(|killed| Ok((killed, small_number(row, 1)?)));
        let (killed, refused) = answer.map_err(|error| self.session.blame(error))?;
        Ok((killed.split_whitespace().filter_map(|id| id.parse().ok()).collect(), refused))
    }
}

/// A session's number and the time of its login: numbers are used again.
type SessionId = (i32, String);

/// A session as the server shows it.
struct Session {
    id: SessionId,
    stamp: Vec<u8>,
    concern: Concern,
    /// When its last request began.
    request: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Concern {
    /// It was routed by the mapping.
    Ends,
    /// It was routed by another one.
    None,
    /// It is at work, and what its request will have stamped shows only when that has ended.
    Unclear,
}

impl LocalSession for SqlServerLocalSession {
    async fn change_shard(&mut self, change: &LocalShardChange) -> Result<()> {
        let shard = &change.shard;
        if change.undoing {
            if !self.session.has_store().await? {
                return Ok(());
            }
        } else if change.action == ShardAction::Add && !self.session.has_store().await? {
            self.session.install().await?;
        }
        let placed = |call: Call<'static>| placed(call, shard);
        let map = *change.map.id().as_uuid();
        let known = change.known.map(|known| known.map(|version| *version.as_uuid()));
        let guarded = |call: Call<'static>| {
            call.with("@before", known.map(|[before, _]| before)).with("@after", known.map(|[_, after]| after))
        };
        let operation = *change.operation.as_uuid();
        let call = || match change.action {
            ShardAction::Add => placed(
                Call::local("AddLocalShard")
                    .with("@operation", operation)
                    .with("@undoing", change.undoing)
                    .with("@map", map)
                    .with("@name", change.map.name().to_owned())
                    .with("@kind", change.map.kind() as i32)
                    .with("@keyType", change.map.key_type() as i32),
            ),
            ShardAction::Remove => {
                guarded(Call::local("RemoveLocalShard").with("@map", map).with("@shard", *shard.id().as_uuid()))
            }
            ShardAction::Update => {
                guarded(placed(Call::local("UpdateLocalShard").with("@operation", operation).with("@map", map)))
            }
        };
        let reply = self.session.request(Doing::Writing, call).await?;
        let refused = match (Refusal::from_code(reply.code), change.undoing) {
            (Some(Refusal::ShardDoesNotExist), true) => return Ok(()),
            (Some(Refusal::ShardLocationExists), _) => Refusal::ShardLocationExists
                .into_error()
                .with_message("the database still holds the rows of an earlier shard of this map at this location"),
            _ => match reply.accepted() {
                Ok(_) => return Ok(()),
                Err(error) => error,
            },
        };
        Err(self.session.blame(refused))
    }

    async fn change_mappings(&mut self, change: &LocalMappingChange) -> Result<()> {
        let adding = change.steps.iter().all(|step| matches!(step, LocalStep::Add(_)));
        let steps = steps_as_json(&change.steps);
        let call = || {
            Call::local("ChangeLocalMappings")
                .with("@operation", *change.operation.as_uuid())
                .with("@undoing", change.undoing)
                .with("@map", *change.map.as_uuid())
                .with("@shard", *change.shard.id().as_uuid())
                .with("@version", *change.shard.version().as_uuid())
                .with("@before", change.known.map(|[before, _]| *before.as_uuid()))
                .with("@after", change.known.map(|[_, after]| *after.as_uuid()))
                .with("@adding", adding)
                .with("@steps", steps.as_str())
        };
        self.write(call).await.map_err(|error| {
            if error.code() != crate::ErrorCode::ShardDoesNotExist {
                return error;
            }
            error.with_message("the local store does not know the shard: it is not that of the global store any more")
        })
    }

    async fn replace(&mut self, content: &LocalContent) -> Result<()> {
        let text = |mapping: &MappingRecord| {
            json!({
                "id": mapping.id.to_string(), "status": mapping.status as i32,
                "min": mapping.low.to_string(), "max": mapping.high.as_ref().map(ToString::to_string),
            })
        };
        let mappings = Value::Array(content.mappings.iter().map(text).collect()).to_string();
        let neighbours = content.neighbours.iter().map(|shard| Value::String(shard.to_string())).collect();
        let neighbours = Value::Array(neighbours).to_string();
        let call = || {
            let call = Call::local("ReplaceLocalShard")
                .with("@operation", *content.operation.as_uuid())
                .with("@map", *content.map.id().as_uuid())
                .with("@name", content.map.name())
                .with("@kind", content.map.kind() as i32)
                .with("@keyType", content.map.key_type() as i32)
                .with("@expected", content.expected.map(|version| *version.as_uuid()))
                .with("@neighbours", neighbours.as_str())
                .with("@mappings", mappings.as_str());
            placed(call, &content.shard)
        };
        match self.write(call).await {
            // Only then: an installation waits for others and writes every procedure anew, under requests that use them.
            Err(error) if is_incomplete(&error) => {
                self.session.install().await?;
                self.write(call).await
            }
            replaced => replaced,
        }
    }

    async fn end_sessions(&mut self, ending: &SessionEnding) -> Result<SessionsEnded> {
        let begun = Instant::now();
        let patience = match ending.policy {
            SessionPolicy::Leave => return Ok(SessionsEnded::default()),
            SessionPolicy::EndNow => Duration::ZERO,
            SessionPolicy::Drain(patience) => patience,
        };
        let mut ended: HashSet<SessionId> = HashSet::new();
        // What was running at the first look, with the request that it ran.
        let mut in_flight: Option<HashMap<SessionId, String>> = None;
        let mut pause = PAUSES.0;
        let mut killing_since = None;
        loop {
            let sessions = self.sessions(ending).await?;
            let unclear: HashMap<_, _> = sessions
                .iter()
                .filter(|session| session.concern == Concern::Unclear)
                .map(|session| (session.id.clone(), session.request.clone()))
                .collect();
            let waited_for = in_flight.get_or_insert_with(|| unclear.clone());
            waited_for.retain(|id, request| unclear.get(id) == Some(request));
            if begun.elapsed() >= IN_FLIGHT {
                waited_for.clear();
            }
            let open: Vec<_> = sessions.into_iter().filter(|session| session.concern == Concern::Ends).collect();
            if open.is_empty() && waited_for.is_empty() {
                return Ok(SessionsEnded::new(ended.len()));
            }
            if !open.is_empty() && begun.elapsed() >= patience {
                let since = *killing_since.get_or_insert_with(Instant::now);
                let (killed, refused) = self.kill(&open).await?;
                ended.extend(open.into_iter().map(|session| session.id).filter(|(id, _)| killed.contains(id)));
                if since.elapsed() > self.session.limit() {
                    let message = format!("sessions of the mapping are still open; the server said {refused}");
                    return Err(self.session.blame(Refusal::UnableToKillSessions.into_error().with_message(message)));
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }
}

/// True if a request failed because there is no store, or only half of one.
fn is_incomplete(error: &Error) -> bool {
    error.kind() == ErrorKind::StoreDamaged || error.code() == ErrorCode::ShardMapDoesNotExist
}

/// Adds what a shard's row holds to a call.
fn placed<'c>(call: Call<'c>, shard: &Shard) -> Call<'c> {
    let location = shard.location();
    call.with("@shard", *shard.id().as_uuid())
        .with("@version", *shard.version().as_uuid())
        .with("@protocol", location.protocol() as i32)
        .with("@server", location.server().to_owned())
        .with("@port", i32::from(location.port().unwrap_or_default()))
        .with("@database", location.database().to_owned())
        .with("@status", shard.status() as i32)
}

/// The steps as the procedure takes them. Public for the fuzz target only.
#[must_use]
pub fn steps_as_json(steps: &[LocalStep]) -> String {
    let text = |step: &LocalStep| match step {
        LocalStep::Remove(mapping) => json!({ "kind": 1, "id": mapping.to_string() }),
        LocalStep::Add(mapping) => json!({
            "kind": 3, "id": mapping.id.to_string(), "status": mapping.status as i32,
            "min": mapping.low.to_string(), "max": mapping.high.as_ref().map(ToString::to_string),
        }),
    };
    Value::Array(steps.iter().map(text).collect()).to_string()
}
