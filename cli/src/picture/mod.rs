//! A shard map as one HTML page that needs nothing else: no network, no other file.
//!
//! The page holds the map as JSON and draws it itself (`*.js`), so that 100,000 mappings are a few megabytes and open at once.
//! Everything that names something comes to the page in that JSON and to the eye as text; none of it is ever markup.

use serde::Serialize;
use shardlet::{EncodedKey, KeyType, MappingStatus, ShardMapKind, ShardStatus};

#[cfg(test)]
mod tests;

/// What is drawn: a shard map as it was at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Picture {
    /// The map's name.
    pub(crate) map: String,
    /// Whether it holds points or ranges.
    pub(crate) kind: ShardMapKind,
    /// The type of its keys.
    pub(crate) key_type: KeyType,
    /// Which store it was read from, for people.
    pub(crate) store: String,
    /// When it was read, in UTC, for people.
    pub(crate) taken: String,
    /// Its shards, in the order in which they are drawn.
    pub(crate) shards: Vec<PictureShard>,
    /// Its mappings, in any order.
    pub(crate) mappings: Vec<PictureMapping>,
    /// The operations on it that are pending.
    pub(crate) operations: Vec<PictureOperation>,
}

/// A column of the picture.
#[derive(Clone, Debug)]
pub(crate) struct PictureShard {
    /// Where it is, for people: what `operations` name it by.
    pub(crate) location: String,
    /// The mark on it.
    pub(crate) status: ShardStatus,
    /// What is known about it, or nothing.
    pub(crate) description: String,
}

/// A point, or a range of keys.
#[derive(Clone, Debug)]
pub(crate) struct PictureMapping {
    /// The index of its shard in [`Picture::shards`].
    pub(crate) shard: usize,
    /// The point, or the first key of the range.
    pub(crate) low: EncodedKey,
    /// The first key after the range; `None` if there is no such key, and of a point.
    pub(crate) high: Option<EncodedKey>,
    /// Whether its keys are served.
    pub(crate) status: MappingStatus,
    /// Whether somebody holds a lock on it.
    pub(crate) locked: bool,
}

/// An operation that was begun and not ended.
#[derive(Clone, Debug)]
pub(crate) struct PictureOperation {
    /// Its id.
    pub(crate) id: String,
    /// What it does.
    pub(crate) name: String,
    /// The shards that it changes, by their locations.
    pub(crate) shards: Vec<String>,
    /// Whether it is being undone.
    pub(crate) undo: bool,
}

/// The page as a text, to be written to a file as it is.
///
/// # Errors
/// None that can be met: the values are texts and numbers.
pub(crate) fn page(picture: &Picture) -> serde_json::Result<String> {
    let data = serde_json::to_string(&Data::of(picture))?;
    let mut page = String::with_capacity(data.len() + 100_000);
    // Pieces of the template between marks; the data comes to its mark only, and what it holds is not looked at again.
    for piece in TEMPLATE.split("@@") {
        match piece {
            "style" => page.push_str(STYLE),
            "script" => SCRIPTS.iter().for_each(|script| page.push_str(script)),
            "data" => push_escaped(&mut page, &data),
            markup => page.push_str(markup),
        }
    }
    Ok(page)
}

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
/// In the order in which they need each other.
const SCRIPTS: [&str; 7] = [
    include_str!("keys.js"),
    include_str!("map.js"),
    include_str!("paint.js"),
    include_str!("strip.js"),
    include_str!("columns.js"),
    include_str!("lists.js"),
    include_str!("page.js"),
];

/// JSON inside an element `script`: no `<` can end the element or begin a comment in it.
fn push_escaped(page: &mut String, json: &str) {
    // These stand inside of strings only.
    for c in json.chars() {
        match c {
            '<' => page.push_str("\\u003c"),
            '>' => page.push_str("\\u003e"),
            '&' => page.push_str("\\u0026"),
            c => page.push(c),
        }
    }
}

/// The picture as the page reads it (`map.js`): columns of values, because objects would name each value again.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'p> {
    name: &'p str,
    kind: &'static str,
    key_type: String,
    store: &'p str,
    taken: &'p str,
    shards: Vec<(&'p str, u8, &'p str)>,
    mappings: Mappings,
    operations: Vec<(&'p str, &'p str, &'p [String], bool)>,
}

/// All mappings, in the order of their keys.
#[derive(Serialize)]
struct Mappings {
    shard: Vec<usize>,
    /// Hexadecimal digits, a blank between two keys.
    low: String,
    /// The same of a range map: nothing where the next mapping begins, `~` where there is no bound.
    high: String,
    /// A digit for each: 1 for offline, 2 for locked, 3 for both.
    state: String,
}

impl<'p> Data<'p> {
    fn of(picture: &'p Picture) -> Self {
        let online = |shard: &PictureShard| u8::from(shard.status == ShardStatus::Online);
        Self {
            name: &picture.map,
            kind: match picture.kind {
                ShardMapKind::List => "list",
                ShardMapKind::Range => "range",
            },
            key_type: picture.key_type.to_string(),
            store: &picture.store,
            taken: &picture.taken,
            shards: picture.shards.iter().map(|s| (s.location.as_str(), online(s), s.description.as_str())).collect(),
            mappings: Mappings::of(picture),
            operations: picture
                .operations
                .iter()
                .map(|o| (o.id.as_str(), o.name.as_str(), o.shards.as_slice(), o.undo))
                .collect(),
        }
    }
}

impl Mappings {
    fn of(picture: &Picture) -> Self {
        let mut sorted: Vec<_> = picture.mappings.iter().filter(|m| m.shard < picture.shards.len()).collect();
        sorted.sort_by(|a, b| a.low.cmp(&b.low));
        let lows: Vec<_> = sorted.iter().map(|mapping| hex(&mapping.low)).collect();
        let next = sorted.iter().skip(1).map(|mapping| Some(&mapping.low)).chain([None]);
        let high = |(mapping, next): (&&PictureMapping, Option<&EncodedKey>)| match &mapping.high {
            None => "~".to_owned(),
            Some(high) if Some(high) == next => String::new(),
            Some(high) => hex(high),
        };
        let highs: Vec<_> = match picture.kind {
            ShardMapKind::List => Vec::new(),
            ShardMapKind::Range => sorted.iter().zip(next).map(high).collect(),
        };
        let state = |mapping: &&PictureMapping| match (mapping.status, mapping.locked) {
            (MappingStatus::Online, false) => '0',
            (MappingStatus::Offline, false) => '1',
            (MappingStatus::Online, true) => '2',
            (MappingStatus::Offline, true) => '3',
        };
        Self {
            shard: sorted.iter().map(|mapping| mapping.shard).collect(),
            low: lows.join(" "),
            high: highs.join(" "),
            state: sorted.iter().map(state).collect(),
        }
    }
}

fn hex(key: &EncodedKey) -> String {
    key.to_string().split_off(2)
}
