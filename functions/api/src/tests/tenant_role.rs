//! The IAM policy that `infra` offers for a tenant's own role: with it every query of the tenant is answered, and every other access to the
//! table is denied.

use std::num::NonZeroUsize;
use std::sync::Arc;

use cells::query::metrics::SENDS;
use cells::query::{Locale, Query, Scope};
use event::{ShardId, TenantId, Timestamp};
use pipeline::history::answering;
use pipeline::history::compaction;
use pipeline::memory::MemoryStore;
use pipeline::ports::{Expected, Item, Key, Page, PutError, Range, Store, StoreError, StoreErrorKind};
use pipeline::testing::counting;
use serde_json::Value;

const POLICY: &str = include_str!("../../../../infra/tenant-reader-policy.json");
const NOW: Timestamp = Timestamp::from_millis(1_763_000_000_000);

/// A store as seen by a role under the policy that is tagged with one tenant.
struct PolicyStore {
    store: Arc<MemoryStore>,
    allowed: Vec<String>,
    actions: Vec<String>,
}

impl PolicyStore {
    fn new(store: &Arc<MemoryStore>, tenant: &str) -> Self {
        let policy: Value = serde_json::from_str(POLICY).unwrap();
        let statement = &policy["Statement"][0];
        assert_eq!((&policy["Statement"][1], &statement["Effect"]), (&Value::Null, &Value::from("Allow")));
        let texts = |list: &Value| -> Vec<String> {
            list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
        };
        let keys = &statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"];
        let with_tag = |pattern: String| pattern.replace("${aws:PrincipalTag/tenant}", tenant);
        Self {
            store: Arc::clone(store),
            allowed: texts(keys).into_iter().map(with_tag).collect(),
            actions: texts(&statement["Action"]),
        }
    }

    /// Compares as IAM does: `*` at the end stands for any text.
    fn check<'a>(
        &self,
        action: &str,
        partitions: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), StoreError> {
        let fits = |partition: &str| {
            self.allowed.iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(beginning) => partition.starts_with(beginning),
                None => partition == pattern,
            })
        };
        let denied = partitions.into_iter().find(|partition| !fits(partition));
        match denied {
            None if self.actions.iter().any(|allowed| *allowed == format!("dynamodb:{action}")) => Ok(()),
            _ => {
                let target = denied.unwrap_or_default();
                Err(StoreError::new(StoreErrorKind::Denied, "call", target, "AccessDeniedException"))
            }
        }
    }
}

impl Store for PolicyStore {
    async fn get(&self, keys: Vec<Key>) -> Result<Vec<Option<Item>>, StoreError> {
        self.check("BatchGetItem", keys.iter().map(|key| key.partition.as_str()))?;
        self.store.get(keys).await
    }

    async fn range(&self, range: Range) -> Result<Page, StoreError> {
        self.check("Query", [range.partition.as_str()])?;
        self.store.range(range).await
    }

    async fn put(&self, _: Vec<Item>) -> Result<(), StoreError> {
        self.check("BatchWriteItem", [])
    }

    async fn put_if(&self, _: Item, _: Expected) -> Result<(), PutError> {
        self.check("PutItem", []).map_err(PutError::Store)
    }

    async fn delete(&self, _: Vec<Key>) -> Result<(), StoreError> {
        self.check("BatchWriteItem", [])
    }
}

/// The sends of a tenant as the role sees them, or the refusal.
async fn sends(store: &PolicyStore, scope: Scope, granularity: &str) -> Result<u64, String> {
    let pairs = [
        ("metrics", "sends"),
        ("from", "2025-11-13T00:00:00Z"),
        ("to", "2025-11-14T00:00:00Z"),
        ("granularity", granularity),
        ("group_by", "campaign"),
    ];
    let query = Query::from_pairs(pairs, scope, &Locale::default(), NOW).unwrap();
    let answer =
        answering::answer(store, &query, &compaction::CompactionSettings::default(), NOW, NonZeroUsize::MIN)
            .await;
    let answer = answer.map_err(|error| format!("{error:?}"))?;
    Ok(answer.rows().map(|row| row.count(SENDS)).sum())
}

#[tokio::test]
async fn role_reads_its_own_tenant_and_no_other() {
    let store = Arc::new(MemoryStore::new());
    let mail = |tenant: &str, number: u32| {
        format!(
            r#"{{"eventType":"Send","mail":{{"timestamp":"2025-11-13T02:00:00Z","messageId":"{tenant}{number}","source":"a@a.example","destination":["b@b.example"],"tags":{{"tenant":["{tenant}"]}}}},"send":{{}}}}"#
        )
    };
    // A name that is a prefix of another must not give access to it.
    let mails = [("acme", 3), ("acme2", 5), ("globex", 7)];
    let lines: Vec<String> =
        mails.iter().flat_map(|&(tenant, sent)| (0..sent).map(move |number| mail(tenant, number))).collect();
    let shard = ShardId::new("shard-1").unwrap();
    counting::count(&store, &shard, 1, lines.join("\n").as_bytes(), NOW).await.unwrap();
    for is_compacted in [false, true] {
        if is_compacted {
            let mut id = 100;
            let attempt = || {
                id += 1;
                pipeline::ledger::aggregate::Attempt { id, deadline: NOW.plus_millis(86_400_000) }
            };
            let clock = counting::FixedClock(NOW.plus_millis(6 * 3_600_000));
            let settings = compaction::CompactionSettings::default();
            compaction::schedule::compact_due::<cells::Block, _, _>(&store, &clock, &settings, attempt)
                .await
                .unwrap();
        }
        for (tenant, sent) in mails {
            let role = PolicyStore::new(&store, tenant);
            for granularity in ["1m", "1h", "total"] {
                let own = Scope::Tenant(TenantId::new(tenant).unwrap());
                assert_eq!(sends(&role, own, granularity).await, Ok(sent.into()), "{tenant}");
                for (other, _) in mails.iter().filter(|(other, _)| *other != tenant) {
                    let scope = Scope::Tenant(TenantId::new(other).unwrap());
                    let refused = sends(&role, scope, granularity).await.unwrap_err();
                    assert!(refused.contains("AccessDenied"), "{refused}");
                }
                assert!(sends(&role, Scope::All, granularity).await.is_err());
            }
            assert!(role.put(Vec::new()).await.is_err() && role.delete(Vec::new()).await.is_err());
        }
    }
}
