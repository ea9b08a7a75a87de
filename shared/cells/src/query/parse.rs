//! Reads a query from the wire: the JSON body of `POST /v1/query`, or the pairs of a query string.
//!
//! The query string is turned into the JSON body, so both are checked in one place. Unknown parameters are refused: a mistyped
//! filter must not answer another question than the one meant.

use event::{Minute, Timestamp};
use jiff::tz::TimeZone;
use rapidhash::v3::rapidhash_v3;
use serde_json::{Map, Value};

use super::calendar::{self, Compare, Granularity};
use super::cursor::Cursor;
use super::error::{QueryError, quoted};
use super::filter::{Facet, Filter};
use super::metric::Metric;
use super::moment::Moment;
use super::parse_filter;
use super::request::{Basis, By, DimensionNames, Fill, Group, Order, Query, Scope};
use event::attribution::Dimension;

const PARAMETERS: [&str; 13] = [
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
const BODY: &str = r#"{"metrics":["sends"],"from":"-24h","to":"now"}"#;

/// How long history is kept by the minute and by the hour, less a margin: a range given in relation to now is widened to what is
/// still there, since nobody means the exact second 90 days ago.
const MINUTES_KEPT: u32 = 25 * DAY;
const HOURS_KEPT: u32 = 390 * DAY;
const DAY: u32 = 24 * 60;

impl Query {
    /// Reads the JSON body of `POST /v1/query`, as asked at `now`.
    ///
    /// # Errors
    /// [`QueryError`] naming the first parameter that is wrong.
    pub fn from_json(
        body: &[u8],
        scope: Scope,
        names: &DimensionNames,
        now: Timestamp,
    ) -> Result<Self, QueryError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => read(&Fields(fields), scope, names, now),
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
        names: &DimensionNames,
        now: Timestamp,
    ) -> Result<Self, QueryError> {
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
        read(&Fields(fields), scope, names, now)
    }
}

fn read(fields: &Fields, scope: Scope, names: &DimensionNames, now: Timestamp) -> Result<Query, QueryError> {
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
    let zone = zone(fields)?;
    let group_by = group_by(fields, &scope, names)?;
    let filter = match fields.get("filter") {
        Some(value) => parse_filter::read(value, &scope, names)?,
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
    if basis == Basis::Send {
        cohorts_can_answer(&query)?;
    }
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

fn zone(fields: &Fields) -> Result<TimeZone, QueryError> {
    let Some(name) = fields.text("timezone")? else { return Ok(TimeZone::UTC) };
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

fn group_by(fields: &Fields, scope: &Scope, names: &DimensionNames) -> Result<Vec<Group>, QueryError> {
    let mut groups: Vec<Group> = Vec::new();
    for name in fields.list("group_by", Query::MAX_GROUP_BY)? {
        let facet = parse_filter::facet("group_by", name, scope, names)?;
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
/// first, since that is what a list is read for; times and names rise.
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
            (Some(by), "asc") => orders.push(Order { by, descending: false }),
            (Some(by), "desc") => orders.push(Order { by, descending: true }),
            (Some(by), "") => orders.push(Order { by, descending: matches!(by, By::Metric(_)) }),
            _ => {
                return Err(QueryError::malformed(
                    "order_by",
                    format!("{} cannot be ordered by", quoted(text)),
                    "time, or one of metrics or group_by; with :asc or :desc, or a - before it for descending",
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

/// The minutes asked for; [`edges`] widens them to whole buckets.
fn range(
    fields: &Fields,
    granularity: Granularity,
    basis: Basis,
    compare: Option<Compare>,
    zone: &TimeZone,
    now: Timestamp,
) -> Result<(Minute, Minute), QueryError> {
    let from = Moment::parse("from", fields.text("from")?.unwrap_or("-24h"), zone, now)?;
    let to = Moment::parse("to", fields.text("to")?.unwrap_or("now"), zone, now)?;
    if to.at <= from.at {
        return Err(QueryError::malformed("to", "it is not after from", "a time after from", "now"));
    }
    // Mail by the hour of sending is the finest there is of cohorts.
    let finest = if basis == Basis::Send { 60 } else { 1 };
    let (mut from_grain, mut to_grain) = (finest, finest);
    if granularity == Granularity::Total && from.relative {
        from_grain = grain(from, compare, now).max(finest);
        if to.relative {
            to_grain = from_grain;
        }
    }
    Ok((from.floor(from_grain), to.ceil(to_grain)))
}

/// How fine history is where a range begins that is given in relation to now, in minutes.
fn grain(from: Moment, compare: Option<Compare>, now: Timestamp) -> u32 {
    let age = now.minute().0.saturating_sub(from.at.minute().0);
    let oldest = match compare {
        None => age,
        Some(Compare::PreviousPeriod) => age.saturating_mul(2),
        Some(Compare::PreviousYear) => age.saturating_add(365 * DAY),
    };
    match oldest {
        0..MINUTES_KEPT => 1,
        MINUTES_KEPT..HOURS_KEPT => 60,
        HOURS_KEPT.. => DAY,
    }
}

fn edges(
    granularity: Granularity,
    zone: &TimeZone,
    from: Minute,
    to: Minute,
) -> Result<Vec<Minute>, QueryError> {
    let cut = |granularity| calendar::edges(granularity, zone, from, to, Query::MAX_BUCKETS);
    cut(granularity).ok_or_else(|| {
        let coarser = Granularity::ALL.into_iter().filter(|one| *one > granularity);
        let fitting: Vec<_> = coarser.filter(|one| cut(*one).is_some()).map(Granularity::name).collect();
        QueryError::malformed(
            "granularity",
            format!("the range has more than {} buckets of {}", Query::MAX_BUCKETS, granularity.name()),
            format!("total {}, or a shorter range", fitting.join(" ")),
            fitting.first().copied().unwrap_or("total"),
        )
    })
}

/// Cohorts are kept by the hour of sending, campaign and provider.
fn cohorts_can_answer(query: &Query) -> Result<(), QueryError> {
    let kept = |facet: &Facet| {
        matches!(facet, Facet::Tenant | Facet::Dimension(Dimension::Campaign | Dimension::Provider))
    };
    let unkept = |parameter: &str| {
        let problem = "by send cohort there are no other dimensions than campaign and provider";
        QueryError::malformed(parameter, problem, "campaign, provider; or basis event", "provider")
    };
    if !query.group_by.iter().all(|group| kept(&group.facet)) {
        return Err(unkept("group_by"));
    }
    if !query.filter.facets().iter().all(kept) {
        return Err(unkept("filter"));
    }
    if query.edges.iter().all(|edge| edge.0.is_multiple_of(60)) {
        return Ok(());
    }
    let problem = "send cohorts are kept by the hour in UTC";
    Err(if query.granularity.is_calendar() {
        QueryError::malformed("timezone", problem, "a zone whole hours from UTC; or basis event", "UTC")
    } else {
        QueryError::malformed("granularity", problem, "total 1h 1d 1w 1mo; or basis event", "1h")
    })
}

/// The parameters as they came.
struct Fields(Map<String, Value>);

impl Fields {
    fn all_are_known(&self) -> Result<(), QueryError> {
        match self.0.keys().find(|name| !PARAMETERS.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => {
                let parameter: String = name.chars().filter(|c| !c.is_control()).take(40).collect();
                Err(QueryError::malformed(parameter, "it is not a parameter", PARAMETERS.join(", "), BODY))
            }
        }
    }

    /// A parameter that is there and not null.
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A text that is there and not empty.
    fn text(&self, name: &str) -> Result<Option<&str>, QueryError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(_) => Err(QueryError::malformed(name, "it is not a string", "a string", BODY)),
        }
    }

    /// A list of strings, or a single one.
    fn list(&self, name: &str, most: usize) -> Result<Vec<&str>, QueryError> {
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
    fn choice<T: Copy>(&self, name: &str, choices: &[(&'static str, T)]) -> Result<Option<T>, QueryError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        if let Some((_, chosen)) = choices.iter().find(|(choice, _)| *choice == text) {
            return Ok(Some(*chosen));
        }
        let allowed = choices.iter().map(|(choice, _)| *choice).collect::<Vec<_>>().join(" ");
        let example = choices.first().map_or("", |(choice, _)| choice);
        Err(QueryError::malformed(name, format!("{} is not one", quoted(text)), allowed, example))
    }

    /// A hash of who asks and of all parameters but the cursor.
    fn fingerprint(&self, scope: &Scope) -> u64 {
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

#[cfg(test)]
mod tests;
