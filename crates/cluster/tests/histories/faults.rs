//! What goes wrong, and when: drawn from the run's seed.

use std::time::Duration;

use mainstay_core::random::Rng;
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, id};
use crate::site::{NODES, millis};

/// Makes one fault after another for about `length`, then mends everything. Answers how many.
pub(crate) async fn torment(cluster: &Cluster, mut rng: Rng, length: Duration) -> u64 {
    let end = Instant::now() + length;
    let mut faults = 0;
    while Instant::now() < end {
        sleep(millis(&mut rng, 20, 100)).await;
        one(cluster, &mut rng).await;
        faults += 1;
        cluster.network.heal();
    }
    faults
}

async fn one(cluster: &Cluster, rng: &mut Rng) {
    let victim = rng.below(NODES);
    let other = (victim + 1 + rng.below(NODES - 1)) % NODES;
    let leader = cluster.leader().unwrap_or(victim);
    let network = &cluster.network;
    let isolate = |of: usize, out: bool, into: bool| {
        for another in (0..NODES).filter(|another| *another != of) {
            network.cut(id(of), id(another), out);
            network.cut(id(another), id(of), into);
        }
    };
    match rng.below(13) {
        0 => isolate(victim, true, true),
        1 | 2 => isolate(leader, true, true),
        // One way: it hears and is not heard, or the other way round.
        3 => isolate(leader, true, false),
        4 => isolate(leader, false, true),
        5 => network.cut(id(victim), id(other), true),
        // Nobody hears anybody.
        6 => (0..NODES).for_each(|each| isolate(each, true, true)),
        7 => {
            for (from, to) in (0..NODES).flat_map(|from| (0..NODES).map(move |to| (from, to))) {
                network.slow(id(from), id(to), millis(rng, 0, 40));
            }
        }
        // Of a short leap nothing tells that it was one.
        8 => cluster.leap(victim, millis(rng, 400, 5000)),
        9 => (0..NODES).for_each(|each| cluster.leap(each, millis(rng, 400, 5000))),
        10 => return restart(cluster, &[victim], millis(rng, 1, 200)).await,
        11 => return restart(cluster, &[leader], millis(rng, 1, 200)).await,
        _ => return restart(cluster, &[0, 1, 2], millis(rng, 1, 50)).await,
    }
    sleep(millis(rng, 30, 300)).await;
}

async fn restart(cluster: &Cluster, victims: &[usize], pause: Duration) {
    for victim in victims {
        cluster.kill(*victim).await;
    }
    sleep(pause).await;
    for victim in victims {
        cluster.launch(*victim).await;
    }
}
