//! From evidence to verdicts: which series speaks for a tenant, and when many tenants' trouble is one cause.
//!
//! A provider that carries most of a tenant's excess is the place of the trouble; several tenants in trouble at one provider and
//! nowhere else are one alert for that provider. What an open alert explains stays silent.

mod campaigns;
mod limits;

use std::collections::BTreeMap;

use crate::alert::{Book, Facts, Family, Key, Verdict};
use crate::cause;
use crate::counts::Metric;
use crate::evidence::Evidence;
use crate::node::{DECLINES, Node};
use crate::report;
use crate::rules::{Place, Rules};
use crate::tenant::{self, Tenant};

pub(crate) use self::limits::{budgets, limits};

/// Evidence that counts as partial: not enough alone, but together with others'.
const PARTIAL: f64 = 4.0;
/// Tenants in trouble, and tenants with partial evidence, that make a platform's trouble.
const LEAST_ALARMED: usize = 2;
const LEAST_PARTIAL: usize = 3;
/// Evidence that keeps an open alert open, as a share of the threshold, and minutes without growth that end it.
const KEEP_SHARE: f64 = 0.25;
const STALE: u32 = 90;
/// Evidence of the sum over all tenants that a shared cause needs, as a share of the threshold.
const MOVES_SHARE: f64 = 0.7;
/// Evidence that does not wait for one other tenant, in thresholds.
const BEYOND_DOUBT: f64 = 1.4;
/// An anomaly may speak for so long before a limit repeats it, in minutes.
const LIMIT_HOLD: u32 = 30;
/// Age from which anomalies can speak, in minutes.
const GROWN: u32 = 3 * 24 * 60;

/// Families with rates, and the rates.
const RATES: [(Family, &[Metric]); 3] = [
    (Family::Delivery, &[Metric::HardBounce, Metric::Bounce, Metric::Delay, Metric::Delivery]),
    (Family::Complaint, &[Metric::Complaint]),
    (Family::Engagement, &[Metric::Open, Metric::Click]),
];

/// The bucket that is judged.
pub(crate) struct Moment<'a> {
    /// First minute of the bucket.
    pub now: u32,
    /// Its width in minutes.
    pub bucket: u32,
    /// Evidence needed.
    pub threshold: f64,
    /// Open alerts.
    pub book: &'a Book,
    /// The rules.
    pub rules: &'a Rules,
}

impl Moment<'_> {
    fn end(&self) -> u32 {
        self.now + self.bucket
    }

    fn keeps(&self, evidence: &Evidence) -> bool {
        f64::from(evidence.strength) >= KEEP_SHARE * self.threshold
            && self.end() - evidence.grew.min(self.end()) <= STALE
    }
}

/// A tenant's trouble before it is compared with others'.
struct Candidate {
    key: Key,
    facts: Facts,
    strength: f64,
    /// What providers have of the excess, where it is one of rates.
    shares: Vec<(String, f64)>,
    /// Regular campaigns that have most of it.
    campaigns: Vec<String>,
}

impl Candidate {
    /// Trouble that is not broken down any further.
    fn of(key: Key, facts: Facts) -> Self {
        Self { key, facts, strength: 0.0, shares: Vec::new(), campaigns: Vec::new() }
    }
}

/// Who has how much evidence where.
#[derive(Default)]
struct Crowd {
    candidates: Vec<Candidate>,
    /// Tenants with partial evidence, by family and provider.
    partial: BTreeMap<(Family, Option<String>), Vec<String>>,
    active: usize,
}

/// What all tenants together say.
pub(crate) fn verdicts(
    tenants: &BTreeMap<String, Tenant>,
    whole: &Node,
    providers: &BTreeMap<String, Node>,
    moment: &Moment<'_>,
) -> Vec<Verdict> {
    let mut crowd = Crowd::default();
    let mut verdicts = Vec::new();
    for (name, tenant) in tenants {
        crowd.active += usize::from(tenant.whole.age(moment.now) > 0);
        if moment.rules.anomalies {
            rates(name, tenant, moment, &mut crowd);
            slow(name, tenant, moment, &mut crowd);
            volume(name, tenant, moment, &mut crowd);
            declines(name, tenant, moment, &mut verdicts);
        }
    }
    let platform = platform_verdicts(&crowd, whole, providers, moment);
    let explained = |key: &Key| {
        platform.iter().any(|verdict| covers(&verdict.key, key))
            || ancestors(key).iter().any(|ancestor| moment.book.explains(ancestor, moment.now))
            || (key.campaign.is_some() && moment.book.told_elsewhere(key, moment.now))
    };
    for candidate in &crowd.candidates {
        let Candidate { key, facts, strength, shares, .. } = candidate;
        let is_explained =
            || explained(key) || other_explains(key, shares, moment) || campaigns::is_told(candidate, moment);
        if moment.book.is_firing(key) || !is_explained() {
            let hold = hold(&crowd, key, *strength, moment);
            verdicts.push(Verdict { key: key.clone(), facts: facts.clone(), hold });
        }
    }
    verdicts.extend(platform);
    verdicts
}

/// A first candidate that others share waits a bucket, so that the provider's own alert can speak first.
fn hold(crowd: &Crowd, key: &Key, strength: f64, moment: &Moment<'_>) -> u32 {
    let place = (key.family, key.provider.clone());
    let others = crowd.partial.get(&place).map_or(0, Vec::len);
    let beyond_doubt = strength >= BEYOND_DOUBT * moment.threshold;
    let needed = if beyond_doubt { LEAST_PARTIAL } else { LEAST_ALARMED };
    if others >= needed { moment.bucket } else { 0 }
}

/// Whether an alert of a tenant or of the platform explains one below it.
fn covers(above: &Key, below: &Key) -> bool {
    above.tenant == "*"
        && above.family == below.family
        && (above.provider.is_none() || above.provider == below.provider || below.campaign.is_some())
}

fn ancestors(key: &Key) -> Vec<Key> {
    let of = |tenant: &str, provider: Option<String>| Key::of(tenant, provider, key.family);
    let mut above = vec![of("*", None)];
    if key.provider.is_some() {
        above.push(of("*", key.provider.clone()));
        above.push(of(&key.tenant, None));
    }
    above
}

/// Trouble with deliveries explains missing opens and waiting mail; trouble at one provider explains the whole's echo.
fn other_explains(key: &Key, shares: &[(String, f64)], moment: &Moment<'_>) -> bool {
    // What is not seen elsewhere was at the provider that is told, which may be over it already.
    let carries = |provider: &str| {
        let elsewhere = shares.iter().filter(|(name, _)| name != provider);
        elsewhere.map(|(_, share)| share).sum::<f64>() < 0.5
    };
    moment.book.firing().any(|open| {
        let same_tenant = open.tenant == key.tenant || open.tenant == "*";
        let overlaps = (open.provider.is_none() || key.provider.is_none() || open.provider == key.provider)
            && (open.campaign.is_none() || open.campaign == key.campaign);
        let follows = matches!(key.family, Family::Engagement | Family::Queue | Family::Latency)
            && open.family == Family::Delivery;
        let echo = open.family == key.family
            && !metrics_of(key.family).is_empty()
            && key.provider.is_none()
            && open.provider.as_deref().is_some_and(carries);
        same_tenant && ((follows && overlaps) || echo)
    })
}

fn rates(name: &str, tenant: &Tenant, moment: &Moment<'_>, crowd: &mut Crowd) {
    for (family, metrics) in RATES {
        note_partial(name, tenant, family, metrics, crowd);
        let best = metrics.iter().filter_map(|&metric| strongest(tenant, metric, moment)).max_by(|a, b| {
            // Equal evidence: the first of the list is the more telling one.
            a.1.total_cmp(&b.1).then(b.0.cmp(&a.0))
        });
        match best {
            Some((metric, _)) => crowd.candidates.push(candidate(name, tenant, family, metric, moment)),
            None => crowd.candidates.extend(campaigns::candidate(name, tenant, (family, metrics), moment)),
        }
        keep_open(name, tenant, family, metrics, moment, crowd);
    }
}

fn note_partial(name: &str, tenant: &Tenant, family: Family, metrics: &[Metric], crowd: &mut Crowd) {
    let weighty =
        |node: &Node| metrics.iter().any(|&metric| f64::from(node.strongest(metric).strength) >= PARTIAL);
    if weighty(&tenant.whole) {
        crowd.partial.entry((family, None)).or_default().push(name.to_owned());
    }
    for (provider, node) in &tenant.providers {
        if weighty(node) {
            crowd.partial.entry((family, Some(provider.clone()))).or_default().push(name.to_owned());
        }
    }
}

/// The strongest signal of a metric over a tenant's series.
fn strongest(tenant: &Tenant, metric: Metric, moment: &Moment<'_>) -> Option<(Metric, f32)> {
    let nodes = tenant.providers.iter().map(|(_, node)| node).chain([&tenant.whole]);
    let signals = nodes.filter_map(|node| node.signal(metric, moment.now, moment.threshold));
    signals.map(|evidence| (metric, evidence.strength)).max_by(|a, b| a.1.total_cmp(&b.1))
}

/// The series that speaks for a tenant: the provider that carries most of the excess, or the whole.
fn candidate(name: &str, tenant: &Tenant, family: Family, metric: Metric, moment: &Moment<'_>) -> Candidate {
    let shares = cause::providers(tenant, metric);
    let alone = tenant.providers.len() < 2;
    let place = shares
        .first()
        .filter(|(_, share)| *share > cause::MOST && !alone)
        .map(|(provider, _)| provider.clone());
    let at = place.as_ref().and_then(|place| tenant.providers.iter().find(|(provider, _)| provider == place));
    let mut node = at.map_or(&tenant.whole, |(_, node)| node);
    if node.strongest(metric).since == 0 {
        // The whole shows nothing: a provider that does speaks with its own numbers.
        let nodes = tenant.providers.iter().map(|(_, node)| node);
        let strongest =
            nodes.max_by(|a, b| a.strongest(metric).strength.total_cmp(&b.strongest(metric).strength));
        node = strongest.unwrap_or(node);
    }
    let evidence =
        node.signal(metric, moment.now, moment.threshold).unwrap_or_else(|| node.strongest(metric));
    let usual = f64::from(evidence.expected) / f64::from(evidence.base).max(1.0);
    let mut causes = if alone { Vec::new() } else { cause::causes("provider", &shares) };
    causes.extend(cause::causes("campaign", &cause::campaigns(tenant, metric, usual)));
    causes.sort_by(|a, b| b.share.total_cmp(&a.share));
    let facts =
        report::rate(node, metric, &evidence, moment.end(), &report::place(name, place.as_deref()), causes);
    let key = Key::of(name, place, family);
    let campaigns = campaigns::carriers(tenant, metric, &evidence);
    Candidate { key, facts, strength: evidence.strength.into(), shares, campaigns }
}

/// Delivery time: the one provider that is slow, or the whole.
fn slow(name: &str, tenant: &Tenant, moment: &Moment<'_>, crowd: &mut Crowd) {
    let weighty: Vec<&(String, Node)> =
        tenant.providers.iter().filter(|(_, node)| f64::from(node.latency.strength) > PARTIAL).collect();
    for (provider, _) in &weighty {
        crowd.partial.entry((Family::Latency, Some(provider.clone()))).or_default().push(name.to_owned());
    }
    let strong: Vec<&&(String, Node)> =
        weighty.iter().filter(|(_, node)| node.latency.signal(moment.threshold).is_some()).collect();
    let one = match strong.as_slice() {
        [one] if weighty.len() == 1 && tenant.providers.len() > 1 => Some(**one),
        _ => None,
    };
    let provider = one.map(|(provider, _)| provider.clone());
    let node = one.map_or(&tenant.whole, |(_, node)| node);
    let key = Key::of(name, provider, Family::Latency);
    let open = moment.book.firing().find(|open| open.tenant == name && open.family == Family::Latency);
    let kept = f64::from(node.latency.strength) > KEEP_SHARE * moment.threshold;
    let found = node
        .latency
        .signal(moment.threshold)
        .or_else(|| if open.is_some() && kept { node.latency.signal(0.0) } else { None });
    let Some((seen, expected, deliveries)) = found else { return };
    // One slow time is one alert, wherever it was seen first.
    let key = open.cloned().unwrap_or(key);
    let place = report::place(name, key.provider.as_deref());
    let facts = report::latency(seen, expected, deliveries, node.latency.since, moment.end(), &place);
    crowd.candidates.push(Candidate::of(key, facts));
}

/// An open alert stays open while its own series has evidence left.
fn keep_open(
    name: &str,
    tenant: &Tenant,
    family: Family,
    metrics: &[Metric],
    moment: &Moment<'_>,
    crowd: &mut Crowd,
) {
    let at = |provider, campaign, node| (Place { provider, campaign }, node);
    let providers = tenant.providers.iter().map(|(name, node)| at(Some(name.clone()), None, node));
    let campaigns = tenant.regulars.series.iter();
    let campaigns = campaigns.map(|(name, node)| at(None, Some(name.clone()), node));
    for (place, node) in [at(None, None, &tenant.whole)].into_iter().chain(providers).chain(campaigns) {
        let key = Key::at(name, place.clone(), family);
        let mut known = crowd.candidates.iter().rev().take_while(|known| known.key.tenant == name);
        if !moment.book.is_firing(&key) || known.any(|known| known.key == key) {
            continue;
        }
        let kept = metrics.iter().map(|&metric| (metric, node.strongest(metric)));
        let kept = kept
            .filter(|(_, evidence)| moment.keeps(evidence))
            .max_by(|a, b| a.1.strength.total_cmp(&b.1.strength));
        let Some((metric, evidence)) = kept else { continue };
        let causes = match &place.campaign {
            Some(_) => cause::causes("campaign", &cause::regulars(tenant, metric)),
            None => cause::causes("provider", &cause::providers(tenant, metric)),
        };
        let words = report::part(name, &place);
        let facts = report::rate(node, metric, &evidence, moment.end(), &words, causes);
        crowd.candidates.push(Candidate::of(key, facts));
    }
}

fn volume(name: &str, tenant: &Tenant, moment: &Moment<'_>, crowd: &mut Crowd) {
    let place = report::place(name, None);
    let key = Key::of(name, None, Family::Volume);
    let signal = tenant.volume.signal(moment.now, moment.bucket, moment.threshold);
    let kept = || {
        let evidence = tenant
            .volume
            .falls
            .iter()
            .map(|e| (e, true))
            .chain(tenant.volume.rises.iter().map(|e| (e, false)));
        let kept = evidence.filter(|(evidence, _)| moment.keeps(evidence));
        kept.max_by(|a, b| a.0.strength.total_cmp(&b.0.strength)).map(|(evidence, falls)| (*evidence, falls))
    };
    let found = match signal {
        Some(signal) => Some((signal.evidence, signal.falls)),
        None if moment.book.is_firing(&key) => kept(),
        None => None,
    };
    if let Some((evidence, falls)) = found {
        if falls {
            crowd.partial.entry((Family::Volume, None)).or_default().push(name.to_owned());
        }
        let facts = report::volume(&evidence, falls, moment.end(), &place);
        crowd.candidates.push(Candidate::of(key.clone(), facts));
    }
    // A queue has to grow threefold before it is told.
    let queue = tenant.queue.signal(moment.threshold).filter(|(seen, expected, _)| *seen > 3.0 * expected);
    let key = Key { family: Family::Queue, ..key };
    let kept =
        moment.book.is_firing(&key) && f64::from(tenant.queue.strength) > KEEP_SHARE * moment.threshold;
    let queue = queue.or_else(|| if kept { tenant.queue.signal(0.0) } else { None });
    if let Some((seen, expected, _)) = queue {
        let facts = report::queue(seen - 20.0, expected - 20.0, tenant.queue.since, moment.end(), &place);
        crowd.candidates.push(Candidate::of(key, facts));
    }
}

fn declines(name: &str, tenant: &Tenant, moment: &Moment<'_>, verdicts: &mut Vec<Verdict>) {
    const FAMILIES: [Family; 3] =
        [Family::DeliveryDecline, Family::EngagementDecline, Family::ComplaintDecline];
    for ((metric, family), index) in DECLINES.into_iter().zip(FAMILIES).zip(0..) {
        let found = |node: &Node| {
            tenant::declines(node).find(|(at, _)| *at == index).and_then(|(_, decline)| decline.found)
        };
        let at: Vec<(String, f64)> = tenant
            .providers
            .iter()
            .filter_map(|(provider, node)| {
                found(node).map(|creep| (provider.clone(), (creep.to - creep.from).abs() * creep.base))
            })
            .collect();
        let whole = found(&tenant.whole);
        if whole.is_none() && at.is_empty() {
            continue;
        }
        // One provider of several declines, and no other: it is the place.
        let place = match at.as_slice() {
            [(provider, _)] if tenant.providers.len() > 1 => Some(provider.clone()),
            _ => None,
        };
        let place = if place.is_none() && whole.is_none() {
            at.first().map(|(provider, _)| provider.clone())
        } else {
            place
        };
        let node = tenant.providers.iter().find(|(provider, _)| Some(provider) == place.as_ref());
        let Some(creep) = node.map_or(whole, |(_, node)| found(node)) else { continue };
        let open = |provider: Option<String>| Key::of(name, provider, family);
        // An alert that is open goes on where it began, so that one decline is one alert.
        let key = moment
            .book
            .firing()
            .find(|key| key.tenant == name && key.family == family)
            .cloned()
            .unwrap_or_else(|| open(place));
        let causes = cause::causes("provider", &cause::shares(at));
        let words = report::place(name, key.provider.as_deref());
        let facts = report::decline(metric, &creep, moment.end(), &words, causes);
        verdicts.push(Verdict { key, facts, hold: 0 });
    }
}

/// Trouble that many tenants share: one verdict for a provider, or for everything.
fn platform_verdicts(
    crowd: &Crowd,
    whole: &Node,
    providers: &BTreeMap<String, Node>,
    moment: &Moment<'_>,
) -> Vec<Verdict> {
    let mut alarmed: BTreeMap<(Family, Option<String>), Vec<&Candidate>> = BTreeMap::new();
    for candidate in crowd.candidates.iter().filter(|candidate| candidate.key.campaign.is_none()) {
        let key = &candidate.key;
        alarmed.entry((key.family, key.provider.clone())).or_default().push(candidate);
    }
    let mut verdicts: Vec<Verdict> = Vec::new();
    for ((family, provider), candidates) in &alarmed {
        let partial = crowd.partial.get(&(*family, provider.clone())).map_or(0, Vec::len);
        let key = Key::of("*", provider.clone(), *family);
        let firing = moment.book.is_firing(&key);
        let enough = match provider {
            Some(_) => candidates.len() >= LEAST_ALARMED && partial >= LEAST_PARTIAL,
            None => candidates.len() >= LEAST_PARTIAL && partial * 5 >= crowd.active,
        };
        let own = provider.as_ref().map_or(Some(whole), |provider| providers.get(provider));
        let share = if firing { KEEP_SHARE } else { MOVES_SHARE };
        let moved = own.is_some_and(|node| moves(node, *family, share * moment.threshold));
        if !(moved && (enough || (firing && candidates.len() >= LEAST_ALARMED))) {
            continue;
        }
        if let Some(facts) = shared_facts(candidates, *family, provider.as_deref(), whole, providers, moment)
        {
            verdicts.push(Verdict { key, facts, hold: 0 });
        }
    }
    verdicts
}

/// Whether the sum over all tenants moves too: weak evidence here and there is chance, not one cause.
fn moves(node: &Node, family: Family, least: f64) -> bool {
    let Some((_, metrics)) = RATES.iter().find(|(known, _)| *known == family) else {
        return family != Family::Latency || f64::from(node.latency.strength) >= least;
    };
    metrics.iter().any(|&metric| f64::from(node.strongest(metric).strength) >= least)
}

/// The numbers of trouble that tenants share: the provider's own series, or the sum of what they lost.
fn shared_facts(
    candidates: &[&Candidate],
    family: Family,
    provider: Option<&str>,
    whole: &Node,
    providers: &BTreeMap<String, Node>,
    moment: &Moment<'_>,
) -> Option<Facts> {
    let node = provider.map_or(Some(whole), |provider| providers.get(provider))?;
    let first = candidates.first()?;
    let words = report::place("*", provider);
    let lost = candidates.iter().map(|candidate| {
        let facts = &candidate.facts;
        let usual = facts.expected.map_or(0.0, |[low, high]| f64::midpoint(low, high));
        (candidate.key.tenant.clone(), (facts.value - usual).abs() * facts.denominator.unwrap_or(1.0))
    });
    let mut causes = Vec::new();
    if let Some(provider) = provider {
        causes.extend(cause::causes("provider", &[(provider.to_owned(), 1.0)]));
    }
    causes.extend(cause::causes("tenant", &cause::shares(lost.collect())));
    let metrics = metrics_of(family);
    let strongest = metrics.iter().map(|&metric| (metric, node.strongest(metric)));
    let strongest = strongest.max_by(|a, b| a.1.strength.total_cmp(&b.1.strength).then(b.0.cmp(&a.0)));
    match strongest {
        Some((metric, evidence)) if f64::from(evidence.strength) >= PARTIAL => {
            Some(report::rate(node, metric, &evidence, moment.end(), &words, causes))
        }
        _ => {
            let started = candidates.iter().map(|candidate| candidate.facts.started).min()?;
            let summary = format!(
                "{} tenants are in the same trouble {words}: {}",
                candidates.len(),
                first.facts.summary
            );
            Some(Facts { started, summary, cause: causes, ..first.facts.clone() })
        }
    }
}

/// Rates whose evidence an alert of this family stands for.
pub(crate) fn metrics_of(family: Family) -> &'static [Metric] {
    RATES.iter().find(|(known, _)| *known == family).map_or(&[], |(_, metrics)| *metrics)
}
