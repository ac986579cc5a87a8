//! Ours, as a user would run it.

use super::Addresses;
use crate::site::Site;
use std::path::Path;

pub(super) fn arguments(config: &Path) -> Vec<String> {
    vec!["run".to_owned(), "-c".to_owned(), config.display().to_string()]
}

pub(super) fn config(addresses: Addresses, site: &Site, access_log: Option<&Path>) -> String {
    let [first, second] = site.origin_ports;
    let Addresses { plain, tls, admin, .. } = addresses;
    let log = access_log.map_or("off".to_owned(), |path| path.display().to_string());
    let socket = site.file(if access_log.is_some() { "admin.sock" } else { "admin-no-log.sock" });
    format!(
        "[node]
name = \"bench\"
workers = 1
admin = \"{admin}\"
admin_socket = \"{}\"
access_log = \"{log}\"

[[listener]]
name = \"plain\"
bind = \"{plain}\"
keep_alive_timeout = \"10m\"

[[listener]]
name = \"tls\"
bind = \"{tls}\"
tls = {{ cert = \"cert.pem\", key = \"key.pem\" }}

[[route]]
name = \"all\"
service = \"origin\"
retry = {{ attempts = 3, on = [\"5xx\", \"timeout\"] }}

[[service]]
name = \"origin\"
balance = \"least-request\"
health = {{ http = \"/health\", interval = \"2s\", timeout = \"1s\" }}
endpoints = [\"127.0.0.1:{first}\", \"127.0.0.1:{second}\"]
",
        socket.display()
    )
}
