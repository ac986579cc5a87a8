//! Login by an OpenID Connect provider: authorization code flow with PKCE, state and nonce, of a confidential client.
//!
//! What the provider sends through the browser is worth nothing until it matches what was begun in this browser; who
//! somebody is, only the token says that comes from the provider itself, once its signature, issuer, audience, times and
//! nonce have been checked.

mod claims;
mod discovery;
#[cfg(feature = "fuzz")]
pub mod fuzz;
pub mod pending;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use openidconnect::core::{
    CoreAuthenticationFlow, CoreClient, CoreClientAuthMethod, CoreIdToken, CoreIdTokenVerifier, CoreJwsSigningAlgorithm,
};
use openidconnect::{
    AuthType, AuthorizationCode, ClaimsVerificationError, ClientId, ClientSecret, CsrfToken, HttpRequest, Nonce,
    PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope, SignatureVerificationError,
    TokenResponse as _,
};
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::role::Role;
use crate::secret;

use self::discovery::{Discovery, Known};
use self::pending::Pending;

/// Where the provider sends browsers back to, below [`Settings::external_url`].
pub const CALLBACK: &str = "/api/v1/session/oidc/callback";
/// Logins that ask the provider at once; further ones are told to come again.
const AT_ONCE_MAX: usize = 16;
/// How far the provider's clock and the node's may be apart.
const SKEW: Duration = Duration::from_secs(60);
/// The age of a token that has just been fetched, at most.
const AGE_MAX: Duration = Duration::from_secs(600);
/// Bytes of a code.
const CODE_BYTES_MAX: usize = 4_096;
/// What tokens may be signed with: by the provider's key, never by a shared secret or not at all.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// Which provider, and what it is asked for. The client's secret is not part of this; it is read when it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What the login page calls the provider.
    pub name: String,
    /// The provider, exactly as its tokens call it.
    pub issuer: String,
    /// What this program is called there.
    pub client_id: String,
    /// Where browsers reach this node, without a slash at the end.
    pub external_url: String,
    /// What is asked for beside `openid`.
    pub scopes: Vec<String>,
    /// The claim that has the user's name.
    pub user_claim: String,
    /// The claim that has the user's groups.
    pub groups_claim: String,
    /// What groups may do.
    pub groups: Vec<Group>,
    /// Further roots for the provider's certificate.
    pub ca: Option<PathBuf>,
}

/// What who is in a group may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// As the provider calls it.
    pub name: String,
    /// The role.
    pub role: Role,
    /// The services that may be changed; none: all.
    pub services: Option<Vec<String>>,
}

impl Settings {
    /// Whether the provider is asked without encryption, which is for one on the same machine.
    pub fn is_plain(&self) -> bool {
        self.issuer.starts_with("http://")
    }

    #[cfg(any(test, feature = "fuzz"))]
    fn for_tests() -> Self {
        Self {
            name: "test".to_owned(),
            issuer: "https://id.example".to_owned(),
            client_id: "mainstay".to_owned(),
            external_url: "https://lb1.example".to_owned(),
            scopes: Vec::new(),
            user_claim: "preferred_username".to_owned(),
            groups_claim: "groups".to_owned(),
            groups: Vec::new(),
            ca: None,
        }
    }
}

/// Who has logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The name, as far as it can be shown.
    pub user: String,
    /// What the provider calls them, for ever.
    pub subject: String,
    /// What they may do.
    pub role: Role,
    /// The services that they may change; none: all.
    pub services: Option<Vec<String>>,
}

/// Why nobody has logged in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It could not be asked.
    #[error("the provider cannot be asked: {0}")]
    Unreachable(String),
    /// Too many log in at once.
    #[error("too many logins are under way")]
    Busy,
    /// It has said no, or the user has.
    #[error("the provider has refused the login: {0}")]
    Refused(String),
    /// What came back is not the answer to what was begun.
    #[error("{0}")]
    Invalid(String),
    /// The user is known, but may do nothing here.
    #[error("`{user}` is in no group that has a role here")]
    NoRole {
        /// The user's name.
        user: String,
        /// What the provider calls them.
        subject: String,
    },
}

/// What the provider has sent through the browser.
#[derive(Clone, Default, Deserialize)]
pub struct Answer {
    code: Option<String>,
    state: Option<String>,
    iss: Option<String>,
    error: Option<String>,
}

/// A login that has been begun.
#[derive(Clone, Debug)]
pub struct Begun {
    /// Where the browser goes.
    pub url: String,
    /// What it keeps meanwhile.
    pub cookie: String,
}

/// A provider, and the logins that are under way there.
#[derive(Debug)]
pub struct Provider {
    settings: Settings,
    discovery: Discovery,
    pending: Mutex<Pending>,
    places: Semaphore,
}

impl Provider {
    /// Nothing is asked before somebody logs in.
    pub fn new(settings: Settings) -> Self {
        let places = Semaphore::new(AT_ONCE_MAX);
        Self { settings, discovery: Discovery::default(), pending: Mutex::default(), places }
    }

    /// What was configured.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Begins a login.
    ///
    /// # Errors
    /// If the provider cannot be asked what it is.
    pub async fn begin(&self, client: Option<IpAddr>) -> Result<Begun, Failure> {
        let _place = self.places.try_acquire().map_err(|_full| Failure::Busy)?;
        let (_http, known) = self.discovery.look(&self.settings, false).await?;
        let metadata = &known.metadata;
        let client_id = ClientId::new(self.settings.client_id.clone());
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let oidc = CoreClient::from_provider_metadata(metadata.clone(), client_id, None);
        let oidc = oidc.set_redirect_uri(self.redirect()?);
        let flow = CoreAuthenticationFlow::AuthorizationCode;
        let request = oidc.authorize_url(flow, CsrfToken::new_random, Nonce::new_random);
        let scopes = self.settings.scopes.iter().filter(|scope| *scope != "openid").cloned().map(Scope::new);
        let (url, state, nonce) = request.add_scopes(scopes).set_pkce_challenge(challenge).url();
        let added = self.pending().add(Instant::now(), client, (state, nonce, verifier));
        let cookie = added.map_err(|why| Failure::Invalid(why.to_string()))?;
        Ok(Begun { url: url.into(), cookie })
    }

    /// Ends a login: who it is that has come back with this cookie and this answer.
    ///
    /// # Errors
    /// Why it is nobody.
    pub async fn finish(
        &self,
        cookie: Option<&str>,
        answer: Answer,
        client_secret: Result<String, String>,
    ) -> Result<Identity, Failure> {
        let _place = self.places.try_acquire().map_err(|_full| Failure::Busy)?;
        let waiting = cookie.and_then(|cookie| self.pending().take(Instant::now(), cookie));
        let Some(waiting) = waiting else {
            return Err(invalid("this login was not begun in this browser, or too long ago"));
        };
        let is_its_own = answer.state.as_deref().is_some_and(|state| secret::same(state, waiting.state.secret()));
        if !is_its_own {
            return Err(invalid("the answer belongs to another login (state)"));
        }
        let (http, known) = self.discovery.look(&self.settings, false).await?;
        match &answer.iss {
            Some(issuer) if *issuer != self.settings.issuer => {
                return Err(invalid("the answer comes from another provider (iss)"));
            }
            None if known.names_itself => {
                return Err(invalid("the answer does not say which provider it is from (iss)"));
            }
            Some(_) | None => {}
        }
        if let Some(error) = &answer.error {
            return Err(Failure::Refused(claims::shown(error)));
        }
        let code = answer.code.filter(|code| (1..=CODE_BYTES_MAX).contains(&code.len()));
        let code = code.ok_or_else(|| invalid("the answer has no code"))?;
        let client_secret = client_secret.map_err(Failure::Unreachable)?;
        let token = self.fetch(http, &known, (code, waiting.verifier), client_secret).await?;
        self.read(known, &token, &waiting.nonce).await
    }

    /// Exchanges the code for the token.
    async fn fetch(
        &self,
        http: reqwest::Client,
        known: &Known,
        (code, verifier): (String, PkceCodeVerifier),
        client_secret: String,
    ) -> Result<CoreIdToken, Failure> {
        let client_id = ClientId::new(self.settings.client_id.clone());
        let secret = Some(ClientSecret::new(client_secret));
        let oidc = CoreClient::from_provider_metadata(known.metadata.clone(), client_id, secret);
        let oidc = oidc.set_redirect_uri(self.redirect()?).set_auth_type(auth_type(known));
        let asked =
            oidc.exchange_code(AuthorizationCode::new(code)).map_err(|why| Failure::Invalid(why.to_string()))?;
        let ask = |request: HttpRequest| discovery::send(http.clone(), request);
        let answer = asked.set_pkce_verifier(verifier).request_async(&ask).await.map_err(|why| match why {
            RequestTokenError::Request(why) => Failure::Unreachable(why.to_string()),
            // Descriptions are for the provider's people; the word is of the standard.
            RequestTokenError::ServerResponse(said) => Failure::Refused(claims::shown(said.error().as_ref())),
            // What it was could be a token: it is not shown.
            RequestTokenError::Parse(..) => invalid("the provider's answer is none of the standard"),
            RequestTokenError::Other(_) => invalid("the provider's answer is none of the standard"),
        })?;
        answer.id_token().cloned().ok_or_else(|| invalid("the provider has sent no ID token"))
    }

    /// Checks the token and reads who it is about.
    async fn read(
        &self,
        known: std::sync::Arc<Known>,
        token: &CoreIdToken,
        nonce: &Nonce,
    ) -> Result<Identity, Failure> {
        let mut known = known;
        let mut checked = self.check(&known, token, nonce);
        if matches!(
            checked,
            Err(ClaimsVerificationError::SignatureVerification(SignatureVerificationError::NoMatchingKey))
        ) {
            // The provider has another key by now.
            known = self.discovery.look(&self.settings, true).await?.1;
            checked = self.check(&known, token, nonce);
        }
        let subject = checked.map_err(|why| Failure::Invalid(format!("the ID token is refused: {}", reason(&why))))?;
        let claims = claims::of_token(&token.to_string()).ok_or_else(|| invalid("the ID token cannot be read"))?;
        let party = claims.get("azp").and_then(serde_json::Value::as_str);
        if claims.contains_key("azp") && party != Some(&self.settings.client_id) {
            return Err(invalid("the ID token was made for another client (azp)"));
        }
        claims::identify(&self.settings, &subject, &claims)
    }

    fn check(&self, known: &Known, token: &CoreIdToken, nonce: &Nonce) -> Result<String, ClaimsVerificationError> {
        // Without the secret, so that no token can be signed by it.
        let verifier = CoreIdTokenVerifier::new_public_client(
            ClientId::new(self.settings.client_id.clone()),
            known.metadata.issuer().clone(),
            known.metadata.jwks().clone(),
        );
        let now = SystemTime::now();
        let verifier = verifier
            .set_allowed_algs(ALGORITHMS)
            .set_time_fn(move || (now - SKEW).into())
            .set_issue_time_verifier_fn(move |issued| {
                let issued = SystemTime::from(issued);
                if issued > now + SKEW {
                    return Err("it was issued in the future".to_owned());
                }
                if issued + AGE_MAX + SKEW < now {
                    return Err("it was issued too long ago".to_owned());
                }
                Ok(())
            });
        token.claims(&verifier, nonce).map(|claims| claims.subject().to_string())
    }

    fn redirect(&self) -> Result<RedirectUrl, Failure> {
        let url = format!("{}{CALLBACK}", self.settings.external_url);
        RedirectUrl::new(url).map_err(|why| Failure::Invalid(why.to_string()))
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn invalid(why: &str) -> Failure {
    Failure::Invalid(why.to_owned())
}

/// How the client shows its secret: in a header, unless the provider takes it in the body only.
fn auth_type(known: &Known) -> AuthType {
    let methods = known.metadata.token_endpoint_auth_methods_supported();
    let has = |method| methods.is_some_and(|methods| methods.contains(&method));
    let only_body = has(CoreClientAuthMethod::ClientSecretPost) && !has(CoreClientAuthMethod::ClientSecretBasic);
    if only_body { AuthType::RequestBody } else { AuthType::BasicAuth }
}

/// Why a token is refused, without what stands in it: whoever made it up would choose what is logged.
fn reason(why: &ClaimsVerificationError) -> &'static str {
    match why {
        ClaimsVerificationError::Expired(_) => "its time (exp, iat)",
        ClaimsVerificationError::InvalidAudience(_) => "it was made for another client (aud)",
        ClaimsVerificationError::InvalidIssuer(_) => "it is from another issuer (iss)",
        ClaimsVerificationError::InvalidNonce(_) => "it belongs to another login (nonce)",
        ClaimsVerificationError::SignatureVerification(SignatureVerificationError::NoMatchingKey) => {
            "the provider has no such key"
        }
        ClaimsVerificationError::SignatureVerification(
            SignatureVerificationError::NoSignature
            | SignatureVerificationError::DisallowedAlg(_)
            | SignatureVerificationError::UnsupportedAlg(_),
        ) => "it is not signed as it has to be (alg)",
        ClaimsVerificationError::SignatureVerification(_) => "its signature is wrong",
        _other => "it is not as it has to be",
    }
}
