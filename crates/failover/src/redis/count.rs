//! What is lost by replacing data with another member's, in bytes and keys.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use mainstay_core::database::Report;

use super::files::Files;
use super::wire::{Client, Reply, packed};
use super::{REPLICATION_USER, Settings, info, process};
use crate::Error;
use crate::executor::Discarded;

/// How long the counting of keys may take. What is not counted by then is not told.
const KEYS_WITHIN: Duration = Duration::from_secs(20);
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(10);
/// Keys that are asked for at once.
const BATCH: &str = "500";

/// What the data that was kept has and the primary's has not.
pub(super) async fn discarded(settings: &Settings, of: &str, own: &Report, kept: PathBuf) -> Discarded {
    let mut discarded = Discarded { of: of.to_owned(), bytes: None, commits: None, span_ms: None, keys: None, kept };
    let Ok(mut primary) = reach(settings, of).await else { return discarded };
    let text = primary.ask("what it is", &["INFO", "replication"], ANSWER_WITHIN).await.ok().and_then(Reply::text);
    let seen = info::parse(&text.unwrap_or_default());
    let common = match info::before(&seen) {
        _ if own.system.is_some() && own.system == info::name(&seen.id) => Some(seen.position),
        Some(before) if own.system == Some(before.system) => Some(before.at),
        Some(_) | None => None,
    };
    discarded.bytes = common.map(|common| own.position.saturating_sub(common));
    let counted = tokio::time::timeout(KEYS_WITHIN, keys(settings, &discarded.kept, &mut primary)).await;
    discarded.keys = counted.ok().and_then(Result::ok);
    discarded
}

async fn reach(settings: &Settings, of: &str) -> Result<Client, Error> {
    let at = settings.peer(of)?.address;
    Client::remote(at, REPLICATION_USER, &settings.password, ANSWER_WITHIN).await
}

/// Loads what was kept into a server that nobody else can reach, and asks the primary for each of its keys.
async fn keys(settings: &Settings, kept: &Path, primary: &mut Client) -> Result<u64, Error> {
    let (socket, secret) = (settings.state_dir.join("kept.sock"), Files(settings).secret()?);
    let is_appended = if kept.join("appendonlydir").exists() { "yes" } else { "no" };
    let config = format!(
        "port 0\nunixsocket \"{}\"\nunixsocketperm 700\ndir \"{}\"\nsave \"\"\nappendonly {is_appended}\n\
         appenddirname appendonlydir\nauto-aof-rewrite-percentage 0\nlogfile \"\"\nrequirepass {secret}\n",
        socket.display(),
        kept.display(),
    );
    Files(settings).write("kept.conf", config.as_bytes())?;
    let log = File::create(settings.state_dir.join("kept.log")).map_err(Error::system("cannot open kept.log"))?;
    let mut command = process::command(settings, &settings.state_dir.join("kept.conf"));
    let mut child = command.stdout(log).stderr(Stdio::null()).kill_on_drop(true).spawn();
    let child = child.as_mut().map_err(|error| Error::system("cannot start redis-server")(error.kind().into()))?;
    let mut local = loop {
        match Client::local(&socket, "default", &secret, ANSWER_WITHIN).await {
            Ok(client) => break client,
            Err(error) if !matches!(child.try_wait(), Ok(None)) => return Err(error),
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    };
    let mut lacking = 0;
    for database in databases(&mut local).await? {
        for client in [&mut local, &mut *primary] {
            client.ask("a database", &["SELECT", &database], ANSWER_WITHIN).await?;
        }
        lacking += lacking_in(&mut local, primary).await?;
    }
    // One that was started for this has nothing to save.
    let _ended = child.kill().await;
    Ok(lacking)
}

/// The numbers of the databases that have keys, once it has loaded them.
async fn databases(local: &mut Client) -> Result<BTreeSet<String>, Error> {
    loop {
        let text = local.ask("what it has", &["INFO"], ANSWER_WITHIN).await?.text().unwrap_or_default();
        if !info::parse(&text).loads {
            let number = |line: &str| Some(line.strip_prefix("db")?.split_once(":keys=")?.0.to_owned());
            return Ok(text.lines().filter_map(number).collect());
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn lacking_in(local: &mut Client, primary: &mut Client) -> Result<u64, Error> {
    let (mut cursor, mut lacking) = ("0".to_owned(), 0);
    loop {
        let reply = local.ask("its keys", &["SCAN", &cursor, "COUNT", BATCH], ANSWER_WITHIN).await?;
        let Reply::List(parts) = reply else { return Ok(lacking) };
        let mut parts = parts.into_iter();
        let next = parts.next().and_then(Reply::text).unwrap_or_else(|| "0".to_owned());
        let keys = match parts.next() {
            Some(Reply::List(keys)) => keys,
            Some(_) | None => Vec::new(),
        };
        let asked: Vec<Vec<u8>> = keys
            .into_iter()
            .filter_map(|key| match key {
                Reply::Bytes(key) => Some(packed(&[b"EXISTS", &key])),
                Reply::Text(_) | Reply::Integer(_) | Reply::Nothing | Reply::List(_) | Reply::Refusal(_) => None,
            })
            .collect();
        let answers = primary.ask_all("whether it has keys", &asked, ANSWER_WITHIN).await?;
        lacking += answers.iter().filter(|answer| **answer == Reply::Integer(0)).count() as u64;
        if next == "0" {
            return Ok(lacking);
        }
        cursor = next;
    }
}
