//! An etcd cluster that holds the agreement.

use std::fs;
use std::path::Path;
use std::time::Duration;

use mainstay_cluster::etcd::{Etcd, Options, Tls};
use mainstay_cluster::timings::Timings;

use crate::config::etcd::Etcd as Settings;
use crate::failure::Failure;

/// What all keys begin with.
const PREFIX: &str = "mainstay/";
/// Bytes of a file with certificates or a password, at most.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The engine, which connects when it is first asked for something.
#[derive(Debug)]
pub(super) struct Plan(pub(super) Etcd);

/// Reads the files that are named, so that what is wrong is said at once.
pub(super) fn prepare(settings: &Settings, timings: Timings) -> Result<Plan, Failure> {
    connect(settings, timings.rpc).map(Plan)
}

/// A way to etcd that gives each request `timeout`; it connects when it is first asked for something.
///
/// # Errors
/// If a file that is named cannot be read, or holds something else.
pub fn connect(settings: &Settings, timeout: Duration) -> Result<Etcd, Failure> {
    let tls = match &settings.tls {
        Some(files) => {
            let identity = match &files.identity {
                Some((certificate, key)) => Some((read(certificate)?, read(key)?)),
                None => None,
            };
            Some(Tls { authorities: read(&files.ca)?, identity })
        }
        None => None,
    };
    let user = match &settings.user {
        Some(user) => {
            let password = String::from_utf8(read(&user.password_file)?)
                .map_err(|_bytes| Failure::usage(format!("{}: this is no text", user.password_file.display())))?;
            // Editors end a file with a line's end.
            Some((user.name.clone(), password.trim_end_matches(['\r', '\n']).to_owned()))
        }
        None => None,
    };
    let options = Options { endpoints: settings.endpoints.clone(), prefix: PREFIX.to_owned(), timeout, tls, user };
    Etcd::new(&options).map_err(|error| Failure::usage(error.to_string()))
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |reason: String| {
        let failure = Failure::usage(format!("{}: {reason}", file.display()));
        failure.hint("correct `etcd_tls` or `etcd_user` under [cluster], or let the user that Mainstay runs as read it")
    };
    let about = fs::metadata(file).map_err(|error| failed(error.to_string()))?;
    if about.len() > FILE_BYTES_MAX {
        return Err(failed(format!("it has {} bytes, more than {FILE_BYTES_MAX}", about.len())));
    }
    fs::read(file).map_err(|error| failed(error.to_string()))
}
