//! Rows as lines.

use serde_json::{Value as Json, json};

use super::super::testing::{TestEvent, executed, query};
use super::super::{Answer, Freshness};
use super::*;
use crate::counter::Counter;

fn answer(body: &Json, campaigns: &[&'static str]) -> Answer {
    let events: Vec<TestEvent> = campaigns
        .iter()
        .map(|campaign| TestEvent {
            campaign,
            ..TestEvent::new("2026-03-01T10:20:00Z", "gmail", Counter::Sends, 3)
        })
        .collect();
    let query = query(body);
    let earlier = query.earlier().unwrap().map(|earlier| executed(&earlier, &events));
    executed(&query, &events).finish(earlier, Freshness::default())
}

fn text(answer: &Answer, format: LineFormat) -> String {
    let mut lines = Vec::new();
    answer.write_lines(format, &mut lines).unwrap();
    let chunks: io::Result<Vec<Vec<u8>>> = answer.clone().into_lines(format).collect();
    assert_eq!(chunks.unwrap().concat(), lines, "chunks hold what is written at once");
    String::from_utf8(lines).unwrap()
}

fn by_campaign() -> Json {
    json!({
        "metrics": ["sends", "open_rate"], "from": "2026-03-01", "to": "2026-03-02", "granularity": "1d",
        "group_by": ["campaign"], "order_by": ["campaign"], "compare": "previous_period",
    })
}

#[test]
fn row_is_a_line_of_csv_and_no_cell_begins_a_formula() {
    let answer = answer(&by_campaign(), &["=1+1", "-2", "\r@x", "a,\"b\""]);
    assert_eq!(
        text(&answer, LineFormat::Csv),
        "time,campaign,sends,open_rate,previous_sends,previous_open_rate\r\n\
         2026-03-01T00:00:00Z,\"'\r@x\",3,,0,\r\n\
         2026-03-01T00:00:00Z,-2,3,,0,\r\n\
         2026-03-01T00:00:00Z,'=1+1,3,,0,\r\n\
         2026-03-01T00:00:00Z,\"a,\"\"b\"\"\",3,,0,\r\n"
    );
}

#[test]
fn row_is_a_line_of_json_as_in_the_reply() {
    let answer = answer(&by_campaign(), &["spring", "summer"]);
    let lines = text(&answer, LineFormat::Ndjson);
    let rows: Vec<Json> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(json!(rows), serde_json::to_value(&answer).unwrap()["rows"]);
    assert!(lines.ends_with("}\n"));
}

#[test]
fn answer_without_rows_has_its_column_names() {
    let body =
        json!({ "metrics": ["sends"], "from": "2026-03-01", "to": "2026-03-02", "group_by": ["campaign"] });
    let answer = answer(&body, &[]);
    assert_eq!(text(&answer, LineFormat::Csv), "campaign,sends\r\n");
    assert_eq!(text(&answer, LineFormat::Ndjson), "");
}

#[test]
fn answer_of_many_rows_comes_in_chunks_of_whole_lines() {
    let body = json!({
        "metrics": ["sends"], "from": "2026-03-01", "to": "2026-03-02", "granularity": "1m", "fill": "zero",
    });
    let answer = answer(&body, &["spring"]);
    assert_eq!(text(&answer, LineFormat::Csv).lines().count(), 1 + 24 * 60);
    let chunks: Vec<Vec<u8>> = answer.into_lines(LineFormat::Csv).map(Result::unwrap).collect();
    assert_eq!(chunks.len(), 3);
    assert!(chunks.iter().all(|chunk| chunk.ends_with(b"\r\n")));
}
