//! Checks that look deeper than a status code, with the real binary.

#[path = "deep_checks/custom.rs"]
mod custom;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay_e2e::gateway::simple;
use mainstay_e2e::load::Plan;
use mainstay_e2e::scripted::Scripted;
use mainstay_e2e::{Mainstay, eventually, free};

const PATIENCE: Duration = Duration::from_secs(10);
const QUICK: &str = "interval = \"200ms\", timeout = \"150ms\", unhealthy = 2, healthy = 2";

/// A backend whose health is a document, and that counts the requests that are not about it.
struct Deep {
    server: Scripted,
    health: Arc<Mutex<String>>,
    served: Arc<AtomicU64>,
}

impl Deep {
    fn start(health: &str) -> Self {
        let health = Arc::new(Mutex::new(health.to_owned()));
        let served = Arc::new(AtomicU64::new(0));
        let (document, count) = (Arc::clone(&health), Arc::clone(&served));
        let server = Scripted::start(move |mut exchange| {
            while let Some((head, _body)) = exchange.request() {
                let body = if head.line.contains(" /health ") {
                    document.lock().expect("nobody panics with it").clone()
                } else {
                    count.fetch_add(1, Ordering::Relaxed);
                    "ok".to_owned()
                };
                exchange.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
            }
        });
        Self { server, health, served }
    }

    fn says(&self, document: &str) {
        document.clone_into(&mut self.health.lock().expect("nobody panics with it"));
    }

    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }
}

fn state(gateway: &Mainstay, endpoint: SocketAddr) -> (String, bool, String) {
    let status = gateway.status();
    let endpoints = status["services"][0]["endpoints"].as_array().expect("endpoints").clone();
    let name = endpoint.to_string();
    let found = endpoints.iter().find(|it| it["name"] == name.as_str()).expect("the endpoint");
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    (text("health"), found["degraded"].as_bool().expect("a flag"), text("reason"))
}

fn becomes(gateway: &Mainstay, endpoint: SocketAddr, health: &str, degraded: bool, reason: &str) {
    let wanted = (health.to_owned(), degraded, reason.to_owned());
    let mut last = wanted.clone();
    for _turn in 0..500 {
        last = state(gateway, endpoint);
        if last == wanted {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{last:?} in place of {wanted:?}");
}

#[test]
fn the_body_decides() {
    let deep = Deep::start("{\"status\": \"healthy\", \"database\": \"connected\", \"queue\": {\"depth\": 3}}");
    let health = |json: &str| format!("health = {{ http = \"/health\", {json}{QUICK} }}");
    let (listen, address) = (free(), deep.address());
    let asserts = "json = { status = \"status\", assert = [{ path = \"database\", equals = \"connected\" }, \
                   { path = \"/queue/depth\", max = 10, otherwise = \"degraded\" }] }, ";
    let mut gateway = Mainstay::start(&simple(listen, &[address], &health(asserts)));
    becomes(&gateway, address, "up", false, "");
    for (document, state, degraded, reason) in [
        (
            r#"{"status": "healthy", "database": "connected", "queue": {"depth": 11}}"#,
            "up",
            true,
            "degraded: `/queue/depth` is 11, above 10",
        ),
        (r#"{"status": "healthy", "database": "connected", "queue": {"depth": 10}}"#, "up", false, ""),
        (
            r#"{"status": "warn", "database": "connected", "queue": {"depth": 3}}"#,
            "up",
            true,
            "degraded: `status` is \"warn\"",
        ),
        (
            r#"{"status": "warn", "database": "disconnected"}"#,
            "down",
            false,
            "`database` is \"disconnected\", expected \"connected\"",
        ),
        (r#"{"status": "unhealthy", "database": "disconnected"}"#, "down", false, "`status` is \"unhealthy\""),
        ("<html>", "down", false, "the body is not JSON: expected value at line 1 column 1"),
        (r#"{"status": "UP", "database": "connected", "queue": {"depth": 0}}"#, "up", false, ""),
    ] {
        deep.says(document);
        becomes(&gateway, address, state, degraded, reason);
    }
    // The control: by its status code alone, the same endpoint is well whatever it says.
    deep.says("{\"status\": \"unhealthy\"}");
    becomes(&gateway, address, "down", false, "`status` is \"unhealthy\"");
    gateway.reload(&simple(listen, &[address], &health("")));
    becomes(&gateway, address, "up", false, "");
}

#[test]
fn bodies_are_bounded() {
    let deep = Deep::start(&format!("{{\"status\": \"up\", \"more\": \"{}\"}}", "x".repeat(2000)));
    let (listen, address) = (free(), deep.address());
    let health = format!("health = {{ http = \"/health\", json = {{ max_body = \"1KiB\" }}, {QUICK} }}");
    let gateway = Mainstay::start(&simple(listen, &[address], &health));
    becomes(&gateway, address, "down", false, "the body is longer than 1024 bytes");
}

#[test]
fn degraded_survives_a_reload_and_a_restart_of_the_process() {
    let (limping, well) = (Deep::start("{\"status\": \"degraded\"}"), Deep::start("{\"status\": \"up\"}"));
    let (listen, all) = (free(), [limping.address(), well.address()]);
    // So rare that after the reload nothing is learnt anew.
    let rare = "health = { http = \"/health\", json = true, interval = \"1h\", timeout = \"5s\" }";
    let mut gateway = Mainstay::start(&simple(listen, &all, rare));
    let is_degraded = |gateway: &Mainstay| {
        becomes(gateway, all[0], "up", true, "degraded: `status` is \"degraded\"");
        becomes(gateway, all[1], "up", false, "");
        assert!(gateway.metric("mainstay_endpoint_degraded", &[&all[0].to_string()]) >= 1.0);
        assert!(gateway.metric("mainstay_endpoint_degraded", &[&all[1].to_string()]) < 1.0);
    };
    is_degraded(&gateway);
    limping.says("{\"status\": \"up\"}");
    gateway.reload(&simple(listen, &all, &format!("{rare}\nmax_idle = 7")));
    is_degraded(&gateway);
    let page = String::from_utf8_lossy(&gateway.command(&["status"]).stdout).into_owned();
    assert!(page.contains("degraded") && page.contains("`status` is \"degraded\""), "{page}");
    gateway.upgrade(&[]);
    let degraded = state(&gateway, all[0]).1;
    assert!(degraded, "the new process begins with what the old one knew");
}

#[test]
fn a_degraded_endpoint_is_up() {
    let limping = Deep::start("{\"status\": \"degraded\"}");
    let (listen, address) = (free(), limping.address());
    let health = format!("health = {{ http = \"/health\", json = true, {QUICK} }}");
    let gateway = Mainstay::start(&simple(listen, &[address], &health));
    becomes(&gateway, address, "up", true, "degraded: `status` is \"degraded\"");
    Plan { requests: 200, clients: 2, ..Plan::new(listen) }.run().assert_clean(200);
    assert!(limping.served() >= 200);
    eventually("probes count it", PATIENCE, || gateway.metric("mainstay_endpoint_probes_degraded_total", &[]) >= 1.0);
}

#[test]
fn traffic_leans_away_from_a_degraded_endpoint() {
    for (weight, expected) in [("25%", 60..=180), ("100%", 240..=360)] {
        let (limping, well) = (Deep::start("{\"status\": \"degraded\"}"), Deep::start("{\"status\": \"up\"}"));
        let (listen, all) = (free(), [limping.address(), well.address()]);
        let service = format!(
            "balance = \"round-robin\"\nhealth = {{ http = \"/health\", json = true, degraded_weight = \"{weight}\", {QUICK} }}"
        );
        let gateway = Mainstay::start(&simple(listen, &all, &service));
        becomes(&gateway, all[0], "up", true, "degraded: `status` is \"degraded\"");
        let plan = Plan { requests: 600, clients: 2, ..Plan::new(listen) };
        plan.clone().run().assert_clean(600);
        let got = limping.served();
        assert!(expected.contains(&got), "{got} of 600 with {weight}");
        limping.says("{\"status\": \"up\"}");
        becomes(&gateway, all[0], "up", false, "");
        plan.run().assert_clean(600);
        let got = limping.served() - got;
        assert!((200..=400).contains(&got), "{got} of 600 once it is well");
    }
}
