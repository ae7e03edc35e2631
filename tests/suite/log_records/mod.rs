//! The documents of the operations log: those that the reference library wrote are read and written again unchanged,
//! hostile ones are refused, and every operation survives the way through its document.

mod bulk;
mod generated;
mod hostile;

use std::collections::BTreeSet;

use roxmltree::Document;
use shardlet::gsm::{GlobalOperation, LogEntry, MappingStep, OperationCode, OperationSteps, ShardStep};
use shardlet::model::MappingRecord;
use shardlet::operation::LogRecord;
use shardlet::{EncodedKey, OperationId, Shard};
use uuid::Uuid;

use crate::support::golden_files::{canonical, golden_file, pending_files, rows, text};

/// Documents of codes that none of the pending operations has.
const OTHERS: [&str; 3] = [
    include_str!("5-removepointmapping.xml"),
    include_str!("11-updaterangemappingwithoffline.xml"),
    include_str!("15-mergemappings.xml"),
];

/// The log row that a document would be in.
fn entry_of(document: &str) -> LogEntry {
    let parsed = Document::parse(document).unwrap();
    let root = parsed.root_element();
    LogEntry {
        id: OperationId::from(Uuid::parse_str(root.attribute("OperationId").unwrap()).unwrap()),
        code: root.attribute("OperationCode").unwrap().parse().unwrap(),
        data: document.to_owned(),
        undo_start: 100,
        version_removes: None,
        version_adds: None,
    }
}

/// Everything that an operation is; comparing two of them compares ids only where they are those of shards.
fn describe(operation: &GlobalOperation) -> String {
    let map = &operation.map;
    let head = format!(
        "{} {:?} {} {:?} {:?} {:?}",
        operation.id,
        operation.code,
        map.id(),
        map.name(),
        map.kind(),
        map.key_type()
    );
    let steps = match &operation.steps {
        OperationSteps::Shard(ShardStep::Add(shard)) => format!("add {}", describe_shard(shard)),
        OperationSteps::Shard(ShardStep::Remove(shard)) => format!("remove {}", describe_shard(shard)),
        OperationSteps::Shard(ShardStep::Update(old, new)) => {
            format!("update {} to {}", describe_shard(old), describe_shard(new))
        }
        OperationSteps::Mappings { removes, adds, steps, ends_sessions } => {
            let steps: Vec<_> = steps
                .iter()
                .map(|step| match step {
                    MappingStep::Remove { mapping, lock } => format!("remove {} {lock}", describe_mapping(mapping)),
                    MappingStep::Update { old, new, lock } => {
                        format!("update {} to {} {lock}", describe_mapping(old), describe_mapping(new))
                    }
                    MappingStep::Add { mapping, validate } => {
                        format!("add {} {} {validate}", describe_mapping(mapping), mapping.lock_owner)
                    }
                    _ => panic!("unknown step"),
                })
                .collect();
            format!("{} {} {steps:#?} {ends_sessions:?}", describe_shard(removes), describe_shard(adds))
        }
        _ => panic!("unknown steps"),
    };
    format!("{head}: {steps}")
}

fn describe_shard(shard: &Shard) -> String {
    let (place, map) = (shard.location(), shard.shard_map_id());
    format!(
        "[{} {} {map} {:?} {:?} {:?} {:?} {}]",
        shard.id(),
        shard.version(),
        place.protocol(),
        place.server(),
        place.port(),
        place.database(),
        shard.status()
    )
}

fn describe_mapping(mapping: &MappingRecord) -> String {
    let high = mapping.high.as_ref().map(ToString::to_string);
    let shard = describe_shard(&mapping.shard);
    format!("({} {} {} {high:?} {} {shard})", mapping.id, mapping.map, mapping.low, mapping.status)
}

#[test]
fn documents_of_the_reference_library_are_written_again_as_they_are() {
    let mut codes = BTreeSet::new();
    let files = pending_files();
    let logged = files.iter().map(|(name, file)| {
        let row = &file["gsm"]["OperationsLogGlobal"][0];
        assert_eq!(row["OperationCode"], file["operation_code"], "{name}");
        (name.as_str(), row["Data"].as_str().unwrap())
    });
    for (name, document) in logged.chain(OTHERS.map(|document| ("a request", document))) {
        let entry = entry_of(document.trim_start_matches('\u{feff}'));
        let operation = LogRecord::read(&LogEntry { data: document.to_owned(), ..entry.clone() })
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((operation.id, operation.code as i32), (entry.id, entry.code), "{name}");
        assert_eq!(canonical(&LogRecord::write(&operation)), canonical(document), "{name}");
        let _ = codes.insert(entry.code);
    }
    assert_eq!(codes, OperationCode::ALL.map(|code| code as i32).into(), "every code is there");
}

#[test]
fn documents_that_the_reference_library_sent_are_written_again_as_they_are() {
    let file = golden_file("requests.json");
    let calls = rows(&file, "steps").iter().flat_map(|step| rows(step, "calls"));
    let (mut begun, mut ended) = (BTreeSet::new(), BTreeSet::new());
    for call in calls {
        let (procedure, document) = (text(call, "procedure"), text(call, "input"));
        let seen = match procedure.rsplit_once('.').unwrap().1 {
            "spBulkOperationShardsGlobalBegin" | "spBulkOperationShardMappingsGlobalBegin" => &mut begun,
            // It ends with the document that it began with, but for the mark of an undo, which is not kept in the log.
            "spBulkOperationShardsGlobalEnd" | "spBulkOperationShardMappingsGlobalEnd" => &mut ended,
            _ => continue,
        };
        let entry = entry_of(document);
        let operation = LogRecord::read(&entry).unwrap_or_else(|error| panic!("{document}: {error}"));
        let as_begun = document.replacen(r#" Undo="1""#, r#" Undo="0""#, 1);
        assert_eq!(canonical(&LogRecord::write(&operation)), canonical(&as_begun), "{procedure}");
        let _ = seen.insert(entry.code);
    }
    assert_eq!(begun, ended);
    assert_eq!(begun, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14, 15, 16].into());
}

#[test]
fn documents_of_the_reference_library_name_the_rows_that_it_stamped() {
    for (name, file) in pending_files() {
        let log = &file["gsm"]["OperationsLogGlobal"][0];
        let operation = LogRecord::read(&entry_of(log["Data"].as_str().unwrap())).unwrap();
        let stamped = |table: &str, columns: &[&str]| -> BTreeSet<String> {
            let rows = file["gsm"][table].as_array().unwrap();
            rows.iter()
                .filter(|row| row["OperationId"] == log["OperationId"])
                .map(|row| columns.iter().map(|column| format!("{} ", row[column])).collect())
                .collect()
        };
        let hex = |key: &EncodedKey| format!("{:?}", key.to_string().trim_start_matches("0x"));
        let (shards, mappings): (BTreeSet<_>, BTreeSet<_>) = match &operation.steps {
            OperationSteps::Shard(step) => ([step.shard()].map(|shard| shard.id()).into(), BTreeSet::new()),
            OperationSteps::Mappings { removes, adds, steps, .. } => {
                let rows = steps.iter().map(|step| match step {
                    MappingStep::Remove { mapping, .. }
                    | MappingStep::Add { mapping, .. }
                    | MappingStep::Update { old: mapping, .. } => {
                        let high = mapping.high.as_ref().map_or_else(|| "null".to_owned(), hex);
                        let id = mapping.id.to_string();
                        format!("{id:?} {} {high} {} ", hex(&mapping.low), mapping.status as i32)
                    }
                    _ => panic!("unknown step"),
                });
                ([removes.id(), adds.id()].into(), rows.collect())
            }
            _ => panic!("unknown steps"),
        };
        let shards: BTreeSet<_> = shards.iter().map(|id| format!("{:?} ", id.to_string())).collect();
        assert_eq!(shards, stamped("ShardsGlobal", &["ShardId"]), "{name}");
        let columns = ["MappingId", "MinValue", "MaxValue", "Status"];
        assert_eq!(mappings, stamped("ShardMappingsGlobal", &columns), "{name}");
    }
}
