//! Reloads under load: no request fails, no connection is reset, tunnels go on, what is known of endpoints stays known.

use std::time::{Duration, Instant};

use mainstay_e2e::gateway::simple;
use mainstay_e2e::load::Plan;
use mainstay_e2e::{Mainstay, Origin, Wire, eventually, free};
use std::net::SocketAddr;

const HEALTH: &str =
    "health = { http = \"/health\", interval = \"500ms\", timeout = \"250ms\", unhealthy = 2, healthy = 2 }";

/// A configuration that differs from its neighbours in several ways; the load's own listener and route stay.
fn variant(step: usize, listen: SocketAddr, extra: SocketAddr, endpoints: &[SocketAddr]) -> String {
    let weights = [1 + step % 3, 2, 1];
    let mut config =
        format!("[[listener]]\nname = \"web\"\nbind = \"{listen}\"\nkeep_alive_timeout = \"{}s\"\n", 50 + step % 5);
    if step % 2 == 1 {
        config += &format!("[[listener]]\nname = \"extra\"\nbind = \"{extra}\"\n");
    }
    config += &format!(
        "[[route]]\nname = \"all\"\nservice = \"app\"\nresponse_headers = {{ set = {{ x-step = \"{step}\" }} }}\n"
    );
    if step.is_multiple_of(3) {
        config +=
            "[[route]]\nname = \"more\"\nservice = \"app\"\nmatch = { path = \"/more\" }\nrewrite_prefix = \"/less\"\n";
    }
    config += &format!("[[service]]\nname = \"app\"\n{HEALTH}\n");
    for (endpoint, weight) in endpoints.iter().zip(weights) {
        config += &format!("[[service.endpoint]]\naddress = \"{endpoint}\"\nweight = {weight}\n");
    }
    config
}

#[test]
fn fifty_reloads_under_load_fail_nothing_and_leave_a_websocket_alone() {
    let mut origins = Origin::several(3);
    let (listen, extra) = (free(), free());
    let addresses: Vec<SocketAddr> = origins.iter().map(Origin::address).collect();
    let dead = origins.pop().map(|mut origin| origin.kill()).map(|()| addresses[2]).expect("three origins");
    let mut gateway = Mainstay::start(&variant(0, listen, extra, &addresses));
    eventually("the dead endpoint is down", Duration::from_secs(10), || health(&gateway, dead) == "down");
    let mut socket = open_tunnel(listen);
    let plan = Plan { requests: u64::MAX, time: Duration::from_secs(90), clients: 6, ..Plan::new(listen) };
    let pause = Duration::from_millis(1);
    let kept = Plan { pause, post_every: 10, tag: "kept-", ..plan.clone() }.start();
    let short = Plan { pause, short: true, tag: "short-", ..plan.clone() }.start();
    let idle = Plan { pause: Duration::from_millis(300), clients: 4, tag: "idle-", ..plan }.start();
    let before = attempts(&gateway, dead);
    for step in 1..=50 {
        gateway.reload(&variant(step, listen, extra, &addresses));
        let shown = mainstay_e2e::wire::get(listen, "/ok");
        assert_eq!(shown.header("x-step"), Some(step.to_string().as_str()), "the new configuration serves");
        if step % 2 == 1 {
            assert_eq!(mainstay_e2e::wire::get(extra, "/ok").status, 200, "the added listener serves");
        }
        if step % 10 == 0 {
            echo(&mut socket, &format!("after reload {step}"));
        }
        assert_eq!(health(&gateway, dead), "down", "step {step}");
        // Time for the load to go through each configuration.
        std::thread::sleep(Duration::from_millis(150));
    }
    for (what, load) in [("kept", kept), ("short", short), ("idle", idle)] {
        let report = load.stop();
        eprintln!("{what}: {} requests, slowest {:?}", report.outcomes.len(), report.slowest());
        report.assert_clean(50);
    }
    echo(&mut socket, "after all reloads");
    assert_eq!(attempts(&gateway, dead), before, "requests went to an endpoint that is down");
    assert_eq!(gateway.status()["generation"].as_u64().unwrap_or(51), 51);
    if let Ok(late) = Wire::try_connect(extra, Duration::from_secs(1)) {
        drop(late);
        panic!("a removed listener still accepts");
    }
}

fn health(gateway: &Mainstay, endpoint: SocketAddr) -> &'static str {
    let label = format!("\"{endpoint}\"");
    let state = |name| gateway.metric("mainstay_endpoint_health", &[&label, name]) >= 1.0;
    ["\"up\"", "\"down\"", "\"unknown\""]
        .into_iter()
        .find(|name| state(name))
        .map_or("none", |name| name.trim_matches('"'))
}

fn attempts(gateway: &Mainstay, endpoint: SocketAddr) -> u64 {
    gateway.metric("mainstay_endpoint_attempts_total", &[&format!("\"{endpoint}\"")]) as u64
}

fn open_tunnel(listen: SocketAddr) -> Wire {
    let mut socket = Wire::connect(listen);
    socket
        .send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n")
        .expect("sent");
    assert_eq!(socket.response().expect("an answer").status, 101);
    echo(&mut socket, "before any reload");
    socket
}

fn echo(socket: &mut Wire, text: &str) {
    socket.send(text).expect("the tunnel takes bytes");
    let back = socket.exact(text.len()).unwrap_or_else(|broken| panic!("the tunnel is gone: {broken}, {text}"));
    assert_eq!(String::from_utf8_lossy(&back), text);
}

#[test]
fn a_change_of_the_file_is_applied_without_a_signal() {
    let origin = Origin::start();
    let (listen, extra) = (free(), free());
    let mut gateway = Mainstay::start(&variant(1, listen, extra, &[origin.address()]));
    gateway.write_config(&variant(2, listen, extra, &[origin.address()]));
    gateway.process().wait_for_log("configuration applied", 1, Duration::from_secs(15));
    assert_eq!(mainstay_e2e::wire::get(listen, "/ok").header("x-step"), Some("2"));
}

#[test]
fn a_configuration_with_errors_is_refused_whole() {
    let origin = Origin::start();
    let (listen, extra) = (free(), free());
    let mut gateway = Mainstay::start(&variant(1, listen, extra, &[origin.address()]));
    gateway.write_config(&variant(2, listen, extra, &[origin.address()]).replace("weight", "wieght"));
    gateway.process().signal(libc::SIGHUP);
    gateway.process().wait_for_log("configuration refused", 1, Duration::from_secs(10));
    assert!(gateway.stderr().contains("wieght"), "the reason is said: {}", gateway.stderr());
    assert_eq!(mainstay_e2e::wire::get(listen, "/ok").header("x-step"), Some("1"));
    assert_eq!(gateway.metric("mainstay_config_last_reload_successful", &[]), 0.0);
    // A listener that cannot be bound refuses the whole, too: the header does not change.
    let taken = std::net::TcpListener::bind(free()).expect("a free address");
    let taken = taken.local_addr().map(|address| (taken, address)).expect("an address");
    gateway.write_config(&variant(3, listen, taken.1, &[origin.address()]));
    gateway.process().signal(libc::SIGHUP);
    gateway.process().wait_for_log("configuration refused", 2, Duration::from_secs(10));
    assert_eq!(mainstay_e2e::wire::get(listen, "/ok").header("x-step"), Some("1"));
    gateway.reload(&variant(4, listen, extra, &[origin.address()]));
    assert_eq!(mainstay_e2e::wire::get(listen, "/ok").header("x-step"), Some("4"));
}

#[test]
fn ejections_and_drains_survive_a_reload() {
    let origins = Origin::several(3);
    let listen = free();
    let addresses: Vec<SocketAddr> = origins.iter().map(Origin::address).collect();
    let outlier = "health = \"off\"\noutlier = { consecutive = 3, base = \"60s\", cap = \"300s\", max_ejected = \"50%\" }\n\
                   balance = \"round-robin\"";
    let mut gateway = Mainstay::start(&simple(listen, &addresses, outlier));
    origins[0].control("status=500");
    let plan = Plan { requests: 60, clients: 1, ..Plan::new(listen) };
    plan.clone().run();
    let drained = gateway.command(&["drain", &format!("app/{}", addresses[1])]);
    assert!(drained.status.success(), "{drained:?}");
    let before = (origins[0].stat("requests"), origins[1].stat("requests"));
    for round in 0..5 {
        gateway.reload(&simple(listen, &addresses, &format!("{outlier}\nmax_idle = {}", 10 + round)));
        plan.clone().run().assert_clean(60);
    }
    assert_eq!((origins[0].stat("requests"), origins[1].stat("requests")), before);
}

#[test]
fn a_listener_that_moves_lets_its_connections_finish() {
    let origin = Origin::start();
    let (old, new) = (free(), free());
    let mut gateway = Mainstay::start(&simple(old, &[origin.address()], ""));
    let mut slow = Wire::connect(old);
    slow.send("GET /sleep/1500 HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
    let mut tunnel = open_tunnel(old);
    std::thread::sleep(Duration::from_millis(200));
    let begun = Instant::now();
    gateway.reload(&simple(new, &[origin.address()], ""));
    assert!(begun.elapsed() < Duration::from_secs(5), "a reload waits for no connection");
    assert_eq!(mainstay_e2e::wire::get(new, "/ok").status, 200);
    assert_eq!(slow.response().expect("the request in flight is answered").status, 200);
    echo(&mut tunnel, "over a listener that is gone");
    eventually("the old address refuses", Duration::from_secs(5), || {
        Wire::try_connect(old, Duration::from_secs(1)).is_err()
    });
}

#[test]
fn endpoints_come_and_go_under_load() {
    let origins = Origin::several(4);
    let (listen, all) = (free(), origins.iter().map(Origin::address).collect::<Vec<_>>());
    let mut gateway = Mainstay::start(&simple(listen, &all[..2], HEALTH));
    let plan = Plan { requests: u64::MAX, time: Duration::from_secs(60), clients: 6, ..Plan::new(listen) };
    let (fast, slow) = (plan.clone().start(), Plan { path: "/sleep/20".to_owned(), ..plan }.start());
    for step in 0..20 {
        let from = step % 3;
        gateway.reload(&simple(listen, &all[from..from + 2], HEALTH));
        std::thread::sleep(Duration::from_millis(100));
    }
    let (fast, slow) = (fast.stop(), slow.stop());
    fast.assert_clean(1_000);
    slow.assert_clean(100);
    assert_eq!(fast.by_origin().len(), 4, "every endpoint had its turn");
}

#[test]
fn reloads_leave_nothing_behind() {
    let origins = Origin::several(2);
    let (listen, extra) = (free(), free());
    let all: Vec<SocketAddr> = origins.iter().map(Origin::address).collect();
    let mut gateway = Mainstay::start(&variant(0, listen, extra, &all));
    let round = |gateway: &mut Mainstay, steps: std::ops::Range<usize>| {
        for step in steps {
            // So many lines that are the same are told in one, so that the log does not say when each is applied.
            let generation = gateway.status()["configuration"]["generation"].as_u64();
            gateway.write_config(&variant(step, listen, extra, &all));
            gateway.process().signal(libc::SIGHUP);
            eventually("it is applied", Duration::from_secs(30), || {
                gateway.status()["configuration"]["generation"].as_u64() > generation
            });
            assert_eq!(mainstay_e2e::wire::get(listen, "/ok").status, 200);
        }
    };
    round(&mut gateway, 1..40);
    let before = (gateway.process().resident_bytes(), gateway.descriptors());
    round(&mut gateway, 40..240);
    eventually("descriptors are closed", Duration::from_secs(10), || gateway.descriptors() <= before.1 + 10);
    let after = gateway.process().resident_bytes();
    assert!(after < before.0 + 12 * 1024 * 1024, "{} -> {after}", before.0);
}
