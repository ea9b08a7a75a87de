//! What is wrong with a query, in words that name the parameter and say what would do.
//!
//! Never echoes a filter's value: it may be an address. Names are echoed, cut at 40 characters.

use std::borrow::Cow;

/// Which kind of refusal it is; an HTTP edge answers 400, 403 or 422.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryErrorKind {
    /// The parameter cannot be read, or breaks a limit that can be seen from the query alone.
    Malformed,
    /// The parameter is for operators only.
    Forbidden,
    /// A well-formed query that this history or these limits cannot answer exactly.
    Unanswerable,
}

/// A query that is not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{parameter}: {problem}; allowed: {allowed}; for example {example}")]
pub struct QueryError {
    /// The kind of refusal.
    pub kind: QueryErrorKind,
    /// The parameter it is about, as a path: `filter.and[1].op`.
    pub parameter: String,
    /// What is wrong.
    pub problem: String,
    /// What would be right.
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
