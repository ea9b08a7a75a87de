//! Rules and mappings as commands read and print them: JSON or TOML from a file, JSON to standard output.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::output;

/// Reads a file in JSON or TOML. `content` names what it should hold, in errors.
///
/// # Errors
/// A file that cannot be read, or does not hold a `T`: the error names the file and the faulty field.
pub fn read<T: DeserializeOwned>(path: &Path, content: &str) -> anyhow::Result<T> {
    let name = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
    let wrong_content = || format!("{name} does not contain valid {content}");
    // No TOML document begins with a brace, and every JSON object does.
    if text.trim_start().starts_with('{') {
        serde_json::from_str(&text).with_context(wrong_content)
    } else {
        toml::from_str(&text).with_context(wrong_content)
    }
}

/// Prints a value as indented JSON on standard output.
pub fn print(value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value).context("the settings cannot be written as JSON")?;
    output::ignore_broken_pipe(writeln!(std::io::stdout().lock(), "{text}").map_err(Into::into))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn format_is_recognised_by_the_first_character() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rules");
        let read_text = |text: &str| {
            std::fs::write(&file, text).unwrap();
            read::<BTreeMap<String, u32>>(&file, "rules")
        };
        for text in ["{\"a\":1}", "\n  {\"a\": 1}\n", "a = 1", "# a comment\na = 1\n"] {
            assert_eq!(read_text(text).unwrap(), BTreeMap::from([("a".to_owned(), 1)]), "{text}");
        }
        assert!(read_text("").unwrap().is_empty());
        for text in ["{\"a\":", "a = \"one\"", "[1]"] {
            let error = format!("{:#}", read_text(text).unwrap_err());
            assert!(error.contains("does not contain valid rules"), "{text}: {error}");
        }
    }
}
