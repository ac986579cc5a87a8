//! The dashboard in a real browser without a screen, and the page without scripts.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use mainstay_e2e::gateway::simple;
use mainstay_e2e::{Mainstay, Origin, Wire, free, tools};

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
    command.arg(name).args(arguments).env("CHROMIUM", chromium).current_dir(&folder);
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

/// A shop: carts from two zones, and a catalogue from none.
fn shop(listen: SocketAddr, carts: &[SocketAddr], lists: &[SocketAddr]) -> String {
    let health = "health = { http = \"/health\", interval = \"250ms\", timeout = \"200ms\", unhealthy = 2 }";
    let mut text = format!("[[listener]]\nname = \"web\"\nbind = \"{listen}\"\n");
    for (name, path) in [("checkout", "/cart"), ("catalogue", "/list")] {
        text += &format!("[[route]]\nname = \"{name}\"\nservice = \"{name}\"\nmatch = {{ path = \"{path}\" }}\n");
    }
    text += &format!("[[service]]\nname = \"checkout\"\n{health}\n");
    for (at, address) in carts.iter().enumerate() {
        let zone = if at < carts.len() / 2 { "a" } else { "b" };
        text += &format!("[[service.endpoint]]\naddress = \"{address}\"\nzone = \"{zone}\"\n");
    }
    let lists: Vec<String> = lists.iter().map(|address| format!("\"{address}\"")).collect();
    text + &format!("[[service]]\nname = \"catalogue\"\nendpoints = [{}]\n{health}\n", lists.join(", "))
}

#[test]
fn a_real_node_whose_endpoint_is_killed() {
    let (mut carts, lists) = (Origin::several(4), Origin::several(2));
    let addresses = |origins: &[Origin]| origins.iter().map(Origin::address).collect::<Vec<_>>();
    let listen = free();
    let gateway = Mainstay::start(&shop(listen, &addresses(&carts), &addresses(&lists)));
    let (admin, front) = (format!("http://{}", gateway.admin_address()), format!("http://{listen}"));
    let killed = carts[1].address().to_string();
    script("tests/real.mjs", &[&admin, &front, &killed], |line| {
        if line == "kill" {
            carts[1].kill();
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
