//! A cell: the counters and sketches of one dimension key in one time bucket.
//!
//! Merging cells is associative and commutative, so batches, shards, hours and months may be added in any order. Most cells of a
//! minute hold a count or two, so empty and nearly empty sketches take no memory of their own, and a cell has 80 bytes.

pub mod latency;
pub mod uniques;

use crate::counter::Counters;

pub use latency::Latency;
pub use uniques::{Estimate, Uniques};

/// The counters and sketches of one dimension key in one time bucket.
///
/// It knows neither its key nor its bucket: that two cells belong together is known to the caller who merges them. The default is empty,
/// and merging it changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// How often each thing happened.
    pub counters: Counters,
    /// Delivery times: milliseconds from send to delivery.
    pub latency: Latency,
    /// Who opened: people only, by the hash of message and recipient.
    pub opens: Uniques,
    /// Who clicked: people only, by the hash of message and recipient.
    pub clicks: Uniques,
}

impl Cell {
    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        // By destructuring, here and below, so that a part that is added later cannot be forgotten.
        let Self { counters, latency, opens, clicks } = other;
        self.counters.merge(counters);
        self.latency.merge(latency);
        self.opens.merge(opens);
        self.clicks.merge(clicks);
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        let Self { counters, latency, opens, clicks } = self;
        counters.is_empty() && latency.is_empty() && opens.is_empty() && clicks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use event::RecipientHash;

    use super::*;
    use crate::counter::Counter;
    use crate::testing::cell_of_all_test_counters;

    #[test]
    fn cell_with_anything_in_it_is_not_empty() {
        assert!(Cell::default().is_empty());
        let fill: [fn(&mut Cell); 4] = [
            |cell| cell.counters.add(Counter::Sends, 1),
            |cell| cell.latency.record(0),
            |cell| cell.opens.insert(RecipientHash(0)),
            |cell| cell.clicks.insert(RecipientHash(0)),
        ];
        for fill in fill {
            let mut cell = Cell::default();
            fill(&mut cell);
            assert!(!cell.is_empty(), "{cell:?}");
            let mut sum = Cell::default();
            sum.merge(&cell);
            assert_eq!(sum, cell);
        }
    }

    #[test]
    fn cell_of_200_counters_merges_count_by_count() {
        let mut sum = cell_of_all_test_counters(2);
        sum.merge(&cell_of_all_test_counters(5));
        assert_eq!(sum, cell_of_all_test_counters(7));
        sum.merge(&Cell::default());
        assert_eq!(sum, cell_of_all_test_counters(7));
    }
}
