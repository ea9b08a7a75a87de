//! `POST /v1/ingest/sns`: an HTTPS subscription of an SNS topic. Anybody can post here, so SNS's signature is the key.
//!
//! A post is believed when its topic is one of ours, it was published within the hour, and it is signed with a
//! certificate from SNS's own host. Checked in the order of cost: strangers cannot make us visit anything before the
//! topic fits. A subscription is confirmed by itself, only for our topics; ending one is only logged.

mod certificate;
mod message;
pub(crate) mod url;

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::HeaderName;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use event::Timestamp;
use tokio::sync::Semaphore;

use self::certificate::{Certificate, Certificates};
use self::message::{Message, Type};
use self::url::{CertificateUrl, SubscribeUrl};
use crate::backend::{Backend, Ingested, Unavailable};
use crate::fetch::{Fetch, FetchError};
use crate::limits::{Budget, Reserved, SNS_BODY_BYTES, SNS_BUDGET_BYTES, read_reserved};
use crate::problem::{Kind, Problem};
use crate::router::Web;

/// SNS tries for at most an hour to deliver to HTTPS; what is older is a replay.
/// Source: <https://docs.aws.amazon.com/sns/latest/dg/sns-message-delivery-retries.html>
const MAX_AGE_MS: i64 = 60 * 60 * 1000;
/// How far SNS's clock may be ahead of ours.
const MAX_AHEAD_MS: i64 = 5 * 60 * 1000;
/// Certificates change about once a year, so more visits at once are somebody's play.
const VISITS_AT_ONCE: usize = 4;

const RAW_DELIVERY: HeaderName = HeaderName::from_static("x-amz-sns-rawdelivery");

/// What this route keeps.
pub(crate) struct Sns<B, F> {
    web: Arc<Web<B>>,
    fetch: F,
    topics: Vec<String>,
    certificates: Certificates,
    visits: Semaphore,
    budget: Budget,
}

impl<B: Backend, F: Fetch> Sns<B, F> {
    /// Takes messages of `topics` only.
    pub(crate) fn new(web: Arc<Web<B>>, fetch: F, topics: Vec<String>) -> Self {
        let visits = Semaphore::new(VISITS_AT_ONCE);
        let budget = Budget::new(SNS_BUDGET_BYTES);
        Self { web, fetch, topics, certificates: Certificates::default(), visits, budget }
    }

    /// Refuses what SNS did not publish to one of our topics lately.
    async fn verify(&self, message: &Message) -> Result<(), Problem> {
        if !self.topics.contains(&message.topic_arn) {
            return Err(refused("the topic is not among the topics of this server's configuration"));
        }
        let now = self.web.backend.now();
        check_time(&message.timestamp, now)?;
        let url = CertificateUrl::parse(&message.signing_cert_url)
            .ok_or_else(|| refused("SigningCertURL is not an address of SNS"))?;
        let signature =
            STANDARD.decode(&message.signature).map_err(|_| refused("the signature is not base64"))?;
        let certificate = self.certificate(url).await?;
        if !certificate.is_valid_at(now) {
            return Err(refused("the certificate is not valid now"));
        }
        if !certificate.signed(&message.signature_version, message.signed_text().as_bytes(), &signature) {
            return Err(refused("the signature does not fit the message"));
        }
        Ok(())
    }

    async fn certificate(&self, url: CertificateUrl) -> Result<Arc<Certificate>, Problem> {
        if let Some(kept) = self.certificates.get(&url) {
            return Ok(kept);
        }
        let _visit = self.visits.try_acquire().map_err(|_| {
            Problem::new(Kind::Unavailable, "too many certificates are being fetched").retry_after(5)
        })?;
        let pem = self.fetch.certificate(&url).await.map_err(unreachable)?;
        let certificate =
            Certificate::from_pem(&pem).ok_or_else(|| refused("there is no certificate at its address"))?;
        let certificate = Arc::new(certificate);
        self.certificates.keep(url, Arc::clone(&certificate));
        Ok(certificate)
    }

    async fn confirm(&self, message: &Message) -> Result<(), Problem> {
        let url = message
            .subscribe_url
            .as_deref()
            .and_then(SubscribeUrl::parse)
            .ok_or_else(|| refused("SubscribeURL is not an address of SNS"))?;
        self.fetch.confirm(&url).await.map_err(unreachable)?;
        tracing::info!(sns.topic = message.topic_arn, "subscription confirmed");
        Ok(())
    }
}

/// `POST /v1/ingest/sns`.
pub(crate) async fn ingest<B: Backend, F: Fetch>(
    State(sns): State<Arc<Sns<B, F>>>,
    request: Request,
) -> Result<Response, Problem> {
    if request.headers().contains_key(&RAW_DELIVERY) {
        let detail = "raw message delivery has no signature; switch it off for this subscription";
        return Err(Problem::new(Kind::InvalidBody, detail));
    }
    let Reserved { body, reservation: _held } = read_reserved(request, &sns.budget, SNS_BODY_BYTES).await?;
    let message: Message = serde_json::from_slice(&body).map_err(|error| {
        let place = format!("line {} column {}", error.line(), error.column());
        Problem::new(Kind::InvalidBody, format!("the body is not a message of SNS, at {place}"))
    })?;
    drop(body);
    sns.verify(&message).await?;
    let ingested = match message.r#type {
        Type::Notification => sns.web.backend.ingest(vec![Bytes::from(message.message)]).await?,
        Type::SubscriptionConfirmation => {
            sns.confirm(&message).await?;
            Ingested { ignored: 1, ..Ingested::default() }
        }
        Type::UnsubscribeConfirmation => {
            tracing::warn!(
                sns.topic = message.topic_arn,
                "the subscription was ended; no more events will come"
            );
            Ingested { ignored: 1, ..Ingested::default() }
        }
    };
    Ok(Json(ingested).into_response())
}

fn check_time(published: &str, now: Timestamp) -> Result<(), Problem> {
    let published =
        published.parse::<jiff::Timestamp>().map_err(|_| refused("the message's Timestamp is not a time"))?;
    let age_ms = now.millis_since(Timestamp::from_millis(published.as_millisecond()));
    if (-MAX_AHEAD_MS..=MAX_AGE_MS).contains(&age_ms) {
        Ok(())
    } else {
        Err(refused("the message was not published within the last hour"))
    }
}

/// SNS takes this for final and does not send the message again.
fn refused(why: &str) -> Problem {
    Problem::new(Kind::Forbidden, why)
}

/// SNS sends the message again.
fn unreachable(error: FetchError) -> Problem {
    Unavailable { operation: "checking the message's signature", source: error.into() }.into()
}
