//! Reads a filter: nested JSON, or the short `dimension:value` of a query string.
//!
//! Refusals name the part at fault, `filter.and[1].op`, and never repeat a value. Limits on depth and size are checked by the query
//! builder.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::query::dimension::QueryDimension;
use crate::query::error::{QueryError, quoted};
use crate::query::filter::{Filter, ValueTest, refusal};
use crate::query::locale::Locale;

/// The dimension of that name.
pub(super) fn dimension(parameter: &str, name: &str, locale: &Locale) -> Result<QueryDimension, QueryError> {
    if name == QueryDimension::Tenant.name() {
        return Ok(QueryDimension::Tenant);
    }
    locale.dimension(name).ok_or_else(|| {
        let problem = format!("{} is not a dimension", quoted(name));
        QueryError::malformed(parameter, problem, locale.all().collect::<Vec<_>>().join(", "), "provider")
    })
}

impl Filter {
    /// Reads the filters of a query string, for other requests than queries: `provider:gmail`, or JSON as in the body of `POST /v1/query`.
    /// Every row passes if there are none. Values of one dimension are alternatives; all dimensions must match.
    ///
    /// # Errors
    /// [`QueryError`] about `filter`.
    pub fn from_pairs(texts: &[&str], locale: &Locale) -> Result<Self, QueryError> {
        if texts.is_empty() { Ok(Self::everything()) } else { read("filter", &from_pairs(texts)?, locale) }
    }
}

/// Reads the filters of a query string: `provider:gmail`, or JSON as in the body. Values of one dimension are alternatives; all
/// dimensions must match.
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
    // `provider:gmail` and `provider:yahoo` are alternatives: no mail is at both.
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

/// Reads a filter in JSON. `path` names the part that `value` is, for refusals. The depth is bounded by the JSON parser before.
pub(super) fn read(path: &str, value: &Value, locale: &Locale) -> Result<Filter, QueryError> {
    let Value::Object(fields) = value else {
        return Err(refusal(path, "it is not an object"));
    };
    // First, so that a mistake in a condition is explained as one and not as an unknown field of a filter.
    if fields.contains_key("dimension") {
        return condition(path, fields, locale);
    }
    if let Some(name) = fields.keys().find(|name| !matches!(name.as_str(), "and" | "or" | "not")) {
        return Err(refusal(path, format!("{} is not a field of a filter", quoted(name))));
    }
    let mut fields = fields.iter();
    match (fields.next(), fields.next()) {
        (Some((name, part)), None) if name == "not" => {
            Ok(Filter::Not(Box::new(read(&format!("{path}.not"), part, locale)?)))
        }
        (Some((name, Value::Array(parts))), None) if matches!(name.as_str(), "and" | "or") => {
            // An empty `and` would pass every row and an empty `or` none, which is rarely intended.
            if parts.is_empty() {
                return Err(refusal(&format!("{path}.{name}"), "it is empty"));
            }
            let part = |(nth, part)| read(&format!("{path}.{name}[{nth}]"), part, locale);
            let filters = parts.iter().enumerate().map(part).collect::<Result<_, _>>()?;
            Ok(if name == "and" { Filter::And(filters) } else { Filter::Or(filters) })
        }
        _ => Err(refusal(path, "it does not have the shape of a filter")),
    }
}

fn condition(path: &str, fields: &Map<String, Value>, locale: &Locale) -> Result<Filter, QueryError> {
    if let Some(name) = fields.keys().find(|name| !matches!(name.as_str(), "dimension" | "op" | "value")) {
        return Err(refusal(path, format!("{} is not a field of a condition", quoted(name))));
    }
    let Some(Value::String(name)) = fields.get("dimension") else {
        return Err(refusal(&format!("{path}.dimension"), "it is not a string"));
    };
    let dimension = dimension(&format!("{path}.dimension"), name, locale)?;
    let operator = match fields.get("op") {
        None => "eq",
        Some(Value::String(operator)) => operator.as_str(),
        // Not the name of any operator, so it is refused below.
        Some(_) => "",
    };
    let value_path = format!("{path}.value");
    let value = fields.get("value");
    let test = match operator {
        "eq" => ValueTest::Equal(text(&value_path, value)?),
        "ne" => ValueTest::NotEqual(text(&value_path, value)?),
        "prefix" => ValueTest::Prefix(text(&value_path, value)?),
        "contains" => ValueTest::Contains(text(&value_path, value)?.as_str().into()),
        "in" => ValueTest::OneOf(texts(&value_path, value)?.into()),
        _ => {
            let path = format!("{path}.op");
            let allowed = "eq, ne, in, prefix, contains";
            return Err(QueryError::malformed(path, "it is not an operator", allowed, "eq"));
        }
    };
    Ok(Filter::Condition(dimension, test))
}

fn texts(path: &str, value: Option<&Value>) -> Result<Vec<String>, QueryError> {
    let Some(Value::Array(values)) = value else {
        let example = r#"["gmail","yahoo"]"#;
        return Err(QueryError::malformed(path, "it is not a list", "a list of strings", example));
    };
    values.iter().map(|value| text(path, Some(value))).collect()
}

fn text(path: &str, value: Option<&Value>) -> Result<String, QueryError> {
    match value {
        Some(Value::String(text)) => Ok(text.clone()),
        _ => Err(QueryError::malformed(path, "it is not a string", "a string", "gmail")),
    }
}
