//! Which tenants a process has registered, so that not every batch writes their entries again.
//!
//! What is remembered holds for one number of erasures: an erasure removes an entry that any process may count on.

use std::collections::HashSet;

use event::TenantId;

use super::Delta;
use crate::tenants::ErasureCount;

/// Tenants remembered at most; beyond it all are forgotten and some entries are written again, which changes nothing.
const MAX_TENANTS: usize = 100_000;

/// Tenants whose entries exist, as of a number of erasures.
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

    /// The number of erasures that this holds for.
    pub(super) fn as_of(&self) -> ErasureCount {
        self.as_of
    }

    /// Whether the tenant's entry exists.
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
