//! What a client asks for: the body of each message, taken apart.

use bytes::{Buf, Bytes};
use tds_protocol::{EncryptionLevel, PacketType, RawRow, ReturnValue, Token, TokenParser, TypeId, codec};

use super::login::{self, Login};
use super::value::Value;

/// A message of a client.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// The first message of a connection, with the encryption that it asks for.
    Prelogin(EncryptionLevel),
    Login(Login),
    /// A batch of SQL text.
    Batch(String),
    /// SQL text with parameters, by `sp_executesql`.
    Statement {
        text: String,
        parameters: Vec<Parameter>,
    },
    /// A procedure by its name, or by the name of the number that it was called by.
    Procedure {
        name: String,
        parameters: Vec<Parameter>,
    },
    /// The isolation level is the protocol's number, 0 for none given.
    Begin {
        isolation: u8,
    },
    Commit,
    Rollback,
    /// A savepoint with its name.
    Save(String),
    /// Rows for the table that the batch before named.
    BulkLoad {
        columns: Vec<String>,
        rows: Vec<Vec<Value>>,
    },
    /// The request under way is to end.
    Attention,
}

/// A parameter of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    pub name: String,
    pub output: bool,
    pub value: Value,
}

impl Request {
    /// Reads a message, and the transaction that it names, 0 for none. Panics on what is no request.
    pub fn read(kind: PacketType, mut body: Bytes) -> (Request, u64) {
        match kind {
            PacketType::PreLogin => (Request::Prelogin(login::encryption(body)), 0),
            PacketType::Tds7Login => (Request::Login(Login::read(&body)), 0),
            PacketType::Attention => (Request::Attention, 0),
            PacketType::BulkLoad => (bulk_load(body), 0),
            PacketType::SqlBatch => {
                let transaction = headers(&mut body);
                let length = body.len() / 2;
                (Request::Batch(codec::read_utf16_string(&mut body, length).unwrap()), transaction)
            }
            PacketType::Rpc => {
                let transaction = headers(&mut body);
                (call(body), transaction)
            }
            PacketType::TransactionManager => {
                let transaction = headers(&mut body);
                (transaction_manager(body), transaction)
            }
            other => panic!("the client sent a message of type {other:?}"),
        }
    }
}

/// Reads the headers that precede a request, of which one names the transaction.
fn headers(body: &mut Bytes) -> u64 {
    const TRANSACTION: u16 = 2;
    let length: usize = body.get_u32_le().try_into().unwrap();
    let mut headers = body.split_to(length - 4);
    while headers.has_remaining() {
        let length: usize = headers.get_u32_le().try_into().unwrap();
        let mut header = headers.split_to(length - 4);
        if header.get_u16_le() == TRANSACTION {
            return header.get_u64_le();
        }
    }
    0
}

fn transaction_manager(mut body: Bytes) -> Request {
    const BEGIN: u16 = 5;
    const COMMIT: u16 = 7;
    const ROLLBACK: u16 = 8;
    const SAVE: u16 = 9;
    match body.get_u16_le() {
        BEGIN => Request::Begin { isolation: body.get_u8() },
        COMMIT => Request::Commit,
        ROLLBACK => Request::Rollback,
        SAVE => Request::Save(codec::read_b_varchar(&mut body).unwrap()),
        other => panic!("the client sent a transaction manager request of type {other}"),
    }
}

fn call(mut body: Bytes) -> Request {
    const BY_NUMBER: u16 = 0xFFFF;
    // The procedures that a client calls by number, from 1.
    const NUMBERED: [&str; 15] = [
        "sp_cursor",
        "sp_cursoropen",
        "sp_cursorprepare",
        "sp_cursorexecute",
        "sp_cursorprepexec",
        "sp_cursorunprepare",
        "sp_cursorfetch",
        "sp_cursoroption",
        "sp_cursorclose",
        "sp_executesql",
        "sp_prepare",
        "sp_execute",
        "sp_prepexec",
        "sp_prepexecrpc",
        "sp_unprepare",
    ];
    let length = body.get_u16_le();
    let name = if length == BY_NUMBER {
        NUMBERED[usize::from(body.get_u16_le()) - 1].to_owned()
    } else {
        codec::read_utf16_string(&mut body, length.into()).unwrap()
    };
    // Options of the call, which no answer here depends on.
    body.advance(2);
    let mut parameters = Vec::new();
    while body.has_remaining() {
        parameters.push(parameter(&mut body));
    }
    if name != "sp_executesql" {
        return Request::Procedure { name, parameters };
    }
    // The text, and the declaration of the parameters that follow it.
    let parameters_of_its_own = parameters.split_off(parameters.len().min(2));
    match parameters.into_iter().next() {
        Some(Parameter { value: Value::Text(text), .. }) => {
            Request::Statement { text, parameters: parameters_of_its_own }
        }
        other => panic!("the client sent a statement whose text is {other:?}"),
    }
}

fn parameter(body: &mut Bytes) -> Parameter {
    const OUTPUT: u8 = 1;
    let name = codec::read_b_varchar(body).unwrap();
    let output = body.get_u8() & OUTPUT != 0;
    // A return value is laid out as a parameter is from TYPE_INFO on. Before it stand an ordinal, a name, a status, a user
    // type and flags.
    const BEFORE: [u8; 10] = [0; 10];
    let mut wire = BEFORE.chain(&mut *body);
    let read = ReturnValue::decode(&mut wire).unwrap_or_else(|error| panic!("parameter {name:?}: {error}"));
    let of = TypeId::from_u8(read.col_type).unwrap();
    let value = Value::take(of, read.type_info.max_length, &mut read.value.clone());
    Parameter { name, output, value }
}

fn bulk_load(body: Bytes) -> Request {
    let mut tokens = TokenParser::new(body);
    let Some(Token::ColMetaData(metadata)) = tokens.next_token().unwrap() else {
        panic!("a bulk load does not begin with its columns")
    };
    let mut rows = Vec::new();
    while let Some(token) = tokens.next_token_with_metadata(Some(&metadata)).unwrap() {
        match token {
            Token::Row(RawRow { mut data }) => rows.push(
                metadata
                    .columns
                    .iter()
                    .map(|column| Value::take(column.type_id, column.type_info.max_length, &mut data))
                    .collect(),
            ),
            Token::Done(_) => break,
            other => panic!("a bulk load holds {other:?}"),
        }
    }
    Request::BulkLoad { columns: metadata.columns.into_iter().map(|column| column.name).collect(), rows }
}
