//! Counts files without a server or a store: the same decoding, attribution and cells as everywhere, one accumulator per thread.
//!
//! Threads share three things: the input, of which they take turns in reading the next few blocks; the deduplication window, which is
//! split into stripes so that they seldom wait for each other; and the clicks, which wait for the other clicks of their burst. Blocks are
//! small, so that the bytes which the operating system copied into one are still in the processor's cache when they are decoded.

use std::io::Read;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use cells::{Accumulator, ClickDecision, Grouping};
use event::attribution::{Attribution, CachedAttribution, RecipientAttribution};
use event::decode::stream::{Piece, Splitter};
use event::link::LinkNames;
use event::{Decoded, Decoder, EmailEvent, EventType, HashKey, IgnoredCounts};
use pipeline::ledger::accumulate::{EventCount, for_each_count};

use crate::input::{self, Source};
use crate::progress::ProgressReporter;
use bursts::SharedClicks;
use first_delays::DelayNotes;

pub use deduplication::SharedWindow;
pub use input_form::InputForm;

mod bursts;
mod deduplication;
mod first_delays;
mod input_form;

/// The key of the hashes that identify events, and of those that stand for names of links. It is not secret: only hashes of
/// links leave the process, and whoever runs it has the files with the links.
const KEY: HashKey = HashKey::new(*b"counting offline");
/// Bytes read at once: they fit in the second-level cache, and system calls cost next to nothing.
const CHUNK_BYTES: usize = 128 * 1024;

/// What was read from all inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InputStats {
    /// SES events, duplicates included.
    pub events: u64,
    /// Records: events, records without a countable event, and unreadable records.
    pub records: u64,
    /// Bytes read, after decompression.
    pub bytes: u64,
    /// Records without a countable event, by kind.
    pub ignored: IgnoredCounts,
    /// Records that could not be read. Nothing is kept of them: there is no quarantine without a store.
    pub quarantined: u64,
    /// Events that were counted before.
    pub duplicates: u64,
}

impl InputStats {
    fn add(&mut self, other: Self) {
        self.events += other.events;
        self.records += other.records;
        self.bytes += other.bytes;
        self.ignored.add(&other.ignored);
        self.quarantined += other.quarantined;
        self.duplicates += other.duplicates;
    }
}

/// Called for each unreadable record with its source, the offset of the block that it is in (bytes after decompression), and the
/// reason, which holds no personal data.
pub type ReportUnreadable<'a> = &'a (dyn Fn(&Source, u64, &str) + Sync);

/// The sources of one count, and what they have in common.
#[derive(Clone, Copy, Debug)]
pub struct OfflineInput<'a> {
    pub sources: &'a [Source],
    /// The form that each source must begin with.
    pub form: InputForm,
    /// Whether clicks are counted by link as well.
    pub by_link: bool,
}

/// Counts all sources with `threads` threads.
///
/// # Errors
/// The first source that cannot be opened or read to its end, or begins with another form. Unreadable records are not errors.
pub fn count(
    OfflineInput { sources, form, by_link }: OfflineInput<'_>,
    grouping: &Grouping,
    attribution: &Attribution,
    threads: usize,
    progress: &ProgressReporter,
    report_unreadable: ReportUnreadable<'_>,
) -> anyhow::Result<(Accumulator, InputStats)> {
    let window = SharedWindow::default();
    let clicks = SharedClicks::new(threads);
    let accumulator = || {
        let cells = Accumulator::new(grouping.clone());
        if by_link { cells.with_links() } else { cells }
    };
    let worker = |number| Worker {
        number,
        decoder: Decoder::new(),
        cells: accumulator(),
        stats: InputStats::default(),
        attributor: CachedAttribution::new(attribution.clone()),
        recipients: attribution.recipients().clone(),
        links: by_link.then_some(attribution.link_names()),
        window: &window,
        clicks: &clicks,
        delays: DelayNotes::new(threads),
        report_unreadable,
    };
    // A single thread needs neither locks nor copies of the blocks.
    if threads <= 1 {
        let mut worker = worker(0);
        for source in sources {
            let mut reader = SourceReader::open(source, form, progress)?;
            while reader.step(&mut |offset, bytes| worker.count_block(source, offset, bytes))? {}
        }
        settle_delays(std::slice::from_mut(&mut worker), &window);
        clicks.finish();
        clicks.settle(worker.number, &mut worker.cells);
        worker.cells.resolve_providers();
        return Ok((worker.cells, worker.stats));
    }
    let mut workers: Vec<Worker<'_>> = (0..threads).map(worker).collect();
    let input =
        Mutex::new(SharedInput { sources: sources.iter(), form, progress, reader: None, failure: None });
    std::thread::scope(|scope| {
        for worker in &mut workers {
            let input = &input;
            scope.spawn(move || worker.run(input));
        }
    });
    if let Some(failure) = lock(&input).failure.take() {
        return Err(failure);
    }
    settle_delays(&mut workers, &window);
    clicks.finish();
    // Merging is commutative, so it does not matter which thread counted what.
    let mut stats = InputStats::default();
    let mut cells = accumulator();
    for mut worker in workers {
        // Before merging, since the clicks are those of the accumulator that counted them.
        clicks.settle(worker.number, &mut worker.cells);
        stats.add(worker.stats);
        cells.merge(worker.cells);
    }
    // Last, because an outcome that one thread counted may name the provider of a send that another one counted.
    cells.resolve_providers();
    Ok((cells, stats))
}

/// Marks the delays that are not the first of their mail. Before accumulators are merged, which numbers their rows anew.
fn settle_delays(workers: &mut [Worker<'_>], window: &SharedWindow) {
    let mut notes: Vec<_> =
        workers.iter_mut().map(|worker| (&mut worker.delays, &mut worker.cells)).collect();
    first_delays::settle(&mut notes, window);
}

/// Reads all sources one after the other and passes what they decode to, with its source and the offset of its block, to `each`.
/// Returns the number of records.
///
/// # Errors
/// The first source that cannot be opened or read to its end, or begins with another form.
pub fn for_each_decoded(
    OfflineInput { sources, form, by_link: _ }: OfflineInput<'_>,
    progress: &ProgressReporter,
    each: &mut dyn FnMut(&Source, u64, Decoded<'_, '_>),
) -> anyhow::Result<u64> {
    let (mut decoder, mut records) = (Decoder::new(), 0);
    for source in sources {
        let mut reader = SourceReader::open(source, form, progress)?;
        while reader.step(&mut |offset, bytes| {
            decoder.decode(bytes, &mut |decoded| {
                records += 1;
                each(source, offset, decoded);
            });
        })? {}
    }
    Ok(records)
}

/// Locks a mutex even after a panic in another thread: that panic is reported when the scope of threads ends, so the result of this
/// thread is never used.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads one source and splits it into blocks of whole JSON values.
struct SourceReader<'a> {
    source: &'a Source,
    stream: Box<dyn Read + Send>,
    splitter: Splitter,
    /// The form to check the first block for; `None` once that is done.
    unchecked: Option<InputForm>,
}

impl<'a> SourceReader<'a> {
    fn open(source: &'a Source, form: InputForm, progress: &ProgressReporter) -> anyhow::Result<Self> {
        let stream = input::open(source, progress)?;
        Ok(Self { source, stream, splitter: Splitter::new(CHUNK_BYTES), unchecked: Some(form) })
    }

    /// Reads the next chunk, passes each complete block with its offset to `each`, and returns whether there is more to read. Of a line
    /// that is too long only the head is passed on, which fails to decode and is counted as unreadable.
    fn step(&mut self, each: &mut dyn FnMut(u64, &[u8])) -> anyhow::Result<bool> {
        let Self { source, stream, splitter, unchecked } = self;
        let mut checked = Ok(());
        let mut on_piece = |piece: Piece<'_>| {
            let (Piece::Values { offset, bytes } | Piece::TooLarge { offset, head: bytes }) = piece;
            if let Some(form) = unchecked.take() {
                checked = form.check(source, bytes);
            }
            if checked.is_ok() {
                each(offset, bytes);
            }
        };
        let length = input::fill(&mut **stream, splitter.room())
            .with_context(|| format!("cannot read {source} to its end: repair the file, or leave it out"))?;
        match length {
            0 => splitter.finish(&mut on_piece),
            _ => splitter.filled(length, &mut on_piece),
        }
        checked.map(|()| length > 0)
    }
}

/// The sources, shared by the threads. Whoever holds the lock reads.
struct SharedInput<'a> {
    sources: std::slice::Iter<'a, Source>,
    form: InputForm,
    progress: &'a ProgressReporter,
    /// The source that is being read.
    reader: Option<SourceReader<'a>>,
    /// The error that ended the reading early.
    failure: Option<anyhow::Error>,
}

impl<'a> SharedInput<'a> {
    /// Fills `blocks` with the next blocks of one source. Leaves it empty after the last source.
    fn next(&mut self, blocks: &mut Blocks<'a>) -> anyhow::Result<()> {
        blocks.clear();
        // A step completes no block while it reads the middle of a large value, and none at the end of a file.
        while blocks.ranges.is_empty() {
            let Some(reader) = &mut self.reader else {
                let Some(source) = self.sources.next() else { return Ok(()) };
                self.reader = Some(SourceReader::open(source, self.form, self.progress)?);
                continue;
            };
            blocks.source = Some(reader.source);
            let has_more = reader.step(&mut |offset, bytes| blocks.push(offset, bytes))?;
            if !has_more {
                self.reader = None;
            }
        }
        Ok(())
    }
}

/// Blocks of one source, copied for one thread. Reused, so that steady work allocates nothing.
#[derive(Default)]
struct Blocks<'a> {
    source: Option<&'a Source>,
    bytes: Vec<u8>,
    /// Each block's offset in the source, and its range in `bytes`.
    ranges: Vec<(u64, Range<usize>)>,
}

impl<'a> Blocks<'a> {
    fn clear(&mut self) {
        self.source = None;
        self.bytes.clear();
        self.ranges.clear();
    }

    fn push(&mut self, offset: u64, bytes: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.ranges.push((offset, start..self.bytes.len()));
    }

    /// The source with its blocks; `None` if there are none left.
    fn get(&self) -> Option<(&'a Source, impl Iterator<Item = (u64, &[u8])>)> {
        let blocks =
            self.ranges.iter().filter_map(|(offset, range)| Some((*offset, self.bytes.get(range.clone())?)));
        self.source.filter(|_| !self.ranges.is_empty()).map(|source| (source, blocks))
    }
}

/// What one thread needs for counting.
struct Worker<'a> {
    /// The number of the thread, from 0.
    number: usize,
    decoder: Decoder,
    cells: Accumulator,
    stats: InputStats,
    attributor: CachedAttribution,
    recipients: RecipientAttribution,
    /// `None` if clicks are not counted by link.
    links: Option<LinkNames>,
    window: &'a SharedWindow,
    clicks: &'a SharedClicks,
    delays: DelayNotes,
    report_unreadable: ReportUnreadable<'a>,
}

impl Worker<'_> {
    /// Counts blocks until the input ends or fails.
    fn run<'s>(&mut self, input: &Mutex<SharedInput<'s>>) {
        let mut blocks: Blocks<'s> = Blocks::default();
        loop {
            // Locked for reading only; counting, which takes longer, runs in parallel.
            let mut input = lock(input);
            if input.failure.is_some() {
                return;
            }
            if let Err(failure) = input.next(&mut blocks) {
                input.failure = Some(failure);
            }
            drop(input);
            let Some((source, blocks)) = blocks.get() else { return };
            for (offset, bytes) in blocks {
                self.count_block(source, offset, bytes);
            }
        }
    }

    fn count_block(&mut self, source: &Source, offset: u64, bytes: &[u8]) {
        let Self {
            number,
            decoder,
            cells,
            stats,
            attributor,
            recipients,
            links,
            window,
            clicks,
            delays,
            report_unreadable,
        } = self;
        stats.bytes += bytes.len() as u64;
        decoder.decode(bytes, &mut |decoded| {
            stats.records += 1;
            match decoded {
                Decoded::Event(event) => {
                    stats.events += 1;
                    let mut counting = Counting {
                        thread: *number,
                        attributor,
                        recipients,
                        links: *links,
                        window,
                        clicks,
                        delays,
                        cells,
                    };
                    stats.duplicates += u64::from(!counting.count(event));
                }
                // A record all the same: the summary states which records held no countable event.
                Decoded::Ignored(ignored) => stats.ignored.count(&ignored),
                Decoded::Unreadable { reason, .. } => {
                    stats.quarantined += 1;
                    report_unreadable(source, offset, &reason.to_string());
                }
            }
        });
        clicks.settle(*number, cells);
    }
}

/// What counting an event needs.
struct Counting<'a> {
    thread: usize,
    attributor: &'a mut CachedAttribution,
    recipients: &'a RecipientAttribution,
    links: Option<LinkNames>,
    window: &'a SharedWindow,
    clicks: &'a SharedClicks,
    delays: &'a mut DelayNotes,
    cells: &'a mut Accumulator,
}

impl Counting<'_> {
    /// Counts an event for each recipient for whom it was not counted before. Returns whether there was any such recipient.
    fn count(&mut self, event: &EmailEvent<'_>) -> bool {
        let Self { thread, attributor, recipients, links, window, clicks, delays, cells } = self;
        let message = attributor.attribute(event);
        let mut is_new = false;
        for_each_count(event, recipients, &KEY, &mut |EventCount { recipient, identity, hash, delayed }| {
            // Asked for each recipient, because another event about the same message may share only some of them.
            if !window.insert(identity) {
                return;
            }
            is_new = true;
            let (tenant, values) = (&message.tenant, &message.values);
            match (&event.event_type, delayed) {
                (EventType::Click(click), _) => {
                    let link = links.map(|links| links.name_of(click, &KEY));
                    let counted = cells.count_click(tenant, values, &recipient, event, hash, link.as_deref());
                    match SharedClicks::click_of(event) {
                        Some(click) => clicks.wait(*thread, click, counted),
                        // Of no burst, whatever follows.
                        None => cells.decide_click(&counted, ClickDecision::Person),
                    }
                }
                // Test mail is in no count of delays.
                (_, Some(mail)) if !recipient.simulator => {
                    let row = cells.count_delay(tenant, values, &recipient, event);
                    delays.add(mail, event.at, row, cells, window);
                }
                _ => cells.count(tenant, values, &recipient, event, hash),
            }
        });
        is_new
    }
}
