//! The audit trail: who set out to change what. An entry is written before the change, so no change can be without one.

use pipeline::directory::audit::{self, AuditAction};
use pipeline::ports::{Clock, Store};

use super::{During as _, Refusal, Service};

impl<S: Store, C: Clock, I> Service<S, C, I> {
    /// Records that `who` is about to do `action` to `subject`. The caller must not make the change if this fails.
    pub(crate) async fn record_audit(
        &self,
        who: &str,
        action: &'static str,
        subject: &str,
    ) -> Result<(), Refusal> {
        audit::record(&self.store, AuditAction { who, action, subject }, self.now())
            .await
            .during("recording the change in the audit trail")
    }
}
