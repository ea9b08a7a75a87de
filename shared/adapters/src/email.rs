//! Changes of alerts by email, through any SMTP server.
//!
//! One message a change, to all addresses together. Messages of one alert have the same reference, so that mail programs show them as
//! one thread. The server is reached with TLS unless its address says `smtp://` and nothing else.

use std::time::Duration;

use detection::Change;
use lettre::message::{Mailbox, header};
use lettre::{Message, SmtpTransport, Transport as _};

/// One message; the next run tries again.
const SEND_TIME: Duration = Duration::from_secs(10);

/// Whom to write to, and through which server.
pub struct Email {
    transport: SmtpTransport,
    from: Mailbox,
    to: Vec<Mailbox>,
}

/// Email cannot be set up, or a message was not taken. Addresses are never repeated.
#[derive(Debug, thiserror::Error)]
pub enum EmailError {
    /// The server's address cannot be read.
    #[error("use a server such as smtps://user:password@mail.example or smtp://mail.example?tls=required")]
    Server(#[source] lettre::transport::smtp::Error),
    /// An address cannot be read.
    #[error("use addresses such as alerts@example.com")]
    Address(#[source] lettre::address::AddressError),
    /// There is nobody to write to.
    #[error("name at least one address to write to")]
    Nobody,
    /// The message cannot be put together.
    #[error("the message cannot be written")]
    Message(#[from] lettre::error::Error),
    /// The server did not take it.
    #[error("the server takes no message")]
    Send(#[source] lettre::transport::smtp::Error),
    /// It was not sent.
    #[error("the message was not sent")]
    NotSent(#[from] tokio::task::JoinError),
}

impl Email {
    /// Writes from one address to others through `server`, a URL of SMTP.
    ///
    /// # Errors
    /// [`EmailError`] if any of them cannot be read.
    pub fn new(server: &str, from: &str, to: &[String]) -> Result<Self, EmailError> {
        let address = |text: &str| text.parse::<Mailbox>().map_err(EmailError::Address);
        let transport = SmtpTransport::from_url(server).map_err(EmailError::Server)?;
        let to = to.iter().map(|text| address(text)).collect::<Result<Vec<_>, _>>()?;
        if to.is_empty() {
            return Err(EmailError::Nobody);
        }
        Ok(Self { transport: transport.timeout(Some(SEND_TIME)).build(), from: address(from)?, to })
    }

    /// Sends a change once.
    ///
    /// # Errors
    /// [`EmailError`] if the server may not have taken it.
    pub async fn send(&self, change: &Change) -> Result<(), EmailError> {
        let message = self.message(change)?;
        let transport = self.transport.clone();
        // The client blocks.
        let sent = tokio::task::spawn_blocking(move || transport.send(&message)).await?;
        sent.map(|_| ()).map_err(EmailError::Send)
    }

    fn message(&self, change: &Change) -> Result<Message, EmailError> {
        let mut message = Message::builder()
            .from(self.from.clone())
            .subject(change.subject())
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
    fn a_message_is_one_of_its_alerts_thread() {
        let change = r#"{"id":"al_1","sequence":2,"tenant":"acme","severity":"warning","kind":"limit","metric":"bounce_rate","state":"resolved","scope":{},"value":0.3,"numerator":60.0,"denominator":200.0,"started_at":"","fired_at":"","updated_at":"","window":"60m","cause":[],"summary":"Over.","dedup_key":"al_1"}"#;
        let to = ["ops@example.com".to_owned(), "Ann <ann@example.com>".to_owned()];
        let email = Email::new("smtp://127.0.0.1:1", "mailgauge@example.com", &to).unwrap();
        let message = email.message(&serde_json::from_str(change).unwrap()).unwrap();
        let text = String::from_utf8(message.formatted()).unwrap();
        for part in [
            "Subject: [warning] resolved: bounce rate of acme\r\n",
            "References: <al_1@mailgauge>\r\n",
            "Message-ID: <al_1.2@mailgauge>\r\n",
            "ann@example.com",
            "\r\n\r\nOver.\r\n",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused_before_the_first_alert() {
        let to = ["ops@example.com".to_owned()];
        assert!(matches!(Email::new("mail.example", "a@example.com", &to), Err(EmailError::Server(_))));
        assert!(matches!(Email::new("smtp://m.example", "a", &to), Err(EmailError::Address(_))));
        assert!(matches!(Email::new("smtp://m.example", "a@example.com", &[]), Err(EmailError::Nobody)));
    }
}
