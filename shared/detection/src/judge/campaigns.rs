//! Verdicts on the regular campaigns of a tenant, which speak only where neither the whole nor a provider does.

use super::{Candidate, Moment};
use crate::alert::{Family, Key};
use crate::cause;
use crate::counts::Metric;
use crate::evidence::Evidence;
use crate::node::Node;
use crate::report;
use crate::rules::Place;
use crate::tenant::Tenant;

/// What a campaign needs beyond the evidence of other series: there are about as many more series, so false alarms stay as rare.
const BEYOND: f64 = std::f64::consts::LN_2;
/// The share of a series' excess that a campaign has if it is the campaign's trouble.
const CARRIES: f64 = 0.5;

/// The campaign in trouble, if there is one.
pub(super) fn candidate(
    name: &str,
    tenant: &Tenant,
    (family, metrics): (Family, &[Metric]),
    moment: &Moment<'_>,
) -> Option<Candidate> {
    let signals = metrics.iter().flat_map(|&metric| {
        let signal = move |node: &Node| node.signal(metric, moment.now, moment.threshold + BEYOND);
        tenant
            .regulars
            .series
            .iter()
            .filter_map(move |(campaign, node)| Some((metric, campaign, node, signal(node)?)))
    });
    let (metric, campaign, node, evidence) =
        signals.max_by(|a, b| a.3.strength.total_cmp(&b.3.strength).then(b.0.cmp(&a.0)))?;
    let part = Place { provider: None, campaign: Some(campaign.clone()) };
    let words = report::part(name, &part);
    // Where it is not alone, the others are named.
    let causes = cause::causes("campaign", &cause::regulars(tenant, metric));
    let facts = report::rate(node, metric, &evidence, moment.end(), &words, causes);
    let key = Key::at(name, part, family);
    let strength = evidence.strength.into();
    Some(Candidate { key, facts, strength, shares: Vec::new(), campaigns: Vec::new() })
}

/// Campaigns that carry what a series of their tenant shows.
pub(super) fn carriers(tenant: &Tenant, metric: Metric, evidence: &Evidence) -> Vec<String> {
    let excess = cause::excess(metric, evidence);
    let series = tenant.regulars.series.iter();
    let carries = |node: &Node| cause::excess(metric, &node.strongest(metric)) > CARRIES * excess;
    series.filter(|(_, node)| excess > 0.0 && carries(node)).map(|(name, _)| name.clone()).collect()
}

/// Whether what a series shows is trouble of a campaign that is told.
pub(super) fn is_told(candidate: &Candidate, moment: &Moment<'_>) -> bool {
    let Candidate { key, campaigns, .. } = candidate;
    let of_mine = |open: &&Key| open.tenant == key.tenant && open.family == key.family;
    moment
        .book
        .firing()
        .filter(of_mine)
        .any(|open| open.campaign.as_ref().is_some_and(|campaign| campaigns.contains(campaign)))
}
