//! `[[listener]]`: where connections come in.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use mainstay_gateway::spec::{
    CertificateFiles, ClientAuth, Http, Http2, Listener, ListenerTls, Protocol, ProxyProtocol,
};

use super::problem::Fault;
use super::reader::{Field, Item, Place, Section};
use super::{WEEK, keys, words};

const MILLI: Duration = Duration::from_millis(1);

/// Keys that only mean something on one kind of listener.
const HTTP_ONLY: &[&str] = &[
    "trusted_proxies",
    "head_timeout",
    "keep_alive_timeout",
    "body_timeout",
    "max_head",
    "max_headers",
    "redirect_https",
    "http2",
    "max_streams",
];
const TCP_ONLY: &[&str] = &["service", "idle_timeout"];

/// A listener, and where it stands.
pub(super) struct Read {
    pub(super) listener: Listener,
    pub(super) place: Place,
    pub(super) name: Place,
    pub(super) bind: Field<SocketAddr>,
    /// Where TLS is set up.
    pub(super) tls: Option<Place>,
    /// Where a TCP listener names its service.
    pub(super) service: Option<Place>,
}

impl Read {
    /// Whether routes serve it.
    pub(super) fn takes_routes(&self) -> bool {
        matches!(&self.listener.protocol, Protocol::Http(Http { redirect_https: None, .. }))
    }
}

/// What a listener does unless it is told otherwise.
pub(super) fn default_http() -> Http {
    Http {
        trusted_proxies: Vec::new(),
        head_timeout: Duration::from_secs(10),
        keep_alive_timeout: Duration::from_secs(60),
        body_timeout: Duration::from_secs(30),
        max_head_bytes: 64 * 1024,
        max_headers: 100,
        redirect_https: None,
        http2: Some(Http2::default()),
    }
}

/// A load balancer sends its header at once; what takes longer is something else.
const PROXY_HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections open at once.
pub(super) const MAX_CONNECTIONS: usize = 65_536;

pub(super) fn read(section: &Section<'_>) -> Read {
    let name = super::read_name(section);
    let unspecified = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    section.required("bind", "write bind = \"0.0.0.0:8080\"");
    let bind = section.field("bind", unspecified, |item| item.parsed(words::bind));
    if bind.is_given && bind.is_good && bind.value.port() == 0 {
        let fault = Fault::new("port 0 lets the system choose another port at every start");
        section.reader.warn(&bind.place, fault.hint("name the port that clients use"));
    }
    let is_tcp = section.field("protocol", false, |item| item.one_of(&[("http", false), ("tcp", true)]));
    let max_connections = section.integer("max_connections", MAX_CONNECTIONS as u64, 1..=10_000_000).value;
    if is_tcp.is_good {
        refuse_keys(section, if is_tcp.value { HTTP_ONLY } else { TCP_ONLY }, is_tcp.value);
    }
    let proxy_protocol = section.field("proxy_protocol", None, read_proxy_protocol).value;
    let tls_item = section.item("tls");
    let tls = tls_item.as_ref().and_then(read_tls);
    let (protocol, service) = if is_tcp.value { read_tcp(section) } else { (Protocol::Http(read_http(section)), None) };
    let listener = Listener {
        name: name.value,
        bind: bind.value,
        floating: false,
        proxy_protocol,
        tls,
        max_connections: usize::try_from(max_connections).unwrap_or(MAX_CONNECTIONS),
        protocol,
    };
    let tls = tls_item.map(|item| item.place);
    Read { listener, place: section.place.clone(), name: name.place, bind, tls, service }
}

fn refuse_keys(section: &Section<'_>, keys: &[&str], is_tcp: bool) {
    for item in keys.iter().filter_map(|key| section.item(key)) {
        let fault = if is_tcp {
            Fault::new("this has no meaning on a listener with protocol = \"tcp\"")
        } else if item.place.path.ends_with(".service") {
            Fault::new("a listener names a service only with protocol = \"tcp\"")
                .hint("over HTTP, a [[route]] names the service")
        } else {
            Fault::new("this has no meaning on an HTTP listener")
                .hint("the time-out between requests is `keep_alive_timeout`")
        };
        item.error(fault);
    }
}

fn read_tcp(section: &Section<'_>) -> (Protocol, Option<Place>) {
    let service = section.required("service", "a TCP listener sends everything to one service: name it");
    let idle_timeout = section.duration("idle_timeout", Duration::from_secs(3_600), MILLI..=WEEK).value;
    let place = service.as_ref().map(|item| item.place.clone());
    let service = service.and_then(|item| item.text()).unwrap_or_default().to_owned();
    (Protocol::Tcp { service, idle_timeout }, place)
}

fn read_http(section: &Section<'_>) -> Http {
    let default = default_http();
    let redirect_https = section.field("redirect_https", None, read_redirect);
    if redirect_https.value.is_some() && section.has("tls") {
        let fault = Fault::new("a listener that redirects to https takes no `tls`");
        section.reader.error(&redirect_https.place, fault.hint("TLS belongs to the listener that is redirected to"));
    }
    let http2 = section.field("http2", true, Item::flag);
    let max_streams = section.integer("max_streams", Http2::default().max_streams.into(), 1..=10_000).value;
    let max_streams = u32::try_from(max_streams).unwrap_or(Http2::default().max_streams);
    if !http2.value
        && let Some(item) = section.item("max_streams")
    {
        item.error(Fault::new("`max_streams` has no meaning with http2 = false"));
    }
    let max_head =
        section.field("max_head", default.max_head_bytes as u64, |item| item.size(&(1_024..=1_048_576))).value;
    let max_headers = section.integer("max_headers", default.max_headers as u64, 1..=1_000).value;
    Http {
        trusted_proxies: section.item("trusted_proxies").map(|item| read_networks(&item)).unwrap_or_default(),
        head_timeout: section.duration("head_timeout", default.head_timeout, MILLI..=WEEK).value,
        keep_alive_timeout: section.duration("keep_alive_timeout", default.keep_alive_timeout, MILLI..=WEEK).value,
        body_timeout: section.duration("body_timeout", default.body_timeout, MILLI..=WEEK).value,
        max_head_bytes: usize::try_from(max_head).unwrap_or(default.max_head_bytes),
        max_headers: usize::try_from(max_headers).unwrap_or(default.max_headers),
        redirect_https: redirect_https.value,
        http2: http2.value.then_some(Http2 { max_streams }),
    }
}

/// `true` for the usual port, `false`, or a port.
fn read_redirect(item: &Item<'_>) -> Option<Option<u16>> {
    match item.as_flag() {
        Some(true) => Some(Some(443)),
        Some(false) => Some(None),
        None if item.number().is_some() => {
            item.integer(&(1..=65_535)).and_then(|port| u16::try_from(port).ok()).map(Some)
        }
        None => {
            item.wrong_type("true or a port", "write true for port 443");
            None
        }
    }
}

/// `false`, or a table. `true` alone would let anybody say who they are.
fn read_proxy_protocol(item: &Item<'_>) -> Option<Option<ProxyProtocol>> {
    let hint = "write proxy_protocol = { trusted = [\"10.0.0.0/8\"] } with the addresses of the load balancers";
    match item.as_flag() {
        Some(false) => return Some(None),
        Some(true) => {
            item.error(Fault::new("whose PROXY headers are to be believed must be said").hint(hint));
            return None;
        }
        None => {}
    }
    if !item.is_table() {
        item.wrong_type("a table", hint);
        return None;
    }
    let section = item.section(&keys::PROXY_PROTOCOL)?;
    let trusted = section.required("trusted", hint);
    let networks = trusted.as_ref().map(read_networks).unwrap_or_default();
    if let Some(item) = &trusted
        && item.is_list()
        && item.list().is_empty()
    {
        item.error(Fault::new("nobody could connect: every peer would be refused").hint(hint));
    }
    let timeout = section.duration("timeout", PROXY_HEADER_TIMEOUT, MILLI..=WEEK).value;
    Some(Some(ProxyProtocol { trusted: networks, timeout }))
}

fn read_networks(item: &Item<'_>) -> Vec<IpNet> {
    let network = |item: &Item<'_>| {
        let network = item.parsed(words::network)?;
        if network.trunc() != network {
            let fault = Fault::new("this has bits set beyond its prefix");
            item.reader.warn(&item.place, fault.hint(format!("write \"{}\"", network.trunc())));
        }
        if network.prefix_len() == 0 {
            item.reader.warn(&item.place, Fault::new("every client is believed about its own address"));
        }
        Some(network.trunc())
    };
    item.list_or_one().iter().filter_map(network).collect()
}

pub(super) fn read_tls(item: &Item<'_>) -> Option<ListenerTls> {
    if !item.is_table() {
        item.wrong_type("a table", "write tls = { cert = \"shop.pem\", key = \"shop.key\" }");
        return None;
    }
    let section = item.section(&keys::LISTENER_TLS)?;
    let has_pair = section.has("cert") || section.has("key");
    let mut certificates = Vec::new();
    let named =
        |item: &Item<'_>| Some(item.list_or_one().iter().filter_map(|item| item.text().map(str::to_owned)).collect());
    let acme: Vec<String> = section.field("acme", Vec::new(), named).value;
    if has_pair {
        certificates.extend(read_pair(&section));
    }
    if section.has("certificates") {
        let entries = section.sections("certificates", &keys::CERTIFICATE);
        certificates.extend(entries.iter().filter_map(read_pair));
        if has_pair {
            let fault = Fault::new("either `cert` and `key`, or `certificates`, not both");
            section
                .reader
                .error(&section.place, fault.hint("put all pairs into `certificates`, the default one first"));
        } else if entries.is_empty() {
            section.reader.error_if_whole(&section.place, Fault::new("`certificates` is empty"));
        }
    } else if !has_pair && !section.has("acme") {
        let fault = Fault::new("`cert` and `key` are missing");
        section
            .reader
            .error_if_whole(&section.place, fault.hint("write tls = { cert = \"shop.pem\", key = \"shop.key\" }"));
    }
    Some(ListenerTls { certificates, acme, client_auth: read_client_auth(&section) })
}

fn read_pair(section: &Section<'_>) -> Option<CertificateFiles> {
    let cert = section.required("cert", "name the PEM file with the certificate chain").and_then(|item| item.path());
    let key = section.required("key", "name the PEM file with the private key").and_then(|item| item.path());
    Some(CertificateFiles { cert: cert?, key: key? })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Off,
    Optional,
    Required,
}

fn read_client_auth(section: &Section<'_>) -> ClientAuth {
    let words = [("off", Asked::Off), ("optional", Asked::Optional), ("required", Asked::Required)];
    let asked = section.field("client_auth", Asked::Off, |item| item.one_of(&words));
    let ca = section.item("client_ca");
    match (asked.value, &ca) {
        (Asked::Off, Some(ca)) if asked.is_good => {
            let hint = "set client_auth = \"required\" or \"optional\"";
            ca.error(Fault::new("`client_ca` has no effect while `client_auth` is off").hint(hint));
        }
        (Asked::Optional | Asked::Required, None) => {
            let hint = "name the PEM file with the authorities that sign the clients' certificates";
            section.reader.error_if_whole(&asked.place, Fault::new("`client_auth` needs `client_ca`").hint(hint));
        }
        (Asked::Off, _) | (Asked::Optional | Asked::Required, Some(_)) => {}
    }
    match (asked.value, ca.and_then(|item| item.path())) {
        (Asked::Optional, Some(ca)) => ClientAuth::Optional { ca },
        (Asked::Required, Some(ca)) => ClientAuth::Required { ca },
        (Asked::Off, _) | (_, None) => ClientAuth::Off,
    }
}
