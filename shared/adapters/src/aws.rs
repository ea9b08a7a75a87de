//! How AWS is reached: region and credentials as every AWS tool finds them, TLS, retries and time-outs.
//!
//! One connection pool serves all services of a process. A call that hangs is given up long before the platform gives up the
//! function that made it.

use std::time::Duration;

use aws_config::BehaviorVersion;
pub use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;

pub mod dynamodb;
pub mod kinesis;
#[cfg(feature = "aws-ses")]
pub mod ses;
pub mod sns;
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
    let https = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let loader = aws_config::defaults(BehaviorVersion::latest());
    loader.http_client(https).timeout_config(timeouts.build()).retry_config(retries).load().await
}
