//! The proxies: how each is configured and started. `bench/README.md` says why these settings.

use crate::measure;
use crate::process::Process;
use anyhow::{Context as _, Result, ensure};
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The name of the extra row.
pub(crate) const WITHOUT_LOG: &str = "mainstay, no log";

/// Files and ports of one run.
pub(crate) struct Site {
    work: PathBuf,
    /// Ports of the origin.
    pub origin_ports: [u16; 2],
    /// Connections of the idle scenario.
    pub idle_connections: usize,
}

impl Site {
    /// Makes the working directory and a certificate (ECDSA P-256) for all proxies.
    pub(crate) fn prepare(work: &Path) -> Result<Site> {
        std::fs::create_dir_all(work).with_context(|| format!("cannot create {}", work.display()))?;
        let work = work.canonicalize()?;
        let (cert, key) = (work.join("cert.pem"), work.join("key.pem"));
        let output = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650"])
            .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&cert)
            .output()
            .context("cannot run openssl")?;
        ensure!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
        let both = std::fs::read_to_string(&cert)? + &std::fs::read_to_string(&key)?;
        std::fs::write(work.join("both.pem"), both)?;
        Ok(Site { work, origin_ports: [18_001, 18_002], idle_connections: 10_000 })
    }

    /// Addresses of the origin.
    pub(crate) fn origins(&self) -> Vec<SocketAddr> {
        self.origin_ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect()
    }

    /// The certificate that all proxies serve.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.file("cert.pem")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.work.join(name)
    }
}

/// How a proxy is told what to do.
#[derive(Clone)]
enum Program {
    Haproxy,
    Nginx,
    Mainstay { binary: PathBuf, log: bool },
}

/// A proxy that runs.
pub(crate) struct Proxy {
    /// Its name in the table.
    pub name: String,
    /// Where it takes HTTP.
    pub plain: SocketAddr,
    /// Where it takes HTTPS.
    pub tls: SocketAddr,
    program: Program,
    /// Nothing only while it is restarted.
    process: Option<Process>,
    access_log: Option<PathBuf>,
}

/// Starts HAProxy, nginx, and Mainstay with and without its access log if its binary is given.
pub(crate) fn start_all(site: &Site, mainstay: Option<&Path>) -> Result<Vec<Proxy>> {
    let mut programs = vec![("haproxy", Program::Haproxy), ("nginx", Program::Nginx)];
    if let Some(binary) = mainstay {
        let binary = binary.canonicalize()?;
        programs.push(("mainstay", Program::Mainstay { binary: binary.clone(), log: true }));
        programs.push((WITHOUT_LOG, Program::Mainstay { binary, log: false }));
    }
    let mut proxies = Vec::new();
    for (at, (name, program)) in (0_u16..).zip(programs) {
        let port = 18_100 + at * 10;
        let access_log = match &program {
            Program::Mainstay { log: true, .. } => Some(site.file("mainstay-access.log")),
            Program::Mainstay { log: false, .. } | Program::Haproxy | Program::Nginx => None,
        };
        let mut proxy = Proxy {
            name: name.to_owned(),
            plain: SocketAddr::from(([127, 0, 0, 1], port)),
            tls: SocketAddr::from(([127, 0, 0, 1], port + 1)),
            program,
            process: None,
            access_log,
        };
        proxy.restart(site)?;
        proxies.push(proxy);
    }
    Ok(proxies)
}

impl Proxy {
    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().map_or(0, Process::id)
    }

    /// Stops it if it runs, and starts it.
    pub(crate) fn restart(&mut self, site: &Site) -> Result<()> {
        drop(self.process.take());
        let slug = self.name.replace([',', ' '], "");
        let config = site.file(&format!("{slug}.conf"));
        let log_path = site.file(&format!("{slug}.stderr"));
        let (text, mut command) = match &self.program {
            Program::Haproxy => {
                let mut command = Command::new("haproxy");
                command.arg("-db").arg("-f").arg(&config);
                (self.haproxy_config(site), command)
            }
            Program::Nginx => {
                let mut command = Command::new("nginx");
                command.arg("-p").arg(&site.work).arg("-e").arg(&log_path).arg("-c").arg(&config);
                (self.nginx_config(site), command)
            }
            Program::Mainstay { binary, .. } => {
                let mut command = Command::new(binary);
                command.args(["run", "-c"]).arg(&config);
                (self.mainstay_config(site), command)
            }
        };
        std::fs::write(&config, text)?;
        let log = File::create(&log_path)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).current_dir(&site.work);
        let mut process = Process::start(&self.name, measure::PROXY_CORE, &mut command)?;
        process.wait_for(&[self.plain, self.tls], &log_path.display().to_string())?;
        self.process = Some(process);
        Ok(())
    }

    /// An access log of the whole run would fill the disk; what was measured is the writing of it.
    pub(crate) fn after_sample(&self) -> Result<()> {
        if let Some(path) = &self.access_log {
            File::options()
                .write(true)
                .open(path)
                .and_then(|file| file.set_len(0))
                .context("the access log is gone")?;
        }
        Ok(())
    }

    fn haproxy_config(&self, site: &Site) -> String {
        let [first, second] = site.origin_ports;
        let (plain, tls, both) = (self.plain, self.tls, site.file("both.pem"));
        format!(
            "global
    nbthread 1
    no strict-limits
    maxconn 10500
    ssl-default-bind-options ssl-min-ver TLSv1.3
defaults
    mode http
    http-reuse always
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout http-keep-alive 60s
frontend plain
    bind {plain} backlog 4096
    default_backend origin
frontend tls
    bind {tls} ssl crt {} alpn http/1.1 backlog 4096
    default_backend origin
backend origin
    balance roundrobin
    server one 127.0.0.1:{first}
    server two 127.0.0.1:{second}
",
            both.display()
        )
    }

    fn nginx_config(&self, site: &Site) -> String {
        let [first, second] = site.origin_ports;
        let (plain, tls) = (self.plain, self.tls);
        let (cert, key, work) = (site.file("cert.pem"), site.file("key.pem"), site.work.display());
        format!(
            "daemon off;
worker_processes 1;
pid {work}/nginx.pid;
error_log stderr error;
events {{ worker_connections 11500; multi_accept on; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 75s;
    tcp_nodelay on;
    client_body_temp_path {work}/nginx-body;
    proxy_temp_path {work}/nginx-proxy;
    fastcgi_temp_path {work}/nginx-fastcgi;
    uwsgi_temp_path {work}/nginx-uwsgi;
    scgi_temp_path {work}/nginx-scgi;
    upstream origin {{
        server 127.0.0.1:{first};
        server 127.0.0.1:{second};
        keepalive 512;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {plain} backlog=4096;
        listen {tls} ssl backlog=4096;
        ssl_certificate {};
        ssl_certificate_key {};
        ssl_protocols TLSv1.3;
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_buffers 16 16k;
            proxy_buffer_size 16k;
        }}
    }}
}}
",
            cert.display(),
            key.display()
        )
    }

    fn mainstay_config(&self, site: &Site) -> String {
        let [first, second] = site.origin_ports;
        let (plain, tls) = (self.plain, self.tls);
        let log = self.access_log.as_ref().map_or("off".to_owned(), |path| path.display().to_string());
        let socket = site.file(if self.access_log.is_some() { "admin.sock" } else { "admin-no-log.sock" });
        format!(
            "[node]
name = \"bench\"
workers = 1
admin = \"127.0.0.1:{}\"
admin_socket = \"{}\"
access_log = \"{log}\"

[[listener]]
name = \"plain\"
bind = \"{plain}\"

[[listener]]
name = \"tls\"
bind = \"{tls}\"
tls = {{ cert = \"cert.pem\", key = \"key.pem\" }}

[[route]]
name = \"all\"
service = \"origin\"
retry = {{ attempts = 3, on = [\"5xx\", \"timeout\"] }}

[[service]]
name = \"origin\"
balance = \"least-request\"
health = {{ http = \"/health\", interval = \"2s\", timeout = \"1s\" }}
endpoints = [\"127.0.0.1:{first}\", \"127.0.0.1:{second}\"]
",
            plain.port() + 2,
            socket.display()
        )
    }
}
