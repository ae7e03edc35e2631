//! What happened, line by line, with short names for ids, so that two runs of one seed can be compared.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

/// How many lines are kept for whoever has to find out why a run failed.
const KEPT: usize = 120;

#[derive(Debug, Default)]
pub struct Trace {
    names: HashMap<String, usize>,
    last: VecDeque<String>,
    hasher: DefaultHasher,
}

impl Trace {
    pub fn line(&mut self, line: &str) {
        let line = self.named(line);
        line.hash(&mut self.hasher);
        if self.last.len() == KEPT {
            drop(self.last.pop_front());
        }
        self.last.push_back(line);
    }

    /// A number for all lines so far.
    pub fn sum(&self) -> u64 {
        self.hasher.finish()
    }

    /// The text with each id replaced by `#` and a number, in the order in which ids were first met.
    pub fn named(&mut self, text: &str) -> String {
        let mut named = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, id, after)) = next_id(rest) {
            let next = self.names.len();
            let number = *self.names.entry(id.to_owned()).or_insert(next);
            named.push_str(before);
            named.push_str(&format!("#{number}"));
            rest = after;
        }
        named + rest
    }
}

/// The first GUID in a text, with what stands before and after it.
fn next_id(text: &str) -> Option<(&str, &str, &str)> {
    const LENGTH: usize = 36;
    let is_id = |start: usize| {
        text.as_bytes()[start..start + LENGTH].iter().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
    };
    let start = (0..(text.len() + 1).saturating_sub(LENGTH)).find(|start| is_id(*start))?;
    Some((&text[..start], &text[start..start + LENGTH], &text[start + LENGTH..]))
}

impl fmt::Display for Trace {
    /// The last lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.last.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}
