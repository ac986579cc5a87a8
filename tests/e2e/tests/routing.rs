//! Routes, changes to requests and responses, and who the client is.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use mainstay_e2e::gateway::simple;
use mainstay_e2e::wire::Response;
use mainstay_e2e::{Mainstay, Origin, Wire, free};

fn ask(listen: SocketAddr, line: &str, headers: &str) -> Response {
    Wire::connect(listen).exchange(format!("{line} HTTP/1.1\r\n{headers}\r\n"))
}

/// The values of a header as the backend received it, joined.
fn received(response: &Response, name: &str) -> String {
    let json = response.json();
    let headers = json["headers"].as_array().expect("the echo's headers").clone();
    let named = headers.iter().filter(|pair| pair[0].as_str().is_some_and(|key| key.eq_ignore_ascii_case(name)));
    named.map(|pair| pair[1].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>().join(" | ")
}

#[test]
fn the_most_specific_route_wins() {
    let origins = Origin::several(1);
    let listen = free();
    let mut config = format!(
        "[[listener]]\nname = \"web\"\nbind = \"{listen}\"\n[[service]]\nname = \"app\"\nendpoints = [\"{}\"]\n",
        origins[0].address()
    );
    for (name, matches) in [
        ("rest", ""),
        ("shop", "match = { host = \"shop.test\" }"),
        ("any-sub", "match = { host = \"*.shop.test\" }"),
        ("sub", "match = { host = \"a.shop.test\" }"),
        ("cart", "match = { host = \"shop.test\", path = \"/cart\" }"),
        ("pay", "match = { host = \"shop.test\", path = \"/cart/pay\" }"),
        ("exact", "match = { host = \"shop.test\", path_exact = \"/cart/pay\" }"),
        ("post", "match = { host = \"shop.test\", path = \"/cart\", method = \"POST\" }"),
        ("canary", "match = { host = \"shop.test\", path = \"/cart\", headers = { x-canary = \"1\" } }"),
        ("everywhere", "match = { path = \"/everywhere\" }"),
    ] {
        config += &format!(
            "[[route]]\nname = \"{name}\"\nservice = \"app\"\n{matches}\nresponse_headers = {{ set = {{ x-route = \"{name}\" }} }}\n"
        );
    }
    let _gateway = Mainstay::start(&config);
    for (line, headers, route) in [
        ("GET /", "Host: other.test\r\n", "rest"),
        ("GET /", "Host: shop.test\r\n", "shop"),
        ("GET /", "Host: SHOP.test:8080\r\n", "shop"),
        ("GET /", "Host: b.shop.test\r\n", "any-sub"),
        ("GET /", "Host: c.b.shop.test\r\n", "any-sub"),
        ("GET /", "Host: a.shop.test\r\n", "sub"),
        ("GET /", "Host: notshop.test\r\n", "rest"),
        ("GET /cart", "Host: shop.test\r\n", "cart"),
        ("GET /cart/x?y=/cart/pay", "Host: shop.test\r\n", "cart"),
        ("GET /carton", "Host: shop.test\r\n", "shop"),
        ("GET /cart/pay/now", "Host: shop.test\r\n", "pay"),
        ("GET /cart/pay", "Host: shop.test\r\n", "exact"),
        ("GET /cart/pay?x", "Host: shop.test\r\n", "exact"),
        ("POST /cart", "Host: shop.test\r\nContent-Length: 0\r\n", "post"),
        ("GET /cart", "Host: shop.test\r\nX-Canary: 1\r\n", "canary"),
        ("GET /cart", "Host: shop.test\r\nX-Canary: 2\r\n", "cart"),
        ("GET /everywhere/x", "Host: other.test\r\n", "everywhere"),
        ("GET http://shop.test/cart", "Host: shop.test\r\n", "cart"),
    ] {
        let response = ask(listen, line, headers);
        assert_eq!((response.status, response.header("x-route")), (200, Some(route)), "{line} {headers:?}");
    }
}

#[test]
fn a_path_cannot_step_around_a_route() {
    let origins = Origin::several(2);
    let listen = free();
    let config = format!(
        "[[listener]]\nname = \"web\"\nbind = \"{listen}\"\n\
         [[service]]\nname = \"open\"\nendpoints = [\"{}\"]\n[[service]]\nname = \"closed\"\nendpoints = [\"{}\"]\n\
         [[route]]\nname = \"open\"\nservice = \"open\"\nmatch = {{ path = \"/open\" }}\n",
        origins[0].address(),
        origins[1].address()
    );
    let _gateway = Mainstay::start(&config);
    let unrouted = ask(listen, "GET /closed", "Host: a\r\n");
    assert_eq!((unrouted.status, unrouted.reason()), (404, "no-route"));
    for path in ["/open/../closed", "/open/%2e%2e/closed", "/open/./../closed", "/open/..%2fclosed"] {
        let response = ask(listen, &format!("GET {path}"), "Host: a\r\n");
        // Either refused, or not routed, or passed on exactly as it came for the backend to judge.
        if response.status == 200 {
            assert_eq!(response.json()["path"], path);
        } else {
            assert!(matches!(response.status, 400 | 404), "{path}: {}", response.status);
        }
    }
    assert_eq!(origins[1].stat("requests"), 0);
}

#[test]
fn prefixes_are_rewritten_and_headers_changed() {
    let (origin, listen) = (Origin::start(), free());
    let route = "[[route]]\nname = \"v1\"\nservice = \"app\"\nmatch = { path = \"/api/v1\" }\nrewrite_prefix = \"/v2\"\n\
                 request_headers = { set = { x-set = \"new\", x-added = \"1\" }, remove = [\"x-removed\"] }\n\
                 response_headers = { set = { x-frame-options = \"DENY\" }, remove = [\"x-origin\"] }\n\
                 [[route]]\nname = \"strip\"\nservice = \"app\"\nmatch = { path = \"/strip\" }\nrewrite_prefix = \"/\"\n";
    let _gateway = Mainstay::start(&(route.to_owned() + &simple(listen, &[origin.address()], "")));
    for (path, arrives) in [
        ("/api/v1", "/v2"),
        ("/api/v1/", "/v2/"),
        ("/api/v1/a/b?c=/api/v1", "/v2/a/b?c=/api/v1"),
        ("/api/v1?x=1", "/v2?x=1"),
        ("/strip", "/"),
        ("/strip/a?b", "/a?b"),
    ] {
        assert_eq!(ask(listen, &format!("GET {path}"), "Host: a\r\n").json()["path"], arrives, "{path}");
    }
    let response = ask(listen, "GET /api/v1", "Host: a\r\nX-Set: old\r\nx-set: older\r\nX-Removed: 1\r\nX-Kept: k\r\n");
    assert_eq!(received(&response, "x-set"), "new");
    assert_eq!(received(&response, "x-added"), "1");
    assert_eq!(received(&response, "x-removed"), "");
    assert_eq!(received(&response, "x-kept"), "k");
    assert_eq!(response.header("x-frame-options"), Some("DENY"));
    assert_eq!(response.header("x-origin"), None);
}

#[test]
fn forwarded_headers_are_believed_only_from_trusted_proxies() {
    let (origin, listen) = (Origin::start(), free());
    let config = simple(listen, &[origin.address()], "");
    let config =
        config.replacen("[[service]]", "trusted_proxies = [\"127.9.9.0/24\", \"10.0.0.0/8\"]\n\n[[service]]", 1);
    let gateway = Mainstay::start(&config);
    let forged = "GET /who HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n\
                  Forwarded: for=6.6.6.6\r\nX-Request-Id: given\r\nX-Forwarded-Port: 1\r\n\r\n";
    let stranger = Wire::connect_from(IpAddr::V4(Ipv4Addr::new(127, 8, 8, 8)), listen).exchange(forged);
    assert_eq!(received(&stranger, "x-forwarded-for"), "127.8.8.8");
    assert_eq!(received(&stranger, "x-forwarded-proto"), "http");
    assert!(!received(&stranger, "x-forwarded-host").contains("evil"));
    assert!(!received(&stranger, "forwarded").contains("6.6.6.6"));
    assert!(!received(&stranger, "x-request-id").contains("given"));
    let chain = forged
        .replace("6.6.6.6\r\nX-Forwarded-Proto", "6.6.6.6, 5.5.5.5, 10.1.1.1\r\nX-Forwarded-Proto")
        .replace("/who", "/chain");
    let proxy = Wire::connect_from(IpAddr::V4(Ipv4Addr::new(127, 9, 9, 9)), listen).exchange(&chain);
    let list = received(&proxy, "x-forwarded-for");
    assert!(list.contains("5.5.5.5") && list.ends_with("127.9.9.9"), "{list}");
    assert_eq!(received(&proxy, "x-forwarded-proto"), "https");
    assert_eq!(received(&proxy, "x-request-id"), "given");
    assert_eq!(proxy.header("x-request-id"), Some("given"));
    // From the right past the trusted hops: the client is the first address that nobody trusted vouches for.
    let client = gateway.logged("/chain")["client"].to_string();
    assert!(client.contains("5.5.5.5"), "{client}");
    assert!(gateway.logged("/who")["client"].to_string().contains("127.8.8.8"));
}

#[test]
fn methods_are_passed_on_as_they_are() {
    let (origin, listen) = (Origin::start(), free());
    let _gateway = Mainstay::start(&simple(listen, &[origin.address()], ""));
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "M-SEARCH", "QUERY"] {
        let response = ask(listen, &format!("{method} /m"), "Host: a\r\nContent-Length: 0\r\n");
        assert_eq!(response.json()["method"], method);
    }
}

#[test]
fn http_is_redirected_to_https() {
    let (origin, listen, plain) = (Origin::start(), free(), free());
    let more = format!("[[listener]]\nname = \"plain\"\nbind = \"{plain}\"\nredirect_https = 8443\n");
    let _gateway = Mainstay::start(&(more + &simple(listen, &[origin.address()], "")));
    let response = ask(plain, "POST /a/b?c=d", "Host: shop.test:80\r\nContent-Length: 0\r\n");
    assert_eq!((response.status, response.reason()), (308, "https-required"));
    assert_eq!(response.header("location"), Some("https://shop.test:8443/a/b?c=d"));
}
