//! Running sums by group and bucket: flat, growing only where something was counted, and bounded.
//!
//! ```text
//! group ─▶ a slot number per bucket ─▶ slot: a sum per counter, and a cell of sketches if any sketch is read
//! ```
//!
//! Nothing here knows what a metric is.

use compact_str::CompactString;
use event::invariant;
use hashbrown::HashMap;
use rapidhash::fast::RandomState;
use smallvec::SmallVec;

use super::metrics::{Aggregate, Needs};
use crate::block::{Projection, RowRef};
use crate::cell::Cell;
use crate::counter::{CounterId, PerCounter};

/// The most numbers held at once, including the slot numbers of empty buckets: about 128 MiB.
const MAX_NUMBERS: usize = 16 << 20;
/// What a group without buckets is counted as, in numbers: its values and its entry in the table.
const GROUP_NUMBERS: usize = 16;
/// What a cell of empty sketches is counted as, in numbers. Full ones are no larger than the blocks they were read from.
const SKETCH_NUMBERS: usize = 24;
/// Stands for no slot and for a counter that is not summed. [`MAX_NUMBERS`] keeps real numbers far below it.
const ABSENT: u32 = u32::MAX;

/// The values of a group, in the order of the query's groups.
pub(super) type GroupValues = SmallVec<[CompactString; 1]>;

/// There is no room for more sums.
#[derive(Debug)]
pub(super) struct Full;

/// Sums by group and bucket.
///
/// Memory is accounted for before it is taken. A call that would exceed [`MAX_NUMBERS`] returns [`Full`]; the sums are then incomplete and
/// must not be used. Adding a count to a slot that exists is one addition and cannot fail.
pub(super) struct RunningSums {
    needs: Needs,
    buckets: usize,
    /// The counters of the sums in a slot, in their order: first all that are read, then those that are also summed over the providers
    /// that report complaints.
    counters: Vec<CounterId>,
    /// How many of `counters` are of the first kind.
    plain: usize,
    /// The position of a counter's sum in a slot.
    offsets: PerCounter<u32>,
    /// The position of its sum over the providers that report complaints.
    reporting_offsets: PerCounter<u32>,
    numbers: HashMap<GroupValues, u32, RandomState>,
    groups: Vec<Group>,
    /// The slots of all groups that have any, one for each bucket.
    slots: Vec<u32>,
    /// The sums of all slots.
    values: Vec<u64>,
    /// The sketches of all slots; empty if no sketch is read.
    sketches: Vec<Cell>,
    slot_count: u32,
    held_numbers: usize,
}

struct Group {
    values: GroupValues,
    /// The position in [`RunningSums::slots`] of its first bucket; `None` until something is counted.
    first_slot: Option<usize>,
}

impl RunningSums {
    /// Starts without groups, for a query with this number of buckets.
    pub(super) fn new(needs: Needs, buckets: usize) -> Self {
        let mut counters = Vec::new();
        let mut offsets = PerCounter::filled(ABSENT);
        let mut reporting_offsets = PerCounter::filled(ABSENT);
        // One numbering over both sets: a slot has all plain sums first, then those over reporting providers.
        let mut next: u32 = 0;
        for (set, offsets) in
            [(needs.projection.counters, &mut offsets), (needs.reporting, &mut reporting_offsets)]
        {
            for counter in set.iter() {
                offsets[counter] = next;
                next += 1;
                counters.push(counter);
            }
        }
        Self {
            needs,
            buckets,
            plain: needs.projection.counters.iter().count(),
            counters,
            offsets,
            reporting_offsets,
            numbers: HashMap::default(),
            groups: Vec::new(),
            slots: Vec::new(),
            values: Vec::new(),
            sketches: Vec::new(),
            slot_count: 0,
            held_numbers: 0,
        }
    }

    /// What is read of each row.
    pub(super) const fn projection(&self) -> &Projection {
        &self.needs.projection
    }

    /// Whether some counters are also summed over the providers that report complaints.
    pub(super) const fn has_reporting(&self) -> bool {
        !self.needs.reporting.is_empty()
    }

    /// The values of all groups, in the order of their numbers.
    pub(super) fn groups(&self) -> impl Iterator<Item = &GroupValues> {
        self.groups.iter().map(|group| &group.values)
    }

    /// The number of a group, if it has one.
    pub(super) fn find(&self, values: &GroupValues) -> Option<u32> {
        self.numbers.get(values).copied()
    }

    /// The number of a group; a new group gets the next one.
    pub(super) fn number(&mut self, values: GroupValues) -> Result<u32, Full> {
        if let Some(number) = self.find(&values) {
            return Ok(number);
        }
        // Before anything is kept: a refused group must not take memory.
        self.hold(GROUP_NUMBERS)?;
        let number = u32::try_from(self.groups.len()).map_err(|_| Full)?;
        self.groups.push(Group { values: values.clone(), first_slot: None });
        self.numbers.insert(values, number);
        Ok(number)
    }

    /// Adds a count to a slot, if its counter is summed.
    #[inline]
    pub(super) fn add(&mut self, slot: u32, counter: CounterId, count: u64) {
        let offset = self.offsets[counter];
        if offset != ABSENT {
            add_to(&mut self.values, slot as usize * self.counters.len() + offset as usize, count);
        }
    }

    /// Adds a count of a provider that reports complaints: also to the sum over these providers, if there is one.
    #[inline]
    pub(super) fn add_reporting(&mut self, slot: u32, counter: CounterId, count: u64) {
        self.add(slot, counter, count);
        let offset = self.reporting_offsets[counter];
        if offset != ABSENT {
            add_to(&mut self.values, slot as usize * self.counters.len() + offset as usize, count);
        }
    }

    /// Adds the sketches that are read of a row to a slot.
    pub(super) fn add_sketches(&mut self, slot: u32, row: &RowRef<'_>) {
        let projection = self.needs.projection;
        let Some(sketches) = self.sketches.get_mut(slot as usize) else {
            return invariant::broken("a slot has no sketches although the query reads some");
        };
        // A row may hold sketches that the query does not read.
        if let Some(latency) = row.latency.filter(|_| projection.latency) {
            sketches.latency.merge(latency);
        }
        if let Some(opens) = row.opens.filter(|_| projection.opens) {
            sketches.opens.merge(opens);
        }
        if let Some(clicks) = row.clicks.filter(|_| projection.clicks) {
            sketches.clicks.merge(clicks);
        }
    }

    /// Adds all sums of another execution of the same query.
    pub(super) fn merge(&mut self, other: &Self) -> Result<(), Full> {
        // By values and not by number: the other execution met its groups in an order of its own.
        for group in &other.groups {
            let number = self.number(group.values.clone())?;
            for (bucket, theirs) in other.slots_of(group) {
                let slot = self.slot(number, bucket)? as usize;
                let first = slot * self.counters.len();
                for (offset, count) in other.sums_of(theirs).iter().enumerate() {
                    add_to(&mut self.values, first + offset, *count);
                }
                if let (Some(ours), Some(theirs)) = (self.sketches.get_mut(slot), other.sketches.get(theirs))
                {
                    ours.merge(theirs);
                }
            }
        }
        Ok(())
    }

    /// The sums of some groups taken together, one per bucket; `None` for a bucket in which nothing was counted.
    pub(super) fn by_bucket(&self, groups: impl Iterator<Item = u32>) -> Vec<Option<Aggregate>> {
        self.aggregates(groups, self.buckets, |bucket| bucket)
    }

    /// The sums of a group over the whole range; `None` if nothing was counted.
    pub(super) fn whole_range(&self, group: u32) -> Option<Aggregate> {
        self.aggregates(std::iter::once(group), 1, |_| 0).pop().flatten()
    }

    /// Sums of some groups in `count` aggregates; `position` says into which one a bucket goes.
    fn aggregates(
        &self,
        groups: impl Iterator<Item = u32>,
        count: usize,
        position: impl Fn(usize) -> usize,
    ) -> Vec<Option<Aggregate>> {
        let width = self.counters.len();
        let mut sums = vec![0; count * width];
        let mut sketches = vec![Cell::default(); if self.sketches.is_empty() { 0 } else { count }];
        for group in groups.filter_map(|group| self.groups.get(group as usize)) {
            for (bucket, slot) in self.slots_of(group) {
                let position = position(bucket);
                for (offset, count) in self.sums_of(slot).iter().enumerate() {
                    add_to(&mut sums, position * width + offset, *count);
                }
                if let (Some(held), Some(more)) = (sketches.get_mut(position), self.sketches.get(slot)) {
                    held.merge(more);
                }
            }
        }
        let mut sketches = sketches.into_iter();
        let aggregate = |position: usize| {
            // If no sketch is read, there is no cell to begin with.
            let cell = sketches.next().unwrap_or_default();
            let mut aggregate = Aggregate { cell, ..Aggregate::default() };
            let counts = sums.iter().skip(position * width).take(width);
            for (offset, (counter, count)) in self.counters.iter().zip(counts).enumerate() {
                // A count of 0 is not held by counters, so an aggregate in which nothing was counted stays empty.
                let counters =
                    if offset < self.plain { &mut aggregate.cell.counters } else { &mut aggregate.reporting };
                counters.add(*counter, *count);
            }
            (!aggregate.cell.is_empty()).then_some(aggregate)
        };
        (0..count).map(aggregate).collect()
    }

    /// Bucket and slot of everything that was counted in a group.
    fn slots_of(&self, group: &Group) -> impl Iterator<Item = (usize, usize)> + '_ {
        let slots = group.first_slot.and_then(|first| self.slots.get(first..first + self.buckets));
        let numbered = slots.into_iter().flatten().enumerate();
        numbered.filter(|(_, slot)| **slot != ABSENT).map(|(bucket, slot)| (bucket, *slot as usize))
    }

    /// The sums of a slot.
    fn sums_of(&self, slot: usize) -> &[u64] {
        let width = self.counters.len();
        let sums = self.values.get(slot * width..(slot + 1) * width);
        invariant::or_broken(sums, &[], "a slot has no sums")
    }

    /// The slot of a group's bucket, made if there is none. The bucket must be one of the query's: behind them lies another group.
    #[inline]
    pub(super) fn slot(&mut self, number: u32, bucket: usize) -> Result<u32, Full> {
        let first = self.groups.get(number as usize).and_then(|group| group.first_slot);
        match first.and_then(|first| self.slots.get(first + bucket)) {
            Some(&slot) if slot != ABSENT => Ok(slot),
            _ => self.new_slot(number, bucket),
        }
    }

    #[cold]
    fn new_slot(&mut self, number: u32, bucket: usize) -> Result<u32, Full> {
        let has_sketches = self.needs.projection.has_sketches();
        let first = match self.groups.get(number as usize).and_then(|group| group.first_slot) {
            Some(first) => first,
            None => self.first_slot(number)?,
        };
        self.hold(self.counters.len() + if has_sketches { SKETCH_NUMBERS } else { 1 })?;
        let slot = self.slot_count;
        match self.slots.get_mut(first + bucket) {
            Some(place) => *place = slot,
            None => invariant::broken("a group has no slot for a bucket of its query"),
        }
        self.slot_count += 1;
        self.values.resize(self.values.len() + self.counters.len(), 0);
        if has_sketches {
            self.sketches.push(Cell::default());
        }
        Ok(slot)
    }

    /// Makes room for the slots of a group and returns the position of the first.
    fn first_slot(&mut self, number: u32) -> Result<usize, Full> {
        self.hold(self.buckets)?;
        let first = self.slots.len();
        // All buckets at once, so that a slot is found by an addition. Sums follow only where something is counted.
        self.slots.resize(first + self.buckets, ABSENT);
        match self.groups.get_mut(number as usize) {
            Some(group) => group.first_slot = Some(first),
            None => invariant::broken("a slot is asked for a group that does not exist"),
        }
        Ok(first)
    }

    fn hold(&mut self, numbers: usize) -> Result<(), Full> {
        // Only ever grows: an execution gives nothing back before it ends.
        self.held_numbers = self.held_numbers.saturating_add(numbers);
        if self.held_numbers > MAX_NUMBERS { Err(Full) } else { Ok(()) }
    }
}

fn add_to(sums: &mut [u64], position: usize, count: u64) {
    match sums.get_mut(position) {
        Some(sum) => *sum = sum.saturating_add(count),
        None => invariant::broken("a sum lies outside of its slot"),
    }
}
