//! A run of the binary, from its arguments to what it left: exit code, standard output, standard error.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

/// After this a run hangs, and is killed. Far beyond what any takes on a busy machine.
const HANGS: Duration = Duration::from_secs(240);

/// What a run has left.
#[derive(Debug)]
#[allow(dead_code, reason = "the arguments are for who reads why a test failed")]
pub struct Ran {
    pub arguments: String,
    /// `None` where a signal ended it.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// A run that goes on.
pub struct Running {
    arguments: String,
    child: Child,
    out: JoinHandle<String>,
    err: JoinHandle<String>,
    /// What of standard error has come so far.
    said: Arc<(Mutex<Vec<u8>>, Condvar)>,
    ended: mpsc::Sender<()>,
    guard: JoinHandle<bool>,
}

impl Running {
    /// Starts a command, with `input` as its standard input.
    pub fn start(command: Command, input: Option<&str>) -> Self {
        let mut run = Self::start_on(command, if input.is_some() { Stdio::piped() } else { Stdio::null() });
        if let Some(input) = input {
            // One that reads none of it ends before.
            let _ = run.child.stdin.take().unwrap().write_all(input.as_bytes());
        }
        run
    }

    /// Starts a command on this standard input.
    pub fn start_on(mut command: Command, stdin: Stdio) -> Self {
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect();
        let mut child = command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::default();
        let out = drain(child.stdout.take().unwrap(), Arc::default());
        let err = drain(child.stderr.take().unwrap(), Arc::clone(&said));
        let (ended, end) = mpsc::channel();
        let id = child.id();
        let guard = std::thread::spawn(move || {
            let hangs = matches!(end.recv_timeout(HANGS), Err(mpsc::RecvTimeoutError::Timeout));
            if hangs {
                signal(id, "KILL");
            }
            hangs
        });
        Self { arguments: arguments.join(" "), child, out, err, said, ended, guard }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until people have been told this.
    #[track_caller]
    pub fn until_it_says(&self, text: &str) {
        let (said, more) = &*self.said;
        let missing = |said: &mut Vec<u8>| !String::from_utf8_lossy(said).contains(text);
        let (_said, waited) = more.wait_timeout_while(said.lock().unwrap(), HANGS, missing).unwrap();
        assert!(!waited.timed_out(), "{text:?} was not said");
    }

    /// Asks it to stop, as Ctrl-C does.
    pub fn interrupt(&self) {
        signal(self.child.id(), "INT");
    }

    /// Asks it to stop until it does. Two that come at once are one.
    pub fn interrupt_until_it_ends(&mut self) {
        while self.child.try_wait().unwrap().is_none() {
            self.interrupt();
        }
    }

    /// Waits until something is so, which has to be before it ends.
    #[track_caller]
    pub fn until(&mut self, mut is_so: impl FnMut() -> bool) {
        while !is_so() {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended before: {ended:?}");
            std::thread::yield_now();
        }
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Ran {
        let status = self.child.wait().unwrap();
        drop(self.ended);
        let hung = self.guard.join().unwrap();
        let ran = Ran {
            arguments: self.arguments,
            code: status.code(),
            out: self.out.join().unwrap(),
            err: self.err.join().unwrap(),
        };
        assert!(!hung, "hung: {ran:?}");
        ran
    }

    /// Ends it where it stands.
    pub fn kill(mut self) -> Ran {
        self.child.kill().unwrap();
        self.wait()
    }
}

/// Sends a signal to a process.
pub fn signal(process: u32, name: &str) {
    // The shell's own `kill`, which is there where there is a shell.
    let sent = Command::new("sh").args(["-c", &format!("kill -s {name} {process}")]).status().unwrap();
    assert!(sent.success(), "{name}");
}

/// Reads to the end, and tells who waits for what has come.
fn drain(mut from: impl Read + Send + 'static, into: Arc<(Mutex<Vec<u8>>, Condvar)>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let (read, more) = &*into;
        let mut bytes = [0; 4096];
        loop {
            let count = from.read(&mut bytes).unwrap();
            read.lock().unwrap().extend(&bytes[..count]);
            more.notify_all();
            if count == 0 {
                return String::from_utf8(read.lock().unwrap().clone()).unwrap();
            }
        }
    })
}

impl Ran {
    /// Asserts that it was done.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// Asserts how it ended.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Asserts that people were told this.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.err.contains(text), "{text:?} is missing: {self:#?}");
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// The rows on standard output, as JSON.
    #[track_caller]
    pub fn rows(&self) -> Vec<Value> {
        self.json().as_array().unwrap_or_else(|| panic!("{self:#?}")).clone()
    }

    /// The error on standard error as JSON, which is its last line.
    #[track_caller]
    pub fn error(&self) -> Value {
        let last = self.err.lines().last().unwrap_or_default();
        let told: Value = serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {self:#?}"));
        told["error"].clone()
    }
}
