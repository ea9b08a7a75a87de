//! Why bytes cannot be read as a block.

/// Why bytes cannot be read as a block.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// The bytes do not start with a block's magic number.
    #[error("these bytes are not a block: check where they were read from")]
    NotABlock,
    /// Written by another version of this program.
    #[error("block format {found} is {} than this program's {known}: {}", if found > known { "newer" } else { "older" },
        if found > known { "upgrade mailgauge" } else { "it was never released, remove the data and ingest it again" })]
    UnknownVersion {
        /// The format that the block says it is in.
        found: u8,
        /// The newest format this program can read.
        known: u8,
    },
    /// The checksum does not match: bytes were changed or lost.
    #[error(
        "the block is damaged: its checksum does not match, restore it or compact it again from its deltas"
    )]
    Damaged,
    /// The checksum matches, but no version of this program writes such contents.
    #[error("the block is malformed ({what}): it was not written by mailgauge")]
    Malformed {
        /// The first thing found wrong, as part of a sentence.
        what: &'static str,
    },
    /// A section cannot be decompressed.
    #[error("a section of the block cannot be decompressed: it was not written by mailgauge")]
    Compression(#[source] std::io::Error),
}

/// For bytes that have the right checksum and cannot have been written by this program.
pub(crate) const fn malformed(what: &'static str) -> BlockError {
    BlockError::Malformed { what }
}
