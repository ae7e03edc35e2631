//! A scripted SQL Server on the loopback address, for what a real one does not do on command: errors at a moment of the
//! test's choice, answers that stop in the middle, sessions that end, logins that are sent elsewhere.
//!
//! It speaks TDS 7.4 without encryption. What is scripted is answered so; logins, transactions and attentions without a
//! script succeed; any other request without one fails, and so does the test in which it came.
//!
//! Built on `tds-protocol`, a codec of the protocol's types and tokens without I/O: its packets, prelogin, types, row ends
//! and the reading of values are used, and what a server alone does is here (login, requests, metadata, rows, messages). The
//! crate made for the whole task, `mssql-mock-tds` 0.3, answers only queries that it knows by their text, cannot read calls
//! of procedures or stop in an answer, and needs the system's OpenSSL.

mod answer;
mod connection;
mod login;
mod packets;
mod request;
mod session;
mod value;

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

pub use answer::Answer;
pub use connection::{Call, Connection};
pub use login::Login;
pub use request::{Parameter, Request};
pub use tds_protocol::EncryptionLevel;
pub use value::{Type, Value};

use crate::gate::{Changes, End};
use crate::listener::Listener;

/// The user and password in the connection strings of the endpoint, which takes any.
pub const USER: &str = "tester";
pub const PASSWORD: &str = "Pa$$w0rd";

type Handler = Arc<dyn Fn(Call) -> BoxFuture<'static, Answer> + Send + Sync>;
type Matcher = Box<dyn Fn(&Call) -> bool + Send + Sync>;

/// What a handler returns: an answer, or a future of one.
pub trait Reply: Send + 'static {
    fn reply(self) -> BoxFuture<'static, Answer>;
}

impl Reply for Answer {
    fn reply(self) -> BoxFuture<'static, Answer> {
        Box::pin(std::future::ready(self))
    }
}

impl<F: Future<Output = Answer> + Send + 'static> Reply for F {
    fn reply(self) -> BoxFuture<'static, Answer> {
        Box::pin(self)
    }
}

/// A server on a port of its own, until it is dropped. Dropping it panics if a request came that nothing was scripted for.
#[derive(Debug)]
pub struct Endpoint {
    listener: Listener,
    shared: Arc<Shared>,
}

struct Shared {
    changes: Changes,
    state: Mutex<State>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    connections: Vec<Connection>,
    calls: Vec<Call>,
    rules: Vec<Rule>,
    faults: Vec<String>,
    transactions: u64,
    tasks: JoinSet<()>,
}

struct Rule {
    matches: Matcher,
    handler: Handler,
    /// How many more requests it answers.
    left: usize,
}

impl Endpoint {
    pub async fn start() -> Endpoint {
        let shared = Arc::new(Shared { changes: Changes::new(), state: Mutex::default() });
        let accepting = Arc::clone(&shared);
        let listener = Listener::start(move |stream| accepting.accept(stream)).await;
        Endpoint { listener, shared }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Refuses and accepts connections.
    pub fn listener(&self) -> &Listener {
        &self.listener
    }

    /// What a client needs to connect to a database of the endpoint, in the driver's notation.
    pub fn connection_string(&self, database: &str) -> String {
        connection_string(self.address(), database)
    }

    /// The connections accepted so far, in order.
    pub fn connections(&self) -> Vec<Connection> {
        self.shared.state.lock().unwrap().connections.clone()
    }

    /// The connection with a number; the first is 1.
    pub fn connection(&self, number: usize) -> Connection {
        self.connections()[number - 1].clone()
    }

    /// How many connections are open now.
    pub fn open(&self) -> usize {
        self.connections().iter().filter(|connection| connection.is_open()).count()
    }

    /// The requests so far in the order in which they came, logins not included.
    pub fn requests(&self) -> Vec<Call> {
        self.shared.state.lock().unwrap().calls.clone()
    }

    /// The requests of one connection.
    pub fn requests_of(&self, connection: usize) -> Vec<Call> {
        let mut requests = self.requests();
        requests.retain(|call| call.connection.number() == connection);
        requests
    }

    /// Waits until the condition holds.
    pub async fn until(&self, condition: impl Fn(&Endpoint) -> bool) {
        self.shared.changes.until(|| condition(self)).await;
    }

    /// Ends every open connection, and waits until they have ended.
    pub async fn cut(&self, end: End) {
        for connection in self.connections() {
            connection.cut(end).await;
        }
    }

    /// What went wrong so far: requests without a script, panics of handlers. What is taken does not fail the test.
    pub fn take_faults(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.state.lock().unwrap().faults)
    }

    /// Answers the requests that match. Where several rules do, the last one answers.
    pub fn on<R: Reply>(
        &self,
        matches: impl Fn(&Call) -> bool + Send + Sync + 'static,
        handler: impl Fn(Call) -> R + Send + Sync + 'static,
    ) -> Scripted<'_> {
        let handler: Handler = Arc::new(move |call| handler(call).reply());
        let mut state = self.shared.state.lock().unwrap();
        state.rules.push(Rule { matches: Box::new(matches), handler, left: usize::MAX });
        Scripted { endpoint: self, rule: state.rules.len() - 1 }
    }

    /// Answers calls of a procedure. Brackets around the parts of a name, and case, make no difference.
    pub fn on_procedure<R: Reply>(
        &self,
        name: &str,
        handler: impl Fn(Call) -> R + Send + Sync + 'static,
    ) -> Scripted<'_> {
        let plain = |name: &str| name.replace(['[', ']'], "").to_lowercase();
        let wanted = plain(name);
        self.on(move |call| matches!(call.request(), Request::Procedure { name, .. } if plain(name) == wanted), handler)
    }

    /// Answers batches whose text contains this.
    pub fn on_batch<R: Reply>(&self, text: &str, handler: impl Fn(Call) -> R + Send + Sync + 'static) -> Scripted<'_> {
        let wanted = text.to_owned();
        self.on(move |call| matches!(call.request(), Request::Batch(text) if text.contains(&wanted)), handler)
    }

    /// Answers statements with parameters whose text contains this.
    pub fn on_statement<R: Reply>(
        &self,
        text: &str,
        handler: impl Fn(Call) -> R + Send + Sync + 'static,
    ) -> Scripted<'_> {
        let wanted = text.to_owned();
        self.on(
            move |call| matches!(call.request(), Request::Statement { text, .. } if text.contains(&wanted)),
            handler,
        )
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident => $pattern:pat),* $(,)?) => {
        impl Endpoint {$(
            $(#[$doc])*
            pub fn $name<R: Reply>(&self, handler: impl Fn(Call) -> R + Send + Sync + 'static) -> Scripted<'_> {
                self.on(|call| matches!(call.request(), $pattern), handler)
            }
        )*}
    };
}

kinds! {
    /// Answers the first message of connections.
    on_prelogin => Request::Prelogin(_),
    on_login => Request::Login(_),
    on_begin => Request::Begin { .. },
    on_commit => Request::Commit,
    on_rollback => Request::Rollback,
    on_bulk_load => Request::BulkLoad { .. },
    on_attention => Request::Attention,
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        // The connections hold what they are listed in.
        self.shared.state.lock().unwrap().tasks.abort_all();
        let faults = self.take_faults();
        assert!(faults.is_empty() || std::thread::panicking(), "the endpoint met what no script allows: {faults:#?}");
    }
}

/// A rule that was just set.
#[derive(Debug)]
pub struct Scripted<'a> {
    endpoint: &'a Endpoint,
    rule: usize,
}

impl Scripted<'_> {
    /// The rule answers that many requests; those after them meet the rules set before it.
    pub fn times(self, count: usize) {
        self.endpoint.shared.state.lock().unwrap().rules[self.rule].left = count;
    }
}

impl Shared {
    fn accept(self: &Arc<Shared>, stream: TcpStream) {
        let mut state = self.state.lock().unwrap();
        let connection = Connection::new(state.connections.len() + 1);
        state.connections.push(connection.clone());
        let shared = Arc::clone(self);
        let _ = state.tasks.spawn(session::serve(shared, connection, stream));
        drop(state);
        self.changes.raise();
    }

    /// Records a call, and finds what answers it.
    fn received(&self, call: &Call) -> Option<Handler> {
        let mut state = self.state.lock().unwrap();
        if !matches!(call.request(), Request::Prelogin(_) | Request::Login(_)) {
            state.calls.push(call.clone());
        }
        let rule = state.rules.iter_mut().rev().find(|rule| rule.left > 0 && (rule.matches)(call));
        let handler = rule.map(|rule| {
            rule.left -= 1;
            Arc::clone(&rule.handler)
        });
        drop(state);
        self.changes.raise();
        handler
    }

    fn next_transaction(&self) -> u64 {
        let mut state = self.state.lock().unwrap();
        state.transactions += 1;
        state.transactions
    }

    fn fault(&self, connection: &Connection, text: &str) {
        let mut state = self.state.lock().unwrap();
        state.faults.push(format!("connection {}: {text}", connection.number()));
        drop(state);
        self.changes.raise();
    }
}

/// What a client needs to connect to a database at an address, in the driver's notation.
pub fn connection_string(address: SocketAddr, database: &str) -> String {
    let (host, port) = (address.ip(), address.port());
    format!("Server=tcp:{host},{port};Database={database};User ID={USER};Password={PASSWORD};Encrypt=DANGER_PLAINTEXT")
}
