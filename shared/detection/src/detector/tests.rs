//! The detector over generated days: what it reports, and above all when it reports nothing.

use simulator::random::Random;

use super::*;
use crate::alert::{AlertKind, AlertState};

const PROVIDERS: [&str; 3] = ["gmail", "yahoo", "other"];
/// Buckets of five minutes in a day.
const DAY: u32 = 288;
/// 2026-01-05, a Monday.
const START: u32 = 29_459_520;

/// Noise between -1 and 1 that depends only on the series and the bucket, so that a part of a run can be repeated.
fn scatter(bucket: u32, series: usize) -> f64 {
    2.0 * Random::from_seed((series as u64) << 32 | u64::from(bucket)).unit() - 1.0
}

/// A normal bucket of one series: about `mail` messages sent, 1 % bounced, 20 % opened at once.
fn quiet(bucket: u32, series: usize, mail: f64) -> Counts {
    let sends = (mail * (1.0 + 0.2 * scatter(bucket, series))).round();
    let bounced = (sends * 0.01 * (1.0 + scatter(bucket, series + 1000))).round();
    let opens = (sends * 0.2 * (1.0 + 0.3 * scatter(bucket, series + 2000))).round();
    Counts { sends, deliveries: sends - bounced, bounces_permanent: bounced, opens, ..Counts::default() }
}

fn names(tenants: usize) -> Vec<String> {
    (0..tenants).map(|index| format!("t{index:03}")).collect()
}

/// Observes some buckets of several tenants; `change` changes the counts of (bucket, tenant, provider).
fn run(
    detector: &mut Detector,
    tenants: &[String],
    buckets: std::ops::Range<u32>,
    mail: f64,
    change: impl Fn(u32, usize, usize, &mut Counts),
) -> Vec<Change> {
    let mut changes = Vec::new();
    for bucket in buckets {
        let mut rows = Vec::new();
        for (tenant, name) in tenants.iter().enumerate() {
            for (provider, provider_name) in PROVIDERS.iter().enumerate() {
                let mut counts = quiet(bucket, tenant * 10 + provider, mail);
                change(bucket, tenant, provider, &mut counts);
                rows.push(BucketRow {
                    tenant: name,
                    provider: provider_name,
                    campaign: "",
                    counts,
                    times: None,
                });
            }
        }
        let start = Minute(START + bucket * 5);
        changes.extend(detector.observe(&Bucket { start, rows: &rows }));
    }
    changes
}

fn block(counts: &mut Counts) {
    let refused = (counts.deliveries * 0.6).round();
    counts.deliveries -= refused;
    counts.bounces_permanent += refused;
}

/// The changes in which alerts fired, without escalations.
fn firing(changes: &[Change]) -> Vec<&Change> {
    changes.iter().filter(|change| change.state == AlertState::Firing && !change.escalated).collect()
}

#[test]
fn normal_weeks_have_no_alert() {
    let mut detector = Detector::new(5, AlertRules::default());
    let changes = run(&mut detector, &names(3), 0..14 * DAY, 80.0, |_, _, _, _| {});
    assert_eq!(changes, []);
}

#[test]
fn seasons_are_not_learned_on_the_first_day() {
    let mut detector = Detector::new(5, AlertRules::default());
    // Much of the mail is opened, over the day after it came; so on the very first day there are few opens.
    let begin = DAY / 4;
    let wave =
        |bucket: u32| 1.0 + 0.9 * (std::f64::consts::TAU * f64::from(bucket) / f64::from(DAY) + 4.5).sin();
    let changes = run(&mut detector, &names(1), begin..begin + 7 * DAY, 40.0, |bucket, _, _, counts| {
        let sends = (counts.sends * wave(bucket)).round();
        let of_the_day = (begin..bucket).rev().take(DAY as usize).map(wave).sum::<f64>() / f64::from(DAY);
        let opens = (0.6 * counts.sends * of_the_day).round();
        *counts = Counts { sends, deliveries: sends, opens, ..Counts::default() };
    });
    assert_eq!(changes, []);
}

#[test]
fn late_deliveries_after_a_burst_raise_no_alert() {
    let mut detector = Detector::new(5, AlertRules::default());
    let changes = run(&mut detector, &names(5), 0..14 * DAY, 100.0, |bucket, tenant, _, counts| {
        let begin = 50 * u32::try_from(tenant).unwrap();
        let mail = |bucket: u32| if (begin..begin + 24).contains(&(bucket % DAY)) { 20.0 } else { 0.1 };
        // A fifth of the other tenants' mail is delivered half an hour late; that of the first tenant comes at once.
        let late = if tenant == 0 { mail(bucket) } else { mail(bucket + DAY - 6) };
        let deliveries = counts.sends * (0.8 * mail(bucket) + 0.2 * late);
        let sends = (counts.sends * mail(bucket)).round();
        *counts = Counts { sends, deliveries: deliveries.round(), ..Counts::default() };
    });
    let summaries: Vec<&str> = changes.iter().map(|change| change.summary.as_str()).collect();
    assert!(summaries.is_empty(), "{summaries:#?}");
}

#[test]
fn block_of_one_tenant_at_one_provider_fires_in_its_first_bucket_and_is_resolved() {
    let mut detector = Detector::new(5, AlertRules::default());
    let begin = 5 * DAY;
    let changes = run(&mut detector, &names(4), 0..6 * DAY, 100.0, |bucket, tenant, provider, counts| {
        if (begin..begin + 24).contains(&bucket) && tenant == 1 && provider == 0 {
            block(counts);
        }
    });
    let fired = firing(&changes);
    assert_eq!(fired.len(), 1, "{changes:#?}");
    assert_eq!(fired[0].tenant.as_str(), "t001");
    assert_eq!(fired[0].scope["provider"], "gmail");
    assert_eq!(fired[0].started_at, Minute(START + begin * 5).start().to_string());
    assert_eq!(fired[0].updated_at, Minute(START + begin * 5 + 5).start().to_string());
    assert_eq!(changes.last().unwrap().state, AlertState::Resolved);
    assert_eq!(changes.last().unwrap().id, fired[0].id);
}

/// Observes eight days of one tenant with two small recurring campaigns among much other mail; `change` changes the counts of (bucket,
/// campaign).
fn run_campaigns(change: impl Fn(u32, &str, &mut Counts)) -> Vec<Change> {
    let mut detector = Detector::new(5, AlertRules::default());
    let mut changes = Vec::new();
    for bucket in 0..8 * DAY {
        let mails = [("", 600.0), ("receipts", 60.0), ("resets", 20.0)];
        let counts = mails.iter().enumerate().map(|(series, (campaign, mail))| {
            let mut counts = quiet(bucket, series, *mail);
            change(bucket, campaign, &mut counts);
            (*campaign, counts)
        });
        let counts: Vec<_> = counts.collect();
        let row = |(campaign, counts): &(&'static str, Counts)| {
            let (tenant, provider) = ("acme", "gmail");
            BucketRow { tenant, provider, campaign, counts: *counts, times: None }
        };
        let rows: Vec<BucketRow<'_>> = counts.iter().map(row).collect();
        let start = Minute(START + bucket * 5);
        changes.extend(detector.observe(&Bucket { start, rows: &rows }));
    }
    changes
}

#[test]
fn trouble_of_a_small_recurring_campaign_is_reported_for_the_campaign() {
    let begin = 6 * DAY + 100;
    let changes = run_campaigns(|bucket, campaign, counts| {
        if campaign == "resets" && (begin..begin + 24).contains(&bucket) {
            let refused = (counts.deliveries * 0.15).round();
            counts.deliveries -= refused;
            counts.bounces_permanent += refused;
        }
    });
    let fired = firing(&changes);
    assert_eq!(fired.len(), 1, "{changes:#?}");
    assert_eq!((fired[0].tenant.as_str(), fired[0].scope["campaign"].as_str()), ("acme", "resets"));
    assert_eq!(fired[0].scope.len(), 1);
    assert!(fired[0].summary.contains("for acme in campaign resets"), "{}", fired[0].summary);
    assert_eq!(fired[0].cause[0].filter["campaign"], "resets");
    assert_eq!(changes.last().unwrap().state, AlertState::Resolved);
}

#[test]
fn trouble_of_all_campaigns_is_one_alert_about_all_mail() {
    let begin = 6 * DAY + 100;
    let changes = run_campaigns(|bucket, _, counts| {
        if (begin..begin + 24).contains(&bucket) {
            block(counts);
        }
    });
    let fired = firing(&changes);
    assert_eq!(fired.len(), 1, "{changes:#?}");
    assert!(!fired[0].scope.contains_key("campaign"), "{:?}", fired[0].scope);
}

/// The alerts on the volume of a tenant whose steady mail and whose bursts have campaigns that are named by the day. On day 20 there is
/// five times the steady mail for two hours.
fn run_bursts(steady: impl Fn(u32) -> String, burst: impl Fn(u32) -> String) -> Vec<Change> {
    let mut detector = Detector::new(5, AlertRules::default());
    let mut changes = Vec::new();
    let spike = 20 * DAY + 150..20 * DAY + 174;
    for bucket in 0..24 * DAY {
        let (day, of_the_day) = (bucket / DAY, bucket % DAY);
        let mut rows = Vec::new();
        let factor = if spike.contains(&bucket) { 5.0 } else { 1.0 };
        rows.push((steady(day), quiet(bucket, 0, 60.0 * factor)));
        // One burst of eight to twelve times the usual mail each day, always at another time.
        let begin = 40 + day * 67 % 120;
        if (begin..begin + 9).contains(&of_the_day) {
            rows.push((burst(day), quiet(bucket, 1, 600.0 + 120.0 * scatter(day, 2))));
        }
        let row = |(campaign, counts)| {
            let (tenant, provider) = ("acme", "gmail");
            BucketRow { tenant, provider, campaign, counts, times: None }
        };
        let rows: Vec<BucketRow<'_>> =
            rows.iter().map(|(campaign, counts)| row((campaign, *counts))).collect();
        changes.extend(detector.observe(&Bucket { start: Minute(START + bucket * 5), rows: &rows }));
    }
    changes.retain(|change| change.metric == "sends" && change.state == AlertState::Firing);
    changes
}

#[test]
fn only_a_spike_of_steady_mail_fires_and_only_where_bursts_can_be_distinguished() {
    let none = |_: u32| String::new();
    let dated = |day: u32| format!("news-{day}");
    for (what, alerts, expected) in [
        ("no campaign is named", run_bursts(none, none), 0),
        ("bursts are named", run_bursts(none, dated), 1),
        ("all are named, with new names each day", run_bursts(|day| format!("day-{day}"), dated), 0),
        ("all are named", run_bursts(|_| "receipts".to_owned(), dated), 1),
        (
            "all are named, bursts with one name",
            run_bursts(|_| "receipts".to_owned(), |_| "news".to_owned()),
            1,
        ),
    ] {
        assert_eq!(firing(&alerts).len(), expected, "{what}: {alerts:#?}");
        assert!(
            alerts.iter().all(|alert| alert.fired_at.starts_with("2026-01-25T12")),
            "{what}: {alerts:#?}"
        );
    }
}

#[test]
fn block_of_many_tenants_is_one_alert() {
    let mut detector = Detector::new(5, AlertRules::default());
    let begin = 4 * DAY;
    let changes = run(&mut detector, &names(500), 0..4 * DAY + 60, 20.0, |bucket, _, provider, counts| {
        if bucket >= begin && provider == 0 {
            block(counts);
        }
    });
    let fired = firing(&changes);
    assert_eq!(fired.len(), 1, "{:#?}", fired.iter().map(|change| &change.summary).collect::<Vec<_>>());
    assert_eq!(fired[0].tenant, AlertScope::Platform);
    assert_eq!(fired[0].scope["provider"], "gmail");
}

#[test]
fn bucket_that_comes_twice_or_too_late_changes_nothing() {
    let tenants = names(2);
    let mut once = Detector::new(5, AlertRules::default());
    run(&mut once, &tenants, 0..DAY, 50.0, |_, _, _, _| {});
    let mut twice = once.clone();
    run(&mut twice, &tenants, DAY - 1..DAY, 50.0, |_, _, _, _| {});
    run(&mut twice, &tenants, 5..9, 50.0, |_, _, _, counts| block(counts));
    assert_eq!(once, twice);
}

#[test]
fn restored_detector_continues_as_if_it_had_not_been_stored() {
    let tenants = names(2);
    let trouble = |bucket: u32, tenant: usize, provider: usize, counts: &mut Counts| {
        if (3 * DAY + 1..3 * DAY + 30).contains(&bucket) && tenant == 0 && provider == 1 {
            block(counts);
        }
    };
    let mut uninterrupted = Detector::new(5, AlertRules::default());
    run(&mut uninterrupted, &tenants, 0..3 * DAY + 2, 50.0, trouble);
    let platform =
        crate::state::decode(&crate::state::encode(uninterrupted.platform_state()).unwrap()).unwrap();
    let stored = crate::state::decode(&crate::state::encode(uninterrupted.tenants()).unwrap()).unwrap();
    let mut restored = Detector::restore(platform, stored, AlertRules::default());
    let rest = 3 * DAY + 2..3 * DAY + 100;
    let changes = run(&mut uninterrupted, &tenants, rest.clone(), 50.0, trouble);
    assert!(!changes.is_empty());
    assert_eq!(run(&mut restored, &tenants, rest, 50.0, trouble), changes);
}

#[test]
fn silence_of_one_tenant_is_a_silence_alert_and_of_all_a_pipeline_alert() {
    let tenants = names(4);
    let mut detector = Detector::new(5, AlertRules::default());
    run(&mut detector, &tenants, 0..12 * DAY, 60.0, |_, _, _, _| {});
    let mut other = detector.clone();
    let nothing = |_: u32, _: usize, _: usize, counts: &mut Counts| *counts = Counts::default();
    let changes = run(&mut detector, &tenants, 12 * DAY..12 * DAY + 12, 60.0, nothing);
    let fired = firing(&changes);
    assert_eq!(fired.len(), 1, "{fired:#?}");
    assert_eq!((fired[0].kind, fired[0].tenant.as_str()), (AlertKind::Pipeline, "*"));
    let changes = run(&mut other, &tenants, 12 * DAY..12 * DAY + 12, 60.0, |_, tenant, _, counts| {
        if tenant == 2 {
            *counts = Counts::default();
        }
    });
    let fired = firing(&changes);
    assert_eq!(fired.len(), 1, "{fired:#?}");
    assert_eq!((fired[0].kind, fired[0].tenant.as_str()), (AlertKind::Silence, "t002"));
}

/// The silence and pipeline alerts of some weeks in buckets of `bucket` minutes: the minutes since the first Monday at which they fired,
/// and what they say. There is mail in the hours that `has_mail` accepts.
fn silences(tenants: usize, bucket: u32, weeks: u32, has_mail: impl Fn(u32) -> bool) -> Vec<(u32, String)> {
    let tenants = names(tenants);
    let mut detector = Detector::new(bucket, AlertRules::default());
    let mut fired = Vec::new();
    for minute in (0..weeks * 7 * 24 * 60).step_by(usize::try_from(bucket).unwrap()) {
        let mut rows = Vec::new();
        // Buckets without events have no rows, as in stored counts.
        for (tenant, name) in tenants.iter().enumerate().filter(|_| has_mail(minute / 60)) {
            let counts = quiet(minute / bucket, tenant, 60.0 * f64::from(bucket));
            rows.push(BucketRow { tenant: name, provider: "gmail", campaign: "", counts, times: None });
        }
        let changes = detector.observe(&Bucket { start: Minute(START + minute), rows: &rows });
        let fresh = firing(&changes).into_iter();
        let silence = fresh.filter(|change| matches!(change.kind, AlertKind::Pipeline | AlertKind::Silence));
        fired.extend(silence.map(|change| (minute, format!("{}: {}", change.tenant, change.summary))));
    }
    fired
}

/// No tenant sends from 23:00 to 06:00, in a time zone two hours ahead of UTC.
fn by_day(hour: u32) -> bool {
    (4..21).contains(&(hour % 24))
}

#[test]
fn hours_without_mail_of_any_tenant_are_usual_from_the_second_time_on() {
    let on_weekdays = |hour: u32| (hour + 2) / 24 % 7 < 5;
    for (bucket, weeks, tenants) in [(60, 8, 1), (60, 8, 4), (10, 3, 4)] {
        let nights = silences(tenants, bucket, weeks, by_day);
        assert!(nights.len() <= 1, "{bucket} minutes, {tenants} tenants: {nights:#?}");
        assert!(nights.iter().all(|(minute, _)| *minute < 36 * 60), "{nights:?}");
        let weekends = silences(tenants, bucket, weeks, on_weekdays);
        assert!(weekends.len() <= 2, "{bucket} minutes, {tenants} tenants: {weekends:#?}");
        assert!(weekends.iter().all(|(minute, _)| *minute < 7 * 24 * 60), "{weekends:?}");
        let both = silences(tenants, bucket, weeks, |hour| by_day(hour) && on_weekdays(hour));
        assert!(both.len() <= 3, "{bucket} minutes, {tenants} tenants: {both:#?}");
        assert!(both.iter().all(|(minute, _)| *minute < 7 * 24 * 60), "{both:?}");
    }
}

#[test]
fn outage_is_found_as_soon_where_nights_are_silent() {
    // Noon to three on a Wednesday.
    let outage =
        |weeks: u32, hour: u32| (0..3).contains(&(i64::from(hour) - i64::from((weeks - 1) * 168 + 60)));
    for (bucket, weeks, found) in [(60, 8, 60), (10, 3, 10)] {
        let noon = ((weeks - 1) * 168 + 60) * 60;
        let fired = silences(4, bucket, weeks, |hour| by_day(hour) && !outage(weeks, hour));
        assert_eq!(fired.last().map(|(minute, _)| *minute), Some(noon + found), "{fired:#?}");
        let of_one = silences(1, bucket, weeks, |hour| by_day(hour) && !outage(weeks, hour));
        let of_one: Vec<u32> = of_one.into_iter().map(|(minute, _)| minute).collect();
        assert!(of_one.last().is_some_and(|minute| (noon..noon + 180).contains(minute)), "{of_one:?}");
    }
}

#[test]
fn open_alert_stays_open_while_counts_are_missing() {
    let tenants = names(4);
    let mut detector = Detector::new(5, AlertRules::default());
    let begin = 5 * DAY;
    let gap = begin + 24..begin + 60;
    let changes = run(&mut detector, &tenants, 0..begin + 72, 60.0, |bucket, tenant, provider, counts| {
        if gap.contains(&bucket) {
            *counts = Counts::default();
        } else if bucket >= begin && tenant == 1 && provider == 0 {
            block(counts);
        }
    });
    let of_the_block: Vec<_> = changes.iter().filter(|change| change.tenant.as_str() == "t001").collect();
    // The alert escalates, but it neither ends nor fires again.
    assert!(of_the_block.iter().all(|change| change.state == AlertState::Firing), "{of_the_block:#?}");
    let of_the_block = of_the_block.iter().filter(|change| !change.escalated).count();
    assert_eq!(of_the_block, 1, "{changes:#?}");
}

#[test]
fn state_stays_finite_and_small_with_huge_counts_and_long_names() {
    let mut detector = Detector::new(1, AlertRules::default());
    let name = "x".repeat(10_000);
    for minute in 0..300_u32 {
        let sends = if minute.is_multiple_of(7) { 1e12 } else { 0.0 };
        let counts =
            Counts { sends, opens: 1e12, complaints: sends, queue_depth: Some(sends), ..Counts::default() };
        let row = BucketRow { tenant: "t", provider: &name, campaign: &name, counts, times: None };
        detector.observe(&Bucket { start: Minute(START + minute), rows: &[row] });
    }
    let tenant = &detector.tenants()["t"];
    assert!(tenant.providers.is_empty() && tenant.campaigns.is_empty());
}

#[test]
fn threshold_accepts_the_configured_number_of_false_alarms() {
    let threshold_for = |accepted: f64, bucket_minutes: u32| {
        let rules = AlertRules { false_alerts_per_tenant_week: accepted, ..AlertRules::default() };
        threshold(&rules, bucket_minutes)
    };
    for (accepted, bucket_minutes) in [(0.1, 1), (0.1, 5), (0.1, 60), (1.0, 5), (10.0, 60)] {
        let buckets = 10_080.0 / f64::from(bucket_minutes);
        let false_alarms = TESTS_PER_TENANT * buckets * (-threshold_for(accepted, bucket_minutes)).exp();
        assert!((false_alarms / accepted - 1.0).abs() < 1e-9, "{accepted} {bucket_minutes}: {false_alarms}");
    }
    assert!(threshold_for(0.0, 5).is_finite(), "invalid rules do not break the detector");
}

#[test]
fn block_is_not_reported_while_sends_are_missing_nor_afterwards() {
    // A block on the ninth day, in mail whose sends are counted or not. Opens are no share of the sends.
    let fired = |sent: f64| {
        let mut detector = Detector::new(5, AlertRules::default());
        let changes = run(&mut detector, &names(1), 0..11 * DAY, 200.0, |bucket, _, provider, counts| {
            if (8 * DAY..8 * DAY + 36).contains(&bucket) {
                counts.sends *= sent;
                if provider == 0 {
                    block(counts);
                }
            }
        });
        firing(&changes).iter().map(|change| change.metric.clone()).collect::<Vec<_>>()
    };
    let by_sends = |metrics: &[String]| {
        metrics
            .iter()
            .any(|metric| ["bounce_rate", "hard_bounce_rate", "delivery_rate"].contains(&metric.as_str()))
    };
    assert!(by_sends(&fired(1.0)), "{:?}", fired(1.0));
    assert!(!by_sends(&fired(0.0)), "{:?}", fired(0.0));
    assert!(!by_sends(&fired(0.5)), "{:?}", fired(0.5));
}
