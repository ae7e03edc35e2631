//! The bodies of the fuzz targets in `fuzz/`, for a few seconds: on samples, on what once failed (`fuzz/corpus/`), and on
//! changes of both. The changes follow from a seed, so that a failure can be repeated: `SHARDLET_FUZZ_SEED` sets another.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

#[path = "../fuzz/bodies.rs"]
mod bodies;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn json(path: PathBuf) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn files(name: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Pieces that parsers treat in their own ways.
const PIECES: [&[u8]; 40] = [
    b"<",
    b">",
    b"&",
    b"\"",
    b"'",
    b";",
    b"=",
    b"{",
    b"}",
    b"[",
    b"]]",
    b"--",
    b"\0",
    b"\r",
    b"\n",
    b" ",
    b"&#13;",
    b"&#0;",
    b"]]>",
    b"<![CDATA[",
    b"<!--",
    b"<!DOCTYPE a [<!ENTITY b \"x\">]>",
    b"&b;",
    b"'; DROP TABLE x; --",
    b"Server=",
    b"Password=",
    b"Integrated Security=SSPI;",
    b"tcp:",
    b",99999",
    b"\\",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    "\u{202e}".as_bytes(),
    "e\u{301}".as_bytes(),
    "😀".as_bytes(),
    "İ".as_bytes(),
    "\u{ffff}".as_bytes(),
    b"18446744073709551616",
    b"-1",
];

/// Another input that is a little like this one.
fn changed(random: &mut StdRng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut input = corpus[random.random_range(0..corpus.len())].clone();
    for _ in 0..random.random_range(1..6) {
        let at = random.random_range(0..=input.len());
        let end = (at + random.random_range(0..24)).min(input.len());
        match random.random_range(0..7) {
            0 => drop(input.drain(at..end)),
            1 => drop(input.splice(at..at, input[at..end].to_vec())),
            2 => drop(input.splice(at..end, PIECES[random.random_range(0..PIECES.len())].iter().copied())),
            3 => drop(input.splice(at..at, (0..random.random_range(1..20)).map(|_| random.random::<u8>()))),
            4 if at < input.len() => input[at] ^= 1 << random.random_range(0..8),
            5 => input.truncate(at),
            _ => {
                let other = &corpus[random.random_range(0..corpus.len())];
                let from = random.random_range(0..=other.len());
                drop(input.splice(at..end, other[from..(from + 40).min(other.len())].iter().copied()));
            }
        }
    }
    input
}

/// Runs a body on each sample and on that many changes of them.
fn run(target: &str, mut corpus: Vec<Vec<u8>>, changes: usize, body: fn(&[u8])) {
    corpus.extend(files(&format!("fuzz/corpus/{target}")).into_iter().map(|file| fs::read(file).unwrap()));
    let seed = std::env::var("SHARDLET_FUZZ_SEED").map_or(20_261_121, |seed| seed.parse().unwrap());
    let mut random = StdRng::seed_from_u64(seed);
    for turn in 0..corpus.len() + changes {
        let input = corpus.get(turn).cloned().unwrap_or_else(|| changed(&mut random, &corpus));
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(&input))) {
            eprintln!("{target}: seed {seed}, input {turn}: \"{}\"", input.escape_ascii());
            resume_unwind(panic);
        }
    }
}

fn unhex(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// The golden keys of every type, each as a key of every type.
fn keys() -> Vec<Vec<u8>> {
    let vectors = json(folder("tests/data/key-vectors.json"));
    let raw = vectors.as_object().unwrap().values().filter_map(Value::as_array).flatten();
    let keys: Vec<_> = raw.filter_map(|row| row["raw"].as_str()).map(unhex).collect();
    assert!(keys.len() > 50, "{}", keys.len());
    (0..7).flat_map(|key_type| keys.iter().map(move |key| [&[key_type], key.as_slice()].concat())).collect()
}

/// Documents that the reference library wrote, one of each length: of most operations and of some variants of each.
fn documents() -> Vec<Vec<u8>> {
    let log = |file| json(file)["gsm"]["OperationsLogGlobal"][0]["Data"].as_str().unwrap().as_bytes().to_vec();
    let others = files("tests/suite/log_records").into_iter().filter(|file| file.extension().unwrap() == "xml");
    let mut documents: Vec<_> = files("tests/data/pending").into_iter().map(log).collect();
    documents.extend(others.map(|file| fs::read(file).unwrap()));
    documents.sort_by_key(Vec::len);
    documents.dedup_by_key(|document| document.len());
    assert!(documents.len() >= 14, "{}", documents.len());
    documents
}

#[test]
fn key() {
    run("key", keys(), 60_000, bodies::key);
}

#[test]
fn log_record() {
    run("log_record", documents(), 8_000, bodies::log_record);
}

#[test]
fn connection_string() {
    let secret = bodies::SECRET;
    let samples = [
        format!("Server=tcp:db-1,1433;Database=shard_map;User ID=admin;Password={secret};Encrypt=true"),
        format!("User ID=app;Password={secret};Encrypt=true;TrustServerCertificate=true;Application Name=shop"),
        format!("Data Source=.\\SQLEXPRESS;Initial Catalog=\"a;b\";UID='u';PWD='{secret}'';x'"),
        format!("{{Server}}={{a}};Password={{{secret}}};MultiSubnetFailover=yes;ApplicationIntent=ReadOnly"),
        format!("Server=s;Database=d;Password={secret};TrustServerCertificateCA=/nowhere/{secret}.pem;Encrypt=strict"),
        String::new(),
    ];
    run("connection_string", samples.map(String::into_bytes).into(), 30_000, bodies::connection_string);
}

#[test]
fn steps() {
    let mut samples = documents();
    samples.extend(keys().into_iter().map(|key| key.repeat(40)));
    samples.extend([vec![0; 500], vec![0xff; 500], (0..=255).collect()]);
    run("steps", samples, 8_000, bodies::steps);
}

#[test]
fn names() {
    let samples = [
        "orders",
        "'; DROP TABLE \"x\"; --",
        "[brackets]] \"quoted\" 'single'",
        "😀👩‍👩‍👧",
        "\u{202e}right to left \u{202c}",
        "e\u{301}\u{323} ß İ ı ﬁ Ǆ ς",
        "trailing   ",
        "a\0b",
        "<a>&amp;]]>&#13;</a>",
        "%2e%2e/../..\\con",
    ];
    let mut samples: Vec<_> = samples.map(|name| name.as_bytes().to_vec()).into();
    samples.extend(["x", "表", "😀"].map(|name| name.repeat(4_000).into_bytes()));
    samples.extend([24, 25, 26, 49, 50, 51, 127, 128, 129, 256].map(|length| "y".repeat(length).into_bytes()));
    run("names", samples, 15_000, bodies::names);
}
