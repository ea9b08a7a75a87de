//! The JSON of an answer, written row by row: no second copy of the rows is made.

use event::{Minute, classify, machine};
use schemars::JsonSchema;
use serde::Serialize;
use serde::ser::{SerializeMap as _, SerializeSeq as _, SerializeStruct as _, Serializer};

use super::answer_rows::{Answer, AnswerRow};
use super::metrics::Metric;

/// The size of a row of three metrics in JSON.
const ROW_BYTES: usize = 272;

impl Answer {
    /// The reply of `POST /v1/query`.
    ///
    /// # Errors
    /// None is known: it is written into memory, and all names are texts.
    pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        // About the size of the reply, so that it is not moved while it grows.
        let mut json = Vec::with_capacity(1024 + self.rows.len() * ROW_BYTES);
        serde_json::to_writer(&mut json, self)?;
        Ok(json)
    }
}

impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut reply = serializer.serialize_struct("Answer", 2)?;
        reply.serialize_field("rows", &RowsJson(self))?;
        reply.serialize_field("meta", &MetaJson(self))?;
        reply.end()
    }
}

struct RowsJson<'a>(&'a Answer);

impl Serialize for RowsJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut rows = serializer.serialize_seq(Some(self.0.rows.len()))?;
        let mut times = TimeTexts::default();
        for row in self.0.rows() {
            rows.serialize_element(&RowJson { row, time: times.text(row) })?;
        }
        rows.end()
    }
}

/// The texts of times. Rows of one bucket mostly follow each other, and formatting a time costs more than the rest of a row.
#[derive(Debug, Default)]
pub(super) struct TimeTexts {
    last: Option<(Minute, String)>,
}

impl TimeTexts {
    /// The beginning of a row's bucket in RFC 3339; `None` if there is one bucket for the whole range.
    pub(super) fn text(&mut self, row: AnswerRow<'_>) -> Option<&str> {
        if row.time() != self.last.as_ref().map(|(time, _)| *time) {
            self.last = row.time().map(|time| (time, row.query.rfc3339(time)));
        }
        self.last.as_ref().map(|(_, text)| text.as_str())
    }
}

/// A row with the text of its time.
pub(super) struct RowJson<'a> {
    pub row: AnswerRow<'a>,
    pub time: Option<&'a str>,
}

impl Serialize for RowJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { row, time } = *self;
        let basis = row.query.basis();
        let mut reply = serializer.serialize_map(None)?;
        if let Some(time) = time {
            reply.serialize_entry("time", time)?;
        }
        let groups = || row.groups().map(|(group, value)| (group.name.as_str(), value));
        reply.serialize_entry("group", &Named(groups))?;
        let values = || row.measurements().map(|(metric, one)| (metric.name(), one.value(basis)));
        reply.serialize_entry("metrics", &Named(values))?;
        // Left out where there are none, as in most rows.
        let reasons =
            || row.measurements().filter_map(|(metric, one)| Some((metric.name(), one.absence()?.name())));
        if reasons().next().is_some() {
            reply.serialize_entry("reasons", &Named(reasons))?;
        }
        // A rate is shown with its two counts, from which a client can sum rates of several rows rightly.
        let counts = || row.measurements().filter_map(|(metric, one)| Some((metric.name(), one.counts()?)));
        if counts().next().is_some() {
            reply.serialize_entry("counts", &Named(counts))?;
        }
        if let Some(previous) = row.previous_measurements() {
            let values = || previous.clone().map(|(metric, one)| (metric.name(), one.value(basis)));
            reply.serialize_entry("previous", &Named(values))?;
        }
        reply.end()
    }
}

/// Values under names that are only known at run time. The closure is called each time they are written.
struct Named<F>(F);

impl<'n, F, I, V> Serialize for Named<F>
where
    F: Fn() -> I,
    I: Iterator<Item = (&'n str, V)>,
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

struct MetaJson<'a>(&'a Answer);

impl Serialize for MetaJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let answer = self.0;
        // The range as it was resolved: with `now` or a date in the query, the caller does not know it.
        let (from, to) = answer.query.range();
        let freshness = answer.freshness;
        let estimates = || answer.estimates().map(|(metric, error)| (metric.name(), error));
        let mut meta = serializer.serialize_struct("Meta", 14)?;
        meta.serialize_field("complete_until", &freshness.complete_until.map(|at| at.to_string()))?;
        meta.serialize_field("newest_event", &freshness.newest_event.map(|at| at.to_string()))?;
        let deduplicated_since = freshness.deduplicated_since.map(|at| at.to_string());
        meta.serialize_field("deduplicated_since", &deduplicated_since)?;
        meta.serialize_field("estimates", &Named(estimates))?;
        meta.serialize_field("next_cursor", &answer.next_cursor())?;
        meta.serialize_field("previous_cursor", &answer.previous_cursor())?;
        meta.serialize_field("last_cursor", &answer.last_cursor())?;
        meta.serialize_field("offset", &answer.offset())?;
        meta.serialize_field("total", &answer.total())?;
        meta.serialize_field("from", &answer.query.rfc3339(from))?;
        meta.serialize_field("to", &answer.query.rfc3339(to))?;
        meta.serialize_field("rules", &RuleVersions::CURRENT)?;
        // Left out where there is nothing to say, as in most answers.
        let notes = &answer.notes;
        if !notes.zone_changes.is_empty() {
            meta.serialize_field("zone_changes", &notes.zone_changes)?;
        }
        if let Some(before) = notes.age_unknown_before {
            meta.serialize_field("age_unknown_before", &before.start().to_string())?;
        }
        if let Some(before) = notes.late_by_hour_before {
            meta.serialize_field("late_by_hour_before", &before.start().to_string())?;
        }
        meta.end()
    }
}

/// The versions of the rules by which events are classified when they are counted. What was counted under earlier rules stays as
/// it was.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct RuleVersions {
    /// The rules that tell opens and clicks of machines from those of people.
    machines: u32,
    /// The rules that give bounces and delays their reason.
    bounces: u32,
}

impl RuleVersions {
    /// The versions of this program.
    pub const CURRENT: Self = Self { machines: machine::RULES_VERSION, bounces: classify::RULES_VERSION };
}

impl Serialize for Metric {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
