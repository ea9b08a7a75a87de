//! The life of an alert, minute by minute.

use super::*;

fn verdict(severity: Severity, hold: u32) -> Verdict {
    Verdict {
        key: Key::of("acme", Some("gmail".to_owned()), Family::Delivery),
        facts: Facts {
            kind: Kind::Anomaly,
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

fn run(book: &mut Book, from: u32, until: u32, bad: bool) -> Vec<(u32, State, u32)> {
    let mut seen = Vec::new();
    for now in (from..until).step_by(5) {
        let verdicts = if bad { vec![verdict(Severity::Warning, 0)] } else { Vec::new() };
        for change in book.apply(now, verdicts, &Rules::default()) {
            seen.push((now, change.state, change.sequence));
        }
    }
    seen
}

#[test]
fn an_alert_fires_once_and_is_resolved_once() {
    let mut book = Book::default();
    assert_eq!(run(&mut book, 100, 200, true), [(100, State::Firing, 1)]);
    assert_eq!(run(&mut book, 200, 400, false), [(225, State::Resolved, 2)]);
    assert_eq!(run(&mut book, 400, 3000, false), []);
    assert_eq!(book, Book::default(), "nothing is kept of what is over");
}

#[test]
fn trouble_that_comes_back_keeps_its_id_and_takes_longer_to_end() {
    let mut book = Book::default();
    let first = book.apply(100, vec![verdict(Severity::Warning, 0)], &Rules::default());
    run(&mut book, 105, 200, false);
    let again = book.apply(200, vec![verdict(Severity::Warning, 0)], &Rules::default());
    assert_eq!(first[0].id, again[0].id);
    assert_eq!(again[0].sequence, 3);
    assert_eq!(run(&mut book, 205, 400, false), [(260, State::Resolved, 4)]);
}

#[test]
fn an_alert_that_fires_again_within_a_day_has_a_new_time_of_firing() {
    let rules = Rules::default();
    for (later, keeps_id) in [(3 * 60, true), (20 * 60, true), (30 * 60, false)] {
        let mut book = Book::default();
        let first = book.apply(100, vec![verdict(Severity::Warning, 0)], &rules).remove(0);
        assert!(!first.recurred && !first.escalated);
        run(&mut book, 105, 100 + later, false);
        let again = book.apply(100 + later, vec![verdict(Severity::Warning, 0)], &rules).remove(0);
        assert_eq!((again.state, again.recurred, again.id == first.id), (State::Firing, keeps_id, keeps_id));
        assert_eq!(again.fired_at, Minute(100 + later).start().to_string(), "{later}");
        // What follows belongs to the second time.
        let resolved = (105 + later..).step_by(5).find_map(|now| book.apply(now, Vec::new(), &rules).pop());
        let resolved = resolved.unwrap();
        assert_eq!((resolved.state, &resolved.fired_at), (State::Resolved, &again.fired_at));
        assert!(!resolved.recurred);
    }
}

#[test]
fn trouble_that_comes_back_much_later_is_held_like_new_trouble() {
    let mut book = Book::default();
    book.apply(100, vec![verdict(Severity::Warning, 0)], &Rules::default());
    run(&mut book, 105, 1000, false);
    let held =
        |book: &mut Book, now| book.apply(now, vec![verdict(Severity::Warning, 10)], &Rules::default());
    assert_eq!(held(&mut book, 1000), []);
    // It passes, and the alert is still the one that was resolved.
    assert_eq!(run(&mut book, 1005, 1100, false), []);
    assert_eq!(held(&mut book, 1100), []);
    assert_eq!(held(&mut book, 1105), []);
    let again = held(&mut book, 1110);
    assert_eq!((again[0].sequence, again[0].recurred), (3, true));
}

#[test]
fn an_open_alert_reminds_once_a_day_unless_acknowledged() {
    let mut book = Book::default();
    let day = 24 * 60;
    assert_eq!(run(&mut book, 100, 100 + 2 * day, true).len(), 2);
    let id = book.alerts.values().next().unwrap().id.clone();
    assert!(book.acknowledge(&id));
    assert!(!book.acknowledge("al_0"));
    assert_eq!(run(&mut book, 100 + 2 * day, 100 + 5 * day, true), []);
}

#[test]
fn an_escalation_is_notified_at_once_and_once() {
    let mut book = Book::default();
    let rules = Rules::default();
    let fired = book.apply(100, vec![verdict(Severity::Info, 0)], &rules).remove(0);
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
        changes.extend(book.apply(now, vec![verdict(severity, 0)], &rules));
    }
    let seen: Vec<_> = changes.iter().map(|change| (change.sequence, change.severity)).collect();
    assert_eq!(seen, [(2, Severity::Warning), (3, Severity::Critical)]);
    for change in &changes {
        assert_eq!((change.state, change.escalated, change.recurred), (State::Firing, true, false));
        assert_eq!((&change.id, &change.fired_at), (&fired.id, &fired.fired_at));
    }
    // Who was notified of the worst is notified of the end.
    let resolved = book.apply(200, Vec::new(), &rules).remove(0);
    assert_eq!(
        (resolved.state, resolved.severity, resolved.sequence),
        (State::Resolved, Severity::Critical, 4)
    );
}

#[test]
fn an_escalation_passes_acknowledgement() {
    let mut book = Book::default();
    let fired = book.apply(100, vec![verdict(Severity::Warning, 0)], &Rules::default());
    assert!(book.acknowledge(&fired[0].id));
    let worse = book.apply(101, vec![verdict(Severity::Critical, 0)], &Rules::default());
    assert!(worse[0].escalated);
    // The acknowledgement still holds, so there is no reminder.
    assert_eq!(run(&mut book, 102, 102 + 2 * 24 * 60, true), []);
}

#[test]
fn a_held_verdict_waits_and_is_forgotten_if_it_passes() {
    let mut book = Book::default();
    assert!(book.apply(100, vec![verdict(Severity::Info, 10)], &Rules::default()).is_empty());
    assert!(book.apply(105, vec![verdict(Severity::Info, 10)], &Rules::default()).is_empty());
    assert_eq!(book.apply(110, vec![verdict(Severity::Info, 10)], &Rules::default()).len(), 1);
    let mut book = Book::default();
    book.apply(100, vec![verdict(Severity::Info, 10)], &Rules::default());
    run(&mut book, 105, 130, false);
    assert_eq!(book, Book::default());
}

#[test]
fn nothing_fires_in_maintenance() {
    let rules = Rules {
        maintenance: vec![crate::rules::Maintenance { tenant: None, from: 0, until: 1000 }],
        ..Rules::default()
    };
    let mut book = Book::default();
    assert!(book.apply(999, vec![verdict(Severity::Critical, 0)], &rules).is_empty());
    assert_eq!(book.apply(1000, vec![verdict(Severity::Critical, 0)], &rules).len(), 1);
}
