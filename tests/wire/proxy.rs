//! A TCP proxy that stands between a client and any address and treats the traffic as a test says.
//!
//! Each direction of each connection passes, is held, is swallowed, or is cut after so many bytes; connections can be cut
//! at any moment. It knows nothing of the protocol.

use std::io;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::gate::{Changes, End, Gate, end_stream};
use crate::listener::Listener;

/// Where bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    ToServer,
    ToClient,
}

/// What becomes of the bytes of a direction.
#[derive(Clone, Debug)]
pub enum Traffic {
    /// They pass.
    Pass,
    /// They wait until the gate is open, and pass from then on.
    Hold(Gate),
    /// They are read and lost, the end of the stream included, until another rule is set.
    Swallow,
    /// That many pass, counted from when the rule is set; the byte after them, or the last of them, ends the connection.
    CutAfter(usize, End),
}

/// A proxy on a port of its own, until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    listener: Listener,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: String,
    changes: Arc<Changes>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The rules of connections to come.
    traffic: [Traffic; 2],
    links: Vec<Link>,
    tasks: JoinSet<()>,
}

impl Proxy {
    /// A proxy in front of `target`, a host and port.
    pub async fn start(target: impl ToString) -> Proxy {
        let state = State { traffic: [Traffic::Pass, Traffic::Pass], links: Vec::new(), tasks: JoinSet::new() };
        let shared = Arc::new(Shared {
            target: target.to_string(),
            changes: Arc::new(Changes::new()),
            state: Mutex::new(state),
        });
        let accepting = Arc::clone(&shared);
        let listener = Listener::start(move |stream| accepting.accept(stream)).await;
        Proxy { listener, shared }
    }

    /// Where clients connect to.
    pub fn address(&self) -> std::net::SocketAddr {
        self.listener.address()
    }

    /// Refuses and accepts connections.
    pub fn listener(&self) -> &Listener {
        &self.listener
    }

    /// Sets what becomes of a direction on all connections, those to come included.
    pub fn set(&self, direction: Direction, traffic: &Traffic) {
        let mut state = self.shared.state.lock().unwrap();
        state.traffic[direction as usize] = traffic.clone();
        for link in &state.links {
            link.set(direction, traffic);
        }
    }

    /// The connections accepted so far, in order.
    pub fn links(&self) -> Vec<Link> {
        self.shared.state.lock().unwrap().links.clone()
    }

    /// The connection with a number; the first is 1.
    pub fn link(&self, number: usize) -> Link {
        self.links()[number - 1].clone()
    }

    /// How many connections are open now.
    pub fn open(&self) -> usize {
        self.links().iter().filter(|link| link.is_open()).count()
    }

    /// The bytes of all connections that were read from one side to be passed to the other.
    pub fn received(&self, direction: Direction) -> usize {
        self.links().iter().map(|link| link.received(direction)).sum()
    }

    /// Ends every open connection, and waits until they have ended.
    pub async fn cut(&self, end: End) {
        for link in self.links() {
            link.cut(end).await;
        }
    }

    /// Waits until the condition holds.
    pub async fn until(&self, condition: impl Fn(&Proxy) -> bool) {
        self.shared.changes.until(|| condition(self)).await;
    }
}

impl Shared {
    fn accept(self: &Arc<Shared>, client: TcpStream) {
        let mut state = self.state.lock().unwrap();
        let link = Link::new(state.links.len() + 1, state.traffic.clone(), Arc::clone(&self.changes));
        state.links.push(link.clone());
        let _ = state.tasks.spawn(link.run(client, self.target.clone()));
        drop(state);
        self.changes.raise();
    }
}

/// One connection through the proxy. Clones are the same connection.
#[derive(Clone, Debug)]
pub struct Link(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    number: usize,
    traffic: [watch::Sender<Traffic>; 2],
    counts: Mutex<[Count; 2]>,
    ending: watch::Sender<Option<End>>,
    open: watch::Sender<bool>,
    changes: Arc<Changes>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    received: usize,
    passed: usize,
}

impl Link {
    fn new(number: usize, traffic: [Traffic; 2], changes: Arc<Changes>) -> Link {
        Link(Arc::new(Inner {
            number,
            traffic: traffic.map(watch::Sender::new),
            counts: Mutex::default(),
            ending: watch::Sender::new(None),
            open: watch::Sender::new(true),
            changes,
        }))
    }

    /// The number of the connection; the first is 1.
    pub fn number(&self) -> usize {
        self.0.number
    }

    pub fn is_open(&self) -> bool {
        *self.0.open.borrow()
    }

    /// Sets what becomes of a direction from now on.
    pub fn set(&self, direction: Direction, traffic: &Traffic) {
        let _ = self.0.traffic[direction as usize].send_replace(traffic.clone());
    }

    /// The bytes that were read from one side to be passed to the other.
    pub fn received(&self, direction: Direction) -> usize {
        self.0.counts.lock().unwrap()[direction as usize].received
    }

    /// The bytes that were passed on.
    pub fn passed(&self, direction: Direction) -> usize {
        self.0.counts.lock().unwrap()[direction as usize].passed
    }

    /// Ends the connection on both sides, and waits until it has ended.
    pub async fn cut(&self, end: End) {
        let _ = self.0.ending.send_replace(Some(end));
        let _ = self.0.open.subscribe().wait_for(|open| !open).await.unwrap();
    }

    async fn run(self, client: TcpStream, target: String) {
        // A target that cannot be reached closes the client's connection.
        let mut ending = self.0.ending.subscribe();
        let connected = tokio::select! {
            connected = TcpStream::connect(target) => connected.ok(),
            _ = ending.wait_for(Option::is_some) => None,
        };
        if let Some(server) = connected {
            server.set_nodelay(true).unwrap();
            self.carry(client, server).await;
        } else {
            drop(client);
        }
        let _ = self.0.open.send_replace(false);
        self.0.changes.raise();
    }

    async fn carry(&self, client: TcpStream, server: TcpStream) {
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let mut ending = self.0.ending.subscribe();
        let mut ends = [to_client, to_server];
        let end = {
            let [to_client, to_server] = &mut ends;
            let both = async {
                tokio::try_join!(
                    self.pump(Direction::ToServer, from_client, to_server),
                    self.pump(Direction::ToClient, from_server, to_client)
                )
            };
            tokio::select! {
                ended = both => ended.err(),
                end = ending.wait_for(Option::is_some) => *end.unwrap(),
            }
        };
        for half in ends {
            end_stream(half, end.unwrap_or(End::Close));
        }
    }

    /// Carries one direction until its stream ends; an error says how the whole connection has to end.
    async fn pump(&self, direction: Direction, mut from: OwnedReadHalf, to: &mut OwnedWriteHalf) -> Result<(), End> {
        let mut rule = self.0.traffic[direction as usize].subscribe();
        rule.mark_changed();
        let mut traffic = Traffic::Pass;
        let mut buffer = vec![0; 16 * 1024];
        loop {
            // A side that resets its connection gets the other side's reset as well.
            let count = from.read(&mut buffer).await.map_err(|_| End::Reset)?;
            self.count(direction, |counted| counted.received += count);
            let data = &buffer[..count];
            loop {
                if rule.has_changed().unwrap() {
                    traffic = rule.borrow_and_update().clone();
                }
                match &mut traffic {
                    Traffic::Pass => {
                        self.pass(direction, data, to).await;
                        break;
                    }
                    Traffic::Hold(gate) => tokio::select! {
                        () = gate.pass() => traffic = Traffic::Pass,
                        changed = rule.changed() => { changed.unwrap(); rule.mark_changed(); }
                    },
                    Traffic::Swallow if !data.is_empty() => break,
                    Traffic::Swallow => {
                        rule.changed().await.unwrap();
                        rule.mark_changed();
                    }
                    Traffic::CutAfter(left, end) => {
                        let passing = data.len().min(*left);
                        let end = *end;
                        *left -= passing;
                        let used_up = *left == 0;
                        if passing > 0 || data.is_empty() {
                            self.pass(direction, &data[..passing], to).await;
                        }
                        if used_up && !data.is_empty() {
                            return Err(end);
                        }
                        break;
                    }
                }
            }
            if count == 0 {
                return Ok(());
            }
        }
    }

    /// Passes data on, or the end of the stream.
    async fn pass(&self, direction: Direction, data: &[u8], to: &mut OwnedWriteHalf) {
        let passed: io::Result<()> = if data.is_empty() { to.shutdown().await } else { to.write_all(data).await };
        // The side that does not take it any more is gone; what it still sent follows in the other direction.
        if passed.is_ok() {
            self.count(direction, |counted| counted.passed += data.len());
        }
    }

    fn count(&self, direction: Direction, change: impl FnOnce(&mut Count)) {
        change(&mut self.0.counts.lock().unwrap()[direction as usize]);
        self.0.changes.raise();
    }
}
