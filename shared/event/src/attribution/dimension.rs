//! The dimensions of an event: the names by which its counts can be filtered and grouped within a tenant.
//!
//! A dimension key has a value for each of them. Values in parentheses are reserved; no tag can produce one.

use std::borrow::Cow;

/// A dimension of the counts within a tenant.
///
/// The discriminants are part of the storage format: append, never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Dimension {
    /// The campaign that the message belongs to: the value of the tag that the settings name, `campaign` by default.
    Campaign = 0,
    /// The part of the audience that the message went to: the value of the tag that the settings name, `segment` by default.
    Segment = 1,
    /// The domain mail was sent from.
    SendingDomain = 2,
    /// The domain of the recipient's address.
    RecipientDomain = 3,
    /// The mailbox provider that runs the recipient's domain.
    Provider = 4,
    /// The SES configuration set that the message was sent with.
    ConfigurationSet = 5,
    /// The first additional tag that is declared.
    Tag1 = 6,
    /// The second additional tag.
    Tag2 = 7,
    /// The third additional tag.
    Tag3 = 8,
    /// The fourth additional tag.
    Tag4 = 9,
}

impl Dimension {
    /// The number of dimensions.
    pub const COUNT: usize = 10;
    /// All dimensions, in the order of their stored numbers.
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
    /// The value where the event has none.
    pub const NONE: &'static str = "(none)";
    /// The value of the overflow row, into which rare values collapse where there are too many.
    pub const OTHER: &'static str = "(other)";
    /// The value in place of a text that could mislead a reader: one with control characters, or one that imitates a reserved
    /// value.
    pub const INVALID: &'static str = "(invalid)";
    /// The recipient domain and provider of an open or click that may come from any of several recipients.
    pub const SEVERAL: &'static str = "(several)";

    /// The name used in queries, replies and options. A declared tag can also be used by the name of the tag itself.
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

    /// The dimension called `name` by [`Dimension::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dimension| dimension.name() == name)
    }
}

/// The value of every dimension for one recipient of one event, in the order of [`Dimension::ALL`].
pub type DimensionValues<'a> = [Cow<'a, str>; Dimension::COUNT];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimensions_are_listed_in_the_order_of_their_stored_numbers_and_found_by_name() {
        for (number, dimension) in Dimension::ALL.into_iter().enumerate() {
            assert_eq!(dimension as usize, number, "{dimension:?}");
            assert_eq!(Dimension::from_name(dimension.name()), Some(dimension));
        }
        for name in ["", "Campaign", "tag5", "tenant"] {
            assert_eq!(Dimension::from_name(name), None, "{name}");
        }
    }
}
