//! `POST /v1/ingest/sns`: an HTTPS subscription of an SNS topic. Anybody can post here, so SNS's signature takes the place of a key.
//!
//! A message is accepted if its topic is configured, it was published within the last hour, and it is signed with a certificate from
//! SNS's own host. The cheapest check comes first, so a stranger cannot make us fetch anything without naming a configured topic.
//! Subscriptions to configured topics are confirmed automatically; the end of a subscription is only logged.

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
use event::{Ignored, IgnoredCounts, Timestamp};
use pipeline::ports::{Clock, Store};
use tokio::sync::Semaphore;

use self::certificate::{Certificates, SigningCertificate};
pub(crate) use self::message::SnsMessage;
use self::message::SnsMessageType;
use self::url::{CertificateUrl, SubscribeUrl};
use crate::fetch::{Fetch, FetchError};
use crate::limits::{Budget, Reserved, SNS_BODY_BYTES, SNS_BUDGET_BYTES, read_reserved};
use crate::problem::{Problem, ProblemType};
use crate::router::Shared;
use crate::service::{Ingested, Intake, Unavailable};

/// SNS retries a delivery to HTTPS for at most an hour, so an older message is a replay.
/// Source: <https://docs.aws.amazon.com/sns/latest/dg/sns-message-delivery-retries.html>
const MAX_AGE_MS: i64 = 60 * 60 * 1000;
/// How far SNS's clock may be ahead of ours.
const MAX_AHEAD_MS: i64 = 5 * 60 * 1000;
/// Certificates change about once a year, so nobody but an attacker needs more fetches at the same time.
const FETCHES_AT_ONCE: usize = 4;

const RAW_DELIVERY: HeaderName = HeaderName::from_static("x-amz-sns-rawdelivery");

/// The state of this route.
pub(crate) struct Sns<S, C, I, F> {
    web: Shared<S, C, I>,
    fetch: F,
    topics: Vec<String>,
    certificates: Certificates,
    fetches: Semaphore,
    budget: Budget,
}

impl<S: Store, C: Clock, I: Intake, F: Fetch> Sns<S, C, I, F> {
    /// Accepts messages of these topics only.
    pub(crate) fn new(web: Shared<S, C, I>, fetch: F, topics: Vec<String>) -> Self {
        let fetches = Semaphore::new(FETCHES_AT_ONCE);
        let budget = Budget::new(SNS_BUDGET_BYTES);
        Self { web, fetch, topics, certificates: Certificates::default(), fetches, budget }
    }

    /// Refuses every message that SNS did not publish to a configured topic within the last hour.
    async fn verify(&self, message: &SnsMessage) -> Result<(), Problem> {
        // The order is by cost: comparisons, then a fetch, then the verification of an RSA signature.
        if !self.topics.contains(&message.topic_arn) {
            return Err(refused("this server is not configured for the topic"));
        }
        let now = self.web.service.now();
        check_time(&message.timestamp, now)?;
        let url = CertificateUrl::parse(&message.signing_cert_url)
            .ok_or_else(|| refused("SigningCertURL is not an address of SNS"))?;
        let signature =
            STANDARD.decode(&message.signature).map_err(|_| refused("the signature is not base64"))?;
        let certificate = self.certificate(url).await?;
        if !certificate.is_valid_at(now) {
            return Err(refused("the certificate has expired or is not valid yet"));
        }
        if !certificate.signed(&message.signature_version, message.signed_text().as_bytes(), &signature) {
            return Err(refused("the signature does not match the message"));
        }
        Ok(())
    }

    async fn certificate(&self, url: CertificateUrl) -> Result<Arc<SigningCertificate>, Problem> {
        if let Some(cached) = self.certificates.get(&url) {
            return Ok(cached);
        }
        // Refused instead of queued: SNS tries again, and an attacker gains nothing by waiting.
        let _slot = self.fetches.try_acquire().map_err(|_| {
            Problem::new(ProblemType::Unavailable, "too many certificates are being fetched").retry_after(5)
        })?;
        let pem = self.fetch.certificate(&url).await.map_err(unreachable)?;
        let certificate = SigningCertificate::from_pem(&pem)
            .ok_or_else(|| refused("there is no certificate at SigningCertURL"))?;
        let certificate = Arc::new(certificate);
        self.certificates.insert(url, Arc::clone(&certificate));
        Ok(certificate)
    }

    async fn confirm(&self, message: &SnsMessage) -> Result<(), Problem> {
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

/// Verifies a message of SNS, then counts what it carries or confirms the subscription.
pub(crate) async fn ingest<S: Store, C: Clock, I: Intake, F: Fetch>(
    State(sns): State<Arc<Sns<S, C, I, F>>>,
    request: Request,
) -> Result<Response, Problem> {
    // Before anything is read: without topics this route has no use, and a stranger must not find one to occupy.
    if sns.topics.is_empty() {
        let detail = "no SNS topic is configured here; name topics with --sns-topic";
        return Err(Problem::new(ProblemType::NotFound, detail));
    }
    if request.headers().contains_key(&RAW_DELIVERY) {
        // Raw delivery sends the message without its envelope, which holds the signature.
        let detail = "messages in raw delivery have no signature; switch raw message delivery off for this subscription";
        return Err(Problem::new(ProblemType::InvalidBody, detail));
    }
    let Reserved { body, reservation: _held } = read_reserved(request, &sns.budget, SNS_BODY_BYTES).await?;
    let message: SnsMessage = serde_json::from_slice(&body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let detail = format!("the body is not an SNS message: line {line}, column {column}");
        Problem::new(ProblemType::InvalidBody, detail)
    })?;
    // The parsed message holds its own copy; verifying can take seconds if a certificate must be fetched.
    drop(body);
    sns.verify(&message).await?;
    let ingested = match message.r#type {
        SnsMessageType::Notification => {
            sns.web.service.intake.count(vec![Bytes::from(message.message)]).await?
        }
        SnsMessageType::SubscriptionConfirmation => {
            sns.confirm(&message).await?;
            one_confirmation()
        }
        SnsMessageType::UnsubscribeConfirmation => {
            tracing::warn!(
                sns.topic = message.topic_arn,
                "the subscription was ended; no more events will arrive from this topic"
            );
            one_confirmation()
        }
    };
    Ok(Json(ingested).into_response())
}

/// The outcome of a message about the subscription itself.
fn one_confirmation() -> Ingested {
    let mut ignored_kinds = IgnoredCounts::default();
    ignored_kinds.count(&Ignored::SubscriptionConfirmation);
    Ingested { ignored: 1, ignored_kinds, ..Ingested::default() }
}

fn check_time(published: &str, now: Timestamp) -> Result<(), Problem> {
    let published = published
        .parse::<jiff::Timestamp>()
        .map_err(|_| refused("the message's Timestamp is not an RFC 3339 time"))?;
    let age_ms = now.millis_since(Timestamp::from_millis(published.as_millisecond()));
    if (-MAX_AHEAD_MS..=MAX_AGE_MS).contains(&age_ms) {
        Ok(())
    } else {
        Err(refused("the message was not published within the last hour"))
    }
}

/// SNS treats a 4xx reply as final and does not retry.
fn refused(why: &str) -> Problem {
    Problem::new(ProblemType::Forbidden, why)
}

/// SNS retries after a 5xx reply.
fn unreachable(error: FetchError) -> Problem {
    Unavailable { operation: "checking the message's signature", source: error.into() }.into()
}
