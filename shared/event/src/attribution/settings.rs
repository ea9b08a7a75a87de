//! How tenants and dimensions are found: the names of tags and three maps, checked once when they are loaded.
//!
//! A name that could never be a tenant, or a tag declared twice, is refused here with a message for whoever wrote the
//! settings; nothing is checked again for each event.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use rapidhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use super::address;
use crate::units::TenantId;

/// How many further tags may be declared: as many as there are dimensions for them.
pub const MAX_DECLARED_TAGS: usize = 4;
/// SES's limit for the name of a tag: <https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_MessageTag.html>
const MAX_TAG_BYTES: usize = 256;
const ACCOUNT_DIGITS: usize = 12;

/// The settings as they are written.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The tag that names the tenant. Defaults to `tenant`.
    pub tenant_tag: String,
    /// The tag that names the campaign. Defaults to `campaign`.
    pub campaign_tag: String,
    /// The tag that names the segment. Defaults to `segment`.
    pub segment_tag: String,
    /// Up to [`MAX_DECLARED_TAGS`] further tags to file events under, in the order of `tag1` to `tag4`. Defaults to none.
    pub tags: Vec<String>,
    /// Tenants of messages that have no such tag. Defaults to none.
    pub tenants: TenantMaps,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tenant_tag: "tenant".to_owned(),
            campaign_tag: "campaign".to_owned(),
            segment_tag: "segment".to_owned(),
            tags: Vec::new(),
            tenants: TenantMaps::default(),
        }
    }
}

/// From what every event of a message carries to its tenant, tried in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TenantMaps {
    /// By the configuration set's name.
    pub by_configuration_set: BTreeMap<String, String>,
    /// By sending domain; a domain stands for its sub-domains too, unless they have an entry of their own.
    pub by_sending_domain: BTreeMap<String, String>,
    /// By the sending AWS account, 12 digits.
    pub by_account: BTreeMap<String, String>,
}

/// Settings that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSettings {
    /// The name of a tag is empty or longer than SES allows.
    #[error("{setting} {name:?} is not the name of a tag: use 1 to {MAX_TAG_BYTES} bytes")]
    TagName {
        /// Which setting.
        setting: &'static str,
        /// Its value.
        name: String,
    },
    /// A tag has two uses.
    #[error(
        "tag {name:?} is declared twice: tenant_tag, campaign_tag, segment_tag and tags need different names"
    )]
    TagTwice {
        /// The tag.
        name: String,
    },
    /// More further tags than there are dimensions for.
    #[error("tags has {count} names: at most {MAX_DECLARED_TAGS} are allowed")]
    TooManyTags {
        /// How many.
        count: usize,
    },
    /// A map names a tenant that cannot be one.
    #[error(
        "tenant {tenant:?} of {key:?} in tenants.{map} is not a tenant's name: use {}",
        TenantId::ALLOWED
    )]
    Tenant {
        /// Which map.
        map: &'static str,
        /// The key in it.
        key: String,
        /// The tenant.
        tenant: String,
    },
    /// A map's key cannot be a domain.
    #[error("{domain:?} in tenants.by_sending_domain is not a domain")]
    Domain {
        /// The key.
        domain: String,
    },
    /// A map's key cannot be an account.
    #[error("{account:?} in tenants.by_account is not an AWS account: use its {ACCOUNT_DIGITS} digits")]
    Account {
        /// The key.
        account: String,
    },
}

impl InvalidSettings {
    /// Which setting cannot be used.
    pub const fn setting(&self) -> &'static str {
        match self {
            Self::TagName { setting, .. } => setting,
            Self::TagTwice { .. } | Self::TooManyTags { .. } => "tags",
            Self::Tenant { map, .. } => map,
            Self::Domain { .. } => "by_sending_domain",
            Self::Account { .. } => "by_account",
        }
    }
}

/// The settings, checked, and ready to be asked for each event.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Settings")]
pub struct Attribution {
    pub(super) tenant_tag: String,
    pub(super) campaign_tag: String,
    pub(super) segment_tag: String,
    pub(super) tags: Vec<String>,
    pub(super) tenants: Tenants,
}

type Map = HashMap<String, String, RandomState>;

/// [`TenantMaps`], checked.
#[derive(Clone, Debug, Default)]
pub(super) struct Tenants {
    configuration_sets: Map,
    sending_domains: Map,
    accounts: Map,
}

impl Attribution {
    /// Checks settings.
    ///
    /// # Errors
    /// [`InvalidSettings`] names the first setting that cannot be used.
    pub fn new(settings: Settings) -> Result<Self, InvalidSettings> {
        check_tags(&settings)?;
        let Settings { tenant_tag, campaign_tag, segment_tag, tags, tenants } = settings;
        Ok(Self { tenant_tag, campaign_tag, segment_tag, tags, tenants: Tenants::new(tenants)? })
    }

    /// The same with further maps over its own: what both name, these decide.
    ///
    /// # Errors
    /// [`InvalidSettings`] names the first entry that cannot be used.
    pub fn with(&self, tenants: TenantMaps) -> Result<Self, InvalidSettings> {
        let mut with = self.clone();
        with.tenants.extend(Tenants::new(tenants)?);
        Ok(with)
    }

    /// The further tags that are declared, in the order of `tag1` to `tag4`: their names are names of dimensions too.
    pub fn declared_tags(&self) -> &[String] {
        &self.tags
    }
}

impl Default for Attribution {
    fn default() -> Self {
        let Settings { tenant_tag, campaign_tag, segment_tag, tags, tenants: _ } = Settings::default();
        Self { tenant_tag, campaign_tag, segment_tag, tags, tenants: Tenants::default() }
    }
}

impl TryFrom<Settings> for Attribution {
    type Error = InvalidSettings;

    fn try_from(settings: Settings) -> Result<Self, Self::Error> {
        Self::new(settings)
    }
}

impl Tenants {
    fn new(maps: TenantMaps) -> Result<Self, InvalidSettings> {
        let mut by_sending_domain = BTreeMap::new();
        for (domain, tenant) in maps.by_sending_domain {
            let canonical = address::canonical_domain(&domain);
            if canonical.starts_with('(') {
                return Err(InvalidSettings::Domain { domain });
            }
            by_sending_domain.insert(canonical.into_owned(), tenant);
        }
        let is_account =
            |key: &String| key.len() == ACCOUNT_DIGITS && key.bytes().all(|c| c.is_ascii_digit());
        if let Some(account) = maps.by_account.keys().find(|key| !is_account(key)) {
            return Err(InvalidSettings::Account { account: account.clone() });
        }
        Ok(Self {
            configuration_sets: checked("by_configuration_set", maps.by_configuration_set)?,
            sending_domains: checked("by_sending_domain", by_sending_domain)?,
            accounts: checked("by_account", maps.by_account)?,
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

    /// The tenant of the domain or of the nearest domain above it. The domain is bounded by its own check.
    pub(super) fn of_sending_domain(&self, domain: &str) -> Option<&str> {
        if self.sending_domains.is_empty() {
            return None;
        }
        let mut rest = domain;
        loop {
            if let Some(tenant) = self.sending_domains.get(rest) {
                return Some(tenant);
            }
            rest = rest.split_once('.')?.1;
        }
    }
}

fn checked(map: &'static str, entries: BTreeMap<String, String>) -> Result<Map, InvalidSettings> {
    let mut checked = Map::default();
    for (key, tenant) in entries {
        if TenantId::declared(&tenant).is_err() {
            return Err(InvalidSettings::Tenant { map, key, tenant });
        }
        checked.insert(key, tenant);
    }
    Ok(checked)
}

fn check_tags(settings: &Settings) -> Result<(), InvalidSettings> {
    if settings.tags.len() > MAX_DECLARED_TAGS {
        return Err(InvalidSettings::TooManyTags { count: settings.tags.len() });
    }
    let named = [
        ("tenant_tag", &settings.tenant_tag),
        ("campaign_tag", &settings.campaign_tag),
        ("segment_tag", &settings.segment_tag),
    ];
    let mut seen: Vec<&str> = Vec::new();
    for (setting, name) in named.into_iter().chain(settings.tags.iter().map(|name| ("tags", name))) {
        if name.is_empty() || name.len() > MAX_TAG_BYTES {
            return Err(InvalidSettings::TagName { setting, name: name.clone() });
        }
        if seen.contains(&name.as_str()) {
            return Err(InvalidSettings::TagTwice { name: name.clone() });
        }
        seen.push(name);
    }
    Ok(())
}
