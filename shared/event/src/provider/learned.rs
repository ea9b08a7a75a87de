//! Learns who runs the domains that are not fixed, from the evidence that outcomes bring.
//!
//! ```text
//! outcomes ─▶ EvidenceCounts ─▶ LearnedProviders of the tenant ─▶ readers of its counts
//!                                   votes ▼      ▲ adopted for domains without evidence of its own
//!                               SharedProviders of all tenants
//! ```
//!
//! Evidence is text of recipients' servers, and whoever holds an ingest key can invent it. Three rules bound the damage: fixed domains
//! are never learned, a tenant's own evidence wins for that tenant, and the shared table takes a domain only after two tenants agree
//! (or after [`SharedProviders::MESSAGES_OF_ONE_TENANT`] messages while there is one tenant only). So one tenant cannot change the
//! numbers of another.

use std::collections::BTreeMap;

use compact_str::CompactString;
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
    /// By how many outcomes it leads, at most [`LearnedProviders::MAX_LEAD`]; 0 if it was adopted from the shared table.
    lead: u8,
}

/// The providers of domains that are not fixed, as far as they are known for one tenant.
///
/// It keeps one provider per domain and by how much it leads, as a majority vote in constant memory does. The lead is capped, so a
/// domain that moves to another provider follows after a few outcomes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LearnedProviders {
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

impl LearnedProviders {
    /// The most bytes of all entries together, by [`entry_bytes`], chosen to fit an item of the store: 8,000 domains of usual length.
    pub const MAX_BYTES: usize = 300 * 1024;
    /// The largest lead.
    pub const MAX_LEAD: u8 = 16;

    /// Learns from evidence. Returns the domains whose provider is proven for the first time or is another one now, or whose lead has just
    /// reached what the shared table needs of one tenant.
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
                    (before == 0 || (before < needed && held.lead >= needed), held.lead)
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

    /// Takes over a provider from the shared table, unless the tenant's own outcomes named one.
    pub fn adopt(&mut self, domain: &str, provider: &'static str) {
        if !self.leaders.contains_key(domain) {
            self.leaders.insert(domain.to_owned(), Leader { provider: provider.to_owned(), lead: 0 });
            self.bound();
        }
    }

    /// The slug of the provider of `domain`, if it is known.
    pub fn get(&self, domain: &str) -> Option<&'static str> {
        by_slug(&self.leaders.get(domain)?.provider).map(|provider| provider.slug)
    }

    /// Whether no domain is known.
    pub fn is_empty(&self) -> bool {
        self.leaders.is_empty()
    }

    /// The provider that a stored value stands for: [`OTHER`] for the marker of a domain that is not known, and the value itself if it
    /// is not a marker.
    pub fn resolve<'v>(&self, value: &'v str) -> &'v str {
        unresolved_domain(value).map_or(value, |domain| self.get(domain).unwrap_or(OTHER))
    }

    /// Like [`LearnedProviders::resolve`], but the marker of a domain that is not known stays: it may become known later.
    pub fn resolve_known<'v>(&self, value: &'v str) -> &'v str {
        unresolved_domain(value).and_then(|domain| self.get(domain)).unwrap_or(value)
    }

    /// Forgets the domains with the smallest lead where they take more than [`LearnedProviders::MAX_BYTES`].
    fn bound(&mut self) {
        let bytes = |domain: &str, leader: &Leader| entry_bytes(domain, &leader.provider);
        let mut excess = self.leaders.iter().map(|(domain, leader)| bytes(domain, leader)).sum::<usize>();
        if excess <= Self::MAX_BYTES {
            return;
        }
        // By name among equals, so that the same evidence forgets the same domains everywhere.
        let mut ranked: Vec<(u8, String)> =
            self.leaders.iter().map(|(domain, leader)| (leader.lead, domain.clone())).collect();
        ranked.sort_unstable();
        for (_, domain) in ranked {
            if excess <= Self::MAX_BYTES {
                break;
            }
            excess -= self.leaders.remove(&domain).map_or(0, |leader| bytes(&domain, &leader));
        }
    }
}

/// What an entry takes in a stored table, and a few bytes for numbers.
fn entry_bytes(domain: &str, provider: &str) -> usize {
    domain.len() + provider.len() + 8
}

/// One provider that tenants named for a domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Candidate {
    provider: String,
    /// Hashes of the tenants that named it, at most [`SharedProviders::MAX_VOTERS`].
    voters: Vec<u32>,
    /// Whether the only tenant that there was at the time proved it.
    confirmed: bool,
}

/// What the tenants together taught about a part of all domains.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedProviders {
    candidates: BTreeMap<String, Vec<Candidate>>,
}

impl SharedProviders {
    /// The number of parts, each stored by itself.
    pub const PARTS: u32 = 32;
    /// The most bytes of the entries of one part, by [`entry_bytes`].
    pub const MAX_BYTES: usize = 300 * 1024;
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

    /// Records that the tenant with the hash `voter` now sees these domains at these providers. `is_only_tenant` says that there is no
    /// other tenant at this time. Returns whether anything changed.
    pub fn vote<'l>(
        &mut self,
        voter: u32,
        is_only_tenant: bool,
        learned: impl IntoIterator<Item = &'l LearnedDomain>,
    ) -> bool {
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
                    confirmed: false,
                });
                candidates.len() - 1
            });
            if let Some(candidate) = candidates.get_mut(position) {
                if !candidate.voters.contains(&voter) && candidate.voters.len() < Self::MAX_VOTERS {
                    candidate.voters.push(voter);
                }
                candidate.confirmed |= is_only_tenant && *outcomes >= u32::from(Self::MESSAGES_OF_ONE_TENANT);
            }
            // The candidate with the most voters first; among equals the one that came first stays, so that nobody can displace a
            // provider with as many votes as it has.
            candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.voters.len()));
        }
        self.bound();
        *self != before
    }

    /// The slug of the provider of `domain`, if enough tenants agree.
    pub fn get(&self, domain: &str) -> Option<&'static str> {
        let first = self.candidates.get(domain)?.first()?;
        by_slug(&first.provider)
            .filter(|_| first.voters.len() >= 2 || first.confirmed)
            .map(|provider| provider.slug)
    }

    /// Forgets domains with a single voter first, in the order of their names: one tenant can invent any number of them.
    fn bound(&mut self) {
        let bytes = |domain: &str, candidates: &[Candidate]| {
            candidates
                .iter()
                .map(|one| entry_bytes(domain, &one.provider) + one.voters.len() * 5)
                .sum::<usize>()
        };
        let mut excess = self.candidates.iter().map(|(domain, all)| bytes(domain, all)).sum::<usize>();
        if excess <= Self::MAX_BYTES {
            return;
        }
        let votes = |all: &[Candidate]| all.iter().map(|candidate| candidate.voters.len()).sum::<usize>();
        let mut ranked: Vec<(usize, String)> =
            self.candidates.iter().map(|(domain, all)| (votes(all), domain.clone())).collect();
        ranked.sort_unstable();
        for (_, domain) in ranked {
            if excess <= Self::MAX_BYTES {
                break;
            }
            excess -= self.candidates.remove(&domain).map_or(0, |all| bytes(&domain, &all));
        }
    }
}

#[cfg(test)]
mod tests;
