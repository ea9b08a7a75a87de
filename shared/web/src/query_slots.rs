//! Who may run a query when: slots, a bounded queue and a budget of time for each key and each tenant.
//!
//! Queries compete for the processor. Without a bound per key, the clients of one key would take all of it; without one per tenant, its other keys
//! would. So a key runs a few queries at once and its further ones wait in the order of their arrival, while those of others start. A key
//! has fewer slots than its tenant, so that it cannot stop the tenant's other keys either.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cells::query::Scope;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::auth::Reader;
use crate::problem::{Problem, ProblemType};

/// Queries of one key that may wait for a slot. A dashboard sends some ten at once, and Grafana one for each panel.
pub(crate) const WAITING_PER_KEY: usize = 32;
/// How long a query may wait for its slot. Later its client has lost patience.
pub(crate) const QUEUE_TIME: Duration = Duration::from_secs(5);
/// The running time that a key or tenant may have used in excess of its rate, which is one second per second: enough for a minute of queries
/// in two slots.
pub(crate) const BUDGET: Duration = Duration::from_mins(1);
/// Keys and tenants remembered before those without use are forgotten.
const MAX_SHARES: usize = 4096;

/// The slots of all keys and tenants.
pub(crate) struct QuerySlots {
    per_key: usize,
    per_tenant: usize,
    all: Arc<Semaphore>,
    shares: Mutex<BTreeMap<Owner, Arc<Share>>>,
}

/// Whose share of the slots it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Key(String),
    Tenant(String),
}

struct Share {
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    /// When the time that was used will be paid back, at a rate of one second per second.
    paid_at: Mutex<Instant>,
}

/// A running query's slots, given back when dropped. The time until then is charged to its key and its tenant.
pub(crate) struct QuerySlot {
    shares: Vec<Arc<Share>>,
    started: Instant,
    _permits: Vec<OwnedSemaphorePermit>,
}

impl QuerySlots {
    /// Slots for a machine with this many cores. A key can use all cores, but never all slots.
    pub(crate) fn new(cores: NonZeroUsize) -> Self {
        let per_key = cores.get().max(2);
        let all = Arc::new(Semaphore::new(concurrent_queries(cores)));
        Self { per_key, per_tenant: per_key + 1, all, shares: Mutex::default() }
    }

    /// Waits for a slot of the caller's key, one of the tenant that is asked about, and one of the machine.
    ///
    /// # Errors
    /// A problem with status 429 if too many queries of the key wait already, if no slot is free in time, or if the budget of time is used up.
    pub(crate) async fn acquire(&self, reader: &Reader) -> Result<QuerySlot, Problem> {
        let mut shares = vec![self.share(Owner::Key(reader.key.clone()), self.per_key)];
        if let Scope::Tenant(tenant) = &reader.scope {
            shares.push(self.share(Owner::Tenant(tenant.to_string()), self.per_tenant));
        }
        for share in &shares {
            share.check_budget()?;
        }
        let busy = || refusal("too many queries of this key or tenant at once; ask again in 1 s", 1);
        // The first share is the key's. Its queue bounds those of the tenant and of all.
        let queue = shares.first().map(|share| Arc::clone(&share.waiting));
        let _place = match queue {
            Some(queue) => Some(queue.try_acquire_owned().map_err(|_| busy())?),
            None => None,
        };
        // From the narrowest to the widest: who waits for a slot of the key must hold none that others could use.
        let mut semaphores: Vec<Arc<Semaphore>> =
            shares.iter().map(|share| Arc::clone(&share.running)).collect();
        semaphores.push(Arc::clone(&self.all));
        let permits = async {
            let mut permits = Vec::with_capacity(semaphores.len());
            for semaphore in semaphores {
                permits.push(semaphore.acquire_owned().await.map_err(|_| busy())?);
            }
            Ok::<_, Problem>(permits)
        };
        let permits = tokio::time::timeout(QUEUE_TIME, permits).await.map_err(|_| busy())??;
        Ok(QuerySlot { shares, started: Instant::now(), _permits: permits })
    }

    fn share(&self, owner: Owner, slots: usize) -> Arc<Share> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if shares.len() >= MAX_SHARES {
            let now = Instant::now();
            shares.retain(|_, share| Arc::strong_count(share) > 1 || share.paid_at() > now);
        }
        let new = || {
            Arc::new(Share {
                running: Arc::new(Semaphore::new(slots)),
                waiting: Arc::new(Semaphore::new(WAITING_PER_KEY)),
                paid_at: Mutex::new(Instant::now()),
            })
        };
        Arc::clone(shares.entry(owner).or_insert_with(new))
    }
}

/// How many queries may run at once on this many cores: several keys must find a free slot while others run long queries, and the system
/// shares the cores among them.
pub fn concurrent_queries(cores: NonZeroUsize) -> usize {
    8 * cores.get().max(2)
}

impl Share {
    fn paid_at(&self) -> Instant {
        *self.paid_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_budget(&self) -> Result<(), Problem> {
        let over = self.paid_at().saturating_duration_since(Instant::now()).saturating_sub(BUDGET);
        if over.is_zero() {
            return Ok(());
        }
        let wait = u32::try_from(over.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
        let detail = format!(
            "the queries of this key or tenant took more than their time; ask again in {wait} s, or for shorter ranges and fewer groups"
        );
        Err(refusal(&detail, wait))
    }

    fn charge(&self, used: Duration) {
        let mut paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        *paid_at = (*paid_at).max(Instant::now()) + used;
    }
}

impl Drop for QuerySlot {
    fn drop(&mut self) {
        let used = self.started.elapsed();
        for share in &self.shares {
            share.charge(used);
        }
    }
}

fn refusal(detail: &str, seconds: u32) -> Problem {
    Problem::new(ProblemType::TooManyRequests, detail).retry_after(seconds)
}

#[cfg(test)]
mod tests {
    use event::TenantId;

    use super::*;

    fn reader(key: &str, tenant: &str) -> Reader {
        let scope = Scope::Tenant(TenantId::new(tenant).unwrap());
        Reader { scope, name: key.to_owned(), key: key.to_owned() }
    }

    fn two_cores() -> QuerySlots {
        QuerySlots::new(NonZeroUsize::new(2).unwrap())
    }

    fn status<T>(result: Result<T, Problem>) -> u16 {
        result.err().map_or(200, |problem| problem.status().as_u16())
    }

    #[tokio::test(start_paused = true)]
    async fn key_with_many_clients_takes_no_slot_of_others() {
        let slots = Arc::new(two_cores());
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(slots.acquire(&reader("noisy", "a")).await.unwrap_or_else(|_| panic!("a free slot")));
        }
        let waiting: Vec<_> = (0..62)
            .map(|_| {
                let slots = Arc::clone(&slots);
                tokio::spawn(async move { status(slots.acquire(&reader("noisy", "a")).await) })
            })
            .collect();
        // The runtime starts some of the tasks at each turn.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(status(slots.acquire(&reader("other", "b")).await), 200, "another tenant");
        assert_eq!(status(slots.acquire(&reader("other", "a")).await), 200, "another key of the tenant");
        let mut refused_at_once = 0;
        for task in &waiting {
            refused_at_once += usize::from(task.is_finished());
        }
        assert_eq!(refused_at_once, 62 - WAITING_PER_KEY, "the queue is bounded");
        let start = Instant::now();
        for task in waiting {
            assert_eq!(task.await.unwrap(), 429);
        }
        assert_eq!(start.elapsed().as_secs(), QUEUE_TIME.as_secs(), "the time in the queue is bounded");
    }

    #[tokio::test(start_paused = true)]
    async fn key_waits_for_its_own_queries_in_the_order_of_arrival() {
        let slots = two_cores();
        let reader = reader("k", "a");
        let first = slots.acquire(&reader).await;
        let _second = slots.acquire(&reader).await;
        let mut third = Box::pin(slots.acquire(&reader));
        let mut fourth = Box::pin(slots.acquire(&reader));
        assert!(is_pending(&mut third).await && is_pending(&mut fourth).await);
        drop(first);
        assert!(is_pending(&mut fourth).await, "the third comes first");
        assert_eq!(status(third.await), 200);
    }

    async fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
        tokio::select! {
            biased;
            _ = future => false,
            () = std::future::ready(()) => true,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn budget_of_time_is_per_key_and_tenant_and_comes_back() {
        let slots = two_cores();
        let slot = slots.acquire(&reader("k", "a")).await;
        tokio::time::advance(BUDGET + Duration::from_secs(10)).await;
        drop(slot);
        assert_eq!(status(slots.acquire(&reader("k", "a")).await), 429);
        assert_eq!(status(slots.acquire(&reader("other", "a")).await), 429, "of the same tenant");
        assert_eq!(status(slots.acquire(&reader("other", "b")).await), 200);
        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!(status(slots.acquire(&reader("k", "a")).await), 200);
    }
}
