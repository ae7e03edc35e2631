//! What a command prints: rows as a table, as JSON or as CSV on standard output; words for people on standard error.
//!
//! Invariants: what scripts read is on standard output, and nothing else is; no name, description or message of a server has a say in
//! what a terminal does, or in where a line or a cell ends. JSON and CSV have them as they are.

use std::io::{self, Write};

use comfy_table::{Table, presets};
use serde::Serialize;

use crate::failure::{Failure, Result};

/// The form of what is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people: columns, or a line for each field.
    #[default]
    Table,
    /// For scripts: an array of objects, or one object. Fields are only ever added.
    Json,
    /// For spreadsheets: a line of names, then a line for each row.
    Csv,
}

/// Where a command prints.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) format: Format,
    pub(crate) quiet: bool,
}

impl Output {
    /// Prints rows. Without any there is nothing but an empty array to print, and people are told so.
    pub(crate) fn list<R: Serialize>(&self, rows: &[R]) -> Result<()> {
        match self.format {
            Format::Table | Format::Csv if rows.is_empty() => {
                self.say("none");
                Ok(())
            }
            Format::Table => {
                let cells = cells(rows)?;
                let mut table = Table::new();
                let _ = table.load_style(presets::NOTHING);
                let mut cells = cells.into_iter();
                let _ = table.set_header(cells.next().unwrap_or_default().iter().map(|name| title(name)));
                let _ = table.add_rows(cells.map(|row| row.iter().map(|cell| on_one_line(cell)).collect::<Vec<_>>()));
                for column in table.column_iter_mut() {
                    let _ = column.set_padding((0, 2));
                }
                let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
                print(&lines.join("\n"))
            }
            Format::Json => self.json(&rows),
            Format::Csv => print(csv(rows)?.trim_end_matches('\n')),
        }
    }

    /// Prints one thing: as a table, a line for each field that has something in it.
    pub(crate) fn show<R: Serialize>(&self, row: &R) -> Result<()> {
        match self.format {
            Format::Table => {
                let cells = cells(std::slice::from_ref(row))?;
                let [names, values] = cells.as_slice() else { return Ok(()) };
                let width = names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
                let lines = names.iter().zip(values).filter(|(_, value)| !value.is_empty());
                let lines: Vec<String> =
                    lines.map(|(name, value)| format!("{:width$}  {}", title(name), on_one_line(value))).collect();
                print(&lines.join("\n"))
            }
            Format::Json => self.json(row),
            Format::Csv => print(csv(std::slice::from_ref(row))?.trim_end_matches('\n')),
        }
    }

    fn json<T: Serialize + ?Sized>(&self, value: &T) -> Result<()> {
        let text = serde_json::to_string_pretty(value).map_err(|error| Failure::Output(error.into()))?;
        print(&text)
    }

    /// Tells people something, unless they want no words.
    pub(crate) fn say(&self, text: &str) {
        if !self.quiet {
            // Nobody is there to be told that standard error is gone.
            let _ = writeln!(io::stderr(), "{}", on_lines(text));
        }
    }

    /// Tells what went wrong, in the form that was asked for.
    pub(crate) fn fail(&self, failure: &Failure) {
        #[derive(Serialize)]
        struct Told<'t> {
            error: Fields<'t>,
        }
        #[derive(Serialize)]
        struct Fields<'t> {
            kind: String,
            exit_code: u8,
            #[serde(skip_serializing_if = "Option::is_none")]
            code: Option<u32>,
            message: &'t str,
            #[serde(skip_serializing_if = "Option::is_none")]
            next: Option<&'t str>,
        }
        let Some(message) = failure.message() else { return };
        if self.format == Format::Json {
            let code = failure.error().map(|error| error.code() as u32);
            let (kind, exit_code, next) = (failure.kind(), failure.exit_code(), failure.advice());
            let told = Told { error: Fields { kind, exit_code, code, message: &message, next } };
            let text = serde_json::to_string(&told).unwrap_or(message);
            let _ = writeln!(io::stderr(), "{text}");
            return;
        }
        let _ = writeln!(io::stderr(), "error: {}", on_lines(&message));
        if let Some(advice) = failure.advice() {
            let _ = writeln!(io::stderr(), "next:  {}", on_lines(advice));
        }
    }
}

/// Whether a letter would move or end a line, change colours or clipboards, or let text be read in another order than it has.
fn is_power(letter: char) -> bool {
    let turns =
        matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}')
}

/// Text for a terminal that stays on its line: what has power over it stands as `\n`, `\t` or `\u{9b}`.
pub(crate) fn on_one_line(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match is_power(letter) {
            true => shown.extend(letter.escape_default()),
            false => shown.push(letter),
        }
    }
    shown
}

/// Words for a terminal, which may have several lines. All but the first are set in, so that none looks like one of another kind.
pub(crate) fn on_lines(text: &str) -> String {
    let mut lines = text.lines();
    let mut shown = on_one_line(lines.next().unwrap_or_default());
    for line in lines {
        shown.push_str(if line.starts_with("  ") { "\n" } else { "\n  " });
        shown.push_str(&on_one_line(line));
    }
    shown
}

/// The names of the fields, then their texts for each row.
fn cells<R: Serialize>(rows: &[R]) -> Result<Vec<Vec<String>>> {
    let text = csv(rows)?;
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
    let records = reader.records().map(|record| record.map(|record| record.iter().map(str::to_owned).collect()));
    records.collect::<std::result::Result<_, _>>().map_err(of_csv)
}

fn csv<R: Serialize>(rows: &[R]) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    rows.iter().try_for_each(|row| writer.serialize(row)).map_err(of_csv)?;
    let bytes = writer.into_inner().map_err(|error| Failure::Output(error.into_error()))?;
    String::from_utf8(bytes).map_err(|error| Failure::Output(io::Error::other(error)))
}

fn of_csv(error: csv::Error) -> Failure {
    Failure::Output(io::Error::other(error))
}

/// `key_type` as `KEY TYPE`.
fn title(name: &str) -> String {
    name.replace('_', " ").to_uppercase()
}

/// Prints to standard output. A reader that has seen enough is no fault.
pub(crate) fn print(text: &str) -> Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(Failure::Output),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_power_over_a_terminal_is_shown_and_does_nothing() {
        assert_eq!(on_one_line("a\nb\tc\r\u{1b}[31m\u{9b}2J\u{7f}\0"), r"a\nb\tc\r\u{1b}[31m\u{9b}2J\u{7f}\u{0}");
        assert_eq!(on_one_line("\u{202e}gnp.exe\u{2069}\u{200f}\u{2028}"), r"\u{202e}gnp.exe\u{2069}\u{200f}\u{2028}");
        assert_eq!(on_one_line("größe 数据 \\ 👩‍🔧"), "größe 数据 \\ 👩‍🔧");
    }

    #[test]
    fn a_line_within_words_is_set_in() {
        assert_eq!(on_lines("one\nerror: two\r\n  three\u{1b}"), "one\n  error: two\n  three\\u{1b}");
        assert_eq!(on_lines(""), "");
    }
}
