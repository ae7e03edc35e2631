//! A client: a manager with its cache, the handles that it remembers, and the public calls that it makes at random.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use shardlet::{
    BulkOptions, ListShardMap, LoadPolicy, LockToken, MappingStatus, MappingUpdate, Operation, Options, PointMapping,
    RangeMapping, RangeShardMap, Result, RetryPolicy, SessionPolicy, Shard, ShardKey, ShardLocation, ShardMap,
    ShardMapManager, ShardStatus, Stores, Validation,
};
use uuid::Uuid;

use super::dice::Dice;
use super::gate::Gate;
use super::keys::{KEYS, Keyed};
use super::report::Report;

/// The names of the maps.
pub const POINTS: &str = "points";
pub const RANGES: &str = "ranges";

/// A backend as an application uses it.
pub trait Applied: Stores {
    fn credentials() -> Self::Credentials;

    /// Where a connection leads.
    fn place(connection: &Self::Connection) -> ShardLocation;

    /// The name that the database of a connection carries.
    fn see(connection: &mut Self::Connection) -> impl Future<Output = Result<String>> + Send;
}

/// How a client goes about it.
#[derive(Clone, Debug)]
pub struct Manner {
    pub options: Options,
    /// Mappings are always taken offline with the sessions on them ended at once.
    pub ends_sessions: bool,
}

impl Manner {
    /// Whose pauses are over at once: they hold nothing, and the scheduler lets others go first as it likes.
    pub fn scheduled(policy: LoadPolicy) -> Self {
        let retry = RetryPolicy::default().attempts(3).pauses(Duration::ZERO, Duration::ZERO);
        let options = Options::default().retry(retry).load_policy(policy);
        Self { options: options.load_timeout(Duration::from_secs(1 << 30)), ends_sessions: false }
    }
}

/// A map of one kind, with handles that may be long stale.
struct Side<M: Keyed, B: Stores> {
    map: ShardMap<M, Gate<B>>,
    handles: Mutex<Vec<M>>,
    shards: Mutex<Vec<Shard>>,
}

impl<M: Keyed, B: Stores> Side<M, B> {
    fn new(map: ShardMap<M, Gate<B>>) -> Self {
        Self { map, handles: Mutex::default(), shards: Mutex::default() }
    }
}

/// What a client has open.
struct Sessions<B: Stores> {
    opened: usize,
    kept: Vec<(usize, B::Connection)>,
}

struct Opened<B: Stores> {
    points: Side<PointMapping<i64>, B>,
    ranges: Side<RangeMapping<i64>, B>,
}

pub struct Client<B: Stores> {
    gate: Gate<B>,
    places: Vec<ShardLocation>,
    manner: Manner,
    opened: Mutex<Option<Arc<Opened<B>>>>,
    sessions: Mutex<Sessions<B>>,
}

/// Who is doing what.
struct Actor<'c, B: Stores> {
    gate: &'c Gate<B>,
    places: &'c [ShardLocation],
    ends_sessions: bool,
    sessions: &'c Mutex<Sessions<B>>,
}

impl<B: Applied> Client<B> {
    pub fn new(gate: Gate<B>, places: Vec<ShardLocation>, manner: Manner) -> Self {
        Self {
            gate,
            places,
            manner,
            opened: Mutex::default(),
            sessions: Mutex::new(Sessions { opened: 0, kept: Vec::new() }),
        }
    }

    fn opened(&self) -> Option<Arc<Opened<B>>> {
        self.opened.lock().unwrap().clone()
    }

    fn actor(&self) -> Actor<'_, B> {
        let (gate, places, sessions) = (&self.gate, &self.places, &self.sessions);
        Actor { gate, places, ends_sessions: self.manner.ends_sessions, sessions }
    }

    async fn open(&self) -> Result<Arc<Opened<B>>> {
        let manager = ShardMapManager::open(self.gate.clone(), self.manner.options.clone()).await?;
        let points: ListShardMap<i64, Gate<B>> = manager.list_shard_map(POINTS).await?;
        let ranges: RangeShardMap<i64, Gate<B>> = manager.range_shard_map(RANGES).await?;
        let opened = Arc::new(Opened { points: Side::new(points), ranges: Side::new(ranges) });
        *self.opened.lock().unwrap() = Some(Arc::clone(&opened));
        Ok(opened)
    }

    /// One public call, with the reads that it takes to choose its arguments; all follows from the seed and from what
    /// the stores answer.
    pub async fn act(self: Arc<Self>, seed: u64) {
        let mut dice = Dice::new(seed);
        let actor = self.actor();
        let opened = match self.opened() {
            Some(opened) => opened,
            None => {
                actor.calls("open the store");
                let opened = self.open().await;
                actor.returned("open the store", &opened);
                let Ok(opened) = opened else { return };
                opened
            }
        };
        if dice.in_thousand(500) {
            actor.act(&opened.points, &mut dice).await;
        } else {
            actor.act(&opened.ranges, &mut dice).await;
        }
    }

    /// Opens a validated connection for a key of a map.
    pub async fn route(self: Arc<Self>, ranges: bool, key: i64) {
        let actor = self.actor();
        let opened = match self.opened() {
            Some(opened) => opened,
            None => self.open().await.unwrap(),
        };
        if ranges {
            actor.route(&opened.ranges.map, key, Validation::Validate).await;
        } else {
            actor.route(&opened.points.map, key, Validation::Validate).await;
        }
    }

    /// Undoes what is pending.
    pub async fn undo(self: Arc<Self>) {
        let actor = self.actor();
        let opened = self.open().await.unwrap();
        actor.calls("undo pending");
        actor.returned("undo pending", &opened.points.map.manager().undo_pending_operations().await);
    }
}

const WEIGHTS: [(&str, usize); 23] = [
    ("create shard", 3),
    ("delete shard", 2),
    ("update shard", 2),
    ("create", 9),
    ("create many", 5),
    ("delete", 6),
    ("offline", 6),
    ("online", 7),
    ("move", 5),
    ("update", 4),
    ("split", 6),
    ("merge", 6),
    ("lock", 2),
    ("unlock", 2),
    ("unlock all", 1),
    ("lookup", 4),
    ("lookup now", 3),
    ("open", 20),
    ("open unvalidated", 5),
    ("statement", 12),
    ("open shard", 2),
    ("undo pending", 2),
    ("clear cache", 1),
];

fn token(dice: &mut Dice) -> LockToken {
    LockToken::from(Uuid::from_u128(1 + u128::from(dice.any() % 2)))
}

impl<B: Applied> Actor<'_, B> {
    fn report(&self, report: Report) {
        self.gate.hub().report(self.gate.client(), report);
    }

    fn calls(&self, name: &'static str) {
        self.report(Report::Calls(name));
    }

    fn returned<T>(&self, name: &'static str, result: &Result<T>) {
        self.report(Report::Returned { name, error: result.as_ref().err().cloned() });
    }

    /// Awaits an operation.
    async fn run<T: Send + 'static>(&self, name: &'static str, operation: Operation<T>) -> Result<T> {
        let id = operation.plan().ok().filter(|plan| !plan.steps().is_empty()).map(|plan| plan.id());
        self.calls(name);
        let result = operation.await;
        self.report(Report::Operated { name, id, error: result.as_ref().err().cloned() });
        result
    }

    async fn act<M: Keyed>(&self, side: &Side<M, B>, dice: &mut Dice) {
        let (name, _) = WEIGHTS[dice.weighted(&WEIGHTS.map(|(_, weight)| weight))];
        let map = &side.map;
        let key = dice.key(KEYS);
        match name {
            "create shard" | "delete shard" | "update shard" | "open shard" => {
                self.act_on_shard(side, name, dice).await
            }
            "lookup" => {
                self.calls(name);
                self.returned(name, &map.lookup_mapping(&key).await);
            }
            "lookup now" => {
                self.calls(name);
                self.returned(name, &map.find_mapping_for_key(&key).await);
            }
            "open" => self.route(map, key, Validation::Validate).await,
            "open unvalidated" => self.route(map, key, Validation::None).await,
            "statement" => self.state_on_any(dice).await,
            "undo pending" => {
                self.calls(name);
                self.returned(name, &map.manager().undo_pending_operations().await);
            }
            "unlock all" => {
                self.calls(name);
                self.returned(name, &map.unlock_mappings(token(dice)).await);
            }
            "clear cache" => {
                self.calls(name);
                map.clear_cache();
                self.returned(name, &Ok(()));
            }
            "create" => {
                if let Some(shard) = self.some_shard(side, dice).await {
                    let status = if dice.in_thousand(800) { MappingStatus::Online } else { MappingStatus::Offline };
                    let operation = M::create(map, key, 1 + dice.key(5), &shard, status);
                    self.remember(side, dice, self.run(name, operation).await.ok());
                }
            }
            "create many" => self.create_many(side, name, dice).await,
            _ => self.change(side, name, dice).await,
        }
    }

    /// One batch, mostly beside a mapping that is on the shard, or was.
    async fn create_many<M: Keyed>(&self, side: &Side<M, B>, name: &'static str, dice: &mut Dice) {
        let Some(shard) = self.some_shard(side, dice).await else { return };
        let status = if dice.in_thousand(800) { MappingStatus::Online } else { MappingStatus::Offline };
        let options = BulkOptions::default().batch_size(4).status(status);
        let Ok(mappings) = side.map.mappings().await else { return };
        let free = |key: i64| {
            mappings.iter().map(Keyed::bounds).all(|(low, high)| key < low || high.is_some_and(|it| it <= key))
        };
        // Mostly where there is room for two.
        let rooms: Vec<_> = (0..KEYS - 1).filter(|key| free(*key) && free(key + 1)).collect();
        let low = dice.choose(&rooms).copied().filter(|_| dice.in_thousand(850)).unwrap_or_else(|| dice.key(KEYS));
        let length = if dice.in_thousand(700) { 1 } else { 2 };
        let count = if dice.in_thousand(600) { 2 } else { 3 };
        // One after the other; fewer where keys end.
        let bounds = (0..count).map(|number| (low + number * length, low + (number + 1) * length));
        let bounds = bounds.filter(|(_, high)| *high <= KEYS).map(|(low, high)| ((low, Some(high)), &shard));
        let mut creation = M::create_many(&side.map, bounds, &options).unwrap();
        let held = side.handles.lock().unwrap().clone();
        let candidates = if dice.in_thousand(200) { held } else { mappings };
        let on_shard: Vec<_> = candidates.into_iter().filter(|it| it.record().shard.id() == shard.id()).collect();
        if let Some(kept) = dice.choose(&on_shard) {
            creation = creation.beside(kept);
        }
        let left = creation.progress().left();
        let Some(operation) = creation.next_batch() else { return };
        let plan = operation.plan().unwrap();
        let alone = plan.steps()[1].actions().len() == 1 && left > 1;
        self.calls(name);
        let result = operation.await;
        // Where the mapping beside which it was to happen was gone, another operation has created the first one.
        let planned = result.as_ref().map_or(true, |made| alone || (left > 1 && made.len() == left));
        let id = planned.then(|| plan.id());
        self.report(Report::Operated { name, id, error: result.as_ref().err().cloned() });
        for mapping in result.into_iter().flatten() {
            self.remember(side, dice, Some(mapping));
        }
    }

    async fn act_on_shard<M: Keyed>(&self, side: &Side<M, B>, name: &'static str, dice: &mut Dice) {
        let map = &side.map;
        if name == "create shard" {
            let place = dice.choose(self.places).unwrap();
            let _ = self.run(name, map.create_shard(place)).await;
            return;
        }
        let Some(shard) = self.some_shard(side, dice).await else { return };
        match name {
            "delete shard" => {
                let _ = self.run(name, map.delete_shard(shard)).await;
            }
            "update shard" => {
                // Mostly online: while it is offline little happens on it.
                let status = if dice.in_thousand(800) { ShardStatus::Online } else { ShardStatus::Offline };
                if let Ok(shard) = self.run(name, map.update_shard(shard, status)).await {
                    side.shards.lock().unwrap().push(shard);
                }
            }
            _ => {
                self.calls(name);
                let opened = map.open_connection_to_shard(&shard, &B::credentials(), Validation::Validate).await;
                self.returned(name, &opened);
            }
        }
    }

    /// A change of a mapping that is there, or was.
    async fn change<M: Keyed>(&self, side: &Side<M, B>, name: &'static str, dice: &mut Dice) {
        let map = &side.map;
        let wanted = match name {
            "offline" => Some(MappingStatus::Online),
            "online" | "move" | "delete" => Some(MappingStatus::Offline),
            _ => None,
        };
        if name == "merge" {
            let Ok(mappings) = map.mappings().await else { return };
            let next = |pair: &[M]| pair[0].bounds().1 == Some(pair[1].bounds().0);
            let fits = |pair: &&[M]| {
                let (left, right) = (pair[0].record(), pair[1].record());
                next(pair) && left.shard.id() == right.shard.id() && left.status == right.status
            };
            let mut pairs: Vec<_> = mappings.windows(2).filter(fits).collect();
            if pairs.is_empty() {
                pairs = mappings.windows(2).filter(|pair| next(pair)).collect();
            }
            let Some([left, right]) = dice.choose(&pairs).copied() else { return };
            if let Some(operation) = M::merge(map, left.clone(), right.clone()) {
                self.remember(side, dice, self.run(name, operation).await.ok());
            }
            return;
        }
        let Some(mapping) = self.some_mapping(side, wanted, dice).await else { return };
        match name {
            "delete" => {
                let _ = self.run(name, map.delete_mapping(mapping)).await;
            }
            "offline" => {
                let policy = match dice.below(10) {
                    0 if !self.ends_sessions => SessionPolicy::Leave,
                    1 if !self.ends_sessions => SessionPolicy::Drain(Duration::from_millis(5)),
                    _ => SessionPolicy::EndNow,
                };
                let done = self.run(name, map.mark_mapping_offline_with(mapping, policy)).await;
                self.remember(side, dice, done.ok().map(|(mapping, _)| mapping));
            }
            "online" => {
                let done = self.run(name, map.mark_mapping_online(mapping)).await;
                self.remember(side, dice, done.ok());
            }
            "move" | "update" => {
                let Some(shard) = self.some_shard(side, dice).await else { return };
                let mut update = MappingUpdate::new().shard(&shard);
                if name == "update" {
                    let status = if dice.in_thousand(500) { MappingStatus::Online } else { MappingStatus::Offline };
                    update = update.status(status);
                }
                let done = self.run(name, map.update_mapping(mapping, &update)).await;
                self.remember(side, dice, done.ok());
            }
            "split" => {
                let (low, high) = mapping.bounds();
                let length = high.unwrap_or(KEYS).max(low + 2) - low;
                let at = low + 1 + dice.key(length - 1);
                let Some(operation) = M::split(map, mapping, at) else { return };
                if let Ok((left, right)) = self.run(name, operation).await {
                    self.remember(side, dice, Some(left));
                    self.remember(side, dice, Some(right));
                }
            }
            "lock" => {
                self.calls(name);
                let locked = map.lock_mapping(mapping, token(dice)).await;
                self.returned(name, &locked);
                self.remember(side, dice, locked.ok());
            }
            "unlock" => {
                let token = if dice.in_thousand(500) { LockToken::FORCE_UNLOCK } else { token(dice) };
                self.calls(name);
                let unlocked = map.unlock_mapping(mapping, token).await;
                self.returned(name, &unlocked);
                self.remember(side, dice, unlocked.ok());
            }
            _ => unreachable!("{name}"),
        }
    }

    fn remember<M: Keyed>(&self, side: &Side<M, B>, dice: &mut Dice, mapping: Option<M>) {
        let mut handles = side.handles.lock().unwrap();
        handles.extend(mapping);
        while handles.len() > 6 {
            let _ = handles.swap_remove(dice.below(6));
        }
    }

    /// A mapping, read anew or remembered, mostly of the wanted status and mostly with the token that opens its lock.
    async fn some_mapping<M: Keyed>(
        &self,
        side: &Side<M, B>,
        wanted: Option<MappingStatus>,
        dice: &mut Dice,
    ) -> Option<M> {
        let remembered = dice.in_thousand(250);
        let held = side.handles.lock().unwrap().clone();
        let candidates = if remembered && !held.is_empty() { held } else { side.map.mappings().await.ok()? };
        let fitting: Vec<_> = match wanted {
            Some(status) if dice.in_thousand(850) => {
                candidates.into_iter().filter(|mapping| mapping.record().status == status).collect()
            }
            _ => candidates,
        };
        let mapping = dice.choose(&fitting)?.clone();
        let owner = mapping.record().lock_owner;
        Some(if dice.in_thousand(800) { mapping.holding(owner) } else { mapping.holding(LockToken::NONE) })
    }

    /// A shard, read anew or remembered.
    async fn some_shard<M: Keyed>(&self, side: &Side<M, B>, dice: &mut Dice) -> Option<Shard> {
        let remembered = dice.in_thousand(300);
        let known = side.shards.lock().unwrap().clone();
        if remembered && !known.is_empty() {
            return dice.choose(&known).cloned();
        }
        let shards = side.map.shards().await.ok()?;
        let chosen = dice.choose(&shards).cloned();
        *side.shards.lock().unwrap() = shards;
        chosen
    }

    /// Opens a connection for a key and sends a statement on it.
    async fn route<M: Keyed>(&self, map: &ShardMap<M, Gate<B>>, key: i64, validation: Validation) {
        let name = if validation == Validation::Validate { "open" } else { "open unvalidated" };
        self.calls(name);
        let opened = map.open_connection_for_key(&key, &B::credentials(), validation).await;
        let cached = map.cached_mapping(&key).map(|mapping| mapping.record().id);
        let session = {
            let mut sessions = self.sessions.lock().unwrap();
            sessions.opened += 1;
            sessions.opened
        };
        self.report(Report::Opened {
            map: map.id(),
            key: key.encode().unwrap(),
            validated: validation == Validation::Validate,
            outcome: opened.as_ref().map(|open| B::place(open)).map_err(Clone::clone),
            session,
            cached,
        });
        if let Ok(connection) = opened {
            self.state(session, connection).await;
        }
    }

    /// Sends a statement on a connection that was opened some time ago.
    async fn state_on_any(&self, dice: &mut Dice) {
        let chosen = {
            let kept = &mut self.sessions.lock().unwrap().kept;
            if kept.is_empty() { None } else { Some(kept.swap_remove(dice.below(kept.len()))) }
        };
        if let Some((session, connection)) = chosen {
            self.calls("statement");
            self.state(session, connection).await;
        }
    }

    /// Sends a statement on a connection and keeps it if it still works.
    async fn state(&self, session: usize, mut connection: B::Connection) {
        let outcome = self.gate.states(session, B::see(&mut connection)).await;
        let works = outcome.is_ok();
        self.report(Report::Stated { session, outcome });
        let kept = &mut self.sessions.lock().unwrap().kept;
        if works {
            kept.push((session, connection));
        }
        // The oldest goes; there are no more than the pools have room for.
        if kept.len() > 3 {
            drop(kept.remove(0));
        }
    }
}
