//! Invokes the Lambda function `collect`, which reads the counts of a group of tenants for the function `detect`.
//!
//! API: <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>

use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_lambda::Client;
use aws_sdk_lambda::config::Builder;
use pipeline::alerting::detection_run::tenant_groups::{
    GroupCounts, GroupReadError, GroupReaders, GroupRequest,
};

/// Timeout of reading one group. It leaves the caller time to read the group itself.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes of an error reply that are quoted.
const QUOTED_BYTES: usize = 500;

/// The function `collect`, and the number of groups into which the tenants are divided.
#[derive(Clone, Debug)]
pub struct Collectors {
    client: Client,
    function: String,
    groups: u32,
}

impl Collectors {
    /// Uses `config` with a longer timeout, because a reply takes as long as reading a group, and without retries, because the caller reads
    /// a failed group itself.
    pub fn new(config: &SdkConfig, function: String, groups: u32) -> Self {
        // The attempt and the operation alike: with one attempt they are the same.
        let time = config.timeout_config().cloned().unwrap_or_else(|| TimeoutConfig::builder().build());
        let time = time.into_builder().operation_attempt_timeout(TIMEOUT).operation_timeout(TIMEOUT).build();
        let config = Builder::from(config).timeout_config(time).retry_config(RetryConfig::disabled());
        Self { client: Client::from_conf(config.build()), function, groups }
    }
}

impl GroupReaders for Collectors {
    fn groups(&self) -> u32 {
        self.groups
    }

    async fn read(&self, request: GroupRequest) -> Result<GroupCounts, GroupReadError> {
        let request = serde_json::to_vec(&request)?;
        let reply = self.client.invoke().function_name(&self.function).payload(request.into()).send().await?;
        let answer = reply.payload.unwrap_or_else(|| Vec::new().into()).into_inner();
        // Lambda answers 200 also if the function failed; only this field tells.
        if let Some(kind) = reply.function_error {
            let quoted = String::from_utf8_lossy(answer.get(..QUOTED_BYTES).unwrap_or(&answer)).into_owned();
            return Err(format!("the function {} failed ({kind}): {quoted}", self.function).into());
        }
        Ok(serde_json::from_slice(&answer)?)
    }
}
