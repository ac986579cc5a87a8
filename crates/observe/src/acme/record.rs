use std::collections::BTreeSet;
use std::fmt;

use instant_acme::CertificateIdentifier;
use mainstay_core::alert::Millis;
use mainstay_core::renewal::advice::Advice;
use mainstay_core::renewal::{Observation, Previous, Validity};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};

use super::settings::Settings;
use crate::certificates::{self, Certificate};

/// Everything that is known of one certificate. It holds private keys: it is never shown.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The account, as the client library writes it, key included.
    pub(super) account: Option<serde_json::Value>,
    /// The directory that the account is at.
    pub(super) account_at: String,
    /// What was issued last.
    pub(super) issued: Option<Issued>,
    /// What became of earlier orders.
    pub(super) previous: Previous,
    /// The last order.
    pub(super) last: Option<Attempt>,
    /// When the authority would have renewed what was issued last.
    #[serde(default)]
    pub(super) advice: Advice,
}

/// A certificate with its key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Issued {
    /// In PEM, the leaf first.
    pub(super) chain: String,
    /// In PEM.
    pub(super) key: String,
    /// What it was ordered for.
    pub(super) domains: BTreeSet<String>,
    /// Where it was ordered.
    pub(super) directory: String,
}

/// An order, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it began, in milliseconds since 1970.
    pub at: Millis,
    /// The node that ordered.
    pub node: String,
    /// Why it has failed, if it has.
    pub error: Option<String>,
    /// Whether it is over.
    pub is_over: bool,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("previous", &self.previous).field("last", &self.last).finish_non_exhaustive()
    }
}

impl Record {
    /// The certificate that was issued last.
    pub fn certificate(&self) -> Option<Certificate> {
        certificates::parse_pem(self.issued.as_ref()?.chain.as_bytes()).ok()?.into_iter().next()
    }

    /// What the authority calls the certificate that was issued last (RFC 9773, section 4.1), if it is that authority's and for
    /// one of the names.
    pub(super) fn identifier(&self, settings: &Settings) -> Option<CertificateIdentifier<'static>> {
        let is_one = |it: &&Issued| {
            it.directory == settings.directory && settings.domains.iter().any(|domain| it.domains.contains(domain))
        };
        let leaf = CertificateDer::from_pem_slice(self.issued.as_ref().filter(is_one)?.chain.as_bytes()).ok()?;
        Some(CertificateIdentifier::try_from(&leaf).ok()?.into_owned())
    }

    /// What there is, as the planner sees it.
    pub(super) fn observation(&self, settings: &Settings, asked: bool) -> Observation {
        let certificate = self.certificate();
        let fits = self.issued.as_ref().is_some_and(|issued| {
            issued.directory == settings.directory && issued.domains == settings.domains.iter().cloned().collect()
        });
        let validity = certificate.map(|it| Validity { from: it.from, until: it.until });
        Observation { certificate: validity, fits, asked, suggested: self.advice.window }
    }
}
