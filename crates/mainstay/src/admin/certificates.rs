//! `/api/v1/certificates`: every certificate in use, and how long it is valid.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::State as Shared;
use axum::response::{IntoResponse, Json, Response};
use mainstay_admin::endpoint::{self, Endpoint};
use mainstay_admin::role::VIEWER;
use mainstay_core::timestamp::{self, rfc3339};
use mainstay_gateway::state::State;
use mainstay_observe::alerts::clock;
use mainstay_observe::certificates;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Node;
use super::acme::{self, AcmeStatus};

/// Files are read again after as long.
const FRESH: Duration = Duration::from_secs(10);
/// Certificates that are watched, at most.
const WATCHED_MAX: usize = 1000;

/// All certificates in use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CertificatesAnswer {
    /// Those that end first come first; before them files that cannot be read.
    pub items: Vec<CertificateStatus>,
    /// There is never more.
    pub next: Option<String>,
}

/// A certificate in use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CertificateStatus {
    /// What for, such as `listener web`.
    pub usage: String,
    /// Its file.
    pub file: String,
    /// Whom it is for.
    pub subject: String,
    /// Who vouches for that.
    pub issuer: String,
    /// The names of hosts that it is for.
    pub names: Vec<String>,
    /// From when it is valid.
    pub not_before: Option<String>,
    /// Until when.
    pub not_after: Option<String>,
    /// Days until then, negative afterwards.
    pub days_left: Option<f64>,
    /// Why it cannot be read, or that there is none.
    pub problem: Option<String>,
    /// How its orders fare, if an authority issues it.
    #[serde(default)]
    pub acme: Option<AcmeStatus>,
}

impl CertificateStatus {
    /// Whether more than a quarter of its time is left.
    pub fn is_early(&self) -> bool {
        let times = self
            .not_before
            .as_deref()
            .and_then(timestamp::parse)
            .zip(self.not_after.as_deref().and_then(timestamp::parse));
        times.is_some_and(|(from, until)| until.saturating_sub(clock::now()) > until.saturating_sub(from) / 4)
    }
}

/// What was read last, and when.
#[derive(Debug, Default)]
pub struct Watched(Mutex<Option<(Instant, Arc<Vec<CertificateStatus>>)>>);

impl Watched {
    /// The certificates in files that are in use: besides those of `state` that of the admin interface, and those of the
    /// cluster in `data_dir`.
    pub fn look(&self, state: &State, admin: Option<&Path>, data_dir: Option<&Path>) -> Arc<Vec<CertificateStatus>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, found)) = &*kept
            && at.elapsed() < FRESH
        {
            return Arc::clone(found);
        }
        let mut found: Vec<_> =
            files(state, admin, data_dir).into_iter().map(|(usage, file)| read(usage, &file)).collect();
        sort(&mut found);
        let found = Arc::new(found);
        *kept = Some((Instant::now(), Arc::clone(&found)));
        found
    }
}

fn sort(found: &mut [CertificateStatus]) {
    found.sort_by(|a, b| {
        let left = |it: &CertificateStatus| it.days_left.unwrap_or(f64::MIN);
        left(a).total_cmp(&left(b)).then_with(|| a.usage.cmp(&b.usage))
    });
}

fn files(state: &State, admin: Option<&Path>, data_dir: Option<&Path>) -> Vec<(String, PathBuf)> {
    let mut files = Vec::new();
    files.extend(admin.map(|file| ("admin interface".to_owned(), file.to_owned())));
    for listener in &state.listeners {
        let name = &listener.spec.name;
        let certificates = listener.spec.tls.iter().flat_map(|tls| &tls.certificates);
        files.extend(certificates.map(|it| (format!("listener {name}"), it.cert.clone())));
    }
    for service in &state.services {
        let name = &service.spec.name;
        let client = service.spec.tls.as_ref().and_then(|tls| tls.client.as_ref());
        files.extend(client.map(|it| (format!("service {name}, towards endpoints"), it.cert.clone())));
        let authority = service.spec.tls.as_ref().and_then(|tls| tls.ca.as_ref());
        files.extend(authority.map(|it| (format!("service {name}, authority of endpoints"), it.clone())));
    }
    if let Some(folder) = data_dir.map(|folder| folder.join("cluster")) {
        for (usage, file) in [("cluster node", "node.crt"), ("cluster authority", "ca.crt")] {
            let file = folder.join(file);
            if file.exists() {
                files.push((usage.to_owned(), file));
            }
        }
    }
    files.truncate(WATCHED_MAX);
    files
}

/// The first certificate of a file: the one that is shown, whose authorities outlive it.
fn read(usage: String, file: &Path) -> CertificateStatus {
    let status = CertificateStatus { usage, file: file.display().to_string(), ..CertificateStatus::default() };
    let found = certificates::read(file).map(|all| all.into_iter().next());
    match found {
        Ok(Some(it)) => CertificateStatus {
            days_left: Some((it.days_left(clock::now()) * 100.0).round() / 100.0),
            not_before: Some(rfc3339(it.from)),
            not_after: Some(rfc3339(it.until)),
            subject: it.subject,
            issuer: it.issuer,
            names: it.names,
            ..status
        },
        Ok(None) => status,
        Err(problem) => CertificateStatus { problem: Some(problem), ..status },
    }
}

impl Node {
    /// The certificates in use, as of a few seconds ago.
    pub fn certificates(&self) -> Arc<Vec<CertificateStatus>> {
        let in_files =
            self.certificates.look(&self.gateway.state(), self.admin_tls.as_deref(), self.data_dir.as_deref());
        let ordered = self.ordered();
        if ordered.is_empty() {
            return in_files;
        }
        let mut all = in_files.as_ref().clone();
        all.extend(ordered.iter().map(acme::as_certificate));
        sort(&mut all);
        Arc::new(all)
    }
}

pub(super) fn endpoints() -> Vec<Endpoint<Arc<Node>>> {
    vec![
        endpoint::get("/api/v1/certificates", VIEWER, "Every certificate in use, and how long it is valid")
            .answers::<CertificatesAnswer>()
            .by(list),
    ]
}

async fn list(Shared(node): Shared<Arc<Node>>) -> Response {
    Json(CertificatesAnswer { items: node.certificates().to_vec(), next: None }).into_response()
}
