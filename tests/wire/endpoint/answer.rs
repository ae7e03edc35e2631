//! What the endpoint answers, and the moments at which it stops in between.

use bytes::{BufMut, Bytes, BytesMut};
use tds_protocol::{
    Done, DoneInProc, DoneProc, DoneStatus, EncryptionLevel, EnvChangeType, PreLogin, TokenType, codec,
};

use super::login::Login;
use super::request::Request;
use super::value::{Type, Value};
use crate::gate::{End, Gate};

/// An answer to a request: results and messages in order. The tokens that end it follow by themselves, as the request's kind
/// and what the answer holds demand.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    parts: Vec<Part>,
    code: Option<i32>,
    stops: Vec<(usize, Stop)>,
}

/// What happens in the middle of an answer.
#[derive(Clone, Debug)]
pub enum Stop {
    Hold(Gate),
    End(End),
}

#[derive(Clone, Debug)]
enum Part {
    Prelogin(EncryptionLevel),
    Accepted(Box<Login>),
    Redirect { host: String, port: u16 },
    Columns(Vec<(String, Type)>),
    Row(Vec<Value>),
    Affected(u64),
    Output { name: String, of: Type, value: Value },
    Message(TokenType, Message),
    Begun,
    Committed,
    RolledBack,
    Stop(Stop),
}

/// An error or an information of the server.
#[derive(Clone, Debug)]
struct Message {
    number: i32,
    state: u8,
    class: u8,
    text: String,
}

impl Answer {
    /// An answer with no result: the request is done.
    pub fn done() -> Answer {
        Answer::default()
    }

    /// The answer of a procedure with this return code and nothing else.
    pub fn return_code(code: i32) -> Answer {
        Answer::done().code(code)
    }

    /// An error of class 16.
    pub fn failed(number: i32, text: &str) -> Answer {
        Answer::done().error(number, 1, 16, text)
    }

    /// One result set.
    pub fn rows<N: Into<String>, V: IntoIterator<Item = Value>>(
        columns: impl IntoIterator<Item = (N, Type)>,
        rows: impl IntoIterator<Item = V>,
    ) -> Answer {
        rows.into_iter().fold(Answer::done().columns(columns), Answer::row)
    }

    /// The answer to the first message of a connection.
    pub fn prelogin(encryption: EncryptionLevel) -> Answer {
        Answer::done().part(Part::Prelogin(encryption))
    }

    /// The login succeeds.
    pub fn accepted(login: &Login) -> Answer {
        Answer::done().part(Part::Accepted(Box::new(login.clone())))
    }

    /// The login fails, as with a wrong password.
    pub fn login_failed(user: &str) -> Answer {
        Answer::done().error(18456, 1, 14, &format!("Login failed for user '{user}'."))
    }

    /// The login succeeds and sends the client to another server.
    pub fn redirect(login: &Login, host: &str, port: u16) -> Answer {
        Answer::accepted(login).part(Part::Redirect { host: host.to_owned(), port })
    }

    /// The columns of the rows that follow.
    pub fn columns<N: Into<String>>(self, columns: impl IntoIterator<Item = (N, Type)>) -> Answer {
        self.part(Part::Columns(columns.into_iter().map(|(name, of)| (name.into(), of)).collect()))
    }

    /// A row of the result set that the last columns began.
    pub fn row(self, row: impl IntoIterator<Item = Value>) -> Answer {
        self.part(Part::Row(row.into_iter().collect()))
    }

    /// A statement without a result set that changed this many rows.
    pub fn affected(self, rows: u64) -> Answer {
        self.part(Part::Affected(rows))
    }

    /// The return code of a procedure; 0 if none is given and there is no error.
    pub fn code(mut self, code: i32) -> Answer {
        self.code = Some(code);
        self
    }

    /// The value of an output parameter.
    pub fn output(self, name: &str, of: Type, value: impl Into<Value>) -> Answer {
        self.part(Part::Output { name: name.to_owned(), of, value: value.into() })
    }

    pub fn error(self, number: i32, state: u8, class: u8, text: &str) -> Answer {
        self.part(Part::Message(TokenType::Error, Message { number, state, class, text: text.to_owned() }))
    }

    pub fn info(self, number: i32, state: u8, text: &str) -> Answer {
        self.part(Part::Message(TokenType::Info, Message { number, state, class: 0, text: text.to_owned() }))
    }

    /// A transaction begins.
    pub fn begun(self) -> Answer {
        self.part(Part::Begun)
    }

    pub fn committed(self) -> Answer {
        self.part(Part::Committed)
    }

    pub fn rolled_back(self) -> Answer {
        self.part(Part::RolledBack)
    }

    /// What was added so far is sent, and the rest when the gate is open.
    pub fn hold(self, gate: &Gate) -> Answer {
        self.part(Part::Stop(Stop::Hold(gate.clone())))
    }

    /// What was added so far is sent, and the connection ends.
    pub fn cut(self, end: End) -> Answer {
        self.part(Part::Stop(Stop::End(end)))
    }

    /// Nothing is sent until the gate is open.
    pub fn held(self, gate: &Gate) -> Answer {
        self.hold_at(0, gate)
    }

    /// So many bytes of the answer are sent, and the rest when the gate is open.
    pub fn hold_at(mut self, bytes: usize, gate: &Gate) -> Answer {
        self.stops.push((bytes, Stop::Hold(gate.clone())));
        self
    }

    /// So many bytes of the answer are sent, and the connection ends.
    pub fn cut_at(mut self, bytes: usize, end: End) -> Answer {
        self.stops.push((bytes, Stop::End(end)));
        self
    }

    fn part(mut self, part: Part) -> Answer {
        self.parts.push(part);
        self
    }

    /// The bytes of the answer to such a request. A transaction that begins in it gets the number given.
    pub fn write(self, to: &Request, transaction: &mut u64, next_transaction: u64) -> Written {
        let finish = match to {
            Request::Prelogin(_) => Finish::Nothing,
            Request::Statement { .. } | Request::Procedure { .. } => Finish::Procedure,
            Request::Attention => Finish::Attention,
            _ => Finish::Batch,
        };
        let mut writer = Writer {
            written: Written { stops: self.stops, ..Written::default() },
            finish,
            columns: Vec::new(),
            count: None,
            failed: false,
            outputs: Vec::new(),
        };
        for part in self.parts {
            writer.part(part, transaction, next_transaction);
        }
        writer.finish(self.code)
    }
}

/// An answer's bytes.
#[derive(Debug, Default)]
pub struct Written {
    pub bytes: BytesMut,
    /// Where each token ends.
    pub ends: Vec<usize>,
    /// Where it stops, in order.
    pub stops: Vec<(usize, Stop)>,
    /// Whether a login that is answered so has failed.
    pub failed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Finish {
    Nothing,
    Batch,
    Procedure,
    Attention,
}

struct Writer {
    written: Written,
    finish: Finish,
    /// Of the result set that is being written.
    columns: Vec<Type>,
    /// The rows of the statement whose end was not written yet.
    count: Option<u64>,
    failed: bool,
    outputs: Vec<(String, Type, Value)>,
}

impl Writer {
    fn part(&mut self, part: Part, transaction: &mut u64, next_transaction: u64) {
        let out = &mut self.written.bytes;
        match part {
            Part::Prelogin(encryption) => out.put(PreLogin::new().with_encryption(encryption).encode()),
            Part::Accepted(login) => self.accepted(&login),
            Part::Redirect { host, port } => {
                let mut value = BytesMut::new();
                value.put_u8(0);
                value.put_u16_le(port);
                codec::write_us_varchar(&mut value, &host);
                let mut body = BytesMut::new();
                body.put_u16_le(value.len().try_into().unwrap());
                body.put(value);
                body.put_u16_le(0);
                self.environment(EnvChangeType::Routing, &body);
            }
            Part::Columns(columns) => {
                self.end_statement();
                let out = &mut self.written.bytes;
                out.put_u8(TokenType::ColMetaData as u8);
                out.put_u16_le(columns.len().try_into().unwrap());
                for (name, of) in &columns {
                    of.put_metadata(out);
                    codec::write_b_varchar(out, name);
                }
                self.columns = columns.into_iter().map(|(_, of)| of).collect();
                self.count = Some(0);
            }
            Part::Row(row) => {
                assert_eq!(row.len(), self.columns.len(), "the row {row:?} has not the columns' number of values");
                out.put_u8(TokenType::Row as u8);
                for (of, value) in self.columns.iter().zip(&row) {
                    of.put_value(value, out);
                }
                *self.count.as_mut().expect("a row comes after its columns") += 1;
            }
            Part::Affected(rows) => {
                self.end_statement();
                self.count = Some(rows);
            }
            Part::Output { name, of, value } => self.outputs.push((name, of, value)),
            Part::Message(token, message) => {
                self.failed |= token == TokenType::Error;
                let body = message.body();
                out.put_u8(token as u8);
                out.put_u16_le(body.len().try_into().unwrap());
                out.put(body);
            }
            Part::Begun => {
                *transaction = next_transaction;
                self.transaction(EnvChangeType::BeginTransaction, Some(next_transaction), None);
            }
            Part::Committed => {
                self.transaction(EnvChangeType::CommitTransaction, None, Some(std::mem::take(transaction)));
            }
            Part::RolledBack => {
                self.transaction(EnvChangeType::RollbackTransaction, None, Some(std::mem::take(transaction)));
            }
            Part::Stop(stop) => {
                let at = self.written.bytes.len();
                self.written.stops.push((at, stop));
            }
        }
        self.token_ended();
    }

    fn accepted(&mut self, login: &Login) {
        const TSQL: u8 = 1;
        const VERSION_7_4: u32 = 0x7400_0004;
        let mut body = BytesMut::new();
        body.put_u8(TSQL);
        body.put_u32(VERSION_7_4);
        codec::write_b_varchar(&mut body, "Microsoft SQL Server");
        body.put_slice(&[16, 0, 0, 0]);
        let out = &mut self.written.bytes;
        out.put_u8(TokenType::LoginAck as u8);
        out.put_u16_le(body.len().try_into().unwrap());
        out.put(body);
        let database = if login.database.is_empty() { "master" } else { &login.database };
        for (of, new, old) in [
            (EnvChangeType::Database, database, "master"),
            (EnvChangeType::PacketSize, &login.packet_size.to_string(), "4096"),
        ] {
            let mut body = BytesMut::new();
            codec::write_b_varchar(&mut body, new);
            codec::write_b_varchar(&mut body, old);
            self.environment(of, &body);
        }
    }

    fn transaction(&mut self, of: EnvChangeType, new: Option<u64>, old: Option<u64>) {
        let mut body = BytesMut::new();
        for transaction in [new, old] {
            if let Some(transaction) = transaction {
                body.put_u8(8);
                body.put_u64_le(transaction);
            } else {
                body.put_u8(0);
            }
        }
        self.environment(of, &body);
    }

    fn environment(&mut self, of: EnvChangeType, body: &[u8]) {
        let out = &mut self.written.bytes;
        out.put_u8(TokenType::EnvChange as u8);
        out.put_u16_le((body.len() + 1).try_into().unwrap());
        out.put_u8(of as u8);
        out.put_slice(body);
        self.token_ended();
    }

    /// Writes the end of the statement before, since more follows.
    fn end_statement(&mut self) {
        if let Some(row_count) = self.count.take() {
            let status = status(true, Some(row_count), false);
            let out = &mut self.written.bytes;
            if self.finish == Finish::Procedure {
                DoneInProc { status, cur_cmd: 0, row_count }.encode(out);
            } else {
                Done { status, cur_cmd: 0, row_count }.encode(out);
            }
            self.token_ended();
        }
    }

    fn finish(mut self, code: Option<i32>) -> Written {
        let returns = code.is_some() || !self.outputs.is_empty();
        assert!(!returns || self.finish == Finish::Procedure, "only a procedure returns a code or outputs");
        match self.finish {
            Finish::Nothing => {}
            Finish::Batch => {
                let row_count = self.count.unwrap_or(0);
                let status = status(false, self.count, self.failed);
                Done { status, cur_cmd: 0, row_count }.encode(&mut self.written.bytes);
            }
            Finish::Procedure => {
                self.end_statement();
                if let Some(code) = code.or((!self.failed).then_some(0)) {
                    self.written.bytes.put_u8(TokenType::ReturnStatus as u8);
                    self.written.bytes.put_i32_le(code);
                    self.token_ended();
                }
                for (ordinal, (name, of, value)) in (0..).zip(std::mem::take(&mut self.outputs)) {
                    const OUTPUT: u8 = 1;
                    let out = &mut self.written.bytes;
                    out.put_u8(TokenType::ReturnValue as u8);
                    out.put_u16_le(ordinal);
                    codec::write_b_varchar(out, &name);
                    out.put_u8(OUTPUT);
                    of.put_metadata(out);
                    of.put_value(&value, out);
                    self.token_ended();
                }
                let status = status(false, None, self.failed);
                DoneProc { status, cur_cmd: 0, row_count: 0 }.encode(&mut self.written.bytes);
            }
            Finish::Attention => {
                let mut status = status(false, None, self.failed);
                status.attn = true;
                Done { status, cur_cmd: 0, row_count: 0 }.encode(&mut self.written.bytes);
            }
        }
        self.token_ended();
        self.written.stops.sort_by_key(|(at, _)| *at);
        self.written.failed = self.failed;
        self.written
    }

    fn token_ended(&mut self) {
        self.written.ends.push(self.written.bytes.len());
    }
}

fn status(more: bool, count: Option<u64>, failed: bool) -> DoneStatus {
    let mut status = DoneStatus::default();
    status.more = more;
    status.count = count.is_some();
    status.error = failed;
    status
}

impl Message {
    fn body(&self) -> Bytes {
        let mut body = BytesMut::new();
        body.put_i32_le(self.number);
        body.put_u8(self.state);
        body.put_u8(self.class);
        codec::write_us_varchar(&mut body, &self.text);
        codec::write_b_varchar(&mut body, "endpoint");
        codec::write_b_varchar(&mut body, "");
        body.put_u32_le(1);
        body.freeze()
    }
}
