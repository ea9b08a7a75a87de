//! The receipt of a batch: what the batch wrote and counted. Written before its deltas, valid once the checkpoint has passed it.
//!
//! It has three readers. The next attempt after one that died learns which keys may have been written, compaction learns which tenants
//! have deltas, and a process that starts reads the events that were counted recently into its deduplication window.
//!
//! A receipt is stored in one or more parts. The first part holds everything but the identities that do not fit into it; further parts
//! hold identities only.

use event::{IdentityHash, SequenceNumber, ShardId, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::codec::{self, MalformedRecord, StoredRecord};
use crate::layout;
use crate::ledger::checkpoint::Totals;
use crate::ports::{Item, Key};
use crate::stored::{self, ReadError};

/// Identities in one part. At 8 bytes each they fit an item beside the longest list of tenants.
const IDENTITIES_PER_PART: usize = 10_000;

/// The receipt of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// When the stream received the newest record of the batch.
    pub arrived_at: Timestamp,
    /// The deltas of the batch, one entry per tenant.
    pub deltas: Vec<DeltaEntry>,
    /// Keys of the quarantined records of the batch.
    pub quarantine: Vec<Key>,
    /// Outcomes of the records of the batch.
    pub totals: Totals,
    /// The events that the batch counted, those of each tenant together, in the order of `deltas`.
    pub identities: Vec<IdentityHash>,
}

/// The delta of one tenant, as a receipt lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeltaEntry {
    /// The tenant whose events the delta counts.
    #[serde(with = "codec::form")]
    pub tenant: TenantId,
    /// In how many items the delta is stored.
    pub parts: usize,
    /// Size of these items together, in bytes.
    pub bytes: u64,
    /// How many of the identities of the receipt are the tenant's; 0 in receipts of older programs, which do not say.
    pub identities: u32,
}

/// The first part of a receipt, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FirstPart {
    /// In how many parts the receipt is stored, this one included.
    pub(crate) parts: usize,
    #[serde(with = "codec::form")]
    pub(crate) arrived_at: Timestamp,
    pub(crate) deltas: Vec<DeltaEntry>,
    /// Partition and sort key of each item.
    quarantine: Vec<(String, String)>,
    pub(crate) totals: Totals,
    #[serde(with = "codec::list")]
    identities: Vec<IdentityHash>,
}

/// What an item of a receipt tells a deduplication window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ReceiptPart {
    /// The batch, with the identities of the first part only.
    First(CountedBatch),
    /// Further identities of the batch.
    Further(Vec<IdentityHash>),
}

/// The events that a batch counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CountedBatch {
    pub(super) arrived_at: Timestamp,
    /// Those of each tenant together, in the order of `tenants`.
    pub(super) identities: Vec<IdentityHash>,
    /// The number of identities of each tenant.
    tenants: Vec<(TenantId, u32)>,
}

/// The events that a batch counted for one tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TenantIdentities<'a> {
    pub(super) tenant: &'a TenantId,
    pub(super) identities: &'a [IdentityHash],
}

impl CountedBatch {
    /// The events by tenant. If an older program did not state whose they are, they are taken for the first tenant's: this only decides
    /// which of them a full window forgets first.
    pub(super) fn by_tenant(&self) -> impl Iterator<Item = TenantIdentities<'_>> {
        let stated: usize = self.tenants.iter().map(|(_, count)| *count as usize).sum();
        let unstated = self.identities.len().saturating_sub(stated);
        let mut rest = &*self.identities;
        self.tenants.iter().enumerate().map(move |(index, (tenant, count))| {
            let count = *count as usize + if index == 0 { unstated } else { 0 };
            let (identities, after) = rest.split_at(count.min(rest.len()));
            rest = after;
            TenantIdentities { tenant, identities }
        })
    }
}

/// A further part of a receipt, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FurtherPart(#[serde(with = "codec::list")] Vec<IdentityHash>);

impl StoredRecord for FirstPart {
    const NAME: &'static str = "receipt";
    const FORMAT: u8 = 4;
    const OLDEST_FORMAT: u8 = 3;

    fn read_older(_format: u8, record: &[u8]) -> Option<(Self, &[u8])> {
        let (FirstPart3 { parts, arrived_at, deltas, quarantine, totals, identities }, rest) =
            postcard::take_from_bytes(record).ok()?;
        let deltas = deltas.into_iter().map(|DeltaEntry3 { tenant, parts, bytes }| DeltaEntry {
            tenant,
            parts,
            bytes,
            identities: 0,
        });
        let deltas = deltas.collect();
        Some((Self { parts, arrived_at, deltas, quarantine, totals, identities }, rest))
    }
}

/// Format 3, which did not say whose the identities are.
#[derive(Deserialize)]
struct FirstPart3 {
    parts: usize,
    #[serde(with = "codec::form")]
    arrived_at: Timestamp,
    deltas: Vec<DeltaEntry3>,
    quarantine: Vec<(String, String)>,
    totals: Totals,
    #[serde(with = "codec::list")]
    identities: Vec<IdentityHash>,
}

#[derive(Deserialize)]
struct DeltaEntry3 {
    #[serde(with = "codec::form")]
    tenant: TenantId,
    parts: usize,
    bytes: u64,
}

impl StoredRecord for FurtherPart {
    const NAME: &'static str = "receipt identities";
    const FORMAT: u8 = 3;
}

impl Receipt {
    /// The items of the receipt of the batch that begins at `first`, the first part first.
    pub(super) fn items(&self, shard: &ShardId, first: &SequenceNumber, expires_at: Timestamp) -> Vec<Item> {
        let mut chunks = self.identities.chunks(IDENTITIES_PER_PART);
        let first_part = FirstPart {
            // A batch without counted events has a receipt too: its quarantined records and totals are in it.
            parts: chunks.len().max(1),
            arrived_at: self.arrived_at,
            deltas: self.deltas.clone(),
            // As whole keys: the day in them is that of arrival, which the other keys of a batch do not have.
            quarantine: self.quarantine.iter().map(|key| (key.partition.clone(), key.sort.clone())).collect(),
            totals: self.totals,
            identities: chunks.next().unwrap_or_default().to_vec(),
        };
        let further = chunks.map(|identities| FurtherPart(identities.to_vec()).encode());
        let bodies = std::iter::once(first_part.encode()).chain(further);
        let item = |(part, body)| Item {
            key: layout::receipt(shard, first, part),
            body,
            version: 0,
            expires_at: Some(expires_at),
        };
        bodies.enumerate().map(item).collect()
    }
}

impl FirstPart {
    /// Every key that the batch beginning at `first` writes, except that of this first part of its receipt.
    pub(super) fn keys_of_batch(&self, shard: &ShardId, first: &SequenceNumber) -> Vec<Key> {
        let mut keys: Vec<Key> = self
            .quarantine
            .iter()
            .map(|(partition, sort)| Key { partition: partition.clone(), sort: sort.clone() })
            .collect();
        for entry in &self.deltas {
            keys.extend(entry.keys(shard, first));
        }
        // From part 1: this first part is removed by itself and last.
        keys.extend((1..self.parts).map(|part| layout::receipt(shard, first, part)));
        keys
    }
}

impl DeltaEntry {
    /// The keys of the delta, in the batch that begins at `first`.
    pub(crate) fn keys(&self, shard: &ShardId, first: &SequenceNumber) -> impl Iterator<Item = Key> {
        (0..self.parts).map(move |part| layout::delta(&self.tenant, shard, first, part))
    }
}

/// Reads an item of a range of receipts: the batch's first sequence number with the first part of its receipt, or `None` if the item is
/// a further part.
pub(crate) fn first_part(item: &Item) -> Result<Option<(SequenceNumber, FirstPart)>, ReadError> {
    // Determined from the key, so that further parts, which are most of the bytes of a large receipt, are not decoded.
    if !layout::is_first_part(&item.key) {
        return Ok(None);
    }
    let part = stored::decode(item)?;
    let first = layout::first_of_batch(&item.key).ok_or_else(|| {
        let source = MalformedRecord::Damaged("its key has no sequence number");
        ReadError::Record { key: item.key.clone(), source }
    })?;
    Ok(Some((first, part)))
}

/// The identities in any part of a receipt.
pub(crate) fn identities_of_part(item: &Item) -> Result<Vec<IdentityHash>, ReadError> {
    Ok(match part_of(item)? {
        ReceiptPart::First(batch) => batch.identities,
        ReceiptPart::Further(identities) => identities,
    })
}

/// What any part of a receipt says about the events that were counted.
pub(super) fn part_of(item: &Item) -> Result<ReceiptPart, ReadError> {
    if !layout::is_first_part(&item.key) {
        return Ok(ReceiptPart::Further(stored::decode::<FurtherPart>(item)?.0));
    }
    let FirstPart { arrived_at, deltas, identities, .. } = stored::decode(item)?;
    let tenants = deltas.into_iter().map(|entry| (entry.tenant, entry.identities)).collect();
    Ok(ReceiptPart::First(CountedBatch { arrived_at, identities, tenants }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::samples;

    const ARRIVED: Timestamp = Timestamp::from_millis(1_763_000_000_000);

    fn shard() -> ShardId {
        ShardId::new("shard-1").unwrap()
    }

    fn first() -> SequenceNumber {
        SequenceNumber::from(7)
    }

    fn receipt(identities: u64) -> Receipt {
        Receipt {
            arrived_at: ARRIVED,
            deltas: vec![DeltaEntry {
                tenant: TenantId::new("acme").unwrap(),
                parts: 2,
                bytes: 5_000,
                identities: u32::try_from(identities).unwrap(),
            }],
            quarantine: vec![Key { partition: "q#020000".to_owned(), sort: "shard-1#0017#000".to_owned() }],
            totals: Totals { records: 3, events: 4, aggregated: 4, ..Totals::default() },
            identities: (0..identities).map(IdentityHash).collect(),
        }
    }

    #[test]
    fn identities_fill_parts_and_are_read_back_in_order() {
        let full = IDENTITIES_PER_PART as u64;
        for (identities, parts) in [(0, 1), (1, 1), (full, 1), (full + 1, 2), (3 * full, 3)] {
            let receipt = receipt(identities);
            let items = receipt.items(&shard(), &first(), ARRIVED);
            assert_eq!(items.len(), parts, "{identities}");
            assert!(items.iter().all(|item| item.fits() && item.expires_at == Some(ARRIVED)));
            let read: Vec<IdentityHash> =
                items.iter().flat_map(|item| identities_of_part(item).unwrap()).collect();
            assert_eq!(read, receipt.identities);
        }
    }

    #[test]
    fn first_part_lists_every_key_of_its_batch_but_its_own() {
        let items = receipt(IDENTITIES_PER_PART as u64 + 1).items(&shard(), &first(), ARRIVED);
        let (number, part) = first_part(&items[0]).unwrap().unwrap();
        assert_eq!((number, part.parts, part.arrived_at), (first(), 2, ARRIVED));
        let keys = part.keys_of_batch(&shard(), &first());
        let tenant = TenantId::new("acme").unwrap();
        let expected = [
            receipt(0).quarantine[0].clone(),
            layout::delta(&tenant, &shard(), &first(), 0),
            layout::delta(&tenant, &shard(), &first(), 1),
            items[1].key.clone(),
        ];
        assert_eq!(keys, expected);
        assert_eq!(first_part(&items[1]).unwrap(), None);
    }

    #[test]
    fn longest_list_of_tenants_fits_beside_a_full_list_of_identities() {
        let deltas = (0..2_001).map(|number| DeltaEntry {
            tenant: TenantId::new(&format!("{number:0128}")).unwrap(),
            parts: 1,
            bytes: u64::MAX,
            identities: u32::MAX,
        });
        let largest = Receipt { deltas: deltas.collect(), ..receipt(IDENTITIES_PER_PART as u64) };
        let body = largest.items(&shard(), &first(), ARRIVED).swap_remove(0).body;
        assert!(body.len() <= Item::MAX_BODY_BYTES, "{} bytes", body.len());
    }

    #[test]
    fn stored_sample_of_each_format_is_read() {
        let items = receipt(IDENTITIES_PER_PART as u64 + 2).items(&shard(), &first(), ARRIVED);
        let small = receipt(3).items(&shard(), &first(), ARRIVED).swap_remove(0);
        let small = FirstPart::decode(&small.body).unwrap();
        samples::check("receipt-4", &small);
        let unstated = small.deltas.iter().cloned().map(|entry| DeltaEntry { identities: 0, ..entry });
        samples::check_older("receipt-3", &FirstPart { deltas: unstated.collect(), ..small });
        samples::check("receipt-identities-3", &FurtherPart::decode(&items[1].body).unwrap());
    }
}
