//! The golden data in `tests/data`, which the reference library wrote; the README there tells what it holds.

use std::path::PathBuf;

use roxmltree::{Document, Node};
use serde_json::Value;
use shardlet::{Protocol, ShardLocation};

/// The databases of the shards.
pub const DATABASES: [&str; 3] = ["gold_s0", "gold_s1", "gold_s2"];

/// Where the reference library had registered a database.
pub fn golden_location(database: &str) -> ShardLocation {
    let location = ShardLocation::new("127.0.0.1", database);
    if database == "gold_s1" { location.with_protocol(Protocol::Tcp).with_port(1433) } else { location }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

/// A file of the folder itself.
pub fn golden_file(name: &str) -> Value {
    let path = folder().join(name);
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every pending operation that the reference library left, by the name of its file.
pub fn pending_files() -> Vec<(String, Value)> {
    let mut files: Vec<_> = std::fs::read_dir(folder().join("pending"))
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
        })
        .collect();
    files.sort_by(|(a, _), (b, _)| a.cmp(b));
    assert_eq!(files.len(), 93, "files of pending operations");
    files
}

/// The elements of an array of a file.
#[track_caller]
pub fn rows<'a>(parent: &'a Value, name: &str) -> &'a [Value] {
    parent[name].as_array().unwrap_or_else(|| panic!("{name} is no array"))
}

/// A text of a file.
#[track_caller]
pub fn text<'a>(parent: &'a Value, name: &str) -> &'a str {
    parent[name].as_str().unwrap_or_else(|| panic!("{name} of {parent} is no text"))
}

/// Hexadecimal digits as bytes.
pub fn unhex(digits: &str) -> Vec<u8> {
    assert!(digits.len().is_multiple_of(2), "{digits}: an odd number of digits");
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// An XML document in a form that two of them share if they say the same: namespaces instead of prefixes, attributes in the
/// order of their names.
pub fn canonical(document: &str) -> String {
    fn write(node: Node<'_, '_>, into: &mut String) {
        if let Some(text) = node.text().filter(|_| node.is_text()) {
            into.push_str(&format!("{text:?}"));
        }
        if !node.is_element() {
            return;
        }
        let mut attributes: Vec<_> = node
            .attributes()
            .map(|attribute| {
                let namespace = attribute.namespace().unwrap_or_default();
                format!(" {{{namespace}}}{}={:?}", attribute.name(), attribute.value())
            })
            .collect();
        attributes.sort();
        let name = node.tag_name();
        let namespace = name.namespace().unwrap_or_default();
        into.push_str(&format!("\n<{{{namespace}}}{}{}>", name.name(), attributes.concat()));
        node.children().for_each(|child| write(child, into));
        into.push_str("</>");
    }
    let parsed = Document::parse(document.trim_start_matches('\u{feff}').trim())
        .unwrap_or_else(|error| panic!("{document}: {error}"));
    let mut text = String::new();
    write(parsed.root_element(), &mut text);
    text
}
