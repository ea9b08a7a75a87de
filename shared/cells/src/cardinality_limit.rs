//! The cardinality limit: how many dimension keys a block may hold, and which dimensions give way when there are more.
//!
//! Anyone can send mail to a million domains or invent tag values, and storage and queries must not grow with that. Where a block
//! exceeds the limit, the smallest values of one dimension after the other collapse into the overflow value `(other)`, so totals
//! stay exact. What collapses depends only on the block's contents. [`crate::collapse`] does the work on one column.

use compact_str::CompactString;
use event::attribution::Dimension;
use event::provider;

use crate::block::{Block, COHORT_KEY, COHORT_PROVIDER, LINK_CAMPAIGN, LINK_KEY, LINK_NAME, index};
use crate::collapse::{collapse_column, collapse_values, collapse_within};

/// The order in which the dimensions of cell keys collapse. Recipient domains come first because anyone can invent them and their
/// mailbox provider remains; the provider comes last because most analysis is by provider.
const COLLAPSE_ORDER: [Dimension; Dimension::COUNT] = [
    Dimension::RecipientDomain,
    Dimension::Campaign,
    Dimension::Segment,
    Dimension::Tag4,
    Dimension::Tag3,
    Dimension::Tag2,
    Dimension::Tag1,
    Dimension::SendingDomain,
    Dimension::ConfigurationSet,
    Dimension::Provider,
];

impl Block {
    /// The most keys that a stored block may have, for cells, cohorts and links each. A day of hours then has at most 96,000
    /// rows of cells.
    pub const MAX_KEYS: usize = 4000;

    /// The most keys of the block of one batch. More than of a stored hour, because a batch comes before its evidence is learned: a domain
    /// that collapses here can never be given its provider. A batch has at most 50,000 counts.
    pub const MAX_DELTA_KEYS: usize = 20_000;

    /// The most links of one campaign in a stored block, and in an answer. The rest are counted together, under `(other)`.
    pub const MAX_LINKS: usize = 200;

    /// The same counts with at most [`Block::MAX_LINKS`] links in each campaign, those with the most clicks. Not for the block of a batch:
    /// which links are followed most shows only over time.
    #[must_use]
    pub fn limit_links(mut self) -> Self {
        // Keys are sorted by campaign.
        let exceeds = |of_campaign: &[[u32; LINK_KEY]]| of_campaign.len() > Self::MAX_LINKS;
        if !self.links.keys.chunk_by(|a, b| a[LINK_CAMPAIGN] == b[LINK_CAMPAIGN]).any(exceeds) {
            return self;
        }
        let other = self.overflow_value();
        collapse_within(&mut self.links, LINK_CAMPAIGN, LINK_NAME, &self.values, other, Self::MAX_LINKS);
        self.canonicalise()
    }

    /// The same counts under at most `max_keys` keys in each table. A limit of 0 means 1: all values can collapse into one key.
    #[must_use]
    pub fn collapse(mut self, max_keys: usize) -> Self {
        let max_keys = max_keys.max(1);
        if self.cells.keys.len().max(self.cohorts.keys.len()).max(self.links.keys.len()) <= max_keys {
            return self;
        }
        // Even if no dimension needs it in the end: `canonicalise` drops strings that no key uses.
        let other = self.overflow_value();
        // Each call returns at once when the limit is met, so later dimensions keep their values.
        let unknown = self.value_number(provider::OTHER);
        let markers: Vec<bool> =
            self.values.iter().map(|value| provider::unresolved_domain(value).is_some()).collect();
        let is_marker = |value: u32| markers.get(value as usize).copied().unwrap_or(false);
        for dimension in COLLAPSE_ORDER {
            if dimension == Dimension::RecipientDomain {
                let may_collapse = |name: &str| name != Dimension::OTHER;
                collapse_values(
                    &mut self.cells,
                    dimension as usize,
                    &self.values,
                    max_keys,
                    &may_collapse,
                    &|key| {
                        key[Dimension::RecipientDomain as usize] = other;
                        // The marker of the domain would keep it alive in the other column.
                        if is_marker(key[Dimension::Provider as usize]) {
                            key[Dimension::Provider as usize] = unknown;
                        }
                    },
                );
            } else {
                collapse_column(&mut self.cells, dimension as usize, &self.values, other, max_keys);
            }
        }
        // Cohorts have no column for the domain: markers give way first, then campaigns, then providers.
        let is_unresolved = |name: &str| provider::unresolved_domain(name).is_some();
        collapse_values(&mut self.cohorts, COHORT_PROVIDER, &self.values, max_keys, &is_unresolved, &|key| {
            key[COHORT_PROVIDER] = unknown;
        });
        for column in 0..COHORT_KEY {
            collapse_column(&mut self.cohorts, column, &self.values, other, max_keys);
        }
        // Anyone can invent links, too.
        for column in [LINK_NAME, LINK_CAMPAIGN] {
            collapse_column(&mut self.links, column, &self.values, other, max_keys);
        }
        self.canonicalise()
    }

    /// The number of `(other)` among the block's strings, appended if it is not there yet.
    fn overflow_value(&mut self) -> u32 {
        self.value_number(Dimension::OTHER)
    }

    /// The number of a string, appended if it is not there yet.
    fn value_number(&mut self, text: &'static str) -> u32 {
        let known = self.values.iter().position(|value| value == text);
        index(known.unwrap_or_else(|| {
            self.values.push(CompactString::const_new(text));
            self.values.len() - 1
        }))
    }
}

#[cfg(test)]
mod tests;
