//! Which rows a query counts: nested `and`, `or`, `not` of conditions on the tenant and the dimensions.
//!
//! Judged once per cell key, never per row. Depth and size are bounded because users write filters.

use std::fmt;

use event::attribution::Dimension;

/// What rows are filtered and grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Facet {
    /// Whose mail it is; operators only.
    Tenant,
    /// A dimension of the cell key.
    Dimension(Dimension),
}

/// Which rows are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// What passes all of them; everything if there is none.
    And(Vec<Filter>),
    /// What passes any of them.
    Or(Vec<Filter>),
    /// What does not pass.
    Not(Box<Filter>),
    /// What has a value.
    Where(Facet, Test),
}

/// What a value must be. Values are compared byte by byte, except by [`Test::Contains`].
#[derive(Clone, PartialEq, Eq)]
pub enum Test {
    /// This one.
    Equal(String),
    /// Any but this one.
    NotEqual(String),
    /// One of these, which are sorted.
    OneOf(Vec<String>),
    /// One that begins so.
    Prefix(String),
    /// One that contains this text, which is in lower case, regardless of case.
    Contains(String),
}

/// Values are never printed: someone may have filtered by an address.
impl fmt::Debug for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal(_) => "eq",
            Self::NotEqual(_) => "ne",
            Self::OneOf(_) => "in",
            Self::Prefix(_) => "prefix",
            Self::Contains(_) => "contains",
        })
    }
}

impl Test {
    fn passes(&self, value: &str) -> bool {
        match self {
            Self::Equal(wanted) => value == wanted,
            Self::NotEqual(unwanted) => value != unwanted,
            Self::OneOf(wanted) => wanted.binary_search_by(|one| one.as_str().cmp(value)).is_ok(),
            Self::Prefix(prefix) => value.starts_with(prefix.as_str()),
            Self::Contains(part) => value.to_lowercase().contains(part.as_str()),
        }
    }
}

impl Filter {
    /// A filter that everything passes.
    pub const fn everything() -> Self {
        Self::And(Vec::new())
    }

    /// Whether the row with these values passes; `None` if that depends on values that are not known.
    pub fn judge<'v>(&self, value: &impl Fn(Facet) -> Option<&'v str>) -> Option<bool> {
        match self {
            Self::And(parts) => {
                any(parts.iter().map(|part| part.judge(value).map(|passes| !passes))).map(|fails| !fails)
            }
            Self::Or(parts) => any(parts.iter().map(|part| part.judge(value))),
            Self::Not(part) => part.judge(value).map(|passes| !passes),
            Self::Where(facet, test) => value(*facet).map(|value| test.passes(value)),
        }
    }

    /// Every facet that a condition is about.
    pub fn facets(&self) -> Vec<Facet> {
        match self {
            Self::And(parts) | Self::Or(parts) => parts.iter().flat_map(Self::facets).collect(),
            Self::Not(part) => part.facets(),
            Self::Where(facet, _) => vec![*facet],
        }
    }
}

/// Whether any is true; not known if none is true and some are not known.
fn any(verdicts: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut known = true;
    for verdict in verdicts {
        match verdict {
            Some(true) => return Some(true),
            Some(false) => {}
            None => known = false,
        }
    }
    known.then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(facet: Facet, value: &str) -> Filter {
        Filter::Where(facet, Test::Equal(value.into()))
    }

    const PROVIDER: Facet = Facet::Dimension(Dimension::Provider);
    const CAMPAIGN: Facet = Facet::Dimension(Dimension::Campaign);

    fn judge(filter: &Filter, provider: &str, campaign: &str) -> Option<bool> {
        filter.judge(&|facet| match facet {
            PROVIDER => Some(provider),
            CAMPAIGN => Some(campaign),
            _ => None,
        })
    }

    #[test]
    fn each_test_compares_as_it_says() {
        let check = |test: Test, passing: &[&str], failing: &[&str]| {
            assert!(passing.iter().all(|value| test.passes(value)), "{test:?}");
            assert!(!failing.iter().any(|value| test.passes(value)), "{test:?}");
        };
        check(Test::Equal("gmail".into()), &["gmail"], &["", "Gmail", "gmail2"]);
        check(Test::NotEqual("gmail".into()), &["", "yahoo"], &["gmail"]);
        check(Test::OneOf(vec!["a".into(), "c".into()]), &["a", "c"], &["b", ""]);
        check(Test::Prefix("spring".into()), &["spring", "spring-2"], &["sprin", "x-spring"]);
        check(Test::Prefix(String::new()), &["", "anything"], &[]);
        check(Test::Contains("ring".into()), &["spring", "Spring-2", "RING"], &["", "rin", "r-ing"]);
    }

    #[test]
    fn and_or_and_not_nest() {
        let filter = Filter::And(vec![
            Filter::Or(vec![is(PROVIDER, "gmail"), is(PROVIDER, "yahoo")]),
            Filter::Not(Box::new(is(CAMPAIGN, "spring"))),
        ]);
        assert_eq!(judge(&filter, "gmail", "summer"), Some(true));
        assert_eq!(judge(&filter, "gmail", "spring"), Some(false));
        assert_eq!(judge(&filter, "apple", "summer"), Some(false));
        assert_eq!(judge(&Filter::everything(), "apple", "summer"), Some(true));
        assert_eq!(judge(&Filter::Or(vec![]), "apple", "summer"), Some(false));
    }

    #[test]
    fn what_is_not_known_decides_only_where_it_must() {
        let acme = is(Facet::Tenant, "acme");
        assert_eq!(judge(&acme, "gmail", "x"), None);
        assert_eq!(judge(&Filter::Not(Box::new(acme.clone())), "gmail", "x"), None);
        let both = Filter::And(vec![acme.clone(), is(PROVIDER, "gmail")]);
        assert_eq!(judge(&both, "gmail", "x"), None);
        assert_eq!(judge(&both, "yahoo", "x"), Some(false));
        let either = Filter::Or(vec![acme, is(PROVIDER, "gmail")]);
        assert_eq!(judge(&either, "gmail", "x"), Some(true));
        assert_eq!(judge(&either, "yahoo", "x"), None);
    }
}
