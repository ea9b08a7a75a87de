//! Reads a filter: nested JSON, or the short `dimension:value` of a query string.
//!
//! Refusals name the place of the fault, `filter.and[1].op`, and never echo a value.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::error::{QueryError, QueryErrorKind, quoted};
use super::filter::{Facet, Filter, Test};
use super::request::{Locale, Scope};

/// How deep conditions may nest: deeper filters are written by machines to break others.
const MAX_DEPTH: usize = 8;
/// How many conditions a filter may have.
const MAX_CONDITIONS: usize = 100;
/// How many values all `in` lists may have together: a page of picked domains.
const MAX_VALUES: usize = 1_000;
/// How long a value may be, in bytes: dimension values are shorter.
const MAX_VALUE_BYTES: usize = 256;

const SHAPE: &str = r#"{"and":[...]}, {"or":[...]}, {"not":{...}} or {"dimension":...,"op":"eq|ne|in|prefix|contains","value":...}"#;
const EXAMPLE: &str = r#"{"dimension":"provider","op":"eq","value":"gmail"}"#;

/// The facet called `name`, for whoever asks.
pub(super) fn facet(
    parameter: &str,
    name: &str,
    scope: &Scope,
    locale: &Locale,
) -> Result<Facet, QueryError> {
    if name == "tenant" {
        return match scope {
            Scope::All => Ok(Facet::Tenant),
            Scope::Tenant(_) => Err(QueryError::malformed(
                parameter,
                "tenant is for operators; this key reads its own tenant only",
                locale.all().collect::<Vec<_>>().join(", "),
                "provider",
            )
            .of_kind(QueryErrorKind::Forbidden)),
        };
    }
    locale.dimension(name).map(Facet::Dimension).ok_or_else(|| {
        let problem = format!("{} is not a dimension", quoted(name));
        QueryError::malformed(parameter, problem, locale.all().collect::<Vec<_>>().join(", "), "provider")
    })
}

/// Reads nested JSON.
pub(super) fn read(value: &Value, scope: &Scope, locale: &Locale) -> Result<Filter, QueryError> {
    let mut reader = Reader { scope, locale, conditions: 0, values: 0 };
    reader.filter("filter", value, 1)
}

/// Turns the filters of a query string into nested JSON: `provider:gmail`, or JSON as it is. Values of one dimension are
/// alternatives, dimensions must all hold.
pub(super) fn from_pairs(texts: &[&str]) -> Result<Value, QueryError> {
    let mut parts = Vec::new();
    let mut values: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for text in texts {
        if text.starts_with('{') {
            parts.push(serde_json::from_str(text).map_err(|_| refusal("filter", "it is not JSON"))?);
        } else if let Some((dimension, value)) = text.split_once(':') {
            values.entry(dimension).or_default().push(value.into());
        } else {
            let allowed = "dimension:value, once for each value; or JSON as in the body of POST /v1/query";
            return Err(QueryError::malformed("filter", "it has no colon", allowed, "provider:gmail"));
        }
    }
    for (dimension, values) in values {
        parts.push(serde_json::json!({ "dimension": dimension, "op": "in", "value": values }));
    }
    match parts.pop() {
        Some(only) if parts.is_empty() => Ok(only),
        last => {
            parts.extend(last);
            Ok(serde_json::json!({ "and": parts }))
        }
    }
}

struct Reader<'a> {
    scope: &'a Scope,
    locale: &'a Locale,
    conditions: usize,
    values: usize,
}

impl Reader<'_> {
    fn filter(&mut self, path: &str, value: &Value, depth: usize) -> Result<Filter, QueryError> {
        if depth > MAX_DEPTH {
            return Err(refusal(path, format!("conditions nest deeper than {MAX_DEPTH}")));
        }
        let Value::Object(fields) = value else {
            return Err(refusal(path, "it is not an object"));
        };
        if fields.contains_key("dimension") {
            return self.condition(path, fields);
        }
        if let Some(name) = fields.keys().find(|name| !matches!(name.as_str(), "and" | "or" | "not")) {
            return Err(refusal(path, format!("{} is not a field of a filter", quoted(name))));
        }
        let mut fields_left = fields.iter();
        match (fields_left.next(), fields_left.next()) {
            (Some((name, part)), None) if name == "not" => {
                Ok(Filter::Not(Box::new(self.filter(&format!("{path}.not"), part, depth + 1)?)))
            }
            (Some((name, Value::Array(parts))), None) if matches!(name.as_str(), "and" | "or") => {
                if parts.is_empty() {
                    return Err(refusal(&format!("{path}.{name}"), "it is empty"));
                }
                let mut filters = Vec::with_capacity(parts.len().min(MAX_CONDITIONS));
                for (nth, part) in parts.iter().enumerate() {
                    filters.push(self.filter(&format!("{path}.{name}[{nth}]"), part, depth + 1)?);
                }
                Ok(if name == "and" { Filter::And(filters) } else { Filter::Or(filters) })
            }
            _ => Err(refusal(path, "it has not one of the shapes of a filter")),
        }
    }

    fn condition(&mut self, path: &str, fields: &Map<String, Value>) -> Result<Filter, QueryError> {
        self.conditions += 1;
        if self.conditions > MAX_CONDITIONS {
            return Err(refusal("filter", format!("it has more than {MAX_CONDITIONS} conditions")));
        }
        if let Some(name) = fields.keys().find(|name| !matches!(name.as_str(), "dimension" | "op" | "value"))
        {
            return Err(refusal(path, format!("{} is not a field of a condition", quoted(name))));
        }
        let Some(Value::String(name)) = fields.get("dimension") else {
            return Err(refusal(&format!("{path}.dimension"), "it is not a string"));
        };
        let facet = facet(&format!("{path}.dimension"), name, self.scope, self.locale)?;
        let op = match fields.get("op") {
            Some(Value::String(op)) => op.as_str(),
            None => "eq",
            Some(_) => "",
        };
        let value_path = format!("{path}.value");
        let value = fields.get("value");
        let test = match op {
            "eq" => Test::Equal(self.text(&value_path, value)?),
            "ne" => Test::NotEqual(self.text(&value_path, value)?),
            "prefix" => Test::Prefix(self.text(&value_path, value)?),
            "contains" => Test::Contains(self.text(&value_path, value)?.to_lowercase()),
            "in" => Test::OneOf(self.texts(&value_path, value)?),
            _ => {
                let path = format!("{path}.op");
                let allowed = "eq, ne, in, prefix, contains";
                return Err(QueryError::malformed(path, "it is not an operator", allowed, "eq"));
            }
        };
        Ok(Filter::Where(facet, test))
    }

    fn texts(&mut self, path: &str, value: Option<&Value>) -> Result<Vec<String>, QueryError> {
        let Some(Value::Array(values)) = value else {
            return Err(QueryError::malformed(
                path,
                "it is not a list",
                "a list of strings",
                r#"["gmail","yahoo"]"#,
            ));
        };
        let mut texts = Vec::with_capacity(values.len().min(MAX_VALUES));
        for value in values {
            texts.push(self.text(path, Some(value))?);
        }
        texts.sort_unstable();
        Ok(texts)
    }

    fn text(&mut self, path: &str, value: Option<&Value>) -> Result<String, QueryError> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(refusal("filter", format!("it has more than {MAX_VALUES} values")));
        }
        match value {
            Some(Value::String(text)) if text.len() <= MAX_VALUE_BYTES => Ok(text.clone()),
            Some(Value::String(_)) => Err(QueryError::malformed(
                path,
                "it is too long",
                format!("at most {MAX_VALUE_BYTES} bytes"),
                "gmail",
            )),
            _ => Err(QueryError::malformed(path, "it is not a string", "a string", "gmail")),
        }
    }
}

fn refusal(path: &str, problem: impl Into<String>) -> QueryError {
    QueryError::malformed(path, problem, SHAPE, EXAMPLE)
}
