//! A server that somebody else has started becomes the primary of a group without being stopped.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::process::Command;

use mainstay_core::database::Durability;
use mainstay_failover::postgres::Settings;

use super::group::Group;
use super::sql;

/// Runs a program as the server's user.
fn run(settings: &Settings, program: &str, arguments: &[&str]) {
    let mut command = Command::new(settings.bin_dir.join(program));
    if let Some(user) = settings.user {
        command.uid(user.uid).gid(user.gid);
    }
    let said = settings.data_dir.parent().expect("it has one").join("program.log");
    let log = fs::File::options().create(true).append(true).open(&said).expect("it can be written");
    let errors = log.try_clone().expect("works");
    let status = command.args(arguments).current_dir("/").stdout(log).stderr(errors).status().expect("it is installed");
    assert!(status.success(), "{program} {arguments:?}: {}", fs::read_to_string(said).unwrap_or_default());
}

/// A cluster as a distribution makes it: rules for local users, its socket elsewhere, and a setting by `ALTER SYSTEM`.
fn somebody_elses(settings: &Settings) {
    let folder = settings.data_dir.parent().expect("it has one");
    let socket = folder.join("socket");
    for folder in [folder, socket.as_path()] {
        fs::create_dir_all(folder).expect("works");
        if let Some(user) = settings.user {
            chown(folder, Some(user.uid), Some(user.gid)).expect("root may");
        }
    }
    let data = settings.data_dir.display().to_string();
    run(settings, "initdb", &["-D", &data, "-U", "postgres", "-A", "peer", "-N", "--no-locale", "-E", "UTF8"]);
    let config = settings.data_dir.join("postgresql.conf");
    let lines = format!(
        "listen_addresses = '{}'\nport = {}\nunix_socket_directories = '{}'\nshared_buffers = 16MB\nfsync = off\n\
         work_mem = 5MB\nmax_connections = 40\n",
        settings.listen.ip(),
        settings.listen.port(),
        socket.display()
    );
    fs::write(&config, fs::read_to_string(&config).expect("initdb made it") + &lines).expect("works");
    fs::write(settings.data_dir.join("postgresql.auto.conf"), "synchronous_standby_names = 'nobody'\n").expect("works");
    run(settings, "pg_ctl", &["-D", &data, "-w", "-l", &format!("{data}.log"), "start"]);
    let port = settings.listen.port().to_string();
    let make = "SET synchronous_commit = local; CREATE TABLE rows AS SELECT 7 AS n";
    run(settings, "psql", &["-h", &socket.display().to_string(), "-p", &port, "-U", "postgres", "-c", make]);
}

fn postmaster(settings: &Settings) -> String {
    let text = fs::read_to_string(settings.data_dir.join("postmaster.pid")).expect("it runs");
    text.lines().next().expect("a number").to_owned()
}

#[tokio::test]
async fn a_cluster_that_runs_already_is_adopted_without_a_stop_and_keeps_what_it_was_told() {
    let mut pid = String::new();
    let mut group = Group::prepared(Durability::SyncPreferred, |settings| {
        somebody_elses(settings);
        pid = postmaster(settings);
    });
    let settings = group.nodes[0].settings.clone();
    group.until("three members", |group| group.is_whole(2)).await;
    assert!(group.serves("a"), "{:?}", group.plan);
    assert_eq!(postmaster(&settings), pid, "it was not started anew");
    let of_b = group.nodes[1].settings.clone();
    assert_eq!(sql(&of_b, "SELECT n FROM rows").await.expect("it can be read"), ["7"]);

    // It goes down and comes back as a member like the others; what it was told before is true still.
    group.power_off(0);
    group.until("a successor", |group| group.is_whole(1) && !group.serves("a")).await;
    group.power_on(0);
    group.until("its return", |group| group.is_whole(2)).await;
    let shown = sql(&settings, "SELECT current_setting('work_mem') || ' ' || current_setting('port')").await;
    assert_eq!(shown.expect("it can be read"), [format!("5MB {}", settings.listen.port())]);
    assert_ne!(postmaster(&settings), pid);
    group.stop().await;
}
