//! The number of messages that wait in an Amazon SQS queue.
//!
//! SQS counts approximately: some seconds late, and without messages that a consumer has received but not deleted.
//! API: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html>

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::QueueAttributeName::ApproximateNumberOfMessages;
use pipeline::alerting::queue_depth::{QueueError, QueueReader};
use pipeline::directory::queue_url::QueueUrl;

/// The SQS client of this region.
#[derive(Clone, Debug)]
pub struct Sqs(Client);

impl Sqs {
    /// A client with this configuration.
    pub fn new(config: &aws_config::SdkConfig) -> Self {
        Self(Client::new(config))
    }
}

impl QueueReader for Sqs {
    async fn depth(&self, queue: &QueueUrl) -> Result<u64, QueueError> {
        // Only messages that wait: those in flight are with a consumer, which is about to send them.
        let call = self.0.get_queue_attributes().queue_url(queue.as_str());
        let reply = call.attribute_names(ApproximateNumberOfMessages).send().await?;
        let number =
            reply.attributes.and_then(|mut attributes| attributes.remove(&ApproximateNumberOfMessages));
        Ok(number.ok_or("the reply of SQS has no ApproximateNumberOfMessages")?.parse()?)
    }
}
