//! The checks of a deployment that need more than its table: the Kinesis stream and the SES configuration set.
//!
//! A call that AWS refuses is a failed check that names the permission, so that the other checks still run.

use adapters::aws::kinesis::KinesisStream;
use adapters::aws::{self, SdkConfig, ses};
use event::ShardId;
use pipeline::history::snapshot::CountingProgress;

use super::{AgeLimits, Diagnosis, MINUTE_MS, span};
use crate::standalone::Standalone;

/// How far counting may be behind the end of a shard: usually seconds. The template's alarm fires at one minute as well.
const BEHIND: AgeLimits = AgeLimits { ok_ms: MINUTE_MS, warning_ms: 15 * MINUTE_MS };

/// Checks the stream and the configuration set, as far as they are named.
pub(super) async fn check(
    stream: Option<&str>,
    configuration_set: Option<&str>,
    standalone: &Standalone,
) -> anyhow::Result<Vec<Diagnosis>> {
    let mut diagnoses = Vec::new();
    let config = aws::config().await;
    if let Some(name) = stream {
        let progress = CountingProgress::read(&standalone.store).await?;
        diagnoses.extend(lag(&KinesisStream::new(&config, name.to_owned()), &progress).await);
    }
    if let Some(name) = configuration_set {
        diagnoses.push(destination(&config, name).await);
    }
    Ok(diagnoses)
}

/// How far counting is behind the end of each shard.
async fn lag(stream: &KinesisStream, progress: &CountingProgress) -> Vec<Diagnosis> {
    const CHECK: &str = "the stream is counted";
    const PERMISSIONS: &str = "allow the user of this command kinesis:ListShards, GetShardIterator and GetRecords on the stream, and check its name";
    const FIX: &str = "check the trigger (is it enabled?), the log of the function aggregate, and the bucket of failed batches";
    let shards = match stream.shards().await {
        Ok(shards) => shards,
        Err(error) => {
            return vec![Diagnosis::failed(CHECK, format!("{:#}", anyhow::Error::from(error)), PERMISSIONS)];
        }
    };
    let mut diagnoses = Vec::new();
    for name in shards {
        let shard = ShardId::new(&name).ok();
        let checkpoint = progress.checkpoints().iter().find(|(known, _)| Some(known) == shard.as_ref());
        // A shard that was never counted has no checkpoint; its distance is measured from its oldest record.
        let committed = checkpoint.and_then(|(_, checkpoint)| checkpoint.committed.clone());
        let result = match stream.behind_ms(&name, committed.as_ref()).await {
            Err(error) => Diagnosis::failed(CHECK, format!("{:#}", anyhow::Error::from(error)), PERMISSIONS),
            Ok(behind) => {
                let found = format!("counting is {} behind the end of {name}", span(behind));
                Diagnosis::by_age(CHECK, behind, &BEHIND, found, FIX)
            }
        };
        diagnoses.push(result);
    }
    diagnoses
}

/// Whether a configuration set publishes all its events to some destination.
async fn destination(config: &SdkConfig, name: &str) -> Diagnosis {
    const CHECK: &str = "SES publishes events";
    const FIX: &str = "give the configuration set an event destination of type EventBridge with all event types, as the template does";
    let found = match ses::destinations(config, name).await {
        Ok(found) => found,
        Err(error) => {
            let fix =
                "allow the user of this command ses:GetConfigurationSetEventDestinations, and check the name";
            return Diagnosis::failed(CHECK, format!("{:#}", anyhow::Error::from(error)), fix);
        }
    };
    // EventBridge first, as the template sets it up; then the destination that gets the most event types.
    let Some(best) = found.iter().min_by_key(|one| (!one.is_event_bridge, one.missing.len())) else {
        return Diagnosis::failed(CHECK, format!("{name} has no enabled event destination"), FIX);
    };
    let kind = if best.is_event_bridge { "EventBridge" } else { "another service" };
    if !best.missing.is_empty() {
        let missing = best.missing.join(", ");
        return Diagnosis::failed(CHECK, format!("{} to {kind} leaves out {missing}", best.name), FIX);
    }
    Diagnosis::ok(CHECK, format!("{name} to {kind}, all events"))
}
