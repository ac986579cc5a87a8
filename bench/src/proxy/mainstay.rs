//! Ours, as a user would run it.

use super::{Addresses, PATTERNS, TELEMETRY};
use crate::site::Site;
use std::path::Path;

pub(super) fn arguments(config: &Path) -> Vec<String> {
    vec!["run".to_owned(), "-c".to_owned(), config.display().to_string()]
}

/// Every pattern that a route may have, none of which limits anything here.
const ROUTE_PATTERNS: &str = "deadline = true
rate_limit = [{ rate = \"10000000/s\" }, { rate = \"10000000/s\", key = \"client\" }]
bulkhead = { concurrency = 1000, queue = 1000 }
adaptive = true
criticality = \"normal\"
breaker = { failure_rate = \"50%\", slow_rate = \"50%\", slow_after = \"1s\" }
fallback = { empty = true }
";

/// Those of a service.
const SERVICE_PATTERNS: &str = "breaker = { failure_rate = \"50%\", consecutive = 5 }
";

/// Everything that is told of requests besides counters: traces, lines of those that are of interest and of one in a hundred of
/// the rest, as they are recommended for much traffic, and all of it sent to a collector. What it is counted and remembered by
/// cannot be turned off. The origin plays the collector.
fn telemetry(site: &Site) -> String {
    let [collector, _] = site.origin_ports;
    format!(
        "[tracing]

[events]
sample = \"1%\"

[otlp]
endpoint = \"http://127.0.0.1:{collector}\"
metrics_interval = \"1s\"
"
    )
}

pub(super) fn config(addresses: Addresses, site: &Site, access_log: Option<&Path>, name: &str) -> String {
    let [first, second] = site.origin_ports;
    let Addresses { plain, tls, admin, .. } = addresses;
    let log = access_log.map_or("off".to_owned(), |path| path.display().to_string());
    let socket = site.file(&format!("admin-{}.sock", admin.port()));
    let (route, service) = if name == PATTERNS { (ROUTE_PATTERNS, SERVICE_PATTERNS) } else { ("", "") };
    let telemetry = if name == TELEMETRY { telemetry(site) } else { String::new() };
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
{route}
[[service]]
name = \"origin\"
balance = \"least-request\"
health = {{ http = \"/health\", interval = \"2s\", timeout = \"1s\" }}
endpoints = [\"127.0.0.1:{first}\", \"127.0.0.1:{second}\"]
{service}
{telemetry}",
        socket.display()
    )
}
