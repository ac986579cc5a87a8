//! A server that somebody else has started becomes the primary of a group without being stopped.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mainstay_failover::Executor;
use mainstay_failover::redis::{Instance, Settings};

use super::group::{Group, PASSWORD, connect};

/// As a distribution's service starts it. It ends with this.
struct SomebodyElses(Child);

impl SomebodyElses {
    fn start(settings: &Settings, password: &str, lines: &str) -> Self {
        fs::create_dir_all(&settings.data_dir).expect("works");
        let config = settings.data_dir.parent().expect("it has one").join("theirs.conf");
        let text = format!(
            "bind {}\nport {}\ndir {}\nrequirepass \"{}\"\nsave 3600 1\n{lines}",
            settings.listen.ip(),
            settings.listen.port(),
            settings.data_dir.display(),
            password.replace('"', "\\\""),
        );
        fs::write(&config, text).expect("works");
        let mut command = Command::new(settings.bin_dir.join("redis-server"));
        let child = command.arg(&config).stdout(Stdio::null()).spawn().expect("it is installed");
        let begun = Instant::now();
        while std::net::TcpStream::connect(settings.listen).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "it does not come up");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self(child)
    }
}

impl Drop for SomebodyElses {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

async fn is_adopted_and_comes_back(lines: &str) {
    let mut theirs = None;
    let mut group = Group::prepared("maxmemory 1gb", |settings| {
        theirs = Some(SomebodyElses::start(settings, PASSWORD, lines));
        let mut client = connect(settings.listen).expect("it answers");
        redis::cmd("SET").arg("key1").arg(1).exec(&mut client).expect("it takes writes");
    });
    let (mut theirs, settings) = (theirs.expect("it was started"), group.nodes[0].settings.clone());
    // A client that is there stays.
    let mut client = connect(settings.listen).expect("it answers");
    let name: u64 = redis::cmd("CLIENT").arg("ID").query(&mut client).expect("it answers");
    group.until("three members", |group| group.is_whole(2)).await;
    assert!(group.serves("a"), "{:?}", group.plan);
    assert_eq!(group.nodes[0].instance.as_mut().and_then(Instance::process), Some(theirs.0.id()));
    group.write(2..50);
    assert_eq!(group.has(1, 1..50), 49, "a copy of what was there, and what came since");
    assert_eq!(redis::cmd("CLIENT").arg("ID").query::<u64>(&mut client).expect("it is not cut"), name);

    // The agent's next process finds it as it was.
    group.lose_agent(0);
    group.power_on(0);
    group.until("it is there", |group| group.is_whole(2)).await;
    assert!(group.serves("a"), "{:?}", group.plan);

    // It goes down and comes back as a member like the others.
    group.lose_agent(0);
    theirs.0.kill().expect("it runs");
    theirs.0.wait().expect("it was started here");
    group.until("a successor", |group| group.is_whole(1) && !group.serves("a")).await;
    group.power_on(0);
    group.until("its return", |group| group.is_whole(2)).await;
    assert_eq!(group.has(0, 1..50), 49);
    group.stop().await;
}

#[tokio::test]
async fn a_server_that_runs_already_is_adopted_without_a_stop() {
    is_adopted_and_comes_back("").await;
}

#[tokio::test]
async fn one_that_has_a_socket_is_asked_there() {
    let folder = tempfile::tempdir().expect("a directory");
    let socket = folder.path().join("theirs.sock");
    is_adopted_and_comes_back(&format!("unixsocket {}\nunixsocketperm 700\n", socket.display())).await;
}

#[tokio::test]
async fn one_whose_data_would_not_be_found_again_is_left_alone_and_why_is_said() {
    let (mut theirs, password) = (None, "another one");
    let mut group = Group::prepared("", |settings| theirs = Some(SomebodyElses::start(settings, password, "")));
    let settings = group.nodes[0].settings.clone();
    let mut said = async || {
        group.power_on(0);
        let instance = group.nodes[0].instance.as_mut().expect("just opened");
        let Err(error) = instance.observe(0).await else { return String::new() };
        assert!(instance.process().is_some(), "it runs on");
        error.to_string()
    };
    assert!(said().await.contains("refused its login"), "another password");
    drop(theirs.take());
    for (lines, why) in [
        ("appendonly yes\n", "append-only file"),
        ("dbfilename theirs.rdb\n", "`dbfilename` is not dump.rdb"),
        ("cluster-enabled yes\n", "Redis Cluster"),
    ] {
        let theirs = SomebodyElses::start(&settings, PASSWORD, lines);
        let said = said().await;
        assert!(said.contains(why), "{lines}: {said}");
        drop(theirs);
    }
    let _theirs = SomebodyElses::start(&settings, "", "protected-mode no\n");
    let said = said().await;
    assert!(said.contains("`requirepass` is not the group's password"), "{said}");
}
