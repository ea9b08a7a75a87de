//! What is still to come, by minute: a ring of minutes, each with the events due in it.
//!
//! Opens come for days after the mail, so this is what a simulation's memory goes into; it is bounded, and what does
//! not fit is dropped and counted, never silently.

use std::collections::VecDeque;

/// How far ahead events are kept: four days. What would come later is left out.
const HORIZON_MINUTES: usize = 4 * 24 * 60;
/// How many events are kept at most: about 150 MB.
const MAX_KEPT: usize = 3_000_000;

/// Things due at a time, handed out minute by minute.
#[derive(Debug)]
pub(crate) struct Agenda<T> {
    minutes: VecDeque<Vec<(i64, T)>>,
    /// The start of the first minute, in milliseconds.
    now_ms: i64,
    /// Nothing is due from here on.
    end_ms: i64,
    kept: usize,
    dropped: u64,
}

const MINUTE_MS: i64 = 60_000;

impl<T> Agenda<T> {
    pub(crate) const fn new(start_ms: i64, end_ms: i64) -> Self {
        Self { minutes: VecDeque::new(), now_ms: start_ms, end_ms, kept: 0, dropped: 0 }
    }

    /// Notes `what` at `at_ms`. What should have happened before the present minute happens at its start.
    pub(crate) fn add(&mut self, at_ms: i64, what: T) {
        if at_ms >= self.end_ms {
            return;
        }
        let at_ms = at_ms.max(self.now_ms);
        let minute = usize::try_from((at_ms - self.now_ms) / MINUTE_MS).unwrap_or(usize::MAX);
        if minute >= HORIZON_MINUTES {
            return;
        }
        if self.kept >= MAX_KEPT && minute > 0 {
            self.dropped += 1;
            return;
        }
        if self.minutes.len() <= minute {
            self.minutes.resize_with(minute + 1, Vec::new);
        }
        if let Some(due) = self.minutes.get_mut(minute) {
            due.push((at_ms, what));
            self.kept += 1;
        }
    }

    /// What is due in the present minute, in the order of time, and of noting where times are equal. The next minute becomes the present one.
    pub(crate) fn take_minute(&mut self) -> Vec<(i64, T)> {
        let mut due = self.minutes.pop_front().unwrap_or_default();
        due.sort_by_key(|(at_ms, _)| *at_ms);
        self.kept -= due.len();
        self.now_ms += MINUTE_MS;
        due
    }

    /// How many were left out for want of room.
    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_come_in_their_minute_and_in_order() {
        let mut agenda = Agenda::new(0, 600_000);
        for (at_ms, what) in [(60_500, 'd'), (10, 'b'), (10, 'c'), (-5, 'a'), (600_000, 'z'), (59_999, 'x')] {
            agenda.add(at_ms, what);
        }
        let minutes: Vec<String> =
            (0..3).map(|_| agenda.take_minute().into_iter().map(|(_, what)| what).collect()).collect();
        assert_eq!(minutes, ["abcx", "d", ""]);
    }

    #[test]
    fn the_agenda_ends_at_its_horizon_and_when_it_is_full() {
        let mut agenda = Agenda::new(0, i64::MAX);
        agenda.add(4 * 24 * 60 * MINUTE_MS, ());
        assert_eq!((agenda.kept, agenda.dropped()), (0, 0));
        agenda.add(4 * 24 * 60 * MINUTE_MS - 1, ());
        for _ in 1..=MAX_KEPT {
            agenda.add(60_000, ());
        }
        assert_eq!((agenda.kept, agenda.dropped()), (MAX_KEPT, 1));
        agenda.add(0, ());
        assert_eq!(agenda.take_minute().len(), 1, "what is due now always fits");
        assert_eq!(agenda.take_minute().len(), MAX_KEPT - 1);
    }
}
