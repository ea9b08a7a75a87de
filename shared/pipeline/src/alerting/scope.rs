//! The scope of an alert as detection names it. The only place that knows how detection spells the platform.

use event::TenantId;

/// The tenant that a scope of detection names; `None` for the platform.
pub(super) fn tenant_of(scope: &str) -> Option<TenantId> {
    if scope == TenantId::PLATFORM {
        return None;
    }
    let tenant = TenantId::new(scope).ok();
    if tenant.is_none() {
        // Detection is only shown mail of valid tenants. As an alert of the platform, only operators would see this one.
        event::invariant::broken("an alert for a scope that is neither the platform nor a tenant");
    }
    tenant
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platform_is_not_a_tenant() {
        for (scope, tenant) in [("*", None), ("acme", Some("acme")), ("(unassigned)", Some("(unassigned)"))] {
            assert_eq!(tenant_of(scope).as_ref().map(TenantId::as_str), tenant, "{scope}");
        }
    }
}
