//! Sends messages.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, MessageBuilder};
use lettre::transport::smtp::AsyncSmtpTransportBuilder;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use mainstay_core::alert::Delivery;
use serde_json::Value;

use super::clock;
use super::message::{self, Links};
use super::settings::{Destination, Mail, MailTls, Settings, Way};
use crate::secret::Secret;

/// Bytes of a refusal that are kept, for people.
const REFUSAL_BYTES_MAX: usize = 200;

/// Carries messages to receivers.
#[async_trait]
pub trait Sender: Send + Sync {
    /// Delivers one message; the receiver has confirmed it if this succeeds.
    ///
    /// # Errors
    /// Why it has not, or perhaps has not, without any secret.
    async fn send(&self, delivery: &Delivery) -> Result<(), String>;
}

/// Sends over the network.
#[derive(Debug)]
pub struct Network {
    http: reqwest::Client,
    destinations: BTreeMap<String, Destination>,
    links: Links,
}

impl Network {
    /// For these receivers.
    ///
    /// # Errors
    /// If the system's certificates cannot be used.
    pub fn new(settings: &Settings) -> Result<Self, String> {
        // A receiver that answers with a redirection would get the message, with its secrets, sent to somebody else.
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
        let http = http.user_agent(concat!("mainstay/", env!("CARGO_PKG_VERSION"))).build();
        let http = http.map_err(|error| format!("no client for receivers of alerts: {}", chain(&error)))?;
        let destinations = settings.destinations.iter().map(|it| (it.receiver.name.clone(), it.clone())).collect();
        Ok(Self { http, destinations, links: Links::of(settings) })
    }

    async fn deliver(&self, delivery: &Delivery, to: &Destination) -> Result<(), String> {
        match &to.way {
            Way::PagerDuty { url, routing_key } => {
                let (url, key) = (url.read()?, routing_key.read()?);
                for event in message::pagerduty(delivery, &self.links, &key) {
                    self.post(&url, &event, None).await?;
                }
                Ok(())
            }
            Way::Slack { url } => self.post(&url.read()?, &message::slack(delivery, &self.links), None).await,
            Way::Alertmanager { url, authorization } => {
                let url = format!("{}/api/v2/alerts", url.read()?.trim_end_matches('/'));
                let lives = to.receiver.times.repeat.saturating_mul(4).max(60_000);
                let alerts = message::alertmanager(delivery, &self.links, clock::now(), lives);
                self.post(&url, &alerts, authorization.as_ref()).await
            }
            Way::Webhook { url, authorization } => {
                let body = message::webhook(delivery, &self.links);
                self.post(&url.read()?, &body, authorization.as_ref()).await
            }
            Way::Mail(mail) => self.mail(mail, delivery, to.timeout).await,
        }
    }

    async fn post(&self, url: &str, body: &Value, authorization: Option<&Secret>) -> Result<(), String> {
        let mut request = self.http.post(url).json(body);
        if let Some(secret) = authorization {
            request = request.header("authorization", secret.read()?);
        }
        // Addresses may be secrets.
        let mut response = request.send().await.map_err(|error| chain(&error.without_url()))?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let said = response.chunk().await.ok().flatten().unwrap_or_default();
        let said = String::from_utf8_lossy(&said[..said.len().min(REFUSAL_BYTES_MAX)]).into_owned();
        let said: String = said.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        Err(format!("answered {}: {}", status.as_u16(), said.trim()))
    }

    async fn mail(&self, mail: &Mail, delivery: &Delivery, timeout: Duration) -> Result<(), String> {
        let address = |text: &str| text.parse::<Mailbox>().map_err(|error| format!("`{text}`: {error}"));
        let mut letter = MessageBuilder::new().from(address(&mail.from)?).subject(message::subject(delivery));
        for to in &mail.to {
            letter = letter.to(address(to)?);
        }
        let letter = letter.header(ContentType::TEXT_PLAIN).body(message::text(delivery, &self.links));
        let letter = letter.map_err(|error| format!("no mail can be made of it: {}", chain(&error)))?;
        let transport = transport(mail)?.timeout(Some(timeout)).build();
        transport.send(letter).await.map(|_response| ()).map_err(|error| chain(&error))
    }
}

fn transport(mail: &Mail) -> Result<AsyncSmtpTransportBuilder, String> {
    let tls = || TlsParameters::new(mail.host.clone()).map_err(|error| chain(&error));
    let tls = match mail.tls {
        MailTls::Wrapped => Tls::Wrapper(tls()?),
        MailTls::Starttls => Tls::Required(tls()?),
        MailTls::Plain => Tls::None,
    };
    let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&mail.host).port(mail.port).tls(tls);
    match &mail.user {
        Some((name, password)) => Ok(transport.credentials(Credentials::new(name.clone(), password.read()?))),
        None => Ok(transport),
    }
}

#[async_trait]
impl Sender for Network {
    async fn send(&self, delivery: &Delivery) -> Result<(), String> {
        let Some(to) = self.destinations.get(&delivery.receiver) else {
            return Err("the configuration has no such receiver".to_owned());
        };
        match tokio::time::timeout(to.timeout, self.deliver(delivery, to)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(format!("no answer within {} ms", to.timeout.as_millis())),
        }
    }
}

/// An error with everything that led to it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text.truncate(text.floor_char_boundary(2 * REFUSAL_BYTES_MAX));
    text
}

/// Whether mail may go to this host without being protected.
pub fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
