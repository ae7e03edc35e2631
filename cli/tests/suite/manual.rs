//! What is made of the arguments, and that the pages in `docs/` say what the binary does.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::{World, compare_file, root};

#[test]
fn completions_for_every_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ran = World::empty().run_bare(&["completions", shell]).ok();
        for word in ["shardlet", "mapping", "import", "skip-existing"] {
            assert!(ran.out.contains(word), "{shell} does not know {word}");
        }
        assert_eq!(ran.err, "", "{shell}");
    }
}

/// The shell reads the script.
#[test]
fn bash_reads_its_completions() {
    let world = World::empty();
    let script = world.write("completions.bash", &world.run_bare(&["completions", "bash"]).ok().out);
    if let Ok(ended) = std::process::Command::new("bash").args(["-n", &script]).output() {
        assert!(ended.status.success(), "{ended:?}");
    }
}

#[test]
fn manual_pages_of_every_command() {
    let world = World::empty();
    let page = world.run_bare(&["man"]).ok().out;
    assert!(page.contains(".TH shardlet 1"), "{page}");
    assert!(page.contains("Exit codes"), "{page}");
    let _ = world.run_bare(&["man", "--dir", "pages/man1"]).ok().says("pages/man1");
    for page in ["shardlet.1", "shardlet-mapping.1", "shardlet-mapping-import.1", "shardlet-store-create.1"] {
        let text = std::fs::read_to_string(world.path().join("pages/man1").join(page)).unwrap();
        assert!(text.contains(".SH SYNOPSIS"), "{page}");
    }
    let file = world.write("file", "");
    let _ = world.run_bare(&["man", "--dir", &file]).exits(5);
}

/// Help names every exit code.
#[test]
fn help_names_the_exit_codes() {
    let help = World::empty().run_bare(&["--help"]).ok().out;
    for code in (0..=17).chain([70, 130]) {
        assert!(help.lines().any(|line| line.trim_start().starts_with(&format!("{code}  "))), "{code}");
    }
}

#[test]
fn the_page_of_commands_is_what_the_binary_says() {
    let ran = World::empty().run_bare(&["markdown"]).ok();
    compare_file(&root().join("docs/cli.md"), &ran.out);
}

/// The fields of rows, and of errors, in what is printed.
fn fields(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Array(rows) => rows.iter().for_each(|row| fields(row, into)),
        Value::Object(row) => row.iter().for_each(|(name, value)| {
            let _ = into.insert(name.clone());
            fields(value, into);
        }),
        _ => {}
    }
}

#[test]
fn the_page_of_output_names_every_field() {
    let mut names = BTreeSet::new();
    let golden = root().join("cli/tests/suite/golden");
    for entry in std::fs::read_dir(golden).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        if path.extension().is_some_and(|extension| extension == "json") && !text.is_empty() {
            fields(&serde_json::from_str(&text).unwrap(), &mut names);
        }
    }
    assert!(names.len() > 20, "{names:?}");
    let world = World::new();
    fields(&world.run_words("map show nope -o json").exits(3).error(), &mut names);
    let page = std::fs::read_to_string(root().join("docs/cli-output.md")).unwrap();
    let missing: Vec<_> = names.iter().filter(|name| !page.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/cli-output.md does not name {missing:?}");
    // And the exit codes, as help has them, in lines of any width.
    let help = world.run_bare(&["--help"]).ok().out;
    let codes: Vec<_> = help.split("Exit codes:\n").nth(1).unwrap().split_whitespace().collect();
    let table = page.split("| Exit code | |\n| --- | --- |\n").nth(1).unwrap();
    let rows = table.lines().take_while(|line| !line.is_empty()).flat_map(|line| line.split(['|', ' ']));
    let rows: Vec<_> = rows.filter(|word| !word.is_empty()).collect();
    assert_eq!(rows, codes);
}
