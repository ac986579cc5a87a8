//! Servers of PostgreSQL and Redis, and a gateway in this process whose groups have the roles that a test gives them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use mainstay_e2e::process::Process;
use mainstay_e2e::tls::Authority;
use mainstay_e2e::{eventually, free, tools};
use mainstay_gateway::Gateway;
use mainstay_gateway::spec::{
    AccessLog, Database, Listener, Node, Protocol, Replica, Resolver, Roles, Shutdown, Spec, Telemetry,
};
use mainstay_gateway::state::DatabaseCounters;
use postgres::{Client, NoTls};
use tempfile::TempDir;

/// Nothing takes longer than this unless it hangs.
pub const LONG: Duration = Duration::from_secs(60);

/// A data directory as `initdb` leaves it, made once for all servers of this process.
static TEMPLATE: Mutex<Weak<TempDir>> = Mutex::new(Weak::new());

/// PostgreSQL refuses to run as root: it gets its own user then.
fn as_user(program: &str) -> Command {
    let path = tools::find(program, "postgresql");
    if !tools::is_root() {
        return Command::new(path);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(path);
    command
}

fn give(dir: &TempDir) {
    if tools::is_root() {
        tools::run("chown", "coreutils", &["-R", "postgres:postgres", &dir.path().display().to_string()]);
    }
}

fn template() -> Arc<TempDir> {
    let mut template = TEMPLATE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(made) = template.upgrade() {
        return made;
    }
    let made = Arc::new(tempfile::tempdir().expect("a temporary directory"));
    give(&made);
    let mut command = as_user("initdb");
    command.args(["-A", "trust", "-U", "app", "--no-sync", "-D"]).arg(made.path().join("data")).current_dir("/");
    let output = command.output().expect("initdb starts");
    assert!(output.status.success(), "{output:?}");
    std::fs::write(made.path().join("data/pg_hba.conf"), "host all all 127.0.0.0/8 trust\n").expect("who may connect");
    *template = Arc::downgrade(&made);
    made
}

/// A server of PostgreSQL that tells its name by `SHOW cluster_name`.
pub struct Postgres {
    pub server: tools::Server,
    pub address: SocketAddr,
    _template: Arc<TempDir>,
}

impl Postgres {
    pub fn start(name: &str) -> Self {
        let (template, dir, address) = (template(), tempfile::tempdir().expect("a temporary directory"), free());
        let data = dir.path().join("data");
        let from = template.path().join("data");
        tools::run("cp", "coreutils", &["-a", &from.display().to_string(), &data.display().to_string()]);
        Authority::new("servers").issue(&[&address.ip().to_string()]).write(dir.path(), "server");
        give(&dir);
        let key = dir.path().join("server.key");
        tools::run("chmod", "coreutils", &["600", &key.display().to_string()]);
        let mut command = as_user("postgres");
        command.arg("-D").arg(&data).args(["-h", &address.ip().to_string(), "-p", &address.port().to_string()]);
        let settings = [
            format!("cluster_name={name}"),
            "unix_socket_directories=".to_owned(),
            "fsync=off".to_owned(),
            "max_connections=300".to_owned(),
            "shared_buffers=16MB".to_owned(),
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", dir.path().join("server.pem").display()),
            format!("ssl_key_file={}", key.display()),
        ];
        settings.iter().for_each(|setting| {
            command.args(["-c", setting]);
        });
        let process = Process::start("postgres", dir.path(), command.current_dir("/"), None);
        let mut server = tools::Server { dir, process };
        server.wait_for(address);
        eventually("the server takes queries", LONG, || connect(address).is_ok());
        Self { server, address, _template: template }
    }
}

pub fn url(address: SocketAddr) -> String {
    format!("postgresql://app@{address}/postgres?connect_timeout=60")
}

/// A session of PostgreSQL.
pub fn connect(address: SocketAddr) -> Result<Client, postgres::Error> {
    Client::connect(&url(address), NoTls)
}

/// Which server a session leads to.
pub fn name(client: &mut Client) -> Result<String, postgres::Error> {
    client.query_one("SELECT current_setting('cluster_name')", &[]).map(|row| row.get(0))
}

/// Asks `psql`; what it writes to standard output or, if it fails, to standard error.
pub fn psql(url: &str, query: &str) -> Result<String, String> {
    let output = Command::new(tools::find("psql", "postgresql-client")).args([url, "-Atc", query]).output();
    let output = output.expect("psql starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// A gateway with these listeners. Dropping it ends it.
pub struct Led(pub Arc<Gateway>);

impl Drop for Led {
    fn drop(&mut self) {
        self.0.shutdown();
    }
}

/// A listener that leads to a group.
pub fn listener(name: &str, bind: SocketAddr, database: Database) -> Listener {
    Listener {
        name: name.to_owned(),
        bind,
        floating: false,
        proxy_protocol: None,
        tls: None,
        max_connections: 10_000,
        protocol: Protocol::Database(database),
    }
}

pub fn gateway(listeners: Vec<Listener>) -> Led {
    Led(Gateway::start(spec(listeners)).expect("the gateway starts"))
}

pub fn spec(listeners: Vec<Listener>) -> Spec {
    Spec {
        node: Node {
            name: "test".to_owned(),
            zone: None,
            workers: 2,
            access_log: AccessLog::Off,
            explain: 0,
            shutdown: Shutdown { lead: Duration::ZERO, deadline: Duration::from_millis(500) },
            resolver: Resolver::default(),
            cache_memory: 1 << 20,
            data_dir: None,
        },
        listeners,
        routes: Vec::new(),
        services: Vec::new(),
        cells: Vec::new(),
        acme: Vec::new(),
        telemetry: Telemetry::default(),
    }
}

impl Led {
    /// Says who is primary in which term, and who follows with which lag.
    pub fn lead(&self, term: u64, primary: Option<SocketAddr>, replicas: &[(SocketAddr, u64)]) {
        self.try_lead(term, primary, replicas).expect("it is led");
    }

    pub fn try_lead(
        &self,
        term: u64,
        primary: Option<SocketAddr>,
        replicas: &[(SocketAddr, u64)],
    ) -> Result<(), mainstay_gateway::LeadError> {
        let replicas = replicas.iter().map(|(address, lag)| Replica { address: *address, lag: Some(*lag) }).collect();
        self.0.lead("orders", Roles { term, number: term, primary, replicas, is_current: true, ..Roles::default() })
    }

    /// A count of the first listener.
    pub fn count(&self, read: impl Fn(&DatabaseCounters) -> u64) -> u64 {
        self.0.state().listeners[0].shards.sum(|counters| read(&counters.database))
    }

    /// Waits until so many connections wait at the first listener.
    pub fn await_held(&self, count: usize) {
        eventually("connections wait", LONG, || {
            self.0.state().listeners[0].holding.load(std::sync::atomic::Ordering::Relaxed) == count
        });
    }
}

/// A raw connection with a limit on every read.
pub fn raw(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(LONG)).expect("a read limit");
    stream
}

/// Sends a command of Redis as a line, and reads one line of the answer.
pub fn redis(stream: &mut (impl Read + Write), command: &str) -> std::io::Result<String> {
    stream.write_all(format!("{command}\r\n").as_bytes())?;
    line(stream)
}

pub fn line(stream: &mut impl Read) -> std::io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") {
        stream.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}
