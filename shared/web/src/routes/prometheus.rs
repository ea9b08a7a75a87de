//! The process's own metrics in the Prometheus text format.
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>

use std::fmt::Write as _;

use event::Timestamp;
use pipeline::history::snapshot::Progress;
use pipeline::ledger::reconcile;

pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics as of `now`. Ages are 0 while there is nothing to measure.
pub(super) fn render(progress: &Progress, oldest_unmerged: Option<Timestamp>, now: Timestamp) -> String {
    let totals = reconcile::totals(progress);
    let mut text = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, value: String| {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "# HELP mailgauge_{name} {help}\n# TYPE mailgauge_{name} {kind}\nmailgauge_{name} {value}"
        );
    };
    for (name, help, value) in [
        ("records_total", "Records read.", totals.records),
        ("events_total", "Events read, one per recipient.", totals.events),
        ("duplicates_total", "Events dropped because they had been counted before.", totals.duplicates),
        ("late_total", "Events that arrived more than an hour after they happened.", totals.late),
        ("quarantined_total", "Parts of records that cannot be read.", totals.quarantined),
        ("ignored_total", "Parts of records that are not events of sent mail.", totals.ignored),
        ("conflicts_total", "Events whose tenant was ambiguous.", totals.conflicts),
    ] {
        metric(name, "counter", help, value.to_string());
    }
    // A clock behind the event's gives a negative age.
    let age_s = |at: Option<Timestamp>| at.map_or(0.0, |at| now.millis_since(at).max(0) as f64 / 1000.0);
    for (name, help, at) in [
        ("newest_event_age_seconds", "Age of the newest event counted.", progress.newest_event()),
        ("oldest_unmerged_seconds", "Age of the oldest delta that is not compacted.", oldest_unmerged),
    ] {
        metric(name, "gauge", help, age_s(at).to_string());
    }
    text
}
