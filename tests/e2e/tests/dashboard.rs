//! The dashboard in a real browser without a screen, and the page without scripts.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mainstay_e2e::cluster::{Nodes, Place, SOON};
use mainstay_e2e::gateway::{built, simple};
use mainstay_e2e::{Mainstay, Origin, Wire, eventually, free, tools};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../dashboard")
}

/// Runs a script of the dashboard's with Node.js to its end; `said` hears each of its lines.
fn script(name: &str, arguments: &[&str], mut said: impl FnMut(&str)) {
    let folder = folder();
    let is_installed = folder.join("node_modules/playwright-core").is_dir();
    assert!(is_installed, "the dashboard's tests need its dependencies: run `make dashboard`");
    assert!(folder.join("dist/index.html.gz").is_file(), "the dashboard is not built: run `make dashboard`");
    let chromium = tools::find("chromium", "chromium");
    let mut command = Command::new(tools::find("node", "nodejs"));
    command.arg(name).args(arguments).env("CHROMIUM", chromium).env("MAINSTAY", built("mainstay"));
    command.current_dir(&folder);
    let mut running = command.stdout(Stdio::piped()).spawn().expect("node runs");
    let lines = BufReader::new(running.stdout.take().expect("its output")).lines();
    let mut failures = Vec::new();
    for line in lines.map_while(Result::ok) {
        println!("{line}");
        said(&line);
        failures.extend(Some(line).filter(|line| line.starts_with("FAIL") || line.starts_with("not ok")));
    }
    let status = running.wait().expect("node ends");
    assert!(status.success(), "{name} {status}: {}", failures.join("\n"));
}

#[test]
fn what_only_computes() {
    script("scripts/unit.mjs", &[], |_line| ());
}

#[test]
fn every_page_of_a_made_up_node() {
    script("tests/pages.mjs", &[], |_line| ());
}

const HEALTH: &str =
    "health = { http = \"/health\", interval = \"250ms\", timeout = \"200ms\", unhealthy = 2, healthy = 1 }";

/// A shop: carts from two zones, and a catalogue from none.
fn shop(listen: SocketAddr, carts: &[SocketAddr], lists: &[SocketAddr]) -> String {
    let mut text = format!("[[listener]]\nname = \"web\"\nbind = \"{listen}\"\n");
    for (name, path) in [("checkout", "/cart"), ("catalogue", "/list")] {
        text += &format!("[[route]]\nname = \"{name}\"\nservice = \"{name}\"\nmatch = {{ path = \"{path}\" }}\n");
    }
    text += &format!("[[service]]\nname = \"checkout\"\n{HEALTH}\n");
    for (at, address) in carts.iter().enumerate() {
        let zone = if at < carts.len() / 2 { "a" } else { "b" };
        text += &format!("[[service.endpoint]]\naddress = \"{address}\"\nzone = \"{zone}\"\n");
    }
    let lists: Vec<String> = lists.iter().map(|address| format!("\"{address}\"")).collect();
    text + &format!("[[service]]\nname = \"catalogue\"\nendpoints = [{}]\n{HEALTH}\n", lists.join(", "))
}

#[test]
fn a_real_node_whose_endpoint_is_killed() {
    let (mut carts, lists) = (Origin::several(4), Origin::several(2));
    let addresses = |origins: &[Origin]| origins.iter().map(Origin::address).collect::<Vec<_>>();
    let listen = free();
    let status = "[[route]]\nname = \"status\"\nservice = \"catalogue\"\nmatch = { path = \"/status\" }\n";
    let objective = |name: &str, about: &str| {
        format!("[[objective]]\nname = \"{name}\"\n{about}\ntarget = \"99%\"\nmin_events = 20\n")
    };
    let objectives = objective("carts", "service = \"checkout\"") + &objective("status", "route = \"status\"");
    let config = shop(listen, &addresses(&carts), &addresses(&lists)) + status + &objectives;
    let gateway = Mainstay::start_with("data_dir = \"data\"", &config);
    let (admin, front) = (format!("http://{}", gateway.admin_address()), format!("http://{listen}"));
    let killed = carts[1].address().to_string();
    let log = gateway.dir().join("mainstay.stderr").display().to_string();
    script("tests/real.mjs", &[&admin, &front, &killed, &log], |line| match line {
        "kill" => carts[1].kill(),
        "restart" => carts[1].restart(),
        _other => (),
    });
}

/// Gives a node's users the password that the scripts know.
fn users(socket: &Path, users: &[&[&str]]) {
    for user in users {
        password(socket, &[&["add"], *user].concat(), "correct horse battery");
    }
}

/// `mainstay access user` with a password on its standard input.
fn password(socket: &Path, arguments: &[&str], password: &str) {
    let mut command = Command::new(built("mainstay"));
    command.args(["access", "user"]).args(arguments).arg("--admin").arg(socket);
    let mut running = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("the command");
    running.stdin.take().expect("piped").write_all(format!("{password}\n").as_bytes()).expect("written");
    assert!(running.wait().expect("its end").success(), "{arguments:?}");
}

#[test]
fn who_logs_in_and_what_they_may_do_at_a_real_node() {
    let (carts, absent) = (Origin::several(2), free());
    let addresses: Vec<SocketAddr> = carts.iter().map(Origin::address).collect();
    let told = "[alerting]\ngroup_wait = \"1s\"\n[[alerting.rule]]\nname = \"ServiceDown\"\nfor = \"0s\"\n";
    let mail = format!("[[service]]\nname = \"mail\"\n{HEALTH}\nendpoints = [\"{absent}\"]\n");
    let config = format!("[access]\n{}{mail}{told}", shop(free(), &addresses, &addresses));
    let gateway = Mainstay::start_with("data_dir = \"data\"", &config);
    let socket = gateway.dir().join("admin.sock");
    let roles: [&[&str]; 4] = [
        &["vic", "--role", "viewer"],
        &["oli", "--role", "operator"],
        &["max", "--role", "operator", "--service", "mail"],
        &["ada", "--role", "admin"],
    ];
    users(&socket, &roles);
    let (admin, path) = (format!("http://{}", gateway.admin_address()), socket.display().to_string());
    let (up, down) = (addresses[0].to_string(), absent.to_string());
    script("tests/access.mjs", &[&admin, &path, &up, &down], |line| {
        if line == "other password" {
            password(&socket, &["password", "oli"], "another long password");
        }
    });
}

/// A node of three that hold an address by listening on it. The last one asks who asks: the others are for the test.
fn member(place: &Place, shared: SocketAddr) -> String {
    let access = if place.index == 2 { "[access]\n" } else { "" };
    format!(
        "[cluster]\nlisten = \"{}\"\n[[address]]\nip = \"{}/32\"\nmode = \"bind\"\n{access}{}",
        place.peer,
        shared.ip(),
        served(shared, "/")
    )
}

/// What a node serves on the floating address.
fn served(shared: SocketAddr, path: &str) -> String {
    format!(
        "[[listener]]\nname = \"web\"\nbind = \"{shared}\"\n[[route]]\nname = \"all\"\nservice = \"app\"\n\
         match = {{ path = \"{path}\" }}\n[[service]]\nname = \"app\"\nendpoints = [\"127.0.0.1:1\"]\n"
    )
}

#[test]
fn a_cluster_of_three_is_steered() {
    let shared = free();
    let mut nodes = Nodes::empty(move |place| member(place, shared));
    nodes.found();
    nodes.add(&[]);
    nodes.wait_until_whole();
    let asked = nodes.add(&[]);
    eventually("three vote", SOON, || nodes.voters(0).len() == 3);
    let node = &nodes.nodes[asked];
    let (socket, place) = (node.dir().join("admin.sock"), node.place.clone());
    let admin = format!("http://{}", node.admin_address());
    users(&socket, &[&["ada", "--role", "admin"], &["oli", "--role", "operator"]]);
    let texts = ["/", "/other"].map(|path| {
        let file = node.dir().join(format!("released{}.toml", path.replace('/', "-")));
        fs::write(&file, served(shared, path)).expect("a configuration");
        file.display().to_string()
    });
    let (path, address) = (socket.display().to_string(), shared.ip().to_string());
    let victim = nodes.nodes[1].place.name.clone();
    let arguments = [admin.as_str(), &path, &address, &place.name, &victim, &texts[0], &texts[1]];
    script("tests/cluster.mjs", &arguments, |line| {
        if line == "kill" {
            nodes.nodes[1].kill();
        }
    });
}

#[test]
fn a_node_has_its_pages_and_says_what_browsers_may_do_with_them() {
    let origin = Origin::start();
    let gateway = Mainstay::start(&simple(free(), &[origin.address()], ""));
    let ask = |path: &str, more: &str| {
        Wire::connect(gateway.admin_address()).exchange(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n"))
    };
    let page = ask("/status", "");
    assert_eq!(page.status, 200);
    assert!(page.text().contains("serving: 1 of 1 services healthy"), "{}", page.text());
    assert!(page.text().contains(&origin.address().to_string()) && !page.text().contains("<script"));
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(ask("/status.css", "").status, 200);

    let list = ask("/", "Accept: */*\r\n");
    assert!(list.text().contains("/api/v1/status"), "{}", list.text());
    let start = ask("/", "Accept: text/html,*/*;q=0.8\r\n");
    assert_eq!(start.header("location"), Some("/dashboard/"));

    let first = ask("/dashboard/", "Accept-Encoding: gzip\r\n");
    assert_eq!((first.status, first.header("content-encoding")), (200, Some("gzip")));
    assert_eq!(first.header("cache-control"), Some("no-cache"));
    let plain = ask("/dashboard/", "").text();
    let asset = plain.split('"').find_map(|part| part.strip_prefix("/dashboard/assets/")).expect("an asset");
    let asset = ask(&format!("/dashboard/assets/{asset}"), "");
    assert!(asset.header("cache-control").is_some_and(|value| value.contains("immutable")));
    for missing in ["/dashboard/assets/none.js", "/dashboard/../Cargo.toml", "/dashboard/%2e%2e/%2e%2e/Cargo.toml"] {
        let answer = ask(missing, "");
        assert_eq!((answer.status, answer.header("cache-control")), (404, Some("no-store")), "{missing}");
    }

    // A link in a chat leads to the dashboard; what it shows is asked for by the page itself, from its own origin.
    let link = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n";
    assert_eq!(ask("/dashboard/", link).status, 200);
    for path in ["/api/v1/status", "/status", "/dashboard/assets/none.js"] {
        assert_eq!(ask(path, link).status, 403, "{path}");
    }
    assert_eq!(ask("/dashboard/", &link.replace("document", "iframe")).status, 403);
}
