//! The options of `serve` for an OpenID Connect identity provider, whose tokens are accepted besides API keys.

use anyhow::Context as _;
use clap::Args;
use web::Issuer;

/// Options that name the issuer of accepted tokens, and the claims that are read.
#[derive(Debug, Args)]
pub struct Oidc {
    /// URL of the OpenID Connect issuer, exactly as in the iss claim of its tokens
    #[arg(long = "oidc-issuer", value_name = "URL", env = "MAILGAUGE_OIDC_ISSUER", requires = "audiences")]
    url: Option<String>,

    /// Accepted audience of tokens, usually the client id; may be repeated
    #[arg(long = "oidc-audience", value_name = "ID", requires = "url")]
    audiences: Vec<String>,

    /// Name of the claim that holds the tenant
    #[arg(long = "oidc-tenant-claim", value_name = "CLAIM", default_value = Issuer::TENANT_CLAIM)]
    tenant_claim: String,

    /// Claim and value that make the holder an operator, such as cognito:groups=operators
    #[arg(long = "oidc-operators", value_name = "CLAIM=VALUE", requires = "url")]
    operators: Option<String>,
}

impl Oidc {
    /// The issuer, if one is configured.
    pub fn issuer(&self) -> anyhow::Result<Option<Issuer>> {
        let Some(url) = &self.url else { return Ok(None) };
        let operators = self.operators.as_deref();
        let issuer = Issuer::new(url, self.audiences.clone(), self.tenant_claim.clone(), operators);
        issuer.map(Some).context("the --oidc-... options cannot be used")
    }
}
