//! An answer in the format that the client accepts: JSON, CSV for spreadsheets, or one JSON object a line.
//!
//! CSV and lines hold rows only, so the metadata that clients need is in headers. `cells` writes both, and guards CSV against values that a
//! spreadsheet would execute as a formula.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use cells::query::{Answer, LineFormat};
use event::Minute;

const NEXT_CURSOR: HeaderName = HeaderName::from_static("x-mailgauge-next-cursor");
const COMPLETE_UNTIL: HeaderName = HeaderName::from_static("x-mailgauge-complete-until");
const AGE_UNKNOWN_BEFORE: HeaderName = HeaderName::from_static("x-mailgauge-age-unknown-before");
const LATE_BY_HOUR_BEFORE: HeaderName = HeaderName::from_static("x-mailgauge-late-by-hour-before");

/// A format of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplyFormat {
    /// One object with rows and metadata.
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
    pub(super) fn write(self, answer: &Answer) -> Result<Response, std::io::Error> {
        let mut text = Vec::new();
        match self {
            Self::Json => text = answer.to_json()?,
            Self::Csv => answer.write_lines(LineFormat::Csv, &mut text)?,
            Self::JsonLines => answer.write_lines(LineFormat::Ndjson, &mut text)?,
        }
        let complete_until = answer.freshness().complete_until.map(|time| time.to_string());
        let mut response = self.response(text, answer.next_cursor().as_deref(), complete_until.as_deref());
        if self != Self::Json {
            let notes = answer.notes();
            let time = |minute: Option<Minute>| minute.map(|minute| minute.start().to_string());
            for (name, value) in [
                (AGE_UNKNOWN_BEFORE, time(notes.age_unknown_before)),
                (LATE_BY_HOUR_BEFORE, time(notes.late_by_hour_before)),
            ] {
                if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
                    response.headers_mut().insert(name, value);
                }
            }
        }
        Ok(response)
    }

    /// The response with a body in this format, and the metadata that only JSON has in the body.
    pub(super) fn response(
        self,
        body: Vec<u8>,
        next_cursor: Option<&str>,
        complete_until: Option<&str>,
    ) -> Response {
        let mut response = ([(header::CONTENT_TYPE, self.content_type())], body).into_response();
        if self == Self::Json {
            return response;
        }
        for (name, value) in [(NEXT_CURSOR, next_cursor), (COMPLETE_UNTIL, complete_until)] {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

#[cfg(test)]
mod tests {
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
}
