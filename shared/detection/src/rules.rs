//! The rules of detection: limits, overrides of them, the false alarms that are accepted, and maintenance windows.
//!
//! Every rule has a default, so an empty rules file is valid. Unknown keys are refused: a misspelt limit must never mean "no limit".
//! The limits that a tenant sets for itself are stored by `pipeline::directory::alert_rules`.

use event::{Minute, TenantId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use event::AlertScope;

/// The number of overrides, and of maintenance windows, that rules may have. Each is checked for every tenant.
pub(crate) const MAX_OVERRIDES: usize = 1000;
/// The number of subsets of a tenant's mail that can have limits of their own.
pub(crate) const MAX_SUBSETS: usize = 50;

/// The operator's rules of detection. A rule that is left out has its default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "OperatorRules")]
pub struct AlertRules {
    /// Limits that hold where no override says otherwise.
    pub limits: Limits,
    /// Limits of single tenants or of subsets of mail, at most 1000. The first override that applies and names a limit decides.
    #[schemars(length(max = MAX_OVERRIDES))]
    pub overrides: Vec<Override>,
    /// Whether series are compared with their own past. Defaults to true.
    pub anomalies: bool,
    /// Whether SES's reputation thresholds are reported before they are crossed. Defaults to true.
    pub budgets: bool,
    /// False alarms that are accepted per tenant and week, over all its series: more than 0, at most 10. Defaults to 0.1.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 10))]
    pub false_alerts_per_tenant_week: f64,
    /// Minutes without a finding before an alert is resolved, 1 to 1440. Defaults to 30.
    #[schemars(range(min = 1, max = 1440))]
    pub clear_minutes: u32,
    /// Minutes after an alert was resolved in which trouble that comes back counts as flapping: it fires at once, and takes longer to be
    /// resolved. The alert keeps its id for a day in any case. 1 to 10080, defaults to 120.
    #[schemars(range(min = 1, max = 10080))]
    pub cool_down_minutes: u32,
    /// Hours between reminders of an open alert, 1 to 8760. Defaults to 24.
    #[schemars(range(min = 1, max = 8760))]
    pub reminder_hours: u32,
    /// Maintenance windows, in which no alert fires; at most 1000.
    #[schemars(length(max = MAX_OVERRIDES))]
    pub maintenance: Vec<Maintenance>,
}

impl Default for AlertRules {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            overrides: Vec::new(),
            anomalies: true,
            budgets: true,
            false_alerts_per_tenant_week: 0.1,
            clear_minutes: 30,
            cool_down_minutes: 120,
            reminder_hours: 24,
            maintenance: Vec::new(),
        }
    }
}

/// The limits that metrics are held against. A limit that is left out has its default; null sets none. Rates are fractions: 0.02 is 2 %; one above 1 sets no limit either.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Lowest delivery rate, over mail with an outcome. Defaults to 0.95.
    #[schemars(extend("minimum" = 0))]
    pub delivery_rate: Option<f64>,
    /// Lowest net delivery rate, over mail with an outcome: mail that bounced after it was accepted is not delivered. Defaults to none.
    #[schemars(extend("minimum" = 0))]
    pub net_delivery_rate: Option<f64>,
    /// Highest bounce rate. Defaults to 0.02.
    #[schemars(extend("minimum" = 0))]
    pub bounce_rate: Option<f64>,
    /// Highest rate of the bounces that SES counts against the sender. Defaults to none.
    #[schemars(extend("minimum" = 0))]
    pub hard_bounce_rate: Option<f64>,
    /// Highest complaint rate. Defaults to 0.001.
    #[schemars(extend("minimum" = 0))]
    pub complaint_rate: Option<f64>,
    /// Milliseconds within which 95 of 100 deliveries are made. Defaults to none.
    #[schemars(extend("minimum" = 0))]
    pub delivery_ms_p95: Option<f64>,
    /// Messages that may wait: as a gauge reports it, else mail sent without an outcome. Defaults to none.
    #[schemars(extend("minimum" = 0))]
    pub queue_depth: Option<f64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { delivery_rate: Some(0.95), bounce_rate: Some(0.02), complaint_rate: Some(0.001), ..Self::NONE }
    }
}

/// Limits of one tenant, or of a subset of mail, which is then monitored beside the whole.
///
/// What is left out is not overridden. A limit above 1 switches the limit of a rate off.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "LimitOverride")]
pub struct Override {
    /// The tenant, or `(unassigned)` for mail without one; all tenants if it is left out.
    pub tenant: Option<String>,
    /// The mailbox provider; all of them if it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The campaign; all of them if it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub campaign: Option<String>,
    /// Lowest delivery rate, over mail with an outcome.
    #[schemars(extend("minimum" = 0))]
    pub delivery_rate: Option<f64>,
    /// Lowest net delivery rate, over mail with an outcome: mail that bounced after it was accepted is not delivered.
    #[schemars(extend("minimum" = 0))]
    pub net_delivery_rate: Option<f64>,
    /// Highest bounce rate.
    #[schemars(extend("minimum" = 0))]
    pub bounce_rate: Option<f64>,
    /// Highest rate of the bounces that SES counts against the sender.
    #[schemars(extend("minimum" = 0))]
    pub hard_bounce_rate: Option<f64>,
    /// Highest complaint rate.
    #[schemars(extend("minimum" = 0))]
    pub complaint_rate: Option<f64>,
    /// Milliseconds within which 95 of 100 deliveries are made.
    #[schemars(extend("minimum" = 0))]
    pub delivery_ms_p95: Option<f64>,
    /// Messages that may wait: as a gauge reports it, else mail sent without an outcome.
    #[schemars(extend("minimum" = 0))]
    pub queue_depth: Option<f64>,
}

/// A subset of a tenant's mail that has limits of its own. The default is all mail.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MailSubset {
    /// Mail at this mailbox provider; at all of them if there is none.
    pub provider: Option<String>,
    /// Mail of this campaign; of all of them if there is none.
    pub campaign: Option<String>,
}

/// A time in which no alert fires.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "MaintenanceWindow")]
pub struct Maintenance {
    /// The tenant, or `(unassigned)` for mail without one; all tenants and the platform if it is left out.
    #[serde(default)]
    pub tenant: Option<String>,
    /// First minute of the window.
    #[serde(with = "rfc3339_minute")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub from: Minute,
    /// First minute after the window.
    #[serde(with = "rfc3339_minute")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub until: Minute,
}

impl AlertRules {
    /// The limits of all mail of a tenant.
    pub fn limits_of(&self, tenant: &str) -> Limits {
        self.overridden_limits(tenant, &MailSubset::default(), self.limits)
    }

    /// The limits of a subset of a tenant's mail, where `usual` ones hold without an override.
    fn overridden_limits(&self, tenant: &str, subset: &MailSubset, usual: Limits) -> Limits {
        let applies = |rule: &&Override| rule.is_for(tenant) && rule.subset() == *subset;
        // The first override that names a limit decides, so it is applied last.
        let named = self.overrides.iter().filter(applies).rev();
        // Only then are limits switched off: an override that switches one off must hide the limits behind it.
        named.fold(usual, |limits, rule| rule.limits().or(limits)).without_switched_off()
    }

    /// The subsets of a tenant's mail that have limits of their own, in a fixed order.
    pub fn subset_limits(&self, tenant: &str) -> Vec<(MailSubset, Limits)> {
        let mut subsets: Vec<MailSubset> = self
            .overrides
            .iter()
            .filter(|rule| rule.is_for(tenant))
            .map(Override::subset)
            .filter(|subset| *subset != MailSubset::default())
            .collect();
        subsets.sort_unstable();
        subsets.dedup();
        let with_limits = |subset: MailSubset| {
            let limits = self.overridden_limits(tenant, &subset, Limits::NONE);
            (subset, limits)
        };
        subsets.into_iter().map(with_limits).collect()
    }

    /// What is wrong with the rules, naming the field; none if they are valid.
    pub fn mistake(&self) -> Option<String> {
        self.mistake_in_numbers_of_rules()
            .or_else(|| self.mistake_in_tenants())
            .or_else(|| self.mistake_in_maintenance())
            .or_else(|| self.mistake_in_settings())
            .or_else(|| self.mistake_in_limits())
    }

    fn mistake_in_numbers_of_rules(&self) -> Option<String> {
        if self.overrides.len() > MAX_OVERRIDES || self.maintenance.len() > MAX_OVERRIDES {
            return Some(format!("overrides, maintenance: at most {MAX_OVERRIDES} each"));
        }
        let for_everybody =
            |rule: &&Override| rule.tenant.is_none() && rule.subset() != MailSubset::default();
        (self.overrides.iter().filter(for_everybody).count() > MAX_SUBSETS).then(|| {
            format!(
                "overrides: at most {MAX_SUBSETS} may name a provider or campaign without a tenant, because each is monitored for every tenant"
            )
        })
    }

    fn mistake_in_tenants(&self) -> Option<String> {
        let overrides = self.overrides.iter().map(|rule| ("overrides", &rule.tenant));
        let maintenance = self.maintenance.iter().map(|window| ("maintenance", &window.tenant));
        let is_wrong = |tenant: &Option<String>| {
            tenant.as_deref().is_some_and(|name| TenantId::new_or_unassigned(name).is_err())
        };
        let (field, _) = overrides.chain(maintenance).find(|(_, tenant)| is_wrong(tenant))?;
        Some(format!(
            "{field}.tenant: {}, or {}; leave it out for all tenants",
            TenantId::ALLOWED,
            TenantId::UNASSIGNED
        ))
    }

    fn mistake_in_maintenance(&self) -> Option<String> {
        let window = self.maintenance.iter().find(|window| window.until <= window.from)?;
        Some(format!("maintenance: the window from {} must end after it begins", window.from.start()))
    }

    fn mistake_in_settings(&self) -> Option<String> {
        let accepted = self.false_alerts_per_tenant_week;
        if !(accepted > 0.0 && accepted <= 10.0) {
            return Some("false_alerts_per_tenant_week: more than 0 and at most 10".to_owned());
        }
        let bounded = [
            ("clear_minutes", self.clear_minutes, 1440),
            ("cool_down_minutes", self.cool_down_minutes, 7 * 1440),
            ("reminder_hours", self.reminder_hours, 24 * 365),
        ];
        let (name, _, most) = bounded.into_iter().find(|(_, value, most)| *value == 0 || value > most)?;
        Some(format!("{name}: 1 to {most}"))
    }

    fn mistake_in_limits(&self) -> Option<String> {
        let overrides = self.overrides.iter().map(|rule| ("overrides", rule.limits()));
        [("limits", self.limits)]
            .into_iter()
            .chain(overrides)
            .find_map(|(field, limits)| limits.mistake().map(|mistake| format!("{field}.{mistake}")))
    }

    /// Whether a maintenance window covers a scope in this minute. Only windows for all tenants cover the platform.
    pub fn in_maintenance(&self, scope: &AlertScope, minute: Minute) -> bool {
        self.maintenance.iter().any(|window| {
            (window.from..window.until).contains(&minute)
                && window.tenant.as_deref().is_none_or(|name| name == scope.as_str())
        })
    }
}

impl Limits {
    /// No limits at all.
    pub const NONE: Self = Self {
        delivery_rate: None,
        net_delivery_rate: None,
        bounce_rate: None,
        hard_bounce_rate: None,
        complaint_rate: None,
        delivery_ms_p95: None,
        queue_depth: None,
    };

    /// These limits, and where one is not set, that of `others`.
    fn or(self, others: Self) -> Self {
        Self {
            delivery_rate: self.delivery_rate.or(others.delivery_rate),
            net_delivery_rate: self.net_delivery_rate.or(others.net_delivery_rate),
            bounce_rate: self.bounce_rate.or(others.bounce_rate),
            hard_bounce_rate: self.hard_bounce_rate.or(others.hard_bounce_rate),
            complaint_rate: self.complaint_rate.or(others.complaint_rate),
            delivery_ms_p95: self.delivery_ms_p95.or(others.delivery_ms_p95),
            queue_depth: self.queue_depth.or(others.queue_depth),
        }
    }

    /// These limits without those of rates above 1, which switch a limit off.
    ///
    /// No rate exceeds 1, so a ceiling above 1 can never be broken; a floor above 1 would always be.
    fn without_switched_off(self) -> Self {
        let is_on = |limit: &f64| *limit <= 1.0;
        Self {
            delivery_rate: self.delivery_rate.filter(is_on),
            net_delivery_rate: self.net_delivery_rate.filter(is_on),
            bounce_rate: self.bounce_rate.filter(is_on),
            hard_bounce_rate: self.hard_bounce_rate.filter(is_on),
            complaint_rate: self.complaint_rate.filter(is_on),
            delivery_ms_p95: self.delivery_ms_p95,
            queue_depth: self.queue_depth,
        }
    }

    fn mistake(&self) -> Option<String> {
        let fraction = "a fraction such as 0.02";
        [
            ("delivery_rate", self.delivery_rate, fraction),
            ("net_delivery_rate", self.net_delivery_rate, fraction),
            ("bounce_rate", self.bounce_rate, fraction),
            ("hard_bounce_rate", self.hard_bounce_rate, fraction),
            ("complaint_rate", self.complaint_rate, fraction),
            ("delivery_ms_p95", self.delivery_ms_p95, "milliseconds such as 60000"),
            ("queue_depth", self.queue_depth, "a number of messages such as 10000"),
        ]
        .into_iter()
        .find(|(_, limit, _)| limit.is_some_and(|limit| limit.is_nan() || limit < 0.0))
        .map(|(name, _, example)| format!("{name}: {example}"))
    }
}

impl Override {
    fn is_for(&self, tenant: &str) -> bool {
        self.tenant.as_deref().is_none_or(|name| name == tenant)
    }

    fn subset(&self) -> MailSubset {
        MailSubset { provider: self.provider.clone(), campaign: self.campaign.clone() }
    }

    fn limits(&self) -> Limits {
        Limits {
            delivery_rate: self.delivery_rate,
            net_delivery_rate: self.net_delivery_rate,
            bounce_rate: self.bounce_rate,
            hard_bounce_rate: self.hard_bounce_rate,
            complaint_rate: self.complaint_rate,
            delivery_ms_p95: self.delivery_ms_p95,
            queue_depth: self.queue_depth,
        }
    }
}

impl MailSubset {
    /// Whether mail at this provider and of this campaign belongs to the subset.
    pub fn contains(&self, provider: &str, campaign: &str) -> bool {
        self.provider.as_deref().is_none_or(|name| name == provider)
            && self.campaign.as_deref().is_none_or(|name| name == campaign)
    }
}

/// Writes a minute as RFC 3339; for `#[serde(with)]`.
mod rfc3339_minute {
    use event::{Minute, Timestamp};
    use serde::{Deserialize as _, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    pub(super) fn serialize<S: Serializer>(minute: &Minute, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&minute.start())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Minute, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time: jiff::Timestamp = text.parse().map_err(|_| {
            serde::de::Error::custom(format!("{text:?} is not a time such as 2026-11-25T08:00:00Z"))
        })?;
        Ok(Timestamp::from_millis(time.as_millisecond()).minute())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_override_that_names_a_limit_decides() {
        let rules: AlertRules = serde_json::from_str(
            r#"{"overrides":[{"tenant":"acme","bounce_rate":0.05},{"bounce_rate":0.03,"complaint_rate":0.002}]}"#,
        )
        .unwrap();
        assert_eq!(rules.limits_of("acme").bounce_rate, Some(0.05));
        assert_eq!(rules.limits_of("acme").complaint_rate, Some(0.002));
        assert_eq!(rules.limits_of("other").bounce_rate, Some(0.03));
        assert_eq!(rules.limits_of("other").delivery_rate, Some(0.95));
    }

    #[test]
    fn subset_of_mail_has_the_limits_of_its_overrides_and_no_others() {
        let rules: AlertRules = serde_json::from_str(
            r#"{"overrides":[{"provider":"gmail","complaint_rate":0.0005},{"tenant":"acme","provider":"gmail","bounce_rate":0.1},
                {"tenant":"acme","campaign":"spring","delivery_ms_p95":60000}]}"#,
        )
        .unwrap();
        assert_eq!(rules.limits_of("acme"), Limits::default());
        let subsets = rules.subset_limits("acme");
        let [(spring, slow), (gmail, rates)] = subsets.as_slice() else { panic!("{subsets:?}") };
        assert!(spring.contains("yahoo", "spring") && !spring.contains("yahoo", "autumn"));
        assert_eq!(*slow, Limits { delivery_ms_p95: Some(60_000.0), ..Limits::NONE });
        assert!(gmail.contains("gmail", "") && !gmail.contains("yahoo", "spring"));
        assert_eq!(*rates, Limits { bounce_rate: Some(0.1), complaint_rate: Some(0.0005), ..Limits::NONE });
        assert_eq!(rules.subset_limits("other").len(), 1);
    }

    #[test]
    fn limit_of_a_rate_above_1_switches_the_limit_off() {
        let rules: AlertRules = serde_json::from_str(
            r#"{"limits":{"bounce_rate":2,"queue_depth":5000},"overrides":[{"tenant":"acme","delivery_rate":2},
                {"delivery_rate":0.9},{"tenant":"acme","provider":"gmail","complaint_rate":1.5,"delivery_ms_p95":60000}]}"#,
        )
        .unwrap();
        let acme = rules.limits_of("acme");
        assert_eq!((acme.delivery_rate, acme.bounce_rate), (None, None));
        // Other limits are in milliseconds and messages.
        assert_eq!((acme.complaint_rate, acme.queue_depth), (Some(0.001), Some(5000.0)));
        assert_eq!(rules.limits_of("other").delivery_rate, Some(0.9));
        let subsets = rules.subset_limits("acme");
        assert_eq!(subsets[0].1, Limits { delivery_ms_p95: Some(60_000.0), ..Limits::NONE });
    }

    #[test]
    fn misspelt_limit_is_refused() {
        assert!(serde_json::from_str::<AlertRules>(r#"{"limits":{"bounce_rat":0.05}}"#).is_err());
    }

    #[test]
    fn rule_for_a_name_that_no_tenant_can_have_is_refused() {
        for (field, tenant, is_right) in [
            ("overrides", "*", false),
            ("overrides", "(other)", false),
            ("overrides", "a b", false),
            ("overrides", "(unassigned)", true),
            ("overrides", "acme", true),
            ("maintenance", "*", false),
            ("maintenance", "acme", true),
        ] {
            let mut rule = serde_json::json!({"tenant": tenant});
            if field == "maintenance" {
                rule["from"] = "2026-11-25T08:00:00Z".into();
                rule["until"] = "2026-11-25T09:00:00Z".into();
            }
            let rules: AlertRules = serde_json::from_value(serde_json::json!({field: [rule]})).unwrap();
            let mistake = rules.mistake();
            assert_eq!(mistake.is_none(), is_right, "{field} {tenant}: {mistake:?}");
            assert!(is_right || mistake.unwrap().starts_with(&format!("{field}.tenant: ")), "{tenant}");
        }
    }

    #[test]
    fn maintenance_window_covers_its_tenant_until_its_last_minute() {
        let rules: AlertRules = serde_json::from_str(
            r#"{"maintenance":[{"tenant":"acme","from":"1970-01-01T01:00:00Z","until":"1970-01-01T02:00:00Z"}]}"#,
        )
        .unwrap();
        let quiet =
            |tenant, minute| rules.in_maintenance(&AlertScope::from_stored(tenant).unwrap(), Minute(minute));
        assert!(quiet("acme", 60) && quiet("acme", 119));
        assert!(!quiet("acme", 59) && !quiet("acme", 120) && !quiet("other", 60));
    }

    #[test]
    fn only_windows_for_all_tenants_cover_the_platform() {
        for (tenant, covers) in [(None, true), (Some("acme".to_owned()), false)] {
            let window = Maintenance { tenant, from: Minute(60), until: Minute(120) };
            let rules = AlertRules { maintenance: vec![window], ..AlertRules::default() };
            assert_eq!(rules.in_maintenance(&AlertScope::Platform, Minute(90)), covers);
        }
    }

    #[test]
    fn mistakes_name_the_field_and_what_is_allowed() {
        assert_eq!(AlertRules::default().mistake(), None);
        for (json, mistake) in [
            (r#"{"limits":{"bounce_rate":-0.1}}"#, "limits.bounce_rate: a fraction such as 0.02"),
            (
                r#"{"overrides":[{"queue_depth":-1}]}"#,
                "overrides.queue_depth: a number of messages such as 10000",
            ),
            (
                r#"{"false_alerts_per_tenant_week":0}"#,
                "false_alerts_per_tenant_week: more than 0 and at most 10",
            ),
            (r#"{"clear_minutes":0}"#, "clear_minutes: 1 to 1440"),
            (r#"{"cool_down_minutes":10081}"#, "cool_down_minutes: 1 to 10080"),
            (r#"{"reminder_hours":8761}"#, "reminder_hours: 1 to 8760"),
            (
                r#"{"maintenance":[{"from":"2026-11-25T09:00:00Z","until":"2026-11-25T09:00:00Z"}]}"#,
                "maintenance: the window from 2026-11-25T09:00:00Z must end after it begins",
            ),
        ] {
            let rules: AlertRules = serde_json::from_str(json).unwrap();
            assert_eq!(rules.mistake().as_deref(), Some(mistake), "{json}");
        }
    }

    #[test]
    fn overrides_for_all_tenants_are_bounded() {
        let of_campaign =
            |index: usize| Override { campaign: Some(format!("c{index}")), ..Override::default() };
        let rules =
            |count| AlertRules { overrides: (0..count).map(of_campaign).collect(), ..AlertRules::default() };
        assert_eq!(rules(MAX_SUBSETS).mistake(), None);
        assert!(rules(MAX_SUBSETS + 1).mistake().unwrap().starts_with("overrides: at most 50 "));
    }
}
