use std::io;
use std::path::PathBuf;

/// Why TLS material could not be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read.
    #[error("{}: cannot read: {}", file.display(), reason(source))]
    Unreadable {
        /// Which one.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that should hold certificates holds none.
    #[error("{}: holds no certificate in PEM; it must contain `-----BEGIN CERTIFICATE-----`", file.display())]
    NoCertificate {
        /// Which one.
        file: PathBuf,
    },
    /// A file that should hold a key holds none.
    #[error("{}: holds no private key in PEM; it must contain `-----BEGIN PRIVATE KEY-----`", file.display())]
    NoKey {
        /// Which one.
        file: PathBuf,
    },
    /// A key needs a passphrase, which nobody is there to type.
    #[error("{}: the key is encrypted with a passphrase; write it out without: openssl pkey -in {} -out plain.key", file.display(), file.display())]
    EncryptedKey {
        /// Which one.
        file: PathBuf,
    },
    /// A file is damaged, or of a kind that is not supported.
    #[error("{}: {why}", file.display())]
    Malformed {
        /// Which one.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A key and a certificate do not belong together.
    #[error("{}: does not belong to {}; give the key that the certificate was issued for", key.display(), cert.display())]
    Mismatch {
        /// The key.
        key: PathBuf,
        /// The certificate.
        cert: PathBuf,
    },
    /// A server was given no certificate at all.
    #[error("no certificate is given")]
    Empty,
    /// The system has no authorities that could be loaded.
    #[error("the system's certificate authorities cannot be loaded: {0}; install ca-certificates or set `ca`")]
    NoSystemAuthorities(String),
    /// The library refused settings that files do not explain.
    #[error("TLS settings are refused: {0}")]
    Refused(String),
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        _other => error.to_string(),
    }
}
