//! Classifies bounces and delays: turns SES's type and sub-type, the status code and the receiving server's answer into a
//! [`BounceClass`].
//!
//! The knowledge is data: `classify/rules.toml` holds ordered rules, each with its source, and the first match wins. They search the
//! words of the answer, which `words.rs` frees from addresses, codes and line breaks. The status code in the server's own answer is
//! trusted before the one SES reports, because SES often reports a generic one (`5.0.0`, `4.4.7`). An unknown type or answer is
//! classified as unknown and is never an error. `classify/README.md` explains the classes and says how often they are right. The
//! idea of bounce rules as data comes from `KumoMTA`; the rules are our own.
//!
//! Diagnostics contain recipients' addresses, so no part of one may leave this module.

use std::sync::LazyLock;

use crate::event::{BounceClass, BounceType, Suppression};
use crate::fragments::FoundFragments;

mod rules;
mod status;
mod words;

use rules::BounceRules;
use status::Codes;
use words::Words;

static RULES: LazyLock<BounceRules> = LazyLock::new(BounceRules::built_in);

/// The version of the rules. Every change that may alter a result increments it, so that counts made by different rules can be
/// told apart.
pub const RULES_VERSION: u32 = 3;

/// The fields of a bounce that decide its class, for one recipient. All of them are text that the receiving side may influence.
#[derive(Clone, Copy, Debug, Default)]
pub struct BounceFields<'a> {
    /// `bounceType`, in any case.
    pub bounce_type: &'a str,
    /// `bounceSubType`. Case, spaces, `_` and `-` are ignored.
    pub sub_type: &'a str,
    /// The recipient's `status`, an enhanced status code (`5.1.1`).
    pub status: Option<&'a str>,
    /// The recipient's `diagnosticCode`, the server's answer in free text. Only the first 1024 bytes are used.
    pub diagnostic: Option<&'a str>,
    /// Whether the bounce has a `reportingMTA`. SES sets it only if the bounce came with a delivery status notification.
    pub has_reporting_mta: bool,
}

/// The result of classifying a bounce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BounceClassification {
    /// SES's type, except that automatic replies have a type of their own.
    pub bounce_type: BounceType,
    /// The cause. Always unknown for an automatic reply.
    pub class: BounceClass,
    /// Set if SES never tried to deliver; only on permanent bounces.
    pub suppression: Option<Suppression>,
}

/// Classifies a bounce of one recipient.
///
/// SES publishes an automatic reply as a `Transient`/`General` bounce without any delivery-status field:
/// <https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html>
pub fn bounce(fields: &BounceFields<'_>) -> BounceClassification {
    let bounce_type = bounce_type(fields);
    // Before the rules: `General` matches some of them, but nothing about a delivered message has a cause.
    if bounce_type == BounceType::AutoReply {
        return BounceClassification { bounce_type, class: BounceClass::Unknown, suppression: None };
    }
    let (class, suppression) =
        RULES.first_match(&evidence(fields.sub_type, fields.status, fields.diagnostic));
    // The same sub-type on another type of bounce is a name that SES does not document: do not trust it.
    let suppression = suppression.filter(|_| bounce_type == BounceType::Permanent);
    BounceClassification { bounce_type, class, suppression }
}

/// Classifies a delay of one recipient by `delayType` and the recipient's `status` and `diagnosticCode`.
pub fn delay(delay_type: &str, status: Option<&str>, diagnostic: Option<&str>) -> BounceClass {
    RULES.first_match(&evidence(delay_type, status, diagnostic)).0
}

fn bounce_type(fields: &BounceFields<'_>) -> BounceType {
    // An unknown type is undetermined: calling it permanent or transient would change rates that SES itself would not change.
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
        && fields.status.is_none_or(str::is_empty)
        && fields.diagnostic.is_none_or(str::is_empty)
}

/// Whether `text` is a spelling of `name`. SES writes `UnsubscribedRecipient`; exports and intermediate tools write
/// `Unsubscribed Recipient`, `unsubscribed_recipient` and the like.
fn is_same_name(name: &str, text: &str) -> bool {
    let letters = text.bytes().filter(|byte| !matches!(byte, b' ' | b'_' | b'-'));
    letters.map(|byte| byte.to_ascii_lowercase()).eq(name.bytes().map(|byte| byte.to_ascii_lowercase()))
}

/// The input of the rules, parsed once per recipient.
struct Evidence<'a> {
    /// `bounceSubType` of a bounce, `delayType` of a delay.
    sub_type: &'a str,
    codes: Codes,
    found: FoundFragments,
}

/// An absent status or diagnostic is treated like an empty one: neither matches any rule.
fn evidence<'a>(sub_type: &'a str, status: Option<&str>, diagnostic: Option<&str>) -> Evidence<'a> {
    let diagnostic = diagnostic.unwrap_or("");
    let codes = Codes::read(diagnostic, status.unwrap_or(""));
    Evidence { sub_type, codes, found: RULES.fragments.find(Words::read(diagnostic).as_bytes()) }
}

#[cfg(test)]
mod tests;
