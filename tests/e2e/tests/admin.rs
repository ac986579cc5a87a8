//! The admin interface and the commands that use it, seen from outside.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use mainstay_e2e::gateway::{cli, simple};
use mainstay_e2e::{Mainstay, Origin, Wire, eventually, free, wire};

fn text(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn tcp_answers_this_machine_only_and_changes_nothing() {
    let origin = Origin::start();
    let gateway = Mainstay::start(&simple(free(), &[origin.address()], ""));
    let ask = |request: String| Wire::connect(gateway.admin_address()).exchange(request);
    let port = gateway.admin_address().port();
    for host in [format!("127.0.0.1:{port}"), format!("localhost:{port}"), "localhost".to_owned()] {
        assert_eq!(ask(format!("GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n")).status, 200, "{host}");
    }
    for head in [
        "Host: evil.example\r\n".to_owned(),
        format!("Host: localhost.evil.example:{port}\r\n"),
        format!("Host: 127.0.0.1:{port}\r\nOrigin: http://localhost:3000\r\n"),
        format!("Host: 127.0.0.1:{port}\r\nSec-Fetch-Site: cross-site\r\n"),
    ] {
        assert_eq!(ask(format!("GET /api/v1/status HTTP/1.1\r\n{head}\r\n")).status, 403, "{head}");
    }
    let body = format!(r#"{{"service": "app", "endpoint": "{}", "drain": true}}"#, origin.address());
    let length = body.len();
    let refused =
        ask(format!("POST /api/v1/drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"));
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("mainstay drain"), "{}", refused.text());
    assert_eq!(gateway.status()["services"][0]["endpoints"][0]["draining"], false);
}

#[test]
fn status_shows_the_verdict_first_and_a_refused_reload_with_its_reasons() {
    let mut origins = Origin::several(2);
    let addresses: Vec<_> = origins.iter().map(Origin::address).collect();
    let listen = free();
    let health = "health = { http = \"/health\", interval = \"200ms\", timeout = \"100ms\", unhealthy = 2 }";
    let mut gateway = Mainstay::start(&simple(listen, &addresses, health));
    assert_eq!(wire::get(listen, "/ok").status, 200);
    let shown = text(&gateway.command(&["status"]));
    assert!(shown.starts_with("serving: 1 of 1 services healthy\n"), "{shown}");
    assert!(!shown.contains('\x1b'), "colours are for terminals");
    origins[0].kill();
    let degraded = "serving, degraded: 0 of 1 services healthy; degraded: app (1 of 2 endpoints up)";
    eventually("status tells of the dead endpoint", Duration::from_secs(10), || {
        text(&gateway.command(&["status"])).starts_with(degraded)
    });
    gateway.write_config("[[listener]]\nnme = \"web\"\n");
    gateway.process().wait_for_log("configuration refused", 1, Duration::from_secs(10));
    let shown = text(&gateway.command(&["status"]));
    assert!(shown.contains("last reload REFUSED") && shown.contains("did you mean `name`"), "{shown}");
    let status: serde_json::Value =
        serde_json::from_slice(&gateway.command(&["status", "--json"]).stdout).expect("status prints JSON");
    assert_eq!(status["configuration"]["last_reload"]["outcome"], "refused");
    assert_eq!(status["configuration"]["generation"], 1);
    let seconds = gateway.metric("mainstay_config_last_reload_timestamp_seconds", &[]);
    assert!(seconds > 1e9, "{seconds}");
    assert_eq!(wire::get(listen, "/ok").status, 200, "the old configuration is still served");
}

#[test]
fn rates_and_durations_are_those_of_the_last_seconds() {
    let origin = Origin::start();
    let listen = free();
    let gateway = Mainstay::start(&simple(listen, &[origin.address()], ""));
    let mut client = Wire::connect(listen);
    for _request in 0..50 {
        assert_eq!(client.exchange("GET /ok HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    }
    let mut status = serde_json::Value::Null;
    eventually("the requests show", Duration::from_secs(5), || {
        status = gateway.status();
        status["routes"][0]["requests"].as_u64().is_some_and(|count| count >= 50)
            && status["routes"][0]["activity"]["rate"].as_f64().is_some_and(|rate| rate > 1.0)
    });
    let endpoint = &status["services"][0]["endpoints"][0];
    assert_eq!(endpoint["health"], "up");
    assert!(endpoint["attempts"].as_u64().is_some_and(|count| count >= 50), "{endpoint}");
    assert!(endpoint["activity"]["p99_ms"].as_f64().is_some_and(|p99| p99 > 0.0), "{endpoint}");
    assert_eq!(endpoint["activity"]["error_percent"], 0.0);
    let metrics = gateway.admin("/metrics");
    assert!(metrics.header("content-type").is_some_and(|kind| kind.starts_with("application/openmetrics-text")));
    assert!(metrics.text().ends_with("# EOF\n"));
    assert!(gateway.metric("http_server_request_duration_seconds_count", &["route=\"default\""]) >= 50.0);
    assert!(gateway.metric("mainstay_requests_total", &["code_class=\"2xx\""]) >= 50.0);
}

#[test]
fn the_socket_is_private_and_belongs_to_one_node() {
    let origin = Origin::start();
    let mut gateway = Mainstay::start(&simple(free(), &[origin.address()], ""));
    let path = gateway.dir().join("admin.sock");
    let mode = std::fs::metadata(&path).expect("the socket").mode() & 0o777;
    assert_eq!(mode, 0o600);
    let (listen, endpoint) = (free().to_string(), origin.address().to_string());
    let (socket, admin) = (path.display().to_string(), gateway.admin_address().to_string());
    let second = |admin: &str, socket: &str| {
        cli(&["proxy", "--listen", &listen, "--admin", admin, "--admin-socket", socket, &endpoint])
    };
    let refused = second("off", &socket);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused).contains("another mainstay answers") && text(&refused).contains("hint: "),
        "{}",
        text(&refused)
    );
    let refused = second(&admin, "off");
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused).contains(&format!("cannot listen on {admin}")), "{}", text(&refused));
    // What a killed node left behind is not taken for a node.
    gateway.process().signal(libc::SIGKILL);
    assert!(gateway.process().wait(Duration::from_secs(10)).is_some());
    assert!(path.exists());
    let tried = text(&gateway.command(&["status"]));
    assert!(tried.contains("nobody listens") && tried.contains("hint: "), "{tried}");
    let refused = second("off", "/proc/nowhere/admin.sock");
    assert!(text(&refused).contains("cannot create /proc/nowhere"), "{}", text(&refused));
}

#[test]
fn a_second_signal_ends_a_drain_at_once() {
    let origin = Origin::start();
    let listen = free();
    let mut gateway = Mainstay::start_with(
        "shutdown = { lead = \"20s\", deadline = \"30s\" }",
        &simple(listen, &[origin.address()], ""),
    );
    gateway.process().signal(libc::SIGTERM);
    eventually("it is not ready", Duration::from_secs(5), || gateway.admin("/ready").status == 503);
    assert_eq!(gateway.admin("/health").status, 200);
    assert_eq!(wire::get(listen, "/ok").status, 200, "connections are still accepted");
    let status = gateway.terminate(Duration::from_secs(10));
    assert_eq!(status.code(), Some(1));
    assert!(!gateway.dir().join("admin.sock").exists());
}
