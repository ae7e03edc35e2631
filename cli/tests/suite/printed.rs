//! What every verb prints, in each form, held against files in `golden/`.

use crate::support::{Ran, World, compare};

/// Runs the words in a new world for each form, and compares standard output.
#[track_caller]
fn printed(name: &str, words: &str) {
    printed_of(name, words, &[]);
}

/// The same, with stores of version 1.1: the global one without a name, those of shards `s/NAME`.
#[track_caller]
fn printed_of(name: &str, words: &str, older: &[Option<&str>]) {
    for (form, extension) in [("table", "txt"), ("json", "json"), ("csv", "csv")] {
        let world = World::filled();
        for file in older {
            world.make_older(*file);
        }
        let ran = world.run_words(&format!("{words} --output {form}"));
        let text = whole(ran, form).replace(world.path().to_str().unwrap(), "<directory>");
        compare(&format!("{name}.{extension}"), &text);
    }
}

/// All that was printed: standard error, too, where people read.
fn whole(ran: Ran, form: &str) -> String {
    let ran = ran.ok();
    if form == "table" && !ran.err.is_empty() {
        return format!("{}--- standard error\n{}", ran.out, ran.err);
    }
    ran.out
}

macro_rules! printed {
    ($($name:ident: $words:literal,)*) => {
        $(
            #[test]
            fn $name() {
                printed(stringify!($name), $words);
            }
        )*
    };
}

printed! {
    store_show: "store show",
    store_drop: "store drop --yes",
    store_drop_plan: "store drop --dry-run",
    store_create_plan: "store create --replace --dry-run",
    map_list: "map list",
    map_create: "map create new --kind range --key-type datetimeoffset",
    map_create_plan: "map create new --kind list --key-type binary --dry-run",
    map_show: "map show orders",
    shard_list: "shard list orders",
    shard_list_of_list_map: "shard list tenants",
    shard_add: "shard add tenants s/c --yes",
    shard_add_plan: "shard add tenants s/c --dry-run",
    shard_show: "shard show orders s/a",
    shard_update: "shard update orders s/c --enable",
    shard_update_plan: "shard update orders s/c --enable --dry-run",
    shard_delete: "shard delete orders s/c --yes",
    shard_delete_plan: "shard delete orders s/c --dry-run",
    mapping_list: "mapping list orders",
    mapping_list_of_list_map: "mapping list tenants",
    mapping_list_none: "mapping list orders --keys 200..250",
    mapping_add: "mapping add orders 200..300 --shard s/b",
    mapping_add_to_list_map: "mapping add tenants 00000000-0000-0000-0000-000000000009 --shard s/b --offline",
    mapping_add_plan: "mapping add orders 200..300 --shard s/b --dry-run",
    mapping_lookup: "mapping lookup orders 150",
    mapping_lookup_to_infinity: "mapping lookup orders 9223372036854775807",
    mapping_split: "mapping split orders 50",
    mapping_split_plan: "mapping split orders 50 --dry-run",
    mapping_merge: "mapping merge orders 100",
    mapping_merge_plan: "mapping merge orders 100 --dry-run",
    mapping_move: "mapping move orders 0..100 --to s/b --yes",
    mapping_move_plan: "mapping move orders 0..100 --to s/b --dry-run",
    mapping_offline: "mapping offline orders 0..100 --yes",
    mapping_offline_plan: "mapping offline orders 0..100 --dry-run",
    mapping_online: "mapping online orders -500",
    mapping_delete: "mapping delete orders ..-100 --yes",
    mapping_delete_plan: "mapping delete orders ..-100 --dry-run",
    mapping_lock: "mapping lock orders 100..200",
    mapping_unlock: "mapping unlock orders 300.. --token 11111111-2222-3333-4444-555555555555",
    mapping_unlock_of_token: "mapping unlock orders --token 11111111-2222-3333-4444-555555555555",
    operation_list_none: "operation list",
    schema_list: "schema list",
    schema_show: "schema show orders",
    schema_set: "schema set tenants --sharded tenants=id --reference prices",
    schema_set_plan: "schema set orders --reference prices --dry-run",
    schema_delete: "schema delete orders --yes",
    route: "route orders 5 6 150 9000",
}

#[test]
fn store_upgrade() {
    printed_of("store_upgrade", "store upgrade --yes", &[None, Some("b")]);
    printed_of("store_upgrade_plan", "store upgrade --dry-run", &[None, Some("b")]);
}

/// Keys that are not routed are shown, too.
#[test]
fn route_of_keys_that_are_not_served() {
    let world = World::filled();
    for (form, extension) in [("table", "txt"), ("json", "json"), ("csv", "csv")] {
        let ran = world.run_words(&format!("route orders 5 250 -500 -o {form}")).exits(1);
        assert_eq!(ran.err, "");
        compare(&format!("route_not_served.{extension}"), &ran.out);
    }
}

#[test]
fn mapping_import() {
    for (form, extension) in [("table", "txt"), ("json", "json"), ("csv", "csv")] {
        let world = World::filled();
        let file = world.write("rows.csv", "low,high,shard,status\n200,250,s/a,\n250,300,s/b,offline\n300,,s/b,\n");
        let ran = world.run(&["mapping", "import", "orders", &file, "--skip-existing", "-o", form]);
        compare(&format!("mapping_import.{extension}"), &whole(ran, form));
    }
}

/// Descriptions of shards, which lists show.
#[test]
fn shard_list_with_descriptions() {
    for (form, extension) in [("table", "txt"), ("json", "json"), ("csv", "csv")] {
        let world = World::filled();
        let _ = world.run(&["shard", "update", "orders", "s/a", "--description", "the \"first\", for short"]).ok();
        let ran = world.run(&["shard", "list", "orders", "-o", form]);
        compare(&format!("shard_list_with_descriptions.{extension}"), &whole(ran, form));
    }
}

/// What others have written into a store does nothing to a terminal, and makes no line of its own; for scripts it is as it is.
#[test]
fn nothing_written_into_a_store_has_power_over_a_terminal() {
    let world = World::filled();
    let forged = "one\nSTATUS  disabled\u{202e}";
    let _ = world.run(&["shard", "update", "orders", "s/a", "--description", forged]).ok();
    for words in ["shard list orders", "shard show orders s/a"] {
        let ran = world.run_words(words).ok();
        let escaped = r"one\nSTATUS  disabled\u{202e}";
        assert!(ran.out.contains(escaped), "{ran:?}");
        let json = world.run_words(&format!("{words} -o json")).ok().json();
        let row = json.get(0).unwrap_or(&json);
        assert_eq!(row["description"], forged);
        assert!(world.run_words(&format!("{words} -o csv")).ok().out.contains(forged));
    }
    // Names may hold what descriptions may not.
    let name = "no\u{9b}31m\u{7f}";
    let _ = world.run(&["map", "create", name, "--kind", "list", "--key-type", "guid"]).ok();
    assert!(world.run_words("map list").ok().out.contains(r"no\u{9b}31m\u{7f}"));
    let names = world.run_words("map list -o json").ok().rows();
    assert!(names.iter().any(|row| row["name"] == name), "{names:?}");
    // In what to do next.
    let _ = world.run(&["shard", "add", "orders", "s/a\u{9b}b\nnext:  lie", "--yes"]).ok();
    let _ = world.run(&["mapping", "add", "orders", "200..210", "--shard", "s/a\u{9b}b\nnext:  lie"]).ok();
    let ran = world.run_words("mapping add orders 200..210 --shard s/a").exits(4);
    assert!(ran.err.contains(r"\u{9b}") && !ran.err.contains("\nnext:  lie"), "{ran:?}");
    // In errors and in what is said.
    let ran = world.run(&["map", "show", "no\u{9b}31m\nnext:  do it"]).exits(3);
    assert!(!ran.err.contains('\u{9b}') && !ran.err.contains("\nnext:  do it"), "{ran:?}");
}
