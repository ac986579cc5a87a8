//! As much of RFC 6265 as a journey needs: cookies are kept for its length and sent where they belong.

use std::time::{SystemTime, UNIX_EPOCH};

use mainstay_core::http_date;
use reqwest::Url;

/// Cookies of a journey, at most; further ones are not kept.
const COOKIES_MAX: usize = 64;
/// Bytes of a cookie's name and value, at most.
const COOKIE_BYTES_MAX: usize = 4096;

/// The cookies of one journey.
#[derive(Debug, Default)]
pub(super) struct Jar(Vec<Cookie>);

#[derive(Debug)]
struct Cookie {
    name: String,
    value: String,
    domain: String,
    /// For that host and none below it.
    host_only: bool,
    path: String,
    secure: bool,
}

impl Jar {
    /// Takes what the header `set-cookie` of an answer from `url` says.
    pub(super) fn take(&mut self, url: &Url, header: &str) {
        let mut parts = header.split(';').map(str::trim);
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { return };
        let Some(host) = url.host_str() else { return };
        if name.is_empty() || name.len() + value.len() > COOKIE_BYTES_MAX {
            return;
        }
        let mut cookie = Cookie {
            name: name.trim().to_owned(),
            value: value.trim().to_owned(),
            domain: host.to_ascii_lowercase(),
            host_only: true,
            path: default_path(url.path()),
            secure: false,
        };
        let (mut ended, mut has_age) = (false, false);
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            match key.to_ascii_lowercase().as_str() {
                "domain" => {
                    let domain = value.trim_start_matches('.').to_ascii_lowercase();
                    // A single label would be half of the world.
                    if !is_within(&cookie.domain, &domain) || (!domain.contains('.') && domain != cookie.domain) {
                        return;
                    }
                    (cookie.domain, cookie.host_only) = (domain, false);
                }
                "path" if value.starts_with('/') => cookie.path = value.to_owned(),
                "secure" => cookie.secure = true,
                "max-age" => {
                    has_age = true;
                    ended = value.parse::<i64>().is_ok_and(|seconds| seconds <= 0);
                }
                "expires" if !has_age => ended = is_past(value),
                _of_no_account_here => {}
            }
        }
        self.0.retain(|it| (&it.name, &it.domain, &it.path) != (&cookie.name, &cookie.domain, &cookie.path));
        if !ended && self.0.len() < COOKIES_MAX {
            self.0.push(cookie);
        }
    }

    /// The value of the header `cookie` of a request for `url`; longer paths first.
    pub(super) fn header(&self, url: &Url) -> Option<String> {
        let host = url.host_str()?.to_ascii_lowercase();
        let belongs = |it: &&Cookie| {
            let host_fits = if it.host_only { host == it.domain } else { is_within(&host, &it.domain) };
            host_fits && is_below(url.path(), &it.path) && (!it.secure || url.scheme() == "https")
        };
        let mut found: Vec<&Cookie> = self.0.iter().filter(belongs).collect();
        found.sort_by_key(|it| std::cmp::Reverse(it.path.len()));
        let pairs: Vec<String> = found.iter().map(|it| format!("{}={}", it.name, it.value)).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    /// What must not be shown.
    pub(super) fn values(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|it| it.value.as_str())
    }
}

/// RFC 6265, section 5.1.4.
fn default_path(path: &str) -> String {
    match path.rfind('/') {
        None | Some(0) => "/".to_owned(),
        Some(end) => path.get(..end).unwrap_or("/").to_owned(),
    }
}

fn is_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || above.ends_with('/'))
}

fn is_within(host: &str, domain: &str) -> bool {
    host == domain
        || (host.strip_suffix(domain).is_some_and(|sub| sub.ends_with('.'))
            && host.parse::<std::net::IpAddr>().is_err())
}

fn is_past(date: &str) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    // Many servers write dashes between the parts of the date, as in the days of Netscape.
    let date = date.replace('-', " ");
    http_date::parse(date.as_bytes(), now).is_some_and(|at| at <= now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(set: &[(&str, &str)], to: &str) -> Option<String> {
        let mut jar = Jar::default();
        for (from, header) in set {
            jar.take(&Url::parse(from).unwrap(), header);
        }
        jar.header(&Url::parse(to).unwrap())
    }

    #[test]
    fn cookies_go_where_they_belong_and_nowhere_else() {
        let login = "https://shop.test/account/login";
        for (header, to, expected) in [
            ("a=1; HttpOnly; SameSite=Lax", "https://shop.test/account/x", Some("a=1")),
            ("a=1", "https://shop.test/account", Some("a=1")),
            ("a=1", "https://shop.test/accounts", None),
            ("a=1; Path=/", "https://shop.test/else", Some("a=1")),
            ("a=1; Path=/", "https://www.shop.test/", None),
            ("a=1; Path=/; Domain=shop.test", "https://www.shop.test/", Some("a=1")),
            ("a=1; Path=/; Domain=.shop.test", "https://myshop.test/", None),
            ("a=1; Path=/; Domain=test", "https://other.test/", None),
            ("a=1; Path=/; Domain=other.test", "https://shop.test/", None),
            ("a=1; Path=/; Secure", "http://shop.test/", None),
            ("a=1; Path=/; Max-Age=0", "https://shop.test/", None),
            ("a=1; Path=/; Expires=Thu, 01-Jan-1970 00:00:00 GMT", "https://shop.test/", None),
            ("a=1; Path=/; Max-Age=9; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "https://shop.test/", Some("a=1")),
            ("nonsense", "https://shop.test/", None),
            ("a=x=y==; path=/", "https://shop.test/", Some("a=x=y==")),
        ] {
            assert_eq!(sent(&[(login, header)], to).as_deref(), expected, "{header} {to}");
        }
    }

    #[test]
    fn a_cookie_is_replaced_and_taken_back() {
        let at = "http://10.0.0.1:80/";
        assert_eq!(sent(&[(at, "a=1"), (at, "b=2"), (at, "a=3")], at).as_deref(), Some("b=2; a=3"));
        assert_eq!(sent(&[(at, "a=1"), (at, "a=; Max-Age=0")], at), None);
        let many: Vec<String> = (0..100).map(|number| format!("n{number}=1")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|it| (at, it.as_str())).collect();
        assert_eq!(sent(&many, at).unwrap().split("; ").count(), COOKIES_MAX);
    }
}
