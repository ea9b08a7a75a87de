//! The parts that all events of one stream have in common, rendered once. Only the rest is written for each event.
//!
//! The order and the presence of fields follow SES's published examples and captured events:
//! <https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-examples.html>.

use crate::random::{choose, mix};
use crate::world::{Campaign, Flow, SimulatedTenant};

/// The constant parts of `mail`, in the order in which they are written.
#[derive(Debug)]
pub(crate) struct Template {
    /// The sender's address, as `,"source":…`.
    pub(crate) source: String,
    /// `,"sourceArn":…`; left out of opens and clicks.
    pub(crate) source_arn: String,
    /// The sending AWS account.
    pub(crate) account: String,
    /// The configuration set's name.
    pub(crate) configuration_set: String,
    /// From the first header up to the address of `To`.
    pub(crate) headers_to: String,
    /// From there up to the segment in the tags header.
    pub(crate) headers_segment: String,
    /// From there up to the Message-ID.
    pub(crate) headers_message_id: String,
    /// `commonHeaders` up to its date.
    pub(crate) common_date: String,
    /// The subject, up to the end of `commonHeaders`.
    pub(crate) common_subject: String,
    /// `tags` up to the segment's value.
    pub(crate) tags_segment: String,
    pub(crate) domain: String,
    /// The base URL of links.
    pub(crate) site: String,
}

impl Template {
    pub(crate) fn new(tenant: &SimulatedTenant, campaign: &Campaign, number: u32) -> Self {
        let name = &tenant.name;
        let (sub_domain, mailbox, set) = match campaign.flow {
            Flow::Burst { .. } | Flow::Drip => ("news", "hello", "marketing"),
            Flow::Transactional => ("notify", "no-reply", "transactional"),
        };
        let domain = format!("{sub_domain}.{name}.example");
        let account = 100_000_000_000 + mix(u64::from(number)) % 900_000_000_000;
        let operation = if campaign.templated { "SendTemplatedEmail" } else { "SendRawEmail" };
        let Campaign { name: campaign_name, subject, .. } = campaign;
        Self {
            source: format!(r#","source":"{name} <{mailbox}@{domain}>""#),
            source_arn: format!(r#","sourceArn":"arn:aws:ses:us-east-1:{account}:identity/{domain}""#),
            account: account.to_string(),
            configuration_set: format!("{name}-{set}"),
            headers_to: format!(
                r#"{{"name":"DKIM-Signature","value":"{}"}},{{"name":"From","value":"{name} <{mailbox}@{domain}>"}},{{"name":"Reply-To","value":"support@{name}.example"}},{{"name":"To","value":""#,
                signature(&domain, number)
            ),
            headers_segment: format!(
                r#""}},{{"name":"Subject","value":"{subject}"}},{{"name":"MIME-Version","value":"1.0"}},{{"name":"Content-Type","value":"multipart/alternative; boundary=\"_{number}_1789045634\""}},{{"name":"List-Unsubscribe","value":"<https://{domain}/unsubscribe?c={campaign_name}>, <mailto:unsubscribe@{domain}>"}},{{"name":"List-Unsubscribe-Post","value":"List-Unsubscribe=One-Click"}},{{"name":"Feedback-ID","value":"{campaign_name}:{name}:AmazonSES"}},{{"name":"X-SES-CONFIGURATION-SET","value":"{name}-{set}"}},{{"name":"X-SES-MESSAGE-TAGS","value":"tenant={name}, campaign={campaign_name}, segment="#
            ),
            headers_message_id: r#""},{"name":"Message-ID","value":"<"#.to_owned(),
            common_date: format!(
                r#""}}],"commonHeaders":{{"from":["{name} <{mailbox}@{domain}>"],"replyTo":["support@{name}.example"],"date":""#
            ),
            common_subject: format!(r#"","subject":"{subject}"}}"#),
            tags_segment: format!(
                r#","tags":{{"ses:source-tls-version":["TLSv1.3"],"ses:operation":["{operation}"],"ses:configuration-set":["{name}-{set}"],"ses:source-ip":["198.51.100.24"],"ses:from-domain":["{domain}"],"ses:caller-identity":["mailer"],"tenant":["{name}"],"campaign":["{campaign_name}"],"segment":[""#
            ),
            domain,
            site: format!("https://www.{name}.example/{campaign_name}"),
        }
    }
}

/// A well-formed but invalid DKIM signature: <https://www.rfc-editor.org/rfc/rfc6376#section-3.5>.
fn signature(domain: &str, number: u32) -> String {
    let base64 = |length: usize, seed: u64| -> String {
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        (0..length as u64).map(|place| char::from(*choose(mix(seed ^ (place << 20)), letters))).collect()
    };
    format!(
        "v=1; a=rsa-sha256; c=relaxed/simple; s=k1; d={domain}; h=From:To:Subject:Message-ID:Date; bh={}=; b={}=",
        base64(43, u64::from(number)),
        base64(171, (u64::from(number) << 16) | 1)
    )
}
