//! Deliberate bugs in the protocol. A simulation that cannot fail proves nothing, so each bug must be noticed.
//!
//! A bug changes calls between an actor and the store, and their replies. The protocol itself has no switch that could be left on.

use std::collections::BTreeMap;

use event::Timestamp;

use super::world::{Call, Reply, Role, World};
use crate::codec::StoredRecord as _;
use crate::history::manifest::Manifest;
use crate::layout;
use crate::ledger::checkpoint::Checkpoint;
use crate::memory::Items;
use crate::ports::{Item, Key, Page};

/// A deliberate bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolBug {
    /// An attempt does not remove what a dead attempt may have written.
    LeftoversKept,
    /// An attempt forgets a dead attempt's batch in flight instead of cleaning it up.
    InFlightForgotten,
    /// The receipt is removed before the items that it lists.
    ReceiptRemovedFirst,
    /// The receipt is written after the deltas.
    ReceiptAfterDeltas,
    /// The checkpoint moves before the deltas are written.
    CheckpointBeforeDeltas,
    /// Committed records are counted again.
    CommittedNotSkipped,
    /// An attempt ignores the lease of another one.
    LeaseIgnored,
    /// After a failure the lease ends at once, although writes may still land.
    LeaseEndedAtOnce,
    /// An attempt issues writes after its deadline.
    DeadlineIgnored,
    /// Conditional writes take effect whatever is stored.
    ConflictIgnored,
    /// A process that starts does not read the deduplication window from the receipts.
    WindowNotRead,
    /// A reader reads the deltas before the checkpoints.
    DeltasBeforeCheckpoints,
    /// Merged deltas are removed as soon as the manifest has moved.
    MergedDeltasRemoved,
    /// All compactions write under the same keys.
    BlocksInPlace,
    /// Blocks of an attempt are removed while it may still be running.
    GraceIgnored,
    /// A compaction moves the manifest however long it took.
    BudgetIgnored,
}

impl ProtocolBug {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::LeftoversKept,
        Self::InFlightForgotten,
        Self::ReceiptRemovedFirst,
        Self::ReceiptAfterDeltas,
        Self::CheckpointBeforeDeltas,
        Self::CommittedNotSkipped,
        Self::LeaseIgnored,
        Self::LeaseEndedAtOnce,
        Self::DeadlineIgnored,
        Self::ConflictIgnored,
        Self::WindowNotRead,
        Self::DeltasBeforeCheckpoints,
        Self::MergedDeltasRemoved,
        Self::BlocksInPlace,
        Self::GraceIgnored,
        Self::BudgetIgnored,
    ];
}

/// What bugs keep between calls, by actor.
#[derive(Default)]
pub(super) struct BugState {
    /// Items whose write is held back.
    held: BTreeMap<usize, Vec<Item>>,
    /// The first lease of each actor.
    leases: BTreeMap<usize, Timestamp>,
    /// The store as it was when a reader began.
    pub(super) earlier: BTreeMap<usize, Items>,
}

/// Changes a call before it takes effect.
pub(super) fn before(world: &mut World, bug: ProtocolBug, actor: usize, role: Role, call: Call) -> Call {
    if role != Role::Aggregate {
        return call;
    }
    match (bug, call) {
        (ProtocolBug::LeftoversKept, Call::Delete(_)) => Call::Delete(Vec::new()),
        (ProtocolBug::CheckpointBeforeDeltas, Call::Put(items)) => hold(world, actor, items, is_delta),
        (ProtocolBug::ReceiptAfterDeltas, Call::Put(items)) => hold(world, actor, items, is_receipt),
        (ProtocolBug::ReceiptAfterDeltas, Call::PutIf(item, expected)) => {
            release(world, actor);
            Call::PutIf(item, expected)
        }
        (ProtocolBug::LeaseEndedAtOnce, Call::PutIf(item, expected)) => {
            Call::PutIf(end_lease(world, actor, item), expected)
        }
        (_, call) => call,
    }
}

/// Changes a reply after the call has taken effect.
pub(super) fn after(
    world: &mut World,
    bug: ProtocolBug,
    actor: usize,
    role: Role,
    call: &Call,
    reply: Reply,
) -> Reply {
    match (bug, role, call) {
        (ProtocolBug::CheckpointBeforeDeltas, Role::Aggregate, Call::PutIf(item, _))
            if matches!(reply, Reply::Done) =>
        {
            let ended = Checkpoint::decode(&item.body).is_ok_and(|checkpoint| checkpoint.in_flight.is_none());
            if ended && let Some(held) = world.bug_state.held.remove(&actor) {
                world.later(actor, world.now, Call::Put(held));
            }
            reply
        }
        (
            ProtocolBug::InFlightForgotten | ProtocolBug::LeaseIgnored | ProtocolBug::CommittedNotSkipped,
            Role::Aggregate,
            Call::Get(_),
        ) => change_checkpoints(reply, bug, world.now),
        (ProtocolBug::ReceiptRemovedFirst, Role::Aggregate, Call::Get(keys)) => {
            for key in keys.iter().filter(|key| is_receipt(key)) {
                world.items.delete(key);
            }
            reply
        }
        (ProtocolBug::WindowNotRead, Role::Aggregate, Call::Range(range))
            if range.partition.starts_with("r#") =>
        {
            Reply::Page(Page::default())
        }
        (ProtocolBug::DeltasBeforeCheckpoints, Role::Read, Call::Range(range))
            if range.partition.contains("#d#") =>
        {
            world.bug_state.earlier.get(&actor).map_or(reply, |items| Reply::Page(items.range(range)))
        }
        (ProtocolBug::MergedDeltasRemoved, Role::Compact, Call::PutIf(item, _))
            if matches!(reply, Reply::Done) =>
        {
            remove_merged_deltas(world, item);
            reply
        }
        _ => reply,
    }
}

/// Holds back the items whose key matches, and lets the others pass.
fn hold(world: &mut World, actor: usize, items: Vec<Item>, is_held: impl Fn(&Key) -> bool) -> Call {
    let (held, passed): (Vec<Item>, Vec<Item>) = items.into_iter().partition(|item| is_held(&item.key));
    world.bug_state.held.entry(actor).or_default().extend(held);
    Call::Put(passed)
}

/// Writes the items that were held back.
fn release(world: &mut World, actor: usize) {
    if let Some(held) = world.bug_state.held.remove(&actor) {
        world.apply(actor, Call::Put(held));
    }
}

fn end_lease(world: &mut World, actor: usize, mut item: Item) -> Item {
    if let Ok(mut checkpoint) = Checkpoint::decode(&item.body)
        && let Some(batch) = &mut checkpoint.in_flight
    {
        let first = *world.bug_state.leases.entry(actor).or_insert(batch.lease_until);
        if batch.lease_until < first {
            batch.lease_until = Timestamp::default();
            item.body = checkpoint.encode();
        }
    }
    item
}

fn change_checkpoints(reply: Reply, bug: ProtocolBug, now: i64) -> Reply {
    let Reply::Items(mut items) = reply else { return reply };
    for item in items.iter_mut().flatten().filter(|item| item.key.partition == layout::CHECKPOINTS) {
        let Ok(mut checkpoint) = Checkpoint::decode(&item.body) else { continue };
        match bug {
            ProtocolBug::CommittedNotSkipped => checkpoint.committed = None,
            ProtocolBug::InFlightForgotten => {
                checkpoint.in_flight = checkpoint.in_flight.filter(|batch| now < batch.lease_until.millis());
            }
            _ => {
                if let Some(batch) = &mut checkpoint.in_flight {
                    batch.lease_until = Timestamp::default();
                }
            }
        }
        item.body = checkpoint.encode();
    }
    Reply::Items(items)
}

fn remove_merged_deltas(world: &mut World, manifest: &Item) {
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

fn is_receipt(key: &Key) -> bool {
    key.partition.starts_with("r#")
}

fn is_delta(key: &Key) -> bool {
    key.partition.contains("#d#")
}
