//! The store and the clock of a simulation. Every call yields before and after it takes effect, and fails here if it fails.
//!
//! ```text
//! actor ─ call ─▶ yield ─▶ refused | applied | applied, reply lost | applied in part | applied later | applied twice ─▶ yield ─▶ actor
//! ```
//!
//! The call of an actor that crashes stays in flight and may still be applied. No call is applied later than [`LANDING_MS`] after it was
//! issued, which is what the protocol assumes of a store.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use event::Timestamp;

use super::bugs::{self, BugState, ProtocolBug};
use super::choices::Choices;
use crate::memory::Items;
use crate::ports::{Clock, Expected, Item, Key, Page, PutError, Range, Store, StoreError, StoreErrorKind};

/// The longest time from issuing a write until it is applied. The settings of the protocol allow for it and for [`SKEW_MS`].
pub(super) const LANDING_MS: i64 = 1_500;
/// The largest difference between a process's clock and the true time.
pub(super) const SKEW_MS: i64 = 200;

/// A call of an actor to the store.
#[derive(Clone, Debug)]
pub(super) enum Call {
    Get(Vec<Key>),
    Range(Range),
    Put(Vec<Item>),
    PutIf(Item, Expected),
    Delete(Vec<Key>),
}

/// The reply of the store.
pub(super) enum Reply {
    Items(Vec<Option<Item>>),
    Page(Page),
    Done,
    Conflict,
}

/// What an actor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Aggregate,
    Compact,
    Read,
}

/// A write that is applied later.
struct DelayedCall {
    due: i64,
    actor: usize,
    call: Call,
}

/// A conditional write that was applied.
pub(super) struct ConditionalWrite {
    pub(super) actor: usize,
    pub(super) item: Item,
}

/// Everything the actors share.
pub(super) struct World {
    pub(super) items: Items,
    pub(super) now: i64,
    pub(super) random: Choices,
    /// Whether calls may fail.
    pub(super) faults: bool,
    pub(super) bug: Option<ProtocolBug>,
    pub(super) bug_state: BugState,
    /// Conditional writes that the driver has not seen yet.
    pub(super) conditional_writes: Vec<ConditionalWrite>,
    /// Calls with the time they were issued, by actor and number. An actor may have several at the same time.
    in_flight: BTreeMap<(usize, u64), (i64, Call)>,
    calls: u64,
    delayed: Vec<DelayedCall>,
    /// Calls that were applied late.
    pub(super) landed_late: u64,
}

impl World {
    pub(super) fn new(seed: u64, bug: Option<ProtocolBug>) -> Self {
        Self {
            items: Items::default(),
            // 2025-11-13T13:20:00Z.
            now: 1_763_040_000_000,
            random: Choices::new(seed),
            faults: true,
            bug,
            bug_state: BugState::default(),
            conditional_writes: Vec::new(),
            in_flight: BTreeMap::new(),
            calls: 0,
            delayed: Vec::new(),
            landed_late: 0,
        }
    }

    /// Lets time pass. Delayed calls are applied at their time.
    pub(super) fn advance(&mut self, millis: i64) {
        let now = self.now + millis;
        self.delayed.sort_by_key(|delayed| delayed.due);
        let due = self.delayed.partition_point(|delayed| delayed.due <= now);
        let landing: Vec<DelayedCall> = self.delayed.drain(..due).collect();
        for delayed in landing {
            self.now = self.now.max(delayed.due);
            self.landed_late += 1;
            self.apply(delayed.actor, delayed.call);
        }
        self.now = now;
    }

    /// The actor crashed. Each of its calls is applied later, or never.
    pub(super) fn crash(&mut self, actor: usize) {
        let mut calls = self.in_flight.split_off(&(actor, 0));
        let mut others = calls.split_off(&(actor + 1, 0));
        self.in_flight.append(&mut others);
        for (issued, call) in calls.into_values() {
            if !self.random.one_in(3) {
                self.later(actor, issued, call);
            }
        }
    }

    /// Applies a call at a random time before it must have landed.
    pub(super) fn later(&mut self, actor: usize, issued: i64, call: Call) {
        let due = (self.now + self.random.millis(LANDING_MS)).min(issued + LANDING_MS);
        if due >= self.now {
            self.delayed.push(DelayedCall { due, actor, call });
        }
    }

    fn issue(&mut self, actor: usize, call: Call) -> u64 {
        self.calls += 1;
        self.in_flight.insert((actor, self.calls), (self.now, call));
        self.calls
    }

    fn perform(&mut self, actor: usize, number: u64, role: Role) -> Result<Reply, Fault> {
        let Some((issued, call)) = self.in_flight.remove(&(actor, number)) else {
            return Err(Fault::Refused);
        };
        if self.now > issued + LANDING_MS {
            return Err(Fault::TimedOut);
        }
        if !self.faults {
            return Ok(self.reply(actor, role, call));
        }
        let is_write = matches!(call, Call::Put(_) | Call::PutIf(..) | Call::Delete(_));
        match self.random.below(80) {
            0 => Err(Fault::Refused),
            1 if is_write => {
                self.reply(actor, role, call);
                Err(Fault::TimedOut)
            }
            2 if is_write => {
                let part = self.part_of(call.clone());
                self.reply(actor, role, part);
                self.later(actor, issued, call);
                Err(Fault::TimedOut)
            }
            3 if is_write => {
                self.later(actor, issued, call);
                Err(Fault::TimedOut)
            }
            4 | 5 if is_write => {
                self.later(actor, issued, call.clone());
                Ok(self.reply(actor, role, call))
            }
            _ => Ok(self.reply(actor, role, call)),
        }
    }

    /// Some of the items of a call.
    fn part_of(&mut self, call: Call) -> Call {
        let random = &mut self.random;
        match call {
            Call::Put(mut items) => {
                items.retain(|_| random.one_in(2));
                Call::Put(items)
            }
            Call::Delete(mut keys) => {
                keys.retain(|_| random.one_in(2));
                Call::Delete(keys)
            }
            other => other,
        }
    }

    fn reply(&mut self, actor: usize, role: Role, call: Call) -> Reply {
        let Some(bug) = self.bug else { return self.apply(actor, call) };
        let call = bugs::before(self, bug, actor, role, call);
        let applied = call.clone();
        let reply = self.apply(actor, call);
        bugs::after(self, bug, actor, role, &applied, reply)
    }

    pub(super) fn apply(&mut self, actor: usize, call: Call) -> Reply {
        match call {
            Call::Get(keys) => Reply::Items(keys.iter().map(|key| self.items.get(key).cloned()).collect()),
            Call::Range(range) => Reply::Page(self.items.range(&range)),
            Call::Put(items) => {
                for item in items {
                    assert!(
                        item.fits(),
                        "{} bytes at {} do not fit an item of DynamoDB",
                        item.body.len(),
                        item.key
                    );
                    self.items.put(item);
                }
                Reply::Done
            }
            Call::PutIf(item, expected) => {
                assert!(
                    item.fits(),
                    "{} bytes at {} do not fit an item of DynamoDB",
                    item.body.len(),
                    item.key
                );
                let is_ignored = self.bug == Some(ProtocolBug::ConflictIgnored);
                if !self.items.put_if(item.clone(), expected) {
                    if !is_ignored {
                        return Reply::Conflict;
                    }
                    self.items.put(item.clone());
                }
                self.conditional_writes.push(ConditionalWrite { actor, item });
                Reply::Done
            }
            Call::Delete(keys) => {
                for key in &keys {
                    self.items.delete(key);
                }
                Reply::Done
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("the call was refused")]
    Refused,
    #[error("the call timed out")]
    TimedOut,
}

/// The world, shared by the actors and the driver.
#[derive(Clone)]
pub(super) struct SharedWorld(Arc<Mutex<World>>);

impl SharedWorld {
    pub(super) fn new(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    /// Locks the world. Never waits: there is one thread, and it holds no lock while an actor runs.
    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The store as one actor sees it.
#[derive(Clone)]
pub(super) struct SimulatedStore {
    pub(super) shared: SharedWorld,
    pub(super) actor: usize,
    pub(super) role: Role,
}

impl SimulatedStore {
    async fn call(&self, call: Call) -> Result<Reply, StoreError> {
        let number = self.shared.world().issue(self.actor, call);
        YieldOnce(false).await;
        let reply = self.shared.world().perform(self.actor, number, self.role);
        YieldOnce(false).await;
        reply.map_err(|fault| {
            StoreError::new(StoreErrorKind::Unavailable, "call", "simulation", Box::new(fault))
        })
    }
}

impl Store for SimulatedStore {
    async fn get(&self, keys: Vec<Key>) -> Result<Vec<Option<Item>>, StoreError> {
        match self.call(Call::Get(keys)).await? {
            Reply::Items(items) => Ok(items),
            Reply::Page(_) | Reply::Done | Reply::Conflict => Ok(Vec::new()),
        }
    }

    async fn range(&self, range: Range) -> Result<Page, StoreError> {
        // Pages of two items, so that longer ranges are read in several calls and the world changes between them.
        let limit = range.limit.min(2);
        let full = range.limit;
        match self.call(Call::Range(Range { limit, ..range })).await? {
            Reply::Page(mut page) => {
                if let Some(rest) = &mut page.rest {
                    rest.limit = full;
                }
                Ok(page)
            }
            Reply::Items(_) | Reply::Done | Reply::Conflict => Ok(Page::default()),
        }
    }

    async fn put(&self, items: Vec<Item>) -> Result<(), StoreError> {
        self.call(Call::Put(items)).await.map(drop)
    }

    async fn put_if(&self, item: Item, expected: Expected) -> Result<(), PutError> {
        match self.call(Call::PutIf(item, expected)).await? {
            Reply::Conflict => Err(PutError::Conflict),
            Reply::Items(_) | Reply::Page(_) | Reply::Done => Ok(()),
        }
    }

    async fn delete(&self, keys: Vec<Key>) -> Result<(), StoreError> {
        self.call(Call::Delete(keys)).await.map(drop)
    }
}

/// The clock of a process: the time of the world plus a constant error.
pub(super) struct SimulatedClock {
    pub(super) shared: SharedWorld,
    pub(super) skew_ms: i64,
    /// Set by a deliberate bug: time does not pass.
    pub(super) stopped_at: Option<i64>,
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        let now = self.stopped_at.unwrap_or_else(|| self.shared.world().now);
        Timestamp::from_millis(now + self.skew_ms)
    }
}

/// Yields to the other actors once.
struct YieldOnce(bool);

impl Future for YieldOnce {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0 {
            return Poll::Ready(());
        }
        self.0 = true;
        // The driver polls whom it likes, but futures that wait for several others poll only those that were woken.
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
