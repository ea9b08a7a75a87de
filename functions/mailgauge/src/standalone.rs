//! Everything of one process: a store, its secrets, and the steps over them. The store lies in a folder; commands that look after a
//! deployment work on its table by the same steps.
//!
//! The steps are those of the Lambda functions; this only holds what they need. One process has one queue, so there is
//! one shard, and its records are numbered here.

mod place;
mod secrets;

use std::path::Path;
use std::sync::{Arc, Mutex};

use adapters::embedded::EmbeddedStore;
use adapters::randomness::random;
use adapters::seal::SecretSeal;
use adapters::secrets::Secrets;
use adapters::system_clock::SystemClock;
use anyhow::Context as _;
use cells::Block;
use event::attribution::Attribution;
use event::{SequenceNumber, ShardId, Timestamp};
use pipeline::alerting::detection_run::{self, Announce, Watched};
use pipeline::directory::audit;
use pipeline::directory::credentials::{self, ApiKey, Credential, Grant};
use pipeline::directory::mappings::Following;
use pipeline::history::compaction::{self, due};
use pipeline::history::snapshot::Progress;
use pipeline::ledger::accumulate::EventFold;
use pipeline::ledger::aggregate::{self, Attempt, Batch, Record};
use pipeline::ledger::checkpoint::{self, Totals};
use pipeline::ledger::deduplication::Memory;
use pipeline::ledger::quarantine::{self, Stored};
use pipeline::ports::Clock as _;

pub use place::Place;

/// The one queue of this process.
const SHARD: &str = "local";
/// The longest a try may hold its batch; another process never waits for it, see [`Standalone::begin`].
const ATTEMPT_MS: i64 = 60_000;
/// The longest one round of folding may take.
const TIDY_MS: i64 = 30_000;
/// The longest one run of detection may take, what it tells included.
const WATCH_MS: i64 = 30_000;
/// Readers live in this process and are done within seconds, so what was merged need not be kept for longer.
const READER_GRACE_MS: i64 = 2 * 60_000;
/// The demo's key is printed at each start, so it need not live long.
const DEMO_KEY_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// The store and what counting needs.
pub struct Standalone {
    /// Where everything is kept.
    pub store: Arc<Place>,
    /// What unreadable records are sealed with.
    pub seal: SecretSeal,
    /// How long history is kept at which resolution.
    pub history: compaction::Settings,
    /// The names of the declared tags.
    pub tags: Vec<String>,
    aggregate: aggregate::Settings,
    shard: ShardId,
    counting: tokio::sync::Mutex<Counting>,
    oldest_unmerged: Mutex<Option<Timestamp>>,
}

/// What one batch after the other needs.
struct Counting {
    fold: EventFold<SecretSeal>,
    following: Following,
    memory: Memory,
    /// What is tried again has a shard of its own, and so a memory.
    replayed: Memory,
    next: Option<u64>,
}

/// What became of one payload; also what a server replies to one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub struct Counted {
    /// Counts made.
    pub events: u64,
    /// Counts made before.
    pub duplicates: u64,
    /// Parts that are no events of sent mail.
    pub ignored: u64,
    /// Parts that cannot be read.
    pub quarantined: u64,
}

impl Counted {
    /// Adds what became of another payload.
    pub const fn add(&mut self, other: Self) {
        self.events += other.events;
        self.duplicates += other.duplicates;
        self.ignored += other.ignored;
        self.quarantined += other.quarantined;
    }
}

impl From<&Totals> for Counted {
    fn from(totals: &Totals) -> Self {
        Self {
            events: totals.aggregated,
            duplicates: totals.duplicates,
            ignored: totals.ignored,
            quarantined: totals.quarantined,
        }
    }
}

impl Standalone {
    /// Opens the folder, which is made if it is not there.
    pub fn open(folder: &Path, attribution: Attribution) -> anyhow::Result<Self> {
        let store = EmbeddedStore::open(folder)?;
        let secrets = secrets::read_or_make(folder)?;
        let history = compaction::Settings { grace_ms: READER_GRACE_MS, ..compaction::Settings::default() };
        Self::over(Place::Folder(store), &secrets, history, attribution)
    }

    /// Works on the table of a deployment, which the environment's AWS settings say how to reach.
    #[cfg(feature = "aws")]
    pub async fn of_table(table: &str, attribution: Attribution) -> anyhow::Result<Self> {
        use adapters::aws;
        let store = aws::dynamodb::DynamoStore::new(&aws::config().await, table.to_owned());
        let secrets = Secrets::of_store(&store).await?;
        Self::over(Place::Table(store), &secrets, compaction::Settings::default(), attribution)
    }

    fn over(
        store: Place,
        secrets: &Secrets,
        history: compaction::Settings,
        attribution: Attribution,
    ) -> anyhow::Result<Self> {
        let tags = attribution.declared_tags().to_vec();
        let fold = EventFold::new(attribution.clone(), secrets.hash_key(), secrets.seal());
        Ok(Self {
            store: Arc::new(store),
            seal: secrets.seal(),
            history,
            tags,
            aggregate: aggregate::Settings::default(),
            shard: ShardId::new(SHARD)?,
            counting: tokio::sync::Mutex::new(Counting {
                fold,
                following: Following::new(attribution),
                memory: Memory::default(),
                replayed: Memory::default(),
                next: None,
            }),
            oldest_unmerged: Mutex::new(None),
        })
    }

    /// Ends the lease of an attempt that failed, in this process or in the one that had the folder before. This process holds the folder's
    /// lock, so no other attempt can still be writing. A table has no such lock: other processes may be writing to it, and leases must run
    /// out.
    pub async fn begin(&self) -> anyhow::Result<()> {
        if !self.store.is_ours_alone() {
            return Ok(());
        }
        aggregate::end_leases(&self.store).await.context("cannot take over from the process before")
    }

    /// Counts payloads as one batch; returns when it is committed.
    pub async fn count(&self, payloads: &[&[u8]]) -> anyhow::Result<Counted> {
        let mut sum = Counted::default();
        for one in self.count_each(payloads).await? {
            sum.add(one);
        }
        Ok(sum)
    }

    /// Counts payloads as one batch; what became of each.
    pub async fn count_each(&self, payloads: &[&[u8]]) -> anyhow::Result<Vec<Counted>> {
        let mut counting = self.counting.lock().await;
        let now = SystemClock.now();
        let Counting { fold, following, memory, next, .. } = &mut *counting;
        following.lead(fold, &self.store, now).await?;
        let first = if let Some(first) = next {
            *first
        } else {
            self.begin().await?;
            self.first_free().await?
        };
        // Only a committed batch uses up its numbers. Unless this attempt commits, the next one reads the checkpoint first.
        *next = None;
        let numbered = (first..).zip(payloads);
        let records = numbered
            .map(|(number, &data)| Record { sequence: SequenceNumber::from(number), arrived_at: now, data })
            .collect();
        let batch = Batch { shard: &self.shard, records };
        let attempt = attempt(now, ATTEMPT_MS)?;
        let committed =
            aggregate::aggregate(&self.store, &SystemClock, &self.aggregate, fold, memory, &batch, attempt)
                .await
                .context("a batch was not counted")?;
        *next = Some(first + payloads.len() as u64);
        Ok(committed.each.iter().map(Counted::from).collect())
    }

    /// Tries quarantined records again; returns when that is committed. What can be opened leaves the quarantine; what still cannot be
    /// read comes back.
    pub async fn replay(&self, parts: &[Stored]) -> anyhow::Result<Counted> {
        let mut counting = self.counting.lock().await;
        let now = SystemClock.now();
        let Counting { fold, following, replayed, .. } = &mut *counting;
        following.lead(fold, &self.store, now).await?;
        let attempt = attempt(now, ATTEMPT_MS)?;
        let with = (fold, replayed, &self.seal);
        let committed = quarantine::replay(&self.store, &SystemClock, &self.aggregate, with, parts, attempt)
            .await
            .context("nothing more was tried again")?;
        Ok(Counted::from(&committed.totals))
    }

    async fn first_free(&self) -> anyhow::Result<u64> {
        let cursor = checkpoint::read(&self.store, &self.shard).await?.record;
        match cursor.done {
            None => Ok(1),
            Some(done) => Ok(1 + done
                .as_str()
                .parse::<u64>()
                .context("the local queue's cursor is no number of ours")?),
        }
    }

    /// Compacts the deltas that are due and drops what has expired. After a failed write it first checks whether the disk works again.
    pub async fn tidy(&self) -> anyhow::Result<()> {
        self.store.recover().await?;
        let now = SystemClock.now();
        // Fails only if the system gives no random numbers, which `attempt` has shown it does.
        let first = attempt(now, TIDY_MS)?;
        let next = || attempt(SystemClock.now(), TIDY_MS).unwrap_or(first);
        let report = due::compact_due::<Block, _, _>(&self.store, &SystemClock, &self.history, next).await?;
        for (tenant, error) in &report.failed {
            tracing::warn!(tenant.id = %tenant, error = %error, "a tenant was not compacted and stays due");
        }
        for (shard, error) in &report.failed_shards {
            tracing::warn!(%shard, error = %error, "the backlog of a shard could not be read or written: its tenants wait");
        }
        *self.oldest_unmerged.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
            report.oldest_unmerged;
        self.store.drop_expired(now).await?;
        Ok(())
    }

    /// Judges the minutes that are over and tells what changed.
    pub async fn watch<A: Announce>(
        &self,
        announce: &A,
        settings: &detection_run::Settings,
        memory: &mut detection_run::Memory,
    ) -> anyhow::Result<Watched> {
        let attempt = attempt(SystemClock.now(), WATCH_MS)?;
        Ok(detection_run::run(&self.store, &SystemClock, announce, &(), settings, memory, attempt).await?)
    }

    /// When the oldest delta came that no block holds yet, at the last round of folding.
    pub fn oldest_unmerged(&self) -> Option<Timestamp> {
        *self.oldest_unmerged.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The newest event counted.
    pub async fn newest_event(&self) -> anyhow::Result<Option<Timestamp>> {
        Ok(Progress::read(&self.store).await?.newest_event())
    }

    /// An operator's key, if there has never been any key here.
    pub async fn first_operator_key(&self) -> anyhow::Result<Option<String>> {
        if !credentials::list(&self.store).await?.is_empty() {
            return Ok(None);
        }
        let (key, _) = self.add_key(Grant::Operator, "first operator", None).await?;
        Ok(Some(key))
    }

    /// An operator's key for this start of the demo.
    pub async fn add_demo_key(&self) -> anyhow::Result<String> {
        let (key, _) = self.add_key(Grant::Operator, "demo", Some(DEMO_KEY_MS)).await?;
        Ok(key)
    }

    /// Keeps that somebody at the command line sets out to change something.
    pub async fn note(&self, action: &str, subject: &str) -> anyhow::Result<()> {
        let number = u64::from_le_bytes(random()?);
        Ok(audit::note(&self.store, ("(command line)", action, subject), SystemClock.now(), number).await?)
    }

    /// Makes a key, which is shown once: here. With it what is stored of it.
    pub async fn add_key(
        &self,
        grant: Grant,
        name: &str,
        lifetime_ms: Option<i64>,
    ) -> anyhow::Result<(String, Credential)> {
        let now = SystemClock.now();
        let key = ApiKey::from_random(random()?);
        let expires_at = lifetime_ms.map(|lifetime| now.plus_millis(lifetime));
        let credential = credentials::add(&self.store, &key, grant, name, now, expires_at).await?;
        Ok((key.reveal().to_owned(), credential))
    }
}

fn attempt(now: Timestamp, milliseconds: i64) -> anyhow::Result<Attempt> {
    Ok(Attempt { id: u64::from_le_bytes(random()?), deadline: now.plus_millis(milliseconds) })
}

#[cfg(test)]
mod tests {
    use event::TenantId;
    use event::attribution::TenantMaps;
    use pipeline::directory::mappings::{self, Packed};
    use pipeline::directory::tenants;

    use super::*;

    #[tokio::test]
    async fn mail_counts_for_the_tenant_that_operators_say() {
        let folder = tempfile::tempdir().unwrap();
        let deployed =
            "[tenants.by_sending_domain]\n\"a.example\" = \"deployed\"\n\"b.example\" = \"deployed\"";
        let home = Standalone::open(folder.path(), toml::from_str(deployed).unwrap()).unwrap();
        let by_sending_domain = [("a.example".to_owned(), "acme".to_owned())].into();
        let packed = Packed::new(&TenantMaps { by_sending_domain, ..TenantMaps::default() }).unwrap();
        assert!(mappings::set(&home.store, packed, None).await.unwrap());
        let sent = |id: &str, domain: &str| {
            format!(
                r#"{{"eventType":"Send","mail":{{"timestamp":"2025-11-13T02:15:23.456Z","source":"news@{domain}","messageId":"{id}","destination":["ann@gmail.com"],"tags":{{}}}},"send":{{}}}}"#
            )
        };
        let payloads = [sent("1", "mail.a.example"), sent("2", "b.example"), sent("3", "c.example")];
        let counted = home.count(&payloads.each_ref().map(String::as_bytes)).await.unwrap();
        assert_eq!(counted.events, 3);
        let tenants = tenants::list(&home.store).await.unwrap();
        assert_eq!(
            tenants.iter().map(TenantId::as_str).collect::<Vec<_>>(),
            ["(unassigned)", "acme", "deployed"]
        );
    }
}
