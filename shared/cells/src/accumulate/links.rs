//! Counts clicks by link, beside the cells: per tenant and campaign, clicks and those of machines.
//!
//! Links have their own table instead of being a dimension of cells: a link concerns clicks alone, but as a dimension it would add a value
//! to the key of every cell, and give a campaign with a hundred links a hundred times as many cells.

use event::Minute;
use rapidhash::fast::RandomState;

use super::cell_map::{CellKey, CellMap, DimensionKey};
use super::interner::{Interner, push_part};
use crate::block::LinkClicks;
use crate::cell::Cell;
use crate::counter::Counter;

/// Clicks by link, while events are counted.
#[derive(Debug, Default)]
pub(super) struct LinkCells {
    /// Tenant, campaign and link.
    names: Interner,
    /// Only the two counters of clicks are used. By the number of the name; the recipient's is 0.
    cells: CellMap,
    scratch: Vec<u8>,
}

impl LinkCells {
    /// The number of a link.
    pub(super) fn number(&mut self, hasher: RandomState, tenant: &str, campaign: &str, link: &str) -> u32 {
        self.scratch.clear();
        for part in [tenant, campaign, link] {
            push_part(&mut self.scratch, part);
        }
        self.names.intern(hasher, &self.scratch).0
    }

    /// Adds one to a counter of a link.
    pub(super) fn add(&mut self, hasher: RandomState, link: u32, bucket: Minute, counter: Counter) {
        let dimensions = DimensionKey { message: link, recipient: 0 };
        self.cells.cell(hasher, CellKey { dimensions, bucket }).counters.add(counter, 1);
    }

    /// Adds everything that `other` counted.
    pub(super) fn merge(&mut self, hasher: RandomState, other: Self) {
        let numbers = self.names.merge(hasher, &other.names);
        self.cells.merge(hasher, other.cells, &numbers, &[0]);
    }

    /// The rows with their tenants, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, LinkClicks<'_>, &Cell)> {
        self.cells.iter().map(|(key, cell)| {
            // In the order in which `number` joined them.
            let mut parts = self.names.parts(key.dimensions.message);
            let tenant = parts.next_part();
            let (campaign, link) = (parts.next_part(), parts.next_part());
            (tenant, LinkClicks::new(campaign, link, key.bucket, &cell.counters), cell)
        })
    }
}
