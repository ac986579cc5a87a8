//! What of a request's head stands in its line: of the query and of headers only what names no secret, and no more than a
//! little.

use crate::http::record;
use crate::http1::field::Field;
use crate::http1::request;
use crate::spec::Events;

/// What stands in place of a secret.
const HIDDEN: &[u8] = b"***";
/// Bytes of a query that are written.
const QUERY_MAX: usize = 1024;
/// Bytes of a header's value that are written.
const VALUE_MAX: usize = 256;

/// Writes what the configuration wants of query and headers, as members of the line's object behind another one.
pub(crate) fn write(line: &mut Vec<u8>, events: &Events, head: &request::Head, bytes: &[u8]) {
    if events.query {
        let target = head.target.get(bytes);
        if let Some(start) = memchr::memchr(b'?', target) {
            line.extend_from_slice(b",\"query\":\"");
            query(line, events, &target[start + 1..]);
            line.push(b'"');
        }
    }
    if events.headers.is_empty() {
        return;
    }
    line.extend_from_slice(b",\"headers\":{");
    let mut is_first = true;
    for name in &events.headers {
        let is = |field: &&Field| field.name.get(bytes).eq_ignore_ascii_case(name.as_bytes());
        let Some(field) = head.fields.iter().find(is) else { continue };
        line.extend_from_slice(if is_first { b"\"" } else { b",\"" });
        is_first = false;
        record::text(line, b"", name.as_bytes());
        line.extend_from_slice(b"\":\"");
        value(line, name, field.value.get(bytes));
        line.push(b'"');
    }
    line.push(b'}');
}

/// Writes a header's value. An address of another page has a query of its own, which is left out.
fn value(line: &mut Vec<u8>, name: &str, value: &[u8]) {
    let has_query = matches!(name, "referer" | "location" | "origin" | "x-original-url" | "x-rewrite-url");
    let end = if has_query { memchr::memchr2(b'?', b'#', value).unwrap_or(value.len()) } else { value.len() };
    record::escape(line, &value[..end.min(VALUE_MAX)]);
}

/// Writes a query without the values of secret keys. A key that is encoded in part may be any, and counts as one.
fn query(line: &mut Vec<u8>, events: &Events, query: &[u8]) {
    let query = &query[..query.len().min(QUERY_MAX)];
    for (number, pair) in query.split(|byte| matches!(byte, b'&' | b';')).enumerate() {
        if number > 0 {
            line.push(b'&');
        }
        let Some(equals) = memchr::memchr(b'=', pair) else {
            record::escape(line, pair);
            continue;
        };
        let key = &pair[..equals];
        record::escape(line, &pair[..=equals]);
        let is_secret = |secret: &String| key.eq_ignore_ascii_case(secret.as_bytes());
        if key.contains(&b'%') || key.contains(&b'+') || events.secret_keys.iter().any(is_secret) {
            line.extend_from_slice(HIDDEN);
        } else {
            record::escape(line, &pair[equals + 1..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::request::Limits;

    fn written(events: &Events, head: &str) -> String {
        let mut parsed = request::Head::default();
        let limits = Limits { bytes: 64 * 1024, headers: 100 };
        request::parse(head.as_bytes(), limits, &mut parsed).expect("a head");
        let mut line = Vec::new();
        write(&mut line, events, &parsed, head.as_bytes());
        String::from_utf8(line).expect("text")
    }

    #[test]
    fn of_queries_only_what_names_no_secret() {
        let events = Events { query: true, ..Events::default() };
        for (query, expected) in [
            ("a=1&b=2", "a=1&b=2"),
            ("a=1;TOKEN=x;b=2", "a=1&TOKEN=***&b=2"),
            ("password=p%20q&Api_Key=&c", "password=***&Api_Key=***&c"),
            ("pass%77ord=p&a+b=c", "pass%77ord=***&a+b=***"),
            ("q=\"", "q=\\\""),
        ] {
            let head = format!("GET /p?{query} HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(written(&events, &head), format!(",\"query\":\"{expected}\""), "{query}");
        }
        assert_eq!(written(&events, "GET /p HTTP/1.1\r\nHost: a\r\n\r\n"), "");
        let long = format!("GET /p?a={} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(4000));
        assert!(written(&events, &long).len() < QUERY_MAX + 20);
        let hidden = Events { secret_keys: vec!["pin".to_owned()], ..events };
        assert_eq!(written(&hidden, "GET /?pin=1 HTTP/1.1\r\nHost: a\r\n\r\n"), ",\"query\":\"pin=***\"");
    }

    #[test]
    fn of_headers_only_what_is_asked_for() {
        let headers = ["user-agent", "referer", "x-not-there"].map(str::to_owned).to_vec();
        let events = Events { headers, ..Events::default() };
        let head = "GET /p?token=x HTTP/1.1\r\nHost: a\r\nCookie: c=d\r\nUser-Agent: me \"1\"\r\n\
                    Referer: https://a/b?token=y\r\n\r\n";
        let expected = r#","headers":{"user-agent":"me \"1\"","referer":"https://a/b"}"#;
        assert_eq!(written(&events, head), expected);
        assert_eq!(written(&Events::default(), head), "");
    }
}
