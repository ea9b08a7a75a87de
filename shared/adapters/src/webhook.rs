//! Notifies programs of changes of alerts by signed HTTP requests with a JSON body.
//!
//! The header `X-Mailgauge-Signature: t=SECONDS,v1=HEX` holds the HMAC-SHA-256 of `SECONDS.BODY` under the shared secret. It proves the
//! sender, and its time stops an intercepted request from being replayed much later. Redirects are not followed, since they could send
//! alerts to somebody else.

use std::fmt::Write as _;
use std::time::Duration;

use detection::Change;
use event::Timestamp;
use ring::hmac;
use ureq::Agent;

/// Timeout of one request. The next detection run sends the change again.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The receiver of notifications.
pub struct Webhook {
    agent: Agent,
    url: String,
    key: hmac::Key,
}

/// A change was not received, or the reply was lost.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The receiver answered with this status.
    #[error("the webhook answers {0}: it must answer 2xx to accept a change")]
    Status(u16),
    /// The receiver cannot be reached.
    #[error("the webhook cannot be reached: check --alert-webhook and the network")]
    Unreachable(#[source] Box<ureq::Error>),
    /// The change cannot be written as JSON.
    #[error("the change cannot be written as JSON")]
    Write(#[from] serde_json::Error),
    /// The task of the request was cancelled.
    #[error("the request to the webhook was cancelled")]
    Cancelled(#[from] tokio::task::JoinError),
}

impl Webhook {
    /// The receiver at `url`, which knows `secret`.
    pub fn new(url: String, secret: &str) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(REQUEST_TIMEOUT))
            // With an error for a redirect the status would be lost; it is reported like any other refusal.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false);
        Self { agent: config.build().into(), url, key: hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()) }
    }

    /// Sends one change, without retrying; `now` is the time of the signature.
    ///
    /// # Errors
    /// [`WebhookError`] if it may not have been received.
    pub async fn send(&self, change: &Change, now: Timestamp) -> Result<(), WebhookError> {
        let body = serde_json::to_vec(change)?;
        // Over the very bytes that are sent: a receiver that parses and writes JSON anew would get another signature.
        let signature = signature(&self.key, now.millis() / 1000, &body);
        let request = self
            .agent
            .post(&self.url)
            .content_type("application/json")
            .header("x-mailgauge-signature", signature);
        // ureq is a blocking client.
        let reply = tokio::task::spawn_blocking(move || request.send(&body)).await?;
        let status = reply.map_err(|error| WebhookError::Unreachable(Box::new(error)))?.status();
        if status.is_success() { Ok(()) } else { Err(WebhookError::Status(status.as_u16())) }
    }
}

fn signature(key: &hmac::Key, seconds: i64, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(key);
    context.update(format!("{seconds}.").as_bytes());
    context.update(body);
    let mut text = format!("t={seconds},v1=");
    for byte in context.sign().as_ref() {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    fn change() -> Change {
        let change = r#"{"id":"al_1","sequence":1,"tenant":"acme","severity":"warning","kind":"limit","metric":"bounce_rate","state":"firing","scope":{},"value":0.3,"numerator":60.0,"denominator":200.0,"started_at":"","fired_at":"","updated_at":"","window":"60m","cause":[],"summary":"","dedup_key":"al_1"}"#;
        serde_json::from_str(change).unwrap()
    }

    /// The expected signature was computed by `printf '1764000000.{"a":1}' | openssl dgst -sha256 -hmac secret`.
    #[test]
    fn signature_covers_time_and_body() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
        assert_eq!(
            signature(&key, 1_764_000_000, br#"{"a":1}"#),
            "t=1764000000,v1=112dc1736ad0328f094ebdad63c8bde5936ce7d0bb7ae467f9f8d481a26df51c"
        );
    }

    async fn send_to(answer: &'static str) -> (Result<(), WebhookError>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let receiver = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
            while !request.ends_with(b"}") {
                let length = stream.read(&mut buffer).unwrap();
                request.extend_from_slice(&buffer[..length]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        });
        let sent = Webhook::new(url, "secret").send(&change(), Timestamp::from_seconds(1_764_000_000)).await;
        (sent, receiver.join().unwrap())
    }

    #[tokio::test]
    async fn change_arrives_with_a_valid_signature() {
        let (sent, request) = send_to("HTTP/1.1 204 No Content\r\n\r\n").await;
        sent.unwrap();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert_eq!(serde_json::from_str::<Change>(body).unwrap(), change());
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
        assert!(head.contains(&signature(&key, 1_764_000_000, body.as_bytes())), "{head}");
    }

    #[tokio::test]
    async fn refusals_and_redirects_are_errors() {
        for (answer, status) in [
            ("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n", 500),
            ("HTTP/1.1 302 There\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n", 302),
        ] {
            let (sent, _) = send_to(answer).await;
            assert!(matches!(sent, Err(WebhookError::Status(found)) if found == status), "{sent:?}");
        }
    }
}
