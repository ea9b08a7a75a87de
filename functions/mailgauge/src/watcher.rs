//! Detection in the local process: evaluates every minute once it is over, and notifies changes of alerts, until the server stops.

use std::sync::Arc;
use std::time::Duration;

use pipeline::alerting::detection_run::{DetectionCache, DetectionError, DetectionSettings};

use crate::alert_channels::AlertChannels;
use crate::standalone::Standalone;

/// How often a run looks for minutes to evaluate and notifications to send: often enough to add little to the grace period.
const RUN_INTERVAL: Duration = Duration::from_secs(15);

/// Runs detection again and again until the future is dropped. A failed run is logged, and the next one continues.
pub async fn detect(standalone: Arc<Standalone>, channels: AlertChannels, settings: DetectionSettings) {
    let mut cache = DetectionCache::default();
    let mut ticks = tokio::time::interval(RUN_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match Box::pin(standalone.run_detection(&channels, &settings, &mut cache)).await {
            Ok(report) if report.behind > 0 => {
                tracing::info!(minutes = report.minutes, behind = report.behind, "learning from history");
                ticks.reset_immediately();
            }
            Ok(_) => {}
            Err(error) => {
                let is_channel = matches!(error.downcast_ref(), Some(DetectionError::Notify { .. }));
                let what = if is_channel {
                    "notifications of alerts wait for the next run"
                } else {
                    "detection failed; the next run continues"
                };
                tracing::error!(error = format!("{error:#}"), "{what}");
            }
        }
    }
}
