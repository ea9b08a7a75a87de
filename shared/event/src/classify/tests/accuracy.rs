//! Measures the rules with the answers in `answers.txt`, and keeps the table of the README file true.

use std::fmt::Write as _;

use super::*;

const ANSWERS: &str = include_str!("../answers.txt");
const PAGE: &str = include_str!("../README.md");

/// The least share of a class's answers that must get this class, and of the answers that get this class that must belong to it.
const LEAST_SHARE: f64 = 0.9;

/// Counts per class.
#[derive(Clone, Copy, Default)]
struct Counts {
    answers: u32,
    classified: u32,
    correct: u32,
}

impl Counts {
    fn recall(self) -> f64 {
        f64::from(self.correct) / f64::from(self.answers)
    }

    fn precision(self) -> f64 {
        f64::from(self.correct) / f64::from(self.classified)
    }
}

fn measured() -> Vec<(BounceClass, Counts)> {
    let mut counts: Vec<_> = BounceClass::ALL.map(|class| (class, Counts::default())).into();
    for line in ANSWERS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let [class, status, answer] = line.splitn(3, " | ").collect::<Vec<_>>().try_into().unwrap();
        let classified = delay("General", Some(status), Some(answer));
        for (of, counts) in &mut counts {
            let (belongs, is_classified) = (of.name() == class, *of == classified);
            counts.answers += u32::from(belongs);
            counts.classified += u32::from(is_classified);
            counts.correct += u32::from(belongs && is_classified);
        }
    }
    counts.retain(|(_, counts)| counts.answers > 0);
    counts
}

#[test]
fn every_class_is_recognised() {
    for (class, counts) in measured() {
        assert!(counts.recall() >= LEAST_SHARE, "recall of {}: {:.2}", class.name(), counts.recall());
        assert!(
            counts.precision() >= LEAST_SHARE,
            "precision of {}: {:.2}",
            class.name(),
            counts.precision()
        );
    }
}

#[test]
fn page_states_what_is_measured() {
    let mut table = "| class | answers | recall | precision |\n|---|---|---|---|\n".to_owned();
    let mut all = Counts::default();
    for (class, counts) in measured() {
        let (recall, precision) = (counts.recall(), counts.precision());
        writeln!(table, "| `{}` | {} | {recall:.2} | {precision:.2} |", class.name(), counts.answers)
            .unwrap();
        all.answers += counts.answers;
        all.correct += counts.correct;
    }
    writeln!(table, "| all | {} | {:.2} | |", all.answers, all.recall()).unwrap();
    assert!(PAGE.contains(&table), "README.md must have this table:\n{table}");
}
