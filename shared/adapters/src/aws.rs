//! How AWS is reached: region and credentials as every AWS tool finds them, TLS, retries and time-outs.
//!
//! One connection pool serves all services of a process. A call that hangs is given up long before the platform gives up the
//! function that made it.

use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;

pub mod dynamodb;
pub mod kinesis;

/// One try of one call.
const ATTEMPT_TIME: Duration = Duration::from_millis(2500);
const CONNECT_TIME: Duration = Duration::from_secs(1);
/// A call with all its tries.
const OPERATION_TIME: Duration = Duration::from_secs(6);

/// The environment's settings, with our time-outs.
pub async fn config() -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIME)
        .operation_attempt_timeout(ATTEMPT_TIME)
        .operation_timeout(OPERATION_TIME);
    let https = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let loader = aws_config::defaults(BehaviorVersion::latest());
    loader.http_client(https).timeout_config(timeouts.build()).load().await
}
