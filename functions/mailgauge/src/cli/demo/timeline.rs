//! The demo's timeline: the plan that its mail is simulated from, and how far that mail was counted.
//!
//! It is stored in the data folder, so that a later start continues the same simulation exactly where the last one ended, whether that was
//! stopped or killed. The plan gives the same events again; how far they were counted is known to the millisecond from the newest event
//! counted. That alone could mislead, since other events may be sent to a demo too, so it is only believed within the part of the timeline
//! that was being counted.

use std::io;
use std::path::Path;

use anyhow::Context as _;
use event::Timestamp;
use serde::{Deserialize, Serialize};
use simulator::{Incident, Plan, Simulation};

pub(super) const MINUTE_MS: i64 = 60_000;
pub(super) const DAY_MINUTES: u32 = 24 * 60;
/// How long a plan goes on after its history; then the next start begins a new one.
const PLANNED_DAYS: u32 = 365;
/// How much more than the history may be missing: a start that was killed at once leaves all of it, and some time passes until the next.
const LEEWAY_MS: i64 = 24 * 60 * MINUTE_MS;
const FILE: &str = "demo.json";

/// What goes wrong in the history: kind, hours before the start, further settings; `#N` stands for the tenant of that rank.
const INCIDENTS: [(&str, u32, &str); 7] = [
    ("bad-list", 15 * 24, "minutes=180:share=0.2"),
    ("slow-decline", 12 * 24, "minutes=17280:share=0.06:tenant=#2"),
    ("open-outage", 8 * 24, "minutes=300"),
    ("volume-drop", 5 * 24, "minutes=120:tenant=#1"),
    ("complaint-spike", 3 * 24, "minutes=240:share=0.02"),
    ("gmail-block", 20, "minutes=150:share=0.7"),
    ("latency", 7, "minutes=90:factor=15"),
];

/// What a start of the demo asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Wanted {
    /// How many tenants send.
    pub(super) tenants: u32,
    /// How many emails all of them send a minute.
    pub(super) emails_per_minute: f64,
    /// Days of history.
    pub(super) days: u32,
}

/// A plan and how far it was counted. Times are in milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Timeline {
    /// The program's version: another one may simulate other mail from the same plan.
    version: String,
    tenants: u32,
    /// As text, so that it is exactly the same number when it is read again.
    emails_per_minute: String,
    minutes: u32,
    start_ms: i64,
    seed: u64,
    incidents: Vec<String>,
    /// All mail of the plan before this time was counted.
    counted_ms: i64,
    /// Some of the mail from there up to this time may have been counted; nothing after it was.
    sent_ms: i64,
}

impl Timeline {
    /// The timeline of a start at `now`: the stored one, from where its mail was counted to, if it still fits what is wanted; else a new one
    /// for what is missing of the history. `newest` is the newest event counted.
    pub(super) fn new(
        stored: Option<Self>,
        newest: Option<Timestamp>,
        wanted: Wanted,
        now: Timestamp,
    ) -> anyhow::Result<Self> {
        let this_minute = floor(now.millis());
        let earliest = this_minute - i64::from(wanted.days) * i64::from(DAY_MINUTES) * MINUTE_MS;
        let newest = newest.map(Timestamp::millis);
        let counted = match &stored {
            Some(stored) => Some(newest.unwrap_or(i64::MIN).clamp(stored.counted_ms, stored.sent_ms)),
            // A folder that was filled by an earlier version, or by hand.
            None => newest.map(|newest| floor(newest) + MINUTE_MS),
        };
        // More than the whole history is missing, so it is made anew.
        let Some(counted) = counted.filter(|&counted| counted >= earliest - LEEWAY_MS) else {
            return Self::begin(wanted, earliest, this_minute);
        };
        match stored {
            Some(stored) if stored.is_for(wanted, this_minute) => {
                // Whatever was being sent after that is sent again.
                Ok(Self { counted_ms: counted, sent_ms: counted, ..stored })
            }
            // The mail of a new plan has identities of its own, so it begins with the next whole minute.
            _ => Self::begin(wanted, floor(counted + MINUTE_MS - 1), this_minute),
        }
    }

    fn begin(wanted: Wanted, start_ms: i64, this_minute: i64) -> anyhow::Result<Self> {
        let history = u32::try_from((this_minute - start_ms).max(0) / MINUTE_MS).unwrap_or(u32::MAX);
        let mut begun = Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            tenants: wanted.tenants,
            emails_per_minute: wanted.emails_per_minute.to_string(),
            minutes: history.saturating_add(PLANNED_DAYS * DAY_MINUTES),
            start_ms,
            // Each timeline makes messages of its own: the same ones would be recognised and not counted.
            seed: start_ms.unsigned_abs() / MINUTE_MS.unsigned_abs(),
            incidents: Vec::new(),
            counted_ms: start_ms,
            sent_ms: start_ms,
        };
        begun.incidents = incidents(&begun.simulation()?, history);
        Ok(begun)
    }

    fn is_for(&self, wanted: Wanted, this_minute: i64) -> bool {
        self.version == env!("CARGO_PKG_VERSION")
            && self.tenants == wanted.tenants
            && self.emails_per_minute == wanted.emails_per_minute.to_string()
            && this_minute < self.start_ms + i64::from(self.minutes) * MINUTE_MS
    }

    /// The simulation, at its very start.
    pub(super) fn simulation(&self) -> anyhow::Result<Simulation> {
        let incidents: Result<Vec<Incident>, _> = self.incidents.iter().map(|text| text.parse()).collect();
        let plan = Plan {
            tenants: self.tenants,
            emails_per_minute: self.emails_per_minute.parse().context("emails_per_minute is no number")?,
            minutes: self.minutes,
            start_ms: self.start_ms,
            seed: self.seed,
            incidents: incidents.context("a staged incident cannot be read")?,
        };
        Simulation::new(plan).context("cannot simulate")
    }

    /// When the first simulated minute begins.
    pub(super) const fn start_ms(&self) -> i64 {
        self.start_ms
    }

    /// All mail before this time was counted.
    pub(super) const fn counted_ms(&self) -> i64 {
        self.counted_ms
    }

    /// Nothing after this time was counted.
    #[cfg(test)]
    pub(super) const fn sent_ms(&self) -> i64 {
        self.sent_ms
    }

    /// All mail up to the end of what is being sent was counted; now mail up to `end_ms` is being sent.
    pub(super) fn advance(&mut self, end_ms: i64) {
        self.counted_ms = self.sent_ms.max(self.counted_ms);
        self.sent_ms = end_ms.max(self.counted_ms);
    }

    /// Reads the timeline of a data folder; none if there is none yet.
    pub(super) fn read(folder: &Path) -> anyhow::Result<Option<Self>> {
        let path = folder.join(FILE);
        match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map(Some).with_context(|| {
                format!("{} cannot be read: remove it, and the demo begins a new timeline", path.display())
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Stores the timeline in a data folder: whole or not at all.
    pub(super) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let (path, new) = (folder.join(FILE), folder.join(FILE).with_extension("new"));
        let text = serde_json::to_vec_pretty(self)?;
        std::fs::write(&new, text)
            .and_then(|()| std::fs::rename(&new, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// The start of a moment's minute.
pub(super) const fn floor(ms: i64) -> i64 {
    ms - ms.rem_euclid(MINUTE_MS)
}

/// The staged incidents that fit into so many minutes of history.
fn incidents(world: &Simulation, history: u32) -> Vec<String> {
    let tenants: Vec<&str> = world.tenant_names().collect();
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

    const WANTED: Wanted = Wanted { tenants: 3, emails_per_minute: 0.1, days: 10 };
    const NOW_MS: i64 = 1_764_525_600_000;
    const HOUR_MS: i64 = 60 * MINUTE_MS;
    const DAY_MS: i64 = 24 * HOUR_MS;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn first() -> Timeline {
        Timeline::new(None, None, WANTED, at(NOW_MS + 1234)).unwrap()
    }

    #[test]
    fn a_first_start_plans_the_whole_history_with_its_incidents() {
        let first = first();
        assert_eq!((first.start_ms, first.counted_ms), (NOW_MS - 10 * DAY_MS, NOW_MS - 10 * DAY_MS));
        assert_eq!(first.incidents.len(), 5, "those of the last ten days: {:?}", first.incidents);
        first.simulation().unwrap();
    }

    #[test]
    fn a_later_start_continues_after_what_was_counted() {
        let mut stored = first();
        let end = stored.start_ms + DAY_MS;
        stored.advance(end);
        let later = |newest: Option<i64>| {
            Timeline::new(Some(stored.clone()), newest.map(at), WANTED, at(NOW_MS + HOUR_MS)).unwrap()
        };
        for (newest, counted) in [
            (None, stored.start_ms),
            (Some(stored.start_ms + 7), stored.start_ms + 7),
            (Some(end - 1), end - 1),
            // Somebody else's mail says nothing about what was not sent yet.
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
    fn other_wishes_begin_a_new_timeline_after_the_old_one() {
        let mut stored = first();
        stored.advance(NOW_MS - DAY_MS);
        stored.advance(NOW_MS - DAY_MS);
        for wanted in [Wanted { tenants: 4, ..WANTED }, Wanted { emails_per_minute: 0.2, ..WANTED }] {
            let newest = Some(at(NOW_MS - DAY_MS - 1));
            let begun = Timeline::new(Some(stored.clone()), newest, wanted, at(NOW_MS)).unwrap();
            assert_eq!((begun.start_ms, begun.counted_ms), (NOW_MS - DAY_MS, NOW_MS - DAY_MS));
            assert_ne!(begun.seed, stored.seed);
        }
        // The number of days matters for a first start only.
        let more =
            Timeline::new(Some(stored.clone()), None, Wanted { days: 20, ..WANTED }, at(NOW_MS)).unwrap();
        assert_eq!(more, stored);
    }

    #[test]
    fn a_demo_that_was_away_for_longer_than_its_history_begins_anew() {
        let now = at(NOW_MS + 11 * DAY_MS);
        let begun = Timeline::new(Some(first()), Some(at(NOW_MS)), WANTED, now).unwrap();
        assert_eq!(begun.start_ms, NOW_MS + DAY_MS);
        assert_eq!(begun.incidents.len(), 5);
    }

    #[test]
    fn a_folder_without_a_timeline_gets_one_from_its_newest_event_on() {
        let begun = Timeline::new(None, Some(at(NOW_MS - 9 * DAY_MS + 5)), WANTED, at(NOW_MS)).unwrap();
        assert_eq!(begun.start_ms, NOW_MS - 9 * DAY_MS + MINUTE_MS);
        assert!(begun.incidents.len() >= 4, "{:?}", begun.incidents);
    }

    #[test]
    fn a_timeline_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Timeline::read(folder.path()).unwrap(), None);
        let mut timeline = first();
        timeline.advance(NOW_MS);
        timeline.write(folder.path()).unwrap();
        assert_eq!(Timeline::read(folder.path()).unwrap(), Some(timeline));
    }
}
