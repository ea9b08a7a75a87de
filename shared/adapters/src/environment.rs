//! Settings from the environment: typed, read once at the start, all mistakes told together.
//!
//! Each function has a struct of its own that is read by this; an empty variable is one that is not set, as a template cannot leave a
//! variable out.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

/// Variables on their way into a struct of settings.
#[derive(Debug, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    mistakes: Vec<String>,
}

/// All that is wrong with the environment.
#[derive(Debug, thiserror::Error)]
#[error("the environment cannot be used: {}; set these variables in template.yaml", .0.join("; "))]
pub struct InvalidEnvironment(Vec<String>);

impl InvalidEnvironment {
    /// What is wrong, one by one.
    pub fn mistakes(&self) -> &[String] {
        &self.0
    }
}

impl Environment {
    /// That of this process.
    pub fn of_process() -> Self {
        // A variable that is no text is none of ours.
        let texts = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::of(texts)
    }

    /// Of these variables.
    pub fn of(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let variables = variables.into_iter().filter(|(_, value)| !value.trim().is_empty());
        Self { variables: variables.collect(), mistakes: Vec::new() }
    }

    /// The same with these variables set.
    #[must_use]
    pub fn with(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.variables.extend(Self::of(variables).variables);
        self
    }

    /// A variable that may be missing.
    pub fn optional<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        match self.variables.get(name)?.trim().parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.mistakes.push(format!("{name}: {error}"));
                None
            }
        }
    }

    /// A text that must be there.
    pub fn required(&mut self, name: &str) -> String {
        let value = self.optional::<String>(name);
        if value.is_none() {
            self.mistakes.push(format!("{name} is missing"));
        }
        value.unwrap_or_default()
    }

    /// Names separated by commas; none if the variable is missing.
    pub fn list(&mut self, name: &str) -> Vec<String> {
        let value = self.optional::<String>(name).unwrap_or_default();
        value.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
    }

    /// Notes what else is wrong.
    pub fn mistake(&mut self, mistake: impl Display) {
        self.mistakes.push(mistake.to_string());
    }

    /// The settings, if nothing is wrong.
    ///
    /// # Errors
    /// [`InvalidEnvironment`] names all mistakes.
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
    fn settings_are_read_by_their_types() {
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
    fn all_mistakes_are_told_together() {
        let mut environment = environment(&[("N", "seven")]);
        let _ = (environment.required("TABLE"), environment.optional::<u32>("N"));
        environment.mistake("TAGS: too many");
        let told = environment.finish(()).unwrap_err().to_string();
        for part in ["TABLE is missing", "N: invalid digit", "TAGS: too many", "template.yaml"] {
            assert!(told.contains(part), "{told}");
        }
    }
}
