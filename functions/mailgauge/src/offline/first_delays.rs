//! Distinguishes the first delay of each mail from later ones by its time, in whatever order files and threads bring the delays.
//!
//! Each delay is counted at once and noted with its row. Which of them are repeated is known at the end, when the notes of all threads
//! lie side by side; those are then marked in their rows. Notes are bounded: when there is no room, a mail whose delays are the oldest is
//! settled early, and only the deduplication window remembers that it was delayed.

use cells::Accumulator;
use event::{IdentityHash, Timestamp};

use super::deduplication::SharedWindow;

/// The most notes of all threads together: 6 MB.
const MAX_NOTES: usize = 1 << 18;
/// The fewest that each thread may keep.
const MIN_NOTES: usize = 1 << 10;

/// The delays that one thread has counted.
pub(super) struct DelayNotes {
    notes: Vec<Note>,
    limit: usize,
}

/// A delay that may be the first of its mail. In the order in which the first delay of a mail comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Note {
    /// What all delays of the mail have in common.
    mail: IdentityHash,
    at: Timestamp,
    /// The number of its row in the accumulator of its thread.
    row: u32,
}

impl DelayNotes {
    /// For one of `threads` threads.
    pub(super) fn new(threads: usize) -> Self {
        Self::with_limit((MAX_NOTES / threads.max(1)).max(MIN_NOTES))
    }

    fn with_limit(limit: usize) -> Self {
        Self { notes: Vec::new(), limit }
    }

    /// Notes a delay of `mail` that was counted in a row of `cells`, the accumulator of this thread.
    pub(super) fn add(
        &mut self,
        mail: IdentityHash,
        at: Timestamp,
        row: u32,
        cells: &mut Accumulator,
        window: &SharedWindow,
    ) {
        self.notes.push(Note { mail, at, row });
        if self.notes.len() >= self.limit {
            self.make_room(cells, window);
        }
    }

    fn make_room(&mut self, cells: &mut Accumulator, window: &SharedWindow) {
        self.mark_repeated_here(cells);
        if self.notes.len() <= self.limit / 2 {
            return;
        }
        // The oldest ones, because mail is delayed for hours and not for days: few of their mails will be delayed again.
        self.notes.sort_unstable_by_key(|note| (note.at, note.mail));
        for note in self.notes.drain(..self.limit / 2) {
            if !window.insert(note.mail) {
                cells.mark_repeated_delay(note.row);
            }
        }
    }

    /// Keeps the first delay of each mail and marks the others: whatever other threads have seen, they are not the first.
    fn mark_repeated_here(&mut self, cells: &mut Accumulator) {
        self.notes.sort_unstable();
        self.notes.dedup_by(|note, first| {
            let is_repeated = note.mail == first.mail;
            if is_repeated {
                cells.mark_repeated_delay(note.row);
            }
            is_repeated
        });
    }
}

/// Marks all repeated delays that are left, given the notes of each thread with its accumulator.
pub(super) fn settle(threads: &mut [(&mut DelayNotes, &mut Accumulator)], window: &SharedWindow) {
    let mut all: Vec<(Note, usize)> = Vec::new();
    for (number, (notes, cells)) in threads.iter_mut().enumerate() {
        notes.mark_repeated_here(cells);
        all.extend(notes.notes.drain(..).map(|note| (note, number)));
    }
    all.sort_unstable();
    for (note, thread) in all {
        // In order, so that the first delay of a mail is new and the others are not. It is not new if an even earlier one was settled.
        if !window.insert(note.mail)
            && let Some((_, cells)) = threads.get_mut(thread)
        {
            cells.mark_repeated_delay(note.row);
        }
    }
}

#[cfg(test)]
mod tests {
    use cells::query::metrics::{DELAYED, DELAYS};
    use cells::query::{Basis, Metric};
    use cells::{Grouping, Resolution};
    use event::attribution::{Attribution, Dimension};
    use event::{Decoded, Decoder, Minute};
    use simulator::random::Random;

    use super::*;

    /// 2026-01-01T00:00:00Z, from which the minutes of delays are counted.
    const START: Minute = Minute(29_453_760);

    /// A delay: the number of its mail, and its minute.
    type Delay = (u64, u32);

    /// A minute with the mails that were delayed in it and their delays.
    type Row = (u32, u64, u64);

    fn by_minute() -> Accumulator {
        let dimensions = [false; Dimension::COUNT];
        let bucket = Some(Resolution::Minute);
        Accumulator::new(Grouping { tenant: false, bucket, dimensions, event_type: false })
    }

    /// Counts a delay and notes it.
    fn add(notes: &mut DelayNotes, cells: &mut Accumulator, window: &SharedWindow, (mail, minute): Delay) {
        let at = Minute(START.0 + minute).start();
        let json = format!(
            r#"{{"eventType":"DeliveryDelay","mail":{{"timestamp":"2026-01-01T00:00:00Z","messageId":"m"}},"deliveryDelay":{{"timestamp":"{at}"}}}}"#
        );
        let attribution = Attribution::default();
        Decoder::new().decode(json.as_bytes(), &mut |decoded| {
            let Decoded::Event(event) = decoded else { panic!("{decoded:?}") };
            let values = attribution.attribute(event).values;
            let row = cells.count_delay(
                "",
                &values,
                &event::attribution::RecipientAttribution::default().dimensions(""),
                event,
            );
            // Spread over all bits, as a keyed hash is.
            let mail = IdentityHash((mail + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            notes.add(mail, event.at, row, cells, window);
        });
    }

    /// The rows of `delays`, counted by as many threads as there are lists.
    fn counted(threads: &[Vec<Delay>], limit: usize) -> Vec<Row> {
        let window = SharedWindow::default();
        let mut workers: Vec<_> =
            threads.iter().map(|_| (DelayNotes::with_limit(limit), by_minute())).collect();
        for (delays, (notes, cells)) in threads.iter().zip(&mut workers) {
            for delay in delays {
                add(notes, cells, &window, *delay);
            }
        }
        let mut borrowed: Vec<_> = workers.iter_mut().map(|(notes, cells)| (notes, cells)).collect();
        settle(&mut borrowed, &window);
        let mut all = by_minute();
        for (_, cells) in workers {
            all.merge(cells);
        }
        let count = |metric: Metric, cell| match metric.value(cell, Basis::Event) {
            cells::query::MetricValue::Count(count) => count,
            value => panic!("{value:?}"),
        };
        let mut rows: Vec<Row> = all
            .rows()
            .map(|(key, cell)| (key.bucket.unwrap().0 - START.0, count(DELAYED, cell), count(DELAYS, cell)))
            .collect();
        rows.sort_unstable();
        rows
    }

    /// What every way of counting must give: each mail in the minute of its earliest delay.
    fn naive(delays: &[Delay]) -> Vec<Row> {
        let is_first = |(mail, minute): Delay| !delays.iter().any(|one| one.0 == mail && one.1 < minute);
        let row = |minute: u32| {
            let mut of_minute: Vec<Delay> = delays.iter().copied().filter(|one| one.1 == minute).collect();
            let count = of_minute.len() as u64;
            of_minute.sort_unstable();
            of_minute.dedup();
            (minute, of_minute.into_iter().filter(|delay| is_first(*delay)).count() as u64, count)
        };
        (0..20).map(row).filter(|row| row.2 > 0).collect()
    }

    #[test]
    fn mail_counts_in_the_minute_of_its_first_delay_whoever_reads_it_when() {
        for seed in 0..200 {
            let mut random = Random::from_seed(seed);
            let mut draw = |bound: u32| random.below(bound);
            let mut threads = vec![Vec::new(); 3];
            for _ in 0..draw(60) {
                let delay = (u64::from(draw(9)), draw(20));
                threads[draw(3) as usize].push(delay);
            }
            let all: Vec<Delay> = threads.concat();
            let expected = naive(&all);
            assert_eq!(counted(&threads, 1_000), expected, "{seed}");
            assert_eq!(counted(std::slice::from_ref(&all), 1_000), expected, "{seed}");
            // Without room for all of them the minute may be another one, but each mail still counts once.
            let totals = |rows: &[Row]| rows.iter().fold((0, 0), |sum, row| (sum.0 + row.1, sum.1 + row.2));
            assert_eq!(totals(&counted(&threads, 4)), totals(&expected), "{seed}");
        }
    }

    #[test]
    fn notes_are_bounded() {
        let (window, mut cells) = (SharedWindow::default(), by_minute());
        let mut notes = DelayNotes::with_limit(100);
        for number in 0..1_000 {
            add(&mut notes, &mut cells, &window, (number, 0));
            assert!(notes.notes.len() < 100);
        }
        settle(&mut [(&mut notes, &mut cells)], &window);
        assert!(cells.rows().all(|(_, cell)| cell.counters.get(cells::Counter::DelaysRepeated) == 0));
    }
}
