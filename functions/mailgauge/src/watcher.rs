//! Detection beside the server: every quarter of a minute it is looked whether a minute can be judged, and changes are told.

use std::sync::Arc;
use std::time::Duration;

use pipeline::alerting::detection_run::{Memory, Settings, WatchError};

use crate::alert_routes::Routes;
use crate::standalone::Standalone;

/// How often it is looked whether there is something to judge or to tell.
const EVERY: Duration = Duration::from_secs(15);

/// Watches until it is dropped. A failure is told and tried again.
pub async fn watch(home: Arc<Standalone>, routes: Routes, settings: Settings) {
    let mut memory = Memory::default();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match Box::pin(home.watch(&routes, &settings, &mut memory)).await {
            Ok(watched) if watched.behind > 0 => {
                tracing::info!(minutes = watched.minutes, behind = watched.behind, "learning from history");
                ticks.reset_immediately();
            }
            Ok(_) => {}
            Err(error) => {
                let announced = matches!(error.downcast_ref(), Some(WatchError::Announce { .. }));
                let what =
                    if announced { "alerts wait to be told" } else { "watching failed and is tried again" };
                tracing::error!(error = format!("{error:#}"), "{what}");
            }
        }
    }
}
