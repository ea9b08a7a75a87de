//! The naive truth: which events are committed, told by nothing but the records delivered and where the cursor moved.

use std::collections::{BTreeMap, BTreeSet};

use event::{SequenceNumber, ShardId};

use super::tally::{Event, Tally};
use crate::block_id::Level;
use crate::history::content::Content as _;
use crate::ledger::checkpoint::{Cursor, Totals};

/// A record of a stream.
#[derive(Clone, Debug)]
pub(super) struct Produced {
    pub(super) sequence: SequenceNumber,
    pub(super) events: Vec<Event>,
    pub(super) arrived_at: i64,
    pub(super) bytes: Vec<u8>,
}

/// One shard: its stream, and what of it is committed.
pub(super) struct ShardModel {
    pub(super) id: ShardId,
    pub(super) stream: Vec<Produced>,
    pub(super) done: Option<SequenceNumber>,
    /// Events counted, with the record that brought them.
    counted: Vec<(SequenceNumber, Event)>,
    seen: BTreeSet<u64>,
    totals: Totals,
    pub(super) quarantined: BTreeSet<String>,
}

impl ShardModel {
    pub(super) fn new(id: ShardId) -> Self {
        Self {
            id,
            stream: Vec::new(),
            done: None,
            counted: Vec::new(),
            seen: BTreeSet::new(),
            totals: Totals::default(),
            quarantined: BTreeSet::new(),
        }
    }

    /// The cursor moved: of the records delivered to whoever moved it (`from..to` of the stream), those up to the new `done` that
    /// were not done before are counted now.
    pub(super) fn moved(&mut self, cursor: &Cursor, delivered: std::ops::Range<usize>) -> Result<(), String> {
        if cursor.done == self.done {
            return Ok(());
        }
        if cursor.done < self.done {
            return Err(format!("the cursor of {} went back", self.id));
        }
        let records: Vec<Produced> = self.stream.get(delivered).unwrap_or_default().to_vec();
        for record in records {
            let number = Some(&record.sequence);
            if number > self.done.as_ref() && number <= cursor.done.as_ref() {
                self.count(&record);
            }
        }
        self.done.clone_from(&cursor.done);
        if cursor.totals == self.totals {
            Ok(())
        } else {
            Err(format!("totals of {} are {:?} instead of {:?}", self.id, cursor.totals, self.totals))
        }
    }

    fn count(&mut self, record: &Produced) {
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

/// What a tenant's numbers must be, by the day, when everything up to `upto` is in.
pub(super) fn expected(shards: &[ShardModel], tenant: u8, upto: &BTreeMap<ShardId, SequenceNumber>) -> Tally {
    let mut tally = Tally::default();
    for shard in shards {
        for (sequence, event) in &shard.counted {
            if event.tenant == tenant && Some(sequence) <= upto.get(&shard.id) {
                tally.add(event.minute, 1, event.id);
            }
        }
    }
    tally.roll_up(Level::Month)
}
