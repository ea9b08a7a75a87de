//! Events of SES that are about sending as a whole and not about a message: sending was disabled or enabled, a finding about the
//! reputation was opened or closed. They are not counted; detection turns them into alerts.
//!
//! SES publishes them on EventBridge's default bus (<https://docs.aws.amazon.com/eventbridge/latest/ref/events-ref-ses.html>), those for a
//! tenant with examples in <https://docs.aws.amazon.com/ses/latest/dg/tenants.html>. They are rare, so this file reads clearly, not fast. Of an
//! identity only the domain is kept, and addresses and links are taken out of the texts.

use serde::{Deserialize, Serialize};

use crate::json::{ScanError, Scanner};
use crate::normalise::parse_time;
use crate::outcome::Unreadable;
use crate::units::Timestamp;

/// The most characters of a text that are kept.
const MAX_TEXT_CHARS: usize = 300;
/// The longest name of a resource or of a finding, in bytes. SES allows 64 for configuration sets and tenants, a domain may have 253.
const MAX_NAME_BYTES: usize = 253;

/// An event about an account or a part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountEvent {
    /// When it happened, in milliseconds since 1970.
    pub at_ms: i64,
    /// The AWS account, 12 digits; empty if it is not given.
    pub account: String,
    /// What it is about.
    pub resource: SendingResource,
    /// What changed.
    pub change: SendingChange,
    /// The reason in SES's words; may be empty.
    pub text: String,
}

/// What an account event is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SendingResource {
    /// The account as a whole, or something unknown to this version.
    Account,
    /// A configuration set.
    ConfigurationSet(String),
    /// A tenant, as SES calls it.
    Tenant(String),
    /// The domain of an identity.
    Domain(String),
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SendingChange {
    /// Sending was enabled or disabled.
    Status {
        /// Whether mail is sent from now on.
        is_enabled: bool,
    },
    /// A recommendation of SES's advisor, such as a finding about the reputation, was opened or closed.
    Finding {
        /// The type in lower case, such as `bounce` or `complaint`; may be empty.
        finding: String,
        /// The impact in lower case, `high` or `low`; may be empty.
        impact: String,
        /// Whether it is open.
        is_open: bool,
    },
}

impl AccountEvent {
    /// When it happened.
    pub fn at(&self) -> Timestamp {
        Timestamp::from_millis(self.at_ms)
    }

    /// Whether it ends trouble, instead of beginning it.
    pub fn is_end(&self) -> bool {
        match &self.change {
            SendingChange::Status { is_enabled } => *is_enabled,
            SendingChange::Finding { is_open, .. } => !is_open,
        }
    }
}

/// The fields of an EventBridge event of SES, before its detail type is checked.
#[derive(Default)]
struct Fields {
    detail_type: String,
    account: String,
    time: Option<String>,
    resources: Vec<String>,
    texts: Vec<String>,
    finding: String,
    impact: String,
}

/// Reads the EventBridge event `json`, an object without faults; `None` if it is of another detail type.
pub(crate) fn read(json: &str) -> Result<Option<AccountEvent>, Unreadable> {
    let mut fields = Fields::default();
    // Scanned before, so there can be no error; if there were one, the event would be of no known type.
    let _ = fields.read(&mut Scanner::new(json));
    let Fields { detail_type, account, time, resources, texts, finding, impact } = fields;
    let is = |name: &str| detail_type.trim().eq_ignore_ascii_case(name);
    let change = if is("Sending Status Disabled") || is("Sending Status Enabled") {
        SendingChange::Status { is_enabled: is("Sending Status Enabled") }
    } else if is("Advisor Recommendation Status Open") {
        SendingChange::Finding { finding: label(&finding), impact: label(&impact), is_open: true }
    } else if is("Advisor Recommendation Status Resolved") || is("Advisor Recommendation Status Closed") {
        SendingChange::Finding { finding: label(&finding), impact: label(&impact), is_open: false }
    } else {
        return Ok(None);
    };
    let at = parse_time(&time.ok_or(Unreadable::MissingField("time"))?, "time")?;
    let is_account = account.len() <= 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    Ok(Some(AccountEvent {
        at_ms: at.millis(),
        account: if is_account { account } else { String::new() },
        resource: resource(&resources),
        change,
        text: texts.iter().map(|text| plain(text)).find(|text| !text.is_empty()).unwrap_or_default(),
    }))
}

impl Fields {
    fn read(&mut self, scanner: &mut Scanner<'_>) -> Result<(), ScanError> {
        scanner.object(|scanner, key| {
            match (key, scanner.peek()) {
                ("detail-type", _) => self.detail_type = string(scanner)?,
                ("account", _) => self.account = string(scanner)?,
                ("time", _) => self.time = scanner.optional_string()?.map(Into::into),
                ("resources", Some(b'[')) => scanner.array(|scanner| {
                    self.resources.push(string(scanner)?);
                    Ok::<(), ScanError>(())
                })?,
                ("detail", Some(b'{')) => self.read_detail(scanner)?,
                _ => scanner.skip()?,
            }
            Ok(())
        })
    }

    fn read_detail(&mut self, scanner: &mut Scanner<'_>) -> Result<(), ScanError> {
        scanner.object(|scanner, key| {
            match (key, scanner.peek()) {
                // A finding has a text here, a change of status an object.
                ("data", Some(b'"')) => self.texts.push(string(scanner)?),
                ("data", Some(b'{')) => self.read_status(scanner)?,
                ("metadata", Some(b'{')) => scanner.object(|scanner, key| {
                    match key {
                        "type" => self.finding = string(scanner)?,
                        "impact" => self.impact = string(scanner)?,
                        _ => scanner.skip()?,
                    }
                    Ok::<(), ScanError>(())
                })?,
                _ => scanner.skip()?,
            }
            Ok(())
        })
    }

    fn read_status(&mut self, scanner: &mut Scanner<'_>) -> Result<(), ScanError> {
        scanner.object(|scanner, key| {
            match (key, scanner.peek()) {
                ("record", Some(b'{')) => self.read_status(scanner)?,
                ("cause" | "reason" | "description", _) => self.texts.push(string(scanner)?),
                _ => scanner.skip()?,
            }
            Ok(())
        })
    }
}

/// Reads any value and returns it if it is a string; otherwise an empty text.
fn string(scanner: &mut Scanner<'_>) -> Result<String, ScanError> {
    Ok(scanner.optional_string()?.map(Into::into).unwrap_or_default())
}

/// What the ARNs name: the most specific of them, since a list may also name the account.
fn resource(arns: &[String]) -> SendingResource {
    let known = arns.iter().filter_map(|arn| {
        // arn:PARTITION:ses:REGION:ACCOUNT:TYPE/NAME, and behind a tenant's name its id.
        let mut parts = arn.splitn(6, ':').nth(5)?.split('/');
        let (kind, named) = (parts.next()?, parts.next().map(name).filter(|named| !named.is_empty())?);
        match kind {
            "tenant" => Some(SendingResource::Tenant(named)),
            "configuration-set" => Some(SendingResource::ConfigurationSet(named)),
            "identity" => {
                let domain = arn.rsplit(['/', '@']).next()?;
                Some(SendingResource::Domain(name(&domain.to_ascii_lowercase())))
            }
            _ => None,
        }
    });
    known
        .min_by_key(|resource| match resource {
            SendingResource::Tenant(_) => 0,
            SendingResource::ConfigurationSet(_) => 1,
            SendingResource::Domain(_) => 2,
            SendingResource::Account => 3,
        })
        .unwrap_or(SendingResource::Account)
}

/// A name without anything that could be an address or a control character.
fn name(text: &str) -> String {
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    text.chars().filter(is_plain).take(MAX_NAME_BYTES).collect()
}

/// The type or the impact of a finding, in one letter case.
fn label(text: &str) -> String {
    name(text).to_ascii_lowercase()
}

/// A text without addresses and links, cut to a length that fits into a notification.
fn plain(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let words: Vec<&str> = words
        .map(|word| {
            let bare = word.trim_matches(|c: char| c.is_ascii_punctuation());
            let is_private =
                word.contains('@') || word.contains("://") || bare.parse::<std::net::IpAddr>().is_ok();
            if is_private { "…" } else { word }
        })
        .collect();
    words.join(" ").chars().take(MAX_TEXT_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = "arn:aws:ses:us-east-1:123456789012:tenant/shop/tn-1234";

    fn event(detail_type: &str, resources: &str, detail: &str) -> Result<Option<AccountEvent>, Unreadable> {
        read(&format!(
            r#"{{"version":"0","detail-type":"{detail_type}","source":"aws.ses","account":"123456789012","time":"2025-11-13T02:15:26Z","resources":[{resources}],"detail":{detail}}}"#
        ))
    }

    #[test]
    fn change_of_status_is_read_with_its_cause() {
        for (detail, text) in [
            (
                r#"{"version":"1.0.0","data":{"origin":"x","record":{"status":"DISABLED","cause":"High bounce rate","lastUpdatedTimestamp":[2025,11,13]}}}"#,
                "High bounce rate",
            ),
            (r#"{"data":{"sendingStatus":"DISABLED","reason":"reputation"}}"#, "reputation"),
            (r#"{"data":{"record":{"cause":null}}}"#, ""),
            ("{}", ""),
        ] {
            let read = event("Sending Status Disabled", &format!("\"{TENANT}\""), detail).unwrap().unwrap();
            let expected = AccountEvent {
                at_ms: 1_763_000_126_000,
                account: "123456789012".to_owned(),
                resource: SendingResource::Tenant("shop".to_owned()),
                change: SendingChange::Status { is_enabled: false },
                text: text.to_owned(),
            };
            assert_eq!(read, expected);
            assert!(!read.is_end());
        }
        assert!(event("sending status enabled", "", "{}").unwrap().unwrap().is_end());
    }

    #[test]
    fn finding_is_read_with_its_type_and_impact() {
        let detail = r#"{"version":"1.0.0","data":"The bounce rate exceeded 15.0% based on 197 emails.","metadata":{"impact":"HIGH","type":"BOUNCE"}}"#;
        for (detail_type, is_open) in [
            ("Advisor Recommendation Status Open", true),
            ("Advisor Recommendation Status Resolved", false),
            ("Advisor Recommendation Status Closed", false),
        ] {
            let read = event(detail_type, "", detail).unwrap().unwrap();
            let (finding, impact) = ("bounce".to_owned(), "high".to_owned());
            assert_eq!(read.change, SendingChange::Finding { finding, impact, is_open });
            assert_eq!(read.text, "The bounce rate exceeded 15.0% based on 197 emails.");
            assert_eq!(read.is_end(), !is_open);
        }
    }

    #[test]
    fn resource_is_the_most_specific_one_without_an_address() {
        let arn = |rest: &str| format!("\"arn:aws:ses:us-east-1:123456789012:{rest}\"");
        for (resources, expected) in [
            (arn("configuration-set/news"), SendingResource::ConfigurationSet("news".to_owned())),
            (arn("identity/Shop.Example.com"), SendingResource::Domain("shop.example.com".to_owned())),
            (arn("identity/jane@shop.example.com"), SendingResource::Domain("shop.example.com".to_owned())),
            (
                format!("{},\"{TENANT}\"", arn("configuration-set/a")),
                SendingResource::Tenant("shop".to_owned()),
            ),
            (arn("other/x"), SendingResource::Account),
            ("5,\"x\"".to_owned(), SendingResource::Account),
        ] {
            let read = event("Sending Status Disabled", &resources, "{}").unwrap().unwrap();
            assert_eq!(read.resource, expected, "{resources}");
        }
    }

    #[test]
    fn text_has_no_addresses_and_links() {
        let text = plain("Mail of <jane@example.com>\nfrom (192.0.2.1), see https://example.com/x?y now");
        assert_eq!(text, "Mail of … from … see … now");
        assert_eq!(plain(&"é ".repeat(400)).chars().count(), MAX_TEXT_CHARS);
    }

    #[test]
    fn other_events_are_ignored_and_events_without_a_time_are_unreadable() {
        assert_eq!(event("AWS API Call via CloudTrail", "", "{}"), Ok(None));
        let json = r#"{"detail-type":"Sending Status Enabled","source":"aws.ses","detail":{"data":{}}}"#;
        assert_eq!(read(json), Err(Unreadable::MissingField("time")));
        let json = r#"{"detail-type":"Sending Status Enabled","time":"soon"}"#;
        assert_eq!(read(json), Err(Unreadable::TimeNotUnderstood("time")));
    }
}
