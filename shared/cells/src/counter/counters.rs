//! A sparse set of counts, made for cells that hold few of the many counters.
//!
//! Most cells of a minute hold one to three counts, each far below four billion. These lie inside the value: six numbers and six
//! 32-bit counts in 32 bytes, without memory of their own. Anything larger moves to the heap, as a bit per counter and a list of
//! 64-bit counts. Adding is associative and commutative; counts saturate instead of wrapping.

use event::invariant;

use super::{Counter, CounterId, CounterSet};

/// How many counts fit inside the value.
const INLINE: usize = 6;
/// Fills the slots of absent counters. It is a valid number too, so only `len` tells used slots from free ones.
const UNUSED: u8 = u8::MAX;

/// The counters that are not zero, in the order of their numbers.
#[derive(Clone, Debug, Default)]
pub struct Counters(Storage);

/// The first `len` of the inline slots are in use, sorted by number. The counts of the others are 0.
#[derive(Clone, Debug)]
enum Storage {
    Inline { len: u8, numbers: [u8; INLINE], counts: [u32; INLINE] },
    Heap(Box<HeapCounters>),
}

/// Never empty. `counts` has one entry per counter of `present`, in the order of their numbers.
#[derive(Clone, Debug, Default)]
struct HeapCounters {
    present: CounterSet,
    counts: Vec<u64>,
}

impl Storage {
    const EMPTY: Self = Self::Inline { len: 0, numbers: [UNUSED; INLINE], counts: [0; INLINE] };
}

impl Default for Storage {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Counters {
    /// Counters that are all 0. Takes no memory beside the value.
    pub const fn new() -> Self {
        Self(Storage::EMPTY)
    }

    /// Adds `count` to one counter.
    #[inline]
    pub fn add(&mut self, counter: impl Into<CounterId>, count: u64) {
        // A counter of 0 is not held, so that equal counts have one form and an empty cell is recognised as empty.
        if count == 0 {
            return;
        }
        let counter = counter.into();
        if let Storage::Inline { len, numbers, counts } = &mut self.0
            && add_inline(len, numbers, counts, counter, count)
        {
            return;
        }
        self.add_on_heap(counter, count);
    }

    /// The count of one counter; 0 if it was never added to.
    #[inline]
    pub fn get(&self, counter: impl Into<CounterId>) -> u64 {
        let counter = counter.into();
        match &self.0 {
            // Finding a free slot does no harm: its count is 0.
            Storage::Inline { numbers, counts, .. } => {
                let slot = numbers.iter().position(|&number| number == counter.number());
                slot.map_or(0, |slot| u64::from(counts[slot]))
            }
            Storage::Heap(heap) => heap.get(counter),
        }
    }

    /// Adds all counts of `other`.
    pub fn merge(&mut self, other: &Self) {
        // The same key in two hours mostly has the same counters, so there is nothing to search for.
        if let (Storage::Heap(own), Storage::Heap(other)) = (&mut self.0, &other.0)
            && own.present == other.present
        {
            for (sum, count) in own.counts.iter_mut().zip(&other.counts) {
                *sum = sum.saturating_add(*count);
            }
            return;
        }
        for (counter, count) in other.iter() {
            self.add(counter, count);
        }
    }

    /// The counts that are not zero, in the order of their numbers.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = (CounterId, u64)> + '_ {
        match &self.0 {
            Storage::Inline { len, numbers, counts } => {
                Iter::Inline(numbers.iter().zip(counts).take(usize::from(*len)))
            }
            Storage::Heap(heap) => Iter::Heap(heap.present.iter().zip(&heap.counts)),
        }
    }

    /// Sets all counts to 0.
    pub(crate) fn clear(&mut self) {
        self.0 = Storage::EMPTY;
    }

    /// Adds a counter whose number is above all present ones: [`Counters::add`] for readers of sorted columns.
    #[inline]
    pub(crate) fn push(&mut self, counter: CounterId, count: u64) {
        if count == 0 {
            return;
        }
        if let Storage::Inline { len, numbers, counts } = &mut self.0
            && let slot = usize::from(*len)
            && slot < INLINE
            && let Ok(count) = u32::try_from(count)
        {
            numbers[slot] = counter.number();
            counts[slot] = count;
            *len += 1;
            return;
        }
        self.add_on_heap(counter, count);
    }

    /// Whether nothing is counted.
    pub const fn is_empty(&self) -> bool {
        matches!(self.0, Storage::Inline { len: 0, .. })
    }

    /// How many counts of events went in: the sum of the [`Counter::PRIMARY`] counters and the simulator's.
    pub fn events(&self) -> u64 {
        const COUNTED_ONCE: CounterSet = {
            let mut set = CounterSet::of(&Counter::PRIMARY);
            set.insert(CounterId(Counter::Simulator as u8));
            set
        };
        let primary = self.iter().filter(|(counter, _)| COUNTED_ONCE.contains(*counter));
        primary.fold(0, |sum, (_, count)| sum.saturating_add(count))
    }

    /// Adds to the counts on the heap, after moving inline counts there.
    #[cold]
    fn add_on_heap(&mut self, counter: CounterId, count: u64) {
        // Never back: counts only grow, and a counter that is held stays.
        if let Storage::Inline { .. } = &self.0 {
            let mut heap = Box::<HeapCounters>::default();
            for (counter, count) in self.iter() {
                heap.add(counter, count);
            }
            self.0 = Storage::Heap(heap);
        }
        if let Storage::Heap(heap) = &mut self.0 {
            heap.add(counter, count);
        }
    }
}

impl HeapCounters {
    fn add(&mut self, counter: CounterId, count: u64) {
        // Before the counter is marked: its rank is the number of present counters below it either way.
        let rank = self.present.rank(counter);
        if !self.present.contains(counter) {
            self.present.insert(counter);
            self.counts.insert(rank, count);
        } else if let Some(sum) = self.counts.get_mut(rank) {
            *sum = sum.saturating_add(count);
        } else {
            invariant::broken("a counter is marked as present and has no count");
        }
    }

    fn get(&self, counter: CounterId) -> u64 {
        if !self.present.contains(counter) {
            return 0;
        }
        let count = self.counts.get(self.present.rank(counter)).copied();
        invariant::or_broken(count, 0, "a counter is marked as present and has no count")
    }
}

/// Either form of storage. Chaining the two would cost small cells three times as much.
enum Iter<I, H> {
    Inline(I),
    Heap(H),
}

impl<'a, I, H> Iterator for Iter<I, H>
where
    I: Iterator<Item = (&'a u8, &'a u32)>,
    H: Iterator<Item = (CounterId, &'a u64)>,
{
    type Item = (CounterId, u64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Inline(inline) => {
                inline.next().map(|(&number, &count)| (CounterId::from_number(number), u64::from(count)))
            }
            Self::Heap(heap) => heap.next().map(|(counter, &count)| (counter, count)),
        }
    }
}

/// Equal counts are equal, whether they lie inline or on the heap.
impl PartialEq for Counters {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Counters {}

/// How many of the slots have a smaller number. Unused slots have the largest number and are never smaller. Comparing all of them
/// without a branch is faster than stopping early at an unpredictable slot.
#[inline]
fn inline_rank(numbers: [u8; INLINE], counter: CounterId) -> usize {
    numbers.iter().map(|&number| usize::from(number < counter.number())).sum()
}

/// Adds in place. Returns false, and changes nothing, if there is no free slot or the sum exceeds 32 bits.
#[inline]
fn add_inline(
    len: &mut u8,
    numbers: &mut [u8; INLINE],
    counts: &mut [u32; INLINE],
    counter: CounterId,
    count: u64,
) -> bool {
    // A count beyond 32 bits, such as a sum of milliseconds, has no place here.
    let Ok(count) = u32::try_from(count) else { return false };
    let rank = inline_rank(*numbers, counter);
    let used = usize::from(*len);
    if rank < used && numbers[rank] == counter.number() {
        let Some(sum) = counts[rank].checked_add(count) else { return false };
        counts[rank] = sum;
        return true;
    }
    if used >= INLINE {
        return false;
    }
    // Makes room. At most `used` slots are smaller, so `rank` is the slot behind them, and mostly the first free one.
    for slot in (rank..used).rev() {
        numbers[slot + 1] = numbers[slot];
        counts[slot + 1] = counts[slot];
    }
    numbers[rank] = counter.number();
    counts[rank] = count;
    *len += 1;
    true
}

#[cfg(test)]
mod tests;
