//! Whether an alert or a rule concerns one tenant or the whole platform.
//!
//! Its public spelling, in JSON and in storage, is the tenant's id or `*`. Code never compares it with `"*"`.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{InvalidTenant, TenantId};

/// The scope of an alert or of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AlertScope {
    /// All tenants together; only operators see it.
    Platform,
    /// The mail of one tenant, which can be [`TenantId::unassigned`].
    Tenant(TenantId),
}

impl AlertScope {
    /// The spelling of [`AlertScope::Platform`]. It is a reserved name, so no tenant can have it.
    pub const PLATFORM: &'static str = "*";

    /// Parses what [`AlertScope::as_str`] gave.
    ///
    /// # Errors
    /// [`InvalidTenant`] if it is neither `*` nor a stored tenant's name.
    pub fn from_stored(text: &str) -> Result<Self, InvalidTenant> {
        if text == Self::PLATFORM {
            Ok(Self::Platform)
        } else {
            TenantId::from_stored(text).map(Self::Tenant)
        }
    }

    /// The public spelling: `*` or the tenant's id.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Platform => Self::PLATFORM,
            Self::Tenant(tenant) => tenant.as_str(),
        }
    }

    /// The tenant, unless it is the platform.
    pub const fn tenant(&self) -> Option<&TenantId> {
        match self {
            Self::Platform => None,
            Self::Tenant(tenant) => Some(tenant),
        }
    }

    /// Whether it is all tenants together.
    pub const fn is_platform(&self) -> bool {
        matches!(self, Self::Platform)
    }

    /// The scope of a tenant whose counts are evaluated.
    ///
    /// Counts are stored under valid ids, so another name is a fault of the caller. Its alerts are then shown with the unassigned mail, which
    /// only operators see.
    pub fn of_counted(tenant: &str) -> Self {
        Self::from_stored(tenant).unwrap_or_else(|_| {
            crate::invariant::broken("counts of a tenant whose name is not valid");
            Self::Tenant(TenantId::unassigned())
        })
    }

    /// Whether this scope contains the mail of the tenant with this name.
    pub fn contains_tenant(&self, name: &str) -> bool {
        match self {
            Self::Platform => true,
            Self::Tenant(tenant) => tenant.as_str() == name,
        }
    }

    /// Whether what holds for this scope holds for `other` too: the platform contains every scope, a tenant only itself.
    pub fn contains(&self, other: &Self) -> bool {
        self.is_platform() || self == other
    }
}

/// Sorts as the stored text does, so that the order of alerts does not depend on how a scope is represented.
impl Ord for AlertScope {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl PartialOrd for AlertScope {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<TenantId> for AlertScope {
    fn from(tenant: TenantId) -> Self {
        Self::Tenant(tenant)
    }
}

impl fmt::Display for AlertScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for AlertScope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// For what this program stored itself. A scope in a request must be parsed by [`TenantId::new`] or
/// [`TenantId::new_or_unassigned`], which refuse `*`.
impl<'de> Deserialize<'de> for AlertScope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Self::from_stored(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> AlertScope {
        AlertScope::Tenant(TenantId::new(name).unwrap())
    }

    #[test]
    fn spelling_is_a_star_or_the_tenants_id_everywhere() {
        for (scope, expected) in [
            (AlertScope::Platform, "*"),
            (tenant("acme"), "acme"),
            (tenant("**"), "**"),
            (AlertScope::Tenant(TenantId::unassigned()), "(unassigned)"),
        ] {
            assert_eq!(scope.to_string(), expected);
            assert_eq!(AlertScope::from_stored(expected).unwrap(), scope);
            let json = serde_json::to_string(&scope).unwrap();
            assert_eq!(json, format!("\"{expected}\""));
            assert_eq!(serde_json::from_str::<AlertScope>(&json).unwrap(), scope);
            assert_eq!(scope.tenant().map(TenantId::as_str), Some(expected).filter(|name| *name != "*"));
        }
    }

    #[test]
    fn text_that_is_neither_a_star_nor_a_stored_tenant_is_refused() {
        for text in ["", "(other)", "a b", "a/b"] {
            assert!(AlertScope::from_stored(text).is_err(), "{text}");
            assert!(serde_json::from_str::<AlertScope>(&format!("\"{text}\"")).is_err(), "{text}");
        }
        assert!(serde_json::from_str::<AlertScope>("null").is_err());
    }

    #[test]
    fn platform_contains_every_scope_and_a_tenant_only_itself() {
        let (platform, acme, other) = (AlertScope::Platform, tenant("acme"), tenant("other"));
        for (outer, inner, expected) in [
            (&platform, &platform, true),
            (&platform, &acme, true),
            (&acme, &acme, true),
            (&acme, &other, false),
            (&acme, &platform, false),
        ] {
            assert_eq!(outer.contains(inner), expected, "{outer} {inner}");
            assert_eq!(outer.contains_tenant(inner.as_str()), expected, "{outer} {inner}");
        }
    }

    #[test]
    fn scopes_sort_as_their_stored_texts() {
        let mut texts = ["acme", "*", "(unassigned)", "!bang"];
        let mut scopes = texts.map(|text| AlertScope::from_stored(text).unwrap());
        texts.sort_unstable();
        scopes.sort();
        assert_eq!(scopes.map(|scope| scope.as_str().to_owned()), texts);
    }
}
