//! `mailgauge doctor`: is all well with a data folder or a deployment, and if not, how to mend it.
//!
//! It only reads. What it finds comes in three grades, so that a healthy installation without mail does not look broken.

#[cfg(feature = "aws")]
mod deployment;

use std::process::ExitCode;

use adapters::system_clock::SystemClock;
use cells::query::Scope;
use clap::Args;
use event::Timestamp;
use pipeline::directory::credentials::{self, Grant};
use pipeline::directory::tenants;
use pipeline::export::{self, Backlog};
use pipeline::history::compaction::due;
use pipeline::history::snapshot::Progress;
use pipeline::ports::Clock as _;
use serde_json::json;

#[cfg(not(feature = "aws"))]
use crate::cli::Usage;
use crate::cli::folder::Folder;
use crate::cli::quarantine;
use crate::output::{Table, grouped};
use crate::server;
use crate::standalone::Standalone;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
/// Longer than compaction needs when it runs, and far below the three days that deltas are kept.
const UNMERGED_MS: (i64, i64) = (3 * HOUR_MS, 24 * HOUR_MS);
/// The time-series stores that there are, and how long they may lag behind.
const SINKS: [&str; 2] = ["timestream", "influxdb"];
const UNEXPORTED_MS: (i64, i64) = (10 * MINUTE_MS, 24 * HOUR_MS);
/// A sender that is quiet for so long is worth a look.
const QUIET_MS: i64 = 30 * MINUTE_MS;
/// A batch in flight for longer than any try may last fails again and again.
const STUCK_MS: i64 = 5 * MINUTE_MS;

/// Check a data folder or a deployment, and say how to mend what is wrong.
///
/// Exit code 1 if something fails.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    mailgauge doctor --data /var/lib/mailgauge\n  \
    mailgauge doctor --table mailgauge-Table-1ABC --stream mailgauge-Stream-1ABC --configuration-set mailgauge")]
pub struct Options {
    #[command(flatten)]
    folder: Folder,

    /// The deployment's Kinesis stream: are all its shards counted, and how far behind
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,

    /// The SES configuration set that mail is sent with: do its events go to EventBridge
    #[arg(long, value_name = "NAME")]
    configuration_set: Option<String>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grade {
    Well,
    Look,
    Broken,
}

/// One thing looked at.
#[derive(Debug)]
struct Finding {
    check: &'static str,
    grade: Grade,
    found: String,
    mend: &'static str,
}

impl Finding {
    fn well(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, grade: Grade::Well, found: found.into(), mend: "" }
    }

    fn look(check: &'static str, found: impl Into<String>, mend: &'static str) -> Self {
        Self { check, grade: Grade::Look, found: found.into(), mend }
    }

    /// Well up to the first limit, worth a look up to the second, broken above, all in milliseconds.
    fn by_age(check: &'static str, age: i64, limits: (i64, i64), found: String, mend: &'static str) -> Self {
        match age {
            _ if age <= limits.0 => Self::well(check, found),
            _ if age <= limits.1 => Self::look(check, found, mend),
            _ => Self::broken(check, found, mend),
        }
    }

    fn broken(check: &'static str, found: impl Into<String>, mend: &'static str) -> Self {
        Self { check, grade: Grade::Broken, found: found.into(), mend }
    }
}

/// Looks at everything.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let runtime = server::runtime()?;
    let home = options.folder.open(&runtime)?;
    let findings = runtime.block_on(async {
        let mut findings = look(&home, SystemClock.now()).await?;
        findings.extend(look_around(options, &home).await?);
        anyhow::Ok(findings)
    })?;
    let mut table = Table::new(["check", "state", "found", "mend"]);
    for Finding { check, grade, found, mend } in &findings {
        let state = match grade {
            Grade::Well => "ok",
            Grade::Look => "look",
            Grade::Broken => "broken",
        };
        table.push(vec![json!(check), json!(state), json!(found), json!(mend)]);
    }
    options.folder.print(&table)?;
    let is_broken = findings.iter().any(|finding| finding.grade == Grade::Broken);
    Ok(if is_broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

#[cfg(feature = "aws")]
async fn look_around(options: &Options, home: &Standalone) -> anyhow::Result<Vec<Finding>> {
    deployment::look(options.stream.as_deref(), options.configuration_set.as_deref(), home).await
}

#[cfg(not(feature = "aws"))]
async fn look_around(options: &Options, _: &Standalone) -> anyhow::Result<Vec<Finding>> {
    if options.stream.is_some() || options.configuration_set.is_some() {
        return Err(Usage::without_aws("--stream and --configuration-set"));
    }
    Ok(Vec::new())
}

/// What the store alone tells.
async fn look(home: &Standalone, now: Timestamp) -> anyhow::Result<Vec<Finding>> {
    let store = &home.store;
    let progress = Progress::read(store).await?;
    let mut findings = vec![arrivals(&progress, now)];
    findings.extend(stuck(&progress, now));
    findings.push(unmerged(due::oldest_unmerged(store).await?, now));
    for sink in SINKS {
        findings.extend(exported(sink, &export::backlog(store, sink, export::MAX_BEHIND).await?, now));
    }
    findings.push(quarantined(quarantine::all(home).await?.len()));
    let proof =
        web::home::proof(store, &Scope::All, Timestamp::from_millis(0), Timestamp::from_millis(i64::MAX))
            .await?;
    findings.push(if proof.drift == 0 {
        Finding::well("proof of counting", format!("{} counts read, drift 0", grouped(proof.events_read)))
    } else {
        Finding::broken(
            "proof of counting",
            format!("drift {}", proof.drift),
            "mailgauge reconcile names the tenants; restore the table or folder from a backup and ingest what came since",
        )
    });
    findings.push(if tenants::list(store).await?.iter().any(event::TenantId::is_unassigned) {
        Finding::look(
            "tenants",
            "some mail belongs to no tenant",
            "send with the message tag `tenant`, or map configuration sets or domains to tenants (README, Rules for attribution)",
        )
    } else {
        Finding::well("tenants", "all mail belongs to a tenant")
    });
    let is_usable = |credential: &credentials::Credential| {
        credential.grant == Grant::Operator
            && credential.revoked_at.is_none()
            && credential.expires_at.is_none_or(|at| at > now)
    };
    findings.push(if credentials::list(store).await?.iter().any(is_usable) {
        Finding::well("keys", "an operator key is valid")
    } else {
        Finding::look("keys", "no operator key is valid", "mailgauge keys add --operator --name NAME")
    });
    Ok(findings)
}

fn arrivals(progress: &Progress, now: Timestamp) -> Finding {
    const CHECK: &str = "events arrive";
    const MEND: &str = "send a mail with the configuration set; then look at the SES event destination, the rule and the stream's trigger";
    let newest = progress.cursors().iter().filter_map(|(_, cursor)| cursor.last_arrival).max();
    let Some(newest) = newest else { return Finding::look(CHECK, "none has come yet", MEND) };
    let found = format!("the newest came {} ago", lasted(now.millis_since(newest)));
    if now.millis_since(newest) > QUIET_MS {
        Finding::look(CHECK, found, MEND)
    } else {
        Finding::well(CHECK, found)
    }
}

/// Shards whose batch is in flight for longer than any try may last.
fn stuck(progress: &Progress, now: Timestamp) -> Vec<Finding> {
    const CHECK: &str = "shards move";
    let mut findings = Vec::new();
    for (shard, cursor) in progress.cursors() {
        let since = cursor.in_flight.as_ref().map(|batch| now.millis_since(batch.lease_until));
        if let Some(since) = since.filter(|since| *since > STUCK_MS) {
            findings.push(Finding::broken(
                CHECK,
                format!("shard {shard} has a batch begun and not ended, its try over for {}", lasted(since)),
                "the log of the function aggregate (or of the server) says why it fails; it goes on by itself when that is mended",
            ));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::well(CHECK, format!("{} shards", progress.cursors().len())));
    }
    findings
}

fn unmerged(oldest: Option<Timestamp>, now: Timestamp) -> Finding {
    const CHECK: &str = "folding";
    const MEND: &str = "the log of the function compact (or of the server) says why it fails; deltas expire after three days";
    let Some(oldest) = oldest else { return Finding::well(CHECK, "everything is in blocks") };
    let age = now.millis_since(oldest);
    let found = format!("the oldest batch waits for {}", lasted(age));
    Finding::by_age(CHECK, age, UNMERGED_MS, found, MEND)
}

/// How far behind a time-series store is, if it was ever written to.
fn exported(sink: &str, backlogs: &[Backlog], now: Timestamp) -> Option<Finding> {
    const CHECK: &str = "time-series store";
    const MEND: &str = "mailgauge sink export says what it answers; what is older than three days stays a gap there, never in the API";
    backlogs.iter().find(|backlog| backlog.exported.is_some())?;
    let oldest = backlogs.iter().filter_map(|backlog| backlog.oldest).min();
    let Some(oldest) = oldest else { return Some(Finding::well(CHECK, format!("{sink} has everything"))) };
    let age = now.millis_since(oldest);
    let found = format!("{sink} has not got what came {} ago", lasted(age));
    Some(Finding::by_age(CHECK, age, UNEXPORTED_MS, found, MEND))
}

fn quarantined(count: usize) -> Finding {
    const CHECK: &str = "quarantine";
    if count == 0 {
        return Finding::well(CHECK, "empty");
    }
    let found = format!("{} parts of records cannot be read", grouped(count as u64));
    Finding::look(
        CHECK,
        found,
        "mailgauge quarantine list says why; after an upgrade, mailgauge quarantine replay --all",
    )
}

/// A span of time as people say it.
fn lasted(milliseconds: i64) -> String {
    let seconds = milliseconds.max(0) / 1000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_763_000_000);

    #[test]
    fn what_waits_for_folding_is_graded_by_its_age() {
        for (hours, expected) in
            [(0, Grade::Well), (3, Grade::Well), (4, Grade::Look), (24, Grade::Look), (25, Grade::Broken)]
        {
            assert_eq!(unmerged(Some(NOW.plus_millis(-hours * HOUR_MS)), NOW).grade, expected, "{hours} h");
        }
        assert_eq!(unmerged(None, NOW).grade, Grade::Well);
    }

    #[test]
    fn spans_are_said_as_people_say_them() {
        for (seconds, expected) in
            [(-5, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172_800, "2 days")]
        {
            assert_eq!(lasted(seconds * 1000), expected);
        }
    }
}
