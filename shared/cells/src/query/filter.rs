//! Which rows a query counts: nested `and`, `or`, `not` of conditions on the tenant and the dimensions.
//!
//! A filter is evaluated once per dimension key, never per row. Its depth and size are bounded, because users write filters.

use std::fmt::{self, Write as _};

use super::dimension::QueryDimension;
use super::error::QueryError;

/// The greatest depth of nested conditions: enough for any filter that a person writes.
const MAX_DEPTH: usize = 8;
/// The most conditions of a filter.
const MAX_CONDITIONS: usize = 100;
/// The most values of all conditions together: a page of selected domains.
const MAX_VALUES: usize = 1_000;
/// The longest value, in bytes. Values of dimensions are shorter.
const MAX_VALUE_BYTES: usize = 256;

/// The shapes of a filter in JSON, for messages.
pub(super) const SHAPE: &str = r#"{"and":[...]}, {"or":[...]}, {"not":{...}} or {"dimension":...,"op":"eq|ne|in|prefix|contains","value":...}"#;
const EXAMPLE: &str = r#"{"dimension":"provider","op":"eq","value":"gmail"}"#;

/// The condition that a row must meet to be counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Rows that pass all of these; every row if there are none.
    And(Vec<Filter>),
    /// Rows that pass any of these.
    Or(Vec<Filter>),
    /// Rows that do not pass.
    Not(Box<Filter>),
    /// Rows whose value of a dimension passes a test.
    Condition(QueryDimension, ValueTest),
}

/// A test of the value of a dimension. Values are compared byte by byte, except by [`ValueTest::Contains`].
#[derive(Clone, PartialEq, Eq)]
pub enum ValueTest {
    /// Is exactly this value.
    Equal(String),
    /// Is any other value.
    NotEqual(String),
    /// Is one of these values.
    OneOf(SortedValues),
    /// Begins with this text.
    Prefix(String),
    /// Contains this text, regardless of case.
    Contains(LowerCaseText),
}

/// Values in ascending order, so that they can be searched by halving.
#[derive(Clone, PartialEq, Eq)]
pub struct SortedValues(Vec<String>);

impl From<Vec<String>> for SortedValues {
    fn from(mut values: Vec<String>) -> Self {
        values.sort_unstable();
        Self(values)
    }
}

/// A text in lower case.
#[derive(Clone, PartialEq, Eq)]
pub struct LowerCaseText(String);

impl From<&str> for LowerCaseText {
    fn from(text: &str) -> Self {
        Self(text.to_lowercase())
    }
}

/// Values are never printed: someone may have filtered by an address.
impl fmt::Debug for ValueTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.operator())
    }
}

impl ValueTest {
    /// The name of the operator in JSON.
    const fn operator(&self) -> &'static str {
        match self {
            Self::Equal(_) => "eq",
            Self::NotEqual(_) => "ne",
            Self::OneOf(_) => "in",
            Self::Prefix(_) => "prefix",
            Self::Contains(_) => "contains",
        }
    }

    fn passes(&self, value: &str) -> bool {
        match self {
            Self::Equal(wanted) => value == wanted,
            Self::NotEqual(unwanted) => value != unwanted,
            Self::OneOf(wanted) => wanted.0.binary_search_by(|one| one.as_str().cmp(value)).is_ok(),
            Self::Prefix(prefix) => value.starts_with(prefix.as_str()),
            // The text was brought to lower case when the query was read, the value is for each key.
            Self::Contains(part) => value.to_lowercase().contains(part.0.as_str()),
        }
    }

    /// The values that it compares with.
    pub(super) fn values(&self) -> &[String] {
        match self {
            Self::Equal(value)
            | Self::NotEqual(value)
            | Self::Prefix(value)
            | Self::Contains(LowerCaseText(value)) => std::slice::from_ref(value),
            Self::OneOf(values) => &values.0,
        }
    }
}

impl Filter {
    /// A filter that every row passes.
    pub const fn everything() -> Self {
        Self::And(Vec::new())
    }

    /// Rows with this value of a dimension.
    pub fn equal(dimension: impl Into<QueryDimension>, value: impl Into<String>) -> Self {
        Self::Condition(dimension.into(), ValueTest::Equal(value.into()))
    }

    /// Rows with one of these values of a dimension.
    pub fn one_of(
        dimension: impl Into<QueryDimension>,
        values: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let values: Vec<String> = values.into_iter().map(Into::into).collect();
        Self::Condition(dimension.into(), ValueTest::OneOf(values.into()))
    }

    /// Whether the row with these values passes; `None` if that depends on values that are not known.
    pub fn evaluate<'v>(&self, value: &impl Fn(QueryDimension) -> Option<&'v str>) -> Option<bool> {
        match self {
            // All pass unless any fails: `any` of the opposites, so that the rules for unknown values exist once.
            Self::And(parts) => {
                any(parts.iter().map(|part| part.evaluate(value).map(|passes| !passes))).map(|fails| !fails)
            }
            Self::Or(parts) => any(parts.iter().map(|part| part.evaluate(value))),
            Self::Not(part) => part.evaluate(value).map(|passes| !passes),
            Self::Condition(dimension, test) => value(*dimension).map(|value| test.passes(value)),
        }
    }

    /// The dimension of every condition.
    pub fn dimensions(&self) -> Vec<QueryDimension> {
        match self {
            Self::And(parts) | Self::Or(parts) => parts.iter().flat_map(Self::dimensions).collect(),
            Self::Not(part) => part.dimensions(),
            Self::Condition(dimension, _) => vec![*dimension],
        }
    }

    /// Checks depth and size. `may_use` says whether the caller may filter by a dimension.
    pub(super) fn check(
        &self,
        may_use: &impl Fn(&str, QueryDimension) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        Checker { may_use, conditions: 0, values: 0 }.check("filter", self, 1)
    }

    /// Writes everything that distinguishes this filter from another, values included.
    pub(super) fn write_identity(&self, out: &mut String) {
        match self {
            Self::And(parts) | Self::Or(parts) => {
                out.push_str(if matches!(self, Self::And(_)) { "and(" } else { "or(" });
                for part in parts {
                    part.write_identity(out);
                }
                out.push(')');
            }
            Self::Not(part) => {
                out.push_str("not(");
                part.write_identity(out);
                out.push(')');
            }
            Self::Condition(dimension, test) => {
                // Values as quoted texts, so that no value can imitate the rest of the filter. Writing to a string does not fail.
                let _ = write!(out, "{dimension:?} {} {:?};", test.operator(), test.values());
            }
        }
    }
}

/// Walks a filter and counts its conditions and values. Refusals name the part at fault, `filter.and[1].value`, and never a value.
struct Checker<'a, F> {
    may_use: &'a F,
    conditions: usize,
    values: usize,
}

impl<F: Fn(&str, QueryDimension) -> Result<(), QueryError>> Checker<'_, F> {
    fn check(&mut self, path: &str, filter: &Filter, depth: usize) -> Result<(), QueryError> {
        // Before going deeper: this walk and every later one is recursive.
        if depth > MAX_DEPTH {
            return Err(refusal(path, format!("conditions nest deeper than {MAX_DEPTH}")));
        }
        let (parts, name) = match filter {
            Filter::And(parts) => (parts, "and"),
            Filter::Or(parts) => (parts, "or"),
            Filter::Not(part) => return self.check(&format!("{path}.not"), part, depth + 1),
            Filter::Condition(dimension, test) => return self.check_condition(path, *dimension, test),
        };
        for (nth, part) in parts.iter().enumerate() {
            self.check(&format!("{path}.{name}[{nth}]"), part, depth + 1)?;
        }
        Ok(())
    }

    fn check_condition(
        &mut self,
        path: &str,
        dimension: QueryDimension,
        test: &ValueTest,
    ) -> Result<(), QueryError> {
        self.conditions += 1;
        if self.conditions > MAX_CONDITIONS {
            return Err(refusal("filter", format!("it has more than {MAX_CONDITIONS} conditions")));
        }
        // Over all conditions, because a filter is evaluated as a whole for each dimension key.
        self.values += test.values().len();
        if self.values > MAX_VALUES {
            return Err(refusal("filter", format!("it has more than {MAX_VALUES} values")));
        }
        (self.may_use)(&format!("{path}.dimension"), dimension)?;
        if test.values().iter().any(|value| value.len() > MAX_VALUE_BYTES) {
            return Err(QueryError::malformed(
                format!("{path}.value"),
                "it is too long",
                format!("at most {MAX_VALUE_BYTES} bytes"),
                "gmail",
            ));
        }
        Ok(())
    }
}

/// A refusal of the filter, or of the part of it at `path`.
pub(super) fn refusal(path: &str, problem: impl Into<String>) -> QueryError {
    QueryError::malformed(path, problem, SHAPE, EXAMPLE)
}

/// Whether any is true; unknown if none is true and some are unknown.
fn any(results: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut all_known = true;
    for result in results {
        match result {
            // What is still unknown cannot change it.
            Some(true) => return Some(true),
            Some(false) => {}
            None => all_known = false,
        }
    }
    all_known.then_some(false)
}

#[cfg(test)]
mod tests {
    use event::attribution::Dimension;

    use super::*;

    const PROVIDER: QueryDimension = QueryDimension::Mail(Dimension::Provider);
    const CAMPAIGN: QueryDimension = QueryDimension::Mail(Dimension::Campaign);

    fn evaluate(filter: &Filter, provider: &str, campaign: &str) -> Option<bool> {
        filter.evaluate(&|dimension| match dimension {
            PROVIDER => Some(provider),
            CAMPAIGN => Some(campaign),
            _ => None,
        })
    }

    #[test]
    fn each_test_passes_the_values_it_describes() {
        let check = |test: ValueTest, passing: &[&str], failing: &[&str]| {
            assert!(passing.iter().all(|value| test.passes(value)), "{test:?}");
            assert!(!failing.iter().any(|value| test.passes(value)), "{test:?}");
        };
        check(ValueTest::Equal("gmail".into()), &["gmail"], &["", "Gmail", "gmail2"]);
        check(ValueTest::NotEqual("gmail".into()), &["", "yahoo"], &["gmail"]);
        check(ValueTest::OneOf(vec!["c".to_owned(), "a".into()].into()), &["a", "c"], &["b", ""]);
        check(ValueTest::Prefix("spring".into()), &["spring", "spring-2"], &["sprin", "x-spring"]);
        check(ValueTest::Prefix(String::new()), &["", "anything"], &[]);
        check(ValueTest::Contains("Ring".into()), &["spring", "Spring-2", "RING"], &["", "rin", "r-ing"]);
    }

    #[test]
    fn and_or_and_not_nest() {
        let filter = Filter::And(vec![
            Filter::Or(vec![Filter::equal(PROVIDER, "gmail"), Filter::equal(PROVIDER, "yahoo")]),
            Filter::Not(Box::new(Filter::equal(CAMPAIGN, "spring"))),
        ]);
        assert_eq!(evaluate(&filter, "gmail", "summer"), Some(true));
        assert_eq!(evaluate(&filter, "gmail", "spring"), Some(false));
        assert_eq!(evaluate(&filter, "apple", "summer"), Some(false));
        assert_eq!(evaluate(&Filter::everything(), "apple", "summer"), Some(true));
        assert_eq!(evaluate(&Filter::Or(vec![]), "apple", "summer"), Some(false));
    }

    #[test]
    fn unknown_value_matters_only_where_it_decides() {
        let acme = Filter::equal(QueryDimension::Tenant, "acme");
        assert_eq!(evaluate(&acme, "gmail", "x"), None);
        assert_eq!(evaluate(&Filter::Not(Box::new(acme.clone())), "gmail", "x"), None);
        let both = Filter::And(vec![acme.clone(), Filter::equal(PROVIDER, "gmail")]);
        assert_eq!(evaluate(&both, "gmail", "x"), None);
        assert_eq!(evaluate(&both, "yahoo", "x"), Some(false));
        let either = Filter::Or(vec![acme, Filter::equal(PROVIDER, "gmail")]);
        assert_eq!(evaluate(&either, "gmail", "x"), Some(true));
        assert_eq!(evaluate(&either, "yahoo", "x"), None);
    }

    #[test]
    fn filters_that_differ_in_any_part_have_different_identities() {
        let filters = [
            Filter::everything(),
            Filter::Or(vec![]),
            Filter::equal(PROVIDER, "a"),
            Filter::equal(CAMPAIGN, "a"),
            Filter::equal(PROVIDER, "b"),
            Filter::one_of(PROVIDER, ["a"]),
            Filter::one_of(PROVIDER, ["a", "b"]),
            Filter::one_of(PROVIDER, ["a\", \"b"]),
            Filter::Not(Box::new(Filter::equal(PROVIDER, "a"))),
            Filter::And(vec![Filter::equal(PROVIDER, "a"), Filter::equal(PROVIDER, "b")]),
            Filter::And(vec![Filter::equal(PROVIDER, "b"), Filter::equal(PROVIDER, "a")]),
        ];
        let mut identities: Vec<String> = filters
            .iter()
            .map(|filter| {
                let mut text = String::new();
                filter.write_identity(&mut text);
                text
            })
            .collect();
        identities.sort_unstable();
        identities.dedup();
        assert_eq!(identities.len(), filters.len());
    }
}
