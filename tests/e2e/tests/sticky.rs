//! Sessions that stay with their endpoint, and when they do not.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use mainstay_e2e::gateway::simple;
use mainstay_e2e::wire::Response;
use mainstay_e2e::{Mainstay, Origin, Wire, eventually, free};

const HEALTH: &str = "health = { tcp = true, interval = \"200ms\", timeout = \"100ms\", unhealthy = 1, healthy = 1 }\n";
const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef";

fn ask(address: SocketAddr, path: &str, cookie: Option<&str>) -> Response {
    let cookie = cookie.map_or_else(String::new, |cookie| format!("cookie: a=b; {cookie}; c=d\r\n"));
    let mut wire = Wire::connect(address);
    wire.exchange(format!("GET {path} HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n{cookie}\r\n"))
}

fn origin(response: &Response) -> SocketAddr {
    response.header("x-origin").expect("an endpoint answered").parse().expect("an address")
}

/// The cookie that a response sets, without its attributes.
fn cookie(response: &Response) -> Option<String> {
    let set = response.head.all("set-cookie").into_iter().find(|set| set.starts_with("mainstay_app="))?;
    set.split(';').next().map(str::to_owned)
}

/// A gateway with a file of keys, and endpoints.
fn stand(count: usize, service: &str) -> (Mainstay, Vec<Origin>, SocketAddr) {
    let origins = Origin::several(count);
    let listen = free();
    let addresses: Vec<SocketAddr> = origins.iter().map(Origin::address).collect();
    let config = simple(listen, &addresses, &format!("balance = \"round-robin\"\n{HEALTH}{service}"));
    let mut gateway = Mainstay::launch("", &config, &[("sessions.key", KEY)]);
    gateway.wait_until_ready();
    (gateway, origins, listen)
}

#[test]
fn a_session_stays_with_its_endpoint_and_the_cookie_shows_nothing() {
    let (gateway, origins, listen) = stand(3, "sticky = { key_file = \"sessions.key\" }");
    let mut endpoints = BTreeSet::new();
    for _session in 0..6 {
        let first = ask(listen, "/ok", None);
        let set = first.header("set-cookie").expect("a cookie").to_owned();
        assert!(set.ends_with("; Path=/; SameSite=Lax; HttpOnly"), "{set}");
        for endpoint in &origins {
            let address = endpoint.address();
            assert!(!set.contains(&address.ip().to_string()) && !set.contains(&address.port().to_string()), "{set}");
        }
        let cookie = cookie(&first).expect("a cookie");
        endpoints.insert(origin(&first));
        for _request in 0..30 {
            let next = ask(listen, "/ok", Some(&cookie));
            assert_eq!(origin(&next), origin(&first));
            assert_eq!(next.header("set-cookie"), None, "the client has it");
        }
    }
    assert_eq!(endpoints.len(), 3, "new sessions go to all");
    // The control: without the cookie the same requests go everywhere.
    let spread: BTreeSet<SocketAddr> = (0..12).map(|_request| origin(&ask(listen, "/ok", None))).collect();
    assert_eq!(spread.len(), 3);
    eventually("all are counted", Duration::from_secs(5), || {
        let counted = |session: &str| gateway.metric("mainstay_session_requests_total", &[session]);
        (counted("kept"), counted("new")) == (180.0, 18.0)
    });
    eventually("the log tells it", Duration::from_secs(5), || {
        gateway.access_log().iter().any(|line| line["session"] == "kept")
    });
}

#[test]
fn draining_keeps_bound_sessions_and_takes_no_new_ones() {
    let (gateway, _origins, listen) = stand(2, "sticky = { key_file = \"sessions.key\" }");
    let first = ask(listen, "/ok", None);
    let (bound, drained) = (cookie(&first).expect("a cookie"), origin(&first));
    assert!(gateway.command(&["drain", &format!("app/{drained}")]).status.success());
    for _request in 0..20 {
        assert_eq!(origin(&ask(listen, "/ok", Some(&bound))), drained, "a bound session stays");
        assert_ne!(origin(&ask(listen, "/ok", None)), drained, "a new one goes elsewhere");
    }
}

#[test]
fn a_lost_endpoints_sessions_move_and_stay_where_they_moved() {
    let (gateway, mut origins, listen) = stand(3, "sticky = { key_file = \"sessions.key\" }");
    let first = ask(listen, "/ok", None);
    let (bound, lost) = (cookie(&first).expect("a cookie"), origin(&first));
    let dead = origins.iter_mut().find(|it| it.address() == lost).expect("one of them");
    dead.kill();
    // At once, by a retry, and later, when the checks know.
    for _when in 0..2 {
        let moved = ask(listen, "/ok", Some(&bound));
        assert_eq!(moved.status, 200);
        assert_ne!(origin(&moved), lost);
        let next = cookie(&moved).expect("the cookie is rewritten");
        assert_ne!(next, bound);
        for _request in 0..10 {
            let answer = ask(listen, "/ok", Some(&next));
            assert_eq!((origin(&answer), answer.header("set-cookie")), (origin(&moved), None));
        }
        eventually("it is down", Duration::from_secs(10), || {
            gateway.metric("mainstay_endpoint_health", &["\"down\""]) == 1.0
        });
    }
    eventually("it is counted", Duration::from_secs(5), || {
        gateway.metric("mainstay_session_requests_total", &["moved"]) >= 2.0
    });
    eventually("the log tells it", Duration::from_secs(5), || {
        gateway.access_log().iter().any(|line| line["session"] == "moved" && line["status"] == 200)
    });
}

#[test]
fn forged_foreign_and_old_cookies_are_ignored() {
    let service = "sticky = { key_file = \"sessions.key\", max_age = \"2s\", same_site = \"strict\", path = \"/shop\", secure = true }";
    let (gateway, _origins, listen) = stand(3, service);
    let first = ask(listen, "/ok", None);
    let set = first.header("set-cookie").expect("a cookie");
    assert!(set.ends_with("; Path=/shop; Max-Age=2; SameSite=Strict; Secure; HttpOnly"), "{set}");
    let good = cookie(&first).expect("a cookie");
    let at = good.len() - 10;
    let other = if good.as_bytes()[at] == b'A' { "B" } else { "A" };
    let forged = format!("{}{other}{}", &good[..at], &good[at + 1..]);
    for bad in [forged.as_str(), "mainstay_app=", "mainstay_app=AAAA", "mainstay_app=127.0.0.1:80"] {
        let spread: BTreeSet<SocketAddr> = (0..6)
            .map(|_request| {
                let answer = ask(listen, "/ok", Some(bad));
                assert!(cookie(&answer).is_some_and(|next| next != bad), "a new cookie for {bad}");
                origin(&answer)
            })
            .collect();
        assert!(spread.len() > 1, "{bad} binds nothing: {spread:?}");
    }
    assert_eq!(origin(&ask(listen, "/ok", Some(&good))), origin(&first));
    eventually("the cookie is renewed when half of its time is over", Duration::from_secs(5), || {
        let answer = ask(listen, "/ok", Some(&good));
        cookie(&answer).is_some() && origin(&answer) == origin(&first)
    });
    eventually("and is too old in the end", Duration::from_secs(5), || {
        (0..3).any(|_request| origin(&ask(listen, "/ok", Some(&good))) != origin(&first))
    });
    eventually("they are counted", Duration::from_secs(5), || {
        gateway.metric("mainstay_session_requests_total", &["ignored"]) >= 24.0
    });
}

#[test]
fn sessions_survive_a_restart_with_a_key_file_and_not_without() {
    for (service, survives) in [("sticky = { key_file = \"sessions.key\" }", true), ("sticky = true", false)] {
        let (mut gateway, origins, listen) = stand(4, service);
        let first = ask(listen, "/ok", None);
        let bound = cookie(&first).expect("a cookie");
        // A reload that changes the service leaves sessions alone in both cases.
        let addresses: Vec<SocketAddr> = origins.iter().map(Origin::address).collect();
        gateway.reload(&simple(listen, &addresses, &format!("balance = \"random\"\n{HEALTH}{service}")));
        let kept = |gateway: &Mainstay, ignored: f64| {
            let answers: Vec<Response> = (0..8).map(|_request| ask(listen, "/ok", Some(&bound))).collect();
            let all = answers.iter().all(|answer| origin(answer) == origin(&first) && cookie(answer).is_none());
            eventually("all are counted", Duration::from_secs(5), || {
                gateway.metric("mainstay_session_requests_total", &["ignored"]) == ignored
            });
            all
        };
        assert!(kept(&gateway, 0.0));
        gateway.kill_and_restart();
        assert_eq!(kept(&gateway, if survives { 0.0 } else { 8.0 }), survives);
    }
}
