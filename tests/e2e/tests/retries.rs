//! Retries that do not become the load: over a chain of gateways, when ten thousand clients meet a blip, and when half of a
//! service is lost. Each scenario is also run without what it is about, so that it shows something.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mainstay_e2e::gateway::simple;
use mainstay_e2e::load::Plan;
use mainstay_e2e::scripted::{Exchange, Scripted};
use mainstay_e2e::wire::get;
use mainstay_e2e::{Mainstay, Wire, free, tools};

const UNCHECKED: &str = "health = \"off\"\noutlier = \"off\"\nbalance = \"round-robin\"\n";

/// Answers every request with `answer`, and counts.
fn server(answer: &'static str) -> (Scripted, Arc<AtomicU64>) {
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    let server = Scripted::start(move |mut exchange: Exchange| {
        while exchange.head().is_some() {
            counted.fetch_add(1, Ordering::Relaxed);
            exchange.send(answer);
        }
    });
    (server, count)
}

const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";

/// A gateway that listens on as many addresses as its caller shall have endpoints, and retries within a fifth.
fn layer(listen: &[SocketAddr], endpoints: &[SocketAddr]) -> Mainstay {
    let mut config = String::new();
    for (number, address) in listen.iter().enumerate() {
        config += &format!(
            "[[listener]]\nname = \"web{number}\"\nbind = \"{address}\"\ntrusted_proxies = [\"127.0.0.0/8\"]\n"
        );
    }
    let list: Vec<String> = endpoints.iter().map(|address| format!("\"{address}\"")).collect();
    config += "[[route]]\nname = \"all\"\nservice = \"next\"\nretry = { attempts = 3, on = [\"5xx\"], backoff = \"1ms\" }\n\
               retry_budget = { ratio = \"20%\", floor = 0 }\n";
    config += &format!("[[service]]\nname = \"next\"\nendpoints = [{}]\n{UNCHECKED}", list.join(", "));
    Mainstay::start(&config)
}

/// Requests at C's own servers for each request of a client, and at C itself.
fn amplification(strip: bool) -> (f64, f64) {
    const REQUESTS: u64 = 2000;
    let (servers, counts): (Vec<_>, Vec<_>) = (0..3).map(|_server| server(UNAVAILABLE)).unzip();
    let addresses = |count: usize| (0..count).map(|_address| free()).collect::<Vec<SocketAddr>>();
    let (a, b, c) = (addresses(1), addresses(3), addresses(3));
    let gateway_c = layer(&c, &servers.iter().map(Scripted::address).collect::<Vec<_>>());
    // Without the rule: something between the layers that takes the headers out.
    let strippers = |of: &[SocketAddr]| -> (Vec<SocketAddr>, Vec<tools::Server>) {
        let between = addresses(of.len());
        let started = of.iter().zip(&between).map(|(to, listen)| {
            let block = format!(
                "server {{ listen {listen}; location / {{ proxy_pass http://{to}; proxy_hide_header x-mainstay-no-retry; \
                 proxy_set_header x-mainstay-attempt \"\"; }} }}"
            );
            tools::nginx(*listen, &block, &[])
        });
        let started = started.collect();
        (between, started)
    };
    let (before_c, _of_c) = if strip { strippers(&c) } else { (c, Vec::new()) };
    let _gateway_b = layer(&b, &before_c);
    let (before_b, _of_b) = if strip { strippers(&b) } else { (b, Vec::new()) };
    let _gateway_a = layer(&a, &before_b);
    Plan { requests: REQUESTS, clients: 8, ..Plan::new(a[0]) }.run();
    let servers: u64 = counts.iter().map(|count| count.load(Ordering::Relaxed)).sum();
    let at_c = gateway_c.metric("mainstay_requests_started_total", &["\"all\""]);
    (servers as f64 / REQUESTS as f64, at_c / REQUESTS as f64)
}

/// A -> B -> C, where C fails: one layer retries, and the others hear that it has.
#[test]
fn a_chain_does_not_multiply_retries() {
    let (servers, c) = amplification(false);
    let (stripped_servers, stripped_c) = amplification(true);
    println!(
        "requests for each of a client, at C and at its servers: {c:.3} and {servers:.3}; without the headers {stripped_c:.3} and {stripped_servers:.3}"
    );
    assert!(c <= 1.2 && servers <= 1.2 + 0.01, "{c} at C, {servers} at its servers");
    assert!(servers > 1.1, "C itself retries within its budget: {servers}");
    assert!(stripped_c > 1.3 && stripped_servers > 1.5, "without the rule: {stripped_c}, {stripped_servers}");
}

#[test]
fn who_says_do_not_retry_is_not_asked_again_and_retry_after_is_kept() {
    let told = "HTTP/1.1 503 No\r\ncontent-length: 0\r\nx-envoy-overloaded: true\r\n\r\n";
    let later = "HTTP/1.1 503 No\r\ncontent-length: 0\r\nretry-after: 1\r\n\r\n";
    let much_later = "HTTP/1.1 503 No\r\ncontent-length: 0\r\nretry-after: 20\r\n\r\n";
    // What is answered; attempts that follow; how long the answer takes in seconds; what is handed on.
    for (answer, attempts, seconds, header) in [
        (told, 1, 0..1, Some("retried")),
        (later, 2, 1..3, Some("retried")),
        (much_later, 1, 0..1, None),
        (UNAVAILABLE, 2, 0..1, Some("retried")),
    ] {
        let (servers, counts): (Vec<_>, Vec<_>) = (0..2).map(|_server| server(answer)).unzip();
        let listen = free();
        let _gateway = layer(&[listen], &servers.iter().map(Scripted::address).collect::<Vec<_>>());
        // A budget of a fifth pays for one retry after five requests.
        for _request in 0..6 {
            Wire::connect(listen).exchange("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 0\r\n\r\n");
        }
        // Workers tell the budget of their requests a few times a second.
        std::thread::sleep(Duration::from_millis(600));
        let before: u64 = counts.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        let start = Instant::now();
        let response = get(listen, "/");
        let took = start.elapsed().as_secs();
        let made = counts.iter().map(|count| count.load(Ordering::Relaxed)).sum::<u64>() - before;
        assert_eq!((response.status, made), (503, attempts), "{answer:?}");
        assert!(seconds.contains(&took), "{took} s for {answer:?}");
        assert_eq!(response.header("x-mainstay-no-retry"), header, "{answer:?}");
    }
}

/// A backend that remembers when each request came, and answers 503 while it is told to.
struct Database {
    server: Scripted,
    arrivals: Arc<Mutex<Vec<Instant>>>,
    is_gone: Arc<AtomicBool>,
}

impl Database {
    fn start() -> Self {
        let (arrivals, is_gone) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (seen, gone) = (Arc::clone(&arrivals), Arc::clone(&is_gone));
        let server = Scripted::start(move |mut exchange: Exchange| {
            while exchange.head().is_some() {
                seen.lock().expect("no thread panics with the lock").push(Instant::now());
                let answer = if gone.load(Ordering::Relaxed) {
                    UNAVAILABLE
                } else {
                    "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
                };
                exchange.send(answer);
            }
        });
        Self { server, arrivals, is_gone }
    }
}

/// Arrivals in each 250 ms from `from` on.
fn buckets(arrivals: &[Instant], from: Instant) -> HashMap<u128, u64> {
    let mut buckets = HashMap::new();
    for at in arrivals.iter().filter(|at| **at >= from) {
        *buckets.entry(at.duration_since(from).as_millis() / 250).or_insert(0) += 1;
    }
    buckets
}

/// Ten thousand requests at a steady rate, of which those of about two seconds meet databases that are gone. Answers the requests at the
/// databases for each request of a client, how often more a request came to them that failed, and the fullest bucket against a usual one.
fn blip(route: &str) -> [f64; 3] {
    let databases: Vec<Database> = (0..3).map(|_database| Database::start()).collect();
    let listen = free();
    let addresses: Vec<SocketAddr> = databases.iter().map(|database| database.server.address()).collect();
    let config =
        format!("[[route]]\nname = \"all\"\nservice = \"app\"\n{route}\n") + &simple(listen, &addresses, UNCHECKED);
    let _gateway = Mainstay::start(&config);
    let pause = Duration::from_millis(50);
    let load = Plan { requests: 10_000, clients: 64, pause, ..Plan::new(listen) }.start();
    let gone = |is: bool| databases.iter().for_each(|database| database.is_gone.store(is, Ordering::Relaxed));
    std::thread::sleep(Duration::from_millis(2500));
    gone(true);
    let from = Instant::now();
    std::thread::sleep(Duration::from_secs(2));
    gone(false);
    let report = load.wait();
    assert_eq!(report.outcomes.len(), 10_000);
    let arrivals: Vec<Instant> =
        databases.iter().flat_map(|database| database.arrivals.lock().expect("no panic").clone()).collect();
    let asked = report.outcomes.iter().filter(|outcome| outcome.at >= from).count();
    let came = arrivals.iter().filter(|at| **at >= from).count();
    let asked_in: Vec<Instant> = report.outcomes.iter().map(|outcome| outcome.at).collect();
    let usual = *buckets(&asked_in, from).values().max().expect("requests");
    let fullest = *buckets(&arrivals, from).values().max().expect("requests");
    let failed = report.outcomes.iter().filter(|outcome| !outcome.is_ok()).count();
    assert!(failed >= 20, "the clients notice that they are gone: {failed}");
    [came as f64 / asked as f64, (came - asked) as f64 / failed as f64, fullest as f64 / usual as f64]
}

/// Scenario "a database blips and ten thousand clients retry".
#[test]
fn a_blip_under_ten_thousand_requests_brings_neither_a_storm_nor_a_spike() {
    let [with, again, fullest] =
        blip("retry = { attempts = 3, on = [\"5xx\"] }\nretry_budget = { ratio = \"20%\", floor = 0 }");
    let naive = "retry = { attempts = 3, on = [\"5xx\"], backoff = \"1ms\", backoff_cap = \"1ms\" }\nretry_budget = { ratio = \"100%\", floor = 100000 }";
    let [without, again_without, fullest_without] = blip(naive);
    println!(
        "requests at the database for each of a client: {with:.3} (a failed one {again:.2} times more), fullest 250 ms {fullest:.2}; \
         without limits {without:.3} ({again_without:.2}) and {fullest_without:.2}"
    );
    assert!(with <= 1.2, "{with}");
    assert!(fullest <= 1.7, "a spike: {fullest}");
    // How many are sent while the databases are gone depends on the machine, and what becomes of each of them does not.
    assert!(
        again_without > 1.5,
        "without limits each request comes three times while the databases are gone: {again_without}"
    );
}

/// A replica that serves one request after another, each in 10 ms, and does not notice that nobody waits any more.
struct Replica {
    server: Scripted,
    is_lost: Arc<AtomicBool>,
}

impl Replica {
    fn start() -> Self {
        let is_lost = Arc::new(AtomicBool::new(false));
        let free_at = Arc::new(Mutex::new(Instant::now()));
        let lost = Arc::clone(&is_lost);
        let server = Scripted::start(move |mut exchange: Exchange| {
            while exchange.head().is_some() {
                if lost.load(Ordering::Relaxed) {
                    return;
                }
                let turn = {
                    let mut free_at = free_at.lock().expect("no thread panics with the lock");
                    *free_at = (*free_at).max(Instant::now()) + Duration::from_millis(10);
                    *free_at
                };
                std::thread::sleep(turn.saturating_duration_since(Instant::now()));
                exchange.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
            }
        });
        Self { server, is_lost }
    }
}

/// What users got, by the second.
struct Users {
    start: Instant,
    seconds: Arc<Vec<AtomicU64>>,
    threads: Vec<std::thread::JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Users {
    /// Users who each want something every two and a half seconds, and try up to four times at once if they do not get it.
    fn start(listen: SocketAddr, count: u64) -> Self {
        let (start, stop) = (Instant::now(), Arc::new(AtomicBool::new(false)));
        let seconds: Arc<Vec<AtomicU64>> = Arc::new((0..60).map(|_second| AtomicU64::new(0)).collect());
        let user = |number: u64| {
            let (seconds, stop) = (Arc::clone(&seconds), Arc::clone(&stop));
            let work = move || {
                let period = Duration::from_millis(2500);
                std::thread::sleep(period.mul_f64(number as f64 / count as f64));
                while !stop.load(Ordering::Relaxed) && start.elapsed() < Duration::from_secs(50) {
                    let began = Instant::now();
                    let is_served = (0..4).any(|_try| {
                        !stop.load(Ordering::Relaxed) && {
                            let wire = Wire::try_connect(listen, Duration::from_secs(2));
                            let answer = wire.ok().and_then(|mut wire| {
                                wire.send("GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n").ok()?;
                                wire.response().ok()
                            });
                            answer.is_some_and(|answer| answer.status == 200)
                        }
                    });
                    let second = usize::try_from(start.elapsed().as_secs()).unwrap_or(59);
                    if let Some(served) = seconds.get(second).filter(|_second| is_served) {
                        served.fetch_add(1, Ordering::Relaxed);
                    }
                    std::thread::sleep(period.saturating_sub(began.elapsed()));
                }
            };
            std::thread::Builder::new().stack_size(128 * 1024).spawn(work).expect("a thread")
        };
        let threads = (0..count).map(user).collect();
        Self { start, seconds, threads, stop }
    }

    fn stop(self) -> Vec<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("a user ends"));
        self.seconds.iter().map(|second| second.load(Ordering::Relaxed)).collect()
    }
}

/// Users a second that are served: before a replica is lost, while it is, and in the best two seconds after it is back, which are
/// waited for up to `patience`.
fn replica_loss(protection: &str, service: &str, patience: Duration) -> [f64; 3] {
    let replicas = [Replica::start(), Replica::start()];
    let listen = free();
    let route = format!("[[route]]\nname = \"all\"\nservice = \"app\"\ntimeout = \"500ms\"\n{protection}\n");
    let addresses = replicas.each_ref().map(|replica| replica.server.address());
    let _gateway = Mainstay::start(&(route + &simple(listen, &addresses, service)));
    let users = Users::start(listen, 400);
    // The whole seconds from `from` to `to`, waited for.
    let mean = |from: u64, to: u64| {
        std::thread::sleep(Duration::from_secs(to).saturating_sub(users.start.elapsed()));
        let served = |second: u64| users.seconds[second as usize].load(Ordering::Relaxed);
        (from..to).map(served).sum::<u64>() as f64 / (to - from) as f64
    };
    let before = mean(2, 4);
    replicas[1].is_lost.store(true, Ordering::Relaxed);
    let while_lost = mean(5, 8);
    replicas[1].is_lost.store(false, Ordering::Relaxed);
    let mut after = 0.0;
    for second in 10..=8 + patience.as_secs() {
        after = mean(second - 2, second).max(after);
        if after > 0.95 * before {
            break;
        }
    }
    println!("users served by the second: {:?}", users.stop());
    [before, while_lost, after]
}

/// Scenario "replica loss": what is left gets twice the load, and those who wait try again.
#[test]
fn the_loss_of_a_replica_does_not_become_the_loss_of_the_service() {
    // What a replica can do in the time that a request may take is about fifty; with no more than that in flight, nobody waits in vain.
    let protection = "bulkhead = { concurrency = 30 }\n\
        breaker = { failure_rate = \"50%\", min_calls = 20, window = \"2s\", open_for = \"500ms\", open_max = \"1s\", probes = 5, ramp = \"2s\" }\n";
    let service = "health = \"off\"\nbreaker = { failure_rate = \"50%\", min_calls = 10, window = \"2s\", open_for = \"500ms\", open_max = \"1s\", probes = 3, ramp = \"2s\" }\n";
    let naive = "retry = { attempts = 3, on = [\"5xx\", \"timeout\"], backoff = \"1ms\" }\nretry_budget = { ratio = \"100%\", floor = 100000 }\n";
    // Side by side: each has its own replicas, whose capacity is a matter of time and not of processors.
    let without = std::thread::spawn(move || {
        replica_loss(naive, "health = \"off\"\noutlier = \"off\"\n", Duration::from_secs(7))
    });
    let with = replica_loss(protection, service, Duration::from_secs(10));
    let without = without.join().expect("the run without protection");
    println!("users served a second before, during and after: {with:.0?}; without protection {without:.0?}");
    assert!(with[2] > 0.9 * with[0], "back within ten seconds: {with:?}");
    assert!(with[1] > 0.25 * with[0], "no collapse while it is lost, with half of the capacity: {with:?}");
    assert!(without[2] < 0.5 * without[0], "without protection it stays down: {without:?}");
}
