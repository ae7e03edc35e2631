//! `shardlet mapping import`: many mappings from a file.
//!
//! The whole file is read and checked, against itself and against the map, before anything is changed.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::{Map, Value};
use shardlet::model::MappingRecord;
use shardlet::operation::Stores;
use shardlet::{
    BulkOptions, EncodedRange, MappingStatus, Shard, ShardLocation, ShardMapInfo, ShardMapKind, ShardStatus,
};

use crate::blocking::blocking;
use crate::confirm::Change;
use crate::failure::{Failure, Result};
use crate::location;
use crate::map::{AnyBulk, Record};
use crate::progress;
use crate::session::{Session, steps_of};
use crate::stop;

/// How many faults of a file are told at most.
const MOST_FAULTS: usize = 20;

/// Columns that lists have and imports pass over.
const PASSED_OVER: [&str; 3] = ["lock_owner", "id", "sessions_ended"];

#[derive(Args)]
pub(crate) struct Import {
    /// The shard map
    map: String,
    /// The file, or - for standard input: CSV with a line of names, or JSON, an array of objects
    ///
    /// Columns are key (list maps) or low and high (range maps, both of them; nothing in low is the least key, in high +infinity),
    /// shard, and if wanted status, which is online or offline. What shardlet mapping list prints can be read.
    file: PathBuf,
    /// The form of the file [default: json for names that end so, else csv]
    #[arg(long, value_enum)]
    format: Option<FileFormat>,
    /// Passes over mappings that are there already with the same keys on the same shard, to go on after a stop
    #[arg(long)]
    skip_existing: bool,
    /// Mappings that are created in one step: 1 to 1000
    #[arg(long, value_name = "COUNT", default_value_t = BulkOptions::DEFAULT_BATCH_SIZE,
          value_parser = batch_size)]
    batch: usize,
    #[command(flatten)]
    change: Change,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FileFormat {
    Csv,
    Json,
}

#[derive(Serialize)]
struct ImportRow {
    created: usize,
    skipped: usize,
    left: usize,
    total: usize,
}

/// A row of a file: its number from 1, without the line of names, and its columns.
struct FileRow {
    number: usize,
    columns: HashMap<String, String>,
}

/// A mapping that a row asks for.
struct Wanted {
    row: usize,
    keys: EncodedRange,
    shard: Shard,
    status: MappingStatus,
}

/// All that is in a file, or on standard input.
fn bytes_of(path: &Path) -> std::io::Result<Vec<u8>> {
    if path != Path::new("-") {
        return std::fs::read(path);
    }
    let mut bytes = Vec::new();
    let _ = std::io::stdin().lock().read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn batch_size(text: &str) -> std::result::Result<usize, String> {
    let most = BulkOptions::MAX_BATCH_SIZE;
    let size = text.parse().ok().filter(|size| (1..=most).contains(size));
    size.ok_or_else(|| format!("a number from 1 to {most} is wanted"))
}

impl Import {
    pub(super) async fn run<B: Stores>(self, session: &Session<B>) -> Result<()> {
        let map = session.map(&self.map).await?;
        let rows = self.read().await?;
        let wanted = self.understood(map.info(), &map.shards().await?, rows)?;
        let there = map.mappings(None, None).await?;
        self.check(map.info(), &wanted, &there)?;
        let total = wanted.len();
        if total == 0 {
            return Err(Failure::NoChange(format!("{} holds no mappings", self.file.display())));
        }
        let plan = self.plan(&wanted);
        let mut creations = Vec::new();
        for status in [MappingStatus::Online, MappingStatus::Offline] {
            let of_status = wanted.iter().filter(|wanted| wanted.status == status);
            let items: Vec<_> = of_status.map(|wanted| (wanted.keys.clone(), wanted.shard.clone())).collect();
            if !items.is_empty() {
                let options = BulkOptions::default().batch_size(self.batch).status(status);
                creations.push(map.create_many(items, &options)?);
            }
        }
        if !there.is_empty() {
            // Also without anything to pass over: it finds mappings beside which others are created faster.
            for creation in &creations {
                let _ = creation.skip_existing().await?;
            }
        }
        if creations.iter().all(|creation| creation.progress().left() == 0) {
            return Err(Failure::NoChange("every mapping of the file is there already".to_owned()));
        }
        if self.change.dry_run {
            return session.output.list(&steps_of(plan));
        }
        let done = create(session, &creations, total).await;
        let sum = |count: fn(&shardlet::BulkProgress) -> usize| creations.iter().map(|it| count(&it.progress())).sum();
        let row = ImportRow {
            created: sum(shardlet::BulkProgress::created),
            skipped: sum(shardlet::BulkProgress::skipped),
            left: sum(shardlet::BulkProgress::left),
            total,
        };
        session.output.show(&row)?;
        if done.is_err() {
            session.output.say("what was created stays; go on with the same file and --skip-existing");
        }
        done
    }

    /// The rows of the file.
    async fn read(&self) -> Result<Vec<FileRow>> {
        let path = self.file.clone();
        let bytes = blocking(move || bytes_of(&path)).await.map_err(|error| {
            let text = format!("{error}; nothing was changed");
            Failure::file(&self.file, std::io::Error::new(error.kind(), text))
        })?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
            let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
            self.fault(format!("line {line}: this is not text in UTF-8"))
        })?;
        let text = text.trim_start_matches('\u{feff}');
        let named_json = self.file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        match self.format {
            Some(FileFormat::Json) => self.read_json(text),
            None if named_json => self.read_json(text),
            Some(FileFormat::Csv) | None => self.read_csv(text),
        }
    }

    fn read_csv(&self, text: &str) -> Result<Vec<FileRow>> {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
        let names = reader.headers().map_err(|error| self.fault(format!("line of names: {error}")))?.clone();
        let mut seen = HashSet::new();
        if let Some(twice) = names.iter().find(|name| !seen.insert(*name)) {
            return Err(self.fault(format!("line of names: column {twice} is there twice")));
        }
        let mut rows = Vec::new();
        for (record, number) in reader.records().zip(1..) {
            let record = record.map_err(|error| {
                let what = match error.kind() {
                    csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                        format!("{len} columns, and {expected_len} names")
                    }
                    _ => error.to_string(),
                };
                self.fault(format!("row {number}: {what}"))
            })?;
            let columns = names.iter().zip(&record).map(|(name, value)| (name.to_owned(), value.to_owned()));
            rows.push(FileRow { number, columns: columns.collect() });
        }
        Ok(rows)
    }

    fn read_json(&self, text: &str) -> Result<Vec<FileRow>> {
        let rows: Vec<Map<String, Value>> = serde_json::from_str(text).map_err(|error| {
            let what = match error.to_string() {
                text if text.starts_with("number out of range") => "a number that is out of range; write it as a text",
                _ => "no array of objects in JSON",
            };
            self.fault(format!("line {}, column {}: {what}", error.line(), error.column()))
        })?;
        let mut faults = Faults::default();
        let mut read = Vec::with_capacity(rows.len());
        for (row, number) in rows.into_iter().zip(1..) {
            let mut columns = HashMap::new();
            for (name, value) in row {
                let text = match value {
                    Value::Null => String::new(),
                    Value::String(text) => text,
                    Value::Number(value) => value.to_string(),
                    _ => {
                        faults.add(number, Some(&name), "a text or a number is wanted");
                        continue;
                    }
                };
                let _ = columns.insert(name, text);
            }
            read.push(FileRow { number, columns });
        }
        faults.end(self)?;
        Ok(read)
    }

    /// The mappings that the rows ask for.
    fn understood(&self, info: &ShardMapInfo, shards: &[Shard], rows: Vec<FileRow>) -> Result<Vec<Wanted>> {
        let shards: HashMap<&ShardLocation, &Shard> = shards.iter().map(|shard| (shard.location(), shard)).collect();
        let known: &[&str] = match info.kind() {
            ShardMapKind::List => &["key", "shard", "status"],
            ShardMapKind::Range => &["low", "high", "shard", "status"],
        };
        let mut faults = Faults::default();
        let mut wanted = Vec::with_capacity(rows.len());
        for row in rows {
            let number = row.number;
            for name in row.columns.keys() {
                if !known.contains(&name.as_str()) && !PASSED_OVER.contains(&name.as_str()) {
                    faults.add(number, Some(name), &format!("a {} map has no such column", info.kind()));
                }
            }
            let text = |name: &str| row.columns.get(name).map(String::as_str).filter(|text| !text.is_empty());
            let shard = text("shard").ok_or_else(|| "missing".to_owned()).and_then(location::parse).and_then(|place| {
                let shard =
                    shards.get(&place).copied().ok_or("it is not a shard of the map: see shardlet shard add")?;
                match shard.status() {
                    ShardStatus::Online => Ok(shard.clone()),
                    ShardStatus::Offline => Err("the shard is disabled: see shardlet shard update --enable".to_owned()),
                }
            });
            let status = match text("status") {
                None | Some("online") => Ok(MappingStatus::Online),
                Some("offline") => Ok(MappingStatus::Offline),
                Some(_) => Err("online or offline is wanted".to_owned()),
            };
            let mut ok = |name: &str, fault: String| faults.add(number, Some(name), &fault);
            let parsed = |name: &str| text(name).map(|text| info.key_type().parse(text)).transpose();
            let keys = match info.kind() {
                ShardMapKind::List => match parsed("key") {
                    Ok(Some(low)) => Some(EncodedRange { low, high: None }),
                    Ok(None) => {
                        ok("key", "missing".to_owned());
                        None
                    }
                    Err(error) => {
                        ok("key", error.to_string());
                        None
                    }
                },
                ShardMapKind::Range => {
                    // One that was forgotten is not one without an end.
                    let mut bound = |name: &str, without: &str| {
                        if !row.columns.contains_key(name) {
                            ok(name, format!("missing; an empty one is {without}"));
                            return None;
                        }
                        parsed(name).map_err(|error| ok(name, error.to_string())).ok()
                    };
                    let (low, high) = (bound("low", "the least key"), bound("high", "+infinity"));
                    match (low, high) {
                        (Some(low), Some(high)) => {
                            let range = EncodedRange { low: low.unwrap_or_default(), high };
                            if range.is_empty() {
                                ok("high", "the range is empty or inverted: low is not below high".to_owned());
                            }
                            Some(range)
                        }
                        _ => None,
                    }
                }
            };
            let shard = shard.map_err(|fault| ok("shard", fault)).ok();
            let status = status.map_err(|fault| ok("status", fault)).ok();
            if let (Some(keys), Some(shard), Some(status)) = (keys, shard, status) {
                wanted.push(Wanted { row: number, keys, shard, status });
            }
        }
        faults.end(self)?;
        wanted.sort_by(|a, b| a.keys.low.cmp(&b.keys.low));
        Ok(wanted)
    }

    /// Refuses rows that share keys with each other or with what is mapped. Both are in the order of keys.
    fn check(&self, info: &ShardMapInfo, wanted: &[Wanted], there: &[Record]) -> Result<()> {
        let mut faults = Faults::default();
        for pair in wanted.windows(2) {
            if let [a, b] = pair
                && share_keys(info.kind(), &a.keys, &b.keys)
            {
                faults.add(a.row.max(b.row), None, &format!("it shares keys with row {}", a.row.min(b.row)));
            }
        }
        let mut rest = there;
        for wanted in wanted {
            // What ends before this row begins, ends before all that follow.
            while let [first, others @ ..] = rest
                && before(info.kind(), first, &wanted.keys)
            {
                rest = others;
            }
            let Some(first) = rest.first().filter(|first| share_keys(info.kind(), &first.range(), &wanted.keys)) else {
                continue;
            };
            let same = first.range() == wanted.keys && first.shard.id() == wanted.shard.id();
            if same && !self.skip_existing {
                faults.add(wanted.row, None, "it is there already: --skip-existing passes over such rows");
            } else if !same {
                let place = location::show(first.shard.location());
                faults.add(wanted.row, None, &format!("it shares keys with a mapping to {place}"));
            }
        }
        faults.end(self)
    }

    fn fault(&self, text: String) -> Failure {
        Failure::Input(format!("{}, {text}; nothing was changed", self.file.display()))
    }

    fn plan(&self, wanted: &[Wanted]) -> Vec<(String, String)> {
        let mut counts: Vec<(&ShardLocation, usize)> = Vec::new();
        let mut places: HashMap<&ShardLocation, usize> = HashMap::new();
        for wanted in wanted {
            let location = wanted.shard.location();
            let place = *places.entry(location).or_insert_with(|| {
                counts.push((location, 0));
                counts.len() - 1
            });
            if let Some((_, count)) = counts.get_mut(place) {
                *count += 1;
            }
        }
        counts.sort();
        let words = |count: usize| match self.skip_existing {
            true => format!("create those of {count} mappings that are not there, {} at a time", self.batch),
            false => format!("create {count} mappings, {} at a time", self.batch),
        };
        counts.into_iter().map(|(place, count)| (location::show(place), words(count))).collect()
    }
}

/// Creates all that is left, until the user wants to stop.
async fn create<B: Stores>(session: &Session<B>, creations: &[Box<dyn AnyBulk>], total: usize) -> Result<()> {
    let bar = progress::bar(total, "importing", session.output.quiet);
    let mut done = 0;
    for creation in creations {
        done += creation.progress().skipped();
        bar.set_position(u64::try_from(done).unwrap_or(u64::MAX));
        while let Some(batch) = creation.next_batch() {
            if session.stop.is_requested() {
                bar.finish_and_clear();
                return Err(Failure::Interrupted("stopped between two batches".to_owned()));
            }
            let abandoned = format!("{}; {done} of {total} mappings were there before it", stop::UNDONE);
            let _changing = session.stop.changing(abandoned);
            match batch.work.await {
                Ok(created) => done += created,
                Err(error) => {
                    bar.finish_and_clear();
                    return Err(error.into());
                }
            }
            bar.set_position(u64::try_from(done).unwrap_or(u64::MAX));
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// Whether of two mappings, the first of which begins no later, both have a key.
fn share_keys(kind: ShardMapKind, a: &EncodedRange, b: &EncodedRange) -> bool {
    match kind {
        ShardMapKind::List => a.low == b.low,
        ShardMapKind::Range => a.intersects(b),
    }
}

/// Whether a mapping ends before these keys begin.
fn before(kind: ShardMapKind, mapping: &MappingRecord, keys: &EncodedRange) -> bool {
    match kind {
        ShardMapKind::List => mapping.low < keys.low,
        ShardMapKind::Range => mapping.high.as_ref().is_some_and(|high| *high <= keys.low),
    }
}

/// What is wrong with a file.
#[derive(Default)]
struct Faults {
    told: Vec<String>,
    count: usize,
}

impl Faults {
    fn add(&mut self, row: usize, column: Option<&str>, fault: &str) {
        self.count += 1;
        if self.told.len() < MOST_FAULTS {
            let column = column.map(|name| format!(", column {name}")).unwrap_or_default();
            self.told.push(format!("row {row}{column}: {fault}"));
        }
    }

    fn end(self, import: &Import) -> Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        let more = match self.count - self.told.len() {
            0 => String::new(),
            more => format!("\n  and {more} more"),
        };
        let faults = self.told.join("\n  ");
        let file = import.file.display();
        Err(Failure::Input(format!("{file} has {} faults; nothing was changed\n  {faults}{more}", self.count)))
    }
}
