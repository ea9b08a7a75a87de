//! `mailgauge doctor`: checks a data folder or a deployment, and says what is wrong and how to fix it.
//!
//! It only reads. A check has one of three states, so that a healthy installation without mail yet does not look broken: `warning` asks
//! for a look, and only `failed` fails the command.

#[cfg(feature = "aws")]
mod deployment;

use std::process::ExitCode;

use adapters::system_clock::SystemClock;
use cells::query::Scope;
use clap::Args;
use event::Timestamp;
use pipeline::directory::api_keys::{self, Grant};
use pipeline::directory::tenants;
use pipeline::export::{self, ExportBacklog};
use pipeline::history::compaction::schedule;
use pipeline::history::snapshot::CountingProgress;
use pipeline::ports::Clock as _;
use pipeline::verification::{self, Verification};
use serde_json::json;

use crate::cli::quarantine;
use crate::cli::store_options::StoreOptions;
use crate::output::{OutputTable, grouped};
use crate::server;
use crate::standalone::Standalone;
#[cfg(not(feature = "aws"))]
use crate::usage_error::built_without_aws;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
/// The greatest age at which a check is still ok, and the greatest at which it is a warning.
struct AgeLimits {
    ok_ms: i64,
    warning_ms: i64,
}

/// Age of the oldest delta that is not compacted. Compaction needs less than the first limit when it runs, and deltas expire after
/// three days.
const UNCOMPACTED: AgeLimits = AgeLimits { ok_ms: 3 * HOUR_MS, warning_ms: 24 * HOUR_MS };
/// The names of all time-series stores.
const SINKS: [&str; 2] = ["timestream", "influxdb"];
/// Age of the oldest batch that a time-series store has not received.
const UNEXPORTED: AgeLimits = AgeLimits { ok_ms: 10 * MINUTE_MS, warning_ms: 24 * HOUR_MS };
/// A warning if no event has arrived for this long.
const MAX_QUIET_MS: i64 = 30 * MINUTE_MS;
/// The damaged or missing records that are named; further ones are only counted.
const MAX_NAMED: usize = 10;
/// A batch whose lease ended this long ago fails again and again: a later attempt would have committed it.
const MAX_OVERDUE_MS: i64 = 5 * MINUTE_MS;

/// Check a data folder or a deployment, and say what is wrong and how to fix it.
///
/// Each check is ok, warning or failed. Exit code 1 if any has failed; warnings alone exit with 0.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    mailgauge doctor --data /var/lib/mailgauge\n  \
    mailgauge doctor --table mailgauge-Table-1ABC --stream mailgauge-Stream-1ABC \\\n    \
    --configuration-set mailgauge")]
pub struct Options {
    #[command(flatten)]
    store: StoreOptions,

    /// Also read every record of the table, to find damaged and missing ones; all records of a data folder are always read. DynamoDB
    /// charges for what is read
    #[arg(long)]
    records: bool,

    /// The deployment's Kinesis stream: checks whether all shards are counted, and how far behind counting is
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,

    /// The SES configuration set that mail is sent with: checks whether it publishes all its events
    #[arg(long, value_name = "NAME")]
    configuration_set: Option<String>,
}

/// The outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CheckStatus {
    Ok,
    Warning,
    Failed,
}

impl CheckStatus {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// One line of the report.
#[derive(Debug)]
struct Diagnosis {
    /// The name of the check.
    check: &'static str,
    status: CheckStatus,
    found: String,
    /// How to fix it; empty if all is well.
    fix: &'static str,
}

impl Diagnosis {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, status: CheckStatus::Ok, found: found.into(), fix: "" }
    }

    fn warning(check: &'static str, found: impl Into<String>, fix: &'static str) -> Self {
        Self { check, status: CheckStatus::Warning, found: found.into(), fix }
    }

    fn failed(check: &'static str, found: impl Into<String>, fix: &'static str) -> Self {
        Self { check, status: CheckStatus::Failed, found: found.into(), fix }
    }

    /// The status follows from an age in milliseconds.
    fn by_age(
        check: &'static str,
        age_ms: i64,
        limits: &AgeLimits,
        found: String,
        fix: &'static str,
    ) -> Self {
        match age_ms {
            _ if age_ms <= limits.ok_ms => Self::ok(check, found),
            _ if age_ms <= limits.warning_ms => Self::warning(check, found, fix),
            _ => Self::failed(check, found, fix),
        }
    }
}

/// Runs all checks and prints their results.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let runtime = server::runtime()?;
    let standalone = options.store.location.open(&runtime)?;
    let reads_records = options.records || options.store.location.is_folder();
    let diagnoses = runtime.block_on(async {
        let mut diagnoses = check_store(&standalone, reads_records, SystemClock.now()).await?;
        diagnoses.extend(check_deployment(options, &standalone).await?);
        anyhow::Ok(diagnoses)
    })?;
    // Scripts rely on these column names.
    let mut table = OutputTable::new(["check", "state", "found", "fix"]);
    for Diagnosis { check, status, found, fix } in &diagnoses {
        table.push(vec![json!(check), json!(status.name()), json!(found), json!(fix)]);
    }
    options.store.print(&table)?;
    let has_failed = diagnoses.iter().any(|diagnosis| diagnosis.status == CheckStatus::Failed);
    Ok(if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

#[cfg(feature = "aws")]
async fn check_deployment(options: &Options, standalone: &Standalone) -> anyhow::Result<Vec<Diagnosis>> {
    deployment::check(options.stream.as_deref(), options.configuration_set.as_deref(), standalone).await
}

#[cfg(not(feature = "aws"))]
async fn check_deployment(options: &Options, _: &Standalone) -> anyhow::Result<Vec<Diagnosis>> {
    if options.stream.is_some() || options.configuration_set.is_some() {
        return Err(built_without_aws("--stream and --configuration-set"));
    }
    Ok(Vec::new())
}

/// Whether every stored record is there and whole.
fn damage(verification: &Verification) -> Diagnosis {
    let Verification { records, findings, found } = verification;
    if *found == 0 {
        return Diagnosis::ok("records", format!("{} records are there and whole", grouped(*records)));
    }
    let named =
        findings.iter().take(MAX_NAMED).map(|finding| format!("{}: {}", finding.record, finding.problem));
    let unnamed = found.saturating_sub(MAX_NAMED as u64);
    let more = (unnamed > 0).then(|| format!("and {} more", grouped(unnamed)));
    let text = named.chain(more).collect::<Vec<_>>().join("; ");
    Diagnosis::failed("records", text, "restore the data folder or table from a backup")
}

/// The checks that need nothing but the store.
async fn check_store(
    standalone: &Standalone,
    reads_records: bool,
    now: Timestamp,
) -> anyhow::Result<Vec<Diagnosis>> {
    if !reads_records {
        return check_operation(standalone, now).await;
    }
    let verification = verification::verify(&standalone.store).await?;
    let mut diagnoses = vec![damage(&verification)];
    match check_operation(standalone, now).await {
        Ok(others) => diagnoses.extend(others),
        // They read the records that are damaged, and would only say again that these cannot be read.
        Err(_) if verification.found > 0 => {}
        Err(error) => return Err(error),
    }
    Ok(diagnoses)
}

/// The checks of what is stored in records that can be read.
async fn check_operation(standalone: &Standalone, now: Timestamp) -> anyhow::Result<Vec<Diagnosis>> {
    let store = &standalone.store;
    let progress = CountingProgress::read(store).await?;
    // In the order of the data flow, so that the first failed check is usually the cause of the others.
    let mut diagnoses = vec![arrivals(&progress, now)];
    diagnoses.extend(stuck_shards(&progress, now));
    diagnoses.push(uncompacted(schedule::oldest_unmerged(store).await?, now));
    for sink in SINKS {
        diagnoses.extend(unexported(sink, &export::backlog(store, sink, export::MAX_BEHIND).await?, now));
    }
    diagnoses.push(quarantined(quarantine::all(standalone).await?.len()));
    // All of time: drift is a defect whenever it arose.
    let (first, last) = (Timestamp::from_millis(0), Timestamp::from_millis(i64::MAX));
    let proof = web::proof(store, &Scope::All, first, last).await?;
    diagnoses.push(drift(proof.events_read, proof.drift));
    diagnoses.push(if tenants::list(store).await?.iter().any(event::TenantId::is_unassigned) {
        Diagnosis::warning(
            "tenants",
            "some mail belongs to no tenant",
            "send with the message tag `tenant`, or map configuration sets or domains to tenants (see \"Attribute events to tenants\" in functions/mailgauge/README.md)",
        )
    } else {
        Diagnosis::ok("tenants", "all mail belongs to a tenant")
    });
    // Without a valid operator key, nobody can create tenants or keys through the API.
    let is_valid = |credential: &api_keys::Credential| {
        credential.grant == Grant::Operator
            && credential.revoked_at.is_none()
            && credential.expires_at.is_none_or(|at| at > now)
    };
    diagnoses.push(if api_keys::list(store).await?.iter().any(is_valid) {
        Diagnosis::ok("keys", "an operator key is valid")
    } else {
        Diagnosis::warning("keys", "no operator key is valid", "mailgauge keys add --operator --name NAME")
    });
    Ok(diagnoses)
}

fn drift(events_read: u64, drift: i64) -> Diagnosis {
    const CHECK: &str = "proof of counting";
    if drift == 0 {
        return Diagnosis::ok(CHECK, format!("{} events read, drift 0", grouped(events_read)));
    }
    Diagnosis::failed(
        CHECK,
        format!("drift {drift}"),
        "run mailgauge reconcile to see which tenants are affected; restore the table or folder from a backup, then ingest the events received since",
    )
}

fn arrivals(progress: &CountingProgress, now: Timestamp) -> Diagnosis {
    const CHECK: &str = "events arrive";
    const FIX: &str = "send a mail with the configuration set; then check the SES event destination, the EventBridge rule and the stream's trigger";
    let newest = progress.checkpoints().iter().filter_map(|(_, checkpoint)| checkpoint.last_arrival).max();
    let Some(newest) = newest else { return Diagnosis::warning(CHECK, "no event has arrived yet", FIX) };
    // Never a failure: an installation whose tenants send nothing at night is healthy.
    let age_ms = now.millis_since(newest);
    let found = format!("the newest event arrived {} ago", span(age_ms));
    if age_ms > MAX_QUIET_MS { Diagnosis::warning(CHECK, found, FIX) } else { Diagnosis::ok(CHECK, found) }
}

/// Shards with a batch in flight that no attempt has committed, although the last attempt's lease ended long ago.
fn stuck_shards(progress: &CountingProgress, now: Timestamp) -> Vec<Diagnosis> {
    const CHECK: &str = "shards advance";
    let mut diagnoses = Vec::new();
    for (shard, checkpoint) in progress.checkpoints() {
        // A batch under a valid lease is normal: an attempt is working on it.
        let overdue_ms = checkpoint.in_flight.as_ref().map(|batch| now.millis_since(batch.lease_until));
        if let Some(overdue_ms) = overdue_ms.filter(|overdue_ms| *overdue_ms > MAX_OVERDUE_MS) {
            diagnoses.push(Diagnosis::failed(
                CHECK,
                format!("shard {shard} has an uncommitted batch whose lease ended {} ago", span(overdue_ms)),
                "the log of the function aggregate (or of the server) says why its attempts fail; once that is fixed, the next attempt commits the batch",
            ));
        }
    }
    if diagnoses.is_empty() {
        let shards = plural(progress.checkpoints().len(), "shard", "shards");
        diagnoses.push(Diagnosis::ok(CHECK, format!("no batch is stuck in {shards}")));
    }
    diagnoses
}

fn uncompacted(oldest: Option<Timestamp>, now: Timestamp) -> Diagnosis {
    const CHECK: &str = "compaction";
    const FIX: &str = "the log of the function compact (or of the server) says why it fails; deltas expire after three days";
    let Some(oldest) = oldest else { return Diagnosis::ok(CHECK, "everything is compacted") };
    let age_ms = now.millis_since(oldest);
    let found = format!("the oldest delta has been waiting for {}", span(age_ms));
    Diagnosis::by_age(CHECK, age_ms, &UNCOMPACTED, found, FIX)
}

/// How far a time-series store is behind. `None` if nothing was ever written to it.
fn unexported(sink: &str, backlogs: &[ExportBacklog], now: Timestamp) -> Option<Diagnosis> {
    const CHECK: &str = "time-series store";
    const FIX: &str = "mailgauge sink export shows the store's error; data older than three days can no longer be exported, but the API still has it";
    // A store that was never written to is not in use, which is no defect.
    backlogs.iter().find(|backlog| backlog.exported.is_some())?;
    let oldest = backlogs.iter().filter_map(|backlog| backlog.oldest).min();
    let Some(oldest) = oldest else { return Some(Diagnosis::ok(CHECK, format!("{sink} is up to date"))) };
    let age_ms = now.millis_since(oldest);
    let found = format!("{sink} is missing batches that arrived up to {} ago", span(age_ms));
    Some(Diagnosis::by_age(CHECK, age_ms, &UNEXPORTED, found, FIX))
}

fn quarantined(count: usize) -> Diagnosis {
    const CHECK: &str = "quarantine";
    if count == 0 {
        return Diagnosis::ok(CHECK, "empty");
    }
    Diagnosis::warning(
        CHECK,
        plural(count, "unreadable record", "unreadable records"),
        "mailgauge quarantine list says why; after an upgrade, mailgauge quarantine replay --all",
    )
}

/// A number with its noun: `1 shard`, `1,000 shards`.
fn plural(number: usize, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number as u64), if number == 1 { one } else { many })
}

/// A time span in its largest fitting unit, rounded down: `119 s`, `2 min`, `3 h`, `4 days`. Negative spans, of clocks that differ, are
/// `0 s`.
fn span(milliseconds: i64) -> String {
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
    use pipeline::verification::Finding;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_763_000_000);

    #[test]
    fn state_of_compaction_depends_on_the_age_of_the_oldest_delta() {
        for (hours, expected) in [
            (0, CheckStatus::Ok),
            (3, CheckStatus::Ok),
            (4, CheckStatus::Warning),
            (24, CheckStatus::Warning),
            (25, CheckStatus::Failed),
        ] {
            let oldest = NOW.plus_millis(-hours * HOUR_MS);
            assert_eq!(uncompacted(Some(oldest), NOW).status, expected, "{hours} h");
        }
        assert_eq!(uncompacted(None, NOW).status, CheckStatus::Ok);
    }

    #[test]
    fn drift_of_either_sign_fails() {
        for (drift_found, expected) in
            [(0, CheckStatus::Ok), (1, CheckStatus::Failed), (-1, CheckStatus::Failed)]
        {
            assert_eq!(drift(5000, drift_found).status, expected, "{drift_found}");
        }
    }

    #[test]
    fn damaged_records_are_named_up_to_ten_of_them() {
        let finding = |number| Finding { record: format!("r-{number}"), problem: "it is missing".to_owned() };
        let verification = |found: u64| Verification {
            records: 7,
            findings: (0..found.min(100)).map(finding).collect(),
            found,
        };
        assert_eq!(damage(&verification(0)).found, "7 records are there and whole");
        let one = damage(&verification(1));
        assert_eq!((one.status, one.found.as_str()), (CheckStatus::Failed, "r-0: it is missing"));
        assert!(damage(&verification(1_010)).found.ends_with("r-9: it is missing; and 1,000 more"));
    }

    #[test]
    fn every_diagnosis_but_ok_says_how_to_fix_it() {
        for diagnosis in [quarantined(0), quarantined(3), drift(1, 0), drift(1, 1), uncompacted(None, NOW)] {
            assert_eq!(diagnosis.fix.is_empty(), diagnosis.status == CheckStatus::Ok, "{diagnosis:?}");
        }
    }

    #[test]
    fn number_has_the_noun_in_its_form() {
        for (number, expected) in [(0, "0 shards"), (1, "1 shard"), (1000, "1,000 shards")] {
            assert_eq!(plural(number, "shard", "shards"), expected);
        }
    }

    #[test]
    fn span_is_rounded_down_to_its_largest_unit() {
        for (seconds, expected) in
            [(-5, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172_800, "2 days")]
        {
            assert_eq!(span(seconds * 1000), expected);
        }
    }
}
