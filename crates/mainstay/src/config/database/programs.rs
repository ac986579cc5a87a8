//! What this machine has of what a member runs: the programs, the user, the password.

use std::fs;
use std::path::PathBuf;

use mainstay_core::database::Engine;
use mainstay_runtime::user;

use super::super::problem::Fault;
use super::super::reader::Reader;
use super::{Read, Server};

/// Where Debian and those after it have the programs of each version of PostgreSQL.
const VERSIONS: &str = "/usr/lib/postgresql";

impl Server {
    /// The directory of the server's programs: what is configured, else that of the version that made the data, else the latest
    /// one.
    ///
    /// # Errors
    /// What is not there, and what to do about it.
    pub fn programs(&self, engine: Engine) -> Result<PathBuf, String> {
        let (program, _) = words(engine);
        if let Some(dir) = &self.bin_dir {
            let has = dir.join(program).is_file();
            return if has { Ok(dir.clone()) } else { Err(format!("there is no {program} in {}", dir.display())) };
        }
        let made_by = fs::read_to_string(self.data_dir.join("PG_VERSION")).ok();
        find(engine, made_by.and_then(|text| text.trim().parse().ok()))
    }
}

/// The directory of an engine's programs on this machine.
///
/// # Errors
/// If they are not installed.
pub fn installed(engine: Engine) -> Result<PathBuf, String> {
    find(engine, None)
}

const fn words(engine: Engine) -> (&'static str, &'static str) {
    match engine {
        Engine::Postgres => ("initdb", "install PostgreSQL, or set `bin_dir` under [database.server]"),
        Engine::Redis => ("redis-server", "install Redis, or set `bin_dir` under [database.server]"),
    }
}

fn find(engine: Engine, made_by: Option<u32>) -> Result<PathBuf, String> {
    let (program, hint) = words(engine);
    let has = |dir: &PathBuf| dir.join(program).is_file();
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir(VERSIONS)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, dir)| has(dir))
        .collect();
    found.sort();
    let of_version = |wanted: u32| found.iter().find(|(version, _)| *version == wanted).map(|(_, dir)| dir.clone());
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = || std::env::split_paths(&path).find(has);
    let latest = || found.last().map(|(_, dir)| dir.clone());
    made_by
        .and_then(of_version)
        .or_else(latest)
        .or_else(on_path)
        .ok_or_else(|| format!("{program} is not found: {hint}"))
}

/// Tries what this node's members need. A node serves without them, and says so; and a file may be checked on another machine
/// than the one that it is for: hence only warnings.
pub(in crate::config) fn check_machine(reader: &Reader<'_>, databases: &[Read]) {
    for read in databases {
        let Some(server) = &read.database.server else { continue };
        if let Err(reason) = server.programs(read.database.engine) {
            reader.warn(&read.place, Fault::new(reason));
        }
        if let Some(name) = &server.user
            && matches!(user::find(name), Ok(None))
        {
            let fault = Fault::new(format!("this machine has no user `{name}`"));
            reader.warn(&read.place, fault.hint("make one, or correct `user` under [database.server]"));
        }
    }
}
