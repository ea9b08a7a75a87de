//! Publishes the change of an alert on an SNS topic: one message, in the form that each subscriber's protocol needs.
//!
//! The message never contains a recipient, a subject or a link of a mail. After a lost reply a message may be published twice, so it
//! identifies the change by alert id and sequence. The text itself is written by `detection::wording`.
//! Limits: <https://docs.aws.amazon.com/sns/latest/api/API_Publish.html>

use aws_sdk_sns::Client;
use aws_sdk_sns::error::BoxError;
use aws_sdk_sns::types::MessageAttributeValue;

/// Longest subject that SNS accepts, in characters.
const MAX_SUBJECT_CHARS: usize = 100;
/// Longest short text: the characters of one SMS.
const MAX_SMS_CHARS: usize = 160;

/// One message in all its forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotificationMessage {
    /// Subject of an email. It is cut to 100 characters, and characters outside ASCII are replaced by `?`, since SNS refuses both.
    pub subject: String,
    /// Text of an email.
    pub text: String,
    /// Text of an SMS; cut to 160 characters.
    pub short: String,
    /// JSON for all other protocols.
    pub json: String,
    /// Message attributes, which filter policies of subscriptions match.
    pub attributes: Vec<(&'static str, String)>,
}

/// A message was not published, or the reply was lost.
#[derive(Debug, thiserror::Error)]
#[error("the message cannot be published to topic {topic}: check the ARN and the permissions")]
pub struct PublishError {
    topic: String,
    #[source]
    source: BoxError,
}

/// The SNS topic that subscribers of alerts listen to.
#[derive(Clone, Debug)]
pub struct Topic {
    client: Client,
    arn: String,
}

impl Topic {
    /// The topic with this ARN.
    pub fn new(config: &aws_config::SdkConfig, arn: String) -> Self {
        Self { client: Client::new(config), arn }
    }

    /// Publishes a message.
    ///
    /// # Errors
    /// [`PublishError`] if the message may not have been published.
    pub async fn publish(&self, message: &NotificationMessage) -> Result<(), PublishError> {
        let failed = |source: BoxError| PublishError { topic: self.arn.clone(), source };
        let mut call = self
            .client
            .publish()
            .topic_arn(&self.arn)
            .subject(subject(&message.subject))
            // One message in several forms: what fits an email is too long for an SMS.
            .message_structure("json")
            .message(body(message));
        for (name, value) in &message.attributes {
            let attribute = MessageAttributeValue::builder().data_type("String").string_value(value);
            call = call.message_attributes(*name, attribute.build().map_err(|error| failed(error.into()))?);
        }
        call.send().await.map(|_| ()).map_err(|error| failed(error.into()))
    }
}

fn subject(text: &str) -> String {
    // SNS refuses a subject with a line break or with anything but ASCII.
    let ascii = |character: char| if (' '..='~').contains(&character) { character } else { '?' };
    text.chars().map(ascii).take(MAX_SUBJECT_CHARS).collect()
}

/// The body of a message with `MessageStructure: json`: one form per protocol, and JSON for every other protocol.
fn body(message: &NotificationMessage) -> String {
    let short: String = message.short.chars().take(MAX_SMS_CHARS).collect();
    serde_json::json!({ "default": message.json, "email": message.text, "sms": short }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subject_is_reduced_to_what_sns_accepts() {
        for (text, expected) in [
            ("a b".to_owned(), "a b".to_owned()),
            ("é\n".to_owned(), "??".to_owned()),
            ("x".repeat(101), "x".repeat(100)),
        ] {
            assert_eq!(subject(&text), expected);
        }
    }

    #[test]
    fn email_and_sms_get_their_own_forms() {
        let message = NotificationMessage {
            subject: String::new(),
            text: "long\n\"text\"".to_owned(),
            short: "s".repeat(200),
            json: r#"{"a":1}"#.to_owned(),
            attributes: Vec::new(),
        };
        let body: serde_json::Value = serde_json::from_str(&body(&message)).unwrap();
        assert_eq!(body["default"], message.json);
        assert_eq!(body["email"], message.text);
        assert_eq!(body["sms"].as_str().map(str::len), Some(MAX_SMS_CHARS));
    }
}
