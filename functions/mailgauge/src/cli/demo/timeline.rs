//! The demo's timeline: the plan that its mail is simulated from, and how far that mail was counted.
//!
//! It is stored in the data folder, so that a later start continues the same simulation exactly where the last one was stopped or
//! killed. The same plan always yields the same events, so the time of the newest counted event says, to the millisecond, how far they
//! were counted. Other events may be sent to a demo as well, so that time is trusted only within the part of the timeline that was
//! being counted.

use std::io;
use std::path::Path;

use anyhow::Context as _;
use event::Timestamp;
use serde::{Deserialize, Serialize};
use simulator::{Incident, Plan, Simulation};

pub(super) const MINUTE_MS: i64 = 60_000;
pub(super) const DAY_MINUTES: u32 = 24 * 60;
/// How long a plan continues after its history, in days. Once it has ended, the next start begins a new plan.
const PLANNED_DAYS: u32 = 365;
/// A timeline is continued if no more than the requested history plus this much is missing. A first start that was killed at once has
/// counted none of its history, and time passes until the next start.
const LEEWAY_MS: i64 = 24 * 60 * MINUTE_MS;
const FILE: &str = "demo.json";

/// The incidents staged in the history: kind, hours before the start, and further settings. `#N` stands for the tenant with the Nth
/// largest volume, counted from 0.
const INCIDENTS: [(&str, u32, &str); 7] = [
    ("bad-list", 15 * 24, "minutes=180:share=0.2"),
    ("slow-decline", 12 * 24, "minutes=17280:share=0.06:tenant=#2"),
    ("open-outage", 8 * 24, "minutes=300"),
    ("volume-drop", 5 * 24, "minutes=120:tenant=#1"),
    ("complaint-spike", 3 * 24, "minutes=240:share=0.02"),
    ("gmail-block", 20, "minutes=150:share=0.7"),
    ("latency", 7, "minutes=90:factor=15"),
];

/// The options of one start of the demo.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct TimelineOptions {
    pub(super) tenants: u32,
    /// Emails per minute of all tenants together, on average.
    pub(super) emails_per_minute: f64,
    pub(super) days: u32,
}

/// A plan and how far it was counted, as stored in `demo.json`. Times are in milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Timeline {
    /// The program's version, since another version may simulate different mail from the same plan.
    version: String,
    tenants: u32,
    /// Stored as text, so that exactly the same number is read back.
    emails_per_minute: String,
    minutes: u32,
    start_ms: i64,
    seed: u64,
    incidents: Vec<String>,
    /// All mail of the plan before this time was counted.
    counted_ms: i64,
    /// Mail between `counted_ms` and this time may have been counted in part; no mail after it was counted.
    sent_ms: i64,
}

impl Timeline {
    /// The timeline for a start at `now`: the stored one if it matches the options, or else a new one that covers the missing part of
    /// the history. `newest` is the time of the newest counted event.
    pub(super) fn new(
        stored: Option<Self>,
        newest: Option<Timestamp>,
        options: TimelineOptions,
        now: Timestamp,
    ) -> anyhow::Result<Self> {
        let this_minute = floor(now.millis());
        let earliest = this_minute - i64::from(options.days) * i64::from(DAY_MINUTES) * MINUTE_MS;
        let newest = newest.map(Timestamp::millis);
        let counted = match &stored {
            Some(stored) => Some(newest.unwrap_or(i64::MIN).clamp(stored.counted_ms, stored.sent_ms)),
            // The folder was filled by an earlier version, or by hand.
            None => newest.map(|newest| floor(newest) + MINUTE_MS),
        };
        // More than the whole history is missing, so it is simulated anew.
        let Some(counted) = counted.filter(|&counted| counted >= earliest - LEEWAY_MS) else {
            return Self::begin(options, earliest, this_minute);
        };
        match stored {
            Some(stored) if stored.is_for(options, this_minute) => {
                // Mail after that was in flight and is sent again.
                Ok(Self { counted_ms: counted, sent_ms: counted, ..stored })
            }
            // A new plan's messages are not recognised as duplicates of the old plan's, so it begins at the next whole minute.
            _ => Self::begin(options, floor(counted + MINUTE_MS - 1), this_minute),
        }
    }

    /// A new plan from `start_ms` on, with the incidents of the history before `this_minute`.
    fn begin(options: TimelineOptions, start_ms: i64, this_minute: i64) -> anyhow::Result<Self> {
        let history = u32::try_from((this_minute - start_ms).max(0) / MINUTE_MS).unwrap_or(u32::MAX);
        let mut begun = Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            tenants: options.tenants,
            emails_per_minute: options.emails_per_minute.to_string(),
            minutes: history.saturating_add(PLANNED_DAYS * DAY_MINUTES),
            start_ms,
            // Each timeline needs message IDs of its own: repeated ones would be dropped as duplicates.
            seed: start_ms.unsigned_abs() / MINUTE_MS.unsigned_abs(),
            incidents: Vec::new(),
            counted_ms: start_ms,
            sent_ms: start_ms,
        };
        begun.incidents = incidents(&begun.simulation()?, history);
        Ok(begun)
    }

    /// Whether the plan matches the options and this version of the program, and has not ended.
    fn is_for(&self, options: TimelineOptions, this_minute: i64) -> bool {
        self.version == env!("CARGO_PKG_VERSION")
            && self.tenants == options.tenants
            && self.emails_per_minute == options.emails_per_minute.to_string()
            && this_minute < self.start_ms + i64::from(self.minutes) * MINUTE_MS
    }

    /// The simulation at the start of its first minute.
    pub(super) fn simulation(&self) -> anyhow::Result<Simulation> {
        let incidents: Result<Vec<Incident>, _> = self.incidents.iter().map(|text| text.parse()).collect();
        let plan = Plan {
            tenants: self.tenants,
            emails_per_minute: self.emails_per_minute.parse().context("emails_per_minute is not a number")?,
            minutes: self.minutes,
            start_ms: self.start_ms,
            seed: self.seed,
            hosted_percent: None,
            incidents: incidents.context("a staged incident cannot be read")?,
        };
        Simulation::new(plan).context("cannot simulate")
    }

    /// The start of the first simulated minute.
    pub(super) const fn start_ms(&self) -> i64 {
        self.start_ms
    }

    /// All mail before this time was counted.
    pub(super) const fn counted_ms(&self) -> i64 {
        self.counted_ms
    }

    /// No mail after this time was counted.
    #[cfg(test)]
    pub(super) const fn sent_ms(&self) -> i64 {
        self.sent_ms
    }

    /// Marks the mail in flight as counted, and the mail up to `end_ms` as in flight.
    pub(super) fn advance(&mut self, end_ms: i64) {
        self.counted_ms = self.sent_ms.max(self.counted_ms);
        self.sent_ms = end_ms.max(self.counted_ms);
    }

    /// Reads the timeline of a data folder, if it has one.
    pub(super) fn read(folder: &Path) -> anyhow::Result<Option<Self>> {
        let path = folder.join(FILE);
        match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map(Some).with_context(|| {
                format!("{} cannot be read: remove it to begin a new timeline", path.display())
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Stores the timeline in a data folder, atomically.
    pub(super) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let (path, new) = (folder.join(FILE), folder.join(FILE).with_extension("new"));
        let text = serde_json::to_vec_pretty(self)?;
        std::fs::write(&new, text)
            .and_then(|()| std::fs::rename(&new, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Rounds a time down to the start of its minute.
pub(super) const fn floor(ms: i64) -> i64 {
    ms - ms.rem_euclid(MINUTE_MS)
}

/// The staged incidents that fit into `history` minutes.
fn incidents(simulation: &Simulation, history: u32) -> Vec<String> {
    let tenants: Vec<&str> = simulation.tenant_names().collect();
    let staged = INCIDENTS.iter().filter_map(|(kind, hours_before, settings)| {
        let offset = history.checked_sub(hours_before * 60)?;
        let settings = match settings.split_once("tenant=#") {
            None => (*settings).to_owned(),
            Some((before, rank)) => {
                let tenant = rank.parse().ok().and_then(|rank: usize| tenants.get(rank))?;
                format!("{before}tenant={tenant}")
            }
        };
        Some(format!("{kind}@{offset}:{settings}"))
    });
    staged.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: TimelineOptions = TimelineOptions { tenants: 3, emails_per_minute: 0.1, days: 10 };
    const NOW_MS: i64 = 1_764_525_600_000;
    const HOUR_MS: i64 = 60 * MINUTE_MS;
    const DAY_MS: i64 = 24 * HOUR_MS;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn first() -> Timeline {
        Timeline::new(None, None, OPTIONS, at(NOW_MS + 1234)).unwrap()
    }

    #[test]
    fn first_start_plans_the_whole_history_with_its_incidents() {
        let first = first();
        assert_eq!((first.start_ms, first.counted_ms), (NOW_MS - 10 * DAY_MS, NOW_MS - 10 * DAY_MS));
        assert_eq!(first.incidents.len(), 5, "those of the last ten days: {:?}", first.incidents);
        first.simulation().unwrap();
    }

    #[test]
    fn later_start_continues_after_what_was_counted() {
        let mut stored = first();
        let end = stored.start_ms + DAY_MS;
        stored.advance(end);
        let later = |newest: Option<i64>| {
            Timeline::new(Some(stored.clone()), newest.map(at), OPTIONS, at(NOW_MS + HOUR_MS)).unwrap()
        };
        for (newest, counted) in [
            (None, stored.start_ms),
            (Some(stored.start_ms + 7), stored.start_ms + 7),
            (Some(end - 1), end - 1),
            // Events from elsewhere do not mark unsent mail as counted.
            (Some(NOW_MS), end),
            (Some(0), stored.start_ms),
        ] {
            let continued = later(newest);
            assert_eq!(continued.counted_ms, counted, "{newest:?}");
            assert_eq!(continued.sent_ms, counted, "nothing is being sent yet: {newest:?}");
            let Timeline { counted_ms, sent_ms, .. } = stored;
            assert_eq!(Timeline { counted_ms, sent_ms, ..continued }, stored, "{newest:?}");
        }
    }

    #[test]
    fn different_options_begin_a_new_timeline_after_the_old_one() {
        let mut stored = first();
        stored.advance(NOW_MS - DAY_MS);
        stored.advance(NOW_MS - DAY_MS);
        for options in
            [TimelineOptions { tenants: 4, ..OPTIONS }, TimelineOptions { emails_per_minute: 0.2, ..OPTIONS }]
        {
            let newest = Some(at(NOW_MS - DAY_MS - 1));
            let begun = Timeline::new(Some(stored.clone()), newest, options, at(NOW_MS)).unwrap();
            assert_eq!((begun.start_ms, begun.counted_ms), (NOW_MS - DAY_MS, NOW_MS - DAY_MS));
            assert_ne!(begun.seed, stored.seed);
        }
        // The number of days matters only for a first start.
        let more =
            Timeline::new(Some(stored.clone()), None, TimelineOptions { days: 20, ..OPTIONS }, at(NOW_MS))
                .unwrap();
        assert_eq!(more, stored);
    }

    #[test]
    fn demo_that_was_away_for_longer_than_its_history_begins_a_new_timeline() {
        let now = at(NOW_MS + 11 * DAY_MS);
        let begun = Timeline::new(Some(first()), Some(at(NOW_MS)), OPTIONS, now).unwrap();
        assert_eq!(begun.start_ms, NOW_MS + DAY_MS);
        assert_eq!(begun.incidents.len(), 5);
    }

    #[test]
    fn folder_without_a_timeline_gets_one_that_begins_after_its_newest_event() {
        let begun = Timeline::new(None, Some(at(NOW_MS - 9 * DAY_MS + 5)), OPTIONS, at(NOW_MS)).unwrap();
        assert_eq!(begun.start_ms, NOW_MS - 9 * DAY_MS + MINUTE_MS);
        assert!(begun.incidents.len() >= 4, "{:?}", begun.incidents);
    }

    #[test]
    fn timeline_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Timeline::read(folder.path()).unwrap(), None);
        let mut timeline = first();
        timeline.advance(NOW_MS);
        timeline.write(folder.path()).unwrap();
        assert_eq!(Timeline::read(folder.path()).unwrap(), Some(timeline));
    }
}
