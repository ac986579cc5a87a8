//! Speaks with an authority (RFC 8555), by the crate `instant-acme` over our own HTTP client: bounded in time and size, with
//! the directory's authorities, and with an eye on `Retry-After`.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, BodyWrapper, BytesResponse, ChallengeType, ExternalAccountKey,
    HttpClient, Identifier, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use mainstay_core::alert::Millis;
use mainstay_core::http_date;
use mainstay_gateway::spec::Challenge;
use mainstay_runtime::tls::{Answer, ClientSettings, ClientTls};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use super::settings::Settings;
use crate::alerts::clock;

/// An answer of the authority, at most.
const BODY_BYTES_MAX: usize = 1 << 20;
/// One question and its answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the authority may take to look at the answers to its challenges, and again to sign.
const PATIENCE: Duration = Duration::from_secs(90);
/// A token has at least 128 bits in base64url (RFC 8555, section 8.1); there is no reason for a long one.
const TOKEN_CHARS_MAX: usize = 256;
/// Characters of what the authority says that are kept, for people.
const SAID_CHARS_MAX: usize = 600;

/// Why nothing was issued.
#[derive(Debug)]
pub(super) struct Failed {
    /// For people.
    pub(super) why: String,
    /// The authority asks to wait until then.
    pub(super) not_before: Option<Millis>,
    /// The authority does not know the account.
    pub(super) is_unknown: bool,
}

/// A certificate that was just issued.
pub(super) struct Fresh {
    /// In PEM, the leaf first.
    pub(super) chain: String,
    /// In PEM.
    pub(super) key: String,
}

/// A way to one authority.
pub(super) struct Client<'s> {
    settings: &'s Settings,
    http: Http,
}

impl<'s> Client<'s> {
    /// For this certificate.
    pub(super) fn new(settings: &'s Settings) -> Result<Self, Failed> {
        let tls = ClientSettings { verify: true, ca: settings.ca.clone(), client: None };
        let tls = ClientTls::load(&tls, &[]).map_err(|error| failed(error.to_string()))?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.as_ref().clone())
            .redirect(reqwest::redirect::Policy::none())
            .https_only(true)
            .no_proxy()
            .timeout(REQUEST_TIMEOUT)
            .build()
            .map_err(|error| failed(format!("no client for the authority: {}", chain(&error))))?;
        Ok(Self { settings, http: Http { client, wait: Arc::default() } })
    }

    /// The account, and how it is written down: that which is known, or a new one.
    pub(super) async fn account(
        &self,
        known: Option<&serde_json::Value>,
    ) -> Result<(Account, serde_json::Value), Failed> {
        let builder = || Account::builder_with_http(Box::new(self.http.clone()));
        if let Some(known) = known
            && let Ok(credentials) = serde_json::from_value::<AccountCredentials>(known.clone())
        {
            let account = builder().from_credentials(credentials).await;
            return Ok((account.map_err(|error| self.failed("the directory", error))?, known.clone()));
        }
        let binding = self.settings.binding.as_ref().map(|binding| {
            let key = binding.key.read().map_err(failed)?;
            let key = BASE64_URL_SAFE_NO_PAD.decode(key.trim_end_matches('='));
            let key = key.map_err(|_damaged| failed("the key of `binding` is not base64url".to_owned()))?;
            Ok(ExternalAccountKey::new(binding.id.clone(), &key))
        });
        let binding = binding.transpose()?;
        let contact: Vec<&str> = self.settings.contact.iter().map(String::as_str).collect();
        let wanted = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let made = builder().create(&wanted, self.settings.directory.clone(), binding.as_ref()).await;
        let (account, credentials) = made.map_err(|error| self.failed("a new account", error))?;
        let written = serde_json::to_value(&credentials).map_err(|error| failed(error.to_string()))?;
        Ok((account, written))
    }

    /// Orders. `publish` has every node answer the authority's challenges, and comes back once they do.
    pub(super) async fn order(
        &self,
        account: &Account,
        publish: impl AsyncFn(&[Answer]) -> Result<(), String>,
    ) -> Result<Fresh, Failed> {
        let names: Vec<Identifier> = self.settings.domains.iter().cloned().map(Identifier::Dns).collect();
        let order = account.new_order(&NewOrder::new(&names)).await;
        let mut order = order.map_err(|error| self.failed("the order", error))?;
        let answers = self.answers(&mut order).await?;
        if !answers.is_empty() {
            publish(&answers).await.map_err(failed)?;
            self.set_ready(&mut order).await?;
        }
        let patience = RetryPolicy::new().timeout(PATIENCE);
        match order.poll_ready(&patience).await {
            Ok(OrderStatus::Ready | OrderStatus::Valid | OrderStatus::Processing) => {}
            Ok(OrderStatus::Invalid | OrderStatus::Pending) => {
                let found = self.refusals(&mut order).await;
                return Err(failed(format!("the authority does not believe that the names are ours: {found}")));
            }
            Err(error) => {
                let found = self.refusals(&mut order).await;
                let failed = self.failed("the order", error);
                return Err(Failed { why: clip(format!("{}; {found}", failed.why)), ..failed });
            }
        }
        let key = KeyPair::generate().map_err(|error| failed(format!("no key can be made: {error}")))?;
        let request = CertificateParams::new(self.settings.domains.clone()).and_then(|mut params| {
            params.distinguished_name = DistinguishedName::new();
            params.serialize_request(&key)
        });
        let request = request.map_err(|error| failed(format!("no request can be made: {error}")))?;
        let finalized = order.finalize_csr(request.der()).await;
        finalized.map_err(|error| self.failed("the request for the certificate", error))?;
        let chain = order.poll_certificate(&patience).await;
        let chain = chain.map_err(|error| self.failed("the certificate", error))?;
        Ok(Fresh { chain, key: key.serialize_pem() })
    }

    fn kind(&self) -> (ChallengeType, &'static str) {
        match self.settings.challenge {
            Challenge::Http01 => (ChallengeType::Http01, "http-01"),
            Challenge::TlsAlpn01 => (ChallengeType::TlsAlpn01, "tls-alpn-01"),
        }
    }

    /// What is to be answered for the names that the authority does not believe yet to be ours.
    async fn answers(&self, order: &mut Order) -> Result<Vec<Answer>, Failed> {
        let mut answers = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|error| self.failed("an authorization", error))?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let domain = authorization.identifier().to_string().to_ascii_lowercase();
            let (kind, word) = self.kind();
            let Some(challenge) = authorization.challenge(kind) else {
                return Err(failed(format!("the authority does not offer {word} for {domain}")));
            };
            let is_token = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            let token = challenge.token.clone();
            if token.is_empty() || token.len() > TOKEN_CHARS_MAX || !token.bytes().all(is_token) {
                return Err(failed(format!("the authority's token for {domain} is not one")));
            }
            let authorized = challenge.key_authorization();
            answers.push(match self.settings.challenge {
                Challenge::Http01 => Answer::Http { token, content: authorized.as_str().to_owned() },
                Challenge::TlsAlpn01 => Answer::Tls { domain, digest: authorized.digest().as_ref().to_vec() },
            });
        }
        Ok(answers)
    }

    async fn set_ready(&self, order: &mut Order) -> Result<(), Failed> {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|error| self.failed("an authorization", error))?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            if let Some(mut challenge) = authorization.challenge(self.kind().0) {
                challenge.set_ready().await.map_err(|error| self.failed("a challenge", error))?;
            }
        }
        Ok(())
    }

    /// What the authority says of the names that it does not believe to be ours.
    async fn refusals(&self, order: &mut Order) -> String {
        let mut found = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            // What is known may be from before the authority looked; then what it says now is asked for.
            if authorization.status == AuthorizationStatus::Pending && authorization.refresh().await.is_err() {
                continue;
            }
            let domain = authorization.identifier().to_string();
            let problems = authorization.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
            found.extend(
                problems.map(|problem| format!("{domain}: {}", problem.detail.as_deref().unwrap_or("no reason"))),
            );
        }
        if found.is_empty() { "it does not say why".to_owned() } else { clip(found.join("; ")) }
    }

    fn failed(&self, what: &str, error: instant_acme::Error) -> Failed {
        let is_unknown = matches!(&error, instant_acme::Error::Api(problem)
            if problem.r#type.as_deref().is_some_and(|kind| kind.ends_with(":accountDoesNotExist")));
        let not_before = self.http.wait.lock().unwrap_or_else(PoisonError::into_inner).take();
        Failed { why: clip(format!("{what}: {}", chain(&error))), not_before, is_unknown }
    }
}

fn failed(why: String) -> Failed {
    Failed { why: clip(why), not_before: None, is_unknown: false }
}

/// What the library speaks HTTP with.
#[derive(Clone)]
struct Http {
    client: reqwest::Client,
    /// Until when the last refusal asks to wait.
    wait: Arc<Mutex<Option<Millis>>>,
}

impl HttpClient for Http {
    fn request(
        &self,
        request: http::Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let (client, wait) = (self.client.clone(), Arc::clone(&self.wait));
        Box::pin(async move {
            let other = |error: reqwest::Error| instant_acme::Error::Other(Box::new(error));
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map_err(|error| instant_acme::Error::Other(Box::new(error)))?.to_bytes();
            let request = reqwest::Request::try_from(http::Request::from_parts(parts, body)).map_err(other)?;
            let mut response = client.execute(request).await.map_err(other)?;
            if response.status().is_client_error() || response.status().is_server_error() {
                let until = response.headers().get(http::header::RETRY_AFTER).and_then(retry_after);
                *wait.lock().unwrap_or_else(PoisonError::into_inner) = until;
            }
            let mut answer = http::Response::builder().status(response.status());
            if let Some(headers) = answer.headers_mut() {
                headers.extend(response.headers().iter().map(|(name, value)| (name.clone(), value.clone())));
            }
            let mut read = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(other)? {
                if read.len() + chunk.len() > BODY_BYTES_MAX {
                    return Err(instant_acme::Error::Str("the authority's answer is too large"));
                }
                read.extend_from_slice(&chunk);
            }
            let (parts, ()) = answer.body(())?.into_parts();
            Ok(BytesResponse { parts, body: Box::new(Bytes::from(read)) })
        })
    }
}

/// Seconds, or a date (RFC 9110, section 10.2.3).
fn retry_after(value: &http::HeaderValue) -> Option<Millis> {
    let text = value.to_str().ok()?.trim();
    match text.parse::<u64>() {
        Ok(seconds) => Some(clock::now().saturating_add(seconds.saturating_mul(1000))),
        Err(_a_date) => {
            http_date::parse(text.as_bytes(), clock::now() / 1000).map(|seconds| seconds.saturating_mul(1000))
        }
    }
}

/// An error with everything that led to it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(&format!(": {cause_text}"));
        }
        source = cause.source();
    }
    text
}

fn clip(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(SAID_CHARS_MAX));
    text.replace(char::is_control, " ")
}
