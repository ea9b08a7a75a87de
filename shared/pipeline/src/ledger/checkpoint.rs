//! How far a shard is done, and which batch of it is in flight: one small item per shard.
//!
//! Everything a batch writes becomes visible by the cursor alone, at once: a delta counts if and only if its batch begins at or
//! before `done`. The keys a batch writes are not here but in its receipt, so that the item stays a few hundred bytes:
//! all cursors share a partition, and each batch moves one twice.

use event::{SequenceNumber, ShardId, Timestamp};

use crate::codec::{Malformed, Reader, Writer};
use crate::directory::tenants::ErasureCount;
use crate::layout;
use crate::ports::{PutError, Store};
use crate::stored::{self, ReadError, Versioned};

/// The state of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Every record up to here is handled; `None`: nothing yet.
    pub done: Option<SequenceNumber>,
    /// The batch that a try is writing, or was when it died.
    pub in_flight: Option<InFlight>,
    /// What became of all records up to `done`.
    pub totals: Totals,
    /// The newest event counted.
    pub newest_event: Option<Timestamp>,
    /// When the last record up to `done` arrived: the shard is complete until then.
    pub last_arrival: Option<Timestamp>,
}

/// A batch being written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// Its first record; its receipt and deltas lie under this number.
    pub first: SequenceNumber,
    /// Its last record.
    pub last: SequenceNumber,
    /// Which try writes it.
    pub attempt: u64,
    /// Until then nobody else touches it: writes of the try may still land.
    pub lease_until: Timestamp,
}

/// What became of records and events: each count of an event that was read is exactly one of duplicate or aggregated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records taken from the stream.
    pub records: u64,
    /// Counts of events in them: one per recipient.
    pub events: u64,
    /// Counts dropped because the same event was counted before.
    pub duplicates: u64,
    /// Counts that came long after they happened; they are counted all the same.
    pub late: u64,
    /// Counts in deltas.
    pub aggregated: u64,
    /// Parts of records that cannot be read.
    pub quarantined: u64,
    /// Parts of records that are no events of mail by design.
    pub ignored: u64,
    /// Counts whose tenant was in doubt.
    pub conflicts: u64,
}

impl Totals {
    /// Adds `other`.
    pub fn add(&mut self, other: &Self) {
        for (sum, &count) in self.fields_mut().into_iter().zip(&other.fields()) {
            *sum = sum.saturating_add(count);
        }
    }

    /// What came on top of `earlier`, which these totals were once.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut grown = *self;
        for (count, &before) in grown.fields_mut().into_iter().zip(&earlier.fields()) {
            *count = count.saturating_sub(before);
        }
        grown
    }

    fn fields(&self) -> [u64; 8] {
        let Self { records, events, duplicates, late, aggregated, quarantined, ignored, conflicts } = *self;
        [records, events, duplicates, late, aggregated, quarantined, ignored, conflicts]
    }

    fn fields_mut(&mut self) -> [&mut u64; 8] {
        let Self { records, events, duplicates, late, aggregated, quarantined, ignored, conflicts } = self;
        [records, events, duplicates, late, aggregated, quarantined, ignored, conflicts]
    }

    pub(crate) fn write(&self, writer: &mut Writer) {
        for count in self.fields() {
            writer.number(count);
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut totals = Self::default();
        for count in totals.fields_mut() {
            *count = reader.number()?;
        }
        Ok(totals)
    }
}

impl Cursor {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.maybe(self.done.as_ref(), |w, done| _ = w.text(done.as_str()));
        writer.maybe(self.in_flight.as_ref(), |w, batch| {
            w.text(batch.first.as_str())
                .text(batch.last.as_str())
                .fixed(batch.attempt)
                .time(batch.lease_until);
        });
        self.totals.write(&mut writer);
        writer.maybe(self.newest_event, |w, at| _ = w.time(at));
        writer.maybe(self.last_arrival, |w, at| _ = w.time(at));
        writer.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes)?;
        let cursor = Self {
            done: reader.maybe(Reader::sequence)?,
            in_flight: reader.maybe(|r| {
                Ok(InFlight {
                    first: r.sequence()?,
                    last: r.sequence()?,
                    attempt: r.fixed()?,
                    lease_until: r.time()?,
                })
            })?,
            totals: Totals::read(&mut reader)?,
            newest_event: reader.maybe(Reader::time)?,
            last_arrival: reader.maybe(Reader::time)?,
        };
        reader.end()?;
        Ok(cursor)
    }
}

/// The cursor of one shard.
pub async fn read<S: Store>(store: &S, shard: &ShardId) -> Result<Versioned<Cursor>, ReadError> {
    stored::read(store, layout::checkpoint(shard), Cursor::decode).await
}

/// Reads the cursor of one shard and the erasure count in one call, since every batch begins with both.
pub(crate) async fn read_with_erasures<S: Store>(
    store: &S,
    shard: &ShardId,
) -> Result<(Versioned<Cursor>, ErasureCount), ReadError> {
    let key = layout::checkpoint(shard);
    let mut found = store.get(vec![key.clone(), layout::erasure_count()]).await?.into_iter();
    let (cursor, erasures) = (found.next().flatten(), found.next().flatten());
    let cursor = stored::decoded(key, cursor, Cursor::decode)?;
    Ok((cursor, ErasureCount::of(erasures.as_ref())))
}

/// The cursors of all shards.
pub async fn read_all<S: Store>(store: &S) -> Result<Vec<(ShardId, Cursor)>, ReadError> {
    let mut cursors = Vec::new();
    for item in stored::range(store, layout::whole(layout::CHECKPOINTS)).await? {
        let shard = ShardId::new(&item.key.sort).map_err(|_| Malformed::Damaged("not a shard"));
        match shard.and_then(|shard| Ok((shard, Cursor::decode(&item.body)?))) {
            Ok(cursor) => cursors.push(cursor),
            Err(source) => return Err(ReadError::Record { key: item.key, source }),
        }
    }
    Ok(cursors)
}

/// Moves a cursor, if it is still as it was read.
pub(crate) async fn move_to<S: Store>(
    store: &S,
    shard: &ShardId,
    from: &Versioned<Cursor>,
    to: Cursor,
) -> Result<Versioned<Cursor>, PutError> {
    let version = stored::write(store, layout::checkpoint(shard), to.encode(), from.version).await?;
    Ok(Versioned { record: to, version: Some(version) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let number =
            SequenceNumber::parse("49590338271490256608559692538361571095921575989136588898").unwrap();
        let full = Cursor {
            done: Some(number.clone()),
            in_flight: Some(InFlight {
                first: number.clone(),
                last: number,
                attempt: u64::MAX,
                lease_until: Timestamp::from_millis(1_763_000_000_000),
            }),
            totals: Totals {
                records: 1,
                events: 2,
                duplicates: 3,
                late: 4,
                aggregated: 5,
                quarantined: 6,
                ignored: 7,
                conflicts: 8,
            },
            newest_event: Some(Timestamp::from_millis(-1)),
            last_arrival: None,
        };
        for cursor in [Cursor::default(), full] {
            assert_eq!(Cursor::decode(&cursor.encode()), Ok(cursor));
        }
    }
}
