//! What the steps need from outside: an ordered key-value store with conditional writes, a time-series store, and a clock.
//!
//! The store has only the five calls that DynamoDB and an embedded database have in common. The key layout, the commit protocol and every
//! reader are therefore written once, on top of these traits, and a simulation can replace what is below them. Nothing in this file
//! may know what is stored.

use std::future::Future;

use event::{TenantId, Timestamp};

/// Calls to a store or a sink that one task has under way at the same time: what one client serves without queueing.
pub const CONCURRENT_CALLS: usize = 16;

/// Identifies an item. The items of a partition are sorted by the bytes of their sort keys.
///
/// [`crate::layout`] lists all keys.
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

/// What is stored under one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Where the item is stored. No two items share a key.
    pub key: Key,
    /// Its contents: at most [`Item::MAX_BODY_BYTES`].
    pub body: Vec<u8>,
    /// Incremented by each conditional write; 0 for items that are only written unconditionally.
    pub version: u64,
    /// After this time the store may remove the item, possibly days later. A reader that must not see an expired item checks the
    /// time itself.
    pub expires_at: Option<Timestamp>,
}

impl Item {
    /// Largest body in bytes. DynamoDB accepts items of 400 KB including attribute names and keys
    /// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html>); callers split larger contents.
    pub const MAX_BODY_BYTES: usize = 380 * 1024;

    /// Whether the body is at most [`Item::MAX_BODY_BYTES`].
    pub fn fits(&self) -> bool {
        self.body.len() <= Self::MAX_BODY_BYTES
    }
}

/// The state that the stored item must be in for a conditional write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// There is no item at the key, so the write creates it.
    Absent,
    /// The item has this version.
    Version(u64),
}

/// The order in which a range is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanOrder {
    /// Smallest sort key first.
    Forwards,
    /// Largest sort key first.
    Backwards,
}

/// A contiguous range of sort keys within one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The partition key of all items: a range never spans partitions.
    pub partition: String,
    /// First sort key of the range, inclusive.
    pub from: String,
    /// End of the range, exclusive. `None`: the end of the partition.
    pub to: Option<String>,
    /// Which end is read first.
    pub order: ScanOrder,
    /// Maximum number of items in a page.
    pub limit: usize,
}

impl Range {
    /// The rest of this range, beginning with the item at `sort`.
    #[must_use]
    pub fn resume_at(&self, sort: &str) -> Self {
        match self.order {
            // The beginning is inclusive, as the item at `sort` is.
            ScanOrder::Forwards => Self { from: sort.to_owned(), ..self.clone() },
            // The end is exclusive, so it is the smallest text after `sort`.
            ScanOrder::Backwards => Self { to: Some(format!("{sort}\0")), ..self.clone() },
        }
    }
}

/// One page of a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The items, in the requested order.
    pub items: Vec<Item>,
    /// The rest of the range. `None` if nothing follows.
    pub rest: Option<Range>,
}

/// What kind of failure a store reports, for callers to branch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreErrorKind {
    /// The store accepts fewer requests than were sent: retry with backoff.
    Throttled,
    /// The process lacks a permission: a retry fails until somebody grants it.
    Denied,
    /// What is stored, or would be, is not an item that the store can hold: a retry fails as well.
    Damaged,
    /// The store cannot be reached, does not answer in time, or its disk fails: retry later.
    Unavailable,
}

/// A call to a store failed. A write may nevertheless have happened, in part, or may still happen within the landing time that the
/// commit protocol allows for.
#[derive(Debug, thiserror::Error)]
#[error("store {operation} failed for {target}")]
#[non_exhaustive]
pub struct StoreError {
    /// The kind of failure.
    pub kind: StoreErrorKind,
    /// The call that failed, such as `put_if`.
    pub operation: &'static str,
    /// The partition or key of the call.
    pub target: String,
    /// The error of the client library or of the disk.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl StoreError {
    /// An error of the call `operation` about the partition or key `target`.
    pub fn new(
        kind: StoreErrorKind,
        operation: &'static str,
        target: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind, operation, target: target.into(), source: source.into() }
    }
}

/// Why a conditional write failed.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// The stored item is not in the expected state: another writer changed it. Nothing was written.
    #[error("the stored item is not the expected one")]
    Conflict,
    /// The store failed; the write may or may not have happened.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An ordered key-value store. Reads see every write that was acknowledged before they began. An acknowledged write is on disk: it
/// survives a crash of the process and of the machine.
///
/// A write may be applied a second time within a bounded time after it was acknowledged or failed, because a client library retries by
/// itself or a packet is delayed. The commit protocol allows for that.
pub trait Store: Send + Sync + 'static {
    /// Reads the items at `keys`, in the order of the keys; `None` where no item exists.
    fn get(&self, keys: Vec<Key>) -> impl Future<Output = Result<Vec<Option<Item>>, StoreError>> + Send;

    /// Reads one page of a range. A page may hold fewer than `limit` items although more follow.
    fn range(&self, range: Range) -> impl Future<Output = Result<Page, StoreError>> + Send;

    /// Writes items and replaces existing ones. Of several items with one key, the last is kept. Not atomic: after an error any of
    /// them may have been written.
    fn put(&self, items: Vec<Item>) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Writes one item if the stored one is in the `expected` state. The item carries its new version.
    fn put_if(&self, item: Item, expected: Expected) -> impl Future<Output = Result<(), PutError>> + Send;

    /// Removes items. An absent item is not an error. Not atomic.
    fn delete(&self, keys: Vec<Key>) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// A point of a time series: the counts of one batch in one minute for one dimension key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// The tenant whose mail was counted.
    pub tenant: TenantId,
    /// Nanoseconds since 1970, within the counted minute. The nanosecond distinguishes batches, so that tenant, dimensions and time
    /// identify the point.
    pub time_ns: i64,
    /// Names and values of the dimensions. Dimensions without a value are left out.
    pub dimensions: Vec<(&'static str, String)>,
    /// Names and values of the counts that are not 0. Counts of different points may be added.
    pub counts: Vec<(&'static str, u64)>,
}

/// The result of writing points.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Number of points that the store rejected and would reject again.
    pub rejected: u64,
    /// The reason that the store gives for one of the rejected points.
    pub reason: Option<String>,
}

/// A time-series store did not accept all points: retry later.
#[derive(Debug, thiserror::Error)]
#[error("time-series store {sink} does not take points")]
pub struct SinkError {
    /// [`Sink::name`] of the store.
    pub sink: &'static str,
    /// The error of the failed call.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// A time-series store. A point that is written again replaces the first one.
pub trait Sink: Send + Sync + 'static {
    /// The name under which export positions are stored. It has no `#`.
    fn name(&self) -> &'static str;

    /// Writes points. Not atomic: after an error any of them may have been written.
    fn write(&self, points: &[Point]) -> impl Future<Output = Result<Written, SinkError>> + Send;
}

/// A clock, for calls during which time passes: those with leases and deadlines. All other calls are given the time as a parameter.
pub trait Clock: Send + Sync + 'static {
    /// The current time as this process sees it. The landing time allows for the difference between two processes.
    fn now(&self) -> Timestamp;
}

/// Lets several tasks share one store.
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
