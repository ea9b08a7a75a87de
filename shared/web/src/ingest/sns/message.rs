//! The messages that SNS posts, and the text that it signs.
//!
//! Only signed members may be acted on; [`SnsMessage::signed_text`] lists them. `SigningCertURL` and the signature itself are not signed and
//! are checked otherwise.
//! Source: <https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html>

use schemars::JsonSchema;
use serde::Deserialize;

/// A message as SNS posts it to an HTTPS subscription:
/// <https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html>
// Serde refuses repeated members; otherwise the one that is verified might not be the one that is used.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SnsMessage {
    /// What the message is for.
    pub(super) r#type: SnsMessageType,
    /// The id of the message.
    pub(super) message_id: String,
    /// The topic that it was published to, which must be configured.
    pub(super) topic_arn: String,
    /// What was published: SES events of a notification.
    pub(super) message: String,
    // Kept as text because the signature covers the text.
    /// When it was published: RFC 3339 with milliseconds, within the last hour.
    pub(super) timestamp: String,
    /// The subject of a notification.
    #[serde(default)]
    pub(super) subject: Option<String>,
    /// The token of a confirmation.
    #[serde(default)]
    pub(super) token: Option<String>,
    /// The address that confirms a subscription.
    #[serde(default, rename = "SubscribeURL")]
    pub(super) subscribe_url: Option<String>,
    /// `1` (RSA with SHA-1) or `2` (RSA with SHA-256).
    pub(super) signature_version: String,
    /// The signature of SNS, in base64.
    pub(super) signature: String,
    /// The address of the certificate, on a host of SNS.
    #[serde(rename = "SigningCertURL")]
    pub(super) signing_cert_url: String,
}

/// What a message of SNS is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub(crate) enum SnsMessageType {
    /// A message that was published to the topic.
    Notification,
    /// The topic asks for a confirmation of the subscription.
    SubscriptionConfirmation,
    /// The subscription was ended.
    UnsubscribeConfirmation,
}

impl SnsMessageType {
    const fn name(self) -> &'static str {
        match self {
            Self::Notification => "Notification",
            Self::SubscriptionConfirmation => "SubscriptionConfirmation",
            Self::UnsubscribeConfirmation => "UnsubscribeConfirmation",
        }
    }
}

impl SnsMessage {
    /// The text that SNS signs: each name and each value on a line of its own, sorted by name, without absent members.
    pub(super) fn signed_text(&self) -> String {
        let (subject, subscribe_url, token) = match self.r#type {
            SnsMessageType::Notification => (self.subject.as_deref(), None, None),
            SnsMessageType::SubscriptionConfirmation | SnsMessageType::UnsubscribeConfirmation => {
                (None, self.subscribe_url.as_deref(), self.token.as_deref())
            }
        };
        let members = [
            ("Message", Some(self.message.as_str())),
            ("MessageId", Some(&self.message_id)),
            ("Subject", subject),
            ("SubscribeURL", subscribe_url),
            ("Timestamp", Some(&self.timestamp)),
            ("Token", token),
            ("TopicArn", Some(&self.topic_arn)),
            ("Type", Some(self.r#type.name())),
        ];
        let mut text = String::with_capacity(self.message.len() + 512);
        for (name, value) in members {
            if let Some(value) = value {
                for part in [name, "\n", value, "\n"] {
                    text.push_str(part);
                }
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(json: &str) -> SnsMessage {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn signed_text_of_a_notification_holds_the_subject_if_there_is_one() {
        let rest = r#""MessageId":"m","TopicArn":"arn","Message":"Hello\n","Timestamp":"T","SignatureVersion":"1",
            "Signature":"s","SigningCertURL":"u","UnsubscribeURL":"x","Token":"not signed here""#;
        let with = message(&format!(r#"{{"Type":"Notification","Subject":"Hi",{rest}}}"#));
        assert_eq!(
            with.signed_text(),
            "Message\nHello\n\nMessageId\nm\nSubject\nHi\nTimestamp\nT\nTopicArn\narn\nType\nNotification\n"
        );
        let without = message(&format!(r#"{{"Type":"Notification","Subject":null,{rest}}}"#));
        assert_eq!(
            without.signed_text(),
            "Message\nHello\n\nMessageId\nm\nTimestamp\nT\nTopicArn\narn\nType\nNotification\n"
        );
    }

    #[test]
    fn signed_text_of_a_confirmation_holds_token_and_url() {
        let confirmation = message(
            r#"{"Type":"SubscriptionConfirmation","MessageId":"m","TopicArn":"arn","Message":"Hello","Timestamp":"T",
            "Token":"t","SubscribeURL":"u","SignatureVersion":"2","Signature":"s","SigningCertURL":"u"}"#,
        );
        assert_eq!(
            confirmation.signed_text(),
            "Message\nHello\nMessageId\nm\nSubscribeURL\nu\nTimestamp\nT\nToken\nt\nTopicArn\narn\nType\nSubscriptionConfirmation\n"
        );
    }

    #[test]
    fn repeated_member_is_refused() {
        let twice = r#"{"Type":"Notification","Message":"a","Message":"b","MessageId":"m","TopicArn":"arn","Timestamp":"T",
            "SignatureVersion":"1","Signature":"s","SigningCertURL":"u"}"#;
        assert!(serde_json::from_str::<SnsMessage>(twice).is_err());
    }
}
