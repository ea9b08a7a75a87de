//! What the steps need from the outside: an ordered key-value store with conditional writes, a time-series store, and a clock.
//!
//! Small on purpose: the store has five calls that DynamoDB and an embedded database both have, so that the key layout, the commit
//! protocol and every reader are written once, above this line, and a simulation can stand in below it.

use std::future::Future;

use event::{TenantId, Timestamp};

/// Where an item lies: items of one partition are kept sorted by their sort key, as bytes.
///
/// A tenant's items all have a partition key that begins with that tenant's prefix, which access policies can enforce.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Partition key, at most 2,048 bytes.
    pub partition: String,
    /// Sort key, at most 1,024 bytes.
    pub sort: String,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.partition, self.sort)
    }
}

/// One stored item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Where it lies.
    pub key: Key,
    /// What it holds: at most [`Item::MAX_BODY_BYTES`].
    pub body: Vec<u8>,
    /// Raised by each conditional write; 0 for items that are only ever put whole.
    pub version: u64,
    /// After this moment the store may drop it, some days late. A reader that must not see it from then on looks itself.
    pub expires_at: Option<Timestamp>,
}

impl Item {
    /// DynamoDB takes 400 KB with names and keys; what is larger is split by the caller.
    pub const MAX_BODY_BYTES: usize = 380 * 1024;

    /// Whether DynamoDB takes it.
    pub fn fits(&self) -> bool {
        self.body.len() <= Self::MAX_BODY_BYTES
    }
}

/// What must hold of the stored item for a conditional write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// There is none.
    Absent,
    /// It has this version.
    Version(u64),
}

/// Which end of a range comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Smallest sort key first.
    Forwards,
    /// Largest sort key first.
    Backwards,
}

/// A run of items of one partition in the order of their sort keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The partition.
    pub partition: String,
    /// First sort key of the run, included.
    pub from: String,
    /// First sort key after the run; `None`: to the end of the partition.
    pub to: Option<String>,
    /// Which end comes first.
    pub order: Order,
    /// At most so many items in the page.
    pub limit: usize,
}

impl Range {
    /// The same range from its item at `sort` on, which comes first.
    #[must_use]
    pub fn resume_at(&self, sort: &str) -> Self {
        match self.order {
            Order::Forwards => Self { from: sort.to_owned(), ..self.clone() },
            // The smallest text behind `sort` ends a range that holds it.
            Order::Backwards => Self { to: Some(format!("{sort}\0")), ..self.clone() },
        }
    }
}

/// A page of a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The items, in the order asked for.
    pub items: Vec<Item>,
    /// What is left of the range, if anything may be.
    pub rest: Option<Range>,
}

/// A store failed: the platform's own failure, worth another try later. A write may have happened, in part, or may still
/// happen within [`crate::ledger::aggregate::Settings::landing_ms`].
#[derive(Debug, thiserror::Error)]
#[error("store {operation} failed for {place}")]
pub struct StoreError {
    /// Which call.
    pub operation: &'static str,
    /// The partition or key it was about.
    pub place: String,
    /// What the store said.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Why a conditional write did not happen, or may not have.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// The stored item is not as expected: somebody else wrote it. Nothing was written.
    #[error("the stored item is not the expected one")]
    Conflict,
    /// The store failed; the write may or may not have happened.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An ordered key-value store. Reads see every write that was acknowledged before they began, and an acknowledged write of any kind
/// survives the process and the machine: it is on disk.
///
/// A write that was acknowledged or failed may land once more within a bounded time (a client library retries by itself, or a delayed
/// packet arrives after all); the commit protocol allows for it.
pub trait Store: Send + Sync + 'static {
    /// The items at `keys`, in the same order.
    fn get(&self, keys: Vec<Key>) -> impl Future<Output = Result<Vec<Option<Item>>, StoreError>> + Send;

    /// One page of a range. A page may hold fewer than `limit` items and still leave a rest.
    fn range(&self, range: Range) -> impl Future<Output = Result<Page, StoreError>> + Send;

    /// Writes items whole, whatever was there; of several at one key the last stays. Not atomic: on an error any of them may have
    /// been written.
    fn put(&self, items: Vec<Item>) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Writes one item if the stored one is as `expected`; the item carries its new version.
    fn put_if(&self, item: Item, expected: Expected) -> impl Future<Output = Result<(), PutError>> + Send;

    /// Removes items; those that are absent are no error. Not atomic.
    fn delete(&self, keys: Vec<Key>) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// What a time-series store is given: the counts of one batch in one minute under one set of dimensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// Whose.
    pub tenant: TenantId,
    /// In the minute counted, told apart from other batches by the nanosecond. With tenant and dimensions it is the point's identity.
    pub time_ns: i64,
    /// Names and values of the dimensions that the mail has; none of them is empty.
    pub dimensions: Vec<(&'static str, String)>,
    /// Names and counts that are not 0; the counts of any points may be added up.
    pub counts: Vec<(&'static str, u64)>,
}

/// What became of points that a time-series store was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Points refused for good: the same ones would be refused again.
    pub rejected: u64,
    /// Why, as the store says of one of them.
    pub reason: Option<String>,
}

/// A time-series store took no points, or not all; worth another try later.
#[derive(Debug, thiserror::Error)]
#[error("time-series store {sink} does not take points")]
pub struct SinkError {
    /// Which.
    pub sink: &'static str,
    /// What it said.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// A time-series store. A point given again replaces itself.
pub trait Sink: Send + Sync + 'static {
    /// What it is called where progress is kept; holds no `#`.
    fn name(&self) -> &'static str;

    /// Writes points. Not atomic: on an error any of them may have been written.
    fn write(&self, points: &[Point]) -> impl Future<Output = Result<Written, SinkError>> + Send;
}

/// The time, where it passes inside a call: leases and deadlines.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// One store serves many tasks.
impl<S: Store> Store for std::sync::Arc<S> {
    fn get(&self, keys: Vec<Key>) -> impl Future<Output = Result<Vec<Option<Item>>, StoreError>> + Send {
        (**self).get(keys)
    }

    fn range(&self, range: Range) -> impl Future<Output = Result<Page, StoreError>> + Send {
        (**self).range(range)
    }

    fn put(&self, items: Vec<Item>) -> impl Future<Output = Result<(), StoreError>> + Send {
        (**self).put(items)
    }

    fn put_if(&self, item: Item, expected: Expected) -> impl Future<Output = Result<(), PutError>> + Send {
        (**self).put_if(item, expected)
    }

    fn delete(&self, keys: Vec<Key>) -> impl Future<Output = Result<(), StoreError>> + Send {
        (**self).delete(keys)
    }
}
