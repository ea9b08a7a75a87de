//! Reads configuration from environment variables: typed, once at cold start, reporting all mistakes together.
//!
//! Each Lambda function reads a configuration struct of its own through [`Environment`]. An empty variable counts as not set, because a
//! deployment template cannot leave a variable out.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

/// The variables, and the mistakes found in them so far.
#[derive(Debug, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    mistakes: Vec<String>,
}

/// The mistakes found in the environment.
#[derive(Debug, thiserror::Error)]
#[error("the environment variables are not valid: {}; set these variables in template.yaml", .0.join("; "))]
pub struct InvalidEnvironment(Vec<String>);

impl InvalidEnvironment {
    /// One text per mistake, each beginning with the variable's name.
    pub fn mistakes(&self) -> &[String] {
        &self.0
    }
}

impl Environment {
    /// The environment of this process.
    pub fn of_process() -> Self {
        // A variable that is not UTF-8 cannot be one of ours.
        let texts = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::of(texts)
    }

    /// An environment of these variables, for tests and for values from elsewhere.
    pub fn of(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        // A template sets an optional variable to an empty text if its parameter is not set.
        let variables = variables.into_iter().filter(|(_, value)| !value.trim().is_empty());
        Self { variables: variables.collect(), mistakes: Vec::new() }
    }

    /// The same environment with these variables set in addition.
    #[must_use]
    pub fn with(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.variables.extend(Self::of(variables).variables);
        self
    }

    /// The value of an optional variable. A value that cannot be parsed is a mistake.
    pub fn optional<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        match self.variables.get(name)?.trim().parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.mistakes.push(format!("{name}: {error}"));
                None
            }
        }
    }

    /// The value of a required variable; a missing one is a mistake, and the value returned then is never used.
    pub fn required(&mut self, name: &str) -> String {
        let value = self.optional::<String>(name);
        if value.is_none() {
            self.mistakes.push(format!("{name} is missing"));
        }
        // All mistakes are to be reported together, so the reading goes on; `finish` then discards the value.
        value.unwrap_or_default()
    }

    /// The comma-separated values of an optional variable, trimmed; empty if it is not set.
    pub fn list(&mut self, name: &str) -> Vec<String> {
        let value = self.optional::<String>(name).unwrap_or_default();
        value.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
    }

    /// Adds a mistake, such as two variables that contradict each other.
    pub fn mistake(&mut self, mistake: impl Display) {
        self.mistakes.push(mistake.to_string());
    }

    /// Returns `settings` if no mistake was found.
    ///
    /// # Errors
    /// [`InvalidEnvironment`] with all mistakes.
    pub fn finish<T>(self, settings: T) -> Result<T, InvalidEnvironment> {
        if self.mistakes.is_empty() { Ok(settings) } else { Err(InvalidEnvironment(self.mistakes)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment::of(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn variables_are_parsed_by_type() {
        let mut environment =
            environment(&[("TABLE", " t "), ("N", "7"), ("EMPTY", " "), ("LIST", "a, b,,c")]);
        assert_eq!(environment.required("TABLE"), "t");
        assert_eq!(environment.optional::<u32>("N"), Some(7));
        assert_eq!(environment.optional::<u32>("EMPTY"), None);
        assert_eq!(environment.list("LIST"), ["a", "b", "c"]);
        assert!(environment.list("NONE").is_empty());
        let mut environment = environment.with([("TABLE".to_owned(), "u".to_owned())]);
        assert_eq!(environment.required("TABLE"), "u");
        assert_eq!(environment.finish(1).unwrap(), 1);
    }

    #[test]
    fn all_mistakes_are_reported_together() {
        let mut environment = environment(&[("N", "seven")]);
        let _ = (environment.required("TABLE"), environment.optional::<u32>("N"));
        environment.mistake("TAGS: too many");
        let message = environment.finish(()).unwrap_err().to_string();
        for part in ["TABLE is missing", "N: invalid digit", "TAGS: too many", "template.yaml"] {
            assert!(message.contains(part), "{message}");
        }
    }
}
