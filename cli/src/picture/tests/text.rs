//! The page as it is written: whole, small, and without a way out of it.

use serde_json::Value;
use shardlet::{KeyType, MappingStatus, ShardKey, ShardMapKind};

use super::browser::between;
use super::sample::{HOSTILE, Numbers, empty, hostile, key, large, mapping, shard, usual};
use crate::picture::page;

fn data(html: &str) -> &str {
    between(html, "<script type=\"application/json\" id=\"data\">", "</script>")
}

#[test]
fn names_neither_end_the_script_nor_change_on_the_way() {
    let picture = hostile();
    let html = page(&picture).unwrap();
    let json = data(&html);
    assert!(!json.contains(['<', '>', '&']));
    let data: Value = serde_json::from_str(json).unwrap();
    assert_eq!(data["name"], HOSTILE.concat());
    for (i, shard) in picture.shards.iter().enumerate() {
        assert_eq!(data["shards"][i][0], shard.location);
        assert_eq!(data["shards"][i][2], shard.description);
    }
    // Beside the data the page is the same whatever the names are.
    let plain = page(&empty(ShardMapKind::Range, KeyType::Int32)).unwrap();
    let around = |html: &str| html.replace(&format!("id=\"data\">{}<", self::data(html)), "");
    assert_eq!(around(&html), around(&plain));
}

#[test]
fn the_page_needs_nothing_but_itself() {
    let html = page(&usual()).unwrap();
    for way in ["http:", "https:", "src=", "@import", "url(", "fetch(", "XMLHttpRequest", "WebSocket", "import(", "@@"]
    {
        assert!(!html.contains(way), "{way}");
    }
    let links: Vec<_> = html.match_indices("href=").map(|(at, _)| &html[at..at + 14]).collect();
    assert_eq!(links, ["href=\"data:,\">"]);
    assert!(html.contains("content=\"default-src 'none';"));
}

#[test]
fn mappings_are_in_order_and_say_no_bound_twice() {
    let mut picture = empty(ShardMapKind::Range, KeyType::Int64);
    picture.shards = vec![shard("a"), shard("b")];
    let least = i64::MIN.encode().unwrap();
    picture.mappings = vec![
        mapping(1, key(100), None),
        mapping(0, key(0), Some(key(10))),
        mapping(1, key(10), Some(key(20))),
        mapping(1, least, Some(key(0))),
    ];
    picture.mappings[0].status = MappingStatus::Offline;
    picture.mappings[0].locked = true;
    picture.mappings[1].locked = true;
    let data: Value = serde_json::from_str(data(&page(&picture).unwrap())).unwrap();
    let (zero, ten) = ("8000000000000000", "800000000000000a");
    assert_eq!(data["mappings"]["low"], format!(" {zero} {ten} 8000000000000064"));
    assert_eq!(data["mappings"]["high"], "  8000000000000014 ~");
    assert_eq!(data["mappings"]["shard"], serde_json::json!([1, 0, 1, 1]));
    assert_eq!(data["mappings"]["state"], "0203");
}

#[test]
fn large_maps_are_pages_of_some_megabytes() {
    assert!(page(&large()).unwrap().len() < 4_000_000);
    // The widest keys of all types of fixed width, and no bound that is another mapping's.
    let mut picture = empty(ShardMapKind::Range, KeyType::Guid);
    picture.shards = (0..1_000).map(|i| shard(format!("server/{i}"))).collect();
    let mut numbers = Numbers(3);
    for i in 0..100_000_u32 {
        let word = u128::from(i) << 96;
        let bound = |low: u64| {
            let bytes = (word | u128::from(low)).to_be_bytes();
            shardlet::EncodedKey::from_stored(KeyType::Guid, &bytes).unwrap()
        };
        picture.mappings.push(mapping(numbers.below(1_000), bound(1), Some(bound(numbers.next()))));
    }
    assert!(page(&picture).unwrap().len() < 8_000_000);
}
