//! nginx.

use super::Addresses;
use crate::site::Site;
use std::path::Path;

pub(super) fn arguments(config: &Path, log: &Path, site: &Site) -> Vec<String> {
    let words = ["-p".as_ref(), site.work(), "-e".as_ref(), log, "-c".as_ref(), config];
    words.iter().map(|word| word.display().to_string()).collect()
}

pub(super) fn config(addresses: Addresses, site: &Site) -> String {
    let [first, second] = site.origin_ports;
    let Addresses { plain, tls, clear_h2, .. } = addresses;
    let (cert, key, work) = (site.file("cert.pem"), site.file("key.pem"), site.work().display());
    format!(
        "daemon off;
worker_processes 1;
pid {work}/nginx.pid;
error_log stderr error;
events {{ worker_connections 11500; multi_accept on; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    tcp_nodelay on;
    client_body_temp_path {work}/nginx-body;
    proxy_temp_path {work}/nginx-proxy;
    proxy_max_temp_file_size 0;
    fastcgi_temp_path {work}/nginx-fastcgi;
    uwsgi_temp_path {work}/nginx-uwsgi;
    scgi_temp_path {work}/nginx-scgi;
    upstream origin {{
        server 127.0.0.1:{first};
        server 127.0.0.1:{second};
        keepalive 512;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {plain} backlog=4096;
        listen {clear_h2} http2 backlog=4096;
        listen {tls} ssl http2 backlog=4096;
        ssl_certificate {};
        ssl_certificate_key {};
        ssl_protocols TLSv1.3;
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_buffers 16 16k;
            proxy_buffer_size 16k;
        }}
    }}
}}
",
        cert.display(),
        key.display()
    )
}
