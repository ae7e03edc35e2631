//! A headless Chromium that opens pages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use crate::picture::{Picture, page};

/// Far more than any page takes: only a page that hangs meets it.
const LIMIT: Duration = Duration::from_secs(180);

/// What a browser made of a page.
pub(super) struct Seen {
    /// The document when the page was at rest.
    pub(super) dom: String,
    /// What was written to the console, errors included.
    pub(super) console: Vec<String>,
}

fn browser() -> PathBuf {
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name)));
    places.find(|place| place.is_file()).expect("this test needs a Chromium browser on PATH: install chromium")
}

/// Runs the browser on a page in an empty folder with some more arguments; answers with what it printed.
fn run(html: &str, fragment: &str, arguments: &[&str]) -> (String, String) {
    // One at a time: each is many processes.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("map.html");
    fs::write(&file, html).unwrap();
    let mut child = Command::new(browser())
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--disable-dev-shm-usage", "--hide-scrollbars", "--enable-logging=stderr", "--virtual-time-budget=5000"])
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .args(arguments)
        .arg(format!("file://{}{fragment}", file.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (done, wait) = mpsc::channel();
    let errors = thread::spawn(move || std::io::read_to_string(&mut stderr).unwrap_or_default());
    let _ = thread::spawn(move || done.send(std::io::read_to_string(&mut stdout).unwrap_or_default()));
    let Ok(printed) = wait.recv_timeout(LIMIT) else {
        let _ = child.kill();
        let _ = child.wait();
        panic!("the page was not at rest after {LIMIT:?}");
    };
    assert!(child.wait().unwrap().success());
    (printed, errors.join().unwrap())
}

/// The page of a picture, opened at a fragment such as `#key=1`; `script` runs in it after its own scripts.
pub(super) fn open(picture: &Picture, fragment: &str, script: &str) -> Seen {
    let html = page(picture).unwrap() + "<script>" + script + "</script>";
    open_html(&html, fragment)
}

pub(super) fn open_html(html: &str, fragment: &str) -> Seen {
    let (dom, log) = run(html, fragment, &["--dump-dom", "--window-size=1400,900"]);
    // That a test reads pixels is no matter of the page.
    let of_page = |line: &&str| line.contains("CONSOLE") && !line.contains("willReadFrequently");
    let console = log.lines().filter(of_page).map(str::to_owned).collect();
    Seen { dom, console }
}

/// A picture of the page in a file.
pub(super) fn screenshot(picture: &Picture, fragment: &str, dark: bool, size: &str, to: &Path) {
    let scheme = format!("--blink-settings=preferredColorScheme={}", u8::from(!dark));
    let (to, size) = (format!("--screenshot={}", to.display()), format!("--window-size={size}"));
    let _ = run(&page(picture).unwrap(), fragment, &[&to, &size, &scheme]);
}

/// `text` as it stands in a fragment.
pub(super) fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// The text between two others.
pub(super) fn between<'t>(text: &'t str, before: &str, after: &str) -> &'t str {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("no {before}"));
    rest.split_once(after).unwrap_or_else(|| panic!("no {after} after {before}")).0
}

/// What is between tags, as it is read.
pub(super) fn text_of(html: &str) -> String {
    let mut text = String::new();
    for piece in html.split('<') {
        text.push_str(piece.split_once('>').map_or(piece, |(_, text)| text));
    }
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&nbsp;", "\u{a0}")
        .replace("&amp;", "&")
}
