//! The proxy itself, between plain sockets and between the plain driver and the endpoint.

use std::io::ErrorKind;

use tiberius::error::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::client::connect;
use crate::endpoint::{Answer, Endpoint, Type, connection_string};
use crate::gate::{End, Gate};
use crate::proxy::Direction::{ToClient, ToServer};
use crate::proxy::{Proxy, Traffic};

/// A connection through a proxy: the client's end and the server's.
async fn joined(proxy: &Proxy, server: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(proxy.address()).await.unwrap();
    (client, server.accept().await.unwrap().0)
}

async fn proxied() -> (Proxy, TcpListener) {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (Proxy::start(server.local_addr().unwrap()).await, server)
}

async fn read(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    let _ = stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

/// All that comes until the stream ends in order.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await.unwrap();
    bytes
}

async fn reset(stream: &mut TcpStream) -> bool {
    stream.read_u8().await.unwrap_err().kind() == ErrorKind::ConnectionReset
}

#[tokio::test]
async fn both_directions_pass_and_end_by_themselves() {
    let (proxy, server) = proxied().await;
    let (mut client, mut served) = joined(&proxy, &server).await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut served).await, b"question");
    served.write_all(b"answer").await.unwrap();
    assert!(proxy.link(1).is_open());
    drop(served);
    assert_eq!(rest(&mut client).await, b"answer");
    proxy.until(|proxy| proxy.open() == 0).await;
    assert_eq!((proxy.received(ToServer), proxy.received(ToClient)), (8, 6));
    assert_eq!((proxy.link(1).passed(ToServer), proxy.link(1).passed(ToClient)), (8, 6));
}

#[tokio::test]
async fn a_direction_is_held_until_it_is_released() {
    let (proxy, server) = proxied().await;
    let (mut client, mut served) = joined(&proxy, &server).await;
    let gate = Gate::new();
    proxy.set(ToServer, &Traffic::Hold(gate.clone()));
    client.write_all(b"late").await.unwrap();
    gate.reached().await;
    let link = proxy.link(1);
    assert_eq!((link.received(ToServer), link.passed(ToServer)), (4, 0));
    // The other direction is not held.
    served.write_all(b"early").await.unwrap();
    assert_eq!(read(&mut client, 5).await, b"early");
    gate.open();
    assert_eq!(read(&mut served, 4).await, b"late");
    client.write_all(b"more").await.unwrap();
    assert_eq!(read(&mut served, 4).await, b"more");

    // A rule that replaces the one that holds.
    let gate = Gate::new();
    proxy.set(ToServer, &Traffic::Hold(gate.clone()));
    client.write_all(b"late").await.unwrap();
    gate.reached().await;
    proxy.set(ToServer, &Traffic::Pass);
    assert_eq!(read(&mut served, 4).await, b"late");
}

#[tokio::test]
async fn a_direction_is_cut_after_some_bytes() {
    let (proxy, server) = proxied().await;
    proxy.set(ToServer, &Traffic::CutAfter(5, End::Close));
    let (mut client, mut served) = joined(&proxy, &server).await;
    client.write_all(b"abc").await.unwrap();
    assert_eq!(read(&mut served, 3).await, b"abc");
    client.write_all(b"defg").await.unwrap();
    assert_eq!(rest(&mut served).await, b"de");
    assert_eq!(rest(&mut client).await, b"");

    proxy.set(ToServer, &Traffic::Pass);
    proxy.set(ToClient, &Traffic::CutAfter(0, End::Reset));
    let (mut client, mut served) = joined(&proxy, &server).await;
    client.write_all(b"abc").await.unwrap();
    assert_eq!(read(&mut served, 3).await, b"abc");
    served.write_all(b"x").await.unwrap();
    assert!(reset(&mut client).await && reset(&mut served).await);
    proxy.until(|proxy| proxy.open() == 0).await;
    assert_eq!(proxy.link(2).passed(ToClient), 0);
}

#[tokio::test]
async fn a_direction_is_swallowed() {
    let (proxy, server) = proxied().await;
    let (mut client, mut served) = joined(&proxy, &server).await;
    let (mut other, mut other_served) = joined(&proxy, &server).await;
    proxy.link(1).set(ToServer, &Traffic::Swallow);
    client.write_all(b"lost").await.unwrap();
    proxy.until(|proxy| proxy.link(1).received(ToServer) == 4).await;
    served.write_all(b"heard").await.unwrap();
    assert_eq!(read(&mut client, 5).await, b"heard");
    client.shutdown().await.unwrap();
    assert_eq!(proxy.link(1).passed(ToServer), 0);
    // Only that connection loses what it sends.
    other.write_all(b"kept").await.unwrap();
    assert_eq!(read(&mut other_served, 4).await, b"kept");
    // The end of the stream was swallowed as well, until now.
    proxy.set(ToServer, &Traffic::Pass);
    assert_eq!(rest(&mut served).await, b"");
}

#[tokio::test]
async fn connections_are_cut_at_a_moment() {
    let (proxy, server) = proxied().await;
    let (mut first, mut first_served) = joined(&proxy, &server).await;
    let (mut second, mut second_served) = joined(&proxy, &server).await;
    assert_eq!((proxy.links().len(), proxy.open()), (2, 2));
    assert_eq!(proxy.link(2).number(), 2);
    proxy.link(1).cut(End::Reset).await;
    assert!(reset(&mut first).await && reset(&mut first_served).await);
    assert_eq!(proxy.open(), 1);
    proxy.cut(End::Close).await;
    assert_eq!((rest(&mut second).await, rest(&mut second_served).await), (vec![], vec![]));
    assert_eq!((proxy.links().len(), proxy.open()), (2, 0));
}

#[tokio::test]
async fn a_reset_passes_through() {
    let (proxy, server) = proxied().await;
    let (client, mut served) = joined(&proxy, &server).await;
    client.set_zero_linger().unwrap();
    drop(client);
    assert!(reset(&mut served).await);
    proxy.until(|proxy| proxy.open() == 0).await;
}

#[tokio::test]
async fn a_target_that_cannot_be_reached_closes_the_connection() {
    let endpoint = Endpoint::start().await;
    endpoint.listener().refuse().await;
    let proxy = Proxy::start(endpoint.address()).await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(rest(&mut client).await, b"");
    proxy.listener().refuse().await;
    assert_eq!(TcpStream::connect(proxy.address()).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_lost_answer_leaves_the_request_done() {
    let server = Endpoint::start().await;
    let _ = server.on_batch("n", |_| Answer::rows([("n", Type::Int)], [[7.into()]]));
    let proxy = Proxy::start(server.address()).await;
    let string = connection_string(proxy.address(), "db");
    let mut client = connect(&string).await.unwrap();
    let row = client.simple_query("n").await.unwrap().into_row().await.unwrap().unwrap();
    assert_eq!(row.get::<i32, _>(0), Some(7));

    client.begin_transaction().await.unwrap();
    let answers = proxy.received(ToClient);
    proxy.set(ToClient, &Traffic::Swallow);
    tokio::select! {
        committed = client.commit_transaction() => panic!("{committed:?}"),
        () = server.until(|server| server.requests().len() == 3) => {}
    }
    proxy.until(|proxy| proxy.received(ToClient) > answers).await;
    proxy.set(ToClient, &Traffic::CutAfter(11, End::Close));
    drop(client);

    let error = connect(&string).await.unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
    assert_eq!(proxy.link(2).passed(ToClient), 11);
}
