//! The messages that SNS posts, and the text that it signs.
//!
//! Only signed members may be acted on; [`Message::signed_text`] lists them. `SigningCertURL` and the signature itself are not signed and
//! are checked otherwise.
//! Source: <https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html>

use serde::Deserialize;

/// One message. Repeated members are refused, since otherwise the one that is verified might not be the one that is used.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(clippy::struct_field_names, reason = "the names are those of SNS")]
pub(super) struct Message {
    pub(super) r#type: Type,
    pub(super) message_id: String,
    pub(super) topic_arn: String,
    pub(super) message: String,
    /// When it was published, RFC 3339 with milliseconds. Kept as text because the signature covers the text.
    pub(super) timestamp: String,
    #[serde(default)]
    pub(super) subject: Option<String>,
    #[serde(default)]
    pub(super) token: Option<String>,
    #[serde(default, rename = "SubscribeURL")]
    pub(super) subscribe_url: Option<String>,
    pub(super) signature_version: String,
    pub(super) signature: String,
    #[serde(rename = "SigningCertURL")]
    pub(super) signing_cert_url: String,
}

/// The type of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum Type {
    /// A message of the topic.
    Notification,
    /// The topic asks for a confirmation of the subscription.
    SubscriptionConfirmation,
    /// The subscription was ended.
    UnsubscribeConfirmation,
}

impl Type {
    const fn name(self) -> &'static str {
        match self {
            Self::Notification => "Notification",
            Self::SubscriptionConfirmation => "SubscriptionConfirmation",
            Self::UnsubscribeConfirmation => "UnsubscribeConfirmation",
        }
    }
}

impl Message {
    /// The text that SNS signs: each name and each value on a line of its own, sorted by name, without absent members.
    pub(super) fn signed_text(&self) -> String {
        let (subject, subscribe_url, token) = match self.r#type {
            Type::Notification => (self.subject.as_deref(), None, None),
            Type::SubscriptionConfirmation | Type::UnsubscribeConfirmation => {
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

    fn message(json: &str) -> Message {
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
        assert!(serde_json::from_str::<Message>(twice).is_err());
    }
}
