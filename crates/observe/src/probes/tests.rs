use std::collections::BTreeMap;

use mainstay_core::time::Moment;
use mainstay_core::vantage::Verdict;

use super::board::{Board, Changed, Report, Told};
use super::*;
use mainstay_runtime::task::{Kind, spawn_local};

fn probe(from: &[&str]) -> Probe {
    Probe {
        name: "login".to_owned(),
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(5),
        from: from.iter().map(|node| (*node).to_owned()).collect(),
        secrets: Vec::new(),
        ca: None,
        steps: Vec::new(),
    }
}

fn outcome(failed: Option<&str>) -> Outcome {
    let took = Duration::from_millis(3);
    let failed = failed.map(str::to_owned);
    Outcome { took, steps: vec![StepOutcome { name: "GET /".to_owned(), took, failed, certificate_days: None }] }
}

fn at(seconds: u64) -> Moment {
    Moment::ZERO.after(Duration::from_secs(seconds))
}

fn says(run: u64, passed: bool) -> Report {
    let why = if passed { String::new() } else { "step 1 (GET /): refused".to_owned() };
    BTreeMap::from([("login".to_owned(), Told { run, passed, why })])
}

fn verdicts(changed: &[Changed]) -> Vec<(Verdict, Option<Verdict>)> {
    changed.iter().map(|it| (it.from, it.to)).collect()
}

#[test]
fn a_node_alone_goes_by_its_own_view_and_tells_each_change_once() {
    let probe = probe(&[]);
    let board = Board::new("a", std::slice::from_ref(&probe), false);
    assert_eq!(board.judge(at(0)), []);
    assert_eq!(board.note(&probe, outcome(None), at(1)), Some(true));
    assert_eq!(verdicts(&board.judge(at(1))), [(Verdict::Unknown, Some(Verdict::Up))]);
    assert_eq!(board.judge(at(2)), []);
    assert_eq!(board.note(&probe, outcome(Some("refused")), at(11)), Some(false));
    let changed = board.judge(at(11));
    assert_eq!(verdicts(&changed), [(Verdict::Up, Some(Verdict::Down))]);
    assert_eq!(changed[0].cause, "step 1 (GET /): refused (from a)");
    assert_eq!(verdicts(&board.judge(at(300))), [(Verdict::Down, Some(Verdict::Unknown))], "nobody looks any more");
    board.note(&probe, outcome(None), at(301));
    board.judge(at(301));
    board.adopt(&[]);
    assert_eq!(verdicts(&board.judge(at(302))), [(Verdict::Up, None)], "it is no longer configured");
    assert_eq!(board.note(&probe, outcome(None), at(303)), None, "a journey that ends late counts for nothing");
}

#[test]
fn of_three_nodes_it_takes_two_and_old_news_of_a_node_are_old() {
    let probe = probe(&[]);
    let board = Board::new("a", std::slice::from_ref(&probe), true);
    assert_eq!(board.note(&probe, outcome(Some("refused")), at(1)), None);
    assert_eq!(board.judge(at(1)), [], "before the cluster is heard nothing is known");
    let heard = |b: Report, c: Report| BTreeMap::from([("b".to_owned(), b), ("c".to_owned(), c)]);
    board.hear(heard(says(1, true), says(1, true)), at(2));
    assert_eq!(verdicts(&board.judge(at(2))), [(Verdict::Unknown, Some(Verdict::Degraded))]);
    assert_eq!(board.note(&probe, outcome(Some("refused")), at(3)), None, "a failure of one path is no event");
    board.hear(heard(says(2, false), says(1, true)), at(4));
    assert_eq!(verdicts(&board.judge(at(4))), [(Verdict::Degraded, Some(Verdict::Down))]);
    let failing = &board.standings()[0].failing;
    assert_eq!(failing.iter().map(|(node, _why)| node.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    // `c` has not made the journey again, and says the same for ever.
    board.hear(heard(says(9, true), says(1, true)), at(60));
    board.note(&probe, outcome(None), at(60));
    assert_eq!(verdicts(&board.judge(at(60))), [(Verdict::Down, Some(Verdict::Up))]);
    board.note(&probe, outcome(Some("refused")), at(61));
    assert_eq!(verdicts(&board.judge(at(61))), [(Verdict::Up, Some(Verdict::Degraded))], "one of two");
    board.set_cut_off(true);
    assert_eq!(verdicts(&board.judge(at(62))), [(Verdict::Degraded, Some(Verdict::Unknown))]);
}

#[test]
fn only_the_nodes_that_make_it_are_expected() {
    let probe = probe(&["b", "c"]);
    let board = Board::new("a", std::slice::from_ref(&probe), true);
    board.hear(BTreeMap::from([("b".to_owned(), says(1, false)), ("c".to_owned(), says(1, false))]), at(1));
    assert_eq!(board.turn(&probe), None);
    assert_eq!(verdicts(&board.judge(at(1))), [(Verdict::Unknown, Some(Verdict::Down))]);
    // `b` has gone: what is left decides.
    board.hear(BTreeMap::from([("c".to_owned(), says(2, true))]), at(2));
    assert_eq!(verdicts(&board.judge(at(2))), [(Verdict::Down, Some(Verdict::Up))]);
    let standing = &board.standings()[0];
    assert_eq!((standing.fresh, standing.expected), (1, 1));
}

/// Waits until the board says so, for a minute at most.
async fn until(board: &Board, holds: impl Fn(&super::board::Standing) -> bool) {
    let limit = std::time::Instant::now() + Duration::from_secs(60);
    while !board.standings().first().is_some_and(&holds) {
        assert!(std::time::Instant::now() < limit, "{:?}", board.standings());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn a_journey_that_panics_counts_for_nothing_and_the_next_one_is_made() {
    let probe = Probe { interval: Duration::from_millis(20), ..probe(&[]) };
    let board = std::sync::Arc::new(Board::new("a", std::slice::from_ref(&probe), false));
    let count = std::rc::Rc::new(std::cell::Cell::new(0));
    let journey: driver::Journey = Box::new(move |_probe| {
        let number = count.replace(count.get() + 1);
        Box::pin(async move {
            assert!(number >= 2, "meant for the test");
            outcome(None)
        })
    });
    let parts = driver::Parts {
        board: std::sync::Arc::clone(&board),
        history: crate::history::History::in_memory(),
        journey,
        on_change: Box::new(|_changed| {}),
        left: Box::new(|| false),
    };
    let work = async {
        let _driver = spawn_local(Kind::Probe, driver::drive(parts)).abort_on_drop();
        // Whoever asked for the journey is told at once.
        let asked = board.ask("login").expect("room");
        assert!(asked.await.is_err());
        until(&board, |it| it.passed > 0 && it.verdict == Verdict::Up && it.failed == 0).await;
    };
    mainstay_runtime::thread::run_here(work).expect("a runtime");
}
