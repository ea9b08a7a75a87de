//! Where events are counted, and that dividing the work changes nothing.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use event::provider::evidence::ProviderEvidence;
use event::{BounceClass, EventType, TenantId};
use proptest::prelude::*;

use super::increments::tests::{SENT, event, event_kinds};
use super::*;
use crate::block::{Block, Projection, RowSource as _};
use crate::counter::{Counter, CounterId};

use crate::testing::contents;

fn values(campaign: &'static str) -> DimensionValues<'static> {
    let mut values = [const { Cow::Borrowed(Dimension::NONE) }; Dimension::COUNT];
    values[Dimension::Campaign as usize] = Cow::Borrowed(campaign);
    values
}

fn recipient(domain: &'static str, provider: &'static str) -> RecipientDimensions<'static> {
    RecipientDimensions {
        domain: Cow::Borrowed(domain),
        provider: RecipientProvider::Known(provider),
        simulator: false,
    }
}

/// One of many events with so few values that keys repeat.
#[derive(Clone, Debug)]
struct TestEvent {
    tenant: &'static str,
    campaign: &'static str,
    recipient: RecipientDimensions<'static>,
    kind: usize,
    minutes_later: i64,
    hash: u64,
}

fn test_events() -> impl Strategy<Value = Vec<TestEvent>> {
    let one = (0..3_usize, 0..3_usize, 0..4_usize, 0..event_kinds().len(), 0..900_i64, 0..9_u64).prop_map(
        |(tenant, campaign, domain, kind, minutes_later, hash)| TestEvent {
            tenant: ["acme", "globex", "not a tenant"][tenant],
            campaign: ["spring", "(none)", "acme"][campaign],
            recipient: [
                recipient("a.example", "gmail"),
                recipient("b.example", "gmail"),
                recipient("a.example", "yahoo"),
                RecipientDimensions { simulator: true, ..recipient("simulator.example", "other") },
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

/// Counts like [`count`], but decides who clicked at the end, in another order.
fn count_and_decide_later(accumulator: &mut Accumulator, events: &[TestEvent]) {
    let mut open = Vec::new();
    for one in events {
        let event = event(event_kinds()[one.kind].clone(), one.minutes_later);
        let values = values(one.campaign);
        open.push(accumulator.count_click(
            one.tenant,
            &values,
            &one.recipient,
            &event,
            RecipientHash(one.hash),
            None,
        ));
    }
    for click in open.iter().rev() {
        accumulator.decide_click(click, ClickDecision::Person);
    }
}

proptest! {
    #[test]
    fn clicks_decided_later_count_as_if_decided_at_once(events in test_events()) {
        let mut later = Accumulator::full();
        count_and_decide_later(&mut later, &events);
        prop_assert_eq!(sorted_rows(&later), sorted_rows(&full(&events)));
        let blocks = |accumulator: Accumulator| accumulator.into_blocks().into_iter().map(|(_, block)| contents(&block)).collect::<Vec<_>>();
        prop_assert_eq!(blocks(later), blocks(full(&events)));
    }
}

/// Counts the clicks of `events` by link, one of two for each, and decides later which of those left open are machines'.
fn count_links(events: &[TestEvent]) -> Accumulator {
    let mut accumulator = Accumulator::full();
    let mut counted = Vec::new();
    for one in events {
        let event = event(event_kinds()[one.kind].clone(), one.minutes_later);
        let (values, hash) = (values(one.campaign), RecipientHash(one.hash));
        if matches!(event.event_type, EventType::Click(_)) {
            let link = link_of(one);
            let click =
                accumulator.count_click(one.tenant, &values, &one.recipient, &event, hash, Some(link));
            let is_machine = one.minutes_later % 2 == 0;
            counted.push((click, if is_machine { ClickDecision::Machine } else { ClickDecision::Person }));
        } else {
            accumulator.count(one.tenant, &values, &one.recipient, &event, hash);
        }
    }
    for (click, decision) in counted.iter().rev() {
        accumulator.decide_click(click, *decision);
    }
    accumulator
}

fn link_of(one: &TestEvent) -> &'static str {
    // The hashes of test events are small numbers in the upper half.
    if (one.hash >> 32).is_multiple_of(2) { "shop.example/" } else { "(none)" }
}

proptest! {
    #[test]
    fn clicks_by_link_add_up_to_those_of_the_cells(events in test_events(), cut: prop::sample::Index) {
        let (a, b) = events.split_at(cut.index(events.len() + 1));
        let mut merged = count_links(a);
        merged.merge(count_links(b));
        let blocks = merged.into_blocks();
        prop_assert_eq!(&blocks, &count_links(&events).into_blocks());
        for (_, block) in blocks {
            let mut sums: BTreeMap<(&str, Minute), [u64; 2]> = BTreeMap::new();
            for row in block.links() {
                let [clicks, bot] = sums.entry((row.campaign, row.bucket)).or_default();
                (*clicks, *bot) = (*clicks + row.clicks, *bot + row.clicks_bot);
            }
            let mut expected: BTreeMap<(&str, Minute), [u64; 2]> = BTreeMap::new();
            block.scan_cells(&Projection::ALL, Minute(0), Minute(u32::MAX), &mut |row| {
                let counts = [Counter::Clicks, Counter::ClicksBot].map(|counter| row.counters.get(counter));
                if counts != [0, 0] {
                    let campaign = block.key_value(row.key, Dimension::Campaign);
                    let [clicks, bot] = expected.entry((campaign, row.bucket)).or_default();
                    (*clicks, *bot) = (*clicks + counts[0], *bot + counts[1]);
                }
            }).unwrap();
            prop_assert_eq!(sums, expected);
        }
    }
}

#[test]
fn links_are_counted_under_any_grouping_but_only_if_asked_for() {
    let grouping =
        Grouping { tenant: false, bucket: None, dimensions: [false; Dimension::COUNT], event_type: false };
    let person = event_kinds()
        .into_iter()
        .find(|kind| matches!(kind, EventType::Click(click) if !click.requester.is_machine()))
        .unwrap();
    for (mut accumulator, expected) in [
        (Accumulator::new(grouping.clone()), None),
        (Accumulator::new(grouping).with_links(), Some(("acme", "spring", "shop.example/", 1, 1))),
    ] {
        let (values, recipient, event) = (values("spring"), recipient("d", "p"), event(person.clone(), 1));
        let hash = RecipientHash(7);
        let click = accumulator.count_click("acme", &values, &recipient, &event, hash, Some("shop.example/"));
        accumulator.decide_click(&click, ClickDecision::Machine);
        let simulated = RecipientDimensions { simulator: true, ..recipient };
        accumulator.count_click("acme", &values, &simulated, &event, hash, Some("shop.example/"));
        let found: Vec<_> = accumulator
            .links()
            .map(|(tenant, row)| (tenant, row.campaign, row.link, row.clicks, row.clicks_bot))
            .collect();
        assert_eq!(found, Vec::from_iter(expected));
    }
}

#[test]
fn click_decided_to_be_a_machines_is_in_no_sketch() {
    let mut accumulator = Accumulator::full();
    let person = event_kinds()
        .into_iter()
        .find(|kind| matches!(kind, EventType::Click(click) if !click.requester.is_machine()))
        .unwrap();
    let (values, recipient) = (values("a"), recipient("d", "p"));
    let click =
        accumulator.count_click("acme", &values, &recipient, &event(person, 1), RecipientHash(7), None);
    accumulator.decide_click(&click, ClickDecision::Machine);
    for _ in 0..3 {
        accumulator.decide_click(&click, ClickDecision::ShowsSplit);
    }
    let (_, cell) = accumulator.rows().next().unwrap();
    let counted =
        [Counter::Clicks, Counter::ClicksBot, Counter::BurstsSplit].map(|counter| cell.counters.get(counter));
    assert_eq!(counted, [1, 1, 3]);
    assert_eq!(cell.clicks, Cell::default().clicks);
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
    assert_eq!(cell.counters.events(), event_kinds().len() as u64);
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
fn late_event_is_counted_in_its_own_minute_and_in_the_quarter_hour_of_its_sending() {
    let mut accumulator = Accumulator::full();
    for minutes_later in [0, 359, 360] {
        let event = event(EventType::Delivery { processing_ms: None }, minutes_later);
        accumulator.count("acme", &values("a"), &recipient("a.example", "gmail"), &event, RecipientHash(0));
    }
    let (_, block) = accumulator.into_blocks().remove(0);
    let sent = SENT.minute();
    let minutes: Vec<u32> = block.cells.rows.iter().map(|row| row.bucket.0 - sent.0).collect();
    assert_eq!(minutes, [0, 359, 360]);
    let mut cohorts = Vec::new();
    let mut each = |row: crate::RowRef<'_>| {
        assert_eq!(block.cohort_key(row.key), ("a", "gmail"));
        cohorts.push((row.age, row.bucket));
    };
    block.scan_cohorts(&Projection::ALL, Minute(0), Minute(u32::MAX), &mut each).unwrap();
    let quarter = Minute(sent.0 / 15 * 15);
    assert_eq!(
        cohorts,
        [(AgeClass::Within1Minute, sent), (AgeClass::Within6Hours, sent), (AgeClass::Within24Hours, quarter)]
    );
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
            &event(EventType::Send, 0),
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
            &event(EventType::Send, minutes),
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
fn long_values_are_kept_whole_and_apart() {
    let mut accumulator = Accumulator::full();
    // Alike but for their ends, about the length from which a length takes more than a byte.
    let names: Vec<String> = [253, 254, 255, 256, 1000]
        .into_iter()
        .flat_map(|length| ["a", "b"].map(|end| format!("{}{end}", "x".repeat(length - 1))))
        .collect();
    for name in &names {
        let mut values: DimensionValues<'_> = values("");
        values[Dimension::Campaign as usize] = Cow::Borrowed(name);
        values[Dimension::Segment as usize] = Cow::Borrowed(name);
        accumulator.count(
            "acme",
            &values,
            &recipient("d", "p"),
            &event(EventType::Send, 0),
            RecipientHash(0),
        );
    }
    let found: Vec<&str> = accumulator.rows().map(|(key, _)| key.value(Dimension::Campaign)).collect();
    assert_eq!(found, names);
    let (_, block) = accumulator.into_blocks().pop().unwrap();
    let stored = (0..block.key_count()).map(|key| block.key_value(key, Dimension::Segment));
    assert!(stored.eq(names.iter().collect::<std::collections::BTreeSet<_>>()));
}

#[test]
fn repeated_delay_is_a_delay_that_is_marked_in_both_clocks() {
    let delay = || event(EventType::Delay { class: BounceClass::MailboxFull }, 3);
    let mut accumulator = Accumulator::full();
    let (values, to) = (values("a"), recipient("d", "p"));
    accumulator.count("acme", &values, &to, &delay(), RecipientHash(0));
    accumulator.count_repeated_delay("acme", &values, &to, &delay());
    let simulator = RecipientDimensions { simulator: true, ..to.clone() };
    accumulator.count_repeated_delay("acme", &values, &simulator, &delay());
    let check = |cell: &Cell| {
        for (counter, expected) in [
            (CounterId::from(Counter::Delays), 2),
            (Counter::DelaysRepeated.into(), 1),
            (CounterId::delays_for(BounceClass::MailboxFull), 2),
            (Counter::Simulator.into(), 1),
        ] {
            assert_eq!(cell.counters.get(counter), expected, "{counter:?}");
        }
        // The mark is a part of the delays and proves no further event.
        assert_eq!(cell.counters.events(), 3);
    };
    check(accumulator.rows().next().unwrap().1);
    let (_, block) = accumulator.into_blocks().pop().unwrap();
    let mut cohort = Cell::default();
    let mut add = |row: crate::block::RowRef<'_>| {
        for (counter, count) in row.counters.iter() {
            cohort.counters.add(counter, count);
        }
    };
    block.scan_cohorts(&Projection::ALL, Minute(0), Minute(u32::MAX), &mut add).unwrap();
    check(&cohort);
}

#[test]
fn delay_that_turns_out_to_be_a_repeated_one_is_marked_in_its_row() {
    let grouping = Grouping {
        tenant: true,
        bucket: Some(Resolution::Minute),
        dimensions: [true; Dimension::COUNT],
        event_type: true,
    };
    let mut accumulator = Accumulator::new(grouping);
    let (values, to) = (values("a"), recipient("d", "p"));
    let mut rows = Vec::new();
    for minutes in [1, 2, 1] {
        let delay = event(EventType::Delay { class: BounceClass::MailboxFull }, minutes);
        rows.push(accumulator.count_delay("acme", &values, &to, &delay));
    }
    assert_eq!(rows, [0, 1, 0]);
    accumulator.mark_repeated_delay(1);
    let counts = |counter: Counter| accumulator.rows().map(move |(_, cell)| cell.counters.get(counter));
    assert!(counts(Counter::Delays).eq([2, 1]));
    assert!(counts(Counter::DelaysRepeated).eq([0, 1]));
}

#[test]
fn block_of_a_flood_collapses_to_the_limit() {
    let mut accumulator = Accumulator::full();
    for number in 0..Block::MAX_DELTA_KEYS + 500 {
        let recipient = RecipientDimensions {
            domain: Cow::Owned(format!("{number}.example")),
            provider: RecipientProvider::Known("other"),
            simulator: false,
        };
        accumulator.count("acme", &values("a"), &recipient, &event(EventType::Send, 0), RecipientHash(0));
    }
    let (_, block) = accumulator.into_blocks().remove(0);
    assert_eq!(block.cells.keys.len(), Block::MAX_DELTA_KEYS);
    assert_eq!(block.events(), Block::MAX_DELTA_KEYS as u64 + 500);
    assert_eq!(contents(&block).len(), Block::MAX_DELTA_KEYS + 1);
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
    let event = event(EventType::Send, 0);
    accumulator.count("acme", &values("a"), &recipient("d", "p"), &event, RecipientHash(0));
    let blocks = accumulator.into_blocks();
    let [(tenant, block)] = blocks.as_slice() else { panic!("one block") };
    assert_eq!((tenant.as_str(), block.events(), block.row_count()), ("acme", 1, 2));
}

#[test]
fn event_without_a_time_of_sending_is_in_no_cohort() {
    let mut accumulator = Accumulator::full();
    let outcome = event(EventType::Delivery { processing_ms: None }, 5);
    let outcome = EmailEvent { sent_at: None, ..outcome };
    accumulator.count("acme", &values("a"), &recipient("d", "p"), &outcome, RecipientHash(0));
    let (_, block) = accumulator.into_blocks().remove(0);
    assert_eq!((block.events(), block.row_count()), (1, 1));
    assert_eq!(block.cells.rows[0].bucket.0, SENT.minute().0 + 5);
    let parts: Vec<Block> = block.encode().iter().map(|part| Block::decode(part).unwrap()).collect();
    assert_eq!(Block::merge_all(parts), Some(block));
}

#[test]
fn outcome_before_its_sending_belongs_to_the_minute_of_sending() {
    // The clock that reports the outcome runs ten minutes behind.
    let mut accumulator = Accumulator::full();
    let event = event(EventType::Delivery { processing_ms: None }, -10);
    accumulator.count("acme", &values("a"), &recipient("d", "p"), &event, RecipientHash(0));
    let (_, block) = accumulator.into_blocks().remove(0);
    assert_eq!(block.cells.rows[0].bucket.0, SENT.minute().0 - 10);
    let cohort = &block.cohorts.rows[0];
    assert_eq!((cohort.age, cohort.bucket), (AgeClass::Within1Minute, SENT.minute()));
}

#[test]
fn invalid_tenant_names_share_the_block_of_the_unassigned() {
    let mut accumulator = Accumulator::full();
    for tenant in ["not a tenant", "", "also/not", TenantId::UNASSIGNED] {
        let event = event(EventType::Send, 0);
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
        accumulator.count("acme", &values, &recipient, &event(EventType::Send, 0), RecipientHash(0));
        let (key, _) = accumulator.rows().next().unwrap();
        for other in Dimension::ALL {
            let expected = if other == dimension { dimension.name() } else { "" };
            assert_eq!(key.value(other), expected, "{other:?} of {dimension:?}");
        }
    }
}

/// A delivery to a recipient of a domain that is not fixed, with the server's answer.
fn deliver(accumulator: &mut Accumulator, tenant: &str, domain: &'static str, answer: &'static str) {
    let mut event = event(EventType::Delivery { processing_ms: None }, 1);
    event.evidence = ProviderEvidence::Answer { text: Cow::Borrowed(answer), address: Cow::Borrowed("") };
    let recipient = RecipientDimensions {
        domain: Cow::Borrowed(domain),
        provider: RecipientProvider::OfDomain,
        simulator: false,
    };
    accumulator.count(tenant, &values("spring"), &recipient, &event, RecipientHash(0));
}

const GOOGLE: &str = "250 2.0.0 OK 1764500000 x - gsmtp";
const MICROSOFT: &str = "250 2.6.0 Queued mail for delivery a.prod.outlook.com";

#[test]
fn domain_without_a_fixed_provider_is_stored_under_its_marker_with_what_answers_reveal() {
    let mut accumulator = Accumulator::full();
    for _ in 0..40 {
        deliver(&mut accumulator, "acme", "a.example", GOOGLE);
    }
    deliver(&mut accumulator, "acme", "b.example", "250 ok");
    deliver(&mut accumulator, "globex", "a.example", MICROSOFT);
    let blocks = accumulator.into_blocks();
    let [(_, acme), (_, globex)] = blocks.as_slice() else { panic!("two tenants") };
    let providers: BTreeSet<&str> = acme.cells.keys.iter().map(|key| acme.value(key[4])).collect();
    assert_eq!(providers, BTreeSet::from(["?a.example", "?b.example"]));
    let cohorts: BTreeSet<&str> = (0..acme.cohort_count()).map(|key| acme.cohort_key(key).1).collect();
    assert_eq!(cohorts, providers);
    // More outcomes than a full lead teach nothing, so they are not even searched.
    assert_eq!(acme.evidence().iter().collect::<Vec<_>>(), [("a.example", "google-workspace", 16)]);
    assert_eq!(globex.evidence().iter().collect::<Vec<_>>(), [("a.example", "microsoft-365", 1)]);
    // Evidence is a part of what is stored.
    let decoded = Block::merge_all(acme.encode().iter().map(|part| Block::decode(part).unwrap())).unwrap();
    assert_eq!(decoded, *acme);
}

#[test]
fn rows_of_domains_that_share_a_provider_are_added_up_once_it_is_known() {
    let grouping = Grouping { tenant: true, ..by_provider() };
    let mut accumulator = Accumulator::new(grouping);
    deliver(&mut accumulator, "acme", "a.example", "250 ok");
    deliver(&mut accumulator, "acme", "a.example", GOOGLE);
    deliver(&mut accumulator, "acme", "b.example", GOOGLE);
    deliver(&mut accumulator, "acme", "c.example", "250 ok");
    // A tenant's own evidence wins, and it has none about the domain that only one other tenant knows.
    deliver(&mut accumulator, "globex", "a.example", MICROSOFT);
    deliver(&mut accumulator, "globex", "b.example", "250 ok");
    // Two tenants agree, so the third one need not know.
    deliver(&mut accumulator, "initech", "b.example", GOOGLE);
    accumulator.resolve_providers();
    let rows: BTreeMap<(&str, &str), u64> = accumulator
        .rows()
        .map(|(key, cell)| {
            ((key.tenant, key.value(Dimension::Provider)), cell.counters.get(Counter::Deliveries))
        })
        .collect();
    let expected = [
        (("acme", "google-workspace"), 3),
        (("acme", "other"), 1),
        (("globex", "google-workspace"), 1),
        (("globex", "microsoft-365"), 1),
        (("initech", "google-workspace"), 1),
    ];
    assert_eq!(rows, BTreeMap::from(expected));
}

#[test]
fn evidence_of_several_accumulators_is_put_together() {
    let (mut one, mut other) = (Accumulator::new(by_provider()), Accumulator::new(by_provider()));
    deliver(&mut one, "acme", "a.example", "250 ok");
    deliver(&mut other, "acme", "z.example", "250 ok");
    deliver(&mut other, "acme", "a.example", GOOGLE);
    one.merge(other);
    one.resolve_providers();
    let rows: BTreeMap<&str, u64> = one
        .rows()
        .map(|(key, cell)| (key.value(Dimension::Provider), cell.counters.get(Counter::Deliveries)))
        .collect();
    assert_eq!(rows, BTreeMap::from([("google-workspace", 2), ("other", 1)]));
}

fn by_provider() -> Grouping {
    let dimensions = Dimension::ALL.map(|dimension| dimension == Dimension::Provider);
    Grouping { tenant: false, bucket: None, dimensions, event_type: false }
}
