//! Turns what was counted into one block per tenant.
//!
//! Each tenant's block gets its own list of strings, so a block never holds a value of another tenant.

use compact_str::CompactString;
use event::TenantId;
use event::attribution::Dimension;
use rapidhash::RapidHashMap;

use super::cell_map::CellMap;
use super::interner::Interner;
use super::{Accumulator, Cohorts, is_of_recipient};
use crate::block::{AgeClass, Block, Resolution, index};

/// The tenants' blocks while rows are added.
struct BlockBuilders<'a> {
    resolution: Resolution,
    /// The position in `builders` by tenant.
    positions: RapidHashMap<&'a str, usize>,
    builders: Vec<BlockBuilder<'a>>,
}

struct BlockBuilder<'a> {
    tenant: TenantId,
    /// Not yet in canonical form.
    block: Block,
    /// The number of each string in the block.
    value_numbers: RapidHashMap<&'a str, u32>,
}

impl Accumulator {
    /// One block per tenant, sorted by tenant, each with at most [`Block::MAX_DELTA_KEYS`] keys.
    ///
    /// Meant for [`Accumulator::full`]. With another grouping, dimensions that are not grouped by have an empty value; without
    /// grouping by time, all rows are in one bucket at minute 0.
    pub fn into_blocks(self) -> Vec<(TenantId, Block)> {
        let Self { grouping, messages, recipients, cells, cohorts, links, evidence, .. } = self;
        // All time in one bucket is wider than any resolution; a day is the widest.
        let resolution = grouping.bucket.unwrap_or(Resolution::Day);
        let mut all = BlockBuilders { resolution, positions: RapidHashMap::default(), builders: Vec::new() };
        // The values of a message are looked up once, not once per cell.
        let mut message_keys = Vec::with_capacity(messages.len());
        for parts in messages.iter() {
            let row = grouping.read_message(parts);
            let position = all.position(row.tenant);
            message_keys.push((position, all.builders[position].key(row.values)));
        }
        // Keys repeat here, one for each cell; `canonicalise` makes them one.
        for (cell_key, cell) in cells.into_cells() {
            // One entry was pushed for each message, in the order of their numbers.
            let (position, mut key) = message_keys[cell_key.dimensions.message as usize];
            let mut values = [""; Dimension::COUNT];
            grouping.read_recipient(recipients.parts(cell_key.dimensions.recipient), &mut values);
            let builder = &mut all.builders[position];
            for ((number, value), dimension) in key.iter_mut().zip(values).zip(Dimension::ALL) {
                if is_of_recipient(dimension) {
                    *number = builder.value_number(value);
                }
            }
            builder.block.cells.push(key, AgeClass::Unknown, cell_key.bucket, cell);
        }
        // An accumulator that does not count cohorts has none. An empty set instead of a branch: the builders borrow its strings until they
        // finish.
        let Cohorts { campaigns, providers, by_age, .. } = cohorts.unwrap_or_default();
        for (age, cells) in AgeClass::ALL.into_iter().zip(by_age) {
            all.add_cohorts(&campaigns, &providers, age, cells);
        }
        // An empty set here too.
        let links = links.unwrap_or_default();
        for (tenant, row, cell) in links.iter() {
            let position = all.position(tenant);
            let builder = &mut all.builders[position];
            let key = [row.campaign, row.link].map(|value| builder.value_number(value));
            builder.block.links.push(key, AgeClass::Unknown, row.bucket, cell.clone());
        }
        // Under the name that the tenant's rows have, so that no tenant gets a block of evidence alone.
        for (tenant, domain, provider, count) in evidence.iter() {
            let position = all.position(tenant);
            all.builders[position].block.evidence.add(domain, provider, count);
        }
        all.finish()
    }
}

impl<'a> BlockBuilders<'a> {
    /// The position of a tenant's builder, which is created if there is none. A name that is not a tenant ID belongs to the
    /// unassigned tenant.
    fn position(&mut self, tenant: &'a str) -> usize {
        // The unassigned tenant's own name is reserved and so refused here too, as is the empty name of a grouping without tenants.
        let (name, tenant) = match TenantId::new(tenant) {
            Ok(id) => (tenant, id),
            Err(_) => (TenantId::UNASSIGNED, TenantId::unassigned()),
        };
        *self.positions.entry(name).or_insert_with(|| {
            let block = Block::empty(self.resolution);
            self.builders.push(BlockBuilder { tenant, block, value_numbers: RapidHashMap::default() });
            self.builders.len() - 1
        })
    }

    fn add_cohorts(
        &mut self,
        campaigns: &'a Interner,
        providers: &'a Interner,
        age: AgeClass,
        cells: CellMap,
    ) {
        for (cell_key, cell) in cells.into_cells() {
            // In the order in which `Accumulator::message` joined them.
            let mut parts = campaigns.parts(cell_key.dimensions.message);
            let position = self.position(parts.next_part());
            let builder = &mut self.builders[position];
            let campaign = builder.value_number(parts.next_part());
            let provider = builder.value_number(providers.parts(cell_key.dimensions.recipient).next_part());
            builder.block.cohorts.push([campaign, provider], age, cell_key.bucket, cell);
        }
    }

    fn finish(mut self) -> Vec<(TenantId, Block)> {
        for builder in &mut self.builders {
            builder.block.evidence = builder.block.take_evidence().bounded();
        }
        // Canonical first: until then each cell has a key of its own, and collapsing compares the number of keys with the limit.
        let mut blocks: Vec<(TenantId, Block)> = self
            .builders
            .into_iter()
            .map(|builder| (builder.tenant, builder.block.canonicalise().collapse(Block::MAX_DELTA_KEYS)))
            .collect();
        blocks.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        blocks
    }
}

impl<'a> BlockBuilder<'a> {
    /// The number of a string in this block.
    fn value_number(&mut self, value: &'a str) -> u32 {
        *self.value_numbers.entry(value).or_insert_with(|| {
            self.block.values.push(CompactString::new(value));
            index(self.block.values.len() - 1)
        })
    }

    /// The numbers of a key's values.
    fn key(&mut self, values: [&'a str; Dimension::COUNT]) -> [u32; Dimension::COUNT] {
        values.map(|value| self.value_number(value))
    }
}
