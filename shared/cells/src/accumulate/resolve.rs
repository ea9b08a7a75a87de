//! Replaces unresolved domains in rows with the providers that the evidence of all events names, once everything is counted.
//!
//! Readers of stored blocks do the same with tables that grow over time; here all evidence is at hand. Where tenants are kept apart,
//! the evidence of the row's own tenant decides before what the tenants agree on.

use event::attribution::Dimension;
use event::provider;
use event::provider::learned::{EvidenceCounts, LearnedProviders, SharedProviders};
use rapidhash::RapidHashMap;

use super::Accumulator;
use super::cell_map::CellKey;
use super::interner::{Interner, push_part};
use crate::block::index;

/// What the evidence of a whole count teaches.
struct Taught<'a> {
    by_tenant: RapidHashMap<&'a str, LearnedProviders>,
    shared: SharedProviders,
}

impl<'a> Taught<'a> {
    fn new(evidence: impl Iterator<Item = (&'a str, &'a str, &'static str, u32)>) -> Self {
        let mut counts: RapidHashMap<&str, EvidenceCounts> = RapidHashMap::default();
        for (tenant, domain, provider, count) in evidence {
            counts.entry(tenant).or_default().add(domain, provider, count);
        }
        let mut tenants: Vec<(&str, EvidenceCounts)> = counts.into_iter().collect();
        // The order of a hash map must not decide which votes come first.
        tenants.sort_unstable_by_key(|(tenant, _)| *tenant);
        let mut taught = Self { by_tenant: RapidHashMap::default(), shared: SharedProviders::default() };
        let is_only_tenant = tenants.len() <= 1;
        for (number, (tenant, evidence)) in tenants.into_iter().enumerate() {
            let mut own = LearnedProviders::default();
            let learned = own.learn(&evidence);
            taught.shared.vote(index(number), is_only_tenant, &learned);
            taught.by_tenant.insert(tenant, own);
        }
        taught
    }

    fn provider(&self, tenant: &str, domain: &str) -> &'static str {
        let own = self.by_tenant.get(tenant).and_then(|own| own.get(domain));
        own.or_else(|| self.shared.get(domain)).unwrap_or(provider::OTHER)
    }
}

impl Accumulator {
    /// Replaces the markers of domains by their providers, or by [`provider::OTHER`] where no outcome named one. Call it once, after the
    /// last event: rows of domains that turn out to share a provider are added up.
    pub fn resolve_providers(&mut self) {
        if !self.grouping.by(Dimension::Provider) {
            return;
        }
        let Self { grouping, hasher, messages, recipients, cells, evidence, .. } = self;
        // The domain that each recipient number is the marker of.
        let mut domains: Vec<Option<&str>> = Vec::with_capacity(recipients.len());
        for parts in recipients.iter() {
            let mut values = [""; Dimension::COUNT];
            grouping.read_recipient(parts, &mut values);
            domains.push(provider::unresolved_domain(values[Dimension::Provider as usize]));
        }
        if domains.iter().all(Option::is_none) {
            return;
        }
        let taught = Taught::new(evidence.iter());
        let tenants: Vec<&str> = messages.iter().map(|parts| grouping.read_message(parts).tenant).collect();
        let mut resolved = Interner::default();
        let mut joined = Vec::new();
        let mut numbers: RapidHashMap<(&str, u32), u32> = RapidHashMap::default();
        cells.rekey(*hasher, |mut key: CellKey| {
            let recipient = key.dimensions.recipient;
            let domain = domains.get(recipient as usize).copied().flatten();
            // The tenant matters for markers only.
            let tenant =
                domain.and_then(|_| tenants.get(key.dimensions.message as usize).copied()).unwrap_or("");
            key.dimensions.recipient = *numbers.entry((tenant, recipient)).or_insert_with(|| {
                let mut values = [""; Dimension::COUNT];
                grouping.read_recipient(recipients.parts(recipient), &mut values);
                joined.clear();
                if grouping.by(Dimension::RecipientDomain) {
                    push_part(&mut joined, values[Dimension::RecipientDomain as usize]);
                }
                let provider = values[Dimension::Provider as usize];
                push_part(&mut joined, domain.map_or(provider, |domain| taught.provider(tenant, domain)));
                resolved.intern(*hasher, &joined).0
            });
            key
        });
        *recipients = resolved;
        // Numbers of recipients mean other values now, and cohorts still have the markers: this is for rows alone.
        self.cohorts = None;
    }
}
