//! Telling the world of an alert, on an SNS topic: one message, in the form that each protocol of its subscribers wants.
//!
//! The message never names a recipient, a subject or a link of a mail. Publishing twice is possible after a lost answer; the message
//! says by itself which change of which alert it is.
//! Limits: <https://docs.aws.amazon.com/sns/latest/api/API_Publish.html>

use aws_sdk_sns::Client;
use aws_sdk_sns::error::BoxError;
use aws_sdk_sns::types::MessageAttributeValue;

/// Longest subject, in characters.
const MAX_SUBJECT: usize = 100;
/// Longest text of a short message, in characters: what one SMS holds.
const MAX_SHORT: usize = 160;

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The subject of an email; cut to what SNS takes, characters that are not ASCII replaced.
    pub subject: String,
    /// For people who read email.
    pub text: String,
    /// For a telephone.
    pub short: String,
    /// For programs.
    pub json: String,
    /// What filter policies look at.
    pub attributes: Vec<(&'static str, String)>,
}

/// A message was not published, or its answer was lost.
#[derive(Debug, thiserror::Error)]
#[error("topic {topic} takes no message")]
pub struct PublishError {
    topic: String,
    #[source]
    source: BoxError,
}

/// A topic.
#[derive(Clone, Debug)]
pub struct Topic {
    client: Client,
    arn: String,
}

impl Topic {
    /// The topic of that ARN.
    pub fn new(config: &aws_config::SdkConfig, arn: String) -> Self {
        Self { client: Client::new(config), arn }
    }

    /// Publishes a message.
    ///
    /// # Errors
    /// [`PublishError`] if it may not be published.
    pub async fn publish(&self, message: &Message) -> Result<(), PublishError> {
        let failed = |source: BoxError| PublishError { topic: self.arn.clone(), source };
        let mut call = self
            .client
            .publish()
            .topic_arn(&self.arn)
            .subject(subject(&message.subject))
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
    let ascii = |character: char| if (' '..='~').contains(&character) { character } else { '?' };
    text.chars().map(ascii).take(MAX_SUBJECT).collect()
}

/// The message by protocol. Programs get JSON, whichever way they listen.
fn body(message: &Message) -> String {
    let short: String = message.short.chars().take(MAX_SHORT).collect();
    serde_json::json!({ "default": message.json, "email": message.text, "sms": short }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_cut_to_what_sns_takes() {
        for (text, expected) in [
            ("a b".to_owned(), "a b".to_owned()),
            ("é\n".to_owned(), "??".to_owned()),
            ("x".repeat(101), "x".repeat(100)),
        ] {
            assert_eq!(subject(&text), expected);
        }
    }

    #[test]
    fn each_protocol_gets_its_own_form() {
        let message = Message {
            subject: String::new(),
            text: "long\n\"text\"".to_owned(),
            short: "s".repeat(200),
            json: r#"{"a":1}"#.to_owned(),
            attributes: Vec::new(),
        };
        let body: serde_json::Value = serde_json::from_str(&body(&message)).unwrap();
        assert_eq!(body["default"], message.json);
        assert_eq!(body["email"], message.text);
        assert_eq!(body["sms"].as_str().map(str::len), Some(MAX_SHORT));
    }
}
