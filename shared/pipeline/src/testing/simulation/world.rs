//! The store and the clock of a simulation: every call yields before and after it takes effect, and what can go wrong with
//! a call goes wrong here.
//!
//! ```text
//! actor ─ call ─▶ yield ─▶ refuse | act | act, lose the reply | act in part | act later | act now and again later ─▶ yield ─▶ actor
//! ```
//! An actor that crashes leaves its call in flight: it may yet act. Nothing acts later than [`LANDING_MS`] after it was issued.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use event::Timestamp;

use super::breaks::{self, Break};
use super::random::Random;
use crate::memory::Items;
use crate::ports::{Clock, Expected, Item, Key, Page, PutError, Range, Store, StoreError, StoreErrorKind};

/// The longest a write takes to land. Settings allow for it and for [`SKEW_MS`].
pub(super) const LANDING_MS: i64 = 1_500;
/// How far two clocks differ at most.
pub(super) const SKEW_MS: i64 = 200;

/// What an actor asks of the store.
#[derive(Clone, Debug)]
pub(super) enum Call {
    Get(Vec<Key>),
    Range(Range),
    Put(Vec<Item>),
    PutIf(Item, Expected),
    Delete(Vec<Key>),
}

/// What the store says.
pub(super) enum Reply {
    Items(Vec<Option<Item>>),
    Page(Page),
    Done,
    Conflict,
}

/// Who calls, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Aggregate,
    Compact,
    Read,
}

/// A write on its way.
struct Late {
    due: i64,
    actor: usize,
    call: Call,
}

/// A conditional write that took effect.
pub(super) struct Moved {
    pub(super) actor: usize,
    pub(super) item: Item,
}

/// Everything the actors share.
pub(super) struct World {
    pub(super) items: Items,
    pub(super) now: i64,
    pub(super) random: Random,
    /// Whether calls may fail.
    pub(super) faults: bool,
    pub(super) broken: Option<Break>,
    /// What a deliberate break remembers.
    pub(super) sabotage: breaks::Memory,
    /// Conditional writes since the driver looked last.
    pub(super) moved: Vec<Moved>,
    /// By actor and number: one actor may have several at once.
    in_flight: BTreeMap<(usize, u64), (i64, Call)>,
    calls: u64,
    late: Vec<Late>,
    /// How many calls took effect late.
    pub(super) landed_late: u64,
}

impl World {
    pub(super) fn new(seed: u64, broken: Option<Break>) -> Self {
        Self {
            items: Items::default(),
            // 2025-11-13, an afternoon.
            now: 1_763_040_000_000,
            random: Random::new(seed),
            faults: true,
            broken,
            sabotage: breaks::Memory::default(),
            moved: Vec::new(),
            in_flight: BTreeMap::new(),
            calls: 0,
            late: Vec::new(),
            landed_late: 0,
        }
    }

    /// Lets time pass; what is on its way lands at its time.
    pub(super) fn advance(&mut self, millis: i64) {
        let now = self.now + millis;
        self.late.sort_by_key(|late| late.due);
        let due = self.late.partition_point(|late| late.due <= now);
        let landing: Vec<Late> = self.late.drain(..due).collect();
        for late in landing {
            self.now = self.now.max(late.due);
            self.landed_late += 1;
            self.act(late.actor, late.call);
        }
        self.now = now;
    }

    /// The actor is gone; its call, if it has one, acts later, or never.
    pub(super) fn crash(&mut self, actor: usize) {
        let mut behind = self.in_flight.split_off(&(actor, 0));
        let mut others = behind.split_off(&(actor + 1, 0));
        self.in_flight.append(&mut others);
        for (issued, call) in behind.into_values() {
            if !self.random.one_in(3) {
                self.later(actor, issued, call);
            }
        }
    }

    pub(super) fn later(&mut self, actor: usize, issued: i64, call: Call) {
        let due = (self.now + self.random.millis(LANDING_MS)).min(issued + LANDING_MS);
        if due >= self.now {
            self.late.push(Late { due, actor, call });
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
        let write = matches!(call, Call::Put(_) | Call::PutIf(..) | Call::Delete(_));
        match self.random.below(80) {
            0 => Err(Fault::Refused),
            1 if write => {
                self.reply(actor, role, call);
                Err(Fault::TimedOut)
            }
            2 if write => {
                let part = self.part_of(call.clone());
                self.reply(actor, role, part);
                self.later(actor, issued, call);
                Err(Fault::TimedOut)
            }
            3 if write => {
                self.later(actor, issued, call);
                Err(Fault::TimedOut)
            }
            4 | 5 if write => {
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
        let Some(broken) = self.broken else { return self.act(actor, call) };
        let call = breaks::before(self, broken, actor, role, call);
        let asked = call.clone();
        let reply = self.act(actor, call);
        breaks::after(self, broken, actor, role, &asked, reply)
    }

    pub(super) fn act(&mut self, actor: usize, call: Call) -> Reply {
        match call {
            Call::Get(keys) => Reply::Items(keys.iter().map(|key| self.items.get(key).cloned()).collect()),
            Call::Range(range) => Reply::Page(self.items.range(&range)),
            Call::Put(items) => {
                for item in items {
                    assert!(item.fits(), "DynamoDB takes no {} bytes at {}", item.body.len(), item.key);
                    self.items.put(item);
                }
                Reply::Done
            }
            Call::PutIf(item, expected) => {
                assert!(item.fits(), "DynamoDB takes no {} bytes at {}", item.body.len(), item.key);
                let ignored = self.broken == Some(Break::ConflictIgnored);
                if !self.items.put_if(item.clone(), expected) {
                    if !ignored {
                        return Reply::Conflict;
                    }
                    self.items.put(item.clone());
                }
                self.moved.push(Moved { actor, item });
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

/// The world, shared.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<World>>);

impl Shared {
    pub(super) fn new(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    /// One thread only: never waits, and no lock is held while an actor runs.
    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One actor's way to the store.
#[derive(Clone)]
pub(super) struct SimulatedStore {
    pub(super) shared: Shared,
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
        // Pages of two: every longer range is read in several calls, and the world changes between them.
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

/// A process's clock: the world's, a little off.
pub(super) struct SimulatedClock {
    pub(super) shared: Shared,
    pub(super) skew_ms: i64,
    /// Set by a break: the time never passes.
    pub(super) stopped_at: Option<i64>,
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        let now = self.stopped_at.unwrap_or_else(|| self.shared.world().now);
        Timestamp::from_millis(now + self.skew_ms)
    }
}

/// Gives way to the other actors once.
struct YieldOnce(bool);

impl Future for YieldOnce {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.0 {
            return Poll::Ready(());
        }
        self.0 = true;
        Poll::Pending
    }
}
