//! The options that say which message tags name the tenant, campaign and segment. Shared by the commands that count.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use event::attribution::{Attribution, AttributionSettings};

use crate::usage_error::usage_error;

/// Options for where tenants and dimensions come from.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Tenants and dimensions")]
pub struct AttributionOptions {
    /// TOML file with tenant_tag, campaign_tag, segment_tag, tags and the tables tenants.by_configuration_set,
    /// tenants.by_sending_domain, tenants.by_account and providers.by_recipient_domain, and links.store (hash, tags or host_and_path);
    /// the options below override it
    #[arg(long, value_name = "FILE", env = "MAILGAUGE_ATTRIBUTION")]
    attribution: Option<PathBuf>,

    /// The message tag that names the tenant [default: tenant]
    #[arg(long, value_name = "TAG")]
    tenant_tag: Option<String>,

    /// The message tag that names the campaign [default: campaign]
    #[arg(long, value_name = "TAG")]
    campaign_tag: Option<String>,

    /// The message tag that names the segment [default: segment]
    #[arg(long, value_name = "TAG")]
    segment_tag: Option<String>,

    /// A further message tag to count by, as dimension tag1 to tag4; may be repeated, up to four times. sending_ip is the IP address
    /// that SES sent from, on deliveries
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
}

impl AttributionOptions {
    /// Reads the file, applies the options over it, and checks the result.
    pub fn attribution(&self) -> anyhow::Result<Attribution> {
        let mut settings = match &self.attribution {
            None => AttributionSettings::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read the attribution file {}", path.display()))?;
                toml::from_str(&text)
                    .with_context(|| format!("in the attribution file {}", path.display()))?
            }
        };
        // After the file, so that an option overrides it.
        for (option, setting) in [
            (&self.tenant_tag, &mut settings.tenant_tag),
            (&self.campaign_tag, &mut settings.campaign_tag),
            (&self.segment_tag, &mut settings.segment_tag),
        ] {
            if let Some(tag) = option {
                setting.clone_from(tag);
            }
        }
        if !self.tags.is_empty() {
            settings.tags.clone_from(&self.tags);
        }
        // Checked together, because file and options can each be right and still contradict each other.
        Attribution::try_from(settings)
            .map_err(|error| usage_error(format!("in the options or the attribution file: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_override_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("attribution.toml");
        std::fs::write(&file, "tenant_tag = \"client\"\ntags = [\"brand\"]\n").unwrap();
        let mut options = AttributionOptions { attribution: Some(file), ..AttributionOptions::default() };
        assert_eq!(options.attribution().unwrap().declared_tags(), ["brand"]);
        options.tags = vec!["region".to_owned(), "plan".to_owned()];
        assert_eq!(options.attribution().unwrap().declared_tags(), ["region", "plan"]);
        options.tags = vec!["a".to_owned(); 5];
        assert!(options.attribution().unwrap_err().is::<crate::usage_error::UsageError>());
    }
}
