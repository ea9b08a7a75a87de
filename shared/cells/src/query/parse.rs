//! Reads a query from text: the JSON body of `POST /v1/query`, or the pairs of a query string.
//!
//! The query string is turned into the same parameters as the body. They are read here and handed to the [`QueryBuilder`], which
//! validates them.

mod filter;
mod parameters;

use event::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use self::parameters::QueryParameters;
use super::builder::{self, QueryBuilder};
use super::calendar::{Compare, Granularity};
use super::dimension::GroupColumn;
use super::error::{EXAMPLE_BODY, QueryError, QueryErrorKind, quoted};
use super::locale::Locale;
use super::metrics::Metric;
use super::order::{self, OrderBy, RateEnd};
use super::request::{Basis, Fill, Query, Scope};
use super::time::QueryTime;
use crate::block::AgeClass;

/// [`EXAMPLE_BODY`] as a query string.
const EXAMPLE_PAIRS: &str = "metrics=sends&from=-24h&to=now";

impl Query {
    /// Reads the JSON body of `POST /v1/query`, as asked at `now`.
    ///
    /// # Errors
    /// [`QueryError`] naming the first parameter that is wrong.
    pub fn from_json(body: &[u8], scope: Scope, locale: &Locale, now: Timestamp) -> Result<Self, QueryError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => read(&QueryParameters::new(fields), scope, locale, now),
            Ok(_) => {
                Err(QueryError::malformed("body", "it is not a JSON object", "a JSON object", EXAMPLE_BODY))
            }
            // By position only: the parser's own message may quote the body.
            Err(fault) => {
                let problem = format!("it is not JSON at line {} column {}", fault.line(), fault.column());
                Err(QueryError::malformed("body", problem, "a JSON object", EXAMPLE_BODY))
            }
        }
    }

    /// Reads the decoded pairs of a query string, as asked at `now`.
    ///
    /// # Errors
    /// [`QueryError`] naming the first parameter that is wrong.
    pub fn from_pairs<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
        scope: Scope,
        locale: &Locale,
        now: Timestamp,
    ) -> Result<Self, QueryError> {
        let query = parameters_of(pairs).and_then(|parameters| read(&parameters, scope, locale, now));
        query.map_err(|error| {
            // The caller wrote a query string, so show the example as one too.
            let example = if error.example == EXAMPLE_BODY { EXAMPLE_PAIRS.into() } else { error.example };
            QueryError { example, ..error }
        })
    }
}

/// The parameters of the body that is equivalent to the pairs of a query string.
fn parameters_of<'a>(
    pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<QueryParameters, QueryError> {
    let mut fields = Map::new();
    let mut filters = Vec::new();
    for (name, text) in pairs {
        match name {
            "filter" => filters.push(text),
            // Lists can be given as one text, as several, or both.
            "metrics" | "group_by" | "order_by" => {
                let list = fields.entry(name).or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(list) = list {
                    list.extend(text.split(',').filter(|part| !part.is_empty()).map(Value::from));
                }
            }
            // Which of two values is meant cannot be known.
            _ if fields.contains_key(name) => {
                return Err(QueryError::malformed(name, "it is given twice", "one value", EXAMPLE_BODY));
            }
            "limit" => {
                // A text that is not a number is refused where the limit is read.
                let number = text.parse::<u64>().map_or_else(|_| Value::from(text), Value::from);
                fields.insert(name.into(), number);
            }
            _ => {
                fields.insert(name.into(), text.into());
            }
        }
    }
    if !filters.is_empty() {
        fields.insert("filter".into(), filter::from_pairs(&filters)?);
    }
    Ok(QueryParameters::new(fields))
}

fn read(
    parameters: &QueryParameters,
    scope: Scope,
    locale: &Locale,
    now: Timestamp,
) -> Result<Query, QueryError> {
    // Unknown names first: a parameter that was mistyped would otherwise be reported as missing or be ignored.
    parameters.check_names()?;
    let metrics = metrics(parameters, locale)?;
    let groups = group_by(parameters, locale)?;
    let orders = order_by(parameters, &metrics, &groups, locale)?;
    let mut query = Query::builder(scope)
        .metrics(metrics)
        .zone(zone(parameters, locale)?)
        .group_by(groups)
        .order_by(orders);
    query = with_choices(query, parameters)?;
    if let Some(value) = parameters.get("filter") {
        query = query.filter(filter::read("filter", value, locale)?);
    }
    if let Some(limit) = limit(parameters)? {
        query = query.limit(limit);
    }
    if let Some(cursor) = parameters.text("cursor")? {
        query = query.cursor(cursor);
    }
    // Dates stay dates until the builder resolves them in the query's zone.
    let from = parameters.text("from")?.map(|text| QueryTime::parse("from", text)).transpose()?;
    let to = parameters.text("to")?.map(|text| QueryTime::parse("to", text)).transpose()?;
    query.range_or_default(from, to).build(now).map_err(|error| with_declared_names(error, locale))
}

/// Adds the declared tags to the dimensions that an error allows, since the builder knows only the built-in names.
fn with_declared_names(error: QueryError, locale: &Locale) -> QueryError {
    if error.kind != QueryErrorKind::Forbidden {
        return error;
    }
    QueryError { allowed: locale.all().collect::<Vec<_>>().join(", ").into(), ..error }
}

/// Reads the parameters that take one of a few names.
fn with_choices(mut query: QueryBuilder, parameters: &QueryParameters) -> Result<QueryBuilder, QueryError> {
    let granularities = Granularity::ALL.map(|one| (one.name(), one));
    if let Some(granularity) = parameters.choice("granularity", &granularities)? {
        query = query.granularity(granularity);
    }
    let basis = parameters.choice("basis", &Basis::ALL.map(|one| (one.name(), one)))?;
    if let Some(basis) = basis {
        query = query.basis(basis);
    }
    if let Some(age) = parameters.choice("max_age", &AgeClass::BOUNDED.map(|one| (one.name(), one)))? {
        query = query.max_age(age);
        // The only basis with which it means anything.
        if basis.is_none() {
            query = query.basis(Basis::Send);
        }
    }
    if let Some(compare) = parameters.choice("compare", &Compare::ALL.map(|one| (one.name(), one)))? {
        query = query.compare(compare);
    }
    if let Some(fill) = parameters.choice("fill", &Fill::ALL.map(|one| (one.name(), one)))? {
        query = query.fill(fill);
    }
    Ok(query)
}

fn metrics(parameters: &QueryParameters, locale: &Locale) -> Result<Vec<Metric>, QueryError> {
    let metric = |name: &str| {
        locale.metrics.get(name).ok_or_else(|| {
            let problem = format!("{} is not a metric", quoted(name));
            QueryError::malformed("metrics", problem, locale.metrics.names(), "sends")
        })
    };
    parameters.list("metrics")?.into_iter().map(metric).collect()
}

fn zone(parameters: &QueryParameters, locale: &Locale) -> Result<TimeZone, QueryError> {
    match parameters.text("timezone")? {
        Some(name) => time_zone(name),
        None => Ok(locale.zone.clone().unwrap_or(TimeZone::UTC)),
    }
}

/// The time zone of that name.
///
/// # Errors
/// [`QueryError`] about `timezone` if there is none.
pub fn time_zone(name: &str) -> Result<TimeZone, QueryError> {
    match TimeZone::get(name) {
        // "UTC" under any of its names is the zone whose times are shown with a Z.
        Ok(zone) if matches!(name, "UTC" | "Etc/UTC") || zone.is_unknown() => Ok(TimeZone::UTC),
        Ok(zone) => Ok(zone),
        Err(_) => {
            let problem = format!("{} is not a time zone", quoted(name));
            let allowed = "a name of the IANA time zone database";
            Err(QueryError::malformed("timezone", problem, allowed, "Europe/Berlin"))
        }
    }
}

fn group_by(parameters: &QueryParameters, locale: &Locale) -> Result<Vec<GroupColumn>, QueryError> {
    let group = |name: &str| {
        let dimension = filter::dimension("group_by", name, locale)?;
        Ok(GroupColumn { name: name.into(), dimension })
    };
    parameters.list("group_by")?.into_iter().map(group).collect()
}

/// Reads keys such as `sends`, `-sends`, `time`, `provider:asc`, `provider desc`. Without a direction, a metric has its largest value
/// first, and times and names rise. A rate can also be ordered by `bounce_rate:worst` or `:best`, see [`OrderBy::rate`].
fn order_by(
    parameters: &QueryParameters,
    metrics: &[Metric],
    groups: &[GroupColumn],
    locale: &Locale,
) -> Result<Vec<OrderBy>, QueryError> {
    let order = |text: &str| {
        let (name, direction) = match (text.strip_prefix('-'), text.split_once([':', ' '])) {
            (Some(name), _) => (name, "desc"),
            (None, Some((name, direction))) => (name, direction.trim()),
            (None, None) => (text, ""),
        };
        let asked = metrics.iter().copied().find(|metric| metric.name() == name);
        let group = groups.iter().find(|group| group.name == name);
        // A metric that is not asked for is refused by the builder.
        let metric = asked.or_else(|| locale.metrics.get(name).filter(|_| group.is_none()));
        let plain = if name == "time" {
            Some(OrderBy::time())
        } else {
            metric.map(OrderBy::metric).or_else(|| group.map(|group| OrderBy::group(group.dimension)))
        };
        match (plain, direction, metric) {
            (Some(order), "", _) => Ok(order),
            (Some(order), "asc", _) => Ok(order.ascending()),
            (Some(order), "desc", _) => Ok(order.descending()),
            (Some(_), "worst", Some(metric)) => Ok(OrderBy::rate(metric, RateEnd::Worst)),
            (Some(_), "best", Some(metric)) => Ok(OrderBy::rate(metric, RateEnd::Best)),
            _ => Err(order::refusal(text)),
        }
    };
    parameters.list("order_by")?.into_iter().map(order).collect()
}

fn limit(parameters: &QueryParameters) -> Result<Option<usize>, QueryError> {
    let Some(value) = parameters.get("limit") else { return Ok(None) };
    let limit = value.as_u64().and_then(|limit| usize::try_from(limit).ok());
    limit.map(Some).ok_or_else(builder::limit_refusal)
}

#[cfg(test)]
mod tests;
