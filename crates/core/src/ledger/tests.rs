use super::*;

fn interval(state: State, seconds: u64) -> Interval {
    Interval { state, lasted: Duration::from_secs(seconds), at_unix_ms: 0, planned: false, cause: "power".to_owned() }
}

fn planned(seconds: u64) -> Interval {
    Interval { planned: true, ..interval(State::Down, seconds) }
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-3 * b.abs().max(1e-9)
}

#[test]
fn a_worked_example() {
    // 1000 s up, 10 s down, 1970 s up (of which 70 s in part), 20 s down, 30 s planned, 970 s up; 1000 s nobody looked.
    let seen = [
        interval(State::Up, 1000),
        interval(State::Down, 10),
        interval(State::Up, 1900),
        interval(State::Partial, 70),
        interval(State::Down, 20),
        interval(State::NotObserved, 1000),
        planned(30),
        interval(State::Up, 970),
    ];
    let figures = figures(&seen);
    assert_eq!((figures.failures, figures.planned), (2, 1));
    assert_eq!((figures.up_seconds, figures.partial_seconds), (3940.0, 70.0));
    assert_eq!((figures.down_seconds, figures.planned_seconds, figures.longest_down_seconds), (30.0, 30.0, 20.0));
    assert_eq!((figures.span_seconds, figures.coverage_percent), (5000.0, Some(80.0)));
    assert_eq!(figures.availability_percent, Some(98.5));
    assert_eq!((figures.mtbf_seconds, figures.mttr_seconds), (Some(1970.0), Some(15.0)));
    // Runs of 1000 s and 1970 s ended in failures; the last one still goes on.
    assert_eq!(figures.mttf_seconds, Some(1485.0));
    let (mtbf, mttr) = (1970.0, 15.0);
    assert!(
        near(figures.unplanned_availability_percent.unwrap(), 100.0 * mtbf / (mtbf + mttr)),
        "A = MTBF/(MTBF+MTTR)"
    );
    assert_eq!(figures.causes, [CauseSum { cause: "power".to_owned(), failures: 2, down_seconds: 30.0 }]);
}

#[test]
fn not_looking_while_down_is_no_second_failure_and_no_repair() {
    let seen =
        [interval(State::Up, 10), interval(State::Down, 5), interval(State::NotObserved, 60), interval(State::Down, 5)];
    let figures = figures(&seen);
    assert_eq!((figures.failures, figures.down_seconds, figures.longest_down_seconds), (1, 10.0, 10.0));
}

#[test]
fn nothing_seen_is_no_availability() {
    let figures = figures(&[interval(State::NotObserved, 60)]);
    assert_eq!((figures.availability_percent, figures.coverage_percent), (None, Some(0.0)));
    assert_eq!(super::figures(&[]), Figures::default());
}

#[test]
fn bounds_are_those_of_the_tables() {
    // Chi-squared quantiles: X(0.025; 2) = 0.0506, X(0.975; 4) = 11.143, X(0.025; 10) = 3.247, X(0.975; 12) = 23.337.
    let one = failure_rate(1, 1.0).unwrap();
    assert!(near(one.least, 0.050_636 / 2.0) && near(one.most, 11.143_287 / 2.0), "{one:?}");
    let five = failure_rate(5, 100.0).unwrap();
    assert!(near(five.least, 0.032_469_7 / 2.0) && near(five.most, 0.233_366_6 / 2.0), "{five:?}");
    assert_eq!(failure_rate(0, 600.0), Some(Range { least: 0.0, most: 0.005 }), "3/T");
    assert_eq!(failure_rate(3, 0.0), None);
    // The approximation for many continues the exact one.
    let (few, many) = (failure_rate(500, 1.0).unwrap(), failure_rate(501, 1.0).unwrap());
    assert!(near(many.least, few.least + 1.0) && near(many.most, few.most + 1.0), "{few:?} {many:?}");
}

#[test]
fn nines_are_what_everybody_says() {
    // 99 % 3.65 days; 99.9 % 8.77 h; 99.99 % 52.6 min; 99.999 % 5.26 min.
    for (percent, seconds) in [(99.0, 315_576.0), (99.9, 31_557.6), (99.99, 3_155.76), (99.999, 315.576)] {
        assert!(near(down_a_year(percent).as_secs_f64(), seconds), "{percent}");
    }
}

#[test]
fn failovers_are_put_together() {
    let failover = |recovery_seconds, lost_seconds| Failover {
        what: "address 10.0.0.1".to_owned(),
        at_unix_ms: 0,
        recovery_seconds,
        lost_seconds,
        planned: false,
        phases: Vec::new(),
        lost: None,
    };
    let all = recovery(&[failover(1.0, None), failover(3.0, Some(0.5))]);
    assert_eq!((all.failovers, all.mean_seconds, all.longest_seconds), (2, Some(2.0), Some(3.0)));
    assert_eq!(all.lost_seconds, Some(0.5));
    assert_eq!(recovery(&[]), Recovery::default());
}

fn mark(boot: &str, seconds: u64, wall: u64) -> Mark {
    Mark { boot: boot.to_owned(), boottime_ns: seconds * 1_000_000_000, at_unix_ms: wall * 1000 }
}

fn stands(state: State) -> Entry {
    Entry::Stands { state, planned: false, cause: String::new() }
}

#[test]
fn lengths_are_of_the_boot_time_clock_whatever_the_wall_clock_does() {
    let mut timeline = Timeline::new(0);
    timeline.take(mark("a", 10, 1000), Entry::Begins);
    timeline.take(mark("a", 11, 1001), stands(State::Up));
    // The wall clock is set back by an hour, and forward.
    timeline.take(mark("a", 21, 4611), stands(State::Down));
    timeline.take(mark("a", 24, 1014), stands(State::Up));
    let seen: Vec<(State, u64)> =
        timeline.until(mark("a", 30, 1020)).iter().map(|it| (it.state, it.lasted.as_secs())).collect();
    assert_eq!(seen, [(State::NotObserved, 1), (State::Up, 10), (State::Down, 3), (State::Up, 6)]);
}

#[test]
fn what_lies_between_two_processes_or_two_starts_of_the_machine_was_not_observed() {
    let mut timeline = Timeline::new(0);
    timeline.take(mark("a", 10, 1000), Entry::Begins);
    timeline.take(mark("a", 10, 1000), stands(State::Up));
    timeline.take(mark("a", 15, 1005), Entry::Beat);
    timeline.take(mark("a", 20, 1010), Entry::Begins);
    timeline.take(mark("a", 20, 1010), stands(State::Down));
    timeline.take(mark("a", 22, 1012), Entry::Beat);
    timeline.take(mark("b", 1, 1042), Entry::Begins);
    timeline.take(mark("b", 1, 1042), stands(State::Up));
    let seen: Vec<(State, u64)> =
        timeline.until(mark("b", 3, 1044)).iter().map(|it| (it.state, it.lasted.as_secs())).collect();
    let expected =
        [(State::Up, 5), (State::NotObserved, 5), (State::Down, 2), (State::NotObserved, 30), (State::Up, 2)];
    assert_eq!(seen, expected);
}

#[test]
fn what_lies_before_the_time_asked_for_is_left_out() {
    let mut timeline = Timeline::new(1_005_000);
    timeline.take(mark("a", 10, 1000), Entry::Begins);
    timeline.take(mark("a", 10, 1000), stands(State::Down));
    timeline.take(mark("a", 12, 1002), stands(State::Up));
    let seen = timeline.until(mark("a", 25, 1015));
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].state, seen[0].lasted.as_secs(), seen[0].at_unix_ms), (State::Up, 10, 1_005_000));
}

#[test]
fn an_interval_over_midnight_belongs_to_both_days() {
    let day = 86_400_000;
    let long = Interval { at_unix_ms: day - 10_000, ..interval(State::Down, 86_430) };
    let seen = days(&[long, Interval { at_unix_ms: 2 * day + 20_000, ..interval(State::Partial, 5) }]);
    let sums: Vec<(u64, f64, f64, u32)> =
        seen.iter().map(|day| (day.day, day.down_seconds, day.partial_seconds, day.failures)).collect();
    assert_eq!(sums, [(0, 10.0, 0.0, 1), (1, 86_400.0, 0.0, 0), (2, 20.0, 5.0, 0)]);
}
