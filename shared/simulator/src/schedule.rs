//! Future events by minute: a queue of minutes, each with the events due in it.
//!
//! Opens arrive for days after the mail, so the schedule takes most of a simulation's memory. It is bounded; events that do not fit are
//! dropped and counted.

use std::collections::VecDeque;

/// How far ahead events are scheduled: four days. Later events are left out.
const HORIZON_MINUTES: usize = 4 * 24 * 60;
/// Most scheduled events, about 150 MB.
const MAX_KEPT: usize = 3_000_000;

/// Items due at a time, taken minute by minute.
#[derive(Debug)]
pub(crate) struct Schedule<T> {
    minutes: VecDeque<Vec<(i64, T)>>,
    /// The start of the first minute, in milliseconds.
    now_ms: i64,
    /// Items due at or after this time are left out, in milliseconds.
    end_ms: i64,
    kept: usize,
    dropped: u64,
}

const MINUTE_MS: i64 = 60_000;

impl<T> Schedule<T> {
    pub(crate) const fn new(start_ms: i64, end_ms: i64) -> Self {
        Self { minutes: VecDeque::new(), now_ms: start_ms, end_ms, kept: 0, dropped: 0 }
    }

    /// Schedules an item at `at_ms`. An item in the past is moved to the start of the current minute.
    pub(crate) fn add(&mut self, at_ms: i64, item: T) {
        if at_ms >= self.end_ms {
            return;
        }
        // Output is ordered by time, so nothing may be scheduled before the minute that is being written.
        let at_ms = at_ms.max(self.now_ms);
        let minute = usize::try_from((at_ms - self.now_ms) / MINUTE_MS).unwrap_or(usize::MAX);
        if minute >= HORIZON_MINUTES {
            return;
        }
        // What is due in the current minute leaves the schedule at once, so it always fits.
        if self.kept >= MAX_KEPT && minute > 0 {
            self.dropped += 1;
            return;
        }
        if self.minutes.len() <= minute {
            self.minutes.resize_with(minute + 1, Vec::new);
        }
        if let Some(due) = self.minutes.get_mut(minute) {
            due.push((at_ms, item));
            self.kept += 1;
        }
    }

    /// The items of the current minute, ordered by time, those of equal time in the order of scheduling. Moves to the next minute.
    pub(crate) fn take_minute(&mut self) -> Vec<(i64, T)> {
        let mut due = self.minutes.pop_front().unwrap_or_default();
        // A stable sort, so that events of the same millisecond keep the order in which they were drawn.
        due.sort_by_key(|(at_ms, _)| *at_ms);
        self.kept -= due.len();
        self.now_ms += MINUTE_MS;
        due
    }

    /// Number of items that were dropped because the schedule was full.
    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_in_their_minute_and_in_order() {
        let mut schedule = Schedule::new(0, 600_000);
        for (at_ms, item) in [(60_500, 'd'), (10, 'b'), (10, 'c'), (-5, 'a'), (600_000, 'z'), (59_999, 'x')] {
            schedule.add(at_ms, item);
        }
        let minutes: Vec<String> =
            (0..3).map(|_| schedule.take_minute().into_iter().map(|(_, item)| item).collect()).collect();
        assert_eq!(minutes, ["abcx", "d", ""]);
    }

    #[test]
    fn schedule_drops_events_beyond_its_end_or_capacity() {
        let mut schedule = Schedule::new(0, i64::MAX);
        schedule.add(4 * 24 * 60 * MINUTE_MS, ());
        assert_eq!((schedule.kept, schedule.dropped()), (0, 0));
        schedule.add(4 * 24 * 60 * MINUTE_MS - 1, ());
        for _ in 1..=MAX_KEPT {
            schedule.add(60_000, ());
        }
        assert_eq!((schedule.kept, schedule.dropped()), (MAX_KEPT, 1));
        schedule.add(0, ());
        assert_eq!(schedule.take_minute().len(), 1, "an item that is due now always fits");
        assert_eq!(schedule.take_minute().len(), MAX_KEPT - 1);
    }
}
