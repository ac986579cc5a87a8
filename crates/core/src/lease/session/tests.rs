use super::*;

const LEASE: i64 = 77;

fn policy() -> Policy {
    Policy {
        retry: crate::backoff::Policy { base: Duration::from_millis(50), cap: Duration::from_millis(500) },
        ..Policy::default()
    }
}

const fn at(ms: u64) -> Moment {
    Moment::from_millis(ms)
}

fn ttl() -> Duration {
    policy().ttl
}

fn outputs(session: &mut Session) -> Vec<Output> {
    std::iter::from_fn(|| session.poll_output()).collect()
}

/// One that holds a lease asked for at 1 s, with no output left.
fn held() -> Session {
    let mut session = Session::new(policy(), 1);
    session.step(at(1000), Input::Timeout);
    assert_eq!(outputs(&mut session), [Output::Grant { attempt: 1 }]);
    session.step(at(1300), Input::Granted { attempt: 1, lease: LEASE, ttl: ttl() });
    assert_eq!(outputs(&mut session), [Output::Held(policy().term(LEASE, at(1000), ttl()))]);
    session
}

#[test]
fn the_deadline_counts_from_when_the_request_was_sent() {
    let mut session = held();
    assert_eq!(session.term(at(1300)).unwrap().deadline, at(1000 + 2287));
    session.step(at(1500), Input::Timeout);
    assert_eq!(outputs(&mut session), [Output::Renew { attempt: 2, lease: LEASE }]);
    session.step(at(1900), Input::Renewed { attempt: 2, ttl: ttl() });
    assert_eq!(outputs(&mut session), [Output::Held(policy().term(LEASE, at(1500), ttl()))]);
    assert_eq!(session.term(at(1900)).unwrap().deadline, at(1500 + 2287));
}

#[test]
fn without_answers_it_goes_on_asking_and_steps_down_before_the_lease_ends() {
    let mut session = held();
    let mut renewals = 0;
    for ms in 1300..3287 {
        session.step(at(ms), Input::Timeout);
        for output in outputs(&mut session) {
            assert!(matches!(output, Output::Renew { .. }), "{ms}: {output:?}");
            renewals += 1;
        }
    }
    assert_eq!(renewals, 7, "at 1.5, 2, 2.25, 2.5, 2.75, 3 and 3.25 s");
    assert_eq!(session.deadline(), Some(at(3287)));
    session.step(at(3287), Input::Timeout);
    let [Output::StepDown { term, reason: Reason::Expired }] = outputs(&mut session)[..] else {
        panic!("no step-down")
    };
    assert!(term.expiry < at(1000).after(ttl()));
    assert_eq!(session.term(at(3287)), None);
}

#[test]
fn an_answer_after_the_deadline_does_not_undo_the_step_down() {
    let mut session = held();
    session.step(at(1500), Input::Timeout);
    outputs(&mut session);
    // Frozen from 1.5 s on. The renewal would have been good until 3.787 s.
    session.step(at(3500), Input::Renewed { attempt: 2, ttl: ttl() });
    assert!(matches!(outputs(&mut session)[..], [Output::StepDown { reason: Reason::Expired, .. }]));
}

#[test]
fn after_a_loss_the_lease_is_ended_once_all_have_stopped_and_a_new_one_is_asked_for() {
    let mut session = held();
    session.step(at(3300), Input::Timeout);
    outputs(&mut session);
    session.step(at(3350), Input::Stopped { lease: LEASE });
    assert_eq!(outputs(&mut session), [Output::Revoke { lease: LEASE }, Output::Grant { attempt: 2 }]);
    session.step(at(3400), Input::Granted { attempt: 2, lease: 78, ttl: ttl() });
    assert!(matches!(outputs(&mut session)[..], [Output::Held(Term { lease: 78, .. })]));
}

#[test]
fn who_does_not_say_that_it_stopped_is_waited_for_until_it_is_stopped_from_outside() {
    let mut session = held();
    session.step(at(3300), Input::Timeout);
    outputs(&mut session);
    session.step(at(3586), Input::Timeout);
    assert_eq!(outputs(&mut session), []);
    assert_eq!(session.deadline(), Some(at(3587)));
    session.step(at(3587), Input::Timeout);
    assert_eq!(outputs(&mut session), [Output::Grant { attempt: 2 }], "and the old lease ends by itself");
}

#[test]
fn a_lease_that_is_gone_is_lost_at_once() {
    let mut session = held();
    session.step(at(1600), Input::Gone { lease: 5 });
    assert!(!outputs(&mut session).iter().any(|output| matches!(output, Output::StepDown { .. })), "another one");
    session.step(at(1600), Input::Gone { lease: LEASE });
    assert!(matches!(outputs(&mut session)[..], [Output::StepDown { reason: Reason::Gone, .. }, Output::Grant { .. }]));
}

#[test]
fn failures_are_followed_by_pauses_that_grow() {
    let mut session = Session::new(policy(), 3);
    let mut now = at(0);
    let mut pauses = Vec::new();
    for attempt in 1..=40 {
        session.step(now, Input::Timeout);
        assert_eq!(outputs(&mut session), [Output::Grant { attempt }]);
        session.step(now, Input::Failed { attempt });
        let next = session.deadline().unwrap();
        pauses.push(next.since(now));
        now = next;
    }
    assert!(pauses.iter().all(|pause| (25..=500).contains(&pause.as_millis())), "{pauses:?}");
    assert!(pauses[0] <= Duration::from_millis(50));
    assert!(pauses[5..].iter().any(|pause| pause.as_millis() > 250));
}

#[test]
fn a_failed_renewal_is_repeated_sooner_but_not_while_a_newer_one_is_under_way() {
    let mut session = held();
    session.step(at(1500), Input::Timeout);
    session.step(at(1500), Input::Failed { attempt: 2 });
    assert!(session.deadline().unwrap() <= at(1550));
    session.step(at(1550), Input::Timeout);
    session.step(at(2050), Input::Timeout);
    assert_eq!(outputs(&mut session).len(), 3);
    session.step(at(2060), Input::Failed { attempt: 3 });
    assert!(session.deadline().unwrap() > at(2200), "{:?}", session.deadline());
}

#[test]
fn a_grant_that_comes_too_late_is_ended() {
    let mut session = Session::new(policy(), 1);
    session.step(at(0), Input::Timeout);
    session.step(at(900), Input::Timeout);
    outputs(&mut session);
    session.step(at(901), Input::Granted { attempt: 1, lease: 9, ttl: ttl() });
    assert_eq!(outputs(&mut session)[0], Output::Revoke { lease: 9 });
    // The process slept: the answer to the present attempt is there first, and is good for nothing.
    let mut slept = Session::new(policy(), 1);
    slept.step(at(0), Input::Timeout);
    slept.step(at(2300), Input::Granted { attempt: 1, lease: 9, ttl: ttl() });
    assert_eq!(outputs(&mut slept), [Output::Grant { attempt: 1 }, Output::Revoke { lease: 9 }]);
}

#[test]
fn a_clock_that_goes_back_ends_what_was_counted_with_it() {
    let mut session = held();
    session.step(at(1299), Input::Timeout);
    assert!(matches!(outputs(&mut session)[..], [Output::StepDown { reason: Reason::ClockWentBack, .. }]));
    assert_eq!(session.term(at(1299)), None);
    session.step(at(1300), Input::Stopped { lease: LEASE });
    assert_eq!(outputs(&mut session), [Output::Revoke { lease: LEASE }, Output::Grant { attempt: 2 }]);
}

#[test]
fn the_clock_is_looked_at_often_while_the_lease_is_held() {
    let session = held();
    assert!(session.deadline().unwrap() <= at(1300).after(policy().guard));
}

#[test]
fn a_node_that_leaves_ends_its_lease_after_what_acted_on_it() {
    let mut session = held();
    session.step(at(1400), Input::Close);
    assert!(matches!(outputs(&mut session)[..], [Output::StepDown { reason: Reason::Closed, .. }]));
    assert!(!session.is_closed());
    session.step(at(1450), Input::Stopped { lease: LEASE });
    assert_eq!(outputs(&mut session), [Output::Revoke { lease: LEASE }]);
    assert!(session.is_closed());
    assert_eq!(session.deadline(), None);
}

/// How often a session is lost in ten minutes on a link that takes 100 ms each way and loses so much of what is sent.
fn lost_in_ten_minutes(policy: Policy, loss: f64, seed: u64) -> usize {
    let mut rng = Rng::seeded(seed);
    let mut session = Session::new(policy, seed);
    let (mut now, mut answers, mut lost) = (at(1000), VecDeque::new(), 0);
    while now < at(601_000) {
        let input = match answers.front() {
            Some((arrives, input)) if *arrives <= now => {
                let input = *input;
                answers.pop_front();
                input
            }
            _ => Input::Timeout,
        };
        session.step(now, input);
        while let Some(output) = session.poll_output() {
            let answer = match output {
                Output::Grant { attempt } => Input::Granted { attempt, lease: LEASE, ttl: policy.ttl },
                Output::Renew { attempt, .. } => Input::Renewed { attempt, ttl: policy.ttl },
                Output::StepDown { .. } => {
                    lost += 1;
                    continue;
                }
                Output::Held(_) | Output::Revoke { .. } => continue,
            };
            if rng.unit() >= loss && rng.unit() >= loss {
                answers.push_back((now.after(Duration::from_millis(200)), answer));
            }
        }
        let arrives = answers.front().map_or(Moment::NEVER, |(arrives, _)| *arrives);
        now = session.deadline().unwrap_or(Moment::NEVER).min(arrives).max(now);
    }
    lost
}

#[test]
fn a_slow_link_that_loses_messages_ends_no_session() {
    let lost = |loss: f64| (1..=30).map(|seed| lost_in_ten_minutes(policy(), loss, seed)).sum::<usize>();
    assert_eq!(lost(0.05), 0);
    assert!(lost(0.5) > 30, "the same test finds losses where there are any");
}
