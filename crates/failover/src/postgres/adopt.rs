//! A server that runs already and was started by somebody else, taken over without a stop.
//!
//! It goes on with its own configuration, to which three things are added: who may come in over the local socket, the
//! replication role, and our file of what changes (whom it streams from, what its commits wait for). When it is started anew,
//! by us, our configuration includes its own.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::files::Files;
use super::process::{SHORT, run};
use super::{REPLICATION_ROLE, SUPERUSER, Settings};
use crate::Error;

/// What we add to somebody else's files begins with this.
const MARK: &str = "# Added by Mainstay, which keeps this server in its group:";
/// Where it is noted whose configuration ours includes.
const NOTE: &str = "adopted.json";

/// Where the running server's local socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Door {
    pub(super) folder: PathBuf,
    pub(super) port: u16,
}

impl Door {
    /// As `postmaster.pid` says; ours if it does not.
    pub(super) fn of(settings: &Settings) -> Self {
        let text = fs::read_to_string(settings.data_dir.join("postmaster.pid")).unwrap_or_default();
        Self::parse(&text).unwrap_or_else(|| Self { folder: settings.state_dir.clone(), port: settings.listen.port() })
    }

    /// The fourth line is the port, the fifth the first directory with a socket.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().skip(3);
        let port = lines.next()?.trim().parse().ok()?;
        let folder = lines.next()?.trim();
        folder.starts_with('/').then(|| Self { folder: folder.into(), port })
    }
}

/// The files that a server was started with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Adopted {
    /// Its `postgresql.conf`.
    pub(super) config: PathBuf,
    /// Who may come in.
    pub(super) hba: PathBuf,
    /// Who of the system is who of the server.
    pub(super) ident: PathBuf,
    /// Where its clients find its socket.
    pub(super) socket: PathBuf,
}

impl Adopted {
    /// What was adopted, if anything was.
    pub(super) fn of(settings: &Settings) -> Option<Self> {
        serde_json::from_slice(&fs::read(settings.state_dir.join(NOTE)).ok()?).ok()
    }
}

/// Whether the server with this number was started with another configuration than ours.
pub(super) fn is_anothers(settings: &Settings, pid: u32) -> bool {
    let ours = Files(settings).config();
    started_with(settings, pid).is_some_and(|config| config != ours)
}

/// The configuration file that it was started with; `None` if it cannot be found out.
fn started_with(settings: &Settings, pid: u32) -> Option<PathBuf> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<String> =
        line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    if words.iter().all(String::is_empty) {
        return None;
    }
    let named = words.iter().find_map(|word| {
        let word = word.strip_prefix("--").or_else(|| word.strip_prefix("-c")).unwrap_or(word);
        word.strip_prefix("config_file=").or_else(|| word.strip_prefix("config-file=")).map(PathBuf::from)
    });
    Some(named.unwrap_or_else(|| settings.data_dir.join("postgresql.conf")))
}

/// Lets this process's user in over the local socket of a server that somebody else has started, and has it read our file.
pub(super) async fn admit(settings: &Settings, pid: u32) -> Result<(), Error> {
    let Some(config) = started_with(settings, pid) else { return Ok(()) };
    let (data, named) = (settings.data_dir.display().to_string(), format!("config_file={}", config.display()));
    let mut files = Vec::new();
    for key in ["hba_file", "ident_file"] {
        let said = run(settings, "postgres", &["-C", key, "-D", &data, "-c", &named], SHORT).await?;
        files.push(PathBuf::from(said.trim()));
    }
    let [hba, ident] = files.try_into().unwrap_or_default();
    let adopted = Adopted { config, hba, ident, socket: Door::of(settings).folder };
    Files(settings).write(NOTE, &serde_json::to_vec(&adopted).unwrap_or_default())?;
    tracing::warn!(
        config = %adopted.config.display(), hba = %adopted.hba.display(), ident = %adopted.ident.display(),
        "database: a server that runs already is adopted; marked lines are added to its files"
    );
    add(&adopted.ident, &Files(settings).map_of_users(), true)?;
    add(&adopted.hba, &admission(), true)?;
    let include = format!("include_if_exists '{}'\n", settings.state_dir.join("member.conf").display());
    add(&adopted.config, &include, false)?;
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // One that has ended meanwhile is seen to have.
    let _ended = pid.map(|pid| kill_process(pid, Signal::HUP));
    Ok(())
}

/// Who has to be let in, before all rules of the server's own: the first that fits counts.
pub(super) fn admission() -> String {
    format!(
        "local all {SUPERUSER} peer map=mainstay\nhost replication {REPLICATION_ROLE} all scram-sha-256\n\
         host postgres {REPLICATION_ROLE} all scram-sha-256\n"
    )
}

/// Adds lines to a file, once. It keeps its owner and its mode, and is changed whole or not at all.
fn add(path: &Path, lines: &str, at_beginning: bool) -> Result<(), Error> {
    let said = || format!("cannot add to {}", path.display());
    let text = fs::read_to_string(path).map_err(Error::system(said()))?;
    if text.contains(MARK) {
        return Ok(());
    }
    let block = format!("{MARK}\n{lines}");
    let text = if at_beginning { format!("{block}\n{text}") } else { format!("{text}\n{block}") };
    let mut new = path.as_os_str().to_owned();
    new.push(".mainstay");
    let new = PathBuf::from(new);
    let meta = fs::metadata(path).map_err(Error::system(said()))?;
    fs::write(&new, text).map_err(Error::system(said()))?;
    fs::set_permissions(&new, fs::Permissions::from_mode(meta.mode() & 0o7777)).map_err(Error::system(said()))?;
    // Whoever is not root writes files of its own only.
    let owned = fs::metadata(&new).map_err(Error::system(said()))?;
    if (owned.uid(), owned.gid()) != (meta.uid(), meta.gid()) {
        chown(&new, Some(meta.uid()), Some(meta.gid())).map_err(Error::system(said()))?;
    }
    fs::rename(&new, path).map_err(Error::system(said()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_socket_is() {
        let text = "12\n/var/lib/postgresql/15/main\n1700000000\n5433\n/var/run/postgresql\nlocalhost\n  1  2\nready\n";
        let door = Door { folder: "/var/run/postgresql".into(), port: 5433 };
        assert_eq!(Door::parse(text), Some(door));
        assert_eq!(Door::parse("12\n/data\n17\n5433\n\n*\n"), None, "it has none");
        assert_eq!(Door::parse("12\n/data\n"), None, "it is only just starting");
    }

    #[test]
    fn lines_are_added_once_and_the_mode_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pg_hba.conf");
        fs::write(&path, "local all all peer\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        add(&path, "first\n", true).unwrap();
        add(&path, "first\n", true).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{MARK}\nfirst\n\nlocal all all peer\n"));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        assert!(add(&folder.path().join("nowhere"), "", true).is_err());
    }
}
