//! HAProxy.

use super::Addresses;
use crate::site::Site;
use std::path::Path;

pub(super) fn arguments(config: &Path) -> Vec<String> {
    vec!["-db".to_owned(), "-f".to_owned(), config.display().to_string()]
}

pub(super) fn config(addresses: Addresses, site: &Site) -> String {
    let [first, second] = site.origin_ports;
    let Addresses { plain, tls, clear_h2, .. } = addresses;
    format!(
        "global
    nbthread 1
    no strict-limits
    maxconn 10500
    ssl-default-bind-options ssl-min-ver TLSv1.3
defaults
    mode http
    http-reuse always
    timeout connect 5s
    timeout client 10m
    timeout server 60s
    timeout http-keep-alive 10m
frontend plain
    bind {plain} backlog 4096
    bind {clear_h2} proto h2 backlog 4096
    default_backend origin
frontend tls
    bind {tls} ssl crt {} alpn h2,http/1.1 backlog 4096
    default_backend origin
backend origin
    balance roundrobin
    server one 127.0.0.1:{first}
    server two 127.0.0.1:{second}
",
        site.file("both.pem").display()
    )
}
