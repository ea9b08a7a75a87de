//! Stub until the rules are merged.

use crate::event::{BounceType, Reason, Suppression};

/// What SES says about a bounce.
pub struct BounceFields<'a> {
    /// Type.
    pub bounce_type: &'a str,
    /// Sub-type.
    pub sub_type: &'a str,
    /// Status.
    pub status: Option<&'a str>,
    /// Diagnostic.
    pub diagnostic: Option<&'a str>,
    /// Whether there is a reporting MTA.
    pub has_reporting_mta: bool,
}

/// The class of a bounce.
pub struct Classified {
    /// Type.
    pub bounce_type: BounceType,
    /// Reason.
    pub reason: Reason,
    /// Suppression.
    pub suppression: Option<Suppression>,
}

/// Classifies a bounce.
pub fn bounce(fields: &BounceFields<'_>) -> Classified {
    let has_dsn = fields.status.is_some() || fields.diagnostic.is_some() || fields.has_reporting_mta;
    let (bounce_type, suppression) = match (fields.bounce_type, fields.sub_type) {
        ("Permanent", "OnAccountSuppressionList" | "OnTenantSuppressionList") => {
            (BounceType::Permanent, Some(Suppression::OwnList))
        }
        ("Permanent", "Suppressed" | "EmailValidationSuppressed") => {
            (BounceType::Permanent, Some(Suppression::Other))
        }
        ("Permanent", _) => (BounceType::Permanent, None),
        ("Transient", "General") if !has_dsn => (BounceType::AutoReply, None),
        ("Transient", _) => (BounceType::Transient, None),
        _ => (BounceType::Undetermined, None),
    };
    let reason = if suppression.is_some() {
        Reason::Suppressed
    } else if fields.status == Some("5.1.1") {
        Reason::InvalidRecipient
    } else if fields.sub_type == "MailboxFull" || fields.status == Some("5.2.2") {
        Reason::MailboxFull
    } else {
        Reason::Unknown
    };
    Classified { bounce_type, reason, suppression }
}

/// Classifies a delay.
pub fn delay(delay_type: &str, _status: Option<&str>, _diagnostic: Option<&str>) -> Reason {
    if delay_type == "MailboxFull" { Reason::MailboxFull } else { Reason::Unknown }
}
