//! The life of an alert, minute by minute.

use super::*;

fn finding(severity: Severity, hold: u32) -> Finding {
    Finding {
        key: AlertKey::of("acme", Some("gmail".to_owned()), AlertGroup::Delivery),
        content: AlertContent {
            kind: AlertKind::Anomaly,
            severity,
            metric: "bounce_rate".to_owned(),
            value: 0.5,
            expected: None,
            limit: None,
            numerator: 50.0,
            denominator: Some(100.0),
            started: 100,
            window: 5,
            cause: Vec::new(),
            summary: "Bounces are high.".to_owned(),
        },
        hold,
    }
}

fn run(registry: &mut AlertRegistry, from: u32, until: u32, bad: bool) -> Vec<(u32, State, u32)> {
    let mut observed = Vec::new();
    for now in (from..until).step_by(5) {
        let findings = if bad { vec![finding(Severity::Warning, 0)] } else { Vec::new() };
        for change in registry.apply(now, findings, &Rules::default()) {
            observed.push((now, change.state, change.sequence));
        }
    }
    observed
}

#[test]
fn an_alert_fires_once_and_is_resolved_once() {
    let mut registry = AlertRegistry::default();
    assert_eq!(run(&mut registry, 100, 200, true), [(100, State::Firing, 1)]);
    assert_eq!(run(&mut registry, 200, 400, false), [(225, State::Resolved, 2)]);
    assert_eq!(run(&mut registry, 400, 3000, false), []);
    assert_eq!(registry, AlertRegistry::default(), "nothing is kept of what is over");
}

#[test]
fn trouble_that_comes_back_keeps_its_id_and_takes_longer_to_end() {
    let mut registry = AlertRegistry::default();
    let first = registry.apply(100, vec![finding(Severity::Warning, 0)], &Rules::default());
    run(&mut registry, 105, 200, false);
    let again = registry.apply(200, vec![finding(Severity::Warning, 0)], &Rules::default());
    assert_eq!(first[0].id, again[0].id);
    assert_eq!(again[0].sequence, 3);
    assert_eq!(run(&mut registry, 205, 400, false), [(260, State::Resolved, 4)]);
}

#[test]
fn an_alert_that_fires_again_within_a_day_has_a_new_time_of_firing() {
    let rules = Rules::default();
    for (later, keeps_id) in [(3 * 60, true), (20 * 60, true), (30 * 60, false)] {
        let mut registry = AlertRegistry::default();
        let first = registry.apply(100, vec![finding(Severity::Warning, 0)], &rules).remove(0);
        assert!(!first.recurred && !first.escalated);
        run(&mut registry, 105, 100 + later, false);
        let again = registry.apply(100 + later, vec![finding(Severity::Warning, 0)], &rules).remove(0);
        assert_eq!((again.state, again.recurred, again.id == first.id), (State::Firing, keeps_id, keeps_id));
        assert_eq!(again.fired_at, Minute(100 + later).start().to_string(), "{later}");
        // What follows belongs to the second time.
        let resolved =
            (105 + later..).step_by(5).find_map(|now| registry.apply(now, Vec::new(), &rules).pop());
        let resolved = resolved.unwrap();
        assert_eq!((resolved.state, &resolved.fired_at), (State::Resolved, &again.fired_at));
        assert!(!resolved.recurred);
    }
}

#[test]
fn trouble_that_comes_back_much_later_is_held_like_new_trouble() {
    let mut registry = AlertRegistry::default();
    registry.apply(100, vec![finding(Severity::Warning, 0)], &Rules::default());
    run(&mut registry, 105, 1000, false);
    let held = |registry: &mut AlertRegistry, now| {
        registry.apply(now, vec![finding(Severity::Warning, 10)], &Rules::default())
    };
    assert_eq!(held(&mut registry, 1000), []);
    // It passes, and the alert is still the one that was resolved.
    assert_eq!(run(&mut registry, 1005, 1100, false), []);
    assert_eq!(held(&mut registry, 1100), []);
    assert_eq!(held(&mut registry, 1105), []);
    let again = held(&mut registry, 1110);
    assert_eq!((again[0].sequence, again[0].recurred), (3, true));
}

#[test]
fn an_open_alert_reminds_once_a_day_unless_acknowledged() {
    let mut registry = AlertRegistry::default();
    let day = 24 * 60;
    assert_eq!(run(&mut registry, 100, 100 + 2 * day, true).len(), 2);
    let id = registry.alerts.values().next().unwrap().id.clone();
    assert!(registry.acknowledge(&id));
    assert!(!registry.acknowledge("al_0"));
    assert_eq!(run(&mut registry, 100 + 2 * day, 100 + 5 * day, true), []);
}

#[test]
fn an_escalation_is_notified_at_once_and_once() {
    let mut registry = AlertRegistry::default();
    let rules = Rules::default();
    let fired = registry.apply(100, vec![finding(Severity::Info, 0)], &rules).remove(0);
    let mut changes = Vec::new();
    // It gets worse and better and worse again while it is open.
    for (now, severity) in [
        (101, Severity::Warning),
        (102, Severity::Info),
        (103, Severity::Warning),
        (104, Severity::Critical),
        (105, Severity::Warning),
        (106, Severity::Critical),
    ] {
        changes.extend(registry.apply(now, vec![finding(severity, 0)], &rules));
    }
    let observed: Vec<_> = changes.iter().map(|change| (change.sequence, change.severity)).collect();
    assert_eq!(observed, [(2, Severity::Warning), (3, Severity::Critical)]);
    for change in &changes {
        assert_eq!((change.state, change.escalated, change.recurred), (State::Firing, true, false));
        assert_eq!((&change.id, &change.fired_at), (&fired.id, &fired.fired_at));
    }
    // Who was notified of the worst is notified of the end.
    let resolved = registry.apply(200, Vec::new(), &rules).remove(0);
    assert_eq!(
        (resolved.state, resolved.severity, resolved.sequence),
        (State::Resolved, Severity::Critical, 4)
    );
}

#[test]
fn an_escalation_passes_acknowledgement() {
    let mut registry = AlertRegistry::default();
    let fired = registry.apply(100, vec![finding(Severity::Warning, 0)], &Rules::default());
    assert!(registry.acknowledge(&fired[0].id));
    let worse = registry.apply(101, vec![finding(Severity::Critical, 0)], &Rules::default());
    assert!(worse[0].escalated);
    // The acknowledgement still holds, so there is no reminder.
    assert_eq!(run(&mut registry, 102, 102 + 2 * 24 * 60, true), []);
}

#[test]
fn a_held_verdict_waits_and_is_forgotten_if_it_passes() {
    let mut registry = AlertRegistry::default();
    assert!(registry.apply(100, vec![finding(Severity::Info, 10)], &Rules::default()).is_empty());
    assert!(registry.apply(105, vec![finding(Severity::Info, 10)], &Rules::default()).is_empty());
    assert_eq!(registry.apply(110, vec![finding(Severity::Info, 10)], &Rules::default()).len(), 1);
    let mut registry = AlertRegistry::default();
    registry.apply(100, vec![finding(Severity::Info, 10)], &Rules::default());
    run(&mut registry, 105, 130, false);
    assert_eq!(registry, AlertRegistry::default());
}

#[test]
fn nothing_fires_in_maintenance() {
    let rules = Rules {
        maintenance: vec![crate::rules::Maintenance { tenant: None, from: 0, until: 1000 }],
        ..Rules::default()
    };
    let mut registry = AlertRegistry::default();
    assert!(registry.apply(999, vec![finding(Severity::Critical, 0)], &rules).is_empty());
    assert_eq!(registry.apply(1000, vec![finding(Severity::Critical, 0)], &rules).len(), 1);
}
