//! What a creation of many mappings leaves in the log: all that clients of the reference library need to undo it.

use roxmltree::{Document, Node};
use shardlet::gsm::{GlobalStore, LogEntry, MappingStep, OperationSteps};
use shardlet::operation::LogRecord;
use shardlet::{BulkCreation, BulkOptions, LockToken, Mapping, Options, Shard, ShardMap, ShardMapManager, Sqlite};

use crate::support::probe::{Call, Fault, Probe};
use crate::support::shards;

type Store = Probe<Sqlite>;

/// The names of an element and those in it, and how many there are.
fn shape(node: Node<'_, '_>) -> String {
    let children: Vec<_> = node.children().filter(Node::is_element).map(shape).collect();
    format!("{}({})", node.tag_name().name(), children.join(" "))
}

fn child<'d>(node: Node<'d, 'd>, name: &str) -> Node<'d, 'd> {
    node.children().find(|child| child.has_tag_name(name)).unwrap_or_else(|| panic!("no {name}"))
}

fn steps<'d>(document: &'d Document<'d>) -> Vec<Node<'d, 'd>> {
    child(document.root_element(), "Steps").children().filter(Node::is_element).collect()
}

/// The log row of an operation that is left just before its end.
async fn left<M: Mapping>(
    store: &Store,
    map: &ShardMap<M, Store>,
    create: impl FnOnce(&Shard) -> BulkCreation<M, Store>,
    kept: &M,
) -> LogEntry {
    store.inject(Call::EndDo, 1, Fault::HoldBefore);
    let creation = create(&map.shards().await.unwrap()[0]).beside(kept);
    tokio::select! {
        result = creation.next_batch().unwrap() => panic!("not held: {result:?}"),
        () = store.held() => {}
    }
    let mut pending = store.pending_operations().await.unwrap();
    assert_eq!(pending.len(), 1);
    pending.remove(0)
}

/// Holds it against a document of the reference library that removes and adds mappings, and one with a mapping of the kind.
fn assert_complete(entry: &LogEntry, kept: &impl Mapping, token: LockToken, count: usize, of_kind: &str) {
    let reference = Document::parse(include_str!("15-mergemappings.xml")).unwrap();
    let of_kind = Document::parse(of_kind).unwrap();
    let ours = Document::parse(&entry.data).unwrap();
    let root = ours.root_element();
    assert_eq!(entry.code, 14);
    assert_eq!(root.tag_name(), reference.root_element().tag_name());
    let attributes = |name| root.attribute(name).unwrap();
    assert_eq!((attributes("OperationCode"), attributes("Undo")), ("14", "0"));
    assert_eq!(attributes("OperationId"), entry.id.to_string());
    assert_eq!(attributes("StepsCount"), (count + 1).to_string());
    let parts = |root: Node<'_, '_>| -> Vec<_> {
        root.children().filter(|node| node.is_element() && !node.has_tag_name("Steps")).map(shape).collect()
    };
    assert_eq!(parts(root), parts(reference.root_element()));

    let ours = steps(&ours);
    assert_eq!(ours.len(), count + 1);
    let [merged, .., result] = &steps(&reference)[..] else { panic!("too few steps") };
    let mapping = child(steps(&of_kind)[0], "Mapping");
    let null = |mapping: Node<'_, '_>| child(mapping, "MaxValue").attribute("Null").map(ToOwned::to_owned);
    for (number, step) in (1..).zip(&ours) {
        assert_eq!(step.attribute("Id"), Some(number.to_string().as_str()));
        let (kind, like) = if number == 1 { ("1", merged) } else { ("3", result) };
        assert_eq!((step.attribute("Kind"), like.attribute("Kind")), (Some(kind), Some(kind)), "{number}");
        assert_eq!(shape(*step), shape(*like), "{number}");
        assert_eq!(shape(child(*step, "Mapping")), shape(mapping), "{number}");
        assert_eq!(null(child(*step, "Mapping")), null(mapping), "{number}: a bound");
    }
    // The one that is kept, as whoever undoes it puts it back if it were missing.
    let first = child(ours[0], "Mapping");
    let text = |node: Node<'_, '_>, name| child(node, name).text().unwrap().to_owned();
    assert_eq!(text(first, "Id"), kept.record().id.to_string());
    assert_eq!(text(first, "Status"), (kept.record().status as i32).to_string());
    assert_eq!(text(child(ours[0], "Lock"), "Id"), token.to_string());
    assert_eq!(text(first, "LockOwnerId"), token.to_string());
    let shard = |side| text(child(child(root, side), "Shard"), "Id");
    let id = kept.record().shard.id().to_string();
    assert_eq!((shard("Removes"), shard("Adds")), (id.clone(), id));

    let read = LogRecord::read(entry).unwrap();
    let OperationSteps::Mappings { steps, .. } = &read.steps else { panic!("no mappings") };
    let MappingStep::Remove { mapping, lock } = &steps[0] else { panic!("{steps:?}") };
    assert_eq!((mapping.id, *lock), (kept.record().id, token));
    assert!(steps[1..].iter().all(|step| matches!(step, MappingStep::Add { .. })), "{steps:?}");
}

async fn manager() -> (Store, ShardMapManager<Store>) {
    let store = Probe::new(Sqlite::in_memory());
    let manager = ShardMapManager::open_or_create(store.clone(), Options::default()).await.unwrap();
    (store, manager)
}

#[tokio::test]
async fn a_creation_of_many_points_is_logged_with_all_that_undoes_it() {
    let (store, manager) = manager().await;
    let map = manager.create_list_shard_map::<i32>("points").await.unwrap();
    let on = shards(&map, 1).await;
    let kept = map.create_mapping(1, &on[0]).await.unwrap();
    let create =
        |shard: &Shard| map.create_mappings((10..30).map(|key| (key, shard)), &BulkOptions::default()).unwrap();
    let entry = left(&store, &map, create, &kept).await;
    assert_complete(&entry, &kept, LockToken::NONE, 20, include_str!("5-removepointmapping.xml"));
    assert_eq!(manager.undo_pending_operations().await.unwrap(), 1);
    assert_eq!(map.mappings().await.unwrap(), [kept]);
}

#[tokio::test]
async fn a_creation_of_many_ranges_is_logged_with_all_that_undoes_it() {
    let (store, manager) = manager().await;
    let map = manager.create_range_shard_map::<i32>("ranges").await.unwrap();
    let on = shards(&map, 1).await;
    let kept = map.mark_mapping_offline(map.create_mapping(0..1, &on[0]).await.unwrap()).await.unwrap();
    let token = LockToken::random();
    let _ = map.lock_mapping(kept, token).await.unwrap();
    let kept = map.mapping_for_key(&0).await.unwrap();
    let create = |shard: &Shard| {
        map.create_mappings((10..30).map(|key| (key..key + 1, shard)), &BulkOptions::default()).unwrap()
    };
    let entry = left(&store, &map, create, &kept).await;
    assert_complete(&entry, &kept, token, 20, include_str!("15-mergemappings.xml"));
    assert_eq!(manager.undo_pending_operations().await.unwrap(), 1);
    assert_eq!(map.mapping_lock_owner(&kept).await.unwrap(), token);
    assert_eq!(map.mappings().await.unwrap().len(), 1);
}
