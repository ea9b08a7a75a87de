//! Whose mail is that names no tenant by a tag: what operators say of configuration sets, sending domains and accounts while everything
//! runs, over what the deployment says.
//!
//! All of it is one compressed item, so that whoever counts reads one item a minute, and sees a change whole or not at all.

use std::collections::BTreeMap;

use event::Timestamp;
use event::attribution::{Attribution, InvalidSettings, TenantMaps};
use serde::Deserialize;

use crate::layout;
use crate::ledger::accumulate::EventFold;
use crate::ledger::quarantine::Seal;
use crate::ports::{Item, Key, PutError, Store, StoreError};
use crate::stored::{self, Versioned};

/// As often those that count look for a change.
const LOOKED_AT_EVERY_MS: i64 = 60_000;
/// What an item may unpack to: what fits an item unpacks to some 4 MB, unless it repeats itself.
const MAX_UNPACKED_BYTES: usize = 8 << 20;
/// Names of tenants and domains are alike: a higher level packs them hardly smaller.
const COMPRESSION_LEVEL: i32 = 3;

/// Mappings that can be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed(Vec<u8>);

/// Mappings that cannot be stored.
#[derive(Debug, thiserror::Error)]
pub enum Mistake {
    /// An entry cannot be used.
    #[error(transparent)]
    Entry(#[from] InvalidSettings),
    /// There are too many.
    #[error(
        "they are too many: {text} bytes of at most {MAX_UNPACKED_BYTES}, {packed} when packed of at most {}; a domain stands for its \
         sub-domains too",
        Item::MAX_BODY_BYTES
    )]
    TooMany {
        /// How large they are as text.
        text: usize,
        /// And packed.
        packed: usize,
    },
    /// They cannot be packed.
    #[error("they cannot be packed")]
    Pack(#[from] std::io::Error),
}

/// Stored mappings cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum MappingsError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// They are not what this program writes.
    #[error("stored mappings {key} cannot be read: set them anew or upgrade mailgauge")]
    Damaged {
        /// Where they lie.
        key: Key,
        /// What is wrong with them.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Entries to set, and those to take out: they have no tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Change {
    /// By the configuration set's name.
    pub by_configuration_set: BTreeMap<String, Option<String>>,
    /// By sending domain.
    pub by_sending_domain: BTreeMap<String, Option<String>>,
    /// By account.
    pub by_account: BTreeMap<String, Option<String>>,
}

impl Change {
    /// Makes the change.
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

impl Packed {
    /// Checks and packs mappings.
    ///
    /// # Errors
    /// [`Mistake`] names the first entry that cannot be used, or says that they do not fit.
    pub fn new(maps: &TenantMaps) -> Result<Self, Mistake> {
        Attribution::default().with(maps.clone())?;
        let text = serde_json::to_vec(maps).map_err(std::io::Error::from)?;
        let packed = zstd::bulk::compress(&text, COMPRESSION_LEVEL)?;
        if packed.len() > Item::MAX_BODY_BYTES || text.len() > MAX_UNPACKED_BYTES {
            return Err(Mistake::TooMany { text: text.len(), packed: packed.len() });
        }
        Ok(Self(packed))
    }
}

/// The mappings that were set; none at first.
pub async fn read<S: Store>(store: &S) -> Result<Versioned<TenantMaps>, MappingsError> {
    let Some(item) = store.get(vec![layout::mappings()]).await?.into_iter().flatten().next() else {
        return Ok(Versioned { record: TenantMaps::default(), version: None });
    };
    match unpack(&item.body) {
        Ok(record) => Ok(Versioned { record, version: Some(item.version) }),
        Err(source) => Err(MappingsError::Damaged { key: item.key, source }),
    }
}

fn unpack(packed: &[u8]) -> Result<TenantMaps, Box<dyn std::error::Error + Send + Sync>> {
    Ok(serde_json::from_slice(&zstd::bulk::decompress(packed, MAX_UNPACKED_BYTES)?)?)
}

/// Sets mappings in place of those that were read with `version`; whether they still were the ones.
pub async fn set<S: Store>(store: &S, packed: Packed, version: Option<u64>) -> Result<bool, StoreError> {
    match stored::write(store, layout::mappings(), packed.0, version).await {
        Ok(_) => Ok(true),
        Err(PutError::Conflict) => Ok(false),
        Err(PutError::Store(error)) => Err(error),
    }
}

/// Attribution for a process that counts: the deployment's, with what operators set meanwhile.
#[derive(Debug)]
pub struct Following {
    deployed: Attribution,
    version: Option<u64>,
    looked_at: Option<Timestamp>,
}

impl Following {
    /// Over what the deployment says.
    pub const fn new(deployed: Attribution) -> Self {
        Self { deployed, version: None, looked_at: None }
    }

    /// Lets `fold` attribute by what holds now. Looks at the store at most once a minute.
    ///
    /// # Errors
    /// [`MappingsError`]: whose mail it is cannot be told, so nothing should be counted until it can.
    pub async fn lead<S: Store, Z: Seal>(
        &mut self,
        fold: &mut EventFold<Z>,
        store: &S,
        now: Timestamp,
    ) -> Result<(), MappingsError> {
        if let Some(attribution) = self.news(store, now).await? {
            fold.attribute_by(attribution);
        }
        Ok(())
    }

    /// The attribution from now on, if it is another one than before.
    async fn news<S: Store>(
        &mut self,
        store: &S,
        now: Timestamp,
    ) -> Result<Option<Attribution>, MappingsError> {
        if self.looked_at.is_some_and(|at| now.millis_since(at).abs() < LOOKED_AT_EVERY_MS) {
            return Ok(None);
        }
        let Versioned { record, version } = read(store).await?;
        let attribution =
            if version == self.version {
                None
            } else {
                let with = self.deployed.with(record);
                Some(with.map_err(|error| MappingsError::Damaged {
                    key: layout::mappings(),
                    source: error.into(),
                })?)
            };
        (self.version, self.looked_at) = (version, Some(now));
        Ok(attribution)
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
    async fn what_is_set_is_read_and_the_second_of_two_at_once_sets_nothing() {
        let store = MemoryStore::default();
        let none = read(&store).await.unwrap();
        assert_eq!(none, Versioned { record: TenantMaps::default(), version: None });
        let first = maps(r#"{"by_sending_domain":{"acme.example":"acme"}}"#);
        let packed = Packed::new(&first).unwrap();
        assert!(set(&store, packed.clone(), None).await.unwrap());
        assert!(!set(&store, packed.clone(), None).await.unwrap());
        assert_eq!(read(&store).await.unwrap(), Versioned { record: first, version: Some(1) });
        assert!(set(&store, packed, Some(1)).await.unwrap());
    }

    #[tokio::test]
    async fn a_change_is_seen_within_a_minute_and_read_no_oftener() {
        let store = MemoryStore::default();
        let mut following = Following::new(Attribution::default());
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        assert!(following.news(&store, at(0)).await.unwrap().is_none());
        let packed = Packed::new(&maps(r#"{"by_account":{"123456789012":"acme"}}"#)).unwrap();
        assert!(set(&store, packed, None).await.unwrap());
        assert!(following.news(&store, at(59)).await.unwrap().is_none());
        assert!(following.news(&store, at(60)).await.unwrap().is_some());
        assert!(following.news(&store, at(120)).await.unwrap().is_none());
    }

    #[test]
    fn ten_thousand_tenants_fit_and_what_does_not_is_refused() {
        let of = |count: usize, key: &dyn Fn(usize) -> String| TenantMaps {
            by_sending_domain: (0..count).map(|n| (key(n), format!("tenant-{n:05}"))).collect(),
            ..TenantMaps::default()
        };
        let many = of(10_000, &|n| format!("mail.customer-{n:05}.example"));
        assert!(Packed::new(&many).unwrap().0.len() < Item::MAX_BODY_BYTES / 2);
        let scattered = |n: usize| {
            format!("{:x}.example", (n as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
        };
        assert!(matches!(Packed::new(&of(30_000, &scattered)), Err(Mistake::TooMany { .. })));
        let alike = |n: usize| format!("{n}.{}example", "a.".repeat(100));
        assert!(matches!(Packed::new(&of(40_000, &alike)), Err(Mistake::TooMany { .. })));
        for wrong in [
            r#"{"by_account":{"1":"acme"}}"#,
            r#"{"by_sending_domain":{"a b":"acme"}}"#,
            r#"{"by_configuration_set":{"set":"*"}}"#,
        ] {
            assert!(matches!(Packed::new(&maps(wrong)), Err(Mistake::Entry(_))), "{wrong}");
        }
    }

    #[test]
    fn a_change_sets_and_takes_out() {
        let mut held = maps(r#"{"by_configuration_set":{"a":"acme","b":"globex"}}"#);
        let change: Change =
            serde_json::from_str(r#"{"by_configuration_set":{"a":null,"c":"initech"}}"#).unwrap();
        change.apply(&mut held);
        assert_eq!(held, maps(r#"{"by_configuration_set":{"b":"globex","c":"initech"}}"#));
    }
}
