//! The dimensions that rows can be filtered and grouped by: those of the mail, and for operators the tenant.

use event::attribution::Dimension;

/// A dimension of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QueryDimension {
    /// The tenant; operators only, see [`Scope::All`](super::Scope::All).
    Tenant,
    /// A dimension of the mail, such as its campaign.
    Mail(Dimension),
    /// The group of mailbox providers that share a mail system or an owner, which follows from the provider.
    ProviderGroup,
}

impl QueryDimension {
    /// The dimensions of the mail as queries name them, in the order of documentation and errors.
    pub fn of_mail() -> impl Iterator<Item = Self> {
        Dimension::ALL.into_iter().map(Self::Mail).chain([Self::ProviderGroup])
    }

    /// The stored dimension that decides it; `None` for the tenant.
    pub const fn stored(self) -> Option<Dimension> {
        match self {
            Self::Tenant => None,
            Self::Mail(dimension) => Some(dimension),
            Self::ProviderGroup => Some(Dimension::Provider),
        }
    }

    /// The name in queries and replies, unless a declared tag goes by a name of its own.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Mail(dimension) => dimension.name(),
            Self::ProviderGroup => "provider_group",
        }
    }
}

impl From<Dimension> for QueryDimension {
    fn from(dimension: Dimension) -> Self {
        Self::Mail(dimension)
    }
}

/// A dimension that rows are grouped by, under the name the user gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupColumn {
    /// The name in the reply: the dimension's own, or that of a declared tag.
    pub name: String,
    /// What is grouped by, whatever the user calls it.
    pub dimension: QueryDimension,
}

impl<D: Into<QueryDimension>> From<D> for GroupColumn {
    fn from(dimension: D) -> Self {
        let dimension = dimension.into();
        Self { name: dimension.name().to_owned(), dimension }
    }
}
