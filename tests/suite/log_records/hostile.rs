//! Documents that no client writes: each is an error of kind `StoreDamaged`, and none is a panic or a wrong operation.

use proptest::prelude::*;
use roxmltree::Document;
use shardlet::gsm::{LogEntry, OperationCode};
use shardlet::operation::LogRecord;
use shardlet::{ErrorKind, OperationId};
use uuid::Uuid;

use super::{OTHERS, describe, entry_of};
use crate::support::golden_files::pending_files;

/// One document of each code.
fn documents() -> Vec<String> {
    let mut documents: Vec<String> = OTHERS.map(ToOwned::to_owned).into();
    for (_, file) in pending_files() {
        let document = file["gsm"]["OperationsLogGlobal"][0]["Data"].as_str().unwrap();
        if documents.iter().all(|other| entry_of(other).code != entry_of(document).code) {
            documents.push(document.to_owned());
        }
    }
    assert_eq!(documents.len(), 14);
    documents
}

fn read(code: i32, document: &str) -> Result<String, shardlet::Error> {
    // The row is that of the document, as far as it says which.
    let row = Document::parse(document.trim_start_matches('\u{feff}')).ok();
    let id = row.as_ref().and_then(|row| row.root_element().attribute("OperationId")?.parse::<Uuid>().ok());
    let like = entry_of(OTHERS[0]);
    let entry = LogEntry { id: id.map_or(like.id, OperationId::from), code, data: document.to_owned(), ..like };
    LogRecord::read(&entry).map(|operation| describe(&operation))
}

fn refused(about: &str, code: i32, document: &str) {
    match read(code, document) {
        Err(error) => assert_eq!(error.kind(), ErrorKind::StoreDamaged, "{about}: {error}"),
        Ok(operation) => panic!("{about}: read as {operation}"),
    }
}

#[test]
fn a_document_without_one_of_its_elements_is_refused() {
    // What an undo does not need, in the order of the documents.
    let needless = |path: &str| {
        ["GsmVersion", "MajorVersion", "MinorVersion", "PatternForKill", "AddSteps"]
            .iter()
            .any(|name| path.ends_with(name))
    };
    for document in documents() {
        let code = entry_of(&document).code;
        let whole = read(code, &document).unwrap();
        let parsed = Document::parse(&document).unwrap();
        for element in parsed.root_element().descendants().filter(|node| node.is_element()).skip(1) {
            let path: Vec<_> = element.ancestors().map(|node| node.tag_name().name()).collect();
            let about = format!("code {code} without {path:?}");
            let mut without = document.clone();
            without.replace_range(element.range(), "");
            let added = element.ancestors().any(|node| node.attribute("Kind") == Some("3"));
            if needless(path[0]) || added && path[..2].contains(&"Lock") {
                assert_eq!(read(code, &without).unwrap(), whole, "{about}");
            } else {
                refused(&about, code, &without);
            }
        }
    }
}

#[test]
fn a_document_with_one_wrong_value_is_refused() {
    let wrong_values = [
        ("Id", &["", "x", "123", "{", "00000000-0000-0000-0000-00000000000g"][..]),
        ("Version", &["", "7c750203-b375-4bf6-9afb"]),
        ("ShardMapId", &["", "null"]),
        ("LockOwnerId", &["", "0"]),
        ("Kind", &["", "0", "3", "-1", "99999999999999999999", "1.0"]),
        ("KeyKind", &["", "0", "8", "int"]),
        ("Protocol", &["", "4", "-1", "tcp"]),
        ("Port", &["", "65536", "-1", "0x50"]),
        ("Status", &["", "2", "-1", "on", "4294967296"]),
        ("ServerName", &["", "  ", "a&#13;b", "\u{85}\u{fffe}"]),
        ("DatabaseName", &["", "\t", "&#13;"]),
        ("Name", &["", "012345678901234567890123456789012345678901234567890", "a&#13;b"]),
        ("MinValue", &["", "0", "0x", "80000001", "0x8000000", "0x800000", "0x8000000000", "0x8000000g", "0xé00"]),
    ];
    for document in documents() {
        let code = entry_of(&document).code;
        let parsed = Document::parse(&document).unwrap();
        for (name, values) in wrong_values {
            for element in parsed.descendants().filter(|node| node.has_tag_name(name)) {
                let inside_needless_lock = element.parent().is_some_and(|lock| {
                    lock.has_tag_name("Lock") && lock.parent().and_then(|step| step.attribute("Kind")) == Some("3")
                });
                if inside_needless_lock {
                    continue;
                }
                for value in values {
                    if (name, *value) == ("MinValue", "0x") {
                        // The least key of every type.
                        continue;
                    }
                    let mut wrong = document.clone();
                    wrong.replace_range(element.range(), &format!("<{name}>{value}</{name}>"));
                    refused(&format!("code {code}, {name} {value:?}"), code, &wrong);
                }
            }
        }
    }
}

#[test]
fn a_document_with_wrong_steps_is_refused() {
    for document in documents() {
        let code = entry_of(&document).code;
        for (what, from, to) in [
            ("no number of a step", r#" Id=""#, r#" Nr=""#),
            ("a number that is none", r#" Id="1""#, r#" Id="one""#),
            ("more steps than it says", r#"StepsCount=""#, r#"StepsCount="1"#),
            ("no count of its steps", "StepsCount=", "Steps="),
            ("steps that do not begin at one", r#" Id="1""#, r#" Id="9""#),
            ("a count that is none", r#"StepsCount=""#, r#"StepsCount="x"#),
        ] {
            let wrong = document.replace(from, to);
            assert_ne!(wrong, document, "code {code}, {what}");
            refused(&format!("code {code}, {what}"), code, &wrong);
        }
        if !matches!(code, 1..=3 | 16) {
            let kind = document.rfind(" Kind=\"").unwrap();
            let mut wrong = document.clone();
            wrong.replace_range(kind..kind + 8, " Kind=\"4");
            refused(&format!("code {code}, a step of an unknown kind"), code, &wrong);
        }
    }
}

#[test]
fn what_is_no_document_is_refused() {
    let good = documents().swap_remove(0);
    let code = entry_of(&good).code;
    let deep = format!("{}{}", "<a>".repeat(100_000), "</a>".repeat(100_000));
    let entities = format!(r#"<!DOCTYPE a [<!ENTITY b "x"><!ENTITY c "&b;&b;&b;">]>{}"#, good.replace("list", "&c;"));
    let outside = good.replace("list", "&outside;");
    for (what, document) in [
        ("nothing", ""),
        ("blanks", "  \n"),
        ("a byte order mark", "\u{feff}"),
        ("a word", "operation"),
        ("a null character", "\0"),
        ("another document", "<html/>"),
        ("two roots", &good.repeat(2)),
        ("elements without end", &"<a>".repeat(100_000)),
        ("a deep document", &deep),
        ("entities", &entities),
        ("an entity from nowhere", &outside),
        ("text before it", &format!("x{good}")),
        ("text as big as a book", &"x".repeat(10_000_000)),
        ("a null in it", &good.replace("list", "li\0st")),
    ] {
        refused(what, code, document);
    }
    for end in (0..good.trim_end().len()).filter(|end| good.is_char_boundary(*end)) {
        refused(&format!("cut after {end} bytes"), code, &good[..end]);
    }
}

#[test]
fn an_unknown_code_is_refused_whatever_the_document_says() {
    for document in documents() {
        for code in [0, -1, 12, 13, 17, i32::MIN, i32::MAX] {
            refused(&format!("code {code}"), code, &document);
        }
    }
}

#[test]
fn a_document_of_another_row_is_refused() {
    for document in documents() {
        let entry = entry_of(&document);
        assert!(LogRecord::read(&entry).is_ok());
        let other_id = LogEntry { id: OperationId::random(), ..entry.clone() };
        // Adding a shard and removing one, for example, have documents of one form.
        let others = OperationCode::ALL.map(|code| code as i32).into_iter().filter(|code| *code != entry.code);
        let other_codes = others.map(|code| ("OperationCode", LogEntry { code, ..entry.clone() }));
        for (column, wrong) in other_codes.chain([("OperationId", other_id)]) {
            let error = LogRecord::read(&wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::StoreDamaged, "{error}");
            assert!(error.to_string().contains(&format!("column {column} of OperationsLogGlobal")), "{error}");
        }
    }
}

#[test]
fn what_drivers_and_servers_add_does_not_matter() {
    for document in documents() {
        let code = entry_of(&document).code;
        let whole = read(code, &document).unwrap();
        for (what, changed) in [
            ("a byte order mark", format!("\u{feff}{document}")),
            ("a declaration", format!("<?xml version=\"1.0\"?>{document}")),
            ("an encoding that it is not in", format!("<?xml version=\"1.0\" encoding=\"utf-16\"?>{document}")),
            ("an encoding that there is not", format!("<?xml version=\"1.0\" encoding=\"klingon\"?>{document}")),
            ("a comment", format!("<!-- -->{document}")),
            ("blanks at the end", format!("{document}\r\n ")),
            ("blanks between elements", document.replace("><", ">\n  <")),
            ("empty elements cut short", document.replace(" />", "/>")),
            ("empty elements in full", document.replace("<MaxValue Null=\"1\" />", "<MaxValue Null=\"1\"></MaxValue>")),
            ("upper-case digits", document.replace("0x8000000a", "0x8000000A")),
        ] {
            assert_eq!(read(code, &changed).unwrap(), whole, "code {code}, {what}");
        }
    }
}

#[test]
fn a_document_of_many_steps_is_read() {
    let document = OTHERS[2];
    let steps = 20_000;
    let start = document.find("<Step ").unwrap();
    let end = document.find("</Step>").unwrap() + "</Step>".len();
    let step = &document[start..end];
    let many: String = (1..=steps).map(|id| step.replace(r#" Id="1""#, &format!(r#" Id="{id}""#))).collect();
    let root = document[..start].replace(r#"StepsCount="3""#, &format!(r#"StepsCount="{steps}""#));
    let many = format!("{root}{many}</Steps></BulkOperationShardMappingsGlobal>");
    let operation = LogRecord::read(&entry_of(&many)).unwrap();
    assert_eq!(describe(&operation).matches("remove (").count(), steps);
}

/// A change of a document at a place of it, both as parts of a thousand.
#[derive(Clone, Debug)]
enum Mutation {
    Delete(usize, usize),
    Double(usize, usize),
    Insert(usize, String),
    Swap(usize, usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let place = 0..1_000_usize;
    let inserted = prop_oneof![
        any::<char>().prop_map(String::from),
        "[0-9a-fx-]{1,40}",
        prop::sample::select(vec!["<", ">", "\"", "&", "]]>", "<![CDATA[", "<!--", "/>", "&#0;", "&#xffff;", "<?x?>"])
            .prop_map(ToOwned::to_owned),
    ];
    prop_oneof![
        (place.clone(), 0..50_usize).prop_map(|(at, length)| Mutation::Delete(at, length)),
        (place.clone(), 0..200_usize).prop_map(|(at, length)| Mutation::Double(at, length)),
        (place.clone(), inserted).prop_map(|(at, text)| Mutation::Insert(at, text)),
        (place.clone(), place).prop_map(|(a, b)| Mutation::Swap(a, b)),
    ]
}

fn mutate(document: &str, mutations: &[Mutation]) -> String {
    let mut characters: Vec<char> = document.chars().collect();
    for mutation in mutations {
        let length = characters.len();
        if length == 0 {
            break;
        }
        let place = |at: &usize| at * (length - 1) / 1_000;
        let range = |at: &usize, count: &usize| place(at)..(place(at) + count).min(length);
        match mutation {
            Mutation::Delete(at, count) => drop(characters.drain(range(at, count))),
            Mutation::Double(at, count) => {
                let part = characters[range(at, count)].to_vec();
                drop(characters.splice(place(at)..place(at), part));
            }
            Mutation::Insert(at, text) => drop(characters.splice(place(at)..place(at), text.chars())),
            Mutation::Swap(a, b) => characters.swap(place(a), place(b)),
        }
    }
    characters.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_mutated_document_is_read_or_refused(
        which in 0..14_usize,
        mutations in prop::collection::vec(mutation(), 1..6),
    ) {
        thread_local!(static DOCUMENTS: Vec<String> = documents());
        let document = DOCUMENTS.with(|documents| documents[which].clone());
        let mutated = mutate(&document, &mutations);
        if let Err(error) = read(entry_of(&document).code, &mutated) {
            prop_assert_eq!(error.kind(), ErrorKind::StoreDamaged, "{}", error);
        }
    }

    #[test]
    fn any_text_is_refused(text in any::<String>(), code in 1..20) {
        let error = read(code, &text).unwrap_err();
        prop_assert_eq!(error.kind(), ErrorKind::StoreDamaged, "{}", error);
    }
}
