//! Synthetic probes: journeys against real servers, what is said of their broken steps, and what several nodes make of them.

use std::fs;
use std::net::SocketAddr;
use std::process::Output;
use std::time::Duration;

use mainstay_e2e::dns::NameServer;
use mainstay_e2e::gateway::simple;
use mainstay_e2e::tls::Authority;
use mainstay_e2e::tools::{self, Server};
use mainstay_e2e::{Mainstay, Origin, eventually, free};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(60);
const SECRET: &str = "open-sesame-4711";

/// A shop whose account is seen after a login only: by a token of the login's page, a cookie and a password. While the file
/// `broken` is beside its configuration, the account is not.
fn shop(listen: SocketAddr) -> Server {
    let blocks = format!(
        "server {{ listen {listen};\n\
         location = /login {{\n\
           set $why \"\";\n\
           if ($request_method = POST) {{ set $why \"post\"; }}\n\
           if ($cookie_visit != v-1) {{ set $why \"${{why}}-cookie\"; }}\n\
           if ($http_x_csrf != \"tok/77 en\") {{ set $why \"${{why}}-token\"; }}\n\
           if ($http_authorization != \"Bearer {SECRET}\") {{ set $why \"${{why}}-password\"; }}\n\
           if ($why = post) {{ add_header Set-Cookie \"session=s-2; Path=/account; HttpOnly\"; return 303 /account; }}\n\
           if ($request_method = POST) {{ return 403; }}\n\
           add_header Set-Cookie \"visit=v-1; Path=/\";\n\
           return 200 '<input name=\"csrf\" value=\"tok/77 en\">'; }}\n\
         root .;\n\
         location = /account {{\n\
           if (-f $document_root/broken) {{ return 500; }}\n\
           if ($cookie_session != s-2) {{ return 403; }}\n\
           default_type application/json;\n\
           return 200 '{{\"user\": {{\"name\": \"probe\"}}, \"orders\": 3}}'; }}\n\
         }}"
    );
    tools::nginx(listen, &blocks, &[])
}

fn login(shop: SocketAddr, keys: &str) -> String {
    format!(
        "[[probe]]\nname = \"login\"\ninterval = \"1s\"\n{keys}\nsecrets = {{ password = {{ file = \"password\" }} }}\n\
         [[probe.step]]\nurl = \"http://{shop}/login\"\n\
         capture = {{ csrf = {{ regex = 'name=\"csrf\" value=\"([^\"]+)\"' }} }}\n\
         [[probe.step]]\nmethod = \"POST\"\nurl = \"/login\"\nexpect = 303\nexpect_headers = {{ location = \"/account$\" }}\n\
         headers = {{ x-csrf = \"{{csrf}}\", authorization = \"Bearer {{password}}\" }}\n\
         [[probe.step]]\nurl = \"/account\"\n\
         json = {{ assert = [{{ path = \"user.name\", equals = \"probe\" }}, {{ path = \"orders\", min = 1 }}] }}\n"
    )
}

fn json(gateway: &Mainstay, arguments: &[&str]) -> Value {
    let output = gateway.command(&[arguments, &["--json"]].concat());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {told}"))
}

fn run(gateway: &Mainstay, name: &str) -> (bool, String) {
    let Output { status, stdout, stderr } = gateway.command(&["probe", "run", name]);
    (status.success(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
}

fn state(gateway: &Mainstay) -> String {
    json(gateway, &["probe"])["items"][0]["state"].as_str().expect("a state").to_owned()
}

fn bad_events(gateway: &Mainstay) -> u64 {
    json(gateway, &["slo"])["items"][0]["bad"].as_u64().expect("a number")
}

#[test]
fn a_journey_is_made_and_its_broken_step_is_told_everywhere() {
    let (listen, origin) = (free(), Origin::start());
    let shop = shop(listen);
    let config = format!(
        "{}{}[[objective]]\nname = \"login-works\"\nprobe = \"login\"\ntarget = \"99%\"\n\
         [alerting]\nrule = [{{ name = \"ProbeFailed\", for = \"0s\" }}]\n",
        simple(free(), &[origin.address()], ""),
        login(listen, "")
    );
    let mut gateway = Mainstay::launch("", &config, &[("password", SECRET)]);
    gateway.wait_until_ready();
    eventually("it passes", SOON, || state(&gateway) == "up");
    let (passed, told) = run(&gateway, "login");
    assert!(passed && told.contains("2. POST /login") && told.contains("login passed"), "{told}");
    eventually("it is counted", SOON, || json(&gateway, &["slo"])["items"][0]["events"].as_u64() > Some(0));
    assert_eq!(bad_events(&gateway), 0);
    assert_eq!(gateway.metric("mainstay_probe_up", &["probe=\"login\""]), 1.0);

    fs::write(shop.dir.path().join("broken"), "").expect("a file");
    eventually("it fails", SOON, || state(&gateway) == "down");
    let probe = &json(&gateway, &["probe"])["items"][0];
    let reason = "step 3 (GET /account): status 500, expected 200-299";
    assert_eq!(probe["failing"][0]["reason"], reason, "{probe}");
    let (passed, told) = run(&gateway, "login");
    assert!(!passed && told.contains("3. GET /account") && told.contains("FAILED: status 500"), "{told}");
    eventually("it is an incident", SOON, || {
        let incidents = json(&gateway, &["incidents"]);
        let found = incidents["items"].as_array().expect("a list").iter();
        found.filter(|it| it["ended_at"].is_null()).any(|it| it["title"] == "probe login: down")
    });
    eventually("it is an alert", SOON, || {
        let alerts = json(&gateway, &["alerts"]);
        let found = alerts["items"].as_array().expect("a list").iter();
        found.filter(|it| it["state"] == "firing").any(|it| it["name"] == "ProbeFailed" && it["severity"] == "P2")
    });
    eventually("it is a bad event", SOON, || bad_events(&gateway) > 0);
    let event = |outcome| gateway.metric("mainstay_probe_events_total", &["probe=\"login\"", outcome]);
    assert!(event("outcome=\"bad\"") > 0.0 && event("outcome=\"good\"") > 0.0);
    let file = gateway.dir().join("mainstay.toml").display().to_string();
    let rules = gateway.command(&["slo", "export", "--prometheus", "-c", &file]);
    let rules = String::from_utf8_lossy(&rules.stdout).into_owned();
    assert!(rules.contains("mainstay_probe_events_total{probe=\"login\",outcome=\"bad\"}"), "{rules}");
    let page = String::from_utf8_lossy(&gateway.command(&["status"]).stdout).into_owned();
    assert!(page.contains("probes: 0 of 1 pass") && page.contains(&format!("login FAILS: {reason}")), "{page}");
    assert_eq!(gateway.metric("mainstay_probe_success", &["probe=\"login\""]), 0.0);

    fs::remove_file(shop.dir.path().join("broken")).expect("the file");
    eventually("it passes again", SOON, || state(&gateway) == "up");

    // A wrong password is told by the step that it breaks, and is not told itself.
    let wrong = "not-the-one-4711";
    fs::write(gateway.dir().join("password"), wrong).expect("a file");
    eventually("the login fails", SOON, || state(&gateway) == "down");
    let (_failed, told) = run(&gateway, "login");
    assert!(told.contains("2. POST /login") && told.contains("FAILED: status 403, expected 303"), "{told}");
    let all = [told, json(&gateway, &["probe"]).to_string(), gateway.stderr()].concat();
    assert!(!all.contains(wrong) && !all.contains(SECRET) && !all.contains("tok/77"), "{all}");
}

/// `probe run` of each; no journey of the schedule is waited for.
#[test]
fn names_connections_and_certificates_are_looked_at() {
    let (listen, authority) = (free(), Authority::new("the tests' authority"));
    let identity = authority.issue_for(&["localhost", "shop.test"], 10);
    let block = format!(
        "server {{ listen {listen} ssl; ssl_certificate shop.pem; ssl_certificate_key shop.key; location / {{ return 200 well; }} }}"
    );
    let _shop = tools::nginx(listen, &block, &[("shop.pem", &identity.cert), ("shop.key", &identity.key)]);
    let (plain, origin, names) =
        (free(), Origin::start(), NameServer::start("shop 60 A 127.0.0.1\nwww 60 CNAME shop\n"));
    let server = names.node().split('"').nth(1).expect("its address").to_owned();
    let tls = format!("tls = \"{listen}\"\nserver_name");
    let dns = format!("server = \"{server}\"\ndns");
    let steps = [
        ("tls-ends", format!("{tls} = \"shop.test\"\n"), Some("the certificate ends in 10.0 days, at least 14 are")),
        ("tls-good", format!("{tls} = \"shop.test\"\nmin_days = 5\n"), None),
        ("tls-name", format!("{tls} = \"other.test\"\n"), Some("the certificate is not for `other.test`")),
        (
            "tcp",
            format!(
                "tcp = \"{}\"\nsend = \"GET / HTTP/1.0\\r\\n\\r\\n\"\nexpect_text = \"^HTTP/1\"\n",
                origin.address()
            ),
            None,
        ),
        ("tcp-away", format!("tcp = \"{plain}\"\n"), Some("connection refused")),
        ("dns", format!("{dns} = \"shop.test\"\nrecords = \"127.0.0.1\"\n"), None),
        ("dns-alias", format!("{dns} = \"www.test\"\ntype = \"CNAME\"\nrecords = \"shop.test\"\n"), None),
        (
            "dns-other",
            format!("{dns} = \"shop.test\"\nrecords = \"10.0.0.1\"\n"),
            Some("`10.0.0.1` is not among the 1 records: 127.0.0.1"),
        ),
        ("dns-none", format!("{dns} = \"gone.test\"\n"), Some("no such name")),
    ];
    let mut config = simple(free(), &[origin.address()], "");
    for (name, step, _expected) in &steps {
        config += &format!("[[probe]]\nname = \"{name}\"\ninterval = \"1h\"\nca = \"ca.pem\"\n[[probe.step]]\n{step}");
    }
    let mut gateway = Mainstay::launch("", &config, &[("ca.pem", &authority.pem())]);
    gateway.wait_until_ready();
    for (name, _step, expected) in &steps {
        let (passed, told) = run(&gateway, name);
        assert_eq!(passed, expected.is_none(), "{name}: {told}");
        assert!(expected.is_none_or(|reason| told.contains(reason)), "{name}: {told}");
    }
    let days = ["probe=\"tls-good\"", "step=\"1\""];
    eventually("its days are shown", SOON, || {
        (gateway.metric("mainstay_probe_certificate_days", &days) - 10.0).abs() < 0.1
    });
}

/// Three nodes that make one journey over paths of their own: each has its own origin at its end.
#[test]
fn three_nodes_agree_on_what_is_broken() {
    let address = free();
    let _etcd = tools::etcd(address);
    let mut paths = Origin::several(3);
    let service = Origin::start();
    let node = |(index, path): (usize, &Origin)| {
        let config = format!(
            "[cluster]\netcd = [\"http://{address}\"]\n{}[[probe]]\nname = \"shop\"\ninterval = \"1s\"\n\
             [[probe.step]]\nurl = \"http://{}/ok\"\n\
             [[objective]]\nname = \"shop\"\nprobe = \"shop\"\ntarget = \"99%\"\n",
            simple(free(), &[service.address()], ""),
            path.address()
        );
        Mainstay::launch(&format!("name = \"n{}\"", index + 1), &config, &[])
    };
    let mut nodes: Vec<Mainstay> = paths.iter().enumerate().map(node).collect();
    nodes.iter_mut().for_each(Mainstay::wait_until_ready);
    let all = |wanted: &str| nodes.iter().all(|node| state(node) == wanted);
    eventually("all find it well", SOON, || {
        all("up") && nodes.iter().all(|node| json(node, &["probe"])["items"][0]["nodes"] == 3)
    });

    paths[0].kill();
    eventually("all know of the one path", SOON, || all("degraded"));
    let failing = json(&nodes[2], &["probe"])["items"][0]["failing"].clone();
    assert_eq!((failing.as_array().map(Vec::len), failing[0]["node"].as_str()), (Some(1), Some("n1")), "{failing}");
    let failed = |node: &Mainstay| json(node, &["probe"])["items"][0]["failed"].as_u64().expect("a number");
    let before = failed(&nodes[0]);
    eventually("it goes on failing there", SOON, || failed(&nodes[0]) > before + 2);
    assert!(all("degraded") && nodes.iter().all(|node| bad_events(node) == 0), "one path is nobody's outage");

    paths[1].kill();
    eventually("two of three are an outage", SOON, || all("down"));
    eventually("also where it passes", SOON, || nodes.iter().all(|node| bad_events(node) > 0));
    assert_eq!(failed(&nodes[2]), 0);
    paths[0].restart();
    paths[1].restart();
    eventually("all find it well again", SOON, || all("up"));
}
