//! Bursts against a plain comparison of all pairs, and the limits of the memory.

use std::borrow::Cow;

use proptest::prelude::*;

use super::*;
use crate::event::Interaction;
use crate::tags::Tags;

const KEY: HashKey = HashKey::new([3; 16]);

fn click(message: u64, at: i64, link: u64) -> BurstClick {
    BurstClick { message, at: Timestamp::from_millis(at), link, by_person: true }
}

/// Which of the clicks are of a burst, in the order of the list.
fn in_burst(clicks: &[BurstClick]) -> Vec<bool> {
    let mut numbered: Vec<(BurstClick, usize)> =
        clicks.iter().enumerate().map(|(n, click)| (*click, n)).collect();
    numbered.sort_unstable();
    let found = are_in_bursts(&numbered, |(click, _)| *click);
    let mut result = vec![false; clicks.len()];
    numbered.iter().zip(found).for_each(|((_, number), is_in)| result[*number] = is_in);
    result
}

fn event<'a>(link: Option<&'a str>, ip_address: &'a str, requester: Requester) -> EmailEvent<'a> {
    let click = Interaction {
        link: link.map(Cow::Borrowed),
        link_tags: Tags::default(),
        user_agent: Cow::Borrowed("agent"),
        ip_address: Cow::Borrowed(ip_address),
        requester,
    };
    EmailEvent {
        event_type: EventType::Click(click),
        at: Timestamp::from_millis(7_000),
        sent_at: Some(Timestamp::from_millis(1_000)),
        message_id: Cow::Borrowed("m1"),
        recipients: SmallVec::new(),
        destinations: SmallVec::new(),
        destination_count: 1,
        source: Cow::Borrowed("a@shop.example"),
        sending_account: None,
        source_arn: None,
        evidence: crate::provider::evidence::ProviderEvidence::Absent,
        tags: Tags::default(),
    }
}

#[test]
fn different_links_within_two_seconds_are_a_burst() {
    for (clicks, expected) in [
        (vec![click(1, 0, 1)], vec![false]),
        (vec![click(1, 0, 1), click(1, 2_000, 2)], vec![true, true]),
        (vec![click(1, 0, 1), click(1, 2_001, 2)], vec![false, false]),
        (vec![click(1, 0, 1), click(1, 0, 2)], vec![true, true]),
        (vec![click(1, 0, 1), click(1, 100, 1)], vec![false, false]),
        (vec![click(1, 0, 1), click(2, 100, 2)], vec![false, false]),
        (vec![click(1, 4_000, 3), click(1, 0, 1), click(1, 2_000, 2)], vec![true, true, true]),
        (vec![click(1, 0, 1), click(1, 1_000, 1), click(1, 3_000, 2)], vec![false, true, true]),
        (vec![], vec![]),
    ] {
        assert_eq!(in_burst(&clicks), expected, "{clicks:?}");
    }
}

#[test]
fn what_ses_says_was_hardly_a_machine_takes_no_part_in_bursts() {
    let of = |requester| BurstClick::of(&event(Some("https://shop.example/"), "::1", requester), &KEY);
    assert_eq!(of(Requester::ConfirmedPerson), None);
    assert!(of(Requester::Person).unwrap().is_by_person());
    assert!(!of(Requester::Machine("bot")).unwrap().is_by_person());
    assert!(!of(Requester::Person).unwrap().as_machine().is_by_person());
    let open = EmailEvent { event_type: EventType::Send, ..event(None, "", Requester::Person) };
    assert_eq!(BurstClick::of(&open, &KEY), None);
    assert_eq!(BurstClick::of(&event(None, "::1", Requester::Person), &KEY), None);
}

#[test]
fn recipients_of_one_message_are_told_apart_by_the_address_of_the_request() {
    let of = |destination_count, ip_address| {
        let event = event(Some("https://shop.example/"), ip_address, Requester::Person);
        BurstClick::of(&EmailEvent { destination_count, ..event }, &KEY).unwrap().message
    };
    assert_eq!(of(1, "192.0.2.1"), of(1, "192.0.2.2"));
    assert_ne!(of(2, "192.0.2.1"), of(2, "192.0.2.2"));
    assert_eq!(of(2, "192.0.2.1"), of(3, "192.0.2.1"));
}

#[test]
fn memory_finds_the_clicks_of_a_message_and_whose_they_were_last() {
    let mut memory = ClickMemory::default();
    for remembered in [click(1, 0, 1), click(1, 5_000, 2), click(2, 0, 3), click(1, 0, 1).as_machine()] {
        memory.remember(remembered);
    }
    let of_message: Vec<&BurstClick> = memory.of_message(&click(1, 2_000, 9)).collect();
    assert_eq!(of_message, [&click(1, 0, 1).as_machine(), &click(1, 5_000, 2)]);
    assert_eq!(memory.of_message(&click(3, 0, 1)).count(), 0);
}

#[test]
fn memory_is_bounded_and_forgets_the_oldest() {
    let mut memory = ClickMemory::default();
    let held = |memory: &ClickMemory, n: usize| memory.of_message(&click(n as u64, 0, 2)).count() == 1;
    for n in 0..3 * ClickMemory::CLICKS {
        memory.remember(click(n as u64, 0, 1));
        assert!(held(&memory, n) && held(&memory, n.saturating_sub(ClickMemory::CLICKS - 1)));
    }
    assert!(!held(&memory, 0) && memory.new.clicks + memory.old.clicks <= 2 * ClickMemory::CLICKS);
}

#[test]
fn memory_of_one_message_is_bounded() {
    let mut memory = ClickMemory::default();
    for n in 0..1_000 {
        memory.remember(click(1, 0, n));
    }
    assert_eq!(memory.of_message(&click(1, 0, 0)).count(), ClickMemory::PER_MESSAGE);
}

proptest! {
    #[test]
    fn bursts_are_what_comparing_all_pairs_finds(
        clicks in prop::collection::vec((0..3_u64, 0..12_000_i64, 0..3_u64), 0..40),
    ) {
        let clicks: Vec<BurstClick> = clicks.into_iter().map(|(m, at, link)| click(m, at, link)).collect();
        let is_pair = |a: &BurstClick, b: &BurstClick| a.link != b.link && a.is_near(b);
        let expected: Vec<bool> =
            clicks.iter().map(|a| clicks.iter().any(|b| is_pair(a, b))).collect();
        prop_assert_eq!(in_burst(&clicks), expected);
    }
}
