//! Wrong usage that clap cannot detect by itself, such as options that contradict each other or an option that this build lacks.
//!
//! The exit code of the program is 2 for these errors, as for clap's own.

/// What is wrong about the options and what is allowed.
#[derive(Debug, thiserror::Error)]
#[error("{0}; see --help")]
pub struct UsageError(String);

/// A [`UsageError`] with this message.
pub fn usage_error(message: impl Into<String>) -> anyhow::Error {
    UsageError(message.into()).into()
}

/// The error for an option that reaches AWS, in a program built without the feature `aws`. `option` names it.
#[cfg(not(feature = "aws"))]
pub fn built_without_aws(option: &str) -> anyhow::Error {
    usage_error(format!(
        "{option}: this program was built without AWS; build it with cargo build --release --features aws"
    ))
}
