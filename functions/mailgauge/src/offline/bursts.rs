//! Bursts of clicks in files: clicks wait until the clicks around them have been read, whichever thread reads them.
//!
//! A click is decided once [`LOOK_AHEAD`] further clicks were counted, or when the input ends. Up to that many clicks, the result does
//! not depend on their order in the input or on the number of threads. In longer inputs, this holds for bursts whose clicks have fewer
//! other clicks between them. Later clicks of a burst count as machines' even if its first ones were already decided, as long as those are
//! remembered; the clicks that were decided too early are counted as split.

use std::sync::Mutex;

use cells::{Accumulator, CountedClick};
use event::EmailEvent;
use event::machine::burst::{self, BurstClick, ClickMemory};

use super::{KEY, lock};

/// The number of clicks that wait for later ones. Events come roughly in the order of time, so the clicks of a burst are close together, even if files of several
/// senders are read at once. As many as are remembered, so that the last ones decided are: with up to twice as many, 8 MB in all.
const LOOK_AHEAD: usize = ClickMemory::CLICKS;

/// The clicks of all threads.
pub(super) struct SharedClicks {
    waiting: Mutex<WaitingClicks>,
    /// By thread, as a click can be decided only by the accumulator that counted it.
    decided: Vec<Mutex<Vec<DecidedClick>>>,
}

#[derive(Default)]
struct WaitingClicks {
    clicks: Vec<WaitingClick>,
    /// The number of the next click.
    next: u64,
    /// Clicks that were decided before.
    memory: ClickMemory,
}

struct WaitingClick {
    click: BurstClick,
    /// What counted it; `None` for one that was decided before.
    counted: Option<(usize, CountedClick)>,
    /// In the order of counting.
    number: u64,
}

/// What a thread has to do about a click it counted.
struct DecidedClick {
    counted: CountedClick,
    outcome: Outcome,
}

enum Outcome {
    ByPerson,
    ByMachine,
    /// It shows that an earlier click was a machine's, although it was decided to be a person's.
    ShowsSplit,
}

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
        waiting.clicks.push(WaitingClick { click, counted: Some((thread, counted)), number });
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
        for DecidedClick { counted, outcome } in std::mem::take(&mut *lock(decided)) {
            match outcome {
                Outcome::ByPerson => cells.decide_click(&counted, false),
                Outcome::ByMachine => cells.decide_click(&counted, true),
                Outcome::ShowsSplit => cells.count_split_burst(&counted, 1),
            }
        }
    }

    /// Decides the clicks with numbers below `up_to`.
    fn decide(&self, waiting: &mut WaitingClicks, up_to: u64) {
        let WaitingClicks { clicks, memory, .. } = waiting;
        clicks.sort_unstable_by_key(|waiting| waiting.click);
        let messages = clicks.chunk_by(|a, b| a.click.is_of_message(&b.click)).filter_map(<[_]>::first);
        let earlier: Vec<WaitingClick> = messages
            .flat_map(|waiting| memory.of_message(&waiting.click))
            .map(|click| WaitingClick { click: *click, counted: None, number: 0 })
            .collect();
        clicks.extend(earlier);
        let in_bursts = burst::find_bursts(clicks, |waiting| waiting.click);
        for (index, (waiting, is_in_burst)) in clicks.iter().zip(in_bursts).enumerate() {
            let click = waiting.click;
            match waiting.counted {
                Some(_) if waiting.number >= up_to => continue,
                Some((thread, counted)) => {
                    let outcome = if is_in_burst { Outcome::ByMachine } else { Outcome::ByPerson };
                    self.tell(thread, DecidedClick { counted, outcome });
                }
                None if is_in_burst && click.is_by_person() => {
                    let Some((thread, counted)) = shown_by(clicks, index) else { continue };
                    self.tell(thread, DecidedClick { counted, outcome: Outcome::ShowsSplit });
                }
                None => continue,
            }
            memory.remember(if is_in_burst { click.as_machine() } else { click });
        }
        clicks.retain(|waiting| waiting.counted.is_some() && waiting.number >= up_to);
    }

    fn tell(&self, thread: usize, decided: DecidedClick) {
        if let Some(of_thread) = self.decided.get(thread) {
            lock(of_thread).push(decided);
        }
    }
}

/// The waiting click nearest to the earlier click at `index` in the order of time: the one that shows that it was of a burst.
fn shown_by(clicks: &[WaitingClick], index: usize) -> Option<(usize, CountedClick)> {
    let (before, rest) = clicks.split_at_checked(index)?;
    let this = &rest.first()?.click;
    let near = |waiting: &&WaitingClick| waiting.click.is_near(this);
    let counted = |waiting: &WaitingClick| waiting.counted;
    rest.iter()
        .take_while(near)
        .find_map(counted)
        .or_else(|| before.iter().rev().take_while(near).find_map(counted))
}

#[cfg(test)]
mod tests;
