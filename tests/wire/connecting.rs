//! Connecting: what the server is told, refusals, limits, redirects, and how many connects go on at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use shardlet::gsm::GlobalStore;
use shardlet::lsm::{LocalStore, Route, RouteTarget};
use shardlet::{
    Error, ErrorKind, Limit, OperationId, ShardMapKind, SqlCredentials, SqlServer, SqlServerOptions, Timeouts,
    Validation,
};

use crate::backend::{
    MAP, SHORT, VERSION, application, backend, echo, patient, route, routed, script, shard_at, shard_server, soon,
    validated,
};
use crate::endpoint::{Answer, EncryptionLevel, Endpoint, PASSWORD, USER};
use crate::gate::{End, Gate};

/// Options whose limit on connecting is short.
fn hasty() -> SqlServerOptions {
    let patient = patient();
    let limits = patient.timeouts.clone().connect(SHORT);
    patient.timeouts(limits)
}

#[tokio::test]
async fn the_login_tells_who_connects_and_what_for() {
    let server = shard_server().await;
    let string = format!("{};Application Name=shop", server.connection_string("global"));
    let backend = SqlServer::open_with(&string, patient()).unwrap();
    let _ = backend.shard_maps().await.unwrap();
    let _ = backend.lock_operation_at(&shard_at(&server, "shard_0"), OperationId::random()).await.unwrap();
    let _connection = validated(&backend, &server).await;

    let seen: Vec<_> = server
        .connections()
        .iter()
        .map(|connection| {
            let login = connection.login();
            (login.user, login.password, login.database, login.application)
        })
        .collect();
    let told = |user: &str, password: &str, database: &str, suffix: &str| {
        (user.to_owned(), password.to_owned(), database.to_owned(), format!("shopESC_SMMv2.0.0_{suffix}"))
    };
    let expected = [
        told(USER, PASSWORD, "global", "GSM"),
        told(USER, PASSWORD, "shard_0", "LSM"),
        told("application", "of its own", "shard_0", &format!("User{MAP}")),
    ];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn credentials_of_their_own_keep_the_name_and_settings_that_they_bring() {
    let server = shard_server().await;
    let backend = backend(&server, patient());
    let own = SqlCredentials::parse("User ID=a;Password=b;Encrypt=DANGER_PLAINTEXT;Application Name=report").unwrap();
    let _connection =
        backend.open_routed(&route(shard_at(&server, "shard_0")), &own, Validation::Validate).await.unwrap();
    let login = server.connection(1).login();
    assert_eq!((&*login.user, &*login.password, &*login.database), ("a", "b", "shard_0"));
    assert_eq!(login.application, format!("reportESC_SMMv2.0.0_User{MAP}"));
}

#[tokio::test]
async fn credentials_and_maps_do_not_share_connections() {
    let server = shard_server().await;
    let backend = backend(&server, patient());
    let place = shard_at(&server, "shard_0");
    let other_map = Route { map: VERSION.into(), ..route(place.clone()) };
    let login = SqlCredentials::login;
    let token = || SqlCredentials::token(|| async { Ok("the same".to_owned()) });
    let cases = [
        (route(place.clone()), token()),
        (route(place.clone()), token()),
        (route(place.clone()), login("a", "b")),
        (route(place.clone()), login("a", "c")),
        (route(place.clone()), login("b", "b")),
        (other_map, login("a", "b")),
        (route(shard_at(&server, "shard_1")), login("a", "b")),
        (route(place.clone()), login("a", "b")),
    ];
    for (route, credentials) in &cases {
        // Not used, it needs no reset and is back at once.
        drop(backend.open_routed(route, credentials, Validation::None).await.unwrap());
    }
    // Only the last one could use an earlier connection.
    assert_eq!(server.connections().len(), cases.len() - 1);
}

#[tokio::test]
async fn a_token_is_asked_for_at_each_connect() {
    let server = shard_server().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let token = SqlCredentials::token(move || {
        let number = counted.fetch_add(1, Ordering::Relaxed) + 1;
        async move { Ok(format!("token {number}")) }
    });
    let backend = backend(&server, patient());
    let route = route(shard_at(&server, "shard_0"));
    let first = backend.open_routed(&route, &token, Validation::None).await.unwrap();
    let second = backend.open_routed(&route, &token.clone(), Validation::None).await.unwrap();
    drop((first, second));
    let _ = backend.open_routed(&route, &token, Validation::Validate).await.unwrap();
    let tokens: Vec<_> = server.connections().iter().map(|connection| connection.login().token).collect();
    assert_eq!(tokens, [Some("token 1".to_owned()), Some("token 2".to_owned())]);
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_backend_logs_in_with_a_token() {
    let server = shard_server().await;
    let token = SqlCredentials::token(|| async { Ok("of the stores".to_owned()) });
    let backend = SqlServer::open_as(&server.connection_string("global"), &token, patient()).unwrap();
    let _ = backend.shard_maps().await.unwrap();
    let login = server.connection(1).login();
    assert_eq!((login.token.as_deref(), &*login.user, &*login.password), (Some("of the stores"), "", ""));
}

#[tokio::test]
async fn a_provider_without_a_token_is_told_apart_and_not_quoted() {
    let server = shard_server().await;
    let token = SqlCredentials::token(|| async { Err("the secret of the provider".into()) });
    let backend = backend(&server, patient());
    let opened = backend.open_routed(&route(shard_at(&server, "shard_0")), &token, Validation::Validate).await;
    let error = opened.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials);
    assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
    assert_eq!(server.connections().len(), 0);
}

#[tokio::test]
async fn a_slow_provider_counts_as_connecting() {
    let server = shard_server().await;
    let token = SqlCredentials::token(std::future::pending);
    let backend = backend(&server, hasty());
    let opened = backend.open_routed(&route(shard_at(&server, "shard_0")), &token, Validation::Validate).await;
    assert_eq!(opened.unwrap_err().limit(), Some(Limit::Connect));
}

/// The error of the first request to the global store.
async fn first_request(server: &Endpoint, options: SqlServerOptions) -> Error {
    backend(server, options).shard_maps().await.unwrap_err()
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let server = Endpoint::start().await;
    let never = Gate::new();
    let held = never.clone();
    server.on_prelogin(move |call| call.usual().held(&held)).times(1);
    let error = first_request(&server, hasty()).await;
    assert_eq!((error.kind(), error.limit()), (ErrorKind::TimedOut, Some(Limit::Connect)));
    // Nothing is left of the connect.
    soon(server.until(|server| server.open() == 0)).await;

    let held = never.clone();
    let _ = server.on_login(move |call| call.usual().held(&held));
    let error = first_request(&server, hasty()).await;
    assert_eq!((error.kind(), error.limit()), (ErrorKind::TimedOut, Some(Limit::Connect)));
    soon(server.until(|server| server.open() == 0)).await;

    server.listener().pause().await;
    assert_eq!(first_request(&server, hasty()).await.limit(), Some(Limit::Connect));
}

#[tokio::test]
async fn a_server_that_is_gone_is_unavailable() {
    for cut_at_login in [false, true] {
        for end in [End::Close, End::Reset] {
            let server = Endpoint::start().await;
            if cut_at_login {
                let _ = server.on_login(move |call| call.usual().cut_at(20, end));
            } else {
                let _ = server.on_prelogin(move |call| call.usual().cut_at(5, end));
            }
            let error = first_request(&server, patient()).await;
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
            assert_eq!(error.place().map(ToString::to_string), shard_or_global(None));
        }
    }
    let server = Endpoint::start().await;
    server.listener().refuse().await;
    let error = first_request(&server, patient()).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    let backend = backend(&server, patient());
    let error = routed(&backend, &server, Validation::None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert_eq!(error.place().map(ToString::to_string), shard_or_global(Some(&server)));
}

fn shard_or_global(shard: Option<&Endpoint>) -> Option<String> {
    Some(match shard {
        None => shardlet::Place::Global.to_string(),
        Some(server) => shardlet::Place::Shard(shard_at(server, "shard_0")).to_string(),
    })
}

#[tokio::test]
async fn a_refused_login_is_told_by_its_number() {
    for (number, class, kind) in [
        (18456, 14, ErrorKind::Credentials),
        (18470, 14, ErrorKind::Credentials),
        (40615, 14, ErrorKind::Credentials),
        (4060, 11, ErrorKind::Unavailable),
        (40613, 17, ErrorKind::Transient),
        (40501, 20, ErrorKind::Transient),
        (10928, 20, ErrorKind::Transient),
        (49918, 16, ErrorKind::Transient),
        (12345, 16, ErrorKind::Unavailable),
    ] {
        let server = Endpoint::start().await;
        let _ = server.on_login(move |_| Answer::done().error(number, 1, class, "no"));
        let error = first_request(&server, patient()).await;
        assert_eq!(error.kind(), kind, "{number}: {error:?}");
        soon(server.until(|server| server.open() == 0)).await;
    }
}

#[tokio::test]
async fn a_server_without_encryption_is_unavailable_where_it_is_demanded() {
    let server = Endpoint::start().await;
    let _ = server.on_prelogin(|_| Answer::prelogin(EncryptionLevel::NotSupported));
    let string = server.connection_string("global").replace("DANGER_PLAINTEXT", "true");
    let error = SqlServer::open_with(&string, patient()).unwrap().shard_maps().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert_eq!(server.connection(1).find_login(), None, "no password was sent");
}

#[tokio::test]
async fn a_failed_connect_costs_no_place() {
    let server = shard_server().await;
    let backend = backend(&server, patient().max_connections(4).max_connections_per_shard(2));
    server.on_login(|_| Answer::login_failed("x")).times(10);
    for _ in 0..10 {
        let error = routed(&backend, &server, Validation::Validate).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Credentials);
    }
    let both = (validated(&backend, &server).await, validated(&backend, &server).await);
    soon(server.until(|server| server.open() == 2)).await;
    drop(both);
}

#[tokio::test]
async fn a_redirect_is_followed_once() {
    let (first, second, third) = (Endpoint::start().await, Endpoint::start().await, Endpoint::start().await);
    script(&second);
    let send_to = |from: &Endpoint, to: &Endpoint| {
        let port = to.address().port();
        let _ = from.on_login(move |call| Answer::redirect(&call.connection().login(), "127.0.0.1", port));
    };
    send_to(&first, &second);
    let backend = backend(&first, patient());
    let mut connection = validated(&backend, &first).await;
    assert_eq!(echo(&mut connection, 5).await.unwrap(), Some(5));
    assert_eq!((first.connections().len(), second.connections().len()), (1, 1));
    assert_eq!(second.connection(1).login().database, "shard_0");
    soon(first.until(|first| first.open() == 0)).await;
    drop(connection);
    crate::backend::resets(&second, 1).await;

    send_to(&second, &third);
    let other = crate::backend::backend(&first, patient());
    let error = routed(&other, &first, Validation::Validate).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.to_string().contains("sent us on again"), "{error}");
    assert_eq!((first.connections().len(), second.connections().len(), third.connections().len()), (2, 2, 0));
}

#[tokio::test]
async fn the_connects_to_one_server_are_bounded() {
    let server = shard_server().await;
    let gate = Gate::new();
    let held = gate.clone();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counters = (Arc::clone(&now), Arc::clone(&most));
    let _ = server.on_login(move |call| {
        let (held, (now, most)) = (held.clone(), counters.clone());
        async move {
            let begun = now.fetch_add(1, Ordering::SeqCst) + 1;
            let _ = most.fetch_max(begun, Ordering::SeqCst);
            held.pass().await;
            let _ = now.fetch_sub(1, Ordering::SeqCst);
            call.usual()
        }
    });
    let backend = backend(&server, patient().max_connects_per_server(3));
    let opens = join_all((0..12).map(|number| {
        let (backend, place) = (backend.clone(), shard_at(&server, &format!("shard_{number}")));
        async move { backend.open_routed(&route(place), &application(), Validation::Validate).await.unwrap() }
    }));
    let watch = async {
        gate.reached_by(3).await;
        assert_eq!(server.connections().len(), 3);
        gate.open();
    };
    let (opened, ()) = soon(async { tokio::join!(opens, watch) }).await;
    assert_eq!((opened.len(), most.load(Ordering::SeqCst)), (12, 3));
}

#[tokio::test]
async fn waiting_for_the_connects_of_others_has_a_limit() {
    let server = shard_server().await;
    let gate = Gate::new();
    let held = gate.clone();
    let _ = server.on_login(move |call| call.usual().held(&held));
    let limits = Timeouts::default().pool_wait(SHORT);
    let backend = backend(&server, SqlServerOptions::default().timeouts(limits).max_connects_per_server(1));
    let held_up = routed(&backend, &server, Validation::None);
    let other = route(shard_at(&server, "shard_1"));
    let (first, second) = tokio::join!(held_up, async {
        gate.reached().await;
        let second = backend.open_routed(&other, &application(), Validation::None).await;
        gate.open();
        second
    });
    assert_eq!(second.unwrap_err().limit(), Some(Limit::PoolWait));
    assert_eq!(server.connections().len(), 1);
    drop(first.unwrap());
}

#[tokio::test]
async fn a_dropped_connect_gives_its_turn_to_the_next() {
    let server = shard_server().await;
    let never = Gate::new();
    let held = never.clone();
    server.on_login(move |call| call.usual().held(&held)).times(3);
    let backend = backend(&server, patient().max_connects_per_server(1).max_connections_per_shard(2));
    for number in 1..=3 {
        tokio::select! {
            _ = routed(&backend, &server, Validation::Validate) => panic!("nobody lets us in"),
            () = never.reached_by(number) => {}
        }
    }
    let (mut one, two) = (validated(&backend, &server).await, validated(&backend, &server).await);
    assert_eq!(echo(&mut one, 3).await.unwrap(), Some(3));
    soon(server.until(|server| server.open() == 2)).await;
    drop((one, two));
}

#[tokio::test]
async fn other_protocols_than_tcp_are_refused_before_anything_is_sent() {
    let server = Endpoint::start().await;
    let backend = backend(&server, patient());
    let place = shard_at(&server, "shard_0").with_protocol(shardlet::Protocol::NamedPipes);
    let target = RouteTarget::Mapping {
        mapping: VERSION.into(),
        kind: ShardMapKind::List,
        key: shardlet::EncodedKey::minimum(),
    };
    let route = Route { location: place, map: MAP.into(), target };
    let error = backend.open_routed(&route, &application(), Validation::None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(server.connections().len(), 0);
}
