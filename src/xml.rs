//! Writing XML documents, for those that the stores keep.

use std::fmt::Display;
use std::io;

use quick_xml::Writer;
use quick_xml::events::BytesText;

/// A document that is being written, into memory.
pub(crate) type Xml = Writer<Vec<u8>>;

/// The document that `write` makes.
pub(crate) fn document(write: impl FnOnce(&mut Xml) -> io::Result<()>) -> String {
    let mut writer = Writer::new(Vec::new());
    // Writing into memory does not fail.
    let _ = write(&mut writer);
    String::from_utf8(writer.into_inner()).unwrap_or_default()
}

/// An element that holds a value.
pub(crate) fn text(writer: &mut Xml, name: &str, value: impl Display) -> io::Result<()> {
    writer.create_element(name).write_text_content(BytesText::new(&value.to_string())).map(|_| ())
}

/// An element that holds others.
pub(crate) fn element(
    writer: &mut Xml,
    name: &str,
    content: impl FnOnce(&mut Xml) -> io::Result<()>,
) -> io::Result<()> {
    element_with(writer, name, &[], content)
}

/// An element with attributes that holds others.
pub(crate) fn element_with(
    writer: &mut Xml,
    name: &str,
    attributes: &[(&str, &str)],
    content: impl FnOnce(&mut Xml) -> io::Result<()>,
) -> io::Result<()> {
    writer.create_element(name).with_attributes(attributes.iter().copied()).write_inner_content(content).map(|_| ())
}
