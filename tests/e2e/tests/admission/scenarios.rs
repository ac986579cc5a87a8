//! Scenarios of overload, each with a control: the same without the protection fails.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mainstay_e2e::load::Plan;
use mainstay_e2e::{Mainstay, Origin, Wire, free, wire};

use super::backend::Backend;

/// Scenarios measure: they run one after another.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn config(listen: SocketAddr, backend: SocketAddr, routes: &str) -> String {
    format!(
        "[[listener]]\nname = \"web\"\nbind = \"{listen}\"\ntrusted_proxies = [\"127.0.0.0/8\"]\n{routes}\n\
         [[service]]\nname = \"app\"\nendpoints = [\"{backend}\"]\nhealth = \"off\"\noutlier = \"off\"\nmax_idle = 2000\n"
    )
}

/// Where a share of durations lies.
fn quantile(durations: &mut [Duration], share: f64) -> Duration {
    durations.sort_unstable();
    let index = (durations.len() as f64 * share) as usize;
    durations.get(index.min(durations.len().saturating_sub(1))).copied().unwrap_or(Duration::MAX)
}

/// The p99 of logins, one every 10 ms of each of three clients, for as long as it takes to know it.
fn logins(listen: SocketAddr, patience: Duration) -> (Duration, usize) {
    let plan = Plan {
        clients: 3,
        requests: 300,
        time: Duration::from_secs(4),
        patience,
        pause: Duration::from_millis(10),
        path: "/login".to_owned(),
        ..Plan::new(listen)
    };
    let report = plan.run();
    let mut took: Vec<Duration> = report.outcomes.iter().map(|outcome| outcome.took).collect();
    (quantile(&mut took, 0.99), report.failed().len())
}

/// Source 001, B: uploads are stuck in a backend whose workers logins need, too.
fn stuck_uploads(bulkhead: &str, patience: Duration) -> (Duration, Duration, usize) {
    let backend = Backend::start(8, Duration::from_millis(5));
    let listen = free();
    let routes = format!(
        "[[route]]\nname = \"upload\"\nservice = \"app\"\nmatch = {{ path = \"/upload\" }}\n{bulkhead}\n\
         [[route]]\nname = \"login\"\nservice = \"app\"\nmatch = {{ path = \"/login\" }}\n"
    );
    let _gateway = Mainstay::start(&config(listen, backend.address(), &routes));
    let (quiet, failed) = logins(listen, Duration::from_secs(4));
    assert_eq!(failed, 0, "nothing is wrong yet");
    let uploads = Plan {
        clients: 20,
        time: Duration::from_secs(20),
        patience: Duration::from_secs(20),
        post_every: 1,
        pause: Duration::from_millis(20),
        path: "/upload".to_owned(),
        ..Plan::new(listen)
    };
    let uploads = uploads.start();
    std::thread::sleep(Duration::from_millis(500));
    let (stuck, failed) = logins(listen, patience);
    backend.end_uploads();
    uploads.stop();
    (quiet, stuck, failed)
}

#[test]
fn a_stuck_upload_does_not_starve_logins() {
    let _alone = alone();
    let (quiet, stuck, failed) = stuck_uploads("bulkhead = { concurrency = 4 }", Duration::from_secs(4));
    println!("p99 of logins: quiet {quiet:?}, while uploads are stuck {stuck:?}, {failed} failed");
    assert_eq!(failed, 0, "p99 {stuck:?}");
    // The addition is for a machine that is busy with other tests.
    assert!(stuck <= quiet.mul_f64(1.5) + Duration::from_millis(400), "quiet {quiet:?}, then {stuck:?}");
    let (quiet, stuck, failed) = stuck_uploads("", Duration::from_secs(1));
    println!("the control without a bulkhead: quiet {quiet:?}, then {stuck:?}, {failed} failed");
    assert!(failed > 5 && stuck >= Duration::from_secs(1), "it proves nothing: {stuck:?}, {failed} failed");
}

const WORKERS: usize = 4;
const SERVICE: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_millis(500);
const CLASSES: [&str; 10] =
    ["critical", "sheddable", "normal", "high", "normal", "sheddable", "high", "normal", "sheddable", "normal"];

/// What came of an overload.
#[derive(Debug, Default)]
struct Result3x {
    /// Answers in time a second, as a share of what the backend could do.
    goodput: f64,
    /// Shares of requests that were answered in time, by class.
    critical: f64,
    sheddable: f64,
    refused: u64,
    /// The slowest answer of the admin interface, and of a health check.
    admin: Duration,
}

/// Sends a request every so often whatever becomes of those before, for `time`.
fn offer(listen: SocketAddr, rate: f64, time: Duration) -> Vec<(Duration, usize, u16)> {
    let next = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let senders = (rate * PATIENCE.as_secs_f64() * 1.3) as usize;
    let threads: Vec<_> = (0..senders)
        .map(|_sender| {
            let next = Arc::clone(&next);
            let send = move || {
                let mut outcomes = Vec::new();
                let mut wire: Option<Wire> = None;
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let due = Duration::from_secs_f64(number as f64 / rate);
                    if due >= time {
                        return outcomes;
                    }
                    std::thread::sleep(due.saturating_sub(start.elapsed()));
                    let class = number as usize % CLASSES.len();
                    let asked = Instant::now();
                    let mut connection = match wire.take() {
                        Some(connection) => connection,
                        None => match Wire::try_connect(listen, PATIENCE) {
                            Ok(connection) => connection,
                            Err(_none) => {
                                outcomes.push((due, class, 0));
                                continue;
                            }
                        },
                    };
                    let head =
                        format!("GET /work HTTP/1.1\r\nhost: a\r\nx-mainstay-criticality: {}\r\n\r\n", CLASSES[class]);
                    let _sent = connection.send(head);
                    match connection.response() {
                        Ok(response) if asked.elapsed() < PATIENCE => {
                            outcomes.push((due, class, response.status));
                            wire = Some(connection);
                        }
                        _late_or_never => outcomes.push((due, class, 0)),
                    }
                }
            };
            std::thread::Builder::new().stack_size(128 * 1024).spawn(send).expect("a thread")
        })
        .collect();
    threads.into_iter().flat_map(|thread| thread.join().expect("a sender")).collect()
}

/// Offers three times what the backend can do, and looks at what comes of it once that has lasted for two seconds.
fn three_times(settings: &str, time: Duration) -> Result3x {
    let backend = Backend::start(WORKERS, SERVICE);
    let listen = free();
    let route = format!("[[route]]\nname = \"work\"\nservice = \"app\"\n{settings}\n");
    let gateway = Mainstay::start(&config(listen, backend.address(), &route));
    let nominal = WORKERS as f64 / SERVICE.as_secs_f64();
    let (admin, over) = (gateway.admin_address(), Arc::new(AtomicBool::new(false)));
    let watch = {
        let over = Arc::clone(&over);
        std::thread::spawn(move || {
            let mut slowest = Duration::ZERO;
            while !over.load(Ordering::Relaxed) {
                for path in ["/ready", "/health", "/api/v1/status", "/metrics"] {
                    let asked = Instant::now();
                    assert_eq!(wire::get(admin, path).status, 200, "{path}");
                    slowest = slowest.max(asked.elapsed());
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            slowest
        })
    };
    let settled = Duration::from_secs(2);
    let outcomes = offer(listen, nominal * 3.0, time);
    over.store(true, Ordering::Relaxed);
    let admin = watch.join().expect("the admin interface answers");
    let late: Vec<_> = outcomes.iter().filter(|(due, _class, _status)| *due >= settled).collect();
    let good = late.iter().filter(|(_due, _class, status)| *status == 200).count();
    let share = |class: &str| {
        let of = late.iter().filter(|(_due, number, _status)| CLASSES[*number] == class);
        let (all, good) =
            of.fold((0, 0), |(all, good), (_due, _class, status)| (all + 1, good + usize::from(*status == 200)));
        good as f64 / f64::from(all.max(1))
    };
    Result3x {
        goodput: good as f64 / (time - settled).as_secs_f64() / backend.capacity(),
        critical: share("critical"),
        sheddable: share("sheddable"),
        refused: late.iter().filter(|(_due, _class, status)| *status == 503).count() as u64,
        admin,
    }
}

#[test]
fn three_times_the_capacity_is_survived_by_what_matters() {
    let _alone = alone();
    for settings in [
        "criticality = \"normal\"\nbulkhead = { concurrency = 6, queue = 20, queue_timeout = \"200ms\" }",
        "criticality = \"normal\"\nadaptive = { probe = 3, queue_timeout = \"200ms\" }",
    ] {
        let result = three_times(settings, Duration::from_secs(6));
        println!("{settings}\n{result:?}");
        assert!(result.goodput >= 0.9, "{settings}: {result:?}");
        assert!(result.critical >= 0.99, "{settings}: {result:?}");
        assert!(result.sheddable < 0.2, "the least important goes first: {result:?}");
        assert!(result.refused > 0 && result.admin < Duration::from_secs(2), "{result:?}");
    }
    let result = three_times("", Duration::from_secs(4));
    println!("the control without limits\n{result:?}");
    assert!(result.goodput < 0.5 && result.critical < 0.5, "it proves nothing: {result:?}");
}

/// By the time on a processor, which does not depend on what else the machine does; batches of either kind take turns.
#[test]
fn a_refusal_costs_no_more_than_an_answer() {
    const BATCH: u64 = 500;
    let _alone = alone();
    let (origin, listen) = (Origin::start(), free());
    let routes = "[[route]]\nname = \"open\"\nservice = \"app\"\nmatch = { path = \"/ok\" }\n\
                  rate_limit = { rate = \"1000000/s\", burst = 1000000, key = \"client\" }\n\
                  [[route]]\nname = \"shut\"\nservice = \"app\"\nmatch = { path = \"/bytes\" }\n\
                  rate_limit = { rate = \"1/h\", key = \"client\" }\n";
    let mut gateway = Mainstay::start(&config(listen, origin.address(), routes));
    let mut batch = |path: &str| {
        let before = gateway.process().cpu_time();
        let report = Plan { clients: 2, requests: BATCH, path: path.to_owned(), ..Plan::new(listen) }.run();
        (report, gateway.process().cpu_time().saturating_sub(before))
    };
    let (mut answers, mut refusals, mut limited) = (Duration::ZERO, Duration::ZERO, 0);
    for _round in 0..8 {
        let (answered, spent) = batch("/ok");
        answered.assert_clean(BATCH as usize);
        answers += spent;
        let (refused, spent) = batch("/bytes/2");
        limited +=
            refused.outcomes.iter().filter(|it| it.result == Ok((429, "rate-limited".to_owned()))).count() as u64;
        refusals += spent;
    }
    assert_eq!(limited, 8 * BATCH - 1, "all but the first");
    println!("{} answers took {answers:?} of a processor, as many refusals {refusals:?}", 8 * BATCH);
    assert!(refusals <= answers, "answers {answers:?}, refusals {refusals:?}");
}
