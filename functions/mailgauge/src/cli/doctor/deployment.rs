//! What lies around the table of a deployment: the stream and the configuration set.

use adapters::aws::kinesis::Stream;
use adapters::aws::{self, SdkConfig, ses};
use event::ShardId;
use pipeline::history::snapshot::Progress;

use super::{Finding, MINUTE_MS, lasted};
use crate::standalone::Standalone;

/// Counting is meant to be within seconds; the alarm of the template says a minute.
const BEHIND_MS: (i64, i64) = (MINUTE_MS, 15 * MINUTE_MS);

/// Looks at the parts that are named.
pub(super) async fn look(
    stream: Option<&str>,
    configuration_set: Option<&str>,
    home: &Standalone,
) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let config = aws::config().await;
    if let Some(name) = stream {
        let progress = Progress::read(&home.store).await?;
        findings.extend(lag(&Stream::new(&config, name.to_owned()), &progress).await);
    }
    if let Some(name) = configuration_set {
        findings.push(destination(&config, name).await);
    }
    Ok(findings)
}

/// How far counting is behind each shard's end.
async fn lag(stream: &Stream, progress: &Progress) -> Vec<Finding> {
    const CHECK: &str = "the stream is counted";
    const PERMISSIONS: &str = "allow who runs this kinesis:ListShards, GetShardIterator and GetRecords on the stream, and check its name";
    const MEND: &str = "look at the trigger (is it enabled?), at the log of the function aggregate, and at the bucket of failed batches";
    let shards = match stream.shards().await {
        Ok(shards) => shards,
        Err(error) => {
            return vec![Finding::broken(CHECK, format!("{:#}", anyhow::Error::from(error)), PERMISSIONS)];
        }
    };
    let mut findings = Vec::new();
    for name in shards {
        let shard = ShardId::new(&name).ok();
        let cursor = progress.cursors().iter().find(|(known, _)| Some(known) == shard.as_ref());
        let done = cursor.and_then(|(_, cursor)| cursor.done.clone());
        let finding = match stream.behind_ms(&name, done.as_ref()).await {
            Err(error) => Finding::broken(CHECK, format!("{:#}", anyhow::Error::from(error)), PERMISSIONS),
            Ok(behind) => {
                let found = format!("{name} is {} behind its end", lasted(behind));
                Finding::by_age(CHECK, behind, BEHIND_MS, found, MEND)
            }
        };
        findings.push(finding);
    }
    findings
}

/// Whether all events of a configuration set go somewhere.
async fn destination(config: &SdkConfig, name: &str) -> Finding {
    const CHECK: &str = "SES publishes events";
    const MEND: &str = "give the configuration set an event destination of type EventBridge with all event types, as the template does";
    let found = match ses::destinations(config, name).await {
        Ok(found) => found,
        Err(error) => {
            let mend = "allow who runs this ses:GetConfigurationSetEventDestinations, and check the name";
            return Finding::broken(CHECK, format!("{:#}", anyhow::Error::from(error)), mend);
        }
    };
    let Some(best) = found.iter().min_by_key(|one| (!one.is_event_bridge, one.missing.len())) else {
        return Finding::broken(CHECK, format!("{name} has no enabled event destination"), MEND);
    };
    let kind = if best.is_event_bridge { "EventBridge" } else { "another service" };
    if !best.missing.is_empty() {
        let missing = best.missing.join(", ");
        return Finding::broken(CHECK, format!("{} to {kind} leaves out {missing}", best.name), MEND);
    }
    Finding::well(CHECK, format!("{name} to {kind}, all events"))
}
