//! A history that is interrupted and continued in a real data folder, compared with the same history simulated in one go.

#![expect(
    clippy::large_futures,
    reason = "each test holds whole stores, which is what makes its future large"
)]

use std::future::poll_fn;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::Poll;

use adapters::system_clock::SystemClock;
use event::attribution::Attribution;
use pipeline::ledger::checkpoint::{self, Totals};
use pipeline::ports::Clock as _;

use super::super::timeline::{DAY_MINUTES, TimelineOptions};
use super::*;

const OPTIONS: TimelineOptions = TimelineOptions { tenants: 2, emails_per_minute: 1.0, days: 2 };
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;
/// Small enough that the whole history takes a few dozen blocks.
const SMALL_BLOCK: usize = 200 << 10;

fn now() -> Timestamp {
    Timestamp::from_millis(floor(SystemClock.now().millis()))
}

/// A demo's data folder, used by one start after another.
struct Demo {
    folder: tempfile::TempDir,
}

impl Demo {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// Starts the demo at `now`, until it has caught up or `interrupted` completes. Returns the mail that comes next if it caught up.
    async fn start(
        &self,
        now: Timestamp,
        interrupted: impl Future<Output = ()>,
    ) -> (Standalone, Option<SimulatedMail>) {
        let path = self.folder.path();
        let standalone = Standalone::open(path, Attribution::default()).unwrap();
        standalone.end_stale_leases().await.unwrap();
        let newest = standalone.newest_event().await.unwrap();
        let mut timeline = Timeline::new(Timeline::read(path).unwrap(), newest, OPTIONS, now).unwrap();
        let mail =
            catch_up(&standalone, path, &mut timeline, move || now, interrupted, SMALL_BLOCK).await.unwrap();
        (standalone, mail)
    }

    async fn finish(&self, now: Timestamp) -> (Standalone, SimulatedMail) {
        let (standalone, mail) = self.start(now, std::future::pending()).await;
        (standalone, mail.unwrap())
    }
}

/// The totals of all records read so far.
async fn totals(standalone: &Standalone) -> Totals {
    let mut sum = Totals::default();
    for (_, checkpoint) in checkpoint::read_all(&standalone.store).await.unwrap() {
        sum.add(&checkpoint.totals);
    }
    sum
}

/// The number of events in the same timeline, when it is simulated in one go.
async fn counted_in_one_go(mut timeline: Timeline, now: Timestamp) -> u64 {
    let demo = Demo::new();
    let path = demo.folder.path();
    let standalone = Standalone::open(path, Attribution::default()).unwrap();
    let never = std::future::pending();
    catch_up(&standalone, path, &mut timeline, move || now, never, BLOCK_BYTES).await.unwrap().unwrap();
    let totals = totals(&standalone).await;
    assert_eq!(totals.duplicates, 0);
    totals.aggregated
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupted_history_becomes_complete_and_nothing_is_counted_twice() {
    let (demo, now) = (Demo::new(), now());
    let planned = Timeline::new(None, None, OPTIONS, now).unwrap();
    let mut interruptions = 0;
    for polls in [1, 5, 9, 13] {
        let mut left = polls;
        let interrupted = poll_fn(move |_| {
            left -= 1;
            if left > 0 { Poll::Pending } else { Poll::Ready(()) }
        });
        let (standalone, mail) = demo.start(now, interrupted).await;
        interruptions += u32::from(mail.is_none());
        // Killed after the timeline announced the next block, but before that block was counted.
        let mut stored = Timeline::read(demo.folder.path()).unwrap().unwrap();
        let newest = standalone.newest_event().await.unwrap().map_or(0, Timestamp::millis);
        if mail.is_none() && newest >= stored.sent_ms() - MINUTE_MS {
            stored.advance(stored.sent_ms() + 600 * MINUTE_MS);
            stored.write(demo.folder.path()).unwrap();
        }
    }
    assert!(interruptions >= 3, "{interruptions}");
    let (standalone, mail) = demo.finish(now).await;
    assert_eq!(mail.next_ms, now.millis());
    let totals = totals(&standalone).await;
    assert_eq!(totals.aggregated, counted_in_one_go(planned, now).await);
    assert!(totals.duplicates < 10, "events of one millisecond at most: {totals:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn demo_that_was_stopped_yesterday_fills_the_gap() {
    let (demo, now) = (Demo::new(), now());
    let yesterday = now.plus_millis(-DAY_MS);
    let planned = Timeline::new(None, None, OPTIONS, yesterday).unwrap();
    {
        let (standalone, mut mail) = demo.finish(yesterday).await;
        let mut timeline = Timeline::read(demo.folder.path()).unwrap().unwrap();
        // A few minutes of live mail; the process is killed in the middle of the last one.
        for minute in 1..=5 {
            let mut events = Vec::new();
            timeline.advance(mail.next_minute(&mut events).unwrap());
            timeline.write(demo.folder.path()).unwrap();
            let half = if minute == 5 { events.len() / 2 } else { events.len() };
            let end = memchr::memrchr(b'\n', &events[..half]).map_or(0, |end| end + 1);
            standalone.count(&[&events[..end]]).await.unwrap();
        }
    }
    let (standalone, _) = demo.finish(now).await;
    let totals = totals(&standalone).await;
    assert_eq!(totals.aggregated, counted_in_one_go(planned, now).await);
    assert!(totals.duplicates < 10, "{totals:?}");
    let newest = standalone.newest_event().await.unwrap().unwrap();
    assert!(now.millis_since(newest) < 10 * MINUTE_MS, "{newest} is long before {now}");
}

#[tokio::test(flavor = "multi_thread")]
async fn minutes_that_pass_during_catch_up_are_simulated_too() {
    let (demo, begun) = (Demo::new(), now().plus_millis(-DAY_MS));
    let standalone = Standalone::open(demo.folder.path(), Attribution::default()).unwrap();
    let mut timeline = Timeline::new(None, None, OPTIONS, begun).unwrap();
    // The clock moves on by a second with each simulated minute.
    let seconds = AtomicI64::new(0);
    let clock = move || begun.plus_millis(1000 * seconds.fetch_add(1, Ordering::Relaxed));
    let never = std::future::pending();
    let mail =
        catch_up(&standalone, demo.folder.path(), &mut timeline, clock, never, SMALL_BLOCK).await.unwrap();
    let passed = (mail.unwrap().next_ms - begun.millis()) / MINUTE_MS;
    let expected = i64::from(2 * DAY_MINUTES) / 60;
    assert!((expected..expected + 3).contains(&passed), "{passed} of {expected} minutes");
}
