//! The process's own metrics in the Prometheus text format.
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>

use std::fmt::Write as _;

use event::Timestamp;
use pipeline::history::snapshot::CountingProgress;

pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics as of `now`. Ages are 0 while there is nothing to measure. `impossible_states` is [`event::invariant::broken_count`].
pub(super) fn render(
    progress: &CountingProgress,
    oldest_unmerged: Option<Timestamp>,
    impossible_states: u64,
    now: Timestamp,
) -> String {
    let totals = progress.totals();
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
        (
            "impossible_states_total",
            "States of this process that its code rules out. Report the errors in the log if this is not 0.",
            impossible_states,
        ),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_help_type_and_value_and_no_age_is_negative() {
        let now = Timestamp::from_millis(1_000_000);
        for (oldest_ms, age) in [(None, "0"), (Some(998_500), "1.5"), (Some(1_000_001), "0")] {
            let text = render(&CountingProgress::default(), oldest_ms.map(Timestamp::from_millis), 3, now);
            let lines: Vec<&str> = text.lines().collect();
            for metric in lines.chunks(3) {
                let [help, kind, value] = metric else { panic!("{metric:?}") };
                let name = value.split(' ').next().unwrap();
                assert!(help.starts_with(&format!("# HELP {name} ")), "{help}");
                assert!(kind.starts_with(&format!("# TYPE {name} ")), "{kind}");
            }
            assert!(lines.contains(&"mailgauge_impossible_states_total 3"), "{text}");
            assert_eq!(lines.last(), Some(&format!("mailgauge_oldest_unmerged_seconds {age}").as_str()));
        }
    }

    #[test]
    fn every_metric_is_in_the_documentation() {
        const README: &str = include_str!("../../README.md");
        let text = render(&CountingProgress::default(), None, 0, Timestamp::from_millis(0));
        for name in
            text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(' ').next())
        {
            assert!(README.contains(&format!("| `{name}` |")), "{name}");
        }
    }
}
