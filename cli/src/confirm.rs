//! Questions before what cannot be taken back.

use std::io::{self, BufRead, IsTerminal, Write};

use clap::Args;

use crate::failure::{Failure, Result};
use crate::output;

/// How a change is asked for.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct Change {
    /// Shows the steps that would be taken, and takes none
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Answers every question with yes
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
}

impl Change {
    /// Asks, unless the answer was given already. On a thread of its own, so that Ctrl-C ends it.
    ///
    /// # Errors
    /// `Declined` if the answer is not yes, or nobody is there to give one.
    pub(crate) async fn confirm(&self, question: String) -> Result<()> {
        if self.yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() {
            return Err(Failure::Declined);
        }
        let answered = tokio::task::spawn_blocking(move || ask(&question)).await;
        if answered.unwrap_or_default() { Ok(()) } else { Err(Failure::Declined) }
    }
}

fn ask(question: &str) -> bool {
    let _ = write!(io::stderr(), "{} [y/N] ", output::on_lines(question));
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}
