//! Bursts: different links of one message, followed faster than a person can.
//!
//! Security scanners follow the links of a message one after the other or all at once, many of them as a browser and from networks
//! that nobody has published. What gives them away is time: a click is of a burst if another link of its message was followed at most
//! [`BURST_MS`] before or after it.
//!
//! Two links are enough. A person who opens several links one by one has to find and aim at each, so two within two seconds are
//! rare, while many messages have only two links that a scanner could follow. The same link twice is no burst: a double click does
//! that, and so does a scanner that checks a link at the moment its reader follows it.
//!
//! SES does not say which recipient clicked. If a message has several, two of them may well click in the same second, so the address
//! of the request distinguishes their clicks. With a single recipient it does not matter where the clicks come from, since scanners
//! use several addresses at once.
//!
//! Whether a click is of a burst does not depend on the order of the clicks, nor on what else is in the list. SES's own verdict wins:
//! a click that SES calls unlikely to be a machine's counts as a person's, and does not make other clicks a burst.
//!
//! Links and addresses are personal data: only hashes of them are kept, in memory alone, and no longer than [`ClickMemory`] holds them.

use hashbrown::HashMap;
use rapidhash::fast::RandomState;
use smallvec::SmallVec;

use crate::event::{EmailEvent, EventType, Requester};
use crate::recipient_hash::HashKey;
use crate::units::Timestamp;

/// The longest time between two clicks of a burst, in milliseconds.
pub const BURST_MS: i64 = 2_000;

/// A click, as far as bursts depend on it. Sorted by message, then by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BurstClick {
    /// A hash of the message, and of the address of the request if the message has several recipients.
    message: u64,
    at: Timestamp,
    /// A hash of the link.
    link: u64,
    /// Whether it counts as a person's as long as it is of no burst.
    by_person: bool,
}

impl BurstClick {
    /// `None` for everything but a click, for a click without a link, and for a click that SES calls unlikely to be a machine's.
    ///
    /// `key` is the secret of the process: senders and visitors choose what is hashed.
    pub fn of(event: &EmailEvent<'_>, key: &HashKey) -> Option<Self> {
        let EventType::Click(click) = &event.event_type else { return None };
        let by_person = match click.requester {
            Requester::Person => true,
            Requester::Machine(_) => false,
            Requester::ConfirmedPerson => return None,
        };
        let address = if event.destination_count > 1 { click.ip_address.as_bytes() } else { b"" };
        // Nothing distinguishes a click without a link, as archives may have it, from other clicks.
        let link = click.link.as_deref()?;
        Some(Self {
            message: key.hash(&[b"burst message", event.message_id.as_bytes(), address]),
            // The event's own time, also if it lies in the future: a corrected time is that of the delivery.
            at: event.at,
            link: key.hash(&[b"burst link", link.as_bytes()]),
            by_person,
        })
    }

    /// Whether it counts as a person's as long as it is of no burst.
    pub const fn is_by_person(&self) -> bool {
        self.by_person
    }

    /// The same click, after it was counted as a machine's.
    #[must_use]
    pub const fn as_machine(self) -> Self {
        Self { by_person: false, ..self }
    }

    /// Whether both are of one message.
    pub const fn is_of_message(&self, other: &Self) -> bool {
        self.message == other.message
    }

    /// Whether both could be of one burst, if their links differ.
    pub fn is_near(&self, other: &Self) -> bool {
        let apart = self.at.millis_since(other.at).unsigned_abs();
        self.is_of_message(other) && apart <= BURST_MS.unsigned_abs()
    }

    fn is_same(&self, other: &Self) -> bool {
        (self.message, self.at, self.link) == (other.message, other.at, other.link)
    }
}

/// Sorts clicks and the `earlier` ones of the same messages, which are added with `None`. Returns for each of them, in that order,
/// whether it is of a burst.
pub fn find_bursts<T>(clicks: &mut Vec<(BurstClick, Option<T>)>, earlier: &ClickMemory) -> Vec<bool> {
    // By message, so that the earlier clicks of each are added once, however many clicks it has.
    clicks.sort_unstable_by_key(|(click, _)| *click);
    let messages = clicks.chunk_by(|(a, _), (b, _)| a.is_of_message(b)).filter_map(<[_]>::first);
    let earlier: Vec<_> =
        messages.flat_map(|(click, _)| earlier.of_message(click)).map(|click| (*click, None)).collect();
    if !earlier.is_empty() {
        clicks.extend(earlier);
        clicks.sort_unstable_by_key(|(click, _)| *click);
    }
    are_in_bursts(clicks, |(click, _)| *click)
}

/// Whether each of the sorted `clicks` is of a burst. `click` gives the click of an element.
fn are_in_bursts<T>(clicks: &[T], click: impl Fn(&T) -> BurstClick) -> Vec<bool> {
    let mut found = Vec::with_capacity(clicks.len());
    for message in clicks.chunk_by(|a, b| click(a).is_of_message(&click(b))) {
        // Of the clicks before and after an element only the nearest one of another link matters.
        let mut next = 0;
        let mut previous = None;
        for (index, element) in message.iter().enumerate() {
            let this = click(element);
            let differs = |other: &&T| click(other).link != this.link;
            let before = index.checked_sub(1).and_then(|before| message.get(before));
            // Without one, all clicks since the last of another link followed this very link.
            previous = before.filter(differs).or(previous);
            // All clicks between this one and the next of another link follow this very link, so `next` stays until it is reached.
            if next <= index {
                let rest = message.get(index + 1..).unwrap_or_default();
                next = index + 1 + rest.iter().position(|other| differs(&other)).unwrap_or(rest.len());
            }
            let neighbours = [previous, message.get(next)];
            found.push(neighbours.into_iter().flatten().any(|other| click(other).is_near(&this)));
        }
    }
    found
}

/// The newest clicks, by message: a burst may be spread over several batches, of which the first are counted before the last arrive.
///
/// Bounded: it holds at least the newest [`ClickMemory::CLICKS`] and at most twice as many, in at most 4 MB.
#[derive(Clone, Debug, Default)]
pub struct ClickMemory {
    new: Generation,
    /// What was new before. Forgotten as a whole when `new` is full, so that no order of age has to be kept.
    old: Generation,
}

#[derive(Clone, Debug, Default)]
struct Generation {
    /// By keyed hash of the message, so a quick hash of it does.
    by_message: HashMap<u64, SmallVec<[BurstClick; 1]>, RandomState>,
    clicks: usize,
}

impl ClickMemory {
    /// The number of clicks that are certainly remembered. At 1,000 records a second, the limit of a Kinesis shard, and 3 clicks in
    /// 100 events, that is nine minutes; SES publishes the clicks of a burst within seconds.
    pub const CLICKS: usize = 1 << 14;
    /// The most clicks of one message that a generation remembers: more tell nothing new, and each click is compared with all of them.
    const PER_MESSAGE: usize = 64;

    /// Remembers a click. If it is remembered already, only whose click it is changes.
    pub fn remember(&mut self, click: BurstClick) {
        for generation in [&mut self.new, &mut self.old] {
            let known = generation.by_message.get_mut(&click.message);
            if let Some(known) =
                known.and_then(|clicks| clicks.iter_mut().find(|known| known.is_same(&click)))
            {
                known.by_person = click.by_person;
                return;
            }
        }
        let clicks = self.new.by_message.entry(click.message).or_default();
        if clicks.len() < Self::PER_MESSAGE {
            clicks.push(click);
            self.new.clicks += 1;
        }
        if self.new.clicks == Self::CLICKS {
            self.old = std::mem::take(&mut self.new);
        }
    }

    /// The remembered clicks of the message of `click`: at most twice [`ClickMemory::PER_MESSAGE`].
    pub fn of_message(&self, click: &BurstClick) -> impl Iterator<Item = &BurstClick> {
        let clicks = [&self.new, &self.old].map(|generation| generation.by_message.get(&click.message));
        clicks.into_iter().flatten().flatten()
    }
}

#[cfg(test)]
mod tests;
