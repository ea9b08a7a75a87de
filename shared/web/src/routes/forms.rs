//! An answer in the form that the client asks for: JSON, CSV for spreadsheets, or one JSON object a line.
//!
//! Where rows stand alone, what else the answer says is in headers. Values come from mail: none of them begins a formula.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use cells::csv;
use cells::query::{Answer, Granularity};
use serde_json::Value;

use crate::backend::Unavailable;

const NEXT_CURSOR: HeaderName = HeaderName::from_static("x-mailgauge-next-cursor");
const COMPLETE_UNTIL: HeaderName = HeaderName::from_static("x-mailgauge-complete-until");

/// A form of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The whole of it.
    Json,
    /// A header, then a line for each row.
    Csv,
    /// An object for each row.
    Lines,
}

impl Form {
    /// The first form named that there is; JSON if none is.
    pub(crate) fn asked_for(headers: &HeaderMap) -> Self {
        let accepted =
            headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        let named = accepted.split(',').map(|part| part.split(';').next().unwrap_or_default().trim());
        for name in named {
            match name {
                "text/csv" => return Self::Csv,
                "application/x-ndjson" | "application/jsonl" => return Self::Lines,
                "application/json" | "*/*" => return Self::Json,
                _ => {}
            }
        }
        Self::Json
    }

    const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Lines => "application/x-ndjson",
        }
    }

    /// The answer in this form.
    pub(crate) fn write(self, answer: &Answer) -> Result<Response, Unavailable> {
        let failed =
            |error: serde_json::Error| Unavailable { operation: "writing the answer", source: error.into() };
        let content_type = [(header::CONTENT_TYPE, self.content_type())];
        if self == Self::Json {
            return Ok((content_type, answer.to_json().map_err(failed)?).into_response());
        }
        let whole = serde_json::to_value(answer).map_err(failed)?;
        let rows = whole["rows"].as_array().map_or(&[][..], Vec::as_slice);
        let text = match self {
            Self::Csv => table(&Columns::of(answer), rows),
            Self::Lines | Self::Json => {
                rows.iter().flat_map(|row| [row.to_string(), "\n".to_owned()]).collect()
            }
        };
        let mut response = (content_type, text).into_response();
        for (name, value) in
            [(NEXT_CURSOR, &whole["meta"]["next_cursor"]), (COMPLETE_UNTIL, &whole["meta"]["complete_until"])]
        {
            if let Some(value) = value.as_str().and_then(|value| HeaderValue::from_str(value).ok()) {
                response.headers_mut().insert(name, value);
            }
        }
        Ok(response)
    }
}

/// What the columns of a table are.
struct Columns {
    has_time: bool,
    groups: Vec<String>,
    metrics: Vec<String>,
    has_previous: bool,
}

impl Columns {
    fn of(answer: &Answer) -> Self {
        let query = answer.query();
        Self {
            has_time: query.granularity != Granularity::Total,
            groups: query.group_by.iter().map(|group| group.name.clone()).collect(),
            metrics: query.metrics.iter().map(|metric| metric.name()).collect(),
            has_previous: query.compare.is_some(),
        }
    }
}

fn table(columns: &Columns, rows: &[Value]) -> String {
    let mut text = String::new();
    let time = columns.has_time.then_some("time");
    let previous = if columns.has_previous { columns.metrics.as_slice() } else { &[] };
    let names = time.into_iter().map(str::to_owned).chain(columns.groups.iter().cloned());
    let names = names.chain(columns.metrics.iter().cloned());
    line(&mut text, names.chain(previous.iter().map(|name| format!("previous_{name}"))));
    for row in rows {
        let times = time.into_iter().map(|name| cell(&row[name]));
        let groups = columns.groups.iter().map(|name| cell(&row["group"][name]));
        let metrics = columns.metrics.iter().map(|name| cell(&row["metrics"][name]));
        let before = previous.iter().map(|name| cell(&row["previous"][name]));
        line(&mut text, times.chain(groups).chain(metrics).chain(before));
    }
    text
}

fn line(text: &mut String, cells: impl Iterator<Item = String>) {
    let cells: Vec<String> = cells.collect();
    text.push_str(&cells.join(","));
    text.push_str("\r\n");
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => csv::cell(text).into_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_form_named_that_there_is_wins() {
        for (accept, expected) in [
            ("", Form::Json),
            ("text/csv", Form::Csv),
            ("text/html, text/csv;q=0.9, */*", Form::Csv),
            ("*/*, text/csv", Form::Json),
            ("application/x-ndjson", Form::Lines),
            ("image/png", Form::Json),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(Form::asked_for(&headers), expected, "{accept}");
        }
    }

    #[test]
    fn a_row_is_a_line_and_nothing_in_it_is_a_formula() {
        let columns = Columns {
            has_time: true,
            groups: vec!["campaign".to_owned()],
            metrics: vec!["sends".to_owned(), "open_rate".to_owned()],
            has_previous: true,
        };
        let row = |campaign: &str| {
            json!({"time": "2026-11-25T00:00:00Z", "group": {"campaign": campaign},
                "metrics": {"sends": 3, "open_rate": null}, "previous": {"sends": 2, "open_rate": 0.5}})
        };
        assert_eq!(
            table(&columns, &[row("=1+1"), row("-2"), row("\r@x"), row("a,\"b\"")]),
            "time,campaign,sends,open_rate,previous_sends,previous_open_rate\r\n\
             2026-11-25T00:00:00Z,'=1+1,3,,2,0.5\r\n\
             2026-11-25T00:00:00Z,-2,3,,2,0.5\r\n\
             2026-11-25T00:00:00Z,\"'\r@x\",3,,2,0.5\r\n\
             2026-11-25T00:00:00Z,\"a,\"\"b\"\"\",3,,2,0.5\r\n"
        );
    }
}
