//! The outcomes of parts of a payload that are not events: ignored for a known reason, or unreadable for a named one.
//!
//! Both enums are closed, so that every record ends in an outcome that can be counted. They must never contain an address or a
//! link: names from outside are cut short and reduced to plain characters.

use std::collections::BTreeMap;

use compact_str::CompactString;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::account_event::AccountEvent;
use crate::decode::{MAX_INFLATED_BYTES, MAX_PARTS, MAX_WORK_BYTES};
use crate::json::ScanError;

/// A sound part that is not an event of sent mail. It is counted as ignored and is never an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// The message by which SES validates an SNS topic.
    SnsValidation,
    /// An SNS message about the topic's own subscription: it waits for confirmation, or was cancelled.
    SubscriptionConfirmation,
    /// An EventBridge event of SES that is not about a message and of which no alert is made, such as an API call.
    OtherDetailType,
    /// A notification of received (inbound) mail.
    InboundMail,
    /// An event type unknown to this version, with its name reduced to at most 40 plain characters.
    UnknownEventType(CompactString),
    /// Only white space, or an empty list of records.
    Empty,
    /// The message by which CloudWatch Logs checks that a destination takes records.
    LogsControlMessage,
    /// What SNS appends to a notification by email.
    EmailFooter,
    /// An event about an account or a part of it. It has nothing to count, but alerts are made of it.
    AccountEvent(Box<AccountEvent>),
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

impl Ignored {
    /// The name of each kind, as summaries and replies spell it, in the order of [`IgnoredCounts`].
    const NAMES: [&'static str; 9] = [
        "sns_validation",
        "subscription_confirmation",
        "other_detail_type",
        "inbound_mail",
        "unknown_event_type",
        "empty",
        "logs_control_message",
        "email_footer",
        "account_event",
    ];

    const fn number(&self) -> usize {
        match self {
            Self::SnsValidation => 0,
            Self::SubscriptionConfirmation => 1,
            Self::OtherDetailType => 2,
            Self::InboundMail => 3,
            Self::UnknownEventType(_) => 4,
            Self::Empty => 5,
            Self::LogsControlMessage => 6,
            Self::EmailFooter => 7,
            Self::AccountEvent(_) => 8,
        }
    }
}

/// How many parts were ignored, by kind. Written as a map from the kinds that occurred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IgnoredCounts([u64; Ignored::NAMES.len()]);

impl IgnoredCounts {
    /// Counts a part.
    pub fn count(&mut self, ignored: &Ignored) {
        if let Some(count) = self.0.get_mut(ignored.number()) {
            *count += 1;
        }
    }

    /// Adds other counts.
    pub fn add(&mut self, other: &Self) {
        for (count, other) in self.0.iter_mut().zip(other.0) {
            // Saturating, since a server may reply with any numbers.
            *count = count.saturating_add(other);
        }
    }

    /// Whether nothing was ignored.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|count| *count == 0)
    }

    /// The number of ignored parts of all kinds.
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The kinds that occurred, each with its count.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Ignored::NAMES.into_iter().zip(self.0).filter(|(_, count)| *count > 0)
    }
}

/// `2 sns_validation, 1 empty`
impl std::fmt::Display for IgnoredCounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (position, (name, count)) in self.iter().enumerate() {
            let separator = if position == 0 { "" } else { ", " };
            write!(f, "{separator}{count} {name}")?;
        }
        Ok(())
    }
}

impl Serialize for IgnoredCounts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

/// Kinds that this version does not know are left out.
impl<'de> Deserialize<'de> for IgnoredCounts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let named = BTreeMap::<String, u64>::deserialize(deserializer)?;
        Ok(Self(Ignored::NAMES.map(|name| named.get(name).copied().unwrap_or(0))))
    }
}

/// Why a part cannot be read. Retrying cannot help, so the part goes into quarantine with this reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A line that is not UTF-8.
    #[error("invalid UTF-8; send events as UTF-8 JSON")]
    InvalidUtf8,
    /// The first line of a text in UTF-16.
    #[error(
        "UTF-16, as Windows PowerShell writes files; convert it to UTF-8, for example with `iconv -f UTF-16 -t UTF-8`"
    )]
    Utf16,
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
    /// An event of more recipients than any message may have.
    #[error("an event of more than {limit} recipients, which SES does not write")]
    TooManyRecipients {
        /// The limit.
        limit: usize,
    },
    /// Valid JSON that is neither an SES event nor an envelope of one.
    #[error("neither an SES event nor a known envelope")]
    NotAnEvent,
    /// A table, such as a CSV export. Only counts are read from tables, and only by the commands that say so.
    #[error("a table (CSV), not events; `mailgauge backtest --counts` reads tables of counts")]
    Table,
    /// An event without a field that counting needs; the field's path.
    #[error("field {0} is missing")]
    MissingField(&'static str),
    /// An event that says neither when its message was sent nor when it happened; the path of the latter.
    #[error("no time: fields mail.timestamp and {0} are missing")]
    NoTime(&'static str),
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
    /// What is left of a payload that used up a budget, or a compressed part that would.
    #[error("over the budget of {0} for a record and its batch; split it into smaller records")]
    OverBudget(DecodeBudget),
}

/// A budget of decoding that all layers of a payload share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeBudget {
    /// Bytes that compressed parts decompress to, at most [`MAX_INFLATED_BYTES`].
    InflatedBytes,
    /// Parts, at most [`MAX_PARTS`].
    Parts,
    /// Bytes read, each time that they are read, at most [`MAX_WORK_BYTES`].
    Work,
}

impl std::fmt::Display for DecodeBudget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InflatedBytes => write!(f, "{} MiB of decompressed bytes", MAX_INFLATED_BYTES >> 20),
            Self::Parts => write!(f, "{MAX_PARTS} parts"),
            Self::Work => write!(f, "{} MiB of work", MAX_WORK_BYTES >> 20),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account_event::{SendingChange, SendingResource};

    #[test]
    fn ignored_parts_are_counted_by_name() {
        let kinds = [
            Ignored::SnsValidation,
            Ignored::SubscriptionConfirmation,
            Ignored::OtherDetailType,
            Ignored::InboundMail,
            Ignored::unknown_event_type("x"),
            Ignored::Empty,
            Ignored::LogsControlMessage,
            Ignored::EmailFooter,
            Ignored::AccountEvent(Box::new(AccountEvent {
                at_ms: 0,
                account: String::new(),
                resource: SendingResource::Account,
                change: SendingChange::Status { is_enabled: true },
                text: String::new(),
            })),
        ];
        let mut counts = IgnoredCounts::default();
        assert!(counts.is_empty() && counts.to_string().is_empty());
        for (number, kind) in kinds.iter().enumerate() {
            assert_eq!(kind.number(), number, "{kind:?}");
            counts.count(kind);
        }
        assert_eq!(counts.iter().map(|(name, _)| name).collect::<Vec<_>>(), Ignored::NAMES);
        let mut some = IgnoredCounts::default();
        some.count(&Ignored::Empty);
        some.count(&Ignored::InboundMail);
        some.add(&some.clone());
        assert_eq!((some.to_string().as_str(), some.total()), ("2 inbound_mail, 2 empty", 4));
        let json = serde_json::to_string(&some).unwrap();
        assert_eq!(json, r#"{"inbound_mail":2,"empty":2}"#);
        assert_eq!(serde_json::from_str::<IgnoredCounts>(&json).unwrap(), some);
        assert!(serde_json::from_str::<IgnoredCounts>(r#"{"new":1}"#).unwrap().is_empty());
    }
}
