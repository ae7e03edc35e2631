//! What is seen of a map, and what keys and buttons do.

use std::fs;
use std::path::PathBuf;

use shardlet::{KeyType, ShardKey, ShardMapKind};

use super::browser::{between, open, open_html, screenshot, text_of};
use super::sample::{HOSTILE, empty, hostile, key, large, mapping, points, shard, usual};

#[test]
#[ignore = "needs a Chromium browser; .ci/run installs one and runs this"]
fn errors_of_a_page_are_seen_by_these_tests() {
    let seen = open_html("<script>nothing.there()</script>", "");
    assert!(seen.console.iter().any(|line| line.contains("nothing is not defined")), "{:?}", seen.console);
    // The page allows itself no request.
    let seen = open(&usual(), "", "const image = new Image(); image.src = 'http://127.0.0.1:9/x.png';");
    assert!(seen.console.iter().any(|line| line.contains("Content Security Policy")), "{:?}", seen.console);
}

#[test]
#[ignore = "needs a Chromium browser; .ci/run installs one and runs this"]
fn a_map_is_shown_as_text_as_well() {
    let seen = open(&usual(), "", "");
    assert_eq!(seen.console, [""; 0]);
    let figures = text_of(between(&seen.dom, "<dl id=\"figures\">", "</dl>"));
    let expected =
        "12shards60mappings3mappings offline3mappings locked1shard disabled2gaps between ranges1operation pending";
    assert_eq!(figures, expected);
    let pending = text_of(between(&seen.dom, "<ul id=\"pending-list\">", "</ul>"));
    let expected = "move of a range on server-b/orders_07, server-c/orders_09 6f9619ff-8b86-d011-b42d-00c04fc964ff";
    assert_eq!(pending, expected);
    let rows = |id: &str| {
        let body = between(&seen.dom, &format!("id=\"{id}\""), "</tbody>").split_once("<tbody>").unwrap().1.to_owned();
        body.split("</tr>")
            .map(|row| row.replace("</td>", "|").replace("</th>", "|"))
            .map(|row| text_of(&row))
            .collect::<Vec<_>>()
    };
    let shards = rows("shard-list");
    assert_eq!(shards.len(), 12 + 1);
    assert!(shards[7].starts_with("server-b/orders_07|disabled operation pending|7|"), "{}", shards[7]);
    assert!(shards[7].ends_with("|being emptied|"), "{}", shards[7]);
    let mappings = rows("mapping-list");
    // A page of it, with a row for the gap.
    assert_eq!(mappings.len(), 50 + 1);
    let picture = usual();
    let show = |i: usize| KeyType::Int64.show(&picture.mappings[i].low).to_string();
    assert_eq!(mappings[10], format!("{}|{}|server-c/orders_10|offline|locked|", show(10), show(11)));
    assert!(mappings[22].contains(&format!("|{}|not mapped|", show(22))), "{}", mappings[22]);
}

#[test]
#[ignore = "needs a Chromium browser; .ci/run installs one and runs this"]
fn names_are_text_whatever_they_hold() {
    let seen = open(&hostile(), "#key=5", "");
    assert_eq!(seen.console, [""; 0]);
    assert!(!seen.dom.contains("data-broken="));
    assert!(!seen.dom.contains("<img"));
    assert_eq!(seen.dom.matches("<script").count(), 3);
    // What would turn or hide the text around it is shown as what it is.
    let beside_data = seen.dom.replace(between(&seen.dom, "id=\"data\">", "</script>"), "");
    assert!(!beside_data.contains(['\u{202e}', '\u{2066}', '\u{200f}', '\u{2028}', '\u{0}']));
    let title = text_of(between(&seen.dom, "<title>", "</title>"));
    let shown = "\u{27e8}U+202E\u{27e9}gnp.exe\u{27e8}U+2066\u{27e9}\u{27e8}U+200F\u{27e9}";
    assert!(title.contains(shown) && title.contains(HOSTILE[0]) && title.contains(HOSTILE[4]), "{title}");
}

#[test]
#[ignore = "needs a Chromium browser; .ci/run installs one and runs this"]
fn maps_of_nothing_are_shown() {
    for kind in [ShardMapKind::List, ShardMapKind::Range] {
        let mut picture = empty(kind, KeyType::Binary);
        let seen = open(&picture, "#key=0x01", "");
        assert_eq!(seen.console, [""; 0]);
        assert!(seen.dom.contains("is not mapped: the map has no mappings."));
        // And of one mapping, which has no width.
        picture.shards = vec![shard("a")];
        picture.mappings = vec![mapping(0, vec![1].encode().unwrap(), None)];
        let seen = open(&picture, "#key=0x01&key=0x02", "");
        assert_eq!(seen.console, [""; 0]);
        assert_eq!(seen.dom.matches("data-state=\"mapped\"").count(), if kind == ShardMapKind::List { 1 } else { 2 });
    }
}

/// Colours in the middle of the strip, by the key at which to look.
const COLOURS: &str = "
    const canvas = document.getElementById('strip');
    const ratio = canvas.width / canvas.clientWidth;
    const at = (part) => [...canvas.getContext('2d').getImageData(Math.floor(part * (canvas.width - 1)), Math.floor(85 * ratio), 1, 1).data].join(' ');
    const write = (name, value) => document.body.setAttribute('data-' + name, value);
    const press = (key) => canvas.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
";

#[test]
#[ignore = "needs a Chromium browser; .ci/run installs one and runs this"]
fn a_gap_is_empty_and_a_range_is_not() {
    let mut picture = empty(ShardMapKind::Range, KeyType::Int64);
    picture.shards = vec![shard("a"), shard("b")];
    picture.mappings = vec![mapping(0, key(0), Some(key(400))), mapping(1, key(600), Some(key(1000)))];
    let look = "write('left', at(0.2)); write('gap', at(0.5)); write('right', at(0.8));";
    let seen = open(&picture, "", &(COLOURS.to_owned() + look));
    let colour = |name: &str| between(&seen.dom, &format!("data-{name}=\""), "\"").to_owned();
    let (left, gap, right) = (colour("left"), colour("gap"), colour("right"));
    assert!(left != gap && right != gap && left != right, "{left}, {gap}, {right}");
    // Light as its ground.
    assert_eq!(gap, "241 241 239 255");
    // Also where there are more mappings than pixels.
    let look = "
        const part = (i) => Number(map.proportional().start[i] * 10000n / map.proportional().total) / 10000;
        write('gap', at(part(20000) - 0.01)); write('left', at(part(19900))); write('right', at(part(20100)));
    ";
    let seen = open(&large(), "", &(COLOURS.to_owned() + look));
    assert_eq!(seen.console, [""; 0]);
    assert_eq!(
        ["left", "gap", "right"].map(|name| between(&seen.dom, &format!("data-{name}=\""), "\"") == gap),
        [false, true, false]
    );
}

#[test]
#[ignore = "needs a Chromium browser; .ci/run installs one and runs this"]
fn a_map_with_tiny_ranges_begins_with_equal_widths_and_zooms_to_them() {
    let mut picture = empty(ShardMapKind::Range, KeyType::Int64);
    picture.shards = (0..3).map(|i| shard(format!("shard {i}"))).collect();
    picture.mappings =
        vec![mapping(0, key(i64::MIN), Some(key(0))), mapping(1, key(0), Some(key(100))), mapping(2, key(100), None)];
    let script = "
        const scale = document.getElementById('scale');
        write('first', scale.value);
        const here = () => at(0.5);
        const middle = here();
        scale.value = 'proportional';
        scale.dispatchEvent(new Event('change'));
        write('hidden', here() !== middle);
        document.querySelector('#answer button').click();
        write('found', here() === middle);
        press('0');
        write('again', here() !== middle);
        press('Home'); press('ArrowRight'); press('Enter');
        write('entered', here() === middle);
        write('said', canvas.getAttribute('aria-valuetext'));
    ";
    // The middle of the key that was looked for has the mark of the search on it: look beside it.
    let beside = COLOURS.replace("Math.floor(part * (canvas.width - 1))", "Math.floor(part * (canvas.width - 1)) + 30");
    let click = "document.getElementById('scale').value = 'proportional';
        document.getElementById('scale').dispatchEvent(new Event('change'));
        document.getElementById('search').requestSubmit();
        document.getElementById('scale').value = 'equal';
        document.getElementById('scale').dispatchEvent(new Event('change'));";
    let first = "const begun = document.getElementById('scale').value;";
    let script = script.replace("write('first', scale.value);", "write('first', begun);");
    let seen = open(&picture, "#key=50", &(beside + first + click + &script));
    assert_eq!(seen.console, [""; 0]);
    assert!(seen.dom.contains("data-first=\"equal\""));
    for name in ["hidden", "found", "again", "entered"] {
        assert!(seen.dom.contains(&format!("data-{name}=\"true\"")), "{name}");
    }
    let said = between(&seen.dom, "data-said=\"", "\"");
    assert_eq!(said, "[0, 100) on \u{2068}shard 1\u{2069}: online");
}

#[test]
#[ignore = "needs a Chromium browser; .ci/run installs one and runs this"]
fn the_pointer_marks_a_part_to_zoom_into_and_picks_what_is_under_it() {
    let script = "
        canvas.setPointerCapture = () => {};
        const box = canvas.getBoundingClientRect();
        const point = (type, part) => canvas.dispatchEvent(new PointerEvent(type, { button: 0, clientX: box.left + part * box.width, clientY: box.top + 60 }));
        const hint = () => document.getElementById('strip-hint').textContent;
        point('pointermove', 0.99);
        write('note', document.getElementById('note').textContent);
        point('pointerdown', 0.5); point('pointermove', 0.3); point('pointerup', 0.3);
        write('zoomed', hint());
        canvas.dispatchEvent(new MouseEvent('dblclick'));
        write('whole', hint());
        point('pointerdown', 0.01); point('pointerup', 0.01);
        write('said', canvas.getAttribute('aria-valuetext'));
        write('rows', document.querySelector('#mapping-list tr[aria-current] th').textContent);
    ";
    let seen = open(&usual(), "", &(COLOURS.to_owned() + script));
    assert_eq!(seen.console, [""; 0]);
    let said = |name: &str| between(&seen.dom, &format!("data-{name}=\""), "\"").to_owned();
    assert!(said("note").ends_with(", +\u{221e})\u{2068}server-b/orders_07\u{2069}: online"), "{}", said("note"));
    let zoomed: u32 = said("zoomed").strip_suffix(" of 60 mappings in view.").unwrap().parse().unwrap();
    // A fifth of the axis.
    assert!((6..24).contains(&zoomed), "{zoomed}");
    assert_eq!(said("whole"), "");
    assert!(said("said").starts_with("[0, "), "{}", said("said"));
    assert_eq!(said("rows"), "0");
}

#[test]
#[ignore = "needs a Chromium browser; .ci/run installs one and runs this"]
fn lists_are_filtered_by_state_and_by_the_shard_that_is_picked() {
    let script = "
        const count = () => document.querySelectorAll('#mapping-list tbody tr').length;
        const choose = (value) => { const s = document.getElementById('state'); s.value = value; s.dispatchEvent(new Event('change')); };
        choose('offline'); write('offline', count());
        choose('locked'); write('locked', count());
        choose('gaps'); write('gaps', count());
        choose('all');
        const bars = document.getElementById('columns');
        const go = (key) => bars.dispatchEvent(new KeyboardEvent('keydown', { key }));
        go('End'); go('ArrowLeft');
        write('picked', count());
        write('said', bars.getAttribute('aria-valuetext'));
        go('Escape');
        document.querySelector('#mapping-list .pager button:last-child').click();
        write('rest', count());
        const filter = document.getElementById('shard-filter');
        filter.value = 'LARGE'; filter.dispatchEvent(new Event('input'));
        write('shards', document.querySelectorAll('#shard-list tbody tr').length);
    ";
    let picture = usual();
    let seen = open(&picture, "", &(COLOURS.to_owned() + script));
    assert_eq!(seen.console, [""; 0]);
    let mine = picture.mappings.iter().filter(|mapping| mapping.shard == 10).count();
    for (name, value) in [("offline", 3), ("locked", 3), ("gaps", 2), ("picked", mine), ("rest", 12), ("shards", 1)] {
        assert!(seen.dom.contains(&format!("data-{name}=\"{value}\"")), "{name}");
    }
    assert!(between(&seen.dom, "data-said=\"", "\"").starts_with("\u{2068}server-c/orders_10\u{2069}: "));
}

#[test]
#[ignore = "needs a Chromium browser; .ci/run installs one and runs this"]
fn points_are_counted_where_they_are_close_and_told_apart_where_they_are_not() {
    let hint = "write('hint', document.getElementById('strip-hint').textContent);";
    let seen = open(&points(), "", &(COLOURS.to_owned() + hint));
    assert_eq!(seen.console, [""; 0]);
    assert_eq!(between(&seen.dom, "data-hint=\"", "\""), "Bars show how many points lie close together.");
    let zoomed = "for (let i = 0; i < 12; i++) press('+');".to_owned() + hint;
    let seen = open(&points(), "", &(COLOURS.to_owned() + &zoomed));
    let hint = between(&seen.dom, "data-hint=\"", "\"");
    assert!(hint.ends_with(" of 100,000 mappings in view."), "{hint}");
}

/// With `SHARDLET_SCREENSHOT=FILE` the light one is kept there: docs/map.png is made so.
#[test]
#[ignore = "needs a Chromium browser; .ci/run installs one and runs this"]
fn a_screenshot_is_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let [light, dark] = ["light.png", "dark.png"].map(|name| folder.path().join(name));
    let asked = format!("#key={}", 410_000);
    screenshot(&usual(), &asked, false, "1400,900", &light);
    screenshot(&usual(), &asked, true, "1400,900", &dark);
    let read = |file: &PathBuf| fs::read(file).unwrap();
    for file in [&light, &dark] {
        assert!(read(file).starts_with(b"\x89PNG") && read(file).len() > 20_000, "{}", file.display());
    }
    assert_ne!(read(&light), read(&dark));
    if let Some(file) = std::env::var_os("SHARDLET_SCREENSHOT") {
        let _ = fs::copy(light, file).unwrap();
    }
}
