//! Caddy.

use super::Addresses;
use crate::site::Site;
use std::path::Path;

pub(super) fn arguments(config: &Path) -> Vec<String> {
    let config = config.display().to_string();
    ["run", "--adapter", "caddyfile", "--config", &config].map(str::to_owned).to_vec()
}

pub(super) fn config(addresses: Addresses, site: &Site) -> String {
    let [first, second] = site.origin_ports;
    let Addresses { plain, tls, .. } = addresses;
    let (cert, key) = (site.file("cert.pem"), site.file("key.pem"));
    format!(
        "{{
	admin off
	auto_https off
	servers {{
		protocols h1 h2 h2c
		timeouts {{
			idle 10m
		}}
	}}
}}
(origin) {{
	bind 127.0.0.1
	reverse_proxy 127.0.0.1:{first} 127.0.0.1:{second} {{
		lb_policy round_robin
		transport http {{
			keepalive_idle_conns_per_host 512
		}}
	}}
}}
http://:{} {{
	import origin
}}
https://:{} {{
	tls {} {} {{
		protocols tls1.3
	}}
	import origin
}}
",
        plain.port(),
        tls.port(),
        cert.display(),
        key.display()
    )
}
