//! Pools of connections to SQL Server: one for each database, purpose and set of credentials. Connections to the global
//! store do not count in the overall bound, so that shards cannot starve it.

use std::sync::Arc;
use std::time::Duration;

use super::call::{Call, Reply};
use super::connect::{Client, Opener};
use super::credentials::SqlCredentials;
use super::fault::Doing;
use super::install;
use super::link::{Connector, Lingering, Pooled};
use super::options::SqlServerOptions;
use super::target::Target;
use super::turns::Turns;
use crate::backend::pools::{PoolLimits, PoolName, Pools};
use crate::error::{ErrorKind, Result};
use crate::model::{ShardLocation, ShardMapId};

/// A request that changes something goes out on a connection that has been idle for longer than this only after a probe:
/// were the connection dead, nobody would know whether the change was made.
const PROBE_AFTER: Duration = Duration::from_secs(5);

/// What the reference library puts at the end of the application's name, by purpose. Its clients find sessions by it.
const GLOBAL_SUFFIX: &str = "ESC_SMMv2.0.0_GSM";
const LOCAL_SUFFIX: &str = "ESC_SMMv2.0.0_LSM";
const USER_SUFFIX: &str = "ESC_SMMv2.0.0_User";

/// Names a pool: connections to one database that may stand for each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Database {
    pub(crate) target: Target,
    login: Login,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Login {
    /// Of the backend, for work on the stores.
    Backend,
    /// Of an application, routed by a map.
    Application(SqlCredentials, ShardMapId),
}

impl Database {
    /// The global store's.
    pub(crate) fn global() -> Self {
        Self { target: Target::Global, login: Login::Backend }
    }

    /// A shard's, for work on its store.
    pub(crate) fn shard(location: &ShardLocation) -> Self {
        Self { target: Target::Shard(location.clone()), login: Login::Backend }
    }

    /// A shard's, for an application.
    pub(crate) fn routed(location: &ShardLocation, credentials: &SqlCredentials, map: ShardMapId) -> Self {
        Self { target: Target::Shard(location.clone()), login: Login::Application(credentials.clone(), map) }
    }

    /// The same place, for work on its store.
    pub(super) fn of_backend(&self) -> Self {
        Self { target: self.target.clone(), login: Login::Backend }
    }

    fn suffix(&self) -> String {
        match (&self.login, &self.target) {
            (Login::Application(_, map), _) => user_suffix(*map),
            (Login::Backend, Target::Global) => GLOBAL_SUFFIX.to_owned(),
            (Login::Backend, Target::Shard(_)) => LOCAL_SUFFIX.to_owned(),
        }
    }
}

/// The end of the program names of all sessions that a map has routed, the reference library's as well.
pub(crate) fn user_suffix(map: ShardMapId) -> String {
    format!("{USER_SUFFIX}{map}")
}

impl PoolName for Database {
    fn counts(&self) -> bool {
        self.target != Target::Global
    }
}

/// What all databases of a backend share.
pub(super) struct Shared {
    pub(super) options: SqlServerOptions,
    pub(super) pools: Pools<Database, Connector>,
    pub(super) lingering: Lingering,
    /// Of those who wait for locks of operations.
    pub(super) turns: Turns,
    opener: Opener,
}

impl Shared {
    /// The login of the backend.
    pub(super) fn management(&self) -> &SqlCredentials {
        self.opener.management()
    }

    pub(super) fn new(management: SqlCredentials, options: SqlServerOptions) -> Arc<Self> {
        // The fields are public, so what the setters keep is kept here, too.
        let options = options
            .clone()
            .max_connections_per_shard(options.max_connections_per_shard)
            .max_connections(options.max_connections)
            .max_connects_per_server(options.max_connects_per_server);
        let pools = Pools::new(PoolLimits {
            per_name: options.max_connections_per_shard,
            overall: options.max_connections,
            idle_time: options.idle_time,
            wait: options.timeouts.pool_wait,
            connect: options.timeouts.connect.saturating_add(options.timeouts.pool_wait),
        });
        let opener = Opener::new(management, options.clone());
        Arc::new(Self { options, pools, lingering: Lingering::default(), turns: Turns::default(), opener })
    }

    pub(super) async fn open(&self, database: &Database) -> Result<Client> {
        let credentials = match &database.login {
            Login::Backend => self.opener.management(),
            Login::Application(credentials, _) => credentials,
        };
        // Boxed: the handshake's state is large, and no request should carry it around.
        Box::pin(self.opener.open(&database.target, credentials, &database.suffix())).await
    }

    /// A connection from the pool of a database.
    pub(super) async fn checkout(self: &Arc<Self>, database: &Database) -> Result<Pooled> {
        let object = match self.lingering.take(database) {
            Some(object) => Ok(object),
            None => self.pools.checkout(database, || Connector::new(database.clone(), self)).await,
        };
        let pooled = |object| Pooled::new(object, Arc::clone(self), database.clone());
        object.map(pooled).map_err(|error| database.target.blame(error))
    }

    /// A request to a store. A connection that was lost while it was idle is met with a fresh one, and missing procedures, or
    /// our own table, are installed; either once.
    pub(super) async fn request<'c>(
        self: &Arc<Self>,
        database: &Database,
        doing: Doing,
        call: impl Fn() -> Call<'c>,
    ) -> Result<Reply> {
        let (mut lost_one, mut installed, mut probed) = (false, false, false);
        loop {
            let mut pooled = self.checkout(database).await?;
            let reused = pooled.served_before();
            let doubtful = doing == Doing::Writing && reused && pooled.was_idle() > PROBE_AFTER;
            if doubtful && !probed && pooled.probe(self.options.timeouts.command).await.is_err() {
                probed = true;
                self.close_idle(database);
                continue;
            }
            match pooled.call(call(), doing, self.options.timeouts.command).await {
                Err(error) if error.missing_procedure && !installed => {
                    installed = true;
                    install::procedures(&mut pooled, call().store(), self.options.timeouts.command)
                        .await
                        .map_err(|error| database.target.blame(error))?;
                }
                Err(error)
                    if reused && !lost_one && doing == Doing::Reading && error.error.kind() == ErrorKind::Transient =>
                {
                    lost_one = true;
                    self.close_idle(database);
                }
                Err(error) if error.other_structure => {
                    let (limit, store) = (self.options.timeouts.command, call().store());
                    if call().uses_own_table() && !installed {
                        installed = true;
                        install::own_table(&mut pooled, store, limit)
                            .await
                            .map_err(|why| database.target.blame(why.with_source(error.error)))?;
                        continue;
                    }
                    let error = install::explain(&mut pooled, store, limit, error.error).await;
                    return Err(database.target.blame(error));
                }
                answered => return answered.map_err(|error| database.target.blame(error.error)),
            }
        }
    }

    /// Closes the idle connections of a database: one of them was dead, so the others may be.
    pub(super) fn close_idle(&self, database: &Database) {
        self.lingering.forget(|kept| kept == database);
        self.pools.close_idle(database);
    }

    /// Forgets a shard.
    pub(super) fn forget(&self, location: &ShardLocation) {
        let target = Target::Shard(location.clone());
        self.pools.forget(|database| database.target == target);
        self.lingering.forget(|database| database.target == target);
    }
}
