//! A backend that is killed under load costs no client anything.

use std::collections::HashMap;
use std::time::Duration;

use mainstay_e2e::gateway::simple;
use mainstay_e2e::load::Plan;
use mainstay_e2e::{Mainstay, Origin, eventually, free};

const HEALTH: &str =
    "health = { http = \"/health\", interval = \"500ms\", timeout = \"250ms\", unhealthy = 2, healthy = 2 }";

#[test]
fn kill_9_under_load_fails_no_get_and_sends_no_post_twice() {
    let mut origins = Origin::several(2);
    let listen = free();
    let gateway = Mainstay::start(&simple(listen, &[origins[0].address(), origins[1].address()], HEALTH));
    // GETs and POSTs are loads of their own: a POST whose backend died with it in hand may fail, a GET may not.
    let gets = Plan { requests: 80_000, time: Duration::from_secs(150), clients: 12, ..Plan::new(listen) };
    let posts = Plan { requests: 30_000, post_every: 1, tag: "post-", clients: 4, ..gets.clone() };
    let short = Plan { requests: 5_000, short: true, clients: 2, tag: "short-", ..gets.clone() };
    let (gets, posts, short) = (gets.start(), posts.start(), short.start());
    for (kill, begun) in [(0, 15_000), (1, 45_000)] {
        eventually("the load is under way", Duration::from_secs(90), || gets.begun() > begun);
        origins[kill].kill();
        std::thread::sleep(Duration::from_secs(2));
        origins[kill].restart();
    }
    let (gets, posts, short) = (gets.wait(), posts.wait(), short.wait());
    gets.assert_clean(80_000);
    short.assert_clean(5_000);
    let all = gets.outcomes.len() + posts.outcomes.len() + short.outcomes.len();
    assert!(all >= 100_000, "{all}");
    let received = received(&origins);
    let posted = |id: &&String| id.starts_with("post-");
    assert!(received.keys().filter(posted).count() > 29_900);
    let twice: Vec<_> = received.iter().filter(|(id, count)| posted(id) && **count > 1).take(10).collect();
    assert!(twice.is_empty(), "received twice: {twice:?}");
    // A POST may fail only if a backend had it in hand: then it was received, or it died on a connection that stood.
    let failed = posts.failed();
    assert!(failed.len() <= 16, "{} POSTs failed: {:?}", failed.len(), failed.first());
    for outcome in failed {
        assert_eq!(outcome.result.as_ref().map(|(status, _)| *status), Ok(502), "{outcome:?}");
    }
    assert!(gateway.metric("mainstay_retries_total", &[]) >= 1.0);
}

#[test]
fn posts_to_a_backend_that_refuses_connections_are_tried_elsewhere() {
    let mut origins = Origin::several(2);
    let listen = free();
    let service = "health = \"off\"\noutlier = \"off\"\nbalance = \"round-robin\"\nretry_budget = { ratio = \"100%\", floor = 1000 }";
    let gateway = Mainstay::start(&simple(listen, &[origins[0].address(), origins[1].address()], service));
    origins[0].kill();
    let plan = Plan { requests: 2_000, post_every: 1, clients: 4, ..Plan::new(listen) };
    plan.run().assert_clean(2_000);
    let received = received(&origins);
    assert_eq!(received.len(), 2_000);
    assert!(received.values().all(|count| *count == 1));
    assert!(gateway.metric("mainstay_retries_total", &[]) >= 100.0);
}

fn received(origins: &[Origin]) -> HashMap<String, u32> {
    let mut all = HashMap::new();
    for origin in origins {
        for (id, count) in origin.received() {
            *all.entry(id).or_insert(0) += count;
        }
    }
    all
}
