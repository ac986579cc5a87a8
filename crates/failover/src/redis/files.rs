//! Files outside the data directory: the configuration, the agent's password, what it has to remember, and what is kept.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use mainstay_core::database::Lsn;
use serde::{Deserialize, Serialize};

use super::info::NOBODY;
use super::{AGENT, REPLICATION_RIGHTS, REPLICATION_USER, Settings};
use crate::Error;
use crate::folder::{Folder, keep_newest};

/// What has to be known after the agent or the machine was started again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Standing {
    /// The term that the data was last primary in, unless it came from another one since.
    pub(super) led: Option<u64>,
    /// The replication id of the data.
    pub(super) id: Option<String>,
    /// The greatest offset that was seen of it.
    pub(super) position: Lsn,
    /// It was started on files that have no id, and the one that Redis made up is not known yet.
    pub(super) unnamed: bool,
    /// The id that Redis made up at its start because its files have none: it stands for the one above.
    pub(super) made_up: Option<String>,
}

pub(super) struct Files<'a>(pub(super) &'a Settings);

impl Files<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.0.state_dir.join(name)
    }

    pub(super) fn config(&self) -> PathBuf {
        self.path("redis.conf")
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.path("redis.sock")
    }

    fn pid(&self) -> PathBuf {
        self.path("redis.pid")
    }

    /// The number of the process that was started or adopted last. It may be gone, and the number another one's.
    pub(super) fn known_pid(&self) -> Option<u32> {
        fs::read_to_string(self.pid()).ok()?.trim().parse().ok()
    }

    pub(super) fn log(&self) -> PathBuf {
        self.path("redis.log")
    }

    pub(super) fn kept(&self) -> PathBuf {
        self.path("kept")
    }

    pub(super) fn snapshot(&self) -> PathBuf {
        self.0.data_dir.join("dump.rdb")
    }

    pub(super) fn append_only(&self) -> PathBuf {
        self.0.data_dir.join("appendonlydir")
    }

    /// There is data on the disk.
    pub(super) fn has_data(&self) -> bool {
        self.snapshot().exists() || self.append_only().exists()
    }

    /// Directories, and the agent's password.
    pub(super) fn prepare(&self) -> Result<(), Error> {
        self.folder(&self.0.state_dir)?;
        self.folder(&self.0.data_dir)?;
        if !self.path("agent.secret").exists() {
            self.write("agent.secret", random()?.as_bytes())?;
        }
        Ok(())
    }

    pub(super) fn secret(&self) -> Result<String, Error> {
        let path = self.path("agent.secret");
        fs::read_to_string(&path).map_err(Error::system(format!("cannot read {}", path.display())))
    }

    /// The whole configuration. Without `leads` it is a replica: of this member, or of nobody.
    pub(super) fn configure(&self, leads: bool, of: Option<&str>, gated: bool) -> Result<(), Error> {
        let settings = self.0;
        let (ip, port) = (settings.listen.ip(), settings.listen.port());
        let password = quote(&settings.password);
        let lag = settings.options.min_replicas_lag.as_secs().max(1);
        let stale = if settings.options.stale_reads && !gated { "yes" } else { "no" };
        let upstream = match of {
            Some(of) => {
                let address = settings.peer(of)?.address;
                format!("replicaof {} {}\n", address.ip(), address.port())
            }
            None if leads => String::new(),
            None => format!("replicaof {} {}\n", NOBODY.0, NOBODY.1),
        };
        let path = |path: &Path| quote(&path.display().to_string());
        // Of a line that stands twice the last one counts: what the roles depend on stands after the operator's own lines.
        let text = format!(
            "# Written by Mainstay at each start: changes are lost. Use `extra` in its configuration.\n\
             requirepass {password}\nrepl-backlog-size 16mb\nrepl-diskless-sync yes\nrepl-diskless-sync-delay 0\n\
             repl-ping-replica-period 1\nshutdown-timeout 10\nmaxmemory-policy noeviction\n{}\n\
             bind {ip}\nport {port}\nprotected-mode yes\nunixsocket {}\nunixsocketperm 700\ndaemonize no\nsupervised no\n\
             pidfile {}\nlogfile \"\"\ndir {}\ndbfilename dump.rdb\nappenddirname appendonlydir\nrepl-backlog-ttl 0\n\
             replica-read-only yes\nreplica-serve-stale-data {stale}\nmin-replicas-to-write {}\n\
             min-replicas-max-lag {lag}\nuser {AGENT} on >{} ~* &* +@all\n\
             user {REPLICATION_USER} on {} ~* {REPLICATION_RIGHTS}\n\
             masteruser {REPLICATION_USER}\nmasterauth {password}\n{upstream}",
            settings.extra,
            path(&self.socket()),
            path(&self.pid()),
            path(&settings.data_dir),
            settings.options.min_replicas,
            self.secret()?,
            quote(&format!(">{}", settings.password)),
        );
        self.write("redis.conf", text.as_bytes())
    }

    pub(super) fn folder(&self, path: &Path) -> Result<(), Error> {
        Folder { path, user: self.0.user }.make()
    }

    /// Whole or not at all, and on the disk when this returns.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        Folder { path: &self.0.state_dir, user: self.0.user }.write(name, bytes)
    }

    pub(super) fn standing(&self) -> Standing {
        let bytes = fs::read(self.path("standing.json")).ok();
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    pub(super) fn stand(&self, standing: &Standing) -> Result<(), Error> {
        self.write("standing.json", &serde_json::to_vec(standing).unwrap_or_default())
    }

    /// Takes the data out of the data directory, and answers where it is kept; of earlier ones so many stay in all.
    pub(super) fn set_aside(&self, name: &str, most: usize) -> Result<PathBuf, Error> {
        let kept = self.kept();
        let target = kept.join(name);
        self.folder(&kept)?;
        self.folder(&target)?;
        for from in [self.snapshot(), self.append_only()] {
            let Some(file) = from.file_name() else { continue };
            let said = || format!("cannot keep {}", from.display());
            match fs::rename(&from, target.join(file)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // On another file system it has to be copied.
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                    copy(&from, &target.join(file)).map_err(Error::system(said()))?;
                }
                other => other.map_err(Error::system(said()))?,
            }
        }
        keep_newest(&kept, most).map_err(Error::system(format!("cannot tidy {}", kept.display())))?;
        Ok(target)
    }
}

/// 40 digits, as Redis' own names have.
pub(super) fn random() -> Result<String, Error> {
    let mut bytes = [0; 20];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(Error::system("cannot read /dev/urandom"))?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        let _cannot_fail = write!(text, "{byte:02x}");
        text
    }))
}

/// Moves a file, or a directory of files.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if from.is_file() {
        fs::copy(from, to)?;
        return fs::remove_file(from);
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    fs::remove_dir_all(from)
}

/// As `redis.conf` has strings.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => quoted.extend(['\\', char::from(byte)]),
            b' '..=b'~' => quoted.push(char::from(byte)),
            other => {
                let _cannot_fail = write!(quoted, "\\x{other:02x}");
            }
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_of_the_configuration() {
        assert_eq!(quote("plain"), "\"plain\"");
        assert_eq!(quote("it's \"a\\b\" secret\n"), "\"it's \\\"a\\\\b\\\" secret\\x0a\"");
        assert_eq!(quote("é"), "\"\\xc3\\xa9\"");
    }
}
