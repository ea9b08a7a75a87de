//! Configuration of the AWS clients: region and credentials as every AWS tool finds them, TLS, retries and timeouts.
//!
//! One connection pool serves all services of a process. A call that hangs ends long before the platform stops the function that made
//! it. A Lambda function trusts only Amazon's own certificate authorities, because loading all authorities of the system takes longer
//! than everything else at its start.

use std::time::Duration;

use aws_config::BehaviorVersion;
pub use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;

use crate::environment::Environment;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};

pub mod dynamodb;
pub mod kinesis;
pub mod lambda;
#[cfg(feature = "aws-ses")]
pub mod ses;
pub mod sns;
pub mod sqs;
pub mod timestream;

/// Timeout of one attempt of a call.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(2500);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Timeout of a call with all its attempts.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(6);

/// Attempts of a call that is throttled or fails. The SDK's default of three, with a first pause of up to a second, would give up at a
/// short disturbance and wait too long after a lost packet.
const MAX_ATTEMPTS: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The authorities that sign for AWS's services, except in China: <https://www.amazontrust.com/repository/>.
const AMAZON_ROOTS: &[u8] = include_bytes!("aws/roots.pem");
/// Set in every Lambda function, and nowhere else.
const FUNCTION: &str = "AWS_LAMBDA_FUNCTION_NAME";

/// The configuration of this process's environment, with our timeouts and retries.
///
/// # Panics
/// In tests only, if the pinned certificate authorities cannot be loaded; in production that is logged and the system's are used.
pub async fn config() -> SdkConfig {
    // The SDK itself has no timeout for a whole call.
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT);
    // The standard mode pauses with full jitter, so clients that failed together do not come back together.
    let retries = RetryConfig::standard()
        .with_max_attempts(MAX_ATTEMPTS)
        .with_initial_backoff(FIRST_PAUSE)
        .with_max_backoff(LONGEST_PAUSE);
    let mut https = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring));
    if trusts_only_amazon(&mut Environment::of_process())
        && let Some(context) = tls_context(AMAZON_ROOTS)
    {
        https = https.tls_context(context);
    }
    // One client for all services, so that they share its connections.
    let loader = aws_config::defaults(BehaviorVersion::latest()).http_client(https.build_https());
    loader.timeout_config(timeouts.build()).retry_config(retries).load().await
}

/// A TLS context that trusts only `authorities` (PEM). `None` is reported as a broken invariant, since the certificates are compiled in: the
/// connection would silently trust more authorities than intended.
fn tls_context(authorities: &[u8]) -> Option<TlsContext> {
    let trusted = TrustStore::empty().with_pem_certificate(authorities);
    match TlsContext::builder().with_trust_store(trusted).build() {
        Ok(context) => Some(context),
        Err(error) => {
            event::invariant::broken(&format!(
                "the pinned certificate authorities cannot be loaded: {error}"
            ));
            None
        }
    }
}

/// Whether this process is a Lambda function that is not configured to trust further authorities, such as that of a proxy.
fn trusts_only_amazon(environment: &mut Environment) -> bool {
    let mut value = |name: &str| environment.optional::<String>(name);
    let is_in_china = value("AWS_REGION").is_some_and(|region| region.starts_with("cn-"));
    let has_others = ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().any(|name| value(name).is_some());
    value(FUNCTION).is_some() && !is_in_china && !has_others
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_function_without_authorities_of_its_own_trusts_only_amazon() {
        let in_lambda = (FUNCTION, "f");
        let check = |variables: &[(&str, &str)], expected| {
            let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            assert_eq!(trusts_only_amazon(&mut Environment::of(variables)), expected);
        };
        check(&[], false);
        check(&[in_lambda], true);
        check(&[in_lambda, ("AWS_REGION", "eu-central-1")], true);
        check(&[in_lambda, ("AWS_REGION", "cn-north-1")], false);
        check(&[in_lambda, ("SSL_CERT_FILE", "/opt/proxy.pem")], false);
    }

    #[test]
    fn pinned_authorities_can_be_loaded() {
        let roots = String::from_utf8_lossy(AMAZON_ROOTS);
        assert_eq!(roots.matches("BEGIN CERTIFICATE").count(), 5);
        let context = tls_context(AMAZON_ROOTS).unwrap();
        // Malformed certificates are noticed only when the client is built.
        Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).tls_context(context).build_https();
    }
}
