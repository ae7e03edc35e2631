//! Pictures to be drawn.

use shardlet::{EncodedKey, KeyType, MappingStatus, ShardKey, ShardMapKind, ShardStatus};

use crate::picture::{Picture, PictureMapping, PictureOperation, PictureShard};

/// Numbers that look random and are the same in every run (xorshift).
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).unwrap()).unwrap()
    }
}

pub(super) fn empty(kind: ShardMapKind, key_type: KeyType) -> Picture {
    Picture {
        map: "orders".to_owned(),
        kind,
        key_type,
        store: "server-a/shard_map_manager".to_owned(),
        taken: "2026-11-21 08:30:00 UTC".to_owned(),
        shards: Vec::new(),
        mappings: Vec::new(),
        operations: Vec::new(),
    }
}

pub(super) fn shard(location: impl Into<String>) -> PictureShard {
    PictureShard { location: location.into(), status: ShardStatus::Online, description: String::new() }
}

pub(super) fn mapping(shard: usize, low: EncodedKey, high: Option<EncodedKey>) -> PictureMapping {
    PictureMapping { shard, low, high, status: MappingStatus::Online, locked: false }
}

pub(super) fn key(number: i64) -> EncodedKey {
    number.encode().unwrap()
}

/// 12 shards, 60 ranges with two gaps, some of them offline or locked, a move that is pending.
pub(super) fn usual() -> Picture {
    let mut picture = empty(ShardMapKind::Range, KeyType::Int64);
    picture.shards = (0..12).map(|i| shard(format!("server-{}/orders_{i:02}", ["a", "b", "c"][i / 4]))).collect();
    picture.shards[3].description = "large tenants".to_owned();
    picture.shards[7].description = "being emptied".to_owned();
    picture.shards[7].status = ShardStatus::Offline;
    let mut numbers = Numbers(7);
    let mut low = 0;
    for i in 0..60 {
        let high = low + 4_000 + i64::try_from(numbers.below(22_000)).unwrap();
        let place = if i < 12 { i } else { [0, 1, 2, 3, 3, 3, 4, 5, 6, 7, 8, 8, 9, 10, 10, 11][numbers.below(16)] };
        picture.mappings.push(mapping(place, key(low), if i == 59 { None } else { Some(key(high)) }));
        low = if i == 21 || i == 40 { high + 15_000 } else { high };
    }
    for i in [9, 10, 33] {
        picture.mappings[i].status = MappingStatus::Offline;
    }
    for i in [10, 27, 48] {
        picture.mappings[i].locked = true;
    }
    picture.operations = vec![PictureOperation {
        id: "6f9619ff-8b86-d011-b42d-00c04fc964ff".to_owned(),
        name: "move of a range".to_owned(),
        shards: vec!["server-b/orders_07".to_owned(), "server-c/orders_09".to_owned()],
        undo: false,
    }];
    picture
}

/// 1,000 shards and 100,000 ranges side by side, of which one in 100 is followed by a gap.
pub(super) fn large() -> Picture {
    let mut picture = empty(ShardMapKind::Range, KeyType::Int64);
    picture.map = "tenants".to_owned();
    picture.shards = (0..1_000).map(|i| shard(format!("server-{:02}/tenants_{i:04}", i / 50))).collect();
    let mut numbers = Numbers(11);
    let mut low = 0;
    let mut place = 0;
    for i in 0..100_000 {
        let high = low + 500 + i64::try_from(numbers.below(1_000)).unwrap();
        if numbers.below(60) == 0 || i < 1_000 {
            place = if i < 1_000 { i } else { numbers.below(1_000) };
        }
        let mut next = mapping(place, key(low), Some(key(high)));
        if numbers.below(2_000) == 0 {
            next.status = MappingStatus::Offline;
        }
        next.locked = numbers.below(3_000) == 0;
        picture.mappings.push(next);
        low = if i % 100 == 99 { high + 1_000 } else { high };
        if i % 20_000 == 19_999 {
            low += 3_000_000;
        }
    }
    picture
}

/// 100,000 points on 40 shards, close together here and far apart there.
pub(super) fn points() -> Picture {
    let mut picture = empty(ShardMapKind::List, KeyType::Int64);
    picture.shards = (0..40).map(|i| shard(format!("server-{}/tenants_{i:02}", i / 10))).collect();
    let mut numbers = Numbers(5);
    let mut at = 0;
    for i in 0..100_000_u32 {
        at += 1 + i64::try_from(numbers.below(if i / 9_000 % 2 == 0 { 40 } else { 9 })).unwrap();
        let shard = numbers.below(10) * numbers.below(5) % 40;
        let mut next = mapping(shard, key(at), None);
        next.locked = numbers.below(20_000) == 0;
        picture.mappings.push(next);
    }
    picture
}

/// Names that would break out of markup, scripts and sentences.
pub(super) const HOSTILE: [&str; 8] = [
    "</script><script>document.body.dataset.broken=1</script>",
    "<!--<script>",
    "\"><img src=x onerror=\"document.body.dataset.broken=1\">",
    "a\u{202e}gnp.exe\u{2066}\u{200f}",
    "\u{0645}\u{062a}\u{062c}\u{0631} \u{1f469}\u{200d}\u{1f4bb}",
    "line\u{2028}separator\nand\ttab\u{0}",
    "@@data@@ ${map} `'&lt;&amp;\\",
    "]]>\\u003c/script\\u003e",
];

/// Every name is one of [`HOSTILE`].
pub(super) fn hostile() -> Picture {
    let mut picture = empty(ShardMapKind::Range, KeyType::Int32);
    let name = |i: usize| HOSTILE[i % HOSTILE.len()].to_owned();
    picture.map = HOSTILE.concat();
    picture.store = name(0);
    picture.taken = name(2);
    picture.shards = (0..8).map(|i| PictureShard { description: name(i + 1), ..shard(name(i)) }).collect();
    for i in 0..8 {
        let low = i32::try_from(i).unwrap() * 10;
        picture.mappings.push(mapping(i, low.encode().unwrap(), Some((low + 10).encode().unwrap())));
    }
    let operation =
        |i| PictureOperation { id: name(i), name: name(i + 1), shards: vec![name(i), name(i + 2)], undo: true };
    picture.operations = (0..8).map(operation).collect();
    picture
}
