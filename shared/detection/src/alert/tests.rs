//! The life of an alert, minute by minute.

use event::TenantId;

use super::*;
use event::AlertScope;

fn acme() -> AlertScope {
    AlertScope::Tenant(TenantId::new("acme").unwrap())
}

fn finding(severity: Severity, hold_minutes: u32) -> Finding {
    Finding {
        key: AlertKey::at_provider(&acme(), Some("gmail".to_owned()), AlertGroup::Delivery),
        content: AlertContent {
            kind: AlertKind::Anomaly,
            severity,
            metric: "bounce_rate".to_owned(),
            value: 0.5,
            expected: None,
            limit: None,
            numerator: 50.0,
            denominator: Some(100.0),
            started: Minute(100),
            window_minutes: 5,
            cause: Vec::new(),
            summary: "Bounces are high.".to_owned(),
        },
        hold_minutes,
    }
}

fn run(registry: &mut AlertRegistry, from: u32, until: u32, bad: bool) -> Vec<(u32, AlertState, u32)> {
    let mut observed = Vec::new();
    for now in (from..until).step_by(5) {
        let findings = if bad { vec![finding(Severity::Warning, 0)] } else { Vec::new() };
        for change in registry.apply(Minute(now), findings, &AlertRules::default()) {
            observed.push((now, change.state, change.sequence));
        }
    }
    observed
}

#[test]
fn alert_fires_once_and_is_resolved_once() {
    let mut registry = AlertRegistry::default();
    assert_eq!(run(&mut registry, 100, 200, true), [(100, AlertState::Firing, 1)]);
    assert_eq!(run(&mut registry, 200, 400, false), [(225, AlertState::Resolved, 2)]);
    assert_eq!(run(&mut registry, 400, 3000, false), []);
    assert_eq!(registry, AlertRegistry::default(), "a resolved alert is forgotten in the end");
}

#[test]
fn trouble_that_comes_back_keeps_its_id_and_takes_longer_to_end() {
    let mut registry = AlertRegistry::default();
    let first = registry.apply(Minute(100), vec![finding(Severity::Warning, 0)], &AlertRules::default());
    run(&mut registry, 105, 200, false);
    let again = registry.apply(Minute(200), vec![finding(Severity::Warning, 0)], &AlertRules::default());
    assert_eq!(first[0].id, again[0].id);
    assert_eq!(again[0].sequence, 3);
    assert_eq!(run(&mut registry, 205, 400, false), [(260, AlertState::Resolved, 4)]);
}

#[test]
fn alert_that_fires_again_within_a_day_has_a_new_time_of_firing() {
    let rules = AlertRules::default();
    for (later, keeps_id) in [(3 * 60, true), (20 * 60, true), (30 * 60, false)] {
        let mut registry = AlertRegistry::default();
        let first = registry.apply(Minute(100), vec![finding(Severity::Warning, 0)], &rules).remove(0);
        assert!(!first.recurred && !first.escalated);
        run(&mut registry, 105, 100 + later, false);
        let again =
            registry.apply(Minute(100 + later), vec![finding(Severity::Warning, 0)], &rules).remove(0);
        assert_eq!(
            (again.state, again.recurred, again.id == first.id),
            (AlertState::Firing, keeps_id, keeps_id)
        );
        assert_eq!(again.fired_at, Minute(100 + later).start().to_string(), "{later}");
        // The changes that follow belong to the second time.
        let resolved =
            (105 + later..).step_by(5).find_map(|now| registry.apply(Minute(now), Vec::new(), &rules).pop());
        let resolved = resolved.unwrap();
        assert_eq!((resolved.state, &resolved.fired_at), (AlertState::Resolved, &again.fired_at));
        assert!(!resolved.recurred);
    }
}

#[test]
fn trouble_that_comes_back_after_the_cool_down_is_held_like_new_trouble() {
    let mut registry = AlertRegistry::default();
    registry.apply(Minute(100), vec![finding(Severity::Warning, 0)], &AlertRules::default());
    run(&mut registry, 105, 1000, false);
    let held = |registry: &mut AlertRegistry, now| {
        registry.apply(Minute(now), vec![finding(Severity::Warning, 10)], &AlertRules::default())
    };
    assert_eq!(held(&mut registry, 1000), []);
    // The finding passes, and the resolved alert is kept.
    assert_eq!(run(&mut registry, 1005, 1100, false), []);
    assert_eq!(held(&mut registry, 1100), []);
    assert_eq!(held(&mut registry, 1105), []);
    let again = held(&mut registry, 1110);
    assert_eq!((again[0].sequence, again[0].recurred), (3, true));
}

#[test]
fn open_alert_reminds_once_a_day_unless_it_is_acknowledged() {
    let mut registry = AlertRegistry::default();
    let day = 24 * 60;
    assert_eq!(run(&mut registry, 100, 100 + 2 * day, true).len(), 2);
    let id = registry.alerts.values().next().unwrap().id.clone();
    assert!(registry.acknowledge(&id));
    assert!(!registry.acknowledge("al_0"));
    assert_eq!(run(&mut registry, 100 + 2 * day, 100 + 5 * day, true), []);
}

#[test]
fn escalation_is_notified_immediately_and_only_once() {
    let mut registry = AlertRegistry::default();
    let rules = AlertRules::default();
    let fired = registry.apply(Minute(100), vec![finding(Severity::Info, 0)], &rules).remove(0);
    let mut changes = Vec::new();
    // The trouble gets worse, better and worse again while the alert is open.
    for (now, severity) in [
        (101, Severity::Warning),
        (102, Severity::Info),
        (103, Severity::Warning),
        (104, Severity::Critical),
        (105, Severity::Warning),
        (106, Severity::Critical),
    ] {
        changes.extend(registry.apply(Minute(now), vec![finding(severity, 0)], &rules));
    }
    let observed: Vec<_> = changes.iter().map(|change| (change.sequence, change.severity)).collect();
    assert_eq!(observed, [(2, Severity::Warning), (3, Severity::Critical)]);
    for change in &changes {
        assert_eq!((change.state, change.escalated, change.recurred), (AlertState::Firing, true, false));
        assert_eq!((&change.id, &change.fired_at), (&fired.id, &fired.fired_at));
    }
    // The end is notified with the highest severity that was notified.
    let resolved = registry.apply(Minute(200), Vec::new(), &rules).remove(0);
    assert_eq!(
        (resolved.state, resolved.severity, resolved.sequence),
        (AlertState::Resolved, Severity::Critical, 4)
    );
}

#[test]
fn escalation_is_notified_although_the_alert_is_acknowledged() {
    let mut registry = AlertRegistry::default();
    let fired = registry.apply(Minute(100), vec![finding(Severity::Warning, 0)], &AlertRules::default());
    assert!(registry.acknowledge(&fired[0].id));
    let worse = registry.apply(Minute(101), vec![finding(Severity::Critical, 0)], &AlertRules::default());
    assert!(worse[0].escalated);
    // The acknowledgement still holds, so there is no reminder.
    assert_eq!(run(&mut registry, 102, 102 + 2 * 24 * 60, true), []);
}

#[test]
fn held_finding_fires_only_if_it_lasts() {
    let mut registry = AlertRegistry::default();
    assert!(
        registry.apply(Minute(100), vec![finding(Severity::Info, 10)], &AlertRules::default()).is_empty()
    );
    assert!(
        registry.apply(Minute(105), vec![finding(Severity::Info, 10)], &AlertRules::default()).is_empty()
    );
    assert_eq!(
        registry.apply(Minute(110), vec![finding(Severity::Info, 10)], &AlertRules::default()).len(),
        1
    );
    let mut registry = AlertRegistry::default();
    registry.apply(Minute(100), vec![finding(Severity::Info, 10)], &AlertRules::default());
    run(&mut registry, 105, 130, false);
    assert_eq!(registry, AlertRegistry::default());
}

#[test]
fn nothing_fires_in_maintenance() {
    let rules = AlertRules {
        maintenance: vec![crate::rules::Maintenance { tenant: None, from: Minute(0), until: Minute(1000) }],
        ..AlertRules::default()
    };
    let mut registry = AlertRegistry::default();
    assert!(registry.apply(Minute(999), vec![finding(Severity::Critical, 0)], &rules).is_empty());
    assert_eq!(registry.apply(Minute(1000), vec![finding(Severity::Critical, 0)], &rules).len(), 1);
}

#[test]
fn missing_counts_keep_every_alert_open_except_the_pipeline_alert() {
    let mut registry = AlertRegistry::default();
    let pipeline = Finding {
        key: AlertKey::all_mail(&AlertScope::Platform, AlertGroup::Pipeline),
        ..finding(Severity::Critical, 0)
    };
    registry.apply(Minute(100), vec![finding(Severity::Warning, 0), pipeline], &AlertRules::default());
    for now in 101..200 {
        registry.keep_open(Minute(now));
        registry.apply(Minute(now), Vec::new(), &AlertRules::default());
    }
    let firing: Vec<AlertGroup> = registry.firing().map(|key| key.group).collect();
    assert_eq!(firing, [AlertGroup::Delivery]);
}

#[test]
fn alert_explains_related_findings_for_a_while_after_its_end() {
    let mut registry = AlertRegistry::default();
    registry.apply(Minute(100), vec![finding(Severity::Warning, 0)], &AlertRules::default());
    run(&mut registry, 105, 200, false);
    let key = AlertKey::at_provider(&acme(), Some("gmail".to_owned()), AlertGroup::Delivery);
    let other = AlertKey::at_provider(&acme(), Some("yahoo".to_owned()), AlertGroup::Delivery);
    let aftermath_minutes = AlertGroup::Delivery.aftermath_minutes();
    for (now, explains) in [(200, true), (99 + aftermath_minutes, true), (100 + aftermath_minutes, false)] {
        assert_eq!(registry.explains(&key, Minute(now)), explains, "{now}");
        assert_eq!(registry.has_recent(AlertGroup::Delivery, Minute(now)), explains, "{now}");
        assert_eq!(registry.is_reported_elsewhere(&other, Minute(now)), explains, "{now}");
        assert!(
            !registry.is_reported_elsewhere(&key, Minute(now)),
            "an alert does not count as reported elsewhere because of itself"
        );
    }
}
