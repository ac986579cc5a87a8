use super::*;
use crate::lease::Policy;

const OWN: i64 = 7;
const OTHER: i64 = 8;

const fn at(ms: u64) -> Moment {
    Moment::from_millis(ms)
}

fn term(sent_ms: u64) -> Term {
    let policy = Policy::default();
    policy.term(OWN, at(sent_ms), policy.ttl)
}

fn outputs(role: &mut Role) -> Vec<Output> {
    std::iter::from_fn(|| role.poll_output()).collect()
}

const fn holder(revision: u64, token: Token, lease: i64) -> Seen {
    Seen { revision, holder: Some((token, lease)) }
}

const fn vacant(revision: u64) -> Seen {
    Seen { revision, holder: None }
}

/// One that has asked for the role at 0, as attempt 1.
fn asked() -> Role {
    let mut role = Role::new(Policy::default(), 1);
    role.step(at(0), Input::Session(term(0)));
    assert_eq!(outputs(&mut role), []);
    role.step(at(0), Input::Want(true));
    assert_eq!(outputs(&mut role), [Output::Campaign { attempt: 1, lease: OWN }]);
    role
}

/// One that holds it with token 20.
fn holding() -> Role {
    let mut role = asked();
    role.step(at(100), Input::Answer { attempt: 1, seen: holder(20, 20, OWN) });
    role.step(at(300), Input::Timeout);
    assert_eq!(outputs(&mut role), [Output::Hold { token: 20, term: term(0) }]);
    role
}

#[test]
fn it_acts_only_after_the_guard() {
    let mut role = asked();
    role.step(at(100), Input::Answer { attempt: 1, seen: holder(20, 20, OWN) });
    assert_eq!(outputs(&mut role), []);
    assert_eq!(role.holds(at(299)), None);
    assert_eq!(role.deadline(), Some(at(300)));
    role.step(at(299), Input::Timeout);
    assert_eq!(outputs(&mut role), []);
    role.step(at(300), Input::Timeout);
    assert_eq!(outputs(&mut role), [Output::Hold { token: 20, term: term(0) }]);
    assert_eq!(role.holds(at(300)), Some(20));
}

#[test]
fn renewals_let_it_act_longer_and_their_lack_ends_it_at_the_deadline() {
    let mut role = holding();
    role.step(at(600), Input::Session(term(500)));
    assert_eq!(outputs(&mut role), [Output::Hold { token: 20, term: term(500) }]);
    assert_eq!(role.holds(at(2786)), Some(20));
    assert_eq!(role.holds(at(2787)), None, "even before it is stepped");
    role.step(at(2787), Input::Timeout);
    assert_eq!(outputs(&mut role), [Output::Stop { token: 20, why: Why::SessionLost }]);
}

#[test]
fn an_occupied_role_is_taken_once_it_is_vacant() {
    let mut role = asked();
    role.step(at(100), Input::Answer { attempt: 1, seen: holder(20, 15, OTHER) });
    role.step(at(200), Input::Seen(holder(21, 15, OTHER)));
    assert_eq!(outputs(&mut role), []);
    role.step(at(300), Input::Seen(vacant(30)));
    assert_eq!(outputs(&mut role), [Output::Campaign { attempt: 2, lease: OWN }]);
}

#[test]
fn a_deaf_watch_is_made_up_for() {
    let mut role = asked();
    role.step(at(100), Input::Answer { attempt: 1, seen: holder(20, 15, OTHER) });
    role.step(at(2000), Input::Session(term(1900)));
    assert_eq!(role.deadline(), Some(at(100).after(Policy::default().ttl)));
    role.step(at(2700), Input::Timeout);
    assert_eq!(outputs(&mut role), [Output::Campaign { attempt: 2, lease: OWN }]);
}

#[test]
fn it_is_given_back_after_what_acted_has_stopped() {
    let mut role = holding();
    role.step(at(400), Input::Want(false));
    assert_eq!(outputs(&mut role), [Output::Stop { token: 20, why: Why::Resigned }]);
    assert_eq!(role.holds(at(400)), None);
    assert_eq!(role.stopping(), Some(20));
    role.step(at(500), Input::Stopped { token: 19 });
    assert_eq!(outputs(&mut role), [], "another one");
    role.step(at(600), Input::Stopped { token: 20 });
    assert_eq!(outputs(&mut role), [Output::Resign { attempt: 2, token: Some(20), lease: OWN }]);
    assert!(!role.is_idle());
    role.step(at(700), Input::Resigned { attempt: 2 });
    assert!(role.is_idle());
    assert_eq!(outputs(&mut role), []);
}

#[test]
fn a_resignation_is_repeated_until_it_is_known_to_have_worked() {
    let mut role = holding();
    role.step(at(400), Input::Want(false));
    role.step(at(400), Input::Stopped { token: 20 });
    role.step(at(400), Input::Failed { attempt: 2 });
    outputs(&mut role);
    role.step(at(500), Input::Timeout);
    assert_eq!(outputs(&mut role), [Output::Resign { attempt: 3, token: Some(20), lease: OWN }]);
    // No answer at all.
    role.step(at(1200), Input::Timeout);
    assert_eq!(outputs(&mut role), [Output::Resign { attempt: 4, token: Some(20), lease: OWN }]);
}

#[test]
fn draining_ends_at_once_when_the_session_is_lost() {
    let mut role = holding();
    role.step(at(400), Input::Want(false));
    outputs(&mut role);
    role.step(at(500), Input::SessionLost);
    assert_eq!(outputs(&mut role), [Output::Stop { token: 20, why: Why::SessionLost }]);
    role.step(at(600), Input::Stopped { token: 20 });
    assert_eq!(outputs(&mut role), [], "there is nothing to give back");
    assert!(role.is_idle());
}

#[test]
fn wanted_again_while_it_drains_it_is_held_again() {
    let mut role = holding();
    role.step(at(400), Input::Want(false));
    role.step(at(450), Input::Want(true));
    outputs(&mut role);
    role.step(at(500), Input::Stopped { token: 20 });
    assert_eq!(outputs(&mut role), [Output::Hold { token: 20, term: term(0) }]);
}

#[test]
fn news_from_before_it_was_won_is_no_loss_and_later_news_is() {
    let mut role = holding();
    role.step(at(400), Input::Seen(vacant(19)));
    role.step(at(400), Input::Seen(holder(20, 20, OWN)));
    assert_eq!(outputs(&mut role), []);
    role.step(at(500), Input::Seen(vacant(21)));
    assert_eq!(outputs(&mut role), [Output::Stop { token: 20, why: Why::Taken }]);
    // It does not act with another token before the first is done with.
    role.step(at(600), Input::Seen(holder(22, 22, OWN)));
    assert_eq!(outputs(&mut role), []);
    role.step(at(700), Input::Stopped { token: 20 });
    assert_eq!(outputs(&mut role), [Output::Campaign { attempt: 2, lease: OWN }]);
}

#[test]
fn a_campaign_that_was_won_unheard_is_found_out() {
    let mut role = asked();
    role.step(at(100), Input::Failed { attempt: 1 });
    role.step(at(200), Input::Timeout);
    assert_eq!(outputs(&mut role), [Output::Campaign { attempt: 2, lease: OWN }]);
    role.step(at(300), Input::Answer { attempt: 2, seen: holder(20, 18, OWN) });
    role.step(at(500), Input::Timeout);
    assert_eq!(outputs(&mut role), [Output::Hold { token: 18, term: term(0) }]);
}

#[test]
fn what_the_watch_says_late_of_its_own_key_is_not_believed() {
    let mut role = holding();
    role.step(at(400), Input::Want(false));
    role.step(at(400), Input::Stopped { token: 20 });
    role.step(at(450), Input::Resigned { attempt: 2 });
    role.step(at(450), Input::Want(true));
    role.step(at(460), Input::Answer { attempt: 3, seen: holder(25, 25, OTHER) });
    outputs(&mut role);
    role.step(at(500), Input::Seen(holder(20, 20, OWN)));
    assert_eq!(outputs(&mut role), [Output::Campaign { attempt: 4, lease: OWN }], "the coordinator is asked");
    assert_eq!(role.holds(at(2000)), None);
}

#[test]
fn what_is_won_without_being_wanted_any_more_is_given_back() {
    let mut role = asked();
    role.step(at(50), Input::Want(false));
    role.step(at(100), Input::Answer { attempt: 1, seen: holder(20, 20, OWN) });
    assert_eq!(outputs(&mut role), [Output::Resign { attempt: 2, token: Some(20), lease: OWN }]);
    // Unheard of.
    let mut role = asked();
    role.step(at(50), Input::Want(false));
    role.step(at(700), Input::Timeout);
    role.step(at(800), Input::Timeout);
    assert_eq!(outputs(&mut role), [Output::Resign { attempt: 2, token: None, lease: OWN }]);
    // While it waits for the guard.
    let mut role = asked();
    role.step(at(100), Input::Answer { attempt: 1, seen: holder(20, 20, OWN) });
    role.step(at(150), Input::Want(false));
    assert_eq!(outputs(&mut role), [Output::Resign { attempt: 2, token: Some(20), lease: OWN }]);
}

#[test]
fn a_clock_that_goes_back_ends_it() {
    let mut role = holding();
    role.step(at(299), Input::Timeout);
    assert_eq!(outputs(&mut role), [Output::Stop { token: 20, why: Why::SessionLost }]);
}

#[test]
fn nothing_is_asked_without_a_session() {
    let mut role = Role::new(Policy::default(), 1);
    role.step(at(0), Input::Want(true));
    role.step(at(100), Input::Seen(vacant(3)));
    assert_eq!(outputs(&mut role), []);
    assert_eq!(role.deadline(), None);
}
