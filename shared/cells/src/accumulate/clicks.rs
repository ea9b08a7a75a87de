//! Clicks that are counted before it is known who made them.
//!
//! Whether a click is of a burst, and so made by a scanner, shows when the other clicks of its message arrive, which may be much later
//! in the input. A person's recipient is in a sketch, and nothing can be taken out of a sketch again. So a click is counted as a click at once,
//! and as a machine's or a person's once that is decided.

use event::attribution::{Dimension, DimensionValues, RecipientDimensions};
use event::{EmailEvent, EventType, RecipientHash};

use super::{Accumulator, CellChoice, increments};
use crate::counter::Counter;

/// A click that an [`Accumulator`] has counted. It is only valid for that accumulator.
#[derive(Clone, Copy, Debug)]
pub struct CountedClick {
    cells: CellChoice,
    /// The number of its link, if it is counted by link.
    link: Option<u32>,
    recipient: RecipientHash,
    /// Whether it is still to be decided who clicked. Clicks of known machines and of test mail are decided at once.
    is_open: bool,
}

/// What a counted click turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClickDecision {
    /// Made by a person.
    Person,
    /// Made by a machine, as it is part of a burst.
    Machine,
    /// In addition to its own decision: it shows that an earlier click, which was counted as a person's and can no longer be changed,
    /// was part of its burst.
    ShowsSplit,
}

impl Accumulator {
    /// Counts a click like [`Accumulator::count`], but leaves open who made it unless the event itself shows a machine. The caller must
    /// call [`Accumulator::decide_click`] before it uses the rows or blocks.
    ///
    /// `link` is the name of the link that was followed. It is counted by an accumulator that counts links, unless it is `None`.
    pub fn count_click(
        &mut self,
        tenant: &str,
        values: &DimensionValues<'_>,
        recipient: &RecipientDimensions<'_>,
        event: &EmailEvent<'_>,
        recipient_hash: RecipientHash,
        link: Option<&str>,
    ) -> CountedClick {
        let cells = self.choose_cells(tenant, values, recipient, event);
        let is_machine = matches!(&event.event_type, EventType::Click(click) if click.requester.is_machine());
        let is_by_person = matches!(event.event_type, EventType::Click(_)) && !is_machine;
        let is_open = is_by_person && !recipient.simulator;
        self.for_each_cell(cells, |cell| {
            if is_open {
                cell.counters.add(Counter::Clicks, 1);
            } else {
                increments::increment(cell, event, recipient.simulator, recipient_hash);
            }
        });
        // Test mail is excluded from all counts of clicks.
        let link = link.filter(|_| !recipient.simulator).and_then(|link| {
            let campaign = &values[Dimension::Campaign as usize];
            self.count_link(tenant, campaign, link, cells, is_machine)
        });
        CountedClick { cells, link, recipient: recipient_hash, is_open }
    }

    /// Decides who made a click, which has no effect if that was known when it was counted, or counts that it shows a split burst.
    pub fn decide_click(&mut self, click: &CountedClick, decision: ClickDecision) {
        if decision == ClickDecision::ShowsSplit {
            self.for_each_cell(click.cells, |cell| cell.counters.add(Counter::BurstsSplit, 1));
        } else if click.is_open {
            let is_machine = decision == ClickDecision::Machine;
            self.for_each_cell(click.cells, |cell| {
                increments::decide_click(cell, is_machine, click.recipient);
            });
            let bucket = self.bucket_of(click.cells.happened);
            if let (Some(links), Some(link), true) = (&mut self.links, click.link, is_machine) {
                links.add(self.hasher, link, bucket, Counter::ClicksBot);
            }
        }
    }

    /// Counts a click by its link. Returns the number of the link, if links are counted.
    fn count_link(
        &mut self,
        tenant: &str,
        campaign: &str,
        link: &str,
        cells: CellChoice,
        is_machine: bool,
    ) -> Option<u32> {
        let bucket = self.bucket_of(cells.happened);
        let links = self.links.as_mut()?;
        let number = links.number(self.hasher, tenant, campaign, link);
        links.add(self.hasher, number, bucket, Counter::Clicks);
        if is_machine {
            links.add(self.hasher, number, bucket, Counter::ClicksBot);
        }
        Some(number)
    }
}
