//! The dashboard's files, which are a part of the binary if they were built before it.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// What a page of the node may do in a browser: nothing that does not come from the node, no frames, no inline code.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The first page's file.
const INDEX: &str = "index.html";
/// Files here have a hash of their content in their name.
const HASHED: &str = "assets/";

/// A file of the dashboard.
#[derive(Clone, Copy, Debug)]
struct File {
    name: &'static str,
    plain: &'static [u8],
    gzip: Option<&'static [u8]>,
}

const FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/dashboard_files.rs"));

/// Whether the dashboard was built before this binary.
pub fn is_built() -> bool {
    find(INDEX).is_some()
}

/// Bytes of all files as they are sent to browsers, compressed.
pub fn compressed_bytes() -> usize {
    FILES.iter().map(|file| file.gzip.map_or(file.plain.len(), <[u8]>::len)).sum()
}

/// The answer to a question for a file; the first page for an empty name. `None` if there is no such file.
pub fn answer(name: &str, asked: &HeaderMap) -> Option<Response> {
    let file = find(if name.is_empty() { INDEX } else { name })?;
    let takes_gzip = asked.get_all(header::ACCEPT_ENCODING).iter().any(names_gzip);
    let (content, encoding) = match file.gzip {
        Some(gzip) if takes_gzip => (gzip, Some("gzip")),
        Some(_) | None => (file.plain, None),
    };
    let mut response = (StatusCode::OK, Body::from(content)).into_response();
    let headers = response.headers_mut();
    // What a name with a hash stands for never changes; the page that names them is asked for each time.
    let caching = if file.name.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(file.name)));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(encoding) = encoding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    protect(headers);
    Some(response)
}

/// Has a browser hold a page to [`CONTENT_SECURITY_POLICY`].
pub fn protect(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}

/// Whether the client would rather have a page than text: browsers say so, `curl` does not.
pub fn wants_page(asked: &HeaderMap) -> bool {
    asked.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("text/html"))
}

fn find(name: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.name == name)
}

fn names_gzip(value: &HeaderValue) -> bool {
    let is_taken = |part: &str| {
        let (coding, weight) = part.split_once(';').unwrap_or((part, ""));
        coding.trim().eq_ignore_ascii_case("gzip") && weight.trim() != "q=0"
    };
    value.to_str().is_ok_and(|value| value.split(',').any(is_taken))
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some(_) | None => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(encoding: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(encoding))])
    }

    #[test]
    fn gzip_is_for_those_who_take_it() {
        for (value, takes) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("identity", false),
            ("x-gzip2", false),
            ("", false),
        ] {
            assert_eq!(names_gzip(&HeaderValue::from_static(value)), takes, "{value}");
        }
    }

    #[test]
    fn there_is_nothing_beside_the_files() {
        for name in ["../Cargo.toml", "/etc/passwd", "assets/", "index.html.gz", ".gitkeep"] {
            assert!(answer(name, &HeaderMap::new()).is_none(), "{name}");
        }
    }

    #[test]
    fn a_dashboard_that_is_built_is_served_whole_within_its_size() {
        assert!(compressed_bytes() <= 150 * 1024, "{} bytes", compressed_bytes());
        assert_eq!(answer("", &asking("gzip")).is_some(), is_built());
        for file in FILES {
            let response = answer(file.name, &asking("gzip")).expect("a file that is listed");
            let headers = response.headers();
            assert_eq!(headers.contains_key(header::CONTENT_ENCODING), file.gzip.is_some());
            assert_ne!(headers[header::CONTENT_TYPE], "application/octet-stream", "{}", file.name);
            assert_eq!(headers[header::CONTENT_SECURITY_POLICY], CONTENT_SECURITY_POLICY);
        }
    }
}
