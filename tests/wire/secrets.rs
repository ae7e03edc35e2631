//! No secret is printed, logged or part of an error, whatever goes wrong.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use shardlet::gsm::GlobalStore;
use shardlet::lsm::LocalStore;
use shardlet::{OperationId, SqlCredentials, SqlServer, Timeouts, Validation};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::backend::{SHORT, echo, patient, procedure, route, shard_at, shard_server};
use crate::endpoint::{Answer, EncryptionLevel, Endpoint};
use crate::gate::{End, Gate};

const PASSWORD: &str = "Hush-4d61726b";
const OTHER_PASSWORD: &str = "Quiet-7a6f72";
const TOKEN: &str = "eyJ0b2tlbiI6InNlY3JldCJ9";
const SECRETS: [&str; 3] = [PASSWORD, OTHER_PASSWORD, TOKEN];

/// Writes down everything that is said to `tracing`.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<String>>);

impl Notes {
    fn add(&self, text: &impl Debug) {
        writeln!(self.0.lock().unwrap(), "{text:?}").unwrap();
    }

    /// Notes an error in all its forms, and those that caused it.
    fn add_error(&self, error: &(dyn std::error::Error + 'static)) {
        writeln!(self.0.lock().unwrap(), "{error} {error:?} {error:#?}").unwrap();
        if let Some(source) = error.source() {
            self.add_error(source);
        }
    }

    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

impl Visit for Notes {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        writeln!(self.0.lock().unwrap(), "{field}={value:?}").unwrap();
    }
}

impl Subscriber for Notes {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.add(&span.metadata().name());
        span.record(&mut self.clone());
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut self.clone());
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The connection string with a secret password.
fn secret(server: &Endpoint) -> String {
    server.connection_string("global").replace(crate::endpoint::PASSWORD, PASSWORD)
}

/// Does what can go wrong while it connects.
async fn fail_to_connect(notes: &Notes, server: &Endpoint, credentials: &[SqlCredentials]) {
    let limits = Timeouts::default().connect(SHORT);
    let backend = SqlServer::open_with(&secret(server), patient().timeouts(limits)).unwrap();
    notes.add(&backend);
    notes.add_error(&backend.shard_maps().await.unwrap_err());
    for credentials in credentials {
        notes.add(credentials);
        let route = route(shard_at(server, "shard_0"));
        notes.add(&route);
        let opened = backend.open_routed(&route, credentials, Validation::Validate).await;
        notes.add_error(&opened.unwrap_err());
    }
}

#[tokio::test]
async fn nothing_prints_a_secret() {
    let notes = Notes::default();
    let subscribed = tracing::subscriber::set_default(notes.clone());
    let credentials = [
        SqlCredentials::login("application", OTHER_PASSWORD),
        SqlCredentials::parse(&format!("User ID=application;Password={OTHER_PASSWORD};Encrypt=DANGER_PLAINTEXT"))
            .unwrap(),
        SqlCredentials::token(|| async { Ok(TOKEN.to_owned()) }),
        SqlCredentials::token(|| async { Err(format!("no more use: {TOKEN}").into()) }),
    ];

    for string in [
        PASSWORD.to_owned(),
        format!("Password='{PASSWORD}"),
        format!("Server=s;Password={PASSWORD};Encrypt=perhaps"),
        format!("Server=tcp:host,port;Database=d;Password={PASSWORD}"),
        format!("Database=d;User ID=u;Password={PASSWORD}"),
        format!("Server=s;Database=d;User ID=u;Password={PASSWORD}ö"),
    ] {
        if let Err(error) = SqlServer::open(&string) {
            notes.add_error(&error);
        }
        match SqlCredentials::parse(&string) {
            Ok(credentials) => notes.add(&credentials),
            Err(error) => notes.add_error(&error),
        }
    }

    let refusing = Endpoint::start().await;
    let _ = refusing.on_login(|call| Answer::login_failed(&call.connection().login().user));
    fail_to_connect(&notes, &refusing, &credentials).await;
    let cut = Endpoint::start().await;
    let _ = cut.on_login(|call| call.usual().cut_at(10, End::Reset));
    fail_to_connect(&notes, &cut, &credentials).await;
    let silent = Endpoint::start().await;
    let _ = silent.on_login(|call| call.usual().held(&Gate::new()));
    fail_to_connect(&notes, &silent, &credentials).await;
    let strict = Endpoint::start().await;
    let _ = strict.on_prelogin(|_| Answer::prelogin(EncryptionLevel::Required));
    fail_to_connect(&notes, &strict, &credentials).await;
    // The client begins with TLS then, which the endpoint does not read. All of it is over when the connections are.
    strict.cut(End::Reset).await;
    assert!(!strict.take_faults().is_empty());
    let gone = Endpoint::start().await;
    gone.listener().refuse().await;
    fail_to_connect(&notes, &gone, &credentials).await;
    let (here, port) = (Endpoint::start().await, gone.address().port());
    let _ = here.on_login(move |call| Answer::redirect(&call.connection().login(), "127.0.0.1", port));
    fail_to_connect(&notes, &here, &credentials).await;

    let server = shard_server().await;
    let _ = server.on_statement("wrong", |_| Answer::failed(102, "wrong syntax"));
    let _ = server.on_procedure(&procedure("RemoveShardMap"), |_| Answer::failed(208, "no table"));
    let backend = SqlServer::open_with(&secret(&server), patient()).unwrap();
    notes.add(&(&backend, backend.options()));
    notes.add_error(&backend.remove_shard_map(crate::backend::MAP.into()).await.unwrap_err());
    let route = route(shard_at(&server, "shard_0"));
    for credentials in &credentials[..3] {
        let mut connection = backend.open_routed(&route, credentials, Validation::Validate).await.unwrap();
        notes.add(&connection);
        notes.add_error(&connection.execute("wrong", &[]).await.unwrap_err());
        let mut transaction = connection.begin().await.unwrap();
        notes.add(&transaction);
        assert_eq!(echo(&mut transaction, 1).await.unwrap(), Some(1));
        transaction.commit().await.unwrap();
        let rows = connection.query("wrong", &[]).await.map(|rows| notes.add(&rows));
        notes.add_error(&rows.unwrap_err());
        notes.add(&connection.into_raw().await.unwrap());
    }
    notes.add(&backend.lock_operation(OperationId::random()).await.unwrap());
    notes.add(&backend.lock_operation_at(&route.location, OperationId::random()).await.unwrap());
    crate::backend::releases(&server, 2).await;
    drop(subscribed);

    // They were sent, so that they could have been printed.
    let sent: Vec<_> = server.connections().iter().map(crate::endpoint::Connection::login).collect();
    assert!(sent.iter().any(|login| login.password == PASSWORD));
    assert!(sent.iter().any(|login| login.password == OTHER_PASSWORD));
    assert!(sent.iter().any(|login| login.token.as_deref() == Some(TOKEN)));
    let text = notes.text();
    assert!(text.contains("sending login") && text.contains("Login failed for user"), "something was noted: {text}");
    for secret in SECRETS {
        let reversed = format!("{:?}", secret.as_bytes());
        let found = text.lines().find(|line| line.contains(secret) || line.contains(reversed.trim_matches(['[', ']'])));
        assert_eq!(found, None);
    }
}
