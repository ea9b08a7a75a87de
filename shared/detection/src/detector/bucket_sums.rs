//! Sums a bucket's rows over everything, per provider and per tenant.

use std::collections::BTreeMap;

use super::BucketRow;
use crate::counts::{Counts, Denominator};
use crate::tenant_state::TenantCounts;

/// The rows of a bucket, summed over everything, per provider and per tenant.
#[derive(Default)]
pub(super) struct BucketSums<'a> {
    pub(super) total: Counts,
    pub(super) providers: BTreeMap<&'a str, Counts>,
    pub(super) tenants: BTreeMap<&'a str, TenantCounts<'a>>,
}

impl<'a> BucketSums<'a> {
    pub(super) fn new(rows: &'a [BucketRow<'a>]) -> Self {
        let mut sums = Self::default();
        for row in rows {
            sums.total.add(&row.counts);
            let tenant = sums.tenants.entry(row.tenant).or_default();
            tenant.all_mail.add(&row.counts);
            tenant.rows.push(row);
            if row.campaign.is_empty() {
                tenant.untagged += row.counts.denominator(Denominator::Sends);
            } else {
                add_to(&mut tenant.campaigns, row.campaign, &row.counts);
            }
            if !row.provider.is_empty() {
                sums.providers.entry(row.provider).or_default().add(&row.counts);
                add_to(&mut tenant.providers, row.provider, &row.counts);
            }
        }
        sums
    }
}

fn add_to<'a>(list: &mut Vec<(&'a str, Counts)>, name: &'a str, counts: &Counts) {
    match list.iter_mut().find(|(known, _)| *known == name) {
        Some((_, sum)) => sum.add(counts),
        None => list.push((name, *counts)),
    }
}
