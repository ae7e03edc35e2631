//! Asks at the terminal for what is not to be seen.
//!
//! Invariant: the terminal shows again what is typed when the question ends, also if nobody answered it and the future was dropped.

use std::io;

use crate::output;

/// Asks for a password. Cancel safe: what is typed later is read by nobody.
///
/// # Errors
/// If there is no terminal, or it was closed.
pub(crate) async fn password(question: String) -> io::Result<String> {
    hidden::read(output::on_one_line(&question)).await
}

/// As the terminal does it: it keeps its line editing and its Ctrl-C, which `rpassword` takes from it for as long as it reads.
#[cfg(unix)]
mod hidden {
    use std::fs::File;
    use std::io::{self, BufRead, BufReader, Write};

    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

    /// A terminal that does not show what is typed, for as long as this lives.
    struct Hidden {
        terminal: File,
        before: Termios,
    }

    impl Hidden {
        fn new() -> io::Result<Self> {
            let terminal = File::options().read(true).write(true).open("/dev/tty")?;
            let before = tcgetattr(&terminal)?;
            let mut hidden = before.clone();
            hidden.local_modes.remove(LocalModes::ECHO | LocalModes::ECHONL);
            hidden.local_modes.insert(LocalModes::ICANON | LocalModes::ISIG);
            tcsetattr(&terminal, OptionalActions::Now, &hidden)?;
            Ok(Self { terminal, before })
        }
    }

    impl Drop for Hidden {
        fn drop(&mut self) {
            // Nobody is there to be told that the terminal is gone.
            let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
            let _ = writeln!(self.terminal);
        }
    }

    pub(super) async fn read(question: String) -> io::Result<String> {
        // Here, and not on the thread that reads: that one may outlive the question.
        let hidden = Hidden::new()?;
        let mut terminal = hidden.terminal.try_clone()?;
        let reading = tokio::task::spawn_blocking(move || {
            write!(terminal, "{question}")?;
            let mut line = String::new();
            match BufReader::new(terminal).read_line(&mut line)? {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                _ => Ok(line.trim_end_matches(['\r', '\n']).to_owned()),
            }
        });
        reading.await?
    }
}

#[cfg(not(unix))]
mod hidden {
    use std::io;

    pub(super) async fn read(question: String) -> io::Result<String> {
        tokio::task::spawn_blocking(move || rpassword::prompt_password(question)).await?
    }
}
