//! TCP listeners: bytes both ways, half-close, balancing, health, and real servers behind them.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use mainstay_e2e::process::Process;
use mainstay_e2e::scripted::{Exchange, Scripted};
use mainstay_e2e::{Mainstay, eventually, free, tools};

fn config(listen: SocketAddr, endpoints: &[SocketAddr], listener: &str, service: &str) -> String {
    let list: Vec<String> = endpoints.iter().map(|address| format!("\"{address}\"")).collect();
    format!(
        "[[listener]]\nname = \"db\"\nbind = \"{listen}\"\nprotocol = \"tcp\"\nservice = \"db\"\n{listener}\n\n\
         [[service]]\nname = \"db\"\nendpoints = [{}]\n{service}\n",
        list.join(", ")
    )
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a read limit");
    stream
}

/// A server that says its name and then, once the client has finished, how many bytes came.
fn counter(name: &'static str) -> Scripted {
    Scripted::start(move |mut exchange: Exchange| {
        exchange.send(format!("{name}\n"));
        let total = exchange.count_to_end();
        exchange.send(format!("{total}\n"));
    })
}

fn read_all(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("the rest, then an end");
    text
}

#[test]
fn half_close_is_kept() {
    let (server, listen) = (counter("one"), free());
    let gateway = Mainstay::start(&config(listen, &[server.address()], "", "health = \"off\""));
    let mut stream = connect(listen);
    let block = vec![7; 100_000];
    for _block in 0..50 {
        stream.write_all(&block).expect("sent");
    }
    stream.shutdown(Shutdown::Write).expect("a half-close");
    // The answer comes only after the end of our side, over the half that is still open.
    assert_eq!(read_all(&mut stream), "one\n5000000\n");
    eventually("the connection is gone", Duration::from_secs(5), || {
        gateway.metric("mainstay_listener_connections", &[]) == 0.0
    });
}

#[test]
fn connections_are_balanced_and_leave_a_dead_endpoint() {
    let (one, two) = (counter("one"), counter("two"));
    let (listen, dead) = (free(), free());
    let service =
        "balance = \"round-robin\"\nhealth = { tcp = true, interval = \"300ms\", timeout = \"200ms\", unhealthy = 2 }";
    let gateway = Mainstay::start(&config(listen, &[one.address(), two.address(), dead], "", service));
    eventually("the dead endpoint is down", Duration::from_secs(10), || {
        gateway.metric("mainstay_endpoint_health", &[&format!("\"{dead}\""), "\"down\""]) >= 1.0
    });
    let mut counts = [0, 0];
    for _round in 0..40 {
        let mut stream = connect(listen);
        stream.shutdown(Shutdown::Write).expect("a half-close");
        let text = read_all(&mut stream);
        counts[usize::from(text.starts_with("two"))] += 1;
        assert!(text.ends_with("\n0\n"), "{text}");
    }
    assert!(counts.iter().all(|count| *count >= 12), "{counts:?}");
    drop(one);
    drop(two);
}

#[test]
fn a_connection_that_cannot_be_made_is_tried_elsewhere() {
    let (server, listen, dead) = (counter("alive"), free(), free());
    let service = "balance = \"round-robin\"\nhealth = \"off\"\noutlier = \"off\"\nretry_budget = { ratio = \"100%\", floor = 100 }";
    let _gateway = Mainstay::start(&config(listen, &[dead, server.address()], "", service));
    for _round in 0..10 {
        let mut stream = connect(listen);
        stream.shutdown(Shutdown::Write).expect("a half-close");
        assert_eq!(read_all(&mut stream), "alive\n0\n");
    }
}

#[test]
fn an_idle_connection_is_closed_and_one_with_traffic_is_not() {
    let (server, listen) = (counter("one"), free());
    let _gateway = Mainstay::start(&config(listen, &[server.address()], "idle_timeout = \"1s\"", "health = \"off\""));
    let (mut idle, mut busy) = (connect(listen), connect(listen));
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        busy.write_all(b"x").expect("a connection with traffic stays");
        std::thread::sleep(Duration::from_millis(200));
    }
    let mut text = String::new();
    let _reset_is_fine = idle.read_to_string(&mut text);
    assert_eq!(text.lines().next(), Some("one"));
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    busy.shutdown(Shutdown::Write).expect("a half-close");
    assert!(read_all(&mut busy).starts_with("one\n1"));
}

#[test]
fn nobody_healthy_closes_at_once_and_a_reset_is_passed_on() {
    let (listen, dead) = (free(), free());
    let _gateway = Mainstay::start(&config(listen, &[dead], "", ""));
    let begun = Instant::now();
    let mut stream = connect(listen);
    let mut block = [0; 16];
    assert!(matches!(stream.read(&mut block), Ok(0) | Err(_)));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let (resetting, listen) = (Scripted::start(|exchange: Exchange| exchange.reset()), free());
    let _gateway = Mainstay::start(&config(listen, &[resetting.address()], "", "health = \"off\""));
    let mut stream = connect(listen);
    let ended = stream.read(&mut block);
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
}

#[test]
fn redis_through_it() {
    let (address, listen) = (free(), free());
    let mut redis = tools::redis(address);
    let health = "health = { tcp = true, interval = \"300ms\", timeout = \"200ms\", unhealthy = 2, healthy = 1 }";
    let gateway = Mainstay::start(&config(listen, &[address], "", health));
    let (ip, port) = (listen.ip().to_string(), listen.port().to_string());
    let text = tools::run(
        "redis-benchmark",
        "redis-tools",
        &["-h", &ip, "-p", &port, "-n", "20000", "-c", "20", "-P", "4", "-q", "-t", "set,get,lpush"],
    );
    assert!(text.contains("GET: ") && !text.contains("rror"), "{text}");
    let cli =
        |arguments: &[&str]| tools::run("redis-cli", "redis-tools", &[&["-h", &ip, "-p", &port], arguments].concat());
    let large = "v".repeat(100_000);
    assert_eq!(cli(&["set", "large", &large]).trim(), "OK");
    assert_eq!(cli(&["get", "large"]).trim(), large);
    redis.process.kill();
    eventually("redis is down", Duration::from_secs(10), || {
        gateway.metric("mainstay_endpoint_health", &["\"down\""]) >= 1.0
    });
}

#[test]
fn postgresql_through_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data = dir.path().join("data");
    // PostgreSQL refuses to run as root: it gets its own user then.
    let as_user = |program: &str, arguments: &[&str]| {
        let path = tools::find(program, "postgresql");
        let mut command = if tools::is_root() { Command::new("setpriv") } else { Command::new(&path) };
        if tools::is_root() {
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(path);
        }
        command.args(arguments).current_dir("/");
        command
    };
    if tools::is_root() {
        tools::run("chown", "coreutils", &["postgres:postgres", &dir.path().display().to_string()]);
    }
    let made =
        as_user("initdb", &["-A", "trust", "-U", "app", "--no-sync", "-D", &data.display().to_string()]).output();
    let made = made.expect("initdb starts");
    assert!(made.status.success(), "{made:?}");
    let (address, listen) = (free(), free());
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let directory = data.display().to_string();
    let mut server = as_user(
        "postgres",
        &["-D", &directory, "-h", &host, "-p", &port, "-c", "unix_socket_directories=", "-c", "fsync=off"],
    );
    let hba = data.join("pg_hba.conf");
    std::fs::write(hba, "host all all 127.0.0.0/8 trust\n").expect("who may connect");
    let process = Process::start("postgres", dir.path(), &mut server, None);
    let mut server = tools::Server { dir, process };
    server.wait_for(address);
    let _gateway = Mainstay::start(&config(listen, &[address], "", ""));
    let url = format!("postgresql://app@{listen}/postgres?connect_timeout=10");
    let mut text = String::new();
    eventually("the server takes queries", Duration::from_secs(20), || {
        let query = "select count(*), sum(length(repeat('x', i))) from generate_series(1, 5000) i";
        let output =
            Command::new(tools::find("psql", "postgresql-client")).args([&url, "-Atc", query]).output().expect("psql");
        text = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success()
    });
    assert_eq!(text.trim(), "5000|12502500");
    let rows = "copy (select repeat('y', 1000) from generate_series(1, 20000)) to stdout";
    let copied = tools::run("psql", "postgresql-client", &[&url, "-Atc", rows]);
    assert_eq!((copied.lines().count(), copied.len()), (20_000, 20_000 * 1001));
}
