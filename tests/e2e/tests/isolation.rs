//! What one tenant breaks stays with few others: partitions, shuffle sharding, and requests that kill who serves them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mainstay_e2e::gateway::simple;
use mainstay_e2e::wire::Response;
use mainstay_e2e::{Mainstay, Origin, Wire, eventually, free};

/// Without checks, so that nothing but requests finds out who is dead.
const UNCHECKED: &str = "health = \"off\"\n";
const BY_HEADER: &str = "tenant = { header = \"x-tenant\" }\n";

fn ask(address: SocketAddr, path: &str, headers: &str) -> Response {
    let mut wire = Wire::connect(address);
    wire.exchange(format!("GET {path} HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n{headers}\r\n"))
}

fn of_tenant(address: SocketAddr, path: &str, tenant: &str) -> Response {
    ask(address, path, &format!("x-tenant: {tenant}\r\n"))
}

fn origin(response: &Response) -> SocketAddr {
    let origin = response.header("x-origin").expect("an endpoint answered");
    origin.parse().expect("an address")
}

/// Starts a gateway in front of `count` endpoints.
fn stand(count: usize, service: &str) -> (Mainstay, Vec<Origin>, SocketAddr) {
    let origins = Origin::several(count);
    let listen = free();
    let addresses: Vec<SocketAddr> = origins.iter().map(Origin::address).collect();
    let gateway = Mainstay::start(&simple(listen, &addresses, service));
    (gateway, origins, listen)
}

fn alive(origins: &mut [Origin]) -> Vec<SocketAddr> {
    origins.iter_mut().filter_map(|origin| origin.is_running().then(|| origin.address())).collect()
}

/// Waits until all but `count` endpoints are dead, which shows a little after their connections are, and no more of them.
fn left(origins: &mut [Origin], count: usize) {
    eventually("the endpoints are dead", Duration::from_secs(5), || alive(origins).len() <= count);
    assert_eq!(alive(origins).len(), count);
}

/// The shard of each tenant, as the log tells it. Requests of a tenant are answered from its shard.
fn shards(gateway: &Mainstay, listen: SocketAddr, tenants: usize, path: &str) -> HashMap<String, BTreeSet<SocketAddr>> {
    let mut wire = Wire::connect(listen);
    let mut answered: HashMap<String, BTreeSet<SocketAddr>> = HashMap::new();
    for number in 0..tenants * 4 {
        let tenant = format!("tenant-{}", number % tenants);
        let request = format!("GET {path} HTTP/1.1\r\nhost: shop.test\r\nx-tenant: {tenant}\r\n\r\n");
        let response = wire.exchange(request);
        assert_eq!(response.status, 200);
        answered.entry(tenant).or_default().insert(origin(&response));
    }
    let mut logged: HashMap<String, BTreeSet<SocketAddr>> = HashMap::new();
    eventually("every tenant is in the log", Duration::from_secs(5), || {
        for line in gateway.access_log().iter().filter(|line| line["path"] == path) {
            let (Some(tenant), Some(shard)) = (line["tenant"].as_str(), line["shard"].as_str()) else { continue };
            let shard = shard.split('+').map(|address| address.parse().expect("an address")).collect();
            logged.insert(tenant.to_owned(), shard);
        }
        logged.len() == tenants
    });
    for (tenant, shard) in &logged {
        assert!(answered[tenant].is_subset(shard), "{tenant} of {shard:?} was answered by {:?}", answered[tenant]);
    }
    logged
}

#[test]
fn each_tenant_has_two_of_eight_and_all_28_pairs_are_used() {
    let service = format!("{UNCHECKED}{BY_HEADER}shard = {{ shuffle = 2 }}");
    let (mut gateway, origins, listen) = stand(8, &service);
    let before = shards(&gateway, listen, 400, "/ok");
    let pairs: BTreeSet<_> = before.values().cloned().collect();
    assert!(pairs.len() == 28 && pairs.iter().all(|pair| pair.len() == 2), "{pairs:?}");

    // One endpoint leaves: only tenants that had it move, and keep their other one.
    let gone = origins[3].address();
    let rest: Vec<SocketAddr> = origins.iter().map(Origin::address).filter(|address| *address != gone).collect();
    gateway.reload(&simple(listen, &rest, &service));
    let after = shards(&gateway, listen, 400, "/bytes/2");
    for (tenant, before) in &before {
        let kept = before.intersection(&after[tenant]).count();
        assert_eq!(kept, if before.contains(&gone) { 1 } else { 2 }, "{tenant}: {before:?} became {:?}", after[tenant]);
    }
}

#[test]
fn the_log_and_explain_tell_the_shard_and_keys_are_not_shown() {
    let service =
        format!("{UNCHECKED}tenant = {{ api_key = \"x-api-key\", missing = \"refuse\" }}\nshard = {{ shuffle = 2 }}");
    let (gateway, _origins, listen) = stand(4, &service);
    let response = ask(listen, "/ok", "x-api-key: sk_live_veryverysecret\r\n");
    assert_eq!(response.status, 200);
    let line = gateway.logged("/ok");
    let shard = line["shard"].as_str().expect("the shard").to_owned();
    assert!(shard.contains(&origin(&response).to_string()) && shard.split('+').count() == 2, "{line}");
    assert!(line["tenant"].as_str().is_some_and(|tenant| tenant.starts_with("key-") && tenant.len() == 12), "{line}");
    let id = response.header("x-request-id").expect("an id");
    let output = gateway.command(&["explain", id, "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let told = &told["requests"][0];
    assert_eq!(told["shard"].as_array().map(Vec::len), Some(2), "{told:#}");
    let verdicts = told["choices"][0]["endpoints"].as_array().expect("endpoints").clone();
    let outside = verdicts.iter().filter(|it| it["verdict"] == "outside-shard").count();
    assert_eq!(outside, 2, "{told:#}");
    let page = String::from_utf8_lossy(&gateway.command(&["explain", id]).stdout).into_owned();
    assert!(page.contains("skipped: not in the tenant's shard"), "{page}");
    let shown = format!("{line}{told}{page}{}", gateway.stderr());
    assert!(!shown.contains("veryverysecret"), "{shown}");

    let refused = ask(listen, "/none", "");
    assert_eq!((refused.status, refused.reason()), (400, "no-tenant"));
    eventually("it is counted", Duration::from_secs(5), || gateway.metric("mainstay_tenant_missing_total", &[]) == 1.0);
}

#[test]
fn a_tenant_without_a_live_endpoint_is_refused_and_goes_nowhere_else() {
    let service = format!(
        "{BY_HEADER}shard = {{ partitions = 2 }}\nhealth = {{ tcp = true, interval = \"200ms\", timeout = \"100ms\", unhealthy = 1 }}"
    );
    let (gateway, mut origins, listen) = stand(4, &service);
    let tenants: Vec<String> = (0..40).map(|number| format!("t{number}")).collect();
    let mut partitions: BTreeMap<String, BTreeSet<SocketAddr>> = BTreeMap::new();
    for tenant in tenants.iter().chain(&tenants).chain(&tenants).chain(&tenants) {
        let response = of_tenant(listen, &format!("/ok?{tenant}"), tenant);
        partitions.entry(tenant.clone()).or_default().insert(origin(&response));
    }
    let lost: Vec<SocketAddr> =
        partitions.values().find(|own| own.len() == 2).expect("a partition").iter().copied().collect();
    for origin in origins.iter_mut().filter(|origin| lost.contains(&origin.address())) {
        origin.kill();
    }
    eventually("both are down", Duration::from_secs(10), || {
        gateway.metric("mainstay_endpoint_health", &["\"down\""]) == 2.0
    });
    let (mut refused, mut served) = (0, 0);
    for (tenant, own) in &partitions {
        let response = of_tenant(listen, "/ok", tenant);
        if own.iter().any(|address| lost.contains(address)) {
            assert_eq!((response.status, response.reason()), (503, "shard-unavailable"), "{tenant}");
            assert!(response.header("retry-after").is_some());
            refused += 1;
        } else {
            assert_eq!(response.status, 200, "{tenant}");
            served += 1;
        }
    }
    assert!(refused >= 5 && served >= 5, "{refused} refused, {served} served");
    eventually("it is counted", Duration::from_secs(5), || {
        gateway.metric("mainstay_shard_unavailable_total", &[]) == f64::from(refused)
    });
    assert_eq!(gateway.logged("/ok")["shard"].as_str().map(|shard| shard.ends_with("/2")), Some(true));
}

#[test]
fn tenants_by_cookie_segment_and_default() {
    for (tenant, headers, path, name) in [
        ("cookie = \"org\"", "cookie: a=1; org=acme\r\n", "/ok", "acme"),
        ("segment = 2", "", "/v1/acme/orders", "acme"),
        ("header = \"x-tenant\"", "", "/ok", "default"),
    ] {
        let service = format!("{UNCHECKED}tenant = {{ {tenant} }}\nshard = {{ shuffle = 1 }}");
        let (gateway, _origins, listen) = stand(3, &service);
        let answered: BTreeSet<SocketAddr> = (0..8).map(|_request| origin(&ask(listen, path, headers))).collect();
        assert_eq!(answered.len(), 1, "{tenant}");
        assert_eq!(gateway.logged(path)["tenant"], name);
    }
}

/// Tenants who go about their business beside the one with the pill, as many as there are other pairs.
const OTHERS: usize = 27;

/// Requests of each of them, at least.
const EACH: u32 = 1_000;

/// A tenant sends a request that kills whoever serves it, again and again, while 27 others go about their business.
struct Pill {
    dead: BTreeSet<SocketAddr>,
    own: BTreeSet<SocketAddr>,
    /// By tenant: the endpoints it may use, requests, and those of them that were answered.
    others: BTreeMap<String, Other>,
}

#[derive(Clone, Debug, Default)]
struct Other {
    shard: BTreeSet<SocketAddr>,
    asked: u32,
    answered: u32,
}

impl Other {
    /// Whether at least 99.9 % of its requests were answered.
    fn is_served(&self) -> bool {
        self.answered * 1000 >= self.asked * 999
    }
}

/// Requests of all others in turn, at least `each` of each and until `is_over`.
fn business(listen: SocketAddr, each: u32, is_over: &AtomicBool) -> Vec<Other> {
    let mut others = vec![Other::default(); OTHERS];
    let end = Instant::now() + Duration::from_secs(40);
    let mut wire = None;
    while Instant::now() < end && !(is_over.load(Ordering::Relaxed) && others[0].asked >= each) {
        for (number, other) in others.iter_mut().enumerate() {
            let request = format!("GET /ok HTTP/1.1\r\nhost: shop.test\r\nx-tenant: good-{number}\r\n\r\n");
            let mut open: Wire<_> = wire.take().unwrap_or_else(|| Wire::connect(listen));
            let answered = open.send(request).is_ok() && open.response().is_ok_and(|it| it.status == 200);
            wire = answered.then_some(open);
            other.asked += 1;
            other.answered += u32::from(answered);
        }
    }
    others
}

fn pill(service: &str) -> (Mainstay, Pill) {
    const CLIENTS: u32 = 4;
    let (gateway, mut origins, listen) = stand(8, service);
    let all: BTreeSet<SocketAddr> = origins.iter().map(Origin::address).collect();
    // The tenant's endpoints, and those of the others, as the log tells them before anything breaks.
    for number in 0..OTHERS {
        assert_eq!(of_tenant(listen, "/ok", &format!("good-{number}")).status, 200);
    }
    assert_eq!(of_tenant(listen, "/ok", "evil").status, 200);
    let mut shards: HashMap<String, BTreeSet<SocketAddr>> = HashMap::new();
    eventually("every tenant is in the log", Duration::from_secs(5), || {
        shards = gateway.access_log().iter().filter_map(shard_of).collect();
        shards.len() > OTHERS
    });
    let own = shards.remove("evil").expect("it is in the log");

    let is_over = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..CLIENTS)
        .map(|_client| {
            let is_over = Arc::clone(&is_over);
            std::thread::spawn(move || business(listen, EACH / CLIENTS, &is_over))
        })
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    for _pill in 0..40 {
        let answer = of_tenant(listen, "/die", "evil");
        assert_ne!(answer.status, 200);
        std::thread::sleep(Duration::from_millis(25));
    }
    is_over.store(true, Ordering::Relaxed);
    let mut others: BTreeMap<String, Other> = BTreeMap::new();
    for client in load {
        for (number, part) in client.join().expect("the load ends").into_iter().enumerate() {
            let tenant = format!("good-{number}");
            let shard = shards[&tenant].clone();
            let other = others.entry(tenant).or_default();
            *other = Other { shard, asked: other.asked + part.asked, answered: other.answered + part.answered };
        }
    }
    let alive: BTreeSet<SocketAddr> = alive(&mut origins).into_iter().collect();
    (gateway, Pill { dead: all.difference(&alive).copied().collect(), own, others })
}

/// The tenant of a line of the log, and its shard; all endpoints if the service has no shards.
fn shard_of(line: &serde_json::Value) -> Option<(String, BTreeSet<SocketAddr>)> {
    let shard = line["shard"].as_str().map(|shard| shard.split('+').map(|it| it.parse().expect("an address")));
    Some((line["tenant"].as_str()?.to_owned(), shard.into_iter().flatten().collect()))
}

#[test]
fn a_poison_pill_kills_its_own_tenants_endpoints_and_nobody_elses() {
    // Retries are what keeps a tenant served that shares an endpoint with the dead.
    let (_gateway, pill) = self::pill(&format!("{UNCHECKED}{BY_HEADER}shard = {{ shuffle = 2 }}"));
    assert_eq!(pill.own.len(), 2);
    assert_eq!(pill.dead, pill.own, "who is dead, and whose endpoints they were");
    let (mut same, mut sharing) = (0, 0);
    for (tenant, other) in &pill.others {
        assert!(other.asked >= EACH, "{tenant}: {other:?}");
        let shared = other.shard.intersection(&pill.own).count();
        let percent = 100.0 * f64::from(other.answered) / f64::from(other.asked);
        eprintln!(
            "{tenant}: {shared} of its endpoints died, {} of {} answered, {percent:.3} %",
            other.answered, other.asked
        );
        same += usize::from(shared == 2);
        sharing += usize::from(shared == 1);
        // Only who has the very same pair may be hit, and nobody answers them.
        assert_eq!(other.is_served(), shared < 2, "{tenant}: {other:?} beside {:?}", pill.own);
    }
    // Of the 28 pairs one is the same and 12 share an endpoint with it.
    println!("of {OTHERS} others {same} had the same pair and {sharing} one endpoint of it");
    assert!(sharing > 0, "somebody shared an endpoint");
}

#[test]
fn without_shards_and_quarantine_the_same_pill_kills_them_all() {
    let (_gateway, pill) = self::pill(&format!("{UNCHECKED}{BY_HEADER}outlier = \"off\""));
    assert_eq!(pill.dead.len(), 8);
    assert!(pill.others.values().all(|other| !other.is_served()), "every tenant is hit: {:?}", pill.others);
}

/// One listener, and a route with `route` to endpoints that are kept busy enough to have idle connections.
fn guarded(route: &str, count: usize) -> (Mainstay, Vec<Origin>, SocketAddr) {
    let origins = Origin::several(count);
    let listen = free();
    let addresses: Vec<SocketAddr> = origins.iter().map(Origin::address).collect();
    let service = format!("{UNCHECKED}outlier = \"off\"\nretry_budget = {{ floor = 1000 }}\nbalance = \"round-robin\"");
    let route = format!("[[route]]\nname = \"shop\"\nservice = \"app\"\n{route}\n");
    let gateway = Mainstay::start(&(route + &simple(listen, &addresses, &service)));
    for _request in 0..8 * count {
        assert_eq!(ask(listen, "/ok", "").status, 200);
    }
    (gateway, origins, listen)
}

#[test]
fn a_quarantine_ends_a_pill_after_two_endpoints() {
    let (gateway, mut origins, listen) = guarded("quarantine = true", 8);
    let answers: Vec<Response> = (0..40).map(|_pill| ask(listen, "/die?pill=1", "")).collect();
    let last = answers.last().expect("an answer");
    assert_eq!((last.status, last.reason()), (422, "quarantined"));
    left(&mut origins, 6);
    // Others are served, by whoever lives.
    for _request in 0..20 {
        assert_eq!(ask(listen, "/ok", "").status, 200);
    }
    assert_eq!(ask(listen, "/ok?pill=1", "").status, 200);
    eventually("it is counted", Duration::from_secs(5), || {
        gateway.metric("mainstay_quarantine_holds_total", &[]) == 1.0
    });
    eventually("it is counted", Duration::from_secs(5), || {
        gateway.metric("mainstay_quarantine_refused_total", &[]) >= 39.0
    });
    // The first pill was tried twice and no further.
    let first = answers.first().and_then(|answer| answer.header("x-request-id")).expect("an id");
    let page = String::from_utf8_lossy(&gateway.command(&["explain", first]).stdout).into_owned();
    assert!(page.contains("(quarantine)"), "{page}");
    // A POST is not retried, so that it takes two requests; another body is another request.
    let pill = |body: &str| {
        let mut wire = Wire::connect(listen);
        let length = body.len();
        wire.exchange(format!("POST /die HTTP/1.1\r\nhost: shop.test\r\ncontent-length: {length}\r\n\r\n{body}"))
    };
    assert_eq!(pill("x").status, 502);
    // Its end takes a moment in which another worker may still connect to it, which would be the same endpoint again.
    left(&mut origins, 5);
    let answers: Vec<u16> = (0..6).map(|_pill| pill("x").status).collect();
    // An idle connection to the dead one, of which a worker has not heard yet, may fail one more, and kills nobody.
    assert_eq!(answers[1..], [422; 5], "{answers:?}");
    left(&mut origins, 4);
}

#[test]
fn without_a_quarantine_the_same_pill_kills_them_all() {
    let (_gateway, mut origins, listen) = guarded("", 8);
    for _pill in 0..40 {
        ask(listen, "/die?pill=1", "");
    }
    left(&mut origins, 0);
}

#[test]
fn a_quarantine_tells_requests_apart_as_it_is_told_and_ends() {
    let (gateway, mut origins, listen) = guarded(
        "retry = { attempts = 10 }\nquarantine = { hold = \"3s\", headers = [\"x-kind\"], body = \"64B\", status = 503 }",
        7,
    );
    let pill = |path: &str, kind: &str, body: &str| {
        let mut wire = Wire::connect(listen);
        let length = body.len();
        let head =
            format!("PUT {path} HTTP/1.1\r\nhost: shop.test\r\nx-kind: {kind}\r\ncontent-length: {length}\r\n\r\n");
        // The body comes later: it is waited for.
        wire.send(head).expect("sent");
        std::thread::sleep(Duration::from_millis(50));
        wire.send(body).expect("sent");
        wire.response().expect("an answer").status
    };
    assert_eq!(pill("/die", "a", "poison"), 503);
    left(&mut origins, 5);
    assert_eq!(pill("/die", "a", "poison"), 503);
    left(&mut origins, 5);
    // Another body is another kind.
    assert_eq!(pill("/die", "a", "poisons"), 503);
    left(&mut origins, 3);
    // When the time is over one is tried, and held again for the first reset.
    eventually("one more is tried", Duration::from_secs(10), || {
        pill("/die", "a", "poison");
        alive(&mut origins).len() == 2
    });
    for _pill in 0..4 {
        assert_eq!(pill("/die", "a", "poison"), 503);
    }
    left(&mut origins, 2);
    assert!(gateway.stderr().contains("quarantined"));
}
