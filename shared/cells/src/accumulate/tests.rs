//! Which counters events increment, where they are counted, and that dividing the work changes nothing.

use std::borrow::Cow;
use std::collections::BTreeMap;

use event::{
    Bounce, BounceType, EventKind, Hour, Interaction, Reason, Suppression, Tags, TenantId, Timestamp, Verdict,
};
use proptest::prelude::*;
use smallvec::SmallVec;

use super::*;
use crate::block::{Block, Projection, Rows as _};
use crate::counter::{Counter, CounterId, Counters};
use crate::testing::contents;

const SENT: Timestamp = Timestamp::from_seconds(1_760_000_000);

fn event(kind: EventKind<'static>, minutes_later: i64) -> EmailEvent<'static> {
    EmailEvent {
        kind,
        at: SENT.plus_millis(minutes_later * 60_000),
        sent_at: SENT,
        message_id: Cow::Borrowed("m"),
        recipients: SmallVec::new(),
        destinations: SmallVec::new(),
        destination_count: 1,
        source: Cow::Borrowed(""),
        sending_account: None,
        source_arn: None,
        tags: Tags::default(),
    }
}

fn interaction(verdict: Verdict) -> Interaction<'static> {
    Interaction { link: None, user_agent: Cow::Borrowed(""), ip_address: Cow::Borrowed(""), verdict }
}

fn bounce(
    bounce_type: BounceType,
    suppression: Option<Suppression>,
    after_acceptance: bool,
) -> EventKind<'static> {
    let feedback_id = Cow::Borrowed("");
    EventKind::Bounce(Bounce {
        bounce_type,
        reason: Reason::MailboxFull,
        suppression,
        after_acceptance,
        feedback_id,
    })
}

fn complaint(counts: bool) -> EventKind<'static> {
    EventKind::Complaint { counts, feedback_id: Cow::Borrowed("") }
}

/// One of each event type, and the variants that count differently.
fn event_kinds() -> Vec<EventKind<'static>> {
    vec![
        EventKind::Send,
        EventKind::Delivery { processing_ms: None },
        EventKind::Delivery { processing_ms: Some(1234) },
        bounce(BounceType::Permanent, None, false),
        bounce(BounceType::Permanent, Some(Suppression::OutsideReputation), false),
        bounce(BounceType::Permanent, Some(Suppression::GlobalList), false),
        bounce(BounceType::Transient, None, true),
        bounce(BounceType::Undetermined, None, false),
        bounce(BounceType::AutoReply, None, true),
        complaint(true),
        complaint(false),
        EventKind::Reject,
        EventKind::RenderingFailure,
        EventKind::Delay { reason: Reason::RateLimit },
        EventKind::Open(interaction(Verdict::Person)),
        EventKind::Open(interaction(Verdict::Machine("proxy"))),
        EventKind::Click(interaction(Verdict::Person)),
        EventKind::Click(interaction(Verdict::Machine("scanner"))),
        EventKind::Subscription { unsubscribed: true },
        EventKind::Subscription { unsubscribed: false },
        EventKind::QueueDepth { depth: 700 },
    ]
}

fn values(campaign: &'static str) -> DimensionValues<'static> {
    let mut values = [const { Cow::Borrowed(Dimension::NONE) }; Dimension::COUNT];
    values[Dimension::Campaign as usize] = Cow::Borrowed(campaign);
    values
}

fn recipient(domain: &'static str, provider: &'static str) -> RecipientValues<'static> {
    RecipientValues { domain: Cow::Borrowed(domain), provider, simulator: false }
}

fn incremented(kind: EventKind<'static>, simulator: bool) -> Cell {
    let mut cell = Cell::default();
    increments::increment(&mut cell, &event(kind, 0), simulator, RecipientHash(u64::MAX / 3));
    cell
}

fn counters(expected: &[(CounterId, u64)]) -> Counters {
    let mut counters = Counters::new();
    for (counter, count) in expected {
        counters.add(*counter, *count);
    }
    counters
}

#[test]
fn each_event_increments_its_counters() {
    use Counter as C;
    let mailbox_full = CounterId::bounces_for(Reason::MailboxFull);
    let one = |counters: &[CounterId]| counters.iter().map(|counter| (*counter, 1)).collect::<Vec<_>>();
    let expected: Vec<Vec<(CounterId, u64)>> = vec![
        one(&[C::Sends.into()]),
        one(&[C::Deliveries.into()]),
        vec![(C::Deliveries.into(), 1), (C::DeliveriesTimed.into(), 1), (C::DeliveryMillis.into(), 1234)],
        one(&[C::BouncesPermanent.into(), mailbox_full]),
        one(&[
            C::BouncesPermanent.into(),
            mailbox_full,
            C::Suppressed.into(),
            C::SuppressedOutsideReputation.into(),
        ]),
        one(&[C::BouncesPermanent.into(), mailbox_full, C::Suppressed.into()]),
        one(&[C::BouncesTransient.into(), mailbox_full, C::BouncesAfterAcceptance.into()]),
        one(&[C::BouncesUndetermined.into(), mailbox_full]),
        one(&[C::AutoReplies.into()]),
        one(&[C::Complaints.into()]),
        one(&[C::ComplaintsNotCounted.into()]),
        one(&[C::Rejects.into()]),
        one(&[C::RenderingFailures.into()]),
        one(&[C::Delays.into(), CounterId::delays_for(Reason::RateLimit)]),
        one(&[C::Opens.into()]),
        one(&[C::Opens.into(), C::OpensMachine.into()]),
        one(&[C::Clicks.into()]),
        one(&[C::Clicks.into(), C::ClicksBot.into()]),
        one(&[C::Unsubscribes.into()]),
        one(&[C::SubscriptionsOther.into()]),
        vec![(C::QueueReadings.into(), 1), (C::QueueDepth.into(), 700)],
    ];
    assert_eq!(event_kinds().len(), expected.len());
    for (kind, expected) in event_kinds().into_iter().zip(&expected) {
        assert_eq!(incremented(kind.clone(), false).counters, counters(expected), "{kind:?}");
    }
}

#[test]
fn each_event_increments_one_primary_counter_and_simulator_mail_only_its_own() {
    for kind in event_kinds() {
        assert_eq!(incremented(kind.clone(), false).counters.events(), 1, "{kind:?}");
        let cell = incremented(kind, true);
        assert_eq!(cell.counters, counters(&[(Counter::Simulator.into(), 1)]));
        assert!(cell.latency.is_empty() && cell.opens.is_empty() && cell.clicks.is_empty());
    }
}

#[test]
fn people_are_counted_once_and_timed_deliveries_are_recorded() {
    for kind in event_kinds() {
        let cell = incremented(kind.clone(), false);
        let person = |open: &Interaction<'_>| !open.verdict.is_machine();
        assert_eq!(!cell.opens.is_empty(), matches!(&kind, EventKind::Open(open) if person(open)));
        assert_eq!(!cell.clicks.is_empty(), matches!(&kind, EventKind::Click(click) if person(click)));
        let timed = matches!(kind, EventKind::Delivery { processing_ms: Some(_) });
        assert_eq!(cell.latency.count(), u64::from(timed));
    }
}

#[test]
fn absurd_delivery_time_counts_as_the_longest() {
    let cell = incremented(EventKind::Delivery { processing_ms: Some(u64::MAX) }, false);
    assert_eq!(cell.counters.get(Counter::DeliveryMillis), crate::Latency::MAX_MILLIS);
}

/// One of many events with so few values that keys repeat.
#[derive(Clone, Debug)]
struct TestEvent {
    tenant: &'static str,
    campaign: &'static str,
    recipient: RecipientValues<'static>,
    kind: usize,
    minutes_later: i64,
    hash: u64,
}

fn test_events() -> impl Strategy<Value = Vec<TestEvent>> {
    let one = (0..3_usize, 0..3_usize, 0..4_usize, 0..20_usize, 0..900_i64, 0..9_u64).prop_map(
        |(tenant, campaign, domain, kind, minutes_later, hash)| TestEvent {
            tenant: ["acme", "globex", "not a tenant"][tenant],
            campaign: ["spring", "(none)", "acme"][campaign],
            recipient: [
                recipient("a.example", "gmail"),
                recipient("b.example", "gmail"),
                recipient("a.example", "yahoo"),
                RecipientValues { simulator: true, ..recipient("simulator.example", "other") },
            ][domain]
                .clone(),
            kind,
            minutes_later,
            hash: hash << 32,
        },
    );
    prop::collection::vec(one, 0..40)
}

fn count(accumulator: &mut Accumulator, events: &[TestEvent]) {
    for one in events {
        let event = event(event_kinds()[one.kind].clone(), one.minutes_later);
        accumulator.count(one.tenant, &values(one.campaign), &one.recipient, &event, RecipientHash(one.hash));
    }
}

fn full(events: &[TestEvent]) -> Accumulator {
    let mut accumulator = Accumulator::full();
    count(&mut accumulator, events);
    accumulator
}

fn sorted_rows(accumulator: &Accumulator) -> BTreeMap<String, Cell> {
    accumulator.rows().map(|(key, cell)| (format!("{key:?}"), cell.clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn counting_two_halves_and_merging_equals_counting_at_once(events in test_events(), cut: prop::sample::Index) {
        let (a, b) = events.split_at(cut.index(events.len() + 1));
        let mut merged = full(a);
        merged.merge(full(b));
        prop_assert_eq!(sorted_rows(&merged), sorted_rows(&full(&events)));
        prop_assert_eq!(merged.into_blocks(), full(&events).into_blocks());
    }

    #[test]
    fn order_of_events_does_not_matter(mut events in test_events()) {
        let blocks = full(&events).into_blocks();
        events.reverse();
        prop_assert_eq!(full(&events).into_blocks(), blocks);
    }

    #[test]
    fn every_event_is_counted_once_in_its_tenants_block(events in test_events()) {
        let blocks: BTreeMap<TenantId, Block> = full(&events).into_blocks().into_iter().collect();
        let mut expected: BTreeMap<TenantId, u64> = BTreeMap::new();
        for one in &events {
            let tenant = TenantId::new(one.tenant).unwrap_or_else(|_| TenantId::unassigned());
            *expected.entry(tenant).or_default() += 1;
        }
        let found: BTreeMap<TenantId, u64> =
            blocks.iter().map(|(tenant, block)| (tenant.clone(), block.events())).collect();
        prop_assert_eq!(found, expected);
        for block in blocks.values() {
            let mut in_cohorts = 0;
            let mut each = |row: crate::RowRef<'_>| in_cohorts += row.counters.events();
            block.scan_cohorts(&Projection::ALL, Minute(0), Minute(u32::MAX), &mut each).unwrap();
            prop_assert_eq!(in_cohorts, block.events());
        }
    }

    #[test]
    fn coarser_grouping_is_the_sum_of_the_finer_one(events in test_events(), dimensions: [bool; Dimension::COUNT]) {
        let grouping = Grouping { tenant: true, bucket: Some(Resolution::Hour), dimensions, event_type: false };
        let mut coarse = Accumulator::new(grouping);
        count(&mut coarse, &events);
        let mut expected: BTreeMap<String, Cell> = BTreeMap::new();
        for (key, cell) in full(&events).rows() {
            let mut values = key.values;
            for (value, kept) in values.iter_mut().zip(dimensions) {
                *value = if kept { value } else { "" };
            }
            let bucket = key.bucket.map(|minute| minute.hour().first_minute());
            expected.entry(format!("{:?}", RowKey { bucket, values, ..key })).or_default().merge(cell);
        }
        prop_assert_eq!(sorted_rows(&coarse), expected);
    }
}

#[test]
fn no_grouping_gives_one_row() {
    let grouping =
        Grouping { tenant: false, bucket: None, dimensions: [false; Dimension::COUNT], event_type: false };
    let mut accumulator = Accumulator::new(grouping);
    for kind in event_kinds() {
        accumulator.count(
            "acme",
            &values("a"),
            &recipient("a.example", "gmail"),
            &event(kind, 5),
            RecipientHash(0),
        );
    }
    let rows: Vec<_> = accumulator.rows().collect();
    let [(key, cell)] = rows.as_slice() else { panic!("one row") };
    assert_eq!((key.tenant, key.bucket, key.event_type, key.value(Dimension::Provider)), ("", None, "", ""));
    assert_eq!(cell.counters.events(), 21);
}

#[test]
fn rows_by_event_type_name_it_as_ses_does() {
    let grouping =
        Grouping { tenant: true, bucket: None, dimensions: [false; Dimension::COUNT], event_type: true };
    let mut accumulator = Accumulator::new(grouping);
    for kind in event_kinds() {
        accumulator.count(
            "acme",
            &values("a"),
            &recipient("a.example", "gmail"),
            &event(kind, 0),
            RecipientHash(0),
        );
    }
    let mut names: Vec<&str> = accumulator.rows().map(|(key, _)| key.event_type).collect();
    names.sort_unstable();
    let expected = [
        "Bounce",
        "Click",
        "Complaint",
        "Delivery",
        "DeliveryDelay",
        "Open",
        "QueueDepth",
        "Reject",
        "Rendering Failure",
        "Send",
        "Subscription",
    ];
    assert_eq!(names, expected);
}

#[test]
fn late_event_is_counted_in_its_own_minute_and_in_the_hour_of_its_sending() {
    let mut accumulator = Accumulator::full();
    let in_time = i64::from(LATE_AFTER_MINUTES) - 1;
    for minutes_later in [0, in_time, in_time + 1] {
        let event = event(EventKind::Send, minutes_later);
        accumulator.count("acme", &values("a"), &recipient("a.example", "gmail"), &event, RecipientHash(0));
    }
    let (_, block) = accumulator.into_blocks().remove(0);
    let sent = SENT.minute();
    let minutes: Vec<u32> = block.cells.rows.iter().map(|row| row.bucket.0 - sent.0).collect();
    assert_eq!(minutes, [0, 359, 360]);
    let mut cohorts = Vec::new();
    let mut each = |row: crate::RowRef<'_>| {
        assert_eq!(block.cohort_key(row.key), ("a", "gmail"));
        cohorts.push((row.bucket, row.width, row.counters.get(Counter::Sends)));
    };
    block.scan_cohorts(&Projection::ALL, Minute(0), Minute(u32::MAX), &mut each).unwrap();
    let hour: Hour = sent.hour();
    assert_eq!(cohorts, [(sent, Resolution::Minute, 2), (hour.first_minute(), Resolution::Hour, 1)]);
}

#[test]
fn values_with_equal_concatenations_are_distinct() {
    let mut accumulator = Accumulator::full();
    for (campaign, segment) in [("ab", "c"), ("a", "bc"), ("", "abc"), ("abc", "")] {
        let mut values = values(campaign);
        values[Dimension::Segment as usize] = Cow::Borrowed(segment);
        accumulator.count(
            "acme",
            &values,
            &recipient("d", "p"),
            &event(EventKind::Send, 0),
            RecipientHash(0),
        );
    }
    assert_eq!(accumulator.rows().len(), 4);
}

#[test]
fn rows_are_sorted_by_the_first_key_then_by_the_next() {
    let mut accumulator = Accumulator::full();
    for (tenant, provider, minutes) in
        [("b", "x", 1), ("a", "y", 2), ("a", "x", 3), ("b", "x", 0), ("a", "y", 1)]
    {
        accumulator.count(
            tenant,
            &values("a"),
            &recipient("d", provider),
            &event(EventKind::Send, minutes),
            RecipientHash(0),
        );
    }
    let check = |keys: &[SortKey], expected: &str| {
        let rows = accumulator.sorted(keys).into_iter().map(|number| {
            let (key, cell) = accumulator.row(number).unwrap();
            assert_eq!(cell.counters.events(), 1);
            let minutes = key.bucket.unwrap().0 - SENT.minute().0;
            format!("{}{}{minutes}", key.tenant, key.value(Dimension::Provider))
        });
        assert_eq!(rows.collect::<Vec<_>>().join(" "), expected);
    };
    let provider = SortKey::Dimension(Dimension::Provider);
    check(&[SortKey::Tenant, provider, SortKey::Bucket], "ax3 ay1 ay2 bx0 bx1");
    check(&[provider, SortKey::Bucket], "bx0 bx1 ax3 ay1 ay2");
    check(&[SortKey::Bucket, SortKey::EventType, SortKey::Tenant], "bx0 ay1 bx1 ay2 ax3");
    assert!(accumulator.row(5).is_none());
}

#[test]
fn values_longer_than_255_bytes_are_cut_between_characters() {
    for (length, kept) in [(254, 254), (255, 255), (256, 255), (100_000, 255)] {
        let mut accumulator = Accumulator::full();
        let mut values = values("");
        values[Dimension::Campaign as usize] = Cow::Owned("x".repeat(length));
        values[Dimension::Segment as usize] = Cow::Owned("ä".repeat(length));
        accumulator.count(
            "acme",
            &values,
            &recipient("d", "p"),
            &event(EventKind::Send, 0),
            RecipientHash(0),
        );
        let (key, _) = accumulator.rows().next().unwrap();
        assert_eq!(key.value(Dimension::Campaign).len(), kept);
        assert_eq!(key.value(Dimension::Segment).len(), 254);
    }
}

#[test]
fn block_of_a_flood_collapses_to_the_limit() {
    let mut accumulator = Accumulator::full();
    for number in 0..2 * Block::MAX_KEYS {
        let recipient = RecipientValues {
            domain: Cow::Owned(format!("{number}.example")),
            provider: "other",
            simulator: false,
        };
        accumulator.count("acme", &values("a"), &recipient, &event(EventKind::Send, 0), RecipientHash(0));
    }
    let (_, block) = accumulator.into_blocks().remove(0);
    assert_eq!(block.cells.keys.len(), Block::MAX_KEYS);
    assert_eq!(block.events(), 2 * Block::MAX_KEYS as u64);
    assert_eq!(contents(&block).len(), Block::MAX_KEYS + 1);
}

#[test]
fn cell_takes_at_most_80_bytes() {
    assert!(size_of::<Cell>() <= 80, "{}", size_of::<Cell>());
    assert!(size_of::<(CellKey, Cell)>() <= 96, "{}", size_of::<(CellKey, Cell)>());
}

#[test]
fn empty_accumulator_has_no_rows_and_no_blocks() {
    let mut accumulator = Accumulator::full();
    accumulator.merge(Accumulator::full());
    assert_eq!(accumulator.rows().len(), 0);
    assert!(accumulator.sorted(&[SortKey::Tenant]).is_empty());
    assert!(accumulator.row(0).is_none());
    assert!(accumulator.into_blocks().is_empty());
}

#[test]
fn one_event_gives_one_block_with_a_cell_and_a_cohort() {
    let mut accumulator = Accumulator::full();
    let event = event(EventKind::Send, 0);
    accumulator.count("acme", &values("a"), &recipient("d", "p"), &event, RecipientHash(0));
    let blocks = accumulator.into_blocks();
    let [(tenant, block)] = blocks.as_slice() else { panic!("one block") };
    assert_eq!((tenant.as_str(), block.events(), block.row_count()), ("acme", 1, 2));
}

#[test]
fn outcome_before_its_sending_belongs_to_the_minute_of_sending() {
    // The clock that reports the outcome runs ten minutes behind.
    let mut accumulator = Accumulator::full();
    let event = event(EventKind::Delivery { processing_ms: None }, -10);
    accumulator.count("acme", &values("a"), &recipient("d", "p"), &event, RecipientHash(0));
    let (_, block) = accumulator.into_blocks().remove(0);
    assert_eq!(block.cells.rows[0].bucket.0, SENT.minute().0 - 10);
    assert_eq!(block.cohorts.rows[0].bucket, SENT.minute());
    assert!(block.late_cohorts.rows.is_empty());
}

#[test]
fn invalid_tenant_names_share_the_block_of_the_unassigned() {
    let mut accumulator = Accumulator::full();
    for tenant in ["not a tenant", "", "also/not", TenantId::UNASSIGNED] {
        let event = event(EventKind::Send, 0);
        accumulator.count(tenant, &values("a"), &recipient("d", "p"), &event, RecipientHash(0));
    }
    let blocks = accumulator.into_blocks();
    let [(tenant, block)] = blocks.as_slice() else { panic!("one block") };
    assert_eq!((tenant, block.events()), (&TenantId::unassigned(), 4));
}

#[test]
fn grouping_by_a_single_dimension_leaves_the_others_empty() {
    for dimension in Dimension::ALL {
        let dimensions = Dimension::ALL.map(|other| other == dimension);
        let grouping = Grouping { tenant: false, bucket: None, dimensions, event_type: false };
        let mut accumulator = Accumulator::new(grouping);
        let mut values = values("");
        for (value, other) in values.iter_mut().zip(Dimension::ALL) {
            *value = Cow::Borrowed(other.name());
        }
        let recipient = recipient(Dimension::RecipientDomain.name(), Dimension::Provider.name());
        accumulator.count("acme", &values, &recipient, &event(EventKind::Send, 0), RecipientHash(0));
        let (key, _) = accumulator.rows().next().unwrap();
        for other in Dimension::ALL {
            let expected = if other == dimension { dimension.name() } else { "" };
            assert_eq!(key.value(other), expected, "{other:?} of {dimension:?}");
        }
    }
}
