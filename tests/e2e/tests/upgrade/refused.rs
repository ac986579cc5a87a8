//! Upgrades that cannot be: the process that serves goes on, and says why.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use mainstay_e2e::gateway::{built, simple};
use mainstay_e2e::process::Process;
use mainstay_e2e::wire::get;
use mainstay_e2e::{Mainstay, Origin, eventually, free};

use super::{HEALTH, SHUTDOWN, clean, echo, loads, open_tunnel, serving_pid};

fn script(dir: &Path, name: &str, run: &str) -> PathBuf {
    let path = dir.join(name);
    let real = built("mainstay");
    let text = format!(
        "#!/bin/sh\ncase \"$1\" in --version|check) exec {} \"$@\";; esac\necho \"first words\" >&2\n{run}\n",
        real.display()
    );
    std::fs::write(&path, text).expect("a script");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("an executable");
    path
}

fn told(output: &Output) -> String {
    assert_ne!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn broken_programs_change_nothing() {
    let origin = Origin::start();
    let listen = free();
    let mut gateway = Mainstay::start_with(SHUTDOWN, &simple(listen, &[origin.address()], HEALTH));
    let mut tunnel = open_tunnel(listen);
    let loads = loads(listen);
    let dir = gateway.dir().to_owned();
    let hangs = script(&dir, "hangs", "exec sleep 60");
    let dies = script(&dir, "dies", "echo \"last words\" >&2; exit 3");
    // Takes the sockets and everything else, and then dies where it should say that it is ready.
    let half = script(&dir, "half", &format!("exec {} run -c nonsense", built("mainstay").display()));
    for (program, why) in [
        (PathBuf::from("/bin/false"), "/bin/false --version failed"),
        (PathBuf::from("/bin/echo"), "is not mainstay"),
        (PathBuf::from("/nonexistent/mainstay"), "cannot run /nonexistent/mainstay"),
        (hangs, "was not ready within 2 s"),
        (dies, "ended before it served: exit status: 3\n  | first words\n  | last words"),
        (half.clone(), "ended before it served"),
    ] {
        let program = program.display().to_string();
        let text = told(&gateway.command(&["upgrade", "--timeout", "2", "--binary", &program]));
        assert!(text.contains(why), "{program}: {text}");
        assert!(text.contains("the node serves as before"), "{text}");
        assert_eq!(serving_pid(&gateway), u64::from(gateway.process().pid()));
        assert_eq!(get(gateway.admin_address(), "/ready").status, 200);
        echo(&mut tunnel, &program);
    }
    clean(loads);
    let before = gateway.descriptors();
    for _each in 0..5 {
        told(&gateway.command(&["upgrade", "--binary", &half.display().to_string()]));
    }
    eventually("what was opened for the failed processes is closed", Duration::from_secs(10), || {
        gateway.descriptors() <= before + 3
    });
    gateway.upgrade(&[]);
    assert_eq!(get(listen, "/ok").status, 200);
}

#[test]
fn a_configuration_that_the_new_program_does_not_accept_is_refused() {
    let origin = Origin::start();
    let listen = free();
    let good = simple(listen, &[origin.address()], HEALTH);
    let mut gateway = Mainstay::start_with(SHUTDOWN, &good);
    gateway.write_config(&good.replace("endpoints", "endpionts"));
    gateway.process().wait_for_log("configuration refused", 1, Duration::from_secs(15));
    let text = told(&gateway.command(&["upgrade"]));
    assert!(text.contains("does not accept") && text.contains("endpionts"), "{text}");
    assert_eq!(serving_pid(&gateway), u64::from(gateway.process().pid()));
    assert_eq!(get(listen, "/ok").status, 200);
    // One that passes the check and cannot be served: the address belongs to somebody else.
    let taken = std::net::TcpListener::bind(free()).expect("a free address");
    let address = taken.local_addr().expect("an address");
    gateway.write_config(&format!("{good}\n[[listener]]\nname = \"more\"\nbind = \"{address}\"\n"));
    let text = told(&gateway.command(&["upgrade"]));
    assert!(text.contains("ended before it served") && text.contains("cannot listen on"), "{text}");
    assert_eq!(get(listen, "/ok").status, 200);
    assert!(gateway.command(&["status"]).status.success(), "the admin socket is still there");
    gateway.write_config(&good);
    gateway.upgrade(&[]);
}

#[test]
fn one_at_a_time_and_none_while_leaving() {
    let origin = Origin::start();
    let listen = free();
    let mut gateway = Mainstay::start_with(SHUTDOWN, &simple(listen, &[origin.address()], HEALTH));
    let hangs = script(gateway.dir(), "hangs", "exec sleep 60");
    let mut command = std::process::Command::new(built("mainstay"));
    command.args(["upgrade", "--timeout", "4", "--binary"]).arg(hangs);
    command.arg("--admin-socket").arg(gateway.dir().join("admin.sock")).stdin(Stdio::null());
    let mut first = Process::start("first", gateway.dir(), &mut command, None);
    first.wait_for_log("is started", 1, Duration::from_secs(10));
    let text = told(&gateway.command(&["upgrade"]));
    assert!(text.contains("another upgrade is under way"), "{text}");
    assert_eq!(first.wait(Duration::from_secs(20)).and_then(|status| status.code()), Some(1));
    let _held_open = open_tunnel(listen);
    gateway.process().signal(libc::SIGTERM);
    eventually("the node leaves", Duration::from_secs(5), || get(gateway.admin_address(), "/ready").status == 503);
    let text = told(&gateway.command(&["upgrade"]));
    assert!(text.contains("leaves already"), "{text}");
}

#[test]
fn sigterm_during_an_upgrade_ends_both_processes() {
    let origin = Origin::start();
    let listen = free();
    let mut gateway = Mainstay::start_with(SHUTDOWN, &simple(listen, &[origin.address()], HEALTH));
    let pid = gateway.dir().join("pid");
    let hangs = script(gateway.dir(), "hangs", &format!("echo $$ > {}; exec sleep 60", pid.display()));
    let (socket, hangs) = (gateway.dir().join("admin.sock"), hangs.display().to_string());
    let asking = std::thread::spawn(move || {
        let socket = socket.display().to_string();
        mainstay_e2e::gateway::cli(&["upgrade", "--binary", &hangs, "--admin-socket", &socket])
    });
    gateway.process().wait_for_log("first words", 1, Duration::from_secs(10));
    let begun = Instant::now();
    assert_eq!(gateway.terminate(Duration::from_secs(10)).code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(8));
    told(&asking.join().expect("no panic"));
    let pid = std::fs::read_to_string(pid).expect("the process that was to take over");
    assert!(!Path::new("/proc").join(pid.trim()).exists(), "it ended as well");
}
