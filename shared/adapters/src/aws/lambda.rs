//! Functions of ours that are asked for a share of the work.
//!
//! <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>

use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_lambda::Client;
use aws_sdk_lambda::config::Builder;
use pipeline::alerting::detection_run::shares::{AskError, Part, Readers, Share};

/// Reading a share takes so long at most; who asked has to have time left to read it itself.
const TIME: Duration = Duration::from_secs(15);
/// Bytes told of an answer that is an error.
const TOLD: usize = 500;

/// The function `collect`, asked for so many shares.
#[derive(Clone, Debug)]
pub struct Collectors {
    client: Client,
    function: String,
    shares: u32,
}

impl Collectors {
    /// Reached as the environment says; it waits for answers longer than for other calls, and asks once.
    pub fn new(config: &SdkConfig, function: String, shares: u32) -> Self {
        let time = config.timeout_config().cloned().unwrap_or_else(|| TimeoutConfig::builder().build());
        let time = time.into_builder().operation_attempt_timeout(TIME).operation_timeout(TIME).build();
        let config = Builder::from(config).timeout_config(time).retry_config(RetryConfig::disabled());
        Self { client: Client::from_conf(config.build()), function, shares }
    }
}

impl Readers for Collectors {
    fn shares(&self) -> u32 {
        self.shares
    }

    async fn ask(&self, share: Share) -> Result<Part, AskError> {
        let question = serde_json::to_vec(&share)?;
        let reply =
            self.client.invoke().function_name(&self.function).payload(question.into()).send().await?;
        let answer = reply.payload.unwrap_or_else(|| Vec::new().into()).into_inner();
        if let Some(kind) = reply.function_error {
            let told = String::from_utf8_lossy(answer.get(..TOLD).unwrap_or(&answer)).into_owned();
            return Err(format!("the function {} failed ({kind}): {told}", self.function).into());
        }
        Ok(serde_json::from_slice(&answer)?)
    }
}
