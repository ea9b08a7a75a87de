//! The settings of attribution: the names of tags and three maps, checked once when they are loaded.
//!
//! A name that cannot be a tenant's, or a tag declared twice, is refused here with an error for the author of the settings.
//! Nothing is checked again for each event.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use rapidhash::fast::RandomState;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{OUTGOING_IP_TAG, RecipientAttribution, address};
use crate::link::LinkNames;
use crate::units::TenantId;

/// The most additional tags that may be declared: there are this many dimensions for them.
pub const MAX_DECLARED_TAGS: usize = 4;
/// SES's limit for the name of a tag, in bytes: <https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_MessageTag.html>
const MAX_TAG_BYTES: usize = 256;
const ACCOUNT_DIGITS: usize = 12;
/// Names by which tags that SES sets by itself can be declared. Queries could not use their own names, which have a colon.
///
/// There is none for templates and IP pools, because SES states neither in a tag:
/// <https://docs.aws.amazon.com/ses/latest/dg/monitor-using-event-publishing.html>
const AUTO_TAGS: [(&str, &str); 1] = [("sending_ip", OUTGOING_IP_TAG)];
/// The longest name of a provider in an override: room for any listed slug.
const MAX_PROVIDER_BYTES: usize = 32;

/// The settings as they are configured, not yet checked.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AttributionSettings {
    /// The tag that names the tenant. Defaults to `tenant`.
    pub tenant_tag: String,
    /// The tag that names the campaign. Defaults to `campaign`.
    pub campaign_tag: String,
    /// The tag that names the segment. Defaults to `segment`.
    pub segment_tag: String,
    /// Up to [`MAX_DECLARED_TAGS`] additional tags that become the dimensions `tag1` to `tag4`, in this order. `sending_ip` stands for the
    /// address that SES sent from. Defaults to none.
    pub tags: Vec<String>,
    /// Mappings for messages without a tenant tag. Defaults to none.
    pub tenants: TenantMaps,
    /// Who runs recipients' domains, where the operator knows better. Defaults to none.
    pub providers: ProviderMaps,
    /// What is stored of links.
    pub links: LinkSettings,
}

/// What is stored of the links that were followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinkSettings {
    /// The names under which clicks are counted by link: `hash`, `tags` or `host_and_path`. Defaults to `hash`.
    pub store: LinkNames,
}

/// Assigns recipients' domains to mailbox providers, before the list of providers and before what their servers say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderMaps {
    /// The slug of the provider by recipient domain. Sub-domains need entries of their own.
    pub by_recipient_domain: BTreeMap<String, String>,
}

impl Default for AttributionSettings {
    fn default() -> Self {
        Self {
            tenant_tag: "tenant".to_owned(),
            campaign_tag: "campaign".to_owned(),
            segment_tag: "segment".to_owned(),
            tags: Vec::new(),
            tenants: TenantMaps::default(),
            providers: ProviderMaps::default(),
            links: LinkSettings::default(),
        }
    }
}

/// Assigns mail that has no tenant tag to tenants. The mappings are tried in the order configuration set, sending domain, account; the
/// first entry that matches decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "TenantMappings")]
pub struct TenantMaps {
    /// Tenant by the name of the SES configuration set.
    #[schemars(with = "BTreeMap<String, TenantId>")]
    pub by_configuration_set: BTreeMap<String, String>,
    /// Tenant by sending domain. An entry also covers the sub-domains that have no entry of their own.
    #[schemars(with = "BTreeMap<String, TenantId>")]
    pub by_sending_domain: BTreeMap<String, String>,
    /// Tenant by the AWS account that sends, 12 digits.
    #[schemars(with = "BTreeMap<String, TenantId>")]
    pub by_account: BTreeMap<String, String>,
}

/// The defect of settings that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAttributionSettings {
    /// The name of a tag is empty or longer than SES allows.
    #[error("{setting} {name:?} is not the name of a tag: use 1 to {MAX_TAG_BYTES} bytes")]
    TagName {
        /// The name of the setting.
        setting: &'static str,
        /// The name that was refused.
        name: String,
    },
    /// The same tag is used for two purposes.
    #[error(
        "tag {name:?} is declared twice: tenant_tag, campaign_tag, segment_tag and tags need different names"
    )]
    TagTwice {
        /// The name of the tag.
        name: String,
    },
    /// More additional tags than there are dimensions for.
    #[error("tags has {count} names: at most {MAX_DECLARED_TAGS} are allowed")]
    TooManyTags {
        /// The number of tags declared.
        count: usize,
    },
    /// A mapping leads to a name that no tenant can have.
    #[error(
        "tenant {tenant:?} of {key:?} in tenants.{map} is not a tenant's name: use {}",
        TenantId::ALLOWED
    )]
    Tenant {
        /// The name of the map, a field of [`TenantMaps`].
        map: &'static str,
        /// The key of the entry.
        key: String,
        /// The name that was refused.
        tenant: String,
    },
    /// A key of `by_sending_domain` is not a domain.
    #[error("{domain:?} in tenants.by_sending_domain is not a domain: use one such as example.com")]
    Domain {
        /// The key as it stands in the settings.
        domain: String,
    },
    /// A key of `by_recipient_domain` is not a domain, or its value is not the name of a provider.
    #[error(
        "provider {provider:?} of {domain:?} in providers.by_recipient_domain cannot be used: map a domain such as \
         example.com to a name of 1 to {MAX_PROVIDER_BYTES} lower-case letters, digits and hyphens"
    )]
    Provider {
        /// The key as it stands in the settings.
        domain: String,
        /// The name as it stands in the settings.
        provider: String,
    },
    /// A key of `by_account` is not an account number.
    #[error("{account:?} in tenants.by_account is not an AWS account: use its {ACCOUNT_DIGITS} digits")]
    Account {
        /// The key as it stands in the settings.
        account: String,
    },
}

impl InvalidAttributionSettings {
    /// The name of the setting that cannot be used.
    pub const fn setting(&self) -> &'static str {
        match self {
            Self::TagName { setting, .. } => setting,
            Self::TagTwice { .. } | Self::TooManyTags { .. } => "tags",
            Self::Tenant { map, .. } => map,
            Self::Domain { .. } => "by_sending_domain",
            Self::Account { .. } => "by_account",
            Self::Provider { .. } => "by_recipient_domain",
        }
    }
}

/// Finds the tenant and the dimensions of events, by checked settings.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "AttributionSettings")]
pub struct Attribution {
    pub(super) tenant_tag: String,
    pub(super) campaign_tag: String,
    pub(super) segment_tag: String,
    pub(super) tags: Vec<String>,
    /// The names that the declared tags have in messages.
    pub(super) tag_sources: Vec<String>,
    pub(super) tenants: CheckedTenantMaps,
    pub(super) recipients: RecipientAttribution,
    pub(super) links: LinkSettings,
}

type Map = HashMap<String, String, RandomState>;

/// [`TenantMaps`] after checking, with domains in their canonical spelling.
#[derive(Clone, Debug, Default)]
pub(super) struct CheckedTenantMaps {
    configuration_sets: Map,
    sending_domains: Map,
    accounts: Map,
}

impl Attribution {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`InvalidAttributionSettings`] names the first setting that cannot be used.
    pub fn new(settings: AttributionSettings) -> Result<Self, InvalidAttributionSettings> {
        check_tags(&settings)?;
        let AttributionSettings { tenant_tag, campaign_tag, segment_tag, tags, tenants, providers, links } =
            settings;
        let tenants = CheckedTenantMaps::new(tenants)?;
        let recipients = RecipientAttribution { by_domain: Arc::new(checked_providers(providers)?) };
        let tag_sources = tags.iter().map(|name| tag_source(name).to_owned()).collect();
        Ok(Self { tenant_tag, campaign_tag, segment_tag, tags, tag_sources, tenants, recipients, links })
    }

    /// A copy with additional mappings. Where both have an entry, the additional one wins.
    ///
    /// # Errors
    /// [`InvalidAttributionSettings`] names the first entry that cannot be used.
    pub fn with_tenant_maps(&self, tenants: TenantMaps) -> Result<Self, InvalidAttributionSettings> {
        let mut extended = self.clone();
        extended.tenants.extend(CheckedTenantMaps::new(tenants)?);
        Ok(extended)
    }

    /// The additional tags, in the order of `tag1` to `tag4`. Queries may use their names in place of those.
    pub fn declared_tags(&self) -> &[String] {
        &self.tags
    }

    /// The names under which clicks are counted by link.
    pub const fn link_names(&self) -> LinkNames {
        self.links.store
    }
}

impl Default for Attribution {
    fn default() -> Self {
        let AttributionSettings {
            tenant_tag,
            campaign_tag,
            segment_tag,
            tags,
            tenants: _,
            providers: _,
            links,
        } = AttributionSettings::default();
        let (tag_sources, tenants, recipients) = Default::default();
        Self { tenant_tag, campaign_tag, segment_tag, tags, tag_sources, tenants, recipients, links }
    }
}

impl TryFrom<AttributionSettings> for Attribution {
    type Error = InvalidAttributionSettings;

    fn try_from(settings: AttributionSettings) -> Result<Self, Self::Error> {
        Self::new(settings)
    }
}

impl CheckedTenantMaps {
    fn new(maps: TenantMaps) -> Result<Self, InvalidAttributionSettings> {
        let mut by_sending_domain = BTreeMap::new();
        for (domain, tenant) in maps.by_sending_domain {
            let canonical = address::canonical_domain(&domain);
            // `(none)` and `(invalid)`: not a domain.
            if canonical.starts_with('(') {
                return Err(InvalidAttributionSettings::Domain { domain });
            }
            // In the spelling of an event's domain, so that a look-up compares bytes.
            by_sending_domain.insert(canonical.into_owned(), tenant);
        }
        let is_account =
            |key: &String| key.len() == ACCOUNT_DIGITS && key.bytes().all(|c| c.is_ascii_digit());
        if let Some(account) = maps.by_account.keys().find(|key| !is_account(key)) {
            return Err(InvalidAttributionSettings::Account { account: account.clone() });
        }
        Ok(Self {
            configuration_sets: checked_map("by_configuration_set", maps.by_configuration_set)?,
            sending_domains: checked_map("by_sending_domain", by_sending_domain)?,
            accounts: checked_map("by_account", maps.by_account)?,
        })
    }

    fn extend(&mut self, over: Self) {
        self.configuration_sets.extend(over.configuration_sets);
        self.sending_domains.extend(over.sending_domains);
        self.accounts.extend(over.accounts);
    }

    pub(super) fn of_configuration_set(&self, name: &str) -> Option<&str> {
        self.configuration_sets.get(name).map(String::as_str)
    }

    pub(super) fn has_accounts(&self) -> bool {
        !self.accounts.is_empty()
    }

    pub(super) fn of_account(&self, account: &str) -> Option<&str> {
        self.accounts.get(account).map(String::as_str)
    }

    /// The tenant of the domain or of the nearest domain above it. Terminates quickly, because domains are at most 253 bytes
    /// long.
    pub(super) fn of_sending_domain(&self, domain: &str) -> Option<&str> {
        if self.sending_domains.is_empty() {
            return None;
        }
        // From the domain itself upwards, so that the most specific entry wins.
        let mut rest = domain;
        loop {
            if let Some(tenant) = self.sending_domains.get(rest) {
                return Some(tenant);
            }
            rest = rest.split_once('.')?.1;
        }
    }
}

fn checked_map(
    map: &'static str,
    entries: BTreeMap<String, String>,
) -> Result<Map, InvalidAttributionSettings> {
    let mut checked = Map::default();
    for (key, tenant) in entries {
        // Reserved names are refused too: a mapping must not move a tenant's mail to where only operators see it.
        if TenantId::new(&tenant).is_err() {
            return Err(InvalidAttributionSettings::Tenant { map, key, tenant });
        }
        checked.insert(key, tenant);
    }
    Ok(checked)
}

/// The overrides with domains in their canonical spelling. Providers that are not listed are allowed: an operator may name a mail
/// system of its own.
fn checked_providers(maps: ProviderMaps) -> Result<BTreeMap<String, String>, InvalidAttributionSettings> {
    let mut checked = BTreeMap::new();
    for (domain, provider) in maps.by_recipient_domain {
        let canonical = address::canonical_domain(&domain).into_owned();
        let is_name = (1..=MAX_PROVIDER_BYTES).contains(&provider.len())
            && provider
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if canonical.starts_with('(') || !is_name {
            return Err(InvalidAttributionSettings::Provider { domain, provider });
        }
        checked.insert(canonical, provider);
    }
    Ok(checked)
}

/// The name that a declared tag has in messages.
fn tag_source(declared: &str) -> &str {
    AUTO_TAGS.iter().find(|(name, _)| *name == declared).map_or(declared, |(_, source)| source)
}

/// Every tag must have a name that SES allows and only one use: two dimensions with the same values would be a mistake.
fn check_tags(settings: &AttributionSettings) -> Result<(), InvalidAttributionSettings> {
    if settings.tags.len() > MAX_DECLARED_TAGS {
        return Err(InvalidAttributionSettings::TooManyTags { count: settings.tags.len() });
    }
    let named = [
        ("tenant_tag", &settings.tenant_tag),
        ("campaign_tag", &settings.campaign_tag),
        ("segment_tag", &settings.segment_tag),
    ];
    let mut seen: Vec<&str> = Vec::new();
    for (setting, name) in named.into_iter().chain(settings.tags.iter().map(|name| ("tags", name))) {
        // A tag that SES would refuse can never be on a message.
        if name.is_empty() || name.len() > MAX_TAG_BYTES {
            return Err(InvalidAttributionSettings::TagName { setting, name: name.clone() });
        }
        // By the tag that is read, as a tag of SES may be declared under two names.
        let source = if setting == "tags" { tag_source(name) } else { name };
        if seen.contains(&source) {
            return Err(InvalidAttributionSettings::TagTwice { name: name.clone() });
        }
        seen.push(source);
    }
    Ok(())
}
