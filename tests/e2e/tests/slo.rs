//! Objectives, the history under them, and metrics as other tools read them.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use mainstay_e2e::gateway::{cli, simple};
use mainstay_e2e::process::Process;
use mainstay_e2e::{Mainstay, Origin, eventually, free, tools, wire};

const OBJECTIVES: &str = "\
[[objective]]
name = \"shop\"
service = \"app\"
target = \"99%\"
min_events = 20

[[objective]]
name = \"shop-latency\"
route = \"default\"
good = \"latency < 500ms\"
target = \"95%\"
severities = [\"P1\", \"P2\"]
min_events = 20
";

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn objective(gateway: &Mainstay, name: &str) -> serde_json::Value {
    let answer = gateway.admin("/api/v1/objectives").json();
    let items = answer["items"].as_array().cloned().unwrap_or_default();
    items.into_iter().find(|of| of["name"] == name).unwrap_or_else(|| panic!("no {name} in {answer}"))
}

fn promtool(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(tools::find("promtool", "prometheus"));
    let mut child = command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("promtool reads");
    child.wait_with_output().expect("promtool ends")
}

/// Answers that are lost to the budget make an objective burn, are shown everywhere, and are remembered over a restart.
#[test]
fn failures_burn_the_budget_page_and_outlast_the_process() {
    let origin = Origin::start();
    let listen = free();
    let config = simple(listen, &[origin.address()], "") + OBJECTIVES;
    let mut gateway = Mainstay::start_with("data_dir = \"data\"", &config);
    for _request in 0..100 {
        assert_eq!(wire::get(listen, "/ok").status, 200);
    }
    eventually("a hundred good events", Duration::from_secs(15), || objective(&gateway, "shop")["events"] == 100);
    let calm = objective(&gateway, "shop");
    assert_eq!((&calm["good_percent"], &calm["budget_left_percent"]), (&100.0.into(), &100.0.into()), "{calm}");
    assert!(calm["burn"].as_array().expect("rules").iter().all(|rule| rule["firing"] == false), "{calm}");
    for _request in 0..100 {
        assert_eq!(wire::get(listen, "/status/500").status, 500);
    }
    eventually("the page fires", Duration::from_secs(15), || objective(&gateway, "shop")["burn"][0]["firing"] == true);
    eventually("all are counted", Duration::from_secs(15), || objective(&gateway, "shop")["bad"] == 100);
    let burning = objective(&gateway, "shop");
    assert_eq!((&burning["good_percent"], &burning["exhausted_in_seconds"]), (&50.0.into(), &0.into()), "{burning}");
    let latency = objective(&gateway, "shop-latency");
    assert_eq!((latency["threshold_ms"].as_u64(), latency["bad"].as_u64()), (Some(500), Some(0)), "{latency}");
    let shown = text(&gateway.command(&["slo"]));
    assert!(shown.contains("FIRING") && shown.contains("is used up") && shown.contains("shop-latency"), "{shown}");
    let firing = gateway.metric("mainstay_objective_firing", &["objective=\"shop\"", "severity=\"P1\""]);
    assert!((firing - 1.0).abs() < f64::EPSILON);
    // The second that is under way is not told of.
    eventually("every request is in the history", Duration::from_secs(5), || {
        let history = gateway.admin("/api/v1/history?kind=service&name=app&span=120&step=1").json();
        let rates = history["series"]["rate"].as_array().cloned().unwrap_or_default();
        (rates.iter().filter_map(serde_json::Value::as_f64).sum::<f64>() - 200.0).abs() < 0.5
    });
    // Requests may have come in two minutes: what has begun is written too.
    let exit = gateway.terminate(Duration::from_secs(15));
    assert!(exit.success());
    gateway.kill_and_restart();
    eventually("the events are there again", Duration::from_secs(15), || {
        let again = objective(&gateway, "shop");
        again["events"] == 200 && again["bad"] == 100
    });
}

#[test]
fn promtool_takes_the_rules_and_the_metrics() {
    let origin = Origin::start();
    let listen = free();
    let config = simple(listen, &[origin.address()], "") + OBJECTIVES;
    let gateway = Mainstay::start(&config);
    for _request in 0..10 {
        assert_eq!(wire::get(listen, "/ok").status, 200);
    }
    let file = gateway.dir().join("mainstay.toml").display().to_string();
    let database = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/database-postgres.toml");
    let path = gateway.dir().join("rules.yml");
    let of_database = [
        "mainstay_database_seconds_total{database=\"orders\",access=\"write\",outcome=\"bad\"}",
        "mainstay_database_duration_seconds_bucket{listener=\"orders-write\",le=\"0.05\"}",
    ];
    for (file, expected) in [(file.as_str(), ["mainstay_requests_total{route="].as_slice()), (database, &of_database)] {
        let rules = cli(&["slo", "export", "--prometheus", "-c", file]);
        assert!(rules.status.success() && expected.iter().all(|it| text(&rules).contains(it)), "{}", text(&rules));
        std::fs::write(&path, &rules.stdout).expect("the rules");
        let checked = promtool(&["check", "rules", &path.display().to_string()], "");
        assert!(
            checked.status.success() && text(&checked).contains("rules found"),
            "{}\n{}",
            text(&checked),
            text(&rules)
        );
    }
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: text/plain\r\n\r\n";
    let metrics = mainstay_e2e::Wire::connect(gateway.admin_address()).exchange(request);
    let checked = promtool(&["check", "metrics"], &metrics.text());
    assert!(checked.status.success(), "{}", text(&checked));
    let slo =
        "apiVersion: openslo/v1\nkind: SLO\nmetadata: {name: x}\nspec: {service: app, objectives: [{target: 0.99}]}\n";
    std::fs::write(&path, slo).expect("an OpenSLO file");
    let imported = cli(&["slo", "import", &path.display().to_string()]);
    assert!(imported.status.success() && text(&imported).contains("target = \"99%\""), "{}", text(&imported));
}

/// A bucket names a trace that can be looked up, if that trace was told of; a real Prometheus stores it.
#[test]
fn prometheus_stores_the_traces_that_buckets_name() {
    let (origin, listen, own) = (Origin::start(), free(), free());
    let config = simple(listen, &[origin.address()], "") + "[tracing]\n[events]\nsample = \"0%\"\n";
    let gateway = Mainstay::start(&config);
    let folder = gateway.dir().join("prometheus");
    std::fs::create_dir(&folder).expect("a folder");
    let scraped = gateway.admin_address();
    let settings = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: node, static_configs: [{{targets: ['{scraped}']}}]}}]\n"
    );
    std::fs::write(folder.join("prometheus.yml"), settings).expect("the settings");
    let mut command = Command::new(tools::find("prometheus", "prometheus"));
    command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--enable-feature=exemplar-storage"]);
    command.arg(format!("--web.listen-address={own}")).current_dir(&folder);
    let prometheus = Process::start("prometheus", &folder, &mut command, None);
    // Nothing speaks for the first one; the second one failed, and is told of.
    let trace = |path: &str| gateway.logged(path)["trace_id"].as_str().map(str::to_owned).expect("a trace");
    assert_eq!((wire::get(listen, "/ok").status, wire::get(listen, "/status/500").status), (200, 500));
    let failed = trace("/status/500");
    let metrics = gateway.admin("/metrics").text();
    let named: Vec<&str> = metrics.lines().filter(|line| line.contains(" # {trace_id=")).collect();
    assert!(matches!(named[..], [only] if only.contains(&failed) && only.contains("le=")), "{named:?}");
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: text/plain\r\n\r\n";
    let older = mainstay_e2e::Wire::connect(scraped).exchange(request).text();
    assert!(older.contains("http_server_request_duration_seconds_bucket") && !older.contains(&failed), "{older}");
    let query = "/api/v1/query_exemplars?query=http_server_request_duration_seconds_bucket&start=0&end=9999999999";
    eventually("the trace is stored", Duration::from_secs(60), || {
        TcpStream::connect(own).is_ok() && wire::get(own, query).text().contains(&failed)
    });
    drop(prometheus);
}

/// Sends requests that differ in host, path and method, many at a time, and waits for as many answers.
fn flood(listen: SocketAddr, from: usize, count: usize) {
    let stream = TcpStream::connect(listen).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a limit");
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut stream = stream;
    for first in (from..from + count).step_by(50) {
        let requests: String = (first..first + 50)
            .map(|at| format!("M{at} /p{at}?q={at} HTTP/1.1\r\nHost: h{at}.example\r\nX-Request-Id: {at}\r\n\r\n"))
            .collect();
        stream.write_all(requests.as_bytes()).expect("the gateway reads");
        let mut answers = 0;
        let mut line = String::new();
        while answers < 50 {
            line.clear();
            assert!(reader.read_line(&mut line).expect("an answer") > 0, "closed after {answers} of {first}");
            answers += usize::from(line.contains("HTTP/1.1 "));
        }
    }
}

/// What clients send never becomes a label, and takes no memory that stays.
#[test]
fn a_hundred_thousand_hosts_paths_and_methods_leave_the_metrics_as_they_were() {
    let listen = free();
    // Nothing matches but one path: what is not routed is answered by the gateway at once.
    let config = format!(
        "[[listener]]\nname = \"web\"\nbind = \"{listen}\"\n[[route]]\nname = \"only\"\nservice = \"app\"\nmatch = {{ path_exact = \
         \"/never\" }}\n[[service]]\nname = \"app\"\nendpoints = [\"127.0.0.1:9\"]\n"
    );
    let gateway = Mainstay::start_with("access_log = \"off\"", &config);
    let names = || {
        let text = gateway.admin("/metrics").text();
        let mut names: Vec<String> =
            text.lines().filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect();
        names.sort();
        names
    };
    flood(listen, 0, 5_000);
    let resident = || gateway.metric("process_resident_memory_bytes", &[]);
    let (before, memory) = (names(), resident());
    flood(listen, 5_000, 100_000);
    assert_eq!(names(), before);
    assert!(resident() < memory + 32.0 * 1_048_576.0, "{memory} grew to {}", resident());
    let series = gateway.metric("mainstay_history_series", &[]);
    assert!(series < 10.0, "{series}");
}
