//! How far back a shard recognises duplicates, as its checkpoint states it for readers.

use event::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::codec;

/// Since when a shard remembers the events that it counted, without a gap. A duplicate of an older event is counted again.
///
/// A bound for each of the [`DeduplicationReach::MAX_TENANTS`] tenants of which events were forgotten last, and one for all others:
/// a checkpoint stays a few hundred bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeduplicationReach {
    #[serde(with = "codec::option")]
    others: Option<Timestamp>,
    tenants: Vec<TenantReach>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct TenantReach {
    /// A hash of the name, which is always as short.
    #[serde(with = "postcard::fixint::le")]
    tenant: u64,
    #[serde(with = "codec::form")]
    since: Timestamp,
}

impl DeduplicationReach {
    const MAX_TENANTS: usize = 16;

    /// The bounds of `tenants`, and of all others.
    pub(in crate::ledger) fn new<'t>(
        others: Option<Timestamp>,
        tenants: impl Iterator<Item = (&'t TenantId, Timestamp)>,
    ) -> Self {
        let mut newest: Vec<(Timestamp, &TenantId)> =
            tenants.map(|(tenant, since)| (since, tenant)).collect();
        newest.sort_unstable_by(|a, b| b.cmp(a));
        let rest = newest.split_off(newest.len().min(Self::MAX_TENANTS));
        // The newest of the rest, which is later than most of them need: a bound may be too cautious and never too bold.
        let others = others.max(rest.first().map(|(since, _)| *since));
        let tenants = newest.into_iter().map(|(since, tenant)| TenantReach {
            tenant: hash(tenant),
            since: others.map_or(since, |others| since.max(others)),
        });
        Self { others, tenants: tenants.collect() }
    }

    /// The bound for a tenant. `None` if none of its events was forgotten.
    pub fn of(&self, tenant: &TenantId) -> Option<Timestamp> {
        let hash = hash(tenant);
        let own = self.tenants.iter().find(|reach| reach.tenant == hash);
        own.map_or(self.others, |own| Some(own.since))
    }

    /// The bound that holds for every tenant.
    pub fn of_all(&self) -> Option<Timestamp> {
        self.tenants.iter().map(|reach| reach.since).max().max(self.others)
    }
}

fn hash(tenant: &TenantId) -> u64 {
    let hash = Sha256::digest(tenant.as_str());
    let bytes = hash.first_chunk().copied();
    u64::from_le_bytes(event::invariant::or_broken(bytes, [0; 8], "a SHA-256 hash of less than 8 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_bounds_are_stated_by_tenant_and_the_next_one_holds_for_all_others() {
        let tenants: Vec<TenantId> =
            (0..20).map(|number| TenantId::new(&format!("tenant-{number}")).unwrap()).collect();
        let at = |number: usize| Timestamp::from_seconds(i64::try_from(number).unwrap());
        let stated = |others| {
            DeduplicationReach::new(others, tenants.iter().enumerate().map(|(n, tenant)| (tenant, at(n))))
        };
        let reach = stated(None);
        for (number, tenant) in tenants.iter().enumerate() {
            assert_eq!(reach.of(tenant), Some(at(number.max(3))), "{tenant}");
        }
        assert_eq!(reach.of(&TenantId::new("other").unwrap()), Some(at(3)));
        assert_eq!(reach.of_all(), Some(at(19)));
        // What holds for all holds for those that are named, too.
        assert_eq!(stated(Some(at(15))).of(&tenants[10]), Some(at(15)));
        assert_eq!(DeduplicationReach::default().of_all(), None);
    }
}
