//! Checks by a program and by transactions of several requests.

use std::path::Path;
use std::time::Duration;

use mainstay_e2e::gateway::simple;
use mainstay_e2e::scripted::Scripted;
use mainstay_e2e::wire::get;
use mainstay_e2e::{Mainstay, Origin, eventually, free, tools};

use super::{PATIENCE, becomes, state};

const QUICK: &str = "interval = \"500ms\", timeout = \"400ms\", unhealthy = 2, healthy = 2";

/// A script that does what a file beside it says.
fn program(dir: &Path, script: &str) -> String {
    let path = dir.join("check.sh");
    std::fs::write(&path, script).expect("the script");
    path.display().to_string()
}

/// Replaced whole, so that no check ever reads half of it.
fn write(dir: &Path, name: &str, text: &str) {
    std::fs::write(dir.join("new"), text).expect("a file");
    std::fs::rename(dir.join("new"), dir.join(name)).expect("a file");
}

#[test]
fn a_program_decides() {
    let dir = tempfile::tempdir().expect("a directory");
    let origin = Origin::start();
    let (listen, address) = (free(), origin.address());
    write(dir.path(), "answer", "0");
    let script = program(
        dir.path(),
        "test \"$1:$2\" = \"$MAINSTAY_ADDRESS\" || exit 9\ntest \"$MAINSTAY_SERVICE\" = app || exit 10\n\
         cd \"${0%/*}\"\nread -r code text < answer\necho \"$text\"\nexit \"$code\"\n",
    );
    let health = format!(
        "health = {{ command = [\"sh\", \"{script}\", \"{{host}}\", \"{{port}}\"], degraded_code = 1, {QUICK} }}"
    );
    let mut gateway = Mainstay::start(&simple(listen, &[address], &health));
    becomes(&gateway, address, "up", false, "");
    for (answer, health, degraded, reason) in [
        ("1 replication lag 31s", "up", true, "degraded: exit code 1: replication lag 31s"),
        ("2 no primary", "down", false, "exit code 2: no primary"),
        ("0 all is well", "up", false, ""),
    ] {
        write(dir.path(), "answer", answer);
        becomes(&gateway, address, health, degraded, reason);
    }
    // The control: the endpoint itself never noticed any of it.
    write(dir.path(), "answer", "2 no primary");
    becomes(&gateway, address, "down", false, "exit code 2: no primary");
    gateway.reload(&simple(listen, &[address], ""));
    becomes(&gateway, address, "up", false, "");
    assert_eq!(get(listen, "/ok").text(), "ok");
}

#[test]
fn a_program_that_hangs_is_killed_with_all_that_it_started() {
    let dir = tempfile::tempdir().expect("a directory");
    let origin = Origin::start();
    let (listen, address) = (free(), origin.address());
    let script = program(
        dir.path(),
        "cd \"${0%/*}\"\necho $$ >> started\n(sleep 2; echo alive >> alive) &\necho waiting for a lock\nsleep 60\n",
    );
    let health = format!("health = {{ command = [\"sh\", \"{script}\"], {QUICK} }}");
    let mut gateway = Mainstay::start(&simple(listen, &[address], &health));
    becomes(&gateway, address, "down", false, "killed after 400ms: waiting for a lock");
    gateway.reload(&simple(listen, &[address], "health = \"off\""));
    let started = std::fs::read_to_string(dir.path().join("started")).expect("it was started");
    let alive = || started.lines().filter(|pid| is_running(pid)).count();
    eventually("nobody is left", PATIENCE, || alive() == 0);
    std::thread::sleep(Duration::from_millis(2500));
    assert!(!dir.path().join("alive").exists(), "what it started is gone as well");
}

/// A process that has ended and not been waited for does not run.
fn is_running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.trim().starts_with('Z'))
}

#[test]
fn a_program_runs_as_who_is_named() {
    let origin = Origin::start();
    let (listen, address) = (free(), origin.address());
    let health =
        |user: &str| format!("health = {{ command = [\"sh\", \"-c\", \"echo $(id -u); exit 3\"], {user}{QUICK} }}");
    // Only root may choose.
    let (user, expected) = if tools::is_root() {
        ("user = \"65534:65534\", ".to_owned(), "65534".to_owned())
    } else {
        let own = tools::run("id", "coreutils", &["-u"]).trim().to_owned();
        (format!("user = \"{own}:{own}\", "), own)
    };
    let mut gateway = Mainstay::start(&simple(listen, &[address], &health(&user)));
    becomes(&gateway, address, "down", false, &format!("exit code 3: {expected}"));
    assert!(!gateway.stderr().contains("command checks run as root"));
    gateway.reload(&simple(listen, &[address], &health("user = \"nobody-of-that-name\", ")));
    becomes(&gateway, address, "down", false, "there is no user `nobody-of-that-name` on this machine");
    gateway.reload(&simple(listen, &[address], &health("")));
    eventually("root is never silent", PATIENCE, || {
        gateway.stderr().contains("command checks run as root") == tools::is_root()
    });
}

/// A shop where an order is placed, looked at and taken back by who is logged in.
fn shop(state: &'static str) -> Scripted {
    Scripted::start(move |mut exchange| {
        while let Some((head, body)) = exchange.request() {
            let may = head.get("authorization") == Some("Bearer s3cret/+");
            let sent = String::from_utf8_lossy(&body.bytes).into_owned();
            let answer = match head.line.split(" HTTP").next().unwrap_or_default() {
                "POST /login" if sent == "{\"user\": \"probe\"}" => {
                    let token = "{\"session\": {\"token\": \"s3cret/+\"}}";
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{token}", token.len())
                }
                "POST /orders" if may => {
                    "HTTP/1.1 201 Created\r\nlocation: /orders/17\r\ncontent-length: 0\r\n\r\n".to_owned()
                }
                "GET /orders/17" if may => {
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\nstate={state};", state.len() + 7)
                }
                "DELETE /orders/17?was=open" if may => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
                _other => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(),
            };
            exchange.send(answer);
        }
    })
}

#[test]
fn a_transaction_uses_what_it_was_answered() {
    let steps = r#"
[service.health]
interval = "500ms"
timeout = "400ms"
unhealthy = 2
[[service.health.steps]]
method = "POST"
path = "/login"
headers = { content-type = "application/json" }
body = '{"user": "probe"}'
capture = { token = { json = "session.token" } }
[[service.health.steps]]
method = "POST"
path = "/orders"
headers = { authorization = "Bearer {token}" }
expect = 201
capture = { order = { header = "location" } }
[[service.health.steps]]
path = "{order}"
headers = { authorization = "Bearer {token}" }
capture = { state = { regex = "state=(open|closed)" } }
[[service.health.steps]]
method = "DELETE"
path = "{order}?was={state}"
headers = { authorization = "Bearer {token}" }
"#;
    for (in_state, health, reason) in [
        ("open", "up", ""),
        ("closed", "down", "step 4 (DELETE {order}): status 404, expected 200-299"),
        ("lost", "down", "step 3 (GET {order}): there is nothing to capture as `state`"),
    ] {
        let shop = shop(in_state);
        let (listen, address) = (free(), shop.address());
        let gateway = Mainstay::start(&simple(listen, &[address], steps));
        becomes(&gateway, address, health, false, reason);
        assert!(shop.seen().iter().any(|line| line == "GET /orders/17 HTTP/1.1"), "{:?}", shop.seen());
        assert!(!gateway.stderr().contains("s3cret") && !state(&gateway, address).2.contains("s3cret"));
    }
    // The control: whoever only asks for a connection finds the broken shop well.
    let shop = shop("lost");
    let gateway = Mainstay::start(&simple(free(), &[shop.address()], ""));
    becomes(&gateway, shop.address(), "up", false, "");
}
