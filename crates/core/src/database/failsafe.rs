//! A primary that goes on although nobody can be asked for a lease, because every member has confirmed it to it directly.
//!
//! What a member confirms is a promise: until it is over the member goes by no plan of a later term, so that it neither leaves
//! the primary nor says that it did, and cannot be elected. Nobody is elected who has not said that. It is a lease that all
//! members give together, in the place of the store's: the primary counts it from when it *began* to ask, a little faster than
//! its clock does, and a member from when it answered, and `guard` longer.
//!
//! ```text
//! primary      asks                          deadline   expiry
//!                |----------- it acts ----------|--stops---|
//! each member      promises                                        is over
//!                    |--------------- time to live -----------| guard |
//! ```
//!
//! One member that does not answer is enough for the primary to stop: it may be about to be elected by a majority that the
//! primary cannot see. A member that was restarted has forgotten what it promised, and which terms it has said to conform to.
//! It therefore promises nothing before it has read a plan from the store, and goes by no later term than the one that it had
//! written down for as long as its last promise may hold.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Phase, Plan};
use crate::lease::{Policy, Term};
use crate::time::Moment;

/// No promise is longer, whatever is asked for.
pub const PROMISE_MAX: Duration = Duration::from_secs(60);
/// Stands in the place of a lease's number.
pub const LEASE: i64 = -2;

/// What a primary asks every member for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The group.
    pub group: String,
    /// Who asks.
    pub primary: String,
    /// Its term.
    pub term: u64,
    /// For how long it wants to be primary, in milliseconds.
    pub for_ms: u64,
}

/// What a member answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Nobody else will be elected with its help meanwhile.
    Promised,
    /// It goes by another plan, or by none yet.
    AnotherPlan,
}

/// What a member has promised, and the plan that it goes by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Promises {
    /// The plan's term, and who takes writes by it.
    acting: Option<(u64, Option<String>)>,
    /// The greatest term that may be gone by, and until when.
    held: Option<(u64, Moment)>,
    /// The greatest term that it has read of, gone by or not.
    known: u64,
}

impl Promises {
    /// Those of a member that was restarted: it goes by no later term than `term` until then.
    pub fn remembered(term: u64, until: Moment) -> Self {
        Self { acting: None, held: Some((term, until)), known: 0 }
    }

    /// Whether this plan may be gone by; from then on it is.
    pub fn admits(&mut self, plan: &Plan, now: Moment) -> bool {
        self.known = self.known.max(plan.term);
        let is_held = |(term, until): &(u64, Moment)| plan.term > *term && now < *until;
        if self.held.as_ref().is_some_and(is_held) {
            return false;
        }
        self.held = self.held.filter(|(_, until)| now < *until);
        self.acting = Some((plan.term, plan.serving().map(str::to_owned)));
        true
    }

    /// When a plan that was not admitted may be tried again; `None`: nothing is held back.
    pub fn held_until(&self, now: Moment) -> Option<Moment> {
        self.held.map(|(_, until)| until).filter(|until| now < *until)
    }

    /// Whether `question` would be answered with a promise. One who has read of a later term gives none for an earlier one, so that
    /// a primary that alone is cut off from the store makes room.
    pub fn would_promise(&self, question: &Question) -> bool {
        let (term, primary) = (question.term, &question.primary);
        self.known <= term
            && self
                .acting
                .as_ref()
                .is_some_and(|(acting, serving)| *acting == term && serving.as_ref() == Some(primary))
    }

    /// Answers. `guard` is how much longer than the primary's time the promise is kept.
    pub fn answer(&mut self, question: &Question, guard: Duration, now: Moment) -> Answer {
        let wanted = Duration::from_millis(question.for_ms);
        if !self.would_promise(question) || wanted > PROMISE_MAX {
            return Answer::AnotherPlan;
        }
        let until = now.after(wanted.saturating_add(guard));
        let before = self.held.filter(|(term, _)| *term == question.term).map_or(Moment::ZERO, |(_, until)| until);
        self.held = Some((question.term, until.max(before)));
        Answer::Promised
    }
}

/// One round of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    asked_at: Moment,
    missing: BTreeSet<String>,
}

impl Round {
    /// A primary begins to ask now. `None`: nobody is to be asked, or it is none.
    pub fn begin(plan: &Plan, me: &str, now: Moment) -> Option<Self> {
        let is_mine = matches!(&plan.phase, Phase::Serving { primary } if primary == me);
        let mut missing = plan.licence.asked().filter(|_| is_mine)?.clone();
        // What it promises itself needs no message: it goes by one plan at a time.
        missing.remove(me);
        Some(Self { asked_at: now, missing })
    }

    /// Who has not confirmed it yet.
    pub fn missing(&self) -> &BTreeSet<String> {
        &self.missing
    }

    /// A member has answered.
    pub fn hear(&mut self, node: &str, answer: Answer) {
        if answer == Answer::Promised {
            self.missing.remove(node);
        }
    }

    /// How long the primary may go on by that, once everybody has confirmed it.
    pub fn term(&self, policy: &Policy) -> Option<Term> {
        self.missing.is_empty().then(|| policy.term(LEASE, self.asked_at, policy.ttl))
    }
}

/// When a primary begins to ask: while its lease still holds, so that nothing stops in between.
pub fn asks_from(term: &Term, policy: &Policy) -> Moment {
    let acting = policy.term(term.lease, Moment::ZERO, policy.ttl).deadline.since(Moment::ZERO);
    // A renewal and its answer are missing by then.
    let quiet = policy.renew.saturating_add(policy.rpc).min(acting / 2);
    let left = acting.saturating_sub(quiet);
    Moment::from_nanos(term.deadline.as_nanos().saturating_sub(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::super::Licence;
    use super::*;

    const GUARD: Duration = Duration::from_millis(200);

    fn plan(term: u64, primary: &str) -> Plan {
        let confirmers = vec![["a", "b", "c"].map(str::to_owned).into()];
        let licence = Licence { confirmers, ..Licence::default() };
        Plan { term, phase: Phase::Serving { primary: primary.to_owned() }, licence, ..Plan::default() }
    }

    fn question(term: u64, primary: &str) -> Question {
        Question { group: "orders".to_owned(), primary: primary.to_owned(), term, for_ms: 2600 }
    }

    fn at(ms: u64) -> Moment {
        Moment::from_millis(ms)
    }

    #[test]
    fn a_member_that_has_promised_goes_by_no_later_term_until_that_is_over() {
        let mut member = Promises::default();
        assert_eq!(member.answer(&question(3, "a"), GUARD, at(0)), Answer::AnotherPlan, "it has read none");
        assert!(member.admits(&plan(3, "a"), at(0)));
        assert_eq!(member.answer(&question(3, "a"), GUARD, at(100)), Answer::Promised);
        assert!(member.admits(&plan(3, "a"), at(200)), "the same term");
        assert!(!member.admits(&plan(4, "b"), at(1999)));
        assert_eq!(member.answer(&question(3, "a"), GUARD, at(2000)), Answer::AnotherPlan, "it knows of a later one");
        assert!(!member.admits(&plan(4, "b"), at(2899)));
        assert!(member.admits(&plan(4, "b"), at(2900)));
        assert_eq!(member.answer(&question(3, "a"), GUARD, at(4900)), Answer::AnotherPlan);
        assert_eq!(member.answer(&question(4, "a"), GUARD, at(4900)), Answer::AnotherPlan, "another one is primary");
    }

    #[test]
    fn a_member_that_was_restarted_keeps_what_it_wrote_down() {
        let mut member = Promises::remembered(3, at(2800));
        assert_eq!(member.answer(&question(3, "a"), GUARD, at(0)), Answer::AnotherPlan);
        assert!(!member.admits(&plan(4, "b"), at(2000)));
        assert_eq!(
            member.answer(&question(3, "a"), GUARD, at(2000)),
            Answer::AnotherPlan,
            "a plan that it does not go by"
        );
        assert!(member.admits(&plan(4, "b"), at(2800)));
    }

    #[test]
    fn all_of_them_and_not_a_majority() {
        let policy = Policy::default();
        let mut round = Round::begin(&plan(3, "a"), "a", at(1000)).expect("it is the primary");
        round.hear("b", Answer::Promised);
        assert_eq!(round.term(&policy), None);
        round.hear("c", Answer::AnotherPlan);
        assert_eq!(round.term(&policy), None);
        round.hear("c", Answer::Promised);
        let term = round.term(&policy).expect("all have promised");
        // The earliest end of any promise, which was given after the asking began.
        let over = at(1000).after(policy.ttl + GUARD);
        assert!(term.expiry < over && over.since(term.expiry) >= GUARD, "{term:?}");
        assert_eq!(Round::begin(&plan(3, "b"), "a", at(0)), None);
    }

    #[test]
    fn it_asks_before_its_lease_is_over_and_not_while_renewals_come() {
        let policy = Policy::default();
        let term = policy.term(7, at(10_000), policy.ttl);
        let from = asks_from(&term, &policy);
        assert!(from > at(10_000).after(policy.renew) && from < term.deadline, "{from:?} {term:?}");
    }
}
