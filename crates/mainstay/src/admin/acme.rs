//! Certificates that authorities issue: how they stand, and `POST /api/v1/certificates/renew`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use mainstay_admin::endpoint::{self, Endpoint};
use mainstay_admin::role::OPERATOR;
use mainstay_core::timestamp::rfc3339;
use mainstay_gateway::spec::Challenge;
use mainstay_observe::acme::desk::{Refusal, View};
use mainstay_observe::acme::shelf::Shelf;
use mainstay_observe::alerts::clock;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::admin::Node;
use crate::admin::api::{error, read};
use crate::admin::certificates::CertificateStatus;

/// A certificate that an authority issues.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AcmeStatus {
    /// Its name in the configuration.
    pub name: String,
    /// The authority's directory.
    pub directory: String,
    /// How the authority finds out who answers for the names: `http-01` or `tls-alpn-01`.
    pub challenge: String,
    /// The names that it is for.
    pub domains: Vec<String>,
    /// `valid`, `expired`, or `missing`: none was issued yet, and clients see a stand-in that nobody trusts.
    pub state: String,
    /// The node that orders, as far as is known.
    pub orderer: Option<String>,
    /// When it was ordered last.
    pub last_order: Option<String>,
    /// Why nothing was issued then.
    pub last_error: Option<String>,
    /// Orders that have failed since one succeeded.
    pub failures: u32,
    /// When it is ordered next, if this node orders.
    pub next_order: Option<String>,
    /// Why then: `missing`, `changed`, `due`, `suggested` or `asked`.
    pub next_why: Option<String>,
    /// Within which time the authority would have it renewed, if it says so.
    #[serde(default)]
    pub suggested: Option<SuggestedWindow>,
}

/// Within which time an authority would have a certificate renewed (RFC 9773).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SuggestedWindow {
    /// From when.
    pub start: String,
    /// Until when.
    pub end: String,
    /// The authority's page that says why.
    pub explanation: Option<String>,
}

/// What `POST /api/v1/certificates/renew` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// The name of the `[[acme]]`.
    pub name: String,
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RenewAnswer {
    /// The name of the `[[acme]]` that is ordered as soon as the authority's limits allow.
    pub name: String,
}

impl From<&View> for AcmeStatus {
    fn from(view: &View) -> Self {
        let state = match &view.certificate {
            None => "missing",
            Some(certificate) if certificate.until <= clock::now() => "expired",
            Some(_certificate) => "valid",
        };
        let challenge = match view.settings.challenge {
            Challenge::Http01 => "http-01",
            Challenge::TlsAlpn01 => "tls-alpn-01",
        };
        Self {
            name: view.settings.name.clone(),
            directory: view.settings.directory.clone(),
            challenge: challenge.to_owned(),
            domains: view.settings.domains.clone(),
            state: state.to_owned(),
            orderer: view.orderer.clone(),
            last_order: view.last.as_ref().map(|last| rfc3339(last.at)),
            last_error: view.last.as_ref().and_then(|last| last.error.clone()),
            failures: view.failures,
            next_order: view.next.map(|next| rfc3339(next.at.max(clock::now()))),
            next_why: view.next.map(|next| next.why.word().to_owned()),
            suggested: view.advice.window.map(|window| SuggestedWindow {
                start: rfc3339(window.start()),
                end: rfc3339(window.end()),
                explanation: view.advice.explanation.clone(),
            }),
        }
    }
}

/// As a certificate in use among others.
pub(super) fn as_certificate(view: &View) -> CertificateStatus {
    let status = CertificateStatus {
        usage: format!("acme {}", view.settings.name),
        acme: Some(AcmeStatus::from(view)),
        ..CertificateStatus::default()
    };
    let Some(certificate) = &view.certificate else {
        let error = view.last.as_ref().and_then(|last| last.error.as_deref());
        let why = error.map_or_else(String::new, |error| format!("; the last order has failed: {error}"));
        return CertificateStatus {
            subject: view.settings.domains.first().cloned().unwrap_or_default(),
            names: view.settings.domains.clone(),
            problem: Some(format!("none was issued yet, and clients see a stand-in{why}")),
            ..status
        };
    };
    CertificateStatus {
        subject: certificate.subject.clone(),
        issuer: certificate.issuer.clone(),
        names: certificate.names.clone(),
        not_before: Some(rfc3339(certificate.from)),
        not_after: Some(rfc3339(certificate.until)),
        days_left: Some((certificate.days_left(clock::now()) * 100.0).round() / 100.0),
        ..status
    }
}

impl Node {
    /// Has its certificates ordered by way of `shelf`.
    pub fn order_through(&self, shelf: Arc<Shelf>) {
        let _set_once = self.acme.set(shelf);
    }

    /// What it has of certificates that authorities issue.
    pub fn acme(&self) -> Option<&Arc<Shelf>> {
        self.acme.get()
    }

    /// How these certificates stand.
    pub fn ordered(&self) -> Vec<View> {
        self.acme.get().map(|shelf| shelf.desk().views()).unwrap_or_default()
    }
}

pub(super) fn endpoints() -> Vec<Endpoint<Arc<Node>>> {
    let renews = endpoint::post("/api/v1/certificates/renew", OPERATOR, "Orders a certificate of an [[acme]] now")
        .command("mainstay certificate renew")
        .takes::<RenewRequest>()
        .answers::<RenewAnswer>();
    vec![renews.by(renew)]
}

async fn renew(Shared(node): Shared<Arc<Node>>, sent: Body) -> Response {
    let request: RenewRequest = match read(sent, r#"send {"name": "NAME"}"#).await {
        Ok(request) => request,
        Err(refusal) => return *refusal,
    };
    let asked = match node.acme() {
        Some(shelf) => shelf.desk().ask(&request.name).await,
        None => Err(Refusal::NotThere(request.name.clone())),
    };
    match asked {
        Ok(()) => Json(RenewAnswer { name: request.name }).into_response(),
        Err(why @ Refusal::NotThere(_)) => error(StatusCode::NOT_FOUND, why.to_string(), None),
        Err(why @ Refusal::Store(_)) => error(StatusCode::SERVICE_UNAVAILABLE, why.to_string(), None),
    }
}
