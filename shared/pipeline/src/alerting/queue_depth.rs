//! Reads how much mail waits in the SQS queues that tenants name in their settings. The depths go onto the stream as gauge events, so that
//! they are counted, kept and evaluated like everything else.

use std::error::Error;
use std::future::Future;

use event::{TenantId, Timestamp};
use futures::stream::{self, StreamExt as _};
use serde_json::json;

use crate::directory::queue_url::QueueUrl;
use crate::directory::tenants;
use crate::ports::{CONCURRENT_CALLS, Store};
use crate::stored::ReadError;

/// Why the depth of a queue could not be read.
pub type QueueError = Box<dyn Error + Send + Sync>;

/// Reads the depth of queues.
pub trait QueueReader: Sync {
    /// The number of messages that wait in a queue.
    fn depth(&self, queue: &QueueUrl) -> impl Future<Output = Result<u64, QueueError>> + Send;
}

/// The result of reading the queues of all tenants.
#[derive(Debug, Default)]
pub struct QueueDepths {
    /// Records for the stream: one for each tenant all of whose queues were read.
    pub records: Vec<Vec<u8>>,
    /// The queues that could not be read, at most one per tenant. Such a tenant has no record, since the sum of its other queues would be
    /// wrong.
    pub failed: Vec<(QueueUrl, QueueError)>,
}

/// Reads the queues of all tenants that name some.
///
/// # Errors
/// [`ReadError`] if the tenants' settings cannot be read.
pub async fn read<S: Store, Q: QueueReader>(
    store: &S,
    reader: &Q,
    now: Timestamp,
) -> Result<QueueDepths, ReadError> {
    let mut tenants = tenants::all_settings(store).await?;
    // A tenant without queues must not report a depth of 0: its queue is unknown and not empty.
    tenants.retain(|(_, settings)| !settings.queues.is_empty());
    let sums: Vec<_> = tenants.iter().map(|(_, settings)| sum(reader, &settings.queues)).collect();
    let sums: Vec<_> = stream::iter(sums).buffered(CONCURRENT_CALLS).collect().await;
    let mut depths = QueueDepths::default();
    for ((tenant, _), sum) in tenants.iter().zip(sums) {
        match sum {
            Ok(depth) => depths.records.push(record(tenant, depth, now)),
            Err(failed) => depths.failed.push(failed),
        }
    }
    Ok(depths)
}

/// The sum of the depths of a tenant's queues, or the first queue that cannot be read.
async fn sum<Q: QueueReader>(reader: &Q, queues: &[QueueUrl]) -> Result<u64, (QueueUrl, QueueError)> {
    let mut sum = 0_u64;
    for queue in queues {
        // The first failure ends the sum: a sum without one queue would look as if mail had been sent.
        let depth = reader.depth(queue).await.map_err(|error| (queue.clone(), error))?;
        sum = sum.saturating_add(depth);
    }
    Ok(sum)
}

/// A gauge event in the form in which a sender would put it onto the stream. The tenant is named by SES's own tag, which is read whatever
/// the deployment's tenant tag is called.
fn record(tenant: &TenantId, depth: u64, now: Timestamp) -> Vec<u8> {
    let mail = json!({
        "timestamp": now.to_string(),
        // The same for all readings of a tenant, so that they go to one shard; the time tells them apart.
        "messageId": format!("sqs-{tenant}"),
        "tags": { "ses:tenant-name": [tenant.as_str()] },
    });
    json!({ "eventType": "QueueDepth", "mail": mail, "queueDepth": { "depth": depth } })
        .to_string()
        .into_bytes()
}

#[cfg(test)]
mod tests {
    use event::attribution::Attribution;
    use event::{Decoded, Decoder, EventType};

    use super::*;
    use crate::directory::tenants::TenantSettings;
    use crate::memory::MemoryStore;

    fn url(name: &str) -> QueueUrl {
        QueueUrl::try_from(format!("https://sqs.eu-central-1.amazonaws.com/123456789012/{name}")).unwrap()
    }

    /// Each queue holds as many messages as its name says. A queue without a number cannot be read.
    struct NamedDepths;

    impl QueueReader for NamedDepths {
        async fn depth(&self, queue: &QueueUrl) -> Result<u64, QueueError> {
            Ok(queue.as_str().rsplit('/').next().unwrap().parse()?)
        }
    }

    #[tokio::test]
    async fn a_tenants_queues_are_reported_as_one_sum_or_not_at_all() {
        let store = MemoryStore::new();
        for (tenant, names) in
            [("acme", vec!["3", "40"]), ("globex", vec!["0"]), ("half", vec!["7", "gone"]), ("none", vec![])]
        {
            let queues = names.into_iter().map(url).collect();
            let tenant = TenantId::new(tenant).unwrap();
            let settings = TenantSettings { queues, ..TenantSettings::default() };
            tenants::save_settings(&store, &tenant, &settings).await.unwrap();
        }
        let now = Timestamp::from_millis(1_762_999_200_000);
        let QueueDepths { records, failed } = read(&store, &NamedDepths, now).await.unwrap();
        assert_eq!(failed.iter().map(|(queue, _)| queue.clone()).collect::<Vec<_>>(), [url("gone")]);
        let attribution = Attribution::default();
        let mut found = Vec::new();
        for record in &records {
            Decoder::new().decode(record, &mut |decoded| {
                let Decoded::Event(event) = decoded else { panic!("{decoded:?}") };
                let EventType::QueueDepth { depth } = event.event_type else { panic!("{event:?}") };
                let message = attribution.attribute(event);
                found.push((message.tenant.to_string(), message.conflict, depth, event.at));
            });
        }
        assert_eq!(found, [("acme".to_owned(), false, 43, now), ("globex".to_owned(), false, 0, now)]);
    }
}
