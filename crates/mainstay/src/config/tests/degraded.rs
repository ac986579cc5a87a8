//! What is said of fallbacks and caches that are refused.

use super::{SMALL, shown};

#[test]
fn fallbacks() {
    for (fallback, expected) in [
        (
            "",
            "12: route[0].fallback: there is nothing to fall back on; name a `service`, a `file`, a `body`, or write empty = true",
        ),
        (
            "service = \"app\"",
            "24: route[0].fallback.service: the route leads to service `app` already: it has failed when this is used; fall back on another service",
        ),
        ("service = \"ap\"", "24: route[0].fallback.service: there is no service `ap`; did you mean `app`?"),
        (
            "empty = true, body = \"x\"",
            "35: route[0].fallback.body: an empty answer has no body; leave this or `empty` out",
        ),
        ("file = \"a\", body = \"x\"", "21: route[0].fallback.file: either `body` or `file`, not both"),
        (
            "body = \"x\", status = 204",
            "35: route[0].fallback.status: an answer with status 204 has no body; choose another status, or write empty = true",
        ),
        ("body = \"x\", on = 301", "31: route[0].fallback.on: only errors, 400 to 599, are worth a fallback"),
        (
            "body = \"x\", status = 199",
            "35: route[0].fallback.status: 199 is out of bounds; it must be between 200 and 599",
        ),
    ] {
        let route = format!("[[route]]\nname = \"r\"\nservice = \"app\"\nfallback = {{ {fallback} }}\n");
        let problems = shown(&format!("{SMALL}{route}"));
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{fallback}: {problems:#?}");
    }
}

#[test]
fn caches() {
    for (route, expected) in [
        ("cache = 1", "9: route[0].cache: a table or true is needed here, not a number"),
        ("cache = { ttl = \"5s\" }", "11: route[0].cache.ttl: unknown key"),
        ("cache = { jitter = \"60%\" }", "route[0].cache.jitter: 60% is out of bounds; it must be between 0% and 50%"),
        (
            "cache = { max_object = \"5MiB\" }",
            "24: route[0].cache.max_object: an object of 5MiB does not fit into a cache of 64MiB; it may take a 16th of `node.cache.memory`, 4MiB here",
        ),
        (
            "fallback = { stale = \"1h\" }",
            "22: route[0].fallback.stale: `stale` is a copy from the cache, and the route has none; write cache = true on the route",
        ),
        ("cache = false\nfallback = { stale = \"1h\" }", "`stale` is a copy from the cache, and the route has none"),
    ] {
        let text = format!("{SMALL}[[route]]\nname = \"r\"\nservice = \"app\"\n{route}\n");
        let problems = shown(&text);
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{route}: {problems:#?}");
    }
}
