//! The outcomes of parts of a payload that are not events: ignored for a known reason, or unreadable for a named one.
//!
//! Both enums are closed, so that every record ends in an outcome that can be counted. They must never contain an address or a
//! link: names from outside are cut short and reduced to plain characters.

use compact_str::CompactString;

use crate::json::ScanError;

/// A sound part that is not an event of sent mail. It is counted as ignored and is never an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// The message by which SES validates an SNS topic.
    SnsValidation,
    /// An SNS message about the topic's own subscription: it waits for confirmation, or was cancelled.
    SubscriptionConfirmation,
    /// An EventBridge event of SES that is not about a message: advisor, sending status, API calls.
    OtherDetailType,
    /// A notification of received (inbound) mail.
    InboundMail,
    /// An event type unknown to this version, with its name reduced to at most 40 plain characters.
    UnknownEventType(CompactString),
    /// Only white space, or an empty list of records.
    Empty,
}

impl Ignored {
    const NAME_CHARS: usize = 40;

    /// `name` may be anything, including an address; every character that is not plain becomes `?`.
    pub(crate) fn unknown_event_type(name: &str) -> Self {
        // Enough for every name that SES uses, and without `@`, dots and slashes, so that no address or link stays readable.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '_' | '-' | ':');
        Self::UnknownEventType(
            name.chars().take(Self::NAME_CHARS).map(|c| if is_plain(c) { c } else { '?' }).collect(),
        )
    }
}

/// Why a part cannot be read. Retrying cannot help, so the part goes into quarantine with this reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A line that is not UTF-8.
    #[error("invalid UTF-8; send events as UTF-8 JSON")]
    InvalidUtf8,
    /// A byte that cannot stand there in JSON.
    #[error("invalid JSON at byte {at}; send one JSON value per line or record")]
    InvalidJson {
        /// The offset in the quarantined part at which scanning stopped.
        at: usize,
    },
    /// The JSON ends inside a value.
    #[error("JSON cut off at byte {at}; send the record whole")]
    CutOff {
        /// The offset in the quarantined part at which the text ends.
        at: usize,
    },
    /// JSON that nests deeper than any event does.
    #[error("JSON nested more than 64 levels deep at byte {at}")]
    TooDeep {
        /// The offset in the quarantined part at which the limit was exceeded.
        at: usize,
    },
    /// Larger than a record may be.
    #[error("more than {limit} bytes; split it into smaller records")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// More envelopes inside each other than any source makes.
    #[error("more than {limit} envelopes inside each other")]
    TooManyLayers {
        /// The limit, in layers.
        limit: usize,
    },
    /// Valid JSON that is neither an SES event nor an envelope of one.
    #[error("neither an SES event nor a known envelope")]
    NotAnEvent,
    /// An event without a field that counting needs; the field's path.
    #[error("field {0} is missing")]
    MissingField(&'static str),
    /// A field that counting needs, with a value of the wrong JSON type; the field's path.
    #[error("field {0} has the wrong type")]
    WrongType(&'static str),
    /// A time in an unknown format; the field's path.
    #[error("time in {0} is not understood; use RFC 3339, as in 2025-11-13T02:15:23.456Z")]
    TimeNotUnderstood(&'static str),
    /// A time so far off that the sender's clock is broken; the field's path.
    #[error("time in {0} is not between the years 2000 and 2100")]
    TimeOutOfRange(&'static str),
    /// Packed data that cannot be unpacked.
    #[error("broken {0} data")]
    Broken(Encoding),
}

/// A way in which bytes are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// One or more gzip members (RFC 1952).
    Gzip,
    /// One or more zstd frames (RFC 8878).
    Zstd,
    /// Base64 (RFC 4648), with or without padding.
    Base64,
    /// The aggregation format of the Kinesis Producer Library.
    Kpl,
}

impl std::fmt::Display for Encoding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Base64 => "base64",
            Self::Kpl => "KPL-aggregated",
        })
    }
}

impl Unreadable {
    /// For a scan that stopped at offset `at` of the quarantined part.
    pub(crate) fn json(error: ScanError, at: usize) -> Self {
        match error {
            ScanError::Syntax => Self::InvalidJson { at },
            ScanError::UnexpectedEnd => Self::CutOff { at },
            ScanError::TooDeep => Self::TooDeep { at },
        }
    }
}
