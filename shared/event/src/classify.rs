//! Why mail bounced or was delayed: SES's type and sub-type, the enhanced status code and the server's own words,
//! turned into one [`Reason`].
//!
//! The knowledge is data: `classify/rules.toml` holds ordered rules, each with its source, and the first that fits
//! wins. The receiving server's own code is trusted before the one SES reports, since SES writes generic ones
//! (`5.0.0`, `4.4.7`). An unknown type or text is counted as unknown and never an error. The idea of bounce rules as
//! data is `KumoMTA`'s; the rules are our own. No recipient's address in a diagnostic may leave this module.

use std::sync::LazyLock;

use crate::event::{BounceType, Reason, Suppression};
use crate::fragments::Found;

mod rules;
mod status;

use rules::Rules;
use status::Codes;

static RULES: LazyLock<Rules> = LazyLock::new(Rules::built_in);

/// What SES says about a bounce; all of it is text that others may choose.
#[derive(Clone, Copy, Debug, Default)]
pub struct BounceFields<'a> {
    /// `bounceType`, in any case.
    pub bounce_type: &'a str,
    /// `bounceSubType`; case, spaces, `_` and `-` are ignored.
    pub sub_type: &'a str,
    /// The recipient's `status` (`5.1.1`).
    pub status: Option<&'a str>,
    /// The recipient's `diagnosticCode`: free text; the first 1024 bytes are read.
    pub diagnostic: Option<&'a str>,
    /// Whether the bounce has a `reportingMTA`, which it has only with a delivery status notification.
    pub has_reporting_mta: bool,
}

/// A bounce, classified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classified {
    /// Its type; an automatic reply is one of its own.
    pub bounce_type: BounceType,
    /// Why.
    pub reason: Reason,
    /// Set if SES never tried; only for permanent bounces.
    pub suppression: Option<Suppression>,
}

/// Classifies a bounce of one recipient.
///
/// An automatic reply is published as `Transient`/`General` without any delivery-status field:
/// <https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html>
pub fn bounce(fields: &BounceFields<'_>) -> Classified {
    let bounce_type = bounce_type(fields);
    if bounce_type == BounceType::AutoReply {
        return Classified { bounce_type, reason: Reason::Unknown, suppression: None };
    }
    let (reason, suppression) =
        RULES.first_match(&evidence(fields.sub_type, fields.status, fields.diagnostic));
    let suppression = suppression.filter(|_| bounce_type == BounceType::Permanent);
    Classified { bounce_type, reason, suppression }
}

/// Why mail to one recipient is delayed: `delayType`, and the recipient's `status` and `diagnosticCode`.
pub fn delay(delay_type: &str, status: Option<&str>, diagnostic: Option<&str>) -> Reason {
    RULES.first_match(&evidence(delay_type, status, diagnostic)).0
}

fn bounce_type(fields: &BounceFields<'_>) -> BounceType {
    if fields.bounce_type.eq_ignore_ascii_case("permanent") {
        BounceType::Permanent
    } else if !fields.bounce_type.eq_ignore_ascii_case("transient") {
        BounceType::Undetermined
    } else if is_auto_reply(fields) {
        BounceType::AutoReply
    } else {
        BounceType::Transient
    }
}

fn is_auto_reply(fields: &BounceFields<'_>) -> bool {
    is_same_name("General", fields.sub_type)
        && !fields.has_reporting_mta
        && fields.status.unwrap_or_default().is_empty()
        && fields.diagnostic.unwrap_or_default().is_empty()
}

/// Whether `text` spells `name`. SES writes `UnsubscribedRecipient`; exports and intermediate tools write `Unsubscribed Recipient`,
/// `unsubscribed_recipient` and the like.
fn is_same_name(name: &str, text: &str) -> bool {
    let letters = text.bytes().filter(|byte| !matches!(byte, b' ' | b'_' | b'-'));
    letters.map(|byte| byte.to_ascii_lowercase()).eq(name.bytes().map(|byte| byte.to_ascii_lowercase()))
}

/// All that rules look at.
struct Evidence<'a> {
    sub_type: &'a str,
    codes: Codes,
    found: Found,
}

fn evidence<'a>(sub_type: &'a str, status: Option<&str>, diagnostic: Option<&str>) -> Evidence<'a> {
    let diagnostic = diagnostic.unwrap_or_default();
    let codes = Codes::read(diagnostic, status.unwrap_or_default());
    Evidence { sub_type, codes, found: RULES.fragments.find(diagnostic) }
}

#[cfg(test)]
mod tests;
