//! The dimensions that rows can be filtered and grouped by: those of the mail, and for operators the tenant.

use event::attribution::Dimension;

/// A dimension of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QueryDimension {
    /// The tenant; operators only, see [`Scope::All`](super::Scope::All).
    Tenant,
    /// A dimension of the mail, such as its campaign.
    Mail(Dimension),
}

impl QueryDimension {
    /// All dimensions that an operator can use; for a tenant, all but the first.
    pub const ALL: [Self; Dimension::COUNT + 1] = {
        let mut all = [Self::Tenant; Dimension::COUNT + 1];
        let mut number = 0;
        while number < Dimension::COUNT {
            all[number + 1] = Self::Mail(Dimension::ALL[number]);
            number += 1;
        }
        all
    };

    /// The name in queries and replies, unless a declared tag goes by a name of its own.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Mail(dimension) => dimension.name(),
        }
    }

    /// A title for people, such as `Sending domain`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tenant => "Tenant",
            Self::Mail(dimension) => dimension.label(),
        }
    }

    /// One sentence about what its values are.
    pub const fn description(self) -> &'static str {
        match self {
            Self::Tenant => "The tenant that the mail belongs to.",
            Self::Mail(dimension) => dimension.description(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenant_comes_before_the_dimensions_of_the_mail() {
        assert_eq!(QueryDimension::ALL[0], QueryDimension::Tenant);
        for (query_dimension, dimension) in QueryDimension::ALL.into_iter().skip(1).zip(Dimension::ALL) {
            assert_eq!(query_dimension, QueryDimension::from(dimension));
            assert_eq!(query_dimension.label(), dimension.label());
            assert_eq!(query_dimension.description(), dimension.description());
        }
    }
}
