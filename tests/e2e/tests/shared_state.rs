//! What gateways share: a session goes where it was bound, whichever of them is asked.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mainstay_e2e::cluster::{Nodes, Place, SOON};
use mainstay_e2e::gateway::simple;
use mainstay_e2e::process::Process;
use mainstay_e2e::wire::Response;
use mainstay_e2e::{Mainstay, Origin, Wire, eventually, free, tools};

const HEALTH: &str = "health = { tcp = true, interval = \"200ms\", timeout = \"100ms\", unhealthy = 1, healthy = 1 }\n";

fn ask(address: SocketAddr, cookie: Option<&str>) -> Response {
    let cookie = cookie.map_or_else(String::new, |cookie| format!("cookie: {cookie}\r\n"));
    let mut wire = Wire::connect(address);
    wire.exchange(format!("GET /ok HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n{cookie}\r\n"))
}

fn origin(response: &Response) -> SocketAddr {
    response.header("x-origin").expect("an endpoint answered").parse().expect("an address")
}

/// The cookie that a response sets, without its attributes.
fn cookie(response: &Response) -> Option<String> {
    let set = response.head.all("set-cookie").into_iter().find(|set| set.starts_with("mainstay_app="))?;
    set.split(';').next().map(str::to_owned)
}

fn addresses(origins: &[Origin]) -> Vec<SocketAddr> {
    origins.iter().map(Origin::address).collect()
}

/// Redis on a port of its own, which it keeps when it is started again.
struct Redis {
    process: Process,
    address: SocketAddr,
    dir: tempfile::TempDir,
}

impl Redis {
    fn start() -> Self {
        let (dir, address) = (tempfile::tempdir().expect("a directory"), free());
        let process = Self::launch(address, &dir);
        Self { process, address, dir }
    }

    fn launch(address: SocketAddr, dir: &tempfile::TempDir) -> Process {
        let mut command = Command::new(tools::find("redis-server", "redis-server"));
        command.args(["--bind", &address.ip().to_string(), "--port", &address.port().to_string()]);
        command.args(["--save", "1 1", "--appendonly", "yes", "--appendfsync", "always", "--requirepass", "hush-hush"]);
        command.arg("--dir").arg(dir.path());
        let process = Process::start("redis", dir.path(), &mut command, None);
        eventually("redis listens", Duration::from_secs(10), || std::net::TcpStream::connect(address).is_ok());
        process
    }

    fn restart(&mut self) {
        self.process = Self::launch(self.address, &self.dir);
    }

    fn gateway(&self, origins: &[Origin], service: &str) -> (Mainstay, SocketAddr) {
        let (listen, address) = (free(), self.address);
        let service = format!("balance = \"round-robin\"\n{HEALTH}{service}");
        let sessions = format!(
            "[sessions]\nredis = {{ address = \"{address}\", password_file = \"redis.password\", timeout = \"500ms\" }}\n"
        );
        let config = format!("{}\n{sessions}", simple(listen, &addresses(origins), &service));
        let mut gateway = Mainstay::launch("", &config, &[("redis.password", "hush-hush\n")]);
        gateway.wait_until_ready();
        (gateway, listen)
    }
}

/// Whether every session that `first` bound goes to the same endpoint through `second` once `first` is dead.
fn survives(first: (Mainstay, SocketAddr), second: SocketAddr) -> bool {
    let (mut gateway, listen) = first;
    let sessions: Vec<(String, SocketAddr)> = (0..12)
        .map(|_session| {
            let answer = ask(listen, None);
            (cookie(&answer).expect("a session begins with a cookie"), origin(&answer))
        })
        .collect();
    assert!(sessions.iter().map(|(_cookie, origin)| origin).collect::<BTreeSet<_>>().len() > 1, "they go to several");
    gateway.process().kill();
    let answers: Vec<Response> = sessions.iter().map(|(cookie, _origin)| ask(second, Some(cookie))).collect();
    answers.iter().zip(&sessions).all(|(answer, (_cookie, bound))| answer.status == 200 && origin(answer) == *bound)
}

#[test]
fn after_a_gateways_death_another_knows_the_session_from_redis() {
    let (redis, origins) = (Redis::start(), Origin::several(3));
    let (second, listen) = redis.gateway(&origins, "sticky = { table = \"redis\", ttl = \"5m\" }");
    let first = redis.gateway(&origins, "sticky = { table = \"redis\", ttl = \"5m\" }");
    assert!(survives(first, listen));
    assert_eq!(second.metric("mainstay_session_requests_total", &["kept"]), 12.0);
    // The control: tables that nobody else has.
    let (_second, listen) = redis.gateway(&origins, "sticky = { table = \"embedded\" }");
    let first = redis.gateway(&origins, "sticky = { table = \"embedded\" }");
    assert!(!survives(first, listen), "two nodes that know nothing of each other");
}

#[test]
fn sessions_move_with_their_endpoint_for_all_gateways_and_end_by_disuse() {
    let (redis, mut origins) = (Redis::start(), Origin::several(3));
    let service = "sticky = { table = \"redis\", ttl = \"2s\" }";
    let ((_one, first), (_two, second)) = (redis.gateway(&origins, service), redis.gateway(&origins, service));
    let answer = ask(first, None);
    let (session, bound) = (cookie(&answer).expect("a cookie"), origin(&answer));
    let set = answer.header("set-cookie").expect("a cookie");
    assert!(set.ends_with("; Path=/; SameSite=Lax; HttpOnly"), "{set}");
    assert_eq!(session.len(), "mainstay_app=".len() + 22, "an id and nothing else: {session}");
    // It is used for longer than it lives unused.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        let answer = ask(second, Some(&session));
        assert_eq!((origin(&answer), answer.header("set-cookie")), (bound, None));
        std::thread::sleep(Duration::from_millis(200));
    }
    origins.iter_mut().find(|it| it.address() == bound).expect("one of them").kill();
    let moved = ask(first, Some(&session));
    assert_eq!((moved.status, moved.header("set-cookie")), (200, None), "the id stays");
    assert_ne!(origin(&moved), bound);
    for gateway in [second, first, second] {
        assert_eq!(origin(&ask(gateway, Some(&session))), origin(&moved));
    }
    std::thread::sleep(Duration::from_millis(3500));
    let late = ask(first, Some(&session));
    assert!(late.status == 200 && cookie(&late).is_some_and(|fresh| fresh != session), "it has ended");
    // An id that somebody made up is not taken over.
    let invented = ask(first, Some("mainstay_app=AAAAAAAAAAAAAAAAAAAAAA"));
    assert!(cookie(&invented).is_some_and(|fresh| !fresh.contains("AAAAAAAAAAAAAAAAAAAAAA")));
}

#[test]
fn without_redis_requests_go_on_and_sessions_are_back_with_it() {
    let (mut redis, origins) = (Redis::start(), Origin::several(3));
    let (gateway, listen) = redis.gateway(&origins, "sticky = { table = \"redis\", ttl = \"5m\" }");
    let answer = ask(listen, None);
    let (session, bound) = (cookie(&answer).expect("a cookie"), origin(&answer));
    // Each line says what its session's write took, and nothing if there was none.
    assert_eq!(ask(listen, Some(&session)).status, 200);
    redis.process.signal(libc::SIGSTOP);
    assert_eq!(ask(listen, None).status, 200);
    let lines = || gateway.access_log();
    eventually("all three are logged", Duration::from_secs(10), || lines().len() == 3);
    // Each client had a connection of its own, and lines are written as these end: their order says nothing.
    let written: Vec<_> = lines().into_iter().map(|line| line["session_write"].clone()).collect();
    let took =
        |outcome: &str| written.iter().find(|it| it["outcome"] == outcome).and_then(|it| it["duration_ms"].as_f64());
    assert_eq!(written.iter().filter(|it| it.is_null()).count(), 1, "the one that was known: {written:?}");
    assert!(took("safe") > Some(0.0), "{written:?}");
    assert!(took("unsafe") >= Some(400.0), "it was waited for: {written:?}");
    redis.process.kill();
    let began = Instant::now();
    let mut seen = BTreeSet::new();
    for _request in 0..30 {
        let answer = ask(listen, Some(&session));
        assert_eq!((answer.status, answer.header("set-cookie")), (200, None), "its cookie is left alone");
        seen.insert(origin(&answer));
    }
    // The time limit is half a second: were it waited for by each, it would be 15 s.
    assert!(began.elapsed() < Duration::from_secs(8), "nobody waits for what is away: {:?}", began.elapsed());
    assert_eq!(seen.len(), 3, "balanced as if there were no session");
    assert!(gateway.metric("mainstay_session_requests_total", &["away"]) >= 29.0);
    assert_eq!(gateway.metric("mainstay_sessions_available", &["redis"]), 0.0);
    let status = gateway.command(&["status"]);
    assert!(String::from_utf8_lossy(&status.stdout).contains("REDIS IS AWAY"));
    redis.restart();
    eventually("the session is where it was", Duration::from_secs(20), || {
        let answer = ask(listen, Some(&session));
        assert_eq!(answer.status, 200);
        gateway.metric("mainstay_sessions_available", &["redis"]) == 1.0
    });
    for _request in 0..10 {
        assert_eq!(origin(&ask(listen, Some(&session))), bound);
    }
    assert!(!gateway.stderr().contains("hush-hush"));
}

/// Sessions that clients know of: the cookie and the endpoint that it was bound to.
type Sessions = Vec<(String, SocketAddr)>;

/// Clients that begin one session after the other until nobody answers, or there are very many.
fn begin_sessions(target: SocketAddr) -> (Vec<std::thread::JoinHandle<Sessions>>, Arc<AtomicUsize>) {
    let begun = Arc::new(AtomicUsize::new(0));
    let clients = (0..4).map(|_client| {
        let begun = Arc::clone(&begun);
        std::thread::spawn(move || {
            let mut sessions = Sessions::new();
            while let Some(answer) = (sessions.len() < 2000).then(|| try_ask(target)).flatten() {
                sessions.push((cookie(&answer).expect("a session begins with a cookie"), origin(&answer)));
                begun.fetch_add(1, Ordering::Relaxed);
            }
            sessions
        })
    });
    (clients.collect(), begun)
}

/// A whole answer to a request without a cookie; `None` if none came.
fn try_ask(target: SocketAddr) -> Option<Response> {
    let mut wire = Wire::try_connect(target, Duration::from_secs(10)).ok()?;
    wire.send("GET /ok HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n").ok()?;
    wire.response().ok().filter(|answer| answer.status == 200)
}

/// For each session, whether it goes where it was bound.
fn stay(target: SocketAddr, sessions: &[(String, SocketAddr)]) -> Vec<bool> {
    let answers = sessions.iter().map(|(cookie, bound)| (ask(target, Some(cookie)), bound));
    answers.map(|(answer, bound)| (answer.status, origin(&answer)) == (200, *bound)).collect()
}

fn count(stay: &[bool]) -> usize {
    stay.iter().filter(|stays| **stays).count()
}

#[test]
fn after_a_nodes_death_the_others_have_its_sessions_and_so_has_the_node_that_comes_back() {
    let origins = Origin::several(4);
    let service = "balance = \"round-robin\"\nsticky = { table = \"embedded\", ttl = \"5m\" }\n";
    let at = addresses(&origins);
    let to = at.clone();
    let config = move |place: &Place| {
        let cluster = format!("[cluster]\ntimings = \"default\"\nlisten = \"{}\"\n", place.peer);
        // An answer that comes without another node's knowing is no acknowledgement: on a busy machine it takes its time.
        format!("{cluster}{}\n[sessions]\nack_timeout = \"2s\"\n", simple(place.listen, &to, service))
    };
    let mut nodes = Nodes::start(3, config);
    let listens: Vec<SocketAddr> = nodes.nodes.iter().map(|node| node.place.listen).collect();
    eventually("a session is known to two nodes before its client hears of it", SOON, || {
        let (session, bound) = {
            let it = ask(listens[0], None);
            (cookie(&it).expect("a cookie"), origin(&it))
        };
        stay(listens[1], &[(session.clone(), bound)])[0] && stay(listens[2], &[(session, bound)])[0]
    });

    let (clients, begun) = begin_sessions(listens[0]);
    eventually("clients have 200 sessions", SOON, || begun.load(Ordering::Relaxed) >= 200);
    nodes.nodes[0].kill();
    let sessions: Sessions = clients.into_iter().flat_map(|client| client.join().expect("a client")).collect();
    assert!(sessions.len() >= 200 && sessions.iter().map(|(_, bound)| bound).collect::<BTreeSet<_>>().len() == 4);
    let (second, third) = (stay(listens[1], &sessions), stay(listens[2], &sessions));
    println!("{} sessions; kept by the second node {}, by the third {}", sessions.len(), count(&second), count(&third));
    let lost = second.iter().zip(&third).filter(|(second, third)| !**second && !**third).count();
    assert_eq!(lost, 0, "of {} that clients had", sessions.len());
    // The control: the same gateway, but nobody tells it of sessions.
    let alone = free();
    let _gateway = Mainstay::start(&simple(alone, &at, service));
    let kept = count(&stay(alone, &sessions));
    assert!(kept < sessions.len() / 2, "{kept} of {} stay by chance", sessions.len());

    eventually("the others have told each other what only one of them knew", SOON, || {
        [1, 2].into_iter().all(|node| count(&stay(listens[node], &sessions)) == sessions.len())
    });
    nodes.nodes[0].start();
    let kept = count(&stay(listens[0], &sessions));
    assert_eq!(kept, sessions.len(), "the node that came back has all, from its first answer on");
}
