//! The demo's mail up to the present minute: what of the timeline was not counted yet is simulated and counted, as fast as that goes.

use std::path::Path;

use event::{Decoded, Decoder, Timestamp};
use simulator::Simulation;
use tokio::sync::mpsc::{Sender, channel};

use super::timeline::{MINUTE_MS, Timeline, floor};
use crate::progress::Progress;
use crate::standalone::Standalone;

/// Bytes of events counted in one go, about.
pub(super) const BLOCK_BYTES: usize = 6 << 20;
/// Deltas are compacted after so many blocks.
const BLOCKS_BETWEEN_TIDYING: u32 = 8;

/// The simulated mail that was not counted yet, minute by minute.
pub(super) struct Mail {
    simulation: Simulation,
    /// The start of the next minute.
    next_ms: i64,
    /// Everything before was counted.
    counted_ms: i64,
}

/// Events of some whole minutes.
struct Block {
    events: Vec<u8>,
    /// Where the last minute ends.
    end_ms: i64,
}

impl Mail {
    /// The mail of a timeline.
    pub(super) fn new(timeline: &Timeline) -> anyhow::Result<Self> {
        let (next_ms, counted_ms) = (timeline.start_ms(), timeline.counted_ms());
        Ok(Self { simulation: timeline.simulation()?, next_ms, counted_ms })
    }

    /// Appends the events of the next minute, without those that were counted, one a line; the minute's end, or none after the last one.
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
            let counted = counted_bytes(out.get(from..).unwrap_or_default(), self.counted_ms);
            out.drain(from..from + counted);
        }
        self.next_ms = end_ms;
        Some(end_ms)
    }
}

/// How many bytes of a minute's events come before the newest one that was counted. That one is sent again, since another event of the
/// same millisecond may not have been counted; it is recognised.
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

/// Counts the mail of all minutes that are over, also of those that end meanwhile, in blocks of about `block_bytes`, and records in the data
/// folder how far that is. Returns the mail that comes next, or nothing if `interrupted` ended first.
pub(super) async fn catch_up(
    home: &Standalone,
    folder: &Path,
    timeline: &mut Timeline,
    clock: impl Fn() -> Timestamp + Send + 'static,
    interrupted: impl Future<Output = ()>,
    block_bytes: usize,
) -> anyhow::Result<Option<Mail>> {
    timeline.write(folder)?;
    let mail = Mail::new(timeline)?;
    let progress = Progress::new(Some(minutes(mail.next_ms, clock())), "minutes of history");
    let (sender, mut blocks) = channel(2);
    let reported = progress.clone();
    let making =
        tokio::task::spawn_blocking(move || make_blocks(mail, block_bytes, &sender, clock, &reported));
    tokio::pin!(interrupted);
    let mut number = 0_u32;
    loop {
        let next: Option<Block> = tokio::select! {
            next = blocks.recv() => next,
            () = &mut interrupted => {
                progress.finish();
                return Ok(None);
            }
        };
        let Some(Block { events, end_ms }) = next else { break };
        timeline.advance(end_ms);
        timeline.write(folder)?;
        if !events.is_empty() {
            home.count(&[&events]).await?;
        }
        tracing::debug!(until = %Timestamp::from_millis(end_ms), "history counted");
        number += 1;
        if number.is_multiple_of(BLOCKS_BETWEEN_TIDYING) {
            home.tidy().await?;
        }
    }
    home.tidy().await?;
    progress.finish();
    Ok(Some(making.await?))
}

fn minutes(from_ms: i64, now: Timestamp) -> u64 {
    u64::try_from((floor(now.millis()) - from_ms) / MINUTE_MS).unwrap_or(0)
}

/// Simulates until the present minute. What was counted is simulated too, since the rest follows from it, and left out.
fn make_blocks(
    mut mail: Mail,
    block_bytes: usize,
    blocks: &Sender<Block>,
    clock: impl Fn() -> Timestamp,
    progress: &Progress,
) -> Mail {
    let start_ms = mail.next_ms;
    let mut events = Vec::with_capacity(block_bytes);
    // A closed channel: the demo was stopped.
    while !blocks.is_closed() {
        // Time goes on while history is made.
        let now = clock();
        let is_over = mail.next_ms < floor(now.millis());
        let end_ms = if is_over { mail.next_minute(&mut events) } else { None };
        if events.len() >= block_bytes || end_ms.is_none() {
            let full = std::mem::replace(&mut events, Vec::with_capacity(block_bytes));
            let block = Block { events: full, end_ms: mail.next_ms };
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
