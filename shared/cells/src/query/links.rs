//! Sums clicks by link over the blocks of a range, and puts them in order.
//!
//! Each block keeps the links of a campaign that were followed most in its time. So a link that is rare in an hour and frequent in the next
//! is named with the clicks of the second hour; those of the first are in `(other)`. The sum is exact.

use std::cmp::Reverse;

use compact_str::CompactString;
use event::attribution::Dimension;
use rapidhash::RapidHashMap;

use super::error::{QueryError, QueryErrorKind};
use crate::block::{Block, LinkClicks};

/// The clicks of one link of a campaign in a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkTotal {
    /// The tenant whose mail had the link.
    pub tenant: CompactString,
    /// The campaign of the mail.
    pub campaign: CompactString,
    /// The name of the link, see [`event::link`]; [`Dimension::OTHER`] for all links that have no row of their own.
    pub link: CompactString,
    /// The number of clicks, by people and machines.
    pub clicks: u64,
    /// The number of clicks by machines.
    pub clicks_bot: u64,
}

/// Clicks by tenant, campaign and link.
#[derive(Clone, Debug, Default)]
pub struct LinkTotals {
    /// By tenant and campaign.
    campaigns: RapidHashMap<(CompactString, CompactString), RapidHashMap<CompactString, [u64; 2]>>,
    links: usize,
}

impl LinkTotals {
    /// The most links that are summed at once; a bound on memory, at some 200 bytes each.
    pub const MAX_LINKS: usize = 200_000;

    /// Adds the clicks of one row.
    ///
    /// # Errors
    /// [`QueryError`] if there are more than [`LinkTotals::MAX_LINKS`] links.
    pub fn add(&mut self, tenant: &str, row: &LinkClicks<'_>) -> Result<(), QueryError> {
        let campaign = (CompactString::new(tenant), CompactString::new(row.campaign));
        let links = self.campaigns.entry(campaign).or_default();
        let before = links.len();
        let [clicks, bot] = links.entry(CompactString::new(row.link)).or_default();
        *clicks = clicks.saturating_add(row.clicks);
        *bot = bot.saturating_add(row.clicks_bot);
        self.links += links.len() - before;
        if self.links <= Self::MAX_LINKS {
            return Ok(());
        }
        let refusal = QueryError::malformed(
            "campaign",
            "there are too many links",
            "one campaign, or a shorter range",
            "spring",
        );
        Err(refusal.of_kind(QueryErrorKind::Unanswerable))
    }

    /// The rows: in each campaign at most [`Block::MAX_LINKS`] links and `(other)`. Those with the most clicks come first, `(other)` last.
    pub fn finish(self) -> Vec<LinkTotal> {
        let mut rows = Vec::new();
        for ((tenant, campaign), links) in self.campaigns {
            let mut other = [0_u64; 2];
            let mut named = Vec::with_capacity(links.len());
            for (link, counts) in links {
                if link == Dimension::OTHER {
                    other = counts;
                } else {
                    named.push((Reverse(counts[0]), link, counts[1]));
                }
            }
            named.sort_unstable();
            let rest = named.split_off(named.len().min(Block::MAX_LINKS));
            let total = |link, clicks, clicks_bot| LinkTotal {
                tenant: tenant.clone(),
                campaign: campaign.clone(),
                link,
                clicks,
                clicks_bot,
            };
            rows.extend(named.into_iter().map(|(Reverse(clicks), link, bot)| total(link, clicks, bot)));
            for (Reverse(clicks), _, bot) in rest {
                other = [other[0].saturating_add(clicks), other[1].saturating_add(bot)];
            }
            if other != [0, 0] {
                rows.push(total(CompactString::const_new(Dimension::OTHER), other[0], other[1]));
            }
        }
        let is_other = |row: &LinkTotal| row.link == Dimension::OTHER;
        rows.sort_unstable_by(|a, b| {
            let order = |row: &LinkTotal| (is_other(row), Reverse(row.clicks));
            let by_name = (&a.tenant, &a.campaign, &a.link).cmp(&(&b.tenant, &b.campaign, &b.link));
            order(a).cmp(&order(b)).then(by_name)
        });
        rows
    }
}

#[cfg(test)]
mod tests {
    use event::Minute;

    use super::*;

    fn row(campaign: &'static str, link: &str, clicks: u64, clicks_bot: u64) -> LinkTotals {
        let mut totals = LinkTotals::default();
        add(&mut totals, campaign, link, clicks, clicks_bot);
        totals
    }

    fn add(totals: &mut LinkTotals, campaign: &str, link: &str, clicks: u64, clicks_bot: u64) {
        let row = LinkClicks { campaign, link, bucket: Minute(7), clicks, clicks_bot };
        totals.add("acme", &row).unwrap();
    }

    fn shown(totals: LinkTotals) -> Vec<(String, String, u64, u64)> {
        let rows = totals.finish().into_iter();
        rows.map(|row| (row.campaign.to_string(), row.link.to_string(), row.clicks, row.clicks_bot)).collect()
    }

    #[test]
    fn links_are_summed_and_come_in_the_order_of_their_clicks() {
        let mut totals = row("spring", "a.example/", 2, 1);
        for (campaign, link, clicks) in [
            ("spring", "b.example/", 3),
            ("autumn", "a.example/", 3),
            ("spring", "a.example/", 2),
            ("spring", "(other)", 9),
        ] {
            add(&mut totals, campaign, link, clicks, 0);
        }
        let expected = [
            ("spring", "a.example/", 4, 1),
            ("autumn", "a.example/", 3, 0),
            ("spring", "b.example/", 3, 0),
            ("spring", "(other)", 9, 0),
        ];
        let expected =
            expected.map(|(campaign, link, clicks, bot)| (campaign.to_owned(), link.to_owned(), clicks, bot));
        assert_eq!(shown(totals), expected);
        assert_eq!(shown(LinkTotals::default()), []);
    }

    #[test]
    fn each_campaign_names_its_200_most_followed_links() {
        let mut totals = LinkTotals::default();
        for number in 0..250_u64 {
            add(&mut totals, "spring", &format!("{number}.example/"), number + 1, 1);
            add(&mut totals, "autumn", &format!("{number}.example/"), 1, 0);
        }
        let rows = shown(totals);
        let of = |name: &str| rows.iter().filter(|row| row.0 == name).cloned().collect::<Vec<_>>();
        let spring = of("spring");
        assert_eq!(spring.len(), 201);
        assert_eq!(spring[0], ("spring".to_owned(), "249.example/".to_owned(), 250, 1));
        assert_eq!(spring[200], ("spring".to_owned(), "(other)".to_owned(), (1..=50).sum(), 50));
        assert_eq!(of("autumn").last().map(|row| row.2), Some(50));
    }

    #[test]
    fn too_many_links_are_refused() {
        let mut totals = LinkTotals { links: LinkTotals::MAX_LINKS - 1, ..LinkTotals::default() };
        let mut add = |link: &str| {
            totals
                .add("acme", &LinkClicks { campaign: "a", link, bucket: Minute(0), clicks: 1, clicks_bot: 0 })
        };
        assert_eq!((add("one"), add("one")), (Ok(()), Ok(())));
        assert_eq!(add("two").unwrap_err().kind, QueryErrorKind::Unanswerable);
    }
}
