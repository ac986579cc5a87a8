//! Two machines with a PostgreSQL each in a cluster of five, whose other nodes die: a primary whose members confirm it goes on,
//! and so does one that is paused, until a command has ended its machine.

use std::path::Path;
use std::time::{Duration, Instant};

use mainstay_e2e::eventually;
use mainstay_e2e::lab::databases::{Databases, GROUP};
use mainstay_e2e::lab::writer::{Writer, prepare, rows};
use mainstay_e2e::lab::{Cut, signal_tree};
use mainstay_e2e::soak;

const SOON: Duration = Duration::from_secs(90);
const NODES: usize = 5;
const MEMBERS: usize = 2;
/// Three times as long as a lease lives.
const LONG: Duration = Duration::from_secs(8);

fn quorum_goes(databases: &mut Databases) {
    for node in MEMBERS..NODES {
        databases.nodes().kill(node);
    }
    eventually("no node has a lease", SOON, || {
        (0..MEMBERS).all(|node| databases.status(node)[0]["is_current"] == false)
    });
}

fn quorum_comes(databases: &mut Databases) {
    for node in MEMBERS..NODES {
        databases.nodes().launch(node);
    }
}

/// A node that has just lost its lease, or has none yet, does not know what it is asked, and is asked again.
fn run(databases: &mut Databases, arguments: &[&str]) -> String {
    let mut told = String::new();
    eventually("a command", SOON, || {
        let output = databases.nodes().command(0, arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() || error.contains("does not know how"), "{arguments:?}: {error}");
        told = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success()
    });
    told
}

/// What a server says of itself. One whose machine is frozen is not to be asked.
fn takes_writes(databases: &Databases, node: usize) -> Option<bool> {
    let row = databases.superuser(node).ok()?.query_one("SELECT NOT pg_is_in_recovery()", &[]).ok()?;
    row.try_get(0).ok()
}

/// Writes are acknowledged all the time, or from now on.
fn goes_on(writer: &Writer, what: &str) {
    let since = Instant::now();
    eventually(what, SOON, || writer.goes_on(since));
}

/// Its machine is cut off while it is paused: that it runs without a lease nobody else can know, and only the command ends that.
fn fenced_after_a_pause(mut databases: Databases, writer: &Writer, pids: &Path) {
    let primary = databases.settle();
    let other = 1 - primary;
    let told = run(&mut databases, &["database", "pause", GROUP, "--yes"]);
    assert!(told.contains("it is in force"), "{told}");
    databases.lab().cut(primary, Cut::Both);
    eventually("it is away", SOON, || databases.status(other)[0]["members"][primary]["state"] == "away");
    assert_eq!(takes_writes(&databases, primary), Some(true), "it runs on");
    let ended = [databases.nodes().process(primary).pid(), databases.postmaster(primary).expect("it runs")];
    let resumed = databases.nodes().command(other, &["database", "resume", GROUP, "--yes", "--wait", "0"]);
    assert!(resumed.status.success(), "{}", String::from_utf8_lossy(&resumed.stderr));
    // Without the processes' numbers the command fails, and nobody takes over.
    eventually("nobody knows", SOON, || databases.status(other)[0]["obstacle"]["code"] == "not-fenced");
    std::thread::sleep(LONG);
    assert_eq!(databases.status(other)[0]["obstacle"]["code"], "not-fenced");
    let text = ended.map(|pid| pid.to_string()).join(" ");
    std::fs::write(format!("{}.n{primary}", pids.display()), text).expect("a file");
    goes_on(writer, "writes after the machine was ended");
    assert_eq!(takes_writes(&databases, other), Some(true));
    databases.lab().heal(primary);
    databases.nodes().process(primary).kill();
    databases.power_on(primary);
    databases.settle();
}

#[test]
fn a_primary_goes_on_without_a_quorum_while_every_member_confirms_it_or_it_is_paused() {
    let folder = tempfile::tempdir().expect("a directory");
    let (script, pids) = (folder.path().join("fence"), folder.path().join("pids"));
    // It ends what runs on the machine, as a switch of its power supply would.
    std::fs::write(&script, format!("xargs kill -KILL < {}.$1\n", pids.display())).expect("a script");
    let stonith =
        format!("fencing = {{ stonith = {{ command = [\"/bin/sh\", \"{}\", \"{{node}}\"] }} }}", script.display());
    let lines = format!("durability = \"async\"\nfailsafe = true\n{stonith}");
    let mut databases = Databases::among(NODES, MEMBERS, "", &lines);
    let primary = databases.settle();
    let mut client = databases.superuser(primary).expect("it answers");
    prepare(&mut client).expect("a table");
    client.batch_execute("GRANT ALL ON rows TO app").expect("the role is there");
    drop(client);
    let servers: Vec<_> = (0..MEMBERS).map(|node| databases.server(node)).collect();
    let writer = Writer::start(&databases.lab().client(), &servers, &Databases::login());
    goes_on(&writer, "the first writes");
    soak::repeat("no quorum", || {
        confirmed_by_every_member(&mut databases, &writer);
        paused(&mut databases, &writer);
    });
    let acknowledged = writer.acknowledged();
    let primary = databases.settle();
    let found = rows(&mut databases.superuser(primary).expect("it answers")).expect("rows");
    assert!(acknowledged.is_subset(&found), "{:?} are lost", acknowledged.difference(&found).collect::<Vec<_>>());
    // What is acknowledged from here on may be on the machine alone that is cut off.
    fenced_after_a_pause(databases, &writer, &pids);
}

fn confirmed_by_every_member(databases: &mut Databases, writer: &Writer) {
    let primary = databases.settle();
    let other = 1 - primary;
    let before = Instant::now();
    quorum_goes(databases);
    std::thread::sleep(LONG);
    goes_on(writer, "writes without a quorum");
    let gap = writer.gap(before, Instant::now());
    eprintln!("confirmed: nobody acknowledged for {gap:?}");
    assert_eq!(databases.primaries(), [primary]);
    let told = databases.status(primary)[0]["members"][primary]["action"].to_string();
    assert!(told.contains("every member confirms it"), "{told}");

    // One that does not answer is enough to stop it.
    let agent = databases.nodes().process(other).pid();
    signal_tree(agent, "STOP");
    eventually("it stops taking writes", SOON, || takes_writes(databases, primary) == Some(false));
    signal_tree(agent, "CONT");
    quorum_comes(databases);
    goes_on(writer, "writes with a quorum");
}

/// Nobody needs to be asked.
fn paused(databases: &mut Databases, writer: &Writer) {
    let primary = databases.settle();
    let told = run(databases, &["database", "pause", GROUP, "--yes"]);
    assert!(told.contains("it is in force"), "{told}");
    quorum_goes(databases);
    let agent = databases.nodes().process(1 - primary).pid();
    signal_tree(agent, "STOP");
    std::thread::sleep(LONG);
    goes_on(writer, "writes of a paused primary");
    assert_eq!(takes_writes(databases, primary), Some(true));
    signal_tree(agent, "CONT");
    quorum_comes(databases);
    eventually("it is current", SOON, || databases.status(0)[0]["is_current"] == true);
    let told = run(databases, &["database", "resume", GROUP, "--yes"]);
    assert!(told.contains("is not paused any more"), "{told}");
    databases.settle();
    goes_on(writer, "writes after the pause");
}
