//! URLs of Amazon SQS queues. A tenant's settings name the queues in which its mail waits before it is sent.
//!
//! Only URLs of SQS itself are accepted: the process sends signed requests to them, so a tenant's settings must not lead it to any other
//! server.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::ops::RangeInclusive;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The URL of an Amazon SQS queue, such as [`QueueUrl::EXAMPLE`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QueueUrl(String);

/// A text that is not the URL of an SQS queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not the URL of an SQS queue, such as {}", QueueUrl::EXAMPLE)]
pub struct InvalidQueueUrl;

impl QueueUrl {
    /// An example, for error messages and documentation.
    pub const EXAMPLE: &'static str = "https://sqs.eu-central-1.amazonaws.com/123456789012/outbox";

    /// The URL as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a text has the form `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`. Names have up to 80 characters and may end in
    /// `.fifo`: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-queue-message-identifiers.html>
    fn is_valid(url: &str) -> bool {
        let Some((host, path)) = url.strip_prefix("https://sqs.").and_then(|rest| rest.split_once('/'))
        else {
            return false;
        };
        // The host must end here: `sqs.REGION.amazonaws.com.evil.example` belongs to somebody else.
        let region = match host.strip_suffix(".amazonaws.com.cn") {
            Some(region) => Some(region).filter(|region| region.starts_with("cn-")),
            // Regions in China have names under `.cn` only.
            None => host.strip_suffix(".amazonaws.com").filter(|region| !region.starts_with("cn")),
        };
        let Some((region, (account, name))) = region.zip(path.split_once('/')) else { return false };
        let name = name.strip_suffix(".fifo").unwrap_or(name);
        is_region(region)
            && account.len() == 12
            && account.bytes().all(|byte| byte.is_ascii_digit())
            && is_word(name, 80, b"-_")
    }
}

/// Whether a text has the form of a region, such as `eu-central-1` or `us-gov-west-1`. Any other label in
/// that place is not a host of SQS.
fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [area, places @ .., number] = parts.as_slice() else { return false };
    let is = |part: &str, lengths: RangeInclusive<usize>, kind: fn(&u8) -> bool| {
        lengths.contains(&part.len()) && part.as_bytes().iter().all(kind)
    };
    is(area, 2..=4, u8::is_ascii_lowercase)
        && (1..=2).contains(&places.len())
        && places.iter().all(|place| is(place, 1..=12, u8::is_ascii_lowercase))
        && is(number, 1..=2, u8::is_ascii_digit)
}

/// Whether a text has 1 to `max_bytes` letters, digits and `others`.
fn is_word(text: &str, max_bytes: usize, others: &[u8]) -> bool {
    (1..=max_bytes).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || others.contains(&byte))
}

impl JsonSchema for QueueUrl {
    fn schema_name() -> Cow<'static, str> {
        "QueueUrl".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "The URL of an Amazon SQS queue.",
            "pattern": r"^https://sqs\.(([abd-z][a-z]|c[a-mo-z])[a-z]{0,2}(-[a-z]{1,12}){1,2}-[0-9]{1,2}\.amazonaws\.com|cn(-[a-z]{1,12}){1,2}-[0-9]{1,2}\.amazonaws\.com\.cn)/[0-9]{12}/[A-Za-z0-9_-]{1,80}(\.fifo)?$",
            "example": Self::EXAMPLE,
        })
    }
}

impl TryFrom<String> for QueueUrl {
    type Error = InvalidQueueUrl;

    fn try_from(url: String) -> Result<Self, InvalidQueueUrl> {
        if Self::is_valid(&url) { Ok(Self(url)) } else { Err(InvalidQueueUrl) }
    }
}

impl From<QueueUrl> for String {
    fn from(url: QueueUrl) -> Self {
        url.0
    }
}

impl Display for QueueUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_of_sqs_queues_are_accepted() {
        for good in [
            QueueUrl::EXAMPLE,
            "https://sqs.us-gov-west-1.amazonaws.com/123456789012/bounces",
            "https://sqs.cn-north-1.amazonaws.com.cn/123456789012/a_b-c.fifo",
        ] {
            assert_eq!(QueueUrl::try_from(good.to_owned()).unwrap().as_str(), good);
        }
        let too_long = format!("{}{}", QueueUrl::EXAMPLE, "x".repeat(80));
        for bad in [
            "",
            "outbox",
            "http://sqs.eu-central-1.amazonaws.com/123456789012/outbox",
            "https://sqs.eu-central-1.amazonaws.com.evil.example/123456789012/outbox",
            "https://sqs.evil.example/x.amazonaws.com/123456789012/outbox",
            "https://sqs.s3.amazonaws.com/123456789012/outbox",
            "https://sqs.-.amazonaws.com/123456789012/outbox",
            "https://sqs.EU-central-1.amazonaws.com/123456789012/outbox",
            "https://sqs.evil-bucket.amazonaws.com/123456789012/outbox",
            "https://sqs.eu-central-1.amazonaws.com.cn/123456789012/outbox",
            "https://sqs.cn-north-1.amazonaws.com/123456789012/outbox",
            "https://sqs.eu-central-1.amazonaws.com:444/123456789012/outbox",
            "https://sqs.eu-central-1.amazonaws.com/12345678901/outbox",
            "https://sqs.eu-central-1.amazonaws.com/123456789012/",
            "https://sqs.eu-central-1.amazonaws.com/123456789012/.fifo",
            "https://sqs.eu-central-1.amazonaws.com/123456789012/a/b",
            "https://sqs.eu-central-1.amazonaws.com/123456789012/out box",
            &too_long,
        ] {
            assert_eq!(QueueUrl::try_from(bad.to_owned()), Err(InvalidQueueUrl), "{bad}");
        }
    }
}
