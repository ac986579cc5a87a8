//! Responses that are served although their time is over: while they are validated, in place of an error, and as the last
//! good copy.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mainstay_e2e::{Mainstay, eventually, free};

use super::{Counting, config, get, is_hit, results, status_of};

/// An origin whose pages are numbered and fresh for a second.
fn numbered(lines: &'static str) -> Counting {
    let serial = AtomicUsize::new(0);
    Counting::start(move |_head| {
        let serial = serial.fetch_add(1, Ordering::SeqCst);
        (format!("HTTP/1.1 200 OK\r\n{lines}"), serial.to_string().into_bytes())
    })
}

const PLAIN: &str = "{ jitter = \"0%\" }";

fn expire() {
    std::thread::sleep(Duration::from_millis(1_150));
}

#[test]
fn a_stale_page_is_served_while_a_fresh_one_is_fetched() {
    let (listen, origin) = (free(), numbered("cache-control: max-age=1, stale-while-revalidate=30"));
    let gateway = Mainstay::start(&config(listen, origin.address(), PLAIN, ""));
    assert_eq!(get(listen, "/a", &[]).text(), "0");
    expire();
    let stale = get(listen, "/a", &[]);
    assert_eq!(stale.text(), "0");
    assert!(status_of(&stale).contains("; hit; ttl=-") && status_of(&stale).contains("stale-while-revalidate"));
    eventually("the fresh page is there", Duration::from_secs(5), || get(listen, "/a", &[]).text() == "1");
    assert_eq!((origin.count(), results(&gateway, "miss")), (2, 1.0));
    assert_eq!(gateway.metric("mainstay_cache_refreshes_total", &[]), 1.0);
    let id = stale.header("x-request-id").expect("an id").to_owned();
    let mut page = String::new();
    eventually("it is explained", Duration::from_secs(5), || {
        page = String::from_utf8_lossy(&gateway.command(&["explain", &id]).stdout).into_owned();
        page.contains("cache")
    });
    assert!(page.contains("although it was stale"), "{page}");
    // Refreshes in the background are no requests of clients.
    assert!(gateway.access_log().iter().all(|line| line["cache"] != "refresh"));
}

#[test]
fn a_validation_in_the_background_stays_with_the_tenants_endpoints() {
    let origins: Vec<Counting> = (0..4)
        .map(|name| {
            let serial = AtomicUsize::new(0);
            Counting::start(move |_head| {
                let serial = serial.fetch_add(1, Ordering::SeqCst);
                let lines = "HTTP/1.1 200 OK\r\ncache-control: max-age=1, stale-while-revalidate=60";
                (lines.to_owned(), format!("{name} {serial}").into_bytes())
            })
        })
        .collect();
    let listen = free();
    let all: Vec<String> = origins.iter().map(|origin| format!("\"{}\"", origin.address())).collect();
    let first = format!("endpoints = [\"{}\"]", origins[0].address());
    let sharded =
        format!("endpoints = [{}]\ntenant = {{ header = \"x-tenant\" }}\nshard = {{ shuffle = 1 }}", all.join(", "));
    let config = config(listen, origins[0].address(), PLAIN, "").replace(&first, &sharded);
    let _gateway = Mainstay::start(&config);
    let page = |tenant: u32| get(listen, &format!("/{tenant}"), &[&format!("x-tenant: tenant-{tenant}")]).text();
    let before: Vec<String> = (0..8).map(page).collect();
    expire();
    for (tenant, old) in (0..8).zip(before) {
        assert_eq!(page(tenant), old, "it is stale, and served");
        let mut fresh = String::new();
        eventually("the fresh page is there", Duration::from_secs(5), || {
            fresh = page(tenant);
            fresh != old
        });
        assert_eq!(fresh.split(' ').next(), old.split(' ').next(), "by the tenant's one endpoint: {fresh} after {old}");
    }
}

#[test]
fn a_stale_page_is_served_in_place_of_an_error() {
    let (listen, origin) = (free(), numbered("cache-control: max-age=1, stale-if-error=60"));
    let mut gateway = Mainstay::start(&config(listen, origin.address(), PLAIN, ""));
    assert_eq!(get(listen, "/a", &[]).text(), "0");
    expire();
    origin.fail(true);
    for _request in 0..3 {
        let stale = get(listen, "/a", &[]);
        assert_eq!((stale.status, stale.text().as_str()), (200, "0"), "{}", status_of(&stale));
        assert!(status_of(&stale).contains("stale-if-error"));
    }
    assert_eq!(origin.count(), 2, "an origin that fails is left alone for a moment");
    assert_eq!(get(listen, "/other", &[]).status, 503, "nothing is stored of another page");
    origin.fail(false);
    eventually("it recovers", Duration::from_secs(5), || get(listen, "/a", &[]).text() == "1");

    // The control: without the origin's word and the route's, an error is an error.
    let strict = numbered("cache-control: max-age=1");
    gateway.reload(&config(listen, strict.address(), PLAIN, ""));
    assert_eq!(get(listen, "/b", &[]).text(), "0");
    expire();
    strict.fail(true);
    assert_eq!(get(listen, "/b", &[]).status, 503);
    // With the route's word.
    gateway.reload(&config(listen, strict.address(), "{ stale_if_error = \"1m\", jitter = \"0%\" }", ""));
    strict.fail(false);
    assert_eq!(get(listen, "/c", &[]).status, 200);
    expire();
    strict.fail(true);
    assert_eq!(get(listen, "/c", &[]).status, 200);
}

#[test]
fn what_must_be_validated_is_never_served_stale() {
    let lines = "cache-control: max-age=1, must-revalidate, stale-if-error=60, stale-while-revalidate=60";
    let (listen, origin) = (free(), numbered(lines));
    let _gateway = Mainstay::start(&config(listen, origin.address(), PLAIN, "fallback = { stale = \"1h\" }"));
    assert_eq!(get(listen, "/a", &[]).text(), "0");
    expire();
    assert_eq!(get(listen, "/a", &["Cache-Control: max-stale=100"]).text(), "1");
    expire();
    origin.fail(true);
    assert_eq!(get(listen, "/a", &[]).status, 503);
}

#[test]
fn a_fallback_has_the_last_good_copy() {
    let (listen, origin) = (free(), numbered("cache-control: max-age=1"));
    let fallback = "fallback = { stale = \"1h\", body = \"sorry\" }";
    let gateway = Mainstay::start(&config(listen, origin.address(), PLAIN, fallback));
    assert_eq!(get(listen, "/a", &[]).text(), "0");
    expire();
    origin.fail(true);
    let copy = get(listen, "/a", &[]);
    assert_eq!((copy.status, copy.text().as_str(), copy.header("x-mainstay-fallback")), (200, "0", Some("stale")));
    let other = get(listen, "/never-seen", &[]);
    assert_eq!((other.text().as_str(), other.header("x-mainstay-fallback")), ("sorry", Some("static")));
    assert_eq!(gateway.metric("mainstay_fallback_responses_total", &["\"stale\""]), 1.0);
    origin.fail(false);
    assert!(!is_hit(&get(listen, "/a", &[])));
}
