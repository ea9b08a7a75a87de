//! Collects what outcomes reveal about the providers of domains that are not fixed, per tenant.
//!
//! An answer is searched only until a domain has enough of them in this batch, so the cost per batch is bounded by the number of its
//! domains. Nothing of an answer is kept except the provider that it names.

use event::provider::evidence::ProviderEvidence;
use event::provider::learned::LearnedProviders;
use rapidhash::fast::RandomState;
use smallvec::SmallVec;

use super::interner::{Interner, push_part};

/// The outcomes of one domain that are searched in one batch: a full lead, so that more of them would teach nothing.
const ENOUGH: u32 = LearnedProviders::MAX_LEAD as u32;

/// Evidence by tenant and domain.
#[derive(Debug, Default)]
pub(super) struct EvidenceCollector {
    /// Pairs of tenant and domain.
    domains: Interner,
    /// How many outcomes named each provider, by the number of the pair.
    counts: Vec<SmallVec<[(&'static str, u32); 1]>>,
    scratch: Vec<u8>,
}

impl EvidenceCollector {
    /// Takes in what one outcome revealed. `tenant` is empty if tenants are not kept apart.
    pub(super) fn collect(
        &mut self,
        hasher: RandomState,
        tenant: &str,
        domain: &str,
        evidence: &ProviderEvidence<'_>,
    ) {
        if matches!(evidence, ProviderEvidence::Absent) {
            return;
        }
        let number = self.number(hasher, tenant, domain);
        let is_enough = |counts: &[(&str, u32)]| counts.iter().map(|(_, count)| count).sum::<u32>() >= ENOUGH;
        let Some(counts) = self.counts.get_mut(number).filter(|counts| !is_enough(counts)) else { return };
        if let Some(provider) = evidence.provider() {
            add(counts, provider, 1);
        }
    }

    /// Adds all evidence of `other`.
    pub(super) fn merge(&mut self, hasher: RandomState, other: &Self) {
        let numbers = self.domains.merge(hasher, &other.domains);
        self.counts.resize_with(self.domains.len(), SmallVec::new);
        for (number, theirs) in numbers.into_iter().zip(&other.counts) {
            let Some(counts) = self.counts.get_mut(number as usize) else { continue };
            for (provider, count) in theirs {
                add(counts, provider, *count);
            }
        }
    }

    /// Tenant, domain, provider and count of everything collected.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str, &'static str, u32)> {
        self.domains.iter().zip(&self.counts).flat_map(|(mut parts, counts)| {
            let (tenant, domain) = (parts.next_part(), parts.next_part());
            counts.iter().map(move |(provider, count)| (tenant, domain, *provider, *count))
        })
    }

    fn number(&mut self, hasher: RandomState, tenant: &str, domain: &str) -> usize {
        self.scratch.clear();
        push_part(&mut self.scratch, tenant);
        push_part(&mut self.scratch, domain);
        let (number, is_new) = self.domains.intern(hasher, &self.scratch);
        if is_new {
            self.counts.push(SmallVec::new());
        }
        number as usize
    }
}

fn add(counts: &mut SmallVec<[(&'static str, u32); 1]>, provider: &'static str, count: u32) {
    match counts.iter_mut().find(|(known, _)| *known == provider) {
        Some((_, held)) => *held = held.saturating_add(count),
        None => counts.push((provider, count)),
    }
}
