//! An ordered map that is never changed: an edit makes a new one, which shares what is untouched with the old.
//!
//! A tree of nodes of up to 64 children, all leaves at the same depth, so that an edit copies one node per level
//! and a lookup does one binary search per level, each in an array that holds nothing but keys. What the values are
//! is not known here.
//!
//! Invariant: in a node the lows ascend strictly; those of an inner node are the least keys of its children.
//! Invariant: no node is empty, and an empty map has no root.

use std::ops::ControlFlow;
use std::sync::Arc;

/// The most children of a node: an edit copies so many in each level, each copy being a reference count to bump, and most
/// of those counts are not in a processor's caches.
const FANOUT: usize = 64;

/// Neighbours that together have no more children than this become one node. Well below the fanout, so that a node at
/// the limit is not split and joined in turn.
const SPARSE: usize = FANOUT / 2;

/// An immutable ordered map.
#[derive(Clone, Debug)]
pub(super) struct Tree<K, V> {
    root: Option<Arc<Node<K, V>>>,
    len: usize,
}

#[derive(Debug)]
struct Node<K, V> {
    lows: Box<[K]>,
    below: Below<K, V>,
}

#[derive(Debug)]
enum Below<K, V> {
    Values(Box<[V]>),
    Nodes(Box<[Arc<Node<K, V>>]>),
}

impl<K: Copy + Ord, V: Clone> Tree<K, V> {
    pub(super) fn new() -> Self {
        Self { root: None, len: 0 }
    }

    /// The map of the pairs, whose keys ascend strictly. Linear.
    pub(super) fn from_sorted(pairs: Vec<(K, V)>) -> Self {
        let len = pairs.len();
        Self { root: rooted(leaves(pairs)), len }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The pair with the greatest key that is not above `key`. Neither locks nor allocates.
    pub(super) fn at_or_below(&self, key: &K) -> Option<(&K, &V)> {
        let mut node = self.root.as_deref()?;
        loop {
            let at = node.lows.partition_point(|low| low <= key).checked_sub(1)?;
            match &node.below {
                Below::Nodes(nodes) => node = nodes.get(at)?,
                Below::Values(values) => return node.lows.get(at).zip(values.get(at)),
            }
        }
    }

    /// Shows the pairs from the first key that is not below `from`, in order, until told to stop.
    pub(super) fn visit_from(&self, from: &K, visit: &mut impl FnMut(&K, &V) -> ControlFlow<()>) {
        if let Some(root) = &self.root {
            let _ = root.visit_from(from, visit);
        }
    }

    /// The map with `edits` made, whose keys ascend strictly: `Some` sets the value of a key, `None` removes the key.
    pub(super) fn edited(&self, edits: &[(K, Option<V>)]) -> Self {
        let mut len = self.len;
        let nodes = match &self.root {
            Some(root) => root.edited(edits, &mut len),
            None => {
                let pairs: Vec<_> = edits.iter().filter_map(|(key, value)| Some((*key, value.clone()?))).collect();
                len = pairs.len();
                leaves(pairs)
            }
        };
        Self { root: rooted(nodes), len }
    }

    /// All of it.
    #[cfg(test)]
    pub(super) fn pairs(&self) -> Vec<(K, V)> {
        fn add<K: Copy, V: Clone>(node: &Node<K, V>, pairs: &mut Vec<(K, V)>) {
            match &node.below {
                Below::Values(values) => pairs.extend(node.lows.iter().copied().zip(values.iter().cloned())),
                Below::Nodes(nodes) => nodes.iter().for_each(|node| add(node, pairs)),
            }
        }
        let mut pairs = Vec::with_capacity(self.len);
        self.root.iter().for_each(|root| add(root, &mut pairs));
        pairs
    }
}

impl<K: Copy + Ord, V: Clone> Node<K, V> {
    fn visit_from(&self, from: &K, visit: &mut impl FnMut(&K, &V) -> ControlFlow<()>) -> ControlFlow<()> {
        match &self.below {
            Below::Values(values) => {
                let first = self.lows.partition_point(|low| low < from);
                self.lows.iter().zip(values).skip(first).try_for_each(|(low, value)| visit(low, value))
            }
            Below::Nodes(nodes) => {
                // The child before the first one that starts at or above `from` may still hold keys from there on.
                let first = self.lows.partition_point(|low| low < from).saturating_sub(1);
                nodes.iter().skip(first).try_for_each(|node| node.visit_from(from, visit))
            }
        }
    }

    /// The nodes that take this one's place at its level; none if nothing is left.
    fn edited(&self, edits: &[(K, Option<V>)], len: &mut usize) -> Vec<Arc<Self>> {
        match &self.below {
            Below::Values(values) => {
                let pairs = merged(&self.lows, values, edits);
                *len = *len - values.len() + pairs.len();
                leaves(pairs)
            }
            Below::Nodes(nodes) => {
                let mut left = edits;
                let mut children = Vec::with_capacity(nodes.len() + 1);
                for (at, node) in nodes.iter().enumerate() {
                    // A key belongs to the last child that starts at or below it; one below all belongs to the first.
                    let next = self.lows.get(at + 1);
                    let count = next.map_or(left.len(), |next| left.partition_point(|(key, _)| key < next));
                    let (own, later) = left.split_at(count);
                    left = later;
                    if own.is_empty() {
                        children.push(Arc::clone(node));
                    } else {
                        children.extend(node.edited(own, len));
                    }
                }
                inners(joined(children))
            }
        }
    }

    /// This node and the next one of its level as one, if that leaves room to grow.
    fn join(&self, next: &Self) -> Option<Self> {
        if self.lows.len() + next.lows.len() > SPARSE {
            return None;
        }
        let lows = self.lows.iter().chain(&next.lows).copied().collect();
        let below = match (&self.below, &next.below) {
            (Below::Values(a), Below::Values(b)) => Below::Values(a.iter().chain(b).cloned().collect()),
            (Below::Nodes(a), Below::Nodes(b)) => Below::Nodes(a.iter().chain(b).cloned().collect()),
            (Below::Values(_), Below::Nodes(_)) | (Below::Nodes(_), Below::Values(_)) => return None,
        };
        Some(Self { lows, below })
    }
}

/// The pairs of a leaf with the edits made.
fn merged<K: Copy + Ord, V: Clone>(lows: &[K], values: &[V], edits: &[(K, Option<V>)]) -> Vec<(K, V)> {
    let mut pairs = Vec::with_capacity(lows.len() + edits.len());
    let mut old = lows.iter().zip(values).peekable();
    for (key, value) in edits {
        while let Some((low, value)) = old.next_if(|(low, _)| *low < key) {
            pairs.push((*low, value.clone()));
        }
        let _ = old.next_if(|(low, _)| *low == key);
        pairs.extend(value.clone().map(|value| (*key, value)));
    }
    pairs.extend(old.map(|(low, value)| (*low, value.clone())));
    pairs
}

/// Leaves of the pairs, filled evenly.
fn leaves<K: Copy, V>(pairs: Vec<(K, V)>) -> Vec<Arc<Node<K, V>>> {
    in_shares(pairs, |share| {
        let (lows, values): (Vec<_>, Vec<_>) = share.unzip();
        Node { lows: lows.into(), below: Below::Values(values.into()) }
    })
}

/// Inner nodes above the nodes, filled evenly.
fn inners<K: Copy, V>(nodes: Vec<Arc<Node<K, V>>>) -> Vec<Arc<Node<K, V>>> {
    in_shares(nodes, |share| {
        let children: Box<[_]> = share.collect();
        // No node is empty, so this takes one key from each.
        let lows = children.iter().filter_map(|child| child.lows.first().copied()).collect();
        Node { lows, below: Below::Nodes(children) }
    })
}

/// Makes nodes of up to [`FANOUT`] items each, as few as will do and equally full.
fn in_shares<T, N>(items: Vec<T>, node: impl Fn(&mut dyn Iterator<Item = T>) -> N) -> Vec<Arc<N>> {
    let (total, shares) = (items.len(), items.len().div_ceil(FANOUT));
    let mut items = items.into_iter();
    (0..shares)
        .map(|share| {
            let size = total * (share + 1) / shares - total * share / shares;
            Arc::new(node(&mut items.by_ref().take(size)))
        })
        .collect()
}

/// The nodes of a level with sparse neighbours joined.
fn joined<K: Copy + Ord, V: Clone>(nodes: Vec<Arc<Node<K, V>>>) -> Vec<Arc<Node<K, V>>> {
    let mut kept: Vec<Arc<Node<K, V>>> = Vec::with_capacity(nodes.len());
    for node in nodes {
        match kept.last_mut().and_then(|last| Some((last.join(&node)?, last))) {
            Some((both, last)) => *last = Arc::new(both),
            None => kept.push(node),
        }
    }
    kept
}

/// The root above the nodes of one level: as many levels as are needed and no more.
fn rooted<K: Copy, V>(mut nodes: Vec<Arc<Node<K, V>>>) -> Option<Arc<Node<K, V>>> {
    while nodes.len() > 1 {
        nodes = inners(nodes);
    }
    let mut root = nodes.pop()?;
    while let Below::Nodes(children) = &root.below
        && let [only] = children.as_ref()
    {
        root = Arc::clone(only);
    }
    Some(root)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// The sizes of the leaves, once the invariants of all nodes have been seen to hold.
    fn leaf_sizes(tree: &Tree<u32, u32>) -> Vec<usize> {
        fn check(node: &Node<u32, u32>, depth: usize, depths: &mut Vec<usize>, sizes: &mut Vec<usize>) {
            assert!((1..=FANOUT).contains(&node.lows.len()));
            assert!(node.lows.is_sorted_by(|a, b| a < b));
            match &node.below {
                Below::Values(values) => {
                    assert_eq!(values.len(), node.lows.len());
                    depths.push(depth);
                    sizes.push(values.len());
                }
                Below::Nodes(nodes) => {
                    assert!(nodes.iter().map(|node| node.lows[0]).eq(node.lows.iter().copied()));
                    nodes.iter().for_each(|node| check(node, depth + 1, depths, sizes));
                }
            }
        }
        let (mut depths, mut sizes) = (Vec::new(), Vec::new());
        tree.root.iter().for_each(|root| check(root, 0, &mut depths, &mut sizes));
        depths.dedup();
        assert!(depths.len() <= 1, "leaves at different depths: {depths:?}");
        assert_eq!(sizes.iter().sum::<usize>(), tree.len());
        sizes
    }

    fn assert_same(tree: &Tree<u32, u32>, model: &BTreeMap<u32, u32>, probes: impl Iterator<Item = u32>) {
        let _ = leaf_sizes(tree);
        assert!(tree.pairs().into_iter().eq(model.iter().map(|(key, value)| (*key, *value))));
        for probe in probes {
            assert_eq!(tree.at_or_below(&probe), model.range(..=probe).next_back());
            let mut seen = Vec::new();
            tree.visit_from(&probe, &mut |key, _| {
                seen.push(*key);
                if seen.len() < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            assert!(seen.into_iter().eq(model.range(probe..).map(|(key, _)| *key).take(3)));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Batches from a few keys to thousands, over keys that are taken again and again.
        #[test]
        fn edits_do_what_they_do_to_a_map(
            start in prop::collection::btree_map(0_u32..3_000, any::<u32>(), 0..2_000),
            batches in prop::collection::vec(
                prop::collection::btree_map(0_u32..3_000, prop::option::weighted(0.4, any::<u32>()), 0..600),
                1..12,
            ),
        ) {
            let mut model = start;
            let mut tree = Tree::from_sorted(model.clone().into_iter().collect());
            assert_same(&tree, &model, (0..3_001).step_by(97));
            for batch in batches {
                let edits: Vec<_> = batch.into_iter().collect();
                tree = tree.edited(&edits);
                for (key, value) in edits {
                    let _ = match value {
                        Some(value) => model.insert(key, value),
                        None => model.remove(&key),
                    };
                }
                assert_same(&tree, &model, (0..3_001).step_by(97));
            }
        }
    }

    #[test]
    fn an_edit_leaves_the_old_tree_as_it_was() {
        let old = Tree::from_sorted((0..1_000).map(|key| (key, key)).collect());
        let new = old.edited(&[(5, None), (500, Some(1)), (2_000, Some(2))]);
        assert!(old.pairs().into_iter().eq((0..1_000).map(|key| (key, key))));
        assert_eq!((old.len(), new.len()), (1_000, 1_000));
        assert_eq!(new.at_or_below(&500), Some((&500, &1)));
    }

    #[test]
    fn it_grows_and_shrinks_one_key_at_a_time() {
        let mut tree = Tree::new();
        let total = 20_000_u32;
        for key in 0..total {
            tree = tree.edited(&[(key * 7_919 % total, Some(key))]);
        }
        assert!(leaf_sizes(&tree).len() <= 2 * 20_000 / FANOUT + 1, "leaves are at least half full");
        for key in (0..total).filter(|key| key % 100 != 0) {
            tree = tree.edited(&[(key, None)]);
        }
        assert!(leaf_sizes(&tree).len() <= 4 * tree.len() / SPARSE + 1, "sparse leaves are joined");
        for key in 0..total {
            tree = tree.edited(&[(key, None)]);
        }
        assert!(tree.root.is_none());
        assert_eq!(tree.len(), 0);
    }
}
