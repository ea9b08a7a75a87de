//! The naive model: which events are committed. It knows nothing but the records that were delivered and the checkpoints that were written.

use std::collections::{BTreeMap, BTreeSet};

use cells::LocalDays;
use event::{SequenceNumber, ShardId};

use super::simulated_events::{SimulatedBlock, SimulatedEvent};
use crate::block_id::Level;
use crate::history::block_content::BlockContent as _;
use crate::ledger::checkpoint::{Checkpoint, Totals};

/// A record of a stream.
#[derive(Clone, Debug)]
pub(super) struct StreamRecord {
    pub(super) sequence: SequenceNumber,
    /// None: the record cannot be read.
    pub(super) events: Vec<SimulatedEvent>,
    pub(super) arrived_at: i64,
    pub(super) bytes: Vec<u8>,
}

/// One shard: its stream, and which part of it is committed.
pub(super) struct ShardModel {
    pub(super) id: ShardId,
    pub(super) stream: Vec<StreamRecord>,
    pub(super) committed: Option<SequenceNumber>,
    /// Events that were counted, with the sequence number of their record.
    counted: Vec<(SequenceNumber, SimulatedEvent)>,
    seen: BTreeSet<u64>,
    totals: Totals,
    pub(super) quarantined: BTreeSet<String>,
}

impl ShardModel {
    pub(super) fn new(id: ShardId) -> Self {
        Self {
            id,
            stream: Vec::new(),
            committed: None,
            counted: Vec::new(),
            seen: BTreeSet::new(),
            totals: Totals::default(),
            quarantined: BTreeSet::new(),
        }
    }

    /// Follows a checkpoint that was written. Of the records delivered to its writer (`delivered` of the stream), those up to the new
    /// position that were not committed before are counted now.
    pub(super) fn checkpoint_written(
        &mut self,
        checkpoint: &Checkpoint,
        delivered: std::ops::Range<usize>,
    ) -> Result<(), String> {
        if checkpoint.committed == self.committed {
            return Ok(());
        }
        if checkpoint.committed < self.committed {
            return Err(format!("the checkpoint of {} went back", self.id));
        }
        let records: Vec<StreamRecord> = self.stream.get(delivered).unwrap_or_default().to_vec();
        for record in records {
            let number = Some(&record.sequence);
            if number > self.committed.as_ref() && number <= checkpoint.committed.as_ref() {
                self.count(&record);
            }
        }
        self.committed.clone_from(&checkpoint.committed);
        if checkpoint.totals == self.totals {
            Ok(())
        } else {
            Err(format!("totals of {} are {:?} instead of {:?}", self.id, checkpoint.totals, self.totals))
        }
    }

    fn count(&mut self, record: &StreamRecord) {
        self.totals.records += 1;
        if record.events.is_empty() {
            self.totals.quarantined += 1;
            self.quarantined.insert(record.sequence.to_string());
        }
        for &event in &record.events {
            self.totals.events += 1;
            if self.seen.insert(event.id) {
                self.totals.aggregated += 1;
                self.counted.push((record.sequence.clone(), event));
            } else {
                self.totals.duplicates += 1;
            }
        }
    }
}

/// The counts of a tenant by day, if everything up to `up_to` and nothing else is counted.
pub(super) fn expected(
    shards: &[ShardModel],
    tenant: u8,
    up_to: &BTreeMap<ShardId, SequenceNumber>,
) -> SimulatedBlock {
    let mut block = SimulatedBlock::default();
    for shard in shards {
        for (sequence, event) in &shard.counted {
            if event.tenant == tenant && Some(sequence) <= up_to.get(&shard.id) {
                block.add(event.minute, 1, event.id);
            }
        }
    }
    block.roll_up(Level::Month, &LocalDays::UTC)
}
