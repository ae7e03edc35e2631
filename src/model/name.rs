//! Names of shard maps, and how names compare.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};

/// The name of a shard map: 1 to 50 characters of any script, compared without regard to case.
///
/// Characters are counted as SQL Server counts them, in UTF-16 code units. Trailing blanks do not distinguish names, and a
/// name of nothing but blanks is refused.
/// Refused are control characters that no XML document can hold, because every operation logs the name in one. (The
/// reference library allows letters, numbers and punctuation only, so it cannot *create* some names that we can, but it
/// can open them.)
#[derive(Clone, Debug)]
pub struct ShardMapName(Arc<str>);

impl ShardMapName {
    /// The longest name, in UTF-16 code units (the column is `nvarchar(50)`).
    pub const MAX_LENGTH: usize = 50;

    /// Checks a name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if it is empty, too long, or holds a character that
    /// XML cannot.
    pub fn new(name: &str) -> Result<Self> {
        check_text("shard map", name, Self::MAX_LENGTH)?;
        Ok(Self(Arc::from(name)))
    }

    /// The name as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn shared(&self) -> &Arc<str> {
        &self.0
    }
}

impl PartialEq for ShardMapName {
    fn eq(&self, other: &Self) -> bool {
        folded(&self.0) == folded(&other.0)
    }
}

impl Eq for ShardMapName {}

impl fmt::Display for ShardMapName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The form in which names compare: lower case, without trailing blanks.
///
/// SQL Server's `SQL_Latin1_General_CP1_CI_AS` ignores case and trailing blanks and minds accents.
pub(crate) fn folded(name: &str) -> String {
    name.trim_end_matches(' ').to_lowercase()
}

/// Checks the length and the characters of a name that goes into a column or a document of a store.
pub(crate) fn check_text(what: &str, name: &str, longest: usize) -> Result<()> {
    if name.trim().is_empty() {
        // A document would lose it, too.
        return Err(Error::invalid_input(format!("the {what} name is blank")));
    }
    let forbidden = |c: char| matches!(c, '\u{0}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' | '\r');
    check_characters(&format!("{what} name"), name, longest, forbidden)
}

/// Checks the length and the characters of a text that may be blank.
pub(super) fn check_characters(what: &str, text: &str, longest: usize, forbidden: impl Fn(char) -> bool) -> Result<()> {
    let length = text.encode_utf16().count();
    if length > longest {
        return Err(Error::invalid_input(format!("the {what} has {length} UTF-16 code units; {longest} are allowed")));
    }
    match text.chars().find(|c| forbidden(*c)) {
        Some(c) => Err(Error::invalid_input(format!("the {what} holds the character U+{:04X}", u32::from(c)))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_1_to_50_utf16_code_units() {
        for good in ["a", " a ", "表".repeat(50).as_str(), "😀".repeat(25).as_str(), "a'b\"]<&>;--", "\u{202e}rtl"] {
            assert!(ShardMapName::new(good).is_ok(), "{good:?}");
        }
        for bad in
            ["", " ", "\u{3000}\t", "a".repeat(51).as_str(), "😀".repeat(26).as_str(), "a\u{0}", "a\u{1b}", "a\rb"]
        {
            assert!(ShardMapName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn case_and_trailing_blanks_do_not_distinguish() {
        let name = |text| ShardMapName::new(text).unwrap();
        assert_eq!(name("Ördér"), name("öRDÉR  "));
        assert_ne!(name("order"), name("ördér"));
    }
}
