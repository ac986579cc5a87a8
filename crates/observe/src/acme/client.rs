//! Orders from an authority (RFC 8555), by the crate `instant-acme` over our own HTTP client.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, CertificateIdentifier, ChallengeType, ExternalAccountKey,
    Identifier, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use mainstay_core::alert::Millis;
use mainstay_gateway::spec::Challenge;
use mainstay_runtime::tls::Answer;
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use super::http::{Http, chain};
use super::settings::Settings;

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
        Ok(Self { settings, http: Http::new(settings).map_err(failed)? })
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

    /// Orders, in place of the certificate `replaced`. `publish` has every node answer the authority's challenges, and comes
    /// back once they do.
    pub(super) async fn order(
        &self,
        account: &Account,
        replaced: Option<CertificateIdentifier<'_>>,
        publish: impl AsyncFn(&[Answer]) -> Result<(), String>,
    ) -> Result<Fresh, Failed> {
        let mut order = self.begin(account, replaced).await?;
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

    /// Begins an order in place of the certificate `replaced` (RFC 9773, section 5), and of its own if the authority will not
    /// have it so.
    async fn begin(&self, account: &Account, replaced: Option<CertificateIdentifier<'_>>) -> Result<Order, Failed> {
        let names: Vec<Identifier> = self.settings.domains.iter().cloned().map(Identifier::Dns).collect();
        if let Some(replaced) = replaced {
            match account.new_order(&NewOrder::new(&names).replaces(replaced)).await {
                Err(error) if may_be_for_the_replacement(&error) => {
                    tracing::debug!(certificate = self.settings.name, why = chain(&error), "acme: it replaces none");
                }
                order => return order.map_err(|error| self.failed("the order", error)),
            }
        }
        let order = account.new_order(&NewOrder::new(&names)).await;
        order.map_err(|error| self.failed("the order", error))
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
        Failed { why: clip(format!("{what}: {}", chain(&error))), not_before: self.http.take_wait(), is_unknown }
    }
}

/// Whether the same order may be taken if it replaces no certificate: the authority does not know of that, does not repeat it,
/// or will not have it.
fn may_be_for_the_replacement(error: &instant_acme::Error) -> bool {
    match error {
        instant_acme::Error::Unsupported(_) => true,
        instant_acme::Error::Other(error) => !error.is::<reqwest::Error>(),
        instant_acme::Error::Api(problem) => {
            let kind = problem.r#type.as_deref().unwrap_or_default();
            ["alreadyReplaced", "malformed", "unauthorized"].iter().any(|it| kind.ends_with(&format!(":{it}")))
        }
        _other => false,
    }
}

fn failed(why: String) -> Failed {
    Failed { why: clip(why), not_before: None, is_unknown: false }
}

fn clip(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(SAID_CHARS_MAX));
    text.replace(char::is_control, " ")
}
