//! An answer in the format that the client accepts: JSON, CSV for spreadsheets, or one JSON object a line.
//!
//! CSV and lines hold rows only, so the metadata that clients need is in headers. Values come from mail, so a CSV cell must never begin
//! like a formula of a spreadsheet program.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use cells::csv;
use cells::query::{Answer, Granularity};
use serde_json::Value;

const NEXT_CURSOR: HeaderName = HeaderName::from_static("x-mailgauge-next-cursor");
const COMPLETE_UNTIL: HeaderName = HeaderName::from_static("x-mailgauge-complete-until");

/// A format of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplyFormat {
    /// Rows and metadata.
    Json,
    /// A header line, then a line for each row.
    Csv,
    /// An object for each row.
    JsonLines,
}

impl ReplyFormat {
    /// The first format that `Accept` names and that exists; JSON if it names none. Weights (`q=`) are not evaluated: clients that ask
    /// for CSV name it first.
    pub(super) fn accepted_by(headers: &HeaderMap) -> Self {
        let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
        let names = accept.into_iter().flat_map(|accept| accept.split(','));
        for name in names.map(|range| range.split_once(';').map_or(range, |(name, _)| name).trim()) {
            match name {
                "text/csv" => return Self::Csv,
                "application/x-ndjson" | "application/jsonl" => return Self::JsonLines,
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
            Self::JsonLines => "application/x-ndjson",
        }
    }

    /// Writes the answer in this format.
    pub(super) fn write(self, answer: &Answer) -> Result<Response, serde_json::Error> {
        let content_type = [(header::CONTENT_TYPE, self.content_type())];
        match self {
            Self::Json => Ok((content_type, answer.to_json()?).into_response()),
            Self::Csv => {
                let written = Written::of(answer)?;
                let text = table(&Columns::of(answer), written.rows());
                Ok(written.add_headers((content_type, text).into_response()))
            }
            Self::JsonLines => {
                let written = Written::of(answer)?;
                let text: String =
                    written.rows().iter().flat_map(|row| [row.to_string(), "\n".to_owned()]).collect();
                Ok(written.add_headers((content_type, text).into_response()))
            }
        }
    }
}

/// The JSON form of an answer, read back: the only way to its rows as clients see them, since an answer only writes itself as JSON.
struct Written(Value);

impl Written {
    fn of(answer: &Answer) -> Result<Self, serde_json::Error> {
        serde_json::to_value(answer).map(Self)
    }

    fn rows(&self) -> &[Value] {
        self.0["rows"].as_array().map_or(&[], Vec::as_slice)
    }

    fn add_headers(&self, mut response: Response) -> Response {
        for (name, member) in [(NEXT_CURSOR, "next_cursor"), (COMPLETE_UNTIL, "complete_until")] {
            let value = self.0["meta"][member].as_str();
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

/// The columns of a CSV table.
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

/// Lines end with CRLF. Source: RFC 4180.
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
    fn the_first_known_format_in_accept_wins() {
        for (accept, expected) in [
            ("", ReplyFormat::Json),
            ("text/csv", ReplyFormat::Csv),
            ("text/html, text/csv;q=0.9, */*", ReplyFormat::Csv),
            ("*/*, text/csv", ReplyFormat::Json),
            ("application/x-ndjson", ReplyFormat::JsonLines),
            ("image/png", ReplyFormat::Json),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(ReplyFormat::accepted_by(&headers), expected, "{accept}");
        }
    }

    #[test]
    fn each_row_is_a_line_and_no_cell_begins_a_formula() {
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
