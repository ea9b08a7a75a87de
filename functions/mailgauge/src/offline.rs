//! Counting files without a server or a store: the same decoding, attribution and cells, one accumulator per thread.
//!
//! Threads share nothing but the memory of identities, which is split so that they seldom wait for each other.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use cells::{Accumulator, Grouping};
use event::attribution::Attribution;
use event::decode::stream::{BLOCK_BYTES, Piece, Splitter};
use event::{Decoded, Decoder, EmailEvent, HashKey, IdentityHash};
use hashbrown::HashTable;

use crate::input::{self, Source};

/// The key counts are hashed under: nothing hashed leaves the process, so it need not be secret.
const KEY: HashKey = HashKey::new(*b"counting offline");
/// The memory of identities is split in so many parts.
const SHARDS: usize = 64;
/// Events remembered to find duplicates, over all parts: the oldest fall out. 20 bytes each.
const MAX_IDENTITIES: usize = 8 << 20;
/// Blocks that may wait for a thread, for each thread.
const WAITING: usize = 2;

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// SES events, duplicates included.
    pub events: u64,
    /// Parts of the input: events, parts that are none, parts that cannot be read.
    pub records: u64,
    /// Bytes after decompression of whole files.
    pub bytes: u64,
    /// Parts that cannot be read.
    pub quarantined: u64,
    /// Events that were counted before.
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
    complain: Complain<'_>,
) -> anyhow::Result<(Accumulator, Tally)> {
    let identities = Identities::default();
    let counter = || Counter {
        decoder: Decoder::new(),
        cells: Accumulator::new(grouping.clone()),
        read: Tally::default(),
        attribution,
        identities: &identities,
        complain,
    };
    if threads <= 1 {
        let mut counter = counter();
        for source in sources {
            cut(source, &mut |offset, bytes| counter.block(source, offset, bytes))?;
        }
        return Ok((counter.cells, counter.read));
    }
    let mut counters: Vec<Counter<'_>> = (0..threads).map(|_| counter()).collect();
    let (sender, receiver) = sync_channel(threads * WAITING);
    let receiver = Mutex::new(receiver);
    std::thread::scope(|scope| {
        for counter in &mut counters {
            let receiver = &receiver;
            scope.spawn(move || counter.work(receiver));
        }
        share(sources, sender)
    })?;
    let mut total = Tally::default();
    let mut all: Option<Accumulator> = None;
    for counter in counters {
        total.add(counter.read);
        match &mut all {
            None => all = Some(counter.cells),
            Some(all) => all.merge(counter.cells),
        }
    }
    Ok((all.unwrap_or_else(|| Accumulator::new(grouping.clone())), total))
}

/// A block of whole values on its way to a thread.
struct Job<'a> {
    source: &'a Source,
    offset: u64,
    bytes: Vec<u8>,
}

fn share<'a>(sources: &'a [Source], sender: SyncSender<Job<'a>>) -> anyhow::Result<()> {
    for source in sources {
        // A thread that is gone has panicked, which the scope reports.
        cut(source, &mut |offset, bytes| {
            let _ = sender.send(Job { source, offset, bytes: bytes.to_vec() });
        })?;
    }
    Ok(())
}

/// Reads a source to its end and gives out blocks of whole values. A line that is too large is given out as far as it was
/// kept, and fails to decode.
fn cut(source: &Source, each: &mut dyn FnMut(u64, &[u8])) -> anyhow::Result<()> {
    let mut reader = input::open(source)?;
    let mut splitter = Splitter::new();
    let mut chunk = vec![0; BLOCK_BYTES];
    let mut piece = |piece: Piece<'_>| match piece {
        Piece::Values { offset, bytes } | Piece::TooLarge { offset, head: bytes } => each(offset, bytes),
    };
    loop {
        let length = fill(&mut *reader, &mut chunk).with_context(|| {
            format!("cannot read {source} to its end; what came before the fault has been counted")
        })?;
        if length == 0 {
            break;
        }
        splitter.feed(chunk.get(..length).unwrap_or_default(), &mut piece);
    }
    splitter.finish(&mut piece);
    Ok(())
}

/// Reads until `chunk` is full or the stream ends.
fn fill(reader: &mut dyn Read, chunk: &mut [u8]) -> std::io::Result<usize> {
    let mut length = 0;
    while let Some(rest) = chunk.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// One thread's work.
struct Counter<'a> {
    decoder: Decoder,
    cells: Accumulator,
    read: Tally,
    attribution: &'a Attribution,
    identities: &'a Identities,
    complain: Complain<'a>,
}

impl Counter<'_> {
    fn work(&mut self, jobs: &Mutex<Receiver<Job<'_>>>) {
        loop {
            let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
            match job {
                Ok(job) => self.block(job.source, job.offset, &job.bytes),
                Err(_) => return,
            }
        }
    }

    fn block(&mut self, source: &Source, offset: u64, bytes: &[u8]) {
        let Self { decoder, cells, read, attribution, identities, complain } = self;
        read.bytes += bytes.len() as u64;
        decoder.decode(bytes, &mut |decoded| {
            read.records += 1;
            match decoded {
                Decoded::Event(event) => {
                    read.events += 1;
                    read.duplicates += u64::from(!count_event(event, attribution, identities, cells));
                }
                Decoded::Ignored(_) => {}
                Decoded::Unreadable { reason, .. } => {
                    read.quarantined += 1;
                    complain(source, offset, &reason.to_string());
                }
            }
        });
    }
}

/// Counts an event for each of its recipients; whether any of it was new.
fn count_event(
    event: &EmailEvent<'_>,
    attribution: &Attribution,
    identities: &Identities,
    cells: &mut Accumulator,
) -> bool {
    let message = attribution.message(event);
    let mut any = false;
    if event.recipients.is_empty() {
        if identities.insert(event.identity(&KEY, "")) {
            let reader = Attribution::reader_of(event);
            let hash = event.recipient_hash(&KEY, "");
            cells.count(&message.tenant, &message.values, &reader, event, hash);
            any = true;
        }
        return any;
    }
    for address in &event.recipients {
        if identities.insert(event.identity(&KEY, address)) {
            let recipient = Attribution::recipient(address);
            let hash = event.recipient_hash(&KEY, address);
            cells.count(&message.tenant, &message.values, &recipient, event, hash);
            any = true;
        }
    }
    any
}

/// The identities of the events counted lately, shared by the threads.
struct Identities {
    parts: Vec<Mutex<Part>>,
}

#[derive(Default)]
struct Part {
    known: HashTable<u64>,
    order: VecDeque<u64>,
}

impl Default for Identities {
    fn default() -> Self {
        Self { parts: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl Identities {
    /// Remembers an identity; whether it was new.
    fn insert(&self, identity: IdentityHash) -> bool {
        let hash = identity.0;
        // The table uses the lowest and the highest bits.
        let part = (hash >> 32) as usize % SHARDS;
        let Some(part) = self.parts.get(part) else { return true };
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        if part.known.find(hash, |known| *known == hash).is_some() {
            return false;
        }
        if part.order.len() == MAX_IDENTITIES / SHARDS
            && let Some(oldest) = part.order.pop_front()
            && let Ok(place) = part.known.find_entry(oldest, |known| *known == oldest)
        {
            place.remove();
        }
        part.order.push_back(hash);
        part.known.insert_unique(hash, hash, |known| *known);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_identities_is_bounded_and_forgets_the_oldest() {
        let identities = Identities::default();
        let scattered = |number: u64| IdentityHash(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for number in 0..(MAX_IDENTITIES as u64 * 5 / 4) {
            assert!(identities.insert(scattered(number)));
        }
        let known: usize = identities.parts.iter().map(|part| part.lock().unwrap().known.len()).sum();
        assert!(known <= MAX_IDENTITIES);
        assert!(!identities.insert(scattered(MAX_IDENTITIES as u64 * 5 / 4 - 1)), "the newest is known");
        assert!(identities.insert(scattered(0)), "the oldest is forgotten");
    }
}
