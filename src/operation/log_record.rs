//! The document in the operations log: what an operation is, for whoever has to undo it.
//!
//! Element for element it is the request document of the reference library, so that its clients can undo our operations
//! and we theirs. Readers go by name, not by order, and compare documents, not text.

use std::io;
use std::str::FromStr;
use std::sync::Arc;

use quick_xml::events::BytesText;
use roxmltree::{Document, Node};
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::gsm::{GlobalOperation, LogEntry, MappingStep, OperationCode, OperationSteps, ShardStep};
use crate::key::{EncodedKey, KeyType};
use crate::model::{
    LockToken, MappingId, MappingRecord, MappingStatus, Protocol, Shard, ShardId, ShardLocation, ShardMapInfo,
    ShardMapKind, ShardMapName, ShardStatus, ShardVersion, StoreVersion,
};
use crate::xml::{self, Xml, element, element_with, text};

/// Writes and reads the documents of the operations log.
#[derive(Debug)]
pub struct LogRecord;

impl LogRecord {
    /// The document of an operation.
    #[must_use]
    pub fn write(operation: &GlobalOperation) -> String {
        xml::document(|writer| write_operation(writer, operation))
    }

    /// The operation of a log row, written by this library or by the reference library.
    ///
    /// # Errors
    /// [`StoreDamaged`](crate::ErrorKind::StoreDamaged) for an unknown operation code, or a document that lacks an
    /// element or holds a value that cannot be; the message names it.
    pub fn read(entry: &LogEntry) -> Result<GlobalOperation> {
        let code = OperationCode::from_code(i64::from(entry.code)).ok_or_else(|| {
            let code = entry.code;
            Error::damaged(format!(
                "column OperationCode of OperationsLogGlobal holds the unknown operation code {code}"
            ))
        })?;
        // A driver may leave the byte order mark that it sends before a document.
        let text = entry.data.trim_start_matches('\u{feff}');
        let document = Document::parse(text)
            .map_err(|error| Error::damaged("column Data of OperationsLogGlobal is no document").with_source(error))?;
        let root = document.root_element();
        check_row(root, entry)?;
        let map = read_map(child(root, "ShardMap")?)?;
        let steps = match code {
            OperationCode::AddShard
            | OperationCode::RemoveShard
            | OperationCode::UpdateShard
            | OperationCode::AttachShard => OperationSteps::Shard(read_shard_step(root, code)?),
            _ => read_mapping_steps(root, code, &map)?,
        };
        Ok(GlobalOperation { id: entry.id, code, map, steps })
    }
}

/// Refuses a document of another row: undoing what it says would leave the rows of both operations stamped for ever.
fn check_row(root: Node<'_, '_>, entry: &LogEntry) -> Result<()> {
    let id = root.attribute("OperationId").map(|id| Uuid::try_parse(id.trim()).ok());
    let code = root.attribute("OperationCode").map(|code| code.trim().parse().ok());
    let column = match (id, code) {
        (Some(id), _) if id != Some(*entry.id.as_uuid()) => "OperationId",
        (_, Some(code)) if code != Some(entry.code) => "OperationCode",
        _ => return Ok(()),
    };
    Err(Error::damaged(format!("column {column} of OperationsLogGlobal is not that of the document in column Data")))
}

fn write_operation(writer: &mut Xml, operation: &GlobalOperation) -> io::Result<()> {
    let id = operation.id.to_string();
    let code = (operation.code as i32).to_string();
    let (root, count) = match &operation.steps {
        OperationSteps::Shard(_) => ("BulkOperationShardsGlobal", 1),
        OperationSteps::Mappings { steps, .. } => ("BulkOperationShardMappingsGlobal", steps.len()),
    };
    let count = count.to_string();
    let attributes =
        [("OperationId", id.as_str()), ("OperationCode", code.as_str()), ("Undo", "0"), ("StepsCount", count.as_str())];
    element_with(writer, root, &attributes, |writer| {
        element(writer, "GsmVersion", |writer| {
            text(writer, "MajorVersion", StoreVersion::CURRENT.major)?;
            text(writer, "MinorVersion", StoreVersion::CURRENT.minor)
        })?;
        if let OperationSteps::Mappings { ends_sessions: Some(ends), .. } = &operation.steps {
            text(writer, "PatternForKill", format_args!("ESC_SMMv2.0.0_User{}", operation.map.id()))?;
            text(writer, "KillConnection", ends)?;
        }
        write_map(writer, &operation.map)?;
        match &operation.steps {
            OperationSteps::Shard(step) => {
                element(writer, "Steps", |writer| write_shard_step(writer, step))?;
                if matches!(step, ShardStep::Remove(_)) {
                    // The reference library writes this too.
                    let _ = writer.create_element("AddSteps").write_empty()?;
                }
                Ok(())
            }
            OperationSteps::Mappings { removes, adds, steps, .. } => {
                element(writer, "Removes", |writer| write_shard(writer, removes))?;
                element(writer, "Adds", |writer| write_shard(writer, adds))?;
                element(writer, "Steps", |writer| {
                    let replaces = matches!(operation.code, OperationCode::SplitMapping | OperationCode::MergeMappings);
                    (1..).zip(steps).try_for_each(|(number, step)| write_mapping_step(writer, number, step, replaces))
                })
            }
        }
    })
}

fn write_map(writer: &mut Xml, map: &ShardMapInfo) -> io::Result<()> {
    element_with(writer, "ShardMap", &[("Null", "0")], |writer| {
        text(writer, "Id", map.id())?;
        text(writer, "Name", map.name())?;
        text(writer, "Kind", map.kind() as i32)?;
        text(writer, "KeyKind", map.key_type() as i32)
    })
}

fn write_shard(writer: &mut Xml, shard: &Shard) -> io::Result<()> {
    let location = shard.location();
    element_with(writer, "Shard", &[("Null", "0")], |writer| {
        text(writer, "Id", shard.id())?;
        text(writer, "Version", shard.version())?;
        text(writer, "ShardMapId", shard.shard_map_id())?;
        element(writer, "Location", |writer| {
            text(writer, "Protocol", location.protocol() as i32)?;
            text(writer, "ServerName", location.server())?;
            text(writer, "Port", location.port().unwrap_or(0))?;
            text(writer, "DatabaseName", location.database())
        })?;
        text(writer, "Status", shard.status() as i32)
    })
}

fn write_shard_step(writer: &mut Xml, step: &ShardStep) -> io::Result<()> {
    let kind = match step {
        ShardStep::Remove(_) => "1",
        ShardStep::Update(..) | ShardStep::Mend(_) => "2",
        ShardStep::Add(_) => "3",
    };
    element_with(writer, "Step", &[("Kind", kind), ("Id", "1")], |writer| {
        write_shard(writer, step.shard())?;
        match step {
            ShardStep::Update(_, new) => element(writer, "Update", |writer| write_shard(writer, new)),
            ShardStep::Mend(mending) => element(writer, "Update", |writer| write_shard(writer, &mending.after)),
            ShardStep::Remove(_) | ShardStep::Add(_) => Ok(()),
        }
    })
}

fn write_mapping_step(writer: &mut Xml, number: usize, step: &MappingStep, replaces: bool) -> io::Result<()> {
    let (kind, validate) = match step {
        MappingStep::Remove { .. } | MappingStep::Keep { .. } => ("1", false),
        MappingStep::Update { .. } => ("2", false),
        MappingStep::Add { validate, .. } => ("3", *validate),
    };
    let number = number.to_string();
    let attributes = [("Id", number.as_str()), ("Validate", if validate { "1" } else { "0" }), ("Kind", kind)];
    element_with(writer, "Step", &attributes, |writer| match step {
        MappingStep::Remove { mapping, lock } => {
            write_lock(writer, *lock)?;
            write_mapping(writer, mapping, *lock)
        }
        MappingStep::Update { old, new, lock } => {
            write_lock(writer, *lock)?;
            write_mapping(writer, old, *lock)?;
            element(writer, "Update", |writer| write_mapping(writer, new, *lock))
        }
        MappingStep::Add { mapping, .. } => {
            if replaces {
                // Readers of the reference library insist on it here.
                write_lock(writer, mapping.lock_owner)?;
            }
            write_mapping(writer, mapping, mapping.lock_owner)
        }
        MappingStep::Keep { mapping } => {
            write_lock(writer, mapping.lock_owner)?;
            write_mapping(writer, mapping, mapping.lock_owner)
        }
    })
}

fn write_lock(writer: &mut Xml, lock: LockToken) -> io::Result<()> {
    element(writer, "Lock", |writer| text(writer, "Id", lock))
}

fn write_mapping(writer: &mut Xml, mapping: &MappingRecord, lock: LockToken) -> io::Result<()> {
    element(writer, "Mapping", |writer| {
        text(writer, "Id", mapping.id)?;
        text(writer, "ShardMapId", mapping.map)?;
        text(writer, "MinValue", &mapping.low)?;
        match &mapping.high {
            Some(high) => element_with(writer, "MaxValue", &[("Null", "0")], |writer| {
                writer.write_event(quick_xml::events::Event::Text(BytesText::new(&high.to_string())))
            })?,
            None => {
                let _ = writer.create_element("MaxValue").with_attribute(("Null", "1")).write_empty()?;
            }
        }
        text(writer, "Status", mapping.status as i32)?;
        text(writer, "LockOwnerId", lock)
    })
}

fn missing(what: &str) -> Error {
    Error::damaged(format!("column Data of OperationsLogGlobal holds no {what} that can be read"))
}

fn find<'a, 'd>(node: Node<'a, 'd>, name: &str) -> Option<Node<'a, 'd>> {
    node.children().find(|child| child.has_tag_name(name))
}

fn child<'a, 'd>(node: Node<'a, 'd>, name: &str) -> Result<Node<'a, 'd>> {
    find(node, name).ok_or_else(|| missing(name))
}

fn content<'a>(node: Node<'a, '_>, name: &str) -> Result<&'a str> {
    Ok(child(node, name)?.text().unwrap_or_default())
}

fn number<T: FromStr>(node: Node<'_, '_>, name: &str) -> Result<T> {
    content(node, name)?.trim().parse().map_err(|_| missing(name))
}

fn guid<T: From<Uuid>>(node: Node<'_, '_>, name: &str) -> Result<T> {
    let id = Uuid::try_parse(content(node, name)?.trim()).map_err(|_| missing(name))?;
    Ok(T::from(id))
}

fn read_map(node: Node<'_, '_>) -> Result<ShardMapInfo> {
    let kind = ShardMapKind::from_code(number(node, "Kind")?).ok_or_else(|| missing("Kind"))?;
    let key_type = KeyType::from_code(number(node, "KeyKind")?).ok_or_else(|| missing("KeyKind"))?;
    let name = ShardMapName::new(content(node, "Name")?).map_err(|error| missing("Name").with_source(error))?;
    Ok(ShardMapInfo::new(guid(node, "Id")?, name, kind, key_type))
}

fn read_shard(node: Node<'_, '_>) -> Result<Shard> {
    let place = child(node, "Location")?;
    let protocol = Protocol::from_code(number(place, "Protocol")?).ok_or_else(|| missing("Protocol"))?;
    let location = ShardLocation::new(content(place, "ServerName")?, content(place, "DatabaseName")?)
        .with_protocol(protocol)
        .with_port(number(place, "Port")?);
    location.check().map_err(|error| missing("Location").with_source(error))?;
    let status = ShardStatus::from_code(number(node, "Status")?).ok_or_else(|| missing("Status"))?;
    Ok(Shard::new(
        guid::<ShardId>(node, "Id")?,
        guid::<ShardVersion>(node, "Version")?,
        guid(node, "ShardMapId")?,
        location,
        status,
    ))
}

/// The steps in the order of their ids.
fn steps<'a, 'd>(root: Node<'a, 'd>) -> Result<Vec<Node<'a, 'd>>> {
    let mut numbered = child(root, "Steps")?
        .children()
        .filter(|node| node.has_tag_name("Step"))
        .map(|node| {
            let id: usize = node.attribute("Id").and_then(|id| id.parse().ok()).ok_or_else(|| missing("Step/@Id"))?;
            Ok((id, node))
        })
        .collect::<Result<Vec<_>>>()?;
    numbered.sort_by_key(|(id, _)| *id);
    // Without a step that has got lost, an undo would leave its rows stamped for ever.
    let count = root.attribute("StepsCount").and_then(|count| count.parse().ok());
    if count != Some(numbered.len()) || !numbered.iter().map(|(id, _)| *id).eq(1..=numbered.len()) {
        return Err(missing("StepsCount"));
    }
    Ok(numbered.into_iter().map(|(_, node)| node).collect())
}

fn read_shard_step(root: Node<'_, '_>, code: OperationCode) -> Result<ShardStep> {
    let step = *steps(root)?.first().ok_or_else(|| missing("Step"))?;
    let shard = read_shard(child(step, "Shard")?)?;
    Ok(match code {
        OperationCode::RemoveShard => ShardStep::Remove(shard),
        OperationCode::UpdateShard => ShardStep::Update(shard, read_shard(child(child(step, "Update")?, "Shard")?)?),
        _ => ShardStep::Add(shard),
    })
}

fn read_mapping_steps(root: Node<'_, '_>, code: OperationCode, map: &ShardMapInfo) -> Result<OperationSteps> {
    let removes = read_shard(child(child(root, "Removes")?, "Shard")?)?;
    let adds = read_shard(child(child(root, "Adds")?, "Shard")?)?;
    let (from, to) = (Arc::new(removes.clone()), Arc::new(adds.clone()));
    let read_step = |step: Node<'_, '_>| {
        let lock = || guid::<LockToken>(child(step, "Lock")?, "Id");
        let mapping = |shard: &Arc<Shard>| read_mapping(child(step, "Mapping")?, map, shard);
        match step.attribute("Kind") {
            Some("1") => Ok(MappingStep::Remove { mapping: mapping(&from)?, lock: lock()? }),
            Some("2") => {
                let new = child(child(step, "Update")?, "Mapping")?;
                let new = read_mapping(new, map, &to)?;
                Ok(MappingStep::Update { old: mapping(&from)?, new, lock: lock()? })
            }
            Some("3") => {
                Ok(MappingStep::Add { mapping: mapping(&to)?, validate: step.attribute("Validate") == Some("1") })
            }
            _ => Err(missing("Step/@Kind")),
        }
    };
    let steps = steps(root)?.into_iter().map(read_step).collect::<Result<Vec<_>>>()?;
    let ends_sessions = match code {
        OperationCode::UpdatePointMapping
        | OperationCode::UpdatePointMappingWithOffline
        | OperationCode::UpdateRangeMapping
        | OperationCode::UpdateRangeMappingWithOffline => Some(content(root, "KillConnection")?.trim() == "true"),
        _ => None,
    };
    Ok(OperationSteps::Mappings { removes, adds, steps, ends_sessions })
}

fn read_mapping(node: Node<'_, '_>, map: &ShardMapInfo, shard: &Arc<Shard>) -> Result<MappingRecord> {
    let key = |name: &str| read_key(content(node, name)?, map.key_type()).ok_or_else(|| missing(name));
    let high = match (map.kind(), child(node, "MaxValue")?.attribute("Null")) {
        // The reference library's recovery gives points an upper bound, which may be no key and which nobody reads.
        (ShardMapKind::List, _) | (ShardMapKind::Range, Some("1")) => None,
        (ShardMapKind::Range, _) => Some(key("MaxValue")?),
    };
    Ok(MappingRecord {
        id: guid::<MappingId>(node, "Id")?,
        map: guid(node, "ShardMapId")?,
        shard: Arc::clone(shard),
        low: key("MinValue")?,
        high,
        status: MappingStatus::from_code(number(node, "Status")?).ok_or_else(|| missing("Status"))?,
        lock_owner: guid(node, "LockOwnerId")?,
    })
}

/// A key from `0x` and hexadecimal digits of either case.
fn read_key(text: &str, key_type: KeyType) -> Option<EncodedKey> {
    let digits = text.trim().strip_prefix("0x")?;
    if digits.len() % 2 != 0 || digits.len() > 2 * EncodedKey::MAX_LENGTH {
        return None;
    }
    let nibbles: Option<Vec<u8>> =
        digits.chars().map(|digit| digit.to_digit(16).and_then(|value| u8::try_from(value).ok())).collect();
    let bytes: Option<Vec<u8>> = nibbles?
        .chunks_exact(2)
        .map(|pair| match pair {
            [high, low] => Some(high << 4 | low),
            _ => None,
        })
        .collect();
    EncodedKey::from_stored(key_type, &bytes?).ok()
}
