//! `mailgauge serve`: everything in one process, on an embedded store in a folder.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::alert_routes::Channels;
use crate::cli::oidc::Oidc;
use crate::cli::tags::Tags;
use crate::output;
use crate::server::{self, Certificate, Opening, Orders};
use crate::standalone::Standalone;

/// Run everything in one process: ingestion over HTTP, counting, the API and the dashboard.
///
/// Prints an operator key at the first start of a data folder. Ctrl-C stops it cleanly; what was acknowledged survives any end.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  mailgauge serve --data /var/lib/mailgauge --listen 0.0.0.0:8080")]
pub struct Options {
    /// The folder everything is kept in
    #[arg(long, value_name = "DIR", default_value = "data/mailgauge", env = "MAILGAUGE_DATA")]
    data: PathBuf,

    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080", env = "MAILGAUGE_LISTEN")]
    listen: SocketAddr,

    #[command(flatten)]
    certificate: Option<Certificate>,

    /// ARN of an SNS topic whose messages are taken; may be repeated
    #[arg(long = "sns-topic", value_name = "ARN")]
    sns_topics: Vec<String>,

    /// Requests a second that each key may make; more are refused with 429
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    requests_per_second: Option<u32>,

    /// Origin of a page of another host that may call the API, as https://app.example.com, or *; may be repeated
    #[arg(long = "cors-origin", value_name = "ORIGIN")]
    origins: Vec<web::Origin>,

    #[command(flatten)]
    tags: Tags,

    #[command(flatten, next_help_heading = "Tokens of an identity provider, in place of API keys")]
    oidc: Oidc,

    #[command(flatten, next_help_heading = "Alerts")]
    channels: Channels,
}

/// Serves until it is told to stop.
pub fn run(options: Options) -> anyhow::Result<()> {
    output::log_to_stderr();
    let issuer = options.oidc.issuer()?;
    let runtime = server::runtime()?;
    let home = Standalone::open(&options.data, options.tags.attribution()?)?;
    runtime.block_on(async {
        home.begin().await?;
        let opening = Opening::bind(options.listen, options.certificate).await?;
        match home.first_operator_key().await? {
            Some(key) => {
                opening.say(&format!("Operator key, shown this once: {key}"))?;
                opening.say(&format!("Dashboard {}/#key={key}", opening.address()))?;
            }
            None => opening
                .say("The operator key was shown at the first start; make more with `mailgauge keys add`.")?,
        }
        opening.say(&format!("Listening on {}", opening.address()))?;
        let orders = Orders {
            sns_topics: options.sns_topics,
            requests_per_second: options.requests_per_second,
            issuer,
            origins: options.origins,
            channels: options.channels,
        };
        server::serve(home, opening, orders).await
    })
}
