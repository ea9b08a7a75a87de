//! Stores what outcomes taught about the providers of domains: one table per tenant, and the table that all tenants share in parts.
//!
//! Compaction is the only writer. It takes the evidence out of the deltas that it merges, so evidence is learned once, or again if a
//! compaction fails afterwards, which changes little because leads are capped. A tenant's readers need the tenant's table only: what
//! the shared table knows about its domains is adopted into it.

use std::collections::{BTreeMap, BTreeSet};

use cells::BlockReader;
use event::TenantId;
use event::provider::learned::{EvidenceCounts, LearnedDomain, LearnedProviders, SharedProviders};
use sha2::{Digest as _, Sha256};

use crate::codec::StoredRecord;
use crate::layout;
use crate::ports::{Range, Store};
use crate::stored::{self, ChangeError, ReadError};

impl StoredRecord for LearnedProviders {
    const NAME: &'static str = "learned providers";
    const FORMAT: u8 = 3;
}

impl StoredRecord for SharedProviders {
    const NAME: &'static str = "shared providers";
    const FORMAT: u8 = 3;
}

/// Reads what a tenant's readers need to know.
pub async fn read<S: Store>(store: &S, tenant: &TenantId) -> Result<LearnedProviders, ReadError> {
    Ok(stored::get(store, layout::learned_providers(tenant)).await?.record)
}

/// Learns from evidence, and adopts from the shared table what it knows about `unresolved` domains. Returns the tenant's table.
///
/// Evidence that other writers crowd out is dropped: the next outcomes bring more of it.
pub async fn learn<S: Store>(
    store: &S,
    tenant: &TenantId,
    evidence: &EvidenceCounts,
    unresolved: &BTreeSet<String>,
) -> Result<LearnedProviders, ReadError> {
    let mut own = read(store, tenant).await?;
    let news = own.learn(evidence);
    let adopted = adoptable(store, &own, unresolved).await?;
    let key = layout::learned_providers(tenant);
    let change = |stored: Option<&LearnedProviders>| {
        // From what is stored now: another compaction may have learned meanwhile.
        let before = stored.cloned().unwrap_or_default();
        let mut after = before.clone();
        after.learn(evidence);
        for (domain, provider) in &adopted {
            after.adopt(domain, provider);
        }
        (after != before).then_some(after)
    };
    match stored::change(store, &key, None, change).await {
        Ok(stored) => own = stored.unwrap_or_default(),
        Err(ChangeError::Read(error)) => return Err(error),
        Err(error @ ChangeError::Contended(_)) => {
            tracing::warn!(%tenant, %error, "evidence about mailbox providers is dropped");
        }
    }
    vote(store, tenant, &news).await?;
    Ok(own)
}

/// What the shared table knows about those domains that the tenant does not know itself.
async fn adoptable<S: Store>(
    store: &S,
    own: &LearnedProviders,
    unresolved: &BTreeSet<String>,
) -> Result<Vec<(String, &'static str)>, ReadError> {
    let mut by_part: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for domain in unresolved.iter().filter(|domain| own.get(domain).is_none()) {
        by_part.entry(SharedProviders::part_of(domain)).or_default().push(domain);
    }
    let keys: Vec<_> = by_part.keys().map(|part| layout::shared_providers(*part)).collect();
    let mut adoptable = Vec::new();
    if keys.is_empty() {
        return Ok(adoptable);
    }
    let found = store.get(keys).await?;
    for (domains, item) in by_part.values().zip(found) {
        let Some(item) = item else { continue };
        let shared: SharedProviders = stored::decode(&item)?;
        adoptable
            .extend(domains.iter().filter_map(|domain| Some(((*domain).to_owned(), shared.get(domain)?))));
    }
    Ok(adoptable)
}

/// Casts the tenant's votes in the shared table for what it learned.
async fn vote<S: Store>(store: &S, tenant: &TenantId, news: &[LearnedDomain]) -> Result<(), ReadError> {
    if news.is_empty() {
        return Ok(());
    }
    let mut by_part: BTreeMap<u32, Vec<&LearnedDomain>> = BTreeMap::new();
    for learned in news {
        by_part.entry(SharedProviders::part_of(&learned.domain)).or_default().push(learned);
    }
    // Two entries are enough to know that the tenant is not the only one.
    let first_two = Range { limit: 2, ..layout::whole(layout::TENANTS) };
    let is_only_tenant = store.range(first_two).await?.items.len() <= 1;
    let voter = voter(tenant);
    for (part, news) in by_part {
        let change = |stored: Option<&SharedProviders>| {
            let mut shared = stored.cloned().unwrap_or_default();
            shared.vote(voter, is_only_tenant, news.iter().copied()).then_some(shared)
        };
        match stored::change(store, &layout::shared_providers(part), None, change).await {
            Ok(_) => {}
            Err(ChangeError::Read(error)) => return Err(error),
            // Not an error: a vote is a hint for other tenants, and this tenant's own table has it.
            Err(error @ ChangeError::Contended(_)) => {
                tracing::warn!(%tenant, %error, "a vote about mailbox providers is dropped");
            }
        }
    }
    Ok(())
}

/// What stands for a tenant in the shared table, which other tenants' data is stored in too: a hash instead of its name.
fn voter(tenant: &TenantId) -> u32 {
    let hash = Sha256::digest(tenant.as_str());
    let bytes = event::invariant::or_broken(
        hash.first_chunk().copied(),
        [0; 4],
        "a SHA-256 hash of less than 4 bytes",
    );
    u32::from_le_bytes(bytes)
}

/// The tenant's table as it will be once the evidence in these deltas is learned. Deltas that cannot be read teach nothing here; whoever
/// counts their rows reports them.
pub(crate) fn with_evidence_of<'d>(
    mut own: LearnedProviders,
    deltas: impl Iterator<Item = &'d [u8]>,
) -> LearnedProviders {
    let mut evidence = EvidenceCounts::default();
    for delta in deltas {
        if let Ok(of_delta) = BlockReader::evidence_of(delta) {
            evidence.merge(&of_delta);
        }
    }
    own.learn(&evidence);
    own
}

#[cfg(test)]
mod tests;
