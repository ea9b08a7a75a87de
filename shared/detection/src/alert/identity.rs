//! What an alert is about, and its name.

use serde::{Deserialize, Serialize};

use crate::rules::MailSubset;

/// What an alert that has gone silences stays silent for so long, in minutes.
const AFTERMATH: u32 = 6 * 60;

/// What a series can be in trouble with; one alert each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum AlertGroup {
    /// Bounces, deferrals and deliveries: one cause moves all of them.
    Delivery,
    /// Delivery time.
    Latency,
    /// Complaints.
    Complaint,
    /// Opens and clicks.
    Engagement,
    /// Mail sent.
    Volume,
    /// Mail waiting.
    Queue,
    /// A limit on deliveries or bounces.
    DeliveryLimit,
    /// A limit on complaints.
    ComplaintLimit,
    /// A limit on delivery time.
    LatencyLimit,
    /// A limit on waiting mail.
    QueueLimit,
    /// Slow decline of deliveries.
    DeliveryDecline,
    /// Slow decline of opens.
    EngagementDecline,
    /// Slow growth of complaints.
    ComplaintDecline,
    /// SES's lines on hard bounces.
    BounceBudget,
    /// SES's lines on complaints.
    ComplaintBudget,
    /// No counts at all.
    Pipeline,
}

impl AlertGroup {
    /// Minutes in which trouble that comes back is the old one: a rate about its limit comes back daily.
    pub(super) const fn aftermath(self) -> u32 {
        match self {
            Self::DeliveryLimit | Self::ComplaintLimit => 3 * 24 * 60,
            Self::DeliveryDecline | Self::EngagementDecline | Self::ComplaintDecline => 14 * 24 * 60,
            Self::Complaint | Self::BounceBudget | Self::ComplaintBudget => 24 * 60,
            Self::Delivery
            | Self::Latency
            | Self::Engagement
            | Self::Volume
            | Self::Queue
            | Self::LatencyLimit
            | Self::QueueLimit
            | Self::Pipeline => AFTERMATH,
        }
    }
}

/// What an alert is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct AlertKey {
    /// The tenant; `*` for all of them.
    pub tenant: String,
    /// The provider; none for all of them.
    pub provider: Option<String>,
    /// The campaign, if its mail has a limit of its own.
    pub campaign: Option<String>,
    /// The group.
    pub group: AlertGroup,
}

impl AlertKey {
    /// Trouble of a tenant, at one provider or at all.
    pub(crate) fn of(tenant: &str, provider: Option<String>, group: AlertGroup) -> Self {
        Self { tenant: tenant.to_owned(), provider, campaign: None, group }
    }

    /// Trouble of a part of a tenant's mail.
    pub(crate) fn at(tenant: &str, place: MailSubset, group: AlertGroup) -> Self {
        Self { campaign: place.campaign, ..Self::of(tenant, place.provider, group) }
    }
}

/// Stable and unguarded: an id says when and what, it is no secret (FNV-1a). Ids sort by the minute the alert began.
pub(super) fn id_of(key: &AlertKey, now: u32) -> String {
    let mut text =
        format!("{}\n{}\n{:?}\n{now}", key.tenant, key.provider.as_deref().unwrap_or("\n"), key.group);
    if let Some(campaign) = &key.campaign {
        text.push('\n');
        text.push_str(campaign);
    }
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("al_{now:08x}{:010x}", hash >> 24)
}
