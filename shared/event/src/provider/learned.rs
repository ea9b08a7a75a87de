//! Learns who runs the domains that are not fixed, from the evidence that outcomes bring.
//!
//! ```text
//! outcomes ─▶ EvidenceCounts ─▶ TenantProviders  (one per tenant) ──────────┐
//!                                    └▶ SharedProviders (all tenants) ──────┴▶ KnownProviders ─▶ readers
//! ```
//!
//! Evidence is text of recipients' servers, and whoever holds an ingest key can invent it. Three rules bound the damage: fixed domains
//! are never learned, a tenant's own evidence wins for that tenant, and the shared table takes a domain only after two tenants agree
//! (or after [`SharedProviders::MESSAGES_OF_ONE_TENANT`] messages where there is one tenant only). So one tenant cannot change the
//! numbers of another.

use std::collections::BTreeMap;

use compact_str::CompactString;
use hashbrown::HashMap;
use rapidhash::fast::RandomState;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::{OTHER, by_slug, unresolved_domain};

/// How many outcomes for a domain named each provider.
///
/// Merging adds, so it is associative and commutative.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EvidenceCounts {
    counts: BTreeMap<CompactString, SmallVec<[(CompactString, u32); 1]>>,
}

impl EvidenceCounts {
    /// The most domains whose evidence one block keeps. What is left out comes again with the next outcomes.
    pub const MAX_DOMAINS: usize = 2_000;

    /// Whether there is no evidence at all.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Adds `count` outcomes for `domain` that named `provider`. Counts saturate.
    pub fn add(&mut self, domain: &str, provider: &str, count: u32) {
        let counts = self.counts.entry(CompactString::new(domain)).or_default();
        // Sorted by provider, so that equal evidence is equal however it was merged.
        match counts.binary_search_by(|(known, _)| known.as_str().cmp(provider)) {
            Ok(position) => {
                if let Some((_, held)) = counts.get_mut(position) {
                    *held = held.saturating_add(count);
                }
            }
            Err(position) => counts.insert(position, (CompactString::new(provider), count)),
        }
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (domain, provider, count) in other.iter() {
            self.add(domain, provider, count);
        }
    }

    /// Domain, provider and count, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, u32)> {
        self.counts.iter().flat_map(|(domain, counts)| {
            counts.iter().map(move |(provider, count)| (domain.as_str(), provider.as_str(), *count))
        })
    }

    /// Keeps the [`EvidenceCounts::MAX_DOMAINS`] domains with the most evidence.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        if self.counts.len() > Self::MAX_DOMAINS {
            let size = |counts: &[(CompactString, u32)]| {
                counts.iter().map(|(_, count)| u64::from(*count)).sum::<u64>()
            };
            let mut ranked: Vec<(u64, CompactString)> =
                self.counts.iter().map(|(domain, counts)| (size(counts), domain.clone())).collect();
            ranked.sort_unstable_by(|(a, one), (b, other)| b.cmp(a).then_with(|| one.cmp(other)));
            for (_, domain) in ranked.drain(Self::MAX_DOMAINS..) {
                self.counts.remove(&domain);
            }
        }
        self
    }

    /// For each domain the provider named most often, and by how many outcomes it leads all others together. Domains without such a
    /// majority, and providers unknown to this version, are left out.
    fn majorities(&self) -> impl Iterator<Item = (&str, &'static str, u32)> {
        self.counts.iter().filter_map(|(domain, counts)| {
            let (provider, most) = counts.iter().max_by_key(|(_, count)| *count)?;
            let all = counts.iter().fold(0_u32, |sum, (_, count)| sum.saturating_add(*count));
            let lead = most.saturating_sub(all - most);
            Some((domain.as_str(), by_slug(provider)?.slug, lead)).filter(|_| lead > 0)
        })
    }
}

/// The provider of a domain by the evidence of one tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Leader {
    provider: String,
    /// By how many outcomes it leads, at most [`TenantProviders::MAX_LEAD`].
    lead: u8,
}

/// What one tenant's outcomes taught about domains.
///
/// It keeps one provider per domain and by how much it leads, as a majority vote in constant memory does. The lead is capped, so a
/// domain that moves to another provider follows after a few outcomes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantProviders {
    leaders: BTreeMap<String, Leader>,
}

/// A domain whose provider became known or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnedDomain {
    /// The domain.
    pub domain: CompactString,
    /// The slug of its provider.
    pub provider: &'static str,
    /// The number of outcomes that named it.
    pub outcomes: u32,
}

impl TenantProviders {
    /// The most domains that are remembered per tenant: with their names, about 300 KB before compression.
    pub const MAX_DOMAINS: usize = 12_000;
    /// The largest lead.
    pub const MAX_LEAD: u8 = 16;

    /// Takes evidence in. Returns the domains whose provider is new or another one now, or whose lead has just reached what the shared
    /// table needs of one tenant.
    pub fn learn(&mut self, evidence: &EvidenceCounts) -> Vec<LearnedDomain> {
        let mut learned = Vec::new();
        for (domain, provider, lead) in evidence.majorities() {
            let lead = u8::try_from(lead).map_or(Self::MAX_LEAD, |lead| lead.min(Self::MAX_LEAD));
            let held = self.leaders.get_mut(domain);
            let (is_news, outcomes) = match held {
                Some(held) if held.provider == provider => {
                    let before = held.lead;
                    held.lead = held.lead.saturating_add(lead).min(Self::MAX_LEAD);
                    let needed = SharedProviders::MESSAGES_OF_ONE_TENANT;
                    (before < needed && held.lead >= needed, held.lead)
                }
                Some(held) if held.lead >= lead => {
                    held.lead -= lead;
                    (false, 0)
                }
                Some(held) => {
                    *held = Leader { provider: provider.to_owned(), lead: lead - held.lead };
                    (true, held.lead)
                }
                None => {
                    let leader = Leader { provider: provider.to_owned(), lead };
                    self.leaders.insert(domain.to_owned(), leader);
                    (true, lead)
                }
            };
            if is_news {
                let outcomes = u32::from(outcomes);
                learned.push(LearnedDomain { domain: CompactString::new(domain), provider, outcomes });
            }
        }
        self.bound();
        learned
    }

    /// The slug of the provider of `domain`, if it is known.
    pub fn get(&self, domain: &str) -> Option<&'static str> {
        by_slug(&self.leaders.get(domain)?.provider).map(|provider| provider.slug)
    }

    /// Forgets the domains with the smallest lead where there are more than [`TenantProviders::MAX_DOMAINS`].
    fn bound(&mut self) {
        let excess = self.leaders.len().saturating_sub(Self::MAX_DOMAINS);
        if excess == 0 {
            return;
        }
        // By name among equals, so that the same evidence forgets the same domains everywhere.
        let mut ranked: Vec<(u8, String)> =
            self.leaders.iter().map(|(domain, leader)| (leader.lead, domain.clone())).collect();
        ranked.sort_unstable();
        for (_, domain) in ranked.drain(..excess) {
            self.leaders.remove(&domain);
        }
    }
}

/// One provider that tenants named for a domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Candidate {
    provider: String,
    /// Hashes of the tenants that named it, at most [`SharedProviders::MAX_VOTERS`].
    voters: Vec<u32>,
    /// The most outcomes that one of them had.
    outcomes: u32,
}

/// What the tenants together taught about a part of all domains.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedProviders {
    candidates: BTreeMap<String, Vec<Candidate>>,
}

impl SharedProviders {
    /// The number of parts, each stored by itself.
    pub const PARTS: u32 = 32;
    /// The most domains in one part.
    pub const MAX_DOMAINS: usize = 8_000;
    /// The outcomes after which the table takes a domain where there is only one tenant.
    pub const MESSAGES_OF_ONE_TENANT: u8 = 3;
    /// The voters that are remembered of a provider. A domain that moves needs as many others to follow.
    const MAX_VOTERS: usize = 4;

    /// The part that a domain belongs to.
    pub fn part_of(domain: &str) -> u32 {
        // FNV-1a: it must never change, because parts are stored, and it need not resist an attacker, who could only fill one part.
        let hash = domain
            .bytes()
            .fold(0x811C_9DC5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        (hash ^ hash >> 16) % Self::PARTS
    }

    /// Records that the tenant with the hash `voter` now sees these domains at these providers. Returns whether anything changed.
    pub fn vote<'l>(&mut self, voter: u32, learned: impl IntoIterator<Item = &'l LearnedDomain>) -> bool {
        let before = self.clone();
        for LearnedDomain { domain, provider, outcomes } in learned {
            let candidates = self.candidates.entry(domain.to_string()).or_default();
            // A tenant has one vote: it leaves the provider that it named before.
            for candidate in candidates.iter_mut().filter(|candidate| candidate.provider != *provider) {
                candidate.voters.retain(|known| *known != voter);
            }
            candidates.retain(|candidate| candidate.provider == *provider || !candidate.voters.is_empty());
            let position = candidates.iter().position(|candidate| candidate.provider == *provider);
            let position = position.unwrap_or_else(|| {
                candidates.push(Candidate {
                    provider: (*provider).to_owned(),
                    voters: Vec::new(),
                    outcomes: 0,
                });
                candidates.len() - 1
            });
            if let Some(candidate) = candidates.get_mut(position) {
                if !candidate.voters.contains(&voter) && candidate.voters.len() < Self::MAX_VOTERS {
                    candidate.voters.push(voter);
                }
                candidate.outcomes = candidate.outcomes.max(*outcomes);
            }
            // The candidate with the most voters first; among equals the one that came first stays, so that nobody can displace a
            // provider with as many votes as it has.
            candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.voters.len()));
        }
        self.bound();
        *self != before
    }

    /// The slug of the provider of `domain`, if enough tenants agree. `is_only_tenant` says that there is one tenant in all.
    pub fn get(&self, domain: &str, is_only_tenant: bool) -> Option<&'static str> {
        let first = self.candidates.get(domain)?.first()?;
        let is_enough = first.voters.len() >= 2
            || (is_only_tenant && first.outcomes >= u32::from(Self::MESSAGES_OF_ONE_TENANT));
        by_slug(&first.provider).filter(|_| is_enough).map(|provider| provider.slug)
    }

    /// Forgets domains with a single voter first, in the order of their names: one tenant can invent any number of them.
    fn bound(&mut self) {
        let excess = self.candidates.len().saturating_sub(Self::MAX_DOMAINS);
        if excess == 0 {
            return;
        }
        let votes = |candidates: &[Candidate]| {
            candidates.iter().map(|candidate| candidate.voters.len()).sum::<usize>()
        };
        let mut ranked: Vec<(usize, String)> =
            self.candidates.iter().map(|(domain, candidates)| (votes(candidates), domain.clone())).collect();
        ranked.sort_unstable();
        for (_, domain) in ranked.drain(..excess) {
            self.candidates.remove(&domain);
        }
    }
}

/// The providers of domains that are not fixed, as far as one reader knows them.
#[derive(Clone, Debug, Default)]
pub struct KnownProviders {
    by_domain: HashMap<CompactString, &'static str, RandomState>,
}

impl KnownProviders {
    /// Knows that `provider` runs `domain`. What is inserted later wins.
    pub fn insert(&mut self, domain: &str, provider: &'static str) {
        self.by_domain.insert(CompactString::new(domain), provider);
    }

    /// The number of domains.
    pub fn len(&self) -> usize {
        self.by_domain.len()
    }

    /// Whether no domain is known.
    pub fn is_empty(&self) -> bool {
        self.by_domain.is_empty()
    }

    /// The provider that a stored value stands for: [`OTHER`] for the marker of a domain that is not known, and the value itself if it
    /// is not a marker.
    pub fn resolve<'v>(&self, value: &'v str) -> &'v str {
        match unresolved_domain(value) {
            Some(domain) => self.by_domain.get(domain).copied().unwrap_or(OTHER),
            None => value,
        }
    }

    /// Like [`KnownProviders::resolve`], but the marker of a domain that is not known stays: it may become known later.
    pub fn resolve_known<'v>(&self, value: &'v str) -> &'v str {
        match unresolved_domain(value) {
            Some(domain) => self.by_domain.get(domain).copied().unwrap_or(value),
            None => value,
        }
    }
}

#[cfg(test)]
mod tests;
