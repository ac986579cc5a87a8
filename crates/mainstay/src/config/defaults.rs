//! Defaults that depend on the machine.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Where the admin interface listens.
pub const ADMIN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 7900));

/// One worker a core.
pub fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The host's name.
pub fn node_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "mainstay".to_owned(),
        name => name.to_owned(),
    }
}

/// The admin socket: in the user's runtime folder if there is one, else in `/run` for root, else in a folder of the
/// user's own in `/tmp`. `mainstay status` and `mainstay drain` look for it in the same place.
pub fn admin_socket() -> PathBuf {
    if let Some(folder) = std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty()) {
        return PathBuf::from(folder).join("mainstay/admin.sock");
    }
    // The owner of a process's entry is its effective user.
    match std::fs::metadata("/proc/self").map(|entry| entry.uid()) {
        Ok(0) => PathBuf::from("/run/mainstay/admin.sock"),
        Ok(user) => PathBuf::from(format!("/tmp/mainstay-{user}/admin.sock")),
        Err(_) => PathBuf::from("/tmp/mainstay/admin.sock"),
    }
}
