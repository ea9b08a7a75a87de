//! What an alert is about, and the public id that is derived from it.
//!
//! The id is part of stored alerts, links and notifications. It must never depend on how a type or variant is spelled in this code, so
//! everything that enters it has a stable name, and a test fixes all names.

use event::Minute;
use serde::{Deserialize, Serialize};

use crate::minutes::{MINUTES_PER_DAY, MINUTES_PER_HOUR};
use crate::rules::MailSubset;
use event::AlertScope;

/// For this long after its end an alert usually still explains what it silences.
const USUAL_AFTERMATH_MINUTES: u32 = 6 * MINUTES_PER_HOUR;

/// The groups of metrics that have one alert together, because one cause moves all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum AlertGroup {
    /// Bounces, deferrals and deliveries.
    Delivery,
    Latency,
    Complaint,
    Engagement,
    Volume,
    /// Mail accepted by SES without an outcome, or what a gauge reports.
    Queue,
    /// Limits on deliveries and bounces.
    DeliveryLimit,
    ComplaintLimit,
    /// Limits on delivery time.
    LatencyLimit,
    /// Limits on waiting mail.
    QueueLimit,
    /// A slow fall of deliveries.
    DeliveryDecline,
    /// A slow fall of opens.
    EngagementDecline,
    /// A slow rise of complaints.
    ComplaintDecline,
    /// SES's reputation thresholds for hard bounces.
    BounceBudget,
    /// SES's reputation thresholds for complaints.
    ComplaintBudget,
    /// No events from any tenant.
    Pipeline,
}

impl AlertGroup {
    /// The name that enters the alert's id. It must not change: an open alert would get another id.
    pub(crate) const fn stable_name(self) -> &'static str {
        match self {
            Self::Delivery => "delivery",
            Self::Latency => "latency",
            Self::Complaint => "complaint",
            Self::Engagement => "engagement",
            Self::Volume => "volume",
            Self::Queue => "queue",
            Self::DeliveryLimit => "delivery_limit",
            Self::ComplaintLimit => "complaint_limit",
            Self::LatencyLimit => "latency_limit",
            Self::QueueLimit => "queue_limit",
            Self::DeliveryDecline => "delivery_decline",
            Self::EngagementDecline => "engagement_decline",
            Self::ComplaintDecline => "complaint_decline",
            Self::BounceBudget => "bounce_budget",
            Self::ComplaintBudget => "complaint_budget",
            Self::Pipeline => "pipeline",
        }
    }

    /// For how long after its end an alert still explains related findings, and takes over the same trouble if it comes back.
    ///
    /// A rate close to its limit comes back every day, a slow decline is found again every day.
    pub(super) const fn aftermath_minutes(self) -> u32 {
        match self {
            Self::DeliveryLimit | Self::ComplaintLimit => 3 * MINUTES_PER_DAY,
            Self::DeliveryDecline | Self::EngagementDecline | Self::ComplaintDecline => 14 * MINUTES_PER_DAY,
            Self::Complaint | Self::BounceBudget | Self::ComplaintBudget => MINUTES_PER_DAY,
            Self::Delivery
            | Self::Latency
            | Self::Engagement
            | Self::Volume
            | Self::Queue
            | Self::LatencyLimit
            | Self::QueueLimit
            | Self::Pipeline => USUAL_AFTERMATH_MINUTES,
        }
    }
}

/// What an alert is about. There is at most one open alert per key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct AlertKey {
    /// The tenant or the platform.
    pub scope: AlertScope,
    /// The mailbox provider; none for all of them.
    pub provider: Option<String>,
    /// The campaign; none for all of them.
    pub campaign: Option<String>,
    pub group: AlertGroup,
}

impl AlertKey {
    /// Trouble of all mail of a scope.
    pub(crate) fn all_mail(scope: &AlertScope, group: AlertGroup) -> Self {
        Self { scope: scope.clone(), provider: None, campaign: None, group }
    }

    /// Trouble at one provider; at all of them if there is none.
    pub(crate) fn at_provider(scope: &AlertScope, provider: Option<String>, group: AlertGroup) -> Self {
        Self { provider, ..Self::all_mail(scope, group) }
    }

    /// Trouble of a subset of a scope's mail.
    pub(crate) fn of_subset(scope: &AlertScope, subset: MailSubset, group: AlertGroup) -> Self {
        Self { campaign: subset.campaign, ..Self::at_provider(scope, subset.provider, group) }
    }
}

/// The public id of an alert whose first finding was at `now`: the same trouble in a repeated run gets the same id, and ids sort by time.
///
/// An FNV-1a hash, because an id is no secret.
pub(super) fn public_id(key: &AlertKey, now: Minute) -> String {
    let mut text = format!(
        "{}\n{}\n{}\n{}",
        key.scope.as_str(),
        // No provider's name is a line break.
        key.provider.as_deref().unwrap_or("\n"),
        key.group.stable_name(),
        now.0
    );
    if let Some(campaign) = &key.campaign {
        text.push('\n');
        text.push_str(campaign);
    }
    hashed_id(&text, now)
}

/// The public id of an alert that began at `now` and is about everything that `text` names.
pub(crate) fn hashed_id(text: &str, now: Minute) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("al_{:08x}{:010x}", now.0, hash >> 24)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_alert_ids_are_fixed() {
        let fixed = [
            (AlertGroup::Delivery, "delivery"),
            (AlertGroup::Latency, "latency"),
            (AlertGroup::Complaint, "complaint"),
            (AlertGroup::Engagement, "engagement"),
            (AlertGroup::Volume, "volume"),
            (AlertGroup::Queue, "queue"),
            (AlertGroup::DeliveryLimit, "delivery_limit"),
            (AlertGroup::ComplaintLimit, "complaint_limit"),
            (AlertGroup::LatencyLimit, "latency_limit"),
            (AlertGroup::QueueLimit, "queue_limit"),
            (AlertGroup::DeliveryDecline, "delivery_decline"),
            (AlertGroup::EngagementDecline, "engagement_decline"),
            (AlertGroup::ComplaintDecline, "complaint_decline"),
            (AlertGroup::BounceBudget, "bounce_budget"),
            (AlertGroup::ComplaintBudget, "complaint_budget"),
            (AlertGroup::Pipeline, "pipeline"),
        ];
        for (group, name) in fixed {
            assert_eq!(group.stable_name(), name);
        }
    }

    #[test]
    fn ids_are_fixed_and_differ_by_everything_that_an_alert_is_about() {
        let scope = |text: &str| AlertScope::from_stored(text).unwrap();
        let subset = |provider: Option<&str>, campaign: Option<&str>| MailSubset {
            provider: provider.map(str::to_owned),
            campaign: campaign.map(str::to_owned),
        };
        let id = |text: &str, provider, campaign, group, minute| {
            public_id(&AlertKey::of_subset(&scope(text), subset(provider, campaign), group), Minute(minute))
        };
        let ids = [
            id("acme", None, None, AlertGroup::Delivery, 29_459_520),
            id("acme", Some("gmail"), None, AlertGroup::Delivery, 29_459_520),
            id("acme", None, Some("gmail"), AlertGroup::Delivery, 29_459_520),
            id("acme", None, None, AlertGroup::DeliveryLimit, 29_459_520),
            id("*", None, None, AlertGroup::Delivery, 29_459_520),
            id("acme", None, None, AlertGroup::Delivery, 29_459_521),
        ];
        assert_eq!(ids, IDS);
        for (index, id) in ids.iter().enumerate() {
            assert!(!ids[index + 1..].contains(id), "{id}");
        }
        assert!(ids[5] > ids[0], "ids sort by time");
    }

    const IDS: [&str; 6] = [
        "al_01c1844066db4aa708",
        "al_01c184406cfe08d4fe",
        "al_01c184401133858a44",
        "al_01c18440903de91cd1",
        "al_01c18440f7d311220d",
        "al_01c1844166db49a708",
    ];
}
