//! The store in one DynamoDB table: partition and sort key as they are, the body as bytes.
//!
//! ```text
//! pk (S)   sk (S)   body (B)   version (N)   expires_at (N, epoch seconds, the table's TTL)
//! ```
//!
//! Reads are consistent, since the commit protocol counts on seeing what was acknowledged. Whatever DynamoDB leaves undone of a batch is
//! tried again, and a conditional write whose answer was lost is recognised by what it left. No write lasts longer than
//! [`CALL_TIME`], whatever its number of items and retries, so that nothing lands later than the commit protocol allows for. It never
//! scans, and needs no right to.
//! Limits: <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html>

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, DeleteRequest, KeysAndAttributes, PutRequest, ReturnValuesOnConditionCheckFailure,
    WriteRequest,
};
use pipeline::ports::{Expected, Item, Key, Order, Page, PutError, Range, Store, StoreError};

use self::attributes::{Attributes, attributes, item, key_attributes, stored};
use self::tries::Tries;

mod attributes;
mod tries;

/// The longest that one call may take. Well below the landing time of the commit protocol's settings: what is left of that is for a
/// packet under way when the call was given up, and for clocks that differ.
pub const CALL_TIME: Duration = Duration::from_secs(6);
/// Items that one call may write, and read.
const WRITES_PER_CALL: usize = 25;
const READS_PER_CALL: usize = 100;
/// The first pause before what was left undone is tried again; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A table.
#[derive(Clone, Debug)]
pub struct DynamoStore {
    client: Client,
    table: String,
}

/// A call did not end in time.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {} s: DynamoDB is slow, throttled or out of reach", CALL_TIME.as_secs())]
struct Late;

impl DynamoStore {
    /// The table of that name.
    pub fn new(config: &aws_config::SdkConfig, table: String) -> Self {
        Self { client: Client::new(config), table }
    }

    fn error(&self, operation: &'static str, place: &str, source: impl Into<BoxError>) -> StoreError {
        StoreError { operation, place: format!("{place} in table {}", self.table), source: source.into() }
    }

    /// Ends a call that takes too long.
    async fn within_time<T>(
        &self,
        operation: &'static str,
        place: &str,
        call: impl Future<Output = Result<T, BoxError>> + Send,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(CALL_TIME, call).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(self.error(operation, place, error)),
            Err(_) => Err(self.error(operation, place, Late)),
        }
    }

    async fn read_some(&self, keys: &[&Key]) -> Result<HashMap<Key, Item>, BoxError> {
        let mut found = HashMap::new();
        let mut pause = FIRST_PAUSE;
        let mut left: Vec<Attributes> = keys.iter().map(|key| key_attributes(key)).collect();
        loop {
            let wanted = KeysAndAttributes::builder().set_keys(Some(left)).consistent_read(true).build()?;
            let reply = self.client.batch_get_item().request_items(&self.table, wanted).send().await?;
            for attributes in reply.responses.into_iter().flatten().flat_map(|(_, items)| items) {
                let item = item(attributes)?;
                found.insert(item.key.clone(), item);
            }
            left = reply.unprocessed_keys.into_iter().flatten().flat_map(|(_, left)| left.keys).collect();
            if left.is_empty() {
                return Ok(found);
            }
            rest(&mut pause).await;
        }
    }

    async fn write_some(&self, requests: Vec<WriteRequest>) -> Result<(), BoxError> {
        let mut pause = FIRST_PAUSE;
        let mut left = requests;
        loop {
            let reply = self.client.batch_write_item().request_items(&self.table, left).send().await?;
            left = reply.unprocessed_items.into_iter().flatten().flat_map(|(_, left)| left).collect();
            if left.is_empty() {
                return Ok(());
            }
            rest(&mut pause).await;
        }
    }

    /// Sends requests at once in calls of what one may hold, all of them within the time of one.
    async fn write(
        &self,
        operation: &'static str,
        place: &str,
        requests: Result<Vec<WriteRequest>, BoxError>,
    ) -> Result<(), StoreError> {
        let requests = requests.map_err(|error| self.error(operation, place, error))?;
        let calls = requests.chunks(WRITES_PER_CALL).map(<[_]>::to_vec);
        let calls: Vec<_> = calls.map(|requests| self.write_some(requests)).collect();
        let written = async { pipeline::parallel::all(calls).await.into_iter().collect() };
        self.within_time(operation, place, written).await
    }

    async fn page(&self, range: &Range) -> Result<Page, BoxError> {
        // DynamoDB refuses a range whose end comes before its beginning.
        if range.to.as_ref().is_some_and(|to| *to <= range.from) {
            return Ok(Page::default());
        }
        let mut values = HashMap::from([(":pk".to_owned(), AttributeValue::S(range.partition.clone()))]);
        // Keys are never empty, and a condition may not name an empty one.
        let mut condition = "pk = :pk".to_owned();
        match (&*range.from, &range.to) {
            ("", None) => {}
            (_, None) => condition += " AND sk >= :from",
            ("", Some(_)) => condition += " AND sk < :to",
            (_, Some(_)) => condition += " AND sk BETWEEN :from AND :to",
        }
        if !range.from.is_empty() {
            values.insert(":from".to_owned(), AttributeValue::S(range.from.clone()));
        }
        if let Some(to) = &range.to {
            values.insert(":to".to_owned(), AttributeValue::S(to.clone()));
        }
        // One more than asked for, as the item at `to` may be among them: without any other a page would lead to itself.
        let limit = i32::try_from(range.limit.max(1)).unwrap_or(i32::MAX).saturating_add(1);
        let reply = self.client.query().table_name(&self.table).consistent_read(true);
        let reply = reply.key_condition_expression(condition).set_expression_attribute_values(Some(values));
        let reply = reply.scan_index_forward(range.order == Order::Forwards).limit(limit).send().await?;
        let mut page = Page::default();
        for attributes in reply.items.into_iter().flatten() {
            let item = item(attributes)?;
            // A range ends before `to`; DynamoDB's includes it.
            if range.to.as_ref() != Some(&item.key.sort) {
                page.items.push(item);
            }
        }
        if let Some(last) = reply.last_evaluated_key {
            page.rest = Some(behind(range, attributes::sort_key(&last)?));
        }
        if page.items.len() > range.limit.max(1) {
            page.items.truncate(range.limit.max(1));
            page.rest = page.items.last().map(|last| behind(range, &last.key.sort));
        }
        Ok(page)
    }
}

/// The part of a range behind the item at `sort`.
fn behind(range: &Range, sort: &str) -> Range {
    match range.order {
        // The smallest text behind another is that one with the smallest character.
        Order::Forwards => Range { from: format!("{sort}\0"), ..range.clone() },
        Order::Backwards => Range { to: Some(sort.to_owned()), ..range.clone() },
    }
}

/// What a call is about, for its error.
fn first(keys: &[Key]) -> String {
    keys.first().map(ToString::to_string).unwrap_or_default()
}

/// Waits, and longer the next time.
async fn rest(pause: &mut Duration) {
    tokio::time::sleep(*pause).await;
    *pause = (*pause * 2).min(LONGEST_PAUSE);
}

impl Store for DynamoStore {
    async fn get(&self, keys: Vec<Key>) -> Result<Vec<Option<Item>>, StoreError> {
        let place = first(&keys);
        // DynamoDB refuses a call that names a key twice.
        let unique: Vec<&Key> = keys.iter().collect::<BTreeSet<_>>().into_iter().collect();
        // A loop, since a closure over borrowed keys would hide from the compiler that the futures may change threads.
        let mut reads = Vec::new();
        for keys in unique.chunks(READS_PER_CALL) {
            reads.push(self.within_time("get", &place, self.read_some(keys)));
        }
        let mut found = HashMap::with_capacity(unique.len());
        for read in pipeline::parallel::all(reads).await {
            found.extend(read?);
        }
        Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
    }

    async fn range(&self, range: Range) -> Result<Page, StoreError> {
        if range.to.as_ref().is_some_and(|to| *to <= range.from) {
            return Ok(Page::default());
        }
        self.within_time("range", &range.partition, self.page(&range)).await
    }

    async fn put(&self, items: Vec<Item>) -> Result<(), StoreError> {
        let place = items.first().map(|item| item.key.to_string()).unwrap_or_default();
        // As above; the last item of a key is the one that would have stayed.
        let unique: BTreeMap<&Key, &Item> = items.iter().map(|item| (&item.key, item)).collect();
        let request = |item: &Item| {
            let put = PutRequest::builder().set_item(Some(attributes(item)?)).build()?;
            Ok(WriteRequest::builder().put_request(put).build())
        };
        self.write("put", &place, unique.into_values().map(request).collect()).await
    }

    async fn put_if(&self, item: Item, expected: Expected) -> Result<(), PutError> {
        let place = item.key.to_string();
        let error = |error: BoxError| self.error("put_if", &place, error);
        let all = attributes(&item).map_err(|strange| error(strange.into()))?;
        let put = self.client.put_item().table_name(&self.table).set_item(Some(all));
        let put = match expected {
            Expected::Absent => put.condition_expression("attribute_not_exists(pk)"),
            Expected::Version(version) => put
                .condition_expression("version = :version")
                .expression_attribute_values(":version", AttributeValue::N(version.to_string())),
        };
        let put = put.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let tries = Tries::default();
        let put = put.customize().interceptor(tries.clone());
        let sent =
            async { Ok(put.send().await.map_err(aws_sdk_dynamodb::error::SdkError::into_service_error)) };
        match self.within_time("put_if", &place, sent).await? {
            Ok(_) => Ok(()),
            Err(PutItemError::ConditionalCheckFailedException(failed)) => {
                let held =
                    failed.item.map(self::item).transpose().map_err(|strange| error(strange.into()))?;
                // A try before may have written and its answer been lost; then what is found is our own.
                let is_own = tries.count() > 1 && held.is_some_and(|held| held == stored(item));
                if is_own { Ok(()) } else { Err(PutError::Conflict) }
            }
            Err(failed) => Err(PutError::Store(error(failed.into()))),
        }
    }

    async fn delete(&self, keys: Vec<Key>) -> Result<(), StoreError> {
        let place = first(&keys);
        let unique: BTreeSet<&Key> = keys.iter().collect();
        let request = |key: &Key| {
            let delete = DeleteRequest::builder().set_key(Some(key_attributes(key))).build()?;
            Ok(WriteRequest::builder().delete_request(delete).build())
        };
        self.write("delete", &place, unique.into_iter().map(request).collect()).await
    }
}
