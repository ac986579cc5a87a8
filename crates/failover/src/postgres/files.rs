//! Files outside the data directory: the configuration, who may come in, the password, and what the agent has to remember.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use mainstay_core::database::{Lsn, Regime};
use serde::{Deserialize, Serialize};

use super::adopt::{self, Adopted};
use super::copies::Copies;
use super::{REPLICATION_ROLE, SUPERUSER, Settings, slots};
use crate::Error;
use crate::folder::Folder;

/// What a rewind or a copy needs of the replication role, which is no superuser.
pub(super) const GRANTS: &str = "\
GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text, boolean, boolean) TO mainstay_replication;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_stat_file(text, boolean) TO mainstay_replication;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_binary_file(text) TO mainstay_replication;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean) TO mainstay_replication;";

/// What a replica needs as much of as its primary has.
const RAISED: &str = "raised.conf";
/// What `ALTER SYSTEM` writes, in the data directory.
const AUTO: &str = "postgresql.auto.conf";
/// What Mainstay sets, and decides by.
const OURS: [&str; 10] = [
    "primary_conninfo",
    "primary_slot_name",
    "synchronous_standby_names",
    "listen_addresses",
    "port",
    "unix_socket_directories",
    "hot_standby",
    "recovery_target_timeline",
    "restore_command",
    "promote_trigger_file",
];

/// What has to be known after the agent or the machine was started again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Standing {
    /// The term that the data was last primary in, unless it was made anew since.
    pub(super) led: Option<u64>,
    /// The greatest position that was seen of this data.
    pub(super) position: Lsn,
    /// The data directory is half a copy, or half rewound: it is good for nothing.
    pub(super) torn: bool,
    /// Where its log is while it is torn, if that is not in the data directory.
    #[serde(default)]
    pub(super) log: Option<PathBuf>,
    /// Copies one soon after the other, if there were any lately.
    #[serde(default)]
    pub(super) copies: Option<Copies>,
}

impl Standing {
    /// [`Self::log`], for programs.
    pub(super) fn log_folder(&self) -> Option<String> {
        self.log.as_ref().map(|log| log.display().to_string())
    }
}

pub(super) struct Files<'a>(pub(super) &'a Settings);

impl Files<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.0.state_dir.join(name)
    }

    pub(super) fn config(&self) -> PathBuf {
        self.path("postgresql.conf")
    }

    pub(super) fn passfile(&self) -> PathBuf {
        self.path("passfile")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.path("postgresql.log")
    }

    pub(super) fn kept(&self) -> PathBuf {
        self.path("kept")
    }

    /// Everything that stays the same while it runs.
    pub(super) fn prepare(&self) -> Result<(), Error> {
        self.folder(&self.0.state_dir)?;
        let listen = self.0.listen;
        let (data, state) = (self.0.data_dir.display(), self.0.state_dir.display());
        let adopted = Adopted::of(self.0);
        // What was set before it was adopted holds where we need nothing else.
        let include = adopted.as_ref().map_or(String::new(), |old| format!("include '{}'\n", old.config.display()));
        let sockets = match &adopted {
            Some(old) if old.socket != self.0.state_dir => format!("'{state}, {}'", old.socket.display()),
            Some(_) | None => format!("'{state}'\nunix_socket_permissions = 0700"),
        };
        let config = format!(
            "# Written by Mainstay at each start of its agent: changes are lost. Use `extra` in its configuration.\n\
             wal_level = replica\nmax_wal_senders = 10\nmax_replication_slots = 10\nwal_keep_size = 256MB\n\
             max_slot_wal_keep_size = 4GB\nwal_receiver_timeout = 5s\nwal_sender_timeout = 5s\n\
             wal_retrieve_retry_interval = 500ms\n{include}\
             data_directory = '{data}'\nhba_file = '{state}/pg_hba.conf'\nident_file = '{state}/pg_ident.conf'\n\
             listen_addresses = '{}'\nport = {}\nunix_socket_directories = {sockets}\n\
             wal_log_hints = on\nhot_standby = on\nrecovery_target_timeline = latest\n{}\n\
             include_if_exists '{state}/{RAISED}'\ninclude '{state}/member.conf'\n",
            listen.ip(),
            listen.port(),
            self.0.extra,
        );
        self.write("postgresql.conf", config.as_bytes())?;
        let theirs =
            |path: &Path| fs::read_to_string(path).map_err(Error::system(format!("cannot read {}", path.display())));
        // The map lets this process's user be the superuser over the local socket, and nobody else.
        let hba = match &adopted {
            Some(old) => format!("{}{}", adopt::admission(), theirs(&old.hba)?),
            None => format!(
                "local all {SUPERUSER} peer map=mainstay\nlocal all all peer\n\
                 host replication {REPLICATION_ROLE} all scram-sha-256\nhost all {SUPERUSER} all reject\n\
                 host all all all scram-sha-256\n"
            ),
        };
        self.write("pg_hba.conf", hba.as_bytes())?;
        let ident = match &adopted {
            Some(old) => format!("{}{}", self.map_of_users(), theirs(&old.ident)?),
            None => map(&own_names()),
        };
        self.write("pg_ident.conf", ident.as_bytes())?;
        let password = self.0.password.replace('\\', "\\\\").replace(':', "\\:");
        self.write("passfile", format!("*:*:*:{REPLICATION_ROLE}:{password}\n").as_bytes())?;
        if !self.path("member.conf").exists() {
            self.member(None, &Regime::default())?;
        }
        Ok(())
    }

    /// Who of the system may be superuser of a server that was adopted: who may in ours, and the server's own user, who could.
    pub(super) fn map_of_users(&self) -> String {
        let of_server = self.0.user.and_then(|user| name_of(user.uid));
        map(&own_names().into_iter().chain(of_server).collect::<Vec<_>>())
    }

    fn data(&self) -> Folder<'_> {
        Folder { path: &self.0.data_dir, user: self.0.user }
    }

    pub(super) fn folder(&self, path: &Path) -> Result<(), Error> {
        Folder { path, user: self.0.user }.make()
    }

    /// Whole or not at all, and on the disk when this returns.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        Folder { path: &self.0.state_dir, user: self.0.user }.write(name, bytes)
    }

    /// What changes: whom it streams from, and what its commits wait for.
    pub(super) fn member(&self, of: Option<&str>, sync: &Regime) -> Result<(), Error> {
        let upstream = match of {
            Some(of) => format!("{} application_name={}", self.way_to(of)?, self.0.node),
            None => String::new(),
        };
        let names = waits_for(sync);
        let slot = if of.is_some() { slots::name(&self.0.node) } else { String::new() };
        let lines = format!(
            "primary_conninfo = {}\nprimary_slot_name = {}\nsynchronous_standby_names = {}\n",
            quote(&upstream),
            quote(&slot),
            quote(&names)
        );
        self.write("member.conf", lines.as_bytes())
    }

    /// How another member is connected to.
    pub(super) fn way_to(&self, node: &str) -> Result<String, Error> {
        let address = self.0.peer(node)?.address;
        Ok(format!(
            "host={} port={} user={REPLICATION_ROLE} passfile='{}' connect_timeout=3",
            address.ip(),
            address.port(),
            self.passfile().display(),
        ))
    }

    /// A replica must not have less of some things than its primary has had: they are raised to that.
    pub(super) fn raise(&self, settings: &[(String, u32)]) -> Result<(), Error> {
        let lines = settings.iter().map(|(key, value)| format!("{key} = {value}\n"));
        self.write(RAISED, lines.collect::<String>().as_bytes())
    }

    /// Which of our settings `ALTER SYSTEM` has overridden: what it writes is read last.
    pub(super) fn overridden(&self) -> Vec<&'static str> {
        let text = fs::read_to_string(self.0.data_dir.join(AUTO)).unwrap_or_default();
        OURS.iter().filter(|key| text.lines().any(|line| sets(line, key))).copied().collect()
    }

    /// Takes those out while the server does not run.
    pub(super) fn take_out_overrides(&self) -> Result<(), Error> {
        let overridden = self.overridden();
        if overridden.is_empty() {
            return Ok(());
        }
        tracing::warn!(
            keys = overridden.join(" "),
            "database: settings that are Mainstay's were overridden; they are taken out"
        );
        let path = self.0.data_dir.join(AUTO);
        let text = fs::read_to_string(&path).map_err(Error::system(format!("cannot read {}", path.display())))?;
        let kept = text.lines().filter(|line| !OURS.iter().any(|key| sets(line, key)));
        let kept: String = kept.flat_map(|line| [line, "\n"]).collect();
        self.data().write(AUTO, kept.as_bytes())
    }

    pub(super) fn standing(&self) -> Standing {
        fs::read(self.path("standing.json"))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    pub(super) fn stand(&self, standing: &Standing) -> Result<(), Error> {
        self.write("standing.json", &serde_json::to_vec(standing).unwrap_or_default())
    }

    /// The presence of this file is what makes a server that is started a replica.
    pub(super) fn set_standby(&self, is_standby: bool) -> Result<(), Error> {
        let path = self.0.data_dir.join("standby.signal");
        if is_standby {
            File::create(&path).map_err(Error::system("cannot make standby.signal"))?;
            return self.data().give(&path);
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::system("cannot remove standby.signal")(error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// The value of `synchronous_standby_names`.
pub(super) fn waits_for(sync: &Regime) -> String {
    if sync.acks == 0 || sync.names.is_empty() {
        return String::new();
    }
    let names: Vec<String> = sync.names.iter().map(|name| format!("\"{}\"", name.replace('"', ""))).collect();
    format!("ANY {} ({})", sync.acks, names.join(","))
}

/// The names of those who may be superuser over the local socket: root, and the user of this process.
fn own_names() -> Vec<String> {
    name_of(rustix::process::geteuid().as_raw()).into_iter().chain(["root".to_owned()]).collect()
}

/// What a user is called, in `/etc/passwd`.
fn name_of(uid: u32) -> Option<String> {
    let list = fs::read_to_string("/etc/passwd").ok()?;
    let uid = uid.to_string();
    list.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.get(2) == Some(&uid.as_str())).then(|| fields.first().map(|name| (*name).to_owned()))?
    })
}

/// Lines of `pg_ident.conf`.
fn map(names: &[String]) -> String {
    names.iter().map(|name| format!("mainstay \"{name}\" {SUPERUSER}\n")).collect()
}

/// Whether a line of a configuration sets this. The sign of equality may be left out.
fn sets(line: &str, key: &str) -> bool {
    let rest = line.trim_start().get(..key.len()).filter(|begin| begin.eq_ignore_ascii_case(key));
    rest.is_some() && line.trim_start()[key.len()..].starts_with([' ', '\t', '='])
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_set_something() {
        for line in ["port = 5433", "  PORT=5433", "port 5433", "port\t5433"] {
            assert!(sets(line, "port"), "{line}");
        }
        for line in ["ports = 1", "# port = 1", "port", "por", "", "my.port = 1", "\u{e9}\u{e9}\u{e9}"] {
            assert!(!sets(line, "port"), "{line}");
        }
    }
}
