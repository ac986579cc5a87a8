//! Who may ask over TCP. The port is open to every process of the machine, browsers included, so a web page must not be
//! able to use it through the browser of someone who works on the machine.

use std::net::{IpAddr, SocketAddr};

/// What a request says about where it comes from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin<'a> {
    /// `Host`.
    pub host: Option<&'a str>,
    /// `Origin`.
    pub origin: Option<&'a str>,
    /// `Sec-Fetch-Site`.
    pub fetch_site: Option<&'a str>,
    /// Somebody follows a link to a page that may be linked to, in a window of its own.
    pub opens_page: bool,
}

/// What holds for a connection and a request.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Where the interface listens.
    pub bind: SocketAddr,
    /// Whether the connection is encrypted.
    pub is_encrypted: bool,
    /// Whether whoever asks has to show who they are. Then a page of another site gets nowhere by its name for this machine.
    pub has_access: bool,
    /// Whether the request changes nothing.
    pub looks: bool,
}

/// Why a request is refused; `None` if it is not.
pub fn refusal(rules: Rules, request: Origin<'_>) -> Option<String> {
    let bind = rules.bind;
    let Some(host) = request.host else {
        return Some("the request has no Host header".to_owned());
    };
    // A page of evil.example can make that name point to 127.0.0.1; its Host header still says evil.example.
    if !rules.has_access && !host_name(host).is_some_and(|name| is_this_machine(bind, name)) {
        return Some(format!(
            "Host `{host}` is not a name of this interface; use `{bind}` or `localhost:{}`",
            bind.port()
        ));
    }
    let scheme = if rules.is_encrypted { "https://" } else { "http://" };
    if let Some(origin) = request.origin
        && !origin.strip_prefix(scheme).is_some_and(|origin| origin.eq_ignore_ascii_case(host))
    {
        return Some(format!("requests from other origins (`{origin}`) are refused"));
    }
    match request.fetch_site {
        None | Some("same-origin" | "none") => None,
        Some(_site) if request.opens_page => None,
        // Somebody follows a link to this node. Their session's cookie does not come along with it.
        Some(_elsewhere) if rules.has_access && rules.looks => None,
        Some(site) => Some(format!("`{site}` requests of a browser are refused")),
    }
}

/// The host without the port; `None` if it is not a host.
fn host_name(host: &str) -> Option<&str> {
    if let Some(bracketed) = host.strip_prefix('[') {
        let (name, rest) = bracketed.split_once(']')?;
        return (rest.is_empty() || rest.starts_with(':')).then_some(name);
    }
    Some(host.split_once(':').map_or(host, |(name, _port)| name))
}

fn is_this_machine(bind: SocketAddr, name: &str) -> bool {
    match name.parse::<IpAddr>() {
        Ok(address) => address == bind.ip() || address.is_loopback(),
        Err(_name) => name.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(host: &str, origin: Option<&str>, fetch_site: Option<&str>) -> bool {
        let bind = ([127, 0, 0, 1], 7900).into();
        let rules = Rules { bind, is_encrypted: false, has_access: false, looks: true };
        refusal(rules, Origin { host: Some(host), origin, fetch_site, opens_page: false }).is_none()
    }

    #[test]
    fn only_names_of_this_machine() {
        for host in ["127.0.0.1:7900", "localhost:7900", "LOCALHOST", "[::1]:7900", "127.0.0.1"] {
            assert!(asks(host, None, None), "{host}");
        }
        for host in
            ["evil.example", "evil.example:7900", "localhost.evil.example", "[::1", "[::1]x", "", "10.0.0.1:7900"]
        {
            assert!(!asks(host, None, None), "{host}");
        }
        let bind = ([127, 0, 0, 1], 7900).into();
        let rules = Rules { bind, is_encrypted: false, has_access: false, looks: true };
        assert!(refusal(rules, Origin::default()).is_some());
    }

    #[test]
    fn with_access_any_name_will_do_but_no_other_site_changes_anything() {
        let asks = |looks: bool, origin: Option<&str>, fetch_site: Option<&str>| {
            let rules = Rules { bind: ([0, 0, 0, 0], 7900).into(), is_encrypted: true, has_access: true, looks };
            refusal(rules, Origin { host: Some("lb1.example:7900"), origin, fetch_site, opens_page: false }).is_none()
        };
        assert!(asks(false, Some("https://lb1.example:7900"), Some("same-origin")));
        assert!(asks(true, None, Some("cross-site")));
        assert!(!asks(false, None, Some("cross-site")));
        assert!(!asks(false, Some("http://lb1.example:7900"), None));
        assert!(!asks(true, Some("https://evil.example"), None));
    }

    #[test]
    fn a_link_elsewhere_leads_to_a_page_but_a_name_of_elsewhere_does_not() {
        let bind = ([127, 0, 0, 1], 7900).into();
        let link = |host| Origin { host: Some(host), origin: None, fetch_site: Some("cross-site"), opens_page: true };
        let rules = Rules { bind, is_encrypted: false, has_access: false, looks: true };
        assert_eq!(refusal(rules, link("127.0.0.1:7900")), None);
        assert!(refusal(rules, link("evil.example:7900")).is_some());
        let sends = Origin { origin: Some("https://evil.example"), ..link("127.0.0.1:7900") };
        assert!(refusal(rules, sends).is_some());
    }

    #[test]
    fn no_page_of_another_origin() {
        let host = "127.0.0.1:7900";
        assert!(asks(host, Some("http://127.0.0.1:7900"), Some("same-origin")));
        assert!(asks(host, None, Some("none")));
        assert!(!asks(host, Some("http://127.0.0.1:3000"), None));
        assert!(!asks(host, Some("null"), None));
        assert!(!asks(host, None, Some("cross-site")));
        assert!(!asks(host, None, Some("same-site")));
    }
}
