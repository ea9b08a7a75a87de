//! How AWS is reached: region and credentials as every AWS tool finds them, TLS, retries and time-outs.
//!
//! One connection pool serves all services of a process. A call that hangs is given up long before the platform gives up the
//! function that made it. A function trusts Amazon's own certificate authorities alone: reading all that a system trusts
//! takes it longer than everything else at its start.

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

/// One try of one call.
const ATTEMPT_TIME: Duration = Duration::from_millis(2500);
const CONNECT_TIME: Duration = Duration::from_secs(1);
/// A call with all its tries.
const OPERATION_TIME: Duration = Duration::from_secs(6);

/// A throttled call is tried so often. The library's own three tries, the second after up to a second, would give up at a hiccup and
/// wait too long after a lost packet.
const TRIES: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The authorities that sign for AWS's services, except those of China: <https://www.amazontrust.com/repository/>.
const AMAZON_ROOTS: &[u8] = include_bytes!("aws/roots.pem");
/// Set in every function, and nowhere else.
const FUNCTION: &str = "AWS_LAMBDA_FUNCTION_NAME";

/// The environment's settings, with our time-outs.
pub async fn config() -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIME)
        .operation_attempt_timeout(ATTEMPT_TIME)
        .operation_timeout(OPERATION_TIME);
    let retries = RetryConfig::standard()
        .with_max_attempts(TRIES)
        .with_initial_backoff(FIRST_PAUSE)
        .with_max_backoff(LONGEST_PAUSE);
    let mut https = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring));
    let amazon = TrustStore::empty().with_pem_certificate(AMAZON_ROOTS);
    if trusts_amazon_alone(&mut Environment::of_process())
        && let Ok(context) = TlsContext::builder().with_trust_store(amazon).build()
    {
        https = https.tls_context(context);
    }
    let loader = aws_config::defaults(BehaviorVersion::latest()).http_client(https.build_https());
    loader.timeout_config(timeouts.build()).retry_config(retries).load().await
}

/// Whether this is a function whom nobody told to trust others, such as a proxy's authority.
fn trusts_amazon_alone(environment: &mut Environment) -> bool {
    let mut value = |name: &str| environment.optional::<String>(name);
    let is_in_china = value("AWS_REGION").is_some_and(|region| region.starts_with("cn-"));
    let has_others = ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().any(|name| value(name).is_some());
    value(FUNCTION).is_some() && !is_in_china && !has_others
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_function_that_was_told_nothing_else_trusts_amazon_alone() {
        let in_lambda = (FUNCTION, "f");
        let check = |variables: &[(&str, &str)], expected| {
            let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            assert_eq!(trusts_amazon_alone(&mut Environment::of(variables)), expected);
        };
        check(&[], false);
        check(&[in_lambda], true);
        check(&[in_lambda, ("AWS_REGION", "eu-central-1")], true);
        check(&[in_lambda, ("AWS_REGION", "cn-north-1")], false);
        check(&[in_lambda, ("SSL_CERT_FILE", "/opt/proxy.pem")], false);
    }

    #[test]
    fn the_authorities_of_amazon_can_be_read() {
        let roots = String::from_utf8_lossy(AMAZON_ROOTS);
        assert_eq!(roots.matches("BEGIN CERTIFICATE").count(), 5);
        let amazon = TrustStore::empty().with_pem_certificate(AMAZON_ROOTS);
        let context = TlsContext::builder().with_trust_store(amazon).build().unwrap();
        // Certificates that cannot be read are found here.
        Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).tls_context(context).build_https();
    }
}
