//! What a batch wrote and counted: written before its deltas, true once the cursor has passed it.
//!
//! It serves three readers: the next try of a batch that died learns which keys may have been written, compaction learns
//! which tenants have deltas, and a process that starts learns which events were counted lately. The list of
//! tenants lies in the first part alone; identities fill that part up and go on in further ones.

use event::{IdentityHash, SequenceNumber, ShardId, TenantId, Timestamp};

use crate::codec::{Malformed, Reader, Writer};
use crate::layout;
use crate::ledger::checkpoint::Totals;
use crate::ports::{Item, Key};

/// Identities in one part: 8 bytes each, well inside an item beside the longest list of tenants.
const IDENTITIES_PER_PART: usize = 10_000;

/// The receipt of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// When its last record arrived.
    pub arrived_at: Timestamp,
    /// The tenants it counted for.
    pub tenants: Vec<Entry>,
    /// Keys of quarantined records.
    pub quarantine: Vec<Key>,
    /// What became of its records.
    pub totals: Totals,
    /// The events it counted.
    pub identities: Vec<IdentityHash>,
}

/// A tenant in a receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The tenant.
    pub tenant: TenantId,
    /// In how many parts its delta is.
    pub parts: usize,
    /// How large they are together.
    pub bytes: u64,
}

impl Receipt {
    /// In how many parts this receipt is stored.
    pub fn parts(&self) -> usize {
        self.identities.len().div_ceil(IDENTITIES_PER_PART).max(1)
    }

    /// Every key that the batch beginning at `first` writes, but for the first part of the receipt itself.
    pub fn keys(&self, shard: &ShardId, first: &SequenceNumber) -> Vec<Key> {
        let mut keys = self.quarantine.clone();
        for entry in &self.tenants {
            keys.extend((0..entry.parts).map(|part| layout::delta(&entry.tenant, shard, first, part)));
        }
        keys.extend((1..self.parts()).map(|part| layout::receipt(shard, first, part)));
        keys
    }

    /// The items of this receipt, the first part first.
    pub(crate) fn items(&self, shard: &ShardId, first: &SequenceNumber, expires_at: Timestamp) -> Vec<Item> {
        let mut writer = Writer::new();
        writer.size(self.parts()).time(self.arrived_at).size(self.tenants.len());
        for entry in &self.tenants {
            writer.text(entry.tenant.as_str()).size(entry.parts).number(entry.bytes);
        }
        writer.size(self.quarantine.len());
        for key in &self.quarantine {
            writer.text(&key.partition).text(&key.sort);
        }
        self.totals.write(&mut writer);
        let mut items = Vec::with_capacity(self.parts());
        for part in 0..self.parts() {
            let rest = self.identities.get(part * IDENTITIES_PER_PART..).unwrap_or_default();
            let here = rest.get(..IDENTITIES_PER_PART).unwrap_or(rest);
            writer.size(here.len());
            for identity in here {
                writer.fixed(identity.0);
            }
            let body = std::mem::replace(&mut writer, Writer::new()).finish();
            items.push(Item {
                key: layout::receipt(shard, first, part),
                body,
                version: 0,
                expires_at: Some(expires_at),
            });
        }
        items
    }

    /// Reads a first part; the result has only the identities of that part, the number says how many parts there are.
    pub(crate) fn decode_first(bytes: &[u8]) -> Result<(Self, usize), Malformed> {
        let mut reader = Reader::new(bytes)?;
        let parts = reader.place()?;
        let mut receipt = Self { arrived_at: reader.time()?, ..Self::default() };
        for _ in 0..reader.size()? {
            let tenant = reader.tenant()?;
            receipt.tenants.push(Entry { tenant, parts: reader.place()?, bytes: reader.number()? });
        }
        for _ in 0..reader.size()? {
            receipt
                .quarantine
                .push(Key { partition: reader.text()?.to_owned(), sort: reader.text()?.to_owned() });
        }
        receipt.totals = Totals::read(&mut reader)?;
        receipt.identities = identities(&mut reader)?;
        reader.end()?;
        Ok((receipt, parts))
    }
}

/// The identities of any part of a receipt.
pub(crate) fn identities_of_part(key: &Key, bytes: &[u8]) -> Result<Vec<IdentityHash>, Malformed> {
    if key.sort.ends_with("#000") {
        return Ok(Receipt::decode_first(bytes)?.0.identities);
    }
    let mut reader = Reader::new(bytes)?;
    let found = identities(&mut reader)?;
    reader.end()?;
    Ok(found)
}

fn identities(reader: &mut Reader<'_>) -> Result<Vec<IdentityHash>, Malformed> {
    let count = reader.size()?;
    (0..count).map(|_| reader.fixed().map(IdentityHash)).collect()
}
