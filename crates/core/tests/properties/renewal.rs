use mainstay_core::renewal::advice::Window;
use mainstay_core::renewal::{Observation, Plan, Policy, Previous, Validity, Why, plan};
use proptest::prelude::*;

use crate::config;

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;
const START: u64 = 20_000 * DAY;

/// What happens at one time.
#[derive(Clone, Debug)]
enum Step {
    /// Time passes, in milliseconds.
    Wait(u64),
    /// Until the plan's time, if that is not too far away.
    Due,
    /// An operator asks.
    Ask,
    /// The names in the configuration change.
    Change,
    /// The authority suggests a window that begins so long after the certificate did, and lasts so long.
    Suggest(u64, u64),
}

/// How an order ends: with a certificate that lasts so long, or a failure with the wait that the authority asks for.
type Ending = Result<u64, Option<u64>>;

fn steps() -> impl Strategy<Value = Vec<(Step, Ending)>> {
    let step = prop_oneof![
        4 => (0u64..2 * HOUR).prop_map(Step::Wait),
        1 => (0u64..40 * DAY).prop_map(Step::Wait),
        6 => Just(Step::Due),
        2 => Just(Step::Ask),
        1 => Just(Step::Change),
        2 => (0u64..120 * DAY, 1u64..10 * DAY).prop_map(|(after, lasts)| Step::Suggest(after, lasts)),
    ];
    let ending = prop_oneof![
        2 => (60_000u64..100 * DAY).prop_map(Ok),
        3 => proptest::option::of(0u64..2 * DAY).prop_map(Err),
    ];
    proptest::collection::vec((step, ending), 1..80)
}

#[derive(Default)]
struct World {
    now: u64,
    certificate: Option<Validity>,
    is_changed: bool,
    asked: bool,
    suggested: Option<Window>,
    previous: Previous,
    orders: Vec<u64>,
}

impl World {
    fn observation(&self) -> Observation {
        Observation {
            certificate: self.certificate,
            fits: !self.is_changed,
            asked: self.asked,
            suggested: self.suggested,
        }
    }

    fn plan(&self, seed: u64) -> Plan {
        plan(&Policy::default(), &self.observation(), &self.previous, self.now, seed)
    }

    /// What must hold of an order that begins now.
    fn check(&self, found: Plan) -> Result<(), TestCaseError> {
        let policy = Policy::default();
        let within = self.orders.iter().filter(|at| **at + HOUR > self.now).count();
        prop_assert!(within < policy.orders_an_hour, "{within} orders within the hour before {}", self.now);
        prop_assert!(self.now >= self.previous.not_before, "the authority has asked to wait");
        if !self.asked && self.previous.failures > 0 {
            let last = self.orders.last().copied().unwrap_or(0);
            prop_assert!(self.now >= last + policy.retry / 2, "again too soon");
        }
        if let (Some(validity), Some(window), Why::Suggested) = (self.certificate, self.suggested, found.why) {
            prop_assert!(
                self.now >= window.start().min(validity.until - validity.lifetime() / 12),
                "before the window"
            );
            let apart = self.now.saturating_sub(self.previous.suggested);
            prop_assert!(apart >= (6 * HOUR).min(validity.lifetime() / 4), "suggestions are followed too often");
        }
        if let (Some(validity), Why::Due) = (self.certificate, found.why) {
            let left = validity.until.saturating_sub(self.now);
            prop_assert!(
                left <= validity.lifetime() * 3 / 8 + 2,
                "far too early: {left} ms of {}",
                validity.lifetime()
            );
        }
        Ok(())
    }

    fn order(&mut self, why: Why, ending: &Ending) {
        self.previous.begin(&Policy::default(), why, self.now);
        self.orders.push(self.now);
        match ending {
            Ok(lifetime) => {
                self.certificate = Some(Validity { from: self.now, until: self.now + lifetime });
                (self.is_changed, self.asked, self.suggested) = (false, false, None);
                self.previous.succeed();
            }
            Err(wait) => {
                self.asked = false;
                self.previous.fail(wait.map(|wait| self.now + wait));
            }
        }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn orders_are_never_too_many_nor_forgotten(steps in steps(), seed in any::<u64>()) {
        let mut world = World { now: START, ..World::default() };
        let policy = Policy::default();
        for (step, ending) in &steps {
            match step {
                Step::Wait(wait) => world.now += wait,
                Step::Due => world.now = world.now.max(world.plan(seed).at),
                Step::Ask => world.asked = true,
                Step::Change => world.is_changed = true,
                Step::Suggest(after, lasts) => {
                    let begin = world.certificate.map_or(START, |validity| validity.from + after);
                    world.suggested = Window::new(begin, begin + lasts);
                }
            }
            let found = world.plan(seed);
            // Whatever has happened: what is needed is ordered in time that has a bound.
            let needed = match world.certificate {
                Some(validity) if !world.is_changed && !world.asked => match world.suggested {
                    Some(window) => window.moment(&validity, seed),
                    None => validity.renewal(seed),
                },
                Some(_) | None => world.now,
            };
            let bound = needed.max(world.previous.not_before).max(world.now + policy.retry_max.max(HOUR));
            prop_assert!(found.at <= bound, "{found:?} is later than {bound}");
            if found.at <= world.now {
                world.check(found)?;
                world.order(found.why, ending);
            }
        }
        prop_assert!(world.previous.orders.len() <= policy.orders_an_hour);
    }

    #[test]
    fn a_certificate_is_renewed_before_it_ends_and_not_while_it_is_young(
        lifetime in 1_000u64..400 * DAY, seed in any::<u64>(),
    ) {
        let validity = Validity { from: START, until: START + lifetime };
        let at = validity.renewal(seed);
        prop_assert!(at >= START + lifetime / 2, "{at} is in the first half");
        prop_assert!(at + lifetime / 3 <= validity.until, "{at} leaves less than a third");
    }
}
