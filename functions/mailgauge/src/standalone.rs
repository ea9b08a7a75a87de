//! The local process: a store, its secrets, and the pipeline's steps over them. The store is in a folder; commands that manage a
//! deployment take the same steps over its table.
//!
//! The steps are those of the Lambda functions, and this module only holds the state that they need. The process has one queue, which is
//! one shard; its records are numbered here.

mod rebuild;
pub mod secrets;
mod store;

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
use event::{HashKey, IgnoredCounts, SequenceNumber, ShardId, Timestamp};
use pipeline::alerting::detection_run::{
    DetectionCache, DetectionRun, DetectionSettings, Notifier, RunReport,
};
use pipeline::directory::api_keys::{self, ApiKey, Credential, Grant};
use pipeline::directory::audit;
use pipeline::directory::mappings::CurrentAttribution;
use pipeline::history::compaction::{self, schedule};
use pipeline::history::snapshot::CountingProgress;
use pipeline::ledger::accumulate::EventAccumulator;
use pipeline::ledger::aggregate::{self, Aggregation, Attempt, Batch, Record, ShardCache};
use pipeline::ledger::checkpoint::{self, Totals};
use pipeline::ledger::quarantine::StoredPart;
use pipeline::ledger::replay;
use pipeline::ports::Clock as _;

pub use store::StandaloneStore;

/// The shard of the process's only queue.
const SHARD: &str = "local";
/// How long an attempt may hold its batch. The next process does not wait for it, see [`Standalone::end_stale_leases`].
const COUNT_MS: i64 = 60_000;
/// How long compacting one tenant may take.
const COMPACT_MS: i64 = 30_000;
/// How long one detection run may take, including its notifications.
const DETECTION_MS: i64 = 30_000;
/// How long deltas are kept after compaction for readers that still use them. All readers are in this process and take seconds.
const READER_GRACE_MS: i64 = 2 * 60_000;
/// How long a key of the demo is valid. A new one is printed at each start.
const DEMO_KEY_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// The store, and the state that counting needs.
pub struct Standalone {
    /// The embedded store of the folder, or the table of the deployment.
    pub store: Arc<StandaloneStore>,
    /// Encrypts quarantined records with the secret of the folder or deployment.
    pub seal: SecretSeal,
    /// How long history is kept at which resolution.
    pub history: compaction::CompactionSettings,
    /// The names of the declared tags, `tag1` first.
    pub tags: Vec<String>,
    /// Hashes what must not be stored, with the secret of the folder or deployment.
    hash_key: HashKey,
    aggregate: aggregate::CommitSettings,
    shard: ShardId,
    counting: tokio::sync::Mutex<CountingState>,
    oldest_unmerged: Mutex<Option<Timestamp>>,
}

/// The state that is carried from one batch to the next.
struct CountingState {
    accumulator: EventAccumulator<SecretSeal>,
    attribution: CurrentAttribution,
    cache: ShardCache,
    /// Replayed quarantine has a shard of its own, and so a cache of its own.
    replay_cache: ShardCache,
    /// The number of the next record; `None` until it is read from the checkpoint.
    next: Option<u64>,
}

/// The outcome of the events of one payload; also what a server replies to one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub struct Counted {
    /// Events counted now, for the first time.
    pub events: u64,
    /// Events dropped because they had been counted before.
    pub duplicates: u64,
    /// Parts that are not events of sent mail.
    pub ignored: u64,
    /// Those parts by kind. A server of an earlier version does not tell them apart.
    #[serde(default)]
    pub ignored_kinds: IgnoredCounts,
    /// Parts that could not be read and were quarantined.
    pub quarantined: u64,
}

impl Counted {
    /// Adds the outcome of another payload.
    pub fn add(&mut self, other: Self) {
        self.events += other.events;
        self.duplicates += other.duplicates;
        self.ignored += other.ignored;
        self.ignored_kinds.add(&other.ignored_kinds);
        self.quarantined += other.quarantined;
    }
}

impl From<&Totals> for Counted {
    fn from(totals: &Totals) -> Self {
        Self {
            events: totals.aggregated,
            duplicates: totals.duplicates,
            ignored: totals.ignored,
            ignored_kinds: IgnoredCounts::default(),
            quarantined: totals.quarantined,
        }
    }
}

impl Standalone {
    /// Opens a data folder, and creates it if there is none.
    ///
    /// # Errors
    /// A folder that cannot be opened, or whose data lack their secrets.
    pub fn open(folder: &Path, attribution: Attribution) -> anyhow::Result<Self> {
        let store = EmbeddedStore::open(folder)?;
        let secrets = match secrets::read(folder)? {
            Some(secrets) => secrets,
            // Under the lock of the store, so that two processes cannot create different ones.
            None if store.is_empty(folder)? => secrets::create(folder)?,
            None => return Err(secrets::missing(folder)),
        };
        let history = compaction::CompactionSettings {
            grace_ms: READER_GRACE_MS,
            ..compaction::CompactionSettings::default()
        };
        Self::with_store(StandaloneStore::Folder(store), &secrets, history, attribution)
    }

    /// Opens the table of a deployment with the environment's AWS settings.
    #[cfg(feature = "aws")]
    pub async fn open_table(table: &str, attribution: Attribution) -> anyhow::Result<Self> {
        use adapters::aws;
        let store = aws::dynamodb::DynamoStore::new(&aws::config().await, table.to_owned());
        let secrets = Secrets::of_store(&store).await?;
        Self::with_store(
            StandaloneStore::Table(store),
            &secrets,
            compaction::CompactionSettings::default(),
            attribution,
        )
    }

    fn with_store(
        store: StandaloneStore,
        secrets: &Secrets,
        history: compaction::CompactionSettings,
        attribution: Attribution,
    ) -> anyhow::Result<Self> {
        let tags = attribution.declared_tags().to_vec();
        let accumulator = EventAccumulator::new(attribution.clone(), secrets.hash_key(), secrets.seal());
        Ok(Self {
            store: Arc::new(store),
            seal: secrets.seal(),
            history,
            tags,
            hash_key: secrets.hash_key(),
            aggregate: aggregate::CommitSettings::default(),
            shard: ShardId::new(SHARD)?,
            counting: tokio::sync::Mutex::new(CountingState {
                accumulator,
                attribution: CurrentAttribution::new(attribution),
                cache: ShardCache::default(),
                replay_cache: ShardCache::default(),
                next: None,
            }),
            oldest_unmerged: Mutex::new(None),
        })
    }

    /// Ends the lease of a failed attempt, of this process or of the one that had the folder before. This process holds the folder's lock,
    /// so no other attempt can still be writing. A table has no such lock: other processes may be writing to it, and their leases must
    /// expire.
    pub async fn end_stale_leases(&self) -> anyhow::Result<()> {
        if !self.store.is_exclusive() {
            return Ok(());
        }
        aggregate::end_leases(&self.store).await.context("the lease of the previous process cannot be ended")
    }

    /// Counts payloads as one batch and returns once it is committed.
    pub async fn count(&self, payloads: &[&[u8]]) -> anyhow::Result<Counted> {
        let mut sum = Counted::default();
        for one in self.count_each(payloads).await? {
            sum.add(one);
        }
        Ok(sum)
    }

    /// Counts payloads as one batch and returns the outcome of each once it is committed.
    pub async fn count_each(&self, payloads: &[&[u8]]) -> anyhow::Result<Vec<Counted>> {
        // Held until the commit: batches of a shard are committed one after the other, in the order of their numbers.
        let mut counting = self.counting.lock().await;
        let now = SystemClock.now();
        counting.refresh_attribution(&self.store, now).await?;
        let CountingState { accumulator, cache, next, .. } = &mut *counting;
        let first = if let Some(first) = next {
            *first
        } else {
            // A failed attempt leaves its lease, which would block the next one until it expires.
            self.end_stale_leases().await?;
            self.first_free().await?
        };
        // Only a committed batch uses its numbers. If this attempt fails, the next one reads the checkpoint again.
        *next = None;
        let numbered = (first..).zip(payloads);
        let records = numbered
            .map(|(number, &data)| Record { sequence: SequenceNumber::from(number), arrived_at: now, data })
            .collect();
        let batch = Batch { shard: &self.shard, records };
        let committed = self
            .aggregation(attempt(now, COUNT_MS)?)
            .handle(accumulator, cache, &batch)
            .await
            .context("the batch was not counted; send its events again")?;
        *next = Some(first + payloads.len() as u64);
        let mut counted: Vec<Counted> = committed.per_record.iter().map(Counted::from).collect();
        for (at, kinds) in committed.ignored {
            if let Some(counted) = counted.get_mut(at) {
                counted.ignored_kinds = kinds;
            }
        }
        Ok(counted)
    }

    /// Replays quarantined parts and returns once that is committed. Parts that can be decrypted leave the quarantine; those that still
    /// cannot be read return to it.
    pub async fn replay(&self, parts: &[StoredPart]) -> anyhow::Result<Counted> {
        let mut counting = self.counting.lock().await;
        let now = SystemClock.now();
        counting.refresh_attribution(&self.store, now).await?;
        // The replay has a shard of its own, whose checkpoint and deduplication window must not mix with those of the queue.
        let CountingState { accumulator, replay_cache, .. } = &mut *counting;
        let aggregation = self.aggregation(attempt(now, COUNT_MS)?);
        let committed = replay::replay(&aggregation, accumulator, replay_cache, &self.seal, parts)
            .await
            .context("the parts were not replayed and stay in quarantine")?;
        Ok(Counted { ignored_kinds: committed.ignored(), ..Counted::from(&committed.totals) })
    }

    fn aggregation(&self, attempt: Attempt) -> Aggregation<'_, Arc<StandaloneStore>, SystemClock> {
        Aggregation { store: &self.store, clock: &SystemClock, settings: self.aggregate, attempt }
    }

    /// The first number after the last committed batch.
    async fn first_free(&self) -> anyhow::Result<u64> {
        let checkpoint = checkpoint::read(&self.store, &self.shard).await?.record;
        match checkpoint.committed {
            None => Ok(1),
            Some(last) => Ok(1 + last.as_str().parse::<u64>().context(
                "the checkpoint of the local queue is not a number: restore the data folder from a backup",
            )?),
        }
    }

    /// Compacts deltas that are due and drops expired items once the clock is settled. After a failed write, first checks whether writing works again.
    pub async fn tidy(&self) -> anyhow::Result<()> {
        // First, so that counting resumes soon after a full disk has room again, even if nothing is due for compaction.
        self.store.recover().await?;
        let now = SystemClock.now();
        let first = attempt(now, COMPACT_MS)?;
        // Fails only without random numbers, which the system has just given. A repeated id would be found by the compaction itself.
        let next = || attempt(SystemClock.now(), COMPACT_MS).unwrap_or(first);
        let report =
            schedule::compact_due::<Block, _, _>(&self.store, &SystemClock, &self.history, next).await?;
        for (tenant, error) in &report.failed {
            tracing::warn!(tenant.id = %tenant, error = %error, "a tenant was not compacted and stays due");
        }
        for (shard, error) in &report.failed_shards {
            tracing::warn!(%shard, error = %error, "the backlog of a shard could not be read or written; its tenants stay due");
        }
        *self.oldest_unmerged.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
            report.oldest_unmerged;
        // Not by a clock that may be wrong: what is dropped is lost.
        if SystemClock::is_settled() {
            self.store.drop_expired(now).await?;
        }
        Ok(())
    }

    /// Evaluates the minutes that are over and notifies changes of alerts.
    pub async fn run_detection<N: Notifier>(
        &self,
        notifier: &N,
        settings: &DetectionSettings,
        cache: &mut DetectionCache,
    ) -> anyhow::Result<RunReport> {
        let run = DetectionRun {
            store: &self.store,
            clock: &SystemClock,
            notifier,
            // The process itself reads the counts of all tenants.
            readers: &(),
            settings,
            attempt: attempt(SystemClock.now(), DETECTION_MS)?,
        };
        Ok(run.run(cache).await?)
    }

    /// When the oldest delta arrived that was not compacted at the end of the last [`Self::tidy`].
    pub fn oldest_unmerged(&self) -> Option<Timestamp> {
        *self.oldest_unmerged.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The time of the newest event counted.
    pub async fn newest_event(&self) -> anyhow::Result<Option<Timestamp>> {
        Ok(CountingProgress::read(&self.store).await?.newest_event())
    }

    /// Creates an operator key if there has never been any key.
    pub async fn first_operator_key(&self) -> anyhow::Result<Option<String>> {
        // Revoked and expired keys count too: whoever revoked every key must not be handed a new one by a restart.
        if !api_keys::list(&self.store).await?.is_empty() {
            return Ok(None);
        }
        let (key, _) = self.add_key(Grant::Operator, "first operator", None).await?;
        Ok(Some(key))
    }

    /// Creates an operator key for this start of the demo. Earlier ones cannot be shown again, as only their hashes are stored.
    pub async fn add_demo_key(&self) -> anyhow::Result<String> {
        let (key, _) = self.add_key(Grant::Operator, "demo", Some(DEMO_KEY_MS)).await?;
        Ok(key)
    }

    /// Records in the audit trail that somebody at the command line is about to change something.
    pub async fn audit(&self, action: &str, subject: &str) -> anyhow::Result<()> {
        let action = audit::AuditAction { who: "(command line)", action, subject };
        Ok(audit::record(&self.store, action, SystemClock.now()).await?)
    }

    /// Creates a key. The first part of the result is the key itself, which is stored nowhere.
    pub async fn add_key(
        &self,
        grant: Grant,
        name: &str,
        lifetime_ms: Option<i64>,
    ) -> anyhow::Result<(String, Credential)> {
        let now = SystemClock.now();
        let key = ApiKey::from_random(random()?);
        let expires_at = lifetime_ms.map(|lifetime| now.plus_millis(lifetime));
        let credential = api_keys::add(&self.store, &key, grant, name, now, expires_at).await?;
        Ok((key.reveal().to_owned(), credential))
    }
}

impl CountingState {
    /// Applies the mappings that operators have set since the last batch.
    async fn refresh_attribution(
        &mut self,
        store: &Arc<StandaloneStore>,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        if let Some(changed) = self.attribution.refresh(store, now).await? {
            self.accumulator.set_attribution(changed);
        }
        Ok(())
    }
}

fn attempt(now: Timestamp, milliseconds: i64) -> anyhow::Result<Attempt> {
    Ok(Attempt { id: u64::from_le_bytes(random()?), deadline: now.plus_millis(milliseconds) })
}

#[cfg(test)]
mod tests {
    use event::TenantId;
    use event::attribution::TenantMaps;
    use pipeline::directory::mappings::{self, CheckedMappings};
    use pipeline::directory::tenants;

    use super::*;

    #[tokio::test]
    async fn data_without_their_secrets_are_not_opened_and_stay_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Standalone::open(folder.path(), Attribution::default());
        // Nothing is lost yet with the secrets of a folder without data.
        drop(open().unwrap());
        let secrets = folder.path().join("secrets");
        std::fs::remove_file(&secrets).unwrap();
        let event = br#"{"eventType":"Send","mail":{"timestamp":"2025-11-13T02:15:23.456Z","source":"a@b.example","messageId":"1","destination":["ann@gmail.com"],"tags":{}},"send":{}}"#;
        assert_eq!(open().unwrap().count(&[event]).await.unwrap().events, 1);
        let kept = std::fs::read(&secrets).unwrap();
        std::fs::remove_file(&secrets).unwrap();
        let refused = open().map(drop).unwrap_err().to_string();
        assert!(refused.contains("restore") && refused.contains("secrets"), "{refused}");
        assert!(!secrets.exists());
        std::fs::write(&secrets, kept).unwrap();
        assert_eq!(open().unwrap().count(&[event]).await.unwrap().duplicates, 1);
    }

    #[tokio::test]
    async fn mappings_of_operators_come_before_those_of_the_deployment() {
        let folder = tempfile::tempdir().unwrap();
        let deployed =
            "[tenants.by_sending_domain]\n\"a.example\" = \"deployed\"\n\"b.example\" = \"deployed\"";
        let standalone = Standalone::open(folder.path(), toml::from_str(deployed).unwrap()).unwrap();
        let by_sending_domain = [("a.example".to_owned(), "acme".to_owned())].into();
        let checked =
            CheckedMappings::new(&TenantMaps { by_sending_domain, ..TenantMaps::default() }).unwrap();
        assert!(mappings::write(&standalone.store, &checked, None).await.unwrap());
        let sent = |id: &str, domain: &str| {
            format!(
                r#"{{"eventType":"Send","mail":{{"timestamp":"2025-11-13T02:15:23.456Z","source":"news@{domain}","messageId":"{id}","destination":["ann@gmail.com"],"tags":{{}}}},"send":{{}}}}"#
            )
        };
        let payloads = [sent("1", "mail.a.example"), sent("2", "b.example"), sent("3", "c.example")];
        let counted = standalone.count(&payloads.each_ref().map(String::as_bytes)).await.unwrap();
        assert_eq!(counted.events, 3);
        let tenants = tenants::list(&standalone.store).await.unwrap();
        assert_eq!(
            tenants.iter().map(TenantId::as_str).collect::<Vec<_>>(),
            ["(unassigned)", "acme", "deployed"]
        );
    }
}
