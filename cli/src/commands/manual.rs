//! What is made of the arguments: completions, manual pages, and `docs/cli.md`.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

use crate::failure::{Failure, Result};
use crate::output::{Output, print};

#[derive(Args)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self, command: &mut clap::Command) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, command, "shardlet", &mut script);
        print(String::from_utf8_lossy(&script).trim_end())
    }
}

#[derive(Args)]
pub(crate) struct Man {
    /// Writes a page for each command into this directory, which is made if it is not there
    #[arg(long, value_name = "DIRECTORY")]
    dir: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(&self, command: &clap::Command, output: Output) -> Result<()> {
        let Some(directory) = &self.dir else {
            let mut page = Vec::new();
            clap_mangen::Man::new(command.clone()).render(&mut page).map_err(Failure::Output)?;
            return print(String::from_utf8_lossy(&page).trim_end());
        };
        let written =
            std::fs::create_dir_all(directory).and_then(|()| clap_mangen::generate_to(command.clone(), directory));
        written.map_err(|error| Failure::file(directory, error))?;
        output.say(&format!("manual pages written to {}", directory.display()));
        Ok(())
    }
}

pub(crate) fn markdown() -> Result<()> {
    let options = clap_markdown::MarkdownOptions::new().show_footer(false).title("shardlet".to_owned());
    print(clap_markdown::help_markdown_command_custom(&crate::command(), &options).trim_end())
}
