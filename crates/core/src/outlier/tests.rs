use super::*;

const POLICY: Policy = Policy {
    consecutive: 5,
    base: Duration::from_secs(10),
    cap: Duration::from_secs(35),
    max_ejected: 0.5,
    gray: None,
};

fn seconds(seconds: u64) -> Moment {
    Moment::from_millis(seconds * 1000)
}

fn trip(machine: &mut Machine, now: Moment, endpoint: usize) -> Vec<Output> {
    machine.step(now, Input::Tripped { endpoint, others: 9 });
    std::iter::from_fn(|| machine.poll_output()).collect()
}

fn wait(machine: &mut Machine, now: Moment) -> Vec<Output> {
    machine.step(now, Input::Timeout);
    std::iter::from_fn(|| machine.poll_output()).collect()
}

#[test]
fn the_cap_of_small_and_large_services() {
    // Share; endpoints; how many may be out at once.
    let table = [
        (0.5, 1, 0),
        (0.5, 2, 1),
        (0.5, 3, 1),
        (0.5, 4, 2),
        (0.5, 5, 2),
        (0.1, 2, 0),
        (0.1, 9, 0),
        (0.1, 10, 1),
        (0.3, 10, 3),
        (0.29, 100, 29),
        (1.0, 1, 0),
        (1.0, 2, 1),
        (1.0, 5, 4),
        (9.0, 5, 4),
        (0.0, 5, 0),
        (f64::NAN, 5, 0),
    ];
    for (max_ejected, endpoints, expected) in table {
        let mut machine = Machine::new(Policy { max_ejected, ..POLICY }, endpoints);
        let ejected: usize = (0..endpoints).map(|endpoint| trip(&mut machine, seconds(0), endpoint).len()).sum();
        assert_eq!(ejected, expected, "{max_ejected} of {endpoints}");
    }
}

#[test]
fn the_last_eligible_endpoint_stays() {
    let mut machine = Machine::new(POLICY, 4);
    machine.step(seconds(0), Input::Tripped { endpoint: 2, others: 0 });
    assert_eq!(machine.poll_output(), None);
    assert_eq!(machine.deadline(), None);
}

#[test]
fn an_ejection_ends_at_its_deadline_and_not_before() {
    let mut machine = Machine::new(POLICY, 2);
    assert_eq!(trip(&mut machine, seconds(1), 1), [Output::Eject { endpoint: 1, until: seconds(11) }]);
    assert_eq!(trip(&mut machine, seconds(2), 1), [], "it is out already");
    assert_eq!(machine.deadline(), Some(seconds(11)));
    assert_eq!(wait(&mut machine, seconds(10)), []);
    assert_eq!(wait(&mut machine, seconds(11)), [Output::Restore { endpoint: 1 }]);
    assert_eq!(machine.deadline(), None);
    assert_eq!(wait(&mut machine, seconds(12)), [], "once");
}

#[test]
fn ejections_in_a_row_last_longer_up_to_the_cap() {
    let mut machine = Machine::new(POLICY, 2);
    let mut now = seconds(0);
    for expected in [10, 20, 30, 35, 35] {
        let until = now.after(Duration::from_secs(expected));
        assert_eq!(trip(&mut machine, now, 0), [Output::Eject { endpoint: 0, until }]);
        assert_eq!(wait(&mut machine, until), [Output::Restore { endpoint: 0 }]);
        now = until.after(Duration::from_secs(1));
    }
    // In service for three times as long as the last one lasted: three are forgiven.
    now = now.after(Duration::from_secs(3 * 35));
    assert_eq!(trip(&mut machine, now, 0), [Output::Eject { endpoint: 0, until: now.after(Duration::from_secs(30)) }]);
    now = now.after(Duration::from_secs(3600));
    assert_eq!(wait(&mut machine, now), [Output::Restore { endpoint: 0 }]);
    assert_eq!(trip(&mut machine, now, 0), [Output::Eject { endpoint: 0, until: now.after(Duration::from_secs(10)) }]);
}

#[test]
fn a_late_driver_frees_the_place_of_an_ejection_that_is_over() {
    let mut machine = Machine::new(POLICY, 2);
    trip(&mut machine, seconds(0), 0);
    let outputs = trip(&mut machine, seconds(15), 1);
    assert_eq!(outputs, [Output::Restore { endpoint: 0 }, Output::Eject { endpoint: 1, until: seconds(25) }]);
}

#[test]
fn endpoints_that_do_not_exist_are_ignored() {
    let mut machine = Machine::new(POLICY, 2);
    assert_eq!(trip(&mut machine, seconds(0), 2), []);
    assert_eq!(trip(&mut Machine::new(POLICY, 0), seconds(0), 0), []);
}

#[test]
fn even_endless_policies_have_an_end() {
    let mut machine = Machine::new(Policy { base: Duration::MAX, cap: Duration::MAX, ..POLICY }, 2);
    trip(&mut machine, seconds(0), 0);
    assert_eq!(machine.deadline(), Some(Moment::ZERO.after(LONGEST)));
}

#[test]
fn an_ejection_goes_on_where_another_machine_left_it() {
    let mut machine = Machine::new(POLICY, 2);
    machine.resume(seconds(3), 1, seconds(7));
    machine.resume(seconds(3), 9, seconds(7));
    assert_eq!(machine.deadline(), Some(seconds(7)));
    assert_eq!(trip(&mut machine, seconds(4), 0), [], "it counts against the share");
    assert_eq!(wait(&mut machine, seconds(7)), [Output::Restore { endpoint: 1 }]);
    assert_eq!(trip(&mut machine, seconds(8), 0), [Output::Eject { endpoint: 0, until: seconds(18) }]);
}

mod easing {
    use super::super::gray::Verdict::{self, Failing, Slow, Unclear, Well};
    use super::*;

    fn gray() -> Policy {
        Policy { gray: Some(gray::Policy::default()), ..POLICY }
    }

    fn judge(machine: &mut Machine, now: Moment, endpoint: usize, verdict: Verdict) -> Vec<Output> {
        machine.step(now, Input::Judged { endpoint, verdict, others: 9 });
        std::iter::from_fn(|| machine.poll_output()).collect()
    }

    fn ease(endpoint: usize, permille: u16) -> Output {
        Output::Ease { endpoint, share: Share::permille(permille) }
    }

    #[test]
    fn a_slow_one_is_eased_out_in_steps_and_keeps_a_trickle() {
        let mut machine = Machine::new(gray(), 4);
        for (second, expected) in [(1, 500), (2, 100), (3, 20)] {
            assert_eq!(judge(&mut machine, seconds(second), 1, Slow), [ease(1, expected)]);
        }
        for second in 4..30 {
            assert_eq!(judge(&mut machine, seconds(second), 1, Slow), []);
            assert_eq!(judge(&mut machine, seconds(second), 1, Unclear), []);
        }
        assert_eq!(machine.share(1), Share::permille(20));
        for (second, expected) in [(30, 100), (31, 500), (32, 1000)] {
            assert_eq!(judge(&mut machine, seconds(second), 1, Well), [ease(1, expected)]);
        }
        assert_eq!(judge(&mut machine, seconds(33), 1, Well), []);
        assert_eq!(machine.deadline(), None);
    }

    #[test]
    fn one_that_fails_is_ejected_after_the_last_step_and_comes_back_by_steps() {
        let mut machine = Machine::new(gray(), 4);
        for second in 1..=3 {
            judge(&mut machine, seconds(second), 2, Failing);
        }
        assert_eq!(judge(&mut machine, seconds(4), 2, Failing), []);
        assert_eq!(judge(&mut machine, seconds(5), 2, Failing), []);
        assert_eq!(judge(&mut machine, seconds(6), 2, Failing), [Output::Eject { endpoint: 2, until: seconds(16) }]);
        assert_eq!(judge(&mut machine, seconds(7), 2, Failing), []);
        assert_eq!(wait(&mut machine, seconds(16)), [ease(2, 100), Output::Restore { endpoint: 2 }]);
        assert_eq!(judge(&mut machine, seconds(17), 2, Well), [ease(2, 500)]);
        assert_eq!(judge(&mut machine, seconds(18), 2, Well), [ease(2, 1000)]);
    }

    #[test]
    fn without_traffic_it_comes_back_after_a_while() {
        let mut machine = Machine::new(gray(), 4);
        for second in 1..=3 {
            judge(&mut machine, seconds(second), 0, Slow);
        }
        assert_eq!(machine.deadline(), Some(seconds(13)));
        assert_eq!(wait(&mut machine, seconds(13)), [ease(0, 100)]);
        assert_eq!(wait(&mut machine, seconds(23)), [ease(0, 500)]);
        assert_eq!(wait(&mut machine, seconds(33)), [ease(0, 1000)]);
        assert_eq!(machine.deadline(), None);
    }

    #[test]
    fn the_way_back_is_slower_each_time_and_good_service_forgives() {
        let mut machine = Machine::new(gray(), 4);
        let mut rounds = Vec::new();
        let mut now = seconds(0);
        for pause in [1, 1, 1, 3600] {
            judge(&mut machine, now, 0, Slow);
            let mut needed = 0;
            while machine.share(0) < Share::FULL {
                now = now.after(Duration::from_secs(1));
                judge(&mut machine, now, 0, Well);
                needed += 1;
            }
            rounds.push(needed);
            now = now.after(Duration::from_secs(pause));
        }
        judge(&mut machine, now, 0, Slow);
        assert_eq!(judge(&mut machine, now, 0, Well), [ease(0, 1000)], "an hour forgives everything");
        assert_eq!(rounds, [1, 2, 3, 4]);
    }

    #[test]
    fn whoever_is_eased_out_counts_against_the_share() {
        let mut machine = Machine::new(gray(), 4);
        assert_eq!(judge(&mut machine, seconds(1), 0, Slow).len(), 1);
        assert_eq!(judge(&mut machine, seconds(1), 1, Slow).len(), 1);
        assert_eq!(judge(&mut machine, seconds(1), 2, Slow), []);
        assert_eq!(trip(&mut machine, seconds(1), 2), []);
        assert_eq!(trip(&mut machine, seconds(1), 0).len(), 1, "its own place");
        machine.step(seconds(2), Input::Judged { endpoint: 3, verdict: Slow, others: 0 });
        assert_eq!(machine.poll_output(), None, "the last one");
        assert_eq!(judge(&mut machine, seconds(2), 9, Slow), []);
    }
}

#[test]
fn an_operator_ejects_whom_he_wants_and_pardons_everything() {
    let mut machine = Machine::new(POLICY, 1);
    let mut order = |now: u64, input: Input| {
        machine.step(seconds(now), input);
        std::iter::from_fn(|| machine.poll_output()).collect::<Vec<_>>()
    };
    let lasts = Duration::from_secs(60);
    let ejected = |until: u64| vec![Output::Eject { endpoint: 0, until: seconds(until) }];
    assert_eq!(order(0, Input::Ordered { endpoint: 0, lasts }), ejected(60), "although it is the last one");
    assert_eq!(order(10, Input::Ordered { endpoint: 0, lasts }), ejected(70), "another order moves the end");
    assert_eq!(order(69, Input::Timeout), vec![]);
    assert_eq!(order(70, Input::Timeout), vec![Output::Restore { endpoint: 0 }]);
    assert_eq!(order(71, Input::Ordered { endpoint: 0, lasts: Duration::MAX }).len(), 1, "no order is for ever");
    assert_eq!(order(72, Input::Pardoned { endpoint: 0 }), vec![Output::Restore { endpoint: 0 }]);
    assert_eq!(order(73, Input::Pardoned { endpoint: 0 }), vec![]);
    assert_eq!(order(74, Input::Ordered { endpoint: 7, lasts }), vec![], "nobody is there");
}
