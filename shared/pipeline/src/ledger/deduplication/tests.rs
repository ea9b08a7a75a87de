//! The window against a plain list, what tenants keep of it, and what a process that starts reads.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::ledger::receipt::{DeltaEntry, Receipt};
use crate::memory::MemoryStore;

const START: Timestamp = Timestamp::from_millis(1_763_000_000_000);

/// Spreads irregularly over all bits, as a keyed hash does (`SplitMix64`). A mere multiple would spread so evenly that the hash table never
/// fills up with marks of removed places.
fn identity(number: u64) -> IdentityHash {
    let mut hash = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    IdentityHash(hash ^ hash >> 31)
}

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

/// The moment at which the event with this number arrives: one a second.
fn arrival(number: u64) -> Timestamp {
    START.plus_millis(i64::try_from(number).unwrap() * 1_000)
}

fn count(window: &mut DeduplicationWindow, tenant: &TenantId, number: u64) {
    let identities = &[identity(number)];
    window.extend([TenantIdentities { tenant, identities }], arrival(number), None);
}

fn held(window: &DeduplicationWindow, numbers: std::ops::Range<u64>) -> Vec<u64> {
    numbers.filter(|&number| window.contains(identity(number))).collect()
}

#[test]
fn oldest_identity_leaves_a_full_window() {
    let mut window = DeduplicationWindow::with_limit(100);
    for number in 0..250_u64 {
        count(&mut window, &tenant("acme"), number);
        let expected: Vec<u64> = ((number + 1).saturating_sub(100)..=number).collect();
        assert_eq!(held(&window, 0..number + 1), expected);
        let forgotten = (number + 1).checked_sub(101).map(arrival);
        assert_eq!(window.reach(&tenant("acme")), forgotten);
    }
}

#[test]
fn tenant_that_sends_much_does_not_push_out_the_events_of_another() {
    for limit in [100, 12_800] {
        let mut window = DeduplicationWindow::with_limit(limit);
        let (quiet, busy) = (tenant("quiet"), tenant("busy"));
        for number in 0..10 {
            count(&mut window, &quiet, number);
        }
        for number in 10..200_000 {
            count(&mut window, &busy, number);
        }
        assert_eq!(held(&window, 0..10), (0..10).collect::<Vec<_>>());
        assert_eq!(window.reach(&quiet), None);
        let since = window.reach(&busy).unwrap();
        let expected: Vec<u64> = (10..200_000).filter(|&number| arrival(number) > since).collect();
        assert_eq!(held(&window, 10..200_000), expected);
        assert!(expected.len() >= limit as usize * 8 / 10, "{}", expected.len());
    }
}

proptest! {
    #[test]
    fn tenant_keeps_its_newest_events_and_at_least_its_share(
        limit in 2..40_u32, events in prop::collection::vec((0..4_usize, 0..60_u64), 0..300),
    ) {
        let names = ["a", "b", "c", "d"].map(tenant);
        let mut window = DeduplicationWindow::with_limit(limit);
        let mut counted: BTreeMap<usize, Vec<(u64, Timestamp)>> = BTreeMap::new();
        for (at, (name, number)) in events.into_iter().enumerate() {
            // An event is of one tenant.
            let number = number * 4 + name as u64;
            if !window.contains(identity(number)) {
                let at = arrival(at as u64);
                let counted = counted.entry(name).or_default();
                // One that was forgotten and is counted again.
                counted.retain(|(known, _)| *known != number);
                counted.push((number, at));
                let identities = &[identity(number)];
                window.extend([TenantIdentities { tenant: &names[name], identities }], at, None);
            }
            for (name, counted) in &counted {
                let reach = window.reach(&names[*name]);
                let is_held = |(number, _): &&(u64, Timestamp)| window.contains(identity(*number));
                let held = counted.iter().filter(is_held).count();
                // Exactly the newest ones.
                for (number, _) in counted.iter().rev().take(held) {
                    prop_assert!(window.contains(identity(*number)));
                }
                for (number, at) in counted.iter().filter(|(_, at)| Some(*at) > reach) {
                    prop_assert!(window.contains(identity(*number)), "{at:?} is after {reach:?}");
                }
                let least = (limit / 4) as usize;
                prop_assert!(held >= least.min(counted.len()), "{held} of {least}");
            }
            let counted: usize = counted.values().map(Vec::len).sum();
            prop_assert_eq!(window.places.len(), counted.min(limit as usize));
        }
    }
}

#[test]
fn window_of_one_holds_the_newest_identity() {
    let mut window = DeduplicationWindow::with_limit(0);
    for number in 1..5 {
        let tenant = tenant(if number % 2 == 0 { "a" } else { "b" });
        count(&mut window, &tenant, number);
        count(&mut window, &tenant, number);
        assert_eq!(held(&window, 0..10), [number]);
    }
    // A tenant that holds nothing is bounded by what was forgotten of all such tenants.
    assert_eq!(window.reach(&tenant("c")), Some(arrival(3)));
}

#[test]
fn full_window_takes_no_more_than_its_documented_megabytes() {
    let mut window = DeduplicationWindow::default();
    let tenants: Vec<TenantId> = (0..2_000).map(|number| tenant(&format!("tenant-{number}"))).collect();
    for number in 0..2_000_000_u64 {
        // Half of all events are the first tenant's.
        let tenant = &tenants[usize::try_from(number % 2 * (number / 2 % 2_000)).unwrap()];
        count(&mut window, tenant, number);
    }
    let places = window.places.len();
    assert!(places >= DeduplicationWindow::MAX_IDENTITIES as usize * 9 / 10, "{places}");
    let chunks: usize = window.shares.iter().map(|share| share.chunks.capacity()).sum();
    let bytes = window.places.allocation_size()
        + window.identities.capacity() * size_of::<IdentityHash>()
        + window.shares.capacity() * size_of::<Share>()
        + window.by_tenant.capacity() * (size_of::<(TenantId, u32)>() + 1)
        + chunks * size_of::<Chunk>();
    assert!(bytes <= 14_000_000, "{bytes}");
}

/// Stores receipts of batches 10, 20, ... that count one event each, of the same number.
async fn store_with_receipts(batches: u64) -> (MemoryStore, ShardId) {
    let (store, shard) = (MemoryStore::new(), ShardId::new("shard-1").unwrap());
    for first in (1..=batches).map(|batch| 10 * batch) {
        store_receipt(&store, &shard, first, arrival(first), &[("acme", &[first])]).await;
    }
    (store, shard)
}

async fn store_receipt(
    store: &MemoryStore,
    shard: &ShardId,
    first: u64,
    arrived_at: Timestamp,
    counted: &[(&str, &[u64])],
) {
    let delta = |(name, numbers): &(&str, &[u64])| DeltaEntry {
        tenant: tenant(name),
        parts: 1,
        bytes: 9,
        identities: u32::try_from(numbers.len()).unwrap(),
    };
    let receipt = Receipt {
        arrived_at,
        deltas: counted.iter().map(delta).collect(),
        identities: counted
            .iter()
            .flat_map(|(_, numbers)| *numbers)
            .map(|number| identity(*number))
            .collect(),
        ..Receipt::default()
    };
    let expires_at = Timestamp::from_millis(i64::MAX);
    store.put(receipt.items(shard, &SequenceNumber::from(first), expires_at)).await.unwrap();
}

async fn held_after_catching_up(window: &mut DeduplicationWindow, committed: Option<u64>) -> Vec<u64> {
    let (store, shard) = store_with_receipts(5).await;
    window.catch_up(&store, &shard, committed.map(SequenceNumber::from).as_ref()).await.unwrap();
    held(window, 1..51)
}

#[tokio::test]
async fn window_catches_up_with_receipts_and_starts_over_when_the_store_was_set_back() {
    let mut window = DeduplicationWindow::with_limit(3);
    for (committed, expected) in [
        (None, &[][..]),
        (Some(20), &[10, 20]),
        (Some(20), &[10, 20]),
        (Some(50), &[30, 40, 50]),
        (Some(30), &[10, 20, 30]),
        (None, &[]),
    ] {
        assert_eq!(held_after_catching_up(&mut window, committed).await, expected, "{committed:?}");
    }
}

#[tokio::test]
async fn process_that_starts_reads_a_quarter_of_an_hour_for_the_tenants_that_send_little() {
    let (store, shard) = (MemoryStore::new(), ShardId::new("shard-1").unwrap());
    let minute = |number: u64| START.plus_millis(i64::try_from(number).unwrap() * 60_000);
    // A batch a minute: one event of a quiet tenant at first, and eight of a busy one each time.
    for first in 1..=20_u64 {
        let busy: Vec<u64> = (100 * first..100 * first + 8).collect();
        let quiet = [first];
        let mut counted: Vec<(&str, &[u64])> = vec![("busy", &busy)];
        if first <= 8 {
            counted.push(("quiet", &quiet));
        }
        store_receipt(&store, &shard, first, minute(first), &counted).await;
    }
    // Room for five minutes, and so for a quarter of an hour to be read.
    let mut window = DeduplicationWindow::with_limit(40);
    window.catch_up(&store, &shard, Some(&SequenceNumber::from(20))).await.unwrap();
    // Of the quarter of an hour before the newest event, and the batch before that.
    assert_eq!(held(&window, 0..20), [4, 5, 6, 7, 8]);
    assert_eq!(window.reach(&tenant("quiet")), Some(minute(4)));
    assert_eq!(window.reach(&tenant("busy")), Some(minute(16)));
    // No more than a multiple of what fits, however short that time is.
    let mut small = DeduplicationWindow::with_limit(10);
    small.catch_up(&store, &shard, Some(&SequenceNumber::from(20))).await.unwrap();
    assert_eq!(small.reach(&tenant("quiet")), Some(minute(16)));
}
