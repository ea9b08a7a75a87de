//! `mailgauge serve`: every step in one process, on an embedded store in a data folder.
//!
//! This only turns options into the settings of the server, which is in `server.rs`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::alert_channels::AlertOptions;
use crate::cli::attribution_options::AttributionOptions;
use crate::cli::oidc::Oidc;
use crate::output;
use crate::server::{self, BoundServer, ServeSettings, TlsOptions};
use crate::standalone::Standalone;

/// Run everything in one process: ingestion over HTTP, counting, alerts, the API and the dashboard.
///
/// The first start on a data folder prints an operator key. Ctrl-C stops the server cleanly; acknowledged events survive a crash too.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  mailgauge serve --data /var/lib/mailgauge --listen 0.0.0.0:8080")]
pub struct Options {
    /// The data folder, created if it does not exist
    #[arg(long, value_name = "DIR", default_value = "data/mailgauge", env = "MAILGAUGE_DATA")]
    data: PathBuf,

    /// IP address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080", env = "MAILGAUGE_LISTEN")]
    listen: SocketAddr,

    #[command(flatten)]
    certificate: Option<TlsOptions>,

    /// ARN of an SNS topic that may deliver events; may be repeated [default: none]
    #[arg(long = "sns-topic", value_name = "ARN")]
    sns_topics: Vec<String>,

    /// Rate limit of each key, in requests per second; requests above it are refused with status 429 [default: 2000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    requests_per_second: Option<u32>,

    /// Origin of web pages that may call the API (CORS), such as https://app.example.com, or * for any; may be repeated
    #[arg(long = "cors-origin", value_name = "ORIGIN")]
    origins: Vec<web::Origin>,

    #[command(flatten)]
    attribution: AttributionOptions,

    #[command(flatten, next_help_heading = "Sign-in with tokens of an identity provider, besides API keys")]
    oidc: Oidc,

    #[command(flatten, next_help_heading = "Alerts")]
    alerts: AlertOptions,
}

/// Serves until Ctrl-C or a termination signal.
pub fn run(options: Options) -> anyhow::Result<()> {
    output::log_to_stderr();
    // Before the folder is opened, which creates it: wrong options must leave nothing behind.
    let issuer = options.oidc.issuer()?;
    let runtime = server::runtime()?;
    let standalone = Standalone::open(&options.data, options.attribution.attribution()?)?;
    runtime.block_on(async {
        // Before the address is announced: the first batch must not wait for the lease of a process that was killed.
        standalone.end_stale_leases().await?;
        let bound = BoundServer::bind(options.listen, options.certificate).await?;
        match standalone.first_operator_key().await? {
            Some(key) => {
                bound.print_line(&format!("Operator key (it cannot be shown again): {key}"))?;
                bound.print_line(&format!("Dashboard {}/#key={key}", bound.address()))?;
            }
            None => bound.print_line(
                "The operator key was printed at the first start; create another with `mailgauge keys add`.",
            )?,
        }
        bound.print_line(&format!("Listening on {}", bound.address()))?;
        let settings = ServeSettings {
            sns_topics: options.sns_topics,
            requests_per_second: options.requests_per_second,
            issuer,
            origins: options.origins,
            channels: options.alerts,
        };
        server::serve(standalone, bound, settings).await
    })
}
