//! How much mail waits in the SQS queues that tenants name: read by whoever watches, and put on the stream as gauges, so that it is
//! counted, kept and watched like any other.

use std::error::Error;
use std::fmt::{self, Display};
use std::future::Future;

use event::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::directory::tenants::{self, DetailsError};
use crate::parallel;
use crate::ports::Store;

/// Queues of one tenant.
pub const MAX_QUEUES: usize = 20;

/// The URL of a queue of Amazon SQS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QueueUrl(String);

/// A text that is no queue's URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no queue's URL; it looks like {}", QueueUrl::EXAMPLE)]
pub struct NoQueueUrl;

impl QueueUrl {
    /// What one looks like.
    pub const EXAMPLE: &'static str = "https://sqs.eu-central-1.amazonaws.com/123456789012/outbox";

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn is_one(url: &str) -> bool {
        let Some((host, path)) = url.strip_prefix("https://sqs.").and_then(|rest| rest.split_once('/'))
        else {
            return false;
        };
        let region = [".amazonaws.com", ".amazonaws.com.cn"].iter().find_map(|end| host.strip_suffix(end));
        let Some((region, (account, name))) = region.zip(path.split_once('/')) else { return false };
        let of = |text: &str, more: &[u8]| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
        };
        let name = name.strip_suffix(".fifo").unwrap_or(name);
        of(region, b"-")
            && region.len() <= 32
            && account.len() == 12
            && account.bytes().all(|byte| byte.is_ascii_digit())
            && name.len() <= 80
            && of(name, b"-_")
    }
}

impl TryFrom<String> for QueueUrl {
    type Error = NoQueueUrl;

    fn try_from(url: String) -> Result<Self, NoQueueUrl> {
        if Self::is_one(&url) { Ok(Self(url)) } else { Err(NoQueueUrl) }
    }
}

impl From<QueueUrl> for String {
    fn from(url: QueueUrl) -> Self {
        url.0
    }
}

impl Display for QueueUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Why a queue does not tell how many messages wait in it.
pub type Unknown = Box<dyn Error + Send + Sync>;

/// Whoever can tell how many messages wait in a queue.
pub trait Queues: Sync {
    /// How many wait in one queue.
    fn waiting(&self, queue: &QueueUrl) -> impl Future<Output = Result<u64, Unknown>> + Send;
}

/// What was read of the tenants' queues.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Records for the stream: one for each tenant whose queues all told.
    pub records: Vec<Vec<u8>>,
    /// Queues that did not tell, and why: part of a tenant's sum would be a wrong one, so such a tenant has no record.
    pub failed: Vec<(QueueUrl, Unknown)>,
}

/// Reads the queues of all tenants that name some.
///
/// # Errors
/// [`DetailsError`] if what tenants name cannot be read.
pub async fn gauges<S: Store, Q: Queues>(
    store: &S,
    queues: &Q,
    now: Timestamp,
) -> Result<Gauges, DetailsError> {
    let mut named = tenants::described(store).await?;
    named.retain(|(_, details)| !details.queues.is_empty());
    let sums = parallel::all(named.iter().map(|(_, details)| sum(queues, &details.queues))).await;
    let mut gauges = Gauges::default();
    for ((tenant, _), sum) in named.iter().zip(sums) {
        match sum {
            Ok(depth) => gauges.records.push(record(tenant, depth, now)),
            Err(failed) => gauges.failed.push(failed),
        }
    }
    Ok(gauges)
}

/// How many wait in all of a tenant's queues, or the first that does not tell.
async fn sum<Q: Queues>(queues: &Q, named: &[QueueUrl]) -> Result<u64, (QueueUrl, Unknown)> {
    let mut depth = 0_u64;
    for queue in named {
        let waiting = queues.waiting(queue).await.map_err(|error| (queue.clone(), error))?;
        depth = depth.saturating_add(waiting);
    }
    Ok(depth)
}

/// A gauge as a sender would put it on the stream. SES's own tag for tenants names one whatever the deployment's tag is called.
fn record(tenant: &TenantId, depth: u64, now: Timestamp) -> Vec<u8> {
    let mail = json!({
        "timestamp": now.to_string(),
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
    use event::{Decoded, Decoder, EventKind};

    use super::*;
    use crate::directory::tenants::Details;
    use crate::memory::MemoryStore;

    fn url(name: &str) -> QueueUrl {
        QueueUrl::try_from(format!("https://sqs.eu-central-1.amazonaws.com/123456789012/{name}")).unwrap()
    }

    /// Each queue holds as many messages as its name says.
    struct Named;

    impl Queues for Named {
        async fn waiting(&self, queue: &QueueUrl) -> Result<u64, Unknown> {
            Ok(queue.as_str().rsplit('/').next().unwrap().parse()?)
        }
    }

    #[tokio::test]
    async fn a_tenants_queues_are_told_as_one_sum_or_not_at_all() {
        let store = MemoryStore::new();
        for (tenant, names) in
            [("acme", vec!["3", "40"]), ("globex", vec!["0"]), ("half", vec!["7", "gone"]), ("none", vec![])]
        {
            let queues = names.into_iter().map(url).collect();
            let tenant = TenantId::new(tenant).unwrap();
            tenants::describe(&store, &tenant, &Details { queues, ..Details::default() }).await.unwrap();
        }
        let now = Timestamp::from_millis(1_762_999_200_000);
        let Gauges { records, failed } = gauges(&store, &Named, now).await.unwrap();
        assert_eq!(failed.iter().map(|(queue, _)| queue.clone()).collect::<Vec<_>>(), [url("gone")]);
        let attribution = Attribution::default();
        let mut found = Vec::new();
        for record in &records {
            Decoder::new().decode(record, &mut |decoded| {
                let Decoded::Event(event) = decoded else { panic!("{decoded:?}") };
                let EventKind::QueueDepth { depth } = event.kind else { panic!("{event:?}") };
                let message = attribution.message(event);
                found.push((message.tenant.to_string(), message.conflict, depth, event.at));
            });
        }
        assert_eq!(found, [("acme".to_owned(), false, 43, now), ("globex".to_owned(), false, 0, now)]);
    }

    #[test]
    fn only_urls_of_queues_are_taken() {
        for good in [QueueUrl::EXAMPLE, "https://sqs.cn-north-1.amazonaws.com.cn/123456789012/a_b-c.fifo"] {
            assert_eq!(QueueUrl::try_from(good.to_owned()).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "outbox",
            "http://sqs.eu-central-1.amazonaws.com/123456789012/outbox",
            "https://sqs.eu-central-1.amazonaws.com.evil.example/123456789012/outbox",
            "https://sqs.evil.example/x.amazonaws.com/123456789012/outbox",
            "https://sqs.eu-central-1.amazonaws.com/12345678901/outbox",
            "https://sqs.eu-central-1.amazonaws.com/123456789012/",
            "https://sqs.eu-central-1.amazonaws.com/123456789012/a/b",
            "https://sqs.eu-central-1.amazonaws.com/123456789012/out box",
        ] {
            assert_eq!(QueueUrl::try_from(bad.to_owned()), Err(NoQueueUrl), "{bad}");
        }
    }
}
