//! Clicks that are counted before it is known who made them.
//!
//! Whether a click is of a burst, and so made by a scanner, shows when the other clicks of its message arrive, which may be much later
//! in the input. A person's recipient is in a sketch, and nothing can be taken out of a sketch again. So a click is counted as a click at once,
//! and as a machine's or a person's once that is decided.

use event::attribution::{DimensionValues, RecipientDimensions};
use event::{EmailEvent, EventType, RecipientHash};

use super::{Accumulator, CellChoice, increments};
use crate::counter::Counter;

/// A click that an [`Accumulator`] has counted. It is only valid for that accumulator.
#[derive(Clone, Copy, Debug)]
pub struct CountedClick {
    cells: CellChoice,
    recipient: RecipientHash,
    /// Whether it is still to be decided who clicked. Decided at once are clicks of known machines and of test mail.
    is_open: bool,
}

impl Accumulator {
    /// Counts a click like [`Accumulator::count`], but leaves open whether a person made it if nothing says otherwise. The caller
    /// must decide it before it uses the rows or blocks.
    pub fn count_click(
        &mut self,
        tenant: &str,
        values: &DimensionValues<'_>,
        recipient: &RecipientDimensions<'_>,
        event: &EmailEvent<'_>,
        recipient_hash: RecipientHash,
    ) -> CountedClick {
        let cells = self.choose_cells(tenant, values, recipient, event);
        let is_by_person =
            matches!(&event.event_type, EventType::Click(click) if !click.requester.is_machine());
        let is_open = is_by_person && !recipient.simulator;
        self.for_each_cell(cells, |cell| {
            if is_open {
                cell.counters.add(Counter::Clicks, 1);
            } else {
                increments::increment(cell, event, recipient.simulator, recipient_hash);
            }
        });
        CountedClick { cells, recipient: recipient_hash, is_open }
    }

    /// Decides who made a click. Has no effect on a click for which that was known.
    pub fn decide_click(&mut self, click: &CountedClick, is_machine: bool) {
        if click.is_open {
            self.for_each_cell(click.cells, |cell| {
                increments::decide_click(cell, is_machine, click.recipient);
            });
        }
    }

    /// Counts clicks of the burst of `click` that were counted as people's before it was recognised, and can no longer be changed.
    pub fn count_split_burst(&mut self, click: &CountedClick, clicks: u64) {
        self.for_each_cell(click.cells, |cell| cell.counters.add(Counter::BurstsSplit, clicks));
    }
}
