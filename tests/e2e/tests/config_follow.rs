//! `mainstay config apply` sees a release to its end, also if the node breaks off in between.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mainstay_e2e::cluster::{Nodes, plain};

/// A way to the admin socket that breaks off the first connection after this time, as a node does that restarts or finds it too
/// old. Answers where it is, and counts connections.
fn broken_way(dir: &Path, to: PathBuf, after: Duration) -> (PathBuf, Arc<AtomicUsize>) {
    let (place, connections) = (dir.join("way.sock"), Arc::new(AtomicUsize::new(0)));
    let listener = UnixListener::bind(&place).expect("a socket");
    let counted = Arc::clone(&connections);
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, to, nth) = (client.expect("a client"), to.clone(), counted.fetch_add(1, Ordering::Relaxed));
            std::thread::spawn(move || {
                let node = UnixStream::connect(to).expect("the node");
                if nth == 0 {
                    let (client, node) = (client.try_clone().expect("it"), node.try_clone().expect("it"));
                    std::thread::spawn(move || {
                        std::thread::sleep(after);
                        let _ended = (client.shutdown(Shutdown::Both), node.shutdown(Shutdown::Both));
                    });
                }
                let (back, forth) = (node.try_clone().expect("it"), client.try_clone().expect("it"));
                std::thread::spawn(move || carry(back, forth));
                carry(client, node);
            });
        }
    });
    (place, connections)
}

fn carry(mut from: UnixStream, mut to: UnixStream) {
    let mut bytes = [0; 4096];
    while let Ok(count) = from.read(&mut bytes)
        && count > 0
        && to.write_all(&bytes[..count]).is_ok()
    {}
    let _ended = to.shutdown(Shutdown::Write);
}

#[test]
fn a_release_is_followed_to_its_end_after_the_node_broke_off() {
    let cluster = Nodes::start(1, plain);
    let node = &cluster.nodes[0];
    let (way, connections) = broken_way(node.dir(), node.dir().join("admin.sock"), Duration::from_secs(2));
    let config = "[[listener]]\nname = \"web\"\nbind = \"127.0.0.1:0\"\n[[service]]\nname = \"app\"\nendpoints = [\"127.0.0.1:1\"]\n";
    let config = config.replace("127.0.0.1:0", &node.place.listen.to_string());
    std::fs::write(node.dir().join("shared.toml"), config).expect("a configuration");
    let way = way.display().to_string();
    let output = node.try_command(&["config", "apply", "shared.toml", "--bake", "4s", "--admin", &way]);
    let (said, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{failed}");
    assert!(said.contains("all 1 nodes serve version 1"), "{said}");
    assert!(connections.load(Ordering::Relaxed) > 1, "it was asked again");
}
