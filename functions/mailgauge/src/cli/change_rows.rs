//! Changes of alerts as rows of a table or CSV, the same for `alerts list` and `backtest`.

use detection::Change;
use serde_json::{Value, json};

/// The columns of [`row`].
pub const COLUMNS: [&str; 9] =
    ["fired_at", "state", "severity", "tenant", "metric", "scope", "value", "id", "summary"];

/// The change as one value per column. The scope is written as in a query, `provider:gmail campaign:spring`.
pub fn row(change: &Change) -> Vec<Value> {
    let scope: Vec<String> = change.scope.iter().map(|(name, value)| format!("{name}:{value}")).collect();
    vec![
        json!(change.fired_at),
        json!(change.state.name()),
        json!(change.severity.name()),
        json!(change.tenant),
        json!(change.metric),
        json!(scope.join(" ")),
        json!(change.value),
        json!(change.id),
        json!(change.summary),
    ]
}
