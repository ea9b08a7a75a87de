//! What to watch for and when to speak: limits, their overrides, the false alarms accepted, and quiet times.
//!
//! Every rule has a default, so an empty file of rules is a good one. Unknown keys are refused: a misspelt limit must never
//! be no limit.

use event::Minute;
use serde::{Deserialize, Serialize};

/// Overrides, and quiet times, that rules may have: each is looked at for each tenant.
pub(crate) const MAX_OVERRIDES: usize = 1000;

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
    /// False alarms accepted per tenant and week, over all its series.
    pub false_alerts_per_tenant_week: f64,
    /// Minutes without evidence before an alert is resolved.
    pub clear_minutes: u32,
    /// Minutes after that in which trouble that comes back goes on under its old id.
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
            false_alerts_per_tenant_week: 0.1,
            clear_minutes: 30,
            cool_down_minutes: 120,
            reminder_hours: 24,
            maintenance: Vec::new(),
        }
    }
}

/// Limits, as fractions; what is left out has none.
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
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            delivery_rate: Some(0.95),
            bounce_rate: Some(0.02),
            hard_bounce_rate: None,
            complaint_rate: Some(0.001),
        }
    }
}

/// Limits of one tenant. Above 1, a rate's limit is off.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Override {
    /// The tenant it holds for; all of them if left out.
    pub tenant: Option<String>,
    /// Lowest delivery rate.
    pub delivery_rate: Option<f64>,
    /// Highest bounce rate.
    pub bounce_rate: Option<f64>,
    /// Highest rate of permanent bounces.
    pub hard_bounce_rate: Option<f64>,
    /// Highest complaint rate.
    pub complaint_rate: Option<f64>,
}

/// A planned quiet time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Maintenance {
    /// Whose; everybody's if left out.
    #[serde(default)]
    pub tenant: Option<String>,
    /// First minute, RFC 3339.
    #[serde(with = "moment")]
    pub from: u32,
    /// First minute after it, RFC 3339.
    #[serde(with = "moment")]
    pub until: u32,
}

impl Rules {
    /// The limits of a whole tenant.
    pub fn limits_of(&self, tenant: &str) -> Limits {
        let mut limits = self.limits;
        let fits = |rule: &&Override| rule.tenant.as_deref().is_none_or(|name| name == tenant);
        // The first that names a limit wins, so it is applied last.
        for rule in self.overrides.iter().filter(fits).rev() {
            rule.apply(&mut limits);
        }
        limits
    }

    /// What is wrong with them, if anything, naming the field.
    pub fn mistake(&self) -> Option<String> {
        let named = |limits: [(&'static str, Option<f64>); 4], place: &str| {
            let wrong = limits
                .into_iter()
                .find(|(_, limit)| limit.is_some_and(|limit| limit.is_nan() || limit < 0.0));
            wrong.map(|(name, _)| format!("{place}.{name}: a fraction such as 0.02"))
        };
        if self.overrides.len() > MAX_OVERRIDES || self.maintenance.len() > MAX_OVERRIDES {
            return Some(format!("overrides, maintenance: at most {MAX_OVERRIDES} each"));
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
        let Limits { delivery_rate, bounce_rate, hard_bounce_rate, complaint_rate } = self.limits;
        let of = |delivery, bounce, hard, complaint| {
            [
                ("delivery_rate", delivery),
                ("bounce_rate", bounce),
                ("hard_bounce_rate", hard),
                ("complaint_rate", complaint),
            ]
        };
        named(of(delivery_rate, bounce_rate, hard_bounce_rate, complaint_rate), "limits").or_else(|| {
            self.overrides.iter().find_map(|rule| {
                let limits =
                    of(rule.delivery_rate, rule.bounce_rate, rule.hard_bounce_rate, rule.complaint_rate);
                named(limits, "overrides")
            })
        })
    }

    /// Whether planned work keeps a tenant quiet in this minute.
    pub fn in_maintenance(&self, tenant: &str, minute: u32) -> bool {
        self.maintenance.iter().any(|window| {
            (window.from..window.until).contains(&minute)
                && window.tenant.as_deref().is_none_or(|name| name == tenant)
        })
    }
}

impl Override {
    /// Puts its limits in place of others.
    pub fn apply(&self, limits: &mut Limits) {
        limits.delivery_rate = self.delivery_rate.or(limits.delivery_rate);
        limits.bounce_rate = self.bounce_rate.or(limits.bounce_rate);
        limits.hard_bounce_rate = self.hard_bounce_rate.or(limits.hard_bounce_rate);
        limits.complaint_rate = self.complaint_rate.or(limits.complaint_rate);
    }
}

/// Minutes since 1970, written as RFC 3339.
mod moment {
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
    fn a_misspelt_limit_is_refused() {
        assert!(serde_json::from_str::<Rules>(r#"{"limits":{"bounce_rat":0.05}}"#).is_err());
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
