//! The same mutated requests through the gateway to two servers that parse HTTP differently: whatever it lets through, both
//! take for the same requests. What two servers might read differently is what smuggling is made of.

#[path = "differential/mutations.rs"]
mod mutations;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mainstay_e2e::process::Process;
use mainstay_e2e::tools::{self, Server};
use mainstay_e2e::{Mainstay, free};

const CASES: usize = 2_000;

/// What a client got for the bytes of one case.
#[derive(Clone, Copy, Debug, Default)]
struct Answers {
    /// Final responses of the server.
    server: usize,
    /// Of these, 400: the server understood no request.
    server_400: usize,
    /// Responses of the gateway's own, and connections that ended without any response.
    refused: usize,
}

/// Requests that a server saw for one case, in the order of its log, each with its method.
type Seen = BTreeMap<usize, Vec<String>>;

fn nginx(listen: SocketAddr) -> Server {
    let block = format!(
        "log_format seen escape=json '{{\"status\":$status,\"request\":{{\"method\":\"$request_method\",\"uri\":\"$request_uri\"}}}}';\n\
         server {{ listen {listen}; access_log seen seen; location / {{ return 200 ok; }} }}"
    );
    tools::nginx(listen, &block, &[])
}

fn caddy(listen: SocketAddr) -> Server {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let log = dir.path().join("seen");
    let config = format!(
        "{{\n\tadmin off\n\tauto_https off\n}}\nhttp://:{port} {{\n\tbind {ip}\n\tlog {{\n\t\toutput file {log} {{\n\t\t\troll_disabled\n\t\t}}\n\t\tformat json\n\t}}\n\trespond ok\n}}\n",
        port = listen.port(),
        ip = listen.ip(),
        log = log.display()
    );
    fs::write(dir.path().join("config"), config).expect("caddy's configuration");
    let mut command = Command::new(tools::find("caddy", "caddy"));
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(dir.path().join("config"));
    command.env("HOME", dir.path()).env("XDG_DATA_HOME", dir.path()).env("XDG_CONFIG_HOME", dir.path());
    let process = Process::start("caddy", dir.path(), &mut command, None);
    let mut server = Server { dir, process };
    server.wait_for(listen);
    server
}

/// A line of either log: status, method and target.
fn line(text: &str) -> Option<(u64, String)> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let request = &value["request"];
    let seen = format!("{} {}", request["method"].as_str()?, request["uri"].as_str()?);
    Some((value["status"].as_u64()?, seen))
}

/// What a server logged, by case; what names no case stands under `usize::MAX`. A request that the server answered 400 was
/// none to it: Caddy logs none of these, and neither do we count them for nginx.
fn seen(log: &Path) -> Seen {
    let mut seen = Seen::new();
    let text = String::from_utf8_lossy(&fs::read(log).expect("the server's log")).into_owned();
    for (status, request) in text.lines().filter_map(line) {
        let lower = request.to_ascii_lowercase();
        let digits = lower.split_once("/c").map_or("", |(_before, rest)| rest);
        let digits: String = digits.chars().take_while(char::is_ascii_digit).collect();
        if status != 400 {
            seen.entry(digits.parse().unwrap_or(usize::MAX)).or_default().push(request);
        }
    }
    // Without a case there is no order either: cases run side by side.
    seen.entry(usize::MAX).or_default().sort();
    seen
}

/// Sends the bytes of a case on a connection of its own, ends the sending side and reads to the end.
fn ask(target: SocketAddr, bytes: &[u8]) -> Answers {
    let mut stream = TcpStream::connect(target).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a read limit");
    // Whoever refuses early may close before everything is sent.
    let _refused_early = stream.write_all(bytes);
    let _gone_already = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _reset_or_too_slow = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer);
    let mut answers = Answers::default();
    for head in text.split("HTTP/1.1 ").skip(1).filter(|head| !head.starts_with('1')) {
        if head.contains("x-mainstay-error: ") {
            answers.refused += 1;
        } else {
            answers.server += 1;
            answers.server_400 += usize::from(head.starts_with("400"));
        }
    }
    if answers.server == 0 {
        answers.refused += usize::from(answers.refused == 0);
    }
    answers
}

/// Every case against one address, a few at a time.
fn ask_all(target: SocketAddr, cases: usize) -> Vec<Answers> {
    let next = AtomicUsize::new(0);
    let clients: Vec<Vec<(usize, Answers)>> = std::thread::scope(|scope| {
        let client = || {
            let numbers =
                std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)).filter(|case| *case < cases));
            numbers.map(|case| (case, ask(target, &mutations::request(case)))).collect()
        };
        let clients: Vec<_> = (0..8).map(|_client| scope.spawn(client)).collect();
        clients.into_iter().map(|client| client.join().expect("a client ends")).collect()
    });
    let mut answers = vec![Answers::default(); cases];
    for (case, answer) in clients.into_iter().flatten() {
        answers[case] = answer;
    }
    answers
}

/// Both servers behind listeners of one gateway.
struct Stand {
    _gateway: Mainstay,
    servers: [Server; 2],
    listeners: [SocketAddr; 2],
}

fn stand(protocol: &str) -> Stand {
    let (origins, listeners) = ([free(), free()], [free(), free()]);
    let servers = [nginx(origins[0]), caddy(origins[1])];
    let mut config = String::new();
    for (index, (origin, listen)) in origins.iter().zip(listeners).enumerate() {
        let to =
            if protocol == "tcp" { format!("protocol = \"tcp\"\nservice = \"s{index}\"\n") } else { String::new() };
        config += &format!(
            "[[listener]]\nname = \"l{index}\"\nbind = \"{listen}\"\n{to}\n[[service]]\nname = \"s{index}\"\n\
             endpoints = [\"{origin}\"]\nhealth = \"off\"\noutlier = \"off\"\n\n"
        );
        if protocol == "http" {
            config += &format!(
                "[[route]]\nname = \"r{index}\"\nlistener = \"l{index}\"\nservice = \"s{index}\"\nretry = \"off\"\n\n"
            );
        }
    }
    Stand { _gateway: Mainstay::start(&config), servers, listeners }
}

impl Stand {
    fn log(&self, index: usize) -> PathBuf {
        self.servers[index].dir.path().join("seen")
    }

    /// Waits until neither log grows any more: nginx writes its line when it is done with a request.
    fn wait_for_logs(&self) {
        let sizes = || [0, 1].map(|index| fs::metadata(self.log(index)).map_or(0, |log| log.len()));
        let (mut before, end) = (sizes(), Instant::now() + Duration::from_secs(20));
        loop {
            std::thread::sleep(Duration::from_millis(1_000));
            let after = sizes();
            if after == before || Instant::now() > end {
                return;
            }
            before = after;
        }
    }

    /// The cases that the two servers took for different requests, each with what they saw.
    fn divergences(&self, cases: usize) -> (Vec<String>, usize) {
        let answers = self.listeners.map(|listen| ask_all(listen, cases));
        self.wait_for_logs();
        let seen = [seen(&self.log(0)), seen(&self.log(1))];
        let mut found = Vec::new();
        let mut forwarded = 0;
        for case in (0..cases).chain([usize::MAX]) {
            let [first, second] = [0, 1].map(|index| seen[index].get(&case).map_or(&[][..], Vec::as_slice));
            let answers = [0, 1].map(|index| answers[index].get(case).copied().unwrap_or_default());
            forwarded += first.len().min(1);
            if !is_same([first, second], answers) {
                let bytes = if case == usize::MAX { Vec::new() } else { mutations::request(case) };
                let bytes = String::from_utf8_lossy(&bytes);
                found.push(format!("case {case}: {bytes:?}\n  nginx {first:?} {answers:?}\n  caddy {second:?}"));
            }
        }
        (found, forwarded)
    }
}

/// Whether both servers saw the same, apart from a request that was refused in plain sight: by a server with 400, or by the
/// gateway while the server had part of it already.
fn is_same(seen: [&[String]; 2], answers: [Answers; 2]) -> bool {
    if seen[0] == seen[1] {
        return true;
    }
    let refused = answers[0].server_400 + answers[1].server_400;
    if refused > 0 {
        return seen[0].len() + answers[0].server_400 == seen[1].len() + answers[1].server_400;
    }
    let (fewer, more) = if seen[0].len() < seen[1].len() { (0, 1) } else { (1, 0) };
    let is_one_more = seen[more].len() == seen[fewer].len() + 1 && seen[more].starts_with(seen[fewer]);
    is_one_more && answers[fewer].refused > 0
}

#[test]
fn both_servers_see_the_same_requests() {
    let stand = stand("http");
    let (found, forwarded) = stand.divergences(CASES);
    assert!(found.is_empty(), "{} of {CASES} cases:\n{}", found.len(), found.join("\n"));
    println!("{forwarded} of {CASES} cases reached a server");
    // The gateway must not pass by refusing everything.
    assert!(forwarded > CASES / 5, "only {forwarded} of {CASES} cases reached a server");
    assert!(
        forwarded < CASES * 9 / 10,
        "{forwarded} of {CASES} cases reached a server: there is nothing hostile in them"
    );
}

/// The same without anybody who parses in between: if this finds nothing, then the test above proves nothing.
#[test]
fn without_the_gateway_they_do_not() {
    let stand = stand("tcp");
    let (found, _forwarded) = stand.divergences(CASES / 4);
    println!("{} of {} cases diverge without the gateway", found.len(), CASES / 4);
    assert!(found.len() >= 10, "only {} cases: {}", found.len(), found.join("\n"));
}
