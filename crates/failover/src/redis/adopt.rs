//! A server that runs already and was started by somebody else, taken over without a stop.
//!
//! It goes on with its own configuration, which is not written to. What the agent and the replicas need is added while it runs:
//! their users, and what a group relies on. When it is started anew, by us, only our configuration counts, so that what is to
//! hold on has to stand in [`Settings::extra`]; where that would cost data, the server is not adopted.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::files::Files;
use super::wire::{Client, Reply};
use super::{AGENT, REPLICATION_RIGHTS, REPLICATION_USER, Settings};
use crate::Error;

/// Where it is noted how the server is reached.
const NOTE: &str = "adopted.json";
/// It answers at once, or not at all.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Where the agent asks its server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Door {
    /// A socket of the machine's.
    Socket(PathBuf),
    /// The port that clients use, where there is no socket.
    Port(SocketAddr),
}

/// A server that was adopted.
#[derive(Debug, Serialize, Deserialize)]
struct Adopted {
    pid: u32,
    door: Door,
}

impl Door {
    /// Of the server that our file of its number speaks of.
    pub(super) fn of(settings: &Settings) -> Self {
        let files = Files(settings);
        let adopted = fs::read(settings.state_dir.join(NOTE)).ok();
        let adopted = adopted.and_then(|bytes| serde_json::from_slice::<Adopted>(&bytes).ok());
        match adopted.filter(|adopted| Some(adopted.pid) == files.known_pid()) {
            Some(adopted) => adopted.door,
            None => Self::Socket(files.socket()),
        }
    }

    pub(super) async fn open(&self, user: &str, password: &str, limit: Duration) -> Result<Client, Error> {
        match self {
            Self::Socket(path) => Client::local(path, user, password, limit).await,
            Self::Port(address) => Client::remote(*address, user, password, limit).await,
        }
    }
}

/// Whether a server with this number is one that we have neither started nor adopted.
pub(super) fn is_anothers(settings: &Settings, pid: u32) -> bool {
    Files(settings).known_pid() != Some(pid)
}

/// Has a server that somebody else has started know the agent and the replicas.
///
/// # Errors
/// If it cannot be asked, or would not be the same once we start it. Nothing was changed then, or only users were added.
pub(super) async fn admit(settings: &Settings, pid: u32) -> Result<(), Error> {
    // Clients' password, which is what every member of the group is known by.
    let mut client = Client::remote(settings.listen, "default", &settings.password, ANSWER_WITHIN).await?;
    check(settings, &mut client, pid).await?;
    let secret = format!(">{}", Files(settings).secret()?);
    let password = format!(">{}", settings.password);
    let (replicas, lag) =
        (settings.options.min_replicas.to_string(), settings.options.min_replicas_lag.as_secs().max(1).to_string());
    let replication = ["ACL", "SETUSER", REPLICATION_USER, "reset", "on", &password, "~*"];
    let replication: Vec<&str> = replication.into_iter().chain(REPLICATION_RIGHTS.split(' ')).collect();
    let set = ["CONFIG", "SET", "masteruser", REPLICATION_USER, "masterauth", &settings.password];
    let relied_on = ["replica-read-only", "yes", "repl-backlog-ttl", "0", "min-replicas-to-write", &replicas];
    let set: Vec<&str> = set.into_iter().chain(relied_on).chain(["min-replicas-max-lag", &lag]).collect();
    for command in [&["ACL", "SETUSER", AGENT, "reset", "on", &secret, "~*", "&*", "+@all"], &*replication, &*set] {
        client.ask("to be adopted", command, ANSWER_WITHIN).await?;
    }
    let socket = PathBuf::from(setting(&mut client, "unixsocket").await?);
    let door = if socket.is_absolute() { Door::Socket(socket) } else { Door::Port(settings.listen) };
    tracing::warn!(pid, ?door, "database: a server that runs already is adopted; users are added to it");
    let note = serde_json::to_vec(&Adopted { pid, door }).unwrap_or_default();
    Files(settings).write(NOTE, &note)?;
    Files(settings).write("redis.pid", format!("{pid}\n").as_bytes())
}

/// Whether it is that server, and a start with our configuration would find the same data.
async fn check(settings: &Settings, client: &mut Client, pid: u32) -> Result<(), Error> {
    let refused = |why: &str| Err(Error::NotAdopted(why.to_owned()));
    let info = client.ask("what it is", &["INFO"], ANSWER_WITHIN).await?.text().unwrap_or_default();
    let field =
        |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim_end));
    if field("process_id").and_then(|told| told.parse().ok()) != Some(pid) {
        return refused("another server listens at the member's address");
    }
    if field("cluster_enabled") != Some("0") {
        return refused("it is part of a Redis Cluster, which fails over by itself");
    }
    if setting(client, "requirepass").await? != settings.password {
        return refused("its `requirepass` is not the group's password, which clients and replicas are to use");
    }
    let appends = |line: &str| line.split_whitespace().eq(["appendonly", "yes"]);
    let (does_append, will_append) = (field("aof_enabled") != Some("0"), settings.extra.lines().any(appends));
    if does_append && !will_append {
        return refused(
            "it keeps an append-only file: write `appendonly yes` into `extra`, or its data is not found again",
        );
    }
    if will_append && !does_append {
        return refused(
            "`extra` has `appendonly yes`, and it keeps no append-only file: `CONFIG SET appendonly yes` makes one",
        );
    }
    for (name, expected) in [("dbfilename", "dump.rdb"), ("appenddirname", "appendonlydir")] {
        if setting(client, name).await? != expected {
            return refused(&format!("its `{name}` is not {expected}, where its data would be looked for"));
        }
    }
    Ok(())
}

/// What a setting is now; empty if there is none of that name.
async fn setting(client: &mut Client, name: &str) -> Result<String, Error> {
    let Reply::List(told) = client.ask("its configuration", &["CONFIG", "GET", name], ANSWER_WITHIN).await? else {
        return Ok(String::new());
    };
    Ok(told.into_iter().nth(1).and_then(Reply::text).unwrap_or_default())
}
