//! The tenants that this process has registered, so that not every batch writes their entries again.
//!
//! The set is valid for one erasure count only: an erasure removes an entry, and every process may have it in its set.

use std::collections::HashSet;

use event::TenantId;

use super::aggregate::Delta;
use crate::directory::tenants::ErasureCount;

/// The most tenants remembered. Beyond it all are forgotten, and their entries are written again, which changes nothing.
const MAX_TENANTS: usize = 100_000;

/// Tenants whose entries exist, as of an erasure count.
#[derive(Clone, Debug, Default)]
pub(super) struct Registered {
    tenants: HashSet<TenantId>,
    as_of: ErasureCount,
}

impl Registered {
    /// Forgets all tenants if there was an erasure since they were registered.
    pub(super) fn update(&mut self, erasures: ErasureCount) {
        if self.as_of != erasures {
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

    /// Remembers the tenants of a committed batch.
    pub(super) fn add(&mut self, deltas: &[Delta]) {
        if self.tenants.len() > MAX_TENANTS {
            self.tenants.clear();
        }
        self.tenants.extend(deltas.iter().map(|delta| delta.tenant.clone()));
    }
}
