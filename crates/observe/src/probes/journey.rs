//! One journey: its steps in order, up to the first that fails.

use std::sync::Arc;
use std::time::Duration;

use mainstay_probe::script::{Form, Template};
use mainstay_runtime::tls::{ClientSettings, ClientTls};
use reqwest::Url;
use rustls::ClientConfig;
use tokio::time::Instant;

use super::cookies::Jar;
use super::{Action, Probe, Step, http, wire};

/// A name server is given so much more time, so that the words for what takes too long are always the same.
const LATE: Duration = Duration::from_secs(1);
/// Shorter values are no secrets, and hiding them would make reasons unreadable.
const HIDDEN_LEAST: usize = 3;
/// Bytes of a reason, at most.
const REASON_BYTES_MAX: usize = 200;

/// What became of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepOutcome {
    /// What people call it.
    pub name: String,
    /// How long it took.
    pub took: Duration,
    /// Why it failed, without a secret.
    pub failed: Option<String>,
    /// Days until the certificate that it met ends.
    pub certificate_days: Option<f64>,
}

/// What became of a journey.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// How long it took.
    pub took: Duration,
    /// The steps that were begun; only the last can have failed.
    pub steps: Vec<StepOutcome>,
}

impl Outcome {
    /// Whether every step passed.
    pub fn passed(&self) -> bool {
        self.steps.iter().all(|step| step.failed.is_none())
    }

    /// Which step failed, and why.
    pub fn reason(&self) -> Option<String> {
        let (index, step) = self.steps.iter().enumerate().find(|(_index, step)| step.failed.is_some())?;
        Some(format!("step {} ({}): {}", index + 1, step.name, step.failed.as_deref().unwrap_or_default()))
    }
}

/// What steps hand on to later ones.
pub(super) struct Journey<'p> {
    pub(super) probe: &'p Probe,
    /// Secrets first, then what was captured.
    pub(super) values: Vec<(String, String)>,
    pub(super) cookies: Jar,
    /// The URL of the last request.
    pub(super) at: Option<Url>,
    client: Option<reqwest::Client>,
    tls: Option<Arc<ClientConfig>>,
}

impl Journey<'_> {
    /// TLS as the probe has it.
    pub(super) fn tls(&mut self) -> Result<Arc<ClientConfig>, String> {
        if let Some(config) = &self.tls {
            return Ok(Arc::clone(config));
        }
        let settings = ClientSettings { ca: self.probe.ca.clone(), ..ClientSettings::default() };
        let config = ClientTls::load(&settings, &[b"http/1.1"]).map_err(|error| error.to_string())?;
        Ok(Arc::clone(self.tls.insert(config)))
    }

    /// What sends requests. Each journey has its own, and so connects anew as a user would.
    pub(super) fn client(&mut self) -> Result<reqwest::Client, String> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let tls = self.tls()?;
        let builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
        let builder = builder.tls_backend_preconfigured((*tls).clone()).user_agent("mainstay-probe");
        let client = builder.build().map_err(|error| error.without_url().to_string())?;
        Ok(self.client.insert(client).clone())
    }

    /// A text with its values.
    pub(super) fn fill(&self, text: &Template, form: Form) -> String {
        text.fill(&self.values, form)
    }

    /// A reason as it may be shown: on one line, of limited length, with no value in it that is not in the configuration.
    fn shown(&self, reason: &str) -> String {
        let values = self.values.iter().map(|(_name, value)| value.as_str()).chain(self.cookies.values());
        let mut hidden: Vec<&str> = values.filter(|value| value.len() >= HIDDEN_LEAST).collect();
        // A value that holds another one must go first.
        hidden.sort_by_key(|value| std::cmp::Reverse(value.len()));
        let mut text = reason.to_owned();
        for value in hidden {
            text = text.replace(value, "***");
        }
        let mut text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        text.truncate(text.floor_char_boundary(REASON_BYTES_MAX));
        text
    }

    async fn step(&mut self, step: &Step, deadline: Instant) -> StepOutcome {
        let started = Instant::now();
        let until = step.timeout.map_or(deadline, |timeout| deadline.min(started + timeout));
        let mut certificate_days = None;
        let doing = async {
            match &step.action {
                Action::Http(request) => http::ask(self, request).await,
                Action::Tcp(talk) => wire::talk(self, talk).await,
                Action::Tls(handshake) => wire::shake_hands(self, handshake, &mut certificate_days).await,
                Action::Dns(question) => wire::look_up(question, until - started + LATE).await,
            }
        };
        let result = tokio::time::timeout_at(until, doing).await;
        let result = result.unwrap_or_else(|_elapsed| {
            Err(format!("no answer within {:.1} s", until.saturating_duration_since(started).as_secs_f64()))
        });
        let failed = result.err().map(|reason| self.shown(&reason));
        StepOutcome { name: step.name.clone(), took: started.elapsed(), failed, certificate_days }
    }
}

/// Makes one journey. It ends within the probe's timeout and a little.
pub async fn run(probe: &Probe) -> Outcome {
    let started = Instant::now();
    let deadline = started + probe.timeout;
    let mut journey = Journey { probe, values: Vec::new(), cookies: Jar::default(), at: None, client: None, tls: None };
    let mut steps = Vec::new();
    for (name, secret) in &probe.secrets {
        match secret.read() {
            Ok(value) => journey.values.push((name.clone(), value)),
            Err(reason) => {
                let name = probe.steps.first().map(|step| step.name.clone()).unwrap_or_default();
                steps.push(StepOutcome { name, took: started.elapsed(), failed: Some(reason), certificate_days: None });
                return Outcome { took: started.elapsed(), steps };
            }
        }
    }
    for step in &probe.steps {
        let outcome = journey.step(step, deadline).await;
        let ends = outcome.failed.is_some();
        steps.push(outcome);
        if ends {
            break;
        }
    }
    Outcome { took: started.elapsed(), steps }
}
