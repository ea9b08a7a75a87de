//! The [`Store`] in one DynamoDB table: partition and sort key unchanged, the body as bytes.
//!
//! ```text
//! pk (S)   sk (S)   body (B)   version (N)   expires_at (N, epoch seconds, the table's TTL)
//! ```
//!
//! Reads are strongly consistent, because the commit protocol relies on seeing every acknowledged write. Items that DynamoDB leaves
//! unprocessed are sent again, and a conditional write whose reply was lost is recognised by the item it left. No write takes longer than
//! [`CALL_TIMEOUT`], whatever its number of items and retries, so that nothing lands later than the commit protocol allows for. The store
//! never scans and needs no permission to.
//! Limits: <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html>

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{BoxError, ProvideErrorMetadata};
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, DeleteRequest, KeysAndAttributes, PutRequest, ReturnValuesOnConditionCheckFailure,
    WriteRequest,
};
use futures::stream::{self, StreamExt as _};
use pipeline::ports::{
    CONCURRENT_CALLS, Expected, Item, Key, Page, PutError, Range, ScanOrder, Store, StoreError,
    StoreErrorKind,
};

use self::attempts::Attempts;
use self::attributes::{Attributes, ForeignItem, Oversized, attributes, item, key_attributes, stored};
use crate::backoff::Backoff;

mod attempts;
mod attributes;

/// Timeout of one call of the store. It is well below the commit protocol's landing time: the rest of that time is for a packet that was
/// under way when the call timed out, and for differences between clocks.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(6);
/// Most items that `BatchWriteItem` and `BatchGetItem` accept.
const WRITES_PER_CALL: usize = 25;
const READS_PER_CALL: usize = 100;
/// Bound of the first pause before unprocessed items are sent again.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A DynamoDB table as a store.
#[derive(Clone, Debug)]
pub struct DynamoStore {
    client: Client,
    table: String,
}

/// A call timed out.
#[derive(Debug, thiserror::Error)]
#[error("no reply within {} s: DynamoDB is slow, throttled or unreachable", CALL_TIMEOUT.as_secs())]
struct TimedOut;

impl DynamoStore {
    /// The table with this name, in the region and account of `config`.
    pub fn new(config: &aws_config::SdkConfig, table: String) -> Self {
        Self { client: Client::new(config), table }
    }

    fn error(&self, operation: &'static str, target: &str, source: impl Into<BoxError>) -> StoreError {
        let source = source.into();
        StoreError::new(kind_of(&source), operation, format!("{target} in table {}", self.table), source)
    }

    /// Awaits a call, but no longer than [`CALL_TIMEOUT`].
    async fn within_timeout<T>(
        &self,
        operation: &'static str,
        target: &str,
        call: impl Future<Output = Result<T, BoxError>> + Send,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(CALL_TIMEOUT, call).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(self.error(operation, target, error)),
            Err(_) => Err(self.error(operation, target, TimedOut)),
        }
    }

    async fn read_some(&self, keys: &[&Key]) -> Result<HashMap<Key, Item>, BoxError> {
        let mut found = HashMap::new();
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut left: Vec<Attributes> = keys.iter().map(|key| key_attributes(key)).collect();
        loop {
            // Strongly consistent, at twice the price: an eventual read may miss an acknowledged write, and counting
            // once rests on seeing it.
            let wanted = KeysAndAttributes::builder().set_keys(Some(left)).consistent_read(true).build()?;
            let reply = self
                .client
                .batch_get_item()
                .request_items(&self.table, wanted)
                .send()
                .await
                .map_err(aws_sdk_dynamodb::Error::from)?;
            for attributes in reply.responses.into_iter().flatten().flat_map(|(_, items)| items) {
                let item = item(attributes)?;
                found.insert(item.key.clone(), item);
            }
            // DynamoDB returns at most 16 MB and what its partitions have capacity for; the rest is not an error.
            left = reply.unprocessed_keys.into_iter().flatten().flat_map(|(_, left)| left.keys).collect();
            if left.is_empty() {
                return Ok(found);
            }
            backoff.wait().await;
        }
    }

    async fn write_some(&self, requests: Vec<WriteRequest>) -> Result<(), BoxError> {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut left = requests;
        loop {
            let reply = self
                .client
                .batch_write_item()
                .request_items(&self.table, left)
                .send()
                .await
                .map_err(aws_sdk_dynamodb::Error::from)?;
            // Items over the capacity of their partition are returned, not retried by the SDK. Not sending them again
            // would lose them silently.
            left = reply.unprocessed_items.into_iter().flatten().flat_map(|(_, left)| left).collect();
            if left.is_empty() {
                return Ok(());
            }
            backoff.wait().await;
        }
    }

    /// Sends requests in parallel calls of at most [`WRITES_PER_CALL`] items, all of them within one [`CALL_TIMEOUT`].
    async fn write(
        &self,
        operation: &'static str,
        target: &str,
        requests: Result<Vec<WriteRequest>, BoxError>,
    ) -> Result<(), StoreError> {
        let requests = requests.map_err(|error| self.error(operation, target, error))?;
        // Batches and no transactions: those take at most 100 items, cost twice as much, and the commit protocol
        // needs no atomicity here.
        let calls = requests.chunks(WRITES_PER_CALL).map(<[_]>::to_vec);
        let calls: Vec<_> = calls.map(|requests| self.write_some(requests)).collect();
        // Every call runs, also after one failed: what can be written is written.
        let written = async {
            let written: Vec<_> = stream::iter(calls).buffered(CONCURRENT_CALLS).collect().await;
            written.into_iter().collect()
        };
        self.within_timeout(operation, target, written).await
    }

    async fn page(&self, range: &Range) -> Result<Page, BoxError> {
        // DynamoDB refuses a range whose end comes before its beginning.
        if range.to.as_ref().is_some_and(|to| *to <= range.from) {
            return Ok(Page::default());
        }
        let mut values = HashMap::from([(":pk".to_owned(), AttributeValue::S(range.partition.clone()))]);
        // DynamoDB refuses an empty string as a bound, so an open end is left out of the condition.
        let mut condition = "pk = :pk".to_owned();
        match (&*range.from, &range.to) {
            ("", None) => {}
            (_, None) => condition += " AND sk >= :from",
            ("", Some(_)) => condition += " AND sk < :to",
            // A key condition has one comparison of the sort key. BETWEEN is the only one with two bounds, and it
            // includes both.
            (_, Some(_)) => condition += " AND sk BETWEEN :from AND :to",
        }
        if !range.from.is_empty() {
            values.insert(":from".to_owned(), AttributeValue::S(range.from.clone()));
        }
        if let Some(to) = &range.to {
            values.insert(":to".to_owned(), AttributeValue::S(to.clone()));
        }
        // One more than requested, because the item at `to` may be among them. If it were the only one, the page would be empty and its rest
        // would begin where the page began.
        let limit = i32::try_from(range.limit.max(1)).unwrap_or(i32::MAX).saturating_add(1);
        // As in `read_some`: a snapshot must see every delta of the checkpoints that it has read.
        let reply = self.client.query().table_name(&self.table).consistent_read(true);
        let reply = reply.key_condition_expression(condition).set_expression_attribute_values(Some(values));
        let reply = reply
            .scan_index_forward(range.order == ScanOrder::Forwards)
            .limit(limit)
            .send()
            .await
            .map_err(aws_sdk_dynamodb::Error::from)?;
        let mut page = Page::default();
        for attributes in reply.items.into_iter().flatten() {
            let item = item(attributes)?;
            // A range excludes `to`; BETWEEN includes it.
            if range.to.as_ref() != Some(&item.key.sort) {
                page.items.push(item);
            }
        }
        if let Some(last) = reply.last_evaluated_key {
            page.rest = Some(behind(range, attributes::sort_key(&last)?));
        }
        // All of them are within the range, so the additional one belongs to the rest.
        if page.items.len() > range.limit.max(1) {
            page.items.truncate(range.limit.max(1));
            page.rest = page.items.last().map(|last| behind(range, &last.key.sort));
        }
        Ok(page)
    }
}

/// The kind of a failure, by the error code of DynamoDB. Timeouts and failed connections have no code.
///
/// Codes: <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html>.
fn kind_of(error: &BoxError) -> StoreErrorKind {
    if error.is::<ForeignItem>() || error.is::<Oversized>() {
        return StoreErrorKind::Damaged;
    }
    match error.downcast_ref::<aws_sdk_dynamodb::Error>().and_then(ProvideErrorMetadata::code) {
        Some("ThrottlingException" | "ProvisionedThroughputExceededException" | "RequestLimitExceeded") => {
            StoreErrorKind::Throttled
        }
        Some(
            "AccessDeniedException" | "UnrecognizedClientException" | "MissingAuthenticationTokenException",
        ) => StoreErrorKind::Denied,
        _ => StoreErrorKind::Unavailable,
    }
}

/// The part of a range after the item at `sort`, in the order of the range.
fn behind(range: &Range, sort: &str) -> Range {
    match range.order {
        // The smallest string greater than `sort` is `sort` with the smallest character appended.
        ScanOrder::Forwards => Range { from: format!("{sort}\0"), ..range.clone() },
        ScanOrder::Backwards => Range { to: Some(sort.to_owned()), ..range.clone() },
    }
}

/// The first key of a call, for its error message.
fn first(keys: &[Key]) -> String {
    keys.first().map(ToString::to_string).unwrap_or_default()
}

impl Store for DynamoStore {
    async fn get(&self, keys: Vec<Key>) -> Result<Vec<Option<Item>>, StoreError> {
        let target = first(&keys);
        // DynamoDB refuses a call that names a key twice.
        let unique: Vec<&Key> = keys.iter().collect::<BTreeSet<_>>().into_iter().collect();
        // A loop, because with a closure over borrowed keys the compiler cannot prove that the futures are `Send`.
        let mut reads = Vec::new();
        for keys in unique.chunks(READS_PER_CALL) {
            reads.push(self.within_timeout("get", &target, self.read_some(keys)));
        }
        // By key: DynamoDB answers in any order and leaves out what does not exist.
        let mut found = HashMap::with_capacity(unique.len());
        for read in stream::iter(reads).buffered(CONCURRENT_CALLS).collect::<Vec<_>>().await {
            found.extend(read?);
        }
        Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
    }

    async fn range(&self, range: Range) -> Result<Page, StoreError> {
        if range.to.as_ref().is_some_and(|to| *to <= range.from) {
            return Ok(Page::default());
        }
        self.within_timeout("range", &range.partition, self.page(&range)).await
    }

    async fn put(&self, items: Vec<Item>) -> Result<(), StoreError> {
        let target = items.first().map(|item| item.key.to_string()).unwrap_or_default();
        // DynamoDB refuses a call that names a key twice. Collecting keeps the last item of a key, as the port demands.
        let unique: BTreeMap<&Key, &Item> = items.iter().map(|item| (&item.key, item)).collect();
        let request = |item: &Item| {
            let put = PutRequest::builder().set_item(Some(attributes(item)?)).build()?;
            Ok(WriteRequest::builder().put_request(put).build())
        };
        self.write("put", &target, unique.into_values().map(request).collect()).await
    }

    async fn put_if(&self, item: Item, expected: Expected) -> Result<(), PutError> {
        let target = item.key.to_string();
        let error = |error: BoxError| self.error("put_if", &target, error);
        let all = attributes(&item).map_err(|oversized| error(oversized.into()))?;
        let put = self.client.put_item().table_name(&self.table).set_item(Some(all));
        let put = match expected {
            Expected::Absent => put.condition_expression("attribute_not_exists(pk)"),
            Expected::Version(version) => put
                .condition_expression("version = :version")
                .expression_attribute_values(":version", AttributeValue::N(version.to_string())),
        };
        // The item that was in the way comes with the refusal and costs no read.
        let put = put.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let attempts = Attempts::default();
        let put = put.customize().interceptor(attempts.clone());
        let sent =
            async { Ok(put.send().await.map_err(aws_sdk_dynamodb::error::SdkError::into_service_error)) };
        match self.within_timeout("put_if", &target, sent).await? {
            Ok(_) => Ok(()),
            Err(PutItemError::ConditionalCheckFailedException(failed)) => {
                let held =
                    failed.item.map(self::item).transpose().map_err(|foreign| error(foreign.into()))?;
                // An earlier attempt may have written the item and its reply been lost; then the stored item is our own.
                let is_own = attempts.count() > 1 && held.is_some_and(|held| held == stored(item));
                if is_own { Ok(()) } else { Err(PutError::Conflict) }
            }
            Err(failed) => Err(PutError::Store(error(aws_sdk_dynamodb::Error::from(failed).into()))),
        }
    }

    async fn delete(&self, keys: Vec<Key>) -> Result<(), StoreError> {
        let target = first(&keys);
        let unique: BTreeSet<&Key> = keys.iter().collect();
        let request = |key: &Key| {
            let delete = DeleteRequest::builder().set_key(Some(key_attributes(key))).build()?;
            Ok(WriteRequest::builder().delete_request(delete).build())
        };
        self.write("delete", &target, unique.into_iter().map(request).collect()).await
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::Error;
    use aws_sdk_dynamodb::error::ErrorMetadata;

    use super::*;

    #[test]
    fn failures_are_told_apart_by_what_the_caller_can_do() {
        let coded = |code: &str| {
            let meta = ErrorMetadata::builder().code(code).build();
            BoxError::from(Error::from(PutItemError::generic(meta)))
        };
        let oversized = Item {
            key: Key { partition: "p".to_owned(), sort: "s".to_owned() },
            body: vec![0; Item::MAX_BODY_BYTES + 1],
            version: 0,
            expires_at: None,
        };
        for (error, expected) in [
            (coded("ThrottlingException"), StoreErrorKind::Throttled),
            (coded("ProvisionedThroughputExceededException"), StoreErrorKind::Throttled),
            (coded("RequestLimitExceeded"), StoreErrorKind::Throttled),
            (coded("AccessDeniedException"), StoreErrorKind::Denied),
            (coded("UnrecognizedClientException"), StoreErrorKind::Denied),
            (coded("InternalServerError"), StoreErrorKind::Unavailable),
            (coded("ResourceNotFoundException"), StoreErrorKind::Unavailable),
            (TimedOut.into(), StoreErrorKind::Unavailable),
            // Neither is cured by a retry: the item itself is the problem.
            (item(Attributes::new()).unwrap_err().into(), StoreErrorKind::Damaged),
            (attributes(&oversized).unwrap_err().into(), StoreErrorKind::Damaged),
        ] {
            assert_eq!(kind_of(&error), expected, "{error}");
        }
    }

    #[test]
    fn rest_of_a_range_begins_right_behind_an_item_in_its_order() {
        let range = |order| Range {
            partition: "p".to_owned(),
            from: "a".to_owned(),
            to: Some("z".to_owned()),
            order,
            limit: 2,
        };
        let forwards = behind(&range(ScanOrder::Forwards), "m");
        // Nothing sorts between `m` and this.
        assert_eq!((forwards.from.as_str(), forwards.to.as_deref()), ("m\0", Some("z")));
        let backwards = behind(&range(ScanOrder::Backwards), "m");
        assert_eq!((backwards.from.as_str(), backwards.to.as_deref()), ("a", Some("m")));
    }
}
