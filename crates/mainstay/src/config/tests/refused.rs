//! What is said of configurations that are refused: the exact words, since people act on them.

use super::super::report::{render_json, render_text};
use super::{SMALL, good, read, shown};

/// Added after [`SMALL`], which ends inside the service and is six lines long.
const AFTER_SMALL: &[(&str, &[&str])] = &[
    (
        "balance = \"round_robin\"",
        &["m.toml:7:11: service[0].balance: `round_robin` is not known here; did you mean \"round-robin\"?"],
    ),
    (
        "conect_timeout = \"1s\"",
        &["m.toml:7:1: service[0].conect_timeout: unknown key; did you mean `connect_timeout`?"],
    ),
    ("interval = \"1s\"", &["m.toml:7:1: service[0].interval: unknown key; `interval` belongs to `service.health`"]),
    (
        "idle_timeout = 30",
        &[
            "m.toml:7:16: service[0].idle_timeout: a duration needs a unit; write \"30s\" for seconds or \"30ms\" for milliseconds",
        ],
    ),
    ("max_age = \"8d\"", &["m.toml:7:11: service[0].max_age: 8d is out of bounds; it must be between 1ms and 7d"]),
    ("max_idle = -1", &["m.toml:7:12: service[0].max_idle: -1 is out of bounds; it must be between 0 and 65536"]),
    ("send_proxy = \"v3\"", &["m.toml:7:14: service[0].send_proxy: `v3` is not known here; did you mean \"v1\"?"]),
    (
        "send_proxy = \"v2\"\nmax_idle = 8",
        &[
            "m.toml:8:12: service[0].max_idle: this has no effect with `send_proxy`: a connection belongs to one client and is not kept; leave it out",
        ],
    ),
    ("proxy_protocol = \"v2\"", &["m.toml:7:1: service[0].proxy_protocol: unknown key; did you mean `send_proxy`?"]),
    ("hash = \"source\"", &["m.toml:7:8: service[0].hash: `hash` has no effect without balance = \"hash\""]),
    (
        "health = { tcp = true, http = \"/\" }",
        &[
            "m.toml:7:31: service[0].health.http: one of `tcp`, `http`, `https`, `grpc`, `command` and `steps`, not several",
        ],
    ),
    (
        "health = { http = \"health\" }",
        &["m.toml:7:19: service[0].health.http: a path begins with a slash; write \"/health\""],
    ),
    (
        "health = { preset = \"aggressive\", timeout = \"6s\" }",
        &[
            "m.toml:7:45: service[0].health.timeout: `timeout` (6s) must not be longer than `interval` (5s); set `interval` too",
        ],
    ),
    (
        "health = { expect = 200 }",
        &["m.toml:7:21: service[0].health.expect: this has no effect on a TCP check; name a path: http = \"/health\""],
    ),
    (
        "outlier = { max_ejected = \"0%\" }",
        &["m.toml:7:27: service[0].outlier.max_ejected: nothing could ever be ejected; write outlier = \"off\""],
    ),
    (
        "outlier = { base = \"1h\" }",
        &["m.toml:7:20: service[0].outlier.base: `base` (1h) must not be longer than `cap` (5m)"],
    ),
    (
        "retry_budget = { ratio = 0.2 }",
        &["m.toml:7:26: service[0].retry_budget.ratio: a percentage needs a % sign; write a number and a %: \"20%\""],
    ),
    ("tls = { cert = \"a\" }", &["m.toml:7:7: service[0].tls: `key` is missing; `cert` and `key` go together"]),
    (
        "[[service.endpoint]]\naddress = \"/run/app.sock\"",
        &[
            "m.toml:8:11: service[0].endpoint[0].address: a path alone is no endpoint; for a Unix socket write \"unix:/run/app.sock\"",
        ],
    ),
    (
        "[[service.endpoint]]\naddress = \"unix:app.sock\"",
        &[
            "m.toml:8:11: service[0].endpoint[0].address: a Unix socket is named by the whole path of its file; write \"unix:/run/app.sock\"",
        ],
    ),
    (
        "[[service.endpoint]]\naddress = \"unix:@app\"",
        &[
            "m.toml:8:11: service[0].endpoint[0].address: a Unix socket without a file (abstract, `@`) cannot be an endpoint; write \"unix:/run/app.sock\"",
        ],
    ),
    (
        "health = { http = \"/\", port = 81 }\n[[service.endpoint]]\naddress = \"unix:/run/app.sock\"",
        &[
            "m.toml:7:10: service[0].health: `port` has no meaning for the endpoint `unix:/run/app.sock`; leave `port` out: checks go through the socket",
        ],
    ),
    (
        "[[service.endpoint]]\naddress = \"127.0.0.1:3001\"",
        &[
            "m.toml:8:11: service[0].endpoint[0].address: endpoint `127.0.0.1:3001` is there twice; give one of them a larger `weight`",
        ],
    ),
    (
        "srv = \"10.0.0.1:80\"",
        &["m.toml:7:7: service[0].srv: an address has no SRV records; list addresses in `endpoints`"],
    ),
    (
        "srv = \"_http._tcp.shop.test:80\"",
        &["m.toml:7:7: service[0].srv: SRV records bring their own ports; write \"_http._tcp.shop.test\""],
    ),
    (
        "[[service.endpoint]]\naddress = \"127.0.0.1:3009\"\nresolve = \"all\"",
        &[
            "m.toml:8:11: service[0].endpoint[0].address: `127.0.0.1:3009` is no name that could have several addresses; leave `resolve` out",
        ],
    ),
    (
        "[node]\nresolver = { servers = [\"ns1.test\"] }",
        &[
            "m.toml:8:25: node.resolver.servers[0]: `ns1.test` is not the address of a name server; write an IP address, with a port if it is not 53: \"10.0.0.53\" or \"10.0.0.53:5353\"",
        ],
    ),
    (
        "[node]\nresolver = { servers = [] }",
        &[
            "m.toml:8:24: node.resolver.servers: 1 to 8 name servers can be named here; leave `servers` out to ask those of /etc/resolv.conf",
        ],
    ),
    (
        "[node]\nresolver = { min_ttl = \"10m\" }",
        &["m.toml:8:24: node.resolver.min_ttl: `min_ttl` (10m) must not be longer than `max_ttl` (5m)"],
    ),
    (
        "[node]\nadmin = \"0.0.0.0:7900\"",
        &[
            "m.toml:8:9: node.admin: off loopback the admin interface needs [access] and `admin_tls`; write [access], and admin_tls = { cert = \"admin.pem\", key = \"admin.key\" } under [node]; or listen on 127.0.0.1",
        ],
    ),
    (
        "[node]\nshutdown = { lead = \"30s\" }",
        &[
            "m.toml:8:21: node.shutdown.lead: `lead` (30s) must be shorter than `deadline` (30s), which counts from the signal too",
        ],
    ),
    (
        "[[listener]]\nname = \"b\"\nbind = \"127.0.0.1:8080\"",
        &[
            "m.toml:9:8: listener[1].bind: listener `web` listens on 127.0.0.1:8080 already; choose another port, or one listener with several routes",
        ],
    ),
    (
        "[[listener]]\nname = \"b\"\nbind = \"127.0.0.1:1\"\nprotocol = \"tcp\"\nservice = \"ap\"\nmax_head = \"1KiB\"",
        &[
            "m.toml:11:11: listener[1].service: there is no service `ap`; did you mean `app`?",
            "m.toml:12:12: listener[1].max_head: this has no meaning on a listener with protocol = \"tcp\"",
        ],
    ),
    (
        "[[listener]]\nname = \"b\"\nbind = \"127.0.0.1:1\"\nredirect_https = true\n[[route]]\nname = \"r\"\nlistener = [\"web\", \"b\"]\nservice = \"app\"",
        &["m.toml:13:20: route[0].listener[1]: listener `b` takes no routes: it redirects every request to https"],
    ),
    (
        "[[route]]\nname = \"r\"\nservice = \"app\"\ntimeout = \"1s\"\nattempt_timeout = \"1s\"",
        &[
            "m.toml:11:19: route[0].attempt_timeout: `attempt_timeout` (1s) must be shorter than `timeout` (1s), which bounds all attempts together",
        ],
    ),
    (
        "[[route]]\nname = \"r\"\nservice = \"app\"\nhost = \"a\"\nretries = 3",
        &[
            "m.toml:10:1: route[0].host: unknown key; `host` belongs to `route.match`",
            "m.toml:11:1: route[0].retries: unknown key; did you mean `retry`?",
        ],
    ),
    (
        "[[route]]\nname = \"a\"\nservice = \"app\"\n[[route]]\nname = \"b\"\nservice = \"app\"\nmatch = { path = \"/\" }",
        &[
            "m.toml:13:9: route[1].match: route `b` can never be taken: route `a` (line 7) takes all its requests on listener `web`; remove one of them, or let them differ",
        ],
    ),
    (
        "[[route]]\nname = \"r\"\nservice = \"app\"\nmatch = { path_exact = \"/a\" }\nrewrite_prefix = \"/b\"",
        &[
            "m.toml:11:18: route[0].rewrite_prefix: `rewrite_prefix` replaces a matched prefix, but this route matches by `path_exact`; match by `path`",
        ],
    ),
    (
        "[[service]]\nname = \"app\"\nendpoints = []",
        &[
            "m.toml:7:1: service[1]: a service needs at least one endpoint; write endpoints = [\"10.0.1.10:8080\", \"10.0.1.11:8080\"], or srv = \"_http._tcp.app.internal\"",
            "m.toml:8:8: service[1].name: there is another service `app`; the first one is on line 5",
        ],
    ),
];

#[test]
fn messages() {
    for (added, expected) in AFTER_SMALL {
        let text = format!("{SMALL}{added}\n");
        let errors: Vec<String> = shown(&text).into_iter().filter(|line| !line.contains(": warning: ")).collect();
        assert_eq!(&errors, expected, "{text}");
    }
}

#[test]
fn messages_about_proxy_protocol() {
    let hint = "write proxy_protocol = { trusted = [\"10.0.0.0/8\"] } with the addresses of the load balancers";
    let table = [
        ("proxy_protocol = true", format!(":18: listener[0].proxy_protocol: whose PROXY headers are to be believed must be said; {hint}")),
        ("proxy_protocol = {}", format!(":18: listener[0].proxy_protocol: `trusted` is missing; {hint}")),
        ("proxy_protocol = { trusted = [] }", format!(":30: listener[0].proxy_protocol.trusted: nobody could connect: every peer would be refused; {hint}")),
        ("proxy_protocol = { trusted = \"lb\" }", ":30: listener[0].proxy_protocol.trusted: `lb` is not a network; write \"10.0.0.0/8\" or \"10.0.0.7\"".to_owned()),
        ("proxy_protocol = { trusted = \"10.0.0.7\", timeout = 5 }", ":52: listener[0].proxy_protocol.timeout: a duration needs a unit; write \"5s\" for seconds or \"5ms\" for milliseconds".to_owned()),
        ("proxy_protocol = { trusted_proxies = \"10.0.0.7\", trusted = \"::1\" }", ":20: listener[0].proxy_protocol.trusted_proxies: unknown key; did you mean `trusted`?".to_owned()),
        ("accept_proxy = true", ":1: listener[0].accept_proxy: unknown key; did you mean `proxy_protocol`?".to_owned()),
        ("proxy_protocol = { trusted = \"0.0.0.0/0\" }", ":30: warning: listener[0].proxy_protocol.trusted: every client is believed about its own address".to_owned()),
    ];
    for (added, expected) in table {
        let text = SMALL.replace("bind = \"127.0.0.1:8080\"\n", &format!("bind = \"127.0.0.1:8080\"\n{added}\n"));
        let said = match read(&text) {
            Ok(config) => config.warnings,
            Err(problems) => problems,
        };
        let said: Vec<String> = said.iter().map(ToString::to_string).collect();
        assert_eq!(said, [format!("m.toml:4{expected}")], "{text}");
    }
}

#[test]
fn mirrors() {
    for (mirror, expected) in [
        (
            "service = \"app\"",
            "22: route[0].mirror.service: the route leads to service `app` already: its requests would be doubled; mirror to another service",
        ),
        ("service = \"ap\"", "22: route[0].mirror.service: there is no service `ap`; did you mean `app`?"),
        ("share = \"10%\"", "10: route[0].mirror: `service` is missing; name the [[service]] that gets the copies"),
        (
            "service = \"b\", share = 0.1",
            "35: route[0].mirror.share: a percentage needs a % sign; write a number and a %: \"20%\"",
        ),
        (
            "service = \"b\", share = \"101%\"",
            "35: route[0].mirror.share: 101% is out of bounds; it must be between 0% and 100%",
        ),
        (
            "service = \"b\", max_in_flight = 0",
            "43: route[0].mirror.max_in_flight: 0 is out of bounds; it must be between 1 and 10000",
        ),
    ] {
        let route = format!("[[route]]\nname = \"r\"\nservice = \"app\"\nmirror = {{ {mirror} }}\n");
        let second = "[[service]]\nname = \"b\"\nendpoints = [\"127.0.0.1:1\"]\n";
        let said: Vec<String> = shown(&format!("{SMALL}{second}{route}"));
        assert_eq!(
            said.iter().filter(|it| !it.contains("warning")).collect::<Vec<_>>(),
            [&format!("m.toml:13:{expected}")]
        );
    }
}

#[test]
fn warnings() {
    for (added, expected) in [
        (
            "tls = { verify = false }",
            "m.toml:7:18: warning: service[0].tls.verify: certificates of endpoints are not verified: anyone in between can read and change traffic; name the endpoints' authority with `ca` instead",
        ),
        (
            "[[service]]\nname = \"b\"\nendpoints = [\"h:1\"]\n[[route]]\nname = \"r\"\nservice = \"app\"",
            "m.toml:7:1: warning: service[1]: no route and no TCP listener uses service `b`",
        ),
        (
            "health = { http = \"/\" }\ntls = true",
            "m.toml:7:19: warning: service[0].health.http: this check speaks plain HTTP, but the service's endpoints speak TLS; write https in place of http",
        ),
    ] {
        let config = good(&format!("{SMALL}{added}\n"));
        let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings, [expected]);
    }
}

#[test]
fn addresses_under_the_key_of_the_tables_are_told_once() {
    for written in ["[\"10.0.1.10:80\", \"10.0.1.11:80\"]", "\"10.0.1.10:80\""] {
        let text = format!(
            "[[listener]]\nname = \"web\"\nbind = \"0.0.0.0:80\"\n[[service]]\nname = \"y\"\nendpoint = {written}\n"
        );
        assert_eq!(
            shown(&text),
            [
                "m.toml:6:12: service[0].endpoint: addresses alone are written under the key `endpoints`; write endpoints = [\"10.0.1.10:8080\"]; [[service.endpoint]] is for those with settings of their own"
            ]
        );
    }
}

#[test]
fn all_errors_come_at_once() {
    let text = "[[listener]]\nname = \"web\"\nbind = \":80\"\n[[route]]\nservice = \"x\"\n[[service]]\nname = \"y\"\nendpoints = [\"a\", \"b\"]\n[surplus]\n";
    let expected = [
        "m.toml:3:8: listener[0].bind: an address is required in front of the port; write \"0.0.0.0:80\" for every IPv4 address, \"[::]:80\" for IPv6, \"127.0.0.1:80\" for this machine only",
        "m.toml:4:1: route[0]: `name` is missing",
        "m.toml:5:11: route[0].service: there is no service `x`; did you mean `y`?",
        "m.toml:8:14: service[0].endpoints[0]: `a` has no port; write host:port, such as \"10.0.1.10:8080\"",
        "m.toml:8:19: service[0].endpoints[1]: `b` has no port; write host:port, such as \"10.0.1.10:8080\"",
        "m.toml:9:2: surplus: unknown key; known here: SECTIONS",
    ];
    let sections = super::super::keys::ROOT.names.join(", ");
    let expected: Vec<String> = expected
        .iter()
        .map(|line| line.replace("; did you mean `y`?", "; there are: `y`").replace("SECTIONS", &sections))
        .collect();
    assert_eq!(shown(text), expected);
    assert_eq!(
        shown(""),
        [
            "m.toml: there is no [[listener]]: nothing would be served; write [[listener]] with a `name` and a `bind` below it"
        ]
    );
}

#[test]
fn text_for_people() {
    let result = read(&SMALL.replace("bind", "bnd"));
    let expected = "\
error: listener[0]: `bind` is missing
 --> m.toml:1:1
1 | [[listener]]
  | ^^^^^^^^^^^^
  = hint: write bind = \"0.0.0.0:8080\"

error: listener[0].bnd: unknown key
 --> m.toml:3:1
3 | bnd = \"127.0.0.1:8080\"
  | ^^^
  = hint: did you mean `bind`?

2 errors
";
    assert_eq!(render_text("m.toml".as_ref(), &result), expected);
    let summary = "ok: m.toml: 1 listener, 1 route, 1 service with 1 endpoint\n";
    assert_eq!(render_text("m.toml".as_ref(), &read(SMALL)), summary);
}

#[test]
fn json_for_programs() {
    let report = |text: &str| -> serde_json::Value {
        serde_json::from_str(&render_json("m.toml".as_ref(), &read(text))).expect("JSON")
    };
    let refused = report(&SMALL.replace("bind", "bnd"));
    assert_eq!((&refused["ok"], &refused["problems"][1]["line"]), (&false.into(), &3.into()));
    assert_eq!(refused["problems"][1]["path"], "listener[0].bnd");
    let accepted = report(SMALL);
    assert_eq!((&accepted["ok"], &accepted["endpoints"]), (&true.into(), &1.into()));
}

#[test]
fn secrets_are_never_shown() {
    let route = "[[route]]\nname = \"r\"\nservice = \"app\"\n";
    for added in [
        "request_headers = { set = { authorization = \"Bearer s3cret\" }, remov = [] }",
        "request_headers = { set = { authorization = \"s3cret\\n\" } }",
        "request_headers = { set = { authorization = \" s3cret\", host = \"s3cret\" } }",
        "match = { pat = \"/\", headers = { x-key = \"s3cret\" } }",
        "request_headers = { set = { authorization = \"s3cret } }",
        "[route.request_headers.set]\nx-a = \"s3cret",
        "[route.request_headers.set]\nx-a = s3cret\nx-b = [\"s3cret\"]",
        "[node]\nadmin_token = \"s3cret\"\npassword = [\"s3cret\", 5",
    ] {
        let result = read(&format!("{SMALL}{route}{added}\n"));
        assert!(result.is_err(), "{added}");
        let text = render_text("m.toml".as_ref(), &result) + &render_json("m.toml".as_ref(), &result);
        assert!(!text.contains("s3cret"), "{added}\n{text}");
    }
}
