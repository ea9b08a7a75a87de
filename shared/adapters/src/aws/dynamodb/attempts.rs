//! How many attempts the AWS SDK made for one call.
//!
//! If a conditional write fails because of an item that equals the one it wanted to write, there are two cases. After several attempts an
//! earlier one wrote the item, and its reply was lost. After a single attempt somebody else wrote an equal item. Without the count, two
//! writers of the same item would both believe that their write was the first.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;

/// Counts the attempts of one call.
#[derive(Clone, Debug, Default)]
pub(super) struct Attempts(Arc<AtomicU32>);

impl Attempts {
    /// The number of attempts so far.
    pub(super) fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Intercept for Attempts {
    fn name(&self) -> &'static str {
        "Attempts"
    }

    fn read_before_attempt(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // The count is read after the call, whose end orders it.
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
