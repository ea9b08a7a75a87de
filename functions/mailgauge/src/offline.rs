//! Counting files without a server or a store: the same decoding, attribution and cells, one accumulator per thread.
//!
//! Threads share two things: the files, which they read in turn, a block at a time, and the memory of identities, which is
//! split so that they seldom wait for each other. Blocks are small, so that what the system copies into one is still in the
//! processor's own cache when it is decoded.

use std::io::Read;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use cells::{Accumulator, Grouping};
use event::attribution::{Attribution, Attributor};
use event::decode::stream::{Piece, Splitter};
use event::{Decoded, Decoder, EmailEvent, HashKey};
use pipeline::ledger::accumulate::each_count;

use crate::input::{self, Source};
use crate::progress::Progress;
use identities::Identities;

mod identities;

/// The key counts are hashed under: nothing hashed leaves the process, so it need not be secret.
const KEY: HashKey = HashKey::new(*b"counting offline");
/// So much is read at once: it stays in a second-level cache, and the calls to the system do not count.
const CHUNK_BYTES: usize = 128 * 1024;

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// SES events, duplicates included.
    pub events: u64,
    /// Parts of the input: events, parts that hold no event, and parts that cannot be read.
    pub records: u64,
    /// Bytes of whole files, after decompression.
    pub bytes: u64,
    /// Parts that cannot be read.
    pub quarantined: u64,
    /// Events that had been counted before.
    pub duplicates: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.events += other.events;
        self.records += other.records;
        self.bytes += other.bytes;
        self.quarantined += other.quarantined;
        self.duplicates += other.duplicates;
    }
}

/// Told of each part that cannot be read: where its block begins in which source, and why.
pub type Complain<'a> = &'a (dyn Fn(&Source, u64, &str) + Sync);

/// Counts all sources with `threads` threads.
pub fn count(
    sources: &[Source],
    grouping: &Grouping,
    attribution: &Attribution,
    threads: usize,
    progress: &Progress,
    complain: Complain<'_>,
) -> anyhow::Result<(Accumulator, Tally)> {
    let identities = Identities::default();
    let counter = || Counter {
        decoder: Decoder::new(),
        cells: Accumulator::new(grouping.clone()),
        tally: Tally::default(),
        attributor: Attributor::new(attribution.clone()),
        identities: &identities,
        complain,
    };
    if threads <= 1 {
        let mut counter = counter();
        for source in sources {
            let mut reader = Reader::open(source, progress)?;
            while reader.step(&mut |offset, bytes| counter.block(source, offset, bytes))? {}
        }
        return Ok((counter.cells, counter.tally));
    }
    let mut counters: Vec<Counter<'_>> = (0..threads).map(|_| counter()).collect();
    let supply = Mutex::new(Supply { sources: sources.iter(), progress, reader: None, failure: None });
    std::thread::scope(|scope| {
        for counter in &mut counters {
            let supply = &supply;
            scope.spawn(move || counter.work(supply));
        }
    });
    if let Some(failure) = locked(&supply).failure.take() {
        return Err(failure);
    }
    let mut total = Tally::default();
    let mut all = Accumulator::new(grouping.clone());
    for counter in counters {
        total.add(counter.tally);
        all.merge(counter.cells);
    }
    Ok((all, total))
}

/// What a panic elsewhere left is as good as before: the panic itself is reported by the scope.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One source on its way through the splitter.
struct Reader<'a> {
    source: &'a Source,
    stream: Box<dyn Read + Send>,
    splitter: Splitter,
}

impl<'a> Reader<'a> {
    fn open(source: &'a Source, progress: &Progress) -> anyhow::Result<Self> {
        let stream = input::open(source, progress)?;
        Ok(Self { source, stream, splitter: Splitter::new(CHUNK_BYTES) })
    }

    /// Reads on and gives out blocks of whole values with where they begin; whether there is more. A line that is too large is
    /// given out as far as it was kept, and fails to decode.
    fn step(&mut self, each: &mut dyn FnMut(u64, &[u8])) -> anyhow::Result<bool> {
        let mut piece = |piece: Piece<'_>| match piece {
            Piece::Values { offset, bytes } | Piece::TooLarge { offset, head: bytes } => each(offset, bytes),
        };
        let length = input::fill(&mut *self.stream, self.splitter.room()).with_context(|| {
            format!("cannot read {} to its end: mend the file, or leave it out", self.source)
        })?;
        if length == 0 {
            self.splitter.finish(&mut piece);
            return Ok(false);
        }
        self.splitter.filled(length, &mut piece);
        Ok(true)
    }
}

/// The sources as the threads share them.
struct Supply<'a> {
    sources: std::slice::Iter<'a, Source>,
    progress: &'a Progress,
    reader: Option<Reader<'a>>,
    /// What ended the reading early.
    failure: Option<anyhow::Error>,
}

impl<'a> Supply<'a> {
    /// Fills `batch` with what one step of reading gives; nothing at the end.
    fn next(&mut self, batch: &mut Batch<'a>) -> anyhow::Result<()> {
        batch.clear();
        while batch.blocks.is_empty() {
            let Some(reader) = &mut self.reader else {
                let Some(source) = self.sources.next() else { return Ok(()) };
                self.reader = Some(Reader::open(source, self.progress)?);
                continue;
            };
            batch.source = Some(reader.source);
            let has_more = reader.step(&mut |offset, bytes| batch.push(offset, bytes))?;
            if !has_more {
                self.reader = None;
            }
        }
        Ok(())
    }
}

/// Blocks of one source, for one thread.
#[derive(Default)]
struct Batch<'a> {
    source: Option<&'a Source>,
    bytes: Vec<u8>,
    blocks: Vec<(u64, Range<usize>)>,
}

impl Batch<'_> {
    fn clear(&mut self) {
        self.bytes.clear();
        self.blocks.clear();
    }

    fn push(&mut self, offset: u64, bytes: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.blocks.push((offset, start..self.bytes.len()));
    }
}

/// One thread's work.
struct Counter<'a> {
    decoder: Decoder,
    cells: Accumulator,
    tally: Tally,
    attributor: Attributor,
    identities: &'a Identities,
    complain: Complain<'a>,
}

impl Counter<'_> {
    fn work<'s>(&mut self, supply: &Mutex<Supply<'s>>) {
        let mut batch: Batch<'s> = Batch::default();
        loop {
            let mut supply = locked(supply);
            if supply.failure.is_some() {
                return;
            }
            if let Err(failure) = supply.next(&mut batch) {
                supply.failure = Some(failure);
            }
            drop(supply);
            let Some(source) = batch.source.filter(|_| !batch.blocks.is_empty()) else { return };
            for (offset, range) in &batch.blocks {
                self.block(source, *offset, batch.bytes.get(range.clone()).unwrap_or_default());
            }
        }
    }

    fn block(&mut self, source: &Source, offset: u64, bytes: &[u8]) {
        let Self { decoder, cells, tally, attributor, identities, complain } = self;
        tally.bytes += bytes.len() as u64;
        decoder.decode(bytes, &mut |decoded| {
            tally.records += 1;
            match decoded {
                Decoded::Event(event) => {
                    tally.events += 1;
                    tally.duplicates += u64::from(!count_event(event, attributor, identities, cells));
                }
                Decoded::Ignored(_) => {}
                Decoded::Unreadable { reason, .. } => {
                    tally.quarantined += 1;
                    complain(source, offset, &reason.to_string());
                }
            }
        });
    }
}

/// Counts what is new of an event; whether anything is.
fn count_event(
    event: &EmailEvent<'_>,
    attributor: &mut Attributor,
    identities: &Identities,
    cells: &mut Accumulator,
) -> bool {
    let message = attributor.message(event);
    let mut is_new = false;
    each_count(event, &KEY, &mut |recipient, identity, hash| {
        if identities.insert(identity) {
            cells.count(&message.tenant, &message.values, &recipient, event, hash);
            is_new = true;
        }
    });
    is_new
}
