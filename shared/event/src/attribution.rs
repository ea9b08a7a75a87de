//! Whose mail an event is about, and what it is filed under: tenant and dimensions.
//!
//! The tenant comes from what every event of a message carries, so that send and outcome never land in different
//! tenants: the named tag, then the configuration set, the sending domain, the sending account; SES's own tenant
//! name comes last because SES documents it for bounces and complaints only.

use std::borrow::Cow;

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

/// What one recipient adds to the values of its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipientValues<'a> {
    /// The domain of the address.
    pub domain: Cow<'a, str>,
    /// The mailbox provider behind it.
    pub provider: &'static str,
    /// Whether it is the SES mailbox simulator, whose mail is counted apart.
    pub simulator: bool,
}
