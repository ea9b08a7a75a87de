//! Why a query is refused: which parameter is wrong, why, and what is allowed.
//!
//! A message never repeats a filter's value, which may be an address. Names are repeated, cut at 40 characters.

use std::borrow::Cow;

/// A body that works: the example for parameters that have none of their own.
pub(super) const EXAMPLE_BODY: &str = r#"{"metrics":["sends"],"from":"-24h","to":"now"}"#;

/// The kind of a refusal. HTTP answers 400, 403 and 422 in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryErrorKind {
    /// The parameter cannot be read, or breaks a limit that does not depend on the stored data.
    Malformed,
    /// The parameter is for operators only.
    Forbidden,
    /// The query is well-formed, but the stored history or the limits of memory do not allow an exact answer.
    Unanswerable,
}

/// The refusal of a query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{parameter}: {problem}; allowed: {allowed}; for example {example}")]
pub struct QueryError {
    /// The kind of refusal.
    pub kind: QueryErrorKind,
    /// The parameter at fault, as a path: `filter.and[1].op`.
    pub parameter: String,
    /// What is wrong with it, without repeating a filter's value.
    pub problem: String,
    /// What is allowed instead.
    pub allowed: Cow<'static, str>,
    /// A value that works.
    pub example: Cow<'static, str>,
}

impl QueryError {
    /// A parameter that cannot be read.
    pub(super) fn malformed(
        parameter: impl Into<String>,
        problem: impl Into<String>,
        allowed: impl Into<Cow<'static, str>>,
        example: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            kind: QueryErrorKind::Malformed,
            parameter: parameter.into(),
            problem: problem.into(),
            allowed: allowed.into(),
            example: example.into(),
        }
    }

    /// The same refusal as one of another kind.
    pub(super) fn of_kind(self, kind: QueryErrorKind) -> Self {
        Self { kind, ..self }
    }
}

/// A name as given, quoted and cut so that an error stays one readable line.
pub(super) fn quoted(name: &str) -> String {
    let shown: String = name.chars().take(40).collect();
    format!("{shown:?}")
}
