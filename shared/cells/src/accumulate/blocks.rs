//! What was counted, as one block per tenant.

use compact_str::CompactString;
use event::TenantId;
use event::attribution::Dimension;
use rapidhash::RapidHashMap;

use super::interner::Interner;
use super::table::CellTable;
use super::{Accumulator, Cohorts, is_recipients};
use crate::block::table::{Row, Table};
use crate::block::{Block, COHORT_KEY, Resolution, index};

/// The tenants' blocks on the way to their normal form.
struct Drafts<'a> {
    resolution: Resolution,
    of_tenant: RapidHashMap<&'a str, usize>,
    list: Vec<Draft<'a>>,
}

struct Draft<'a> {
    tenant: TenantId,
    block: Block,
    numbers: RapidHashMap<&'a str, u32>,
}

impl Accumulator {
    /// One block per tenant, sorted by tenant, each with at most [`Block::MAX_KEYS`] keys.
    ///
    /// Meant for [`Accumulator::full`]: what another grouping does not tell apart lies under an empty value, and what it does
    /// not tell apart in time in one bucket at the beginning of time.
    pub fn into_blocks(self) -> Vec<(TenantId, Block)> {
        let Self { grouping, contexts, recipients, cells, cohorts, .. } = self;
        let resolution = grouping.bucket.unwrap_or(Resolution::Day);
        let mut drafts = Drafts { resolution, of_tenant: RapidHashMap::default(), list: Vec::new() };
        let mut keys = Vec::with_capacity(contexts.len());
        for parts in contexts.iter() {
            let key = grouping.read_context(parts);
            let number = drafts.of(key.tenant);
            keys.push((number, drafts.key(number, key.values)));
        }
        for (place, cell) in cells.into_cells() {
            let Some(&(number, mut key)) = keys.get(place.context as usize) else { continue };
            let mut values = [""; Dimension::COUNT];
            grouping.read_recipient(recipients.parts(place.recipient), &mut values);
            let Some(draft) = drafts.list.get_mut(number) else { continue };
            for ((part, value), dimension) in key.iter_mut().zip(values).zip(Dimension::ALL) {
                if is_recipients(dimension) {
                    *part = draft.number(value);
                }
            }
            draft.block.cells.push(key, Row { key: 0, bucket: place.bucket, cell });
        }
        let Cohorts { campaigns, providers, by_minute, by_hour, .. } = cohorts.unwrap_or_default();
        drafts.add_cohorts(&campaigns, &providers, by_minute, |block| &mut block.cohorts);
        drafts.add_cohorts(&campaigns, &providers, by_hour, |block| &mut block.late_cohorts);
        drafts.finish()
    }
}

impl<'a> Drafts<'a> {
    /// The number of a tenant's draft.
    fn of(&mut self, tenant: &'a str) -> usize {
        let (name, tenant) = match TenantId::new(tenant) {
            Ok(id) => (tenant, id),
            Err(_) => (TenantId::UNASSIGNED, TenantId::unassigned()),
        };
        *self.of_tenant.entry(name).or_insert_with(|| {
            let block = Block::empty(self.resolution);
            self.list.push(Draft { tenant, block, numbers: RapidHashMap::default() });
            self.list.len() - 1
        })
    }

    fn key(&mut self, draft: usize, values: [&'a str; Dimension::COUNT]) -> [u32; Dimension::COUNT] {
        match self.list.get_mut(draft) {
            Some(draft) => values.map(|value| draft.number(value)),
            None => [0; Dimension::COUNT],
        }
    }

    fn add_cohorts(
        &mut self,
        campaigns: &'a Interner,
        providers: &'a Interner,
        cells: CellTable,
        table: impl Fn(&mut Block) -> &mut Table<COHORT_KEY>,
    ) {
        for (place, cell) in cells.into_cells() {
            let mut parts = campaigns.parts(place.context);
            let number = self.of(parts.next_part());
            let Some(draft) = self.list.get_mut(number) else { continue };
            let campaign = draft.number(parts.next_part());
            let provider = draft.number(providers.parts(place.recipient).next_part());
            table(&mut draft.block).push([campaign, provider], Row { key: 0, bucket: place.bucket, cell });
        }
    }

    fn finish(self) -> Vec<(TenantId, Block)> {
        let mut blocks: Vec<(TenantId, Block)> = self
            .list
            .into_iter()
            .map(|draft| (draft.tenant, draft.block.normalise().fold(Block::MAX_KEYS)))
            .collect();
        blocks.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        blocks
    }
}

impl<'a> Draft<'a> {
    /// The number of a string in this block.
    fn number(&mut self, value: &'a str) -> u32 {
        *self.numbers.entry(value).or_insert_with(|| {
            self.block.values.push(CompactString::new(value));
            index(self.block.values.len() - 1)
        })
    }
}
