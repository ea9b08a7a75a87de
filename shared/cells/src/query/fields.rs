//! The parameters of a query as they came, and typed looks at them.
//!
//! Knows their names and JSON types, not what they mean.

use rapidhash::v3::rapidhash_v3;
use serde_json::{Map, Value};

use super::error::{QueryError, quoted};
use super::request::Scope;

pub(super) const PARAMETERS: [&str; 13] = [
    "metrics",
    "from",
    "to",
    "granularity",
    "group_by",
    "filter",
    "basis",
    "timezone",
    "order_by",
    "limit",
    "cursor",
    "compare",
    "fill",
];
/// A body that works.
pub(super) const BODY: &str = r#"{"metrics":["sends"],"from":"-24h","to":"now"}"#;
/// [`BODY`] as a query string.
pub(super) const PAIRS: &str = "metrics=sends&from=-24h&to=now";

/// The parameters as they came.
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// Any parameters.
    pub(super) const fn new(fields: Map<String, Value>) -> Self {
        Self(fields)
    }

    /// Whether all are parameters of a query.
    pub(super) fn all_are_known(&self) -> Result<(), QueryError> {
        match self.0.keys().find(|name| !PARAMETERS.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => {
                let parameter: String = name.chars().filter(|c| !c.is_control()).take(40).collect();
                Err(QueryError::malformed(parameter, "it is not a parameter", PARAMETERS.join(", "), BODY))
            }
        }
    }

    /// A parameter that is there and not null.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A text that is there and not empty.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, QueryError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(_) => Err(QueryError::malformed(name, "it is not a string", "a string", BODY)),
        }
    }

    /// A list of strings, or a single one.
    pub(super) fn list(&self, name: &str, most: usize) -> Result<Vec<&str>, QueryError> {
        let refusal = |problem: &str| {
            Err(QueryError::malformed(name, problem, format!("a list of at most {most} strings"), BODY))
        };
        let values = match self.get(name) {
            None => &[],
            Some(Value::Array(values)) => values.as_slice(),
            Some(value) => std::slice::from_ref(value),
        };
        if values.len() > most {
            return refusal("it is too long");
        }
        let mut texts = Vec::with_capacity(values.len());
        for value in values {
            let Value::String(text) = value else { return refusal("it is not a list of strings") };
            texts.push(text.as_str());
        }
        Ok(texts)
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

    /// A hash of who asks and of all parameters but the cursor.
    pub(super) fn fingerprint(&self, scope: &Scope) -> u64 {
        let mut text = match scope {
            Scope::Tenant(tenant) => format!("{tenant}\n"),
            Scope::All => "\n".into(),
        };
        for (name, value) in self.0.iter().filter(|(name, _)| *name != "cursor") {
            text.push_str(name);
            text.push_str(&value.to_string());
        }
        rapidhash_v3(text.as_bytes())
    }
}
