//! Settings as commands read and print them: from a file of JSON or TOML, to standard output as JSON.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::output;

/// Reads a file of `what`.
pub fn read<T: DeserializeOwned>(path: &Path, what: &str) -> anyhow::Result<T> {
    let name = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
    let place = || format!("{name} is not a file of {what}");
    if text.trim_start().starts_with('{') {
        serde_json::from_str(&text).with_context(place)
    } else {
        toml::from_str(&text).with_context(place)
    }
}

/// Prints it for people and programs.
pub fn print(shown: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(shown).context("it cannot be written as JSON")?;
    output::until_closed(writeln!(std::io::stdout().lock(), "{text}").map_err(Into::into))
}
