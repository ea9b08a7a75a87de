//! Reads a query from the wire: the JSON body of `POST /v1/query`, or the pairs of a query string.
//!
//! The query string is turned into the JSON body, so both are checked in one place. Unknown parameters are refused: a mistyped
//! filter must not answer another question than the one meant.

use event::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use super::calendar::{Compare, Granularity};
use super::cohort;
use super::cursor::Cursor;
use super::error::{QueryError, quoted};
use super::fields::{BODY, Fields, PAIRS};
use super::filter::Filter;
use super::metric::Metric;
use super::parse_filter;
use super::range::{edges, range};
use super::request::{Basis, By, Fill, Group, Locale, Order, Query, Scope, Standing};

impl Query {
    /// Reads the JSON body of `POST /v1/query`, as asked at `now`.
    ///
    /// # Errors
    /// [`QueryError`] naming the first parameter that is wrong.
    pub fn from_json(body: &[u8], scope: Scope, locale: &Locale, now: Timestamp) -> Result<Self, QueryError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => read(&Fields::new(fields), scope, locale, now),
            Ok(_) => Err(QueryError::malformed("body", "it is not a JSON object", "a JSON object", BODY)),
            Err(fault) => {
                let place = format!("it is not JSON at line {} column {}", fault.line(), fault.column());
                Err(QueryError::malformed("body", place, "a JSON object", BODY))
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
        let query = fields_of(pairs).and_then(|fields| read(&fields, scope, locale, now));
        query.map_err(|error| {
            // The caller wrote a query string, so show the example as one too.
            let example = if error.example == BODY { PAIRS.into() } else { error.example };
            QueryError { example, ..error }
        })
    }
}

/// The fields of the body that is equivalent to the pairs of a query string.
fn fields_of<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Fields, QueryError> {
    let mut fields = Map::new();
    let mut filters = Vec::new();
    for (name, text) in pairs {
        match name {
            "filter" => filters.push(text),
            "metrics" | "group_by" | "order_by" => {
                let list = fields.entry(name).or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(list) = list {
                    list.extend(text.split(',').filter(|part| !part.is_empty()).map(Value::from));
                }
            }
            _ if fields.contains_key(name) => {
                return Err(QueryError::malformed(name, "it is given twice", "one value", BODY));
            }
            "limit" => {
                let number = text.parse::<u64>().map_or_else(|_| Value::from(text), Value::from);
                fields.insert(name.into(), number);
            }
            _ => {
                fields.insert(name.into(), text.into());
            }
        }
    }
    if !filters.is_empty() {
        fields.insert("filter".into(), parse_filter::from_pairs(&filters)?);
    }
    Ok(Fields::new(fields))
}

fn read(fields: &Fields, scope: Scope, locale: &Locale, now: Timestamp) -> Result<Query, QueryError> {
    fields.all_are_known()?;
    let metrics = metrics(fields)?;
    let granularity = fields.choice("granularity", &Granularity::ALL.map(|one| (one.name(), one)))?;
    let granularity = granularity.unwrap_or(Granularity::Total);
    let basis =
        fields.choice("basis", &[("event", Basis::Event), ("send", Basis::Send)])?.unwrap_or(Basis::Event);
    let comparisons =
        [("previous_period", Compare::PreviousPeriod), ("previous_year", Compare::PreviousYear)];
    let compare = fields.choice("compare", &comparisons)?;
    let fill = fields.choice("fill", &[("zero", Fill::Zero), ("none", Fill::None)])?.unwrap_or(Fill::None);
    let zone = match fields.text("timezone")? {
        Some(name) => time_zone(name)?,
        None => locale.zone.clone().unwrap_or(TimeZone::UTC),
    };
    let group_by = group_by(fields, &scope, locale)?;
    let filter = match fields.get("filter") {
        Some(value) => parse_filter::read(value, &scope, locale)?,
        None => Filter::everything(),
    };
    let order_by = order_by(fields, &metrics, &group_by)?;
    let limit = limit(fields)?;
    let fingerprint = fields.fingerprint(&scope);
    let cursor = fields.text("cursor")?.map(|text| Cursor::decode(text, fingerprint)).transpose()?;
    let (from, to) = match &cursor {
        Some(cursor) => (cursor.from, cursor.to),
        None => range(fields, granularity, basis, compare, &zone, now)?,
    };
    let edges = edges(granularity, &zone, from, to)?;
    let query = Query {
        scope,
        metrics,
        basis,
        granularity,
        edges,
        zone,
        group_by,
        filter,
        order_by,
        limit,
        skip: cursor.map_or(0, |cursor| cursor.skip as usize),
        compare,
        fill,
        fingerprint,
        is_earlier: false,
    };
    cohort::check(&query)?;
    Ok(query)
}

fn metrics(fields: &Fields) -> Result<Vec<Metric>, QueryError> {
    let allowed = || Metric::all().map(Metric::name).collect::<Vec<_>>().join(", ");
    let mut metrics = Vec::new();
    for name in fields.list("metrics", Query::MAX_METRICS)? {
        let Some(metric) = Metric::from_name(name) else {
            let problem = format!("{} is not a metric", quoted(name));
            return Err(QueryError::malformed("metrics", problem, allowed(), "sends"));
        };
        if !metrics.contains(&metric) {
            metrics.push(metric);
        }
    }
    if metrics.is_empty() {
        return Err(QueryError::malformed("metrics", "there is none", allowed(), "sends"));
    }
    Ok(metrics)
}

/// The time zone of that name.
///
/// # Errors
/// [`QueryError`] about `timezone` if there is none.
pub fn time_zone(name: &str) -> Result<TimeZone, QueryError> {
    // "UTC" under any of its names is the zone that times are shown with a Z in.
    match TimeZone::get(name) {
        Ok(zone) if matches!(name, "UTC" | "Etc/UTC") || zone.is_unknown() => Ok(TimeZone::UTC),
        Ok(zone) => Ok(zone),
        Err(_) => {
            let problem = format!("{} is not a time zone", quoted(name));
            Err(QueryError::malformed(
                "timezone",
                problem,
                "a name of the IANA time zone database",
                "Europe/Berlin",
            ))
        }
    }
}

fn group_by(fields: &Fields, scope: &Scope, locale: &Locale) -> Result<Vec<Group>, QueryError> {
    let mut groups: Vec<Group> = Vec::new();
    for name in fields.list("group_by", Query::MAX_GROUP_BY)? {
        let facet = parse_filter::facet("group_by", name, scope, locale)?;
        if groups.iter().any(|group| group.facet == facet) {
            let problem = format!("{} is given twice", quoted(name));
            return Err(QueryError::malformed(
                "group_by",
                problem,
                "each dimension once",
                "provider,campaign",
            ));
        }
        groups.push(Group { name: name.into(), facet });
    }
    Ok(groups)
}

/// Reads keys such as `sends`, `-sends`, `time`, `provider:asc`, `provider desc`. Unless it says, a metric has its largest value
/// first, since that is what a list is read for; times and names rise. A rate can also be ordered by `bounce_rate:worst` or `:best`,
/// that is, by the share that is proven, see [`By::Proven`].
fn order_by(fields: &Fields, metrics: &[Metric], groups: &[Group]) -> Result<Vec<Order>, QueryError> {
    let mut orders = Vec::new();
    for text in fields.list("order_by", Query::MAX_ORDER_BY)? {
        let (name, direction) = match (text.strip_prefix('-'), text.split_once([':', ' '])) {
            (Some(name), _) => (name, "desc"),
            (None, Some((name, direction))) => (name, direction.trim()),
            (None, None) => (text, ""),
        };
        let by = if name == "time" {
            Some(By::Time)
        } else if let Some(place) = metrics.iter().position(|metric| metric.name() == name) {
            Some(By::Metric(place))
        } else {
            groups.iter().position(|group| group.name == name).map(By::Group)
        };
        match (by, direction) {
            (Some(By::Metric(place)), "worst" | "best")
                if matches!(metrics.get(place), Some(Metric::Rate(_))) =>
            {
                let standing = if direction == "worst" { Standing::Worst } else { Standing::Best };
                orders.push(Order { by: By::Proven(place, standing), descending: true });
            }
            (Some(by), "asc") => orders.push(Order { by, descending: false }),
            (Some(by), "desc") => orders.push(Order { by, descending: true }),
            (Some(by), "") => orders.push(Order { by, descending: matches!(by, By::Metric(_)) }),
            _ => {
                return Err(QueryError::malformed(
                    "order_by",
                    format!("{} cannot be ordered by", quoted(text)),
                    "time, or one of metrics or group_by; with :asc or :desc, or a - before it for descending; a rate also with :worst or :best",
                    "-sends",
                ));
            }
        }
    }
    Ok(orders)
}

fn limit(fields: &Fields) -> Result<usize, QueryError> {
    let limit = match fields.get("limit") {
        None => return Ok(Query::MAX_LIMIT),
        Some(value) => value.as_u64().and_then(|limit| usize::try_from(limit).ok()),
    };
    limit.filter(|limit| (1..=Query::MAX_LIMIT).contains(limit)).ok_or_else(|| {
        QueryError::malformed(
            "limit",
            "it is out of range",
            format!("a whole number from 1 to {}", Query::MAX_LIMIT),
            "10",
        )
    })
}

#[cfg(test)]
mod tests;
