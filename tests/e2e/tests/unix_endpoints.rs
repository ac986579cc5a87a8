//! Endpoints behind Unix sockets: HTTP, TLS, TCP with a real database, checks, and names in what is shown.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mainstay_e2e::gateway::built;
use mainstay_e2e::process::Process;
use mainstay_e2e::tls::Authority;
use mainstay_e2e::{Mainstay, Wire, eventually, free, tools, wire};

fn config(listen: SocketAddr, listener: &str, endpoints: &[String], service: &str) -> String {
    format!(
        "[[listener]]\nname = \"front\"\nbind = \"{listen}\"\n{listener}\n\n\
         [[service]]\nname = \"app\"\nendpoints = {endpoints:?}\n{service}\n"
    )
}

fn name(dir: &Path, file: &str) -> String {
    format!("unix:{}", dir.join(file).display())
}

/// nginx on a socket.
struct Nginx {
    server: tools::Server,
    /// The endpoint.
    name: String,
    _dir: tempfile::TempDir,
}

/// `options` are those of `listen`, `server` goes inside the block. The TCP port only tells when it is up.
fn nginx(options: &str, server: &str, files: &[(&str, &str)]) -> Nginx {
    let (tcp, dir) = (free(), tempfile::tempdir().expect("a temporary directory"));
    let name = name(dir.path(), "app.sock");
    let text = format!("server {{ listen {tcp}; listen {name} {options}; {server} }}");
    Nginx { server: tools::nginx(tcp, &text, files), name, _dir: dir }
}

#[test]
fn http_through_a_socket() {
    let nginx = nginx(
        "",
        "location / { client_max_body_size 0; return 200 \"$http_host $request_method $http_x_forwarded_for\\n\"; }\n\
         location /health { return 200 \"$http_host\\n\"; }\n location /large { root .; }",
        &[],
    );
    let endpoint = nginx.name.clone();
    std::fs::write(nginx.server.dir.path().join("large"), vec![b'x'; 3_000_000]).expect("a large file");
    let listen = free();
    let health =
        "health = { http = \"/health\", interval = \"200ms\", timeout = \"200ms\", unhealthy = 2, healthy = 1 }";
    let gateway = Mainstay::start(&config(listen, "", std::slice::from_ref(&endpoint), health));
    let mut wire = Wire::connect(listen);
    for _request in 0..20 {
        let response = wire.exchange("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
        assert_eq!((response.status, response.text().as_str()), (200, "shop.test GET 127.0.0.1\n"));
    }
    assert_eq!(wire::get(listen, "/large").body.length, 3_000_000);
    let opened = gateway.metric("mainstay_endpoint_connections_opened_total", &[&endpoint]);
    assert!((1.0..=6.0).contains(&opened), "connections are used again: {opened}");
    let line = gateway.logged("/large");
    assert_eq!(line["attempts"][0]["endpoint"], endpoint.as_str());
    let status = gateway.status();
    let shown = &status["services"][0]["endpoints"][0];
    assert_eq!((shown["name"].as_str(), shown["address"].as_str()), (Some(&*endpoint), Some(&*endpoint)));
    assert_eq!(shown["health"], "up");
    drain(&gateway, listen, &endpoint);
    drop(nginx);
    eventually("the endpoint is down", Duration::from_secs(10), || {
        gateway.metric("mainstay_endpoint_health", &[&endpoint, "\"down\""]) >= 1.0
    });
    assert_eq!(wire::get(listen, "/").status, 503);
    let reason = gateway.status()["services"][0]["endpoints"][0]["reason"].to_string();
    assert!(reason.contains("cannot connect: "), "{reason}");
}

fn drain(gateway: &Mainstay, listen: SocketAddr, endpoint: &str) {
    let target = format!("app/{endpoint}");
    let drained = gateway.command(&["drain", &target]);
    assert!(drained.status.success(), "{drained:?}");
    assert_eq!(wire::get(listen, "/").status, 503);
    let undone = gateway.command(&["drain", &target, "--undo"]);
    assert!(undone.status.success(), "{undone:?}");
    eventually("requests are served again", Duration::from_secs(5), || wire::get(listen, "/").status == 200);
}

#[test]
fn tls_through_a_socket_asks_for_localhost_unless_told() {
    let authority = Authority::new("inside");
    let (right, other) = (authority.issue(&["localhost"]), authority.issue(&["app.test"]));
    let serve = |identity: &mainstay_e2e::tls::Identity| {
        let files = [("s.pem", identity.cert.as_str()), ("s.key", identity.key.as_str())];
        let server =
            "ssl_certificate s.pem; ssl_certificate_key s.key; location / { return 200 \"$ssl_server_name\"; }";
        nginx("ssl", server, &files)
    };
    let (one, two) = (serve(&right), serve(&other));
    for (server, extra, answer) in
        [(&one, "", "localhost"), (&two, ", server_name = \"app.test\"", "app.test"), (&two, "", "")]
    {
        let listen = free();
        let service = format!(
            "tls = {{ ca = \"ca.pem\"{extra} }}\n\
             health = {{ https = \"/\", interval = \"300ms\", timeout = \"300ms\" }}"
        );
        let text = config(listen, "", std::slice::from_ref(&server.name), &service);
        let mut gateway = Mainstay::launch("", &text, &[("ca.pem", &authority.pem())]);
        gateway.wait_until_ready();
        if answer.is_empty() {
            eventually("a certificate for another name is refused", Duration::from_secs(10), || {
                let reason = gateway.status()["services"][0]["endpoints"][0]["reason"].to_string();
                wire::get(listen, "/").status == 503 && reason.contains("not for `localhost`")
            });
        } else {
            let response = wire::get(listen, "/");
            assert_eq!((response.status, response.text().as_str()), (200, answer));
        }
    }
}

#[test]
fn a_socket_without_a_listener_is_tried_elsewhere() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    // A file that nobody listens on any more, as a server that was killed leaves it.
    drop(UnixListener::bind(dir.path().join("dead.sock")).expect("a socket"));
    let alive = nginx("", "location / { return 200 ok; }", &[]);
    let listen = free();
    let service = "balance = \"round-robin\"\nhealth = \"off\"\noutlier = \"off\"\n\
                   retry_budget = { ratio = \"100%\", floor = 100 }";
    let endpoints = [name(dir.path(), "dead.sock"), alive.name.clone()];
    let gateway = Mainstay::start(&config(listen, "", &endpoints, service));
    for _request in 0..10 {
        assert_eq!(wire::get(listen, "/").text(), "ok");
    }
    assert!(gateway.metric("mainstay_endpoint_connect_failures_total", &["dead.sock"]) >= 1.0);
}

#[test]
fn bytes_both_ways_with_half_close() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let socket = UnixListener::bind(dir.path().join("count.sock")).expect("a socket");
    std::thread::spawn(move || {
        for mut stream in socket.incoming().flatten() {
            std::thread::spawn(move || {
                let mut all = Vec::new();
                let _checks_send_nothing = stream.read_to_end(&mut all);
                let _gone = write!(stream, "{}", all.len());
            });
        }
    });
    let listen = free();
    let listener = "protocol = \"tcp\"\nservice = \"app\"";
    let _gateway = Mainstay::start(&config(listen, listener, &[name(dir.path(), "count.sock")], ""));
    let mut stream = TcpStream::connect(listen).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a read limit");
    stream.write_all(&vec![7; 5_000_000]).expect("sent");
    stream.shutdown(Shutdown::Write).expect("a half-close");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("the answer, then an end");
    assert_eq!(text, "5000000");
}

#[test]
fn postgresql_behind_its_socket() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().display().to_string();
    let data = format!("{path}/data");
    // PostgreSQL refuses to run as root: it gets its own user then.
    let as_user = |program: &str, arguments: &[&str]| {
        let program = tools::find(program, "postgresql");
        let mut command = if tools::is_root() { Command::new("setpriv") } else { Command::new(&program) };
        if tools::is_root() {
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
        }
        command.args(arguments).current_dir("/");
        command
    };
    if tools::is_root() {
        tools::run("chown", "coreutils", &["postgres:postgres", &path]);
    }
    let made = as_user("initdb", &["-A", "trust", "-U", "app", "--no-sync", "-D", &data]).output();
    let made = made.expect("initdb starts");
    assert!(made.status.success(), "{made:?}");
    let settings = ["-c", "listen_addresses=", "-c", "fsync=off", "-p", "5432", "-k", &path];
    let mut command = as_user("postgres", &[&["-D", &data][..], &settings].concat());
    let _server = Process::start("postgres", dir.path(), &mut command, None);
    let listen = free();
    let health = "health = { tcp = true, interval = \"200ms\", timeout = \"200ms\", healthy = 1 }";
    let endpoint = name(dir.path(), ".s.PGSQL.5432");
    let listener = "protocol = \"tcp\"\nservice = \"app\"";
    let _gateway = Mainstay::start(&config(listen, listener, &[endpoint], health));
    let url = format!("postgresql://app@{listen}/postgres?connect_timeout=10&sslmode=disable");
    let mut text = String::new();
    eventually("the server takes queries", Duration::from_secs(20), || {
        let psql = tools::find("psql", "postgresql-client");
        let output = Command::new(psql)
            .args([
                &url,
                "-Atc",
                "select inet_client_addr() is null, sum(i) from \
            generate_series(1, 1000) i",
            ])
            .output()
            .expect("psql");
        text = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success()
    });
    assert_eq!(text.trim(), "t|500500", "it came over the socket");
}

#[test]
fn on_the_command_line() {
    let nginx = nginx("", "location / { return 200 ok; }", &[]);
    let (listen, dir) = (free(), tempfile::tempdir().expect("a temporary directory"));
    let mut command = Command::new(built("mainstay"));
    command.args(["proxy", "--listen", &listen.to_string(), "--admin", "off", "--admin-socket", "off"]);
    command.args(["--access-log", "off", &nginx.name]);
    let _process = Process::start("mainstay", dir.path(), &mut command, None);
    eventually("it serves", Duration::from_secs(15), || {
        Wire::try_connect(listen, Duration::from_secs(1)).is_ok() && wire::get(listen, "/").text() == "ok"
    });
}
