//! Decodes what is inside compressed and aggregated records, within the budgets of the payload.

use super::budget::DECOMPRESSION_WORK;
use super::{Decoded, Decoder, OnOutcome, compression, kpl};
use crate::outcome::{Encoding, Ignored, Unreadable};

impl Decoder {
    pub(super) fn decode_kpl(
        &mut self,
        records: kpl::AggregatedRecords<'_>,
        bytes: &[u8],
        depth: usize,
        on_outcome: OnOutcome<'_>,
    ) {
        let mut is_empty = true;
        for record in records {
            is_empty = false;
            // The whole message here too.
            if let Some(budget) = self.left.exhausted() {
                return self.pass_unreadable(Unreadable::OverBudget(budget), bytes, on_outcome);
            }
            // After an error there are no further records: the rest of the message can no longer be split into records.
            match record {
                Ok(record) => self.decode_payload(record, depth, on_outcome),
                Err(kpl::NotProtobuf) => {
                    // The whole message, because its digest matches no part of it. Deduplication recognises the records before the
                    // defect when it is replayed.
                    self.pass_unreadable(Unreadable::Broken(Encoding::Kpl), bytes, on_outcome);
                }
            }
        }
        if is_empty {
            self.pass(Decoded::Ignored(Ignored::Empty), on_outcome);
        }
    }

    pub(super) fn decode_compressed(
        &mut self,
        encoding: Encoding,
        bytes: &[u8],
        depth: usize,
        on_outcome: OnOutcome<'_>,
    ) {
        let mut buffer = self.take_buffer();
        buffer.clear();
        let unpacked = compression::decompress(encoding, bytes, self.left.inflated, &mut buffer);
        self.left.read(DECOMPRESSION_WORK);
        // Also what was unpacked in vain: a bomb with a wrong checksum costs as much as one with the right one.
        self.left.inflated = self.left.inflated.saturating_sub(buffer.len());
        match unpacked {
            Ok(()) => self.decode_payload(&buffer, depth, on_outcome),
            Err(reason) => {
                self.left.read(buffer.len());
                self.pass_unreadable(reason, bytes, on_outcome);
            }
        }
        self.keep_buffer(buffer);
    }
}
