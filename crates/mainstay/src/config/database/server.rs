//! `[database.server]` and `fencing`: what a member runs, and how it is kept from acknowledging writes when it must not.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay_core::database::Engine;

use super::super::keys;
use super::super::problem::Fault;
use super::super::reader::{Field, Item, Section};
use super::super::secret::secret;
use super::{Fencing, PortLease, Server, Stonith, folder, redis};

/// Lines of a server's configuration, in bytes, at most.
const EXTRA_BYTES_MAX: usize = 65_536;
/// Words of a command, at most.
const COMMAND_WORDS_MAX: usize = 64;
/// How long ending a machine may take, unless the configuration says otherwise.
const STONITH_TIMEOUT: Duration = Duration::from_secs(10);
/// The socket of the server is in the state folder, and Linux takes no longer path than 107 bytes: `/.s.PGSQL.65535` follows,
/// or `/redis.sock`.
const STATE_DIR_BYTES_MAX: usize = 107 - 16;
/// The longest name of a system's user.
const USER_BYTES_MAX: usize = 32;
/// What Mainstay sets itself; whoever set one of them would take from it what it decides by.
const OURS: &[&str] = &[
    "data_directory",
    "hba_file",
    "ident_file",
    "listen_addresses",
    "port",
    "unix_socket_directories",
    "primary_conninfo",
    "primary_slot_name",
    "synchronous_standby_names",
    "recovery_target_timeline",
    "hot_standby",
    "replicaof",
    "slaveof",
    "bind",
    "dir",
    "unixsocket",
    "masterauth",
    "daemonize",
];

/// Whose server it is.
pub(super) struct Of<'a> {
    pub(super) engine: Engine,
    pub(super) group: &'a str,
    /// How many servers the group has.
    pub(super) members: usize,
    /// This node runs one of them.
    pub(super) is_member: bool,
}

/// What this node runs of a group; `None` if it is no member. The table may be there all the same, so that nodes can have the
/// same file.
pub(super) fn read(database: &Section<'_>, of: &Of<'_>, data_dir: Option<&Path>) -> Option<Server> {
    let Of { engine, group, members, is_member } = *of;
    let section = database.item("server").and_then(|item| item.section(&keys::DATABASE_SERVER));
    let Some(section) = section else {
        if is_member {
            let hint = match engine {
                Engine::Postgres => {
                    "write [database.server] with replication_password = { file = \"replication.password\" } below it"
                }
                Engine::Redis => {
                    "write [database.server] with replication_password = { file = \"redis.password\" } below it"
                }
            };
            let fault = Fault::new("this node is a member, and nothing says what it runs");
            database.reader.error_if_whole(&database.place, fault.hint(hint));
        }
        return None;
    };
    let path = |key: &str| section.field(key, None, |item| item.path().map(Some));
    let (data, state, bin_dir) = (path("data_dir"), path("state_dir"), path("bin_dir").value);
    let user = section.field("user", None, |item| item.parsed(parse_user).map(Some)).value;
    let password = section.field("replication_password", None, |item| secret(item).map(Some));
    let extra = section.field("extra", String::new(), |item| item.parsed(parse_extra)).value;
    let redis = redis::read(&section, engine, members);
    if !is_member {
        return None;
    }
    if !password.is_given {
        let hint =
            "write replication_password = { file = \"replication.password\" }; the file is the same on all members";
        section.required("replication_password", hint);
    }
    let default = data_dir.map(|data_dir| folder(data_dir, group));
    let data_dir = settle(&section, &data, default.as_deref().map(|folder| folder.join("data")), "data_dir")?;
    let state_dir = settle(&section, &state, default.map(|folder| folder.join("state")), "state_dir")?;
    if data_dir == state_dir || state_dir.starts_with(&data_dir) {
        let fault = Fault::new("what stands in `data_dir` is replaced by a copy of another member's data");
        let place = if state.is_given { &state.place } else { &data.place };
        section.reader.error(place, fault.hint("choose a folder outside it for `state_dir`"));
    }
    if state_dir.as_os_str().len() > STATE_DIR_BYTES_MAX {
        let fault = Fault::new(format!(
            "{}: the server's socket is in there, whose path must not be longer than the system takes",
            state_dir.display()
        ));
        let hint = format!("set `state_dir` to a path of at most {STATE_DIR_BYTES_MAX} bytes");
        section.reader.error(&state.place, fault.hint(hint));
    }
    Some(Server { bin_dir, data_dir, state_dir, user, password: password.value, redis, extra })
}

fn settle(
    section: &Section<'_>,
    field: &Field<Option<PathBuf>>,
    default: Option<PathBuf>,
    key: &str,
) -> Option<PathBuf> {
    let path = field.value.clone().or(default);
    if path.is_none() && field.is_good {
        let fault =
            Fault::new(format!("without `data_dir` under [node] there is no place for the `{key}` of the server"));
        section.reader.error_if_whole(&section.place, fault.hint("set `data_dir` under [node]"));
    }
    path
}

fn parse_user(text: &str) -> Result<String, Fault> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if text.is_empty() || text.len() > USER_BYTES_MAX || text.starts_with('-') || !text.bytes().all(is_plain) {
        return Err(Fault::new("this cannot be the name of a user").hint("write the name, such as \"postgres\""));
    }
    Ok(text.to_owned())
}

fn parse_extra(text: &str) -> Result<String, Fault> {
    if text.len() > EXTRA_BYTES_MAX {
        return Err(Fault::new(format!("at most {EXTRA_BYTES_MAX} bytes can stand here")).hint("use include = 'FILE'"));
    }
    if text.contains('\0') {
        return Err(Fault::new("a line of a configuration cannot hold a zero byte"));
    }
    for line in text.lines() {
        let word: String = line.trim_start().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        if OURS.iter().any(|ours| word.eq_ignore_ascii_case(ours)) {
            let fault = Fault::new(format!("`{word}` is set by Mainstay, which decides by it"));
            return Err(fault.hint("leave it out"));
        }
    }
    Ok(text.to_owned())
}

/// How an old primary is kept from acknowledging writes.
pub(super) fn read_fencing(database: &Section<'_>) -> Fencing {
    let section = database.item("fencing").and_then(|item| item.section(&keys::DATABASE_FENCING));
    let Some(section) = section else { return Fencing::default() };
    let words = [("auto", PortLease::Auto), ("off", PortLease::Off), ("required", PortLease::Required)];
    Fencing {
        port_lease: section.field("port_lease", PortLease::Auto, |item| item.one_of(&words)).value,
        watchdog: section.field("watchdog", None, |item| item.path().map(Some)).value,
        stonith: section.item("stonith").and_then(|item| read_stonith(&item)),
    }
}

fn read_stonith(item: &Item<'_>) -> Option<Stonith> {
    let section = item.section(&keys::DATABASE_STONITH)?;
    let list = section.required("command", "write command = [\"/usr/sbin/fence_node\", \"{node}\"]")?;
    let command: Vec<String> = list.list().iter().filter_map(|item| item.text().map(str::to_owned)).collect();
    let bounds = Duration::from_millis(100)..=Duration::from_secs(600);
    let timeout = section.duration("timeout", STONITH_TIMEOUT, bounds).value;
    if !list.is_list() {
        return None;
    }
    if command.is_empty() || command.len() > COMMAND_WORDS_MAX || command.iter().any(|word| word.contains('\0')) {
        list.error(Fault::new(format!(
            "a program and its arguments are needed here, at most {COMMAND_WORDS_MAX} words"
        )));
        return None;
    }
    if !command[0].starts_with('/') {
        list.error(Fault::new("the program has to be named by its whole path").hint("write [\"/usr/sbin/...\", ...]"));
    }
    if !command.iter().any(|word| word.contains("{node}")) {
        let fault = Fault::new("nothing tells the command which machine is meant");
        list.error(fault.hint("write `{node}` where the old primary's node belongs"));
    }
    Some(Stonith { command, timeout })
}
