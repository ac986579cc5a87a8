//! Two network namespaces, joined by a cable.

use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// Two namespaces with an interface `port` each. Dropping it deletes them.
pub(crate) struct Cable {
    pub(crate) near: String,
    pub(crate) far: String,
}

impl Cable {
    pub(crate) fn new() -> Self {
        let name = format!("ma{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let cable = Self { near: format!("{name}n"), far: format!("{name}f") };
        for namespace in [&cable.near, &cable.far] {
            ip(&["netns", "add", namespace]);
            ip(&["-n", namespace, "link", "set", "lo", "up"]);
        }
        ip(&["-n", &cable.near, "link", "add", "port", "type", "veth", "peer", "port", "netns", &cable.far]);
        for (namespace, host) in [(&cable.near, 1), (&cable.far, 2)] {
            ip(&["-n", namespace, "link", "set", "port", "up"]);
            ip(&["-n", namespace, "addr", "add", &format!("10.0.1.{host}/24"), "dev", "port"]);
            ip(&["-n", namespace, "addr", "add", &format!("2001:db8::{host}/64"), "dev", "port", "nodad"]);
        }
        cable
    }

    /// Runs `work` on a thread that is in one of the namespaces.
    pub(crate) fn within<T: Send>(&self, namespace: &str, work: impl FnOnce() -> T + Send) -> T {
        let handle = File::open(format!("/run/netns/{namespace}")).expect("the namespace");
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
                move_into_link_name_space(handle.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("root may change namespaces");
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    pub(crate) fn near<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.within(&self.near, work)
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for namespace in [&self.near, &self.far] {
            let _gone = Command::new("ip").args(["netns", "del", namespace]).status();
        }
    }
}

/// Runs `ip`, which must succeed.
pub(crate) fn ip(arguments: &[&str]) -> String {
    let output = Command::new("ip").args(arguments).output().expect("`ip` is missing: apt-get install iproute2");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments:?} (the test needs root): {told}");
    String::from_utf8(output.stdout).expect("`ip` speaks UTF-8")
}
