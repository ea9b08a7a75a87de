//! Detection in the local process: evaluates every minute after its grace period and sends the notifications, until the server stops.

use std::sync::Arc;
use std::time::Duration;

use pipeline::alerting::detection_run::{DetectionCache, DetectionError, DetectionSettings};

use crate::alert_channels::AlertChannels;
use crate::standalone::Standalone;

/// The time between two detection runs: short enough to add little to the grace period of a minute.
const RUN_INTERVAL: Duration = Duration::from_secs(15);

/// Runs detection until the future is dropped. A failed run is logged, and the next one continues.
pub async fn run(standalone: Arc<Standalone>, channels: AlertChannels, settings: DetectionSettings) {
    let mut cache = DetectionCache::default();
    let mut ticks = tokio::time::interval(RUN_INTERVAL);
    // One run evaluates all minutes that are due, so runs that were missed need not be made up for.
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match Box::pin(standalone.run_detection(&channels, &settings, &mut cache)).await {
            Ok(report) if report.behind > 0 => {
                tracing::info!(minutes = report.minutes, behind = report.behind, "learning from history");
                // A new process learns from weeks of minutes, a part of them per run. Pauses would delay its first alerts.
                ticks.reset_immediately();
            }
            Ok(_) => {}
            Err(error) => {
                // A channel that is down is not a failure of detection: the alerts are stored, and only people wait for them.
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
