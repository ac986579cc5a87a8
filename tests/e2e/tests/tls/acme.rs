//! Certificates that an authority issues, by a real one.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use mainstay_e2e::cluster::{Node, Nodes, Place};
use mainstay_e2e::dns::with_one_port;
use mainstay_e2e::gateway::simple;
use mainstay_e2e::tls::Client;
use mainstay_e2e::wire::{self, Response};
use mainstay_e2e::{Mainstay, Origin, eventually, free};
use serde_json::{Value, json};

use super::pebble::{Pebble, Ports};

const SOON: Duration = Duration::from_secs(60);

/// Whether the listener shows a certificate for `name` that `root` vouches for.
fn is_trusted(listen: SocketAddr, name: &str, root: &str) -> bool {
    Client { trust: vec![root.to_owned()], ..Client::default() }.connect(listen, name).is_ok()
}

pub(super) fn certificate(answer: &Response) -> Value {
    let answer = answer.json();
    let items = answer["items"].as_array().expect("certificates");
    items.iter().find(|it| it["usage"] == "acme public").expect("that of the authority").clone()
}

pub(super) fn issued(gateway: &Mainstay) -> f64 {
    gateway.metric("mainstay_acme_orders_total", &["certificate=\"public\"", "issued"])
}

fn renew(gateway: &Mainstay) {
    let out = gateway.command(&["certificate", "renew", "public"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

fn failures(gateway: &Mainstay) -> u64 {
    certificate(&gateway.admin("/api/v1/certificates"))["acme"]["failures"].as_u64().expect("a number")
}

/// A clear listener that sends everybody to the other one.
pub(super) fn both(clear: SocketAddr, secure: SocketAddr, origin: SocketAddr) -> String {
    format!(
        "[[listener]]\nname = \"clear\"\nbind = \"{clear}\"\nredirect_https = true\n\
         [[listener]]\nname = \"web\"\nbind = \"{secure}\"\ntls = {{ acme = \"public\" }}\n\
         [[service]]\nname = \"app\"\nendpoints = [\"{origin}\"]\n"
    )
}

#[test]
fn over_http_a_certificate_is_issued_renewed_and_there_after_a_kill() {
    let (clear, secure, origin) = (free(), free(), Origin::start());
    // Nonces are refused now and then, and certificates end soon.
    let pebble = Pebble::start(
        Ports { http: clear.port(), tls: 1 },
        &[("PEBBLE_WFE_NONCEREJECT", "5")],
        &json!({ "certificateValidityPeriod": 20 }),
    );
    let config = format!("{}{}", both(clear, secure, origin.address()), pebble.acme(&["a.test", "b.test"], ""));
    let mut gateway = Mainstay::launch("data_dir = \"data\"", &config, &[("front.pem", &pebble.front.pem())]);
    gateway.wait_until_ready();
    eventually("a certificate is issued", SOON, || issued(&gateway) >= 1.0);
    let root = pebble.root();
    eventually("it is shown", SOON, || is_trusted(secure, "a.test", &root) && is_trusted(secure, "b.test", &root));
    let shown = certificate(&gateway.admin("/api/v1/certificates"));
    assert_eq!(shown["acme"]["state"], "valid", "{shown}");
    // What is asked of unknown tokens is what is asked of any path, and nobody is sent to another host.
    for path in ["/.well-known/acme-challenge/abc", "/.well-known/acme-challenge/"] {
        let answer = wire::get(clear, path);
        assert_eq!(answer.status, 308, "{path}: {}", answer.text());
        let location = answer.header("location").expect("a place").to_owned();
        assert!(location.starts_with(&format!("https://{}", clear.ip())), "{location}");
    }
    eventually("it is renewed by itself", SOON, || issued(&gateway) >= 2.0);
    let file = gateway.dir().join("data/acme/public.json");
    let mode = std::fs::metadata(&file).expect("it is kept").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let events = gateway.admin("/api/v1/events?limit=1000").text();
    assert!(events.contains("renewed") && events.contains("acme public"), "{events}");
    // No key is anywhere but there.
    let everything = [gateway.stderr(), gateway.admin("/metrics").text(), gateway.admin("/api/v1/certificates").text()];
    assert!(!everything.concat().contains("PRIVATE KEY"));
    let before = std::fs::read_to_string(&file).expect("the record");
    gateway.kill_and_restart();
    gateway.wait_until_ready();
    let chain = |text: &str| serde_json::from_str::<Value>(text).expect("JSON")["account"].clone();
    assert_eq!(chain(&before), chain(&std::fs::read_to_string(&file).expect("the record")), "the account stays");
    let shown = certificate(&gateway.admin("/api/v1/certificates"));
    assert_ne!(shown["acme"]["state"], "missing", "what was issued is shown at once: {shown}");
}

#[test]
fn what_fails_is_told_and_the_old_certificate_is_shown_until_it_works_again() {
    let (clear, secure, origin) = (free(), free(), Origin::start());
    let mut pebble = Pebble::start(Ports { http: clear.port(), tls: 1 }, &[], &json!({}));
    let config = format!("{}{}", both(clear, secure, origin.address()), pebble.acme(&["a.test"], ""));
    let mut gateway = Mainstay::launch("data_dir = \"data\"", &config, &[("front.pem", &pebble.front.pem())]);
    gateway.wait_until_ready();
    eventually("a certificate is issued", SOON, || issued(&gateway) >= 1.0);
    let root = pebble.root();
    assert!(is_trusted(secure, "a.test", &root));
    // The name leads to somebody else: nobody answers there.
    pebble.lead("a.test", "127.0.0.254".parse().expect("an address"));
    renew(&gateway);
    eventually("the order fails", SOON, || failures(&gateway) == 1);
    let shown = certificate(&gateway.admin("/api/v1/certificates"));
    let error = shown["acme"]["last_error"].as_str().expect("why").to_owned();
    assert!(error.contains("a.test"), "{error}");
    assert!(shown["acme"]["next_order"].is_string(), "{shown}");
    let status = String::from_utf8(gateway.command(&["status"]).stdout).expect("text");
    assert!(status.contains("certificate public: renewal has failed 1 times"), "{status}");
    let listed = String::from_utf8(gateway.command(&["certificate", "list"]).stdout).expect("text");
    assert!(listed.contains("the last order has failed (1 in a row)"), "{listed}");
    assert!(is_trusted(secure, "a.test", &root), "the old certificate is shown");
    // An authority that refuses every message.
    pebble.lead("a.test", clear.ip());
    pebble.restart(&[("PEBBLE_WFE_NONCEREJECT", "100")]);
    renew(&gateway);
    eventually("the order fails again", SOON, || failures(&gateway) == 2);
    let shown = certificate(&gateway.admin("/api/v1/certificates"));
    assert!(shown["acme"]["last_error"].to_string().contains("badNonce"), "{shown}");
    assert!(is_trusted(secure, "a.test", &root), "the old certificate is shown still");
    // It works again, and has forgotten the account.
    pebble.restart(&[]);
    renew(&gateway);
    eventually("a certificate is issued again", SOON, || issued(&gateway) >= 2.0);
    assert_eq!(failures(&gateway), 0);
    assert!(is_trusted(secure, "a.test", &pebble.root()));
    assert!(gateway.stderr().contains("forgotten the account"));
    // Four orders in an hour are enough, whoever asks.
    renew(&gateway);
    eventually("the next order waits", SOON, || {
        let shown = certificate(&gateway.admin("/api/v1/certificates"));
        shown["acme"]["next_why"] == "asked"
    });
    assert!(is_trusted(secure, "a.test", &pebble.root()), "{}", pebble.log());
}

#[test]
fn over_tls_with_an_account_from_elsewhere() {
    let (secure, origin) = (free(), Origin::start());
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let pebble = Pebble::start(
        Ports { http: 1, tls: secure.port() },
        &[],
        &json!({ "externalAccountBindingRequired": true, "externalAccountMACKeys": { "kid-1": key } }),
    );
    let binding = "challenge = \"tls-alpn-01\"\nbinding = { id = \"kid-1\", secret = { file = \"eab.key\" } }";
    let config = simple(secure, &[origin.address()], "");
    let config = config.replacen("[[service]]", "tls = { acme = \"public\" }\n[[service]]", 1);
    let config = format!("{config}{}", pebble.acme(&["a.test"], binding));
    let files = [("front.pem", &*pebble.front.pem()), ("eab.key", key)];
    let mut gateway = Mainstay::launch("data_dir = \"data\"", &config, &files);
    gateway.wait_until_ready();
    eventually("a certificate is issued", SOON, || issued(&gateway) >= 1.0);
    let root = pebble.root();
    let client = Client { trust: vec![root.clone()], alpn: vec!["h2", "http/1.1"], ..Client::default() };
    let mut wire = client.connect(secure, "a.test").expect("a handshake");
    assert_eq!(wire.stream().conn.alpn_protocol(), Some(b"h2".as_slice()));
    let plain = Client { trust: vec![root.clone()], ..Client::default() };
    let answer =
        plain.connect(secure, "a.test").expect("a handshake").exchange("GET /ok HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(answer.status, 200);
    // Nobody is answered as an authority who asks for what is not to be proved now, and nobody learns a certificate that way.
    let curious = Client { trust: vec![root], alpn: vec!["acme-tls/1"], ..Client::default() };
    assert!(curious.connect(secure, "a.test").is_err());
    assert!(!gateway.stderr().contains(key));
}

#[test]
fn of_a_cluster_every_node_answers_and_another_goes_on_when_the_one_that_orders_dies() {
    let (clear, secure) = (with_one_port(3), with_one_port(3));
    let pebble = Pebble::start(
        Ports { http: clear[0].port(), tls: 1 },
        &[("PEBBLE_VA_NOSLEEP", ""), ("PEBBLE_VA_SLEEPTIME", "2")],
        &json!({}),
    );
    let domains = ["n1.test", "n2.test", "n3.test"];
    for (domain, at) in domains.iter().zip(&clear) {
        pebble.lead(domain, at.ip());
    }
    let acme = pebble.acme(&domains, "").replace("front.pem", "ca.pem");
    let (front, ports, before) = (pebble.front.pem(), (clear.clone(), secure.clone()), pebble.front.issue(&domains));
    let config = move |place: &Place| {
        std::fs::write(place.dir.join("ca.pem"), &front).expect("a file");
        before.write(&place.dir, "front");
        format!(
            "[cluster]\ntimings = \"default\"\nlisten = \"{}\"\n\
             [[listener]]\nname = \"clear\"\nbind = \"{}\"\n\
             [[listener]]\nname = \"web\"\nbind = \"{}\"\n{STATIC}\n\
             [[service]]\nname = \"app\"\nendpoints = [\"127.0.0.1:1\"]\n",
            place.peer, ports.0[place.index], ports.1[place.index]
        )
    };
    // The cluster is whole before there is anything to order: otherwise the first node alone would have to answer for all.
    let mut nodes = Nodes::start(3, config);
    order_on_all(&nodes, &acme);
    let acme = |node: &Node| {
        let items = node.admin("/api/v1/certificates").json()["items"].as_array().cloned().unwrap_or_default();
        items.into_iter().find(|it| it["usage"] == "acme public").map(|it| it["acme"].clone()).unwrap_or_default()
    };
    eventually("all nodes know what is to be ordered", SOON, || nodes.nodes.iter().all(|node| acme(node).is_object()));
    // What was begun before all of them knew may have failed.
    let renew = |node: &Node| node.post("/api/v1/certificates/renew", &json!({ "name": "public" }));
    assert_eq!(renew(&nodes.nodes[0]).0, 200);
    let root = pebble.root();
    let is_shown = |node: &Node| {
        let listen = secure[node.place.index];
        domains.iter().all(|domain| is_trusted(listen, domain, &root))
    };
    // Each of the names leads to another node, so that all of them have answered.
    eventually("every node shows it", SOON, || nodes.nodes.iter().all(is_shown));
    eventually("nothing is under way", SOON, || {
        nodes.nodes.iter().all(|node| acme(node)["next_why"] != "asked" && acme(node)["last_error"].is_null())
    });

    let orderer = acme(&nodes.nodes[0])["orderer"].as_str().expect("a node that orders").to_owned();
    let dies = nodes.nodes.iter().position(|node| node.place.name == orderer).expect("one of them");
    let lives = (dies + 1) % 3;
    let began = |nodes: &mut Nodes| nodes.nodes[dies].process().stderr().matches("a certificate is ordered").count();
    let before = began(&mut nodes);
    assert_eq!(renew(&nodes.nodes[lives]).0, 200);
    eventually("it is ordered again", SOON, || began(&mut nodes) > before);
    nodes.nodes[dies].kill();
    // As a floating address would.
    pebble.lead(domains[dies], clear[lives].ip());
    let left: Vec<usize> = nodes.running().collect();
    assert!(left.iter().all(|index| is_shown(&nodes.nodes[*index])), "the one before is shown meanwhile");
    eventually("another one goes on, and it is issued", SOON, || {
        let stands = |node: &Node| acme(node)["orderer"] != orderer.as_str() && acme(node)["failures"] == 0;
        let issued = |node: &Node| {
            node.admin("/metrics").text().lines().any(|line| {
                line.starts_with("mainstay_acme_orders_total") && line.contains("issued") && line.ends_with(" 1")
            })
        };
        left.iter().all(|index| stands(&nodes.nodes[*index])) && left.iter().any(|index| issued(&nodes.nodes[*index]))
    });
    assert!(left.iter().all(|index| is_shown(&nodes.nodes[*index])), "{}", pebble.log());
}

/// Gives all nodes something to order.
fn order_on_all(nodes: &Nodes, acme: &str) {
    for node in &nodes.nodes {
        let file = node.place.dir.join("mainstay.toml");
        let text = std::fs::read_to_string(&file).expect("the configuration");
        std::fs::write(&file, format!("{}\n{acme}", text.replace(STATIC, ORDERED))).expect("the configuration");
    }
}

/// The secure listener before and after there is something to order.
const STATIC: &str = "tls = { cert = \"front.pem\", key = \"front.key\" }";
const ORDERED: &str = "tls = { acme = \"public\" }";
