//! What is limited: connections, descriptors, the patience with clients that stall, the life of log files.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use mainstay_e2e::gateway::simple;
use mainstay_e2e::load::Plan;
use mainstay_e2e::tls::{Authority, Client};
use mainstay_e2e::wire::{Broken, get};
use mainstay_e2e::{Mainstay, Origin, Wire, eventually, free};

const GET: &str = "GET /ok HTTP/1.1\r\nHost: a\r\n\r\n";

/// `simple` with lines added to its listener.
fn listening(listen: SocketAddr, endpoint: SocketAddr, lines: &str, service: &str) -> String {
    simple(listen, &[endpoint], service).replacen("[[service]]", &format!("{lines}\n\n[[service]]"), 1)
}

#[test]
fn connections_beyond_the_limit_wait_their_turn() {
    let (origin, listen) = (Origin::start(), free());
    let config = listening(listen, origin.address(), "max_connections = 4", "");
    let _gateway = Mainstay::start_with("workers = 1", &config);
    let mut wires: Vec<Wire> = (0..4).map(|_index| Wire::connect(listen)).collect();
    for wire in &mut wires {
        assert_eq!(wire.exchange(GET).text(), "ok");
    }
    let mut waiting = Wire::connect(listen);
    waiting.set_read_limit(Duration::from_millis(700));
    waiting.send(GET).expect("the kernel takes it");
    assert_eq!(waiting.response().expect_err("it waits"), Broken::Timeout);
    drop(wires.pop());
    waiting.set_read_limit(Duration::from_secs(5));
    assert_eq!(waiting.response().expect("its turn").text(), "ok");
}

#[test]
fn no_descriptors_left_is_survived() {
    let (origin, listen) = (Origin::start(), free());
    // The soft limit cannot be raised above the hard one, whatever the process wishes.
    let config = simple(listen, &[origin.address()], "");
    let mut gateway = Mainstay::launch_after("ulimit -S -n 80; ulimit -H -n 80", "", &config, &[]);
    gateway.wait_until_ready();
    let mut wires: Vec<Wire> = (0..150).map(|_index| Wire::connect(listen)).collect();
    for wire in &mut wires {
        wire.send(GET).expect("the kernel takes it");
    }
    std::thread::sleep(Duration::from_secs(1));
    assert!(gateway.process().is_running());
    drop(wires);
    // Those that waited in the queue are served first, and take descriptors for the backend's side, too.
    let plan = Plan { requests: 500, clients: 4, patience: Duration::from_secs(3), ..Plan::new(listen) };
    eventually("it serves again", Duration::from_secs(20), || plan.clone().run().failed().is_empty());
    plan.run().assert_clean(500);
}

#[test]
fn a_client_that_never_reads_is_closed() {
    let (origin, listen) = (Origin::start(), free());
    let gateway = Mainstay::start(&listening(listen, origin.address(), "body_timeout = \"1s\"", ""));
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small window");
    socket.connect(&listen.into()).expect("a connection");
    let mut stream = TcpStream::from(socket);
    stream.write_all(b"GET /bytes/50000000 HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
    let open = || gateway.metric("mainstay_listener_connections", &[]);
    eventually("it is connected", Duration::from_secs(5), || open() >= 1.0);
    eventually("it is closed", Duration::from_secs(10), || open() == 0.0);
    // The backend's connection was given up with it.
    eventually("nothing is in flight", Duration::from_secs(5), || {
        gateway.metric("mainstay_endpoint_active", &[]) == 0.0
    });
}

#[test]
fn a_client_that_leaves_is_noticed_while_the_backend_works() {
    let (origin, listen) = (Origin::start(), free());
    let gateway = Mainstay::start(&simple(listen, &[origin.address()], ""));
    for _index in 0..10 {
        let mut wire = Wire::connect(listen);
        wire.send("GET /sleep/20000 HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
        std::thread::sleep(Duration::from_millis(50));
        socket2::SockRef::from(&*wire.stream()).set_linger(Some(Duration::ZERO)).expect("a reset at close");
    }
    eventually("nothing is in flight", Duration::from_secs(5), || {
        gateway.metric("mainstay_endpoint_active", &[]) == 0.0
    });
    assert!(gateway.metric("mainstay_requests_client_gone_total", &[]) >= 10.0);
}

#[test]
fn handshakes_that_stall_are_given_up_on_both_sides() {
    let authority = Authority::new("one");
    let identity = authority.issue(&["a.test"]);
    let (origin, listen, plain) = (Origin::start(), free(), free());
    // A backend that accepts and then says nothing, where TLS is expected.
    let mute = TcpListener::bind(free()).expect("a free address");
    let address = mute.local_addr().expect("its address");
    let config = listening(
        listen,
        origin.address(),
        "head_timeout = \"1s\"\ntls = { cert = \"a.pem\", key = \"a.key\" }",
        "",
    ) + &format!(
        "[[listener]]\nname = \"plain\"\nbind = \"{plain}\"\n\
         [[service]]\nname = \"mute\"\nendpoints = [\"{address}\"]\ntls = {{ verify = false }}\nhealth = \"off\"\noutlier = \"off\"\n\
         connect_timeout = \"500ms\"\n\
         [[route]]\nname = \"mute\"\nservice = \"mute\"\nlistener = \"plain\"\n\
         [[route]]\nname = \"app\"\nservice = \"app\"\nlistener = \"web\"\n"
    );
    let mut gateway = Mainstay::launch("", &config, &[("a.pem", &identity.cert), ("a.key", &identity.key)]);
    gateway.wait_until_ready();
    let begun = Instant::now();
    let response = get(plain, "/");
    assert_eq!((response.status, response.reason()), (502, "connect-failed"));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let begun = Instant::now();
    let mut silent = TcpStream::connect(listen).expect("a connection");
    silent.write_all(b"\x16\x03\x01").expect("the start of a handshake");
    silent.set_read_timeout(Some(Duration::from_secs(8))).expect("a read limit");
    assert!(!matches!(silent.read(&mut [0; 64]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock));
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    assert_eq!(Client::trusting(&authority).connect(listen, "a.test").expect("a handshake").exchange(GET).text(), "ok");
}

#[test]
fn a_rotated_access_log_loses_no_line() {
    let (origin, listen) = (Origin::start(), free());
    let mut gateway = Mainstay::start(&simple(listen, &[origin.address()], ""));
    let plan = Plan { requests: 6_000, clients: 4, pause: Duration::from_millis(1), ..Plan::new(listen) };
    let load = plan.start();
    let path = gateway.dir().join("access.json");
    let mut files = vec![path.clone()];
    for round in 0..5 {
        eventually("the load goes on", Duration::from_secs(20), || load.begun() > 1_000 * (round + 1));
        let old = gateway.dir().join(format!("access.{round}"));
        std::fs::rename(&path, &old).expect("the log is renamed");
        files.push(old);
        gateway.process().signal(libc::SIGHUP);
        eventually("a new file", Duration::from_secs(5), || path.exists());
    }
    load.wait().assert_clean(6_000);
    let lines = || {
        let texts = files.iter().map(|file| std::fs::read_to_string(file).unwrap_or_default());
        texts.map(|text| text.lines().filter(|line| line.contains("\"/ok\"")).count()).sum::<usize>()
    };
    eventually("every request has its line", Duration::from_secs(5), || lines() == 6_000);
    assert_eq!(gateway.metric("mainstay_access_log_dropped_total", &[]), 0.0);
}

#[test]
fn a_gateway_that_was_killed_starts_again_at_once() {
    let (origin, listen) = (Origin::start(), free());
    let mut gateway = Mainstay::start(&simple(listen, &[origin.address()], ""));
    for _round in 0..3 {
        // Connections that stand, so that the port is left in a bad state.
        let mut wires: Vec<Wire> = (0..20).map(|_index| Wire::connect(listen)).collect();
        wires.iter_mut().for_each(|wire| assert_eq!(wire.exchange(GET).status, 200));
        gateway.kill_and_restart();
        assert_eq!(get(listen, "/ok").text(), "ok");
        assert!(gateway.command(&["status"]).status.success(), "the admin socket works after a kill");
    }
}
