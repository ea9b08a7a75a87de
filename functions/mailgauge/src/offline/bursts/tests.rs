//! Clicks of several threads, in any order and beyond the look-ahead.

use std::borrow::Cow;

use cells::{Counter, Grouping};
use event::attribution::{Dimension, DimensionValues, RecipientDimensions};
use event::{EventType, Interaction, RecipientHash, Requester, Tags, Timestamp};

use super::*;

/// A click on a link of a message by a browser, milliseconds after a fixed moment.
fn event(message: u64, link: u64, millis: i64) -> EmailEvent<'static> {
    let click = Interaction {
        link: Some(Cow::Owned(format!("https://shop.example/{link}"))),
        link_tags: Tags::default(),
        user_agent: Cow::Borrowed("agent"),
        ip_address: Cow::Borrowed("192.0.2.1"),
        requester: Requester::Person,
    };
    EmailEvent {
        event_type: EventType::Click(click),
        at: Timestamp::from_millis(1_760_000_000_000 + millis),
        sent_at: Some(Timestamp::from_millis(1_760_000_000_000)),
        message_id: Cow::Owned(format!("m{message}")),
        recipients: std::iter::empty().collect(),
        destinations: std::iter::empty().collect(),
        destination_count: 1,
        source: Cow::Borrowed("a@shop.example"),
        sending_account: None,
        source_arn: None,
        evidence: event::provider::evidence::ProviderEvidence::Absent,
        tags: Tags::default(),
    }
}

/// Clicks, those of machines, and those of split bursts, of events given with the thread that counts them.
fn counted(threads: usize, events: &[(usize, EmailEvent<'_>)]) -> [u64; 3] {
    let grouping =
        Grouping { tenant: false, bucket: None, dimensions: [false; Dimension::COUNT], event_type: false };
    let mut accumulators: Vec<Accumulator> =
        (0..threads).map(|_| Accumulator::new(grouping.clone())).collect();
    let clicks = SharedClicks::new(threads);
    let values: DimensionValues<'_> = [const { Cow::Borrowed("") }; Dimension::COUNT];
    let recipient = RecipientDimensions {
        domain: Cow::Borrowed(""),
        provider: event::attribution::RecipientProvider::Known(""),
        simulator: false,
    };
    for (thread, event) in events {
        let counted =
            accumulators[*thread].count_click("", &values, &recipient, event, RecipientHash(1), None);
        clicks.wait(*thread, SharedClicks::click_of(event).unwrap(), counted);
        clicks.settle(*thread, &mut accumulators[*thread]);
    }
    clicks.finish();
    let mut sum = [0; 3];
    for (thread, cells) in accumulators.iter_mut().enumerate() {
        clicks.settle(thread, cells);
        for (_, cell) in cells.rows() {
            for (sum, counter) in
                sum.iter_mut().zip([Counter::Clicks, Counter::ClicksBot, Counter::BurstsSplit])
            {
                *sum += cell.counters.get(counter);
            }
        }
    }
    sum
}

#[test]
fn burst_is_found_across_threads_and_in_any_order() {
    let mut events: Vec<_> = (0..7_u32)
        .map(|n| ((n % 3) as usize, event(u64::from(n % 2), n.into(), i64::from(300 * n))))
        .collect();
    events.push((1, event(2, 0, 0)));
    for _ in 0..events.len() {
        events.rotate_left(3);
        assert_eq!(counted(3, &events), [8, 7, 0]);
    }
}

#[test]
fn burst_within_the_look_ahead_is_found_whatever_lies_between() {
    let between = (0..LOOK_AHEAD as u64 - 1).map(|n| (0, event(n + 10, 0, 0)));
    let first = [(0, event(1, 1, 0))];
    let last = [(0, event(1, 2, 1_000))];
    let events: Vec<_> = first.into_iter().chain(between).chain(last).collect();
    assert_eq!(counted(1, &events), [LOOK_AHEAD as u64 + 1, 2, 0]);
}

#[test]
fn rest_of_a_burst_that_was_decided_is_a_machines_and_its_beginning_is_split() {
    // Enough clicks for the first one to be decided, but few enough for it to be remembered.
    let between = (0..2 * LOOK_AHEAD as u64).map(|n| (0, event(n + 10, 0, 0)));
    let first = [(0, event(1, 1, 0))];
    let last = [(1, event(1, 2, 1_000)), (1, event(1, 3, 1_500))];
    // The first click is among the newest that were decided: those before it go first.
    let before = (0..LOOK_AHEAD as u64 - 100).map(|n| (1, event(n + 200_000, 0, 0)));
    let events: Vec<_> = before.chain(first).chain(between).chain(last).collect();
    let [clicks, by_machines, split] = counted(2, &events);
    assert_eq!((clicks, by_machines, split), (events.len() as u64, 2, 1));
}
