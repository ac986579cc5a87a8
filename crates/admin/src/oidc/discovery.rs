//! What the provider says of itself (OpenID Connect Discovery 1.0): asked for at the first login, kept, and asked for again when
//! it is old. Only one question is under way at once, and after failures there is a pause before the next.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use openidconnect::core::{CoreJsonWebKeySet, CoreProviderMetadata};
use openidconnect::{HttpRequest, HttpResponse};
use reqwest::{Certificate, Client};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Mutex;

use super::{Failure, Settings};

/// How long a document is used before it is asked for again, and at most while the provider does not answer.
const FRESH: Duration = Duration::from_secs(3_600);
const STALE: Duration = Duration::from_secs(86_400);
/// The least time between two questions because a key was not known.
const KEYS_PAUSE: Duration = Duration::from_secs(10);
/// The pause after the first failure, doubled by each further one up to the longest.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// For one exchange with the provider.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an answer.
const BYTES_MAX: usize = 512 * 1024;

/// What is known of a provider.
#[derive(Debug)]
pub(super) struct Known {
    /// Its endpoints and keys.
    pub metadata: CoreProviderMetadata,
    /// Whether it says with each answer that it comes from itself (RFC 9207).
    pub names_itself: bool,
    fetched: Instant,
}

/// Why an exchange came to nothing.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unreachable(pub String);

/// The provider's documents.
#[derive(Debug, Default)]
pub(super) struct Discovery {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    http: Option<Client>,
    known: Option<Arc<Known>>,
    failures: u32,
    /// When the last failure was, and why.
    failed: Option<(Instant, String)>,
}

impl Discovery {
    /// What is known of the provider, and what asks it. `anew`: one of its keys was not known.
    pub(super) async fn look(&self, settings: &Settings, anew: bool) -> Result<(Client, Arc<Known>), Failure> {
        let mut state = self.state.lock().await;
        let now = Instant::now();
        let http = match &state.http {
            Some(http) => http.clone(),
            None => state.http.insert(client(settings.ca.as_deref())?).clone(),
        };
        let age = |known: &Arc<Known>| now.saturating_duration_since(known.fetched);
        let limit = if anew { KEYS_PAUSE } else { FRESH };
        if let Some(known) = state.known.as_ref().filter(|known| age(known) < limit) {
            return Ok((http, known.clone()));
        }
        let pause = PAUSE.saturating_mul(1 << state.failures.saturating_sub(1).min(5)).min(PAUSE_MAX);
        let told = state.failed.as_ref().filter(|(at, _why)| now.saturating_duration_since(*at) < pause);
        let fetched = match told {
            Some((_at, why)) => Err(why.clone()),
            None => {
                let fetched = fetch(&http, settings).await;
                state.failures = if fetched.is_ok() { 0 } else { state.failures.saturating_add(1) };
                state.failed = fetched.as_ref().err().map(|why| (Instant::now(), why.clone()));
                fetched
            }
        };
        match fetched {
            Ok(known) => Ok((http, state.known.insert(Arc::new(known)).clone())),
            Err(why) => match state.known.as_ref().filter(|known| age(known) < STALE) {
                Some(known) => Ok((http, known.clone())),
                None => Err(Failure::Unreachable(why)),
            },
        }
    }
}

fn client(ca: Option<&Path>) -> Result<Client, Failure> {
    // Neither the code nor the client's secret go where a redirection leads.
    let mut builder = Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().timeout(TIMEOUT);
    if let Some(path) = ca {
        let told = |why: String| Failure::Unreachable(format!("{}: {why}", path.display()));
        let pem = std::fs::read(path).map_err(|why| told(why.to_string()))?;
        let roots = Certificate::from_pem_bundle(&pem).map_err(|why| told(chain(&why)))?;
        builder = builder.tls_certs_merge(roots);
    }
    let agent = concat!("mainstay/", env!("CARGO_PKG_VERSION"));
    builder.user_agent(agent).build().map_err(|why| Failure::Unreachable(chain(&why)))
}

async fn fetch(http: &Client, settings: &Settings) -> Result<Known, String> {
    // Section 4.1: a slash at the issuer's end is left out before the suffix.
    let url = format!("{}/.well-known/openid-configuration", settings.issuer.trim_end_matches('/'));
    let (metadata, names_itself) = described(&url, get(http, &url).await?, settings)?;
    let keys: CoreJsonWebKeySet = get(http, metadata.jwks_uri().as_str()).await?;
    Ok(Known { metadata: metadata.set_jwks(keys), names_itself, fetched: Instant::now() })
}

/// What a document from `url` says of the provider, and whether that names itself in answers.
fn described(url: &str, document: Value, settings: &Settings) -> Result<(CoreProviderMetadata, bool), String> {
    let names_itself = document.get("authorization_response_iss_parameter_supported") == Some(&Value::Bool(true));
    let metadata: CoreProviderMetadata =
        serde_json::from_value(document).map_err(|why| format!("{url}: this does not describe a provider: {why}"))?;
    // Section 4.3: exactly the same, or somebody passes another provider off as this one.
    if metadata.issuer().as_str() != settings.issuer {
        return Err(format!("{url} describes the issuer `{}`, not `{}`", metadata.issuer().as_str(), settings.issuer));
    }
    let token = metadata.token_endpoint().ok_or_else(|| format!("{url} names no token_endpoint"))?;
    for endpoint in [metadata.authorization_endpoint().url(), token.url(), metadata.jwks_uri().url()] {
        if endpoint.scheme() != "https" && !settings.is_plain() {
            return Err(format!("{url} names `{endpoint}`, which is not encrypted"));
        }
    }
    Ok((metadata, names_itself))
}

/// A provider that says this of itself and has these keys.
#[cfg(feature = "fuzz")]
pub(super) fn known(document: &[u8], keys: &[u8], settings: &Settings) -> Result<Known, String> {
    let document = serde_json::from_slice(document).map_err(|why| why.to_string())?;
    let (metadata, names_itself) = described(&settings.issuer, document, settings)?;
    let keys: CoreJsonWebKeySet = serde_json::from_slice(keys).map_err(|why| why.to_string())?;
    Ok(Known { metadata: metadata.set_jwks(keys), names_itself, fetched: Instant::now() })
}

async fn get<T: DeserializeOwned>(http: &Client, url: &str) -> Result<T, String> {
    let request = http.get(url).build().map_err(|why| format!("{url}: {}", chain(&why)))?;
    let answer = exchange(http, request).await.map_err(|why| format!("{url}: {why}"))?;
    if answer.status() != 200 {
        return Err(format!("{url} answered {}", answer.status().as_u16()));
    }
    serde_json::from_slice(answer.body()).map_err(|why| format!("{url}: {why}"))
}

/// One exchange of the token endpoint.
pub(super) async fn send(http: Client, request: HttpRequest) -> Result<HttpResponse, Unreachable> {
    let request = reqwest::Request::try_from(request).map_err(|why| Unreachable(chain(&why.without_url())))?;
    exchange(&http, request).await
}

async fn exchange(http: &Client, request: reqwest::Request) -> Result<HttpResponse, Unreachable> {
    let failed = |why: reqwest::Error| Unreachable(chain(&why.without_url()));
    let mut answer = http.execute(request).await.map_err(failed)?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(failed)? {
        if body.len() + part.len() > BYTES_MAX {
            return Err(Unreachable(format!("the answer has more than {BYTES_MAX} bytes")));
        }
        body.extend_from_slice(&part);
    }
    let mut response = HttpResponse::new(body);
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    Ok(response)
}

/// An error with what led to it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    // Nobody's errors are nested deeper.
    for _level in 0..8 {
        let Some(cause) = next else { break };
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
