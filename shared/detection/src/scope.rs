//! Whom an alert is about: one tenant, or the platform, which is all tenants together.
//!
//! The string `*` that stands for the platform exists only where alerts are stored and shown. Inside the crate the scope is this type, so
//! that no comparison with a string can be forgotten.

use std::cmp::Ordering;

use event::{InvalidName, TenantId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The scope of an alert.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AlertScope {
    /// All tenants together; only operators see such alerts.
    Platform,
    /// One tenant.
    Tenant(TenantId),
}

impl AlertScope {
    /// `*` for the platform, else the tenant's id: what alerts and their identities hold.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Platform => TenantId::PLATFORM,
            Self::Tenant(id) => id.as_str(),
        }
    }

    /// Parses what [`AlertScope::as_str`] returns.
    ///
    /// # Errors
    /// [`InvalidName`] if the text is neither `*` nor a name that a tenant can have.
    pub fn from_stored(text: &str) -> Result<Self, InvalidName> {
        if text == TenantId::PLATFORM { Ok(Self::Platform) } else { TenantId::new(text).map(Self::Tenant) }
    }

    /// The scope of a tenant whose counts are being evaluated.
    ///
    /// Counts are stored under valid ids, so a name that is none is a fault of the caller. Its alerts are then shown with the
    /// unassigned mail, which only operators see.
    pub(crate) fn of_counted(tenant: &str) -> Self {
        Self::from_stored(tenant).unwrap_or_else(|_| {
            event::invariant::broken("counts of a tenant whose name is not valid");
            Self::Tenant(TenantId::unassigned())
        })
    }

    /// Whether an alert of this scope may concern the mail of `other`: the platform concerns everyone.
    pub(crate) fn includes(&self, other: &Self) -> bool {
        *self == Self::Platform || self == other
    }

    /// Whether an alert of this scope may concern the mail of the tenant with this name.
    pub(crate) fn includes_tenant(&self, name: &str) -> bool {
        match self {
            Self::Platform => true,
            Self::Tenant(id) => id.as_str() == name,
        }
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

impl Serialize for AlertScope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for AlertScope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_stored(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_text_names_the_same_scope_again() {
        let acme = AlertScope::Tenant(TenantId::new("acme").unwrap());
        let unassigned = AlertScope::Tenant(TenantId::unassigned());
        for (scope, text) in [(AlertScope::Platform, "*"), (acme, "acme"), (unassigned, "(unassigned)")] {
            assert_eq!(scope.as_str(), text);
            assert_eq!(AlertScope::from_stored(text), Ok(scope));
        }
        for text in ["", "a b", "a#b"] {
            assert!(AlertScope::from_stored(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn platform_includes_every_tenant_and_a_tenant_only_itself() {
        let scope = |text: &str| AlertScope::from_stored(text).unwrap();
        for (scope, other, includes) in [
            (scope("*"), scope("acme"), true),
            (scope("*"), scope("*"), true),
            (scope("acme"), scope("acme"), true),
            (scope("acme"), scope("other"), false),
            (scope("acme"), scope("*"), false),
        ] {
            assert_eq!(scope.includes(&other), includes, "{scope:?} {other:?}");
            assert_eq!(scope.includes_tenant(other.as_str()), includes, "{scope:?} {other:?}");
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
