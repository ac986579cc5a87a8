//! The harness against its own backend, without a gateway: what the other tests rely on.

use mainstay_e2e::load::Plan;
use mainstay_e2e::wire::{Broken, get};
use mainstay_e2e::{Origin, Wire};
use std::time::Duration;

#[test]
fn the_backend_answers_as_its_paths_say() {
    let origin = Origin::start();
    let echo = get(origin.address(), "/a/b?c=d").json();
    assert_eq!(echo["path"], "/a/b?c=d");
    assert_eq!(get(origin.address(), "/status/404").status, 404);
    assert_eq!(get(origin.address(), "/bytes/100000").body.length, 100_000);
    let chunked = get(origin.address(), "/chunked/2500");
    assert_eq!((chunked.body.length, chunked.body.trailers[0].1.as_str()), (2500, "2500"));
    assert_eq!(get(origin.address(), "/until-close/50").body.length, 50);
    assert_eq!(get(origin.address(), "/hints").interim.len(), 1);
    let mut wire = Wire::connect(origin.address());
    wire.send("GET /drop HTTP/1.1\r\nHost: t\r\n\r\n").expect("sent");
    assert_eq!(wire.response().expect_err("no answer"), Broken::Closed);
}

#[test]
fn a_killed_backend_breaks_the_load_and_its_record_stays() {
    let mut origin = Origin::start();
    let plan = Plan {
        clients: 4,
        requests: 2_500,
        post_every: 2,
        pause: Duration::from_millis(1),
        ..Plan::new(origin.address())
    };
    let load = plan.start();
    mainstay_e2e::eventually("1,000 requests", Duration::from_secs(20), || load.begun() > 1_000);
    origin.kill();
    let report = load.wait();
    assert!(!report.failed().is_empty());
    let received = origin.received();
    assert!(received.len() >= 990 && received.values().all(|count| *count == 1));
    origin.restart();
    Plan { requests: 100, ..Plan::new(origin.address()) }.run().assert_clean(100);
}
