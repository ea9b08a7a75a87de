//! Every count has one outcome, and hostile records are bounded.

use cells::query::metrics::{COMPLAINTS, DELAYED, DELAYS, SENDS};
use cells::query::{Basis, Metric};
use cells::{Cell, Counter, CounterSet, Projection, RowRef, RowSource as _};
use event::attribution::AttributionSettings;
use event::{Minute, SequenceNumber, ShardId};
use proptest::prelude::*;

use super::*;
use crate::codec::StoredRecord as _;
use crate::testing::counting::BitFlipSeal;

const ARRIVED: i64 = 1_763_000_000_000;

fn send(tenant: &str, message: &str, at: &str, recipients: &[&str]) -> String {
    let destination = recipients.join("\",\"");
    format!(
        r#"{{"eventType":"Send","mail":{{"timestamp":"{at}","messageId":"{message}","source":"a@news.example","destination":["{destination}"],"tags":{{"tenant":["{tenant}"]}}}},"send":{{}}}}"#
    )
}

fn accumulate(payloads: &[&[u8]], window: &DeduplicationWindow) -> Accumulated {
    let attribution = Attribution::new(AttributionSettings::default()).unwrap();
    let mut accumulator = EventAccumulator::new(attribution, HashKey::new([7; 16]), BitFlipSeal);
    accumulator.accumulate(&records(payloads), window)
}

fn records<'a>(payloads: &[&'a [u8]]) -> Vec<Record<'a>> {
    let numbered = payloads.iter().zip(1_u64..);
    let arrived_at = Timestamp::from_millis(ARRIVED);
    numbered
        .map(|(data, number)| Record { sequence: SequenceNumber::from(number), arrived_at, data })
        .collect()
}

fn block_of(accumulated: &Accumulated, tenant: &str) -> Block {
    let delta = accumulated.deltas.iter().find(|delta| delta.tenant.as_str() == tenant).unwrap();
    Block::merge_all(delta.parts.iter().map(|part| Block::decode(part).unwrap())).unwrap()
}

#[test]
fn event_counts_once_for_each_recipient_and_tenants_are_kept_apart() {
    let acme = send("acme", "m-1", "2025-11-13T02:13:00Z", &["a@gmail.com", "b@gmail.com", "c@web.de"]);
    let other = send("other", "m-2", "2025-11-13T02:13:00Z", &["a@gmail.com"]);
    let accumulated = accumulate(&[acme.as_bytes(), other.as_bytes()], &DeduplicationWindow::default());
    assert_eq!((accumulated.records, accumulated.totals.events, accumulated.totals.aggregated), (2, 4, 4));
    assert_eq!(block_of(&accumulated, "acme").events(), 3);
    assert_eq!(block_of(&accumulated, "other").events(), 1);
    let counted = accumulated.identities().map(|of| (of.tenant.as_str(), of.identities.len()));
    assert_eq!(counted.collect::<Vec<_>>(), [("acme", 3), ("other", 1)]);
}

#[test]
fn upstream_duplicate_is_dropped_within_the_batch_and_by_the_window() {
    let event = send("acme", "m-1", "2025-11-13T02:13:00Z", &["a@gmail.com"]);
    let mut window = DeduplicationWindow::default();
    let first = accumulate(&[event.as_bytes(), event.as_bytes()], &window);
    assert_eq!((first.totals.events, first.totals.duplicates, first.totals.aggregated), (2, 1, 1));
    window.extend(first.identities(), Timestamp::from_millis(ARRIVED), None);
    let second = accumulate(&[event.as_bytes()], &window);
    assert_eq!((second.totals.events, second.totals.duplicates, second.totals.aggregated), (1, 1, 0));
    let ledger = block_of(&second, "acme");
    let entry = ledger.intake().values().next().unwrap();
    assert_eq!((entry.events, entry.duplicates, ledger.events()), (1, 1, 0));
}

#[test]
fn late_event_is_counted_in_its_own_minute() {
    let event = send("acme", "m-1", "2025-11-10T08:30:10Z", &["a@gmail.com"]);
    let accumulated = accumulate(&[event.as_bytes()], &DeduplicationWindow::default());
    assert_eq!((accumulated.totals.late, accumulated.totals.aggregated), (1, 1));
    let hours = block_of(&accumulated, "acme").split(|minute| minute.0);
    let minute = hours.iter().find(|(_, block)| block.events() == 1).map(|(minute, _)| *minute).unwrap();
    assert_eq!(event::Minute(minute).start().to_string(), "2025-11-10T08:30:00Z");
}

#[test]
fn event_from_the_future_is_counted_in_the_minute_of_its_arrival() {
    let event = send("acme", "m-1", "2031-01-01T00:00:00Z", &["a@gmail.com"]);
    let accumulated = accumulate(&[event.as_bytes()], &DeduplicationWindow::default());
    assert_eq!((accumulated.totals.late, accumulated.totals.aggregated), (1, 1));
    assert_eq!(accumulated.newest_event, Some(Timestamp::from_millis(ARRIVED)));
}

#[test]
fn unreadable_part_is_sealed_with_its_reason_and_other_records_are_counted() {
    let event = send("acme", "m-1", "2025-11-13T02:13:00Z", &["a@gmail.com"]);
    let torn = br#"{"to":"someone@example.com""#;
    let accumulated = accumulate(&[torn, event.as_bytes()], &DeduplicationWindow::default());
    assert_eq!((accumulated.totals.quarantined, accumulated.totals.aggregated), (1, 1));
    let quarantined = &accumulated.quarantined[0];
    assert!(!quarantined.sealed.as_ref().unwrap().windows(7).any(|part| part == b"someone"));
    assert!(!quarantined.reason.contains("someone"), "{}", quarantined.reason);
    assert_eq!(quarantined.open(&BitFlipSeal).unwrap(), torn);
    let shard = ShardId::new("s").unwrap();
    let items =
        quarantine::items(&accumulated.quarantined, &shard, &quarantined.sequence, quarantined.arrived_at);
    assert_eq!(quarantine::QuarantinedParts::decode(&items[0].body).unwrap().0, accumulated.quarantined);
}

#[test]
fn flood_of_unreadable_parts_is_counted_but_not_kept() {
    let garbage = "x\n".repeat(MAX_QUARANTINED + 500);
    let accumulated = accumulate(&[garbage.as_bytes(), b"y"], &DeduplicationWindow::default());
    assert_eq!(accumulated.records, 1);
    assert!(accumulated.quarantined.len() <= MAX_QUARANTINED);
    assert!(accumulated.totals.quarantined >= 1);
}

#[test]
fn records_of_a_batch_share_one_budget_however_many_commits_it_takes() {
    let attribution = Attribution::new(AttributionSettings::default()).unwrap();
    let mut accumulator = EventAccumulator::new(attribution, HashKey::new([7; 16]), BitFlipSeal);
    let event = send("acme", "m-1", "2025-11-13T02:13:00Z", &["a@gmail.com"]);
    // Each of these values is searched for to the end of the line.
    let hostile = format!("{event}\n{}", "7 ".repeat(50_000));
    let mut parts_of = |payload: &str| {
        let accumulated =
            accumulator.accumulate(&records(&[payload.as_bytes()]), &DeduplicationWindow::default());
        assert_eq!(accumulated.totals.aggregated, 1);
        let last = accumulated.quarantined.last().map(|part| part.reason.clone());
        (accumulated.totals.quarantined, last.unwrap_or_default())
    };
    let (first, reason) = parts_of(&hostile);
    assert!(first > MAX_QUARANTINED as u64, "{first}");
    // Behind more parts than are kept.
    assert!(reason.contains("over the budget of 512 MiB of work"), "{reason}");
    // The next commit of the batch: a share is left, which an ordinary record does not exceed.
    let (second, reason) = parts_of(&hostile);
    assert!(second < first / 10, "{first}, then {second}");
    assert!(reason.contains("over the budget of 512 MiB of work"), "{reason}");
    assert_eq!(parts_of(&event).0, 0);
    accumulator.begin_batch();
    let hostile_again =
        accumulator.accumulate(&records(&[hostile.as_bytes()]), &DeduplicationWindow::default());
    assert_eq!(hostile_again.totals.quarantined, first);
}

#[test]
fn commit_takes_no_further_record_once_it_has_its_number_of_tenants() {
    let events: Vec<String> = (0..TENANTS_PER_COMMIT + 5)
        .map(|number| send(&format!("t-{number}"), "m", "2025-11-13T02:13:00Z", &["a@gmail.com"]))
        .collect();
    let payloads: Vec<&[u8]> = events.iter().map(String::as_bytes).collect();
    assert_eq!(accumulate(&payloads, &DeduplicationWindow::default()).records, TENANTS_PER_COMMIT);
    let all = events.join("\n");
    assert_eq!(
        accumulate(&[all.as_bytes()], &DeduplicationWindow::default()).deltas.len(),
        TENANTS_PER_COMMIT + 5
    );
}

#[test]
fn events_of_tenants_beyond_the_limit_are_counted_as_unassigned() {
    let events: Vec<String> = (0..MAX_TENANTS + 7)
        .map(|number| {
            send(&format!("t-{number}"), &format!("m-{number}"), "2025-11-13T02:13:00Z", &["a@gmail.com"])
        })
        .collect();
    let accumulated = accumulate(&[events.join("\n").as_bytes()], &DeduplicationWindow::default());
    assert_eq!(accumulated.deltas.len(), MAX_TENANTS + 1);
    assert_eq!(block_of(&accumulated, TenantId::UNASSIGNED).events(), 7);
    assert_eq!((accumulated.totals.conflicts, accumulated.totals.aggregated), (7, MAX_TENANTS as u64 + 7));
}

#[test]
fn limits_of_late_and_future_events_are_exact_to_the_millisecond() {
    // 2025-11-13T02:13:20Z is when the records arrive.
    for (at, is_late) in [
        ("2025-11-13T02:13:20Z", false),
        ("2025-11-13T01:13:20Z", false),
        ("2025-11-13T01:13:19.999Z", true),
        ("2025-11-14T02:13:20Z", false),
        ("2025-11-14T02:13:20.001Z", true),
    ] {
        let event = send("acme", "m-1", at, &["a@gmail.com"]);
        let accumulated = accumulate(&[event.as_bytes()], &DeduplicationWindow::default());
        assert_eq!((accumulated.totals.late == 1, accumulated.totals.aggregated), (is_late, 1), "{at}");
    }
}

#[test]
fn outcomes_of_the_records_add_up_to_the_totals() {
    let event = send("acme", "m-1", "2025-11-13T02:13:00Z", &["a@gmail.com", "b@gmail.com"]);
    let records = [event.as_bytes(), b"{", event.as_bytes(), b""];
    let accumulated = accumulate(&records, &DeduplicationWindow::default());
    let mut sum = Totals::default();
    accumulated.per_record.iter().for_each(|outcome| sum.add(outcome));
    assert_eq!((accumulated.per_record.len(), sum), (4, accumulated.totals));
    let duplicates: Vec<u64> = accumulated.per_record.iter().map(|outcome| outcome.duplicates).collect();
    assert_eq!(duplicates, [0, 0, 2, 0]);
    let ignored: Vec<_> = accumulated.ignored.iter().map(|(at, kinds)| (*at, kinds.to_string())).collect();
    assert_eq!(ignored, [(3, "1 empty".to_owned())]);
}

/// A click on one of the links of a message, milliseconds after a fixed moment.
fn click(message: &str, link: u64, millis: i64) -> String {
    let at = Timestamp::from_millis(ARRIVED - 60_000 + millis);
    format!(
        r#"{{"eventType":"Click","mail":{{"timestamp":"2025-11-13T02:00:00Z","messageId":"{message}","source":"a@news.example","destination":["a@firm.example"],"tags":{{"tenant":["acme"]}}}},"click":{{"timestamp":"{at}","ipAddress":"192.0.2.7","userAgent":"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36","link":"https://shop.example/{link}"}}}}"#
    )
}

fn sum_of(block: &Block, counter: Counter) -> u64 {
    let mut sum = 0;
    let projection = Projection::of_counters(CounterSet::of(&[counter]));
    let mut each = |row: RowRef<'_>| sum += row.counters.get(counter);
    block.scan_cells(&projection, Minute(0), Minute(u32::MAX), &mut each).unwrap();
    sum
}

/// Clicks, those of machines, and those of split bursts, over all batches.
#[derive(Debug, Default, PartialEq)]
struct ClickCounts {
    clicks: u64,
    by_machines: u64,
    split: u64,
}

fn clicks_in(batches: &[&[String]]) -> ClickCounts {
    let attribution = Attribution::new(AttributionSettings::default()).unwrap();
    let mut accumulator = EventAccumulator::new(attribution, HashKey::new([7; 16]), BitFlipSeal);
    let mut window = DeduplicationWindow::default();
    let mut counts = ClickCounts::default();
    for batch in batches {
        let payloads: Vec<&[u8]> = batch.iter().map(String::as_bytes).collect();
        // An attempt that fails teaches nothing, so the next one gives the same result.
        let failed = accumulator.accumulate(&records(&payloads), &window);
        let accumulated = accumulator.accumulate(&records(&payloads), &window);
        assert_eq!(failed.deltas, accumulated.deltas);
        accumulator.committed(&accumulated);
        window.extend(accumulated.identities(), Timestamp::from_millis(ARRIVED), None);
        for delta in &accumulated.deltas {
            let block =
                Block::merge_all(delta.parts.iter().map(|part| Block::decode(part).unwrap())).unwrap();
            let sum = |counter: Counter| sum_of(&block, counter);
            counts.clicks += sum(Counter::Clicks);
            counts.by_machines += sum(Counter::ClicksBot);
            counts.split += sum(Counter::BurstsSplit);
        }
    }
    counts
}

#[test]
fn all_clicks_of_a_burst_are_a_machines_also_the_first() {
    let burst: Vec<String> = (0..5_u32).map(|link| click("m1", link.into(), i64::from(90 * link))).collect();
    let person = [click("m2", 0, 0), click("m2", 1, 2_001), click("m2", 1, 2_400)];
    let batch = [burst.as_slice(), &person].concat();
    assert_eq!(clicks_in(&[&batch]), ClickCounts { clicks: 8, by_machines: 5, split: 0 });
}

#[test]
fn rest_of_a_burst_is_a_machines_and_its_committed_clicks_are_counted_as_split() {
    let burst: Vec<String> = (0..5_u32).map(|link| click("m1", link.into(), i64::from(90 * link))).collect();
    let (first, rest) = burst.split_at(1);
    assert_eq!(clicks_in(&[first, rest]), ClickCounts { clicks: 5, by_machines: 4, split: 1 });
    let each: Vec<&[String]> = burst.chunks(1).collect();
    assert_eq!(clicks_in(&each), ClickCounts { clicks: 5, by_machines: 4, split: 1 });
}

#[test]
fn click_that_ses_does_not_take_for_a_machines_stays_a_persons() {
    let batch: Vec<String> = (0..3)
        .map(|link| click("m1", link, 0).replace(r#""ipAddress""#, r#""isBotEvent":"Unlikely","ipAddress""#))
        .collect();
    assert_eq!(clicks_in(&[&batch]), ClickCounts { clicks: 3, by_machines: 0, split: 0 });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn order_changes_nothing_and_a_cut_only_moves_clicks_to_the_split_ones(
        clicks in prop::collection::vec((0..3_u64, 0..3_u64, 0..9_000_i64), 1..12),
        order in any::<u64>(),
        cut: prop::sample::Index,
    ) {
        let mut events: Vec<String> =
            clicks.iter().map(|(message, link, at)| click(&format!("m{message}"), *link, *at)).collect();
        let at_once = clicks_in(&[&events]);
        prop_assert_eq!(at_once.split, 0);
        // Any order will do.
        let key = HashKey::new([order.to_le_bytes(); 2].concat().try_into().unwrap());
        events.sort_by_key(|event| key.hash(&[event.as_bytes()]));
        prop_assert_eq!(&clicks_in(&[&events]), &at_once);
        let (first, second) = events.split_at(cut.index(events.len()));
        let halves = clicks_in(&[first, second]);
        prop_assert_eq!(halves.clicks, at_once.clicks);
        prop_assert_eq!(halves.by_machines + halves.split, at_once.by_machines);
    }
}

fn mail(message: &str) -> String {
    format!(
        r#""mail":{{"timestamp":"2025-11-13T01:00:00Z","messageId":"{message}","source":"a@news.example","destination":["ann@gmx.net"],"tags":{{"tenant":["acme"]}}}}"#
    )
}

/// A delay of a message for some recipients, so many minutes after it was sent.
fn delay(message: &str, minutes: u32, recipients: &[&str]) -> String {
    let recipients: Vec<String> =
        recipients.iter().map(|address| format!(r#"{{"emailAddress":"{address}"}}"#)).collect();
    let (recipients, mail) = (recipients.join(","), mail(message));
    format!(
        r#"{{"eventType":"DeliveryDelay",{mail},"deliveryDelay":{{"timestamp":"2025-11-13T01:{minutes:02}:00Z","delayType":"MailboxFull","delayedRecipients":[{recipients}]}}}}"#
    )
}

/// A complaint that lists some recipients.
fn complaint(feedback_id: &str, recipients: &[String]) -> String {
    let recipients: Vec<String> =
        recipients.iter().map(|address| format!(r#"{{"emailAddress":"{address}"}}"#)).collect();
    let (recipients, mail) = (recipients.join(","), mail("m-1"));
    format!(
        r#"{{"eventType":"Complaint",{mail},"complaint":{{"feedbackId":"{feedback_id}","timestamp":"2025-11-13T01:30:00Z","complainedRecipients":[{recipients}]}}}}"#
    )
}

/// Counts in some batches, each after the ones before it were committed.
fn accumulate_batches(batches: &[Vec<String>]) -> Vec<Accumulated> {
    let mut window = DeduplicationWindow::default();
    let count = |batch: &Vec<String>| {
        let payloads: Vec<&[u8]> = batch.iter().map(String::as_bytes).collect();
        let accumulated = accumulate(&payloads, &window);
        window.extend(accumulated.identities(), Timestamp::from_millis(ARRIVED), None);
        accumulated
    };
    batches.iter().map(count).collect()
}

/// The counts of the tenant `acme` by minute: of the event, or of the sending for cohorts.
fn by_minute<'a>(
    batches: impl IntoIterator<Item = &'a Accumulated>,
    basis: Basis,
    metric: Metric,
) -> BTreeMap<Minute, u64> {
    let mut cells: BTreeMap<Minute, Cell> = BTreeMap::new();
    for block in batches.into_iter().filter(|batch| !batch.deltas.is_empty()).map(|one| block_of(one, "acme"))
    {
        let mut add = |row: cells::RowRef<'_>| {
            let cell = cells.entry(row.bucket).or_default();
            row.counters.iter().for_each(|(counter, count)| cell.counters.add(counter, count));
        };
        let (all, from, to) = (Projection::ALL, Minute(0), Minute(u32::MAX));
        match basis {
            Basis::Event => block.scan_cells(&all, from, to, &mut add).unwrap(),
            Basis::Send => block.scan_cohorts(&all, from, to, &mut add).unwrap(),
        }
    }
    let value = |cell: &Cell| metric.value(cell, basis).as_number().unwrap_or_default();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    cells.iter().map(|(minute, cell)| (*minute, value(cell) as u64)).filter(|(_, count)| *count > 0).collect()
}

fn total(batches: &[Accumulated], metric: Metric) -> u64 {
    by_minute(batches, Basis::Event, metric).values().sum()
}

#[test]
fn mail_is_delayed_once_at_its_first_delay() {
    let batches = accumulate_batches(&[
        vec![delay("m-1", 10, &["ann@gmx.net", "bob@web.de"]), delay("m-1", 20, &["ann@gmx.net"])],
        // A duplicate, a later delay of both, and another message to one of them.
        vec![
            delay("m-1", 20, &["ann@gmx.net"]),
            delay("m-1", 30, &["ann@gmx.net", "bob@web.de"]),
            delay("m-2", 30, &["ann@gmx.net"]),
        ],
    ]);
    assert_eq!((total(&batches, DELAYS), total(&batches, DELAYED)), (6, 3));
    let minutes: Vec<(String, u64)> = by_minute(&batches, Basis::Event, DELAYED)
        .into_iter()
        .map(|(minute, count)| (minute.start().to_string(), count))
        .collect();
    let expected = [("2025-11-13T01:10:00Z", 2), ("2025-11-13T01:30:00Z", 1)];
    assert_eq!(minutes, expected.map(|(minute, count)| (minute.to_owned(), count)));
    // That a mail was delayed is no event of its own: it is in no total.
    let events: u64 = batches.iter().map(|batch| batch.totals.aggregated).sum();
    assert_eq!(events, 6);
    assert_eq!(batches.iter().map(|batch| block_of(batch, "acme").events()).sum::<u64>(), 6);
}

#[test]
fn first_delay_that_has_left_the_window_is_forgotten() {
    let mut window = DeduplicationWindow::with_limit(2);
    let first = accumulate(&[delay("m-1", 10, &["ann@gmx.net"]).as_bytes()], &window);
    window.extend(first.identities(), Timestamp::from_millis(ARRIVED), None);
    let again = accumulate(&[delay("m-1", 20, &["ann@gmx.net"]).as_bytes()], &window);
    assert_eq!(total(&[again], DELAYED), 0);
    // Two newer events take the places of the delay and of the mark that its mail was delayed.
    let (tenant, identities) = (&TenantId::new("acme").unwrap(), &[IdentityHash(1), IdentityHash(2)]);
    window.extend([TenantIdentities { tenant, identities }], Timestamp::from_millis(ARRIVED), None);
    let later = accumulate(&[delay("m-1", 30, &["ann@gmx.net"]).as_bytes()], &window);
    assert_eq!(total(&[later], DELAYED), 1);
}

proptest! {
    #[test]
    fn complaint_counts_once_whoever_it_lists_and_however_often_it_arrives(
        lists in prop::collection::vec(prop::sample::subsequence((0..12).collect::<Vec<u32>>(), 0..12), 1..4),
        feedback_id in prop::sample::select(vec!["f-1", ""]),
    ) {
        let address = |number: &u32| format!("person-{number}@yahoo.com");
        let event = |list: &Vec<u32>| complaint(feedback_id, &list.iter().map(address).collect::<Vec<_>>());
        let batches = accumulate_batches(&[lists.iter().map(event).collect(), lists.iter().rev().map(event).collect()]);
        prop_assert_eq!(total(&batches, COMPLAINTS), 1);
        let other = complaint("f-2", &[address(&0), address(&1)]);
        let batches = accumulate_batches(&[vec![event(&lists[0]), other]]);
        prop_assert_eq!(total(&batches, COMPLAINTS), 2);
    }

    #[test]
    fn no_more_mail_of_a_cohort_is_delayed_than_was_sent_however_its_events_are_cut(
        delays in prop::collection::vec((0..5_usize, 0..60_u32), 0..30),
        cut in 0..30_usize,
    ) {
        let messages = ["m-1", "m-2", "m-3", "m-4", "m-5"];
        let sends = messages.map(|message| format!(r#"{{"eventType":"Send",{},"send":{{}}}}"#, mail(message)));
        let mut events: Vec<String> =
            delays.iter().map(|&(message, minutes)| delay(messages[message], minutes, &["ann@gmx.net"])).collect();
        events.extend(sends);
        let second = events.split_off(cut.min(events.len()));
        let batches = accumulate_batches(&[events, second]);
        let distinct = delays.iter().map(|(message, _)| message).collect::<HashSet<_>>().len() as u64;
        for basis in [Basis::Event, Basis::Send] {
            prop_assert_eq!(by_minute(&batches, basis, DELAYED).values().sum::<u64>(), distinct);
            // Blocks are merged in any order.
            let backwards = by_minute(batches.iter().rev(), basis, DELAYED);
            prop_assert_eq!(backwards, by_minute(&batches, basis, DELAYED));
        }
        let sent = by_minute(&batches, Basis::Send, SENDS);
        for (minute, delayed) in by_minute(&batches, Basis::Send, DELAYED) {
            prop_assert!(delayed <= sent[&minute], "{:?}: {}", minute, delayed);
        }
    }
}
