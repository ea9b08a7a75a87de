//! The metric registry is the only place that declares metrics: whatever it holds is in the API, in CSV, in the API's description, in the
//! catalogue and in the documentation.

use std::fmt::Write as _;
use std::path::PathBuf;

use cells::Counter;
use cells::query::MetricRegistry;
use cells::query::metrics::{CounterFormula, Direction, Formula, MetricDefinition, Unit};
use serde_json::json;

use super::*;

/// A metric that only this test knows.
static TROUBLES: MetricDefinition = MetricDefinition {
    unit: Unit::Count,
    direction: Direction::LowerIsBetter,
    ..MetricDefinition::new(
        "troubles",
        "Troubles",
        Formula::Counters(CounterFormula::Sum(&[Counter::BouncesPermanent, Counter::Complaints])),
        "Permanent bounces and complaints.",
    )
};

#[tokio::test]
async fn metric_in_the_registry_is_in_api_csv_description_and_catalogue() {
    let world = World::with_metric(&TROUBLES);
    let uri = "/v1/metrics?metrics=bounces_permanent,troubles&from=2026-11-25&granularity=total";
    let metrics = world.get(ACME, uri).await.json()["rows"][0]["metrics"].clone();
    assert!(metrics["troubles"].as_u64() > Some(0), "{metrics}");
    assert_eq!(metrics["troubles"], metrics["bounces_permanent"], "nobody complained");
    let csv = bearer(ACME, "GET", uri).header("accept", "text/csv").body(Body::empty()).unwrap();
    let csv = world.send(csv).await.text().to_owned();
    assert!(csv.starts_with("bounces_permanent,troubles\r\n"), "{csv}");
    let catalogue = world.get(ACME, "/v1/metrics/catalogue").await.json();
    let entries = catalogue["metrics"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["name"] == "troubles").unwrap();
    assert_eq!((&entry["label"], &entry["direction"]), (&json!("Troubles"), &json!("lower")));
    let description = world.get(ACME, "/openapi.json").await.json();
    let schemas = &description["components"]["schemas"];
    assert_eq!(schemas["Query"]["properties"]["metrics"]["items"]["$ref"], "#/components/schemas/MetricName");
    let names = &schemas["MetricName"]["enum"];
    assert!(names.as_array().unwrap().contains(&json!("troubles")), "{names}");
    // Another world does not know it.
    assert_eq!(World::new().get(ACME, uri).await.problem(), "invalid-parameter");
}

/// The table of metrics in README.md. To write it after a change of the registry, set `UPDATE_README=1`.
#[test]
fn documentation_lists_every_metric() {
    const BEGIN: &str = "<!-- metrics: generated from the metric registry -->\n";
    const END: &str = "<!-- /metrics -->";
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (table, after) = rest.split_once(END).unwrap();
    let expected = table_of(&MetricRegistry::builtin());
    if std::env::var_os("UPDATE_README").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
        return;
    }
    assert!(table == expected, "the table of metrics is out of date: run this test with UPDATE_README=1");
}

/// The metrics for each bounce class are one row, since they differ in the class only.
fn table_of(registry: &MetricRegistry) -> String {
    let mut table = "| metric | unit | formula | better | meaning |\n|---|---|---|---|---|\n".to_owned();
    let is_of_a_class = |name: &str| {
        ["bounces_", "delays_"].iter().any(|prefix| {
            let class = name.strip_prefix(prefix).unwrap_or_default();
            event::BounceClass::ALL.iter().any(|known| known.name() == class)
        })
    };
    for metric in registry.iter().filter(|metric| !is_of_a_class(metric.name())) {
        let (description, mut formula) = (metric.description(), metric.formula_text());
        // The formula of a single counter is its description.
        if description.to_lowercase() == format!("{}.", formula.to_lowercase()) {
            formula.clear();
        }
        let (name, unit, better) = (metric.name(), metric.unit().name(), metric.direction().name());
        // Writing to a string cannot fail.
        let _ = writeln!(table, "| `{name}` | {unit} | {formula} | {better} | {description} |");
    }
    table
        + "| `bounces_CLASS`, `delays_CLASS` | count | | lower | Bounces and delays of one bounce class, such as `bounces_mailbox_full`. |\n"
}
