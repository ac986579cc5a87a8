//! Alerts on their way from what is wrong to who is told, whatever fails in between.

#[path = "alerts/inbox.rs"]
mod inbox;
#[path = "alerts/ways.rs"]
mod ways;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use inbox::{Inbox, Mood};
use mainstay_e2e::cluster::{Nodes, Place};
use mainstay_e2e::gateway::simple;
use mainstay_e2e::{Mainstay, Origin, eventually, free, tools};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(30);

/// A service that is down is told at once, so that tests need not wait.
const AT_ONCE: &str = "[alerting]\ngroup_interval = \"1s\"\ngroup_wait = \"1s\"\n\
                       [[alerting.rule]]\nname = \"ServiceDown\"\nfor = \"0s\"\n\
                       [[alerting.rule]]\nname = \"NodeAway\"\nfor = \"0s\"\n\
                       [[alerting.rule]]\nname = \"QuorumLost\"\nfor = \"0s\"\n";

/// The same, and that it is up again is told at once, too.
fn at_once_both_ways() -> String {
    let rule = "name = \"ServiceDown\"\n";
    AT_ONCE.replace(rule, &format!("{rule}keep_firing_for = \"0s\"\n"))
}

fn hook(name: &str, to: SocketAddr, more: &str) -> String {
    format!("[[receiver]]\nname = \"{name}\"\ntype = \"webhook\"\nurl = \"http://{to}/hook\"\n{more}\n")
}

/// A gateway whose only service is down, with these receivers and these rules.
fn without_endpoints(receivers: &str, alerting: &str) -> (Mainstay, SocketAddr) {
    let endpoint = free();
    let health =
        "health = { http = \"/health\", interval = \"200ms\", timeout = \"100ms\", unhealthy = 2, healthy = 1 }";
    let config = format!("{}{alerting}{receivers}", simple(free(), &[endpoint], health));
    (Mainstay::start_with("data_dir = \"data\"", &config), endpoint)
}

fn alerts(gateway: &Mainstay) -> Vec<Value> {
    gateway.admin("/api/v1/alerts").json()["items"].as_array().cloned().unwrap_or_default()
}

#[test]
fn a_service_that_is_down_is_told_by_every_way_and_so_is_its_end() {
    let (pager, slack, other, web) = (Inbox::start(), Inbox::start(), Inbox::start(), Inbox::start());
    let mail = inbox::mail();
    let receivers = format!(
        "[[receiver]]\nname = \"pager\"\ntype = \"pagerduty\"\nurl = \"http://{}/v2/enqueue\"\nrouting_key = {{ file = \"key\" }}\n\
         [[receiver]]\nname = \"chat\"\ntype = \"slack\"\nurl = \"http://{}/slack\"\n\
         [[receiver]]\nname = \"other\"\ntype = \"alertmanager\"\nurl = \"http://{}\"\n\
         [[receiver]]\nname = \"mail\"\ntype = \"smtp\"\nhost = \"127.0.0.1\"\nport = {}\ntls = \"off\"\nfrom = \"a@example.com\"\nto = \"b@example.com\"\n{}",
        pager.address(),
        slack.address(),
        other.address(),
        mail.port(),
        hook("web", web.address(), ""),
    );
    let endpoint = free();
    let health =
        "health = { http = \"/health\", interval = \"200ms\", timeout = \"100ms\", unhealthy = 2, healthy = 1 }";
    let config = format!("{}{}{receivers}", simple(free(), &[endpoint], health), at_once_both_ways());
    let mut gateway = Mainstay::launch("data_dir = \"data\"", &config, &[("key", "R0UTING\n")]);
    gateway.wait_until_ready();
    let down = |body: &Value| body.to_string().contains("ServiceDown");
    pager
        .wait_for("a page", |body| down(body) && body["event_action"] == "trigger" && body["routing_key"] == "R0UTING");
    slack.wait_for("a message", |body| body["text"].as_str().is_some_and(|text| text.contains("P1 FIRING")));
    other.wait_for("alerts", |body| body[0]["labels"]["alertname"] == "ServiceDown");
    web.wait_for("a webhook", |body| body["status"] == "firing" && body["version"] == "4" && down(body));
    eventually("a mail", SOON, || mail.text().contains("Subject: [P1 FIRING 1] ServiceDown app"));
    assert!(mail.text().contains("service-down.md"), "{}", mail.text());
    assert!(!gateway.stderr().contains("R0UTING"));
    let shown = String::from_utf8(gateway.command(&["alerts"]).stdout).expect("text");
    assert!(shown.contains("P1  firing    ServiceDown"), "{shown}");
    // What follows from it is not told.
    assert!(web.bodies().iter().all(|body| !body.to_string().contains("EndpointDown")), "{:?}", web.bodies());

    let origin = Origin::start_on(endpoint);
    pager.wait_for("the end of the page", |body| body["event_action"] == "resolve");
    web.wait_for("the end", |body| body["status"] == "resolved" && down(body));
    eventually("the mail about the end", SOON, || mail.text().contains("RESOLVED] ServiceDown"));
    assert!(gateway.metric("mainstay_alert_notifications_total", &["receiver=\"web\"", "delivered"]) >= 2.0);
    drop(origin);
}

#[test]
fn receivers_that_are_down_slow_or_refuse_hear_of_everything_once_they_can() {
    let (refuses, slow, healthy) = (Inbox::start(), Inbox::start(), Inbox::start());
    refuses.set(Mood::Refuses);
    slow.set(Mood::Slow);
    let absent = free();
    let timeout = "timeout = \"300ms\"";
    let receivers = [
        hook("refuses", refuses.address(), timeout),
        hook("slow", slow.address(), timeout),
        hook("absent", absent, timeout),
        hook("healthy", healthy.address(), timeout),
    ];
    let (gateway, endpoint) = without_endpoints(&receivers.concat(), &at_once_both_ways());
    let down = |body: &Value| body.to_string().contains("ServiceDown");
    healthy.wait_for("one that works is told", |body| body["status"] == "firing" && down(body));
    for name in ["refuses", "slow", "absent"] {
        let label = format!("receiver=\"{name}\"");
        eventually("failures are counted", SOON, || {
            gateway.metric("mainstay_alert_notifications_total", &[&label, "failed"]) >= 3.0
        });
    }
    healthy.wait_for("and hears of the others", |body| body.to_string().contains("AlertDeliveryFailing"));
    let failed = alerts(&gateway)
        .iter()
        .flat_map(|it| it["notifications"].as_array().cloned().unwrap_or_default())
        .any(|told| {
            told["receiver"] == "refuses" && told["outcome"] == "failed" && told["detail"].to_string().contains("500")
        });
    assert!(failed, "{:?}", alerts(&gateway));
    // It ends before anybody who is down could be told: they are told all the same.
    let _origin = Origin::start_on(endpoint);
    healthy.wait_for("the end", |body| body["status"] == "resolved" && down(body));
    refuses.set(Mood::Works);
    slow.set(Mood::Works);
    let late = Inbox::start_on(absent);
    for inbox in [&refuses, &slow, &late] {
        inbox.wait_for("what ended meanwhile", |body| down(body) && body.to_string().contains("resolved"));
    }
}

#[test]
fn amtool_lists_alerts_and_makes_and_ends_silences() {
    let web = Inbox::start();
    let (gateway, _endpoint) = without_endpoints(&hook("web", web.address(), ""), AT_ONCE);
    web.wait_for("the alert", |body| body.to_string().contains("ServiceDown"));
    let relay = relay(&gateway.dir().join("admin.sock"));
    let amtool = |to: SocketAddr, arguments: &[&str]| -> String {
        let mut command = Command::new(tools::find("amtool", "prometheus-alertmanager"));
        let out = command.arg(format!("--alertmanager.url=http://{to}")).args(arguments).output().expect("amtool");
        assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).expect("text")
    };
    let listed: Value =
        serde_json::from_str(&amtool(gateway.admin_address(), &["alert", "query", "-o", "json"])).expect("JSON");
    let names: Vec<_> = listed.as_array().expect("a list").iter().map(|it| it["labels"]["alertname"].clone()).collect();
    assert!(names.contains(&"ServiceDown".into()), "{listed}");
    assert!(amtool(gateway.admin_address(), &["alert", "query", "service=other"]).lines().count() <= 1);
    assert!(amtool(gateway.admin_address(), &["config", "show"]).is_ascii());
    // A change is taken over the admin socket only.
    let add = ["silence", "add", "alertname=ServiceDown", "--duration=1h", "--author=anna", "--comment=rack moves"];
    let id = amtool(relay, &add).trim().to_owned();
    eventually("it is silenced", SOON, || {
        alerts(&gateway).iter().any(|it| it["name"] == "ServiceDown" && it["silenced_by"] == id.as_str())
    });
    assert!(amtool(relay, &["silence", "query"]).contains("rack moves"));
    let listed = String::from_utf8(gateway.command(&["silence", "list"]).stdout).expect("text");
    assert!(listed.contains(&id) && listed.contains("active") && listed.contains("anna"), "{listed}");
    amtool(relay, &["silence", "expire", &id]);
    eventually("it is not silenced any more", SOON, || {
        alerts(&gateway).iter().any(|it| it["name"] == "ServiceDown" && it["silenced_by"].is_null())
    });
    // The own command does the same.
    let made = gateway.command(&["silence", "add", "service=app", "--for", "5m", "--comment", "x", "--json"]);
    let made: Value = serde_json::from_slice(&made.stdout).expect("JSON");
    let id = made["id"].as_str().expect("an id");
    assert!(gateway.command(&["silence", "remove", id]).status.success());
    let refused = gateway.command(&["silence", "add", "service=~.*", "--comment", "x"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("silence everything"), "{refused:?}");
}

#[test]
fn what_was_told_is_known_after_a_kill() {
    let web = Inbox::start();
    let (mut gateway, _endpoint) = without_endpoints(&hook("web", web.address(), ""), AT_ONCE);
    web.wait_for("the alert", |body| body.to_string().contains("ServiceDown"));
    let fires = |gateway: &Mainstay| {
        let told = |it: &Value| it["notifications"][0]["outcome"] == "delivered";
        alerts(gateway).iter().any(|it| it["name"] == "ServiceDown" && it["state"] == "firing" && told(it))
    };
    eventually("it is noted that it was told", SOON, || fires(&gateway));
    let file = gateway.dir().join("data/alerts.json");
    eventually("it is on the disk, too", SOON, || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        text.split("\"sent\":").skip(1).any(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
    });
    let count = web.bodies().len();
    gateway.kill_and_restart();
    gateway.wait_until_ready();
    eventually("the new process knows it", SOON, || fires(&gateway));
    // Two looks, and as many times as its group may be told of again.
    thread::sleep(Duration::from_millis(2200));
    assert_eq!(web.bodies().len(), count, "nothing is told twice: {:?}", web.bodies());
}

fn of_a_cluster(place: &Place, to: SocketAddr) -> String {
    format!(
        "[cluster]\ntimings = \"default\"\nlisten = \"{}\"\n[[listener]]\nname = \"web\"\nbind = \"{}\"\n\
         [[service]]\nname = \"app\"\nendpoints = [\"127.0.0.1:1\"]\nhealth = {{ tcp = true, interval = \"300ms\", timeout = \"100ms\" }}\n{AT_ONCE}{}",
        place.peer,
        place.listen,
        hook("web", to, "timeout = \"5s\"")
    )
}

#[test]
fn an_evaluator_that_is_killed_while_it_tells_is_followed_by_another_node() {
    let web = Inbox::start();
    // It takes messages and confirms none, so that the first evaluator dies with one under way.
    web.set(Mood::Silent);
    let to = web.address();
    let mut nodes = Nodes::start(3, move |place| of_a_cluster(place, to));
    web.wait_for("a message that is not confirmed", |body| body.to_string().contains("ServiceDown"));
    let evaluator = |nodes: &Nodes, index: usize| {
        nodes.nodes[index].admin("/api/v1/alerts").json()["evaluator"].as_str().map(str::to_owned)
    };
    let first = evaluator(&nodes, 0).expect("somebody evaluates");
    let index = nodes.nodes.iter().position(|node| node.place.name == first).expect("a node of the cluster");
    nodes.nodes[index].kill();
    let before = web.bodies().len();
    web.set(Mood::Works);
    eventually("another node tells it", SOON, || {
        web.bodies().iter().skip(before).any(|body| body.to_string().contains("ServiceDown"))
    });
    web.wait_for("the dead node is told of, too", |body| {
        body.to_string().contains("NodeAway") && body.to_string().contains(&first)
    });
    let other = nodes.running().next().expect("a node that runs");
    let second = evaluator(&nodes, other).expect("somebody evaluates");
    assert_ne!(first, second);
    // Nothing is told again before its time.
    let count =
        |web: &Inbox| web.bodies().iter().skip(before).filter(|it| it.to_string().contains("ServiceDown")).count();
    let told = count(&web);
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(count(&web), told, "{:?}", web.bodies());
    // Without a quorum nobody has the role: the node that is left judges alone, from where the others were.
    let index = nodes.nodes.iter().position(|node| node.place.name == second).expect("a node of the cluster");
    nodes.nodes[index].kill();
    web.wait_for("there is no quorum any more", |body| body.to_string().contains("QuorumLost"));
    assert_eq!(count(&web), told, "what the others told is known: {:?}", web.bodies());
}

/// A port in front of the admin socket, as `socat` would be one.
fn relay(socket: &Path) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let socket: PathBuf = socket.to_owned();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(node) = UnixStream::connect(&socket) else { return };
            let (mut from, mut to) = (client.try_clone().expect("a copy"), node.try_clone().expect("a copy"));
            thread::spawn(move || {
                copy(&mut from, &mut to);
                let _gone = to.shutdown(Shutdown::Write);
            });
            thread::spawn(move || {
                let (mut node, mut client): (UnixStream, TcpStream) = (node, client);
                copy(&mut node, &mut client);
                let _gone = client.shutdown(Shutdown::Both);
            });
        }
    });
    address
}

fn copy(from: &mut impl Read, to: &mut impl Write) {
    let mut buffer = [0; 4096];
    while let Ok(count) = from.read(&mut buffer) {
        if count == 0 || to.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}
