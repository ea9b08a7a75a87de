//! The stored detection rules: the operator's, and those that tenants set for themselves.
//!
//! A tenant's own limits take precedence over the operator's overrides and apply to that tenant only, whatever they name. Rules are stored as
//! JSON within their record: that is the form in which people write and read them, and rules that were set before a new rule existed get
//! its default.

use detection::{AlertRules, Maintenance, Override};
use event::TenantId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codec::StoredRecord;
use crate::layout;
use crate::ports::{Store, StoreError};
use crate::stored::{self, ReadError};

/// Maximum number of maintenance windows of one tenant.
pub const MAX_MAINTENANCE: usize = 100;
/// Maximum number of overrides of one tenant.
pub const MAX_OVERRIDES: usize = 20;

/// The rules that a tenant sets for its own mail.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TenantRules {
    /// Limits of all the tenant's mail, in place of the operator's. They name no tenant, provider or campaign.
    pub limits: Override,
    /// Limits of mail at a provider or of a campaign, in addition to those of all mail; at most 20. They name no tenant.
    #[schemars(length(max = MAX_OVERRIDES))]
    pub overrides: Vec<Override>,
    /// Maintenance windows, in which no alert about the tenant fires; at most 100. They name no tenant.
    #[schemars(length(max = MAX_MAINTENANCE))]
    pub maintenance: Vec<Maintenance>,
}

impl TenantRules {
    /// The first mistake in the rules, if any, with the name of the field.
    pub fn mistake(&self) -> Option<String> {
        // Refused rather than ignored: whoever names another tenant here expects it to have an effect.
        if self.limits.tenant.is_some() || self.overrides.iter().any(|rule| rule.tenant.is_some()) {
            return Some("limits.tenant: leave it out, these are one tenant's rules".to_owned());
        }
        if self.limits.provider.is_some() || self.limits.campaign.is_some() {
            return Some("limits.provider: limits of a part of the mail belong in overrides".to_owned());
        }
        if self.overrides.iter().any(|rule| rule.provider.is_none() && rule.campaign.is_none()) {
            return Some("overrides.provider: name a provider or a campaign, or use limits".to_owned());
        }
        if self.overrides.len() > MAX_OVERRIDES {
            return Some(format!("overrides: at most {MAX_OVERRIDES}"));
        }
        if self.maintenance.iter().any(|window| window.tenant.is_some()) {
            return Some("maintenance.tenant: leave it out, these are one tenant's rules".to_owned());
        }
        if self.maintenance.len() > MAX_MAINTENANCE {
            return Some(format!("maintenance: at most {MAX_MAINTENANCE} windows"));
        }
        // The values are checked as those of effective rules. Any tenant will do for that.
        let mut rules = AlertRules::default();
        self.merge_into(&mut rules, "tenant");
        rules.mistake()
    }

    /// Adds these rules to the effective rules, as those of `tenant`. The first override that fits wins, so they come before the
    /// others.
    pub fn merge_into(&self, rules: &mut AlertRules, tenant: &str) {
        let tenant = Some(tenant.to_owned());
        let own = [&self.limits].into_iter().chain(&self.overrides);
        let own = own.map(|rule| Override { tenant: tenant.clone(), ..rule.clone() });
        rules.overrides.splice(0..0, own);
        let own = self.maintenance.iter().cloned();
        rules.maintenance.extend(own.map(|window| Maintenance { tenant: tenant.clone(), ..window }));
    }
}

/// The item of the operator's rules.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct StoredOperatorRules {
    #[serde(with = "crate::codec::json")]
    rules: AlertRules,
}

impl StoredRecord for StoredOperatorRules {
    const NAME: &'static str = "operator rules";
    const FORMAT: u8 = 3;
}

/// The item of a tenant's rules.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct StoredTenantRules {
    #[serde(with = "crate::codec::json")]
    rules: TenantRules,
}

impl StoredRecord for StoredTenantRules {
    const NAME: &'static str = "tenant rules";
    const FORMAT: u8 = 3;
}

/// Reads the operator's rules; the defaults if none were set.
pub async fn read_operator<S: Store>(store: &S) -> Result<AlertRules, ReadError> {
    match store.get(vec![layout::operator_rules()]).await?.into_iter().flatten().next() {
        Some(item) => Ok(stored::decode::<StoredOperatorRules>(&item)?.rules),
        None => Ok(AlertRules::default()),
    }
}

/// Reads the rules that a tenant set for itself; empty if it set none.
pub async fn read_tenant<S: Store>(store: &S, tenant: &TenantId) -> Result<TenantRules, ReadError> {
    match store.get(vec![layout::tenant_rules(tenant)]).await?.into_iter().flatten().next() {
        Some(item) => Ok(stored::decode::<StoredTenantRules>(&item)?.rules),
        None => Ok(TenantRules::default()),
    }
}

/// Sets the operator's rules. The caller has checked them with [`AlertRules::mistake`].
pub async fn write_operator<S: Store>(store: &S, rules: &AlertRules) -> Result<(), StoreError> {
    let record = StoredOperatorRules { rules: rules.clone() };
    store.put(vec![stored::item(layout::operator_rules(), &record, None)]).await
}

/// Sets a tenant's own rules. The caller has checked them with [`TenantRules::mistake`].
pub async fn write_tenant<S: Store>(
    store: &S,
    tenant: &TenantId,
    rules: &TenantRules,
) -> Result<(), StoreError> {
    let record = StoredTenantRules { rules: rules.clone() };
    store.put(vec![stored::item(layout::tenant_rules(tenant), &record, None)]).await
}

/// The effective rules: those of all tenants, then the operator's. A tenant's rules that cannot be read are left out: they must not
/// prevent the evaluation of other tenants' mail.
pub async fn effective<S: Store>(store: &S) -> Result<AlertRules, ReadError> {
    let mut rules = AlertRules::default();
    let mut of_tenants = Vec::new();
    for item in stored::range(store, layout::whole(layout::RULES)).await? {
        match layout::tenant_of_rules(&item.key) {
            Some(tenant) => match stored::decode::<StoredTenantRules>(&item) {
                Ok(stored) => of_tenants.push((tenant.to_owned(), stored.rules)),
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(tenant.id = tenant, error, "a tenant's own rules are left out");
                }
            },
            None if item.key == layout::operator_rules() => {
                rules = stored::decode::<StoredOperatorRules>(&item)?.rules;
            }
            // No other key is written to this partition.
            None => {}
        }
    }
    for (tenant, own) in &of_tenants {
        // After the operator's rules were read, whatever their place in the partition, so that they come before
        // those.
        own.merge_into(&mut rules, tenant);
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStore;

    fn rules(json: &str) -> TenantRules {
        serde_json::from_str(json).unwrap()
    }

    fn tenant(name: &str) -> TenantId {
        TenantId::new(name).unwrap()
    }

    #[test]
    fn a_mistake_names_its_field() {
        let many = |count: usize, one: &str| vec![one; count].join(",");
        let window = r#"{"from":"2025-11-13T00:00:00Z","until":"2025-11-13T01:00:00Z"}"#;
        for (json, expected) in [
            (r#"{"limits":{"bounce_rate":0.02}}"#.to_owned(), None),
            (r#"{"overrides":[{"provider":"gmail","bounce_rate":0.02}]}"#.to_owned(), None),
            (format!(r#"{{"maintenance":[{}]}}"#, many(MAX_MAINTENANCE, window)), None),
            (r#"{"limits":{"tenant":"acme"}}"#.to_owned(), Some("limits.tenant")),
            (r#"{"overrides":[{"tenant":"acme","provider":"gmail"}]}"#.to_owned(), Some("limits.tenant")),
            (r#"{"limits":{"provider":"gmail"}}"#.to_owned(), Some("limits.provider")),
            (r#"{"limits":{"campaign":"spring"}}"#.to_owned(), Some("limits.provider")),
            (r#"{"overrides":[{"bounce_rate":0.02}]}"#.to_owned(), Some("overrides.provider")),
            (r#"{"limits":{"bounce_rate":-1.0}}"#.to_owned(), Some("bounce_rate")),
            (
                format!(r#"{{"overrides":[{}]}}"#, many(MAX_OVERRIDES + 1, r#"{"provider":"gmail"}"#)),
                Some("overrides: at most"),
            ),
            (
                format!(r#"{{"maintenance":[{{"tenant":"acme",{}]}}"#, &window[1..]),
                Some("maintenance.tenant"),
            ),
            (
                format!(r#"{{"maintenance":[{}]}}"#, many(MAX_MAINTENANCE + 1, window)),
                Some("maintenance: at most"),
            ),
            (
                r#"{"maintenance":[{"from":"2025-11-13T00:00:00Z","until":"2025-11-13T00:00:00Z"}]}"#
                    .to_owned(),
                Some("maintenance"),
            ),
        ] {
            let mistake = rules(&json).mistake();
            match expected {
                None => assert_eq!(mistake, None, "{json}"),
                Some(field) => assert!(mistake.is_some_and(|text| text.contains(field)), "{json}"),
            }
        }
    }

    #[test]
    fn a_tenants_rules_come_before_the_operators_and_apply_to_that_tenant_only() {
        let mut effective: AlertRules = serde_json::from_str(
            r#"{"overrides":[{"tenant":"acme","bounce_rate":0.5},{"bounce_rate":0.4}]}"#,
        )
        .unwrap();
        let own = rules(
            r#"{"limits":{"bounce_rate":0.1},"overrides":[{"provider":"gmail","bounce_rate":0.2}],"maintenance":[{"from":"2025-11-13T00:00:00Z","until":"2025-11-13T01:00:00Z"}]}"#,
        );
        own.merge_into(&mut effective, "acme");
        let order: Vec<_> = effective
            .overrides
            .iter()
            .map(|rule| (rule.tenant.as_deref(), rule.provider.as_deref(), rule.bounce_rate))
            .collect();
        assert_eq!(
            order,
            [
                (Some("acme"), None, Some(0.1)),
                (Some("acme"), Some("gmail"), Some(0.2)),
                (Some("acme"), None, Some(0.5)),
                (None, None, Some(0.4)),
            ]
        );
        assert_eq!(effective.maintenance.len(), 1);
        assert_eq!(effective.maintenance[0].tenant.as_deref(), Some("acme"));
    }

    #[tokio::test]
    async fn effective_rules_leave_out_what_cannot_be_read_of_one_tenant() {
        let store = MemoryStore::new();
        let own = rules(r#"{"limits":{"bounce_rate":0.1}}"#);
        let operator: AlertRules = serde_json::from_str(r#"{"clear_minutes":7}"#).unwrap();
        for name in ["acme", "all", "globex"] {
            write_tenant(&store, &tenant(name), &own).await.unwrap();
        }
        write_operator(&store, &operator).await.unwrap();
        let damaged = crate::ports::Item {
            key: layout::tenant_rules(&tenant("globex")),
            body: b"{}".to_vec(),
            version: 0,
            expires_at: None,
        };
        store.put(vec![damaged]).await.unwrap();
        let found = effective(&store).await.unwrap();
        let mut tenants: Vec<_> = found.overrides.iter().filter_map(|rule| rule.tenant.as_deref()).collect();
        tenants.sort_unstable();
        assert_eq!((tenants, found.clear_minutes), (vec!["acme", "all"], 7));
        assert_eq!(read_tenant(&store, &tenant("acme")).await.unwrap(), own);
        assert_eq!(read_operator(&store).await.unwrap(), operator);
        assert_eq!(read_tenant(&store, &tenant("nobody")).await.unwrap(), TenantRules::default());
        assert!(read_tenant(&store, &tenant("globex")).await.is_err());
    }

    #[test]
    fn rules_that_were_stored_before_a_rule_existed_get_its_default() {
        #[derive(Serialize, Deserialize)]
        struct Earlier {
            rules: String,
        }
        impl StoredRecord for Earlier {
            const NAME: &'static str = StoredTenantRules::NAME;
            const FORMAT: u8 = StoredTenantRules::FORMAT;
        }
        let earlier = Earlier { rules: r#"{"limits":{"bounce_rate":0.1}}"#.to_owned() };
        let read = StoredTenantRules::decode(&earlier.encode()).unwrap().rules;
        assert_eq!(read, rules(r#"{"limits":{"bounce_rate":0.1}}"#));
    }
}
