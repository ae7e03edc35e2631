//! A child process of a test: this test program, started again, and told by environment variables what to do.
//!
//! Parent and child keep step by lines on the child's output, which begin with a mark, and lines on its input; nobody sleeps.

use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};

use shardlet::fault_point;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

const MARK: &str = "@@ ";

/// A child, seen from its parent. It is killed when this is dropped.
pub struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts it with arguments for the test runner and variables that [`told`] reads.
    pub fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(arguments)
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take(), child.stdout.take().unwrap());
        Self { child, input, output: BufReader::new(output).lines() }
    }

    /// The next line that the child says to its parent.
    pub async fn says(&mut self) -> String {
        while let Some(line) = self.output.next_line().await.unwrap() {
            // What the test runner prints may stand before the mark.
            if let Some((_, said)) = line.split_once(MARK) {
                return said.to_owned();
            }
        }
        panic!("the child ended without a word: {:?}", self.child.wait().await);
    }

    pub async fn expect(&mut self, expected: &str) {
        assert_eq!(self.says().await, expected);
    }

    pub async fn tell(&mut self, line: &str) {
        let input = self.input.as_mut().unwrap();
        input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// Its id, as long as it lives.
    pub fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Ends its input, which some wait for.
    #[allow(dead_code, reason = "for children of the tests against a server")]
    pub fn end_input(&mut self) {
        drop(self.input.take());
    }

    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    pub async fn ends_well(mut self) {
        drop(self.input);
        assert!(self.child.wait().await.unwrap().success());
    }
}

/// What the parent has told the child, if this process is one.
pub fn told(variable: &str) -> Option<String> {
    std::env::var(variable).ok()
}

/// Says a line to the parent.
pub fn say(line: &str) {
    println!("\n{MARK}{line}");
}

/// Waits for a line of the parent; `None` when it has closed the pipe.
pub async fn hear() -> Option<String> {
    let line = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        (std::io::stdin().read_line(&mut line).unwrap() > 0).then_some(line)
    });
    line.await.unwrap().map(|line| line.trim_end().to_owned())
}

/// Lets this process stop for good at its n-th fault point from now on, of those whose names begin so, and say its name.
pub fn stop_at(point: usize, beginning: &'static str) {
    static LEFT: AtomicUsize = AtomicUsize::new(0);
    LEFT.store(point, Ordering::SeqCst);
    let observing = fault_point::observe(move |name| {
        if !name.starts_with(beginning) {
            return;
        }
        let left = LEFT.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left == Ok(1) {
            say(name);
            loop {
                std::thread::park();
            }
        }
    });
    assert!(observing);
}
