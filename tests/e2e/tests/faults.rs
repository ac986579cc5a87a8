//! What goes wrong around the gateway: a clear error, or a service that goes on.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use mainstay_e2e::gateway::{built, cli, simple};
use mainstay_e2e::load::Plan;
use mainstay_e2e::process::Process;
use mainstay_e2e::wire::get;
use mainstay_e2e::{Mainstay, Origin, eventually, free, free_on};

#[test]
fn a_full_disk_for_the_access_log_stops_nothing() {
    let (origin, listen) = (Origin::start(), free());
    // Small for what all requests leave, but more than workers still hold when it has been emptied: that comes first.
    let shell = "mkdir -p \"$DIR/small\"; mount -t tmpfs -o size=512k none \"$DIR/small\"";
    let node = "access_log = \"small/access.json\"";
    let mut gateway = Mainstay::launch_after(shell, node, &simple(listen, &[origin.address()], ""), &[]);
    gateway.wait_until_ready();
    Plan { requests: 6_000, clients: 4, ..Plan::new(listen) }.run().assert_clean(6_000);
    let dropped = || gateway.metric("mainstay_access_log_dropped_total", &[]);
    eventually("lines that found no room are counted", Duration::from_secs(10), || dropped() > 100.0);
    assert_eq!(get(listen, "/ok").status, 200);
    let pid = gateway.process().pid();
    let log = PathBuf::from(format!("/proc/{pid}/root{}/small/access.json", gateway.dir().display()));
    assert!(std::fs::metadata(&log).expect("the log as the gateway sees it").len() > 10_000);
    // Room again, lines again.
    std::fs::File::options().write(true).open(&log).and_then(|file| file.set_len(0)).expect("the log is emptied");
    eventually("lines are written again", Duration::from_secs(15), || {
        get(listen, "/again");
        std::fs::read_to_string(&log).unwrap_or_default().contains("/again")
    });
    let text = std::fs::read_to_string(&log).expect("the log");
    let whole = text.lines().filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()).count();
    assert!(whole + 1 >= text.lines().count(), "at most the line that was cut is broken:\n{text}");
}

#[test]
fn a_port_in_use_is_a_clear_error() {
    let origin = Origin::start();
    let taken = free();
    let _holder = TcpListener::bind(taken).expect("a free address");
    let mut gateway = Mainstay::launch("", &simple(taken, &[origin.address()], ""), &[]);
    let status = gateway.process().wait(Duration::from_secs(10)).expect("an exit");
    let text = gateway.stderr();
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains("error:") && text.contains("hint:") && text.contains(&taken.to_string()), "{text}");
    assert!(text.contains("web"), "the listener is named: {text}");
    // Another mainstay on the address is a port in use, too, though both would share it with SO_REUSEPORT.
    let listen = free();
    let _first = Mainstay::start(&simple(listen, &[origin.address()], ""));
    let mut second = Mainstay::launch("", &simple(listen, &[origin.address()], ""), &[]);
    let status = second.process().wait(Duration::from_secs(10)).expect("the second does not share the address");
    assert_eq!(status.code(), Some(1), "{}", second.stderr());
    assert_eq!(get(listen, "/ok").status, 200);
}

#[test]
fn an_admin_port_in_use_is_a_clear_error() {
    let (origin, taken) = (Origin::start(), free());
    let _holder = TcpListener::bind(taken).expect("a free address");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("m.toml");
    let node = format!("[node]\nadmin = \"{taken}\"\nadmin_socket = \"off\"\n");
    std::fs::write(&file, node + &simple(free(), &[origin.address()], "")).expect("the configuration");
    let mut command = Command::new(built("mainstay"));
    command.args(["run", "-c"]).arg(&file);
    let mut process = Process::start("mainstay", dir.path(), &mut command, None);
    let status = process.wait(Duration::from_secs(10)).expect("an exit");
    let text = process.stderr();
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains("error:") && text.contains(&taken.to_string()), "{text}");
}

#[test]
fn a_thousand_endpoints_are_checked_and_served() {
    let port = free_on(IpAddr::V4(Ipv4Addr::UNSPECIFIED)).port();
    let origin = Origin::start_on(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port));
    let all: Vec<SocketAddr> = (0..1_000_u32)
        .map(|index| {
            let octet = |value: u32| u8::try_from(value % 250 + 1).expect("at most 250");
            SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 200, octet(index / 250), octet(index))), port)
        })
        .collect();
    let listen = free();
    let service = "balance = \"round-robin\"\nhealth = { http = \"/health\", interval = \"5s\", timeout = \"4s\" }";
    let mut gateway = Mainstay::start(&simple(listen, &all, service));
    let plan = Plan { requests: 4_000, clients: 8, ..Plan::new(listen) };
    plan.clone().run().assert_clean(4_000);
    let text = gateway.admin("/metrics").text();
    let served = text
        .lines()
        .filter(|line| line.starts_with("mainstay_endpoint_attempts_total") && !line.ends_with(" 0"))
        .count();
    assert!(served >= 990, "only {served} of 1,000 endpoints were used");
    gateway.reload(&simple(listen, &all[..900], service));
    plan.run().assert_clean(4_000);
    assert_eq!(gateway.metric("mainstay_endpoint_health", &["\"up\""]), 900.0);
    assert!(origin.stat("health_checks") >= 1_000);
    let resident = gateway.process().resident_bytes();
    assert!(resident < 400 * 1024 * 1024, "{resident}");
}

#[test]
fn a_name_that_does_not_resolve_stops_nothing() {
    let (origin, listen) = (Origin::start_on(free_on(IpAddr::V4(Ipv4Addr::LOCALHOST))), free());
    let service = format!(
        "[[listener]]\nname = \"web\"\nbind = \"{listen}\"\n[[service]]\nname = \"app\"\n\
         endpoints = [\"no-such-host.invalid:80\", \"localhost:{}\"]\n",
        origin.address().port()
    );
    let mut gateway = Mainstay::launch("", &service, &[]);
    gateway.process().wait_for_log("serving", 1, Duration::from_secs(15));
    eventually("the endpoint whose name resolves serves", Duration::from_secs(15), || get(listen, "/ok").status == 200);
    Plan { requests: 500, clients: 2, ..Plan::new(listen) }.run().assert_clean(500);
    eventually("the other one is named", Duration::from_secs(30), || gateway.stderr().contains("no-such-host.invalid"));
    let status = gateway.status().to_string();
    assert!(status.contains("no-such-host.invalid:80"), "{status}");
    // Alone it is a service with nobody in it.
    let alone =
        simple(free(), &[origin.address()], "").replace(&origin.address().to_string(), "no-such-host.invalid:80");
    let listen: SocketAddr =
        alone.split('"').nth(3).and_then(|text| text.parse().ok()).expect("the address of the listener");
    let mut gateway = Mainstay::launch("", &alone, &[]);
    gateway.process().wait_for_log("serving", 1, Duration::from_secs(15));
    let response = get(listen, "/ok");
    assert!(matches!(response.status, 502 | 503), "{} {}", response.status, response.reason());
}

fn check(config: &str, more: &[&str]) -> Output {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("m.toml");
    std::fs::write(&file, config).expect("the configuration");
    cli(&[&["check", "-c", &file.display().to_string()], more].concat())
}

#[test]
fn all_errors_of_a_configuration_come_at_once_with_suggestions() {
    let config = "[[listener]]\nname = \"web\"\nbnid = \"127.0.0.1:8080\"\nbind = \":8081\"\n\n\
                  [[route]]\nname = \"a\"\nservice = \"aap\"\ntimeout = \"5\"\n\n\
                  [[service]]\nname = \"app\"\nbalance = \"round-robbin\"\nendpoints = [\"127.0.0.1\"]\n\
                  health = { tcp = true, interval = \"1s\", timeout = \"2s\" }\n";
    let output = check(config, &[]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{text}");
    for needle in ["bnid", "bind", "aap", "app", "timeout", "round-robbin", "round-robin", "127.0.0.1", "m.toml"] {
        assert!(text.contains(needle), "{needle} in:\n{text}");
    }
    assert!(text.contains("did you mean"), "{text}");
    for line in ["m.toml:3", "m.toml:4", "m.toml:8", "m.toml:9", "m.toml:13", "m.toml:14"] {
        assert!(text.contains(line), "{line} in:\n{text}");
    }
    let json = check(config, &["--json"]);
    let report: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON on standard output");
    assert!(report.to_string().contains("bnid"), "{report}");
    // run refuses the same with the same code.
    let mut gateway = Mainstay::launch("", config, &[]);
    let status = gateway.process().wait(Duration::from_secs(10)).expect("an exit");
    assert_eq!(status.code(), Some(2), "{}", gateway.stderr());
    assert!(gateway.stderr().contains("did you mean"));
}

#[test]
fn check_accepts_what_is_right_and_warns_of_what_never_matches() {
    let good = simple(free(), &[free()], "");
    assert_eq!(check(&good, &[]).status.code(), Some(0));
    let shadowed = good
        + "[[service]]\nname = \"unused\"\nendpoints = [\"127.0.0.1:1\"]\n\
           [[route]]\nname = \"first\"\nservice = \"app\"\nmatch = { path = \"/a\" }\n\
           [[route]]\nname = \"again\"\nservice = \"app\"\nmatch = { path = \"/a\" }\n";
    let output = check(&shadowed, &[]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("again"), "a route that can never match is named: {text}");
    assert!(text.contains("unused"), "a service that nothing uses is named: {text}");
    let missing = cli(&["run", "-c", "/nonexistent/mainstay.toml"]);
    let text = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(matches!(missing.status.code(), Some(1 | 2)) && text.contains("/nonexistent/mainstay.toml"), "{text}");
}

#[test]
fn status_is_a_table_or_json() {
    let (origin, listen) = (Origin::start(), free());
    let gateway = Mainstay::start(&simple(listen, &[origin.address()], ""));
    let table = gateway.command(&["status"]);
    let text = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.status.success(), "{table:?}");
    assert!(text.contains(&origin.address().to_string()) && text.contains("up"), "{text}");
    let json = gateway.command(&["status", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert!(report.to_string().contains(&origin.address().to_string()), "{report}");
    let nobody = cli(&["status", "--admin", "127.0.0.1:1"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("hint:"), "{nobody:?}");
}

#[test]
fn proxy_needs_no_file() {
    let (origins, listen, admin) = (Origin::several(2), free(), free());
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new(built("mainstay"));
    command.args(["proxy", "--listen", &listen.to_string(), "--admin", &admin.to_string(), "--admin-socket", "off"]);
    command.args(["--access-log", "off"]).args(origins.iter().map(|origin| origin.address().to_string()));
    let mut process = Process::start("proxy", dir.path(), &mut command, None);
    process.wait_for_log("serving", 1, Duration::from_secs(15));
    eventually("it is ready", Duration::from_secs(10), || get(admin, "/ready").status == 200);
    let report = Plan { requests: 200, clients: 2, ..Plan::new(listen) }.run();
    report.assert_clean(200);
    assert_eq!(report.by_origin().len(), 2, "both endpoints are used");
    process.signal(libc::SIGTERM);
    assert_eq!(process.wait(Duration::from_secs(10)).expect("an exit").code(), Some(0));
}
