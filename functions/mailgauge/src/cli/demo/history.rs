//! Catching up with the present: simulates and counts, as fast as possible, the part of the demo's timeline that was not counted yet.
//!
//! Simulating and counting run in parallel, on a thread and on the runtime, with a short queue of blocks between them. The timeline is
//! stored before each block is counted, so that a demo that is killed at any moment continues without a gap and counts nothing twice.

use std::path::Path;

use event::{Decoded, Decoder, Timestamp};
use simulator::Simulation;
use tokio::sync::mpsc::{Sender, channel};

use super::timeline::{MINUTE_MS, Timeline, floor};
use crate::progress::ProgressReporter;
use crate::standalone::Standalone;

/// Approximate size of the events counted in one call, in bytes.
pub(super) const BLOCK_BYTES: usize = 6 << 20;
/// The number of blocks after which deltas are compacted.
const BLOCKS_PER_COMPACTION: u32 = 8;

/// The simulated mail that was not counted yet, minute by minute.
pub(super) struct SimulatedMail {
    simulation: Simulation,
    /// The start of the next minute.
    next_ms: i64,
    /// All mail before this time was counted.
    counted_ms: i64,
}

/// The events of one or more whole minutes.
struct SimulatedBlock {
    events: Vec<u8>,
    /// The end of the last minute.
    end_ms: i64,
}

impl SimulatedMail {
    pub(super) fn new(timeline: &Timeline) -> anyhow::Result<Self> {
        let (next_ms, counted_ms) = (timeline.start_ms(), timeline.counted_ms());
        Ok(Self { simulation: timeline.simulation()?, next_ms, counted_ms })
    }

    /// Appends the events of the next minute that were not counted yet, one per line. Returns the end of that minute, or `None` after the
    /// last one.
    pub(super) fn next_minute(&mut self, out: &mut Vec<u8>) -> Option<i64> {
        let start_ms = self.next_ms;
        let end_ms = start_ms + MINUTE_MS;
        let from = out.len();
        if end_ms <= self.counted_ms {
            self.simulation.skip_minute().then_some(())?;
        } else {
            self.simulation.next_minute(out)?;
        }
        if start_ms < self.counted_ms {
            // A minute that was counted in part is simulated as a whole, because the events of a minute come from one random sequence.
            let counted = out.get(from..).map_or(0, |minute| counted_bytes(minute, self.counted_ms));
            out.drain(from..from + counted);
        }
        self.next_ms = end_ms;
        Some(end_ms)
    }
}

/// The length, in bytes, of the events before `newest_ms`, the time of the newest counted event. Events of that millisecond are sent again,
/// since some of them may not have been counted; those that were are recognised as duplicates.
fn counted_bytes(events: &[u8], newest_ms: i64) -> usize {
    let mut decoder = Decoder::new();
    let mut bytes = 0;
    for line in events.split_inclusive(|&byte| byte == b'\n') {
        let mut at = None;
        decoder.decode(line, &mut |decoded| {
            if let Decoded::Event(event) = decoded {
                at = Some(event.at);
            }
        });
        if at.is_some_and(|at| at.millis() >= newest_ms) {
            break;
        }
        bytes += line.len();
    }
    bytes
}

/// Counts the mail of all past minutes, including those that pass meanwhile, in blocks of about `block_bytes` bytes, and stores the
/// progress in the data folder. Returns the mail that comes next, or `None` if `interrupted` completed first.
pub(super) async fn catch_up(
    standalone: &Standalone,
    folder: &Path,
    timeline: &mut Timeline,
    clock: impl Fn() -> Timestamp + Send + 'static,
    interrupted: impl Future<Output = ()>,
    block_bytes: usize,
) -> anyhow::Result<Option<SimulatedMail>> {
    timeline.write(folder)?;
    let mail = SimulatedMail::new(timeline)?;
    let progress = ProgressReporter::new(Some(minutes(mail.next_ms, clock())), "minutes of history");
    // Two blocks in the queue keep both sides busy, and bound the memory.
    let (sender, mut blocks) = channel(2);
    let reported = progress.clone();
    let simulating =
        tokio::task::spawn_blocking(move || simulate_blocks(mail, block_bytes, &sender, clock, &reported));
    tokio::pin!(interrupted);
    let mut number = 0_u32;
    loop {
        let next: Option<SimulatedBlock> = tokio::select! {
            next = blocks.recv() => next,
            () = &mut interrupted => {
                progress.finish();
                return Ok(None);
            }
        };
        let Some(SimulatedBlock { events, end_ms }) = next else { break };
        // Stored before the block is counted: a start after a crash must know which mail may have been counted in part.
        timeline.advance(end_ms);
        timeline.write(folder)?;
        if !events.is_empty() {
            standalone.count(&[&events]).await?;
        }
        tracing::debug!(until = %Timestamp::from_millis(end_ms), "history counted");
        number += 1;
        if number.is_multiple_of(BLOCKS_PER_COMPACTION) {
            standalone.tidy().await?;
        }
    }
    standalone.tidy().await?;
    progress.finish();
    Ok(Some(simulating.await?))
}

/// Whole minutes from `from_ms` to now; 0 if that is in the future.
fn minutes(from_ms: i64, now: Timestamp) -> u64 {
    u64::try_from((floor(now.millis()) - from_ms) / MINUTE_MS).unwrap_or(0)
}

/// Simulates up to the present minute. The simulation is sequential, so minutes that were counted are simulated too, but not sent.
fn simulate_blocks(
    mut mail: SimulatedMail,
    block_bytes: usize,
    blocks: &Sender<SimulatedBlock>,
    clock: impl Fn() -> Timestamp,
    progress: &ProgressReporter,
) -> SimulatedMail {
    let start_ms = mail.next_ms;
    let mut events = Vec::with_capacity(block_bytes);
    // The receiver closes the channel when the demo is stopped.
    while !blocks.is_closed() {
        // Read for each minute, since time passes while the history is simulated.
        let now = clock();
        let has_passed = mail.next_ms < floor(now.millis());
        let end_ms = if has_passed { mail.next_minute(&mut events) } else { None };
        if events.len() >= block_bytes || end_ms.is_none() {
            let full = std::mem::replace(&mut events, Vec::with_capacity(block_bytes));
            let block = SimulatedBlock { events: full, end_ms: mail.next_ms };
            if blocks.blocking_send(block).is_err() || end_ms.is_none() {
                return mail;
            }
        }
        progress.set_length(minutes(start_ms, now));
        progress.inc(1);
    }
    mail
}

#[cfg(test)]
mod tests;
