//! Deliberate breaks of the protocol: each bends one step of it, and the simulation must notice.
//!
//! They act on the calls between an actor and the store, so that the protocol itself has no switch that could be left on.

use std::collections::BTreeMap;

use event::Timestamp;

use super::world::{Call, Reply, Role, World};
use crate::history::manifest::Manifest;
use crate::layout;
use crate::ledger::checkpoint::Cursor;
use crate::memory::Items;
use crate::ports::{Item, Key, Page};

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// What a dead try may have written is not removed.
    LeftoversKept,
    /// A dead try's batch in flight is forgotten instead of cleaned up.
    InFlightForgotten,
    /// The receipt, by which the others are known, is removed before them.
    ReceiptRemovedFirst,
    /// The receipt is written after the deltas.
    ReceiptAfterDeltas,
    /// The cursor moves before the deltas are there.
    CursorBeforeDeltas,
    /// Records that are done are counted again.
    DoneNotSkipped,
    /// A lease of another try is ignored.
    LeaseIgnored,
    /// After a failure the lease ends at once, though writes may still land.
    LeaseEndedAtOnce,
    /// A try goes on writing after its deadline.
    DeadlineIgnored,
    /// Conditional writes happen whatever is there.
    ConflictIgnored,
    /// A process that starts does not read back which events were counted.
    MemoryNotRead,
    /// A reader takes the deltas before the cursors.
    DeltasBeforeCursors,
    /// Merged deltas are removed as soon as the manifest has moved.
    MergedDeltasRemoved,
    /// All compactions write under the same keys.
    BlocksInPlace,
    /// What an attempt wrote is swept while it may be at work.
    GraceIgnored,
    /// A compaction moves the manifest however long it took.
    BudgetIgnored,
}

impl Break {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::LeftoversKept,
        Self::InFlightForgotten,
        Self::ReceiptRemovedFirst,
        Self::ReceiptAfterDeltas,
        Self::CursorBeforeDeltas,
        Self::DoneNotSkipped,
        Self::LeaseIgnored,
        Self::LeaseEndedAtOnce,
        Self::DeadlineIgnored,
        Self::ConflictIgnored,
        Self::MemoryNotRead,
        Self::DeltasBeforeCursors,
        Self::MergedDeltasRemoved,
        Self::BlocksInPlace,
        Self::GraceIgnored,
        Self::BudgetIgnored,
    ];
}

/// What breaks remember between calls, by actor.
#[derive(Default)]
pub(super) struct Memory {
    held: BTreeMap<usize, Vec<Item>>,
    leases: BTreeMap<usize, Timestamp>,
    /// The store as it was when a reader began.
    pub(super) earlier: BTreeMap<usize, Items>,
}

/// Bends a call before it acts.
pub(super) fn before(world: &mut World, broken: Break, actor: usize, role: Role, call: Call) -> Call {
    if role != Role::Aggregate {
        return call;
    }
    match (broken, call) {
        (Break::LeftoversKept, Call::Delete(_)) => Call::Delete(Vec::new()),
        (Break::CursorBeforeDeltas, Call::Put(items)) => hold(world, actor, items, is_delta),
        (Break::ReceiptAfterDeltas, Call::Put(items)) => hold(world, actor, items, is_receipt),
        (Break::ReceiptAfterDeltas, Call::PutIf(item, expected)) => {
            let held = world.sabotage.held.remove(&actor).unwrap_or_default();
            world.act(actor, Call::Put(held));
            Call::PutIf(item, expected)
        }
        (Break::LeaseEndedAtOnce, Call::PutIf(item, expected)) => {
            Call::PutIf(end_lease(world, actor, item), expected)
        }
        (_, call) => call,
    }
}

/// Bends a reply after the call has acted.
pub(super) fn after(
    world: &mut World,
    broken: Break,
    actor: usize,
    role: Role,
    asked: &Call,
    reply: Reply,
) -> Reply {
    match (broken, role, asked) {
        (Break::CursorBeforeDeltas, Role::Aggregate, Call::PutIf(..)) if matches!(reply, Reply::Done) => {
            if cursor_of(asked).is_some_and(|cursor| cursor.in_flight.is_none()) {
                let held = world.sabotage.held.remove(&actor).unwrap_or_default();
                world.later(actor, world.now, Call::Put(held));
            }
            reply
        }
        (
            Break::InFlightForgotten | Break::LeaseIgnored | Break::DoneNotSkipped,
            Role::Aggregate,
            Call::Get(_),
        ) => bend_cursor(reply, broken, world.now),
        (Break::ReceiptRemovedFirst, Role::Aggregate, Call::Get(keys)) => {
            for key in keys.iter().filter(|key| is_receipt(key)) {
                world.items.delete(key);
            }
            reply
        }
        (Break::MemoryNotRead, Role::Aggregate, Call::Range(range)) if range.partition.starts_with("r#") => {
            Reply::Page(Page::default())
        }
        (Break::DeltasBeforeCursors, Role::Read, Call::Range(range)) if range.partition.contains("#d#") => {
            world.sabotage.earlier.get(&actor).map_or(reply, |items| Reply::Page(items.range(range)))
        }
        (Break::MergedDeltasRemoved, Role::Compact, Call::PutIf(item, _)) if matches!(reply, Reply::Done) => {
            remove_merged(world, item);
            reply
        }
        _ => reply,
    }
}

fn hold(world: &mut World, actor: usize, items: Vec<Item>, which: impl Fn(&Key) -> bool) -> Call {
    let (held, passed): (Vec<Item>, Vec<Item>) = items.into_iter().partition(|item| which(&item.key));
    world.sabotage.held.entry(actor).or_default().extend(held);
    Call::Put(passed)
}

fn end_lease(world: &mut World, actor: usize, mut item: Item) -> Item {
    if let Ok(mut cursor) = Cursor::decode(&item.body)
        && let Some(batch) = &mut cursor.in_flight
    {
        let first = *world.sabotage.leases.entry(actor).or_insert(batch.lease_until);
        if batch.lease_until < first {
            batch.lease_until = Timestamp::default();
            item.body = cursor.encode();
        }
    }
    item
}

fn bend_cursor(reply: Reply, broken: Break, now: i64) -> Reply {
    let Reply::Items(mut items) = reply else { return reply };
    for item in items.iter_mut().flatten().filter(|item| item.key.partition == layout::CHECKPOINTS) {
        let Ok(mut cursor) = Cursor::decode(&item.body) else { continue };
        match broken {
            Break::DoneNotSkipped => cursor.done = None,
            Break::InFlightForgotten => {
                cursor.in_flight = cursor.in_flight.filter(|batch| now < batch.lease_until.millis());
            }
            _ => {
                if let Some(batch) = &mut cursor.in_flight {
                    batch.lease_until = Timestamp::default();
                }
            }
        }
        item.body = cursor.encode();
    }
    Reply::Items(items)
}

fn remove_merged(world: &mut World, manifest: &Item) {
    let Ok(moved) = Manifest::decode(&manifest.body) else { return };
    let prefix = manifest.key.partition.trim_end_matches('m');
    let mut merged = Vec::new();
    for item in world.items.iter() {
        let shard = item.key.partition.strip_prefix(prefix).and_then(|rest| rest.strip_prefix("d#"));
        let frontier = shard.and_then(|shard| moved.frontier.iter().find(|(id, _)| id.as_str() == shard));
        if frontier.is_some_and(|(_, number)| layout::first_of_batch(&item.key).as_ref() <= Some(number)) {
            merged.push(item.key.clone());
        }
    }
    for key in &merged {
        world.items.delete(key);
    }
}

fn cursor_of(call: &Call) -> Option<Cursor> {
    match call {
        Call::PutIf(item, _) => Cursor::decode(&item.body).ok(),
        Call::Get(_) | Call::Range(_) | Call::Put(_) | Call::Delete(_) => None,
    }
}

fn is_receipt(key: &Key) -> bool {
    key.partition.starts_with("r#")
}

fn is_delta(key: &Key) -> bool {
    key.partition.contains("#d#")
}
