//! Three real nodes that agree: made, killed, grown, repaired, by the commands that an operator has.

use mainstay_e2e::cluster::{Nodes, SOON, member, plain};
use mainstay_e2e::{Origin, Wire, eventually, wire};
use serde_json::{Value, json};

/// Texts of a command that must fail.
fn refusal(output: &std::process::Output) -> String {
    assert!(!output.status.success(), "it should not succeed: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Whether the cluster takes a change through this node: a token is one.
fn takes_changes(nodes: &Nodes, index: usize) -> bool {
    nodes.nodes[index].cluster(&["token"]).status.success()
}

#[test]
fn three_nodes_survive_the_death_of_one_and_of_all() {
    let mut nodes = Nodes::start(3, plain);
    assert_eq!(nodes.voters(0), ["n1", "n2", "n3"]);
    let page = nodes.nodes[1].cluster(&["status"]);
    let page = String::from_utf8_lossy(&page.stdout).into_owned();
    assert!(page.starts_with("embedded: quorum") && page.contains("3 of 3 voters seen"), "{page}");

    let leader = nodes.leader();
    nodes.nodes[leader].kill();
    let left: Vec<usize> = nodes.running().collect();
    let name = nodes.nodes[leader].place.name.clone();
    eventually("the others elect another and see the dead one", SOON, || {
        left.iter().all(|index| {
            let status = nodes.nodes[*index].status();
            status["leader"].is_string()
                && status["leader"] != name.as_str()
                && member(&status, &name).is_some_and(|it| it["state"] == "down")
        })
    });
    assert!(takes_changes(&nodes, left[0]));

    nodes.nodes[left[0]].kill();
    eventually("one alone sees that there is no quorum", SOON, || nodes.nodes[left[1]].status()["quorum"] == false);
    assert!(!takes_changes(&nodes, left[1]), "one of three decides nothing");
    let page = nodes.nodes[left[1]].try_command(&["status", "--admin", "./admin.sock"]);
    assert!(String::from_utf8_lossy(&page.stdout).contains("NO QUORUM"));
    nodes.nodes[left[1]].kill();

    for node in &mut nodes.nodes {
        node.start();
    }
    nodes.wait_until_whole();
    assert_eq!(nodes.voters(2), ["n1", "n2", "n3"], "everything is back");
    assert!(takes_changes(&nodes, 1));

    // The disks of two are lost for good, and the third one goes on alone.
    let recover = ["cluster", "recover", "-c", "mainstay.toml"];
    assert!(refusal(&nodes.nodes[0].try_command(&recover)).contains("stop the node that runs here first"));
    for node in &mut nodes.nodes {
        node.kill();
    }
    let told = nodes.nodes[0].command(&recover);
    assert!(told.contains("other members: n2, n3") && told.contains("Nothing was changed"), "{told}");
    let told = nodes.nodes[0].command(&[&recover[..], &["--force"]].concat());
    assert!(told.contains("n1 is the only member"), "{told}");
    nodes.nodes[0].start();
    nodes.wait_for_quorum(0);
    assert_eq!(nodes.voters(0), ["n1"]);
    // One that comes back with its old folder is not heeded.
    nodes.nodes[1].start();
    eventually("the old member is refused", SOON, || nodes.nodes[1].status()["quorum"] == false);
    assert!(takes_changes(&nodes, 0) && !takes_changes(&nodes, 1));
    nodes.nodes[1].kill();
    nodes.add_named(Some("n4"), &[]);
    eventually("a new one comes", SOON, || member(&nodes.nodes[0].status(), "n4").is_some());
}

#[test]
fn a_cluster_grows_and_a_dead_node_is_replaced() {
    let mut nodes = Nodes::start(1, plain);
    nodes.add(&[]);
    eventually("the second node follows", SOON, || {
        member(&nodes.nodes[0].status(), "n2").is_some_and(|it| it["role"] == "waiting" && it["state"] == "up")
    });
    assert_eq!(nodes.voters(0), ["n1"], "two voters are worse than one");
    nodes.add(&[]);
    eventually("three vote", SOON, || nodes.voters(0).len() == 3);
    nodes.add(&[]);
    a_vote_is_given_away_and_had_back(&mut nodes);
    nodes.add(&[]);
    eventually("five vote", SOON, || nodes.voters(0).len() == 5);
    nodes.add(&["--no-vote"]);
    nodes.wait_until_whole();
    assert_eq!(member(&nodes.nodes[0].status(), "n6").map(|it| &it["role"]), Some(&"learner".into()));
    assert!(takes_changes(&nodes, 5), "a node without a vote passes changes on");
    assert!(!nodes.nodes[5].dir().join("data/cluster/ca.key").exists(), "it cannot sign");

    // One of the voters is gone for ever: a new node of the same name takes its place.
    nodes.nodes[1].kill();
    let refused = refusal(&nodes.nodes[0].cluster(&["add", "n2"]));
    assert!(refused.contains("`n2` already") && refused.contains("--replace"), "{refused}");
    let new = nodes.add_named(Some("n2"), &["--replace", "n2"]);
    eventually("it votes in the place of the dead one", SOON, || {
        let status = nodes.nodes[0].status();
        let found = member(&status, "n2").cloned().unwrap_or_default();
        nodes.voters(0).len() == 5 && found["id"].as_u64() > Some(2) && found["state"] == "up"
    });
    assert_eq!(nodes.nodes[new].status()["quorum"], true);

    // The dead one comes back: its number is never given again, and nobody listens to it.
    nodes.nodes[1].start();
    eventually("the node that was replaced has no quorum", SOON, || nodes.nodes[1].status()["quorum"] == false);
    assert!(!takes_changes(&nodes, 1));
    assert!(takes_changes(&nodes, 0));
}

/// Of four nodes one waits. A voter whose configuration takes its vote away leaves it to that one, and waits for the next.
fn a_vote_is_given_away_and_had_back(nodes: &mut Nodes) {
    let role = |nodes: &Nodes, name: &str| member(&nodes.nodes[0].status(), name).map(|it| it["role"].clone());
    eventually("the fourth waits", SOON, || {
        member(&nodes.nodes[0].status(), "n4").is_some_and(|it| it["role"] == "waiting" && it["state"] == "up")
    });
    // Who leads keeps its vote.
    let index = if nodes.leader() == 1 { 2 } else { 1 };
    let name = nodes.nodes[index].place.name.clone();
    let restart = |nodes: &mut Nodes, from: &str, to: &str| {
        nodes.nodes[index].terminate();
        let file = nodes.nodes[index].dir().join("mainstay.toml");
        let config = std::fs::read_to_string(&file).expect("its configuration");
        std::fs::write(&file, config.replacen(from, to, 1)).expect("the configuration");
        nodes.nodes[index].start();
    };
    restart(nodes, "[cluster]\n", "[cluster]\nvoter = false\n");
    eventually("the fourth votes in its place", SOON, || {
        let voters = nodes.voters(0);
        voters.len() == 3 && voters.contains(&"n4".to_owned()) && role(nodes, &name) == Some("learner".into())
    });
    restart(nodes, "voter = false", "voter = true");
    eventually("it waits for a vote", SOON, || role(nodes, &name) == Some("waiting".into()));
    assert!(takes_changes(nodes, index));
}

#[test]
fn who_may_come_in_and_go() {
    let mut nodes = Nodes::start(3, plain);
    let refused = refusal(&nodes.nodes[0].cluster(&["remove", "n3"]));
    assert!(refused.contains("two voters would be left"), "{refused}");
    let refused = refusal(&nodes.nodes[0].cluster(&["remove", "n9"]));
    assert!(refused.contains("no node of the cluster is called `n9`"), "{refused}");

    // A token opens once, for the name that it was made for.
    let made = nodes.nodes[0].cluster(&["add", "n4", "--json"]);
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).expect("JSON");
    let token = made["token"].as_str().expect("a token").to_owned();
    let (other, four) = (nodes.make(Some("x4")), nodes.make(Some("n4")));
    let join = |nodes: &Nodes, index: usize| nodes.nodes[index].try_command(&["join", &token, "-c", "mainstay.toml"]);
    assert!(refusal(&join(&nodes, other)).contains("the token is for a node called `n4`"));
    assert!(join(&nodes, four).status.success());
    let refused = refusal(&join(&nodes, four));
    assert!(refused.contains("belongs to a cluster already"), "{refused}");
    let again = nodes.make(Some("n4"));
    assert!(refusal(&join(&nodes, again)).contains("the token is not valid"));
    let damaged = nodes.nodes[again].try_command(&["join", &token[..token.len() - 2], "-c", "mainstay.toml"]);
    assert!(refusal(&damaged).contains("damaged"));
    assert!(
        refusal(&nodes.nodes[again].try_command(&["run", "-c", "mainstay.toml"])).contains("belongs to no cluster yet")
    );

    // The fourth waits to vote; with it a voter can go without leaving two.
    nodes.nodes[four].start();
    eventually("the fourth node waits to vote", SOON, || {
        member(&nodes.nodes[0].status(), "n4").is_some_and(|it| it["role"] == "waiting" && it["state"] == "up")
    });
    // Until it has caught up it cannot take the place, and the command refuses as before.
    eventually("a voter can go", SOON, || nodes.nodes[0].cluster(&["remove", "n3"]).status.success());
    assert_eq!(nodes.voters(0), ["n1", "n2", "n4"]);
    eventually("the one that was removed is refused", SOON, || nodes.nodes[2].status()["quorum"] == false);
    let tokens = nodes.nodes[0].admin("/api/v1/cluster/token");
    assert_eq!(tokens.status, 405, "tokens are made over the admin socket only");
}

#[test]
fn a_node_that_has_moved_says_where_it_is() {
    let mut nodes = Nodes::start(3, plain);
    nodes.wait_until_whole();
    let (before, after) = (nodes.nodes[2].place.peer, mainstay_e2e::free());
    nodes.nodes[2].terminate();
    let file = nodes.nodes[2].dir().join("mainstay.toml");
    let config = std::fs::read_to_string(&file).expect("its configuration");
    let moved = format!("listen = \"{after}\"\npeers = [\"n3={after}\"]");
    std::fs::write(&file, config.replace(&format!("listen = \"{before}\""), &moved)).expect("the configuration");
    nodes.nodes[2].start();
    for asked in 0..3 {
        eventually("all nodes know its new address and reach it", SOON, || {
            member(&nodes.nodes[asked].status(), "n3")
                .is_some_and(|it| it["address"] == after.to_string() && (it["state"] == "up" || it["state"] == "here"))
        });
    }
    // Also those that it has told nothing yet learn of it from the others: it follows again.
    assert!(takes_changes(&nodes, 2));
}

#[test]
fn a_node_answers_for_the_others_and_says_who_is_gone() {
    let mut nodes = Nodes::start(3, plain);
    let entry = |nodes: &Nodes, name: &str| {
        let all = nodes.nodes[0].admin("/api/v1/nodes").json();
        let found = all.as_array().expect("a list").iter().find(|it| it["name"] == name).cloned();
        found.unwrap_or_else(|| panic!("{name} in {all}"))
    };
    eventually("each is there with its version", SOON, || {
        ["n1", "n2", "n3"].iter().all(|name| entry(&nodes, name)["version"].is_string())
    });
    assert_eq!((&entry(&nodes, "n1")["state"], &entry(&nodes, "n2")["state"]), (&"here".into(), &"up".into()));

    let socket = nodes.nodes[0].dir().join("admin.sock").display().to_string();
    let through = |arguments: &[&str]| nodes.nodes[0].try_command(&[arguments, &["--admin", &socket]].concat());
    let listed = String::from_utf8_lossy(&through(&["cluster", "nodes"]).stdout).into_owned();
    assert!(listed.lines().any(|line| line.starts_with("n2 ") && line.contains(" up ")), "{listed}");
    let status = nodes.nodes[0].admin("/api/v1/nodes/n2/status");
    assert_eq!((status.status, status.header("x-mainstay-node")), (200, Some("n2")), "{}", status.text());
    assert_eq!(status.json()["node"]["name"], "n2");
    let own = nodes.nodes[0].admin("/api/v1/nodes/n1/status").json();
    assert_eq!(own["node"]["name"], "n1", "its own name is one of a node, too");

    // A change is one of the other node alone, and both have it in their trails.
    let drained = through(&["drain", "app/127.0.0.1:1", "--local", "--node", "n2"]);
    assert!(drained.status.success(), "{}", String::from_utf8_lossy(&drained.stderr));
    let drains = |index: usize| {
        let status = nodes.nodes[index].admin("/api/v1/status").json();
        status["services"][0]["endpoints"][0]["draining"] == true
    };
    assert!(drains(1) && !drains(0) && !drains(2), "{} {} {}", drains(0), drains(1), drains(2));
    let trail = |index: usize| nodes.nodes[index].admin("/api/v1/audit").text();
    assert!(trail(0).contains("POST /api/v1/nodes/n2/drain"), "{}", trail(0));
    assert!(trail(1).contains("POST /api/v1/drain") && trail(1).contains("node n1"), "{}", trail(1));

    // Whoever is nobody here is nobody there; what is a stream is not passed on; errors say which node they are of.
    let (at, body) = (nodes.nodes[0].admin_address(), "{}");
    let request = format!("POST /api/v1/nodes/n2/drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{body}");
    assert_eq!(Wire::connect(at).exchange(request).status, 403);
    let unknown = nodes.nodes[0].admin("/api/v1/nodes/n2/objectives/x/history");
    assert_eq!((unknown.status, &unknown.json()["node"]), (404, &"n2".into()), "{}", unknown.text());
    for path in ["events/stream", "nodes/n3/status", "session"] {
        assert_eq!(nodes.nodes[0].admin(&format!("/api/v1/nodes/n2/{path}")).status, 400, "{path}");
    }
    let nobody = nodes.nodes[0].admin("/api/v1/nodes/n9/status");
    assert_eq!((nobody.status, &nobody.json()["node"]), (404, &"n9".into()), "{}", nobody.text());

    nodes.nodes[2].kill();
    eventually("the dead one is known as down", SOON, || entry(&nodes, "n3")["state"] == "down");
    let gone = nodes.nodes[0].admin("/api/v1/nodes/n3/status");
    assert!(matches!(gone.status, 502 | 504) && gone.json()["node"] == "n3", "{} {}", gone.status, gone.text());
    assert_eq!(nodes.nodes[0].admin("/api/v1/nodes/n2/status").status, 200, "the others answer all the same");
}

/// Three nodes with an origin each, which fails at one of them: numbers of the cluster are the sum, the objective is judged by
/// it, and a node that died is named.
#[test]
fn numbers_of_the_cluster_are_the_sum_of_its_nodes() {
    let origin = Origin::start();
    let at = origin.address();
    let mut nodes = Nodes::start(3, move |place| {
        plain(place).replace("127.0.0.1:1", &at.to_string())
            + "[[objective]]\nname = \"app\"\nservice = \"app\"\ntarget = \"95%\"\n"
    });
    let requests = [30_u64, 60, 90];
    for (node, count) in nodes.nodes.iter().zip(requests) {
        for request in 0..count {
            // One of three at the last node.
            let path = if count == 90 && request % 3 == 0 { "/status/500" } else { "/ok" };
            wire::get(node.place.listen, path);
        }
    }
    let objective = |nodes: &Nodes, scope: &str| {
        let answer = nodes.nodes[0].admin(&format!("/api/v1/objectives{scope}")).json();
        (answer["items"][0]["events"].as_u64(), answer["items"][0]["bad"].as_u64(), answer)
    };
    eventually("the objective has the events of all nodes", SOON, || {
        let (events, bad, _answer) = objective(&nodes, "?scope=cluster");
        (events, bad) == (Some(180), Some(30))
    });
    assert_eq!(objective(&nodes, "").0, Some(30), "this node's own");
    let counts = |nodes: &Nodes, scope: &str| {
        let path = format!("/api/v1/history/counts?kind=service&name=app&span=600&step=60{scope}");
        let answer = nodes.nodes[0].admin(&path).json();
        let points = answer["points"].as_array().cloned().unwrap_or_default();
        let sum = |of: &dyn Fn(&Value) -> u64| points.iter().map(of).sum::<u64>();
        let buckets =
            |point: &Value| point["buckets"].as_array().map_or(0, |it| it.iter().filter_map(Value::as_u64).sum());
        (sum(&|point| point["requests"].as_u64().unwrap_or(0)), sum(&buckets))
    };
    // The second that is under way is not in a history yet.
    eventually("the history has the requests and the histograms of all nodes", SOON, || {
        counts(&nodes, "&scope=cluster") == (180, 180)
    });
    assert_eq!(counts(&nodes, ""), (30, 30), "this node's own");
    let history = nodes.nodes[1].admin("/api/v1/history?kind=service&name=app&span=600&scope=cluster").json();
    assert_eq!(history["coverage"]["nodes"], json!(["n1", "n2", "n3"]), "{history}");

    nodes.nodes[2].kill();
    let without = |answer: &Value| answer["coverage"]["missing"][0]["name"] == "n3";
    eventually("the dead node is named as missing", SOON, || {
        let (events, _bad, answer) = objective(&nodes, "?scope=cluster");
        without(&answer) && events == Some(90)
    });
    let page = nodes.nodes[0].command(&["status", "--cluster", "--admin", "./admin.sock"]);
    let line = |start: &str| page.lines().any(|line| line.starts_with(start));
    assert!(line("numbers of n1, n2") && line("WITHOUT n3: ") && line("app "), "{page}");
    let slo = nodes.nodes[0].command(&["slo", "--cluster", "--admin", "./admin.sock"]);
    assert!(slo.contains("WITHOUT n3: "), "{slo}");
}
