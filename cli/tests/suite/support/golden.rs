//! What the binary is expected to print, in files; `SHARDLET_BLESS=1` writes them anew.

use std::path::{Path, PathBuf};

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Text without what differs from run to run: GUIDs stand as `<id>`.
pub fn normal(text: &str) -> String {
    let mut normal = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        match rest.get(..36).filter(|candidate| is_guid(candidate)) {
            Some(_) => {
                normal.push_str("<id>");
                rest = &rest[36..];
            }
            None => {
                normal.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    normal
}

fn is_guid(text: &str) -> bool {
    text.bytes().enumerate().all(|(place, byte)| match place {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    })
}

/// Compares what was printed with the file of a name in `golden/`.
#[track_caller]
pub fn compare(name: &str, printed: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/golden").join(name);
    compare_file(&file, &normal(printed));
}

/// Compares a text with that of a file.
#[track_caller]
pub fn compare_file(file: &Path, text: &str) {
    if std::env::var_os("SHARDLET_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(file, text).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(file).unwrap_or_default();
    // A checkout may have other ends of lines.
    let expected = expected.replace("\r\n", "\n");
    let name = file.file_name().unwrap().display();
    assert!(
        expected == text,
        "{name} has\n{expected}\nand this was printed\n{text}\nSHARDLET_BLESS=1 writes it into the file"
    );
}
