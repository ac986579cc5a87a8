//! HTTP as authorities are spoken with: bounded in time and size, with the directory's authorities, and with an eye on
//! `Retry-After`.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};
use mainstay_core::alert::Millis;
use mainstay_core::http_date;
use mainstay_runtime::tls::{ClientSettings, ClientTls};

use super::settings::Settings;
use crate::alerts::clock;

/// An answer of the authority, at most.
const BODY_BYTES_MAX: usize = 1 << 20;
/// One question and its answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// What an authority is spoken with.
#[derive(Clone)]
pub(super) struct Http {
    client: reqwest::Client,
    /// Until when the last refusal asks to wait.
    wait: Arc<Mutex<Option<Millis>>>,
}

impl Http {
    /// For this certificate.
    pub(super) fn new(settings: &Settings) -> Result<Self, String> {
        let tls = ClientSettings { verify: true, ca: settings.ca.clone(), client: None };
        let tls = ClientTls::load(&tls, &[]).map_err(|error| error.to_string())?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.as_ref().clone())
            .redirect(reqwest::redirect::Policy::none())
            .https_only(true)
            .no_proxy()
            .timeout(REQUEST_TIMEOUT)
            .build()
            .map_err(|error| format!("no client for the authority: {}", chain(&error)))?;
        Ok(Self { client, wait: Arc::default() })
    }

    /// Until when the last refusal asks to wait; it is forgotten then.
    pub(super) fn take_wait(&self) -> Option<Millis> {
        self.wait.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Asks for what is there.
    pub(super) async fn get(&self, url: &str) -> Result<http::Response<Bytes>, instant_acme::Error> {
        self.send(self.client.get(url).build().map_err(other)?).await
    }

    async fn send(&self, request: reqwest::Request) -> Result<http::Response<Bytes>, instant_acme::Error> {
        let mut response = self.client.execute(request).await.map_err(other)?;
        if response.status().is_client_error() || response.status().is_server_error() {
            let until = response.headers().get(http::header::RETRY_AFTER).and_then(retry_after);
            *self.wait.lock().unwrap_or_else(PoisonError::into_inner) = until;
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
        Ok(answer.body(Bytes::from(read))?)
    }
}

impl HttpClient for Http {
    fn request(
        &self,
        request: http::Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let http = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map_err(|error| instant_acme::Error::Other(Box::new(error)))?.to_bytes();
            let request = reqwest::Request::try_from(http::Request::from_parts(parts, body)).map_err(other)?;
            let (parts, body) = http.send(request).await?.into_parts();
            Ok(BytesResponse { parts, body: Box::new(body) })
        })
    }
}

fn other(error: reqwest::Error) -> instant_acme::Error {
    instant_acme::Error::Other(Box::new(error))
}

/// Seconds, or a date (RFC 9110, section 10.2.3), as milliseconds since 1970.
pub(super) fn retry_after(value: &http::HeaderValue) -> Option<Millis> {
    let text = value.to_str().ok()?.trim();
    match text.parse::<u64>() {
        Ok(seconds) => Some(clock::now().saturating_add(seconds.saturating_mul(1000))),
        Err(_a_date) => {
            http_date::parse(text.as_bytes(), clock::now() / 1000).map(|seconds| seconds.saturating_mul(1000))
        }
    }
}

/// An error with everything that led to it.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
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
