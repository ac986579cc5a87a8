//! The configuration that real nodes share: it reaches all of them, and what is wrong with it does not.

#[path = "config_release/nodes.rs"]
mod nodes;

use std::time::{Duration, Instant};

use mainstay_e2e::eventually;
use mainstay_e2e::tls::Authority;
use nodes::{DEAD, LIVE, Nodes, text};

const SOON: Duration = Duration::from_secs(20);
/// What the fastest may take: 100 ms is the median on a machine that does nothing else, and this one does.
const REACHED_WITHIN: Duration = Duration::from_millis(1000);

fn said(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_configuration_reaches_all_nodes_and_can_be_listed_compared_and_taken_back() {
    let nodes = Nodes::start(3);
    let one = text(&[("/", LIVE)]);
    let mut times = Vec::new();
    for round in 0..9 {
        let done = nodes.apply_well(round % 3, &format!("{one}# {round}\n"), &["--now", "--note", "a round"]);
        assert_eq!(done["stage"]["name"], "done", "{done}");
        times.push(Duration::from_millis(done["elapsed_ms"].as_u64().expect("a time")));
    }
    times.sort();
    let median = times[times.len() / 2];
    println!("a configuration is served by all nodes after {median:?} (median; all: {times:?})");
    assert!(times[0] < REACHED_WITHIN, "{times:?}");
    assert_eq!([0, 1, 2].map(|node| nodes.get(node, "/")), [200; 3]);

    let two = text(&[("/two", LIVE)]);
    nodes.apply_well(1, &two, &["--now"]);
    assert_eq!((nodes.get(0, "/"), nodes.get(2, "/two")), (404, 200));
    let shown = |arguments: &[&str]| String::from_utf8(nodes.config(2, arguments).stdout).expect("text");
    let diff = shown(&["diff"]);
    assert!(diff.starts_with("--- version 9\n+++ version 10\n@@ "), "{diff}");
    assert!(diff.contains("\n-match = { path = \"/\" }\n+match = { path = \"/two\" }\n"), "{diff}");
    let again = said(&nodes.apply(0, &two, &["--now"]));
    assert!(again.contains("is this one already: version 10"), "{again}");
    let late = said(&nodes.apply(0, &one, &["--now", "--builds-on", "9"]));
    assert!(late.contains("this was changed since you looked at it"), "somebody else has released version 10: {late}");
    assert_eq!(nodes.admin(0, "/api/v1/config").header("etag"), Some("\"10\""));
    let back = nodes.json(0, &["rollback", "--now"]);
    assert_eq!(back["version"], 11);
    assert_eq!([0, 1, 2].map(|node| nodes.get(node, "/")), [200; 3]);
    assert_eq!(shown(&["show"]), format!("{one}# 8\n"));
    let history = shown(&["history"]);
    assert!(
        history.contains("*11") && history.contains("back to version 9") && history.contains("a round"),
        "{history}"
    );
    let status = shown(&["status"]);
    assert!(status.contains("the cluster's configuration is version 11\n"), "{status}");
    assert_eq!(nodes.metric(0, "mainstay_cluster_config_version"), Some(11.0));
    assert_eq!(nodes.metric(0, "mainstay_cluster_config_release_stage{stage=\"done\"}"), Some(1.0));
    assert_eq!(nodes.admin(0, "/api/v1/status").json()["configuration"]["cluster"]["serves"], 11);
    assert_eq!(nodes.admin(0, "/api/v1/config/versions/11").status, 403, "texts may hold secrets");
}

#[test]
fn a_wrong_file_is_refused_with_all_its_errors_and_what_one_node_cannot_serve_is_vetoed() {
    let nodes = Nodes::start(3);
    let wrong = "[[listener]]\nname = \"web\"\nbind = \"nowhere\"\ncolour = 3\n[[service]]\nname = \"app\"\nendpoints = [\"127.0.0.1:1\"]\nbalance = \"best\"\n";
    for asked in 0..3 {
        let refused = nodes.apply(asked, wrong, &["--now"]);
        assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
        for expected in ["toml:3:", "toml:4:", "toml:8:", "3 errors", "nothing has been changed"] {
            assert!(said(&refused).contains(expected), "{expected}: {}", said(&refused));
        }
    }
    assert_eq!(nodes.overview(0)["release"], serde_json::Value::Null);

    let good = text(&[("/", LIVE)]);
    nodes.apply_well(0, &good, &["--now"]);
    let identity = Authority::new("a test").issue(&["localhost"]);
    let secure =
        "[[listener]]\nname = \"tls\"\nbind = \"0.0.0.0:8443\"\ntls = { cert = \"shop.pem\", key = \"shop.key\" }\n";
    let secured = good.clone() + secure;
    for without in 0..3 {
        // The certificate is there on two nodes of three.
        (0..3).for_each(|node| identity.write(&nodes.dir(node), "shop"));
        std::fs::remove_file(nodes.dir(without).join("shop.pem")).expect("it was written");
        let vetoed = nodes.apply((without + 1) % 3, &secured, &["--now"]);
        assert_eq!(vetoed.status.code(), Some(1), "{}", said(&vetoed));
        assert!(said(&vetoed).contains(&format!("vetoed: n{without}: cluster configuration:14:")), "{}", said(&vetoed));
        assert!(said(&vetoed).contains("shop.pem"), "{}", said(&vetoed));
        let others = (0..3).filter(|node| *node != without);
        assert!(others.into_iter().all(|node| !said(&vetoed).contains(&format!("n{node}:"))), "{}", said(&vetoed));
        for node in 0..3 {
            assert_eq!((nodes.overview(node)["serves"].as_u64(), nodes.get(node, "/")), (Some(1), 200));
        }
    }
    // With the certificate in its place, the same is accepted.
    identity.write(&nodes.dir(2), "shop");
    nodes.apply_well(2, &secured, &["--now"]);
}

#[test]
fn what_raises_errors_goes_back_from_the_canary_and_the_others_never_saw_it() {
    let nodes = Nodes::start(3);
    nodes.apply_well(0, &text(&[("/", LIVE)]), &["--now"]);
    for canary in 0..3 {
        goes_back(&nodes, canary);
    }
}

/// A version that its canary's clients get errors by goes back, and the clients of the others have noticed nothing.
fn goes_back(nodes: &Nodes, canary: usize) {
    let version = canary + 2;
    let load = nodes.load();
    std::thread::sleep(Duration::from_secs(1));
    let begun = Instant::now();
    let name = format!("n{canary}");
    let refused = nodes.apply((canary + 2) % 3, &text(&[("/", DEAD)]), &["--bake", "60s", "--canary", &name]);
    let took = begun.elapsed();
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    assert!(said(&refused).contains("rolled-back: more errors"), "{}", said(&refused));
    assert!(took < Duration::from_secs(45), "it does not wait for the end of the bake: {took:?}");
    println!("rolled back after {took:?}");
    eventually("the canary serves the old one again", SOON, || nodes.get(canary, "/") == 200);
    let failures = load.stop();
    let others: Vec<usize> = (0..3).filter(|node| *node != canary).collect();
    assert!(others.iter().all(|node| failures[*node] == 0), "clients of the others: {failures:?}");
    assert!(failures[canary] > 0, "the canary's clients");
    let served = format!("version {version} of the cluster's configuration");
    for node in others {
        assert!(!nodes.log(node).contains(&served), "{}", nodes.log(node));
    }
    assert!(nodes.log(canary).contains(&served));
    let history = nodes.json(0, &["history"]);
    let versions = history["versions"].as_array().expect("versions");
    let outcome = versions.iter().find(|it| it["version"] == version).and_then(|it| it["outcome"].as_str());
    let outcome = outcome.unwrap_or_default();
    assert!(outcome.starts_with("rolled-back: more errors") && history["current"] == 1, "{history}");
}

#[test]
fn whoever_plans_is_killed_and_another_goes_on_and_who_starts_alone_serves_what_it_had() {
    let mut nodes = Nodes::start(3);
    nodes.apply_well(0, &text(&[("/", LIVE)]), &["--now"]);
    let planner = nodes.planner();
    let (asked, canary) = ((planner + 1) % 3, format!("n{}", (planner + 2) % 3));
    let mut command = nodes.begin(asked, &text(&[("/two", LIVE)]), &["--bake", "2s", "--canary", &canary]);
    eventually("the bake", SOON, || nodes.overview(asked)["release"]["stage"]["name"] == "baking");
    nodes.kill(planner);
    assert!(command.wait().expect("it ends").success(), "{}", nodes.log(asked));
    let others: Vec<usize> = (0..3).filter(|node| *node != planner).collect();
    assert!(others.iter().all(|node| nodes.get(*node, "/two") == 200));
    nodes.start_again(planner);
    eventually("the dead node has caught up", SOON, || nodes.get(planner, "/two") == 200);

    nodes.wait_until_kept(planner, 2);
    nodes.kill(planner);
    nodes.cut(planner);
    nodes.start_again(planner);
    eventually("it serves alone", SOON, || nodes.get(planner, "/two") == 200);
    let overview = nodes.overview(planner);
    assert_eq!((&overview["serves"], &overview["connected"]), (&2.into(), &false.into()), "{overview}");
    let refused = nodes.apply(planner, &text(&[("/three", LIVE)]), &["--now"]);
    assert!(!refused.status.success(), "without the others nothing is accepted");
    nodes.apply_well(asked, &text(&[("/four", LIVE)]), &["--now"]);
    nodes.heal(planner);
    eventually("it has caught up", SOON, || nodes.get(planner, "/four") == 200);
}
