//! The small languages inside strings: names, addresses, hosts, paths, methods, headers, status codes.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use mainstay_core::route::Host;
use mainstay_gateway::spec::Address;

use super::problem::Fault;
use super::reader::clip;

/// The longest path that the system takes for a Unix socket.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The longest name of a listener, route or service.
const NAME_CHARS_MAX: usize = 100;

/// Headers that belong to one connection, or to the framing of a message: changing them would break it.
const UNTOUCHABLE: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The name of a listener, route or service. It appears in logs, metrics and `SERVICE/ENDPOINT`, so little is allowed.
pub(super) fn name(text: &str) -> Result<String, Fault> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if text.is_empty() {
        return Err(Fault::new("a name cannot be empty"));
    }
    if text.len() > NAME_CHARS_MAX || !text.bytes().all(is_plain) || text.starts_with(['-', '.']) {
        return Err(Fault::new(format!("`{}` cannot be a name", clip(text))).hint(format!(
            "use at most {NAME_CHARS_MAX} letters, digits, `-`, `_` and `.`, and begin with a letter or digit"
        )));
    }
    Ok(text.to_owned())
}

/// Where to listen: an IP address and a port.
pub(super) fn bind(text: &str) -> Result<SocketAddr, Fault> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    let port = text.strip_prefix(':').or_else(|| text.strip_prefix("*:")).unwrap_or(text);
    if let Ok(port) = port.parse::<u16>() {
        return Err(Fault::new("an address is required in front of the port").hint(format!(
            "write \"0.0.0.0:{port}\" for every IPv4 address, \"[::]:{port}\" for IPv6, \"127.0.0.1:{port}\" for \
             this machine only"
        )));
    }
    if let Some(port) = text.strip_prefix("localhost:") {
        return Err(
            Fault::new("an IP address is needed here, not a name").hint(format!("write \"127.0.0.1:{}\"", clip(port)))
        );
    }
    if text.parse::<IpAddr>().is_ok() {
        let shown = if text.contains(':') { format!("[{text}]") } else { text.to_owned() };
        return Err(Fault::new("the port is missing").hint(format!("write \"{shown}:8080\"")));
    }
    Err(Fault::new(format!("`{}` is not an address", clip(text)))
        .hint("write an IP address and a port: \"127.0.0.1:8080\""))
}

/// Where an endpoint is: an IP address or a name, and a port; or the path of a Unix socket.
pub(super) fn endpoint(text: &str) -> Result<Address, Fault> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix_socket(path.strip_prefix("//").unwrap_or(path));
    }
    if text.starts_with('/') {
        return Err(
            Fault::new("a path alone is no endpoint").hint(format!("for a Unix socket write \"unix:{}\"", clip(text)))
        );
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return if address.port() == 0 { Err(no_port(text)) } else { Ok(Address::Socket(address)) };
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let rest = rest.split('/').next().unwrap_or(rest);
        let tls = if scheme.eq_ignore_ascii_case("https") { ", and `tls = true` on the service" } else { "" };
        let hint = format!("write \"{}\"{tls}", clip(rest));
        return Err(Fault::new("an endpoint is host:port, not a URL").hint(hint));
    }
    let Some((host, port)) = text.rsplit_once(':') else { return Err(no_port(text)) };
    if host.is_empty() {
        return Err(Fault::new("the host is missing").hint(format!("write \"127.0.0.1:{}\"", clip(port))));
    }
    if text.parse::<IpAddr>().is_ok() {
        return Err(Fault::new("an IPv6 address needs brackets and a port").hint(format!("write \"[{text}]:8080\"")));
    }
    match port.parse::<u16>() {
        Ok(port) if port > 0 && port.to_string().len() == text.len() - host.len() - 1 => {
            let host = host.to_ascii_lowercase();
            domain(host.strip_suffix('.').unwrap_or(&host))?;
            Ok(Address::Name { host, port })
        }
        Ok(_) | Err(_) => Err(Fault::new(format!("`{}` is not a port", clip(port))).hint("ports go from 1 to 65535")),
    }
}

/// The name of SRV records, such as `_http._tcp.shop.internal`.
pub(super) fn srv(text: &str) -> Result<String, Fault> {
    if text.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok() {
        return Err(Fault::new("an address has no SRV records").hint("list addresses in `endpoints`"));
    }
    if let Some((name, port)) = text.rsplit_once(':')
        && port.bytes().all(|byte| byte.is_ascii_digit())
    {
        let fault = Fault::new("SRV records bring their own ports");
        return Err(fault.hint(format!("write \"{}\"", clip(name))));
    }
    let name = text.to_ascii_lowercase();
    domain(name.strip_suffix('.').unwrap_or(&name))?;
    Ok(name)
}

/// A name server: an IP address, with a port if it is not 53.
pub(super) fn name_server(text: &str) -> Result<SocketAddr, Fault> {
    let parsed = text.parse::<SocketAddr>().or_else(|_no_port| text.parse::<IpAddr>().map(|ip| (ip, 53).into()));
    match parsed {
        Ok(address) if address.port() != 0 => Ok(address),
        Ok(_) | Err(_) => Err(Fault::new(format!("`{}` is not the address of a name server", clip(text)))
            .hint("write an IP address, with a port if it is not 53: \"10.0.0.53\" or \"10.0.0.53:5353\"")),
    }
}

/// The path of a Unix socket. It is a name in metrics and logs as well, so that it must be the same from everywhere.
fn unix_socket(path: &str) -> Result<Address, Fault> {
    let fault = |message: &str| Err(Fault::new(message).hint("write \"unix:/run/app.sock\""));
    if path.starts_with('@') {
        return fault("a Unix socket without a file (abstract, `@`) cannot be an endpoint");
    }
    if !path.starts_with('/') || path.ends_with('/') {
        return fault("a Unix socket is named by the whole path of its file");
    }
    if !path.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
        return fault("the path of a Unix socket holds visible ASCII characters only");
    }
    if path.len() > SOCKET_PATH_BYTES_MAX {
        let length = path.len();
        return Err(Fault::new(format!("the path is {length} bytes long; the system allows {SOCKET_PATH_BYTES_MAX}"))
            .hint("choose a shorter one, such as \"unix:/run/app.sock\""));
    }
    Ok(Address::Unix(PathBuf::from(path)))
}

fn no_port(text: &str) -> Fault {
    Fault::new(format!("`{}` has no port", clip(text))).hint("write host:port, such as \"10.0.1.10:8080\"")
}

/// A domain name, in lower case.
pub(super) fn domain(text: &str) -> Result<(), Fault> {
    let fault = || Fault::new(format!("`{}` is not a host name", clip(text)));
    if !text.is_ascii() {
        return Err(fault().hint("write the ASCII form of an international name: it begins with xn--"));
    }
    if !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        && text.parse::<IpAddr>().is_err()
    {
        return Err(Fault::new(format!("`{}` is not an IP address", clip(text))));
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() > 253 || !text.split('.').all(is_label) {
        return Err(fault());
    }
    Ok(())
}

/// Which hosts a route takes: a name, an address, or `*.suffix`.
pub(super) fn host(text: &str) -> Result<Host, Fault> {
    let lower = text.to_ascii_lowercase();
    if lower == "*" || lower.is_empty() {
        return Err(Fault::new("a host name is needed here").hint("leave `host` out to take every host"));
    }
    if lower.contains("://") || lower.contains('/') {
        return Err(Fault::new("a host is needed here, not a URL").hint("paths go to `path`"));
    }
    if let Some(inner) = lower.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let is_address = inner.parse::<std::net::Ipv6Addr>().is_ok();
        return if is_address { Ok(Host::Exact(lower)) } else { Err(Fault::new("this is not an IPv6 address")) };
    }
    if let Some((name, port)) = lower.rsplit_once(':')
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && !name.contains(':')
    {
        return Err(Fault::new("a host is matched without its port").hint(format!("write \"{}\"", clip(name))));
    }
    if lower.ends_with('.') {
        return Err(Fault::new("a host is matched without a dot at its end"));
    }
    if let Some(suffix) = lower.strip_prefix('*') {
        let Some(name) = suffix.strip_prefix('.') else {
            return Err(Fault::new("a star stands for whole labels").hint("write \"*.example.com\""));
        };
        domain(name)?;
        return Ok(Host::Suffix(suffix.to_owned()));
    }
    domain(&lower)?;
    Ok(Host::Exact(lower))
}

/// A path of requests, without a query.
pub(super) fn path(text: &str) -> Result<String, Fault> {
    if !text.starts_with('/') {
        return Err(Fault::new("a path begins with a slash").hint(format!("write \"/{}\"", clip(text))));
    }
    if text.contains(['?', '#']) {
        return Err(Fault::new("a path is matched without query and fragment"));
    }
    target(text)?;
    if text.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(Fault::new("a path cannot hold the segments `.` and `..`"));
    }
    if text.contains('*') {
        return Err(Fault::new("stars have no meaning in paths").hint("`path` takes the path and everything below it"));
    }
    Ok(text.to_owned())
}

/// A path that everything below it counts to: without the slash at its end.
pub(super) fn prefix(text: &str) -> Result<String, Fault> {
    let path = path(text)?;
    let trimmed = path.trim_end_matches('/');
    Ok(if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() })
}

/// A path with a query, as it is sent.
pub(super) fn target(text: &str) -> Result<String, Fault> {
    if !text.starts_with('/') {
        return Err(Fault::new("a path begins with a slash").hint(format!("write \"/{}\"", clip(text))));
    }
    if let Some(bad) = text.chars().find(|c| !c.is_ascii_graphic() || *c == '#') {
        let shown = bad.escape_default();
        return Err(Fault::new(format!("`{shown}` cannot stand in a path")).hint("percent-encode it"));
    }
    let bytes = text.as_bytes();
    let is_encoded = |at: usize| bytes.get(at + 1..at + 3).is_some_and(|code| code.iter().all(u8::is_ascii_hexdigit));
    if (0..bytes.len()).any(|at| bytes.get(at) == Some(&b'%') && !is_encoded(at)) {
        return Err(Fault::new("a % must be followed by two hexadecimal digits"));
    }
    Ok(text.to_owned())
}

/// A method.
pub(super) fn method(text: &str) -> Result<String, Fault> {
    if text.is_empty() || !text.bytes().all(is_token) {
        return Err(Fault::new(format!("`{}` is not a method", clip(text))));
    }
    if text == "CONNECT" {
        return Err(Fault::new("CONNECT is always refused"));
    }
    let upper = text.to_ascii_uppercase();
    if text != upper {
        return Err(Fault::new(format!("`{}` is not a method: case counts", clip(text)))
            .hint(format!("write \"{}\"", clip(&upper))));
    }
    Ok(upper)
}

/// A header's name, in lower case.
pub(super) fn header_name(text: &str) -> Result<String, Fault> {
    if text.is_empty() || text.len() > 256 || !text.bytes().all(is_token) {
        return Err(Fault::new(format!("`{}` is not the name of a header", clip(text))));
    }
    Ok(text.to_ascii_lowercase())
}

/// Whether a header belongs to the connection or the framing and is for nobody to change.
pub(super) fn is_untouchable(name: &str) -> bool {
    UNTOUCHABLE.contains(&name)
}

/// A header's value. What is wrong is said without repeating it: values may be secrets.
pub(super) fn header_value(text: &str) -> Result<String, Fault> {
    if text.starts_with([' ', '\t']) || text.ends_with([' ', '\t']) {
        return Err(Fault::new("a header's value cannot begin or end with a space"));
    }
    if !text.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte)) {
        return Err(Fault::new("a header's value holds visible ASCII characters and spaces only"));
    }
    if text.len() > 8_192 {
        return Err(Fault::new("a header's value is at most 8192 characters long"));
    }
    Ok(text.to_owned())
}

/// A network, or an address as a network of its own.
pub(super) fn network(text: &str) -> Result<IpNet, Fault> {
    let network = text.parse::<IpNet>().or_else(|_error| text.parse::<IpAddr>().map(IpNet::from));
    network.map_err(|_error| {
        Fault::new(format!("`{}` is not a network", clip(text))).hint("write \"10.0.0.0/8\" or \"10.0.0.7\"")
    })
}

/// A status code, or an inclusive range of them.
pub(super) fn statuses(text: &str) -> Result<(u16, u16), Fault> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let code = |text: &str| {
        let is_code = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|code| is_code && (100..=599).contains(code))
    };
    match (code(low), code(high)) {
        (Some(low), Some(high)) if low <= high => Ok((low, high)),
        (Some(_), Some(_)) => Err(Fault::new(format!("`{}` ends before it begins", clip(text)))),
        (None, _) | (_, None) => Err(Fault::new(format!("`{}` is not a status code or a range of them", clip(text)))
            .hint("write 200 or \"200-299\"; codes go from 100 to 599")),
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
