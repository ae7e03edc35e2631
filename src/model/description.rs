//! Descriptions of shards: which texts are allowed, and what becomes of one that was not written by a client.

use super::Shard;
use super::name::check_characters;
use crate::error::Result;

/// Checks a description that is to be written. It is printed on terminals, so that it may hold no control characters, of either
/// block, but tabs and line feeds.
pub(super) fn check_description(text: &str) -> Result<()> {
    check_characters("description of a shard", text, Shard::MAX_DESCRIPTION_LENGTH, is_forbidden)
}

/// A description as it was read. One that was written by hand may hold anything, and is no reason to show none: what a client
/// would not have written is replaced, and lines end as a client ends them.
#[cfg(any(test, feature = "sqlite", feature = "sql-server"))]
pub(crate) fn readable_description(text: &str) -> String {
    text.replace("\r\n", "\n").replace(is_forbidden, "\u{fffd}")
}

fn is_forbidden(c: char) -> bool {
    (c.is_control() && !matches!(c, '\t' | '\n')) || matches!(c, '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_written_is_read_as_it_is() {
        for good in ["", "  ", "two\nlines\tand a tab", "Zürich 東京 😀 \u{fffd}\u{a0}"] {
            assert!(check_description(good).is_ok(), "{good:?}");
            assert_eq!(readable_description(good), good);
        }
        for c in ('\u{0}'..='\u{9f}').filter(|c| c.is_control() && !['\t', '\n'].contains(c)) {
            assert!(check_description(&format!("a{c}b")).is_err(), "{c:?}");
            assert_eq!(readable_description(&format!("a{c}b")), "a\u{fffd}b", "{c:?}");
        }
        assert!(check_description("a\r\nb").is_err());
        assert_eq!(readable_description("a\r\nb\r\r\n"), "a\nb\u{fffd}\n");
    }
}
