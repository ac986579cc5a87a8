use super::*;

type Headers<'a> = &'a [(&'a str, &'a str)];

/// Routes as lines, and what of them is hidden by what.
type Hidden<'a> = (&'a [&'a str], &'a [(usize, usize)]);

/// A route as a line: host, path (exact after `=`), methods, headers; `*` for what takes all.
fn route(line: &str) -> Match {
    let parts: Vec<&str> = line.split_whitespace().collect();
    let [host, path, methods, headers] = parts[..] else { panic!("four parts: {line}") };
    let list = |part: &str| -> Vec<String> { part.split(',').filter(|item| *item != "*").map(str::to_owned).collect() };
    Match {
        host: match host.strip_prefix('*') {
            Some("") => Host::Any,
            Some(suffix) => Host::Suffix(suffix.to_owned()),
            None => Host::Exact(host.to_owned()),
        },
        path: match path.strip_prefix('=') {
            Some(exact) => Path::Exact(exact.to_owned()),
            None => Path::Prefix(path.to_owned()),
        },
        methods: list(methods),
        headers: list(headers)
            .iter()
            .map(|header| match header.split_once('=') {
                Some((name, value)) => Header { name: name.to_owned(), value: Some(value.to_owned()) },
                None => Header { name: header.clone(), value: None },
            })
            .collect(),
    }
}

fn routes(lines: &[&str]) -> Vec<Match> {
    lines.iter().map(|line| route(line)).collect()
}

/// The route that a request takes; its headers are written as in routes.
fn taken(table: &Table, host: &str, path: &str, method: &str, headers: Headers<'_>) -> Option<usize> {
    table.lookup(Request { host, path, method }, |wanted| {
        headers
            .iter()
            .any(|(name, value)| *name == wanted.name && wanted.value.as_deref().is_none_or(|exact| exact == *value))
    })
}

#[test]
fn the_most_specific_host_wins() {
    let table = Table::new(&routes(&[
        "* / * *",
        "*.example.com / * *",
        "*.shop.example.com / * *",
        "www.shop.example.com / * *",
        "*example.com / * *",
    ]));
    let cases = [
        ("www.shop.example.com", 3),
        ("api.shop.example.com", 2),
        ("a.b.shop.example.com", 2),
        ("shop.example.com", 1),
        ("other.example.com", 1),
        ("example.com", 0),
        ("badexample.com", 0),
        ("", 0),
        (".", 0),
        (".example.com", 0),
        ("..example.com", 1),
        ("10.0.0.1", 0),
        ("[::1]", 0),
    ];
    for (host, expected) in cases {
        assert_eq!(taken(&table, host, "/", "GET", &[]), Some(expected), "{host}");
    }
}

#[test]
fn the_most_specific_path_wins_by_segments() {
    let table =
        Table::new(&routes(&["* / * *", "* /shop * *", "* /shop/cart/ * *", "* =/shop/cart * *", "* =/a/ * *"]));
    let cases = [
        ("/", 0),
        ("/shop", 1),
        ("/shop/", 1),
        ("/shop/1", 1),
        ("/shopping", 0),
        ("/shop/cart", 3),
        ("/shop/cart/", 2),
        ("/shop/cart/1/2", 2),
        ("/shop/carts", 1),
        ("/Shop", 0),
        ("/a/", 4),
        ("/a", 0),
        ("/sh\u{f6}p", 0),
        ("*", 0),
        ("", 0),
    ];
    for (path, expected) in cases {
        assert_eq!(taken(&table, "h", path, "GET", &[]), Some(expected), "{path}");
    }
}

#[test]
fn a_host_without_a_fitting_route_gives_way_to_a_wider_one() {
    let table = Table::new(&routes(&["a.b.c /x * *", "*.b.c /y * *", "*.c / POST *", "* =/z * *"]));
    let cases = [
        ("/x", "GET", Some(0)),
        ("/y", "GET", Some(1)),
        ("/z", "GET", Some(3)),
        ("/z", "POST", Some(2)),
        ("/w", "POST", Some(2)),
        ("/w", "GET", None),
    ];
    for (path, method, expected) in cases {
        assert_eq!(taken(&table, "a.b.c", path, method, &[]), expected, "{method} {path}");
    }
}

#[test]
fn then_methods_then_headers_then_order() {
    let table = Table::new(&routes(&["* / * x,y", "* / GET,HEAD *", "* / GET x=1", "* / GET x", "* / * *", "* / * *"]));
    let cases: [(&str, Headers<'_>, usize); 7] = [
        ("GET", &[], 1),
        ("HEAD", &[("x", "1")], 1),
        ("GET", &[("x", "1")], 2),
        ("GET", &[("x", "2")], 3),
        ("POST", &[("x", "1"), ("y", "")], 0),
        ("POST", &[("x", "1")], 4),
        ("get", &[], 4),
    ];
    for (method, headers, expected) in cases {
        assert_eq!(taken(&table, "h", "/", method, headers), Some(expected), "{method} {headers:?}");
    }
}

#[test]
fn an_empty_table_takes_nothing() {
    assert_eq!(taken(&Table::new(&[]), "h", "/", "GET", &[]), None);
    assert_eq!(taken(&Table::default(), "", "", "", &[]), None);
}

#[test]
fn what_can_never_match_is_found() {
    let cases: [Hidden<'_>; 13] = [
        (&["* / * *", "* / * *"], &[(1, 0)]),
        (&["* / * *", "* /shop * *"], &[]),
        (&["* /shop * *", "* /shop/ * *"], &[(1, 0)]),
        (&["* /shop * *", "* =/shop * *"], &[]),
        (&["* / GET *", "* / * *", "* / GET *"], &[(2, 0)]),
        (&["* / GET,HEAD *", "* / HEAD *"], &[(1, 0)]),
        (&["* / HEAD *", "* / GET,HEAD *"], &[]),
        (&["* / GET *", "* / HEAD *", "* / HEAD,GET *"], &[(2, 1)]),
        (&["* / GET *", "* / HEAD *", "* / GET,HEAD *", "* / HEAD *"], &[(2, 0), (3, 1)]),
        (&["* / * x", "* / * x=1"], &[(1, 0)]),
        (&["* / * x=1", "* / * x"], &[]),
        (&["* / * x", "* / * x,y"], &[]),
        (&["a / * *", "*.b / * *", "* / * *", "a / POST *", "a / * *"], &[(4, 0)]),
    ];
    for (lines, expected) in cases {
        assert_eq!(shadowed(&routes(lines)), expected, "{lines:?}");
    }
}
