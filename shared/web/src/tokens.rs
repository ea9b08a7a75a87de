//! Verifies tokens of an identity provider (JWT), which are accepted in place of API keys: Cognito, or any issuer of `OpenID` Connect.
//!
//! A token is accepted if it is signed with a key of the configured issuer, is meant for one of the configured audiences and has not expired. The
//! configured claim names the tenant. The algorithm must be in a list without shared secrets and must fit the key, so a token never chooses how it is
//! verified. A URL in a token must never be fetched.
//! Sources: <https://www.rfc-editor.org/rfc/rfc7519>, <https://www.rfc-editor.org/rfc/rfc8725> (best practice),
//! <https://openid.net/specs/openid-connect-discovery-1_0.html>

mod keys;
mod signatures;
#[cfg(test)]
mod tests;

use event::{TenantId, Timestamp};
use jsonwebtoken::jwk::{Jwk, KeyAlgorithm};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Validation};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

pub(crate) use keys::{GetDocument, IssuerKeys};

/// Tolerated difference between our clock and the issuer's, in seconds.
const LEEWAY_S: f64 = 30.0;
/// Longest subject that is kept as a name, in characters.
const MAX_SUBJECT_CHARS: usize = 64;
/// The scopes that grant setting rules: plain, or prefixed with the identifier of a resource server, which Cognito requires.
/// <https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-user-pools-define-resource-servers.html>
const RULES_SCOPES: [&str; 2] = ["rules", "mailgauge/rules"];
/// The algorithms that verify with a public key.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// A URL of an issuer: `https://`, or `http://` on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerUrl(String);

/// The issuer whose tokens are accepted, and how its claims are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// The issuer, as its tokens name it.
    pub url: IssuerUrl,
    /// A token is meant for one of these (`aud`; Cognito's access tokens have `client_id` in its place). The first is the client as which
    /// people sign in at the dashboard.
    pub audiences: Vec<String>,
    /// The claim that names the tenant.
    pub tenant_claim: String,
    /// The claim, and the value in it, that make an operator.
    pub operators: Option<(String, String)>,
}

/// The settings of an issuer are not valid.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidIssuer {
    /// The text is not the URL of an issuer.
    #[error("{0:?} is not the URL of an issuer: write https://HOST/PATH as its tokens have it in iss")]
    Url(String),
    /// There is no audience, so tokens for other programs would be accepted.
    #[error("an issuer needs an audience: the client's id as its tokens have it in aud or client_id")]
    NoAudience,
    /// The text is not a claim and its value.
    #[error("{0:?} is not a claim of operators: write CLAIM=VALUE, such as cognito:groups=operators")]
    Operators(String),
}

/// Why a token is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    /// The token is not valid.
    #[error("{0}")]
    Invalid(&'static str),
    /// The token is valid but grants nothing here.
    #[error("{0}")]
    Forbidden(String),
    /// The issuer's keys are not available.
    #[error("the keys of the token issuer could not be read")]
    Unavailable,
}

/// The holder of a valid token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bearer {
    /// The holder's name at the issuer.
    pub(crate) subject: String,
    /// What the token grants.
    pub(crate) grant: Granted,
    /// Identifies the sign-in for which the token was issued.
    pub(crate) nonce: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Granted {
    Operator,
    Tenant { tenant: TenantId, sets_rules: bool },
}

impl IssuerUrl {
    /// Accepts `https` URLs, and `http` ones on this machine, without user, query and fragment.
    pub fn parse(url: &str) -> Result<Self, InvalidIssuer> {
        // No user, query or fragment, and nothing that parsers read differently: the URL is compared with the one in the token and in the
        // discovery document.
        let is_plain = url.len() <= 512
            && url.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}?#@".contains(&byte));
        let issuer = Self(url.to_owned());
        let has_host = issuer.host().is_some_and(|host| !host.is_empty());
        if is_plain && has_host && (url.starts_with("https://") || issuer.is_on_this_machine()) {
            return Ok(issuer);
        }
        Err(InvalidIssuer::Url(url.to_owned()))
    }

    /// The URL as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn host(&self) -> Option<&str> {
        let (_, rest) = self.0.split_once("://")?;
        rest.split('/').next()
    }

    /// Whether the issuer runs on this machine and is contacted without TLS.
    pub fn is_on_this_machine(&self) -> bool {
        let host = self.0.strip_prefix("http://").and_then(|_| self.host());
        host.is_some_and(|host| {
            let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
            name == "localhost" || name == "127.0.0.1" || name == "[::1]"
        })
    }
}

impl Issuer {
    /// The claim that names the tenant unless the operator configures another.
    pub const TENANT_CLAIM: &str = "tenant";

    /// Validates settings; `operators` has the form `CLAIM=VALUE`.
    pub fn new(
        url: &str,
        audiences: Vec<String>,
        tenant_claim: String,
        operators: Option<&str>,
    ) -> Result<Self, InvalidIssuer> {
        if audiences.is_empty() || audiences.iter().any(String::is_empty) {
            return Err(InvalidIssuer::NoAudience);
        }
        let pair = |text: &str| {
            let (claim, value) =
                text.split_once('=').filter(|(claim, value)| !claim.is_empty() && !value.is_empty())?;
            Some((claim.to_owned(), value.to_owned()))
        };
        let operators = match operators {
            None => None,
            Some(text) => Some(pair(text).ok_or_else(|| InvalidIssuer::Operators(text.to_owned()))?),
        };
        Ok(Self { url: IssuerUrl::parse(url)?, audiences, tenant_claim, operators })
    }

    /// The client id with which people sign in at the dashboard.
    pub(crate) fn client(&self) -> &str {
        self.audiences.first().map_or("", String::as_str)
    }

    fn is_for_us(&self, claims: &Map<String, Value>) -> bool {
        // Access tokens of Cognito have no `aud`; they name the client in `client_id`.
        let meant = claims.get("aud").or_else(|| claims.get("client_id"));
        meant.is_some_and(|meant| self.audiences.iter().any(|audience| has(meant, audience)))
    }

    fn bearer(&self, claims: &Map<String, Value>) -> Result<Bearer, TokenError> {
        let subject = subject(claims);
        let nonce = claims.get("nonce").and_then(Value::as_str).map(ToOwned::to_owned);
        let is_operator = self
            .operators
            .as_ref()
            .is_some_and(|(claim, value)| claims.get(claim).is_some_and(|held| has(held, value)));
        // Before the tenant: an operator's token needs no tenant claim.
        if is_operator {
            return Ok(Bearer { subject, grant: Granted::Operator, nonce });
        }
        let named = claims.get(&self.tenant_claim).and_then(Value::as_str);
        let Some(named) = named else {
            return Err(TokenError::Forbidden(format!(
                "the token names no tenant: it needs the claim {}",
                self.tenant_claim
            )));
        };
        let tenant = TenantId::new(named).map_err(|error| {
            TokenError::Forbidden(format!(
                "the token's claim {} is not the name of a tenant: {error}",
                self.tenant_claim
            ))
        })?;
        let grant = Granted::Tenant { tenant, sets_rules: sets_rules(claims) };
        Ok(Bearer { subject, grant, nonce })
    }
}

/// Whether a credential has the form of a token: API keys contain no dots.
pub(crate) fn is_token(credential: &str) -> bool {
    credential.bytes().filter(|&byte| byte == b'.').count() == 2
}

/// Checks algorithm, signature, issuer, times and audience of a token, in this order.
pub(crate) async fn verify(
    issuer: &Issuer,
    keys: &IssuerKeys,
    token: &str,
    now: Timestamp,
) -> Result<Bearer, TokenError> {
    const INVALID: TokenError = TokenError::Invalid("the token cannot be read");
    signatures::install();
    let header = jsonwebtoken::decode_header(token).map_err(|_| INVALID)?;
    // The token names its own algorithm, so only public-key algorithms may pass: with a shared-secret one, the public key would be the
    // secret. Extensions that must be understood (`crit`) are not.
    if !ALGORITHMS.contains(&header.alg) || header.crit.is_some() {
        return Err(TokenError::Invalid("the token is signed with an algorithm that is not accepted"));
    }
    // Only now, since this may cause a request to the issuer.
    let key = keys.find(header.kid.as_deref()).await?;
    let decoding = fitting(&key, header.alg)
        .ok_or(TokenError::Invalid("the token's algorithm is not that of its key"))?;
    let mut validation = Validation::new(header.alg);
    // Both are checked below: the current time is a parameter, and some tokens name their audience in another claim.
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.set_required_spec_claims(&["iss"]);
    validation.set_issuer(&[issuer.url.as_str()]);
    let token = jsonwebtoken::decode::<Map<String, Value>>(token, &decoding, &validation);
    let claims = token.map_err(|error| TokenError::Invalid(reason(&error)))?.claims;
    check_validity_period(&claims, now)?;
    if !issuer.is_for_us(&claims) {
        return Err(TokenError::Invalid("the token is meant for another audience"));
    }
    issuer.bearer(&claims)
}

/// The key, if it can verify signatures of this algorithm.
fn fitting(key: &Jwk, algorithm: Algorithm) -> Option<DecodingKey> {
    let declared = key.common.key_algorithm;
    // A key that is declared for one algorithm must not verify another (RFC 8725, section 3.1).
    if declared.is_some_and(|declared| declared != KeyAlgorithm::from(algorithm)) {
        return None;
    }
    let decoding = DecodingKey::from_jwk(key).ok()?;
    let family = algorithm.family();
    (decoding.family() == family && family != AlgorithmFamily::Hmac).then_some(decoding)
}

/// Checks that the token is valid now. Its times are seconds since 1970, possibly with fractions.
fn check_validity_period(claims: &Map<String, Value>, now: Timestamp) -> Result<(), TokenError> {
    let seconds = |name: &str| claims.get(name).and_then(Value::as_f64);
    let now = now.millis() as f64 / 1000.0;
    let end = seconds("exp").ok_or(TokenError::Invalid("the token lacks exp"))?;
    if now >= end + LEEWAY_S {
        return Err(TokenError::Invalid("the token has expired: sign in again"));
    }
    match claims.get("nbf").map(|_| seconds("nbf")) {
        None => Ok(()),
        // A clock behind the issuer's must not refuse a token that was just issued.
        Some(Some(begin)) if now >= begin - LEEWAY_S => Ok(()),
        Some(_) => Err(TokenError::Invalid("the token is not valid yet")),
    }
}

fn reason(error: &jsonwebtoken::errors::Error) -> &'static str {
    use jsonwebtoken::errors::ErrorKind;
    match error.kind() {
        ErrorKind::InvalidIssuer => "the token is from another issuer",
        ErrorKind::MissingRequiredClaim(_) => "the token lacks iss",
        ErrorKind::InvalidSignature => "the token's signature is not valid",
        _ => "the token cannot be read",
    }
}

/// Whether a claim is this text, or a list that contains it.
fn has(claim: &Value, wanted: &str) -> bool {
    match claim {
        Value::String(text) => text == wanted,
        Value::Array(list) => list.iter().any(|text| text.as_str() == Some(wanted)),
        _ => false,
    }
}

/// Whether the token has a scope that grants setting rules. Scopes of other resource servers, such as `other/rules`, do not count.
fn sets_rules(claims: &Map<String, Value>) -> bool {
    let is_rules = |scope: &str| RULES_SCOPES.contains(&scope);
    ["scope", "scp"].iter().filter_map(|name| claims.get(*name)).any(|held| match held {
        Value::String(text) => text.split(' ').any(is_rules),
        Value::Array(list) => list.iter().filter_map(Value::as_str).any(is_rules),
        _ => false,
    })
}

/// The name of the holder at the issuer. An email address is personal data, so only a hash of it is kept.
fn subject(claims: &Map<String, Value>) -> String {
    let subject = claims.get("sub").and_then(Value::as_str).unwrap_or("(unnamed)");
    if subject.contains('@') {
        let hash = Sha256::digest(subject.as_bytes());
        return hash.iter().take(6).fold("user ".to_owned(), |text, byte| format!("{text}{byte:02x}"));
    }
    subject.chars().filter(|character| !character.is_control()).take(MAX_SUBJECT_CHARS).collect()
}
