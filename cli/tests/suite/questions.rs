//! What asks before it changes something, what shows its plan instead, and that neither changes anything.

use crate::support::World;

/// Changes on [`World::filled`] that ask before they are done.
const ASKING: [&str; 11] = [
    "store create --replace",
    "store upgrade",
    "store drop",
    "map delete empty",
    "shard add tenants s/c",
    "shard delete orders s/c",
    "mapping move orders 0..100 --to s/b",
    "mapping offline orders 0..100",
    "mapping delete orders ..-100",
    "schema set orders --reference prices",
    "schema delete orders",
];

/// Those that do not, because they take nothing away, or can be taken back by one that is as simple.
const NOT_ASKING: [&str; 11] = [
    "map create new --kind list --key-type int32",
    "shard update orders s/c --enable",
    "shard update orders s/a --disable",
    "mapping add orders 200..300 --shard s/b",
    "mapping split orders 50",
    "mapping merge orders 100",
    "mapping online orders ..-100",
    "mapping lock orders 0..100",
    "mapping unlock orders 300.. --token 11111111-2222-3333-4444-555555555555",
    "mapping unlock orders --token 11111111-2222-3333-4444-555555555555",
    "schema set tenants --reference prices",
];

fn world() -> World {
    let world = World::filled();
    let _ = world.run_words("map create empty --kind list --key-type guid").ok();
    world.make_older(Some("b"));
    world
}

#[test]
fn nobody_there_to_answer_is_no() {
    let world = world();
    let before = world.content();
    for words in ASKING {
        let ran = world.run_words(&format!("{words} -o json")).exits(16);
        assert_eq!((ran.out.as_str(), ran.error()["kind"].as_str()), ("", Some("declined")), "{words}");
        assert_eq!(world.content(), before, "{words}");
    }
    // The other force that takes something from somebody.
    let ran = world.run_words("mapping unlock orders 300.. --force").exits(16);
    assert!(ran.err.contains("nothing was changed"), "{ran:?}");
    assert_eq!(world.content(), before);
}

#[test]
fn with_yes_nothing_asks() {
    for words in ASKING.into_iter().chain(["mapping unlock orders 300.. --force"]) {
        let world = world();
        let before = world.content();
        let ran = world.run_words(&format!("{words} --yes")).ok();
        assert!(!ran.err.contains("[y/N]"), "{ran:?}");
        assert_ne!(world.content(), before, "{words}");
    }
}

#[test]
fn what_takes_nothing_away_does_not_ask() {
    for words in NOT_ASKING {
        let world = world();
        let before = world.content();
        let _ = world.run_words(words).ok();
        assert_ne!(world.content(), before, "{words}");
    }
}

/// A plan is printed, in JSON with steps that are numbered from 1, and nothing is changed. Where steps name ids alone, step 0 has the
/// whole in words.
#[test]
fn a_dry_run_changes_nothing() {
    let world = world();
    let file = world.write("rows.csv", "low,high,shard\n200,300,s/b\n");
    let import = format!("mapping import orders {file}");
    let others = ["mapping unlock orders 300.. --force", import.as_str()];
    let before = world.content();
    for words in ASKING.into_iter().chain(NOT_ASKING).chain(others) {
        let ran = world.run_words(&format!("{words} --dry-run -o json")).ok();
        let rows = ran.json();
        let steps: Vec<_> = rows.as_array().unwrap().iter().map(|row| row["step"].as_u64().unwrap()).collect();
        let from = if rows.to_string().contains("begin the operation") { 0 } else { 1 };
        assert!(steps.first() == Some(&from) && steps.is_sorted(), "{words}: {steps:?}");
        for row in rows.as_array().unwrap() {
            let (place, action) = (row["place"].as_str().unwrap(), row["action"].as_str().unwrap());
            assert!(place.is_empty() == (row["step"] == 0) && !action.is_empty(), "{row}");
            // Nobody knows a mapping by its id.
            assert!(row["step"] != 0 || action.contains("s/"), "{row}");
        }
        assert_eq!(world.content(), before, "{words}");
    }
    // Also where there is no store yet.
    let empty = World::empty();
    let _ = empty.run_words("store create --dry-run").ok();
    assert!(!empty.store().exists());
}

/// Who reads a plan learns which keys go offline, and where they are.
#[test]
fn plans_say_what_goes_offline() {
    let world = World::filled();
    for (words, parts) in [
        ("mapping move orders 5 --to s/b", ["0..100", "from s/a to s/b", "offline"]),
        ("mapping offline orders 5", ["0..100", "on s/a", "offline"]),
        ("mapping add orders 200..300 --shard s/b --offline", ["200..300", "to s/b", "offline"]),
    ] {
        let plan = world.run_words(&format!("{words} --dry-run -o json")).ok().json();
        let whole = plan[0]["action"].as_str().unwrap();
        assert!(parts.iter().all(|part| whole.contains(part)), "{words}: {whole}");
    }
}

/// A dry run is refused where the change would be.
#[test]
fn a_dry_run_of_what_is_refused_is_refused() {
    let world = World::filled();
    for (words, code) in [
        ("mapping delete orders 0..100", 6),
        ("mapping online orders 0..100", 17),
        ("map delete orders", 6),
        ("mapping split orders 100", 17),
        ("mapping add orders 300..200 --shard s/b", 5),
        ("shard add orders s/a", 4),
        ("shard add orders s/new --description \u{7}", 5),
        ("shard update orders s/a --description \u{7}", 5),
        ("shard delete orders s/a", 6),
        ("map create ORDERS --kind list --key-type guid", 4),
        ("map create a-name-that-is-longer-than-the-fifty-characters-allowed --kind list --key-type guid", 5),
        ("mapping add orders 50..60 --shard s/b", 4),
        ("mapping add orders .. --shard s/b", 4),
        ("mapping add tenants 00000000-0000-0000-0000-000000000001 --shard s/a", 4),
        ("mapping add orders 200..300 --shard s/c", 6),
        ("mapping move orders 0..100 --to s/c", 6),
        ("mapping move orders 300.. --to s/a", 7),
        ("mapping move orders 0..100 --to s/b --lock-token 11111111-2222-3333-4444-555555555555", 7),
        ("mapping split orders 400", 7),
        ("mapping offline orders 300..", 7),
        ("mapping lock orders 300..", 7),
        ("mapping unlock orders 300.. --token 6f9619ff-8b86-d011-b42d-00c04fc964ff", 7),
        ("mapping unlock orders --token 6f9619ff-8b86-d011-b42d-00c04fc964ff", 17),
        ("schema delete nope", 3),
        ("store create", 4),
        ("store upgrade", 17),
    ] {
        let ran = world.run_words(&format!("{words} --dry-run")).exits(code);
        assert_eq!(ran.out, "", "{words}");
    }
    // Offline and locked, and in the way of its neighbour.
    let _ = world.run_words("mapping lock orders ..-100").ok();
    let _ = world.run_words("mapping lock orders 0..100").ok();
    for words in ["mapping online orders ..-100", "mapping delete orders ..-100", "mapping merge orders 100"] {
        let _ = world.run_words(&format!("{words} --dry-run")).exits(7);
    }
    let _ = World::empty().run_words("store drop --dry-run").exits(17);
}

/// What is refused is not asked about first: nobody is there to answer, which would be 16.
#[test]
fn what_is_refused_is_not_asked_about() {
    let world = World::filled();
    for (words, code) in [
        ("shard delete orders s/a", 6),
        ("schema delete nope", 3),
        ("mapping offline orders 300..", 7),
        ("mapping move orders 0..100 --to s/c", 6),
        ("shard add orders s/new --description \u{7}", 5),
    ] {
        let _ = world.run_words(words).exits(code);
    }
    let _ = World::empty().run_words("store drop").exits(17);
}

/// A description that is refused is refused before its shard is added.
#[test]
fn a_description_that_is_too_long_adds_no_shard() {
    let world = World::filled();
    let before = world.content();
    let long = "x".repeat(1_001);
    for dry in [&[][..], &["--dry-run"]] {
        for arguments in [["shard", "add", "tenants", "s/c"], ["shard", "update", "orders", "s/a"]] {
            let mut arguments = arguments.to_vec();
            arguments.extend(["--description", &long, "--yes"]);
            arguments.extend(dry);
            let _ = world.run(&arguments).exits(5).says("1001");
            assert_eq!(world.content(), before, "{dry:?}");
        }
    }
}

/// Two changes are one plan.
#[test]
fn a_shard_is_described_and_disabled_in_one_plan() {
    let world = World::filled();
    let arguments = ["shard", "update", "orders", "s/a", "--description", "old", "--disable", "-o", "json"];
    let plan = world.run(&[&arguments[..], &["--dry-run"]].concat()).ok().json();
    let steps: Vec<_> = plan.as_array().unwrap().iter().map(|row| row["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [0, 1, 2, 3, 4], "{plan}");
    let row = world.run(&arguments).ok().json();
    assert_eq!((&row["status"], &row["description"]), (&"disabled".into(), &"old".into()));
}

/// A database that is not there is made when its shard is added, and not before.
#[test]
fn a_database_is_made_for_a_shard_that_is_added() {
    let world = World::filled();
    let file = world.file(Some("new"));
    for (words, code) in [
        ("shard add orders s/new --dry-run", 0),
        ("shard add orders s/new", 16),
        ("shard show orders s/new", 3),
        ("shard delete orders s/new --yes", 3),
        ("mapping list orders --shard s/new", 3),
        ("mapping move orders 0..100 --to s/new --yes", 3),
    ] {
        let _ = world.run_words(words).exits(code);
        assert!(!file.exists(), "{words}");
    }
    let _ = world.run_words("shard add orders s/new --yes").ok().says("no database yet");
    assert!(file.exists());
    let _ = world.run_words("mapping move orders 0..100 --to s/new --yes").ok();
    world.agrees();
}

/// Nobody is asked to upgrade what is as it has to be.
#[test]
fn an_upgrade_with_nothing_to_do_is_no_change() {
    let world = World::filled();
    for words in ["store upgrade", "store upgrade --yes"] {
        let _ = world.run_words(words).exits(17).says("all 3 shards have version 1.2 already");
    }
    world.make_older(None);
    let upgraded = world.run_words("store upgrade --yes -o json").ok().json();
    let outcomes: Vec<_> = upgraded.as_array().unwrap().iter().map(|row| row["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["upgraded", "unchanged", "unchanged", "unchanged"]);
    let _ = world.run_words("store upgrade").exits(17);
    // One that cannot be read before it is upgraded.
    let table = "\"__ShardManagement.ShardMapManagerGlobal\"";
    let oldest = format!(
        "DROP TABLE {table}; CREATE TABLE {table} (\"StoreVersion\" INTEGER NOT NULL PRIMARY KEY) STRICT; \
         INSERT INTO {table} VALUES (1)"
    );
    world.raw(None).execute_batch(&oldest).unwrap();
    let plan = world.run_words("store upgrade --dry-run -o csv").ok();
    assert!(plan.out.contains("global store,upgrade from 1.0 to 1.2") && plan.out.contains("each shard,"), "{plan:?}");
    assert_eq!(world.run_words("store upgrade --yes -o json").ok().json()[0]["from"], "1.0");
    // There is nothing to ask about, either.
    let _ = World::empty().run_words("store drop").exits(17);
}

/// With `--quiet` there are results and errors, and no other words.
#[test]
fn quiet_says_nothing_but_errors() {
    let world = World::filled();
    for words in [
        "mapping offline orders 0..100 --yes",
        "shard add tenants s/c --yes",
        "mapping list orders --locked",
        "schema delete orders --yes",
    ] {
        let ran = world.run_words(&format!("{words} --quiet")).ok();
        assert_eq!(ran.err, "", "{words}");
    }
    let ran = world.run_words("map show nope -q").exits(3);
    assert!(ran.err.starts_with("error: "), "{ran:?}");
}

#[cfg(unix)]
mod at_a_terminal {
    use std::process::Command;

    use rexpect::process::WaitStatus;
    use rexpect::session::{PtySession, spawn_command};

    use super::*;

    /// Far beyond what any step takes.
    const HANGS: Option<u64> = Some(240_000);

    pub fn terminal(command: Command) -> PtySession {
        spawn_command(command, HANGS).unwrap()
    }

    pub fn exit_code(mut session: PtySession) -> (i32, String) {
        let rest = session.exp_eof().unwrap();
        match session.process().wait().unwrap() {
            WaitStatus::Exited(_, code) => (code, rest),
            other => panic!("{other:?}: {rest}"),
        }
    }

    fn asked(world: &World, words: &str) -> PtySession {
        let mut session = terminal(world.command(&words.split_whitespace().collect::<Vec<_>>()));
        let _ = session.exp_string("? [y/N] ").unwrap();
        session
    }

    #[test]
    fn only_yes_is_yes() {
        for (answer, code) in [("y", 0), ("YES", 0), ("n", 16), ("", 16), ("yep", 16)] {
            let world = World::filled();
            let before = world.content();
            let mut session = asked(&world, "mapping offline orders 0..100");
            let _ = session.send_line(answer).unwrap();
            let (exited, text) = exit_code(session);
            assert_eq!(exited, code, "{answer:?}: {text}");
            assert_eq!(world.content() == before, code != 0, "{answer:?}");
            assert_eq!(text.contains("nothing was changed"), code != 0, "{text}");
        }
    }

    /// Which store it is, and what would be lost with it.
    #[test]
    fn questions_about_a_store_name_it() {
        let world = World::filled();
        let place = format!("SQLite, {}", world.store().display());
        let content = "with 2 shard maps, 3 shards and 6 mappings";
        for words in ["store drop", "store create --replace"] {
            let mut session = terminal(world.command(&words.split_whitespace().collect::<Vec<_>>()));
            let shown = session.exp_string("? [y/N] ").unwrap();
            assert!(shown.contains(&place) && shown.contains(content), "{shown}");
        }
        world.make_older(Some("b"));
        let mut session = terminal(world.command(&["store", "upgrade"]));
        let shown = session.exp_string("? [y/N] ").unwrap();
        assert!(shown.contains(&place) && shown.contains("1 of its 3 shards"), "{shown}");
    }

    /// The end of what is typed is no answer.
    #[test]
    fn the_end_of_input_is_no() {
        let world = World::filled();
        let mut session = asked(&world, "store drop");
        session.send_control('d').unwrap();
        let (code, _) = exit_code(session);
        assert_eq!(code, 16);
        let _ = world.run_words("map show orders").ok();
    }

    #[test]
    fn ctrl_c_at_a_question_changes_nothing() {
        let world = World::filled();
        let before = world.content();
        let mut session = asked(&world, "store drop");
        session.send_control('c').unwrap();
        let (code, text) = exit_code(session);
        assert_eq!(code, 130, "{text}");
        assert!(text.contains("nothing was being changed"), "{text}");
        assert_eq!(world.content(), before);
    }

    /// What was shown when the question was asked is what is changed, or nothing is.
    #[test]
    fn what_another_changes_before_the_answer_is_stale() {
        let world = World::filled();
        let mut session = asked(&world, "mapping move orders 0..100 --to s/b");
        let _ = world.run_words("mapping split orders 50").ok();
        let before = world.content();
        let _ = session.send_line("y").unwrap();
        let (code, text) = exit_code(session);
        assert_eq!(code, 8, "{text}");
        assert!(text.contains("look again"), "{text}");
        assert_eq!(world.content(), before);
    }

    #[test]
    fn a_shard_is_added_when_its_plan_was_seen() {
        let world = World::filled();
        let mut session = terminal(world.command(&["shard", "add", "tenants", "s/c"]));
        let shown = session.exp_string("? [y/N] ").unwrap();
        assert!(shown.contains("s/c: reached") && shown.contains("add shard"), "{shown}");
        let _ = session.send_line("y").unwrap();
        let (code, text) = exit_code(session);
        assert_eq!(code, 0, "{text}");
        let _ = world.run_words("shard show tenants s/c").ok();
    }

    #[test]
    fn an_import_shows_how_far_it_is() {
        let world = World::filled();
        let rows: String = (0..100).map(|low| format!("{},{},s/b\n", low + 200, low + 201)).collect();
        let file = world.write("rows.csv", &format!("low,high,shard\n{rows}"));
        let arguments = ["mapping", "import", "orders", &file, "--batch", "1"];
        let mut session = terminal(world.command(&arguments));
        let _ = session.exp_string("importing [").unwrap();
        let _ = session.exp_string(" of 100, ").unwrap();
        let (code, text) = exit_code(session);
        assert_eq!(code, 0, "{text}");
        // And shows nothing of it where it is to be quiet.
        let world = World::filled();
        let mut command = world.command(&arguments);
        let _ = command.arg("--quiet");
        let (code, text) = exit_code(terminal(command));
        assert!(code == 0 && !text.contains("importing"), "{text}");
    }

    /// What is typed is not shown, and not printed.
    #[test]
    fn a_password_is_asked_for_without_showing_it() {
        let world = World::empty();
        let mut command = world.bare();
        let address = crate::exit_codes::closed();
        let _ = command.args([
            "--store",
            &format!("sqlserver:Server=tcp:{address};Database=d;Encrypt=true"),
            "--user",
            "u",
        ]);
        let _ = command.args(["--password-prompt", "map", "list"]);
        let mut session = terminal(command);
        let _ = session.exp_string("password of u: ").unwrap();
        let _ = session.send_line("hunter2").unwrap();
        let (code, text) = exit_code(session);
        assert_eq!(code, 11, "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }

    /// The terminal shows again what is typed, and the exit code is that of an interruption.
    #[test]
    fn ctrl_c_at_the_password_gives_the_terminal_back() {
        let world = World::empty();
        let mut command = Command::new("sh");
        let _ = command.envs(world.bare().get_envs().filter_map(|(name, value)| Some((name, value?))));
        let _ = command.env("SHARDLET_STORE", "sqlserver:Server=tcp:127.0.0.1,1;Database=d");
        let binary = env!("CARGO_BIN_EXE_shardlet");
        // The shell is interrupted as well, and goes on.
        let script = "trap : INT; stty echo; \"$0\" --user u --password-prompt map list; echo code $?; stty -a";
        let _ = command.args(["-c", script, binary]);
        let mut session = terminal(command);
        let _ = session.exp_string("password of u: ").unwrap();
        let _ = session.send("hunt").unwrap();
        session.send_control('c').unwrap();
        let _ = session.exp_string("error: interrupted; nothing was being changed").unwrap();
        let _ = session.exp_string("code 130").unwrap();
        let settings = session.exp_eof().unwrap();
        let words: Vec<_> = settings.split_whitespace().map(|word| word.trim_end_matches(';')).collect();
        for word in ["echo", "icanon", "isig"] {
            assert!(words.contains(&word), "{word}: {settings}");
        }
    }
}
