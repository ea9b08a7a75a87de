//! `mailgauge rebuild` as a program: it refuses what it cannot do right, replaces what was miscounted, and survives being killed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::commands::DataFolder;
use crate::support::{MAILGAUGE, Server, mailgauge};

/// Six days of mail of three tenants, and a folder that missed a part of it.
struct Miscounted {
    data: DataFolder,
    files: tempfile::TempDir,
    events: Vec<u8>,
}

impl Miscounted {
    fn new() -> Self {
        let plan = ["simulate", "--tenants", "3", "--emails-per-minute", "1", "--minutes", "8640", "--start"];
        let (code, events, errors) = mailgauge(&[plan.as_slice(), &["2026-01-05T00:00:00Z"]].concat(), b"");
        assert_eq!(code, 0, "{errors}");
        let data = DataFolder::new();
        let lines = events.lines().enumerate();
        let counted: Vec<&str> = lines.filter(|(number, _)| number % 3 != 0).map(|(_, line)| line).collect();
        data.ingest(counted.join("\n").as_bytes());
        Self { data, files: tempfile::tempdir().unwrap(), events: events.into_bytes() }
    }

    /// The lines of the archive for which `is_in` holds, as a file.
    fn archive(&self, name: &str, is_in: impl Fn(&str) -> bool) -> PathBuf {
        let text = std::str::from_utf8(&self.events).unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| is_in(line)).collect();
        let path = self.files.path().join(name);
        std::fs::write(&path, lines.join("\n")).unwrap();
        path
    }

    fn rebuild(&self, archive: &Path, arguments: &[&str]) -> (i32, String, String) {
        let archive = archive.to_str().unwrap();
        self.data.run(&[&["rebuild", archive, "--format", "json"], arguments].concat())
    }

    /// What is counted of each tenant from the first day on, up to `to`.
    fn counted(data: &DataFolder, to: &str) -> Vec<(Value, Value)> {
        let rows = data.rows(&["reconcile", "--from", "2026-01-05", "--to", to]);
        assert!(rows.iter().all(|row| row["drift"] == 0), "{rows:?}");
        rows.iter().map(|row| (row["tenant"].clone(), row["aggregated"].clone())).collect()
    }
}

const TWO_DAYS: [&str; 4] = ["--from", "2026-01-05", "--to", "2026-01-07"];

#[test]
fn miscounted_days_are_replaced_also_after_being_killed() {
    let miscounted = Miscounted::new();
    let archive = miscounted.archive("all.ndjson", |_| true);
    let complete = DataFolder::new();
    complete.ingest(&miscounted.events);
    let expected = Miscounted::counted(&complete, "2026-01-07");
    let before = Miscounted::counted(&miscounted.data, "2026-01-07");
    let after_range = Miscounted::counted(&miscounted.data, "2026-02-01");
    assert_ne!(before, expected);
    let data = miscounted.data.path();
    for milliseconds in [50, 200, 500, 1_000, 1_500, 2_000] {
        let mut child = Command::new(MAILGAUGE)
            .args(["rebuild", archive.to_str().unwrap(), "--data", data.to_str().unwrap()])
            .args(TWO_DAYS)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        // It may have ended by itself.
        child.kill().unwrap();
        child.wait().unwrap();
        for ((tenant, now), ((_, before), (_, after))) in
            Miscounted::counted(&miscounted.data, "2026-01-07").iter().zip(before.iter().zip(&expected))
        {
            assert!(tenant.is_null() || now == before || now == after, "{tenant}: {now}");
        }
    }
    let (code, out, errors) = miscounted.rebuild(&archive, &TWO_DAYS);
    assert_eq!(code, 0, "{errors}");
    let rows: Vec<Value> = serde_json::from_str(&out).unwrap();
    assert!(rows.iter().all(|row| row["drift"] == 0), "{rows:?}");
    let after: Vec<(Value, Value)> =
        rows.iter().map(|row| (row["tenant"].clone(), row["events_after"].clone())).collect();
    assert_eq!(after, expected[..expected.len() - 1]);
    assert_eq!(Miscounted::counted(&miscounted.data, "2026-01-07"), expected);
    // Nothing else changed.
    let whole = Miscounted::counted(&miscounted.data, "2026-02-01");
    for (number, (_, now)) in whole.iter().enumerate() {
        let difference = expected[number].1.as_u64().unwrap() - before[number].1.as_u64().unwrap();
        assert_eq!(now.as_u64(), after_range[number].1.as_u64().map(|count| count + difference));
    }
}

#[test]
fn rebuild_of_one_tenant_leaves_the_others() {
    let miscounted = Miscounted::new();
    let archive = miscounted.archive("all.ndjson", |_| true);
    let before = Miscounted::counted(&miscounted.data, "2026-01-07");
    let tenant = before[1].0.as_str().unwrap().to_owned();
    let (code, out, errors) =
        miscounted.rebuild(&archive, &[TWO_DAYS.as_slice(), &["--tenant", &tenant]].concat());
    assert_eq!(code, 0, "{errors}");
    let rows: Vec<Value> = serde_json::from_str(&out).unwrap();
    assert_eq!((rows.len(), &rows[0]["tenant"]), (1, &json!(tenant)));
    assert_eq!(rows[0]["events_before"], before[1].1);
    let after = Miscounted::counted(&miscounted.data, "2026-01-07");
    assert_eq!((&after[0], &after[2]), (&before[0], &before[2]));
    assert_eq!(after[1].1, rows[0]["events_after"]);
    assert_ne!(after[1].1, before[1].1);
}

#[test]
fn what_cannot_be_replaced_right_is_refused_and_changes_nothing() {
    let miscounted = Miscounted::new();
    let all = miscounted.archive("all.ndjson", |_| true);
    let before = Miscounted::counted(&miscounted.data, "2026-02-01");
    // Events of the first message day only, and events without those of the first day.
    let is_of_first_day = |line: &str| {
        !["2026-01-06T", "2026-01-07T", "2026-01-08T", "2026-01-09T", "2026-01-1"]
            .iter()
            .any(|day| line.contains(day))
    };
    let early = miscounted.archive("early.ndjson", is_of_first_day);
    let late = miscounted.archive("late.ndjson", |line| !line.contains("2026-01-05T"));
    let others = miscounted.archive("others.ndjson", |line| {
        !line.contains(&format!(r#""tenant":["{}"]"#, before[0].0.as_str().unwrap()))
    });
    let tags = ["--tenant-tag", "customer"];
    let one = ["--tenant", before[0].0.as_str().unwrap()];
    for (archive, arguments, code, message) in [
        (&all, [TWO_DAYS.as_slice(), &["--tenant", "nobody"]].concat(), 1, "there is no tenant nobody"),
        (
            &all,
            vec!["--from", "2026-01-05", "--to", "2026-01-20"],
            1,
            "name a smaller range, up to --to 2026-01-",
        ),
        (
            &all,
            vec!["--from", "2026-01-05T00:30:00Z", "--to", "2026-01-07"],
            2,
            "--from 2026-01-05T00:30:00Z is not a full hour",
        ),
        (&all, vec!["--from", "2026-01-05", "--to", "now"], 2, "--to"),
        (&all, vec!["--from", "2026-01-05"], 2, "--to"),
        (
            &early,
            TWO_DAYS.to_vec(),
            1,
            "must reach three days past the end of the range, to 2026-01-10T00:00:00Z",
        ),
        (&late, TWO_DAYS.to_vec(), 1, "the archive begins at 2026-01-0"),
        (&all, [TWO_DAYS.as_slice(), &tags, &one].concat(), 1, "mail has moved between tenants"),
        (&late, [TWO_DAYS.as_slice(), &one].concat(), 1, "the archive begins at 2026-01-0"),
        // An archive without the tenant cannot be told from one whose mail went to the others.
        (&others, [TWO_DAYS.as_slice(), &one].concat(), 1, "mail has moved between tenants"),
        (&miscounted.files.path().join("absent"), TWO_DAYS.to_vec(), 1, "does not exist"),
    ] {
        let (found, out, errors) = miscounted.rebuild(archive, &arguments);
        assert_eq!((found, out.as_str()), (code, ""), "{arguments:?}: {errors}");
        assert!(errors.contains(message), "{arguments:?}: {errors}");
    }
    let server = Server::start("serve", &miscounted.data.path(), &[]);
    let (code, _, errors) = miscounted.rebuild(&all, &TWO_DAYS);
    assert_eq!(code, 1, "{errors}");
    drop(server);
    assert_eq!(Miscounted::counted(&miscounted.data, "2026-02-01"), before);
}
