//! The attribution mappings that operators set at run time: which tenant mail without a tenant tag belongs to, by configuration set, sending
//! domain and account. They extend and override the mappings of the deployment.
//!
//! All mappings are one compressed item: a process that counts reads one item per minute, and sees a change completely or not at all.

use std::collections::BTreeMap;

use event::attribution::{Attribution, InvalidAttributionSettings, TenantMaps};
use event::{TenantId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codec::StoredRecord;
use crate::layout;
use crate::ports::{Item, Key, PutError, Store, StoreError};
use crate::stored::{self, ReadError, Versioned};

/// How often a process that counts looks for a change.
const REFRESH_MS: i64 = 60_000;
/// Maximum size of the decompressed mappings. What fits into an item is typically some 4 MB, so only repetitive mappings reach this.
const MAX_DECOMPRESSED_BYTES: usize = 8 << 20;
/// Names of tenants and domains resemble each other: a higher level hardly saves anything.
const COMPRESSION_LEVEL: i32 = 3;
/// Bytes that the record needs besides the compressed mappings: format, checksum and length.
const RECORD_OVERHEAD_BYTES: usize = 16;

/// The item of the mappings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StoredMappings {
    /// [`TenantMaps`] as postcard writes it, compressed.
    compressed: Vec<u8>,
}

impl StoredRecord for StoredMappings {
    const NAME: &'static str = "attribution mappings";
    const FORMAT: u8 = 3;
}

/// Mappings that were checked and fit into an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedMappings(StoredMappings);

/// Why mappings cannot be stored.
#[derive(Debug, thiserror::Error)]
pub enum InvalidMappings {
    /// An entry is invalid.
    #[error(transparent)]
    Entry(#[from] InvalidAttributionSettings),
    /// There are more mappings than fit into an item.
    #[error(
        "there are too many mappings: {bytes} bytes of at most {MAX_DECOMPRESSED_BYTES}, {compressed} when compressed of at most {}; a \
         domain includes its subdomains",
        CheckedMappings::MAX_COMPRESSED_BYTES
    )]
    TooLarge {
        /// Their size in bytes.
        bytes: usize,
        /// Their compressed size in bytes.
        compressed: usize,
    },
    /// The mappings could not be encoded or compressed.
    #[error("the mappings cannot be compressed")]
    Compress(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Stored mappings cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum MappingsError {
    /// The store failed or the item cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The item was read, but this program refuses its contents.
    #[error("stored mappings {key} cannot be used: set them again or upgrade mailgauge")]
    Unusable {
        /// The key of the item.
        key: Key,
        /// What is wrong with the contents.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl From<StoreError> for MappingsError {
    fn from(error: StoreError) -> Self {
        Self::Read(error.into())
    }
}

/// A change of the mappings of mail to tenants: a tenant's id sets an entry, null removes it, and all other entries stay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "TenantMappingsUpdate")]
pub struct MappingsChange {
    /// Entries by the name of the SES configuration set.
    #[schemars(with = "BTreeMap<String, Option<TenantId>>")]
    pub by_configuration_set: BTreeMap<String, Option<String>>,
    /// Entries by sending domain.
    #[schemars(with = "BTreeMap<String, Option<TenantId>>")]
    pub by_sending_domain: BTreeMap<String, Option<String>>,
    /// Entries by the AWS account that sends, 12 digits.
    #[schemars(with = "BTreeMap<String, Option<TenantId>>")]
    pub by_account: BTreeMap<String, Option<String>>,
}

impl MappingsChange {
    /// Applies the change to `maps`. Removing an entry that does not exist changes nothing.
    pub fn apply(self, maps: &mut TenantMaps) {
        for (map, changes) in [
            (&mut maps.by_configuration_set, self.by_configuration_set),
            (&mut maps.by_sending_domain, self.by_sending_domain),
            (&mut maps.by_account, self.by_account),
        ] {
            for (key, tenant) in changes {
                match tenant {
                    Some(tenant) => map.insert(key, tenant),
                    None => map.remove(&key),
                };
            }
        }
    }
}

impl CheckedMappings {
    const MAX_COMPRESSED_BYTES: usize = Item::MAX_BODY_BYTES - RECORD_OVERHEAD_BYTES;

    /// Checks and compresses mappings.
    ///
    /// # Errors
    /// [`InvalidMappings`] with the first entry that is invalid, or if the mappings do not fit into an item.
    pub fn new(maps: &TenantMaps) -> Result<Self, InvalidMappings> {
        // Checked as the process that counts will use them: what it refuses would stop counting.
        Attribution::default().with_tenant_maps(maps.clone())?;
        let bytes = postcard::to_extend(maps, Vec::new())
            .map_err(|error| InvalidMappings::Compress(error.to_string().into()))?;
        let compressed = zstd::bulk::compress(&bytes, COMPRESSION_LEVEL)
            .map_err(|error| InvalidMappings::Compress(error.into()))?;
        // Both sizes: the compressed one must fit an item, the other one bounds the memory of every process that
        // reads it.
        if compressed.len() > Self::MAX_COMPRESSED_BYTES || bytes.len() > MAX_DECOMPRESSED_BYTES {
            return Err(InvalidMappings::TooLarge { bytes: bytes.len(), compressed: compressed.len() });
        }
        Ok(Self(StoredMappings { compressed }))
    }
}

/// Reads the mappings that operators have set; empty at first.
pub async fn read<S: Store>(store: &S) -> Result<Versioned<TenantMaps>, MappingsError> {
    let Some(item) = store.get(vec![layout::mappings()]).await?.into_iter().flatten().next() else {
        return Ok(Versioned { record: TenantMaps::default(), version: None });
    };
    let StoredMappings { compressed } = stored::decode(&item)?;
    let record = decompress(&compressed).map_err(unusable)?;
    Ok(Versioned { record, version: Some(item.version) })
}

fn decompress(compressed: &[u8]) -> Result<TenantMaps, Box<dyn std::error::Error + Send + Sync>> {
    // With a limit, since the item may be damaged and claim any size.
    let bytes = zstd::bulk::decompress(compressed, MAX_DECOMPRESSED_BYTES)?;
    postcard::from_bytes(&bytes).map_err(|error| error.to_string().into())
}

fn unusable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> MappingsError {
    MappingsError::Unusable { key: layout::mappings(), source: source.into() }
}

/// Replaces the mappings that were read with `read_version`. Returns false if somebody else changed them since.
pub async fn write<S: Store>(
    store: &S,
    mappings: &CheckedMappings,
    read_version: Option<u64>,
) -> Result<bool, StoreError> {
    match stored::put_if(store, layout::mappings(), &mappings.0, read_version).await {
        Ok(_) => Ok(true),
        Err(PutError::Conflict) => Ok(false),
        Err(PutError::Store(error)) => Err(error),
    }
}

/// Keeps a process that counts up to date with the mappings: the deployment's, extended by those that operators set.
#[derive(Debug)]
pub struct CurrentAttribution {
    deployed: Attribution,
    version: Option<u64>,
    refreshed_at: Option<Timestamp>,
}

impl CurrentAttribution {
    /// Starts from the deployment's mappings.
    pub const fn new(deployed: Attribution) -> Self {
        Self { deployed, version: None, refreshed_at: None }
    }

    /// The attribution to use from now on, if it has changed since the last call. Reads the store at most once a minute.
    ///
    /// # Errors
    /// [`MappingsError`] if the mappings cannot be read. The caller must then count nothing, since the mail could be counted for the
    /// wrong tenant.
    pub async fn refresh<S: Store>(
        &mut self,
        store: &S,
        now: Timestamp,
    ) -> Result<Option<Attribution>, MappingsError> {
        // A clock that was set back counts as well: otherwise nothing would be read until it has caught up.
        if self.refreshed_at.is_some_and(|at| now.millis_since(at).abs() < REFRESH_MS) {
            return Ok(None);
        }
        let Versioned { record, version } = read(store).await?;
        // By the version, so that unchanged mappings are not compiled again each minute.
        let changed = if version == self.version {
            None
        } else {
            Some(self.deployed.with_tenant_maps(record).map_err(unusable)?)
        };
        // Only after success: an error must lead to a read with the next batch, not in a minute.
        (self.version, self.refreshed_at) = (version, Some(now));
        Ok(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStore;

    fn maps(json: &str) -> TenantMaps {
        serde_json::from_str(json).unwrap()
    }

    #[tokio::test]
    async fn mappings_are_read_as_written_and_the_second_of_two_concurrent_writers_changes_nothing() {
        let store = MemoryStore::default();
        let none = read(&store).await.unwrap();
        assert_eq!(none, Versioned { record: TenantMaps::default(), version: None });
        let first = maps(r#"{"by_sending_domain":{"acme.example":"acme"}}"#);
        let checked = CheckedMappings::new(&first).unwrap();
        assert!(write(&store, &checked, None).await.unwrap());
        assert!(!write(&store, &checked, None).await.unwrap());
        assert_eq!(read(&store).await.unwrap(), Versioned { record: first, version: Some(1) });
        assert!(write(&store, &checked, Some(1)).await.unwrap());
    }

    #[tokio::test]
    async fn a_change_is_seen_within_a_minute_and_the_store_is_read_no_more_often() {
        let store = MemoryStore::default();
        let mut current = CurrentAttribution::new(Attribution::default());
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        assert!(current.refresh(&store, at(0)).await.unwrap().is_none());
        let checked = CheckedMappings::new(&maps(r#"{"by_account":{"123456789012":"acme"}}"#)).unwrap();
        assert!(write(&store, &checked, None).await.unwrap());
        assert!(current.refresh(&store, at(59)).await.unwrap().is_none());
        assert!(current.refresh(&store, at(60)).await.unwrap().is_some());
        assert!(current.refresh(&store, at(120)).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn damaged_mappings_are_an_error_and_never_count_as_none() {
        let store = MemoryStore::default();
        let put = |body: Vec<u8>| {
            let item = Item { key: layout::mappings(), body, version: 1, expires_at: None };
            store.put(vec![item])
        };
        put(b"{}".to_vec()).await.unwrap();
        assert!(matches!(read(&store).await, Err(MappingsError::Read(ReadError::Record { .. }))));
        put(StoredMappings { compressed: b"not zstd".to_vec() }.encode()).await.unwrap();
        assert!(matches!(read(&store).await, Err(MappingsError::Unusable { .. })));
        let mut current = CurrentAttribution::new(Attribution::default());
        assert!(current.refresh(&store, Timestamp::from_millis(0)).await.is_err());
    }

    #[test]
    fn ten_thousand_tenants_fit_and_mappings_that_do_not_fit_are_refused() {
        let of = |count: usize, key: &dyn Fn(usize) -> String| TenantMaps {
            by_sending_domain: (0..count).map(|n| (key(n), format!("tenant-{n:05}"))).collect(),
            ..TenantMaps::default()
        };
        let many = of(10_000, &|n| format!("mail.customer-{n:05}.example"));
        assert!(CheckedMappings::new(&many).unwrap().0.encode().len() < Item::MAX_BODY_BYTES / 2);
        let scattered = |n: usize| {
            format!("{:x}.example", (n as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
        };
        let too_many = of(30_000, &scattered);
        assert!(matches!(CheckedMappings::new(&too_many), Err(InvalidMappings::TooLarge { .. })));
        let alike = |n: usize| format!("{n}.{}example", "a.".repeat(100));
        let too_long = of(40_000, &alike);
        assert!(matches!(CheckedMappings::new(&too_long), Err(InvalidMappings::TooLarge { .. })));
    }

    #[test]
    fn the_largest_compressed_mappings_fit_into_an_item_with_their_record() {
        let largest = StoredMappings { compressed: vec![7; CheckedMappings::MAX_COMPRESSED_BYTES] };
        assert!(largest.encode().len() <= Item::MAX_BODY_BYTES);
    }

    #[test]
    fn invalid_keys_and_reserved_tenants_are_refused() {
        for wrong in [
            r#"{"by_account":{"1":"acme"}}"#,
            r#"{"by_sending_domain":{"a b":"acme"}}"#,
            r#"{"by_configuration_set":{"set":"*"}}"#,
            r#"{"by_configuration_set":{"set":"(unassigned)"}}"#,
            r#"{"by_configuration_set":{"set":"a#b"}}"#,
        ] {
            assert!(matches!(CheckedMappings::new(&maps(wrong)), Err(InvalidMappings::Entry(_))), "{wrong}");
        }
    }

    #[test]
    fn a_change_sets_and_removes_entries() {
        let mut held = maps(r#"{"by_configuration_set":{"a":"acme","b":"globex"}}"#);
        let change: MappingsChange =
            serde_json::from_str(r#"{"by_configuration_set":{"a":null,"c":"initech","d":null}}"#).unwrap();
        change.apply(&mut held);
        assert_eq!(held, maps(r#"{"by_configuration_set":{"b":"globex","c":"initech"}}"#));
        for wrong in [r#"{"by_domain":{}}"#, r#"{"by_account":{"123456789012":7}}"#] {
            assert!(serde_json::from_str::<MappingsChange>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn stored_mappings_of_this_format_are_read() {
        crate::codec::assert_stored(&StoredMappings { compressed: vec![1, 2, 3] }, "03776dc46803010203");
        // What is inside: the three maps in their order, each as a list of keys and tenants.
        let bytes = b"\x00\x01\x0cacme.example\x04acme\x00";
        let expected = maps(r#"{"by_sending_domain":{"acme.example":"acme"}}"#);
        assert_eq!(postcard::from_bytes::<TenantMaps>(bytes), Ok(expected));
    }
}
