//! The parameters of a query as they arrived, and typed access to them.
//!
//! Knows their names and JSON types, not their meaning.

use serde_json::{Map, Value};

use crate::query::error::{EXAMPLE_BODY, QueryError, quoted};

/// Every parameter of a query.
pub(super) const PARAMETERS: [&str; 14] = [
    "metrics",
    "from",
    "to",
    "granularity",
    "group_by",
    "filter",
    "basis",
    "max_age",
    "timezone",
    "order_by",
    "limit",
    "cursor",
    "compare",
    "fill",
];

/// The parameters as they arrived.
pub(super) struct QueryParameters(Map<String, Value>);

impl QueryParameters {
    /// Takes any parameters; see [`QueryParameters::check_names`].
    pub(super) const fn new(parameters: Map<String, Value>) -> Self {
        Self(parameters)
    }

    /// Refuses unknown parameters: a mistyped filter must not answer another query than the one meant.
    pub(super) fn check_names(&self) -> Result<(), QueryError> {
        match self.0.keys().find(|name| !PARAMETERS.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => {
                // The name becomes a part of the error, so it must stay one readable line.
                let parameter: String = name.chars().filter(|c| !c.is_control()).take(40).collect();
                Err(QueryError::malformed(
                    parameter,
                    "it is not a parameter",
                    PARAMETERS.join(", "),
                    EXAMPLE_BODY,
                ))
            }
        }
    }

    /// A parameter that is present and not null.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A text that is present and not empty.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, QueryError> {
        match self.get(name) {
            None => Ok(None),
            // Forms send a field that is left empty as an empty text.
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(_) => Err(QueryError::malformed(name, "it is not a string", "a string", EXAMPLE_BODY)),
        }
    }

    /// A list of strings, or a single string.
    pub(super) fn list(&self, name: &str) -> Result<Vec<&str>, QueryError> {
        let values = match self.get(name) {
            None => &[],
            Some(Value::Array(values)) => values.as_slice(),
            // A single name is a list of one, as a query string cannot tell the two apart.
            Some(value) => std::slice::from_ref(value),
        };
        values.iter().map(Value::as_str).collect::<Option<Vec<&str>>>().ok_or_else(|| {
            QueryError::malformed(name, "it is not a list of strings", "a list of strings", EXAMPLE_BODY)
        })
    }

    /// One of a few names.
    pub(super) fn choice<T: Copy>(
        &self,
        name: &str,
        choices: &[(&'static str, T)],
    ) -> Result<Option<T>, QueryError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        if let Some((_, chosen)) = choices.iter().find(|(choice, _)| *choice == text) {
            return Ok(Some(*chosen));
        }
        let allowed = choices.iter().map(|(choice, _)| *choice).collect::<Vec<_>>().join(" ");
        let example = choices.first().map_or("", |(choice, _)| choice);
        Err(QueryError::malformed(name, format!("{} is not one", quoted(text)), allowed, example))
    }
}
