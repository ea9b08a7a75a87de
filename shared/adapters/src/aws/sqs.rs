//! How many messages wait in queues of Amazon SQS.
//!
//! SQS counts about right: some seconds late, and without the messages that somebody works on.
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html>

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::QueueAttributeName::ApproximateNumberOfMessages;
use pipeline::alerting::queues::{QueueUrl, Queues, Unknown};

/// The queues of this region.
#[derive(Clone, Debug)]
pub struct Sqs(Client);

impl Sqs {
    /// Reached as the environment says.
    pub fn new(config: &aws_config::SdkConfig) -> Self {
        Self(Client::new(config))
    }
}

impl Queues for Sqs {
    async fn waiting(&self, queue: &QueueUrl) -> Result<u64, Unknown> {
        let call = self.0.get_queue_attributes().queue_url(queue.as_str());
        let reply = call.attribute_names(ApproximateNumberOfMessages).send().await?;
        let told = reply.attributes.and_then(|mut told| told.remove(&ApproximateNumberOfMessages));
        Ok(told.ok_or("SQS tells no number of messages")?.parse()?)
    }
}
