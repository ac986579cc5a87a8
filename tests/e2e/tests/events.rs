//! What requests leave behind: which leave a line, the trace that they carry, and that no secret is in either.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mainstay_e2e::gateway::simple;
use mainstay_e2e::http2::{Http2, request};
use mainstay_e2e::scripted::Scripted;
use mainstay_e2e::wire::{Wire, get};
use mainstay_e2e::{Mainstay, eventually, free};
use serde_json::Value;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// Two servers that answer by the path: `/fail` with 500, `/flaky` first with a reset. They note each head.
struct Backends([Scripted; 2]);

impl Backends {
    fn start() -> Self {
        let flaky = Arc::new(AtomicBool::new(true));
        Self([(); 2].map(|()| {
            let flaky = Arc::clone(&flaky);
            Scripted::start(move |mut exchange| {
                while let Some((head, _body)) = exchange.request() {
                    let headers = head.headers.iter().map(|(name, value)| format!("\n{name}: {value}"));
                    exchange.note(head.line.clone() + &headers.collect::<String>());
                    if head.line.contains("/flaky") && flaky.swap(false, Ordering::Relaxed) {
                        return exchange.reset();
                    }
                    let status = if head.line.contains("/fail") { "500 No" } else { "200 OK" };
                    let cookie = "Set-Cookie: s=planted-set";
                    exchange.send(format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n{cookie}\r\n\r\nok"));
                }
            })
        }))
    }

    /// A configuration with both behind one listener.
    fn config(&self, listen: SocketAddr) -> String {
        simple(listen, &self.0.each_ref().map(Scripted::address), "health = \"off\"\noutlier = \"off\"\n")
    }

    /// The values of a header in the requests for this path.
    fn sent(&self, path: &str, name: &str) -> Vec<String> {
        let heads = self.0.iter().flat_map(Scripted::seen).filter(|head| head.contains(&format!(" {path} ")));
        let heads: Vec<String> = heads.filter(|head| head.contains('\n')).collect();
        let fields = heads.iter().flat_map(|head| head.lines().filter_map(|line| line.split_once(": ")));
        fields.filter(|(known, _value)| *known == name).map(|(_name, value)| value.to_owned()).collect()
    }
}

fn ask(listen: SocketAddr, path: &str, headers: &str) -> u16 {
    Wire::connect(listen).exchange(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{headers}\r\n")).status
}

#[test]
fn what_is_of_interest_leaves_a_line_and_of_the_rest_one_in_so_many() {
    let (backends, listen) = (Backends::start(), free());
    let config = backends.config(listen) + "[events]\nsample = \"1%\"\nslow = \"20s\"\n";
    let gateway = Mainstay::start(&config);
    let mut wire = Wire::connect(listen);
    for number in 0..2000 {
        assert_eq!(wire.exchange(format!("GET /dull/{number} HTTP/1.1\r\nHost: a\r\n\r\n")).status, 200);
    }
    assert_eq!((get(listen, "/fail").status, get(listen, "/flaky").status), (500, 200));
    let (failed, retried) = (gateway.logged("/fail"), gateway.logged("/flaky"));
    assert_eq!((&failed["sample_rate"], &retried["sample_rate"]), (&1.into(), &1.into()));
    assert_eq!(retried["attempts"].as_array().map(Vec::len), Some(2), "{retried}");
    let dull: Vec<_> =
        gateway.access_log().into_iter().filter(|line| line["status"] == 200 && line["path"] != "/flaky").collect();
    assert!((2..=60).contains(&dull.len()), "{} of 2000", dull.len());
    assert!(dull.iter().all(|line| line["sample_rate"] == 100), "{dull:?}");
}

#[test]
fn a_second_has_so_many_lines_and_the_rest_is_counted() {
    let (backends, listen) = (Backends::start(), free());
    let config = backends.config(listen) + "[events]\nmax_per_second = 10\n";
    let gateway = Mainstay::start(&config);
    let mut wire = Wire::connect(listen);
    for _request in 0..500 {
        wire.exchange("GET /many HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    let limited = || gateway.metric("mainstay_access_log_limited_total", &[]);
    eventually("each request has left a line or was counted", Duration::from_secs(10), || {
        let lines = gateway.access_log().iter().filter(|line| line["path"] == "/many").count();
        limited() > 100.0 && lines as f64 + limited() == 500.0
    });
}

#[test]
fn files_are_put_aside_by_their_size() {
    let (backends, listen) = (Backends::start(), free());
    let rotate = "[events]\nrotate = { size = \"1MiB\", keep = 2 }\n";
    let gateway = Mainstay::start(&(backends.config(listen) + rotate));
    let mut wire = Wire::connect(listen);
    let path = format!("/{}", "p".repeat(6000));
    for _request in 0..600 {
        wire.exchange(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
    }
    let size = |name: &str| std::fs::metadata(gateway.dir().join(name)).map_or(0, |file| file.len());
    eventually("two files were put aside", Duration::from_secs(10), || size("access.json.2") > 0);
    eventually("all lines are there", Duration::from_secs(10), || {
        let names = ["access.json", "access.json.1", "access.json.2"];
        let text = names.map(|name| std::fs::read_to_string(gateway.dir().join(name)).unwrap_or_default()).concat();
        text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()) && size("access.json.3") == 0
    });
    assert!(size("access.json.1") <= 1 << 20, "{}", size("access.json.1"));
}

#[test]
fn a_trace_that_comes_is_continued_and_one_begins_where_none_comes() {
    let (backends, listen) = (Backends::start(), free());
    let gateway = Mainstay::start(&(backends.config(listen) + "[tracing]\n"));
    assert_eq!(
        ask(
            listen,
            "/w3c",
            &format!("traceparent: 00-{TRACE}-{PARENT}-01\r\ntracestate: a=1\r\nTraceState: b=2,a=3\r\n")
        ),
        200
    );
    let line = gateway.logged("/w3c");
    assert_eq!((&line["trace_id"], &line["parent_id"]), (&TRACE.into(), &PARENT.into()), "{line}");
    let attempt = line["attempts"][0]["span_id"].as_str().expect("the attempt's span");
    assert!(line["span_id"] != PARENT && line["span_id"] != attempt, "{line}");
    assert_eq!(backends.sent("/w3c", "traceparent"), [format!("00-{TRACE}-{attempt}-01")]);
    assert_eq!(backends.sent("/w3c", "tracestate"), ["a=1,b=2"]);
    // Two of them, or one that breaks the rules, are as good as none; then `tracestate` says nothing either.
    for (path, headers) in [
        ("/none", String::new()),
        ("/upper", format!("traceparent: 00-{}-{PARENT}-01\r\ntracestate: a=1\r\n", TRACE.to_uppercase())),
        ("/ff", format!("traceparent: ff-{TRACE}-{PARENT}-01\r\ntracestate: a=1\r\n")),
        ("/zero", format!("traceparent: 00-{}-{PARENT}-01\r\n", "0".repeat(32))),
        ("/two", format!("traceparent: 00-{TRACE}-{PARENT}-01\r\nTraceparent: 00-{TRACE}-{PARENT}-01\r\n")),
    ] {
        assert_eq!(ask(listen, path, &headers), 200);
        let line = gateway.logged(path);
        let (trace, span) = (line["trace_id"].as_str().unwrap_or_default(), &line["attempts"][0]["span_id"]);
        assert!(trace.len() == 32 && trace != TRACE && line["parent_id"].is_null(), "{path}: {line}");
        let told = backends.sent(path, "traceparent");
        assert_eq!(told, [format!("00-{trace}-{}-03", span.as_str().unwrap_or_default())], "{path}");
        assert_eq!(backends.sent(path, "tracestate"), [""; 0], "{path}");
    }
    // B3 is answered in both ways; another attempt is another span.
    assert_eq!(ask(listen, "/flaky", &format!("b3: {TRACE}-{PARENT}-0\r\n")), 200);
    let line = gateway.logged("/flaky");
    let spans = [0, 1].map(|at| line["attempts"][at]["span_id"].as_str().unwrap_or_default().to_owned());
    assert!(line["trace_id"] == TRACE && spans[0] != spans[1], "{line}");
    let mut told = backends.sent("/flaky", "traceparent");
    let mut expected = spans.each_ref().map(|span| format!("00-{TRACE}-{span}-00"));
    told.sort();
    expected.sort();
    assert_eq!(told, expected);
    let own = line["span_id"].as_str().unwrap_or_default();
    assert!(backends.sent("/flaky", "b3").contains(&format!("{TRACE}-{}-0-{own}", spans[1])));
    assert_eq!(
        ask(listen, "/multi", &format!("X-B3-TraceId: {TRACE}\r\nX-B3-SpanId: {PARENT}\r\nX-B3-Sampled: 1\r\n")),
        200
    );
    assert_eq!(gateway.logged("/multi")["parent_id"], PARENT);
    assert_eq!(backends.sent("/multi", "x-b3-traceid"), [TRACE]);
    // All three are found by the id of their trace.
    let told: Value =
        serde_json::from_slice(&gateway.command(&["explain", TRACE, "--json"]).stdout).unwrap_or_default();
    assert_eq!(told["requests"].as_array().map(Vec::len), Some(3), "{told}");
    assert_eq!(told["requests"][0]["trace_id"], TRACE, "{told}");
}

#[test]
fn traces_go_through_http2_and_without_tracing_headers_stay_as_they_are() {
    let (backends, listen) = (Backends::start(), free());
    let config = backends.config(listen).replace("[[service]]", "http2 = true\n[[service]]");
    let mut gateway = Mainstay::start(&(config.clone() + "[tracing]\n"));
    let mut client = Http2::connect(listen);
    let mut asked = request("GET", "/h2");
    let value = format!("00-{TRACE}-{PARENT}-00");
    asked.headers_mut().insert("traceparent", value.parse().expect("a value"));
    assert_eq!(client.exchange(asked, b"").head.status, 200);
    let line = gateway.logged("/h2");
    let attempt = line["attempts"][0]["span_id"].as_str().unwrap_or_default();
    assert_eq!(backends.sent("/h2", "traceparent"), [format!("00-{TRACE}-{attempt}-00")], "{line}");
    gateway.reload(&config);
    let headers = format!("traceparent: {value}\r\ntracestate: not valid\r\nb3: whatever\r\n");
    assert_eq!(ask(listen, "/as-it-is", &headers), 200);
    let told = ["traceparent", "tracestate", "b3"].map(|name| backends.sent("/as-it-is", name).concat());
    assert_eq!(told, [value.as_str(), "not valid", "whatever"]);
    assert!(gateway.logged("/as-it-is")["trace_id"].is_null());
}

/// Secrets in every place where a client may have one: none of them is anywhere that the node speaks.
#[test]
fn planted_secrets_are_nowhere() {
    let (backends, listen) = (Backends::start(), free());
    let events =
        "[tracing]\n[events]\nquery = true\nheaders = [\"user-agent\", \"referer\"]\nredact = { query = [\"pin\"] }\n";
    let mut gateway = Mainstay::start_with("explain = 100", &(backends.config(listen) + events));
    let headers = "Authorization: Bearer planted-bearer\r\nCookie: sid=planted-cookie\r\nX-Api-Key: planted-key\r\n\
                   Proxy-Authorization: Basic planted-proxy\r\nX-Auth-Token: planted-auth\r\nUser-Agent: tester\r\n\
                   Referer: https://other.test/page?token=planted-referer\r\n";
    for path in ["/fine", "/fail"] {
        let query = "a=1&token=planted-token&PASSWORD=planted-password&pin=planted-pin&p%69n=planted-encoded&x=2";
        ask(listen, &format!("{path}?{query}"), headers);
    }
    let line = gateway.logged("/fail");
    assert_eq!(line["query"], "a=1&token=***&PASSWORD=***&pin=***&p%69n=***&x=2", "{line}");
    assert_eq!(line["headers"]["user-agent"], "tester", "{line}");
    assert_eq!(line["headers"]["referer"], "https://other.test/page", "{line}");
    let id = line["id"].as_str().unwrap_or_default().to_owned();
    let mut told = std::fs::read_to_string(gateway.dir().join("access.json")).expect("the log");
    for arguments in [&["explain", &id][..], &["explain", &id, "--json"], &["status"], &["status", "--json"]] {
        let output = gateway.command(arguments);
        assert!(output.status.success(), "{arguments:?}");
        told += &String::from_utf8_lossy(&output.stdout);
    }
    told += &gateway.admin("/metrics").text();
    gateway.terminate(Duration::from_secs(20));
    told += &gateway.stderr();
    if let Some(at) = told.find("planted") {
        panic!("a secret: {}", String::from_utf8_lossy(&told.as_bytes()[at.saturating_sub(100)..at + 20]));
    }
    // They did go to the backend, which they are meant for.
    let seen: Vec<String> = backends.0.iter().flat_map(Scripted::seen).collect();
    assert!(seen.iter().any(|head| head.contains("planted-bearer") && head.contains("planted-key")));
}

#[test]
fn recent_requests_are_searched() {
    let (backends, listen) = (Backends::start(), free());
    let gateway = Mainstay::start(&backends.config(listen));
    for number in 0..5 {
        assert_eq!(get(listen, &format!("/dull/{number}")).status, 200);
    }
    assert_eq!(get(listen, "/fail").status, 500);
    let found = |query: &str| -> Vec<String> {
        let answer: Value = gateway.admin(&format!("/api/v1/requests?{query}")).json();
        let items = answer["items"].as_array().unwrap_or_else(|| panic!("{query}: {answer}")).clone();
        items.iter().map(|item| item["path"].as_str().unwrap_or_default().to_owned()).collect()
    };
    eventually("all requests are remembered", Duration::from_secs(5), || found("").len() == 6);
    assert_eq!(found("")[0], "/fail");
    for query in ["errors=true", "status=500", "status=5xx&service=app", "text=/fail&route=default"] {
        assert_eq!(found(query), ["/fail"], "{query}");
    }
    for query in ["status=404", "route=other", "service=other", "endpoint=other", "min_ms=60000", "text=nowhere"] {
        assert_eq!(found(query), [""; 0], "{query}");
    }
    // Page by page, each request once.
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    for _page in 0..3 {
        let answer: Value = gateway.admin(&format!("/api/v1/requests?limit=2{cursor}")).json();
        seen.extend(answer["items"].as_array().into_iter().flatten().map(|item| item["id"].to_string()));
        cursor = format!("&cursor={}", answer["next"].as_str().unwrap_or_default());
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 6, "{seen:?}");
    assert_eq!(gateway.admin("/api/v1/requests?status=many").status, 400);
    assert_eq!(gateway.admin("/api/v1/requests?unknown=1").status, 400);
}

/// What the command says.
fn told(gateway: &Mainstay, arguments: &[&str]) -> String {
    let output = gateway.command(arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {text}");
    text
}

#[test]
fn sampling_and_levels_are_changed_for_a_while_and_shown_and_audited() {
    let (backends, listen) = (Backends::start(), free());
    let gateway = Mainstay::start(&(backends.config(listen) + "[events]\nsample = \"0%\"\nslow = \"60s\"\n"));
    let asked = |path: &str| assert_eq!(get(listen, path).status, 200);
    let lines = |path: &str| gateway.access_log().into_iter().filter(|line| line["path"] == path).count();
    asked("/configured");
    let said = told(&gateway, &["events", "sampling", "100%", "--route", "default", "--for", "1h"]);
    assert!(said.contains("sampling of default is 100%") && said.contains("not 0%"), "{said}");
    asked("/wished");
    gateway.logged("/wished");
    assert_eq!(lines("/configured"), 0);
    let said = told(&gateway, &["log", "level", "admin=debug"]);
    assert!(said.contains("log level of admin is debug") && said.contains("not info"), "{said}");
    let page = told(&gateway, &["status"]);
    assert!(
        page.contains("sampling of default is 100%") && page.contains("`mainstay log level admin=reset` ends that")
    );
    assert_eq!(gateway.status()["temporary"].as_array().map(Vec::len), Some(2));
    for refused in [&["log", "level", "hobbits=debug"][..], &["log", "level", "loud"], &["events", "sampling", "7"]] {
        assert!(!gateway.command(refused).status.success(), "{refused:?}");
    }
    assert!(!gateway.command(&["events", "sampling", "10%", "--route", "none"]).status.success());
    told(&gateway, &["events", "sampling", "reset"]);
    told(&gateway, &["log", "level", "reset"]);
    asked("/configured-again");
    assert_eq!(gateway.status().get("temporary"), None);
    // Now for all routes, and only for a moment.
    told(&gateway, &["events", "sampling", "100%", "--for", "1s"]);
    told(&gateway, &["log", "level", "debug", "--for", "1s"]);
    eventually("both are over", Duration::from_secs(60), || gateway.status().get("temporary").is_none());
    eventually("and the log says so", Duration::from_secs(60), || gateway.stderr().contains("as configured again"));
    asked("/over");
    told(&gateway, &["events", "sampling", "100%"]);
    asked("/last");
    gateway.logged("/last");
    assert_eq!((lines("/configured-again"), lines("/over")), (0, 0));
    let trail = told(&gateway, &["audit-log", "list"]);
    assert!(trail.contains("/api/v1/log/level") && trail.contains("/api/v1/sampling"), "{trail}");
}

/// Not every line of a message that comes again and again is written; how many were not is.
#[test]
fn a_message_that_comes_again_and_again_is_counted() {
    let (backends, listen) = (Backends::start(), free());
    let mut gateway = Mainstay::start(&backends.config(listen));
    let mut socket = UnixStream::connect(gateway.dir().join("admin.sock")).expect("the admin socket");
    socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit");
    let mut answers = BufReader::new(socket.try_clone().expect("a second handle"));
    let began = Instant::now();
    for weight in 1..=130 {
        let endpoint = backends.0[0].address();
        let body = format!(r#"{{"service": "app", "endpoint": "{endpoint}", "weight": {weight}}}"#);
        let head = format!("POST /api/v1/weight HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
        socket.write_all((head + &body).as_bytes()).expect("the node reads");
        let mut line = String::new();
        while !line.contains(r#""weight""#) {
            line.clear();
            assert!(answers.read_line(&mut line).expect("an answer") > 0, "closed");
            // The body has no end of line of its own.
            if line == "\r\n" {
                let mut body = answers.fill_buf().expect("a body").to_vec();
                answers.consume(body.len());
                line = String::from_utf8_lossy(&std::mem::take(&mut body)).into_owned();
            }
        }
    }
    let took = began.elapsed();
    gateway.terminate(Duration::from_secs(60));
    let log = gateway.stderr();
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let written = lines.iter().filter(|line| line["message"] == "endpoint weight changed").count();
    let told = lines.iter().filter(|line| line["like"] == "endpoint weight changed");
    let left_out: usize =
        told.filter_map(|line| line["message"].as_str()?.strip_suffix(" more like this")?.parse::<usize>().ok()).sum();
    assert_eq!(written + left_out, 130, "{log}");
    // On a machine so busy that this took longer than the while that is counted in, more were written.
    assert!(written == 100 || took >= Duration::from_secs(10), "{written} of 130 in {took:?}");
}

/// What endpoints say of their own load is shown, counted as a metric and passed on, and nonsense is not believed.
#[test]
fn endpoints_say_how_busy_they_are() {
    let says = |value: &'static str| {
        Scripted::start(move |mut exchange| {
            while exchange.request().is_some() {
                exchange
                    .send(format!("HTTP/1.1 200 OK\r\nEndpoint-Load-Metrics: {value}\r\nContent-Length: 0\r\n\r\n"));
            }
        })
    };
    let busy = says("TEXT cpu_utilization=0.91, mem_utilization=0.5, rps_fractional=12.5");
    let nonsense = says(r#"JSON {"cpu_utilization": -1, "mem_utilization": {"a": 1}, "named_metrics": [[[[]]]]"#);
    let listen = free();
    let endpoints = [busy.address(), nonsense.address()];
    let config = simple(listen, &endpoints, "health = \"off\"\nbalance = \"round-robin\"\n");
    let gateway = Mainstay::start(&config);
    for _request in 0..8 {
        assert!(get(listen, "/").header("endpoint-load-metrics").is_some());
    }
    let status = gateway.status();
    let loads: Vec<&Value> = (0..2).map(|index| &status["services"][0]["endpoints"][index]["load"]).collect();
    let [own, other] = loads[..] else { panic!("{status}") };
    assert_eq!((&own["cpu_percent"], &own["memory_percent"], &own["rate"]), (&91.0.into(), &50.0.into(), &12.5.into()));
    assert_eq!(other, &Value::Null, "{status}");
    let label = format!("endpoint=\"{}\"", busy.address());
    let cpu = gateway.metric("mainstay_endpoint_cpu_utilization", &[&label]);
    assert!((cpu - 0.91).abs() < 0.001, "{cpu}");
    assert!(
        !gateway
            .admin("/metrics")
            .text()
            .contains(&format!("utilization{{service=\"app\",endpoint=\"{}", nonsense.address()))
    );
}
