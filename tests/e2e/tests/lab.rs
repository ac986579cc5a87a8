//! The lab itself: what it says about failovers is only worth something if it sees two holders when there are two.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use mainstay_e2e::eventually;
use mainstay_e2e::lab::watch::{Sense, Watch};
use mainstay_e2e::lab::{Cut, FLOATING, Lab, serve};
use mainstay_e2e::tools::run;

const PORT: u16 = 8080;
const SOON: Duration = Duration::from_secs(10);

fn address(lab: &Lab, node: usize, verb: &str) {
    run("ip", "iproute2", &["-n", &lab.node(node), "addr", verb, &format!("{FLOATING}/32"), "dev", "eth0"]);
}

#[test]
fn one_holder_after_the_other_is_told_from_two_at_once() {
    let lab = Lab::new(2);
    serve(&lab.node(0), PORT);
    serve(&lab.node(1), PORT);
    let watch = Watch::start(&lab, PORT);
    let since = Instant::now();
    address(&lab, 0, "add");
    eventually("the client is answered", SOON, || watch.answered(since).is_some());
    assert_eq!(watch.holder(), Some(0));
    watch.stayed(0, since);
    for sense in [Sense::Kernel, Sense::Arp, Sense::Accept] {
        eventually("every sense sees it", SOON, || watch.sightings(since).iter().any(|seen| seen.sense == sense));
    }

    address(&lab, 0, "del");
    std::thread::sleep(Duration::from_millis(100));
    address(&lab, 1, "add");
    eventually("the other one has it", SOON, || watch.holder() == Some(1));
    assert!(watch.moved(0, 1, since) >= Duration::from_millis(50));

    let since = Instant::now();
    address(&lab, 0, "add");
    let seen_twice = |sense: Sense| {
        let mut nodes: Vec<usize> = Vec::new();
        nodes.extend(watch.sightings(since).iter().filter(|seen| seen.sense == sense).map(|seen| seen.node));
        nodes.contains(&0) && nodes.contains(&1)
    };
    for sense in [Sense::Kernel, Sense::Arp, Sense::Accept] {
        eventually("every sense sees two", SOON, || seen_twice(sense));
    }
    let told = catch_unwind(AssertUnwindSafe(|| watch.moved(0, 1, since))).unwrap_err();
    assert!(told.downcast_ref::<String>().is_some_and(|text| text.contains("two holders")));
    catch_unwind(AssertUnwindSafe(|| watch.stayed(1, since))).unwrap_err();
}

#[test]
fn a_cut_takes_one_direction_or_both() {
    let lab = Lab::new(2);
    serve(&lab.node(0), PORT);
    address(&lab, 0, "add");
    let watch = Watch::start(&lab, PORT);
    let answered = |since: Instant| watch.answered(since).is_some();
    let start = Instant::now();
    eventually("the client is answered", SOON, || answered(start));
    for cut in [Cut::Both, Cut::In, Cut::Out] {
        lab.cut(0, cut);
        std::thread::sleep(Duration::from_millis(700));
        let since = Instant::now();
        std::thread::sleep(Duration::from_millis(300));
        assert!(!answered(since), "{cut:?}");
        let announces = watch.sightings(since).iter().any(|seen| seen.sense == Sense::Arp);
        assert!(!announces, "{cut:?}");
        lab.heal(0);
        eventually("the client is answered again", SOON, || answered(since));
        assert!(watch.longest_gap(since, Instant::now()) >= Duration::from_millis(300));
    }
}
