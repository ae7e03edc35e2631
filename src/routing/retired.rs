//! The states of mappings that operations of this process have ended, remembered for a while.
//!
//! Two operations on one mapping may report to the cache in the wrong order: the first one's result then arrives when
//! the second has already ended it. A mapping's id names one state and never comes back, so remembering ids is
//! enough.
//!
//! Invariant: at most `LIMIT` ids are remembered, the newest ones.

use std::collections::{HashSet, VecDeque};

use crate::model::MappingId;

/// More than the operations that can be between their commit and their report to the cache.
const LIMIT: usize = 1_024;

/// Ids of mappings that are gone for good.
#[derive(Debug, Default)]
pub(super) struct Retired {
    ids: HashSet<MappingId>,
    order: VecDeque<MappingId>,
}

impl Retired {
    pub(super) fn add(&mut self, id: MappingId) {
        if self.ids.insert(id) {
            self.order.push_back(id);
            if self.order.len() > LIMIT
                && let Some(oldest) = self.order.pop_front()
            {
                let _ = self.ids.remove(&oldest);
            }
        }
    }

    pub(super) fn contains(&self, id: MappingId) -> bool {
        self.ids.contains(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_remembered() {
        let mut retired = Retired::default();
        let ids: Vec<_> = (0..LIMIT + 2).map(|_| MappingId::random()).collect();
        for id in &ids {
            retired.add(*id);
            retired.add(*id);
        }
        let remembered: Vec<_> = ids.iter().map(|id| retired.contains(*id)).collect();
        assert_eq!(remembered.iter().filter(|known| **known).count(), LIMIT);
        assert_eq!(remembered[..2], [false, false]);
    }
}
