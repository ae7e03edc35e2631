//! Answers that stop, connections that end, and what is seen of it.

use std::future::pending;
use std::io::ErrorKind;

use futures::TryStreamExt;
use tds_protocol::{PACKET_HEADER_SIZE, PacketHeader, PacketStatus, PacketType, SqlBatch, Token, TokenParser};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{broken, client, number, refused, select};
use crate::client::connect;
use crate::endpoint::{Answer, Endpoint, Request, Type};
use crate::gate::{End, Gate};

/// Bytes of [`number`]'s answer that end in the middle of its row: 14 are the columns, 6 the row.
const IN_THE_ROW: usize = 17;

#[tokio::test]
async fn an_answer_stops_until_it_is_released() {
    let server = Endpoint::start().await;
    let (before, between, within) = (Gate::new(), Gate::new(), Gate::new());
    let gates = [before.clone(), between.clone(), within.clone()];
    let _ = server.on_batch("slow", move |_| {
        let [before, between, within] = &gates;
        Answer::done()
            .columns([("n", Type::Int)])
            .row([1.into()])
            .hold(between)
            .row([2.into()])
            .held(before)
            // In the middle of the second row's value.
            .hold_at(24, within)
    });
    let mut client = client(&server).await;
    let asking = tokio::spawn(async move {
        let mut rows = client.simple_query("slow").await.unwrap().into_row_stream();
        let first = rows.try_next().await.unwrap().unwrap().get::<i32, _>(0);
        (first, rows.try_next().await.unwrap().unwrap().get::<i32, _>(0))
    });
    before.reached().await;
    assert!(!asking.is_finished());
    before.open();
    between.reached().await;
    between.open();
    within.reached().await;
    assert!(!asking.is_finished());
    within.open();
    assert_eq!(asking.await.unwrap(), (Some(1), Some(2)));
}

#[tokio::test]
async fn what_was_sent_before_a_stop_arrives() {
    let server = Endpoint::start().await;
    let never = Gate::new();
    let _ = server.on_batch("rows", move |_| number(1).hold(&never));
    let mut client = client(&server).await;
    let mut rows = client.simple_query("rows").await.unwrap().into_row_stream();
    assert_eq!(rows.try_next().await.unwrap().unwrap().get::<i32, _>(0), Some(1));
    assert_eq!(server.open(), 1);
    drop(rows);
    drop(client);
    server.until(|server| server.open() == 0).await;
}

#[tokio::test]
async fn a_connection_is_cut_in_an_answer() {
    let server = Endpoint::start().await;
    let _ = server.on_batch("closed", |_| number(1).cut_at(IN_THE_ROW, End::Close));
    let _ = server.on_batch("reset", |_| number(1).cut_at(0, End::Reset));
    let _ = server.on_batch("last", |_| number(1).cut(End::Close));
    for (batch, kind) in
        [("closed", ErrorKind::UnexpectedEof), ("reset", ErrorKind::BrokenPipe), ("last", ErrorKind::UnexpectedEof)]
    {
        let mut client = client(&server).await;
        assert_eq!(broken(&select(&mut client, batch).await.unwrap_err()), kind, "{batch}");
    }
    server.until(|server| server.open() == 0).await;
    assert_eq!(server.connections().len(), 3);
}

#[tokio::test]
async fn a_connection_is_cut_while_it_waits() {
    let server = Endpoint::start().await;
    let _ = server.on_batch("slow", |_| pending::<Answer>());
    let mut clients = [client(&server).await, client(&server).await];
    let [first, second] = &mut clients;
    let (first, second, ()) = tokio::join!(select(first, "slow"), select(second, "slow"), async {
        server.until(|server| server.requests().len() == 2).await;
        server.connection(1).cut(End::Close).await;
        assert_eq!(server.open(), 1);
        server.cut(End::Reset).await;
        assert_eq!(server.open(), 0);
    });
    assert_eq!(broken(&first.unwrap_err()), ErrorKind::UnexpectedEof);
    assert_eq!(broken(&second.unwrap_err()), ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn requests_are_listed_with_their_connections() {
    let server = Endpoint::start().await;
    let _ = server.on_batch("", |_| Answer::done());
    let (mut first, mut second) = (client(&server).await, client(&server).await);
    let _ = select(&mut first, "a").await.unwrap();
    let _ = select(&mut second, "b").await.unwrap();
    let _ = select(&mut first, "c").await.unwrap();
    let order: Vec<_> =
        server.requests().iter().map(|call| (call.connection().number(), call.text().to_owned())).collect();
    assert_eq!(order, [(1, "a".to_owned()), (2, "b".to_owned()), (1, "c".to_owned())]);
    assert_eq!((server.requests_of(1).len(), server.requests_of(2).len()), (2, 1));
    assert_eq!((server.connections().len(), server.open()), (2, 2));
    first.close().await.unwrap();
    server.until(|server| server.open() == 1).await;
    assert!(!server.connection(1).is_open() && server.connection(2).is_open());
}

#[tokio::test]
async fn an_attention_ends_the_request_under_way() {
    let server = Endpoint::start().await;
    let never = Gate::new();
    let _ = server.on_batch("held", move |_| number(1).hold(&never));
    let _ = server.on_batch("pending", |_| pending::<Answer>());
    let _ = server.on_batch("after", |_| number(5));
    let mut client = client(&server).await;
    for batch in ["held", "pending"] {
        let before = server.requests().len();
        tokio::select! {
            biased;
            _ = select(&mut client, batch) => panic!("{batch} was answered"),
            () = server.until(|server| server.requests().len() > before) => {}
        }
        client.cancel_query().await.unwrap();
        assert_eq!(*server.requests().last().unwrap().request(), Request::Attention, "{batch}");
        assert_eq!(select(&mut client, "after").await.unwrap(), Some(5), "{batch}");
    }
    let gate = Gate::new();
    let _ = server.on_attention({
        let gate = gate.clone();
        move |call| call.usual().held(&gate)
    });
    tokio::select! {
        answered = client.cancel_query() => panic!("{answered:?}"),
        () = gate.reached() => {}
    }
}

/// Asked without the driver, which cannot go on where a dropped future has read half a row.
#[tokio::test]
async fn an_attention_in_the_middle_of_a_row_ends_the_answer_after_it() {
    let server = Endpoint::start().await;
    let never = Gate::new();
    let _ = server.on_batch("torn", move |_| number(1).hold_at(IN_THE_ROW, &never).row([2.into()]));
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    send(&mut stream, PacketType::SqlBatch, &SqlBatch::new("torn").encode()).await;
    let (first, last) = receive(&mut stream).await;
    assert_eq!((first.len(), last), (IN_THE_ROW, false));
    send(&mut stream, PacketType::Attention, &[]).await;
    let mut answer = first;
    loop {
        let (more, last) = receive(&mut stream).await;
        answer.extend(more);
        if last {
            break;
        }
    }
    let mut tokens = TokenParser::new(answer.into());
    let Some(Token::ColMetaData(columns)) = tokens.next_token().unwrap() else { panic!("no columns") };
    assert!(matches!(tokens.next_token_with_metadata(Some(&columns)), Ok(Some(Token::Row(_)))));
    assert!(matches!(tokens.next_token(), Ok(Some(Token::Done(done))) if done.status.attn && !done.status.more));
    assert!(matches!(tokens.next_token(), Ok(None)));
}

#[tokio::test]
async fn a_request_waits_for_the_answer_to_the_one_before() {
    let server = Endpoint::start().await;
    let gate = Gate::new();
    let held = gate.clone();
    let _ = server.on_batch("first", move |_| Answer::done().affected(1).held(&held));
    let _ = server.on_batch("second", |_| Answer::done().affected(2));
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    send(&mut stream, PacketType::SqlBatch, &SqlBatch::new("first").encode()).await;
    gate.reached().await;
    send(&mut stream, PacketType::SqlBatch, &SqlBatch::new("second").encode()).await;
    // A connection that came later is served meanwhile.
    let other = Endpoint::start().await;
    let _client = client(&other).await;
    assert_eq!(server.requests().len(), 1);
    gate.open();
    for expected in [1, 2] {
        let (answer, last) = receive(&mut stream).await;
        let token = TokenParser::new(answer.into()).next_token().unwrap();
        assert!(last && matches!(token, Some(Token::Done(done)) if done.row_count == expected), "{expected}");
    }
}

async fn send(stream: &mut TcpStream, kind: PacketType, body: &[u8]) {
    let length = (PACKET_HEADER_SIZE + body.len()).try_into().unwrap();
    let header = PacketHeader::new(kind, PacketStatus::END_OF_MESSAGE, length).encode_to_bytes();
    stream.write_all(&[&header, body].concat()).await.unwrap();
}

/// The body of a packet, and whether it is the last of its message.
async fn receive(stream: &mut TcpStream) -> (Vec<u8>, bool) {
    let mut header = [0; PACKET_HEADER_SIZE];
    let _ = stream.read_exact(&mut header).await.unwrap();
    let header = PacketHeader::decode(&mut &header[..]).unwrap();
    let mut body = vec![0; header.payload_length()];
    let _ = stream.read_exact(&mut body).await.unwrap();
    (body, header.is_end_of_message())
}

#[tokio::test]
async fn a_handler_waits_for_what_it_likes_and_rules_run_out() {
    let server = Endpoint::start().await;
    let gate = Gate::new();
    let _ = server.on_batch("n", |_| number(1));
    let waiting = gate.clone();
    server
        .on_batch("n", move |_| {
            let gate = waiting.clone();
            async move {
                gate.pass().await;
                number(2)
            }
        })
        .times(1);
    let mut client = client(&server).await;
    let (answer, ()) = tokio::join!(select(&mut client, "n"), async {
        gate.reached().await;
        gate.open();
    });
    assert_eq!(answer.unwrap(), Some(2));
    assert_eq!(select(&mut client, "n").await.unwrap(), Some(1));
}

#[tokio::test]
async fn what_nothing_is_scripted_for_is_a_fault() {
    let server = Endpoint::start().await;
    let _ = server.on_batch("panic", |_| -> Answer { panic!("a handler's own") });
    let mut client = client(&server).await;
    let error = select(&mut client, "select 1").await.unwrap_err();
    assert_eq!(refused(&error).0, 50000);
    assert_eq!(server.take_faults(), [r#"connection 1: no answer is scripted for Batch("select 1")"#]);
    assert_eq!(broken(&select(&mut client, "panic").await.unwrap_err()), ErrorKind::UnexpectedEof);
    server.until(|server| server.open() == 0).await;
    assert_eq!(server.take_faults(), ["connection 1: a handler's own"]);
}

#[tokio::test]
#[should_panic(expected = "no answer is scripted for Batch")]
async fn a_fault_fails_the_test() {
    let server = Endpoint::start().await;
    let _ = select(&mut client(&server).await, "select 1").await;
}

#[tokio::test]
async fn connections_are_refused_or_not_accepted() {
    let server = Endpoint::start().await;
    server.listener().refuse().await;
    let string = server.connection_string("db");
    assert_eq!(broken(&connect(&string).await.unwrap_err()), ErrorKind::ConnectionRefused);
    server.listener().refuse().await;
    assert_eq!(broken(&connect(&string).await.unwrap_err()), ErrorKind::ConnectionRefused);

    server.listener().accept().await;
    let _client = client(&server).await;
    server.listener().pause().await;
    // The operating system completes the connection.
    let _stream = TcpStream::connect(server.address()).await.unwrap();
    // A connection that came later is served meanwhile.
    let other = Endpoint::start().await;
    let _other_client = client(&other).await;
    assert_eq!((server.connections().len(), server.open()), (1, 1));
    server.listener().accept().await;
    server.until(|server| server.open() == 2).await;
}
