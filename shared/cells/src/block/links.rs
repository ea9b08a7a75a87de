//! Reads the clicks by link of a block.

use event::Minute;

use super::{Block, BlockError, BlockReader, Projection};
use crate::counter::{Counter, CounterSet, Counters};

/// The clicks of one link of a campaign in one time bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkClicks<'a> {
    /// The campaign of the mail.
    pub campaign: &'a str,
    /// The name of the link, see [`event::link`].
    pub link: &'a str,
    /// The first minute of the bucket.
    pub bucket: Minute,
    /// The number of clicks, by people and machines.
    pub clicks: u64,
    /// The number of clicks by machines.
    pub clicks_bot: u64,
}

impl<'a> LinkClicks<'a> {
    pub(crate) fn new(campaign: &'a str, link: &'a str, bucket: Minute, counters: &Counters) -> Self {
        let [clicks, clicks_bot] = [Counter::Clicks, Counter::ClicksBot].map(|counter| counters.get(counter));
        Self { campaign, link, bucket, clicks, clicks_bot }
    }
}

impl Block {
    /// The clicks by link, in the order of campaign, link and time.
    pub fn links(&self) -> impl Iterator<Item = LinkClicks<'_>> {
        self.links.rows.iter().map(|row| {
            let [campaign, link] = self.links.key_of(row).map(|number| self.value(number));
            LinkClicks::new(campaign, link, row.bucket, &row.cell.counters)
        })
    }
}

impl BlockReader<'_> {
    /// Calls `each` for the clicks by link of every bucket that begins at or after `from` and before `to`.
    ///
    /// # Errors
    /// [`BlockError`] if they cannot be read.
    pub fn scan_links(
        &self,
        from: Minute,
        to: Minute,
        each: &mut dyn FnMut(LinkClicks<'_>),
    ) -> Result<(), BlockError> {
        let keys = self.link_keys()?;
        let counters = CounterSet::of(&[Counter::Clicks, Counter::ClicksBot]);
        self.scan_link_rows(keys.len(), &Projection::of_counters(counters), &mut |row| {
            if let Some([campaign, link]) = keys.get(row.key as usize)
                && (from..to).contains(&row.bucket)
            {
                each(LinkClicks::new(self.value(*campaign), self.value(*link), row.bucket, row.counters));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::block;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn reader_returns_the_links_of_the_block(block in block(), from in 0..2880_u32, length in 0..2880_u32) {
            let (from, to) = (Minute(29_000_000 + from), Minute(29_000_000 + from + length));
            let parts = block.encode();
            let reader = BlockReader::open(&parts[0]).unwrap();
            for (from, to) in [(from, to), (Minute(0), Minute(u32::MAX))] {
                let mut found = Vec::new();
                reader
                    .scan_links(from, to, &mut |row| {
                        found.push(format!("{row:?}"));
                    })
                    .unwrap();
                let expected = block.links().filter(|row| (from..to).contains(&row.bucket));
                prop_assert_eq!(found, expected.map(|row| format!("{row:?}")).collect::<Vec<_>>());
            }
        }
    }
}
