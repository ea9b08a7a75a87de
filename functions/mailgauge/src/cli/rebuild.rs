//! `mailgauge rebuild`: counts an archive into a store again, and replaces what is there.
//!
//! Everything that can be refused is refused before the first change. The numbers of a tenant are replaced in one step, one tenant after
//! the other, so an interrupted command leaves each tenant either unchanged or completely replaced, and running it again completes the work.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use adapters::system_clock::SystemClock;
use anyhow::{bail, ensure};
use clap::Args;
use event::{Decoded, TenantId, Timestamp};
use pipeline::directory::tenants;
use pipeline::history::archive::{ArchiveCounter, ArchiveCounts, MUST_REACH_PAST_MS, RebuildRange};
use pipeline::history::compaction::rebuild;
use pipeline::history::reconciliation::reconcile;
use pipeline::ledger::reconcile::Reconciliation;
use pipeline::ports::Clock as _;
use serde_json::json;

use crate::cli::attribution_options::AttributionOptions;
use crate::cli::store_options::{self, StoreOptions};
use crate::cli::time_argument::TimeArgument;
use crate::input::{self, Source};
use crate::offline::{self, InputForm, OfflineInput, SharedWindow};
use crate::output::{self, OutputTable};
use crate::progress::ProgressReporter;
use crate::server;
use crate::standalone::Standalone;
use crate::usage_error::usage_error;

const HOUR_MS: i64 = 60 * 60 * 1000;
/// The most unreadable records that are reported one by one.
const MAX_REPORTED: u64 = 10;

/// Count an archive into a data folder or table again, and replace what was counted in a range.
///
/// For numbers under new rules or mappings, or after a loss. Replaces all events that happened in the range and, in the view by
/// send time, all outcomes of mail sent in it. The archive must hold every event from the start of the range to three days past
/// its end. Outcomes newer than the archive, and events that arrive while the command runs, are kept. Each tenant changes in one step.
/// At the end the command compares what it stored with what it counted, and fails unless the drift is 0. Unreadable records of the archive
/// are reported and left out.
#[derive(Debug, Args)]
#[command(
    after_help = "An interrupted command can be run again. Alerts and time-series stores are not changed.\n\n\
    Examples:\n  \
    mailgauge rebuild archive/ --from 2026-03-01 --to 2026-04-01 --data /var/lib/mailgauge\n  \
    aws s3 cp s3://BUCKET/2026-03.ndjson.gz - | mailgauge rebuild - --from 2026-03-01 --to 2026-03-28 --table TABLE"
)]
pub struct Options {
    /// Files, folders (all files below), or - for standard input, in every format that aggregate reads
    #[arg(required = true)]
    archive: Vec<PathBuf>,

    /// Replace the numbers of this tenant only. Refused if mail has moved between tenants, because it would then count twice or not at
    /// all
    #[arg(long, value_name = "TENANT", value_parser = store_options::tenant_to_read)]
    tenant: Option<TenantId>,

    /// Start of the range, a full hour in UTC
    #[arg(allow_hyphen_values = true, long, value_name = "TIME")]
    from: TimeArgument,

    /// End of the range (exclusive), a full hour in UTC
    #[arg(allow_hyphen_values = true, long, value_name = "TIME")]
    to: TimeArgument,

    #[command(flatten)]
    store: StoreOptions,

    #[command(flatten)]
    attribution: AttributionOptions,
}

/// Counts the archive, checks it, and replaces the numbers of each tenant.
///
/// # Errors
/// Wrong usage, an archive that cannot be read or does not cover the range, mail that has moved if `--tenant` is given, a store that
/// fails, or a drift other than 0 at the end.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let range = range(options.from.0, options.to.0, SystemClock.now())?;
    let attribution = options.attribution.attribution()?;
    let sources = input::sources(&options.archive)?;
    let runtime = server::runtime()?;
    let standalone = options.store.location.open_with_attribution(&runtime, attribution.clone())?;
    rebuild::check_range(range, &standalone.history, SystemClock.now())?;
    // Before the archive is read: the rebuild replaces only what was committed until now.
    let start = runtime.block_on(standalone.start_of_rebuild())?;
    let counter = runtime.block_on(standalone.archive_counter(range, attribution))?;
    let window = SharedWindow::default();
    let archive = count(&sources, &window, counter)?;
    check_end(&archive, range)?;
    runtime.block_on(async {
        let before = proofs(&standalone, &archive, range).await?;
        let tenants: Vec<TenantId> = match &options.tenant {
            None => before.keys().cloned().collect(),
            Some(only) => {
                check_tenant(only, &archive, &before)?;
                vec![only.clone()]
            }
        };
        check_begin(&standalone, &archive, range, &tenants).await?;
        let subject = options.tenant.as_ref().map_or("*", TenantId::as_str);
        standalone.audit("history.rebuild", subject).await?;
        let progress = ProgressReporter::new(Some(tenants.len() as u64), "tenants");
        let mut table =
            OutputTable::new(["tenant", "events_before", "events_after", "blocks_written", "drift"]);
        let mut drifted = Vec::new();
        for tenant in tenants {
            let summary = standalone.rebuild(&tenant, range, &start, &archive).await?;
            progress.inc(1);
            let held = before.get(&tenant).copied().unwrap_or_default();
            // Tenants without anything in the range would make most of the table.
            if summary == rebuild::RebuildSummary::default() && held.events == 0 {
                continue;
            }
            let after = reconcile(&standalone.store, &tenant, range.from, range.to).await?;
            let counts = [held.aggregated, after.aggregated, summary.blocks].map(|count| json!(count));
            table.push([json!(tenant.as_str())].into_iter().chain(counts).chain([json!(after.drift())]).collect());
            if after.drift() != 0 {
                drifted.push(tenant.to_string());
            }
        }
        progress.finish();
        // Inserting tests membership: an identity that the window already holds is in the archive.
        let twice = start.counted_twice(&standalone.store, |identity| !window.insert(identity)).await?;
        // Printed before the command fails, because the rows say where the drift is.
        options.store.print(&table)?;
        ensure!(
            drifted.is_empty(),
            "what was read and what is counted differ for {}: run mailgauge doctor",
            drifted.join(", ")
        );
        ensure!(
            twice == 0,
            "{twice} events of the archive arrived again while the command ran and are now counted twice: run the command again"
        );
        Ok(())
    })
}

/// The range of whole hours.
///
/// # Errors
/// Wrong usage: a time that is no full hour, an empty range, or one for which no archive can be complete yet.
fn range(from: Timestamp, to: Timestamp, now: Timestamp) -> anyhow::Result<RebuildRange> {
    for (option, time) in [("--from", from), ("--to", to)] {
        let since_hour = time.millis().rem_euclid(HOUR_MS);
        if since_hour != 0 {
            let hour = time.plus_millis(-since_hour);
            return Err(usage_error(format!(
                "{option} {time} is not a full hour in UTC, and numbers are replaced by whole hours: use {hour} or {}",
                hour.plus_millis(HOUR_MS)
            )));
        }
    }
    if from >= to {
        return Err(usage_error("--from must be before --to"));
    }
    if now.millis_since(to) < MUST_REACH_PAST_MS {
        let latest = now.plus_millis(-MUST_REACH_PAST_MS);
        let latest = latest.plus_millis(-latest.millis().rem_euclid(HOUR_MS));
        return Err(usage_error(format!(
            "--to {to} is less than three days ago, and outcomes of mail arrive for as long as that: use {latest} or earlier"
        )));
    }
    let hour = |time: Timestamp| time.minute().hour();
    Ok(RebuildRange { from: hour(from), to: hour(to) })
}

/// Counts all sources and reports what could not be read.
fn count(
    sources: &[Source],
    window: &SharedWindow,
    mut counter: ArchiveCounter,
) -> anyhow::Result<ArchiveCounts> {
    let progress = ProgressReporter::new(sources.iter().map(input::size).sum(), "bytes");
    let mut unreadable = 0;
    let input = OfflineInput { sources, form: InputForm::Auto, by_link: false };
    let records =
        offline::for_each_decoded(input, &progress, &mut |source, offset, decoded| match decoded {
            Decoded::Event(event) => counter.count(event, &mut |identity| window.insert(identity)),
            Decoded::Ignored(_) => {}
            Decoded::Unreadable { reason, .. } => {
                unreadable += 1;
                if unreadable <= MAX_REPORTED {
                    progress.print_status(&format!(
                        "unreadable record in {source}, in the block at byte {offset}: {reason}"
                    ));
                }
            }
        })?;
    progress.finish();
    let archive = counter.finish();
    output::print_status(&format!(
        "{} records read: {} counts in the range or of mail sent in it ({} of them duplicates), {} unreadable",
        output::grouped(records),
        output::grouped(archive.counts),
        output::grouped(archive.duplicates),
        output::grouped(unreadable)
    ));
    ensure!(
        unreadable == 0 || unreadable < records,
        "no record of the archive could be read: see mailgauge aggregate --help for what can be"
    );
    Ok(archive)
}

/// # Errors
/// An archive that does not reach three days past the end of the range.
fn check_end(archive: &ArchiveCounts, range: RebuildRange) -> anyhow::Result<()> {
    if archive.reaches_past(range) {
        return Ok(());
    }
    let Some(newest) = archive.newest else { bail!("the archive holds no event, so nothing was changed") };
    let latest = newest.plus_millis(-MUST_REACH_PAST_MS);
    let latest = latest.plus_millis(-latest.millis().rem_euclid(HOUR_MS));
    let smaller = if latest > range.from.start() {
        format!("name a smaller range, up to --to {latest}, or add the events until then")
    } else {
        "add the events until then".to_owned()
    };
    bail!(
        "the archive ends at {newest}, but must reach three days past the end of the range, to {}, because outcomes of mail arrive \
         for as long as that: {smaller}; nothing was changed",
        range.to.start().plus_millis(MUST_REACH_PAST_MS)
    )
}

/// What is stored of each tenant in the range, also of those that only the archive knows.
async fn proofs(
    standalone: &Standalone,
    archive: &ArchiveCounts,
    range: RebuildRange,
) -> anyhow::Result<BTreeMap<TenantId, Reconciliation>> {
    let mut all: BTreeSet<TenantId> = tenants::list(&standalone.store).await?.into_iter().collect();
    all.extend(archive.tenants.keys().cloned());
    let mut proofs = BTreeMap::new();
    for tenant in all {
        let proof = reconcile(&standalone.store, &tenant, range.from, range.to).await?;
        proofs.insert(tenant, proof);
    }
    Ok(proofs)
}

/// # Errors
/// An archive that begins after events that are stored in the range: they would be gone.
async fn check_begin(
    standalone: &Standalone,
    archive: &ArchiveCounts,
    range: RebuildRange,
    tenants: &[TenantId],
) -> anyhow::Result<()> {
    let Some(oldest) = archive.oldest.map(|oldest| oldest.minute().hour()) else { return Ok(()) };
    if oldest <= range.from {
        return Ok(());
    }
    let end = oldest.min(range.to);
    for tenant in tenants {
        let missing = reconcile(&standalone.store, tenant, range.from, end).await?.aggregated;
        ensure!(
            missing == 0,
            "the archive begins at {}, but {} events of tenant {tenant} before that are stored in the range and would be lost: name a \
             smaller range, from --from {} on, or add the events before; nothing was changed",
            oldest.start(),
            output::grouped(missing),
            oldest.plus(1).start()
        );
    }
    Ok(())
}

/// # Errors
/// A tenant that does not exist or that the archive does not know, or mail that has moved between tenants.
fn check_tenant(
    tenant: &TenantId,
    archive: &ArchiveCounts,
    stored: &BTreeMap<TenantId, Reconciliation>,
) -> anyhow::Result<()> {
    // A mistyped name would be counted as a tenant without mail.
    ensure!(stored.contains_key(tenant), "there is no tenant {tenant}: see mailgauge tenants list");
    let stored: BTreeMap<TenantId, u64> =
        stored.iter().map(|(tenant, proof)| (tenant.clone(), proof.aggregated)).collect();
    if let Some((from, to)) = archive.moved(&stored) {
        bail!(
            "under today's mappings the archive has less mail of tenant {from} than is stored, and more of tenant {to}: mail has moved \
             between tenants, and replacing one of them alone could count it twice or not at all; leave --tenant out, with an archive of \
             all tenants; nothing was changed"
        );
    }
    let held = stored.get(tenant).copied().unwrap_or(0);
    ensure!(
        held == 0 || archive.tenants.contains_key(tenant),
        "the archive has no mail of tenant {tenant} in the range, so the {} events that are stored would be lost: name an archive that \
         has it; nothing was changed",
        output::grouped(held)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse::<TimeArgument>().unwrap().0
    }

    #[test]
    fn range_is_of_whole_hours_that_are_three_days_ago() {
        let now = at("2026-04-10T12:34:56Z");
        let range = |from: &str, to: &str| {
            range(at(from), at(to), now).map_err(|error| {
                assert!(error.is::<crate::usage_error::UsageError>(), "{error}");
                error.to_string()
            })
        };
        let hours = range("2026-03-01", "2026-04-01T05:00:00Z").unwrap();
        assert_eq!((hours.from.start(), hours.to.start()), (at("2026-03-01"), at("2026-04-01T05:00:00Z")));
        for (from, to, names) in [
            ("2026-03-01T00:30:00Z", "2026-04-01", "use 2026-03-01T00:00:00Z or 2026-03-01T01:00:00Z"),
            ("2026-03-01", "2026-04-01T05:00:00.001Z", "--to 2026-04-01T05:00:00.001Z is not a full hour"),
            // Half an hour ahead of UTC: midnight there is no full hour here.
            ("2026-03-01T00:00:00+05:30", "2026-04-01", "--from 2026-02-28T18:30:00Z"),
            ("2026-04-01", "2026-03-01", "--from must be before --to"),
            ("2026-03-01", "2026-03-01", "--from must be before --to"),
            ("2026-03-01", "2026-04-07T13:00:00Z", "use 2026-04-07T12:00:00Z or earlier"),
        ] {
            let refused = range(from, to).unwrap_err();
            assert!(refused.contains(names), "{from} {to}: {refused}");
        }
        range("2026-03-01", "2026-04-07T12:00:00Z").unwrap();
    }

    #[test]
    fn archive_that_ends_too_early_is_refused_with_a_smaller_range() {
        let range = range(at("2026-03-01"), at("2026-04-01"), at("2026-05-01")).unwrap();
        let refused = |newest: Option<&str>| {
            let archive = ArchiveCounts { newest: newest.map(at), ..ArchiveCounts::default() };
            check_end(&archive, range).map_err(|error| error.to_string())
        };
        assert_eq!(refused(Some("2026-04-04")), Ok(()));
        let smaller = refused(Some("2026-04-03T23:59:59Z")).unwrap_err();
        assert!(
            smaller.contains("up to --to 2026-03-31T23:00:00Z") && smaller.contains("2026-04-04"),
            "{smaller}"
        );
        let none = refused(Some("2026-03-02")).unwrap_err();
        assert!(!none.contains("--to") && none.contains("add the events"), "{none}");
        assert!(refused(None).unwrap_err().contains("no event"));
    }
}
