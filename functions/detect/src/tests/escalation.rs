//! An alert that becomes critical is notified at once, also on channels that receive critical alerts only.

use super::*;

const DAY: i64 = 24 * 60;

/// A channel for all alerts, and a pager for critical ones.
struct TwoChannels<'a> {
    all: &'a RecordingChannel,
    pager: &'a RecordingChannel,
}

impl Notifier for TwoChannels<'_> {
    fn channels(&self, change: &Change) -> Vec<String> {
        let is_critical = change.severity == detection::Severity::Critical;
        ["all"].into_iter().chain(is_critical.then_some("pager")).map(str::to_owned).collect()
    }

    async fn notify(&self, channel: &str, change: &Change) -> Result<(), NotifyError> {
        let receiver = if channel == "all" { self.all } else { self.pager };
        receiver.notify(channel, change).await
    }
}

async fn run_two_channels(
    store: &MemoryStore,
    all: &RecordingChannel,
    pager: &RecordingChannel,
    cache: &mut DetectionCache,
    at: i64,
) {
    let (clock, channels) = (FixedClock(minutes(at)), TwoChannels { all, pager });
    let settings = DetectionSettings::default();
    let id = u64::try_from(at).unwrap() + 1;
    let attempt = Attempt { id, deadline: minutes(at).plus_millis(50_000) };
    let (clock, notifier, settings) = (&clock, &channels, &settings);
    let run = DetectionRun { store, clock, notifier, readers: &(), settings, attempt };
    Box::pin(run.run(cache)).await.unwrap();
}

#[tokio::test]
async fn alert_that_becomes_critical_is_notified_at_once_and_so_is_its_end() {
    let store = MemoryStore::new();
    // Four days of delivered mail, so that a baseline is learned.
    for hour in 0..4 * 24 {
        let events: Vec<_> = (0..6).flat_map(|slot| mails("acme", hour * 60 + slot * 10, 20, 0)).collect();
        count_at(&store, u64::try_from(hour).unwrap() + 1, &events, minutes(hour * 60)).await;
    }
    let (all, pager, mut cache) =
        (RecordingChannel::default(), RecordingChannel::default(), DetectionCache::default());
    let begin = 4 * DAY;
    count_at(&store, 200, &mails("acme", begin, 10, 0), minutes(begin)).await;
    run_two_channels(&store, &all, &pager, &mut cache, begin + 2).await;
    assert_eq!(all.notifications(), []);
    // Some mail bounces, then much more of it.
    count_at(&store, 201, &mails("acme", begin + 3, 200, 150), minutes(begin)).await;
    count_at(&store, 202, &mails("other", begin + 4, 1, 0), minutes(begin)).await;
    run_two_channels(&store, &all, &pager, &mut cache, begin + 5).await;
    let fired = all.changes.lock().unwrap().last().cloned().expect("nothing fired");
    assert_eq!((fired.state.name(), fired.severity.name(), fired.escalated), ("firing", "warning", false));
    let kept = registry::acknowledge(&store, &scope("acme"), &fired.id, "Ann", minutes(begin + 5)).await;
    assert!(kept.unwrap().unwrap().acknowledged.is_some());
    count_at(&store, 203, &mails("acme", begin + 6, 900, 700), minutes(begin)).await;
    count_at(&store, 204, &mails("other", begin + 7, 1, 0), minutes(begin)).await;
    run_two_channels(&store, &all, &pager, &mut cache, begin + 8).await;
    let worse = pager.changes.lock().unwrap().first().cloned().unwrap();
    assert_eq!((worse.state.name(), worse.severity.name(), worse.escalated), ("firing", "critical", true));
    assert_eq!(
        (&worse.id, worse.sequence, &worse.fired_at),
        (&fired.id, fired.sequence + 1, &fired.fired_at)
    );
    let stored = registry::get(&store, &scope("acme"), &fired.id).await.unwrap().unwrap();
    assert!(stored.acknowledged.is_some(), "the acknowledgement stays");
    assert!(stored.history.last().unwrap().escalated);
    // Both channels are notified of its end.
    for slot in 1..40 {
        let mails = mails("acme", begin + 10 * i64::try_from(slot).unwrap(), 100, 0);
        count_at(&store, 204 + slot, &mails, minutes(begin)).await;
    }
    for at in 1..12 {
        run_two_channels(&store, &all, &pager, &mut cache, begin + 8 + at * 30).await;
    }
    for channel in [&all, &pager] {
        let last =
            channel.changes.lock().unwrap().iter().rfind(|change| change.id == fired.id).cloned().unwrap();
        assert_eq!((last.state.name(), last.severity.name()), ("resolved", "critical"));
    }
}
