//! What becomes of each part of a payload that is not an event: ignored for a known reason, or unreadable for a named one.
//!
//! Both lists are closed, so that every record ends in an outcome that can be counted. Neither may ever hold an address
//! or a link: names from outside are cut short and reduced to plain letters.

use compact_str::CompactString;

use crate::json::Fault;

/// Something sound that is no event of sent mail. Counted, never an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// The text SNS topics receive when SES or a user checks them.
    SnsValidation,
    /// An SNS message about a subscription, of an endpoint's or of its end.
    SubscriptionConfirmation,
    /// An EventBridge event of SES that is about no message: advisor, sending status, API calls.
    OtherDetailType,
    /// A notification of received mail.
    InboundMail,
    /// An event type that is new to us; its name reduced to at most 40 plain characters.
    UnknownEventType(CompactString),
    /// Nothing but white space, or a list of no records.
    Empty,
}

impl Ignored {
    const NAME_CHARS: usize = 40;

    /// An unknown event type, whatever its name holds.
    pub(crate) fn unknown_event_type(name: &str) -> Self {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '_' | '-' | ':');
        Self::UnknownEventType(
            name.chars().take(Self::NAME_CHARS).map(|c| if is_plain(c) { c } else { '?' }).collect(),
        )
    }
}

/// Why a part cannot be read. What can never be read is never retried: it goes to quarantine with this reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A line that is not UTF-8.
    #[error("invalid UTF-8; send events as UTF-8 JSON")]
    InvalidUtf8,
    /// Not JSON; the byte is counted in the quarantined part.
    #[error("invalid JSON at byte {at}; send one JSON value per line or record")]
    InvalidJson {
        /// Where scanning stopped.
        at: usize,
    },
    /// The JSON ends inside a value.
    #[error("JSON cut off at byte {at}; send the record whole")]
    CutOff {
        /// Where the text ends.
        at: usize,
    },
    /// JSON nests deeper than any event does.
    #[error("JSON nested more than 64 levels deep at byte {at}")]
    TooDeep {
        /// Where the limit was passed.
        at: usize,
    },
    /// Larger than a record may be.
    #[error("more than {limit} bytes; split it into smaller records")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// Envelopes inside envelopes.
    #[error("more than {limit} envelopes inside each other")]
    TooManyLayers {
        /// The limit.
        limit: usize,
    },
    /// Sound JSON that is neither an SES event nor an envelope of one.
    #[error("neither an SES event nor a known envelope")]
    NotAnEvent,
    /// An event without something it cannot be counted without.
    #[error("field {0} is missing")]
    MissingField(&'static str),
    /// A field that cannot be understood for its type.
    #[error("field {0} has the wrong type")]
    WrongType(&'static str),
    /// A time in no known spelling.
    #[error("time in {0} is not understood; use RFC 3339, as in 2025-11-13T02:15:23.456Z")]
    TimeNotUnderstood(&'static str),
    /// A time that no event can have.
    #[error("time in {0} is not between the years 2000 and 2100")]
    TimeOutOfRange(&'static str),
    /// Compressed data that does not decompress.
    #[error("broken {0} data")]
    Broken(Encoding),
}

/// How bytes were packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// RFC 4648.
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
    /// From where and why scanning stopped.
    pub(crate) fn json(fault: Fault, at: usize) -> Self {
        match fault {
            Fault::Syntax => Self::InvalidJson { at },
            Fault::End => Self::CutOff { at },
            Fault::Depth => Self::TooDeep { at },
        }
    }
}
