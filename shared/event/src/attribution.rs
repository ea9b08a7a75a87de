//! Attributes events: finds the tenant that an event belongs to and the values of its dimensions.
//!
//! The tenant is taken from what every event of a message carries, so that a send and its outcome never land in different
//! tenants: the tenant tag first, then mappings by configuration set, sending domain and sending account. SES's own tenant name
//! comes last, because SES documents it for bounces and complaints only. What matches none of these is [`TenantId::UNASSIGNED`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::account_event::{AccountEvent, SendingResource};
use crate::event::EmailEvent;
use crate::provider;
use crate::tags::TagList;
use crate::units::TenantId;

mod address;
mod cached;
mod dimension;
mod settings;
mod value;

pub(crate) use address::canonical_domain;
pub use cached::CachedAttribution;
pub use dimension::{Dimension, DimensionValues};
pub use settings::{
    Attribution, AttributionSettings, InvalidAttributionSettings, LinkSettings, MAX_DECLARED_TAGS,
    ProviderMaps, TenantMaps,
};
pub(crate) use value::shortened;

/// SES's own tags: <https://docs.aws.amazon.com/ses/latest/dg/monitor-using-event-publishing.html>
const CONFIGURATION_SET_TAG: &str = "ses:configuration-set";
const FROM_DOMAIN_TAG: &str = "ses:from-domain";
const OUTGOING_IP_TAG: &str = "ses:outgoing-ip";
/// On bounces and complaints of mail sent through an SES tenant:
/// <https://docs.aws.amazon.com/ses/latest/dg/sending-email-suppression-list-tenant-level.html>
const TENANT_NAME_TAG: &str = "ses:tenant-name";
/// The domain of SES's mailbox simulator, which answers test mail with ordinary events:
/// <https://docs.aws.amazon.com/ses/latest/dg/send-an-email-from-console.html>
const SIMULATOR_DOMAIN: &str = "simulator.amazonses.com";

/// The tenant of a message and those values of its dimensions that are the same for all of its recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageAttribution<'e> {
    /// The tenant: always a name that [`TenantId::from_stored`] accepts. Borrowed text, because one `TenantId` per event would be
    /// a copy.
    pub tenant: Cow<'e, str>,
    /// Whether the event names an unusable tenant, or two different ones.
    pub conflict: bool,
    /// The values of the message. Those that depend on the recipient are [`Dimension::NONE`].
    pub values: DimensionValues<'e>,
    /// Whether every event with the same tags has the same attribution, whatever its other fields are.
    is_decided_by_tags: bool,
}

/// The values of the dimensions that depend on the recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipientDimensions<'a> {
    /// The recipient's domain in lower case, [`Dimension::NONE`], [`Dimension::INVALID`] or [`Dimension::SEVERAL`].
    pub domain: Cow<'a, str>,
    /// The mailbox provider that runs the domain.
    pub provider: RecipientProvider<'a>,
    /// Whether the recipient is SES's mailbox simulator, which is counted apart.
    pub simulator: bool,
}

/// The mailbox provider of a recipient, as far as an event alone tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecipientProvider<'a> {
    /// Its slug, or one of the reserved values.
    Known(&'a str),
    /// The provider of the recipient's domain, which [`provider::learned`] may know. Counted under the domain's marker.
    OfDomain,
}

/// Finds the dimensions of recipients: the domain, and its provider by the operator's overrides or by the list of providers.
#[derive(Clone, Debug, Default)]
pub struct RecipientAttribution {
    /// Slugs by domain. Shared, because every process that counts copies it once per change of the settings.
    by_domain: Arc<BTreeMap<String, String>>,
}

impl Attribution {
    /// Finds the tenant and the dimensions of the message that `event` is about.
    pub fn attribute<'e, 't: 'e>(&'e self, event: &EmailEvent<'t>) -> MessageAttribution<'e> {
        let tags = event.tags.list();
        // SES's tag comes first: it has the bare domain, while `source` may carry a display name and encoded words.
        let from = tags.get(FROM_DOMAIN_TAG);
        let sending_domain = match from {
            Some(domain) => borrow_or_own(domain, address::canonical_domain),
            // Older notifications lack the tag.
            None => borrow_or_own(&event.source, address::domain_of),
        };
        let (tenant, conflict) = self.tenant(event, &tags, &sending_domain);
        let value = |tag: &str| tags.get(tag).map_or(NONE, |text| borrow_or_own(text, value::clean));
        let declared = |number: usize| self.tag_sources.get(number).map_or(NONE, |tag| value(tag));
        MessageAttribution {
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
            // Without the domain tag `source` decides, and without the tenant tag the account may.
            is_decided_by_tags: from.is_some()
                && (tags.get(&self.tenant_tag).is_some() || !self.tenants.has_accounts()),
        }
    }

    /// Whether a tag whose name ends with `ending` decides the attribution.
    fn uses_tag_ending_with(&self, ending: &str) -> bool {
        let own = [&self.tenant_tag, &self.campaign_tag, &self.segment_tag];
        own.into_iter().chain(&self.tag_sources).any(|name| name.ends_with(ending))
    }

    /// What finds the dimensions of recipients.
    pub fn recipients(&self) -> &RecipientAttribution {
        &self.recipients
    }

    /// The tenant that an event about an account concerns; `None` if it concerns the platform.
    ///
    /// By the mappings, like mail: an account that is mapped to no tenant serves several.
    pub fn tenant_of_account_event(&self, event: &AccountEvent) -> Option<TenantId> {
        let mapped = match &event.resource {
            SendingResource::Tenant(name) => Some(name.as_str()),
            SendingResource::ConfigurationSet(name) => self.tenants.of_configuration_set(name),
            SendingResource::Domain(domain) => self.tenants.of_sending_domain(domain),
            SendingResource::Account => None,
        };
        let tenant = mapped.or_else(|| self.tenants.of_account(&event.account))?;
        // A name that is no valid tenant is seen by the operator, who can tell whose it is.
        TenantId::new(tenant).ok()
    }

    /// The tenant, and whether there is a conflict: the event names an unusable tenant, or two different ones.
    fn tenant<'e, 't: 'e>(
        &'e self,
        event: &EmailEvent<'t>,
        tags: &TagList<'t>,
        sending_domain: &str,
    ) -> (Cow<'e, str>, bool) {
        // Last, and compared with the others: on other event types than bounce and complaint it is not documented, and a tenant found
        // by it alone would have outcomes without sends.
        let ses_tenant = tags.get(TENANT_NAME_TAG);
        let mapped = || self.mapped_tenant(event, tags, sending_domain).map(Cow::Borrowed);
        let found: Option<Cow<'e, str>> =
            tags.get(&self.tenant_tag).cloned().or_else(mapped).or_else(|| ses_tenant.cloned());
        let Some(tenant) = found else { return (Cow::Borrowed(TenantId::UNASSIGNED), false) };
        // Anyone who sends mail can set tags, so a reserved name in one must not pass for the platform or for another tenant.
        if TenantId::new(&tenant).is_err() {
            return (Cow::Borrowed(TenantId::UNASSIGNED), true);
        }
        let conflict = ses_tenant.is_some_and(|ses_tenant| *ses_tenant != tenant);
        (tenant, conflict)
    }

    /// The tenant by the operator's mappings, in the order of [`TenantMaps`].
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

impl RecipientAttribution {
    /// The dimensions of a recipient's address, which may carry a display name.
    pub fn dimensions<'a>(&'a self, address: &'a str) -> RecipientDimensions<'a> {
        let domain = address::domain_of(address);
        let simulator = domain == SIMULATOR_DOMAIN;
        let provider = if simulator || domain.starts_with('(') {
            // No address is not the same as an address at a provider that is not known. The simulator and text that is no domain have no
            // provider that could become known.
            RecipientProvider::Known(if domain == Dimension::NONE {
                Dimension::NONE
            } else {
                provider::OTHER
            })
        } else {
            self.provider_of(&domain)
        };
        RecipientDimensions { domain, provider, simulator }
    }

    fn provider_of(&self, domain: &str) -> RecipientProvider<'_> {
        // The override comes first: the operator knows better than any list who runs a domain.
        let overridden = || self.by_domain.get(domain).map(String::as_str);
        match overridden().or_else(|| provider::of_domain(domain)) {
            Some(slug) => RecipientProvider::Known(slug),
            None => RecipientProvider::OfDomain,
        }
    }

    /// The recipient's dimensions of an open or a click, which does not name a recipient: those of the only recipient, or what
    /// all recipients have in common, or [`Dimension::SEVERAL`].
    pub fn interaction_dimensions<'a>(&'a self, event: &'a EmailEvent<'_>) -> RecipientDimensions<'a> {
        let mut recipients = event.destinations.iter().map(|address| self.dimensions(address));
        // Recipients beyond those kept are unknown, so nothing can be said about all of them.
        let kept = u32::try_from(event.destinations.len()).unwrap_or(u32::MAX);
        let Some(mut common) = recipients.next().filter(|_| event.destination_count <= kept) else {
            return RecipientDimensions::unknown(event.destination_count);
        };
        // An image or a link is the same in every copy of the message, so any of the recipients may have opened it.
        for other in recipients {
            common = common.common_with(&other);
        }
        common
    }
}

/// Whether the list of providers has the domain of `address`.
pub(crate) fn has_fixed_provider(address: &str) -> bool {
    provider::of_domain(&address::domain_of(address)).is_some()
}

impl MessageAttribution<'_> {
    fn into_owned(self) -> MessageAttribution<'static> {
        let Self { tenant, conflict, values, is_decided_by_tags } = self;
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        MessageAttribution { tenant: owned(tenant), conflict, values: values.map(owned), is_decided_by_tags }
    }
}

impl RecipientDimensions<'_> {
    /// For `count` recipients that are not all known.
    fn unknown(count: u32) -> Self {
        let value = if count == 0 { Dimension::NONE } else { Dimension::SEVERAL };
        Self { domain: Cow::Borrowed(value), provider: RecipientProvider::Known(value), simulator: false }
    }

    /// What both have in common; differing values become [`Dimension::SEVERAL`].
    fn common_with(mut self, other: &Self) -> Self {
        let same_domain = self.domain == other.domain;
        // Two domains whose providers are not known may have different ones.
        if self.provider != other.provider || (!same_domain && self.provider == RecipientProvider::OfDomain) {
            self.provider = RecipientProvider::Known(Dimension::SEVERAL);
        }
        if !same_domain {
            self.domain = Cow::Borrowed(Dimension::SEVERAL);
        }
        // Only if all are simulated: real mail must never be left out of the counts.
        self.simulator &= other.simulator;
        self
    }
}

const NONE: Cow<'static, str> = Cow::Borrowed(Dimension::NONE);

/// The result of `change` on `text`, borrowed if `text` is borrowed.
fn borrow_or_own<'a>(text: &Cow<'a, str>, change: impl FnOnce(&str) -> Cow<'_, str>) -> Cow<'a, str> {
    match text {
        Cow::Borrowed(text) => change(text),
        Cow::Owned(text) => Cow::Owned(change(text).into_owned()),
    }
}

#[cfg(test)]
mod tests;
