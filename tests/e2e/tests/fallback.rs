//! Graceful degradation: what clients get in place of an error, and when they get the error all the same.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use mainstay_e2e::http2::{Http2, request};
use mainstay_e2e::{Mainstay, Origin, Wire, eventually, free, wire};

/// A route to a recommendation engine and one to the checkout, which share nothing. `fallback` is added to the former.
fn shop(listen: SocketAddr, engine: SocketAddr, checkout: SocketAddr, fallback: &str) -> String {
    format!(
        "[[listener]]\nname = \"web\"\nbind = \"{listen}\"\n\
         [[route]]\nname = \"recommendations\"\nservice = \"engine\"\nmatch = {{ path = \"/recommendations\" }}\n\
         timeout = \"3s\"\nattempt_timeout = \"300ms\"\nrewrite_prefix = \"/\"\n{fallback}\n\
         [[route]]\nname = \"checkout\"\nservice = \"checkout\"\n\
         [[service]]\nname = \"engine\"\nendpoints = [\"{engine}\"]\nhealth = \"off\"\noutlier = \"off\"\n\
         [[service]]\nname = \"checkout\"\nendpoints = [\"{checkout}\"]\nhealth = \"off\"\noutlier = \"off\"\n"
    )
}

const TOP10: &str = "[\"the first\",\"the second\"]";

fn served(gateway: &Mainstay, form: &str) -> f64 {
    gateway.metric("mainstay_fallback_responses_total", &["\"recommendations\"", &format!("\"{form}\"")])
}

/// Scenario C of the source document 001: the recommendation engine fails, the page and the checkout do not.
#[test]
fn a_page_survives_its_recommendation_engine() {
    let (mut engine, checkout, listen) = (Origin::start(), Origin::start(), free());
    let fallback = "fallback = { status = 200, file = \"top10.json\" }";
    let with = shop(listen, engine.address(), checkout.address(), fallback);
    let mut gateway = Mainstay::launch("", &with, &[("top10.json", TOP10)]);
    gateway.wait_until_ready();
    let well = wire::get(listen, "/recommendations/ok");
    assert_eq!((well.status, well.text().as_str(), well.header("x-mainstay-fallback")), (200, "ok", None));

    let is_degraded = |path: &str, why: &str| {
        let page = wire::get(listen, path);
        let told = (page.status, page.text(), page.header("x-mainstay-fallback"), page.header("content-type"));
        assert_eq!(told, (200, TOP10.to_owned(), Some("static"), Some("application/json")), "{why}");
        assert_eq!(page.header("cache-control"), Some("no-store"), "{why}");
        assert_eq!(wire::get(listen, "/ok").status, 200, "the checkout goes on: {why}");
    };
    is_degraded("/recommendations/status/503", "it says that it cannot");
    is_degraded("/recommendations/drop", "it hangs up");
    engine.stop();
    is_degraded("/recommendations/hangs", "it hangs");
    engine.resume();
    engine.kill();
    is_degraded("/recommendations/dead", "it is dead");
    // What is not the engine's failure is nobody's: 404 and the like go through.
    engine.restart();
    eventually("the engine is back", Duration::from_secs(10), || {
        wire::get(listen, "/recommendations/ok").text() == "ok"
    });
    assert_eq!(wire::get(listen, "/recommendations/status/404").status, 404);

    assert_eq!((served(&gateway, "static"), served(&gateway, "service")), (4.0, 0.0));
    let line = gateway.logged("/recommendations/dead");
    assert_eq!(
        (&line["status"], &line["fallback"], &line["error"]),
        (&200.into(), &"static".into(), &"connect-failed".into())
    );
    assert_eq!(gateway.metric("mainstay_route_own_errors_total", &["\"recommendations\""]), 0.0);
    let id = wire::get(listen, "/recommendations/status/503").header("x-request-id").expect("an id").to_owned();
    let mut page = String::new();
    eventually("it is explained", Duration::from_secs(5), || {
        page = String::from_utf8_lossy(&gateway.command(&["explain", &id]).stdout).into_owned();
        page.contains("fallback")
    });
    assert!(page.contains("`static`, in place of an error"), "{page}");

    // The control: without it the page fails with its engine.
    gateway.reload(&shop(listen, engine.address(), checkout.address(), ""));
    assert_eq!(wire::get(listen, "/recommendations/status/503").status, 503);
    engine.kill();
    assert_eq!(wire::get(listen, "/recommendations/ok").status, 502);
}

#[test]
fn another_service_answers_if_it_can() {
    let (engine, mut spare, listen) = (Origin::start(), Origin::start(), free());
    let (first, second) = (engine.address(), spare.address());
    let config =
        |fallback: &str| shop(listen, first, second, &format!("fallback = {{ service = \"checkout\"{fallback} }}"));
    let mut gateway = Mainstay::start(&config(", methods = [\"GET\", \"POST\"]"));
    engine.control("status=503");
    let echoed = wire::get(listen, "/recommendations/echo?a=1");
    assert_eq!((echoed.status, echoed.header("x-mainstay-fallback")), (200, Some("service")));
    assert_eq!(
        (&echoed.json()["origin"], &echoed.json()["path"]),
        (&spare.address().to_string().into(), &"/echo?a=1".into())
    );
    let line = gateway.logged("/recommendations/echo");
    assert_eq!(line["attempts"][0]["endpoint"], engine.address().to_string());
    assert_eq!(line["attempts"][1]["endpoint"], spare.address().to_string());
    let id = echoed.header("x-request-id").expect("an id");
    let told = String::from_utf8_lossy(&gateway.command(&["explain", id]).stdout).into_owned();
    assert!(told.contains(&spare.address().to_string()), "{told}");
    // A body that has gone to the engine cannot go to the spare as well, unless the request may be repeated.
    let mut client = Wire::connect(listen);
    let post = "POST /recommendations/mirror HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    let refused = client.exchange(post);
    assert_eq!((refused.status, refused.text().as_str()), (503, "forced"));
    let put =
        "POST /recommendations/mirror HTTP/1.1\r\nHost: a\r\nIdempotency-Key: 1\r\nContent-Length: 5\r\n\r\nhello";
    let repeated = Wire::connect(listen).exchange(put);
    assert_eq!((repeated.status, repeated.text().as_str()), (200, "hello"));
    // The engine's own words are worth more than none.
    spare.kill();
    let both = wire::get(listen, "/recommendations/ok");
    assert_eq!((both.status, both.text().as_str(), both.header("x-mainstay-fallback")), (503, "forced", None));
    assert!(gateway.metric("mainstay_fallback_failures_total", &[]) >= 1.0);
    // Two forms: the fixed one is the last resort.
    gateway.reload(&config(", empty = true"));
    let last = wire::get(listen, "/recommendations/ok");
    assert_eq!((last.status, last.text().as_str(), last.header("x-mainstay-fallback")), (204, "", Some("empty")));
    spare.restart();
    eventually("the spare is back", Duration::from_secs(10), || {
        wire::get(listen, "/recommendations/ok").header("x-mainstay-fallback") == Some("service")
    });
}

#[test]
fn every_client_gets_it_in_its_own_way() {
    let (checkout, listen) = (Origin::start(), free());
    let fallback = "fallback = { body = \"sorry\", content_type = \"text/x-part\" }\nresponse_headers = { set = { x-a = \"1\" }, remove = \"cache-control\" }";
    let gateway = Mainstay::start(&shop(listen, free(), checkout.address(), fallback));
    let mut client = Wire::connect(listen);
    for _request in 0..3 {
        let got = client.exchange("GET /recommendations HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!((got.status, got.text().as_str(), got.header("x-a")), (200, "sorry", Some("1")));
        assert_eq!((got.header("content-type"), got.header("cache-control")), (Some("text/x-part"), None));
        assert!(got.header("date").is_some() && got.header("x-request-id").is_some());
    }
    let head = client.exchange("HEAD /recommendations HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((head.status, head.header("content-length"), head.text().as_str()), (200, Some("5"), ""));
    let post = client.exchange("POST /recommendations HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert_eq!((post.status, post.reason()), (502, "connect-failed"), "a POST is told the truth");
    let mut multiplexed = Http2::connect(listen);
    let answer = multiplexed.exchange(request("GET", "/recommendations"), b"");
    assert_eq!(
        (answer.head.status.as_u16(), answer.header("x-mainstay-fallback"), answer.body.as_slice()),
        (200, "static", &b"sorry"[..])
    );
    let upgrade = "GET /recommendations HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(Wire::connect(listen).exchange(upgrade).status, 502, "a page is no tunnel");
    assert_eq!(served(&gateway, "static"), 5.0);
}

#[test]
fn the_file_is_read_when_it_changes_and_must_be_there() {
    let (checkout, listen) = (Origin::start(), free());
    let config = shop(listen, free(), checkout.address(), "fallback = { file = \"top10.html\" }");
    let mut gateway = Mainstay::launch("", &config, &[("top10.html", "old")]);
    gateway.wait_until_ready();
    assert_eq!(wire::get(listen, "/recommendations").text(), "old");
    fs::write(gateway.dir().join("top10.html"), "new").expect("written");
    eventually("the new one is served", Duration::from_secs(15), || {
        wire::get(listen, "/recommendations").text() == "new"
    });
    fs::remove_file(gateway.dir().join("top10.html")).expect("removed");
    let checked =
        mainstay_e2e::gateway::cli(&["check", "-c", &gateway.dir().join("mainstay.toml").display().to_string()]);
    let said = String::from_utf8_lossy(&checked.stderr).into_owned() + &String::from_utf8_lossy(&checked.stdout);
    assert!(!checked.status.success() && said.contains("top10.html"), "{said}");
    assert_eq!(wire::get(listen, "/recommendations").text(), "new", "what was read stays");
}
