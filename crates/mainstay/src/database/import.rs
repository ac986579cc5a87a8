//! `mainstay database import-patroni`: what a `patroni.yml` says, as a `[[database]]`, with remarks on what is not the same.

mod left_out;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::failure::Failure;
use left_out::LEFT_OUT;

/// Bytes of a file that is read, at most.
const BYTES_MAX: u64 = 1 << 20;
/// Settings of a server that are taken over, at most.
const PARAMETERS_MAX: usize = 1000;
/// What is set by Mainstay; the configuration refuses it in `extra`, or it would be undone.
const OURS: &[&str] = &[
    "archive_recovery",
    "cluster_name",
    "data_directory",
    "hba_file",
    "hot_standby",
    "ident_file",
    "listen_addresses",
    "port",
    "primary_conninfo",
    "primary_slot_name",
    "recovery_target_timeline",
    "synchronous_standby_names",
    "unix_socket_directories",
    "wal_level",
    "wal_log_hints",
];
/// The files' meaning as a configuration. The first one is this node's; further ones are those of the other members.
///
/// # Errors
/// Which file cannot be read, or where it says something that cannot be.
pub(super) fn import(files: &[PathBuf]) -> Result<String, Failure> {
    let read: Vec<File> = files.iter().map(|path| File::read(path)).collect::<Result<_, _>>()?;
    let Some((own, others)) = read.split_first() else { return Err(Failure::usage("no file was named")) };
    for other in others {
        if other.text_of("scope")? != own.text_of("scope")? {
            return Err(Failure::new(format!("{}: scope: it is another group's", other.name)));
        }
    }
    let mut text = Text::default();
    text.group(own)?;
    for file in &read {
        text.member(file)?;
    }
    if others.is_empty() {
        text.remark("ADD the other members, each with `node` and `address`; or name their files behind this one");
    }
    text.server(own)?;
    text.left_out(own);
    Ok(text.0)
}

/// A file, and what stands in it.
struct File {
    name: String,
    document: Value,
}

impl File {
    fn read(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let failed = |why: String| Failure::new(format!("{name}: {why}"));
        let size = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?.len();
        if size > BYTES_MAX {
            return Err(failed(format!("it has {size} bytes, and at most {BYTES_MAX} are read")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        Self::parse(name, &text)
    }

    fn parse(name: String, text: &str) -> Result<Self, Failure> {
        let document: Value = serde_saphyr::from_str(text)
            .map_err(|error| Failure::new(format!("{name}: {error}")).hint("it must be YAML, as Patroni reads it"))?;
        if !document.is_object() {
            return Err(Failure::new(format!("{name}: a patroni.yml is a table of keys")));
        }
        Ok(Self { name, document })
    }

    /// What stands at a path such as `postgresql.data_dir`.
    fn at(&self, path: &str) -> Option<&Value> {
        let found = path.split('.').try_fold(&self.document, |value, key| value.get(key))?;
        (!found.is_null()).then_some(found)
    }

    fn wrong(&self, path: &str, wanted: &str) -> Failure {
        Failure::new(format!("{}: {path}: {wanted} is needed here", self.name))
    }

    fn text_of(&self, path: &str) -> Result<Option<String>, Failure> {
        match self.at(path) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(_other) => Err(self.wrong(path, "a text")),
        }
    }

    fn number(&self, path: &str) -> Result<Option<u64>, Failure> {
        let Some(value) = self.at(path) else { return Ok(None) };
        let number = value.as_u64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
        number.map(Some).ok_or_else(|| self.wrong(path, "a whole number"))
    }

    fn flag(&self, path: &str) -> Result<bool, Failure> {
        match self.at(path) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::String(text)) => match text.to_ascii_lowercase().as_str() {
                "on" | "true" | "yes" | "1" | "quorum" => Ok(true),
                "off" | "false" | "no" | "0" => Ok(false),
                _other => Err(self.wrong(path, "true or false")),
            },
            Some(_other) => Err(self.wrong(path, "true or false")),
        }
    }
}

/// The configuration that comes of it.
#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn remark(&mut self, remark: &str) {
        self.line(&format!("# {}", remark.replace(['\n', '\r'], " ")));
    }

    fn key(&mut self, key: &str, value: &str) {
        self.line(&format!("{key} = {}", quoted(value)));
    }

    fn group(&mut self, file: &File) -> Result<(), Failure> {
        self.remark(&format!(
            "From {}. Check it with `mainstay check`, together with [node] and [cluster].",
            file.name
        ));
        self.line("[[database]]");
        let scope = file.text_of("scope")?.ok_or_else(|| file.wrong("scope", "the name of the cluster"))?;
        self.key("name", &scope);
        self.key("engine", "postgres");
        let strict = file.flag("bootstrap.dcs.synchronous_mode_strict")?;
        let durability = match (file.flag("bootstrap.dcs.synchronous_mode")?, strict) {
            (true, true) => "sync-strict",
            (true, false) => "sync-preferred",
            (false, _) => "async",
        };
        self.key("durability", durability);
        if durability != "async" {
            self.remark(
                "Patroni's synchronous replicas are fixed until one fails; here any `acks` of those that stream count.",
            );
            let acks = file.number("bootstrap.dcs.synchronous_node_count")?.unwrap_or(1);
            self.line(&format!("acks = {}", acks.max(1)));
        }
        if let Some(bytes) = file.number("bootstrap.dcs.maximum_lag_on_failover")? {
            self.key("lag_max", &format!("{bytes}B"));
        }
        if file.flag("bootstrap.dcs.failsafe_mode")? {
            self.line("failsafe = true");
        }
        self.times(file)?;
        self.doors(file)
    }

    fn times(&mut self, file: &File) -> Result<(), Failure> {
        let times = ["ttl", "loop_wait", "retry_timeout"].map(|key| (key, format!("bootstrap.dcs.{key}")));
        let given: Vec<&str> = times.iter().filter(|(_, path)| file.at(path).is_some()).map(|(key, _)| *key).collect();
        if !given.is_empty() {
            let given = given.join(", ");
            self.remark(&format!(
                "Instead of {given}: `timings` under [cluster]; its default notices a dead node after 2.6 s."
            ));
        }
        let older = file.number("bootstrap.dcs.master_start_timeout")?;
        if let Some(seconds) = file.number("bootstrap.dcs.primary_start_timeout")?.or(older) {
            self.remark(
                "From primary_start_timeout. It is also how long a crashed primary may take to come back by itself.",
            );
            if seconds == 0 {
                self.key("restart_within", "100ms");
            } else {
                self.key("restart_within", &format!("{}s", seconds.min(3600)));
            }
        }
        Ok(())
    }

    fn doors(&mut self, file: &File) -> Result<(), Failure> {
        if let Some(listen) = file.text_of("restapi.listen")? {
            let listen = if let Some(port) = listen.strip_prefix("*:") { format!("0.0.0.0:{port}") } else { listen };
            match listen.parse::<SocketAddr>() {
                Ok(_address) => self.key("rest", &listen),
                Err(_name) => self.remark(&format!("rest = \"IP:PORT\" is needed; restapi.listen is {listen}")),
            }
        }
        let mut fencing = Vec::new();
        let mode = file.text_of("watchdog.mode")?.unwrap_or_else(|| "off".to_owned());
        if file.at("watchdog").is_some() && mode != "off" && mode != "false" {
            let device = file.text_of("watchdog.device")?.unwrap_or_else(|| "/dev/watchdog".to_owned());
            fencing.push(format!("watchdog = {}", quoted(&device)));
            if mode == "required" {
                self.remark("watchdog.mode = required: a member leads without it too; `mainstay database status` shows it is missing.");
            }
        }
        if !fencing.is_empty() {
            self.line(&format!("fencing = {{ {} }}", fencing.join(", ")));
        }
        Ok(())
    }

    fn member(&mut self, file: &File) -> Result<(), Failure> {
        self.line("");
        self.line("[[database.member]]");
        let node = file.text_of("name")?.ok_or_else(|| file.wrong("name", "the member's name"))?;
        self.remark("The node's name under its [node].");
        self.key("node", &node);
        let path = if file.at("postgresql.connect_address").is_some() {
            "postgresql.connect_address"
        } else {
            "postgresql.listen"
        };
        let address = file.text_of(path)?.ok_or_else(|| file.wrong("postgresql.connect_address", "IP:PORT"))?;
        match address.parse::<SocketAddr>() {
            Ok(found) if !found.ip().is_unspecified() => self.key("address", &address),
            Ok(_) | Err(_) => {
                self.remark(&format!("an IP address and a port are needed; {path} is {address}"));
                self.remark("address = \"10.0.1.1:5432\"");
            }
        }
        let priority = file.number("tags.failover_priority")?;
        if file.flag("tags.nofailover")? || priority == Some(0) {
            self.line("priority = 0");
        } else if let Some(priority) = priority {
            self.line(&format!("priority = {}", priority.min(1000)));
        }
        for (tag, key) in [("tags.noloadbalance", "no_reads"), ("tags.nosync", "no_sync")] {
            if file.flag(tag)? {
                self.line(&format!("{key} = true"));
            }
        }
        Ok(())
    }

    fn server(&mut self, file: &File) -> Result<(), Failure> {
        self.line("");
        self.line("[database.server]");
        for key in ["data_dir", "bin_dir"] {
            if let Some(folder) = file.text_of(&format!("postgresql.{key}"))? {
                self.key(key, &folder);
            }
        }
        self.remark("The user whom Patroni runs as owns the data, mostly `postgres`.");
        self.key("user", "postgres");
        self.remark(
            "Put a password into this file, the same on all members, for the role mainstay_replication, which is made.",
        );
        self.line("replication_password = { file = \"replication.password\" }");
        let mut lines = String::new();
        let mut own = Vec::new();
        for path in ["bootstrap.dcs.postgresql.parameters", "postgresql.parameters"] {
            let Some(parameters) = file.at(path) else { continue };
            let parameters = parameters.as_object().ok_or_else(|| file.wrong(path, "a table of settings"))?;
            if parameters.len() > PARAMETERS_MAX {
                return Err(file.wrong(path, "a table of at most 1000 settings"));
            }
            settings(file, path, parameters, &mut lines, &mut own)?;
        }
        if !own.is_empty() {
            self.remark(&format!("Left out, since Mainstay sets them: {}.", own.join(", ")));
        }
        if !lines.is_empty() {
            self.line(&format!("extra = {}", multi_line(&lines)));
        }
        Ok(())
    }

    fn left_out(&mut self, file: &File) {
        let found: Vec<_> = LEFT_OUT.iter().filter(|(path, _)| file.at(path).is_some()).collect();
        let known = ["scope", "name", "restapi", "bootstrap", "postgresql", "watchdog", "tags"];
        let is_known = |key: &str| known.contains(&key) || LEFT_OUT.iter().any(|(path, _)| *path == key);
        let unknown: Vec<String> = match file.document.as_object() {
            Some(table) => table.keys().filter(|key| !is_known(key)).cloned().collect(),
            None => Vec::new(),
        };
        if !found.is_empty() || !unknown.is_empty() {
            self.line("");
            self.remark("Left out:");
        }
        for (path, why) in found {
            self.remark(&format!("{path}: {why}"));
        }
        for key in unknown {
            self.remark(&format!("{key}: not known"));
        }
    }
}

fn settings(
    file: &File,
    path: &str,
    parameters: &Map<String, Value>,
    lines: &mut String,
    own: &mut Vec<String>,
) -> Result<(), Failure> {
    for (name, value) in parameters {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
        if name.is_empty() || !name.bytes().all(is_plain) {
            return Err(file.wrong(&format!("{path}.{name}"), "the name of a setting"));
        }
        if OURS.contains(&name.to_ascii_lowercase().as_str()) {
            own.push(name.clone());
            continue;
        }
        let value = match value {
            Value::Bool(flag) => if *flag { "on" } else { "off" }.to_owned(),
            Value::Number(number) => number.to_string(),
            Value::String(text) if !text.contains(['\n', '\r', '\0']) => {
                format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
            }
            Value::Null => continue,
            Value::String(_) | Value::Array(_) | Value::Object(_) => {
                return Err(file.wrong(&format!("{path}.{name}"), "one value on one line"));
            }
        };
        lines.push_str(&format!("{name} = {value}\n"));
    }
    Ok(())
}

/// As TOML and JSON write a text.
fn quoted(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007F")
}

/// As TOML writes several lines, if it can be read that way.
fn multi_line(lines: &str) -> String {
    let is_literal = !lines.contains("'''") && !lines.chars().any(|c| c.is_control() && c != '\n');
    if is_literal { format!("'''\n{lines}'''") } else { quoted(lines) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "\
scope: batman
name: pg1
restapi:
  listen: 0.0.0.0:8008
  connect_address: 10.0.1.1:8008
etcd3:
  host: 10.0.1.9:2379
bootstrap:
  dcs:
    ttl: 30
    maximum_lag_on_failover: 1048576
    synchronous_mode: true
    synchronous_node_count: 1
    primary_start_timeout: 10
    postgresql:
      use_pg_rewind: true
      parameters:
        max_connections: 200
        wal_level: replica
  initdb:
    - encoding: UTF8
postgresql:
  listen: 10.0.1.1:5432
  connect_address: 10.0.1.1:5432
  data_dir: /var/lib/postgresql/15/main
  bin_dir: /usr/lib/postgresql/15/bin
  authentication:
    replication: { username: replicator, password: hunter2 }
  parameters:
    shared_buffers: 1GB
    archive_command: \"cp %p '/a b/%f'\"
    fsync: on
watchdog: { mode: automatic, device: /dev/watchdog }
tags: { nofailover: false, clonefrom: false }
pam: 1
";

    fn file(text: &str) -> File {
        File::parse("patroni.yml".to_owned(), text).unwrap_or_else(|failure| panic!("{failure}"))
    }

    fn written(files: &[&str]) -> Result<String, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let paths: Vec<PathBuf> = (0..files.len()).map(|index| folder.path().join(format!("{index}.yml"))).collect();
        for (path, text) in paths.iter().zip(files) {
            std::fs::write(path, text).expect("written");
        }
        import(&paths).map_err(|failure| failure.to_string())
    }

    #[test]
    fn what_comes_of_it_is_a_configuration() {
        let other =
            OWN.replace("pg1", "pg2").replace("10.0.1.1", "10.0.1.2").replace("nofailover: false", "nofailover: true");
        let text = written(&[OWN, &other]).expect("it can be read");
        assert!(!text.contains("hunter2"), "{text}");
        let base = "[node]\nname = \"pg1\"\ndata_dir = \"/var/lib/mainstay\"\n[cluster]\n";
        let config = crate::config::parse(&format!("{base}{text}"), "imported", Path::new("/etc/mainstay"));
        let config = config.unwrap_or_else(|problems| panic!("{problems:#?}\n{text}"));
        let database = &config.databases[0];
        assert_eq!((database.name.as_str(), database.acks, database.lag_max), ("batman", 1, 1_048_576));
        assert_eq!(database.durability, mainstay_core::database::Durability::SyncPreferred);
        assert_eq!(database.times.restart_within, std::time::Duration::from_secs(10));
        assert_eq!(database.members.iter().map(|it| it.priority).collect::<Vec<_>>(), [100, 0]);
        assert_eq!(database.fencing.watchdog.as_deref(), Some(Path::new("/dev/watchdog")));
        let server = database.server.as_ref().expect("it is a member");
        assert_eq!(server.data_dir, Path::new("/var/lib/postgresql/15/main"));
        for line in ["max_connections = 200", "archive_command = 'cp %p ''/a b/%f'''", "fsync = on"] {
            assert!(server.extra.lines().any(|it| it == line), "{line}: {}", server.extra);
        }
        for remark in [
            "sets them: wal_level.",
            "etcd3: [cluster] takes its place",
            "tags.clonefrom: ",
            "pam: not known",
            "Instead of ttl",
        ] {
            assert!(text.contains(remark), "{remark}: {text}");
        }
    }

    #[test]
    fn what_cannot_be_is_told_with_its_place() {
        for (from, to, part) in [
            ("scope: batman\n", "", "0.yml: scope: the name of the cluster is needed"),
            ("name: pg1\n", "", "0.yml: name: the member's name is needed"),
            (
                "maximum_lag_on_failover: 1048576",
                "maximum_lag_on_failover: much",
                "bootstrap.dcs.maximum_lag_on_failover: a whole",
            ),
            ("synchronous_mode: true", "synchronous_mode: perhaps", "bootstrap.dcs.synchronous_mode: true or false"),
            (
                "max_connections: 200",
                "max_connections: [1]",
                "bootstrap.dcs.postgresql.parameters.max_connections: one value",
            ),
            ("scope: batman\n", "scope: [\n", "0.yml: "),
        ] {
            let refused = written(&[&OWN.replace(from, to)]).expect_err(to);
            assert!(refused.contains(part), "{part}: {refused}");
        }
        assert!(
            written(&[OWN, &OWN.replace("batman", "robin")]).expect_err("another").contains("it is another group's")
        );
        assert!(written(&["- a\n"]).expect_err("a list").contains("a table of keys"));
        assert!(import(&[PathBuf::from("/nowhere.yml")]).expect_err("no file").to_string().contains("/nowhere.yml"));
    }

    #[test]
    fn names_in_place_of_addresses_are_told() {
        let text = written(&[&OWN.replace("10.0.1.1:5432", "pg1.internal:5432")]).expect("it can be read");
        assert!(
            text.contains("# an IP address and a port are needed; postgresql.connect_address is pg1.internal:5432"),
            "{text}"
        );
        assert!(text.contains("ADD the other members"), "{text}");
        assert_eq!(file(OWN).at("postgresql.authentication.replication.username"), Some(&Value::from("replicator")));
    }
}
