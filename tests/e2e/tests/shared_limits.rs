//! A rate that the nodes of a cluster have together, however uneven their traffic is, and when one of them dies.

use std::time::{Duration, Instant};

use mainstay_e2e::Origin;
use mainstay_e2e::cluster::{Nodes, Place};
use mainstay_e2e::load::{Load, Outcome, Plan};

const RATE: f64 = 60.0;
/// Parts follow demand within a second, and a dead node's part goes to the others after two.
const SETTLING: Duration = Duration::from_secs(4);
const MEASURED: Duration = Duration::from_secs(4);

fn load(place: &Place, clients: usize) -> Load {
    let plan = Plan::new(place.listen);
    Plan { clients, pause: Duration::from_millis(25), requests: u64::MAX, time: Duration::from_secs(120), ..plan }
        .start()
}

/// Requests a second that were let in since then, for as long as it is measured.
fn admitted(outcomes: &[Outcome], since: Instant) -> f64 {
    let within = |outcome: &&Outcome| outcome.at >= since && outcome.at < since + MEASURED;
    outcomes.iter().filter(within).filter(|outcome| outcome.is_ok()).count() as f64 / MEASURED.as_secs_f64()
}

fn measure() -> Instant {
    std::thread::sleep(SETTLING);
    let since = Instant::now();
    std::thread::sleep(MEASURED);
    since
}

#[test]
fn a_rate_is_kept_by_all_nodes_together_and_a_dead_nodes_part_goes_to_the_others() {
    let origin = Origin::start();
    let endpoint = origin.address();
    let mut cluster = Nodes::start(3, move |place| {
        format!(
            "[cluster]\nlisten = \"{}\"\n[[listener]]\nname = \"web\"\nbind = \"{}\"\n\
             [[service]]\nname = \"app\"\nendpoints = [\"{endpoint}\"]\n\
             [[route]]\nname = \"all\"\nservice = \"app\"\n\
             rate_limit = {{ rate = \"60/s\", burst = 6, scope = \"cluster\" }}\n",
            place.peer, place.listen
        )
    });
    cluster.wait_until_whole();
    // Each node alone would let 60 a second through, so that all three together would let pass far more than the whole.
    let mut loads: Vec<Load> = [8, 5, 4].iter().zip(&cluster.nodes).map(|(n, it)| load(&it.place, *n)).collect();
    let whole = measure();
    cluster.nodes[0].kill();
    let without_the_first = measure();

    let reports: Vec<_> = loads.drain(..).map(|load| load.stop().outcomes).collect();
    let rates = |since: Instant| reports.iter().map(|it| admitted(it, since)).collect::<Vec<f64>>();
    let (before, after) = (rates(whole), rates(without_the_first));
    println!("admitted a second by node, of {RATE} for all: {before:.1?}; after the death of the first: {after:.1?}");
    let asked = |index: usize| {
        let within = |it: &&Outcome| it.at >= whole && it.at < whole + MEASURED;
        (reports[index].iter().filter(within).count() as f64 / MEASURED.as_secs_f64()).min(RATE)
    };
    let apart: f64 = (0..3).map(asked).sum();
    assert!(apart > RATE * 1.5, "too little was asked: {apart:.1} would pass if each node let pass all of it");
    // Less than the whole passes where news of demand is late, as it is on a busy machine; more never may.
    let within = |sum: f64| (RATE * 0.4..=RATE * 1.2).contains(&sum);
    assert!(within(before.iter().sum()), "{before:.1?}");
    assert!(before[0] > before[2], "parts follow demand: {before:.1?}");
    assert!(before.iter().all(|rate| *rate > 2.0), "everybody gets something: {before:.1?}");
    assert!(within(after.iter().sum()), "{after:.1?}");
    assert!(after[0] < 0.1, "it is dead");
}
