//! What is stored, bounded and forgotten, without sockets.

use std::sync::Arc;
use std::time::Duration;

use mainstay_core::cache::{Freshness, Sharing};
use mainstay_core::coalesce::{Ended, Told};
use mainstay_core::time::Moment;

use super::flights::{Flights, Seat};
use super::object::{About, Object, updated};
use super::{OBJECT_SHARE, Store, VARIANTS_MAX};

const MEMORY: u64 = 4 << 20;
const FRESH: Freshness = Freshness {
    arrived: Moment::ZERO,
    age: Duration::ZERO,
    lifetime: Duration::from_secs(60),
    while_revalidate: Duration::ZERO,
    if_error: Duration::ZERO,
    keep: Duration::ZERO,
    no_cache: false,
    never_stale: false,
};

fn object(zone: u64, variant: &str, bytes: usize) -> Arc<Object> {
    let names = vec![b"accept".to_vec().into_boxed_slice()];
    let mut selected = Vec::new();
    mainstay_core::cache::selecting(&names, [(&b"accept"[..], variant.as_bytes())].into_iter(), &mut selected);
    let about = About { zone, status: 200, freshness: FRESH, sharing: Sharing::Unauthorized, names, selected };
    Arc::new(Object::new(about, b"etag: \"1\"\r\nDate: x\r\n".to_vec(), vec![0; bytes].into()))
}

fn find(store: &Store, key: &[u8], zone: u64, variant: &str) -> Option<Arc<Object>> {
    let resource = store.get(key)?;
    resource.select(zone, [(&b"Accept"[..], variant.as_bytes())].into_iter(), &mut Vec::new()).cloned()
}

#[test]
fn what_one_route_has_stored_is_not_for_another() {
    let store = Store::new(MEMORY).expect("a store");
    store.put(b"http a /", &object(1, "x", 10));
    assert!(find(&store, b"http a /", 1, "x").is_some());
    assert!(find(&store, b"http a /", 2, "x").is_none() && find(&store, b"http a /", 1, "y").is_none());
    assert!(find(&store, b"http b /", 1, "x").is_none());
    store.put(b"http a /", &object(1, "x", 20));
    assert_eq!(find(&store, b"http a /", 1, "x").map(|it| it.body.len()), Some(20), "the newer one");
}

#[test]
fn variants_and_their_bytes_are_bounded() {
    let store = Store::new(MEMORY).expect("a store");
    for variant in 0..100 {
        store.put(b"http a /", &object(1, &variant.to_string(), 10));
    }
    let kept = (0..100).filter(|variant| find(&store, b"http a /", 1, &variant.to_string()).is_some()).count();
    assert_eq!(kept, VARIANTS_MAX);
    assert!(find(&store, b"http a /", 1, "99").is_some() && find(&store, b"http a /", 1, "0").is_none());
    let half = usize::try_from(MEMORY / OBJECT_SHARE).expect("small") / 2 + 1;
    for variant in ["a", "b", "c"] {
        store.put(b"http a /large", &object(1, variant, half));
    }
    assert!(find(&store, b"http a /large", 1, "c").is_some() && find(&store, b"http a /large", 1, "b").is_none());
    for page in 0..1_000 {
        store.put(format!("http a /{page}").as_bytes(), &object(1, "x", 20_000));
    }
    assert!(store.bytes() <= MEMORY && store.evictions() > 700, "{} {}", store.bytes(), store.evictions());
}

#[test]
fn purging_goes_by_route_and_path() {
    let store = Store::new(MEMORY).expect("a store");
    for (key, zone) in [(&b"http a /x/1"[..], 1), (b"https b:8443 /x/2?q", 1), (b"http a /y", 1), (b"http a /x/3", 2)] {
        store.put(key, &object(zone, "", 1));
    }
    assert_eq!(store.purge(&[1], "/x"), 2);
    assert!(store.get(b"http a /y").is_some() && store.get(b"http a /x/3").is_some());
    assert_eq!(store.purge(&[1, 2], "/"), 2);
    assert_eq!(store.resources(), 0);
}

#[test]
fn bodies_on_their_way_are_bounded() {
    let store = Arc::new(Store::new(MEMORY).expect("a store"));
    let mut first = store.reserve();
    assert!(first.grow(MEMORY / 8) && first.grow(MEMORY / 4));
    let mut second = store.reserve();
    assert!(!second.grow(1));
    drop(first);
    assert!(second.grow(MEMORY / 4) && !second.grow(MEMORY / 4 + 1));
}

#[test]
fn who_waits_is_told_also_if_a_leader_or_a_waiter_goes_away() {
    let flights = Flights::default();
    let Seat::Lead(lead) = flights.join(b"k") else { panic!("the first one leads") };
    let waiters: Vec<_> = (0..4)
        .map(|_each| match flights.join(b"k") {
            Seat::Wait(waiter) => waiter,
            Seat::Lead(_) | Seat::Alone => panic!("it waits"),
        })
        .collect();
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let mut told = |waiter: &super::flights::Waiter| match waiter.poll(&mut cx) {
        std::task::Poll::Ready(told) => Some(told),
        std::task::Poll::Pending => None,
    };
    assert!(waiters.iter().all(|waiter| told(waiter).is_none()) && flights.lead(b"k").is_none());
    // The leader's connection is gone, and so is that of the one who is told to lead.
    drop(lead);
    let mut waiters = waiters.into_iter();
    let first = waiters.next().expect("there are four");
    assert_eq!(told(&first), Some(Told::Lead));
    drop(first);
    let second = waiters.next().expect("there are four");
    assert_eq!(told(&second), Some(Told::Lead));
    flights.invalidate(b"other");
    let lead = second.lead();
    assert!(lead.may_store());
    lead.end(Ended::Shared);
    assert!(waiters.all(|waiter| told(&waiter) == Some(Told::Look)));
    assert!(flights.lead(b"k").is_some(), "it is over");
}

#[test]
fn what_is_under_way_for_a_url_is_invalidated_and_for_no_other() {
    let flights = Flights::default();
    let (Some(lead), Some(other)) = (flights.lead(b"http a /x\x00route"), flights.lead(b"http a /xy\x00route")) else {
        panic!("nobody else goes")
    };
    flights.invalidate(b"http a /x");
    assert!(!lead.may_store() && other.may_store());
}

#[test]
fn a_304_renews_fields_and_leaves_those_of_the_content() {
    let stored = b"ETag: \"1\"\r\ncontent-type: a\r\nx-a: 1\r\nx-b: 1\r\nx-b: 2\r\n";
    let fresh = b"X-B: 3\r\ncontent-type: b\r\ndate: now\r\n";
    assert_eq!(updated(stored, fresh), b"ETag: \"1\"\r\ncontent-type: a\r\nx-a: 1\r\nX-B: 3\r\ndate: now\r\n");
}
