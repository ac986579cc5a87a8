//! Where a server's programs are, and the way to its data.

use std::error::Error;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use mainstay_core::database::Engine;
use mainstay_runtime::user::User;

use crate::config::database::Server;

/// Where Debian and those after it have the programs of each version of PostgreSQL.
const VERSIONS: &str = "/usr/lib/postgresql";

/// The directory of the server's programs: what is configured, else that of the version that made the data, else the latest one.
pub(super) fn programs(engine: Engine, server: &Server) -> Result<PathBuf, String> {
    let (program, _) = words(engine);
    if let Some(dir) = &server.bin_dir {
        let has = dir.join(program).is_file();
        return if has { Ok(dir.clone()) } else { Err(format!("there is no {program} in {}", dir.display())) };
    }
    let made_by = fs::read_to_string(server.data_dir.join("PG_VERSION")).ok();
    find(engine, made_by.and_then(|text| text.trim().parse().ok()))
}

/// The directory of an engine's programs on this machine.
///
/// # Errors
/// If they are not installed.
pub(crate) fn installed(engine: Engine) -> Result<PathBuf, String> {
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

/// Lets the server's user pass to its folders, which are its own.
pub(super) fn open_way(node: Option<&Path>, server: &Server, user: Option<User>) -> Result<(), String> {
    let (Some(node), Some(user)) = (node, user) else { return Ok(()) };
    for folder in [&server.data_dir, &server.state_dir] {
        let Some(parent) = folder.parent() else { continue };
        fs::create_dir_all(parent).map_err(|error| format!("cannot make {}: {error}", parent.display()))?;
        for on_the_way in parent.ancestors().collect::<Vec<_>>().into_iter().rev() {
            let about = fs::metadata(on_the_way).map_err(|error| format!("{}: {error}", on_the_way.display()))?;
            let mode = about.mode() & 0o7777;
            let passes = mode & 0o001 != 0
                || (about.uid() == user.uid && mode & 0o100 != 0)
                || (about.gid() == user.gid && mode & 0o010 != 0);
            if passes {
                continue;
            }
            if !on_the_way.starts_with(node) {
                return Err(format!(
                    "the server's user cannot pass through {}: `chmod o+x` it, or choose another `data_dir` and \
                     `state_dir` under [database.server]",
                    on_the_way.display()
                ));
            }
            // Passing is not reading: what the node keeps there has its own permissions.
            fs::set_permissions(on_the_way, fs::Permissions::from_mode(mode | 0o011)).map_err(|error| {
                format!("cannot let the server's user pass through {}: {error}", on_the_way.display())
            })?;
        }
    }
    Ok(())
}

/// An error with everything below it.
pub(super) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
