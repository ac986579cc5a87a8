//! What the service manager hears: the unit stays up, and its main process is the new one.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use mainstay_e2e::gateway::simple;
use mainstay_e2e::{Mainstay, Origin, free};

use super::{HEALTH, SHUTDOWN};

struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    /// The next message as its assignments, without the text for people and the time.
    fn heard(&self) -> Vec<String> {
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).expect("a message within 15 s");
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        let of_interest = |line: &&str| !line.starts_with("STATUS=") && !line.starts_with("MONOTONIC_USEC=");
        text.lines().filter(of_interest).map(str::to_owned).collect()
    }
}

#[test]
fn the_service_manager_follows_the_main_process() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(15))).expect("a limit");
    let manager = Manager { socket };
    let origin = Origin::start();
    let config = simple(free(), &[origin.address()], HEALTH);
    let shell = format!("export NOTIFY_SOCKET={}", path.display());
    let mut gateway = Mainstay::launch_after(&shell, SHUTDOWN, &config, &[]);
    assert_eq!(manager.heard(), ["READY=1"]);
    gateway.reload(&config);
    assert_eq!(manager.heard(), ["RELOADING=1"]);
    assert_eq!(manager.heard(), ["READY=1"]);
    // A failed one: the main process stays what it is.
    assert!(!gateway.command(&["upgrade", "--binary", "/bin/false"]).status.success());
    assert_eq!((manager.heard(), manager.heard()), (vec!["RELOADING=1".to_owned()], vec!["READY=1".to_owned()]));
    for _round in 0..2 {
        let done = gateway.upgrade(&[]);
        assert_eq!(manager.heard(), ["RELOADING=1"]);
        assert_eq!(manager.heard(), [format!("MAINPID={}", done["new_pid"]), "READY=1".to_owned()]);
    }
    // The first process says nothing as it leaves: STOPPING=1 would end the unit.
    assert!(gateway.process().wait(Duration::from_secs(10)).is_some());
    gateway.successor().signal(libc::SIGTERM);
    assert_eq!(manager.heard(), ["STOPPING=1"]);
}
