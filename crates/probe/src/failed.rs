use std::fmt;
use std::io;
use std::time::Duration;

use rustls::CertificateError;

/// Which answers pass: inclusive ranges of status codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected(pub Vec<(u16, u16)>);

impl Expected {
    /// Whether `status` passes.
    pub fn accepts(&self, status: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&status))
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { ", " })?;
            if first == last { write!(f, "{first}")? } else { write!(f, "{first}-{last}")? }
        }
        Ok(())
    }
}

/// How far a probe came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Waiting for the TCP connection.
    Connection,
    /// Waiting for the TLS handshake.
    Handshake,
    /// Waiting for the response's head.
    Answer,
    /// Waiting for the end of the response's body.
    Body,
}

/// Why an endpoint is not well.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// No connection.
    #[error("cannot connect: {}", reason(.0))]
    Connect(#[source] io::Error),
    /// No verdict in time.
    #[error("{stage} within {after:?}")]
    Timeout {
        /// What was waited for.
        stage: Stage,
        /// For how long, all in all.
        after: Duration,
    },
    /// The TLS handshake failed.
    #[error("TLS: {0}")]
    Tls(String),
    /// The connection broke before there was an answer.
    #[error("closed before it answered: {}", reason(.0))]
    Closed(#[source] io::Error),
    /// The status is not an expected one.
    #[error("status {status}, expected {expected}")]
    Status {
        /// What came.
        status: u16,
        /// What passes.
        expected: Expected,
    },
    /// The gRPC server answered, but not that it serves.
    #[error("gRPC: {0}")]
    Grpc(String),
    /// The answer's body does not say what it must.
    #[error("{0}")]
    Body(String),
    /// A step of a script failed.
    #[error("{step}: {failed}")]
    Step {
        /// Which.
        step: String,
        /// How.
        failed: Box<Failed>,
    },
    /// A command ended in failure, did not end in time, or could not be started.
    #[error("{0}")]
    Command(String),
    /// What came is no HTTP response.
    #[error("not an HTTP response: {0}")]
    Malformed(&'static str),
}

impl Failed {
    /// What a handshake's error means.
    pub fn handshake(error: &io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        Self::Tls(match inner {
            Some(rustls::Error::InvalidCertificate(certificate)) => certificate_reason(certificate),
            Some(rustls::Error::InvalidMessage(_not_tls)) => "the endpoint does not speak TLS here".to_owned(),
            Some(other) => other.to_string(),
            None => reason(error),
        })
    }
}

fn certificate_reason(error: &CertificateError) -> String {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "the certificate has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate is not valid yet".to_owned()
        }
        CertificateError::NotValidForName => "the certificate is for another name".to_owned(),
        CertificateError::NotValidForNameContext { expected, .. } => {
            format!("the certificate is not for `{}`", expected.to_str())
        }
        // A bad signature is what an authority of the same name but with another key looks like.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "the certificate's authority is not trusted (set `ca`)".to_owned()
        }
        CertificateError::Revoked => "the certificate is revoked".to_owned(),
        other => format!("the certificate is refused: {other}"),
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connection => "no connection",
            Self::Handshake => "no TLS handshake",
            Self::Answer => "no answer",
            Self::Body => "no end of the body",
        })
    }
}

/// What happened, without the system's numbers.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        io::ErrorKind::UnexpectedEof => "end of stream".to_owned(),
        io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
        io::ErrorKind::NotFound => "there is no such socket".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::TimedOut => "the system's own time-out".to_owned(),
        _other => error.to_string(),
    }
}
