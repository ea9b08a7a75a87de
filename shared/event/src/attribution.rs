//! Whose mail an event is about, and what it is filed under: tenant and dimensions.
//!
//! The tenant comes from what every event of a message carries, so that send and outcome never land in different
//! tenants: the named tag, then the configuration set, the sending domain, the sending account; SES's own tenant
//! name comes last because SES documents it for bounces and complaints only.

use std::borrow::Cow;

use crate::event::EmailEvent;
use crate::provider::provider;
use crate::tags::TagList;
use crate::units::TenantId;

mod address;
mod attributor;
mod settings;
mod value;

pub use attributor::Attributor;
pub use settings::{Attribution, InvalidSettings, MAX_DECLARED_TAGS, Settings, TenantMaps};

/// SES's own tags: <https://docs.aws.amazon.com/ses/latest/dg/monitor-using-event-publishing.html>
const CONFIGURATION_SET_TAG: &str = "ses:configuration-set";
const FROM_DOMAIN_TAG: &str = "ses:from-domain";
/// On bounces and complaints of mail sent through an SES tenant:
/// <https://docs.aws.amazon.com/ses/latest/dg/sending-email-suppression-list-tenant-level.html>
const TENANT_NAME_TAG: &str = "ses:tenant-name";
/// <https://docs.aws.amazon.com/ses/latest/dg/send-an-email-from-console.html>
const SIMULATOR_DOMAIN: &str = "simulator.amazonses.com";

/// What an event is filed under inside its tenant.
///
/// The discriminants are part of the storage format: append, never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Dimension {
    /// The campaign tag.
    Campaign = 0,
    /// The segment tag.
    Segment = 1,
    /// The domain mail was sent from.
    SendingDomain = 2,
    /// The domain of the recipient's address.
    RecipientDomain = 3,
    /// The mailbox provider (ISP) behind the recipient's domain.
    Provider = 4,
    /// SES's configuration set.
    ConfigurationSet = 5,
    /// The first further tag the tenant declares.
    Tag1 = 6,
    /// The second further tag.
    Tag2 = 7,
    /// The third further tag.
    Tag3 = 8,
    /// The fourth further tag.
    Tag4 = 9,
}

impl Dimension {
    /// How many there are.
    pub const COUNT: usize = 10;
    /// All of them, in the order of their stored numbers.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Campaign,
        Self::Segment,
        Self::SendingDomain,
        Self::RecipientDomain,
        Self::Provider,
        Self::ConfigurationSet,
        Self::Tag1,
        Self::Tag2,
        Self::Tag3,
        Self::Tag4,
    ];
    /// The value of a dimension that an event does not have.
    pub const NONE: &'static str = "(none)";
    /// The value that small values are folded into where there are too many.
    pub const OTHER: &'static str = "(other)";
    /// The value of a text that could deceive a reader: control characters, or an imitation of one of these names.
    pub const INVALID: &'static str = "(invalid)";
    /// The recipient's domain and provider of an event that may be about any of several recipients (opens, clicks).
    pub const SEVERAL: &'static str = "(several)";

    /// The name used in queries, replies and options. Declared tags are also known by the tag's own name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Campaign => "campaign",
            Self::Segment => "segment",
            Self::SendingDomain => "sending_domain",
            Self::RecipientDomain => "recipient_domain",
            Self::Provider => "provider",
            Self::ConfigurationSet => "configuration_set",
            Self::Tag1 => "tag1",
            Self::Tag2 => "tag2",
            Self::Tag3 => "tag3",
            Self::Tag4 => "tag4",
        }
    }

    /// The dimension of that name, if it is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dimension| dimension.name() == name)
    }
}

/// The values of all dimensions for one recipient of one event, in the order of [`Dimension::ALL`].
pub type DimensionValues<'a> = [Cow<'a, str>; Dimension::COUNT];

/// What an event of a message is filed under, its recipients apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageValues<'e> {
    /// Whose mail it is: a valid [`TenantId`] or [`TenantId::UNASSIGNED`].
    pub tenant: Cow<'e, str>,
    /// Whether what the event says about its tenant is unusable or contradicts itself.
    pub conflict: bool,
    /// The values of the message; those of the recipient are [`Dimension::NONE`].
    pub values: DimensionValues<'e>,
    /// Whether an event with the same tags has the same, whatever else it says.
    is_of_tags: bool,
}

/// What an event is filed under for one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipientValues<'a> {
    /// The recipient's domain in lower case, [`Dimension::NONE`], [`Dimension::INVALID`] or [`Dimension::SEVERAL`].
    pub domain: Cow<'a, str>,
    /// The mailbox provider's slug, or one of the same.
    pub provider: &'static str,
    /// Whether it is SES's mailbox simulator, which is counted apart.
    pub simulator: bool,
}

impl Attribution {
    /// The tenant and the message's values of an event.
    pub fn message<'e, 't: 'e>(&'e self, event: &EmailEvent<'t>) -> MessageValues<'e> {
        let tags = event.tags.list();
        let from = tags.get(FROM_DOMAIN_TAG);
        let sending_domain = match from {
            Some(domain) => map(domain, address::canonical_domain),
            None => map(&event.source, address::domain_of),
        };
        let (tenant, conflict) = self.tenant(event, &tags, &sending_domain);
        let value = |tag: &str| tags.get(tag).map_or(NONE, |text| map(text, value::clean));
        let declared = |number: usize| self.tags.get(number).map_or(NONE, |tag| value(tag));
        MessageValues {
            tenant,
            conflict,
            values: [
                value(&self.campaign_tag),
                value(&self.segment_tag),
                sending_domain,
                NONE,
                NONE,
                value(CONFIGURATION_SET_TAG),
                declared(0),
                declared(1),
                declared(2),
                declared(3),
            ],
            is_of_tags: from.is_some()
                && (tags.get(&self.tenant_tag).is_some() || !self.tenants.has_accounts()),
        }
    }

    /// Whether a tag whose name ends so decides anything.
    fn reads(&self, ending: &str) -> bool {
        let own = [&self.tenant_tag, &self.campaign_tag, &self.segment_tag];
        own.into_iter().chain(&self.tags).any(|name| name.ends_with(ending))
    }

    /// The values of one recipient's address, which may carry a display name.
    pub fn recipient(address: &str) -> RecipientValues<'_> {
        let domain = address::domain_of(address);
        let provider = if domain == Dimension::NONE { Dimension::NONE } else { provider(&domain) };
        let simulator = domain == SIMULATOR_DOMAIN;
        RecipientValues { domain, provider, simulator }
    }

    /// The recipient's values of an open or a click, which name nobody: those of the only recipient, what all recipients have in
    /// common, or [`Dimension::SEVERAL`].
    pub fn reader_of<'a>(event: &'a EmailEvent<'_>) -> RecipientValues<'a> {
        let mut recipients = event.destinations.iter().map(|address| Self::recipient(address));
        let kept = u32::try_from(event.destinations.len()).unwrap_or(u32::MAX);
        let Some(mut common) = recipients.next().filter(|_| event.destination_count <= kept) else {
            return RecipientValues::unknown(event.destination_count);
        };
        for other in recipients {
            common = common.shared_with(&other);
        }
        common
    }

    /// The tenant, and whether what the event says about it contradicts itself or cannot be used.
    fn tenant<'e, 't: 'e>(
        &'e self,
        event: &EmailEvent<'t>,
        tags: &TagList<'t>,
        sending_domain: &str,
    ) -> (Cow<'e, str>, bool) {
        let by_ses = tags.get(TENANT_NAME_TAG);
        let mapped = || self.mapped_tenant(event, tags, sending_domain).map(Cow::Borrowed);
        let found: Option<Cow<'e, str>> =
            tags.get(&self.tenant_tag).cloned().or_else(mapped).or_else(|| by_ses.cloned());
        let Some(tenant) = found else { return (Cow::Borrowed(TenantId::UNASSIGNED), false) };
        // Anyone who sends mail can set tags, so a reserved name in one must not pass for the platform or for another tenant.
        if TenantId::declared(&tenant).is_err() {
            return (Cow::Borrowed(TenantId::UNASSIGNED), true);
        }
        let conflict = by_ses.is_some_and(|by_ses| *by_ses != tenant);
        (tenant, conflict)
    }

    fn mapped_tenant(
        &self,
        event: &EmailEvent<'_>,
        tags: &TagList<'_>,
        sending_domain: &str,
    ) -> Option<&str> {
        let by_configuration_set =
            tags.get(CONFIGURATION_SET_TAG).and_then(|name| self.tenants.of_configuration_set(name));
        by_configuration_set
            .or_else(|| self.tenants.of_sending_domain(sending_domain))
            .or_else(|| event.sending_account.as_deref().and_then(|account| self.tenants.of_account(account)))
    }
}

impl MessageValues<'_> {
    fn into_owned(self) -> MessageValues<'static> {
        let Self { tenant, conflict, values, is_of_tags } = self;
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        MessageValues { tenant: owned(tenant), conflict, values: values.map(owned), is_of_tags }
    }
}

impl RecipientValues<'_> {
    /// Of recipients that are not all known.
    fn unknown(count: u32) -> Self {
        let value = if count == 0 { Dimension::NONE } else { Dimension::SEVERAL };
        Self { domain: Cow::Borrowed(value), provider: value, simulator: false }
    }

    /// What both have in common.
    fn shared_with(mut self, other: &Self) -> Self {
        if self.domain != other.domain {
            self.domain = Cow::Borrowed(Dimension::SEVERAL);
        }
        if self.provider != other.provider {
            self.provider = Dimension::SEVERAL;
        }
        self.simulator &= other.simulator;
        self
    }
}

const NONE: Cow<'static, str> = Cow::Borrowed(Dimension::NONE);

/// What `change` makes of a text, borrowed if the text is.
fn map<'a>(text: &Cow<'a, str>, change: impl FnOnce(&str) -> Cow<'_, str>) -> Cow<'a, str> {
    match text {
        Cow::Borrowed(text) => change(text),
        Cow::Owned(text) => Cow::Owned(change(text).into_owned()),
    }
}

#[cfg(test)]
mod tests;
