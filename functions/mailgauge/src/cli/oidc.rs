//! The options that name an identity provider.

use anyhow::Context as _;
use clap::Args;
use web::Issuer;

/// Whose tokens are taken, and what they say.
#[derive(Debug, Args)]
pub struct Oidc {
    /// The issuer of tokens (OpenID Connect), as they have it in iss
    #[arg(long = "oidc-issuer", value_name = "URL", env = "MAILGAUGE_OIDC_ISSUER", requires = "audiences")]
    url: Option<String>,

    /// An audience that tokens may be meant for: the client's id; may be repeated
    #[arg(long = "oidc-audience", value_name = "ID", requires = "url")]
    audiences: Vec<String>,

    /// The claim that names the tenant
    #[arg(long = "oidc-tenant-claim", value_name = "CLAIM", default_value = Issuer::TENANT_CLAIM)]
    tenant_claim: String,

    /// The claim, and the value in it, that make an operator, as cognito:groups=operators
    #[arg(long = "oidc-operators", value_name = "CLAIM=VALUE", requires = "url")]
    operators: Option<String>,
}

impl Oidc {
    /// The issuer, if there is one.
    pub fn issuer(&self) -> anyhow::Result<Option<Issuer>> {
        let Some(url) = &self.url else { return Ok(None) };
        let operators = self.operators.as_deref();
        let issuer = Issuer::new(url, self.audiences.clone(), self.tenant_claim.clone(), operators);
        issuer.map(Some).context("--oidc-issuer and its companions cannot be used")
    }
}
