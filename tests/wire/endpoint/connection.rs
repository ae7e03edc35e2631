//! A connection as a test sees it, and the calls that came over it.

use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::answer::Answer;
use super::login::Login;
use super::request::{Parameter, Request};
use super::value::{FromValue, Value};
use crate::gate::End;

/// A connection to the endpoint. Clones are the same connection.
#[derive(Clone, Debug)]
pub struct Connection(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    number: usize,
    login: Mutex<Option<Login>>,
    ending: watch::Sender<Option<End>>,
    open: watch::Sender<bool>,
}

impl Connection {
    pub(super) fn new(number: usize) -> Connection {
        Connection(Arc::new(Inner {
            number,
            login: Mutex::new(None),
            ending: watch::Sender::new(None),
            open: watch::Sender::new(true),
        }))
    }

    /// The number of the connection; the first that was accepted is 1.
    pub fn number(&self) -> usize {
        self.0.number
    }

    pub fn is_open(&self) -> bool {
        *self.0.open.borrow()
    }

    /// What the client logged in with, from when its login was read.
    pub fn find_login(&self) -> Option<Login> {
        self.0.login.lock().unwrap().clone()
    }

    /// What the client logged in with. Panics before its login was read.
    pub fn login(&self) -> Login {
        self.find_login().expect("the client has not logged in yet")
    }

    /// Ends the connection, and waits until it has ended.
    pub async fn cut(&self, end: End) {
        let _ = self.0.ending.send_replace(Some(end));
        let _ = self.0.open.subscribe().wait_for(|open| !open).await.unwrap();
    }

    pub(super) fn ending(&self) -> watch::Receiver<Option<End>> {
        self.0.ending.subscribe()
    }

    pub(super) fn logged_in(&self, login: &Login) {
        *self.0.login.lock().unwrap() = Some(login.clone());
    }

    pub(super) fn ended(&self) {
        let _ = self.0.open.send_replace(false);
    }
}

/// A request and where it came from. Clones are the same call.
#[derive(Clone, Debug)]
pub struct Call {
    pub(super) connection: Connection,
    pub(super) request: Arc<Request>,
    pub(super) transaction: u64,
}

impl Call {
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The transaction that the request names, 0 for none.
    pub fn transaction(&self) -> u64 {
        self.transaction
    }

    /// The text of a batch or a statement, the name of a procedure, and nothing for other requests.
    pub fn text(&self) -> &str {
        match &*self.request {
            Request::Batch(text) | Request::Statement { text, .. } | Request::Procedure { name: text, .. } => text,
            _ => "",
        }
    }

    pub fn parameters(&self) -> &[Parameter] {
        match &*self.request {
            Request::Statement { parameters, .. } | Request::Procedure { parameters, .. } => parameters,
            _ => &[],
        }
    }

    /// The value of a parameter, if there is one of that name.
    pub fn find(&self, name: &str) -> Option<&Value> {
        self.parameters().iter().find(|parameter| parameter.name.eq_ignore_ascii_case(name)).map(|found| &found.value)
    }

    /// The value of a parameter. Panics if there is none of that name and type.
    pub fn get<T: FromValue>(&self, name: &str) -> T {
        let value = self.find(name).unwrap_or_else(|| panic!("no parameter {name} in {:?}", self.request));
        T::from_value(value).unwrap_or_else(|| panic!("the parameter {name} is {value:?}"))
    }

    /// The answer that a server gives where nothing is scripted: to what belongs to connections and transactions.
    pub fn usual(&self) -> Answer {
        self.find_usual().unwrap_or_else(|| panic!("there is no usual answer to {:?}", self.request))
    }

    pub(super) fn find_usual(&self) -> Option<Answer> {
        match &*self.request {
            Request::Prelogin(_) => Some(Answer::prelogin(tds_protocol::EncryptionLevel::NotSupported)),
            Request::Login(login) => Some(Answer::accepted(login)),
            Request::Begin { .. } => Some(Answer::done().begun()),
            Request::Commit => Some(Answer::done().committed()),
            Request::Rollback => Some(Answer::done().rolled_back()),
            Request::Save(_) | Request::Attention => Some(Answer::done()),
            Request::Batch(_) | Request::Statement { .. } | Request::Procedure { .. } | Request::BulkLoad { .. } => {
                None
            }
        }
    }
}
