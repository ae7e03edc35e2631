//! The endpoint itself, asked by the plain driver.

mod stops;

use std::io::ErrorKind;

use tds_protocol::{PacketType, RpcRequest, TypeId};
use tiberius::error::Error;
use tiberius::xml::XmlData;
use tiberius::{AuthMethod, Command, Config, EncryptionLevel as Encryption, IntoRow, Query};
use uuid::Uuid;

use crate::client::{Client, connect, connect_with};
use crate::endpoint::{Answer, EncryptionLevel, Endpoint, Login, PASSWORD, Parameter, Request, Type, USER, Value};
use crate::gate::{End, Gate};

async fn client(server: &Endpoint) -> Client {
    connect(&server.connection_string("db")).await.unwrap()
}

/// One row with one column of the type `int`.
fn number(value: i32) -> Answer {
    Answer::rows([("n", Type::Int)], [[value.into()]])
}

/// The error that the server sent.
fn refused(error: &Error) -> (u32, u8, u8, &str) {
    match error {
        Error::Server(token) => (token.code(), token.state(), token.class(), token.message()),
        other => panic!("{other:?} is no error of the server"),
    }
}

/// How the connection broke. The driver reports a reset in an answer as a broken pipe.
fn broken(error: &Error) -> ErrorKind {
    match error {
        Error::Io { kind, .. } => *kind,
        other => panic!("{other:?} is no broken connection"),
    }
}

async fn select(client: &mut Client, batch: &str) -> Result<Option<i32>, Error> {
    let row = client.simple_query(batch).await?.into_row().await?;
    Ok(row.and_then(|row| row.get(0)))
}

#[tokio::test]
async fn a_login_is_read() {
    let server = Endpoint::start().await;
    let mut config = Config::from_ado_string(&server.connection_string("db")).unwrap();
    config.database("Größe");
    config.application_name("wire tests");
    config.client_name("here");
    config.readonly(true);
    config.packet_size(512);
    let mut client = connect_with(config).await.unwrap();
    let expected = Login {
        host: "here".to_owned(),
        user: USER.to_owned(),
        password: PASSWORD.to_owned(),
        application: "wire tests".to_owned(),
        server: "127.0.0.1".to_owned(),
        database: "Größe".to_owned(),
        token: None,
        read_only: true,
        packet_size: 512,
    };
    assert_eq!(server.connection(1).login(), expected);
    assert!(server.requests().is_empty());

    // Both sides cut what is longer than the packets that they agreed on.
    let long = "x".repeat(5000);
    let _ = server.on_batch("long", |call| Answer::rows([("t", Type::LongText)], [[call.text().into()]]));
    let batch = format!("long {long}");
    let row = client.simple_query(&*batch).await.unwrap().into_row().await.unwrap().unwrap();
    assert_eq!(row.get::<&str, _>(0), Some(&*batch));
}

#[tokio::test]
async fn a_login_with_a_token_is_read() {
    let server = Endpoint::start().await;
    let mut config = Config::from_ado_string(&server.connection_string("db")).unwrap();
    config.authentication(AuthMethod::aad_token("a token"));
    let _client = connect_with(config).await.unwrap();
    let login = server.connection(1).login();
    assert_eq!(login.token.as_deref(), Some("a token"));
    assert_eq!((&*login.user, &*login.password), ("", ""));
}

#[tokio::test]
async fn a_login_fails() {
    let server = Endpoint::start().await;
    let _ = server.on_login(|call| Answer::login_failed(&call.connection().login().user));
    let error = connect(&server.connection_string("db")).await.unwrap_err();
    assert_eq!(refused(&error), (18456, 1, 14, "Login failed for user 'tester'."));
    server.until(|server| server.open() == 0).await;
}

#[tokio::test]
async fn a_login_is_sent_to_another_server() {
    let (first, second) = (Endpoint::start().await, Endpoint::start().await);
    let port = second.address().port();
    let _ = first.on_login(move |call| Answer::redirect(&call.connection().login(), "127.0.0.1", port));
    let error = connect(&first.connection_string("db")).await.unwrap_err();
    assert_eq!(error, Error::Routing { host: "127.0.0.1".to_owned(), port });
    let _client = client(&second).await;
    assert_eq!((first.connections().len(), second.connections().len()), (1, 1));
}

#[tokio::test]
async fn an_encryption_is_negotiated() {
    let server = Endpoint::start().await;
    let mut config = Config::from_ado_string(&server.connection_string("db")).unwrap();
    config.encryption(Encryption::Required);
    assert!(matches!(connect_with(config).await, Err(Error::Protocol(_))));

    assert_eq!(server.connection(1).find_login(), None);
}

#[tokio::test]
async fn a_server_stops_before_the_login() {
    let server = Endpoint::start().await;
    let gate = Gate::new();
    let held = gate.clone();
    let _ = server.on_prelogin(move |call| {
        assert_eq!(*call.request(), Request::Prelogin(EncryptionLevel::NotSupported));
        call.usual().held(&held)
    });
    let string = server.connection_string("db");
    let (connected, ()) = tokio::join!(connect(&string), async {
        gate.reached().await;
        server.connection(1).cut(End::Reset).await;
    });
    assert_eq!(broken(&connected.unwrap_err()), ErrorKind::ConnectionReset);
    gate.open();
    let _client = connect(&string).await.unwrap();
}

#[tokio::test]
async fn a_batch_is_answered_with_rows() {
    let server = Endpoint::start().await;
    let id = Uuid::from_u128(7);
    let columns = [
        ("bit", Type::Bit),
        ("tiny", Type::TinyInt),
        ("small", Type::SmallInt),
        ("int", Type::Int),
        ("big", Type::BigInt),
        ("text", Type::Text),
        ("long_text", Type::LongText),
        ("bytes", Type::Bytes),
        ("long_bytes", Type::LongBytes),
        ("id", Type::Uuid),
    ];
    let long = vec![9_u8; 20_000];
    let values: Vec<Value> = vec![
        true.into(),
        200_u8.into(),
        (-2_i16).into(),
        (-3).into(),
        i64::MIN.into(),
        "Zürich 🌍".into(),
        "ä".repeat(9000).into(),
        vec![0_u8, 255].into(),
        long.clone().into(),
        id.into(),
    ];
    let nulls = vec![Value::Null; columns.len()];
    let _ = server.on_batch("select", move |_| Answer::rows(columns, [values.clone(), nulls.clone()]));
    let mut client = client(&server).await;
    let rows = client.simple_query("select").await.unwrap().into_first_result().await.unwrap();
    let [row, nulls] = &rows[..] else { panic!("{} rows", rows.len()) };
    assert_eq!(row.get::<bool, _>("bit"), Some(true));
    assert_eq!(row.get::<u8, _>("tiny"), Some(200));
    assert_eq!(row.get::<i16, _>("small"), Some(-2));
    assert_eq!(row.get::<i32, _>("int"), Some(-3));
    assert_eq!(row.get::<i64, _>("big"), Some(i64::MIN));
    assert_eq!(row.get::<&str, _>("text"), Some("Zürich 🌍"));
    assert_eq!(row.get::<&str, _>("long_text"), Some(&*"ä".repeat(9000)));
    assert_eq!(row.get::<&[u8], _>("bytes"), Some(&[0_u8, 255][..]));
    assert_eq!(row.get::<&[u8], _>("long_bytes"), Some(&long[..]));
    assert_eq!(row.get::<Uuid, _>("id"), Some(id));
    assert_eq!(nulls.get::<bool, _>("bit"), None);
    assert_eq!(nulls.get::<i64, _>("big"), None);
    assert_eq!(nulls.get::<&str, _>("text"), None);
    assert_eq!(nulls.get::<&str, _>("long_text"), None);
    assert_eq!(nulls.get::<&[u8], _>("bytes"), None);
    assert_eq!(nulls.get::<&[u8], _>("long_bytes"), None);
    assert_eq!(nulls.get::<Uuid, _>("id"), None);
    assert_eq!(*server.requests()[0].request(), Request::Batch("select".to_owned()));
}

#[tokio::test]
async fn several_statements_are_answered_in_order() {
    let server = Endpoint::start().await;
    let _ = server.on_batch("two", |_| {
        Answer::done()
            .info(5701, 2, "Changed database context.")
            .columns([("a", Type::Int)])
            .row([1.into()])
            .affected(3)
            .columns([("b", Type::Int)])
            .row([2.into()])
            .row([Value::Null])
    });
    let mut client = client(&server).await;
    let results = client.simple_query("two").await.unwrap().into_results().await.unwrap();
    let numbers: Vec<Vec<Option<i32>>> =
        results.iter().map(|rows| rows.iter().map(|row| row.get(0)).collect()).collect();
    assert_eq!(numbers, [vec![Some(1)], vec![Some(2), None]]);
}

#[tokio::test]
async fn a_statement_brings_its_parameters() {
    let server = Endpoint::start().await;
    let _ = server.on_statement("select", |call| {
        Answer::rows([("a", Type::BigInt)], [[(call.get::<i64>("@p1") + i64::from(call.get::<i32>("@P2"))).into()]])
    });
    let _ = server.on_statement("update", |_| Answer::done().affected(3).affected(4));
    let mut client = client(&server).await;
    let row = client.query("select @P1 + @P2", &[&1_i64, &2_i32]).await.unwrap().into_row().await.unwrap().unwrap();
    assert_eq!(row.get::<i64, _>(0), Some(3));

    let id = Uuid::from_u128(1);
    let mut query = Query::new("update");
    query.bind(true);
    query.bind("x".repeat(5000));
    query.bind(&b"abc"[..]);
    query.bind(vec![1_u8; 9000]);
    query.bind(id);
    query.bind(None::<i32>);
    query.bind(None::<String>);
    query.bind("");
    query.bind(XmlData::new("<a/>"));
    query.bind(1.5_f64);
    let changed = query.execute(&mut client).await.unwrap();
    assert_eq!(changed.rows_affected(), [3, 4]);

    let call = &server.requests()[1];
    assert_eq!(call.text(), "update");
    let values: Vec<_> = call.parameters().iter().map(|parameter| parameter.value.clone()).collect();
    let expected = [
        true.into(),
        "x".repeat(5000).into(),
        b"abc"[..].into(),
        vec![1_u8; 9000].into(),
        id.into(),
        Value::Null,
        Value::Null,
        "".into(),
        "<a/>".into(),
        Value::Other(TypeId::FloatN as u8, 1.5_f64.to_le_bytes().to_vec().into()),
    ];
    assert_eq!(values, expected);
    assert_eq!(call.get::<Option<i32>>("@P6"), None);
    assert_eq!(call.get::<Option<bool>>("@P1"), Some(true));
    assert_eq!(call.find("@P11"), None);
}

#[tokio::test]
async fn a_procedure_returns_a_code_rows_and_outputs() {
    let server = Endpoint::start().await;
    let _ = server.on_procedure("__ShardManagement.look", |call| {
        assert_eq!(call.get::<Vec<u8>>("@key"), [1, 2]);
        Answer::rows([("Name", Type::Text)], [[call.get::<String>("@name").into()]])
            .code(-7)
            .output("@count", Type::Int, 5)
            .output("@none", Type::Text, Value::Null)
    });
    let mut client = client(&server).await;
    let mut command = Command::new("[__ShardManagement].[Look]");
    command.bind_param("@name", "orders");
    command.bind_param("@key", &[1_u8, 2][..]);
    command.bind_out_param("@count", 0_i32);
    let result = command.exec(&mut client).await.unwrap().into_command_result().await.unwrap();
    assert_eq!(result.return_code().cast_signed(), -7);
    assert_eq!(result.try_return_value::<i32>("@count").unwrap(), Some(5));
    assert_eq!(result.try_return_value::<&str>("@none").unwrap(), None);
    assert_eq!(result.to_query_result(0).unwrap()[0].get::<&str, _>("Name"), Some("orders"));
    let parameter = |name: &str, output, value: Value| Parameter { name: name.to_owned(), output, value };
    let expected = [
        parameter("@name", false, "orders".into()),
        parameter("@key", false, vec![1, 2].into()),
        parameter("@count", true, 0.into()),
    ];
    assert_eq!(server.requests()[0].parameters(), expected);

    let _ = server.on_procedure("__shardmanagement.look", |_| Answer::return_code(3));
    let result = Command::new("__ShardManagement.look").exec(&mut client).await.unwrap();
    assert_eq!(result.into_command_result().await.unwrap().return_code(), 3);
}

#[test]
fn a_procedure_is_called_by_its_number() {
    let call = RpcRequest::unprepare(7).encode_with_transaction(42);
    let parameters = vec![Parameter { name: "@handle".to_owned(), output: false, value: 7.into() }];
    let expected = Request::Procedure { name: "sp_unprepare".to_owned(), parameters };
    assert_eq!(Request::read(PacketType::Rpc, call), (expected, 42));
}

#[tokio::test]
async fn an_error_fails_the_request_and_not_the_connection() {
    let server = Endpoint::start().await;
    let _ = server.on_batch("bad", |_| Answer::failed(208, "Invalid object name 'x'."));
    let _ = server
        .on_procedure("bad", |_| Answer::done().columns([("n", Type::Int)]).row([1.into()]).error(50001, 9, 11, "no"));
    let _ = server.on_batch("good", |_| number(1));
    let mut client = client(&server).await;
    let error = select(&mut client, "bad").await.unwrap_err();
    assert_eq!(refused(&error), (208, 1, 16, "Invalid object name 'x'."));
    let error = Command::new("bad").exec(&mut client).await.unwrap().into_command_result().await.unwrap_err();
    assert_eq!(refused(&error), (50001, 9, 11, "no"));
    assert_eq!(select(&mut client, "good").await.unwrap(), Some(1));
}

#[tokio::test]
async fn a_transaction_is_named_by_the_requests_in_it() {
    let server = Endpoint::start().await;
    let _ = server.on_batch("work", |_| Answer::done());
    let mut client = client(&server).await;
    for commits in [true, false] {
        client.begin_transaction().await.unwrap();
        let _ = select(&mut client, "work").await.unwrap();
        client.save_transaction("here").await.unwrap();
        if commits { client.commit_transaction().await } else { client.rollback_transaction().await }.unwrap();
        let _ = select(&mut client, "work").await.unwrap();
    }
    let calls = server.requests();
    let requests: Vec<_> = calls.iter().map(|call| call.request().clone()).collect();
    let (work, saved) = (Request::Batch("work".to_owned()), Request::Save("here".to_owned()));
    let begin = Request::Begin { isolation: 0 };
    let one = [begin.clone(), work.clone(), saved.clone(), Request::Commit, work.clone()];
    let other = [begin, work.clone(), saved, Request::Rollback, work];
    assert_eq!(requests, [one, other].concat());
    let transactions: Vec<_> = calls.iter().map(|call| call.transaction()).collect();
    let (first, second) = (transactions[1], transactions[6]);
    assert!(first != 0 && second != 0 && first != second, "{first} {second}");
    assert_eq!(transactions, [0, first, first, first, 0, 0, second, second, second, 0]);
}

#[tokio::test]
async fn a_server_ends_a_transaction_by_itself() {
    let server = Endpoint::start().await;
    let _ = server.on_batch("work", |_| Answer::failed(1205, "deadlock").rolled_back());
    let mut client = client(&server).await;
    client.begin_transaction().await.unwrap();
    assert!(select(&mut client, "work").await.unwrap_err().is_deadlock());
    assert!(select(&mut client, "work").await.unwrap_err().is_deadlock());
    let transactions: Vec<_> = server.requests().iter().map(|call| call.transaction() != 0).collect();
    assert_eq!(transactions, [false, true, false]);
}

#[tokio::test]
async fn a_commit_fails_or_its_answer_is_lost() {
    let server = Endpoint::start().await;
    server.on_commit(|call| call.usual().cut_at(0, End::Close)).times(1);
    server.on_commit(|_| Answer::failed(3902, "no")).times(1);
    let mut client = client(&server).await;
    client.begin_transaction().await.unwrap();
    assert_eq!(refused(&client.commit_transaction().await.unwrap_err()).0, 3902);
    assert_eq!(broken(&client.commit_transaction().await.unwrap_err()), ErrorKind::UnexpectedEof);
    assert_eq!(server.requests().len(), 3);
    server.until(|server| server.open() == 0).await;
}

#[tokio::test]
async fn begin_and_rollback_are_scripted() {
    let server = Endpoint::start().await;
    server.on_begin(|_| Answer::failed(1, "begin")).times(1);
    server.on_rollback(|_| Answer::failed(2, "rollback")).times(1);
    let mut client = client(&server).await;
    assert_eq!(refused(&client.begin_transaction().await.unwrap_err()).0, 1);
    client.begin_transaction().await.unwrap();
    assert_eq!(refused(&client.rollback_transaction().await.unwrap_err()).0, 2);
    client.rollback_transaction().await.unwrap();
}

#[tokio::test]
async fn rows_are_loaded_in_bulk() {
    let server = Endpoint::start().await;
    let _ = server.on_batch("SELECT TOP 0", |_| Answer::done().columns([("a", Type::Int), ("b", Type::LongText)]));
    let _ = server.on_batch("INSERT BULK", |_| Answer::done());
    let _ = server.on_bulk_load(|call| match call.request() {
        Request::BulkLoad { rows, .. } => Answer::done().affected(rows.len().try_into().unwrap()),
        other => panic!("{other:?}"),
    });
    let mut client = client(&server).await;
    let mut load = client.bulk_insert("t").await.unwrap();
    load.send((1_i32, "one").into_row()).await.unwrap();
    load.send((None::<i32>, None::<&str>).into_row()).await.unwrap();
    assert_eq!(load.finalize().await.unwrap().total(), 2);
    let rows = vec![vec![1.into(), "one".into()], vec![Value::Null, Value::Null]];
    let expected = Request::BulkLoad { columns: vec!["a".to_owned(), "b".to_owned()], rows };
    assert_eq!(*server.requests().last().unwrap().request(), expected);
}
