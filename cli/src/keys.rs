//! Keys and mappings as people name them on the command line, for a map whose kind and key type are known by now.

use shardlet::operation::Stores;
use shardlet::{EncodedKey, EncodedRange, KeyType, ShardMapInfo, ShardMapKind};

use crate::failure::{Failure, Result};
use crate::map::{AnyMap, Record};

/// A single key.
pub(crate) fn key(info: &ShardMapInfo, text: &str) -> Result<EncodedKey> {
    Ok(info.key_type().parse(text)?)
}

/// The keys that a new mapping is to have: a key, or in a range map `LOW..HIGH`, each of which may be left out.
pub(crate) fn keys(info: &ShardMapInfo, text: &str) -> Result<EncodedRange> {
    match info.kind() {
        ShardMapKind::List => Ok(EncodedRange { low: key(info, text)?, high: None }),
        ShardMapKind::Range => bounds(info, text),
    }
}

/// A range `LOW..HIGH` of keys, each of which may be left out.
pub(crate) fn bounds(info: &ShardMapInfo, text: &str) -> Result<EncodedRange> {
    let (low, high) = text.split_once("..").ok_or_else(|| {
        Failure::Input("a range is written LOW..HIGH, LOW.. to +infinity, or ..HIGH from the least key".to_owned())
    })?;
    range(info, Some(low).filter(|low| !low.is_empty()), Some(high).filter(|high| !high.is_empty()))
}

/// A range by its bounds: without a low one from the least key, without a high one to +infinity.
pub(crate) fn range(info: &ShardMapInfo, low: Option<&str>, high: Option<&str>) -> Result<EncodedRange> {
    let range = EncodedRange {
        low: low.map_or_else(|| Ok(EncodedKey::minimum()), |low| key(info, low))?,
        high: high.map(|high| key(info, high)).transpose()?,
    };
    if range.is_empty() {
        return Err(Failure::Input(
            "the range is empty or inverted: its low bound is not below its high bound".to_owned(),
        ));
    }
    Ok(range)
}

/// The mapping that a text names: by a key that it holds, or in a range map by exactly its range.
pub(crate) async fn mapping<B: Stores>(map: &dyn AnyMap<B>, text: &str) -> Result<Record> {
    if map.info().kind() == ShardMapKind::Range && text.contains("..") {
        let keys = keys(map.info(), text)?;
        let found = map.holder(&keys.low).await?;
        if found.range() == keys {
            return Ok(found);
        }
        let failure = Failure::NotFound("no mapping has exactly this range".to_owned());
        return Err(failure.next("see what is mapped there: shardlet mapping list MAP --keys LOW..HIGH"));
    }
    Ok(map.holder(&key(map.info(), text)?).await?)
}

/// The greatest key below a key; `None` below the least, and for dates whose encodings have gaps there.
pub(crate) fn before(info: &ShardMapInfo, key: &EncodedKey) -> Option<EncodedKey> {
    let mut bytes = key.as_bytes().to_vec();
    if info.key_type() == KeyType::Binary {
        // Zeros at the end are left out.
        bytes.resize(EncodedKey::MAX_LENGTH, 0);
    }
    let last = bytes.iter().rposition(|byte| *byte != 0)?;
    for (place, byte) in bytes.iter_mut().enumerate().skip(last) {
        *byte = if place == last { *byte - 1 } else { u8::MAX };
    }
    EncodedKey::from_stored(info.key_type(), &bytes).ok()
}

/// A key as people read it.
pub(crate) fn show(info: &ShardMapInfo, key: &EncodedKey) -> String {
    info.key_type().show(key).to_string()
}

/// The keys of a mapping as people write them.
pub(crate) fn show_keys(info: &ShardMapInfo, mapping: &Record) -> String {
    show_range(info, &mapping.range())
}

/// Keys as people write them: in list maps the low bound alone.
pub(crate) fn show_range(info: &ShardMapInfo, range: &EncodedRange) -> String {
    let low = show(info, &range.low);
    match info.kind() {
        ShardMapKind::List => low,
        ShardMapKind::Range => {
            format!("{low}..{}", range.high.as_ref().map(|high| show(info, high)).unwrap_or_default())
        }
    }
}
