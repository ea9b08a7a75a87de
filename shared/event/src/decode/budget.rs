//! Bounds what a payload may cost, however its layers are arranged, and what the payloads of a batch may cost together.
//!
//! Limits on size and nesting are not enough: a few kilobytes can hold hundreds of compressed parts that each expand to the largest
//! size, or text of which every line is read again from its start. The core has no clock, so time is bounded by work: the bytes of all
//! layers, each time that they are read.
//!
//! Every payload may use its share, in proportion to its length, whatever the rest of the batch used. Beyond it, payloads draw on what
//! is common to the batch, which is as much as one payload may use at most. So a hostile payload cannot take an ordinary one into
//! quarantine, and a batch costs at most the limits plus the shares.

use crate::outcome::DecodeBudget;

/// The most bytes that the compressed parts of one payload may decompress to, side by side or inside each other.
pub const MAX_INFLATED_BYTES: usize = 64 << 20;
/// The most parts in one payload. A payload of the largest size has some 20,000 events of SES.
pub const MAX_PARTS: usize = 1 << 18;
/// The most bytes that decoding one payload may read: each layer, and again what is read more than once. It takes about as long as
/// decoding as many bytes of plain events.
pub const MAX_WORK_BYTES: usize = 512 << 20;

/// Decompressed bytes in a payload's share, for each of its bytes. The events of one campaign compress to a seventeenth with gzip and to a
/// twenty-sixth with zstd, and many such requests may be counted in one batch.
const INFLATED_PER_BYTE: usize = 64;
/// The bytes of a payload for which its share has a part: the shortest event that can be counted has 130, and compressed a twenty-sixth of
/// them.
const BYTES_PER_PART: usize = 4;
/// Parts in the share of an empty payload.
const PARTS_OF_EMPTY: usize = 16;
/// Work in a payload's share, for each of its bytes. What is compressed in it is read some four times.
const WORK_PER_BYTE: usize = 4 * INFLATED_PER_BYTE;
/// Work in the share of an empty payload: a few compressed layers around a short event.
const WORK_OF_EMPTY: usize = 32 << 10;
/// What it costs to begin decompressing, in bytes of work: both formats set up tens of kilobytes, also for an empty part.
pub(super) const DECOMPRESSION_WORK: usize = 8 << 10;

/// What the payloads of one batch may still use beyond their shares.
#[derive(Clone, Debug)]
pub struct BatchBudget {
    common: Allowance,
}

/// What may still be used of each budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowance {
    /// Bytes to decompress to.
    pub(super) inflated: usize,
    pub(super) parts: usize,
    /// Bytes to read.
    pub(super) work: usize,
}

impl BatchBudget {
    /// For a batch that begins.
    pub const fn new() -> Self {
        Self { common: Allowance::LARGEST }
    }

    /// What a payload of this many bytes may use.
    pub(super) fn for_payload(&self, bytes: usize) -> Allowance {
        let (share, common) = (Allowance::share_of(bytes), self.common);
        Allowance {
            inflated: MAX_INFLATED_BYTES.min(share.inflated + common.inflated),
            parts: MAX_PARTS.min(share.parts + common.parts),
            work: MAX_WORK_BYTES.min(share.work + common.work),
        }
    }

    /// Takes what a payload of this many bytes used beyond its share.
    pub(super) fn take(&mut self, bytes: usize, used: Allowance) {
        let (share, common) = (Allowance::share_of(bytes), &mut self.common);
        let rest =
            |common: usize, used: usize, share: usize| common.saturating_sub(used.saturating_sub(share));
        common.inflated = rest(common.inflated, used.inflated, share.inflated);
        common.parts = rest(common.parts, used.parts, share.parts);
        common.work = rest(common.work, used.work, share.work);
    }
}

impl Default for BatchBudget {
    fn default() -> Self {
        Self::new()
    }
}

impl Default for Allowance {
    fn default() -> Self {
        Self::LARGEST
    }
}

impl Allowance {
    /// The most that one payload may use.
    const LARGEST: Self = Self { inflated: MAX_INFLATED_BYTES, parts: MAX_PARTS, work: MAX_WORK_BYTES };

    /// What a payload of this many bytes may use whatever the others of its batch use.
    const fn share_of(bytes: usize) -> Self {
        // No overflow: the length is at most `MAX_RECORD_BYTES`.
        Self {
            inflated: bytes * INFLATED_PER_BYTE,
            parts: bytes / BYTES_PER_PART + PARTS_OF_EMPTY,
            work: bytes * WORK_PER_BYTE + WORK_OF_EMPTY,
        }
    }

    /// What was used, if this much was allowed and `left` is left.
    pub(super) const fn used(self, left: Self) -> Self {
        Self {
            inflated: self.inflated - left.inflated,
            parts: self.parts - left.parts,
            work: self.work - left.work,
        }
    }

    /// The budget that stops decoding, if one is used up. Decompressed bytes stop only what is compressed.
    #[inline]
    pub(super) fn exhausted(&self) -> Option<DecodeBudget> {
        match self {
            Self { parts: 0, .. } => Some(DecodeBudget::Parts),
            Self { work: 0, .. } => Some(DecodeBudget::Work),
            _ => None,
        }
    }

    /// Counts a part.
    #[inline]
    pub(super) fn part(&mut self) {
        self.parts = self.parts.saturating_sub(1);
    }

    /// Counts bytes that are read.
    #[inline]
    pub(super) fn read(&mut self, bytes: usize) {
        self.work = self.work.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests;
