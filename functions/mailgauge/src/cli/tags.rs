//! The options that say which tags name tenant, campaign and segment, shared by the commands that count.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use event::attribution::{Attribution, Settings};

use crate::cli::Usage;

/// Where tenants and dimensions come from.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Tenants and dimensions")]
pub struct Tags {
    /// TOML file with tenant_tag, campaign_tag, segment_tag, tags and the tables tenants.by_configuration_set,
    /// tenants.by_sending_domain, tenants.by_account; options override it
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

    /// Up to four further message tags to file events under, as tag1 to tag4
    #[arg(long = "tag", value_name = "TAG")]
    further: Vec<String>,
}

impl Tags {
    /// The file's settings with the options over them, checked.
    pub fn attribution(&self) -> anyhow::Result<Attribution> {
        let mut settings = match &self.attribution {
            None => Settings::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read the attribution file {}", path.display()))?;
                toml::from_str(&text)
                    .with_context(|| format!("in the attribution file {}", path.display()))?
            }
        };
        if let Some(tag) = &self.tenant_tag {
            settings.tenant_tag.clone_from(tag);
        }
        if let Some(tag) = &self.campaign_tag {
            settings.campaign_tag.clone_from(tag);
        }
        if let Some(tag) = &self.segment_tag {
            settings.segment_tag.clone_from(tag);
        }
        if !self.further.is_empty() {
            settings.tags.clone_from(&self.further);
        }
        Attribution::try_from(settings)
            .map_err(|error| Usage::error(format!("in the options or the attribution file: {error}")))
    }
}
