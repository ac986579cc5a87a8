//! A new process takes over: no request fails, connections that stand go on, and what is known stays known.

#[path = "upgrade/http2.rs"]
mod http2;
#[path = "upgrade/notify.rs"]
mod notify;
#[path = "upgrade/refused.rs"]
mod refused;

use std::net::SocketAddr;
use std::time::Duration;

use mainstay_e2e::gateway::simple;
use mainstay_e2e::load::{Load, Plan};
use mainstay_e2e::wire::get;
use mainstay_e2e::{Mainstay, Origin, Wire, eventually, free};
use serde_json::json;

const HEALTH: &str =
    "health = { http = \"/health\", interval = \"500ms\", timeout = \"250ms\", unhealthy = 2, healthy = 2 }";
const WEBSOCKET: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
const SHUTDOWN: &str = "shutdown = { lead = \"0s\", deadline = \"30s\" }";

/// A listener for HTTP and one for TCP.
fn both(listen: SocketAddr, tcp: SocketAddr, origin: SocketAddr) -> String {
    format!(
        "[[listener]]\nname = \"raw\"\nbind = \"{tcp}\"\nprotocol = \"tcp\"\nservice = \"app\"\n{}",
        simple(listen, &[origin], HEALTH)
    )
}

/// Loads of every kind that must not notice an upgrade.
fn loads(listen: SocketAddr) -> Vec<(&'static str, Load)> {
    let pause = Duration::from_millis(2);
    let plan = Plan { requests: u64::MAX, time: Duration::from_secs(120), clients: 6, pause, ..Plan::new(listen) };
    vec![
        ("kept", Plan { post_every: 10, tag: "kept-", ..plan.clone() }.start()),
        ("short", Plan { short: true, tag: "short-", ..plan.clone() }.start()),
        ("slow", Plan { path: "/sleep/100".to_owned(), ..plan }.start()),
    ]
}

/// How many requests there were. None may have failed.
fn clean(loads: Vec<(&'static str, Load)>) -> usize {
    let each = loads.into_iter().map(|(what, load)| {
        let report = load.stop();
        eprintln!("{what}: {} requests, slowest {:?}", report.outcomes.len(), report.slowest());
        report.assert_clean(20);
        report.outcomes.len()
    });
    each.sum()
}

fn open_tunnel(listen: SocketAddr) -> Wire {
    let mut tunnel = Wire::connect(listen);
    assert_eq!(tunnel.exchange(WEBSOCKET).status, 101);
    echo(&mut tunnel, "at the beginning");
    tunnel
}

fn echo(tunnel: &mut Wire, text: &str) {
    tunnel.send(text).expect("the tunnel takes bytes");
    let back = tunnel.exact(text.len()).unwrap_or_else(|broken| panic!("the tunnel is gone: {broken}, {text}"));
    assert_eq!(String::from_utf8_lossy(&back), text);
}

fn serving_pid(gateway: &Mainstay) -> u64 {
    gateway.status()["node"]["pid"].as_u64().expect("a process id")
}

#[test]
fn an_upgrade_under_load_fails_nothing_and_leaves_long_connections_alone() {
    let origin = Origin::start();
    let (listen, raw) = (free(), free());
    let mut gateway = Mainstay::start_with(SHUTDOWN, &both(listen, raw, origin.address()));
    let loads = loads(listen);
    let multiplexed = http2::Http2Load::start(listen);
    let (mut socket, mut tcp) = (open_tunnel(listen), open_tunnel(raw));
    let mut download = Wire::connect(listen);
    download.send("GET /slow-body/400/10 HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
    std::thread::sleep(Duration::from_millis(500));
    let mut scraper = Wire::connect(gateway.admin_address());
    let scrape = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.admin_address());
    assert_eq!(scraper.exchange(&scrape).status, 200);
    let done = gateway.upgrade(&[]);
    assert_eq!(done["old_pid"], gateway.process().pid());
    assert!(scraper.is_closed(), "who asks the admin interface again asks the new process");
    assert!(done["connections_left"].as_u64().is_some_and(|left| left >= 3), "{done}");
    eventually("the new process answers on the admin port", Duration::from_secs(5), || {
        serving_pid(&gateway) == u64::from(gateway.successor().pid())
    });
    for round in 0..10 {
        echo(&mut socket, &format!("over the old process, round {round}"));
        echo(&mut tcp, &format!("over the old process, round {round}"));
        echo(&mut open_tunnel(listen), "over the new process");
        std::thread::sleep(Duration::from_millis(100));
    }
    let body = download.response().expect("the download goes on").body;
    assert_eq!(body.length, 400);
    let multiplexed = multiplexed.stop();
    assert_eq!(multiplexed.failed, [""; 0]);
    assert!(multiplexed.connections >= 2, "by now told to go over to the new process: {multiplexed:?}");
    assert!(multiplexed.answered >= 100, "{multiplexed:?}");
    assert!(gateway.process().is_running(), "the old process serves its tunnels");
    drop((socket, tcp, download));
    let status =
        gateway.process().wait(Duration::from_secs(10)).expect("the old process leaves long before its deadline");
    assert_eq!(status.code(), Some(0), "{}", gateway.stderr());
    let requests = clean(loads);
    eventually("every request is in the access log", Duration::from_secs(5), || {
        let lines = gateway.access_log();
        let logged = lines.iter().filter(|line| line["path"] == "/ok" || line["path"] == "/sleep/100").count();
        logged == requests
    });
    // The admin socket is the new process's, and the old one has not taken its file away.
    assert!(gateway.command(&["status"]).status.success());
    gateway.successor().signal(libc::SIGTERM);
    eventually("the new process leaves", Duration::from_secs(10), || !gateway.successor().is_running());
    assert!(!gateway.dir().join("admin.sock").exists(), "the file goes with the last process");
}

#[test]
fn three_upgrades_in_a_row_with_other_numbers_of_workers_fail_nothing() {
    let origin = Origin::start();
    let (listen, raw) = (free(), free());
    let mut gateway = Mainstay::start_with(&format!("{SHUTDOWN}\nworkers = 3"), &both(listen, raw, origin.address()));
    let loads = loads(listen);
    let mut tunnels = vec![open_tunnel(listen)];
    let file = gateway.dir().join("mainstay.toml");
    for (workers, extra) in [(1, free()), (4, free()), (2, free())] {
        // Each one also finds another listener than the last.
        let text = std::fs::read_to_string(&file).expect("the configuration");
        let at = text.find("workers = ").expect("a number of workers");
        let rest = text[at..].split_once('\n').expect("a further line").1;
        let rest = rest.split("[[listener]]\nname = \"extra\"").next().expect("a beginning");
        let text =
            format!("{}workers = {workers}\n{rest}[[listener]]\nname = \"extra\"\nbind = \"{extra}\"\n", &text[..at]);
        std::fs::write(file.with_extension("new"), text).expect("written");
        std::fs::rename(file.with_extension("new"), &file).expect("renamed");
        gateway.upgrade(&[]);
        assert_eq!(get(extra, "/ok").status, 200, "the added listener serves");
        tunnels.push(open_tunnel(listen));
        for tunnel in &mut tunnels {
            echo(tunnel, &format!("with {workers} workers"));
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    drop(tunnels);
    assert!(gateway.process().wait(Duration::from_secs(10)).is_some(), "the first process leaves");
    clean(loads);
    eventually("connections are accepted from every socket", Duration::from_secs(5), || {
        (0..30).all(|_each| get(listen, "/ok").status == 200)
    });
}

#[test]
fn what_is_known_of_endpoints_survives() {
    let origins = Origin::several(4);
    let listen = free();
    let addresses: Vec<SocketAddr> = origins.iter().map(Origin::address).collect();
    let service = format!(
        "{}\nbalance = \"round-robin\"\noutlier = {{ consecutive = 3, base = \"60s\", cap = \"300s\", max_ejected = \"50%\" }}",
        HEALTH.replace("500ms", "20s").replace("healthy = 2 }", "healthy = 5 }")
    );
    // Down for a while: it would answer requests, and its checks pass again long before it counts as up.
    origins[0].control("health=503");
    let mut gateway = Mainstay::start_with(SHUTDOWN, &simple(listen, &addresses, &service.replace("20s", "300ms")));
    let down = format!("\"{}\"", addresses[0]);
    eventually("the sick endpoint is down", Duration::from_secs(10), || {
        gateway.metric("mainstay_endpoint_health", &[&down, "\"down\""]) >= 1.0
    });
    gateway.reload(&simple(listen, &addresses, &service));
    origins[1].control("status=500");
    let plan = Plan { requests: 60, clients: 1, ..Plan::new(listen) };
    plan.clone().run();
    origins[1].control("status=0");
    let drained = gateway.command(&["drain", &format!("app/{}", addresses[2])]);
    assert!(drained.status.success(), "{drained:?}");
    for wish in [["log", "level", "health=debug"], ["events", "sampling", "10%"]] {
        assert!(gateway.command(&[&wish[..], &["--for", "1h"]].concat()).status.success(), "{wish:?}");
    }
    let asked = |index: usize| origins[index].stat("requests");
    let before = [asked(0), asked(1), asked(2)];
    origins[0].control("health=200");
    for _round in 0..2 {
        gateway.upgrade(&[]);
        plan.clone().run().assert_clean(60);
        let status = gateway.status();
        assert_eq!([asked(0), asked(1), asked(2)], before, "{status}");
        let wishes = status["temporary"].as_array().cloned().unwrap_or_default();
        let said: Vec<_> = wishes.iter().map(|it| (&it["what"], &it["is"])).collect();
        assert_eq!(said, [(&json!("log level"), &json!("debug")), (&json!("sampling"), &json!("10%"))], "{status}");
        assert!(wishes.iter().all(|it| it["seconds_left"].as_u64().is_some_and(|left| left <= 3600)), "{status}");
    }
    let ejected = gateway.status().to_string();
    assert!(ejected.contains("requests in a row failed"), "the reason is known as well: {ejected}");
    let undone = gateway.command(&["drain", &format!("app/{}", addresses[2]), "--undo"]);
    assert!(undone.status.success(), "{undone:?}");
    plan.run().assert_clean(60);
    assert!(asked(2) > before[2], "a drain that is undone at the new process ends");
}

#[test]
fn the_old_process_tells_websockets_at_its_deadline() {
    let origin = Origin::start();
    let listen = free();
    let node = "shutdown = { lead = \"0s\", deadline = \"8s\" }";
    let mut gateway = Mainstay::start_with(node, &simple(listen, &[origin.address()], HEALTH));
    // Without bytes that are no frames: in the middle of what looks like one, no other can be sent.
    let mut socket = Wire::connect(listen);
    assert_eq!(socket.exchange(WEBSOCKET).status, 101);
    gateway.upgrade(&[]);
    assert_eq!(socket.exact(4).expect("a close frame"), [0x88, 0x02, 0x03, 0xe9]);
    let status = gateway.process().wait(Duration::from_secs(20)).expect("an exit");
    assert_eq!(status.code(), Some(0));
    assert_eq!(get(listen, "/ok").status, 200);
}

#[test]
fn sigusr2_upgrades_and_the_access_log_goes_on_at_standard_output() {
    let origin = Origin::start();
    let listen = free();
    let node = format!("{SHUTDOWN}\naccess_log = \"stdout\"");
    let mut gateway = Mainstay::start_with(&node, &simple(listen, &[origin.address()], HEALTH));
    assert_eq!(get(listen, "/ok?before").status, 200);
    gateway.process().signal(libc::SIGUSR2);
    let status = gateway.process().wait(Duration::from_secs(20)).expect("the old process leaves");
    assert_eq!(status.code(), Some(0), "{}", gateway.stderr());
    let pid = gateway.status()["node"]["pid"].clone();
    gateway.adopt(&pid);
    assert_eq!(get(listen, "/ok?after").status, 200);
    let stdout = gateway.dir().join("stdout");
    eventually("both requests are logged", Duration::from_secs(5), || {
        let text = std::fs::read_to_string(&stdout).unwrap_or_default();
        text.lines().filter(|line| line.contains("\"path\":\"/ok")).count() == 2
    });
    // The log of the new process goes to the same place as that of the old one.
    assert!(gateway.stderr().contains("took over"), "{}", gateway.stderr());
}
