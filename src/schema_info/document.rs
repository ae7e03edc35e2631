//! The document of schema information, in the reference library's form: its `DataContractSerializer` reads ours, and we its.
//!
//! Readers go by name, not by order. What no client writes is an error; what is beside the tables is left alone, as the
//! reference library does, and so is lost when the information is stored again.

use std::collections::HashMap;
use std::fmt::Display;
use std::io;

use roxmltree::{Document, Node};

use super::{ReferenceTable, SchemaInfo, ShardedTable};
use crate::error::{Error, Result};
use crate::xml::{self, Xml, element, element_with, text};

const INSTANCE: (&str, &str) = ("xmlns:i", "http://www.w3.org/2001/XMLSchema-instance");

/// The document of schema information.
pub(crate) fn write(info: &SchemaInfo) -> String {
    xml::document(|writer| {
        element_with(writer, "Schema", &[INSTANCE], |writer| {
            // In this order: the reference library's reader passes over what comes too late.
            set(writer, "ReferenceTable", info.reference_tables(), |writer, table| {
                names(writer, table.schema(), table.table())
            })?;
            set(writer, "ShardedTable", info.sharded_tables(), |writer, table| {
                names(writer, table.schema(), table.table())?;
                text(writer, "KeyColumnName", table.key_column())
            })
        })
    })
}

/// The tables of one kind. An empty set is there as well.
fn set<'t, T: 't>(
    writer: &mut Xml,
    kind: &str,
    tables: impl Iterator<Item = &'t T>,
    content: impl Fn(&mut Xml, &'t T) -> io::Result<()>,
) -> io::Result<()> {
    let (name, item) = (format!("{kind}Set"), format!("{kind}Info"));
    element_with(writer, &name, &[("i:type", &format!("ArrayOf{item}"))], |writer| {
        tables.into_iter().try_for_each(|table| element(writer, &item, |writer| content(writer, table)))
    })
}

fn names(writer: &mut Xml, schema: &str, table: &str) -> io::Result<()> {
    text(writer, "SchemaName", schema)?;
    text(writer, "TableName", table)
}

/// The schema information of a document, written by this library or by the reference library. `name` is that of its row.
pub(crate) fn read(name: &str, document: &str) -> Result<SchemaInfo> {
    let row = Row { name };
    // A driver may leave the byte order mark that it sends before a document.
    let parsed = Document::parse(document.trim_start_matches('\u{feff}'))
        .map_err(|error| row.damaged("is no document").with_source(error))?;
    let root = parsed.root_element();
    if !root.has_tag_name("Schema") {
        return Err(row.missing("Schema"));
    }
    let mut info = SchemaInfo::new();
    for table in row.tables(root, "ReferenceTable", "_referenceTableSet", ["SchemaName", "TableName"])? {
        let [schema, table] = table;
        let table = ReferenceTable::in_schema(schema, table).and_then(|table| info.add_reference_table(table));
        table.map_err(|error| row.wrong("reference").with_source(error))?;
    }
    for table in row.tables(root, "ShardedTable", "_shardedTableSet", ["SchemaName", "TableName", "KeyColumnName"])? {
        let [schema, table, column] = table;
        let table = ShardedTable::in_schema(schema, table, column).and_then(|table| info.add_sharded_table(table));
        table.map_err(|error| row.wrong("sharded").with_source(error))?;
    }
    Ok(info)
}

/// The row whose document is read.
struct Row<'n> {
    name: &'n str,
}

impl Row<'_> {
    fn damaged(&self, what: impl Display) -> Error {
        let name = self.name;
        Error::damaged(format!("column SchemaInfo of ShardedDatabaseSchemaInfosGlobal, row {name:?}, {what}"))
    }

    fn missing(&self, what: &str) -> Error {
        self.damaged(format_args!("holds no {what} that can be read"))
    }

    fn wrong(&self, kind: &str) -> Error {
        self.damaged(format_args!("holds a {kind} table that no client writes"))
    }

    /// The texts of each table of a kind. Version 1.1.0 of the reference library gave the set `old` as its name.
    fn tables<const N: usize>(
        &self,
        root: Node<'_, '_>,
        kind: &str,
        old: &str,
        fields: [&str; N],
    ) -> Result<Vec<[String; N]>> {
        let (new, item) = (format!("{kind}Set"), format!("{kind}Info"));
        let mut sets = elements(root).filter(|node| [new.as_str(), old].contains(&node.tag_name().name()));
        let set = sets.next();
        if sets.next().is_some() {
            return Err(self.damaged(format_args!("holds more than one {new}")));
        }
        let tables = set.into_iter().flat_map(elements);
        tables
            .map(|table| {
                if !table.has_tag_name(item.as_str()) {
                    return Err(self.damaged(format_args!("holds in its {new} what is no {item}")));
                }
                self.texts(table, fields)
            })
            .collect()
    }

    fn texts<const N: usize>(&self, table: Node<'_, '_>, fields: [&str; N]) -> Result<[String; N]> {
        let mut found = HashMap::new();
        for field in elements(table).filter(|field| fields.contains(&field.tag_name().name())) {
            let name = field.tag_name().name();
            if elements(field).next().is_some() || found.insert(name, whole_text(field)).is_some() {
                return Err(self.missing(name));
            }
        }
        for field in fields {
            if !found.contains_key(field) {
                return Err(self.missing(field));
            }
        }
        Ok(fields.map(|field| found.remove(field).unwrap_or_default()))
    }
}

fn elements<'a, 'd>(node: Node<'a, 'd>) -> impl Iterator<Item = Node<'a, 'd>> {
    node.children().filter(Node::is_element)
}

/// The text of an element, also where a comment stands in it.
fn whole_text(node: Node<'_, '_>) -> String {
    node.children().filter(Node::is_text).filter_map(|text| text.text()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::ErrorKind;

    const WHOLE: &str = "<Schema xmlns:i=\"http://www.w3.org/2001/XMLSchema-instance\">\
        <ReferenceTableSet i:type=\"ArrayOfReferenceTableInfo\">\
        <ReferenceTableInfo><SchemaName>ref</SchemaName><TableName>nation</TableName></ReferenceTableInfo>\
        </ReferenceTableSet><ShardedTableSet i:type=\"ArrayOfShardedTableInfo\">\
        <ShardedTableInfo><SchemaName>dbo</SchemaName><TableName>a &amp; b</TableName>\
        <KeyColumnName>k&lt;&gt;\"'</KeyColumnName></ShardedTableInfo></ShardedTableSet></Schema>";

    const EMPTY: &str = "<Schema xmlns:i=\"http://www.w3.org/2001/XMLSchema-instance\">\
        <ReferenceTableSet i:type=\"ArrayOfReferenceTableInfo\"></ReferenceTableSet>\
        <ShardedTableSet i:type=\"ArrayOfShardedTableInfo\"></ShardedTableSet></Schema>";

    fn whole() -> SchemaInfo {
        let mut info = SchemaInfo::new();
        info.add_reference_table(ReferenceTable::in_schema("ref", "nation").unwrap()).unwrap();
        info.add_sharded_table(ShardedTable::new("a & b", "k<>\"'").unwrap()).unwrap();
        info
    }

    #[track_caller]
    fn same(case: &str, document: &str, info: &SchemaInfo) {
        assert_eq!(read("orders", document).as_ref().ok(), Some(info), "{case}: {document}");
    }

    /// The error names the column, its table and the row.
    #[track_caller]
    fn refused(case: &str, document: &str, what: &str) {
        let error = read("orders", document).expect_err(case);
        assert_eq!(error.kind(), ErrorKind::StoreDamaged, "{case}: {error}");
        for part in ["column SchemaInfo of ShardedDatabaseSchemaInfosGlobal", "\"orders\"", what] {
            assert!(error.to_string().contains(part), "{case}: {error}");
        }
    }

    #[test]
    fn documents_are_written_in_the_reference_librarys_form() {
        assert_eq!(write(&SchemaInfo::new()), EMPTY);
        let quoted = WHOLE.replace("\"'</Key", "&quot;&apos;</Key");
        assert_eq!(write(&whole()), quoted);
        same("empty", EMPTY, &SchemaInfo::new());
        same("whole", WHOLE, &whole());
    }

    #[test]
    fn documents_of_version_1_1_0_are_read() {
        let old =
            WHOLE.replace("ReferenceTableSet", "_referenceTableSet").replace("ShardedTableSet", "_shardedTableSet");
        assert_ne!(old, WHOLE);
        same("1.1.0", &old, &whole());
        let one = WHOLE.replace("ShardedTableSet", "_shardedTableSet");
        same("one of each", &one, &whole());
    }

    #[test]
    fn what_is_not_there_is_empty() {
        for document in [
            "<Schema/>",
            "<Schema xmlns:i=\"http://www.w3.org/2001/XMLSchema-instance\"></Schema>",
            "<Schema><ReferenceTableSet/></Schema>",
            "<Schema><_shardedTableSet></_shardedTableSet></Schema>",
        ] {
            same("nothing", document, &SchemaInfo::new());
        }
    }

    #[test]
    fn what_drivers_and_other_clients_add_does_not_matter() {
        for (case, document) in [
            ("a byte order mark", format!("\u{feff}{WHOLE}")),
            ("an encoding that it is not in", format!("<?xml version=\"1.0\" encoding=\"utf-16\"?>{WHOLE}")),
            ("blanks between elements", WHOLE.replace("><", ">\r\n  <")),
            ("an empty default namespace", WHOLE.replace("<ReferenceTableSet", "<ReferenceTableSet xmlns=\"\"")),
            ("another prefix", WHOLE.replace("i:type", "j:type").replace("xmlns:i", "xmlns:j")),
            ("a comment in a name", WHOLE.replace("nation", "na<!-- -->tion")),
            ("a name as it is", WHOLE.replace("a &amp; b", "<![CDATA[a & b]]>")),
            ("characters by number", WHOLE.replace("nation", "&#110;ation")),
            ("elements of later versions", WHOLE.replace("<TableName>", "<Later><TableName/></Later><TableName>")),
            ("sets of later versions", WHOLE.replace("</Schema>", "<LaterSet><x/></LaterSet></Schema>")),
        ] {
            assert_ne!(document, WHOLE, "{case}");
            same(case, &document, &whole());
        }
        let sharded = WHOLE.find("<ShardedTableSet").unwrap();
        let (start, rest) = WHOLE.split_at(WHOLE.find("<ReferenceTableSet").unwrap());
        let (reference, sharded) = rest.split_at(sharded - start.len());
        let (sharded, end) = sharded.split_at(sharded.len() - "</Schema>".len());
        same("the sets in the other order", &format!("{start}{sharded}{reference}{end}"), &whole());
    }

    #[test]
    fn what_is_no_document_is_refused() {
        let deep = format!("{}{}", "<a>".repeat(100_000), "</a>".repeat(100_000));
        let entities = format!("<!DOCTYPE a [<!ENTITY b \"x\">]>{}", WHOLE.replace("nation", "&b;"));
        for document in [
            "",
            " ",
            "\u{feff}",
            "schema",
            "\0",
            "<Schema>",
            &WHOLE.repeat(2),
            &entities,
            &WHOLE.replace("nation", "&b;"),
        ] {
            refused("no document", document, "no document");
        }
        for document in ["<html/>", "<schema/>", deep.as_str(), "<Info><Schema/></Info>"] {
            refused("another document", document, "no Schema");
        }
        for end in (0..WHOLE.len()).filter(|end| WHOLE.is_char_boundary(*end)) {
            refused("cut off", &WHOLE[..end], "no document");
        }
    }

    #[test]
    fn documents_that_no_client_writes_are_refused() {
        let too_long = format!("<TableName>{}</TableName>", "x".repeat(129));
        for (case, from, to, what) in [
            ("without a schema", "<SchemaName>ref</SchemaName>", "", "no SchemaName"),
            ("without a table", "<TableName>nation</TableName>", "", "no TableName"),
            ("without a column", "KeyColumnName>", "keyColumnName>", "no KeyColumnName"),
            ("a schema twice", "<SchemaName>dbo", "<SchemaName>x</SchemaName><SchemaName>dbo", "no SchemaName"),
            ("elements in a name", "nation", "<b>nation</b>", "no TableName"),
            ("an empty schema", "<SchemaName>ref<", "<SchemaName><", "a reference table"),
            ("a blank table", "nation", " \n ", "a reference table"),
            ("an empty column", "<KeyColumnName>k&lt;&gt;\"'<", "<KeyColumnName><", "a sharded table"),
            ("a carriage return", "nation", "na&#13;tion", "a reference table"),
            ("too long a name", "<TableName>nation</TableName>", &too_long, "a reference table"),
            ("two sets", "<ShardedTableSet", "<ReferenceTableSet/><ShardedTableSet", "more than one ReferenceTableSet"),
            ("an old and a new set", "</Schema>", "<_shardedTableSet/></Schema>", "more than one ShardedTableSet"),
            ("a table in the wrong set", "ReferenceTableInfo>", "ShardedTableInfo>", "no ReferenceTableInfo"),
            ("something else in a set", "</ShardedTableSet>", "<Table/></ShardedTableSet>", "no ShardedTableInfo"),
            (
                "a table of both kinds",
                "a &amp; b",
                "A &amp; b</TableName><KeyColumnName>k</KeyColumnName></ShardedTableInfo>\
              <ShardedTableInfo><SchemaName>DBO</SchemaName><TableName>a &amp; b",
                "a sharded table",
            ),
        ] {
            let document = WHOLE.replace(from, to);
            assert_ne!(document, WHOLE, "{case}");
            refused(case, &document, what);
        }
        let both = WHOLE.replace("ref<", "dbo<").replace("a &amp; b", "NATION");
        refused("a table as either kind", &both, "a sharded table");
    }

    #[test]
    fn many_tables_are_read_in_one_go() {
        let mut info = SchemaInfo::new();
        for number in 0..20_000 {
            info.add_sharded_table(ShardedTable::new(format!("table_{number}"), "k").unwrap()).unwrap();
        }
        same("20,000 tables", &write(&info), &info);
    }

    fn name() -> impl Strategy<Value = String> {
        prop_oneof![any::<String>(), "\\PC{1,128}", "[ \t\n<>&'\"\\]a-c]{1,9}", Just("dbo".to_owned())]
    }

    /// Those of the tables that can be.
    fn info(tables: Vec<(String, String, Option<String>)>) -> SchemaInfo {
        let mut info = SchemaInfo::new();
        for (schema, table, column) in tables {
            let _ = match column {
                Some(column) => {
                    ShardedTable::in_schema(schema, table, column).and_then(|table| info.add_sharded_table(table))
                }
                None => ReferenceTable::in_schema(schema, table).and_then(|table| info.add_reference_table(table)),
            };
        }
        info
    }

    fn infos() -> impl Strategy<Value = SchemaInfo> {
        prop::collection::vec((name(), name(), prop::option::of(name())), 0..6).prop_map(info)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_name_comes_back(info in infos()) {
            prop_assert_eq!(read("x", &write(&info)).unwrap(), info);
        }

        #[test]
        fn a_changed_document_is_read_or_refused(
            info in infos(),
            cut in 0..1_000_usize,
            length in 0..40_usize,
            put in prop_oneof![any::<String>(), "(<|>|/|&|;|<!\\[CDATA\\[|\\]\\]>|<TableName>|<_shardedTableSet>){1,3}"],
        ) {
            let characters: Vec<char> = write(&info).chars().collect();
            let at = cut * characters.len() / 1_000;
            let after = (at + length).min(characters.len());
            let changed: String = characters[..at].iter().copied().chain(put.chars()).chain(characters[after..].iter().copied())
                .collect();
            match read("x", &changed) {
                Ok(info) => prop_assert_eq!(read("x", &write(&info)).unwrap(), info),
                Err(error) => prop_assert_eq!(error.kind(), ErrorKind::StoreDamaged, "{}", error),
            }
        }
    }
}
