//! Quantiles of delivery time, from a histogram whose buckets grow with the value.
//!
//! Each power of two is divided into 64 equal buckets, so a value is known to 1/128 of itself (0.8 %). This was chosen over
//! `DDSketch` because it needs integers only and so gives the same bytes on every machine, and over t-digest and KLL because
//! merging is exact in any order. What is stored must never contain a float.

/// A histogram of delivery times in milliseconds. Merging is associative and commutative; counts saturate.
#[derive(Clone, Debug, Default)]
pub struct Latency(LatencyBuckets);

/// The buckets that are not empty, sorted. A bucket is packed into 64 bits: its number in the high 16, its count in the low 48. So a
/// bucket takes half the memory that two fields would, and a sort of the packed numbers is a sort by bucket.
#[derive(Clone, Debug, Default)]
enum LatencyBuckets {
    #[default]
    None,
    /// Most cells of a minute have one bucket at most, which needs no memory of its own.
    One(u64),
    #[expect(clippy::box_collection, reason = "the box keeps a cell small: 16 bytes, not 24")]
    Many(Box<Vec<u64>>),
}

const SUB_BUCKET_BITS: u32 = 6;
const COUNT_BITS: u32 = 48;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

impl Latency {
    /// The longest time that is recorded: 30 days. Longer times count as this. SES retries for 14 hours at most.
    pub const MAX_MILLIS: u64 = 30 * 24 * 60 * 60 * 1000;
    /// The largest error of a quantile, relative to the true value.
    pub const RELATIVE_ERROR: f64 = 1.0 / 128.0;
    /// The number of buckets.
    pub const BUCKETS: u16 = bucket_of(Self::MAX_MILLIS) + 1;

    /// Counts one delivery that took `millis` milliseconds.
    pub fn record(&mut self, millis: u64) {
        self.add(bucket_of(millis.min(Self::MAX_MILLIS)), 1);
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        // The usual case when a group's first row is added: one copy instead of an insertion per bucket.
        if self.is_empty() {
            self.0.clone_from(&other.0);
            return;
        }
        for (bucket, count) in other.iter() {
            self.add(bucket, count);
        }
    }

    /// The quantile `q` by nearest rank, in milliseconds: a share `q` of the deliveries took at most this long. `None` if there are
    /// none.
    ///
    /// The error is at most [`Latency::RELATIVE_ERROR`]. A `q` below 0 or above 1 means 0 or 1, and NaN means 0.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let total = self.count();
        // At least 1: the 0th smallest value does not exist, so `q` = 0 means the smallest.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to 1 and the total"
        )]
        let rank = ((q.clamp(0.0, 1.0) * total as f64).ceil() as u64).clamp(1, total.max(1));
        let mut seen = 0_u64;
        for (bucket, count) in self.iter() {
            seen = seen.saturating_add(count);
            if seen >= rank {
                return Some(middle_of(bucket));
            }
        }
        None
    }

    /// How many deliveries were recorded.
    pub fn count(&self) -> u64 {
        self.iter().fold(0, |sum, (_, count)| sum.saturating_add(count))
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.packed().is_empty()
    }

    /// Removes everything but keeps the memory for the next row.
    pub(crate) fn clear(&mut self) {
        match &mut self.0 {
            LatencyBuckets::None | LatencyBuckets::One(_) => self.0 = LatencyBuckets::None,
            LatencyBuckets::Many(buckets) => buckets.clear(),
        }
    }

    /// The number and count of each bucket that is not empty, in ascending order.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (u16, u64)> + '_ {
        self.packed().iter().map(|&packed| (number_of(packed), packed & COUNT_MASK))
    }

    /// Adds `count` to one bucket.
    pub(crate) fn add(&mut self, bucket: u16, count: u64) {
        if count == 0 {
            return;
        }
        match &mut self.0 {
            LatencyBuckets::None => self.0 = LatencyBuckets::One(pack(bucket, count)),
            LatencyBuckets::One(held) if number_of(*held) == bucket => *held = increased(*held, count),
            LatencyBuckets::One(held) => {
                // Packed numbers order like their buckets, which differ here.
                let (held, new) = (*held, pack(bucket, count));
                self.0 = LatencyBuckets::Many(Box::new(vec![held.min(new), held.max(new)]));
            }
            LatencyBuckets::Many(buckets) => add_to(buckets, bucket, count),
        }
    }

    fn packed(&self) -> &[u64] {
        match &self.0 {
            LatencyBuckets::None => &[],
            LatencyBuckets::One(packed) => std::slice::from_ref(packed),
            LatencyBuckets::Many(buckets) => buckets,
        }
    }
}

/// Equal histograms are equal, whether they have memory of their own or not.
impl PartialEq for Latency {
    fn eq(&self, other: &Self) -> bool {
        self.packed() == other.packed()
    }
}

impl Eq for Latency {}

fn add_to(buckets: &mut Vec<u64>, bucket: u16, count: u64) {
    // Decoding and merging add buckets in ascending order, so the position is mostly the end.
    let position = match buckets.last() {
        Some(&last) if number_of(last) >= bucket => {
            buckets.partition_point(|&packed| number_of(packed) < bucket)
        }
        _ => buckets.len(),
    };
    match buckets.get_mut(position) {
        Some(packed) if number_of(*packed) == bucket => *packed = increased(*packed, count),
        _ => buckets.insert(position, pack(bucket, count)),
    }
}

/// The same bucket with a larger count.
const fn increased(packed: u64, count: u64) -> u64 {
    pack(number_of(packed), (packed & COUNT_MASK).saturating_add(count))
}

const fn pack(bucket: u16, count: u64) -> u64 {
    // Saturates at 2.8e14, so that a count never runs into the bucket's number. `min` is not const.
    let count = if count < COUNT_MASK { count } else { COUNT_MASK };
    ((bucket as u64) << COUNT_BITS) | count
}

const fn number_of(packed: u64) -> u16 {
    (packed >> COUNT_BITS) as u16
}

/// The number of the bucket of a value. Values below 128 have a bucket each. Above, the number is made of the power of two and the
/// 6 bits below the highest one.
#[expect(clippy::cast_possible_truncation, reason = "at most 58 * 64 + 127")]
const fn bucket_of(millis: u64) -> u16 {
    let power = match millis.checked_ilog2() {
        Some(power) if power > SUB_BUCKET_BITS => power - SUB_BUCKET_BITS,
        _ => 0,
    };
    ((power << SUB_BUCKET_BITS) as u64 + (millis >> power)) as u16
}

/// The value in the middle of a bucket.
const fn middle_of(bucket: u16) -> u64 {
    // The first two runs of 64 numbers both have buckets of width 1, hence the difference of 1.
    let power = (bucket >> SUB_BUCKET_BITS).saturating_sub(1);
    let lowest = (bucket - (power << SUB_BUCKET_BITS)) as u64;
    (lowest << power) + ((1 << power) >> 1)
}

#[cfg(test)]
mod tests;
