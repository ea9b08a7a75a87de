//! The tenants that this process has registered, so that not every batch writes their register entries again.
//!
//! The set is valid for one erasure count only: an erasure removes a tenant's entry, and any process may still have it in its set.

use std::collections::HashSet;

use event::TenantId;

use crate::directory::tenants::ErasureCount;

/// The most tenants remembered. Beyond it the set is emptied, and their entries are written again, which changes nothing.
const MAX_TENANTS: usize = 100_000;

/// Tenants whose register entries exist, as of an erasure count.
#[derive(Clone, Debug, Default)]
pub(super) struct RegisteredTenants {
    tenants: HashSet<TenantId>,
    as_of: ErasureCount,
}

impl RegisteredTenants {
    /// Empties the set if a tenant was erased since it was filled.
    pub(super) fn update(&mut self, erasures: ErasureCount) {
        if self.as_of != erasures {
            // Any entry may be one that the erasure removed, and which one is not known here.
            self.tenants.clear();
            self.as_of = erasures;
        }
    }

    /// The erasure count for which the set is valid.
    pub(super) fn as_of(&self) -> ErasureCount {
        self.as_of
    }

    /// Whether the tenant's entry is known to exist.
    pub(super) fn contains(&self, tenant: &TenantId) -> bool {
        self.tenants.contains(tenant)
    }

    /// Adds the tenants of a committed batch.
    pub(super) fn extend<'a>(&mut self, tenants: impl Iterator<Item = &'a TenantId>) {
        // Emptied rather than trimmed: which tenants will have mail next is not known, and a forgotten one costs one
        // small write.
        if self.tenants.len() > MAX_TENANTS {
            self.tenants.clear();
        }
        self.tenants.extend(tenants.cloned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(number: usize) -> TenantId {
        TenantId::new(&format!("tenant-{number}")).unwrap()
    }

    #[test]
    fn set_is_bounded_and_still_holds_the_newest_tenants() {
        let mut registered = RegisteredTenants::default();
        for number in 0..=MAX_TENANTS {
            registered.extend([&tenant(number)].into_iter());
        }
        assert!(registered.contains(&tenant(0)) && registered.contains(&tenant(MAX_TENANTS)));
        registered.extend([&tenant(7)].into_iter());
        assert!(registered.contains(&tenant(7)) && !registered.contains(&tenant(0)));
        assert!(registered.tenants.len() <= MAX_TENANTS);
    }

    #[test]
    fn tenants_are_forgotten_when_the_erasure_count_has_changed_and_only_then() {
        let mut registered = RegisteredTenants::default();
        let at = |version| {
            let key = crate::layout::erasure_count();
            ErasureCount::of(Some(&crate::ports::Item { key, body: Vec::new(), version, expires_at: None }))
        };
        for (count, is_known) in
            [(ErasureCount::of(None), true), (at(1), false), (at(1), true), (at(2), false)]
        {
            registered.extend([&tenant(1)].into_iter().filter(|_| is_known));
            registered.update(count);
            assert_eq!((registered.contains(&tenant(1)), registered.as_of()), (is_known, count));
        }
    }
}
