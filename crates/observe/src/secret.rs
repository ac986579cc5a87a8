//! Where a secret stands.

use std::path::PathBuf;

/// Bytes of a secret, at most.
const SECRET_BYTES_MAX: u64 = 4096;

/// A secret that is somewhere else, so that it is in no configuration. It is read each time that it is needed, so that it can be
/// replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// A file that has it alone.
    File(PathBuf),
    /// A variable of the process's environment.
    Environment(String),
}

impl Secret {
    /// Reads it.
    ///
    /// # Errors
    /// Why it cannot be read, without a word of what it is.
    pub fn read(&self) -> Result<String, String> {
        let text = match self {
            Self::File(path) => {
                let told = |error: std::io::Error| format!("cannot read the secret in {}: {error}", path.display());
                if std::fs::metadata(path).map_err(told)?.len() > SECRET_BYTES_MAX {
                    return Err(format!("{} is too large for a secret", path.display()));
                }
                std::fs::read_to_string(path).map_err(told)?
            }
            Self::Environment(name) => {
                std::env::var(name).map_err(|_absent| format!("the environment has no variable {name}"))?
            }
        };
        Ok(text.trim().to_owned())
    }
}
