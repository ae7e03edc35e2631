//! The tests of golden data on SQLite, and of what they are made of.

use std::collections::BTreeSet;

use roxmltree::Document;
use shardlet::{Protocol, ShardLocation};

use crate::golden::{golden_tests, half_done_tests};
use crate::support::golden_files::{canonical, golden_location, pending_files, text};
use crate::support::raw_stores::translate_document;
use crate::support::sqlite_files::{OtherNames, SameNames, SqliteFiles};

golden_tests!(sqlite, crate::golden_on_sqlite::SqliteFiles<crate::golden_on_sqlite::SameNames>);
golden_tests!(sqlite_under_other_names, crate::golden_on_sqlite::SqliteFiles<crate::golden_on_sqlite::OtherNames>);
half_done_tests!(half_done_states, crate::golden_on_sqlite::SqliteFiles<crate::golden_on_sqlite::SameNames>);

#[test]
fn every_pending_operation_is_in_one_of_these_tests() {
    let codes: BTreeSet<_> = pending_files().iter().map(|(_, file)| file["operation_code"].as_i64().unwrap()).collect();
    assert_eq!(codes, BTreeSet::from([1, 2, 3, 4, 6, 7, 8, 9, 10, 14, 16]));
}

#[test]
fn log_documents_are_translated_in_their_locations_only() {
    for (name, file) in pending_files() {
        let document = text(&file["gsm"]["OperationsLogGlobal"][0], "Data");
        assert_eq!(translate_document(document, golden_location), document, "{name}");

        let here = |database: &str| {
            ShardLocation::new("<a> & b", format!("{database}]")).with_port(7).with_protocol(Protocol::NamedPipes)
        };
        let translated = translate_document(document, here);
        let (old, new) = (Document::parse(document).unwrap(), Document::parse(&translated).unwrap());
        let elements = |document: &Document<'_>| -> Vec<(String, Option<String>)> {
            let elements = document.descendants().filter(|node| node.is_element());
            elements.map(|node| (node.tag_name().name().to_owned(), node.text().map(ToOwned::to_owned))).collect()
        };
        let expected: Vec<_> = elements(&old)
            .into_iter()
            .map(|(element, text)| {
                let text = match element.as_str() {
                    "ServerName" => Some("<a> & b".to_owned()),
                    "DatabaseName" => text.map(|database| format!("{database}]")),
                    "Port" => Some("7".to_owned()),
                    "Protocol" => Some("2".to_owned()),
                    _ => text,
                };
                (element, text)
            })
            .collect();
        assert_eq!(elements(&new), expected, "{name}");
    }
}

#[test]
fn documents_are_compared_by_what_they_say() {
    let same = canonical(r#"<a xmlns:i="urn:n" i:t="1" b="2"><c /></a>"#);
    assert_eq!(same, canonical("\u{feff}<a b='2' j:t='1' xmlns:j='urn:n'><c></c></a>\n"));
    for other in [
        r#"<a xmlns:i="urn:m" i:t="1" b="2"><c /></a>"#,
        r#"<a xmlns:i="urn:n" t="1" b="2"><c /></a>"#,
        r#"<a xmlns:i="urn:n" i:t="1" b="3"><c /></a>"#,
        r#"<a xmlns:i="urn:n" i:t="1" b="2"><c>x</c></a>"#,
        r#"<a xmlns:i="urn:n" i:t="1" b="2"><c /><c /></a>"#,
        r#"<a xmlns:i="urn:n" xmlns="urn:n" i:t="1" b="2"><c /></a>"#,
    ] {
        assert_ne!(same, canonical(other), "{other}");
    }
}
