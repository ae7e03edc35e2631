//! Clients on one store whose requests are let through one at a time, in an order that follows from a seed.
//!
//! Nothing runs but what the scheduler has let go: all clients stand at the gate, are idle or dead. Time is paused and moves
//! only when everything waits, so that waiting for a moment is waiting until all have come to the gate.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use shardlet::{Error, ErrorKind, Limit, LoadPolicy, MappingStatus, ShardKey, ShardLocation, ShardMapManager, Sqlite};
use tokio::task::JoinHandle;

use crate::client::{Client, Manner, POINTS, RANGES};
use crate::dice::Dice;
use crate::gate::{Gate, Hub, Nature, Request, Verdict as Way, injected};
use crate::ground::{Ground, places};
use crate::keys::KEYS;
use crate::ledger::{Ledger, Verdict, check};
use crate::report::{Report, Tally, outcome_of};
use crate::support::consistency::assert_consistent;
use crate::trace::Trace;

/// Operations between two looks at everything.
const EPISODE: usize = 250;

/// The place of a client; when one dies, another one comes.
struct Slot {
    /// Its number, of which no other client has the same.
    client: usize,
    body: Arc<Client<Sqlite>>,
    task: Option<JoinHandle<()>>,
    /// Faults were injected into what it does, or an earlier load of it may still bring something.
    muddled: bool,
    calls: &'static str,
}

pub struct World {
    dice: Dice,
    ground: Ground,
    hub: Hub,
    ledger: Ledger,
    slots: Vec<Slot>,
    clients: usize,
    /// Of a thousand requests.
    faults: usize,
    last: usize,
    trace: Trace,
    tally: Tally,
    /// How the last open for a key ended.
    opened: Option<shardlet::Result<ShardLocation>>,
}

impl World {
    pub async fn new(seed: u64, slots: usize) -> Self {
        let ground = if seed % 2 == 1 { Ground::in_memory() } else { Ground::in_a_directory() };
        ground.set_up().await;
        let ledger = Ledger::new(ground.store(), places()).await;
        let mut world = Self {
            dice: Dice::new(seed),
            ground,
            hub: Hub::default(),
            ledger,
            slots: Vec::new(),
            clients: 0,
            faults: 0,
            last: 0,
            trace: Trace::default(),
            tally: Tally::default(),
            opened: None,
        };
        for _ in 0..slots {
            let slot = world.new_client();
            world.slots.push(slot);
        }
        world
    }

    fn new_client(&mut self) -> Slot {
        let client = self.clients;
        self.clients += 1;
        let gate = Gate::new(self.ground.store(), client, self.hub.clone());
        let policy = if self.dice.in_thousand(250) { LoadPolicy::Eager } else { LoadPolicy::Lazy };
        let body = Arc::new(Client::new(gate, places(), Manner::scheduled(policy)));
        Slot { client, body, task: None, muddled: false, calls: "nothing" }
    }

    /// So many operations; what was done, or what is wrong.
    pub async fn run(&mut self, operations: usize) -> Verdict {
        let mut left = operations;
        while left > 0 {
            let now = left.min(EPISODE);
            left -= now;
            self.faults = [0, 30, 100][self.dice.below(3)];
            self.trace.line(&format!("an episode with {} faults in a thousand", self.faults));
            self.go_on(now).await?;
            self.settle_down().await?;
        }
        Ok(())
    }

    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// A text with short names for ids, those of the trace.
    pub fn named(&mut self, text: &str) -> String {
        self.trace.named(text)
    }

    /// How the operations ended that had begun.
    pub fn ends(&self) -> &Tally {
        self.ledger.ends()
    }

    pub fn steps(&self) -> usize {
        self.ledger.step()
    }

    /// Lets clients begin so many operations, and all that was begun come to an end.
    async fn go_on(&mut self, mut to_begin: usize) -> Verdict {
        loop {
            let waiting = self.hub.waiting();
            let idle: Vec<_> = (0..self.slots.len()).filter(|slot| self.slots[*slot].task.is_none()).collect();
            if to_begin == 0 && idle.len() == self.slots.len() && waiting.is_empty() {
                return Ok(());
            }
            if self.mischief().await? {
                continue;
            }
            let (blocked, mut free): (Vec<_>, Vec<_>) =
                (0..waiting.len()).partition(|place| self.is_blocked(&waiting[*place].1, waiting[*place].2));
            if !blocked.is_empty() && self.dice.in_thousand(self.faults / 2) {
                let place = *self.dice.choose(&blocked).unwrap();
                self.lose_patience(place, &waiting[place]).await?;
                continue;
            }
            // Applications take their time between opening a connection and using it.
            if free.iter().any(|place| waiting[*place].1.nature != Nature::States) && self.dice.in_thousand(700) {
                free.retain(|place| waiting[*place].1.nature != Nature::States);
            }
            // Often the one that went last goes on: otherwise hardly anybody would come to an end before others meddle.
            let again: Vec<_> = free.iter().copied().filter(|place| waiting[*place].0 == self.last).collect();
            if !again.is_empty() && self.dice.in_thousand(450) {
                let place = *self.dice.choose(&again).unwrap();
                self.decide(place, &waiting[place]).await?;
                continue;
            }
            let begins = if to_begin > 0 { idle.len() } else { 0 };
            check(begins + free.len() > 0, || format!("all wait for each other: {waiting:?}"))?;
            let chosen = self.dice.below(begins + free.len());
            if chosen < begins {
                to_begin -= 1;
                self.begin(idle[chosen]).await?;
            } else {
                let place = free[chosen - begins];
                self.decide(place, &waiting[place]).await?;
            }
        }
    }

    /// A lock that another client holds cannot be had.
    fn is_blocked(&self, request: &Request, answered: bool) -> bool {
        matches!(request.nature, Nature::Locks(id) if !answered && self.hub.is_locked(id))
    }

    async fn begin(&mut self, slot: usize) -> Verdict {
        let seed = self.dice.any();
        let client = self.slots[slot].client;
        self.trace.line(&format!("client {client} begins an operation"));
        let body = Arc::clone(&self.slots[slot].body);
        self.set_off(slot, body.act(seed)).await
    }

    /// Has a client do something.
    async fn set_off(&mut self, slot: usize, doing: impl Future<Output = ()> + Send + 'static) -> Verdict {
        let client = self.slots[slot].client;
        let slot = &mut self.slots[slot];
        slot.muddled = self.hub.waiting().iter().any(|(of, ..)| *of == client);
        slot.task = Some(tokio::spawn(doing));
        self.last = client;
        self.look().await
    }

    /// Lets a request or an answer through, or has it fail.
    async fn decide(&mut self, place: usize, (client, request, answered): &(usize, Request, bool)) -> Verdict {
        let fault = self.dice.in_thousand(self.faults).then(|| self.fault(request, *answered));
        let way = match fault {
            Some(error) => {
                if let Some(slot) = self.slots.iter_mut().find(|slot| slot.client == *client) {
                    slot.muddled = true;
                }
                Way::Fail(error)
            }
            None if !answered && self.dice.in_thousand(200) => Way::PassAndWait,
            None => Way::Pass,
        };
        let verb = match &way {
            Way::Fail(_) if *answered => "is not told of",
            Way::Pass | Way::PassAndWait if *answered => "is told of",
            Way::Fail(_) => "fails to",
            Way::Pass => "does",
            Way::PassAndWait => "does, untold,",
        };
        let why = if let Way::Fail(error) = &way { format!(", {:?}", error.kind()) } else { String::new() };
        self.trace.line(&format!("client {client} {verb} {}: {}{why}", request.name, request.about));
        self.last = *client;
        self.hub.decide(place, way);
        self.look().await
    }

    /// A client has waited for a lock for too long.
    async fn lose_patience(&mut self, place: usize, (client, request, _): &(usize, Request, bool)) -> Verdict {
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.client == *client) {
            slot.muddled = true;
        }
        self.trace.line(&format!("client {client} has waited too long for {}: {}", request.name, request.about));
        self.hub.decide(place, Way::Fail(Error::timed_out(Limit::OperationLock, "injected")));
        self.look().await
    }

    /// What may go wrong with a request that is not sent, or with the answer of one that was.
    fn fault(&mut self, request: &Request, answered: bool) -> Error {
        let kinds: &[ErrorKind] = match (&request.nature, answered) {
            (Nature::Writes, false) => &[ErrorKind::Transient, ErrorKind::Unavailable, ErrorKind::OutcomeUnknown],
            (Nature::Writes | Nature::States, true) => &[ErrorKind::OutcomeUnknown],
            (Nature::Locks(_) | Nature::LocksAgain, false) => {
                &[ErrorKind::Transient, ErrorKind::Unavailable, ErrorKind::TimedOut]
            }
            // After a shard could not be reached a client asks no more for some real time.
            (Nature::Reads, _) if request.name.starts_with("open") => &[ErrorKind::Transient],
            (Nature::Reads | Nature::Locks(_) | Nature::LocksAgain, _) => {
                &[ErrorKind::Transient, ErrorKind::Unavailable]
            }
            (Nature::States, false) => &[ErrorKind::Transient],
        };
        match *self.dice.choose(kinds).unwrap() {
            ErrorKind::TimedOut => Error::timed_out(Limit::OperationLock, "injected"),
            kind => injected(kind),
        }
    }

    /// Now and then somebody drops a future or dies. True if it was so.
    async fn mischief(&mut self) -> Result<bool, String> {
        let busy: Vec<_> = (0..self.slots.len()).filter(|slot| self.slots[*slot].task.is_some()).collect();
        if busy.is_empty() || !self.dice.in_thousand(self.faults / 3) {
            return Ok(false);
        }
        // Mostly where it hurts.
        let within: Vec<_> =
            busy.iter().copied().filter(|slot| self.ledger.is_in_an_operation(self.slots[*slot].client)).collect();
        let worst = if within.is_empty() || self.dice.in_thousand(300) { &busy } else { &within };
        let slot = *self.dice.choose(worst).unwrap();
        let (client, dies) = (self.slots[slot].client, self.dice.in_thousand(300));
        let verb = if dies { "dies" } else { "drops what it does" };
        self.trace.line(&format!("client {client} {verb}"));
        if let Some(task) = self.slots[slot].task.take() {
            task.abort();
            let ended = task.await;
            check(ended.as_ref().is_err_and(tokio::task::JoinError::is_cancelled), || format!("{ended:?}"))?;
        }
        self.tally.count(self.slots[slot].calls, if dies { "killed" } else { "dropped" });
        if dies {
            self.hub.bury(client);
            self.slots[slot] = self.new_client();
        }
        self.look().await?;
        Ok(true)
    }

    /// Waits until nothing moves any more, and looks at what has changed.
    async fn look(&mut self) -> Verdict {
        for _ in 0..1_001 {
            all_at_rest().await;
            if !self.hub.is_busy() {
                break;
            }
        }
        check(!self.hub.is_busy(), || "a request does not come to an end".to_owned())?;
        for done in self.hub.take_done() {
            if let Some(error) = &done.error {
                self.trace.line(&format!("    refused: {:?} {:?}", error.kind(), error.code()));
            }
            self.ledger.take(&done).await?;
        }
        for (client, report) in self.hub.take_reports() {
            let slot = self.slots.iter_mut().find(|slot| slot.client == client);
            let muddled = slot.as_ref().is_none_or(|slot| slot.muddled);
            match (&report, slot) {
                (Report::Calls(name), Some(slot)) => slot.calls = name,
                (Report::Opened { outcome, .. }, _) => self.opened = Some(outcome.clone()),
                _ => {}
            }
            if let Some(name) = report.name() {
                let outcome = outcome_of(report.error());
                self.trace.line(&format!("  client {client}: {name}: {outcome}"));
                self.tally.count(name, &outcome);
            }
            self.ledger.report(client, &report, muddled)?;
        }
        for slot in &mut self.slots {
            if let Some(task) = slot.task.take_if(|task| task.is_finished()) {
                task.await.map_err(|error| format!("client {} has panicked: {error}", slot.client))?;
            }
        }
        Ok(())
    }

    /// Without faults: what is pending is undone, and then everything agrees, also with whoever has an old cache.
    async fn settle_down(&mut self) -> Verdict {
        self.faults = 0;
        let slot = self.new_client();
        self.slots.push(slot);
        let last = self.slots.len() - 1;
        let body = Arc::clone(&self.slots[last].body);
        self.set_off(last, body.undo()).await?;
        self.go_on(0).await?;
        check(self.ledger.pending() == 0, || "operations are pending after all were undone".to_owned())?;
        check(self.hub.locked() == 0, || "an operation is locked, and nobody is at work".to_owned())?;
        self.ledger.all_again().await?;
        assert_consistent(&self.ground.store(), &places(), "after all").await;
        self.ground.nothing_is_left()?;
        let manager = ShardMapManager::open(self.ground.store(), Default::default()).await.unwrap();
        let maps: HashMap<_, _> =
            manager.shard_maps().await.unwrap().into_iter().map(|map| (map.name().to_owned(), map.id())).collect();
        for slot in 0..self.slots.len() {
            for key in 0..KEYS {
                for (ranges, map) in [(false, maps[POINTS]), (true, maps[RANGES])] {
                    let body = Arc::clone(&self.slots[slot].body);
                    self.set_off(slot, body.route(ranges, key)).await?;
                    self.go_on(0).await?;
                    let expected = match self.ledger.owner(map, &key.encode().unwrap()) {
                        None => Err(ErrorKind::NotFound),
                        Some((_, MappingStatus::Offline)) => Err(ErrorKind::Offline),
                        Some((location, MappingStatus::Online)) => Ok(location),
                    };
                    let opened = self.opened.take().ok_or("nothing was opened")?.map_err(|error| error.kind());
                    check(opened == expected, || format!("key {key}: {opened:?}, not {expected:?}"))?;
                }
            }
        }
        drop(self.slots.pop());
        Ok(())
    }
}

/// Waits until every task waits for something. The clock is paused, so this is the event itself and takes no time: it goes on only
/// when nothing else can. Draining sessions takes some of its time.
async fn all_at_rest() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}
