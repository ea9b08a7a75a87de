//! The alert rules of one tenant, and trying rules on its past.

use detection::{AlertRules, Change, Detector};
use event::{Minute, TenantId};
use pipeline::alerting::detection_run::BacktestRun;
use pipeline::alerting::detection_run::counts::Width;
use pipeline::directory::alert_rules::{self, TenantRules};
use pipeline::ports::{Clock, Store};

use super::{During as _, Refusal, Service};

impl<S: Store, C: Clock, I> Service<S, C, I> {
    /// The operator's rules; the defaults if none were set.
    pub(crate) async fn operator_rules(&self) -> Result<AlertRules, Refusal> {
        alert_rules::read_operator(&self.store).await.during("reading rules")
    }

    /// A tenant's own rules; empty if it has set none.
    pub(crate) async fn own_rules(&self, tenant: &TenantId) -> Result<TenantRules, Refusal> {
        alert_rules::read_tenant(&self.store, tenant).await.during("reading rules")
    }

    /// The operator's rules with `own` put before them, as detection evaluates a tenant's mail.
    pub(crate) async fn rules_with(
        &self,
        tenant: &TenantId,
        own: &TenantRules,
    ) -> Result<AlertRules, Refusal> {
        let mut rules = self.operator_rules().await?;
        own.merge_into(&mut rules, tenant.as_str());
        Ok(rules)
    }

    /// Every change of an alert that detection would have reported about a tenant in `range` under these rules.
    pub(crate) async fn backtest(
        &self,
        tenant: &TenantId,
        rules: AlertRules,
        range: (Minute, Minute),
    ) -> Result<Vec<Change>, Refusal> {
        let width = Width::FiveMinutes;
        let mut detector = Detector::new(width.minutes(), rules);
        let tenants = [tenant.clone()];
        let (from, to) = range;
        let backtest = BacktestRun {
            store: &self.store,
            history: &self.settings.history,
            tenants: &tenants,
            from,
            to,
            width,
            now: self.now(),
        };
        backtest.run(&mut detector).await.during("a back-test")
    }
}
