//! Notifies people of changes of alerts by email, through any SMTP server.
//!
//! Each change is one message to all addresses. All messages of an alert share a reference, so that mail programs show them as one
//! thread. The connection uses TLS unless the URL is a plain `smtp://`.

use std::time::Duration;

use detection::Change;
use lettre::message::{Mailbox, header};
use lettre::{Message, SmtpTransport, Transport as _};

/// Timeout of sending one message. The next detection run sends it again.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// An SMTP server, a sender and the recipients of notifications.
pub struct Email {
    transport: SmtpTransport,
    from: Mailbox,
    to: Vec<Mailbox>,
}

/// Email cannot be set up, or a message was not accepted. Error texts never contain an address.
#[derive(Debug, thiserror::Error)]
pub enum EmailError {
    /// The server's URL is not valid.
    #[error(
        "the SMTP server is not valid: use a URL such as smtps://user:password@mail.example or smtp://mail.example?tls=required"
    )]
    Server(#[source] lettre::transport::smtp::Error),
    /// An address is not valid.
    #[error("an email address is not valid: use addresses such as alerts@example.com")]
    Address(#[source] lettre::address::AddressError),
    /// There are no recipients.
    #[error("there are no recipients: name at least one address")]
    NoRecipients,
    /// The message cannot be composed.
    #[error("the message cannot be composed")]
    Message(#[from] lettre::error::Error),
    /// The server did not accept the message.
    #[error("the SMTP server does not accept the message: check its URL, user and password")]
    Send(#[source] lettre::transport::smtp::Error),
    /// The task that sends the message was cancelled.
    #[error("sending the message was cancelled")]
    Cancelled(#[from] tokio::task::JoinError),
}

impl Email {
    /// Sends from the address `from` to the addresses `to` through `server`, an SMTP URL.
    ///
    /// # Errors
    /// [`EmailError`] if the URL or an address is not valid, or `to` is empty.
    pub fn new(server: &str, from: &str, to: &[String]) -> Result<Self, EmailError> {
        let address = |text: &str| text.parse::<Mailbox>().map_err(EmailError::Address);
        let transport = SmtpTransport::from_url(server).map_err(EmailError::Server)?;
        let to = to.iter().map(|text| address(text)).collect::<Result<Vec<_>, _>>()?;
        // At start-up: the first alert is the wrong moment to notice.
        if to.is_empty() {
            return Err(EmailError::NoRecipients);
        }
        Ok(Self { transport: transport.timeout(Some(SEND_TIMEOUT)).build(), from: address(from)?, to })
    }

    /// Sends one message about a change, without retrying.
    ///
    /// # Errors
    /// [`EmailError`] if the server may not have accepted it.
    pub async fn send(&self, change: &Change) -> Result<(), EmailError> {
        let message = self.message(change)?;
        let transport = self.transport.clone();
        // The transport is blocking.
        let sent = tokio::task::spawn_blocking(move || transport.send(&message)).await?;
        sent.map(|_| ()).map_err(EmailError::Send)
    }

    fn message(&self, change: &Change) -> Result<Message, EmailError> {
        let mut message = Message::builder()
            .from(self.from.clone())
            .subject(change.subject())
            // The same in all messages of an alert. Mail programs make threads of references rather than subjects.
            .references(format!("<{}@mailgauge>", change.id))
            .message_id(Some(format!("<{}.{}@mailgauge>", change.id, change.sequence)))
            .header(header::ContentType::TEXT_PLAIN);
        for to in &self.to {
            message = message.to(to.clone());
        }
        Ok(message.body(change.text())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_an_alert_form_one_thread() {
        let change = r#"{"id":"al_1","sequence":2,"tenant":"acme","severity":"warning","kind":"limit","metric":"bounce_rate","state":"resolved","scope":{},"value":0.3,"numerator":60.0,"denominator":200.0,"started_at":"","fired_at":"","updated_at":"","window":"60m","cause":[],"summary":"Over.","dedup_key":"al_1"}"#;
        let to = ["ops@example.com".to_owned(), "Ann <ann@example.com>".to_owned()];
        let email = Email::new("smtp://127.0.0.1:1", "mailgauge@example.com", &to).unwrap();
        let message = email.message(&serde_json::from_str(change).unwrap()).unwrap();
        let text = String::from_utf8(message.formatted()).unwrap();
        for part in [
            "Subject: [warning] resolved: bounce rate for acme\r\n",
            "References: <al_1@mailgauge>\r\n",
            "Message-ID: <al_1.2@mailgauge>\r\n",
            "ann@example.com",
            "\r\n\r\nOver.\r\n",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn invalid_settings_are_refused_before_the_first_alert() {
        let to = ["ops@example.com".to_owned()];
        assert!(matches!(Email::new("mail.example", "a@example.com", &to), Err(EmailError::Server(_))));
        assert!(matches!(Email::new("smtp://m.example", "a", &to), Err(EmailError::Address(_))));
        assert!(matches!(
            Email::new("smtp://m.example", "a@example.com", &[]),
            Err(EmailError::NoRecipients)
        ));
    }
}
