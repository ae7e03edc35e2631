//! The stamp of a session: what `CONTEXT_INFO` says of the mapping that routed it.
//!
//! The keys in it, not the mapping's id, decide whose sessions end when a mapping goes offline, so splits and merges in
//! between change nothing.

use crate::key::{EncodedKey, EncodedRange};
use crate::model::{MappingId, ShardMapId, ShardMapKind};

/// Begins every stamp: who wrote it, and in which form.
const MARK: [u8; 4] = *b"SLT1";
/// The mark and the map: what the stamps of all sessions of a map begin with.
const PREFIX: usize = 20;
/// Where the key's length stands, after the mapping's id.
const LENGTH: usize = 36;
/// Where the key begins. What does not fit of a long key is left away.
const KEY: usize = 37;
/// The size of `CONTEXT_INFO`.
const SIZE: usize = 128;

/// A stamp.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Stamp(Vec<u8>);

impl Stamp {
    pub(crate) fn new(map: ShardMapId, mapping: MappingId, key: &EncodedKey) -> Self {
        let mut bytes = Self::prefix(map);
        bytes.extend_from_slice(mapping.as_uuid().as_bytes());
        let key = key.as_bytes();
        bytes.push(u8::try_from(key.len()).unwrap_or(u8::MAX));
        bytes.extend(key.iter().take(SIZE - KEY));
        Self(bytes)
    }

    /// The stamp of a session that no mapping has routed.
    pub(crate) fn none() -> Self {
        Self(Vec::new())
    }

    /// What the stamps of all sessions of a map begin with.
    pub(crate) fn prefix(map: ShardMapId) -> Vec<u8> {
        let mut bytes = MARK.to_vec();
        bytes.extend_from_slice(map.as_uuid().as_bytes());
        bytes
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Stamp {
    /// Without the key, which logs must not hold.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stamp")
    }
}

/// True if a session with this `CONTEXT_INFO` was routed by one of the keys. Of a key that did not fit only the beginning is
/// known; if keys with that beginning are among those that end, it counts as one of them.
pub(crate) fn is_stamped(info: &[u8], map: ShardMapId, kind: ShardMapKind, keys: &EncodedRange) -> bool {
    if info.get(..PREFIX) != Some(Stamp::prefix(map).as_slice()) {
        return false;
    }
    let Some(length) = info.get(LENGTH).map(|length| usize::from(*length)) else { return false };
    // An engine may cut trailing zeros.
    let mut key = info.get(KEY..).unwrap_or_default().to_vec();
    key.resize(SIZE - KEY, 0);
    let whole = length <= SIZE - KEY;
    key.truncate(length);
    let (low, high) = (keys.low.as_bytes(), keys.high.as_ref().map(EncodedKey::as_bytes));
    match (kind, whole) {
        (ShardMapKind::List, true) => key == low,
        (ShardMapKind::List, false) => low.len() == length && low.starts_with(&key),
        (ShardMapKind::Range, true) => low <= key.as_slice() && high.is_none_or(|high| key.as_slice() < high),
        (ShardMapKind::Range, false) => {
            let reaches_low = low.get(..key.len()).unwrap_or(low) <= key.as_slice();
            reaches_low && high.is_none_or(|high| key.as_slice() < high)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::ShardKey;

    fn key(bytes: &[u8]) -> EncodedKey {
        bytes.to_vec().encode().unwrap()
    }

    fn stamped(routed: &[u8], kind: ShardMapKind, low: &[u8], high: Option<&[u8]>) -> bool {
        let map = ShardMapId::random();
        let stamp = Stamp::new(map, MappingId::random(), &key(routed));
        assert!(stamp.as_bytes().len() <= SIZE);
        let keys = EncodedRange { low: key(low), high: high.map(key) };
        let mut padded = stamp.as_bytes().to_vec();
        padded.resize(SIZE, 0);
        let other = is_stamped(&padded, ShardMapId::random(), kind, &keys);
        assert!(!other, "a session of another map");
        let of_map = is_stamped(&padded, map, kind, &keys);
        assert_eq!(of_map, is_stamped(stamp.as_bytes(), map, kind, &keys), "padded or not");
        of_map
    }

    #[test]
    fn a_session_of_a_range_is_known_by_its_key() {
        use ShardMapKind::Range;
        assert!(stamped(&[5], Range, &[5], Some(&[6])));
        assert!(stamped(&[5, 200], Range, &[5], Some(&[6])));
        assert!(!stamped(&[6], Range, &[5], Some(&[6])));
        assert!(!stamped(&[4, 255], Range, &[5], Some(&[6])));
        assert!(stamped(&[], Range, &[], Some(&[1])));
        assert!(stamped(&[255; 20], Range, &[5], None));
    }

    #[test]
    fn a_session_of_a_point_is_known_by_its_key() {
        use ShardMapKind::List;
        assert!(stamped(&[5], List, &[5], None));
        assert!(!stamped(&[5, 1], List, &[5], None));
        assert!(stamped(&[], List, &[], None));
    }

    #[test]
    fn a_key_that_does_not_fit_ends_with_those_that_begin_like_it() {
        let long = |last| [vec![7; 127], vec![last]].concat();
        assert!(stamped(&long(1), ShardMapKind::List, &long(1), None));
        assert!(!stamped(&long(1), ShardMapKind::List, &[7; 91], None));
        assert!(stamped(&long(1), ShardMapKind::Range, &long(1), Some(&long(2))));
        assert!(stamped(&long(1), ShardMapKind::Range, &[7], Some(&[8])));
        assert!(!stamped(&long(1), ShardMapKind::Range, &[8], None));
        assert!(!stamped(&long(1), ShardMapKind::Range, &[1], Some(&[7])));
    }

    #[test]
    fn what_is_no_stamp_is_nobodys() {
        let keys = EncodedRange { low: EncodedKey::minimum(), high: None };
        let map = ShardMapId::random();
        for info in [vec![], vec![0; 128], MARK.to_vec(), Stamp::prefix(map)] {
            assert!(!is_stamped(&info, map, ShardMapKind::Range, &keys));
        }
    }
}
