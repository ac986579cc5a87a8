//! Objectives of a cluster: what its nodes counted is added before anything is judged. The budget burns when the users of all
//! nodes together suffer, and a handful of requests at one node does not page anybody.
//!
//! Every node asks the others for their counts every few seconds. A node that is not heard of for a while is left out, and what
//! users of it met before goes out of the sum with it until it is back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mainstay_core::slo::Tally;
use mainstay_observe::slo::{Objective, Spans};

use super::objectives::{ObjectiveStatus, Objectives, status_of};
use super::scope::{self, Coverage};
use super::{Node, lock};

/// How often the others are asked.
const INTERVAL: Duration = Duration::from_secs(3);
/// For so long a node's counts are taken for what they are: a busy one may miss some questions.
const KEPT: Duration = Duration::from_secs(20);

/// What other nodes have counted for objectives, as they said last.
#[derive(Debug, Default)]
pub struct Others(Mutex<BTreeMap<String, (Instant, Vec<ObjectiveStatus>)>>);

/// Asks the others again and again.
pub(super) async fn follow(node: Arc<Node>) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        if node.cluster().is_none() || node.objectives().is_empty() || node.is_leaving() {
            continue;
        }
        let (answers, _coverage) = ask(&node).await;
        let now = Instant::now();
        let mut known = lock(&node.others.0);
        known.extend(answers.into_iter().map(|(name, items)| (name, (now, items))));
        known.retain(|_name, (at, _items)| now.duration_since(*at) < KEPT);
    }
}

/// What the others say now, and who does not.
pub(super) async fn ask(node: &Node) -> (Vec<(String, Vec<ObjectiveStatus>)>, Coverage) {
    let (answers, coverage) = scope::ask_others::<Option<Objectives>>(node, "/api/v1/objectives").await;
    let items = |(name, answer): (String, Option<Objectives>)| (name, answer.map(|it| it.items).unwrap_or_default());
    (answers.into_iter().map(items).collect(), coverage)
}

/// What an objective is judged by: this node's counts with those of the others, as they said a few seconds ago.
pub(super) fn spans(node: &Node, of: &Objective, now: u64) -> Spans {
    let mut sum = of.spans(&node.history, now);
    for (_at, items) in lock(&node.others.0).values() {
        add(&mut sum, of, items);
    }
    sum
}

/// Adds what another node counted for an objective, if it has the same one.
pub(super) fn add(sum: &mut Spans, of: &Objective, items: &[ObjectiveStatus]) {
    let own = status_of(of, sum);
    let same = items.iter().find(|it| {
        it.name == own.name
            && it.subject == own.subject
            && it.threshold_ms == own.threshold_ms
            && it.indicator == own.indicator
            && it.window_seconds == own.window_seconds
    });
    if let Some(other) = same {
        let tally = |span: &super::objectives::SpanStatus| (span.seconds, Tally { total: span.events, bad: span.bad });
        let tallies = other.spans.iter().map(tally).collect();
        sum.add(&Spans { tallies, known_seconds: other.known_seconds });
    }
}

#[cfg(test)]
mod tests {
    use mainstay_core::slo;
    use mainstay_observe::history::{Kind, Series};
    use mainstay_observe::slo::Good;

    use super::*;

    fn objective(good: Good) -> Objective {
        let subject = Series::new(Kind::Route, "shop");
        Objective { name: "shop".to_owned(), subject, good, terms: slo::Objective::new(0.999) }
    }

    fn spans(of: &Objective, total: u64, bad: u64) -> Spans {
        let tallies = slo::spans(of.terms.window).iter().map(|span| (span.as_secs(), Tally { total, bad })).collect();
        Spans { tallies, known_seconds: 7_200 }
    }

    fn fires(of: &Objective, spans: &Spans) -> bool {
        of.judge(spans).burns.iter().any(|burn| burn.firing)
    }

    /// At one node nearly all of a few requests fail, and the others serve thousands; and the other way round: too few at each
    /// node to be judged, and all of them fail.
    #[test]
    fn users_of_all_nodes_are_judged_together() {
        let of = objective(Good::Answered);
        let (failing, busy) = (spans(&of, 300, 290), spans(&of, 1_000_000, 0));
        assert!(fires(&of, &failing), "alone it would page");
        let mut sum = failing;
        add(&mut sum, &of, &[status_of(&of, &busy)]);
        assert!(!fires(&of, &sum), "of all users few suffer");
        let few = spans(&of, 30, 30);
        assert!(!fires(&of, &few), "too few to be judged");
        let mut sum = few.clone();
        for _node in 0..4 {
            add(&mut sum, &of, &[status_of(&of, &few)]);
        }
        assert!(fires(&of, &sum), "all users of five nodes suffer");
        assert_eq!(sum.known_seconds, 7_200);
    }

    #[test]
    fn an_objective_that_has_become_another_is_not_added() {
        let (of, other) = (objective(Good::Answered), objective(Good::Within(Duration::from_millis(500))));
        let mut sum = spans(&of, 10, 1);
        add(&mut sum, &of, &[status_of(&other, &spans(&other, 10, 10))]);
        assert_eq!(sum, spans(&of, 10, 1));
    }
}
