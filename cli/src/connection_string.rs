//! What a connection string says of place and login, to be shown and asked for; the driver has no getters for them.
//!
//! By the driver's own grammar, because another one may take a part of a password for a name. Only [`Named`] leaves here, and it has
//! no secret.

use std::collections::HashMap;

/// What a connection string names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) server: Option<String>,
    pub(crate) database: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) has_password: bool,
}

impl Named {
    /// Nothing where the string is not understood: the driver tells of that.
    pub(crate) fn by(string: &str) -> Self {
        let mut pairs = pairs(string).unwrap_or_default();
        let mut first =
            |names: &[&str]| names.iter().find_map(|name| pairs.remove(*name)).filter(|text| !text.is_empty());
        Self {
            server: first(&["server", "data source"]),
            database: first(&["database", "initial catalog", "databasename"]),
            user: first(&["uid", "username", "user", "user id"]),
            has_password: first(&["password", "pwd"]).is_some(),
        }
    }

    /// Server and database, for people.
    pub(crate) fn place(&self) -> String {
        let part = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".to_owned());
        let server = part(&self.server);
        format!("SQL Server, {}/{}", server.strip_prefix("tcp:").unwrap_or(&server), part(&self.database))
    }
}

/// The pairs, their keys in lower case. Of two with the same key the last counts. `None` if it is not understood.
fn pairs(string: &str) -> Option<HashMap<String, String>> {
    let blank = |letter: char| letter.is_ascii_whitespace();
    let mut pairs = HashMap::new();
    let mut rest = string;
    if !string.is_ascii() {
        return None;
    }
    loop {
        rest = rest.trim_start_matches(|letter| letter == ';' || blank(letter));
        if rest.is_empty() {
            return Some(pairs);
        }
        let (key, after) = key(rest)?;
        rest = after.trim_start_matches(blank);
        let (value, after) = match rest.chars().next() {
            Some(quote @ ('\'' | '"')) => quoted(rest.get(1..)?, quote)?,
            Some('{') => {
                let (value, after) = rest.get(1..)?.split_once('}')?;
                (value.to_owned(), after)
            }
            _ => {
                let (value, after) = rest.split_at(rest.find(';').unwrap_or(rest.len()));
                (value.trim_end_matches(blank).to_owned(), after)
            }
        };
        rest = after.trim_start_matches(blank);
        if !(rest.is_empty() || rest.starts_with(';')) {
            return None;
        }
        let _ = pairs.insert(key, value);
    }
}

/// The text before the first `=` that is not doubled, and what is behind it.
fn key(text: &str) -> Option<(String, &str)> {
    let mut key = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_at(rest.find(['=', ';'])?);
        key.push_str(before);
        rest = after.strip_prefix('=')?;
        match rest.strip_prefix('=') {
            Some(more) => {
                key.push('=');
                rest = more;
            }
            None => break,
        }
    }
    let key = key.trim_matches(|letter: char| letter.is_ascii_whitespace()).to_ascii_lowercase();
    if key.is_empty() { None } else { Some((key, rest)) }
}

/// The text before a quote that is not doubled, and what is behind it.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once(quote)?;
        value.push_str(before);
        match after.strip_prefix(quote) {
            Some(more) => {
                value.push(quote);
                rest = more;
            }
            None => return Some((value, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use shardlet::tiberius::Config;

    use super::*;

    #[test]
    fn server_and_database_are_shown_and_no_secret() {
        for (string, place) in [
            ("Server=tcp:db-1,1433;Database=maps;User ID=u;Password=hush", "SQL Server, db-1,1433/maps"),
            ("data source = a\\b ;INITIAL CATALOG='x;y';pwd=hush", "SQL Server, a\\b/x;y"),
            ("Password='hush;Database=no';Server=a;Database=d", "SQL Server, a/d"),
            ("Password={hush;Database=no};Server=a;Database=\"d\"\"e\"", "SQL Server, a/d\"e"),
            ("Password=hush==;Server=a;Database=d;Server=b", "SQL Server, b/d"),
            ("Server=a;Database=d;Password='hush", "SQL Server, ?/?"),
            ("Server=a;Database=d;hush", "SQL Server, ?/?"),
        ] {
            let named = Named::by(string);
            assert_eq!(named.place(), place, "{string}");
            assert!(!format!("{named:?}").contains("hush"), "{string}");
        }
    }

    /// The driver prints its settings host first.
    #[test]
    fn it_is_read_as_the_driver_reads_it() {
        for string in [
            "Server=tcp:db-1,1433;Database=maps;User ID=u;Password=p",
            " ;; Data Source = h ; Initial Catalog = 'd;e' ;;",
            "database=d;password=\"a;server=no\"\"\";server=h",
            "password={'};server=h;databasename={d}",
            "password=a=b=;;server=h;database=d",
            "a==b=c;server=h;database=d==",
            "server=g;server=h;database='d'",
        ] {
            let named = Named::by(string);
            let host = named.server.unwrap();
            let host = host.trim_start_matches("tcp:").split(',').next().unwrap().to_owned();
            let driver = format!("{:?}", Config::from_ado_string(string).unwrap());
            assert!(driver.starts_with(&format!("Config {{ host: Some({host:?}), ")), "{string}: {driver}");
            assert!(
                driver.contains(&format!(", database: Some({:?}), ", named.database.unwrap())),
                "{string}: {driver}"
            );
        }
        for string in ["server=h;database", "server='h", "server={h", "server='h'x", "=h", "server=h;é=x"] {
            assert_eq!(Named::by(string), Named::default(), "{string}");
            assert!(Config::from_ado_string(string).is_err(), "{string}");
        }
    }

    #[test]
    fn a_login_is_named_or_not() {
        let named = Named::by("Server=a;Database=d;User ID=admin");
        assert_eq!((named.user.as_deref(), named.has_password), (Some("admin"), false));
        let named = Named::by("Server=a;Database=d;uid=admin;pwd=x");
        assert_eq!((named.user.as_deref(), named.has_password), (Some("admin"), true));
    }
}
