//! What to watch for and when to speak: limits, their overrides, the false alarms accepted, and quiet times.
//!
//! Every rule has a default, so an empty file of rules is a good one. Unknown keys are refused: a misspelt limit must never
//! be no limit.

use event::{Minute, TenantId};
use serde::{Deserialize, Serialize};

/// Overrides, and quiet times, that rules may have: each is looked at for each tenant.
pub(crate) const MAX_OVERRIDES: usize = 1000;
/// Parts of a tenant's mail that are watched for limits of their own.
pub(crate) const MAX_SUBSETS: usize = 50;

/// The rules of detection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// Limits that hold where no override says otherwise.
    pub limits: Limits,
    /// Limits of a tenant; the first that fits and names a limit wins.
    pub overrides: Vec<Override>,
    /// Whether series are compared with their own past.
    pub anomalies: bool,
    /// Whether lines of SES's, at which it reviews or pauses an account, are told of before they are crossed.
    pub budgets: bool,
    /// False alarms accepted per tenant and week, over all its series.
    pub false_alerts_per_tenant_week: f64,
    /// Minutes without evidence before an alert is resolved.
    pub clear_minutes: u32,
    /// Minutes after that in which trouble that comes back is the same one: it fires at once, and takes longer to be resolved. Its id
    /// stays for a day in any case.
    pub cool_down_minutes: u32,
    /// Hours between reminders of an open alert.
    pub reminder_hours: u32,
    /// Planned work: nothing fires in it.
    pub maintenance: Vec<Maintenance>,
}

impl Default for Rules {
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

/// Limits; what is left out has none. Rates are fractions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Lowest delivery rate, of mail with an outcome.
    pub delivery_rate: Option<f64>,
    /// Highest bounce rate.
    pub bounce_rate: Option<f64>,
    /// Highest rate of permanent bounces.
    pub hard_bounce_rate: Option<f64>,
    /// Highest complaint rate.
    pub complaint_rate: Option<f64>,
    /// Milliseconds in which 95 of 100 deliveries are made.
    pub delivery_ms_p95: Option<f64>,
    /// Mail that may wait: what a gauge says, else mail sent that has no outcome yet.
    pub queue_depth: Option<f64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { delivery_rate: Some(0.95), bounce_rate: Some(0.02), complaint_rate: Some(0.001), ..Self::NONE }
    }
}

/// Limits of one tenant, or of its mail at a provider or of a campaign, which are then watched beside the whole. Above 1, a rate's
/// limit is off.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Override {
    /// The tenant it holds for; all of them if left out.
    pub tenant: Option<String>,
    /// The mailbox provider it holds for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The campaign it holds for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub campaign: Option<String>,
    /// Lowest delivery rate.
    pub delivery_rate: Option<f64>,
    /// Highest bounce rate.
    pub bounce_rate: Option<f64>,
    /// Highest rate of permanent bounces.
    pub hard_bounce_rate: Option<f64>,
    /// Highest complaint rate.
    pub complaint_rate: Option<f64>,
    /// Milliseconds in which 95 of 100 deliveries are made.
    pub delivery_ms_p95: Option<f64>,
    /// Mail that may wait.
    pub queue_depth: Option<f64>,
}

/// A part of a tenant's mail that has limits of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MailSubset {
    /// At this mailbox provider.
    pub provider: Option<String>,
    /// Of this campaign.
    pub campaign: Option<String>,
}

/// A planned quiet time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Maintenance {
    /// Whose; everybody's if left out.
    #[serde(default)]
    pub tenant: Option<String>,
    /// First minute, RFC 3339.
    #[serde(with = "rfc3339_minute")]
    pub from: u32,
    /// First minute after it, RFC 3339.
    #[serde(with = "rfc3339_minute")]
    pub until: u32,
}

impl Rules {
    /// The limits of a whole tenant.
    pub fn limits_of(&self, tenant: &str) -> Limits {
        self.limits_at(tenant, &MailSubset::default(), self.limits)
    }

    /// The limits of a part of a tenant's mail, in place of `usual` ones.
    fn limits_at(&self, tenant: &str, place: &MailSubset, usual: Limits) -> Limits {
        let fits = |rule: &&Override| rule.is_for(tenant) && rule.is_at(place);
        // The first that names a limit wins, so it is applied last.
        self.overrides.iter().filter(fits).rev().fold(usual, |limits, rule| rule.limits().or(limits))
    }

    /// The parts of a tenant's mail that have limits of their own.
    pub fn subset_limits(&self, tenant: &str) -> Vec<(MailSubset, Limits)> {
        let mut subsets: Vec<MailSubset> = self
            .overrides
            .iter()
            .filter(|rule| rule.is_for(tenant))
            .map(Override::place)
            .filter(|place| *place != MailSubset::default())
            .collect();
        subsets.sort_unstable();
        subsets.dedup();
        let limits = |place: MailSubset| {
            let limits = self.limits_at(tenant, &place, Limits::NONE);
            (place, limits)
        };
        subsets.into_iter().map(limits).collect()
    }

    /// What is wrong with them, if anything, naming the field.
    pub fn mistake(&self) -> Option<String> {
        if self.overrides.len() > MAX_OVERRIDES || self.maintenance.len() > MAX_OVERRIDES {
            return Some(format!("overrides, maintenance: at most {MAX_OVERRIDES} each"));
        }
        let overridden = self.overrides.iter().map(|rule| ("overrides", &rule.tenant));
        let quiet = self.maintenance.iter().map(|window| ("maintenance", &window.tenant));
        let is_wrong =
            |tenant: &&Option<String>| tenant.as_deref().is_some_and(|name| TenantId::to_read(name).is_err());
        if let Some((place, _)) = overridden.chain(quiet).find(|(_, tenant)| is_wrong(tenant)) {
            return Some(format!(
                "{place}.tenant: {}, or {}; leave it out for all tenants",
                TenantId::ALLOWED,
                TenantId::UNASSIGNED
            ));
        }
        let everywhere = |rule: &&Override| rule.tenant.is_none() && rule.place() != MailSubset::default();
        if self.overrides.iter().filter(everywhere).count() > MAX_SUBSETS {
            return Some(format!(
                "overrides: at most {MAX_SUBSETS} name a provider or campaign and no tenant, as each is watched for each"
            ));
        }
        if let Some(window) = self.maintenance.iter().find(|window| window.until <= window.from) {
            let from = Minute(window.from).start();
            return Some(format!("maintenance: the one from {from} must end after it begins"));
        }
        let accepted = self.false_alerts_per_tenant_week;
        if !(accepted > 0.0 && accepted <= 10.0) {
            return Some("false_alerts_per_tenant_week: more than 0 and at most 10".to_owned());
        }
        for (name, value, most) in [
            ("clear_minutes", self.clear_minutes, 1440),
            ("cool_down_minutes", self.cool_down_minutes, 7 * 1440),
            ("reminder_hours", self.reminder_hours, 24 * 365),
        ] {
            if value == 0 || value > most {
                return Some(format!("{name}: 1 to {most}"));
            }
        }
        let overrides = self.overrides.iter().map(|rule| ("overrides", rule.limits()));
        [("limits", self.limits)]
            .into_iter()
            .chain(overrides)
            .find_map(|(place, limits)| limits.mistake().map(|mistake| format!("{place}.{mistake}")))
    }

    /// Whether planned work keeps a tenant quiet in this minute.
    pub fn in_maintenance(&self, tenant: &str, minute: u32) -> bool {
        self.maintenance.iter().any(|window| {
            (window.from..window.until).contains(&minute)
                && window.tenant.as_deref().is_none_or(|name| name == tenant)
        })
    }
}

impl Limits {
    /// None at all.
    pub const NONE: Self = Self {
        delivery_rate: None,
        bounce_rate: None,
        hard_bounce_rate: None,
        complaint_rate: None,
        delivery_ms_p95: None,
        queue_depth: None,
    };

    /// These, and others where these have none.
    fn or(self, others: Self) -> Self {
        Self {
            delivery_rate: self.delivery_rate.or(others.delivery_rate),
            bounce_rate: self.bounce_rate.or(others.bounce_rate),
            hard_bounce_rate: self.hard_bounce_rate.or(others.hard_bounce_rate),
            complaint_rate: self.complaint_rate.or(others.complaint_rate),
            delivery_ms_p95: self.delivery_ms_p95.or(others.delivery_ms_p95),
            queue_depth: self.queue_depth.or(others.queue_depth),
        }
    }

    fn mistake(&self) -> Option<String> {
        let fraction = "a fraction such as 0.02";
        [
            ("delivery_rate", self.delivery_rate, fraction),
            ("bounce_rate", self.bounce_rate, fraction),
            ("hard_bounce_rate", self.hard_bounce_rate, fraction),
            ("complaint_rate", self.complaint_rate, fraction),
            ("delivery_ms_p95", self.delivery_ms_p95, "milliseconds such as 60000"),
            ("queue_depth", self.queue_depth, "mails such as 10000"),
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

    fn is_at(&self, place: &MailSubset) -> bool {
        self.provider == place.provider && self.campaign == place.campaign
    }

    fn place(&self) -> MailSubset {
        MailSubset { provider: self.provider.clone(), campaign: self.campaign.clone() }
    }

    fn limits(&self) -> Limits {
        Limits {
            delivery_rate: self.delivery_rate,
            bounce_rate: self.bounce_rate,
            hard_bounce_rate: self.hard_bounce_rate,
            complaint_rate: self.complaint_rate,
            delivery_ms_p95: self.delivery_ms_p95,
            queue_depth: self.queue_depth,
        }
    }
}

impl MailSubset {
    /// Whether mail at this provider and of this campaign is in it.
    pub fn holds(&self, provider: &str, campaign: &str) -> bool {
        self.provider.as_deref().is_none_or(|name| name == provider)
            && self.campaign.as_deref().is_none_or(|name| name == campaign)
    }
}

/// Minutes since 1970, written as RFC 3339.
mod rfc3339_minute {
    use event::{Minute, Timestamp};
    use serde::{Deserialize as _, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    pub(super) fn serialize<S: Serializer>(minute: &u32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Minute(*minute).start())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
        let text = String::deserialize(deserializer)?;
        let moment: jiff::Timestamp = text.parse().map_err(|_| {
            serde::de::Error::custom(format!("{text:?} is not a time such as 2026-11-25T08:00:00Z"))
        })?;
        Ok(Timestamp::from_millis(moment.as_millisecond()).minute().0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_override_that_names_a_limit_wins() {
        let rules: Rules = serde_json::from_str(
            r#"{"overrides":[{"tenant":"acme","bounce_rate":0.05},{"bounce_rate":0.03,"complaint_rate":0.002}]}"#,
        )
        .unwrap();
        assert_eq!(rules.limits_of("acme").bounce_rate, Some(0.05));
        assert_eq!(rules.limits_of("acme").complaint_rate, Some(0.002));
        assert_eq!(rules.limits_of("other").bounce_rate, Some(0.03));
        assert_eq!(rules.limits_of("other").delivery_rate, Some(0.95));
    }

    #[test]
    fn a_part_of_the_mail_has_its_own_limits_and_no_others() {
        let rules: Rules = serde_json::from_str(
            r#"{"overrides":[{"provider":"gmail","complaint_rate":0.0005},{"tenant":"acme","provider":"gmail","bounce_rate":0.1},
                {"tenant":"acme","campaign":"spring","delivery_ms_p95":60000}]}"#,
        )
        .unwrap();
        assert_eq!(rules.limits_of("acme"), Limits::default());
        let subsets = rules.subset_limits("acme");
        let [(spring, slow), (gmail, rates)] = subsets.as_slice() else { panic!("{subsets:?}") };
        assert!(spring.holds("yahoo", "spring") && !spring.holds("yahoo", "autumn"));
        assert_eq!(*slow, Limits { delivery_ms_p95: Some(60_000.0), ..Limits::NONE });
        assert!(gmail.holds("gmail", "") && !gmail.holds("yahoo", "spring"));
        assert_eq!(*rates, Limits { bounce_rate: Some(0.1), complaint_rate: Some(0.0005), ..Limits::NONE });
        assert_eq!(rules.subset_limits("other").len(), 1);
    }

    #[test]
    fn a_misspelt_limit_is_refused() {
        assert!(serde_json::from_str::<Rules>(r#"{"limits":{"bounce_rat":0.05}}"#).is_err());
    }

    #[test]
    fn a_rule_for_a_name_that_no_tenant_has_is_refused() {
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
            let rules: Rules = serde_json::from_value(serde_json::json!({field: [rule]})).unwrap();
            let mistake = rules.mistake();
            assert_eq!(mistake.is_none(), is_right, "{field} {tenant}: {mistake:?}");
            assert!(is_right || mistake.unwrap().starts_with(&format!("{field}.tenant: ")), "{tenant}");
        }
    }

    #[test]
    fn maintenance_keeps_its_tenant_quiet_to_its_last_minute() {
        let rules: Rules = serde_json::from_str(
            r#"{"maintenance":[{"tenant":"acme","from":"1970-01-01T01:00:00Z","until":"1970-01-01T02:00:00Z"}]}"#,
        )
        .unwrap();
        let quiet = |tenant, minute| rules.in_maintenance(tenant, minute);
        assert!(quiet("acme", 60) && quiet("acme", 119));
        assert!(!quiet("acme", 59) && !quiet("acme", 120) && !quiet("other", 60));
    }
}
