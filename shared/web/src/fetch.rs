//! Outgoing requests of the router: certificates and confirmations of SNS, and documents of the token issuer.
//!
//! Only validated URLs are fetched. Redirects are not followed, and time and size are limited.

use std::future::Future;
use std::time::Duration;

use axum::body::Bytes;
use ureq::Agent;
use ureq::config::ConfigBuilder;
use ureq::typestate::AgentScope;

use crate::ingest::sns::url::{CertificateUrl, SubscribeUrl};
use crate::tokens::IssuerUrl;

/// Timeout of a request. SNS waits 15 s for our reply, of which this is only a part.
const TIMEOUT: Duration = Duration::from_secs(8);
/// Largest document. A certificate has some 2 KB, the keys of an issuer up to 20 KB.
const MAX_BODY_BYTES: u64 = 64 * 1024;

/// Fetches documents of SNS and of token issuers.
pub trait Fetch: Send + Sync + 'static {
    /// The PEM file of a certificate.
    fn certificate(&self, url: &CertificateUrl) -> impl Future<Output = Result<Bytes, FetchError>> + Send;

    /// Confirms a subscription by requesting its URL.
    fn confirm(&self, url: &SubscribeUrl) -> impl Future<Output = Result<(), FetchError>> + Send;

    /// A document of a token issuer, or its reply to a form.
    fn document(
        &self,
        url: &IssuerUrl,
        form: Option<String>,
    ) -> impl Future<Output = Result<Bytes, FetchError>> + Send;
}

/// The server could not be reached, or did not reply with status 200.
#[derive(Debug, thiserror::Error)]
#[error("{what} could not be fetched")]
pub struct FetchError {
    /// What should have been fetched.
    pub what: &'static str,
    /// The cause, for the log; clients never see it.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// [`Fetch`] over HTTPS with the usual root certificates. Only an issuer on this machine is contacted without TLS.
#[derive(Clone, Debug)]
pub struct HttpsFetch {
    https: Agent,
    local: Agent,
}

impl Default for HttpsFetch {
    fn default() -> Self {
        Self {
            // Two agents, because an issuer on this machine has no TLS and must not be reached through a proxy, and nothing else may go
            // without TLS.
            https: bounded().https_only(true).build().new_agent(),
            local: bounded().proxy(None).build().new_agent(),
        }
    }
}

fn bounded() -> ConfigBuilder<AgentScope> {
    Agent::config_builder().max_redirects(0).timeout_global(Some(TIMEOUT))
}

async fn get(
    agent: &Agent,
    url: &str,
    form: Option<String>,
    what: &'static str,
) -> Result<Bytes, FetchError> {
    let agent = agent.clone();
    let url = url.to_owned();
    // ureq blocks the thread, for up to the timeout.
    let request = tokio::task::spawn_blocking(move || {
        let mut response = match form {
            None => agent.get(&url).call()?,
            Some(form) => agent.post(&url).content_type("application/x-www-form-urlencoded").send(form)?,
        };
        // Redirects are not followed, and ureq does not report them as errors.
        if response.status().as_u16() != 200 {
            return Err(ureq::Error::StatusCode(response.status().as_u16()));
        }
        response.body_mut().with_config().limit(MAX_BODY_BYTES).read_to_vec()
    });
    match request.await {
        Ok(Ok(body)) => Ok(body.into()),
        Ok(Err(error)) => Err(FetchError { what, source: error.into() }),
        Err(error) => Err(FetchError { what, source: error.into() }),
    }
}

impl Fetch for HttpsFetch {
    async fn certificate(&self, url: &CertificateUrl) -> Result<Bytes, FetchError> {
        get(&self.https, url.as_str(), None, "a certificate of SNS").await
    }

    async fn confirm(&self, url: &SubscribeUrl) -> Result<(), FetchError> {
        get(&self.https, url.as_str(), None, "a confirmation by SNS").await.map(|_| ())
    }

    async fn document(&self, url: &IssuerUrl, form: Option<String>) -> Result<Bytes, FetchError> {
        let agent = if url.is_on_this_machine() { &self.local } else { &self.https };
        get(agent, url.as_str(), form, "a document of the issuer of tokens").await
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// What is fetched from a server that answers once, without the TLS that only real hosts can show.
    async fn fetched(answer: String) -> Result<Bytes, FetchError> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            assert!(stream.read(&mut request).unwrap() > 0);
            // The client may hang up when it has seen enough.
            let _ = stream.write_all(answer.as_bytes());
        });
        let fetched = get(&HttpsFetch::default().local, &url, None, "a test").await;
        server.join().unwrap();
        fetched
    }

    fn answer(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    #[tokio::test]
    async fn a_body_is_fetched_up_to_its_limit() {
        let full = "x".repeat(64 * 1024);
        assert_eq!(fetched(answer("200 OK", &full)).await.unwrap(), full);
        assert!(fetched(answer("200 OK", &(full + "x"))).await.is_err());
    }

    #[tokio::test]
    async fn redirects_and_errors_are_failures() {
        for status in [
            "301 Moved\r\nlocation: http://127.0.0.1:1/",
            "307 Moved\r\nlocation: /",
            "204 None",
            "404 None",
            "500 No",
        ] {
            assert!(fetched(answer(status, "")).await.is_err(), "{status}");
        }
    }

    #[tokio::test]
    async fn nothing_is_fetched_without_tls() {
        assert!(get(&HttpsFetch::default().https, "http://127.0.0.1:1/", None, "a test").await.is_err());
    }
}
