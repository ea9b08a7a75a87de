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
fn getting_worse_is_told_after_an_hour() {
    let mut book = Book::default();
    run(&mut book, 100, 200, true);
    let change = book.apply(200, vec![verdict(Severity::Critical, 0)], &Rules::default());
    assert_eq!(change[0].state, State::Reminder);
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
