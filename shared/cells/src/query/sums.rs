//! Running sums by group and bucket: flat, growing only where something was counted, and bounded.
//!
//! A group has a run of slots, one per bucket; a slot is a run of sums, one per wanted counter, and a cell of sketches if any are
//! wanted. Nothing here knows what a metric is.

use compact_str::CompactString;
use hashbrown::HashMap;
use rapidhash::fast::RandomState;
use smallvec::SmallVec;

use crate::block::{Projection, RowRef};
use crate::cell::Cell;
use crate::counter::{CounterId, PerCounter};

/// How many numbers may be held at once, places of empty buckets included: some 128 MiB.
const MAX_NUMBERS: usize = 16 << 20;
/// What a group without buckets is taken for, in numbers: its values and its entry in the table.
const GROUP_NUMBERS: usize = 16;
/// What a cell of empty sketches is taken for, in numbers. Full ones are no larger than the blocks they were read from.
const SKETCH_NUMBERS: usize = 24;
/// The place of a counter that is not wanted, and the slot of a bucket in which nothing was counted.
const NOWHERE: u32 = u32::MAX;

/// The values of a group, in the order of the query's groups.
pub(super) type GroupValues = SmallVec<[CompactString; 1]>;

/// There is no room for more sums.
#[derive(Debug)]
pub(super) struct Full;

/// Sums by group and bucket.
pub(super) struct Sums {
    wanted: Projection,
    buckets: usize,
    /// The wanted counters, in the order of their sums in a slot.
    counters: Vec<CounterId>,
    /// Where a counter's sum lies in a slot, by the counter's number.
    places: PerCounter<u32>,
    numbers: HashMap<GroupValues, u32, RandomState>,
    groups: Vec<Group>,
    /// The slots of all groups that have any, one for each bucket.
    slots: Vec<u32>,
    /// The sums of all slots, one for each wanted counter.
    flat: Vec<u64>,
    /// The sketches of all slots; none if no sketch is wanted.
    sketches: Vec<Cell>,
    slot_count: u32,
    held: usize,
}

struct Group {
    values: GroupValues,
    /// Where the slots of its buckets begin; `usize::MAX` if nothing was counted yet.
    slots: usize,
}

impl Sums {
    /// No sums.
    pub(super) fn new(wanted: Projection, buckets: usize) -> Self {
        let counters: Vec<CounterId> = wanted.counters.iter().collect();
        let mut places = PerCounter::filled(NOWHERE);
        for (place, &counter) in (0..).zip(&counters) {
            places[counter] = place;
        }
        Self {
            wanted,
            buckets,
            counters,
            places,
            numbers: HashMap::default(),
            groups: Vec::new(),
            slots: Vec::new(),
            flat: Vec::new(),
            sketches: Vec::new(),
            slot_count: 0,
            held: 0,
        }
    }

    /// What is summed.
    pub(super) const fn wanted(&self) -> &Projection {
        &self.wanted
    }

    /// The values of all groups, in the order of their numbers.
    pub(super) fn groups(&self) -> impl Iterator<Item = &GroupValues> {
        self.groups.iter().map(|group| &group.values)
    }

    /// The number of a group, if it has one.
    pub(super) fn find(&self, values: &GroupValues) -> Option<u32> {
        self.numbers.get(values).copied()
    }

    /// The number of a group.
    pub(super) fn number(&mut self, values: GroupValues) -> Result<u32, Full> {
        if let Some(number) = self.find(&values) {
            return Ok(number);
        }
        self.hold(GROUP_NUMBERS)?;
        let number = u32::try_from(self.groups.len()).map_err(|_| Full)?;
        self.groups.push(Group { values: values.clone(), slots: usize::MAX });
        self.numbers.insert(values, number);
        Ok(number)
    }

    /// Adds a count to a slot, if its counter is wanted.
    #[inline]
    pub(super) fn add(&mut self, slot: u32, counter: CounterId, count: u64) {
        let place = self.places[counter];
        if place != NOWHERE {
            add_to(&mut self.flat, slot as usize * self.counters.len() + place as usize, count);
        }
    }

    /// Adds a row's sketches to a slot, as far as they are wanted.
    pub(super) fn add_sketches(&mut self, slot: u32, row: &RowRef<'_>) {
        let Some(sketches) = self.sketches.get_mut(slot as usize) else { return };
        if let Some(latency) = row.latency.filter(|_| self.wanted.latency) {
            sketches.latency.merge(latency);
        }
        if let Some(opens) = row.opens.filter(|_| self.wanted.opens) {
            sketches.opens.merge(opens);
        }
        if let Some(clicks) = row.clicks.filter(|_| self.wanted.clicks) {
            sketches.clicks.merge(clicks);
        }
    }

    /// Adds all sums of another of the same shape.
    pub(super) fn merge(&mut self, other: &Self) -> Result<(), Full> {
        let width = self.counters.len();
        for group in &other.groups {
            let number = self.number(group.values.clone())?;
            for (bucket, theirs) in other.slots_of(group) {
                let slot = self.slot(number, bucket)? as usize;
                for place in 0..width {
                    let count = other.flat.get(theirs * width + place).map_or(0, |sum| *sum);
                    add_to(&mut self.flat, slot * width + place, count);
                }
                if let (Some(ours), Some(theirs)) = (self.sketches.get_mut(slot), other.sketches.get(theirs))
                {
                    ours.merge(theirs);
                }
            }
        }
        Ok(())
    }

    /// The cells of some groups taken together, by bucket, or a single one of the whole range; none where nothing was counted.
    pub(super) fn cells(&self, groups: impl Iterator<Item = u32>, whole_range: bool) -> Vec<Option<Cell>> {
        let width = self.counters.len();
        let places = if whole_range { 1 } else { self.buckets };
        let mut flat = vec![0; places * width];
        let mut sketches = vec![Cell::default(); if self.sketches.is_empty() { 0 } else { places }];
        for group in groups.filter_map(|group| self.groups.get(group as usize)) {
            for (bucket, slot) in self.slots_of(group) {
                let place = if whole_range { 0 } else { bucket };
                let first = slot * width;
                for (offset, count) in
                    self.flat.get(first..first + width).unwrap_or_default().iter().enumerate()
                {
                    add_to(&mut flat, place * width + offset, *count);
                }
                if let (Some(held), Some(more)) = (sketches.get_mut(place), self.sketches.get(slot)) {
                    held.merge(more);
                }
            }
        }
        let mut sketches = sketches.into_iter();
        let cell = |place: usize| {
            let mut cell = sketches.next().unwrap_or_default();
            for (counter, count) in self.counters.iter().zip(flat.get(place * width..).unwrap_or_default()) {
                cell.counters.add(*counter, *count);
            }
            (!cell.is_empty()).then_some(cell)
        };
        (0..places).map(cell).collect()
    }

    /// Bucket and slot of what was counted in a group.
    fn slots_of(&self, group: &Group) -> impl Iterator<Item = (usize, usize)> + '_ {
        let slots = self.slots.get(group.slots..).unwrap_or_default().iter().take(self.buckets).enumerate();
        slots.filter(|(_, slot)| **slot != NOWHERE).map(|(bucket, slot)| (bucket, *slot as usize))
    }

    /// The slot of a group's bucket, made if there is none. The bucket must be one of the query's: behind them lies another group.
    #[inline]
    pub(super) fn slot(&mut self, number: u32, bucket: usize) -> Result<u32, Full> {
        let first = self.groups.get(number as usize).map_or(usize::MAX, |group| group.slots);
        match self.slots.get(first.saturating_add(bucket)) {
            Some(&slot) if slot != NOWHERE => Ok(slot),
            _ => self.new_slot(number, bucket),
        }
    }

    #[cold]
    fn new_slot(&mut self, number: u32, bucket: usize) -> Result<u32, Full> {
        let begins = self.groups.get(number as usize).is_some_and(|group| group.slots == usize::MAX);
        if begins {
            self.hold(self.buckets)?;
        }
        let sketched = self.wanted.has_sketches();
        self.hold(self.counters.len() + if sketched { SKETCH_NUMBERS } else { 1 })?;
        let group = self.groups.get_mut(number as usize).ok_or(Full)?;
        if begins {
            group.slots = self.slots.len();
            self.slots.resize(self.slots.len() + self.buckets, NOWHERE);
        }
        let place = self.slots.get_mut(group.slots + bucket).ok_or(Full)?;
        let slot = self.slot_count;
        *place = slot;
        self.slot_count += 1;
        self.flat.resize(self.flat.len() + self.counters.len(), 0);
        if sketched {
            self.sketches.push(Cell::default());
        }
        Ok(slot)
    }

    fn hold(&mut self, numbers: usize) -> Result<(), Full> {
        self.held = self.held.saturating_add(numbers);
        if self.held > MAX_NUMBERS { Err(Full) } else { Ok(()) }
    }
}

fn add_to(sums: &mut [u64], place: usize, count: u64) {
    if let Some(sum) = sums.get_mut(place) {
        *sum = sum.saturating_add(count);
    }
}
