//! Bursts of clicks in files: clicks wait until the clicks around them have been read, whichever thread reads them.
//!
//! A click is decided once [`LOOK_AHEAD`] further clicks were counted, or when the input ends. Up to that many clicks, the result does
//! not depend on their order in the input or on the number of threads. In longer inputs, this holds for bursts whose clicks have fewer
//! other clicks between them. Later clicks of a burst count as machines' even if its first ones were already decided, as long as those are
//! remembered; the clicks that were decided too early are counted as split.

use std::sync::Mutex;

use cells::{Accumulator, ClickDecision, CountedClick};
use event::EmailEvent;
use event::machine::burst::{self, BurstClick, ClickMemory};

use super::{KEY, lock};

/// The number of clicks that wait for later ones. Events come roughly in the order of time, so the clicks of a burst are close together,
/// even if files of several senders are read at once. As many as are remembered, so that the memory holds at least the clicks decided
/// last. Waiting and remembered clicks take up to 8 MB together.
const LOOK_AHEAD: usize = ClickMemory::CLICKS;

/// The clicks of all threads.
pub(super) struct SharedClicks {
    waiting: Mutex<WaitingClicks>,
    /// By thread, as a click can be decided only by the accumulator that counted it.
    decided: Vec<Mutex<Vec<DecidedClick>>>,
}

#[derive(Default)]
struct WaitingClicks {
    /// Each with what counted it; `None` only while clicks are decided, for those that were decided before.
    clicks: Vec<(BurstClick, Option<WaitingClick>)>,
    /// The number of the next click.
    next: u64,
    /// Clicks that were decided before.
    memory: ClickMemory,
}

#[derive(Clone, Copy)]
struct WaitingClick {
    /// The thread that counted it.
    thread: usize,
    counted: CountedClick,
    /// In the order of counting.
    number: u64,
}

/// What a thread has to do about a click it counted.
type DecidedClick = (CountedClick, ClickDecision);

impl SharedClicks {
    pub(super) fn new(threads: usize) -> Self {
        let decided = (0..threads.max(1)).map(|_| Mutex::default()).collect();
        Self { waiting: Mutex::default(), decided }
    }

    /// The part of a click that decides about bursts; `None` for an event that belongs to no burst, see [`BurstClick::of`].
    pub(super) fn click_of(event: &EmailEvent<'_>) -> Option<BurstClick> {
        BurstClick::of(event, &KEY)
    }

    /// Takes a click that thread number `thread` has counted.
    pub(super) fn wait(&self, thread: usize, click: BurstClick, counted: CountedClick) {
        let mut waiting = lock(&self.waiting);
        let number = waiting.next;
        waiting.next += 1;
        waiting.clicks.push((click, Some(WaitingClick { thread, counted, number })));
        // Half of them at a time: sorting all for each click would be far too slow.
        if waiting.clicks.len() >= 2 * LOOK_AHEAD {
            let up_to = waiting.next - LOOK_AHEAD as u64;
            self.decide(&mut waiting, up_to);
        }
    }

    /// Decides all clicks. To be called once, after the last click of all threads.
    pub(super) fn finish(&self) {
        let mut waiting = lock(&self.waiting);
        let up_to = waiting.next;
        self.decide(&mut waiting, up_to);
    }

    /// Counts what was decided about the clicks of a thread.
    pub(super) fn settle(&self, thread: usize, cells: &mut Accumulator) {
        let Some(decided) = self.decided.get(thread) else { return };
        for (counted, decision) in std::mem::take(&mut *lock(decided)) {
            cells.decide_click(&counted, decision);
        }
    }

    /// Decides the clicks with numbers below `up_to`.
    fn decide(&self, waiting: &mut WaitingClicks, up_to: u64) {
        let WaitingClicks { clicks, memory, .. } = waiting;
        let in_bursts = burst::find_bursts(clicks, memory);
        for (index, ((click, waiting), is_in_burst)) in clicks.iter().zip(in_bursts).enumerate() {
            match waiting {
                Some(waiting) if waiting.number >= up_to => continue,
                Some(waiting) => {
                    let decision = if is_in_burst { ClickDecision::Machine } else { ClickDecision::Person };
                    self.inform(waiting, decision);
                }
                None if is_in_burst && click.is_by_person() => {
                    let Some(waiting) = shown_by(clicks, index) else { continue };
                    self.inform(&waiting, ClickDecision::ShowsSplit);
                }
                None => continue,
            }
            memory.remember(if is_in_burst { click.as_machine() } else { *click });
        }
        clicks.retain(|(_, waiting)| waiting.is_some_and(|waiting| waiting.number >= up_to));
    }

    /// Leaves a decision for the thread that counted the click.
    fn inform(&self, waiting: &WaitingClick, decision: ClickDecision) {
        if let Some(of_thread) = self.decided.get(waiting.thread) {
            lock(of_thread).push((waiting.counted, decision));
        }
    }
}

/// The waiting click nearest to the earlier click at `index` in the order of time: the one that shows that it was of a burst.
fn shown_by(clicks: &[(BurstClick, Option<WaitingClick>)], index: usize) -> Option<WaitingClick> {
    let (before, rest) = clicks.split_at_checked(index)?;
    let (this, _) = rest.first()?;
    let near = |(click, _): &&(BurstClick, Option<WaitingClick>)| click.is_near(this);
    let waiting = |(_, waiting): &(BurstClick, Option<WaitingClick>)| *waiting;
    rest.iter()
        .take_while(near)
        .find_map(waiting)
        .or_else(|| before.iter().rev().take_while(near).find_map(waiting))
}

#[cfg(test)]
mod tests;
