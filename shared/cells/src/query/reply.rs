//! The JSON of an answer, written row by row as it is asked for: no second copy of the rows is made.

use compact_str::CompactString;
use event::Minute;
use serde::Serialize;
use serde::ser::{SerializeMap as _, SerializeSeq as _, SerializeStruct as _, Serializer};

use super::answer::{Answer, Row};
use super::metric::{Metric, Value};
use super::request::Query;

/// A row of three metrics in JSON.
const ROW_BYTES: usize = 272;

impl Answer {
    /// The reply of `POST /v1/query`.
    ///
    /// # Errors
    /// None that is known: it is written into memory, and all names are texts.
    pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        // About what rows come to, so that the text is not moved while it grows.
        let mut json = Vec::with_capacity(1024 + self.rows().len() * ROW_BYTES);
        serde_json::to_writer(&mut json, self)?;
        Ok(json)
    }
}

impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let names: Vec<String> = self.query().metrics.iter().map(|metric| metric.name()).collect();
        let mut reply = serializer.serialize_struct("Answer", 2)?;
        reply.serialize_field("rows", &Rows { answer: self, names: &names })?;
        reply.serialize_field("meta", &Meta { answer: self, names: &names })?;
        reply.end()
    }
}

struct Rows<'a> {
    answer: &'a Answer,
    names: &'a [String],
}

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let query = self.answer.query();
        let mut rows = serializer.serialize_seq(Some(self.answer.rows().len()))?;
        // Rows of one bucket mostly follow each other, and a time in words costs more than the rest of a row.
        let mut last: Option<(Minute, String)> = None;
        for row in self.answer.rows() {
            if row.time != last.as_ref().map(|(time, _)| *time) {
                last = row.time.map(|time| (time, query.rfc3339(time)));
            }
            let time = last.as_ref().map(|(_, text)| text.as_str());
            rows.serialize_element(&RowReply { query, names: self.names, row, time })?;
        }
        rows.end()
    }
}

struct RowReply<'a> {
    query: &'a Query,
    names: &'a [String],
    row: &'a Row,
    time: Option<&'a str>,
}

impl Serialize for RowReply<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { query, names, row, time } = *self;
        let mut reply = serializer.serialize_map(None)?;
        if let Some(time) = time {
            reply.serialize_entry("time", time)?;
        }
        let groups = query.group_by.iter().map(|group| &group.name);
        reply.serialize_entry(
            "group",
            &Named(|| groups.clone().zip(row.group.iter().map(CompactString::as_str))),
        )?;
        reply.serialize_entry("metrics", &Named(|| names.iter().zip(&row.metrics)))?;
        if !row.absences.is_empty() {
            let reasons = || {
                row.absences.iter().filter_map(|(place, absence)| Some((names.get(*place)?, absence.name())))
            };
            reply.serialize_entry("reasons", &Named(reasons))?;
        }
        if row.counts.iter().any(Option::is_some) {
            let counts = || {
                names.iter().zip(&row.counts).filter_map(|(name, counts)| {
                    let (numerator, denominator) = (*counts)?;
                    Some((name, Counts { numerator, denominator }))
                })
            };
            reply.serialize_entry("counts", &Named(counts))?;
        }
        if let Some(previous) = &row.previous {
            reply.serialize_entry("previous", &Named(|| names.iter().zip(previous)))?;
        }
        reply.end()
    }
}

/// What a rate was computed from.
#[derive(Serialize)]
struct Counts {
    numerator: u64,
    denominator: u64,
}

/// Values under names that are only known at run time, given anew each time they are written.
struct Named<F>(F);

impl<'n, F, I, V> Serialize for Named<F>
where
    F: Fn() -> I,
    I: Iterator<Item = (&'n String, V)>,
    V: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.0() {
            map.serialize_entry(name, &value)?;
        }
        map.end()
    }
}

struct Meta<'a> {
    answer: &'a Answer,
    names: &'a [String],
}

impl Serialize for Meta<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let answer = self.answer;
        let (from, to) = answer.query().range();
        let freshness = answer.freshness();
        let estimates = || {
            let all = answer.estimates().iter();
            all.filter_map(|(place, error)| Some((self.names.get(*place)?, error)))
        };
        let mut meta = serializer.serialize_struct("Meta", 10)?;
        meta.serialize_field("complete_until", &freshness.complete_until.map(|at| at.to_string()))?;
        meta.serialize_field("newest_event", &freshness.newest_event.map(|at| at.to_string()))?;
        meta.serialize_field("estimates", &Named(estimates))?;
        meta.serialize_field("next_cursor", &answer.next_cursor())?;
        meta.serialize_field("previous_cursor", &answer.previous_cursor())?;
        meta.serialize_field("last_cursor", &answer.last_cursor())?;
        meta.serialize_field("offset", &answer.offset())?;
        meta.serialize_field("total", &answer.total())?;
        meta.serialize_field("from", &answer.query().rfc3339(from))?;
        meta.serialize_field("to", &answer.query().rfc3339(to))?;
        meta.end()
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Count(count) => serializer.serialize_u64(count),
            Self::Number(number) => serializer.serialize_f64(number),
            Self::Missing => serializer.serialize_none(),
        }
    }
}

impl Serialize for Metric {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name())
    }
}
